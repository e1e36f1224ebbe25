//! Properties of every decision, in any world.

use proptest::{option, prelude::*, sample::select};

use super::{table::held_for, *};

/// 1970 to 9999: the times that the API's reader accepts.
fn any_time() -> impl Strategy<Value = Timestamp> {
    (0_i64..253_402_300_799, 0_u32..1_000_000_000).prop_map(|(s, ns)| Timestamp::from_timestamp(s, ns).unwrap())
}

/// Around the present, so that grace, backoff and claims are sometimes over and sometimes not.
fn near() -> impl Strategy<Value = Timestamp> {
    (-40_i64..40).prop_map(in_minutes)
}

fn a_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![4 => near(), 1 => any_time()]
}

fn an_id() -> impl Strategy<Value = i64> {
    1_i64..4
}

fn a_unit() -> impl Strategy<Value = Unit> {
    select(vec!["points", "credits", "free_months", "mon_discount", "discount_per", "cash", "stars", ""])
        .prop_map(Unit::from_wire)
}

fn a_kind() -> impl Strategy<Value = RecipientKind> {
    select(vec![RecipientKind::Promoter, RecipientKind::Referral])
}

fn a_target() -> impl Strategy<Value = String> {
    select(vec!["app", "spare", "script", "gone"]).prop_map(str::to_owned)
}

prop_compose! {
    fn a_commission()(
        unit in a_unit(),
        amount in prop_oneof![4 => (1_i64..4).prop_map(Amount::Whole), 1 => Just(Amount::Odd("0".to_owned()))],
        (is_custom, is_self_referral) in any::<(bool, bool)>(),
        fraud in option::weighted(0.2, Just("ad_source".to_owned())),
        promoter_id in option::weighted(0.8, an_id()),
        referral_id in option::weighted(0.8, an_id()),
        campaign in option::of(an_id()),
        reward in option::of(an_id()),
        (created_at, status_updated_at) in (option::of(a_time()), option::of(a_time())),
    ) -> Commission {
        Commission {
            unit, amount, is_custom, is_self_referral, fraud_suspicion: fraud, created_at, status_updated_at,
            promoter: promoter_id.map(|id| Promoter { id, ..promoter() }).into(),
            referral: referral_id.map(|id| Referral { id, ..referral() }).into(),
            campaign: campaign.map(|id| Campaign { id, name: None }),
            reward: reward.map(|id| RewardRef { id, name: None }).into(),
            ..commission()
        }
    }
}

prop_compose! {
    fn a_world()(
        grace_s in prop_oneof![0_u64..4_000, Just(u64::MAX)],
        units in prop_oneof![Just(Unit::NON_MONETARY.to_vec()), proptest::collection::vec(a_unit(), 0..4)],
        campaigns in proptest::collection::vec(an_id(), 0..3),
        deliver_from in prop_oneof![2 => Just(at("1970-01-01T00:00:00Z")), 1 => a_time()],
        recipient in option::weighted(0.3, a_kind()),
        (fraud, own) in any::<(bool, bool)>(),
        max_amount in proptest::collection::btree_map(a_unit(), 1_i64..4, 0..3),
        routes in proptest::collection::vec((option::of(a_unit()), option::of(a_kind()), option::of(an_id()), a_target()), 0..4),
        known in proptest::collection::btree_map(an_id(), option::of(a_kind()), 0..3),
        claimed_until in option::weighted(0.2, near()),
    ) -> World {
        World::with(|it| {
            it.policy.grace = Duration::from_secs(grace_s);
            it.policy.units = units;
            it.policy.campaigns = campaigns;
            it.policy.deliver_from = deliver_from;
            it.policy.recipient = recipient.map_or(RecipientPolicy::Auto, RecipientPolicy::Always);
            (it.policy.hold_fraud_suspicion, it.policy.hold_self_referral) = (fraud, own);
            it.policy.max_amount = max_amount;
            it.policy.routes = routes
                .into_iter()
                .map(|(unit, recipient, campaign, target)| Route { unit, recipient, campaign, target })
                .chain([route("app")])
                .collect();
            it.rules.known = known;
            // A claim that is over is none: the ledger tells only of live ones.
            it.claimed_until = claimed_until.filter(|until| *until > now());
        })
    }
}

