//! Open ledger rows that a complete listing does not contain reach their right state in the same pass.

use serde_json::Value;

use crate::{
    sandbox::{Commission, Sandbox, commission, dropped, next, now, status},
    world::{LONG_AGO, World, given},
};

/// What happens to a commission between two passes.
type Event = fn(&Sandbox);

const FULFILLED: Event = |sandbox| sandbox.handler_delivers(1);
const DENIED: Event = |sandbox| sandbox.firstpromoter.deny(1);
const DELETED: Event = |sandbox| sandbox.firstpromoter.delete(1);

fn owed() -> Commission {
    commission(1).approved(LONG_AGO)
}

fn in_grace() -> World {
    let world = given([commission(1).approved_at(now())]);
    world.once().exits(0);
    assert_eq!(world.state_of(1), "waiting");
    world
}

fn held_by_policy() -> World {
    let world = given([owed().suspected("same_ip_suspicion")]);
    world.once().exits(3);
    assert_eq!(world.hold_reason(1), "fraud_suspicion");
    world
}

/// Not delivered for certain, and in backoff.
fn failed_for_certain() -> World {
    let world = given([owed()]);
    world.sandbox.merchant.lock().faults_of.insert(1, next(1, status(429)));
    world.once().exits(0);
    assert_eq!(world.state_of(1), "waiting");
    world
}

/// A reply was lost after the effect, at a target that deduplicates; in backoff.
fn perhaps_delivered() -> World {
    let world = given([owed()]);
    world.sandbox.merchant.lock().faults_of.insert(1, next(1, dropped().after_effect()));
    world.once().exits(0);
    assert_eq!((world.state_of(1), world.reward(1)["uncertain"].clone()), ("waiting".to_owned(), 1.into()));
    world
}

/// The same at a target that does not.
fn held_as_unknown() -> World {
    let mut world = given([owed()]);
    world.set("targets.app.idempotent", "false");
    world.sandbox.merchant.lock().faults_of.insert(1, next(1, dropped().after_effect()));
    world.once().exits(3);
    assert_eq!(world.hold_reason(1), "outcome_unknown");
    world
}

fn refused_by_target() -> World {
    let world = given([owed()]);
    world.sandbox.merchant.lock().faults_of.insert(1, next(1, status(404)));
    world.once().exits(3);
    assert_eq!(world.hold_reason(1), "refused_by_target");
    world
}

/// The process ended between the intent and the outcome.
fn cut_off() -> World {
    let world = in_grace();
    world.forge(
        "UPDATE rewards SET state = 'delivering', target = 'app', attempts = 1, recipient = 'promoter' WHERE commission_id = 1; \
         INSERT INTO attempts (commission_id, attempt, target, started_at) VALUES (1, 1, 'app', '2025-01-19T10:30:00.000Z');",
    );
    world
}

fn delivered_and_not_marked() -> World {
    let world = given([owed()]);
    world.sandbox.firstpromoter.lock().switches.mark_lies = true;
    world.once().exits(0);
    world.sandbox.firstpromoter.lock().switches.mark_lies = false;
    assert_eq!(world.state_of(1), "delivered");
    world
}

/// One pass after the event, then another that changes nothing. (state, hold reason, delivered by)
fn afterwards(world: &World, event: Event) -> (String, String, Value) {
    event(&world.sandbox);
    let deliveries = world.sandbox.merchant.requests();
    let ran = world.once();
    assert_eq!(ran.error(), "", "{ran}");
    assert_eq!(ran.line(1)["state"], world.reward(1)["state"], "the report says where it stands: {ran}");
    assert_eq!(world.sandbox.merchant.requests(), deliveries, "what vanished is not delivered: {ran}");
    assert!(world.sandbox.merchant.effects_of(1).len() <= 1, "{ran}");
    assert_eq!(ran.exit, if world.attention().is_empty() { 0 } else { 3 }, "{ran}");
    world.then_nothing_more_happens();
    (world.state_of(1), world.hold_reason(1), world.reward(1)["delivered_by"].clone())
}

fn row(state: &str, hold_reason: &str, delivered_by: Option<&str>) -> (String, String, Value) {
    (state.to_owned(), hold_reason.to_owned(), delivered_by.map_or(Value::Null, Value::from))
}

#[test]
fn a_reward_that_somebody_else_marked_is_fulfilled_by_outside() {
    for given in [in_grace, held_by_policy, failed_for_certain, refused_by_target, cut_off] {
        assert_eq!(afterwards(&given(), FULFILLED), row("fulfilled", "none", Some("outside")));
    }
}

