//! The commands of people and webhook handlers on the ledger: `claim`, `record`, `resolve`. Their exit codes, what they refuse,
//! and what the journal keeps.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    audit::at_rest,
    harm::{Harm, harmed, once_later},
    sandbox::{Moment, commission, dropped, now, once, status},
    world::{LONG_AGO, PATIENCE, Ran, World, given},
};

/// Owed, and no pass has seen it.
fn owed() -> World {
    given([commission(7).approved(LONG_AGO)])
}

/// Held because an attempt may have taken effect; in fact it did.
fn held_unknown() -> World {
    let mut world = owed();
    world.set("targets.app.idempotent", "false");
    let mut merchant = world.sandbox.merchant.lock();
    merchant.deduplicates = false;
    merchant.faults = once(dropped().after_effect());
    drop(merchant);
    world.once().exits(3);
    assert_eq!(world.hold_reason(7), "outcome_unknown");
    world
}

/// Held because the target said no.
fn held_refused() -> World {
    let world = owed();
    world.sandbox.merchant.lock().faults = once(status(422));
    world.once().exits(3);
    assert_eq!(world.hold_reason(7), "refused_by_target");
    world
}

/// Held by policy.
fn held_by_policy() -> World {
    let world = given([commission(7).approved(LONG_AGO).suspected("ad_source")]);
    world.once().exits(3);
    assert_eq!(world.hold_reason(7), "fraud_suspicion");
    world
}

fn claim(world: &World, owner: &str) -> Ran {
    world.run(&["claim", "7", "--owner", owner, "--json"])
}

fn later(world: &World, seconds: u64, args: &[&str]) -> Ran {
    harmed(world, Harm::Later(seconds), args).0
}

fn minutes_from_now(time: &Value) -> i64 {
    let at: DateTime<Utc> = time.as_str().unwrap_or_default().parse().unwrap_or_else(|_| panic!("{time} is no time"));
    ((at - now()).num_seconds() + 30).div_euclid(60)
}

/// The journal's entries: each goes to this state, by this actor, with these words in its reason.
#[track_caller]
fn last_entry(world: &World, to: &str, actor: &str, words: &[&str]) {
    let entry = world.journal(7).pop().unwrap_or_default();
    assert_eq!((&entry["to_state"], &entry["actor"], &entry["pass_id"]), (&json!(to), &json!(actor), &Value::Null));
    for word in words {
        assert!(entry["reason"].as_str().unwrap_or_default().contains(word), "{word:?}: {entry}");
    }
}

// claim

#[test]
fn a_claim_is_taken_also_before_any_pass_and_makegood_leaves_it_alone() {
    let world = owed();
    let taken = claim(&world, "webhook").exits(0);
    assert_eq!(
        (&taken.json["claimed"], &taken.json["owner"], &taken.json["key"], &taken.json["commission_id"]),
        (&json!(true), &json!("webhook"), &json!("fp-12345-7"), &json!(7)),
        "{taken}"
    );
    assert_eq!(minutes_from_now(&taken.json["expires_at"]), 10, "{taken}");
    world.once().exits(0);
    assert_eq!((world.state_of(7).as_str(), world.sandbox.merchant.requests()), ("waiting", 0));
    assert_eq!(world.plan().exits(0).line(7)["decision"], "wait");
    world.then_nothing_more_happens();
}

#[test]
fn a_claim_lasts_as_long_as_it_was_asked_for() {
    let world = owed();
    let claim_for = |period: &str| world.run(&["claim", "7", "--for", period, "--json"]);
    assert_eq!(minutes_from_now(&claim_for("90m").exits(0).json["expires_at"]), 90);
    assert_eq!(minutes_from_now(&claim_for("2h").exits(0).json["expires_at"]), 120, "renewed by the same owner");
    assert_eq!(minutes_from_now(&claim_for("1m").exits(0).json["expires_at"]), 1, "also to a shorter one");
    for nonsense in ["0s", "8d", "ten", "10", "-5m"] {
        let ran = world.run(&["claim", "7", &format!("--for={nonsense}")]).exits(2);
        assert!(ran.stderr.contains("--for"), "{nonsense}: {ran}");
    }
    assert_eq!(world.query("SELECT owner FROM claims"), [json!({ "owner": "webhook" })]);
}

