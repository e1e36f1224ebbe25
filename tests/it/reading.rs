//! Rows that differ from the documentation. An unreadable row is held and shown, never guessed.

use serde_json::{Value, json};

use crate::{
    sandbox::{Commission, always, commission, never, page, status, text},
    world::{LONG_AGO, World, given},
};

fn owed(id: i64) -> Commission {
    commission(id).approved(LONG_AGO)
}

/// A value as FirstPromoter might write it; null leaves the field out.
fn value(raw: &str) -> Value {
    serde_json::from_str(raw).unwrap()
}

#[track_caller]
fn held(world: &World, reason: &str) {
    let ran = world.once().exits(3);
    assert_eq!((world.state_of(1), world.hold_reason(1)), ("held".to_owned(), reason.to_owned()), "{ran}");
    assert_eq!(world.sandbox.merchant.requests(), 0, "{ran}");
    world.then_nothing_more_happens().exits(3);
}

/// Delivered, to this one.
#[track_caller]
fn delivered_to(world: &World, kind: &str) {
    world.once().exits(0);
    assert_eq!(world.state_of(1), "fulfilled");
    assert_eq!(world.reward(1)["recipient"], json!(kind));
    assert_eq!(world.sandbox.merchant.effects_of(1).len(), 1);
}

#[test]
fn a_time_in_another_form_is_no_way_past_deliver_from() {
    for at in [
        "\"2025-01-19 10:30:00 UTC\"",
        "\"2025-01-19 10:30:00 +0100\"",
        "\"2025-01-19 10:30:00\"",
        "\"2025-01-19\"",
        "\"Sun, 19 Jan 2025 10:30:00 GMT\"",
        "\"Sun Jan 19 2025 10:30:00 GMT+0100 (Central European Standard Time)\"",
        "1737282600",
        "1737282600123",
        "\"the other day\"",
        "[]",
        "null",
    ] {
        let mut world = given([owed(1).odd("status_updated_at", value(at)).odd("created_at", value(at))]);
        world.set("policy.deliver_from", "2025-02-01T00:00:00Z").set("policy.grace", "0s");
        held(&world, "backlog");
    }
}

#[test]
fn a_time_that_can_be_read_lets_through_what_is_young_enough() {
    for at in ["\"2025-01-19 10:30:00 UTC\"", "1737282600", "\"Sun, 19 Jan 2025 10:30:00 GMT\""] {
        let mut world = given([owed(1).odd("status_updated_at", value(at))]);
        world.set("policy.deliver_from", "2025-01-19T00:00:00Z");
        delivered_to(&world, "promoter");
    }
}

/// The vendor's own sample of a commission in `commission.updated` has neither.
#[test]
fn a_field_that_a_row_leaves_out_is_not_taken_for_null() {
    let sample = |row: Commission| {
        let row = row.odd("promoter_campaign", json!(null)).odd("reward", json!(null));
        row.odd("commission_type", json!(null))
    };
    held(&given([sample(owed(1))]), "recipient_unknown");
    held(&given([owed(1).without_reward().odd("promoter_campaign", json!(null))]), "recipient_unknown");
    held(&given([owed(1).custom().odd("reward", json!(null))]), "recipient_unknown");
    let contradiction = json!({ "id": 1, "promoter_id": 12345, "promoter": { "id": 777, "email": "q@example.com" } });
    held(&given([owed(1).odd("promoter_campaign", contradiction)]), "no_recipient");
    delivered_to(&given([owed(1).without_reward().without_promoter()]), "referral");
}

#[test]
fn a_commission_made_by_hand_comes_from_no_rule_however_that_is_written() {
    delivered_to(&given([owed(1).custom()]), "promoter");
    for reward in ["{}", "{\"id\":null}", "{\"id\":0,\"name\":\"Custom commission\"}"] {
        delivered_to(&given([owed(1).custom().odd("reward", value(reward))]), "promoter");
    }
}

#[test]
fn unreadable_reward_rules_hold_only_rewards_that_need_them() {
    for fault in [status(403), status(422), status(500), page(200, "Sorry")] {
        let mut world = given([owed(1), owed(2).custom(), owed(3).without_reward().without_promoter()]);
        world.sandbox.firstpromoter.lock().faults.rewards = always(fault);
        let ran = world.once().exits(3);
        assert_eq!(ran.error(), "", "{ran}");
        assert_eq!((world.state_of(1), world.hold_reason(1)), ("held".to_owned(), "recipient_unknown".to_owned()));
        assert!(ran.line(1)["detail"].as_str().unwrap().contains("GET /rewards"), "{ran}");
        assert_eq!([2, 3].map(|id| world.state_of(id)), ["fulfilled", "fulfilled"], "{ran}");
        world.sandbox.firstpromoter.lock().faults.rewards = never();
        world.set("policy.grace", "0s");
        world.once().exits(0);
        assert_eq!(world.state_of(1), "fulfilled");
    }
}

