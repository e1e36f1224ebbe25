//! `makegood reverse` reverses only what FirstPromoter confirms, and a reversed reward is never delivered again.

use serde_json::json;

use crate::{
    sandbox::{IgnoredFilters, always, commission, dropped, now, once, status},
    world::{LONG_AGO, Ran, World, given},
};

fn delivered() -> World {
    let world = given([commission(1).approved(LONG_AGO), commission(2).approved(LONG_AGO)]);
    world.once().exits(0);
    world
}

fn reverse(world: &World, id: &str) -> Ran {
    world.run(&["reverse", id, "--reason", "the sale was refunded", "--json"])
}

#[test]
fn a_reversed_reward_is_unfulfilled_upstream_journaled_and_never_delivered_again() {
    let mut world = delivered();
    world.env("SUDO_USER", "kim");
    let ran = reverse(&world, "1").exits(0);
    assert_eq!((&ran.json["state"], &ran.json["was"]), (&json!("reversed"), &json!("fulfilled")), "{ran}");
    assert_eq!(world.sandbox.firstpromoter.fulfilled_ids(), [2]);
    assert_eq!(world.state_of(1), "reversed");
    let entry = world.journal(1).pop().unwrap();
    assert_eq!((&entry["actor"], &entry["from_state"]), (&json!("kim"), &json!("fulfilled")), "{entry}");
    assert!(entry["reason"].as_str().unwrap().contains("the sale was refunded"), "{entry}");
    assert!(world.reward(1)["delivered_at"].is_string(), "that it was delivered is not forgotten");
    // FirstPromoter lists it as owed now.
    world.then_nothing_more_happens().exits(0);
    assert_eq!(world.sandbox.merchant.effects_of(1).len(), 1);
    let show = world.run(&["show", "1"]).exits(0);
    assert!(show.stdout.contains("reversed by a person") && show.stdout.contains("refunded"), "{show}");
}

#[test]
fn reversing_again_changes_nothing_and_asks_nobody() {
    let world = delivered();
    reverse(&world, "1").exits(0);
    let (requests, journal) = (world.sandbox.requests(), world.journal(1).len());
    let ran = reverse(&world, "1").exits(0);
    assert_eq!(ran.json["changed"], false, "{ran}");
    assert_eq!((world.sandbox.requests(), world.journal(1).len()), (requests, journal));
}

#[test]
fn a_delivered_reward_that_is_not_marked_yet_can_be_reversed() {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.sandbox.firstpromoter.lock().faults.mark = always(status(422));
    world.once();
    assert_eq!(world.state_of(1), "delivered");
    reverse(&world, "1").exits(0);
    assert_eq!(world.state_of(1), "reversed");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn where_firstpromoter_does_not_confirm_the_ledger_is_unchanged_and_it_says_what_to_do() {
    let world = delivered();
    world.sandbox.firstpromoter.lock().switches.mark_fails.insert(1);
    let ledger = world.dump();
    let ran = reverse(&world, "1").exits(1);
    for words in
        ["does not call commission 1 unfulfilled", "could not be updated", "ledger is unchanged", "makegood reverse 1"]
    {
        assert!(ran.error().contains(words), "{words}: {ran}");
    }
    assert_eq!(world.dump(), ledger);
    world.sandbox.firstpromoter.lock().switches.mark_fails.clear();
    reverse(&world, "1").exits(0);
}

#[test]
fn a_server_that_ignores_the_filter_confirms_nothing() {
    let world = delivered();
    world.sandbox.firstpromoter.lock().switches.ignored_filters =
        IgnoredFilters { fulfilled: true, ..IgnoredFilters::default() };
    world.sandbox.firstpromoter.lock().switches.mark_fails.insert(1);
    let ran = reverse(&world, "1").exits(1);
    assert!(ran.error().contains("`filters[fulfilled]`"), "{ran}");
    assert_eq!(world.state_of(1), "fulfilled");
}

#[test]
fn a_lost_answer_is_settled_by_reading_back() {
    let world = delivered();
    world.sandbox.firstpromoter.lock().faults.any = once(dropped().after_effect());
    reverse(&world, "1").exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.firstpromoter.is_fulfilled(1)), ("reversed", false));
}

#[test]
fn cut_off_before_the_ledger_was_written_it_can_be_asked_for_again() {
    let world = delivered();
    world.sandbox.firstpromoter.unfulfil(1);
    world.once().exits(3);
    assert_eq!(world.attention()[&1], "unfulfilled_upstream");
    reverse(&world, "1").exits(0);
    assert!(world.attention().is_empty());
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_reward_that_was_never_delivered_cannot_be_reversed() {
    let world = given([commission(1).approved_at(now()), commission(2).approved(LONG_AGO).suspected("ad_source")]);
    world.once().exits(3);
    let requests = world.sandbox.requests();
    for (id, state) in [("1", "waiting"), ("2", "held")] {
        let ran = reverse(&world, id).exits(1);
        assert!(ran.error().contains(&format!("commission {id} is {state}")), "{ran}");
    }
    assert!(reverse(&world, "77").exits(1).error().contains("does not know commission 77"));
    assert_eq!(world.sandbox.requests(), requests);
}

#[test]
fn a_reason_is_asked_for() {
    let world = delivered();
    world.run(&["reverse", "1"]).exits(2);
    world.run(&["reverse", "1", "--reason", " "]).exits(2);
    assert_eq!(world.state_of(1), "fulfilled");
}

#[test]
fn a_batch_that_takes_effect_after_the_reversal_is_reported_and_can_be_reversed_again() {
    let world = delivered();
    reverse(&world, "1").exits(0);
    world.then_nothing_more_happens().exits(0);
    // The batch under way takes effect.
    world.sandbox.firstpromoter.fulfil(1);
    world.once().exits(3);
    assert_eq!(
        (world.state_of(1).as_str(), &world.reward(1)["drift"]),
        ("reversed", &json!("fulfilled_after_reversal"))
    );
    assert_eq!(world.attention()[&1], "fulfilled_after_reversal");
    world.then_nothing_more_happens().exits(3);

    let ran = reverse(&world, "1").exits(0);
    assert_eq!((&ran.json["was"], &ran.json["changed"]), (&json!("reversed"), &json!(true)), "{ran}");
    assert_eq!(world.sandbox.firstpromoter.fulfilled_ids(), [2]);
    assert!(world.attention().is_empty());
    world.then_nothing_more_happens().exits(0);

    // Reported again, and over by itself when somebody else takes the mark back.
    world.sandbox.firstpromoter.fulfil(1);
    world.once().exits(3);
    world.sandbox.firstpromoter.unfulfil(1);
    world.once().exits(0);
    assert!(world.attention().is_empty());
    world.then_nothing_more_happens().exits(0);
    assert_eq!(world.sandbox.merchant.effects_of(1).len(), 1, "never delivered again");
}

#[test]
fn a_reversed_reward_is_watched_for_a_day() {
    let world = delivered();
    reverse(&world, "1").exits(0);
    world.forge("UPDATE rewards SET state_since = '2025-01-01T00:00:00.000Z' WHERE commission_id = 1");
    world.sandbox.firstpromoter.fulfil(1);
    let requests = world.sandbox.firstpromoter.requests();
    world.once().exits(0);
    assert_eq!(world.sandbox.firstpromoter.requests() - requests, 1, "nobody is asked about it any more");
    assert!(world.attention().is_empty());
}
