//! Policy's objections to a delivery, as a person sees them: the reason is in the report, and is gone when its cause is.

use serde_json::{Value, json};

use crate::{
    sandbox::{Commission, commission, now, status},
    world::{LONG_AGO, Ran, World, given},
};

fn owed(id: i64) -> Commission {
    commission(id).approved(LONG_AGO)
}

/// Commission 1 is held for this reason in two passes, and nothing is delivered.
#[track_caller]
fn held(world: &World, reason: &str) -> Ran {
    let ran = world.once().exits(3);
    assert_eq!((world.state_of(1), world.hold_reason(1)), ("held".to_owned(), reason.to_owned()), "{ran}");
    let line = ran.line(1);
    assert_eq!((&line["state"], &line["reason"]), (&json!("held"), &json!(reason)), "{ran}");
    assert_eq!((ran.count("held"), ran.count("delivered"), ran.count("needs_attention")), (1, 0, 1), "{ran}");
    assert_eq!(world.attention().get(&1).map(String::as_str), Some(reason));
    let plan = world.plan().exits(3);
    assert_eq!(plan.line(1)["decision"], "hold", "{plan}");
    assert!(plan.line(1)["reason"].as_str().unwrap().starts_with(reason), "{plan}");
    assert_eq!(world.sandbox.merchant.requests(), 0, "{ran}");
    world.then_nothing_more_happens().exits(3);
    ran
}

/// The cause is gone: the next pass delivers it.
#[track_caller]
fn released(world: &World) {
    world.once().exits(0);
    let mut way = world.way_of(1);
    way.dedup(); // that it changed upstream is journaled, too
    assert_eq!(way, ["held", "waiting", "delivering", "delivered", "fulfilled"]);
    assert_eq!(world.sandbox.merchant.effects_of(1).len(), 1);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_backlog_is_held_until_deliver_from_moves() {
    let mut world = given([owed(1)]);
    world.set("policy.deliver_from", "2025-02-01T00:00:00Z");
    held(&world, "backlog");
    world.set("policy.deliver_from", "2025-01-01T00:00:00Z");
    released(&world);
}

#[test]
fn a_backlog_of_unknown_approval_counts_from_its_creation() {
    let mut world = given([commission(1).approved_who_knows_when()]);
    world.set("policy.deliver_from", "2025-02-01T00:00:00Z").set("policy.grace", "0s");
    held(&world, "backlog");
    world.unset("policy.deliver_from");
    released(&world);
}

#[test]
fn a_fraud_suspicion_is_held_until_it_is_cleared_there_or_allowed_here() {
    for suspicion in ["same_ip_suspicion", "same_promoter_email", "ad_source", "something_new"] {
        let world = given([owed(1).suspected(suspicion)]);
        held(&world, "fraud_suspicion");
        world.sandbox.firstpromoter.change(1, |commission| commission.fraud_check = Some("no_suspicion".to_owned()));
        released(&world);
    }
    let mut world = given([owed(1).suspected("ad_source")]);
    held(&world, "fraud_suspicion");
    world.set("policy.hold_fraud_suspicion", "false");
    released(&world);
}

#[test]
fn a_self_referral_is_held_until_it_is_cleared_there_or_allowed_here() {
    let world = given([owed(1).self_referral()]);
    held(&world, "self_referral");
    world.sandbox.firstpromoter.change(1, |commission| commission.is_self_referral = false);
    released(&world);
    let mut world = given([owed(1).self_referral()]);
    held(&world, "self_referral");
    world.set("policy.hold_self_referral", "false");
    released(&world);
}

#[test]
fn more_than_the_limit_of_its_unit_is_held_until_limit_or_amount_changes() {
    let mut world = given([owed(1).points(100_001)]);
    held(&world, "over_limit");
    world.set("policy.max_amount.points", "100001");
    released(&world);
    let world = given([owed(1).points(100_001)]);
    held(&world, "over_limit");
    world.sandbox.firstpromoter.set_amount(1, 100_000);
    released(&world);
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "points"), 100_000);
}

#[test]
fn an_odd_amount_is_held_until_it_is_corrected() {
    let world = given([owed(1).points(-5)]);
    held(&world, "bad_amount");
    world.sandbox.firstpromoter.set_amount(1, 5);
    released(&world);
}

#[test]
fn an_unknown_unit_is_held_until_it_is_a_known_one() {
    let world = given([owed(1).unit("stars", 5)]);
    held(&world, "unknown_unit");
    world.sandbox.firstpromoter.change(1, |commission| "points".clone_into(&mut commission.unit));
    released(&world);
}

#[test]
fn a_reward_that_no_route_fits_is_held_until_one_does() {
    let mut world = given([owed(1)]);
    world.toml("[[routes]]\nunit = \"credits\"\ntarget = \"app\"\n");
    held(&world, "no_route");
    world.toml("[[routes]]\nunit = \"points\"\nrecipient = \"promoter\"\ncampaign = 17\ntarget = \"app\"\n");
    released(&world);
}