#[test]
fn a_second_owner_gets_a_claim_only_when_the_first_one_is_over() {
    let world = owed();
    claim(&world, "webhook").exits(0);
    let refused = claim(&world, "other").exits(4);
    assert_eq!((&refused.json["claimed"], &refused.json["expires_at"]), (&json!(false), &Value::Null), "{refused}");
    assert!(refused.json["reason"].as_str().unwrap().contains("webhook has it until"), "{refused}");
    let args = ["claim", "7", "--owner", "other", "--json"];
    later(&world, 9 * 60, &args).exits(4);
    later(&world, 11 * 60, &args).exits(0);
    later(&world, 11 * 60, &["claim", "7", "--json"]).exits(4);
}

#[test]
fn a_claim_that_ran_out_gives_the_reward_back_to_makegood() {
    let world = owed();
    world.sandbox.merchant.lock().secret = None; // whose timestamps the merchant compares with its own clock
    claim(&world, "webhook").exits(0);
    world.once().exits(0);
    once_later(&world, 9 * 60).exits(0);
    assert_eq!(world.sandbox.merchant.requests(), 0);
    once_later(&world, 11 * 60).exits(0);
    assert_eq!(world.state_of(7), "fulfilled");
    at_rest(&world, &[7]);
}

#[test]
fn an_owner_needs_a_name_other_than_makegood() {
    let world = owed();
    for owner in ["makegood", ""] {
        claim(&world, owner).exits(2);
        world.run(&["record", "7", "--owner", owner]).exits(2);
    }
}

#[test]
fn a_delivered_reward_cannot_be_claimed() {
    let world = owed();
    world.once().exits(0);
    let refused = claim(&world, "webhook").exits(3);
    assert_eq!(refused.json["claimed"], json!(false), "{refused}");
    assert!(refused.json["reason"].as_str().unwrap().contains("fulfilled already: do not deliver it"), "{refused}");
    assert_eq!(world.query("SELECT * FROM claims"), Vec::<Value>::new());
}

#[test]
fn a_reward_that_makegood_is_delivering_cannot_be_claimed() {
    let world = owed();
    // Listing 2, rules, confirming 2, and the delivery is under way.
    world.sandbox.gate.stop_at(6, Moment::BeforeEffect);
    let mut pass = world.start(&["once", "--json"]);
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE) && world.sandbox.merchant.requests() == 1);
    let refused = claim(&world, "webhook").exits(4);
    assert!(refused.json["reason"].as_str().unwrap().contains("makegood is delivering it"), "{refused}");
    pass.kill();
    world.sandbox.gate.open();
    claim(&world, "webhook").exits(4);
    world.once().exits(0);
    at_rest(&world, &[7]);
}

#[test]
fn a_reward_in_doubt_or_dismissed_cannot_be_claimed() {
    let world = held_unknown();
    let refused = claim(&world, "webhook").exits(4);
    assert!(refused.json["reason"].as_str().unwrap().contains("may have taken effect"), "{refused}");
    world.run(&["resolve", "7", "--dismiss"]).exits(0);
    let refused = claim(&world, "webhook").exits(4);
    assert!(refused.json["reason"].as_str().unwrap().contains("a person decided"), "{refused}");
}

// record

#[test]
fn a_recorded_delivery_is_marked_by_the_next_pass_and_not_repeated() {
    let world = owed();
    world.once_with(&["--max-deliveries", "0"]).exits(3);
    claim(&world, "webhook").exits(0);
    let recorded = world.run(&["record", "7", "--receipt", "h-17", "--json"]).exits(0);
    assert_eq!(
        (&recorded.json["recorded"], &recorded.json["state_before"]),
        (&json!(true), &json!("held")),
        "{recorded}"
    );
    last_entry(&world, "delivered", "webhook", &["recorded as delivered by webhook"]);
    assert_eq!(world.query("SELECT * FROM claims"), Vec::<Value>::new(), "the claim is over");
    then_it_is_marked_as_delivered_outside(&world);
}

