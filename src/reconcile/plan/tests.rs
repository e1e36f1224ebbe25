//! The decision, held against the contract (sections "The promise", "Configuration" and "The ledger").

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;

use super::*;
use crate::{
    config::{Retry, Route},
    domain::{
        Campaign, CommissionId, CommissionStatus, DeliveryKey, Promoter, Referral, RewardRef, upstream_timestamp_text,
    },
};

mod properties;
mod table;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The time of all these tests.
fn now() -> Timestamp {
    at("2026-01-01T12:00:00Z")
}

fn in_minutes(minutes: i64) -> Timestamp {
    now() + TimeDelta::minutes(minutes)
}

fn promoter() -> Promoter {
    Promoter { id: 3, email: Some("p@example.com".to_owned()), name: Some("Pat".to_owned()) }
}

fn referral() -> Referral {
    Referral { id: 4, email: Some("r@example.com".to_owned()), uid: Some("cus_4".to_owned()) }
}

/// 500 points for the promoter by rule 9, approved an hour ago: nothing stands against it.
fn commission() -> Commission {
    Commission {
        id: CommissionId(7),
        status: CommissionStatus::Approved,
        unit: Unit::Points,
        amount: Amount::Whole(500),
        is_custom: false,
        is_self_referral: false,
        fraud_suspicion: None,
        promoter: Some(promoter()),
        referral: Some(referral()),
        campaign: Some(Campaign { id: 17, name: None }),
        reward: Some(RewardRef { id: 9, name: None }),
        created_at: Some(at("2025-12-31T00:00:00Z")),
        status_updated_at: Some(in_minutes(-60)),
    }
}

/// What the ledger records of [`commission`].
fn recorded() -> Facts {
    Facts {
        unit: Some(Unit::Points),
        amount: Some(500),
        recipient: Some(RecipientKind::Promoter),
        promoter: Some(promoter()),
        referral: Some(referral()),
        campaign: Some(Campaign { id: 17, name: None }),
        reward: Some(RewardRef { id: 9, name: None }),
        approved_at: Some(in_minutes(-60)),
        created_at: Some(at("2025-12-31T00:00:00Z")),
    }
}

/// The row of [`commission`], seen an hour ago and never tried.
fn reward(state: RewardState) -> Reward {
    Reward {
        id: CommissionId(7),
        state,
        hold_reason: None,
        facts: recorded(),
        first_seen_at: in_minutes(-60),
        owed_since: in_minutes(-60),
        target: None,
        key: DeliveryKey::new("12345", CommissionId(7)),
        attempts: 0,
        failures: 0,
        first_attempt_at: None,
        uncertain: false,
        next_attempt_at: Some(in_minutes(-45)).filter(|_| state == RewardState::Waiting),
        last_error: None,
        delivered_by: None,
        mark_attempts: 0,
        mark_error: None,
        drifted: false,
    }
}

fn held(reason: HoldReason) -> Reward {
    Reward { hold_reason: Some(reason), ..reward(RewardState::Held) }
}

/// Two failed attempts at `target`, the next one due at `next`.
fn tried(base: Reward, target: &str, next: Timestamp) -> Reward {
    Reward {
        target: Some(target.to_owned()),
        attempts: 2,
        failures: 2,
        first_attempt_at: Some(in_minutes(-30)),
        next_attempt_at: Some(next),
        ..base
    }
}

/// One of the attempts may have taken effect.
fn uncertain(base: Reward) -> Reward {
    Reward { uncertain: true, ..base }
}

fn delivering_at(target: &str) -> Reward {
    let base = Reward { attempts: 1, first_attempt_at: Some(in_minutes(-5)), ..reward(RewardState::Delivering) };
    Reward { target: Some(target.to_owned()), next_attempt_at: None, ..base }
}

fn route(target: &str) -> Route {
    Route { unit: None, recipient: None, campaign: None, target: target.to_owned() }
}

