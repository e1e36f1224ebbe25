//! The operator's questions: `show` by id and by email.

use serde_json::{Value, json};

use crate::{
    sandbox::{commission, instant, next, now, status, text},
    world::{LONG_AGO, Ran, World, given},
};

/// Pat got one, waits for one, and one is held. Noor, whom Pat referred, gets one.
fn pats_world() -> World {
    let pat = |c: crate::sandbox::Commission| {
        c.promoter(501, "Pat@Ellis.example", "Pat Ellis").referral(9001, "noor@haddad.example", Some("lumen_1841"))
    };
    let world = given([
        pat(commission(1)).points(500).approved("2025-01-19T10:30:00Z"),
        pat(commission(2)).points(250).approved_at(now()),
        pat(commission(3)).points(70).approved("2025-01-21T10:30:00Z").suspected("ad_source"),
        pat(commission(4)).credits(50).approved("2025-01-22T10:30:00Z").reward(10, "50 credits for the friend"),
        commission(5).approved(LONG_AGO),
    ]);
    world.once().exits(3);
    world
}

fn ids(ran: &Ran) -> Vec<i64> {
    let cases = ran.json.as_array().unwrap_or_else(|| panic!("an array: {ran}"));
    cases.iter().map(|case| case["reward"]["commission_id"].as_i64().unwrap()).collect()
}

/// stdout on one line, without the wrapping.
fn said(ran: &Ran) -> String {
    ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    let said = said(ran);
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {ran}");
    }
}

#[test]
fn show_by_email_finds_what_is_the_promoters_and_the_referrals_whatever_the_case() {
    let world = pats_world();
    let show = |email: &str| world.run(&["show", email, "--json"]);
    assert_eq!(ids(&show("pat@ellis.example").exits(3)), [2, 4, 3, 1], "the latest approved first");
    assert_eq!(ids(&show("PAT@ELLIS.EXAMPLE").exits(3)), [2, 4, 3, 1]);
    assert_eq!(ids(&show("noor@haddad.example").exits(3)), [2, 4, 3, 1], "the same ones, by the referral");
    let others = show("p@example.com").exits(0);
    assert_eq!(ids(&others), [5], "{others}");
    assert_eq!(others.json[0]["reward"], world.reward(5), "{others}");
    assert_eq!(others.json[0]["attempts"], json!(world.attempts(5)), "{others}");
    assert_eq!(others.json[0]["journal"], json!(world.journal(5)), "{others}");
}

#[test]
fn show_by_email_sums_up_what_they_earned_and_leaves_out_what_goes_to_others() {
    let world = pats_world();
    let pat = world.run(&["show", "pat@ellis.example"]).exits(3);
    says(&pat, &["pat@ellis.example: 4 rewards", "got 500 points (1 reward)", "on its way 250 points (1 reward)"]);
    says(
        &pat,
        &["held 70 points (1 reward)", "for others 1 reward", "-> FirstPromoter suspects fraud", "makegood show ID"],
    );
    let noor = world.run(&["show", "noor@haddad.example"]).exits(3);
    says(&noor, &["got 50 credits (1 reward)", "for others 3 rewards"]);
}

#[test]
fn an_email_that_nobody_has_exits_1_with_what_to_do() {
    let world = pats_world();
    let nobody = world.run(&["show", "nobody@example.com"]).exits(1);
    for words in ["nobody@example.com", "Look the person up", "makegood once --commission"] {
        assert!(nobody.stderr.contains(words), "{words}: {nobody}");
    }
    let nobody = world.run(&["show", "nobody@example.com", "--json"]).exits(1);
    assert!(nobody.error().contains("nobody@example.com"), "{nobody}");
    assert!(world.run(&["show", "77"]).exits(1).stderr.contains("makegood once --commission 77"));
}

#[test]
fn show_says_at_a_glance_that_they_have_it() {
    let world = pats_world();
    let show = world.run(&["show", "1"]).exits(0);
    says(&show, &["Commission 1: 500 points for promoter Pat@Ellis.example", "They have it: delivered at"]);
    says(&show, &["by makegood to app, receipt", "FirstPromoter said fulfilled", "1 attempt, the last at", "Timeline"]);
    let json = world.show(1).exits(0).json;
    assert_eq!((&json["attention"], &json["claim"]), (&Value::Null, &Value::Null));
}