/// Rows that can be, and rows that only a damaged ledger or another program could hold.
fn a_reward() -> impl Strategy<Value = Reward> {
    let numbers = (0_u32..5, 0_u32..5, 0_u32..6, any::<bool>(), any::<bool>());
    let times = (near(), option::of(a_time()), option::of(a_time()), a_time());
    let words = (option::of(a_target()), option::of(Just("no".to_owned())), a_wait());
    let facts = option::of((a_commission(), a_world()));
    (select(RewardState::ALL), select(HoldReason::ALL), numbers, times, words, facts).prop_map(
        |(word, reason, numbers, times, words, facts)| {
            let given = || Given { by: DeliveredBy::Makegood, at: times.1, receipt: None };
            let drift = |drift| numbers.4.then_some(drift);
            let marking = Marking { failures: numbers.2, error: words.1, not_before: times.2 };
            let place = |target: String| {
                let fingerprint = (numbers.0 > 0).then(|| at_place(&target, numbers.0 > 2));
                Attempted { target, fingerprint }
            };
            Reward {
                facts: facts.map_or_else(Facts::default, |(it, world)| super::facts(&it, &world.policy, &world.rules)),
                state: match word {
                    RewardState::Waiting => State::Waiting { until: times.3, why: words.2, last_error: None },
                    RewardState::Delivering => State::Delivering,
                    RewardState::Held => State::Held { reason, detail: None, until: times.2 },
                    RewardState::Delivered => State::Delivered { given: given(), marking },
                    RewardState::Fulfilled => {
                        State::Fulfilled { given: given(), at: times.0, drift: drift(Drift::UnfulfilledUpstream) }
                    }
                    RewardState::Cancelled => State::Cancelled,
                    RewardState::Reversed => {
                        State::Reversed { receipt: None, drift: drift(Drift::FulfilledAfterReversal) }
                    }
                    RewardState::Dismissed => State::Dismissed,
                },
                attempts: numbers.0,
                failures: numbers.1,
                owed_since: times.0,
                first_attempt_at: times.1,
                tried: match (words.0, numbers.3 || word == RewardState::Delivering) {
                    (target, true) => Tried::InDoubt(place(target.unwrap_or_else(|| "gone".to_owned()))),
                    (Some(target), false) => Tried::At(place(target)),
                    (None, false) => Tried::Never,
                },
                ..reward(word)
            }
        },
    )
}

fn a_wait() -> impl Strategy<Value = Wait> {
    let target = a_target().prop_map(Wait::Target);
    prop_oneof![4 => select(vec![Wait::Due, Wait::Grace, Wait::Backoff, Wait::Claimed]), 1 => target]
}

