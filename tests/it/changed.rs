//! Changes under us: FirstPromoter says something else about a commission than the ledger recorded.

use serde_json::json;

use crate::{
    audit::at_rest,
    sandbox::{Commission, Endpoint, commission, dropped, never, now, once, status},
    world::{LONG_AGO, World, given},
};

fn owed() -> Commission {
    commission(7).approved(LONG_AGO)
}

/// A pass records it in its grace period. Then it changes, and the grace period ends.
fn changes_before_delivery(change: impl FnOnce(&mut Commission)) -> World {
    let mut world = given([commission(7).approved_at(now())]);
    world.once().exits(0);
    assert_eq!(world.state_of(7), "waiting");
    world.sandbox.firstpromoter.change(7, change);
    world.set("policy.grace", "0s");
    world
}

/// The journal says what changed, before it was delivered.
#[track_caller]
fn journaled(world: &World, change: &str) {
    let journal = world.journal(7);
    let words = format!("changed upstream before delivery: {change}");
    let entry = journal.iter().position(|entry| entry["reason"] == words.as_str());
    let delivering = journal.iter().position(|entry| entry["to_state"] == "delivering");
    assert!(entry.is_some() && delivering.is_none_or(|it| Some(it) > entry), "{change}: {journal:#?}");
}

#[test]
fn an_amount_that_changed_before_delivery_is_delivered_as_it_is_now() {
    let world = changes_before_delivery(|commission| commission.amount = 750);
    world.once().exits(0);
    journaled(&world, "amount 500 -> 750");
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "points"), 750);
    assert_eq!(world.reward(7)["amount"], 750);
    at_rest(&world, &[7]).exits(0);
}

#[test]
fn a_unit_that_changed_before_delivery_is_delivered_as_it_is_now() {
    let world = changes_before_delivery(|commission| commission.unit = "credits".to_owned());
    world.once().exits(0);
    journaled(&world, "unit points -> credits");
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "credits"), 500);
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "points"), 0);
    at_rest(&world, &[7]).exits(0);
}

#[test]
fn a_recipient_that_changed_before_delivery_gets_it_and_the_other_does_not() {
    let other = |row: &mut Commission| *row = row.clone().promoter(777, "quinn@example.com", "Quinn");
    let world = changes_before_delivery(other);
    world.once().exits(0);
    journaled(&world, "recipient's id 12345 -> 777");
    assert_eq!(world.sandbox.merchant.balance("promoter", 777, "points"), 500);
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "points"), 0);
    at_rest(&world, &[7]).exits(0);

    let to_the_referral = |row: &mut Commission| *row = row.clone().reward(10, "for the friend");
    let world = changes_before_delivery(to_the_referral);
    world.once().exits(0);
    journaled(&world, "recipient promoter -> referral");
    assert_eq!(world.sandbox.merchant.balance("referral", 55678, "points"), 500);
    at_rest(&world, &[7]).exits(0);
}

#[test]
fn a_change_is_decided_upon_again() {
    let too_much = changes_before_delivery(|commission| commission.amount = 2_000_000);
    too_much.once().exits(3);
    journaled(&too_much, "amount 500 -> 2000000");
    assert_eq!((too_much.hold_reason(7).as_str(), too_much.sandbox.merchant.requests()), ("over_limit", 0));
    at_rest(&too_much, &[7]).exits(3);
    // And back.
    too_much.sandbox.firstpromoter.set_amount(7, 500);
    too_much.once().exits(0);
    journaled(&too_much, "amount 2000000 -> 500");
    assert_eq!(too_much.sandbox.merchant.balance("promoter", 12345, "points"), 500);
    at_rest(&too_much, &[7]).exits(0);

    let odd = changes_before_delivery(|commission| commission.unit = "bananas".to_owned());
    odd.once().exits(3);
    journaled(&odd, "unit points -> bananas");
    assert_eq!((odd.hold_reason(7).as_str(), odd.sandbox.merchant.requests()), ("unknown_unit", 0));
    at_rest(&odd, &[7]).exits(3);
}

#[test]
fn a_reward_that_becomes_money_before_delivery_is_not_delivered() {
    let world = changes_before_delivery(|commission| commission.unit = "cash".to_owned());
    let ran = world.once();
    assert!(ran.error().is_empty() && world.sandbox.merchant.requests() == 0, "{ran}");
    assert_eq!(world.state_of(7), "cancelled");
    world.then_nothing_more_happens();
}

/// The first attempt certainly had no effect. The second one sends the new content.
#[test]
fn a_change_after_a_certain_failure_is_delivered_as_it_is_now() {
    let mut world = given([owed()]);
    world.without_backoff();
    world.sandbox.merchant.lock().faults = once(status(429));
    world.once().exits(0);
    world.sandbox.firstpromoter.set_amount(7, 750);
    world.once().exits(0);
    journaled_between_attempts(&world);
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "points"), 750);
    world.then_nothing_more_happens().exits(0);
}

fn journaled_between_attempts(world: &World) {
    let reasons: Vec<_> = world.journal(7).iter().map(|entry| entry["reason"].as_str().unwrap().to_owned()).collect();
    let at = |words: &str| reasons.iter().position(|reason| reason.contains(words));
    assert!(at("attempt 1 at app") < at("amount 500 -> 750") && at("amount 500 -> 750") < at("attempt 2 at app"));
}

