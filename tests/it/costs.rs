//! The price of a pass in requests to FirstPromoter, which allows only so many.

use crate::{
    sandbox::{commission, now},
    world::{LONG_AGO, World, given},
};

/// A pass, and what FirstPromoter counted meanwhile; the report must say the same.
fn cost_of_a_pass(world: &World) -> u64 {
    let before = world.sandbox.firstpromoter.requests();
    let ran = world.once();
    assert_eq!(ran.error(), "", "{ran}");
    let cost = world.sandbox.firstpromoter.requests() - before;
    assert_eq!(ran.count("api_requests"), cost, "{ran}");
    cost
}

#[test]
fn a_poll_of_an_empty_list_costs_one_request() {
    let world = given([]);
    assert_eq!(cost_of_a_pass(&world), 1);
    assert_eq!(cost_of_a_pass(&world), 1);
}

#[test]
fn a_poll_of_rows_that_are_not_ours_costs_two_requests() {
    let owed = |id| commission(id).approved(LONG_AGO);
    let cash = (1..=9).map(|id| owed(id).cash(4900));
    let others = (10..=14).map(|id| owed(id).campaign(99, "Autumn"));
    let unit = (15..=19).map(|id| owed(id).credits(5));
    let mut world = given(cash.chain(others).chain(unit));
    world.set("policy.campaigns", "17").set("policy.units", "points");
    world.sandbox.firstpromoter.lock().switches.cash_in_fulfilled_listing = true;
    assert_eq!(cost_of_a_pass(&world), 2, "a short page may be a cap: one more shows the end");
    assert_eq!(world.last_pass()["listed"], 19);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_poll_with_rows_in_their_grace_period_costs_two_requests_once_their_rule_is_known() {
    let world = given([commission(1).approved_at(now()), commission(2).approved_at(now())]);
    assert_eq!(cost_of_a_pass(&world), 3, "listing, and GET /rewards");
    assert_eq!(world.state_of(1), "waiting");
    assert_eq!(cost_of_a_pass(&world), 2);
    assert_eq!(world.then_nothing_more_happens().count("api_requests"), 2);
}

#[test]
fn a_poll_with_rows_in_their_grace_period_costs_two_requests_where_no_rule_is_needed() {
    let mut world = given([commission(1).approved_at(now())]);
    world.set("policy.recipient", "promoter");
    assert_eq!(cost_of_a_pass(&world), 2);
    assert_eq!(world.then_nothing_more_happens().count("api_requests"), 2);
}

#[test]
fn a_poll_with_held_rows_costs_two_requests_from_the_second_pass_on() {
    let owed = |id| commission(id).approved(LONG_AGO);
    let world = given((1..=9).map(|id| owed(id).suspected("ad_source")).chain((10..=19).map(|id| owed(id).points(0))));
    world.once().exits(3);
    assert_eq!(cost_of_a_pass(&world), 2);
    assert_eq!(world.then_nothing_more_happens().exits(3).count("api_requests"), 2);
}

#[test]
fn a_single_owed_reward_costs_at_most_eight_requests() {
    let world = given([commission(1).approved(LONG_AGO)]);
    assert!(cost_of_a_pass(&world) <= 8, "listing 2, rules 1, confirming 2, marking 1, reading back both ways 2");
    world.sandbox.firstpromoter.add(commission(2).approved(LONG_AGO));
    assert!(cost_of_a_pass(&world) <= 7, "the rules are known");
    // Unfulfilled canaries vouch for the answer that is read back, where the listing had a page as long.
    world.sandbox.firstpromoter.add_all((3..=9).map(|id| commission(id).approved(LONG_AGO).suspected("ad_source")));
    world.once().exits(3);
    world.sandbox.firstpromoter.add(commission(10).approved(LONG_AGO));
    assert_eq!(cost_of_a_pass(&world), 6, "reading back 1");
    assert_eq!(world.then_nothing_more_happens().exits(3).count("api_requests"), 2);
}

#[test]
fn a_hundred_owed_rewards_cost_at_most_twelve_requests() {
    let world = given((1..=100).map(|id| commission(id).approved(LONG_AGO)));
    let fresh = cost_of_a_pass(&world);
    assert!(fresh <= 12, "{fresh}");
    assert_eq!(world.sandbox.merchant.requests(), 100);

    // With canaries from now on; every batch is polled three times; a rule is new.
    world.sandbox.firstpromoter.lock().switches.batch_polls = 2;
    world.sandbox.firstpromoter.add_reward(21, "500 points more", true, "points", 500);
    let more = |id| commission(id).reward(21, "500 points more").approved(LONG_AGO);
    world.sandbox.firstpromoter.add_all((101..=200).map(more));
    let second = cost_of_a_pass(&world);
    assert!(second <= 12, "{second}");
    assert_eq!(world.sandbox.firstpromoter.fulfilled_ids().len(), 200);
    assert_eq!(world.sandbox.merchant.requests(), 200);
    assert_eq!(world.then_nothing_more_happens().exits(0).count("api_requests"), 1);
}