#[test]
fn a_reward_of_unknown_outcome_that_somebody_else_marked_is_fulfilled() {
    for given in [perhaps_delivered, held_as_unknown] {
        assert_eq!(afterwards(&given(), FULFILLED), row("fulfilled", "none", Some("outside")));
    }
}

#[test]
fn a_reward_denied_or_deleted_before_it_could_take_effect_is_cancelled() {
    for given in [in_grace, held_by_policy, failed_for_certain, refused_by_target] {
        for event in [DENIED, DELETED] {
            let world = given();
            assert_eq!(afterwards(&world, event), row("cancelled", "none", None));
            assert_eq!(world.sandbox.merchant.rewarded_ids(), Vec::<i64>::new());
        }
    }
}

#[test]
fn a_reward_denied_or_deleted_while_its_outcome_is_unknown_needs_a_person() {
    for given in [perhaps_delivered, held_as_unknown, cut_off] {
        for event in [DENIED, DELETED] {
            assert_eq!(afterwards(&given(), event), row("held", "outcome_unknown", None));
        }
    }
}

#[test]
fn a_reward_that_makegood_delivered_and_a_person_marked_stays_delivered_by_makegood() {
    let by_hand: Event = |sandbox| sandbox.firstpromoter.fulfil(1);
    assert_eq!(afterwards(&delivered_and_not_marked(), by_hand), row("fulfilled", "none", Some("makegood")));
}

#[test]
fn a_delivered_reward_that_is_denied_or_deleted_stays_delivered_and_needs_a_person_in_the_third_pass() {
    for event in [DENIED, DELETED] {
        let world = delivered_and_not_marked();
        event(&world.sandbox);
        for _ in 0..2 {
            assert_eq!(world.state_of(1), "delivered");
            world.once();
        }
        assert_eq!(world.attention().into_iter().collect::<Vec<_>>(), [(1, "not_marked".to_owned())]);
        world.once();
        world.then_nothing_more_happens().exits(3);
        assert_eq!((world.state_of(1), world.sandbox.merchant.requests()), ("delivered".to_owned(), 1));
    }
}

#[test]
fn a_cancelled_reward_that_is_approved_again_is_owed_with_a_new_grace_period() {
    for given in [in_grace, held_by_policy] {
        let mut world = given();
        assert_eq!(afterwards(&world, DENIED), row("cancelled", "none", None));
        world.sandbox.firstpromoter.approve(1);
        world.sandbox.firstpromoter.change(1, |commission| commission.fraud_check = None);
        world.once().exits(0);
        assert_eq!(world.state_of(1), "waiting", "approved just now");
        world.then_nothing_more_happens().exits(0);
        world.set("policy.grace", "0s");
        world.once().exits(0);
        assert_eq!(world.state_of(1), "fulfilled");
        assert_eq!(world.sandbox.merchant.effects_of(1).len(), 1);
        world.then_nothing_more_happens().exits(0);
    }
}

#[test]
fn a_pass_that_delivers_also_settles_what_vanished() {
    let world = given((1..=4).map(|id| commission(id).approved_at(now())));
    world.once().exits(0);
    world.sandbox.handler_delivers(1);
    world.sandbox.firstpromoter.deny(2);
    world.sandbox.firstpromoter.delete(3);
    world.sandbox.firstpromoter.add(commission(5).approved(LONG_AGO));
    let ran = world.once().exits(0);
    let states: Vec<_> = (1..=5).map(|id| world.state_of(id)).collect();
    assert_eq!(states, ["fulfilled", "cancelled", "cancelled", "waiting", "fulfilled"]);
    assert_eq!((ran.count("delivered"), ran.count("fulfilled")), (1, 2), "{ran}");
    assert_eq!(ran.ids(), [1, 2, 3, 5], "only what moved");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn nothing_is_concluded_about_a_row_from_a_listing_that_broke_off() {
    let world = in_grace();
    world.sandbox.firstpromoter.deny(1);
    world.sandbox.firstpromoter.lock().faults.listing = next(1, status(401));
    world.once().exits(1);
    assert_eq!(world.state_of(1), "waiting");
    world.sandbox.firstpromoter.lock().faults.by_ids = next(1, status(403));
    let ran = world.once().exits(1);
    assert!(ran.error().contains("403") && world.state_of(1) == "waiting", "{ran}");
    world.once().exits(0);
    assert_eq!(world.state_of(1), "cancelled");
    world.then_nothing_more_happens().exits(0);
}
