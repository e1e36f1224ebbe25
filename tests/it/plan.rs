//! `plan` says what a pass would do, and changes nothing anywhere.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    sandbox::{Commission, commission, next, now, status},
    world::{LONG_AGO, Ran, World, given},
};

fn owed(id: i64) -> Commission {
    commission(id).approved(LONG_AGO)
}

/// Plans, and compares everything that could have changed.
#[track_caller]
fn plan(world: &World) -> Ran {
    let requests = world.sandbox.firstpromoter.requests();
    let calls = || (world.sandbox.firstpromoter.writes(), world.sandbox.merchant.requests());
    let before = (world.ledger_files(), calls());
    let ran = world.plan();
    for (name, content) in world.ledger_files() {
        // The WAL's index is shared memory, and readers write to it.
        // A WAL that another program removed is made again, empty, with its index.
        let empty_log = name.ends_with("-shm") || (name.ends_with("-wal") && content.is_empty());
        let same = empty_log || before.0.get(&name).is_some_and(|it| *it == content);
        assert!(same, "plan changed {name}: {ran}");
    }
    assert_eq!(world.ledger_path().exists(), before.0.contains_key("ledger.db"), "{ran}");
    assert_eq!(calls(), before.1, "{ran}");
    assert_eq!(ran.count("api_requests"), world.sandbox.firstpromoter.requests() - requests, "{ran}");
    ran
}

fn decisions(ran: &Ran) -> BTreeMap<i64, String> {
    ran.ids().into_iter().map(|id| (id, ran.line(id)["decision"].as_str().unwrap().to_owned())).collect()
}

fn expected<const N: usize>(decisions: [(i64, &str); N]) -> BTreeMap<i64, String> {
    decisions.map(|(id, decision)| (id, decision.to_owned())).into()
}

#[test]
fn before_the_first_pass_no_ledger_is_made() {
    let world = given([owed(1), commission(2).approved_at(now()), owed(3).suspected("ad_source"), owed(4).cash(5)]);
    let ran = plan(&world).exits(0);
    assert!(!world.ledger_path().exists());
    assert_eq!(decisions(&ran), expected([(1, "deliver"), (2, "wait"), (3, "hold")]), "{ran}");
    assert_eq!((&ran.json["fuse"], &ran.json["error"]), (&json!(false), &Value::Null), "{ran}");
    let line = ran.line(1);
    for (field, value) in
        [("unit", json!("points")), ("amount", json!(500)), ("recipient", json!("promoter")), ("target", json!("app"))]
    {
        assert_eq!(line[field], value, "{field}: {ran}");
    }
    assert!(line["reason"].is_string(), "{ran}");

    world.once().exits(3);
    let states: Vec<_> = (1..=3).map(|id| world.state_of(id)).collect();
    assert_eq!(states, ["fulfilled", "waiting", "held"], "what was planned");
    world.then_nothing_more_happens().exits(3);
}

/// A ledger with something of everything, after which the world changed.
fn eventful_world() -> World {
    let mut world =
        given((1..=8).map(owed).chain([commission(9).approved_at(now()), commission(10).approved_at(now())]));
    world.without_backoff();
    {
        let mut merchant = world.sandbox.merchant.lock();
        merchant.faults_of.insert(2, next(1, status(400)));
        merchant.faults_of.insert(3, next(1, status(503).after_effect()));
        world.sandbox.firstpromoter.lock().switches.mark_fails = [4].into();
    }
    world.once().exits(3);
    world.sandbox.firstpromoter.lock().switches.mark_fails.clear();
    world.sandbox.firstpromoter.unfulfil(5);
    world.sandbox.handler_delivers(9);
    world.sandbox.firstpromoter.deny(10);
    world.sandbox.firstpromoter.add_all([owed(11), owed(12).self_referral(), commission(13).approved_at(now())]);
    world
}