/// All that a decision depends on: the contract's defaults, and three targets, of which everything goes to `app`.
#[derive(Debug)]
struct World {
    policy: Policy,
    targets: BTreeMap<String, Idempotent>,
    rules: Rules,
    claimed_until: Option<Timestamp>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self {
            policy: Policy {
                grace: Duration::from_mins(15),
                units: Unit::NON_MONETARY.to_vec(),
                campaigns: Vec::new(),
                deliver_from: at("1970-01-01T00:00:00Z"),
                recipient: RecipientPolicy::Auto,
                hold_fraud_suspicion: true,
                hold_self_referral: true,
                max_deliveries_per_pass: 100,
                max_amount: BTreeMap::from([(Unit::Points, 100_000)]),
                retry: Retry {
                    first: Duration::from_mins(1),
                    factor: 4.0,
                    max: Duration::from_hours(6),
                    give_up_after: Duration::from_hours(168),
                },
                routes: vec![route("app")],
            },
            targets: BTreeMap::from([
                ("app".to_owned(), Idempotent::Yes),
                ("spare".to_owned(), Idempotent::Yes),
                ("script".to_owned(), Idempotent::No),
            ]),
            rules: Rules { known: BTreeMap::from([(9, Some(RecipientKind::Promoter))]), refused: None },
            claimed_until: None,
            now: now(),
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self::new();
        change(&mut world);
        world
    }

    fn cx(&self) -> Context<'_> {
        Context { policy: &self.policy, targets: &self.targets, rules: &self.rules, now: self.now }
    }

    fn decide(&self, observed: &Observation, reward: Option<&Reward>) -> Decision {
        decide(observed, Entry { reward, claimed_until: self.claimed_until }, self.cx())
    }

    /// A commission that FirstPromoter lists, and the ledger knows as `reward` or not at all.
    fn listed(&self, commission: Commission, reward: Option<&Reward>) -> Decision {
        self.decide(&Observation::Listed(Box::new(commission)), reward)
    }

    /// The same, and in short: see [`said`].
    fn says(&self, commission: Commission, reward: Option<&Reward>) -> String {
        said(&self.listed(commission, reward))
    }
}

/// [`commission`] with a change.
fn but(change: impl FnOnce(&mut Commission)) -> Commission {
    let mut commission = commission();
    change(&mut commission);
    commission
}

/// A decision in short, as the tables below write it.
fn said(decision: &Decision) -> String {
    match decision {
        Decision::Nothing(_) => "nothing".to_owned(),
        Decision::Wait(_, Waits::Grace) => "wait for grace".to_owned(),
        Decision::Wait(_, Waits::Backoff) => "wait for backoff".to_owned(),
        Decision::Wait(_, Waits::Claimed) => "wait for claim".to_owned(),
        Decision::Wait(_, Waits::Marking) => "wait for marking".to_owned(),
        Decision::Wait(_, Waits::Target) => "wait for target".to_owned(),
        Decision::Deliver(target) => format!("deliver {target}"),
        Decision::Resume(target) => format!("resume {target}"),
        Decision::Mark => "mark".to_owned(),
        Decision::CannotMark(_) => "cannot mark".to_owned(),
        Decision::Adopt => "adopt".to_owned(),
        Decision::Hold(reason, _) => format!("hold {reason}"),
        Decision::Cancel(_) => "cancel".to_owned(),
        Decision::Drift => "drift".to_owned(),
        Decision::DriftOver => "drift over".to_owned(),
    }
}