#[test]
fn a_reward_without_its_recipient_is_held_until_it_has_one() {
    let mut world = given([owed(1).without_referral()]);
    world.set("policy.recipient", "referral");
    held(&world, "no_recipient");
    world.sandbox.firstpromoter.add(owed(1));
    released(&world);
    assert_eq!(world.sandbox.merchant.effects_of(1)[0].recipient, "referral");
}

#[test]
fn a_recipient_that_cannot_be_told_is_held_until_the_rule_or_the_policy_tells() {
    let mut world = given([owed(1).without_reward()]);
    held(&world, "recipient_unknown");
    world.set("policy.recipient", "promoter");
    released(&world);

    let world = given([owed(1).reward(77, "A new rule")]);
    let ran = world.once().exits(3);
    assert_eq!(world.hold_reason(1), "recipient_unknown", "{ran}");
    world.sandbox.firstpromoter.add_reward(77, "A new rule", false, "points", 500);
    released(&world);
    assert_eq!(world.sandbox.merchant.effects_of(1)[0].recipient, "referral");
}

#[test]
fn reward_rules_that_the_key_may_not_read_hold_only_rewards_that_need_them() {
    let mut world = given([owed(1), owed(2).custom(), owed(3).without_promoter()]);
    world.sandbox.firstpromoter.lock().faults.rewards = crate::sandbox::always(status(403));
    let ran = world.once().exits(3);
    assert_eq!(world.hold_reason(1), "recipient_unknown");
    assert!(world.reward(1)["last_error"].as_str().unwrap().contains("403"), "{ran}");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [2, 3]);
    world.then_nothing_more_happens().exits(3);
    world.set("policy.recipient", "promoter");
    released(&world);
}

