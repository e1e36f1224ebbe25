//! Owed rewards: the grace period, scope, policy, recipients, routes, backoff and claims.

use super::*;

#[test]
fn the_grace_period_counts_from_the_approval() {
    let world = World::new();
    let fresh = |minutes: i64| but(|it| it.status_updated_at = Some(in_minutes(-minutes)));
    assert_eq!(waits(&world.listed(fresh(14), None)), Some((in_minutes(1), Wait::Grace)));
    assert_eq!(world.says(fresh(15), None), "deliver app", "it is over when it is over, not a moment later");
    let row = until(in_minutes(1), reward(RewardState::Waiting));
    let row = Reward { owed_since: in_minutes(-14), ..row };
    assert_eq!(waits(&world.listed(fresh(14), Some(&row))), Some((in_minutes(1), Wait::Grace)));
    let later = World::with(|it| it.now = in_minutes(1));
    assert_eq!(later.says(fresh(14), Some(&row)), "deliver app", "the row's time is of no grace: the policy is asked");
}

#[test]
fn a_grace_period_made_shorter_is_shorter_for_what_waits_already() {
    let row = until(in_minutes(60), reward(RewardState::Waiting));
    assert_eq!(World::new().says(commission(), Some(&row)), "deliver app");
}

#[test]
fn without_a_time_of_approval_the_grace_period_counts_from_when_it_was_first_seen() {
    let world = World::new();
    let undated = || but(|it| it.status_updated_at = None);
    assert_eq!(waits(&world.listed(undated(), None)), Some((in_minutes(15), Wait::Grace)));
    let row = |minutes: i64| Reward { owed_since: in_minutes(-minutes), ..reward(RewardState::Waiting) };
    assert_eq!(waits(&world.listed(undated(), Some(&row(5)))), Some((in_minutes(10), Wait::Grace)));
    assert_eq!(world.says(undated(), Some(&row(15))), "deliver app");
}

#[test]
fn an_approval_in_the_future_postpones_nothing() {
    let world = World::new();
    let early = || but(|it| it.status_updated_at = Some(in_minutes(60 * 24 * 365)));
    assert_eq!(waits(&world.listed(early(), None)), Some((in_minutes(15), Wait::Grace)));
    let row = Reward { owed_since: in_minutes(-15), ..reward(RewardState::Waiting) };
    assert_eq!(world.says(early(), Some(&row)), "deliver app");
}

#[test]
fn a_time_to_wait_for_is_one_that_the_ledger_can_hold_so_that_no_pass_writes_it_again() {
    let world = World::new();
    let precise = but(|it| it.status_updated_at = Some(at("2026-01-01T11:59:00.123456789Z")));
    let Some((until, Wait::Grace)) = waits(&world.listed(precise, None)) else { panic!("it is in its grace period") };
    assert_eq!(until, at(&crate::domain::timestamp_text(until)));
}

#[test]
fn no_grace_period_is_fine_and_an_endless_one_does_not_overflow() {
    let none = World::with(|it| it.policy.grace = Duration::ZERO);
    assert_eq!(none.says(but(|it| it.status_updated_at = Some(now())), None), "deliver app");
    let endless = World::with(|it| it.policy.grace = Duration::MAX);
    assert_eq!(endless.says(commission(), None), "wait for grace");
}

#[test]
fn a_cancelled_reward_that_is_approved_again_has_a_new_grace_period() {
    let world = World::new();
    let row = tried(reward(RewardState::Cancelled), "app", in_minutes(600));
    let again = but(|it| it.status_updated_at = Some(in_minutes(-1)));
    assert_eq!(waits(&world.listed(again, Some(&row))), Some((in_minutes(14), Wait::Grace)));
    let undated = but(|it| it.status_updated_at = None);
    assert_eq!(waits(&world.listed(undated, Some(&row))), Some((in_minutes(15), Wait::Grace)));
}