#[test]
fn the_grace_period_counts_from_the_approval() {
    let world = World::new();
    let fresh = |minutes: i64| but(|it| it.status_updated_at = Some(in_minutes(-minutes)));
    assert_eq!(world.listed(fresh(14), None), Decision::Wait(in_minutes(1), Waits::Grace));
    assert_eq!(world.says(fresh(15), None), "deliver app", "it is over when it is over, not a moment later");
    let row = Reward { next_attempt_at: Some(in_minutes(1)), ..reward(RewardState::Waiting) };
    let row = Reward { owed_since: in_minutes(-14), ..row };
    assert_eq!(world.listed(fresh(14), Some(&row)), Decision::Wait(in_minutes(1), Waits::Grace));
    let later = World::with(|it| it.now = in_minutes(1));
    assert_eq!(later.says(fresh(14), Some(&row)), "deliver app", "the row's time is of no grace: the policy is asked");
}

#[test]
fn a_grace_period_made_shorter_is_shorter_for_what_waits_already() {
    let row = Reward { next_attempt_at: Some(in_minutes(60)), ..reward(RewardState::Waiting) };
    assert_eq!(World::new().says(commission(), Some(&row)), "deliver app");
}

#[test]
fn without_a_time_of_approval_the_grace_period_counts_from_when_it_was_first_seen() {
    let world = World::new();
    let undated = || but(|it| it.status_updated_at = None);
    assert_eq!(world.listed(undated(), None), Decision::Wait(in_minutes(15), Waits::Grace));
    let row = |minutes: i64| Reward { owed_since: in_minutes(-minutes), ..reward(RewardState::Waiting) };
    assert_eq!(world.listed(undated(), Some(&row(5))), Decision::Wait(in_minutes(10), Waits::Grace));
    assert_eq!(world.says(undated(), Some(&row(15))), "deliver app");
}

#[test]
fn an_approval_in_the_future_postpones_nothing() {
    let world = World::new();
    let early = || but(|it| it.status_updated_at = Some(in_minutes(60 * 24 * 365)));
    assert_eq!(world.listed(early(), None), Decision::Wait(in_minutes(15), Waits::Grace));
    let row = Reward { owed_since: in_minutes(-15), ..reward(RewardState::Waiting) };
    assert_eq!(world.says(early(), Some(&row)), "deliver app");
}

