//! The facts that alerts depend on, and that sent alerts are remembered.

use std::collections::BTreeSet;

use super::*;

fn subjects(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

const DAY: Duration = Duration::from_hours(24);

#[test]
fn sent_alerts_are_remembered_over_a_restart_with_their_time() {
    let world = World::new();
    assert!(world.ledger.alerts().unwrap().is_empty());
    world.ledger.remember_alerts(&subjects(&["attention", "failing"]), at(0)).unwrap();
    world.ledger.remember_alerts(&subjects(&["failing", "handler"]), at(5)).unwrap();
    let World { place, ledger } = world;
    drop(ledger);
    let world = World { ledger: place.open(), place };
    assert_eq!(world.ledger.alerts().unwrap(), subjects(&["failing", "handler"]));
    assert_eq!(world.one("SELECT sent_at FROM alerts WHERE subject = 'failing'"), "2026-01-01T12:00:00.000Z");
    world.ledger.remember_alerts(&subjects(&[]), at(6)).unwrap();
    assert!(world.ledger.alerts().unwrap().is_empty());
}

fn pass(world: &World, kind: &str, minutes: i64, failure: Option<FailureKind>) {
    let pass = world.ledger.begin_pass("schedule", kind, at(minutes)).unwrap();
    // In words that decide nothing.
    let failure = failure.map(|kind| PassFailure { kind, text: "it ended".to_owned() });
    world.ledger.finish_pass(pass, &Counts::default(), failure.as_ref(), at(minutes + 1)).unwrap();
}

#[test]
fn passes_fail_since_the_first_that_did_not_complete_after_the_last_that_did() {
    let world = World::new();
    let streak = || {
        let Streak { completed, failing_since } = world.ledger.streak().unwrap();
        (completed, failing_since)
    };
    assert_eq!(streak(), (None, None));
    pass(&world, "poll", 0, Some(FailureKind::Unavailable));
    assert_eq!(streak(), (None, Some(at(0))));
    pass(&world, "poll", 10, None);
    assert_eq!(streak(), (Some(at(11)), None));
    pass(&world, "poll", 20, Some(FailureKind::Stopped));
    assert_eq!(streak(), (Some(at(11)), None), "a stop says nothing");
    pass(&world, "poll", 30, Some(FailureKind::RejectedKey));
    pass(&world, "commissions", 40, None);
    pass(&world, "poll", 50, Some(FailureKind::RejectedKey));
    assert_eq!(streak(), (Some(at(11)), Some(at(30))), "a pass over one commission says nothing");
    world.ledger.begin_pass("schedule", "poll", at(60)).unwrap();
    assert_eq!(streak(), (Some(at(11)), Some(at(30))), "nor one that is under way");
}

#[test]
fn a_pass_that_a_crash_cut_off_has_failed() {
    let world = World::new();
    world.ledger.begin_pass("schedule", "poll", at(0)).unwrap();
    pass(&world, "poll", 5, Some(FailureKind::Unavailable));
    assert_eq!(world.ledger.streak().unwrap().failing_since, Some(at(0)));
}

#[test]
fn caught_counts_what_makegood_delivered_of_the_settled_rewards_approved_lately() {
    let world = World::new();
    // All were approved 90 minutes before noon.
    world.in_state(1, RewardState::Fulfilled);
    world.in_state(2, RewardState::Delivered);
    let outside = world.waiting(3);
    world.change(|it| it.apply(&outside, &fulfil("the handler did")));
    world.in_state(4, RewardState::Waiting);
    world.in_state(5, RewardState::Held);
    world.in_state(6, RewardState::Cancelled);
    let caught = |within: Duration, minutes: i64| {
        let Caught { caught, of } = world.ledger.caught(within, at(minutes)).unwrap();
        (caught, of)
    };
    assert_eq!(caught(DAY, 5), (2, 3));
    assert_eq!(caught(Duration::from_mins(89), 0), (0, 0), "approved before");
    assert_eq!(caught(DAY, 2 * 24 * 60), (0, 0), "long ago");
    world.elsewhere("UPDATE rewards SET approved_at = NULL");
    assert_eq!(caught(DAY, 5), (2, 3), "first seen then, where the approval is unknown");
}