#[test]
fn only_the_configured_units_are_delivered_and_cash_never() {
    let only_credits = World::with(|it| it.policy.units = vec![Unit::Credits]);
    let cash_too = World::with(|it| it.policy.units.push(Unit::Cash));
    for (world, unit, expected) in [
        (World::new(), "points", "deliver app"),
        (World::new(), "credits", "deliver app"),
        (World::new(), "free_months", "deliver app"),
        (World::new(), "mon_discount", "deliver app"),
        (World::new(), "discount_per", "deliver app"),
        (World::new(), "cash", "nothing"),
        (World::new(), "stars", "hold unknown_unit"),
        (World::new(), "", "hold unknown_unit"),
        (World::with(|it| it.policy.units = vec![Unit::Credits]), "points", "nothing"),
        (only_credits, "credits", "deliver app"),
        (cash_too, "cash", "nothing"),
    ] {
        let listed = but(|it| it.unit = Unit::from_wire(unit));
        assert_eq!(world.says(listed, None), expected, "{unit} with {:?}", world.policy.units);
    }
}

#[test]
fn only_the_configured_campaigns_are_delivered_and_an_empty_list_means_all() {
    let world = World::with(|it| it.policy.campaigns = vec![17, 18]);
    let of = |id: Option<i64>| but(|it| it.campaign = id.map(|id| Campaign { id, name: None }));
    assert_eq!(world.says(of(Some(17)), None), "deliver app");
    assert_eq!(world.says(of(Some(18)), None), "deliver app");
    assert_eq!(world.says(of(Some(19)), None), "nothing");
    assert_eq!(world.says(of(None), None), "hold unreadable", "without a campaign it may be of a configured one");
    let stars =
        but(|it| (it.unit, it.campaign) = (Unit::Unknown("stars".to_owned()), Some(Campaign { id: 19, name: None })));
    assert_eq!(world.says(stars, None), "nothing", "what is out of scope is not held either");
    assert_eq!(World::new().says(of(None), None), "deliver app");
    assert_eq!(World::new().says(of(Some(19)), None), "deliver app");
}

#[test]
fn an_open_reward_that_the_policy_no_longer_names_needs_a_person() {
    let row = reward(RewardState::Waiting);
    let units = World::with(|it| it.policy.units = vec![Unit::Credits]);
    assert_eq!(units.says(commission(), Some(&row)), "hold no_route");
    let campaigns = World::with(|it| it.policy.campaigns = vec![18]);
    assert_eq!(campaigns.says(commission(), Some(&row)), "hold no_route");
    let cash = but(|it| it.unit = Unit::Cash);
    assert_eq!(World::new().says(cash, Some(&row)), "hold no_route", "money is never delivered");
    assert_eq!(campaigns.says(commission(), Some(&reward(RewardState::Cancelled))), "nothing");
}

#[test]
fn a_status_that_is_not_known_is_held_whatever_else_stands() {
    let world = World::new();
    let frozen = || but(|it| it.status = CommissionStatus::Unknown("frozen".to_owned()));
    assert_eq!(world.says(frozen(), None), "hold unreadable");
    for state in [RewardState::Waiting, RewardState::Cancelled] {
        assert_eq!(world.says(frozen(), Some(&reward(state))), "hold unreadable", "{state}");
    }
    let step = world.listed(frozen(), None);
    let Some((_, why)) = holds(&step) else { panic!() };
    assert!(why.contains("frozen"), "{why}");
}

#[test]
fn a_reward_approved_before_deliver_from_is_backlog() {
    let world = World::with(|it| it.policy.deliver_from = in_minutes(-60));
    let approved = |minutes: Option<i64>| but(|it| it.status_updated_at = minutes.map(in_minutes));
    assert_eq!(world.says(approved(Some(-60)), None), "deliver app", "from then on means then, too");
    assert_eq!(world.says(approved(Some(-61)), None), "hold backlog");
}

#[test]
fn without_any_time_it_is_backlog_wherever_a_time_was_set() {
    let timeless = || but(|it| (it.status_updated_at, it.created_at) = (None, None));
    let set = |from| World::with(|it| it.policy.deliver_from = from);
    assert_eq!(set(at("1970-01-01T00:00:01Z")).says(timeless(), None), "hold backlog");
    let step = set(now()).listed(timeless(), None);
    let Some((_, why)) = holds(&step) else { panic!() };
    assert!(why.contains("status_updated_at") && why.contains("policy.deliver_from"), "{why}");
    assert_eq!(World::new().says(timeless(), None), "wait for grace", "no time was set: it counts from now");
}

#[test]
fn a_bare_date_of_approval_does_not_use_up_the_grace_period() {
    let day = but(|it| it.status_updated_at = Some(at("2026-01-01T00:00:00Z")));
    assert_eq!(waits(&World::new().listed(day, None)), Some((in_minutes(15), Wait::Grace)));
}