#[test]
fn the_fuse_holds_all_when_a_pass_wants_too_many_and_a_person_lifts_it_once() {
    let mut world = given((1..=5).map(owed).chain([owed(6).suspected("ad_source")]));
    world.set("policy.max_deliveries_per_pass", "4");
    let ran = world.once().exits(3);
    for id in 1..=5 {
        assert_eq!((world.hold_reason(id).as_str(), &ran.line(id)["reason"]), ("fuse", &json!("fuse")), "{ran}");
    }
    assert_eq!((world.hold_reason(6).as_str(), world.sandbox.merchant.requests()), ("fraud_suspicion", 0));
    assert_eq!((ran.count("fuse_wanted"), ran.count("held")), (5, 6), "{ran}");
    assert_eq!(world.plan().exits(3).json["fuse"], true);
    world.then_nothing_more_happens().exits(3);

    world.once_with(&["--max-deliveries", "4"]).exits(3);
    assert_eq!(world.sandbox.merchant.requests(), 0, "still too many");
    world.once_with(&["--max-deliveries", "5"]).exits(3);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3, 4, 5]);
    assert_eq!(world.attention().into_keys().collect::<Vec<_>>(), [6]);
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn the_fuse_lets_through_what_is_within_it_and_what_is_left_when_the_rest_is_gone() {
    let mut world = given((1..=5).map(owed));
    world.set("policy.max_deliveries_per_pass", "5");
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3, 4, 5], "as many as allowed");

    let mut world = given((1..=5).map(owed));
    world.set("policy.max_deliveries_per_pass", "4");
    world.once().exits(3);
    world.sandbox.handler_delivers(5);
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3, 4, 5]);
    assert_eq!(world.reward(5)["delivered_by"], "outside");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_fuse_of_zero_always_asks() {
    let mut world = given([owed(1)]);
    world.set("policy.max_deliveries_per_pass", "0");
    held(&world, "fuse");
    world.once_with(&["--max-deliveries", "1"]).exits(0);
    assert_eq!(world.state_of(1), "fulfilled");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn grace_counts_from_the_approval() {
    let approved = now() - chrono::TimeDelta::minutes(10);
    let mut world = given([commission(1).approved_at(approved)]);
    let ran = world.once().exits(0);
    let until = approved + chrono::TimeDelta::minutes(15);
    let until_text = until.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    assert_eq!((world.state_of(1), &world.reward(1)["next_attempt_at"]), ("waiting".to_owned(), &json!(until_text)));
    assert_eq!((ran.count("missing"), ran.count("needs_attention")), (1, 0), "{ran}");
    assert_eq!(world.plan().exits(0).line(1)["decision"], "wait");
    world.then_nothing_more_happens().exits(0);
    world.set("policy.grace", "9m");
    world.once().exits(0);
    assert_eq!(world.way_of(1), ["waiting", "delivering", "delivered", "fulfilled"]);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn grace_of_an_unknown_approval_counts_from_when_it_was_first_seen() {
    let world = given([commission(1).approved_who_knows_when()]);
    world.once().exits(0);
    assert_eq!(world.state_of(1), "waiting");
    world.then_nothing_more_happens().exits(0);
    world.forge(
        "UPDATE rewards SET owed_since = '2025-01-19T10:30:00.000Z', first_seen_at = '2025-01-19T10:30:00.000Z'",
    );
    world.once().exits(0);
    assert_eq!(world.state_of(1), "fulfilled");
    assert_eq!(world.sandbox.merchant.bodies_of(1)[0]["approved_at"], Value::Null);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn an_approval_in_the_future_does_not_put_a_reward_off_for_ever() {
    let world = given([commission(1).approved_at(now() + chrono::TimeDelta::days(400))]);
    world.once().exits(0);
    world.forge(
        "UPDATE rewards SET owed_since = '2025-01-19T10:30:00.000Z', first_seen_at = '2025-01-19T10:30:00.000Z'",
    );
    world.once().exits(0);
    assert_eq!(world.state_of(1), "fulfilled");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn units_and_campaigns_that_are_not_configured_do_not_enter_the_ledger() {
    let mut world = given([
        owed(1),
        owed(2).credits(5),
        owed(3).campaign(18, "Autumn"),
        owed(4).campaign(19, "Winter").free_months(1),
        owed(5).reward(10, "50 credits for the friend").without_promoter(),
    ]);
    world.set("policy.units", "points,free_months").set("policy.campaigns", "17,19");
    world.once().exits(3);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 4]);
    // 5 names no campaign. It may be one of these.
    assert_eq!(world.hold_reason(5), "unreadable");
    assert_eq!(world.query("SELECT 1 FROM rewards").len(), 3);
    world.then_nothing_more_happens().exits(3);
    world.unset("policy.units").unset("policy.campaigns");
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3, 4, 5]);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn an_open_reward_whose_unit_is_no_longer_configured_is_held_and_not_forgotten() {
    let mut world = given([commission(1).approved_at(now())]);
    world.once().exits(0);
    world.set("policy.units", "credits").set("policy.grace", "0s");
    held_after_waiting(&world, "no_route");
    world.unset("policy.units");
    world.once().exits(0);
    assert_eq!(world.state_of(1), "fulfilled");
    world.then_nothing_more_happens().exits(0);
}

#[track_caller]
fn held_after_waiting(world: &World, reason: &str) {
    world.once().exits(3);
    assert_eq!((world.state_of(1), world.hold_reason(1)), ("held".to_owned(), reason.to_owned()));
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn routes_send_each_reward_to_the_first_target_that_fits() {
    let mut world = given([
        owed(1),
        owed(2).campaign(18, "Autumn"),
        owed(3).credits(5).reward(10, "50 credits for the friend"),
        owed(4).free_months(1),
    ]);
    let script = world
        .program("grant", "#!/bin/sh\nread body\necho \"$MAKEGOOD_KEY\" >> granted\necho \"took $MAKEGOOD_KEY\"\n");
    world.toml(&format!(
        r#"[targets.script]
type = "command"
argv = ["{}"]

[[routes]]
unit = "points"
campaign = 18
target = "script"

[[routes]]
recipient = "referral"
target = "script"

[[routes]]
target = "app"
"#,
        script.display()
    ));
    let ran = world.once().exits(0);
    let targets: Vec<_> = (1..=4).map(|id| ran.line(id)["target"].clone()).collect();
    assert_eq!(targets, ["app", "script", "script", "app"], "{ran}");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 4]);
    let granted = std::fs::read_to_string(world.path("granted")).unwrap();
    assert_eq!(granted, "fp-12345-2\nfp-12345-3\n");
    assert_eq!(world.reward(2)["receipt"], "took fp-12345-2");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn just_these_commissions_are_looked_at_when_asked_for() {
    let world = given([owed(1), owed(2), owed(3)]);
    let ran = world.once_with(&["--commission", "2", "--commission", "3"]).exits(0);
    assert_eq!(ran.json["kind"], "commissions", "{ran}");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [2, 3]);
    assert_eq!(world.state_of(1), "none");
    assert_eq!(world.last_pass()["kind"], "commissions");
    world.once_with(&["--commission", "2"]).exits(0);
    assert_eq!(world.sandbox.merchant.requests(), 2, "delivered already");
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3]);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_commission_that_firstpromoter_does_not_have_is_reported_and_the_others_are_delivered() {
    let world = given([owed(1)]);
    let ran = world.once_with(&["--commission", "999", "--commission", "1"]).exits(1);
    assert!(ran.error().contains("999"), "{ran}");
    assert_eq!((world.state_of(1), world.state_of(999)), ("fulfilled".to_owned(), "none".to_owned()));
    assert_eq!(world.last_pass()["error"], ran.json["error"]);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_commission_asked_for_that_is_not_owed_is_left_alone() {
    let world =
        given([commission(1), owed(2).cash(4900), commission(3).denied(LONG_AGO), owed(4), owed(5).suspected("x")]);
    world.sandbox.handler_delivers(4);
    let args: Vec<_> = ["1", "2", "3", "4"].into_iter().flat_map(|id| ["--commission", id]).collect();
    let ran = world.once_with(&args).exits(0);
    assert_eq!((world.sandbox.merchant.requests(), world.sandbox.firstpromoter.writes()), (0, 0), "{ran}");
    assert_eq!((ran.ids(), world.query("SELECT 1 FROM rewards").len()), (vec![], 0), "{ran}");
    world.once_with(&["--commission", "5"]).exits(3);
    assert_eq!(world.hold_reason(5), "fraud_suspicion", "policy holds for what is asked for, too");
    world.then_nothing_more_happens().exits(3);
}
