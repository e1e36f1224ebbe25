//! Other people's text (names, emails, ids, receipts, reasons, answers) on its way to a terminal, a program or a log. It moves
//! nothing, begins no line of ours, and does not change in JSON.

use serde_json::{Value, json};

use crate::{
    sandbox::{always, commission, text},
    world::{LONG_AGO, Ran, World, given},
};

/// Clears the screen, turns the direction, and begins lines in every possible way.
const HOSTILE: &str = "x\u{1b}[2J\u{9b}31m\u{7}\u{202e}y\nFORGED\r\nFORGED\u{85}FORGED\u{2028}FORGED\u{2029}FORGED\u{b}FORGED\u{200b}\u{e0041}z";

/// Characters that move a cursor, a colour or a direction, or are invisible.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
}

#[track_caller]
fn harmless(what: &str, text: &str) {
    let at = text.find(|c| acts(c) && c != '\n');
    assert!(at.is_none(), "{what} at {at:?}: {text:?}");
    // Our lines begin here; wrapped text is indented deeper.
    let forged = |line: &str| [0, 2, 9, 11].contains(&(line.len() - line.trim_start().len()));
    assert!(!text.lines().any(|line| line.trim_start().starts_with("FORGED") && forged(line)), "{what}: {text}");
}

/// As a person and as a program gets it.
fn both(world: &World, args: &[&str]) -> [Ran; 2] {
    let ran = [world.run(args), world.run(&[args, &["--json", "-vv"]].concat())];
    for (ran, how) in ran.iter().zip(["text", "json"]) {
        harmless(&format!("{args:?} {how}: stdout"), &ran.stdout);
        harmless(&format!("{args:?} {how}: stderr"), &ran.stderr);
    }
    ran
}

fn hostile_world() -> World {
    let nasty = format!("{HOSTILE}@example.com");
    let owed = |id: i64| {
        let row = commission(id).promoter(501, &nasty, HOSTILE).referral(601, &nasty, Some(HOSTILE));
        row.campaign(17, HOSTILE).reward(9, HOSTILE).approved(LONG_AGO)
    };
    let mut unit = owed(3);
    HOSTILE.clone_into(&mut unit.unit);
    let mut world =
        given([owed(1), owed(2), unit, owed(4).suspected(HOSTILE), owed(5).points(0).odd("amount", json!(HOSTILE))]);
    world.without_backoff();
    world
}

#[test]
fn no_report_shows_what_others_wrote_as_more_than_text() {
    let world = hostile_world();
    both(&world, &["plan"]);
    world.sandbox.merchant.lock().faults = always(text(422, &format!("no {HOSTILE}")));
    both(&world, &["once"]);
    world.sandbox.merchant.lock().faults = always(text(200, &json!({ "receipt": HOSTILE }).to_string()));
    world.forge(&format!(
        "UPDATE rewards SET target = 'a' || char(27) || '{}' WHERE commission_id = 1",
        HOSTILE.replace('\'', "")
    ));
    let nasty = format!("{HOSTILE}@example.com");
    for args in [
        &["status"][..],
        &["plan"],
        &["show", "1"],
        &["show", "3"],
        &["show", &nasty],
        &["show", "7"],
        &["resolve", "1", "--dismiss", "--reason", HOSTILE],
        &["resolve", "2", "--delivered", "--receipt", HOSTILE],
        &["claim", "4", "--owner", HOSTILE],
        &["show", "4"],
        &["record", "4", "--owner", HOSTILE, "--receipt", HOSTILE],
        &["once"],
        &["show", "2"],
        &["show", "1"],
        &["reverse", "2", "--reason", HOSTILE],
        &["status"],
        &["check"],
        &["ledger", "backup", "/no/such/\u{9b}31m\u{202e}folder"],
        &["ledger", "accept"],
    ] {
        both(&world, args);
    }
}

#[test]
fn json_keeps_what_others_wrote() {
    let world = hostile_world();
    world.once();
    let ran = world.run(&["show", "1", "--json"]);
    harmless("show --json", &ran.stdout);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(shown["reward"]["promoter_name"], json!(HOSTILE));
}

#[test]
fn errors_of_firstpromoter_the_ledger_and_the_configuration_are_harmless_too() {
    for code in [200, 403, 422] {
        let world = given([commission(1).approved(LONG_AGO)]);
        let words = json!({ "message": HOSTILE, "code": HOSTILE, "errors": { HOSTILE: [HOSTILE] } }).to_string();
        world.sandbox.firstpromoter.lock().faults.listing = always(text(code, &words));
        for args in [&["once"][..], &["plan"], &["status"], &["check"]] {
            both(&world, args);
        }
    }
    let world = given([commission(1).approved(LONG_AGO)]);
    world.once().exits(0);
    world.forge(&format!(
        "CREATE TRIGGER planted BEFORE INSERT ON passes BEGIN SELECT RAISE(ABORT, 'no {HOSTILE}'); END"
    ));
    for args in [&["once"][..], &["status"], &["check"]] {
        both(&world, args);
    }
    for (key, value) in [
        ("firstpromoter.account_id", "1\u{1b}[2J\u{9b}\u{202e}"),
        ("targets.app.url", "https://\u{1b}[2J\u{9b}\u{202e}/"),
        ("schedule.poll", "\u{1b}[2J\u{9b}\u{202e}"),
        ("policy.units", "\u{9b}31m\u{202e}"),
    ] {
        let mut world = given([]);
        world.set(key, value);
        for args in [&["once"][..], &["status"], &["check"], &["run"]] {
            let ran = world.run(args);
            assert_ne!(ran.exit, 0, "{key}: {ran}");
            harmless(&format!("{key} {args:?}"), &ran.stdout);
            harmless(&format!("{key} {args:?}"), &ran.stderr);
        }
    }
}
