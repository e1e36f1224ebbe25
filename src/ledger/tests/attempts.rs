//! Attempts to deliver: the intent before, the outcome after, and the state that a crash in between leaves.

use super::*;

fn attempt_rows(world: &World) -> Vec<String> {
    let sql = "SELECT attempt || ' ' || target || ' ' || coalesce(outcome, 'open') || ': ' || coalesce(detail, '') \
               FROM attempts ORDER BY id";
    let mut statement = world.ledger.conn.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_intent_is_on_disk_with_its_attempt_and_its_claim() {
    let world = World::new();
    let row = world.waiting(1);
    assert_eq!(world.begin(&row), 1);
    let expected = Reward {
        state: State::Delivering,
        tried: Tried::InDoubt(attempted()),
        attempts: 1,
        first_attempt_at: Some(at(0)),
        ..row
    };
    assert_eq!(world.row(1), expected);
    assert_eq!(attempt_rows(&world), ["1 app open: "]);
    assert_eq!(world.journal(1)[1..], ["waiting -> delivering: attempt 1 at app (makegood)"]);
    assert_eq!(
        world.one("SELECT owner || ' ' || expires_at FROM claims"),
        format!("makegood {}", timestamp_text(at(2)))
    );
    let elsewhere = world.place.shell();
    let state: String = elsewhere.query_row("SELECT state FROM rewards", [], |row| row.get(0)).unwrap();
    assert_eq!(state, "delivering", "on disk, not only with us");
}

#[test]
fn each_outcome_leaves_the_row_where_it_belongs() {
    let hold = Aftermath::Hold;
    let cases = [
        (not_delivered(), Aftermath::Retry(at(9)), "waiting", "", false, "not_delivered", "refused connection"),
        (unknown(), Aftermath::Retry(at(9)), "waiting", "", true, "unknown", "no answer"),
        (unknown(), hold(HoldReason::OutcomeUnknown), "held", "outcome_unknown", true, "unknown", "no answer"),
        (
            refused(),
            hold(HoldReason::RefusedByTarget),
            "held",
            "refused_by_target",
            false,
            "refused",
            "400 no such user",
        ),
        (not_delivered(), hold(HoldReason::GaveUp), "held", "gave_up", false, "not_delivered", "refused connection"),
        (unknown(), hold(HoldReason::GaveUp), "held", "gave_up", true, "unknown", "no answer"),
    ];
    for (number, (outcome, after, state, reason, uncertain, word, detail)) in (1..).zip(cases) {
        let world = World::new();
        let attempt = world.begin(&world.waiting(number));
        world.finish(number, attempt, &outcome, &after);
        let row = world.row(number);
        let last_error = Some(detail.to_owned());
        let expected = match HoldReason::from_word(reason) {
            Some(reason) => State::Held { reason, detail: last_error, until: None },
            None => State::Waiting { until: at(9), why: Wait::Backoff, last_error },
        };
        assert_eq!((&row.state, row.state.word().as_str()), (&expected, state), "{outcome:?}");
        assert_eq!((row.attempts, row.failures, row.doubt().is_some()), (1, 1, uncertain), "{outcome:?}");
        assert_eq!(attempt_rows(&world), [format!("1 app {word}: {detail}")]);
        let journal = world.journal(number);
        assert_eq!(journal[2..], [format!("delivering -> {state}: attempt 1: {word}: {detail} (makegood)")]);
        assert_eq!(world.one("SELECT count(*) FROM claims"), "0", "our claim ends with the attempt");
    }
}

#[test]
fn a_delivery_is_recorded_with_its_receipt_and_without_its_failures() {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.finish(1, attempt, &unknown(), &Aftermath::Retry(at(1)));
    let attempt = world.begin(&world.row(1));
    assert_eq!(attempt, 2);
    world.finish(1, attempt, &delivered(), &Aftermath::Delivered);
    let row = world.row(1);
    let given = Given { by: DeliveredBy::Makegood, at: Some(at(1)), receipt: Some("r-1".to_owned()) };
    assert_eq!(row.state, State::Delivered { given, marking: Marking::default() });
    assert_eq!((row.failures, row.tried), (0, Tried::At(attempted())));
    assert_eq!(world.column(1, "last_error"), "");
    assert_eq!(attempt_rows(&world), ["1 app unknown: no answer", "2 app delivered: receipt r-1"]);
    assert_eq!(world.journal(1).len(), 5);
}

#[test]
fn a_delivery_without_a_receipt_is_one() {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.finish(1, attempt, &Outcome::Delivered { receipt: None }, &Aftermath::Delivered);
    assert_eq!(world.row(1).state.word(), RewardState::Delivered);
    assert_eq!(world.journal(1)[2], "delivering -> delivered: attempt 1: delivered (makegood)");
}

#[test]
fn an_uncertain_reward_stays_uncertain_through_certain_failures() {
    let world = World::new();
    let first = world.begin(&world.waiting(1));
    world.finish(1, first, &unknown(), &Aftermath::Retry(at(1)));
    let row = world.row(1);
    assert_eq!(world.change_at(5, |it| it.begin(&row, "app", at(7))), Begun::Attempt(2));
    world.finish(1, 2, &not_delivered(), &Aftermath::Retry(at(9)));
    let row = world.row(1);
    assert!(row.doubt().is_some());
    assert_eq!((row.failures, row.first_attempt_at), (2, Some(at(0))));
}

#[test]
fn an_attempt_cut_off_is_closed_as_unknown_when_the_next_one_begins() {
    let world = World::new();
    world.begin(&world.waiting(1));
    let World { place, ledger } = world;
    drop(ledger);

    let world = World { ledger: place.open(), place };
    let row = world.row(1);
    assert_eq!((row.state.clone(), world.column(1, "uncertain").as_str()), (State::Delivering, "0"));
    assert_eq!(world.begin(&row), 2);
    let expected = ["1 app unknown: cut off: the process ended before the answer", "2 app open: "];
    assert_eq!(attempt_rows(&world), expected);
    assert_eq!(world.column(1, "uncertain"), "1", "the first one may have taken effect");
    assert_eq!(world.journal(1)[2..], ["delivering -> delivering: attempt 2 at app (makegood)"]);
    world.finish(1, 2, &not_delivered(), &Aftermath::Retry(at(2)));
    assert!(world.row(1).doubt().is_some());
}

#[test]
fn a_row_that_moved_meanwhile_is_not_begun_and_left_as_it_is() {
    let world = World::new();
    let mut number = 0;
    for there in RewardState::ALL {
        for believed in [RewardState::Waiting, RewardState::Delivering] {
            if *there == believed {
                continue;
            }
            number += 1;
            let taken_for = if believed == RewardState::Waiting { grace(at(15)) } else { State::Delivering };
            let stale = Reward { state: taken_for, ..world.in_state(number, *there) };
            world.elsewhere("DELETE FROM claims");
            let before = world.dump();
            assert_eq!(world.change(|it| it.begin(&stale, "app", at(2))), Begun::Taken, "{there} taken for {believed}");
            assert_eq!(world.dump(), before, "{there} taken for {believed}");
        }
    }
}

#[test]
fn an_attempt_in_flight_that_somebody_recorded_meanwhile_is_left_to_its_own_outcome() {
    let world = World::new();
    world.begin(&world.waiting(1));
    let stale = world.row(1);
    world.elsewhere(
        "UPDATE rewards SET state = 'delivered', delivered_at = state_since, delivered_by = 'outside'; DELETE FROM claims",
    );
    let before = world.dump();
    assert_eq!(world.change(|it| it.begin(&stale, "app", at(2))), Begun::Taken);
    assert_eq!(world.dump(), before);
}

#[test]
fn the_outcome_of_an_attempt_is_kept_when_somebody_recorded_the_reward_meanwhile() {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.elsewhere(
        "UPDATE rewards SET state = 'delivered', delivered_at = state_since, delivered_by = 'outside'; DELETE FROM claims",
    );
    let row = world.row(1);
    world.change(|it| {
        let error = it.finish(id(1), attempt, &refused(), &Aftermath::Hold(HoldReason::RefusedByTarget)).unwrap_err();
        assert!(matches!(error, LedgerError::Moved { found, .. } if found == "delivered"));
        Ok(())
    });
    assert_eq!(world.row(1), row);
    assert_eq!(world.journal(1).len(), 2);
    assert_eq!(attempt_rows(&world), ["1 app refused: 400 no such user"]);
}

/// A pass died in two attempts, and the handler recorded one of the rewards.
#[test]
fn an_attempt_that_was_cut_off_is_ended_where_the_reward_has_moved_on() {
    let world = World::new();
    for number in [1, 2] {
        let reward = world.waiting(number);
        world.change(|it| it.begin(&reward, "app", at(2)));
    }
    world.change(|it| it.record(id(1), &key(1), None, "handler"));
    world.ledger.end_cut_off_attempts(at(4)).unwrap();
    let ends = "SELECT group_concat(commission_id || ' ' || coalesce(outcome, 'open')) FROM attempts";
    assert_eq!(world.one(ends), "1 unknown,2 open");
}