#[test]
fn a_rule_that_was_read_a_day_ago_is_read_again_before_it_decides() {
    let world = given([owed(1)]);
    delivered_to(&world, "promoter");
    world.sandbox.firstpromoter.lock().rewards.get_mut(&9).unwrap().is_promoter_reward = false;
    for (read, recipient) in [("-0 hours", "promoter"), ("-24 hours", "referral"), ("+1 hours", "referral")] {
        // The answer of an earlier pass, read at that time.
        world.forge(&format!(
            "UPDATE reward_rules SET recipient = 'promoter', fetched_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '{read}')"
        ));
        let id = 2 + i64::try_from(world.query("SELECT 1 FROM rewards").len()).unwrap();
        world.sandbox.firstpromoter.add(owed(id));
        world.once().exits(0);
        assert_eq!(world.reward(id)["recipient"], json!(recipient), "read {read}");
    }
}

/// Suppose rule 9 was given to the other party an hour ago. A pass that asks about an unknown rule 99 also gets the answer
/// about rule 9.
#[test]
fn one_request_for_the_rules_serves_all_rewards() {
    let world = given([owed(1)]);
    delivered_to(&world, "promoter");
    world.sandbox.firstpromoter.lock().rewards.get_mut(&9).unwrap().is_promoter_reward = false;
    world.sandbox.firstpromoter.add(owed(2));
    world.sandbox.firstpromoter.add_reward(99, "For customers", false, "points", 5);
    world.sandbox.firstpromoter.add(owed(3).reward(99, "For customers"));
    world.once().exits(0);
    assert_eq!(world.reward(2)["recipient"], json!("referral"));
}

#[test]
fn a_name_of_megabytes_is_stored_and_posted_short() {
    let name = "N".repeat(6 * 1024 * 1024);
    let world = given([owed(1).promoter(501, "pat@example.com", &name)]);
    delivered_to(&world, "promoter");
    assert_eq!(world.reward(1)["promoter_name"].as_str().unwrap().chars().count(), 500);
    let longest = "SELECT max(length(reason)) AS n FROM journal";
    assert!(world.query(longest)[0]["n"].as_i64().unwrap() < 5_000);
    let email = format!("{}@example.com", "e".repeat(600));
    held(&given([owed(1).promoter(501, &email, "Pat")]), "no_recipient");
}

#[test]
fn an_answer_of_too_many_rows_is_refused_whole() {
    let world = given([owed(1)]);
    let rows = vec![r#"{"id":1,"status":"approved"}"#; 90_000].join(",");
    world.sandbox.firstpromoter.lock().faults.listing = always(text(200, &format!("[{rows}]")));
    let ran = world.once().exits(1);
    assert!(ran.error().contains("more than 1000 rows"), "{ran}");
}

#[test]
fn a_status_that_is_not_known_is_held_and_shown() {
    for word in [json!("frozen"), json!("Approved"), json!(7), json!(["approved"])] {
        let world = given([owed(1).odd("status", word), owed(2)]);
        let ran = world.once().exits(3);
        assert_eq!((world.state_of(1), world.hold_reason(1)), ("held".to_owned(), "unreadable".to_owned()), "{ran}");
        assert_eq!(world.state_of(2), "fulfilled");
        assert!(world.sandbox.merchant.effects_of(1).is_empty());
    }
}

/// Suppose it waits for its time, and FirstPromoter invents a status. If it were cancelled, nobody would see it again.
#[test]
fn an_unknown_status_does_not_cancel_a_waiting_reward() {
    let mut world = given([owed(1)]);
    world.set("policy.grace", "3000d");
    world.once().exits(0);
    assert_eq!(world.state_of(1), "waiting");
    world.sandbox.firstpromoter.change(1, |row| row.status = "frozen".to_owned());
    held(&world, "unreadable");
    world.sandbox.firstpromoter.change(1, |row| row.status = "approved".to_owned());
    world.set("policy.grace", "0s");
    delivered_to(&world, "promoter");
}

#[test]
fn a_row_without_a_campaign_is_held_where_only_some_campaigns_are_ours() {
    let mut world = given([owed(1).odd("promoter_campaign", json!({ "id": 3, "promoter_id": 12345 })), owed(2)]);
    world.set("policy.campaigns", "17");
    world.once().exits(3);
    assert_eq!((world.state_of(1), world.hold_reason(1)), ("held".to_owned(), "unreadable".to_owned()));
    assert_eq!(world.state_of(2), "fulfilled");
    world.unset("policy.campaigns");
    delivered_to(&world, "promoter");
}