#[test]
fn a_missing_field_decides_nothing_about_the_recipient() {
    let world = World::new();
    let unsaid = |change: fn(&mut Commission)| world.says(but(change), None);
    assert_eq!(unsaid(|it| it.reward = Reference::Unreadable), "hold recipient_unknown");
    let by_hand = |it: &mut Commission| (it.is_custom, it.reward) = (true, Reference::Unreadable);
    assert_eq!(unsaid(by_hand), "hold recipient_unknown", "a reward that is not said is not none");
    let alone = |it: &mut Commission| (it.reward, it.promoter) = (Reference::Unreadable, Reference::Unreadable);
    assert_eq!(unsaid(alone), "hold recipient_unknown", "a promoter that is not said is not none");
    assert_eq!(unsaid(|it| it.promoter = Reference::Unreadable), "hold no_recipient", "the rule says promoter");
    let referrals = World::with(|it| it.rules.known = BTreeMap::from([(9, Some(RecipientKind::Referral))]));
    let promoter_unread = || but(|it| it.promoter = Reference::Unreadable);
    assert_eq!(referrals.says(promoter_unread(), None), "deliver app", "the decision does not depend on the promoter");
}

#[test]
fn without_a_time_of_approval_the_creation_decides_what_is_backlog() {
    let world = World::with(|it| it.policy.deliver_from = in_minutes(-60));
    let created =
        |created: Option<i64>| but(|it| (it.status_updated_at, it.created_at) = (None, created.map(in_minutes)));
    assert_eq!(world.says(created(Some(-61)), None), "hold backlog");
    assert_eq!(world.says(created(Some(-60)), None), "wait for grace");
    assert_eq!(world.says(created(None), None), "hold backlog", "nothing says that it is young");
    let old_but_approved_today = but(|it| it.created_at = Some(at("2020-01-01T00:00:00Z")));
    assert_eq!(world.says(old_but_approved_today, None), "deliver app");
}

#[test]
fn the_rule_of_the_reward_says_who_receives() {
    let world = World::with(|it| {
        it.rules.known =
            BTreeMap::from([(9, Some(RecipientKind::Promoter)), (10, Some(RecipientKind::Referral)), (11, None)]);
    });
    let by = |id: i64| but(|it| it.reward = Reference::To(RewardRef { id, name: None }));
    let who = |commission: &Commission| recipient(commission, &world.policy, &world.rules);
    assert_eq!(who(&by(9)), Some(RecipientKind::Promoter));
    assert_eq!(who(&by(10)), Some(RecipientKind::Referral));
    assert_eq!(who(&by(11)), None, "FirstPromoter did not say");
    assert_eq!(who(&by(12)), None, "no such rule");
    let custom = but(|it| (it.reward, it.is_custom) = (Reference::To(RewardRef { id: 10, name: None }), true));
    assert_eq!(who(&custom), Some(RecipientKind::Referral), "custom, and with a rule: the rule says");
    assert_eq!(world.says(by(9), None), "deliver app");
    assert_eq!(world.says(by(10), None), "deliver app");
    assert_eq!(world.says(by(11), None), "hold recipient_unknown");
    assert_eq!(world.says(by(12), None), "hold recipient_unknown");
}

#[test]
fn a_custom_commission_without_a_reward_is_the_promoters() {
    let world = World::new();
    let custom = |custom| but(|it| (it.reward, it.is_custom) = (Reference::Null, custom));
    assert_eq!(recipient(&custom(true), &world.policy, &world.rules), Some(RecipientKind::Promoter));
    assert_eq!(world.says(custom(true), None), "deliver app");
    assert_eq!(world.says(custom(false), None), "hold recipient_unknown", "two parties, and nothing that decides");
    let nobody = but(|it| (it.reward, it.is_custom, it.promoter) = (Reference::Null, true, Reference::Null));
    assert_eq!(world.says(nobody, None), "hold no_recipient");
}

#[test]
fn a_commission_without_a_promoter_is_the_referrals() {
    let world = World::new();
    let alone = |reward: Option<i64>| {
        but(|it| (it.reward, it.promoter) = (reward.map(|id| RewardRef { id, name: None }).into(), Reference::Null))
    };
    for reward in [None, Some(12)] {
        assert_eq!(recipient(&alone(reward), &world.policy, &world.rules), Some(RecipientKind::Referral));
        assert_eq!(world.says(alone(reward), None), "deliver app");
    }
    assert_eq!(world.says(alone(Some(9)), None), "hold no_recipient", "the rule says promoter, and there is none");
    let nobody = but(|it| (it.reward, it.promoter, it.referral) = (Reference::Null, Reference::Null, Reference::Null));
    assert_eq!(world.says(nobody, None), "hold no_recipient");
}