fn an_observation() -> impl Strategy<Value = Observation> {
    prop_oneof![
        6 => a_commission().prop_map(|it| Observation::Listed(Box::new(it))),
        1 => Just(Observation::Fulfilled),
        1 => Just(Observation::NotApproved("denied".to_owned())),
        1 => Just(Observation::Gone),
        1 => Just(Observation::Unclear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_delivered_reversed_dismissed_or_attempt_held_reward_is_never_delivered(
        world in a_world(), reward in a_reward(), observed in an_observation(),
    ) {
        let decision = world.decide(&observed, Some(&reward));
        let allowed: &[&str] = match (reward.state.word(), held_for(&reward)) {
            (RewardState::Delivered, _) => &["nothing", "wait for marking", "mark", "cannot mark", "adopt"],
            (RewardState::Fulfilled | RewardState::Reversed, _) => &["nothing", "drift", "drift over"],
            (RewardState::Dismissed, _) => &["nothing"],
            (RewardState::Held, Some(HoldReason::RefusedByTarget | HoldReason::OutcomeUnknown | HoldReason::GaveUp | HoldReason::Changed)) => {
                &["nothing", "adopt", "cancel", "hold outcome_unknown"]
            }
            (RewardState::Waiting | RewardState::Delivering | RewardState::Held | RewardState::Cancelled, _) => return Ok(()),
        };
        let said = said(&decision);
        prop_assert!(allowed.contains(&said.as_str()), "{said} of {:?}", reward.state);
    }

    #[test]
    fn an_attempt_in_doubt_goes_only_to_the_same_deduplicating_target_and_is_never_cancelled(
        world in a_world(), reward in a_reward(), observed in an_observation(),
    ) {
        let Some(doubt) = reward.doubt() else { return Ok(()) };
        // The ledger itself does not let these two be uncertain and cancelled or unheld.
        // The ledger refuses to cancel a reward that may have taken effect; and an unknown outcome stays unknown.
        if reward.state == State::Cancelled || held_for(&reward) == Some(HoldReason::OutcomeUnknown) {
            return Ok(());
        }
        match world.decide(&observed, Some(&reward)) {
            Step::Deliver { target, .. } => {
                prop_assert_eq!(&target, &doubt.target);
                prop_assert!(world.targets[&target].deduplicates());
                prop_assert!(doubt.fingerprint.as_ref().is_none_or(|then| *then == world.targets[&target]));
                let Observation::Listed(commission) = &observed else { panic!("not listed") };
                let now = super::facts(commission, &world.policy, &world.rules);
                prop_assert_eq!(reward.facts.difference(&now), None, "another content under the same key");
            }
            step @ Step::Write(Transition::Cancel { .. }) => prop_assert!(false, "{:?}", step),
            Step::Leave(_) | Step::Write(_) | Step::Mark => {}
        }
    }

    #[test]
    fn nothing_is_delivered_but_what_is_listed_in_scope_whole_and_claimed_by_nobody_else(
        world in a_world(), reward in option::of(a_reward()), observed in an_observation(),
    ) {
        let decision = world.decide(&observed, reward.as_ref());
        if decision.target().is_some() {
            let Observation::Listed(commission) = &observed else { panic!("not listed") };
            let Some(amount) = commission.amount.whole() else { panic!("not whole") };
            prop_assert!(world.policy.units.contains(&commission.unit) && commission.unit != Unit::Cash);
            prop_assert!(world.policy.max_amount.get(&commission.unit).is_none_or(|max| amount <= *max));
            prop_assert!(!(commission.is_self_referral && world.policy.hold_self_referral));
            prop_assert!(!(commission.fraud_suspicion.is_some() && world.policy.hold_fraud_suspicion));
            let facts = super::facts(commission, &world.policy, &world.rules);
            prop_assert!(facts.delivery(commission.id, DeliveryKey::new("12345", commission.id)).is_some());
        }
        if decision.target().is_some() {
            prop_assert_eq!(world.claimed_until, None);
        }
    }

    #[test]
    fn an_owed_open_reward_in_scope_is_never_dropped_silently(
        world in a_world(), reward in option::of(a_reward()), commission in a_commission(),
    ) {
        let open = reward.as_ref().is_none_or(|it| match it.state {
            State::Waiting { .. } | State::Delivering | State::Cancelled => true,
            State::Held { reason, .. } => reason == HoldReason::Fuse,
            State::Delivered { .. } | State::Fulfilled { .. } | State::Reversed { .. } | State::Dismissed => false,
        });
        if !open || !in_scope(&commission, &world.policy) {
            return Ok(());
        }
        let decision = world.listed(commission, reward.as_ref());
        prop_assert!(
            decision.target().is_some() || waits(&decision).is_some() || holds(&decision).is_some(),
            "{:?}", decision
        );
        if let Some((until, _)) = waits(&decision) {
            prop_assert!(until > world.now);
        }
    }

    #[test]
    fn the_fuse_lets_all_through_or_none(count in 0_usize..20, max in 0_u64..20) {
        let mut items = wanted(count);
        let blown = fuse(items.iter_mut(), max, now());
        let left = items.iter().filter(|it| it.step.target().is_some()).count();
        prop_assert_eq!(blown.is_some(), count as u64 > max);
        prop_assert_eq!(left, if blown.is_some() { 0 } else { count });
    }
}
