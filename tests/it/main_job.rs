//! The main job, end to end: the missing rewards, and no others, are delivered as the manual says, marked, and read back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    sandbox::{Ask, BEARER, Commission, Endpoint, commission, now},
    world::{LONG_AGO, World, given},
};

/// Missing: one of each unit, for both parties. Out of scope: cash, pending, denied, and those that the handler delivered.
fn believable_world() -> World {
    let owed = |id| commission(id).approved(LONG_AGO);
    let world = given([
        owed(88901),
        owed(88902).credits(50).reward(10, "50 credits for the friend"),
        owed(88903).free_months(1).reward(11, "A free month").referral(9002, "tom@okafor.example", None),
        owed(88904).mon_discount(1500).reward(12, "15.00 off"),
        owed(88905).discount_per(20).reward(13, "20 per cent off").without_referral(),
        owed(88906).points(40).custom().approved_who_knows_when(),
        owed(88911).cash(4900),
        commission(88912),
        commission(88913).denied(LONG_AGO),
        owed(88914),
    ]);
    let firstpromoter = &world.sandbox.firstpromoter;
    firstpromoter.add_reward(11, "A free month", false, "free_months", 1);
    firstpromoter.add_reward(12, "15.00 off", false, "mon_discount", 1500);
    firstpromoter.add_reward(13, "20 per cent off", true, "discount_per", 20);
    firstpromoter.lock().switches.cash_in_fulfilled_listing = true;
    world.sandbox.handler_delivers(88914);
    world
}

const MISSED: [i64; 6] = [88901, 88902, 88903, 88904, 88905, 88906];