#[test]
fn a_pass_does_what_the_plan_said() {
    let world = eventful_world();
    let ran = plan(&world).exits(3);
    assert_eq!(
        decisions(&ran),
        expected([
            (2, "nothing"),
            (3, "deliver"),
            (4, "mark"),
            (5, "nothing"),
            (9, "adopt"),
            (10, "cancel"),
            (11, "deliver"),
            (12, "hold"),
            (13, "wait"),
        ]),
        "{ran}"
    );
    world.once().exits(3);
    let states: Vec<_> = [2, 3, 4, 5, 9, 10, 11, 12, 13].map(|id| world.state_of(id)).into();
    assert_eq!(
        states,
        ["held", "fulfilled", "fulfilled", "fulfilled", "fulfilled", "cancelled", "fulfilled", "held", "waiting"]
    );
    assert_eq!(world.reward(5)["drift"], "unfulfilled_upstream");
    assert_eq!(world.sandbox.merchant.effects_by_key().into_values().max(), Some(1));
    world.then_nothing_more_happens().exits(3);
    plan(&world).exits(3);
}

#[test]
fn a_plan_changes_nothing_while_somebody_has_the_ledger_open() {
    let world = eventful_world();
    let reader = world.ledger();
    reader.execute_batch("BEGIN; SELECT count(*) FROM rewards;").unwrap();
    let ran = plan(&world).exits(3);
    assert_eq!(ran.line(11)["decision"], "deliver", "{ran}");
}

#[test]
fn a_plan_leaves_what_a_crash_left_in_the_wal() {
    let world = given([owed(1)]);
    world.once().exits(0);
    let reader = world.ledger();
    reader.execute_batch("BEGIN; SELECT count(*) FROM rewards;").unwrap();
    world.sandbox.firstpromoter.add(owed(2));
    world.once().exits(0);
    drop(reader);
    assert!(!world.ledger_files()["ledger.db-wal"].is_empty(), "the last pass stands there alone");
    assert_eq!(decisions(&plan(&world).exits(0)), expected([]));
    let before = world.ledger_files();
    world.status().exits(0);
    world.show(2).exits(0);
    let after = world.ledger_files();
    assert!(["ledger.db", "ledger.db-wal"].iter().all(|name| before[*name] == after[*name]), "read-only commands");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_cut_off_delivery_is_planned_to_be_resumed_or_held() {
    for (idempotent, decision) in [("true", "resume"), ("false", "hold")] {
        let mut world = given([commission(1).approved_at(now())]);
        world.once().exits(0);
        world.sandbox.firstpromoter.change(1, |it| it.status_updated_at = Some(crate::sandbox::instant(LONG_AGO)));
        world.forge(
            "UPDATE rewards SET state = 'delivering', target = 'app', attempts = 1 WHERE commission_id = 1; \
             INSERT INTO attempts (commission_id, attempt, target, started_at) VALUES (1, 1, 'app', '2025-01-19T10:30:00.000Z');",
        );
        world.set("targets.app.idempotent", idempotent);
        assert_eq!(plan(&world).line(1)["decision"], decision);
        world.once();
        assert_eq!(world.state_of(1), if idempotent == "true" { "fulfilled" } else { "held" });
        world.then_nothing_more_happens();
    }
}

#[test]
fn a_fuse_that_would_blow_is_shown_and_holds_nothing_yet() {
    let mut world = given((1..=3).map(owed));
    world.set("policy.max_deliveries_per_pass", "2");
    let ran = plan(&world).exits(0);
    assert_eq!(ran.json["fuse"], true, "{ran}");
    assert_eq!(decisions(&ran), expected([(1, "hold"), (2, "hold"), (3, "hold")]), "{ran}");
    assert!(ran.line(1)["reason"].as_str().unwrap().starts_with("fuse"), "{ran}");
    world.once().exits(3);
    assert_eq!(world.hold_reason(1), "fuse");
}

#[test]
fn a_plan_that_would_not_complete_says_so_and_changes_nothing() {
    let world = given([owed(1)]);
    world.sandbox.firstpromoter.lock().switches.ignored_filters.fulfilled = true;
    let ran = plan(&world).exits(1);
    assert!(ran.error().contains("filters[fulfilled]"), "{ran}");
    world.sandbox.firstpromoter.lock().faults.listing = next(1, status(401));
    let ran = plan(&world).exits(1);
    assert!(ran.error().contains("401"), "{ran}");
    assert!(!world.ledger_path().exists());
}

#[test]
fn a_plan_for_a_person_says_what_and_why() {
    let world = given([owed(88901), owed(88902).suspected("ad_source")]);
    let ran = world.run(&["plan"]).exits(0);
    for words in ["88901", "deliver", "500 points", "88902", "hold", "fraud_suspicion", "nothing is done now"] {
        assert!(ran.stdout.contains(words), "{words}: {ran}");
    }
    assert!(!world.ledger_path().exists());
}