#[test]
fn a_commission_that_no_pass_has_seen_can_be_recorded() {
    let world = owed();
    let recorded = world.run(&["record", "7", "--receipt", "h-17", "--owner", "worker-2", "--json"]).exits(0);
    assert_eq!(
        (&recorded.json["recorded"], &recorded.json["state_before"]),
        (&json!(true), &Value::Null),
        "{recorded}"
    );
    last_entry(&world, "delivered", "worker-2", &["before any pass saw it"]);
    assert_eq!(world.reward(7)["key"], "fp-12345-7");
    then_it_is_marked_as_delivered_outside(&world);
    let again = world.run(&["record", "7", "--json"]).exits(0);
    assert_eq!((&again.json["recorded"], &again.json["state_before"]), (&json!(false), &json!("fulfilled")), "{again}");
    assert_eq!(world.reward(7)["receipt"], "h-17", "nothing changed");
    world.then_nothing_more_happens().exits(0);
}

fn then_it_is_marked_as_delivered_outside(world: &World) {
    let ran = world.once().exits(0);
    assert_eq!((ran.count("delivered"), ran.count("fulfilled")), (0, 1), "{ran}");
    assert_eq!(world.sandbox.merchant.requests(), 0, "the handler delivered it");
    assert!(world.sandbox.firstpromoter.is_fulfilled(7));
    let reward = world.reward(7);
    assert_eq!(
        (&reward["state"], &reward["delivered_by"], &reward["receipt"], &reward["unit"], &reward["amount"]),
        (&json!("fulfilled"), &json!("outside"), &json!("h-17"), &json!("points"), &json!(500))
    );
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn recording_does_not_end_the_claim_of_somebody_else() {
    let world = owed();
    claim(&world, "webhook").exits(0);
    world.run(&["record", "7", "--owner", "other"]).exits(0);
    assert_eq!(world.query("SELECT owner FROM claims"), [json!({ "owner": "webhook" })]);
}

#[test]
fn a_delivery_recorded_during_our_attempt_stays_recorded() {
    let world = owed();
    world.sandbox.gate.stop_at(6, Moment::BeforeEffect);
    let pass = world.start(&["once", "--json"]);
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE));
    world.run(&["record", "7", "--receipt", "h-17"]).exits(0);
    // The stopped process leaves an interrupted attempt without an answer.
    world.sandbox.gate.open();
    assert_eq!(pass.wait().exits(0).error(), "");
    assert_eq!(world.attempts(7)[0]["outcome"], "unknown");
    world.once().exits(0);
    let reward = world.reward(7);
    assert_eq!(
        (&reward["state"], &reward["delivered_by"], &reward["receipt"]),
        (&json!("fulfilled"), &json!("outside"), &json!("h-17"))
    );
    assert_eq!(world.sandbox.merchant.requests(), 1);
    world.then_nothing_more_happens().exits(0);
}

// resolve

#[test]
fn resolved_as_delivered_it_is_marked_and_not_delivered_again() {
    let mut world = held_unknown();
    world.env("SUDO_USER", "pat").env("USER", "root");
    let ran = world.run(&["resolve", "7", "--delivered", "--receipt", "r-1", "--reason", "seen in the app", "--json"]);
    let ran = ran.exits(0);
    assert_eq!(
        ran.json,
        json!({ "commission_id": 7, "state": "delivered", "was": "outcome_unknown", "actor": "pat", "uncertain": true }),
        "{ran}"
    );
    last_entry(&world, "delivered", "pat", &["says a person", "seen in the app", "was held: outcome_unknown"]);
    world.once().exits(0);
    let reward = world.reward(7);
    assert_eq!(
        (&reward["state"], &reward["delivered_by"], &reward["receipt"]),
        (&json!("fulfilled"), &json!("operator"), &json!("r-1"))
    );
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [7]);
    at_rest(&world, &[7]).exits(0);
}