#[test]
fn show_says_why_it_waits_and_exits_with_3_only_where_a_person_is_needed() {
    let world = pats_world();
    let grace = world.run(&["show", "2"]).exits(0);
    says(&grace, &["Owed, not delivered yet: not before", "webhook handler has its chance"]);
    let held = world.run(&["show", "3"]).exits(3);
    says(&held, &["Not delivered: held for a person to decide, fraud_suspicion", "-> FirstPromoter suspects fraud"]);
    assert_eq!(world.show(3).exits(3).json["attention"]["reason"], "fraud_suspicion");
}

#[test]
fn show_says_what_was_tried() {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.sandbox.merchant.lock().faults_of.insert(1, next(1, text(503, "down for lunch")));
    world.once().exits(0);
    let show = world.run(&["show", "1"]).exits(0);
    says(&show, &["1 attempt failed, the next attempt not before", "down for lunch", "1 attempt, the last at"]);
    world.sandbox.merchant.lock().faults_of.insert(1, next(1, status(422)));
    world.forge("UPDATE rewards SET next_attempt_at = '2025-01-20T00:00:00Z'");
    says(&world.run(&["show", "1"]).exits(0), &["the next pass tries again"]);
    world.once().exits(3);
    let show = world.run(&["show", "1"]).exits(3);
    says(&show, &["Held for a person to decide, refused_by_target", "makegood resolve 1 --retry", "2 attempts"]);
    world.run(&["resolve", "1", "--dismiss", "--reason", "a refund"]).exits(0);
    says(&world.run(&["show", "1"]).exits(0), &["Not delivered: a person decided so", "a refund"]);
}

#[test]
fn show_says_who_else_is_about_to_deliver_it() {
    let world = given([commission(1).approved_at(now())]);
    world.once().exits(0);
    world.run(&["claim", "1", "--owner", "night-shift"]).exits(0);
    says(&world.run(&["show", "1"]).exits(0), &["night-shift has claimed it until"]);
    assert_eq!(world.show(1).json["claim"]["owner"], "night-shift");
}

#[test]
fn show_says_what_was_delivered_outside_and_what_is_no_longer_owed() {
    let world = given([1, 2].map(|id| commission(id).approved_at(now())));
    world.once().exits(0);
    world.sandbox.firstpromoter.fulfil(1);
    world.sandbox.firstpromoter.deny(2);
    world.once().exits(0);
    says(&world.run(&["show", "1"]).exits(0), &["They have it: delivered outside of makegood"]);
    says(&world.run(&["show", "2"]).exits(0), &["Not owed: no longer approved, and never delivered"]);
}

#[test]
fn text_of_firstpromoter_reaches_the_terminal_without_control_characters() {
    let nasty = "pat\u{1b}[2J\u{7}@example.com";
    let mut odd = commission(1).promoter(501, nasty, "Pat\u{9b}31m").approved_at(instant(LONG_AGO));
    odd.unit = "\u{1b}[31mmoons".to_owned();
    let world = given([odd]);
    for args in [&["once"][..], &["plan"], &["status"], &["show", "1"]] {
        let ran = world.run(args).exits(3);
        assert!(ran.stdout.contains("unknown_unit"), "{ran}");
        assert!(!ran.stdout.contains(|c: char| c.is_control() && c != '\n'), "{ran}");
    }
}

#[test]
fn a_text_that_is_too_long_for_the_ledger_is_refused_and_changes_nothing() {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.run(&["claim", "1", "--owner", "hook"]).exits(0);
    let before = world.dump();
    let long = "r".repeat(100_000);
    for args in [
        ["record", "1", "--owner", "hook", "--receipt", &long],
        ["resolve", "1", "--delivered", "--json", "--receipt", &long],
        ["resolve", "1", "--dismiss", "--json", "--reason", &long],
        ["reverse", "1", "--json", "-v", "--reason", &long],
    ] {
        let ran = world.run(&args).exits(2);
        assert!(ran.stderr.contains("100000 characters, and at most"), "{ran}");
        assert!(ran.stderr.len() < 1_000 && ran.stderr.contains(args[4]), "{ran}");
    }
    assert_eq!(world.dump(), before);
    world.run(&["record", "1", "--owner", "hook", "--receipt", &long[..500]]).exits(0);
}
