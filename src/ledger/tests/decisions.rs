//! Decisions of people and handlers.

use super::*;

fn record(world: &World, receipt: Option<&str>) -> Option<RewardState> {
    world.change_at(5, |it| it.record(id(1), &key(1), receipt, "handler"))
}

fn try_to<T>(world: &World, work: impl FnOnce(&Change<'_>) -> Result<T, LedgerError>) -> LedgerError {
    let before = world.dump();
    let result = world.ledger.change(by_us(5), work);
    assert_eq!(world.dump(), before);
    match result {
        Ok(_) => panic!("it went through"),
        Err(error) => error,
    }
}

#[test]
fn a_commission_that_no_pass_has_seen_is_recorded_as_delivered_outside() {
    let world = World::new();
    assert_eq!(record(&world, Some("r-9")), None);
    assert_eq!(world.column(1, "state"), "delivered");
    assert_eq!(world.column(1, "key"), key(1).as_str());
    assert_eq!(world.column(1, "delivered_by"), "outside");
    assert_eq!(world.column(1, "delivered_at"), "2026-01-01T12:05:00.000Z");
    assert_eq!(world.column(1, "receipt"), "r-9");
    assert_eq!(
        world.journal(1),
        [" -> delivered: recorded as delivered by handler, before any pass saw it (makegood)"]
    );
}

#[test]
fn recording_an_open_or_dismissed_reward_makes_it_delivered_and_ends_the_claim() {
    for state in [
        RewardState::Waiting,
        RewardState::Delivering,
        RewardState::Held,
        RewardState::Cancelled,
        RewardState::Dismissed,
    ] {
        let world = World::new();
        world.in_state(1, state);
        world.elsewhere(
            "INSERT OR REPLACE INTO claims VALUES (1, 'handler', '2026-01-01T12:00:00Z', '2026-01-01T12:10:00Z')",
        );
        assert_eq!(record(&world, None), Some(state));
        let row = world.row(1);
        assert_eq!((row.state.word(), row.doubt(), row.failures), (RewardState::Delivered, None, 0));
        assert_eq!((world.column(1, "hold_reason").as_str(), world.column(1, "wait_reason").as_str()), ("", ""));
        assert_eq!(world.column(1, "delivered_by"), "outside");
        assert_eq!(world.one("SELECT count(*) FROM claims"), "0");
        let last = format!("{state} -> delivered: recorded as delivered by handler (makegood)");
        assert_eq!(world.journal(1).last(), Some(&last));
        assert_eq!(world.one("SELECT count(*) FROM attempts WHERE outcome IS NULL"), "0", "{state}");
    }
}

#[test]
fn an_attempt_that_is_under_way_when_the_delivery_is_recorded_is_closed_and_no_other() {
    let world = World::new();
    world.in_state(1, RewardState::Delivering);
    record(&world, None);
    assert_eq!(world.one("SELECT outcome FROM attempts"), "unknown");

    let world = World::new();
    world.in_state(1, RewardState::Waiting);
    world.in_state(2, RewardState::Delivering);
    record(&world, None);
    assert_eq!(world.one("SELECT count(*) FROM attempts WHERE outcome IS NULL"), "1", "that of the other reward");
}

#[test]
fn recording_a_delivered_reward_changes_nothing_but_ends_the_claim() {
    for state in [RewardState::Delivered, RewardState::Fulfilled, RewardState::Reversed] {
        let world = World::new();
        world.in_state(1, state);
        world.elsewhere(
            "INSERT OR REPLACE INTO claims VALUES (1, 'handler', '2026-01-01T12:00:00Z', '2026-01-01T12:10:00Z')",
        );
        world.elsewhere("INSERT INTO claims VALUES (2, 'handler', '2026-01-01T12:00:00Z', '2026-01-01T12:10:00Z')");
        let before = (world.table("rewards"), world.table("journal"));
        assert_eq!(record(&world, Some("another")), Some(state));
        assert_eq!((world.table("rewards"), world.table("journal")), before);
        assert_eq!(world.one("SELECT group_concat(commission_id) FROM claims"), "2");
    }
}

/// Held after two attempts of which the last may have taken effect.
fn held_after_attempts() -> World {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.finish(1, attempt, &not_delivered(), &Aftermath::Retry(at(2)));
    let attempt = world.begin(&world.row(1));
    world.finish(1, attempt, &unknown(), &Aftermath::Hold(HoldReason::OutcomeUnknown));
    assert!(world.row(1).doubt().is_some() && world.row(1).first_attempt_at.is_some());
    world
}

#[test]
fn a_hold_is_resolved_as_delivered_by_the_operator() {
    let world = held_after_attempts();
    let reward = world.row(1);
    world.change_at(5, |it| it.resolve(&reward, &Resolution::Delivered(Some("seen".to_owned())), "looked"));
    let row = world.row(1);
    let given = Given { by: DeliveredBy::Operator, at: Some(at(5)), receipt: Some("seen".to_owned()) };
    assert_eq!((&row.state, row.doubt()), (&State::Delivered { given, marking: Marking::default() }, None));
    assert_eq!(world.column(1, "hold_reason"), "");
    assert_eq!(world.journal(1).last().unwrap(), "held -> delivered: looked (makegood)");
}

#[test]
fn a_hold_is_resolved_by_trying_again_from_the_beginning() {
    let world = held_after_attempts();
    let reward = world.row(1);
    world.change_at(5, |it| it.resolve(&reward, &Resolution::Retry, "it did not arrive"));
    let row = world.row(1);
    assert_eq!(row.state, State::Waiting { until: at(5), why: Wait::Due, last_error: None });
    assert_eq!((row.doubt(), row.failures, row.first_attempt_at), (None, 0, None));
    assert_eq!(world.column(1, "hold_reason"), "");
    assert_eq!(world.journal(1).last().unwrap(), "held -> waiting: it did not arrive (makegood)");
}

#[test]
fn a_hold_is_resolved_by_dismissal_which_does_not_forget_that_it_may_have_taken_effect() {
    let world = held_after_attempts();
    let reward = world.row(1);
    world.change_at(5, |it| it.resolve(&reward, &Resolution::Dismiss, "not wanted"));
    let row = world.row(1);
    assert_eq!((&row.state, row.doubt().is_some()), (&State::Dismissed, true));
    assert_eq!(world.column(1, "next_attempt_at"), "");
    assert_eq!(world.journal(1).last().unwrap(), "held -> dismissed: not wanted (makegood)");
}

#[test]
fn only_held_rewards_are_resolved() {
    for resolution in [Resolution::Delivered(None), Resolution::Retry, Resolution::Dismiss] {
        let world = World::new();
        let reward = world.held(1, HoldReason::Fuse);
        world.change(|it| it.resolve(&reward, &Resolution::Dismiss, "meanwhile"));
        let error = try_to(&world, |it| it.resolve(&reward, &resolution, "too late"));
        assert!(matches!(error, LedgerError::Moved { .. }), "{resolution:?}: {error:?}");
    }
}

#[test]
fn only_delivered_rewards_are_reversed() {
    for state in [RewardState::Delivered, RewardState::Fulfilled] {
        let world = World::new();
        let reward = world.in_state(1, state);
        world.change_at(5, |it| it.reverse(&reward, "a mistake"));
        assert_eq!(world.row(1).state.word(), RewardState::Reversed);
        assert_eq!(world.journal(1).last().unwrap(), &format!("{state} -> reversed: a mistake (makegood)"));
        let error = try_to(&world, |it| it.reverse(&reward, "again"));
        assert!(matches!(error, LedgerError::Moved { .. }), "{error:?}");
    }
    let world = World::new();
    let reward = world.in_state(1, RewardState::Waiting);
    assert!(matches!(try_to(&world, |it| it.reverse(&reward, "no")), LedgerError::Moved { .. }));
}

#[test]
fn only_the_holds_of_policy_say_why_trying_again_does_not_help() {
    let words = HoldReason::OverLimit.no_retry().unwrap();
    assert!(words.contains("over_limit") && words.contains("--dismiss"), "{words}");
    for reason in [HoldReason::OutcomeUnknown, HoldReason::GaveUp, HoldReason::RefusedByTarget, HoldReason::Changed] {
        assert_eq!(reason.no_retry(), None, "{reason}");
    }
}

#[test]
fn how_a_target_answers_is_remembered_until_it_is_well() {
    let world = World::new();
    let one = Health { failures: 3, last_error: Some("503".to_owned()), ..Health::default() };
    let two = Health { refusals: 5, retry_at: Some(at(9)), ..Health::default() };
    world.change(|it| it.note_health("app", &one));
    world.change(|it| it.note_health("script", &two));
    assert_eq!(world.ledger.health().unwrap(), [("app".to_owned(), one), ("script".to_owned(), two.clone())].into());
    world.change(|it| it.note_health("app", &two));
    world.change(|it| it.note_health("script", &Health::default()));
    assert_eq!(world.ledger.health().unwrap(), [("app".to_owned(), two)].into());
}