/// Another content under the same key would be a lie to an endpoint that deduplicates.
#[test]
fn a_reward_that_changes_while_its_outcome_is_unknown_is_held_and_not_sent_again() {
    let changed = [
        ("amount 500 -> 750", owed().points(750)),
        ("unit points -> credits", owed().credits(500)),
        ("recipient's id 12345 -> 777", owed().promoter(777, "quinn@example.com", "Quinn")),
    ];
    for (words, now) in changed {
        let mut world = given([owed()]);
        world.without_backoff();
        world.sandbox.merchant.lock().faults = once(dropped().after_effect());
        world.once().exits(0);
        assert_eq!((world.state_of(7).as_str(), &world.reward(7)["uncertain"]), ("waiting", &json!(1)));
        world.sandbox.firstpromoter.add(now);
        world.once().exits(3);
        assert_eq!((world.hold_reason(7).as_str(), world.sandbox.merchant.requests()), ("changed", 1), "{words}");
        let reward = world.reward(7);
        assert!(reward["last_error"].as_str().unwrap().contains(words), "{reward}");
        assert_eq!(
            (&reward["amount"], &reward["unit"]),
            (&json!(500), &json!("points")),
            "what was sent stays recorded"
        );
        at_rest(&world, &[7]).exits(3);
        world.run(&["resolve", "7", "--delivered", "--reason", "they have the 500 points"]).exits(0);
        world.once().exits(0);
        at_rest(&world, &[7]).exits(0);
    }
}

#[test]
fn a_changed_reward_is_delivered_with_its_new_content_when_a_person_says_that_it_did_not_take_effect() {
    let mut world = given([owed()]);
    world.without_backoff();
    world.sandbox.merchant.lock().faults = once(dropped());
    world.once().exits(0);
    world.sandbox.firstpromoter.set_amount(7, 750);
    world.once().exits(3);
    assert_eq!(world.hold_reason(7), "changed");
    world.run(&["resolve", "7", "--retry"]).exits(0);
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "points"), 750);
    assert_eq!(world.reward(7)["amount"], 750);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_reward_that_changes_during_an_interrupted_delivery_is_held() {
    let world = given([owed()]);
    world.sandbox.gate.stop_at(6, crate::sandbox::Moment::AfterEffect);
    let mut pass = world.start(&["once", "--json"]);
    assert!(world.sandbox.gate.wait_until_stopped(crate::world::PATIENCE));
    pass.kill();
    world.sandbox.gate.open();
    world.sandbox.firstpromoter.set_amount(7, 750);
    world.once().exits(3);
    assert_eq!((world.hold_reason(7).as_str(), world.sandbox.merchant.requests()), ("changed", 1));
    at_rest(&world, &[7]).exits(3);
}

/// The confirmation just before the delivery decides.
#[test]
fn a_reward_that_changes_between_the_listing_and_the_confirmation_is_planned_again() {
    let world = given([owed()]);
    world.sandbox.firstpromoter.after(Endpoint::Listing, 2, |world| world.set_amount(7, 750));
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "points"), 750);
    at_rest(&world, &[7]).exits(0);

    let world = given([owed()]);
    world.sandbox.firstpromoter.after(Endpoint::Listing, 2, |world| world.set_amount(7, 2_000_000));
    world.once().exits(3);
    assert_eq!((world.hold_reason(7).as_str(), world.sandbox.merchant.requests()), ("over_limit", 0));
    at_rest(&world, &[7]).exits(3);
}

#[test]
fn a_reward_denied_or_fulfilled_between_the_listing_and_the_confirmation_is_not_delivered() {
    let world = given([owed(), commission(8).approved(LONG_AGO), commission(9).approved(LONG_AGO)]);
    world.sandbox.firstpromoter.after(Endpoint::Listing, 2, |world| {
        world.deny(7);
        world.fulfil(8);
    });
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [9]);
    assert_eq!((world.state_of(7).as_str(), world.state_of(8).as_str()), ("none", "none"));
    at_rest(&world, &[9]).exits(0);
}

#[test]
fn a_reward_denied_before_delivery_is_cancelled_and_owed_again_when_approved_again() {
    let world = changes_before_delivery(|_| ());
    world.sandbox.firstpromoter.deny(7);
    let ran = world.once().exits(0);
    assert_eq!((world.state_of(7).as_str(), world.sandbox.merchant.requests()), ("cancelled", 0), "{ran}");
    world.then_nothing_more_happens().exits(0);
    world.sandbox.firstpromoter.approve(7);
    world.once().exits(0);
    assert_eq!(world.way_of(7), ["waiting", "cancelled", "waiting", "delivering", "delivered", "fulfilled"]);
    at_rest(&world, &[7]).exits(0);
}

#[test]
fn a_denied_reward_is_cancelled_after_a_certain_failure_and_held_while_its_outcome_is_unknown() {
    for (fault, state, reason) in
        [(status(429), "cancelled", "none"), (dropped().after_effect(), "held", "outcome_unknown")]
    {
        let mut world = given([owed()]);
        world.without_backoff();
        world.sandbox.merchant.lock().faults = once(fault);
        world.once().exits(0);
        world.sandbox.merchant.lock().faults = never();
        world.sandbox.firstpromoter.deny(7);
        world.once();
        assert_eq!((world.state_of(7).as_str(), world.hold_reason(7).as_str()), (state, reason));
        assert_eq!(world.sandbox.merchant.requests(), 1);
        world.then_nothing_more_happens();
    }
}