#[test]
fn the_policy_may_say_who_receives_whatever_the_rules_say() {
    let always = |kind| World::with(|it| it.policy.recipient = RecipientPolicy::Always(kind));
    let to_promoter = always(RecipientKind::Promoter);
    let to_referral = always(RecipientKind::Referral);
    assert_eq!(to_referral.says(commission(), None), "deliver app");
    assert_eq!(facts(&commission(), &to_referral.policy, &to_referral.rules).recipient, Some(RecipientKind::Referral));
    assert_eq!(to_promoter.says(but(|it| it.reward = Reference::Null), None), "deliver app");
    assert_eq!(to_promoter.says(but(|it| it.promoter = Reference::Null), None), "hold no_recipient");
    assert_eq!(to_referral.says(but(|it| it.referral = Reference::Null), None), "hold no_recipient");
}

/// Suppose `GET /rewards` fails once, and the rule of a commission without a promoter says promoter: it is held as
/// `no_recipient` in every other pass, and must not go to the referral in this one.
#[test]
fn rules_that_fail_for_once_do_not_make_the_only_party_the_recipient() {
    let alone = || but(|it| it.promoter = Reference::Null);
    let failed = |passing| {
        World::with(|it| {
            it.rules = Rules { known: BTreeMap::new(), refused: Some("no answer".to_owned()), passing };
        })
    };
    assert_eq!(failed(true).says(alone(), None), "hold recipient_unknown");
    let no_rule = but(|it| (it.promoter, it.reward) = (Reference::Null, Reference::Null));
    assert_eq!(failed(true).says(no_rule, None), "deliver app", "no rule is needed");
    assert_eq!(failed(false).says(alone(), None), "deliver app", "this key never sees them");
}

#[test]
fn rules_that_are_refused_say_so_and_those_known_before_still_count() {
    let mut world = World::with(|it| it.rules.refused = Some("forbidden (403)".to_owned()));
    assert_eq!(world.says(commission(), None), "deliver app");
    world.rules.known.clear();
    let step = world.listed(commission(), None);
    let Some((HoldReason::RecipientUnknown, why)) = holds(&step) else { panic!("nobody can tell who receives it") };
    assert!(why.contains("reward 9") && why.contains("forbidden (403)"), "{why}");
}