#[test]
fn resolved_to_be_retried_it_is_delivered_by_the_next_pass() {
    for world in [held_refused(), held_unknown()] {
        world.sandbox.merchant.lock().effects.clear();
        let ran = world.run(&["resolve", "7", "--retry", "--reason", "it was not there"]).exits(0);
        assert!(ran.stdout.contains("the next pass delivers it"), "{ran}");
        let actor = world.journal(7).pop().unwrap()["actor"].clone();
        assert!(actor.as_str().unwrap().starts_with("uid "), "nobody gave a name: {actor}");
        last_entry(&world, "waiting", actor.as_str().unwrap(), &["tried again", "it was not there"]);
        world.once().exits(0);
        assert_eq!((world.state_of(7).as_str(), world.sandbox.merchant.rewarded_ids()), ("fulfilled", vec![7]));
        assert_eq!(world.reward(7)["delivered_by"], "makegood");
        at_rest(&world, &[7]).exits(0);
    }
}

#[test]
fn dismissed_it_is_never_delivered() {
    for world in [held_refused(), held_by_policy()] {
        world.run(&["resolve", "7", "--dismiss", "--reason", "refund"]).exits(0);
        let actor = world.journal(7).pop().unwrap()["actor"].clone();
        last_entry(&world, "dismissed", actor.as_str().unwrap(), &["not to be delivered", "refund"]);
        let (deliveries, ran) = (world.sandbox.merchant.requests(), world.once().exits(0));
        assert_eq!((world.state_of(7).as_str(), world.sandbox.merchant.requests()), ("dismissed", deliveries), "{ran}");
        assert!(!world.sandbox.firstpromoter.is_fulfilled(7), "that is for a person to say");
        world.then_nothing_more_happens().exits(0);
    }
}

#[test]
fn a_hold_of_policy_is_not_retried_but_may_be_decided() {
    let world = held_by_policy();
    let before = world.dump();
    let refused = world.run(&["resolve", "7", "--retry", "--json"]).exits(1);
    for words in ["held by policy (fraud_suspicion)", "remove the cause", "--delivered or --dismiss"] {
        assert!(refused.error().contains(words), "{words:?}: {refused}");
    }
    assert_eq!(world.dump(), before);
    world.run(&["resolve", "7", "--delivered"]).exits(0);
    world.once().exits(0);
    assert_eq!((world.state_of(7).as_str(), world.sandbox.merchant.requests()), ("fulfilled", 0));
}

#[test]
fn only_held_rewards_are_resolved() {
    let world = owed();
    let missing = world.run(&["resolve", "7", "--dismiss"]).exits(1);
    assert!(missing.stderr.contains("there is no ledger at"), "{missing}");
    assert!(!world.ledger_path().exists(), "and none is made for it");
    world.once().exits(0);
    let before = world.dump();
    for (id, words) in [("7", "is fulfilled, not held"), ("8", "does not know commission 8")] {
        for decision in ["--delivered", "--retry", "--dismiss"] {
            let refused = world.run(&["resolve", id, decision, "--json"]).exits(1);
            assert!(refused.error().contains(words), "{refused}");
        }
    }
    assert_eq!(world.dump(), before);
}

#[test]
fn a_decision_is_one_of_three_and_an_id_is_a_number() {
    let world = held_refused();
    let before = world.dump();
    for args in [
        &["resolve", "7"][..],
        &["resolve", "7", "--delivered", "--retry"],
        &["resolve", "7", "--dismiss", "--delivered"],
        &["resolve", "7", "--retry", "--receipt", "r-1"],
        &["resolve", "7", "--dismiss", "--receipt", "r-1"],
        &["resolve", "7", "--receipt", "r-1"],
        &["resolve", "--retry"],
        &["resolve", "seven", "--retry"],
        &["claim", "0"],
        &["record", "-7"],
        &["record"],
    ] {
        let ran = world.run(args).exits(2);
        assert!(!ran.stderr.is_empty(), "{args:?}: {ran}");
    }
    assert_eq!(world.dump(), before);
}

#[test]
fn the_fuse_holds_and_is_lifted_for_one_pass() {
    let mut world = given((1..=5).map(|id| commission(id).approved(LONG_AGO)));
    world.set("policy.max_deliveries_per_pass", "4");
    world.once().exits(3);
    assert_eq!((world.attention().len(), world.sandbox.merchant.requests()), (5, 0));
    assert_eq!(world.hold_reason(1), "fuse");
    world.then_nothing_more_happens().exits(3);
    world.once_with(&["--max-deliveries", "5"]).exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3, 4, 5]);
    at_rest(&world, &[1, 2, 3, 4, 5]).exits(0);
}
