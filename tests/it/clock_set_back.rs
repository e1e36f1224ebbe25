//! The clock was ten days ahead and was set back. No wait of any kind is longer than the longest legal one from now.

use crate::{
    audit::{at_rest, effects},
    harm::{Harm, harmed, once_later},
    sandbox::{always, commission, never, status},
    world::{LONG_AGO, given},
};

const TEN_DAYS: u64 = 10 * 24 * 3600;

#[test]
fn a_target_that_failed_while_the_clock_was_ahead_is_tried_now() {
    let world = given((1..=20).map(|id| commission(id).approved(LONG_AGO)));
    world.sandbox.merchant.lock().secret = None; // whose timestamps it compares with its own clock
    world.sandbox.merchant.lock().faults = always(status(503));
    once_later(&world, TEN_DAYS).exits(0);
    world.sandbox.merchant.lock().faults = never();
    let untried = world.query("SELECT commission_id FROM rewards WHERE attempts = 0").len();
    assert!(untried > 0);
    world.once().exits(0);
    assert_eq!(effects(&world).len(), untried, "those that failed wait for a day at the most");
    once_later(&world, 25 * 3600).exits(0);
    assert_eq!(effects(&world), (1..=20).map(|id| (id, 1)).collect());
    at_rest(&world, &(1..=20).collect::<Vec<_>>()).exits(0);
}

#[test]
fn a_reward_of_unknown_approval_that_was_found_while_the_clock_was_ahead_waits_a_grace_period() {
    let world = given([commission(1).approved_who_knows_when()]);
    once_later(&world, TEN_DAYS).exits(0);
    assert_eq!(world.state_of(1), "waiting");
    world.once().exits(0);
    world.then_nothing_more_happens().exits(0);
    assert_eq!(world.sandbox.merchant.requests(), 0, "the handler has its chance");
    world.sandbox.merchant.lock().secret = None;
    once_later(&world, 16 * 60).exits(0);
    assert_eq!(effects(&world), [(1, 1)].into());
}

#[test]
fn a_claim_that_a_handler_took_while_the_clock_was_ahead_lasts_no_longer_than_it_asked_for() {
    let world = given([commission(1).approved(LONG_AGO)]);
    harmed(&world, Harm::Later(TEN_DAYS), &["claim", "1", "--for", "10m"]).0.exits(0);
    world.once().exits(0);
    world.then_nothing_more_happens().exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("waiting", 0));
    world.sandbox.merchant.lock().secret = None;
    once_later(&world, 11 * 60).exits(0);
    assert_eq!(effects(&world), [(1, 1)].into());
}

/// A clock that goes ahead and back: a reward that the fuse held in between still gets its grace period.
#[test]
fn a_reward_that_the_fuse_held_while_the_clock_was_ahead_waits_a_grace_period() {
    let mut world = given([1, 2].map(|id| commission(id).approved_who_knows_when()));
    world.set("policy.max_deliveries_per_pass", "1");
    world.sandbox.merchant.lock().secret = None;
    once_later(&world, TEN_DAYS).exits(0);
    once_later(&world, TEN_DAYS + 16 * 60).exits(3);
    assert_eq!([1, 2].map(|id| world.state_of(id)), ["held", "held"]);
    world.unset("policy.max_deliveries_per_pass");
    for minutes in [0, 5, 10, 14] {
        once_later(&world, minutes * 60).exits(0);
        assert_eq!(world.sandbox.merchant.requests(), 0, "{minutes} minutes: the handler has its chance");
    }
    once_later(&world, 16 * 60).exits(0);
    assert_eq!(effects(&world), [(1, 1), (2, 1)].into());
}