type Objection = (&'static str, fn(&mut Commission));

/// Every objection to a commission, in the order of the checks.
fn objections() -> Vec<Objection> {
    vec![
        ("hold bad_amount", |it| it.amount = Amount::Odd("-500".to_owned())),
        ("hold over_limit", |it| it.amount = Amount::Whole(100_001)),
        ("hold backlog", |it| it.status_updated_at = Some(at("2024-12-31T23:59:59Z"))),
        ("hold fraud_suspicion", |it| it.fraud_suspicion = Some("ad_source".to_owned())),
        ("hold self_referral", |it| it.is_self_referral = true),
        ("hold recipient_unknown", |it| it.reward = Reference::To(RewardRef { id: 12, name: None })),
        ("hold no_route", |it| it.campaign = None),
    ]
}

/// `deliver_from` is New Year 2025, and only campaign 17 has a route.
fn strict() -> World {
    World::with(|it| {
        it.policy.deliver_from = at("2025-01-01T00:00:00Z");
        it.policy.routes = vec![Route { campaign: Some(17), ..route("app") }];
    })
}

#[test]
fn each_objection_holds_alone_with_its_reason_and_a_detail() {
    let world = strict();
    assert_eq!(world.says(commission(), None), "deliver app");
    for (expected, object) in objections() {
        for row in [None, Some(reward(RewardState::Waiting)), Some(held(HoldReason::Fuse))] {
            let decision = world.listed(but(object), row.as_ref());
            assert_eq!(said(&decision), expected);
            let Some((_, detail)) = holds(&decision) else { unreachable!() };
            assert!(detail.len() > 5, "{expected} says nothing more: {detail:?}");
        }
    }
}

#[test]
fn of_several_objections_the_first_in_the_order_of_asking_is_the_reason() {
    let world = strict();
    let objections = objections();
    for from in 0..objections.len() {
        // In reverse, so that an earlier objection to the same field (the amount) is the one that remains.
        let all = but(|it| objections[from..].iter().rev().for_each(|(_, object)| object(it)));
        assert_eq!(world.says(all, None), objections[from].0);
    }
    let stars = but(|it| {
        objections.iter().rev().for_each(|(_, object)| object(it));
        it.unit = Unit::Unknown("stars".to_owned());
    });
    assert_eq!(world.says(stars, None), "hold unknown_unit", "what it is comes before how much of it");
}

#[test]
fn suspicions_hold_only_as_the_policy_says() {
    let fraud = but(|it| it.fraud_suspicion = Some("same_ip_suspicion".to_owned()));
    let own = but(|it| it.is_self_referral = true);
    let no_fraud = World::with(|it| it.policy.hold_fraud_suspicion = false);
    let no_own = World::with(|it| it.policy.hold_self_referral = false);
    assert_eq!(no_fraud.says(fraud.clone(), None), "deliver app");
    assert_eq!(no_own.says(fraud, None), "hold fraud_suspicion");
    assert_eq!(no_own.says(own.clone(), None), "deliver app");
    assert_eq!(no_fraud.says(own, None), "hold self_referral");
}

#[test]
fn the_limit_is_per_unit_and_exactly_at_the_limit_is_fine() {
    let world = World::with(|it| it.policy.max_amount = BTreeMap::from([(Unit::Points, 500), (Unit::Credits, 5)]));
    let of = |unit: Unit, amount| but(|it| (it.unit, it.amount) = (unit, Amount::Whole(amount)));
    assert_eq!(world.says(of(Unit::Points, 500), None), "deliver app");
    assert_eq!(world.says(of(Unit::Points, 501), None), "hold over_limit");
    assert_eq!(world.says(of(Unit::Credits, 5), None), "deliver app");
    assert_eq!(world.says(of(Unit::Credits, 6), None), "hold over_limit");
    assert_eq!(world.says(of(Unit::FreeMonths, i64::MAX), None), "deliver app", "no limit for the unit, none at all");
}

#[test]
fn the_first_route_that_matches_wins_and_every_filter_filters() {
    let by_unit = Route { unit: Some(Unit::Credits), ..route("by unit") };
    let by_recipient = Route { recipient: Some(RecipientKind::Referral), ..route("by recipient") };
    let by_campaign = Route { campaign: Some(18), ..route("by campaign") };
    let by_all = Route {
        unit: Some(Unit::Points),
        recipient: Some(RecipientKind::Promoter),
        campaign: Some(17),
        target: "by all".to_owned(),
    };
    let world = World::with(|it| {
        it.rules.known.insert(10, Some(RecipientKind::Referral));
        it.policy.routes = vec![by_unit, by_recipient, by_campaign, by_all, route("the rest"), route("never")];
    });
    let credits = but(|it| it.unit = Unit::Credits);
    let to_referral = but(|it| it.reward = Reference::To(RewardRef { id: 10, name: None }));
    let of_campaign = |id: i64| but(|it| it.campaign = Some(Campaign { id, name: None }));
    let months = but(|it| it.unit = Unit::FreeMonths);
    let credits_to_referral = but(|it| {
        (it.unit, it.reward) = (Unit::Credits, Reference::To(RewardRef { id: 10, name: None }));
    });
    for (commission, expected) in [
        (credits, "deliver by unit"),
        (credits_to_referral, "deliver by unit"),
        (to_referral, "deliver by recipient"),
        (of_campaign(18), "deliver by campaign"),
        (commission(), "deliver by all"),
        (of_campaign(19), "deliver the rest"),
        (months, "deliver the rest"),
        (but(|it| it.campaign = None), "deliver the rest"),
    ] {
        assert_eq!(world.says(commission, None), expected);
    }
}

#[test]
fn without_a_matching_route_it_is_held() {
    let route = Route { campaign: Some(18), ..route("app") };
    let world = World::with(|it| it.policy.routes = vec![route]);
    assert_eq!(world.says(commission(), None), "hold no_route");
    assert_eq!(World::with(|it| it.policy.routes.clear()).says(commission(), None), "hold no_route");
}

#[test]
fn a_failed_attempt_is_repeated_when_its_backoff_is_over() {
    let world = World::new();
    let row = |minutes| tried(reward(RewardState::Waiting), "app", in_minutes(minutes));
    assert_eq!(waits(&world.listed(commission(), Some(&row(4)))), Some((in_minutes(4), Wait::Backoff)));
    assert_eq!(world.says(commission(), Some(&row(0))), "deliver app", "it is over when it is over");
    let other = World::with(|it| it.policy.routes = vec![route("script")]);
    assert_eq!(other.says(commission(), Some(&row(0))), "deliver script", "no effect there: the routes decide anew");
}

#[test]
fn a_hold_by_policy_does_not_shorten_the_backoff() {
    let row = tried(held(HoldReason::FraudSuspicion), "app", in_minutes(4));
    assert_eq!(waits(&World::new().listed(commission(), Some(&row))), Some((in_minutes(4), Wait::Backoff)));
}

#[test]
fn of_grace_and_backoff_the_later_counts() {
    let fresh = but(|it| it.status_updated_at = Some(in_minutes(-5)));
    let row = |minutes: i64| Reward {
        owed_since: in_minutes(-5),
        ..tried(reward(RewardState::Waiting), "app", in_minutes(minutes))
    };
    let world = World::new();
    assert_eq!(waits(&world.listed(fresh.clone(), Some(&row(9)))), Some((in_minutes(10), Wait::Grace)));
    assert_eq!(waits(&world.listed(fresh, Some(&row(11)))), Some((in_minutes(11), Wait::Backoff)));
}

#[test]
fn nothing_is_delivered_that_somebody_else_has_claimed() {
    let world = World::with(|it| it.claimed_until = Some(in_minutes(10)));
    let claimed = Some((in_minutes(10), Wait::Claimed));
    let rows = [
        None,
        Some(reward(RewardState::Waiting)),
        Some(held(HoldReason::Fuse)),
        Some(reward(RewardState::Cancelled)),
        Some(uncertain(tried(reward(RewardState::Waiting), "app", in_minutes(-1)))),
        Some(delivering_at("app")),
    ];
    for row in rows {
        assert_eq!(waits(&world.listed(commission(), row.as_ref())), claimed, "{row:?}");
    }
    assert_eq!(world.says(commission(), Some(&delivering_at("script"))), "hold outcome_unknown");
    let fraud = but(|it| it.fraud_suspicion = Some("ad_source".to_owned()));
    assert_eq!(world.says(fraud, None), "hold fraud_suspicion", "a person is asked whoever has it");
    assert_eq!(world.says(commission(), Some(&reward(RewardState::Delivered))), "mark", "what is delivered is marked");
}

#[test]
fn a_claim_shortens_neither_a_backoff_nor_a_grace_period() {
    let world = World::with(|it| it.claimed_until = Some(in_minutes(2)));
    let row = tried(held(HoldReason::FraudSuspicion), "app", in_minutes(4));
    assert_eq!(waits(&world.listed(commission(), Some(&row))), Some((in_minutes(4), Wait::Claimed)));
    let fresh = but(|it| it.status_updated_at = Some(in_minutes(-5)));
    assert_eq!(waits(&world.listed(fresh, None)), Some((in_minutes(10), Wait::Claimed)));
}

#[test]
fn where_the_grace_period_and_the_backoff_end_together_it_is_the_grace_period_that_one_waits_for() {
    let world = World::new();
    let row = Reward { owed_since: now(), ..tried(reward(RewardState::Waiting), "app", in_minutes(15)) };
    let approved_now = but(|it| it.status_updated_at = Some(now()));
    assert_eq!(waits(&world.listed(approved_now, Some(&row))), Some((in_minutes(15), Wait::Grace)));
}

#[test]
fn a_wait_is_written_when_its_end_or_its_reason_is_another_and_else_once() {
    let fresh = || but(|it| it.status_updated_at = Some(in_minutes(-5)));
    let row = |minutes: i64, why: Wait| {
        let state = State::Waiting { until: in_minutes(minutes), why, last_error: None };
        Reward { state, owed_since: in_minutes(-5), ..reward(RewardState::Waiting) }
    };
    let grace = Transition::Wait { until: in_minutes(10), why: Wait::Grace };
    for (recorded, writes) in [
        (row(10, Wait::Grace), false),
        (row(9, Wait::Grace), true),
        (row(11, Wait::Grace), true),
        (row(10, Wait::Claimed), true),
    ] {
        let step = World::new().listed(fresh(), Some(&recorded));
        assert_eq!(step.transition(), writes.then_some(&grace), "{:?}", recorded.state);
    }
    // A claim does not replace a wait that ends before it, because a claim may end at any time.
    let claimed = World::with(|it| it.claimed_until = Some(in_minutes(12)));
    assert_eq!(claimed.listed(fresh(), Some(&row(10, Wait::Grace))).transition(), None);
    // A reward that waits for a target after a failure still waits for the target.
    let target = || Wait::Target("app".to_owned());
    let failed = Reward { failures: 1, ..row(30, target()) };
    assert_eq!(World::new().listed(fresh(), Some(&failed)), Step::Leave(Why::Waits(in_minutes(30), target())));
}

#[test]
fn a_reward_found_by_a_clock_that_was_ahead_waits_one_grace_period_from_now() {
    let world = World::new();
    let days = 24 * 60 * 10;
    let undated = || but(|it| it.status_updated_at = None);
    let waiting = |next| {
        let waiting = until(in_minutes(next), reward(RewardState::Waiting));
        Reward { owed_since: in_minutes(days), ..waiting }
    };
    let anew = Some((in_minutes(15), Wait::Grace));
    assert_eq!(waits(&world.listed(undated(), Some(&waiting(days + 15)))), anew);
    let held = Reward { owed_since: in_minutes(days), ..held(HoldReason::Fuse) };
    assert_eq!(waits(&world.listed(undated(), Some(&held))), anew);
    // The wait that was written counts down.
    assert_eq!(waits(&world.listed(undated(), Some(&waiting(9)))), Some((in_minutes(9), Wait::Grace)));
    assert_eq!(world.says(undated(), Some(&waiting(0))), "deliver app");
    let cut_off = Reward { owed_since: in_minutes(days), ..delivering_at("app") };
    assert_eq!(world.says(undated(), Some(&cut_off)), "resume app");
    let dated_ahead = but(|it| it.status_updated_at = Some(in_minutes(days)));
    assert_eq!(waits(&world.listed(dated_ahead, Some(&waiting(days + 15)))), anew);
    assert_eq!(world.says(commission(), Some(&waiting(days + 15))), "deliver app", "approved an hour ago");
}

#[test]
fn no_wait_for_marking_or_for_an_answer_is_longer_than_the_longest_of_ours() {
    let world = World::new();
    let day = 24 * 60;
    let delivered = |minutes| until(in_minutes(minutes), reward(RewardState::Delivered));
    assert_eq!(world.says(commission(), Some(&delivered(day))), "wait for marking");
    assert_eq!(world.says(commission(), Some(&delivered(day + 1))), "mark");
    let unclear = |row: &Reward| world.decide(&Observation::Unclear, Some(row));
    let waiting = |minutes: i64| {
        let waiting = until(in_minutes(minutes), reward(RewardState::Waiting));
        Reward { owed_since: in_minutes(10 * day), ..waiting }
    };
    assert_eq!(waits(&unclear(&waiting(10 * day))), Some((in_minutes(day), Wait::Grace)), "what it waits for stays");
    assert_eq!(said(&unclear(&waiting(-day))), "nothing");
    assert_eq!(said(&unclear(&waiting(-day - 1))), "hold changed");
    let cut_off = Reward { owed_since: in_minutes(10 * day), ..delivering_at("app") };
    assert_eq!(said(&unclear(&cut_off)), "nothing", "its first attempt was five minutes ago");
    let later = Reward { first_attempt_at: Some(in_minutes(10 * day)), ..cut_off };
    assert_eq!(said(&unclear(&later)), "hold outcome_unknown", "nobody knows since when");
}

/// The machine started with its clock behind, and a pass wrote that what it knew was found then. Then the clock was set right.
#[test]
fn a_clock_that_was_behind_does_not_end_the_grace_period() {
    let world = World::new();
    let fresh = || but(|it| it.status_updated_at = Some(in_minutes(-5)));
    let seen = |state| Reward { owed_since: in_minutes(-9_000), first_seen_at: in_minutes(-3), ..reward(state) };
    assert_eq!(waits(&world.listed(fresh(), Some(&seen(RewardState::Waiting)))), Some((in_minutes(10), Wait::Grace)));
    let held = Reward { owed_since: in_minutes(-9_000), first_seen_at: in_minutes(-3), ..held(HoldReason::Fuse) };
    assert_eq!(world.says(fresh(), Some(&held)), "deliver app", "the fuse held what had waited");
}