#[test]
fn a_time_to_wait_for_is_one_that_the_ledger_can_hold_so_that_no_pass_writes_it_again() {
    let world = World::new();
    let precise = but(|it| it.status_updated_at = Some(at("2026-01-01T11:59:00.123456789Z")));
    let Decision::Wait(until, Waits::Grace) = world.listed(precise, None) else { panic!("it is in its grace period") };
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
fn what_was_cancelled_has_a_grace_period_of_its_own_when_it_is_approved_again() {
    let world = World::new();
    let row = tried(reward(RewardState::Cancelled), "app", in_minutes(600));
    let again = but(|it| it.status_updated_at = Some(in_minutes(-1)));
    assert_eq!(world.listed(again, Some(&row)), Decision::Wait(in_minutes(14), Waits::Grace));
    let undated = but(|it| it.status_updated_at = None);
    assert_eq!(world.listed(undated, Some(&row)), Decision::Wait(in_minutes(15), Waits::Grace));
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
    assert_eq!(world.says(of(None), None), "nothing", "without a campaign it is in none of the configured");
    let stars = but(|it| (it.unit, it.campaign) = (Unit::Unknown("stars".to_owned()), None));
    assert_eq!(world.says(stars, None), "nothing", "what is out of scope is not held either");
    assert_eq!(World::new().says(of(None), None), "deliver app");
    assert_eq!(World::new().says(of(Some(19)), None), "deliver app");
}

#[test]
fn what_the_ledger_has_open_and_the_policy_no_longer_names_asks_for_a_person() {
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
fn what_was_approved_before_deliver_from_is_backlog() {
    let world = World::with(|it| it.policy.deliver_from = in_minutes(-60));
    let approved = |minutes: Option<i64>| but(|it| it.status_updated_at = minutes.map(in_minutes));
    assert_eq!(world.says(approved(Some(-60)), None), "deliver app", "from then on means then, too");
    assert_eq!(world.says(approved(Some(-61)), None), "hold backlog");
}

#[test]
fn without_a_time_of_approval_the_creation_decides_what_is_backlog() {
    let world = World::with(|it| it.policy.deliver_from = in_minutes(-60));
    let created =
        |created: Option<i64>| but(|it| (it.status_updated_at, it.created_at) = (None, created.map(in_minutes)));
    assert_eq!(world.says(created(Some(-61)), None), "hold backlog");
    assert_eq!(world.says(created(Some(-60)), None), "wait for grace");
    assert_eq!(world.says(created(None), None), "wait for grace", "nothing says that it is old");
    let old_but_approved_today = but(|it| it.created_at = Some(at("2020-01-01T00:00:00Z")));
    assert_eq!(world.says(old_but_approved_today, None), "deliver app");
}

#[test]
fn the_rule_of_the_reward_says_who_receives() {
    let world = World::with(|it| {
        it.rules.known =
            BTreeMap::from([(9, Some(RecipientKind::Promoter)), (10, Some(RecipientKind::Referral)), (11, None)]);
    });
    let by = |id: i64| but(|it| it.reward = Some(RewardRef { id, name: None }));
    let who = |commission: &Commission| recipient(commission, &world.policy, &world.rules);
    assert_eq!(who(&by(9)), Some(RecipientKind::Promoter));
    assert_eq!(who(&by(10)), Some(RecipientKind::Referral));
    assert_eq!(who(&by(11)), None, "FirstPromoter did not say");
    assert_eq!(who(&by(12)), None, "no such rule");
    let custom = but(|it| (it.reward, it.is_custom) = (Some(RewardRef { id: 10, name: None }), true));
    assert_eq!(who(&custom), Some(RecipientKind::Referral), "custom, and with a rule: the rule says");
    assert_eq!(world.says(by(9), None), "deliver app");
    assert_eq!(world.says(by(10), None), "deliver app");
    assert_eq!(world.says(by(11), None), "hold recipient_unknown");
    assert_eq!(world.says(by(12), None), "hold recipient_unknown");
}

#[test]
fn a_custom_commission_without_a_reward_is_the_promoters() {
    let world = World::new();
    let custom = |custom| but(|it| (it.reward, it.is_custom) = (None, custom));
    assert_eq!(recipient(&custom(true), &world.policy, &world.rules), Some(RecipientKind::Promoter));
    assert_eq!(world.says(custom(true), None), "deliver app");
    assert_eq!(world.says(custom(false), None), "hold recipient_unknown", "two parties, and nothing that decides");
    let nobody = but(|it| (it.reward, it.is_custom, it.promoter) = (None, true, None));
    assert_eq!(world.says(nobody, None), "hold no_recipient");
}

#[test]
fn a_commission_without_a_promoter_is_the_referrals() {
    let world = World::new();
    let alone = |reward: Option<i64>| {
        but(|it| (it.reward, it.promoter) = (reward.map(|id| RewardRef { id, name: None }), None))
    };
    for reward in [None, Some(12)] {
        assert_eq!(recipient(&alone(reward), &world.policy, &world.rules), Some(RecipientKind::Referral));
        assert_eq!(world.says(alone(reward), None), "deliver app");
    }
    assert_eq!(world.says(alone(Some(9)), None), "hold no_recipient", "the rule says promoter, and there is none");
    let nobody = but(|it| (it.reward, it.promoter, it.referral) = (None, None, None));
    assert_eq!(world.says(nobody, None), "hold no_recipient");
}

#[test]
fn the_policy_may_say_who_receives_whatever_the_rules_say() {
    let always = |kind| World::with(|it| it.policy.recipient = RecipientPolicy::Always(kind));
    let to_promoter = always(RecipientKind::Promoter);
    let to_referral = always(RecipientKind::Referral);
    assert_eq!(to_referral.says(commission(), None), "deliver app");
    assert_eq!(facts(&commission(), &to_referral.policy, &to_referral.rules).recipient, Some(RecipientKind::Referral));
    assert_eq!(to_promoter.says(but(|it| it.reward = None), None), "deliver app");
    assert_eq!(to_promoter.says(but(|it| it.promoter = None), None), "hold no_recipient");
    assert_eq!(to_referral.says(but(|it| it.referral = None), None), "hold no_recipient");
}

#[test]
fn rules_that_are_refused_say_so_and_those_known_before_still_count() {
    let mut world = World::with(|it| it.rules.refused = Some("forbidden (403)".to_owned()));
    assert_eq!(world.says(commission(), None), "deliver app");
    world.rules.known.clear();
    let Decision::Hold(HoldReason::RecipientUnknown, why) = world.listed(commission(), None) else {
        panic!("nobody can tell who receives it")
    };
    assert!(why.contains("reward 9") && why.contains("forbidden (403)"), "{why}");
}

type Objection = (&'static str, fn(&mut Commission));

/// Everything that can be said against a commission, in the order in which it is said.
fn objections() -> Vec<Objection> {
    vec![
        ("hold bad_amount", |it| it.amount = Amount::Odd("-500".to_owned())),
        ("hold over_limit", |it| it.amount = Amount::Whole(100_001)),
        ("hold backlog", |it| it.status_updated_at = Some(at("2024-12-31T23:59:59Z"))),
        ("hold fraud_suspicion", |it| it.fraud_suspicion = Some("ad_source".to_owned())),
        ("hold self_referral", |it| it.is_self_referral = true),
        ("hold recipient_unknown", |it| it.reward = Some(RewardRef { id: 12, name: None })),
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
            let Decision::Hold(_, detail) = decision else { unreachable!() };
            assert!(detail.len() > 5, "{expected} says nothing more: {detail:?}");
        }
    }
}

#[test]
fn of_several_objections_the_first_in_the_order_of_asking_is_the_reason() {
    let world = strict();
    let objections = objections();
    for from in 0..objections.len() {
        // In reverse, so that an earlier objection to the same field (the amount) is the one that stands.
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
    let to_referral = but(|it| it.reward = Some(RewardRef { id: 10, name: None }));
    let of_campaign = |id: i64| but(|it| it.campaign = Some(Campaign { id, name: None }));
    let months = but(|it| it.unit = Unit::FreeMonths);
    let credits_to_referral = but(|it| {
        (it.unit, it.reward) = (Unit::Credits, Some(RewardRef { id: 10, name: None }));
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
    assert_eq!(world.listed(commission(), Some(&row(4))), Decision::Wait(in_minutes(4), Waits::Backoff));
    assert_eq!(world.says(commission(), Some(&row(0))), "deliver app", "it is over when it is over");
    let other = World::with(|it| it.policy.routes = vec![route("script")]);
    assert_eq!(other.says(commission(), Some(&row(0))), "deliver script", "no effect there: the routes decide anew");
}

#[test]
fn a_hold_by_policy_does_not_shorten_the_backoff() {
    let row = tried(held(HoldReason::FraudSuspicion), "app", in_minutes(4));
    assert_eq!(World::new().listed(commission(), Some(&row)), Decision::Wait(in_minutes(4), Waits::Backoff));
}

#[test]
fn of_grace_and_backoff_the_later_counts() {
    let fresh = but(|it| it.status_updated_at = Some(in_minutes(-5)));
    let row = |minutes: i64| Reward {
        owed_since: in_minutes(-5),
        ..tried(reward(RewardState::Waiting), "app", in_minutes(minutes))
    };
    let world = World::new();
    assert_eq!(world.listed(fresh.clone(), Some(&row(9))), Decision::Wait(in_minutes(10), Waits::Grace));
    assert_eq!(world.listed(fresh, Some(&row(11))), Decision::Wait(in_minutes(11), Waits::Backoff));
}

#[test]
fn nothing_is_delivered_that_somebody_else_has_claimed() {
    let world = World::with(|it| it.claimed_until = Some(in_minutes(10)));
    let claimed = Decision::Wait(in_minutes(10), Waits::Claimed);
    let rows = [
        None,
        Some(reward(RewardState::Waiting)),
        Some(held(HoldReason::Fuse)),
        Some(reward(RewardState::Cancelled)),
        Some(uncertain(tried(reward(RewardState::Waiting), "app", in_minutes(-1)))),
        Some(delivering_at("app")),
    ];
    for row in rows {
        assert_eq!(world.listed(commission(), row.as_ref()), claimed, "{row:?}");
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
    assert_eq!(world.listed(commission(), Some(&row)), Decision::Wait(in_minutes(4), Waits::Claimed));
    let fresh = but(|it| it.status_updated_at = Some(in_minutes(-5)));
    assert_eq!(world.listed(fresh, None), Decision::Wait(in_minutes(10), Waits::Claimed));
}

fn wanted(count: usize) -> Vec<Decision> {
    (0..count)
        .map(|n| if n % 2 == 0 { Decision::Deliver("app".to_owned()) } else { Decision::Resume("app".to_owned()) })
        .collect()
}

#[test]
fn exactly_as_many_deliveries_as_the_fuse_allows_are_fine() {
    let mut decisions = wanted(3);
    assert_eq!(fuse(decisions.iter_mut(), 3), None);
    assert_eq!(decisions, wanted(3));
    assert_eq!(fuse(std::iter::empty(), 0), None, "nothing wanted, nothing asked");
}

#[test]
fn one_more_than_the_fuse_allows_holds_them_all_those_cut_off_included_and_nothing_else() {
    let others = [
        Decision::Mark,
        Decision::Adopt,
        Decision::Wait(now(), Waits::Grace),
        Decision::Nothing("fulfilled"),
        Decision::Hold(HoldReason::NoRoute, "none".to_owned()),
    ];
    let mut decisions = [wanted(4), others.to_vec()].concat();
    assert_eq!(fuse(decisions.iter_mut(), 3), Some(4));
    for decision in &decisions[..4] {
        let Decision::Hold(HoldReason::Fuse, why) = decision else { panic!("{decision:?} is delivered") };
        assert!(why.contains('4') && why.contains('3'), "{why}");
    }
    assert_eq!(decisions[4..], others);
}

#[test]
fn a_fuse_of_zero_always_asks() {
    let mut decisions = wanted(1);
    assert_eq!(fuse(decisions.iter_mut(), 0), Some(1));
    assert_eq!(said(&decisions[0]), "hold fuse");
}

/// Each of the changes that the contract names: amount, unit and recipient.
fn changes() -> Vec<(&'static str, Commission)> {
    vec![
        ("amount 500 -> 501", but(|it| it.amount = Amount::Whole(501))),
        ("unit points -> credits", but(|it| it.unit = Unit::Credits)),
        ("recipient promoter -> referral", but(|it| it.reward = Some(RewardRef { id: 10, name: None }))),
        ("recipient's id 3 -> 30", but(|it| it.promoter = Some(Promoter { id: 30, ..promoter() }))),
    ]
}

fn world_with_a_rule_for_referrals() -> World {
    World::with(|it| {
        it.rules.known.insert(10, Some(RecipientKind::Referral));
    })
}

#[test]
fn a_change_before_any_attempt_or_after_failed_ones_is_just_decided_again() {
    let world = world_with_a_rule_for_referrals();
    for (change, commission) in changes() {
        for row in
            [reward(RewardState::Waiting), tried(reward(RewardState::Waiting), "app", now()), held(HoldReason::Fuse)]
        {
            assert_eq!(world.says(commission.clone(), Some(&row)), "deliver app", "{change}");
        }
    }
    let too_much = but(|it| it.amount = Amount::Whole(100_001));
    assert_eq!(world.says(too_much, Some(&reward(RewardState::Waiting))), "hold over_limit");
}

#[test]
fn a_change_while_an_outcome_is_unknown_asks_for_a_person_and_says_what_changed() {
    let world = world_with_a_rule_for_referrals();
    for (change, commission) in changes() {
        for row in [
            delivering_at("app"),
            uncertain(tried(reward(RewardState::Waiting), "app", now())),
            uncertain(tried(held(HoldReason::FraudSuspicion), "app", now())),
        ] {
            let decision = world.listed(commission.clone(), Some(&row));
            assert_eq!(decision, Decision::Hold(HoldReason::Changed, change.to_owned()), "{row:?}");
        }
    }
}

#[test]
fn what_has_no_amount_any_more_while_an_outcome_is_unknown_has_changed() {
    let world = world_with_a_rule_for_referrals();
    for (odd, change) in [
        ("0", "amount 500 -> 0"),
        ("-5", "amount 500 -> -5"),
        ("12.5", "amount 500 -> 12.5"),
        ("", "amount 500 -> missing"),
    ] {
        let odd = but(|it| it.amount = Amount::Odd(odd.to_owned()));
        for row in [delivering_at("app"), uncertain(tried(reward(RewardState::Waiting), "app", now()))] {
            let decision = world.listed(odd.clone(), Some(&row));
            assert_eq!(decision, Decision::Hold(HoldReason::Changed, change.to_owned()), "{row:?}");
        }
        assert_eq!(world.says(odd, Some(&reward(RewardState::Waiting))), "hold bad_amount");
    }
    let both = but(|it| (it.amount, it.unit) = (Amount::Odd("0".to_owned()), Unit::Credits));
    let decision = world.listed(both, Some(&delivering_at("app")));
    assert_eq!(decision, Decision::Hold(HoldReason::Changed, "amount 500 -> 0, unit points -> credits".to_owned()));
}

#[test]
fn what_does_not_change_the_content_of_a_delivery_is_no_change() {
    let world = World::new();
    let renamed = but(|it| {
        it.promoter = Some(Promoter { name: Some("Patricia".to_owned()), ..promoter() });
        it.referral = Some(Referral { id: 40, ..referral() });
        it.status_updated_at = Some(in_minutes(-50));
    });
    let row = uncertain(tried(reward(RewardState::Waiting), "app", now()));
    assert_eq!(world.says(renamed.clone(), Some(&row)), "deliver app");
    assert_eq!(world.says(renamed, Some(&delivering_at("app"))), "resume app");
}

#[test]
fn what_is_withdrawn_while_an_outcome_is_unknown_asks_for_a_person_and_names_the_target() {
    let world = World::new();
    for row in [delivering_at("script"), uncertain(tried(reward(RewardState::Waiting), "script", in_minutes(4)))] {
        for observed in [Observation::NotApproved("denied".to_owned()), Observation::Gone] {
            let Decision::Hold(HoldReason::OutcomeUnknown, why) = world.decide(&observed, Some(&row)) else {
                panic!("{observed:?} of {row:?}")
            };
            assert!(why.contains("script"), "{why}");
        }
    }
}

#[test]
fn why_it_cannot_be_marked_is_said_three_times_and_again_when_the_reason_changes() {
    let world = World::new();
    let denied = Observation::NotApproved("denied".to_owned());
    let Decision::CannotMark(why) = world.decide(&denied, Some(&reward(RewardState::Delivered))) else { panic!() };
    assert!(why.contains("denied"), "{why}");
    let row = |mark_attempts| Reward { mark_attempts, mark_error: Some(why.clone()), ..reward(RewardState::Delivered) };
    assert_eq!(said(&world.decide(&denied, Some(&row(2)))), "cannot mark");
    assert_eq!(said(&world.decide(&denied, Some(&row(3)))), "nothing");
    assert_eq!(said(&world.decide(&Observation::Gone, Some(&row(3)))), "cannot mark");
    assert_eq!(said(&world.decide(&Observation::Unclear, Some(&row(3)))), "cannot mark");
}

#[test]
fn what_is_recorded_is_what_firstpromoter_says() {
    let world = World::new();
    assert_eq!(facts(&commission(), &world.policy, &world.rules), recorded());
    let odd = but(|it| it.amount = Amount::Odd("1.5".to_owned()));
    assert_eq!(facts(&odd, &world.policy, &world.rules).amount, None);
    let text = upstream_timestamp_text(recorded().approved_at.unwrap());
    assert_eq!(text, "2026-01-01T11:00:00Z");
}

#[test]
fn a_rule_of_the_api_names_its_recipient() {
    let rule = |is_promoter_reward| RewardRule { id: 9, name: None, is_promoter_reward };
    assert_eq!(recipient_of(&rule(Some(true))), Some(RecipientKind::Promoter));
    assert_eq!(recipient_of(&rule(Some(false))), Some(RecipientKind::Referral));
    assert_eq!(recipient_of(&rule(None)), None);
}

#[test]
fn each_wait_says_in_its_own_words_what_it_waits_for() {
    let all = [Waits::Grace, Waits::Backoff, Waits::Claimed, Waits::Target, Waits::Marking];
    let words: std::collections::BTreeSet<&str> = all.into_iter().map(Waits::as_str).collect();
    assert!(words.len() == all.len() && words.iter().all(|words| words.len() > 10), "{words:?}");
    assert!(Waits::Grace.as_str().starts_with("grace"), "the contract's word");
}

#[test]
fn what_is_in_neither_answer_for_more_than_a_day_asks_for_a_person() {
    let world = World::new();
    let waiting = |minutes: i64| {
        let due = Some(in_minutes(-minutes));
        Reward { owed_since: in_minutes(-9_000), next_attempt_at: due, ..reward(RewardState::Waiting) }
    };
    let since = |minutes: i64| Reward { owed_since: in_minutes(-minutes), ..delivering_at("app") };
    let day = 24 * 60;
    for (row, reason) in [(waiting as fn(i64) -> Reward, HoldReason::Changed), (since, HoldReason::OutcomeUnknown)] {
        for early in [0, day - 1, day] {
            let decision = world.decide(&Observation::Unclear, Some(&row(early)));
            assert_eq!(decision, Decision::Nothing(NEITHER), "{early} minutes");
        }
        for late in [day + 1, 5 * day] {
            let decision = world.decide(&Observation::Unclear, Some(&row(late)));
            assert_eq!(decision, Decision::Hold(reason, NEITHER.to_owned()), "{late} minutes");
        }
    }
    // Asking again would not tell where the target does not deduplicate.
    assert_eq!(said(&world.decide(&Observation::Unclear, Some(&delivering_at("script")))), "hold outcome_unknown");
}

#[test]
fn what_goes_to_a_target_in_trouble_waits_until_its_time_and_nothing_else_does() {
    let until = in_minutes(7);
    let closed = BTreeMap::from([("app".to_owned(), until)]);
    let other = "script".to_owned();
    let mut decisions = [
        Decision::Deliver("app".to_owned()),
        Decision::Resume("app".to_owned()),
        Decision::Deliver(other.clone()),
        Decision::Mark,
    ];
    spare(decisions.iter_mut(), &closed);
    let waits = Decision::Wait(until, Waits::Target);
    assert_eq!(decisions, [waits.clone(), waits, Decision::Deliver(other), Decision::Mark]);
}

#[test]
fn where_the_grace_period_and_the_backoff_end_together_it_is_the_grace_period_that_one_waits_for() {
    let world = World::new();
    let row = Reward { owed_since: now(), ..tried(reward(RewardState::Waiting), "app", in_minutes(15)) };
    let approved_now = but(|it| it.status_updated_at = Some(now()));
    assert_eq!(world.listed(approved_now, Some(&row)), Decision::Wait(in_minutes(15), Waits::Grace));
}
