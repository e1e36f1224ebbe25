//! Each transition: what it does to the row, its one entry in the journal, and that it does nothing to a row that moved.

use super::*;

/// The one entry that `work` adds to the journal of commission 1.
fn entry(world: &World, minutes: i64, work: impl FnOnce(&Change<'_>) -> Result<(), LedgerError>) -> String {
    let before = world.journal(1);
    world.change_at(minutes, work);
    let after = world.journal(1);
    assert_eq!(after.len(), before.len() + 1, "{after:#?}");
    assert_eq!(after[..before.len()], before);
    assert_eq!(world.one("SELECT at FROM journal ORDER BY id DESC LIMIT 1"), timestamp_text(at(minutes)));
    after.last().unwrap().clone()
}

#[test]
fn a_commission_enters_as_owed() {
    let world = World::new();
    let said = entry(&world, 0, |it| it.enter(id(1), &key(1), &facts(), &wait(at(15))));
    assert_eq!(said, " -> waiting: first seen; owed, not before 2026-01-01T12:15:00.000Z (makegood)");
    let row = world.row(1);
    let expected = Reward {
        id: id(1),
        key: key(1),
        facts: facts(),
        state: grace(at(15)),
        since: at(0),
        first_seen_at: at(0),
        owed_since: at(0),
        attempts: 0,
        failures: 0,
        first_attempt_at: None,
        tried: Tried::Never,
    };
    assert_eq!(row, expected);
    assert_eq!(world.column(1, "key"), "fp-12345-1");
    assert_eq!(world.column(1, "state_since"), "2026-01-01T12:00:00.000Z");
    assert_eq!(world.column(1, "approved_at"), "2026-01-01T10:30:00Z");
}

#[test]
fn a_commission_enters_as_held() {
    let world = World::new();
    let seen = hold(HoldReason::BadAmount, "the amount is 0");
    let odd = Facts { amount: None, ..facts() };
    let said = entry(&world, 0, |it| it.enter(id(1), &key(1), &odd, &seen));
    assert_eq!(said, " -> held: first seen; bad_amount: the amount is 0 (makegood)");
    let row = world.row(1);
    assert_eq!(row.state, held(HoldReason::BadAmount, "the amount is 0"));
    assert_eq!(row.facts, odd);
}

#[test]
fn firstpromoters_facts_read_back_unchanged() {
    let world = World::new();
    let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let variants = [
        Facts::default(),
        Facts { unit: Some(Unit::Unknown(String::new())), amount: Some(i64::MAX), ..facts() },
        Facts { unit: Some(Unit::Unknown("stars 'n' \"bars\"".to_owned())), recipient: None, ..facts() },
        Facts { promoter: None, recipient: Some(RecipientKind::Referral), unit: Some(Unit::FreeMonths), ..facts() },
        Facts { promoter: Some(Promoter { id: i64::MAX, email: None, name: None }), ..facts() },
        Facts { referral: Some(Referral { id: 4, email: None, uid: None }), campaign: None, reward: None, ..facts() },
        Facts {
            promoter: Some(Promoter { id: 1, email: None, name: Some("Zoë\u{0}\u{1F600}\n".to_owned()) }),
            ..facts()
        },
        Facts {
            approved_at: time("2025-01-19T10:30:00.123456789Z"),
            created_at: time("1970-01-01T00:00:00Z"),
            ..facts()
        },
        Facts { approved_at: time("9999-12-31T23:59:59.999Z"), created_at: time("2016-12-31T23:59:60Z"), ..facts() },
    ];
    for (number, facts) in (1..).zip(variants) {
        world.change(|it| it.enter(id(number), &key(number), &facts, &hold(HoldReason::Fuse, "")));
        assert_eq!(world.row(number).facts, facts);
    }
}

#[test]
fn a_commission_enters_once() {
    let world = World::new();
    world.held(1, HoldReason::Fuse);
    let before = world.dump();
    world.change(|it| {
        let error = it.enter(id(1), &key(1), &facts(), &wait(at(0))).unwrap_err();
        assert!(matches!(error, LedgerError::Moved { found, .. } if found == "held"));
        Ok(())
    });
    assert_eq!(world.dump(), before);
}

#[test]
fn upstream_changes_are_recorded_and_only_important_ones_are_journaled() {
    let world = World::new();
    let row = world.waiting(1);
    let before = world.dump();
    world.change(|it| it.record_facts(&row, &facts()));
    assert_eq!(world.dump(), before, "nothing changed");

    let renamed = Facts { campaign: Some(Campaign { id: 17, name: Some("Summer".to_owned()) }), ..facts() };
    world.change(|it| it.record_facts(&row, &renamed));
    assert_eq!(world.row(1).facts, renamed);
    assert_eq!(world.journal(1).len(), 1);

    let row = world.row(1);
    let more = Facts { amount: Some(700), unit: Some(Unit::Credits), ..renamed };
    let said = entry(&world, 1, |it| it.record_facts(&row, &more));
    let words = "changed upstream before delivery: unit points -> credits, amount 500 -> 700";
    assert_eq!(said, format!("waiting -> waiting: {words} (makegood)"));
    assert_eq!(world.row(1), Reward { facts: more, ..row });
}

#[test]
fn a_waiting_reward_gets_another_time_without_a_journal_entry() {
    let world = World::new();
    let row = world.waiting(1);
    world.change(|it| it.apply(&row, &wait(at(20))));
    assert_eq!(world.row(1), Reward { state: grace(at(20)), ..row.clone() });
    let why = Wait::Target("app".to_owned());
    world.change(|it| it.apply(&row, &Transition::Wait { until: at(30), why: why.clone() }));
    let state = State::Waiting { until: at(30), why, last_error: None };
    assert_eq!(world.row(1), Reward { state, ..row });
    assert_eq!(world.journal(1).len(), 1);
}

#[test]
fn a_held_reward_is_owed_again_since_its_first_time() {
    let world = World::new();
    let row = world.held(1, HoldReason::FraudSuspicion);
    let said = entry(&world, 5, |it| it.apply(&row, &wait(at(20))));
    assert_eq!(said, "held -> waiting: grace: the webhook handler still has its chance (makegood)");
    let expected = Reward { state: grace(at(20)), since: at(5), ..row };
    assert_eq!(world.row(1), expected);
    assert_eq!(world.column(1, "state_since"), timestamp_text(at(5)));
}

#[test]
fn a_cancelled_reward_is_owed_anew() {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.finish(1, attempt, &not_delivered(), &Aftermath::Retry(at(3)));
    let row = world.row(1);
    world.change_at(4, |it| it.apply(&row, &cancel("denied")));
    let row = world.row(1);
    let said = entry(&world, 500, |it| it.apply(&row, &wait(at(515))));
    assert_eq!(said, "cancelled -> waiting: grace: the webhook handler still has its chance (makegood)");
    let row = world.row(1);
    assert_eq!((row.owed_since, row.first_seen_at), (at(500), at(0)));
    assert_eq!((row.failures, row.first_attempt_at, row.attempts), (0, None, 1), "attempts are counted for ever");
}

#[test]
fn a_cancelled_reward_that_is_held_when_approved_again_is_owed_anew_too() {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.finish(1, attempt, &not_delivered(), &Aftermath::Retry(at(3)));
    let row = world.row(1);
    world.change_at(4, |it| it.apply(&row, &cancel("denied")));
    let row = world.row(1);
    world.change_at(500, |it| it.apply(&row, &hold(HoldReason::FraudSuspicion, "ad_source")));
    let row = world.row(1);
    world.change_at(600, |it| it.apply(&row, &wait(at(600))));
    let row = world.row(1);
    assert_eq!(row.owed_since, at(500));
    assert_eq!((row.failures, row.first_attempt_at), (0, None), "or the next failure would be the last");
}

#[test]
fn a_held_reward_says_why() {
    let world = World::new();
    let row = world.waiting(1);
    let said = entry(&world, 1, |it| it.apply(&row, &hold(HoldReason::OverLimit, "700 points")));
    assert_eq!(said, "waiting -> held: over_limit: 700 points (makegood)");
    let expected = Reward { state: held(HoldReason::OverLimit, "700 points"), since: at(1), ..row };
    assert_eq!(world.row(1), expected);
    let row = world.row(1);
    let said = entry(&world, 2, |it| it.apply(&row, &hold(HoldReason::Fuse, "101 deliveries")));
    assert_eq!(said, "held -> held: fuse: 101 deliveries (makegood)");
}

#[test]
fn a_hold_keeps_the_backoff_of_failed_attempts() {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.finish(1, attempt, &not_delivered(), &Aftermath::Retry(at(30)));
    let row = world.row(1);
    world.change(|it| it.apply(&row, &hold(HoldReason::Fuse, "101 deliveries")));
    let state = world.row(1).state;
    assert!(matches!(state, State::Held { until: Some(until), .. } if until == at(30)), "{state:?}");
}

#[test]
fn a_cut_off_attempt_that_is_held_is_closed_and_may_have_taken_effect() {
    let world = World::new();
    let row = world.in_state(1, RewardState::Delivering);
    let said = entry(&world, 9, |it| it.apply(&row, &hold(HoldReason::OutcomeUnknown, "cut off")));
    assert_eq!(said, "delivering -> held: outcome_unknown: cut off (makegood)");
    assert_eq!(world.row(1).doubt(), Some(&attempted()));
    assert_eq!(
        world.one("SELECT outcome || ' ' || finished_at FROM attempts"),
        format!("unknown {}", timestamp_text(at(9)))
    );
}

#[test]
fn a_reward_that_is_no_longer_approved_is_cancelled() {
    let world = World::new();
    for (number, row) in [(1, world.waiting(1)), (2, world.held(2, HoldReason::RefusedByTarget))] {
        world.change_at(1, |it| it.apply(&row, &cancel("denied")));
        let expected = Reward { state: State::Cancelled, since: at(1), ..row };
        assert_eq!(world.row(number), expected);
    }
    assert_eq!(world.journal(1)[1], "waiting -> cancelled: denied (makegood)");
    assert_eq!(world.journal(2)[1], "held -> cancelled: denied (makegood)");
}

#[test]
fn a_reward_that_may_have_taken_effect_cannot_be_cancelled() {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.finish(1, attempt, &unknown(), &Aftermath::Retry(at(3)));
    let row = world.row(1);
    let before = world.dump();
    assert!(world.ledger.change(by_us(4), |it| it.apply(&row, &cancel("denied"))).is_err());
    assert_eq!(world.dump(), before);
}

#[test]
fn a_reward_is_fulfilled_as_ours_only_where_makegood_delivered_it() {
    let world = World::new();
    for (number, state, by) in [
        (1, RewardState::Delivered, DeliveredBy::Makegood),
        (2, RewardState::Waiting, DeliveredBy::Outside),
        (3, RewardState::Held, DeliveredBy::Outside),
        (4, RewardState::Delivering, DeliveredBy::Outside),
    ] {
        let row = world.in_state(number, state);
        world.change_at(7, |it| it.apply(&row, &fulfil("read back")));
        let row = world.row(number);
        let State::Fulfilled { given, at: fulfilled_at, drift: None } = &row.state else { panic!("{row:?}") };
        assert_eq!((given.by, *fulfilled_at, row.doubt()), (by, at(7), None));
        for column in ["hold_reason", "next_attempt_at", "last_error", "wait_reason"] {
            assert_eq!(world.column(number, column), "", "{column} of what was {state}");
        }
        assert_eq!(world.column(number, "fulfilled_at"), timestamp_text(at(7)));
        let last = world.journal(number).pop().unwrap();
        assert_eq!(last, format!("{state} -> fulfilled: read back (makegood)"));
    }
    assert_eq!(
        world.one("SELECT outcome FROM attempts WHERE commission_id = 4"),
        "unknown",
        "the one cut off is closed"
    );
    assert_eq!(world.one("SELECT outcome FROM attempts WHERE commission_id = 1"), "delivered");
}

#[test]
fn a_delivery_that_an_operator_reported_stays_the_operators() {
    let world = World::new();
    world.waiting(1);
    world.elsewhere("UPDATE rewards SET state = 'delivered', delivered_at = state_since, delivered_by = 'operator'");
    let row = world.row(1);
    world.change(|it| it.apply(&row, &fulfil("read back")));
    assert_eq!(world.row(1).state.word(), RewardState::Fulfilled);
    assert_eq!(world.column(1, "delivered_by"), "operator");
}

#[test]
fn marks_that_fail_are_counted_until_one_succeeds() {
    let world = World::new();
    let mut row = world.in_state(1, RewardState::Delivered);
    for count in 1..=3 {
        let next = (count == 3).then(|| at(60));
        let said = entry(&world, 1, |it| it.apply(&row, &not_marked("422: no payout", next)));
        assert_eq!(said, "delivered -> delivered: FirstPromoter does not say fulfilled: 422: no payout (makegood)");
        row = world.row(1);
        let expected = Marking { failures: count, error: Some("422: no payout".to_owned()), not_before: next };
        assert!(matches!(&row.state, State::Delivered { marking, .. } if *marking == expected), "{:?}", row.state);
    }
    world.change(|it| it.apply(&row, &fulfil("read back")));
    assert_eq!((world.column(1, "mark_attempts").as_str(), world.column(1, "mark_error").as_str()), ("0", ""));
}

#[test]
fn drift_comes_and_goes_and_the_state_stays() {
    let world = World::new();
    let row = world.in_state(1, RewardState::Fulfilled);
    assert!(
        entry(&world, 1, |it| it.apply(&row, &Transition::Drift(Drift::UnfulfilledUpstream)))
            .starts_with("fulfilled -> fulfilled: drift: ")
    );
    let State::Fulfilled { given, at: fulfilled_at, drift: None } = row.state.clone() else { panic!("{row:?}") };
    let state = State::Fulfilled { given, at: fulfilled_at, drift: Some(Drift::UnfulfilledUpstream) };
    assert_eq!(world.row(1), Reward { state, ..row.clone() });
    assert_eq!(world.column(1, "drift"), "unfulfilled_upstream");
    assert!(
        entry(&world, 2, |it| it.apply(&row, &Transition::DriftOver(Drift::UnfulfilledUpstream)))
            .starts_with("fulfilled -> fulfilled: drift is over: ")
    );
    assert_eq!(world.row(1), row);
}

type Arrow = fn(&Change<'_>, &Reward) -> Result<(), LedgerError>;

fn transitions() -> Vec<(&'static str, Arrow)> {
    vec![
        ("wait", |it, row| it.apply(row, &wait(at(99)))),
        ("hold", |it, row| it.apply(row, &hold(HoldReason::NoRoute, "why"))),
        ("cancel", |it, row| it.apply(row, &cancel("why"))),
        ("fulfil", |it, row| it.apply(row, &fulfil("why"))),
        ("record_facts", |it, row| it.record_facts(row, &Facts { amount: Some(1), ..row.facts.clone() })),
    ]
}

#[test]
fn a_row_that_moved_meanwhile_is_left_as_it_is_by_every_transition() {
    let world = World::new();
    let mut number = 0;
    let examples: std::collections::HashMap<RewardState, State> =
        (1_001..).zip(RewardState::ALL).map(|(it, word)| (*word, world.in_state(it, *word).state)).collect();
    for there in RewardState::ALL {
        for believed in RewardState::ALL.iter().filter(|state| *state != there) {
            number += 1;
            let stale = Reward { state: examples[believed].clone(), ..world.in_state(number, *there) };
            let before = world.dump();
            let moved = |name: &str, result: Result<(), LedgerError>| match result {
                Err(LedgerError::Moved { id, expected, found }) => {
                    assert_eq!((id, expected, found.as_str()), (stale.id, *believed, there.as_str()), "{name}");
                }
                other => panic!("{name}, {there} taken for {believed}: {other:?}"),
            };
            // As a pass does: what moved is left out, and the rest of the transaction committed.
            world.change(|it| {
                for (name, transition) in transitions() {
                    moved(name, transition(it, &stale));
                }
                if *believed == RewardState::Delivered {
                    moved("mark_failed", it.apply(&stale, &not_marked("why", None)));
                }
                if *believed == RewardState::Fulfilled {
                    moved("set_drift", it.apply(&stale, &Transition::Drift(Drift::UnfulfilledUpstream)));
                }
                Ok(())
            });
            assert_eq!(world.dump(), before, "{there} taken for {believed}");
        }
    }
    assert_eq!(number, 8 * 7);
}

#[test]
fn a_change_that_fails_in_the_middle_leaves_nothing_behind() {
    let world = World::new();
    let row = world.waiting(1);
    let before = world.dump();
    let result = world.ledger.change(by_us(0), |it| {
        it.enter(id(2), &key(2), &facts(), &wait(at(0)))?;
        it.begin(&row, "app", at(2))?;
        it.apply(&row, &cancel("but it is delivering now"))
    });
    assert!(matches!(result, Err(LedgerError::Moved { .. })));
    assert_eq!(world.dump(), before);
    world.waiting(2);
}

#[test]
fn the_journal_names_who_did_it_and_in_which_pass() {
    let world = World::new();
    let pass = world.ledger.begin_pass("command", "poll", at(0)).unwrap();
    let author = Author { actor: "kim", pass_id: Some(pass), now: at(3) };
    world.ledger.change(author, |it| it.enter(id(1), &key(1), &facts(), &wait(at(15)))).unwrap();
    assert!(world.journal(1)[0].ends_with("(kim)"));
    assert_eq!(world.one("SELECT pass_id FROM journal"), pass.to_string());
}

#[test]
fn a_found_reward_counts_from_the_time_of_the_plan_and_not_of_the_write() {
    let world = World::new();
    let found = |change: &Change<'_>| change.is_found_at(at(-3));
    world.change(|it| {
        found(it);
        it.enter(id(1), &key(1), &facts(), &wait(at(12)))
    });
    assert_eq!((world.row(1).owed_since, world.row(1).first_seen_at), (at(-3), at(-3)));
    let cancelled = world.in_state(2, RewardState::Cancelled);
    world.change_at(5, |it| {
        found(it);
        it.apply(&cancelled, &wait(at(12)))
    });
    assert_eq!(world.row(2).owed_since, at(-3));
}

#[test]
fn a_commission_enters_the_ledger_as_waiting_or_held_and_in_no_other_way() {
    let world = World::new();
    let drift = Drift::UnfulfilledUpstream;
    for transition in [
        cancel("denied"),
        fulfil("read back"),
        not_marked("422", None),
        Transition::Drift(drift),
        Transition::DriftOver(drift),
    ] {
        let error = world.ledger.change(by_us(0), |it| it.enter(id(1), &key(1), &facts(), &transition)).unwrap_err();
        assert!(matches!(error, LedgerError::Moved { .. }), "{transition:?}: {error}");
    }
    assert_eq!(world.one("SELECT count(*) FROM rewards"), "0");
}