#[test]
fn exactly_the_missing_rewards_are_delivered_marked_and_read_back() {
    let mut world = believable_world();
    world.set("policy.grace", "0s");
    world.once().exits(0);
    for id in MISSED {
        assert_eq!(world.way_of(id), ["waiting", "delivering", "delivered", "fulfilled"], "{id}");
        let reward = world.reward(id);
        assert_eq!(reward["delivered_by"], "makegood", "{reward}");
        assert_eq!(reward["target"], "app", "{reward}");
        assert_eq!(reward["attempts"], 1, "{reward}");
        assert_eq!(reward["receipt"], world.sandbox.merchant.effects_of(id)[0].receipt.as_str(), "{reward}");
    }
    for id in [88911, 88912, 88913, 88914] {
        assert_eq!(world.reward(id), Value::Null, "out of scope, or never owed");
    }
    let merchant = &world.sandbox.merchant;
    assert_eq!(merchant.rewarded_ids(), [&MISSED[..], &[88914]].concat());
    assert_eq!((merchant.requests(), merchant.rejections()), (6, vec![]));
    assert_eq!(merchant.balance("promoter", 12345, "points"), 500 + 40 + 500);
    assert_eq!(merchant.balance("referral", 55678, "credits"), 50);
    assert_eq!(merchant.balance("referral", 9002, "free_months"), 1);
    assert_eq!(merchant.balance("referral", 55678, "mon_discount"), 1500);
    assert_eq!(merchant.balance("promoter", 12345, "discount_per"), 20);
    assert_eq!(world.sandbox.firstpromoter.fulfilled_ids(), [&MISSED[..], &[88914]].concat());
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_promoters_reward_is_posted_with_the_documented_fields() {
    let world = given([commission(88901).approved(LONG_AGO)]);
    world.once().exits(0);
    assert_eq!(
        world.sandbox.merchant.bodies(),
        [json!({
            "type": "reward.deliver",
            "key": "fp-12345-88901",
            "commission_id": 88901,
            "unit": "points",
            "amount": 500,
            "recipient": { "kind": "promoter", "id": 12345, "email": "p@example.com", "name": "Pat", "uid": null },
            "promoter": { "id": 12345, "email": "p@example.com", "name": "Pat" },
            "referral": { "id": 55678, "email": "user@example.com", "uid": "user_ext_id" },
            "campaign": { "id": 17, "name": "Spring" },
            "reward": { "id": 9, "name": "500 points per sale" },
            "approved_at": "2025-01-19T10:30:00Z",
            "created_at": "2025-01-18T09:00:00Z"
        })]
    );
    assert_headers(&world, "fp-12345-88901");
}

#[test]
fn a_referrals_reward_is_posted_with_the_documented_fields() {
    let credits: Commission = commission(88902).credits(50).reward(10, "50 credits for the friend");
    let mut world = given([credits.without_promoter().approved_who_knows_when()]);
    world.set("policy.grace", "0s");
    world.once().exits(0);
    assert_eq!(
        world.sandbox.merchant.bodies(),
        [json!({
            "type": "reward.deliver",
            "key": "fp-12345-88902",
            "commission_id": 88902,
            "unit": "credits",
            "amount": 50,
            "recipient": { "kind": "referral", "id": 55678, "email": "user@example.com", "name": null, "uid": "user_ext_id" },
            "promoter": null,
            "referral": { "id": 55678, "email": "user@example.com", "uid": "user_ext_id" },
            "campaign": null,
            "reward": { "id": 10, "name": "50 credits for the friend" },
            "approved_at": null,
            "created_at": "2025-01-18T09:00:00Z"
        })]
    );
    assert_headers(&world, "fp-12345-88902");
    world.then_nothing_more_happens().exits(0);
}

/// The headers of the one delivery. The merchant checks the signature.
fn assert_headers(world: &World, key: &str) {
    assert_eq!(world.sandbox.merchant.rejections(), Vec::<String>::new());
    let asked = world.sandbox.merchant.lock().received[0].clone();
    assert_eq!((asked.method.as_str(), asked.path.as_str(), asked.query.as_str()), ("POST", "/rewards", ""));
    let mut headers: BTreeMap<&str, &str> =
        asked.headers.keys().map(|name| (name.as_str(), asked.header(name.as_str()).unwrap())).collect();
    let sent_at: i64 = headers.remove("webhook-timestamp").unwrap().parse().unwrap();
    assert!((now().timestamp() - sent_at).abs() < 60, "{sent_at}");
    let signature = headers.remove("webhook-signature").unwrap();
    assert!(signature.starts_with("v1,") && !signature.contains(' '), "{signature}");
    for http in ["host", "accept", "accept-encoding", "content-length"] {
        headers.remove(http);
    }
    let quoted = format!("\"{key}\"");
    let bearer = format!("Bearer {BEARER}");
    let agent = concat!("makegood/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        headers,
        BTreeMap::from([
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("idempotency-key", quoted.as_str()),
            ("user-agent", agent),
            ("webhook-id", key),
        ])
    );
}

#[test]
fn the_report_has_all_the_documented_fields_and_agrees_with_the_row_in_passes() {
    let mut world = believable_world();
    world.set("policy.grace", "0s");
    let report = world.once().exits(0);
    let expected = json!({
        "pass_id": 1, "kind": "poll", "trigger": "command", "listed": 7, "missing": 6, "delivered": 6, "fulfilled": 6,
        "held": 0, "failed": 0, "api_requests": world.sandbox.firstpromoter.requests(), "needs_attention": 0, "error": null,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(report.json[field], *value, "{field}: {report}");
    }
    assert_eq!(report.ids(), MISSED);
    let line = report.line(88902);
    for (field, value) in [
        ("state", json!("fulfilled")),
        ("unit", json!("credits")),
        ("amount", json!(50)),
        ("recipient", json!("referral")),
        ("target", json!("app")),
        ("reason", Value::Null),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
        assert!(line.as_object().unwrap().contains_key(field), "{field}: {line}");
    }

    let pass = world.last_pass();
    for column in ["trigger", "kind", "listed", "missing", "delivered", "fulfilled", "held", "failed", "api_requests"] {
        assert_eq!(pass[column], report.json[column], "{column}: {pass}");
    }
    assert_eq!((&pass["id"], &pass["error"]), (&report.json["pass_id"], &Value::Null));
    assert!(pass["started"].as_str() <= pass["finished"].as_str() && pass["finished"].is_string(), "{pass}");
}

#[test]
fn a_second_pass_makes_no_target_call_and_writes_one_row_in_passes_and_nothing_else() {
    let mut world = believable_world();
    world.set("policy.grace", "0s");
    world.once().exits(0);
    let requests = world.sandbox.firstpromoter.requests();
    let report = world.then_nothing_more_happens().exits(0);
    assert!(world.sandbox.firstpromoter.requests() - requests <= 2, "{report}");
    assert_eq!((report.count("pass_id"), report.count("missing"), report.ids()), (2, 0, vec![]));
}

#[test]
fn marked_rewards_are_read_back() {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.once().exits(0);
    let log = world.sandbox.firstpromoter.lock().log.clone();
    let mark = log.iter().position(|ask| ask.path.ends_with("/mark_fulfilled")).unwrap();
    assert_eq!(log[mark].json(), json!({ "ids": [1] }));
    let after: Vec<_> = log.iter().skip(mark + 1).map(Ask::pairs).collect();
    let asked_for = |name: &str, value: &str| after[0].contains(&(name.to_owned(), value.to_owned()));
    assert!(after.len() == 2 && asked_for("ids[]", "1") && asked_for("filters[fulfilled]", "yes"), "{after:?}");
    // Under `no` it must not come back, because nothing else vouches for the filter yet.
    assert!(after[1].contains(&("filters[fulfilled]".to_owned(), "no".to_owned())), "{after:?}");
    assert_eq!(world.sandbox.firstpromoter.requests_to(Endpoint::Mark), 1);
}

#[test]
fn every_request_to_firstpromoter_carries_both_headers_and_says_who_asks() {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.once().exits(0);
    let log = world.sandbox.firstpromoter.lock().log.clone();
    let headers = log.iter().map(|ask| {
        ["authorization", "account-id", "user-agent"].map(|name| ask.header(name).unwrap_or_default().to_owned())
    });
    let bearer = format!("Bearer {}", crate::sandbox::API_KEY);
    let agent = concat!("makegood/", env!("CARGO_PKG_VERSION"));
    assert_eq!(headers.collect::<BTreeSet<_>>(), BTreeSet::from([[bearer, "12345".to_owned(), agent.to_owned()]]));
}

#[test]
fn the_report_for_a_person_has_a_line_a_reward_and_says_where_the_ledger_is() {
    let world =
        given([commission(88901).approved(LONG_AGO), commission(88902).approved(LONG_AGO).suspected("ad_source")]);
    let ran = world.run(&["once"]).exits(3);
    for words in ["88901", "fulfilled", "500 points", "88902", "held", "fraud", "Ledger: "] {
        assert!(ran.stdout.contains(words), "{words}: {ran}");
    }
    assert!(ran.stdout.contains(&world.ledger_path().display().to_string()), "{ran}");
    assert_eq!(ran.stderr, "", "a report says what happened; the log need not repeat it");
    let show = world.show(88901).exits(0);
    assert_eq!(show.json["reward"], world.reward(88901), "{show}");
    assert_eq!(show.json["attempts"], json!(world.attempts(88901)), "{show}");
    assert_eq!(show.json["journal"], json!(world.journal(88901)), "{show}");
    let status = world.status().exits(3);
    assert_eq!(status.json["states"], json!({ "fulfilled": 1, "held": 1 }), "{status}");
    let held = &status.json["attention"][0];
    assert_eq!((&held["commission_id"], &held["reason"]), (&json!(88902), &json!("fraud_suspicion")), "{status}");
    assert!(held["since"].is_string() && held["what_to_do"].is_string() && held["state"] == "held", "{status}");
    assert_eq!(status.json["account_id"], "12345", "{status}");
    assert_eq!(status.json["last_pass"]["delivered"], 1, "{status}");
}
