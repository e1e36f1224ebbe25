//! A pass was killed during a delivery. Then the world, or the configuration, changed.

use crate::{
    audit::at_rest,
    sandbox::{always, commission, dropped, hang, never, next, text},
    world::{LONG_AGO, PATIENCE, World, given},
};

/// Commission 1: its attempt is in the ledger, its request arrived and was never processed.
fn cut_off() -> World {
    let world = given([commission(1).approved(LONG_AGO)]);
    killed_while_delivering(&world);
    world
}

fn killed_while_delivering(world: &World) {
    world.sandbox.merchant.lock().faults = always(hang());
    let mut once = world.start(&["once", "--json"]);
    assert!(world.sandbox.gate.wait_until(PATIENCE, || world.sandbox.merchant.requests() == 1), "it is delivered");
    once.kill();
    world.sandbox.merchant.lock().faults = never();
    assert_eq!(world.state_of(1), "delivering");
}

/// A waiting reward would be held for this reason, and so is an interrupted one. It is delivered when the cause is gone.
#[track_caller]
fn held_and_released(world: &mut World, reason: &str, cause_goes: impl FnOnce(&mut World)) {
    let ran = world.once().exits(3);
    assert_eq!((world.state_of(1), world.hold_reason(1)), ("held".to_owned(), reason.to_owned()), "{ran}");
    assert_eq!(world.reward(1)["uncertain"], 1, "the attempt may have taken effect");
    assert_eq!((world.sandbox.merchant.requests(), world.attempts(1).len()), (1, 1), "{ran}");
    assert_eq!(world.attempts(1)[0]["outcome"], "unknown");
    world.then_nothing_more_happens().exits(3);
    cause_goes(world);
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.effects_of(1).len(), 1);
    at_rest(world, &[1]).exits(0);
}

#[test]
fn a_suspicion_that_came_after_the_crash_holds_what_was_cut_off() {
    let mut world = cut_off();
    world.sandbox.firstpromoter.change(1, |it| it.fraud_check = Some("same_ip_suspicion".to_owned()));
    held_and_released(&mut world, "fraud_suspicion", |world| {
        world.sandbox.firstpromoter.change(1, |it| it.fraud_check = Some("no_suspicion".to_owned()));
    });
}

#[test]
fn a_limit_that_was_lowered_after_the_crash_holds_what_was_cut_off() {
    let mut world = cut_off();
    world.set("policy.max_amount.points", "499");
    held_and_released(&mut world, "over_limit", |world| {
        world.unset("policy.max_amount.points");
    });
}

#[test]
fn a_unit_that_was_removed_after_the_crash_holds_what_was_cut_off() {
    let mut world = cut_off();
    world.set("policy.units", "credits");
    held_and_released(&mut world, "no_route", |world| {
        world.unset("policy.units");
    });
}

#[test]
fn an_interrupted_delivery_resumes_at_its_target_whatever_the_routes_say() {
    let mut world = cut_off();
    let script = world.file("grant.sh", include_str!("../fixtures/grant.sh"));
    world.toml(&format!(
        "[targets.script]\ntype = \"command\"\nargv = [\"sh\", '{}']\n[[routes]]\ntarget = \"script\"\n",
        script.display()
    ));
    world.once().exits(0);
    assert_eq!((world.sandbox.merchant.effects_of(1).len(), world.reward(1)["target"].as_str()), (1, Some("app")));
    at_rest(&world, &[1]).exits(0);
}

/// Held for a person, with the difference. Nothing more is sent.
#[track_caller]
fn held_as_another_target(world: &World, what: &str) {
    let ran = world.once().exits(3);
    assert_eq!(world.hold_reason(1), "outcome_unknown", "{ran}");
    let why = world.reward(1)["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("app is another target now") && why.contains(what), "{why}");
    assert_eq!(world.sandbox.merchant.requests(), 1, "{ran}");
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn an_interrupted_delivery_is_not_repeated_where_the_target_deduplicates_only_since_then() {
    let mut world = given([commission(1).approved(LONG_AGO)]);
    world.set("targets.app.idempotent", "false");
    killed_while_delivering(&world);
    world.set("targets.app.idempotent", "true");
    held_as_another_target(&world, "whether it deduplicates by key: no -> yes");
    let attempt = &world.attempts(1)[0];
    let fingerprint = attempt["fingerprint"].as_str().unwrap();
    assert!(fingerprint.starts_with("type=http;place=http://127.0.0.1:"), "{fingerprint}");
    assert_eq!(attempt["fingerprint"], world.reward(1)["fingerprint"]);
}

#[test]
fn an_interrupted_delivery_is_not_repeated_at_another_address_of_the_same_name() {
    let mut world = cut_off();
    world.set("targets.app.url", "http://127.0.0.1:9/other");
    held_as_another_target(&world, "its address: http://127.0.0.1:");
}

#[test]
fn a_delivery_interrupted_in_0_1_resumes_at_the_target_of_that_name_in_the_first_pass() {
    let mut world = cut_off();
    world.forge("UPDATE attempts SET fingerprint = NULL; UPDATE rewards SET fingerprint = NULL");
    let plan = world.plan().exits(0);
    assert_eq!(plan.line(1)["decision"], "resume", "{plan}");
    // A pass that delivers nothing adopts it. From then on it counts.
    world.set("policy.max_amount.points", "1");
    world.once().exits(3);
    world.unset("policy.max_amount.points").set("targets.app.idempotent", "false");
    held_as_another_target(&world, "whether it deduplicates by key: yes -> no");
}

#[test]
fn a_delivery_interrupted_in_0_1_gets_the_fingerprint_that_the_first_command_finds() {
    let mut world = cut_off();
    world.forge("UPDATE attempts SET fingerprint = NULL; UPDATE rewards SET fingerprint = NULL");
    // It migrates a ledger of 0.1, and needs no pass.
    world.run(&["claim", "2"]).exits(0);
    world.set("targets.app.url", "http://127.0.0.1:9/other");
    held_as_another_target(&world, "its address: http://127.0.0.1:");
}

/// Its reply was lost, and the next attempt was refused. A person who reads only about the refusal would have it delivered
/// twice.
#[test]
fn a_refusal_after_an_attempt_in_doubt_shows_the_doubt_first() {
    let mut world = given([commission(1).approved(LONG_AGO)]);
    world.without_backoff();
    world.sandbox.merchant.lock().faults = next(1, dropped().after_effect()).then_always(text(404, "no such customer"));
    world.once().exits(0);
    let ran = world.once().exits(3);
    assert_eq!((world.hold_reason(1).as_str(), &world.reward(1)["uncertain"]), ("refused_by_target", &1.into()));
    let row = &world.query("SELECT what_to_do, detail FROM attention")[0];
    let first = "An attempt may have taken effect";
    assert!(row["what_to_do"].as_str().unwrap().starts_with(first), "{row}");
    assert!(row["what_to_do"].as_str().unwrap().contains("fp-12345-1"), "{row}");
    let detail = "an attempt may have taken effect; ";
    assert!(row["detail"].as_str().unwrap().starts_with(detail), "{row}");
    assert!(ran.line(1)["detail"].as_str().unwrap().starts_with(detail), "{ran}");
    let shown = world.run(&["show", "1"]).stdout.replace('\n', " ");
    let (doubt, refusal) = (shown.find(first), shown.find("refused_by_target"));
    assert!(doubt.is_some() && doubt < refusal, "{shown}");
    let resolved = world.run(&["resolve", "1", "--retry"]).exits(0);
    assert!(resolved.stdout.starts_with("An attempt at app may have taken effect"), "{resolved}");
}
