//! The ledger file as other programs meet it: readers and writers beside a pass, its mode, and what is shown from it.

use std::{
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    sandbox::{Endpoint, Moment, Sandbox, always, commission, never, once, status, text},
    targets::owed,
    world::{LONG_AGO, PATIENCE, World, given},
};

/// A second program on the ledger, such as a `sqlite3` shell.
fn shell(world: &World, sql: &str) -> Connection {
    let shell = Connection::open(world.ledger_path()).unwrap();
    shell.execute_batch(sql).unwrap();
    shell
}

fn count(shell: &Connection, table: &str) -> i64 {
    shell.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn an_open_read_transaction_stops_no_pass_and_sees_no_change() {
    let world = given([owed(1)]);
    world.once().exits(0);
    let shell = shell(&world, "BEGIN");
    assert_eq!((count(&shell, "rewards"), count(&shell, "passes")), (1, 1));
    world.sandbox.firstpromoter.add(owed(2));
    world.once().exits(0);
    assert_eq!(world.state_of(2), "fulfilled");
    assert_eq!((count(&shell, "rewards"), count(&shell, "passes")), (1, 1), "the reader's snapshot stands still");
    shell.execute_batch("COMMIT").unwrap();
    assert_eq!((count(&shell, "rewards"), count(&shell, "passes")), (2, 2));
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn an_open_write_transaction_is_waited_for_and_then_named_before_anything_is_delivered() {
    let world = given([owed(1)]);
    world.run(&["once", "--commission", "1", "--max-deliveries", "0"]).exits(3);
    let requests = world.sandbox.requests();
    let dump = world.dump();
    let shell = shell(&world, "BEGIN IMMEDIATE");
    let begun = Instant::now();
    let ran = world.once().exits(1);
    assert!(begun.elapsed() >= Duration::from_secs(15), "{:?}", begun.elapsed());
    let path = world.ledger_path().display().to_string();
    let words = format!("the ledger {path} stayed locked by another program for 15 s");
    assert!(ran.error().starts_with(&words) && ran.error().contains(&format!("`fuser {path}` shows who")), "{ran}");
    assert_eq!((world.sandbox.merchant.requests(), world.sandbox.firstpromoter.writes()), (0, 0), "{ran}");
    assert_eq!(world.sandbox.requests(), requests, "nobody was asked: {ran}");
    // A reader is not kept out.
    world.status().exits(3);
    shell.execute_batch("ROLLBACK").unwrap();
    assert_eq!(world.dump(), dump, "{ran}");
    world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("fulfilled", 1));
}

#[test]
fn a_short_write_transaction_is_waited_for_and_nothing_is_delivered_before_the_intent_is_on_disk() {
    let world = given([owed(1)]);
    world.run(&["once", "--commission", "1", "--max-deliveries", "0"]).exits(3);
    let (held, path) = (Arc::new(Mutex::new(None)), world.ledger_path());
    let holder = Arc::clone(&held);
    // Between the confirmation and the intent.
    world.sandbox.firstpromoter.after(Endpoint::ByIds, 2, move |_| {
        let shell = Connection::open(path).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        *holder.lock().unwrap() = Some(shell);
    });
    let pass = world.start(&["once", "--json"]);
    assert!(world.sandbox.wait_until(PATIENCE, |_| held.lock().unwrap().is_some()));
    let delivered = |sandbox: &Sandbox| sandbox.merchant.requests() > 0;
    assert!(!world.sandbox.wait_until(Duration::from_millis(500), delivered), "delivered without an intent on disk");
    assert_eq!(world.state_of(1), "held");
    held.lock().unwrap().take().unwrap().execute_batch("ROLLBACK").unwrap();
    let ran = pass.wait().exits(0);
    assert_eq!((ran.error(), world.state_of(1).as_str()), ("", "fulfilled"), "{ran}");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_reader_beside_a_running_pass_sees_the_intent_before_the_request_arrives() {
    let world = given([owed(1)]);
    // Two pages, the rules, both ways: the sixth is the delivery.
    world.sandbox.gate.stop_at(6, Moment::BeforeEffect);
    let mut pass = world.start(&["once", "--json"]);
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE));
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("delivering", 1));
    let attempt = &world.attempts(1)[0];
    assert_eq!((&attempt["target"], &attempt["outcome"]), (&json!("app"), &Value::Null));
    pass.kill();
    world.sandbox.gate.open();
    world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.effects_of(1).len()), ("fulfilled", 1));
}

#[test]
fn the_ledger_is_for_its_owner_and_group_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let world = given([owed(1)]);
        let command = world.command(&["once"]);
        let mut shell = std::process::Command::new("/bin/sh");
        shell.env_clear().current_dir(world.path("."));
        shell
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" \"$@\""))
            .arg(command.get_program())
            .args(command.get_args());
        crate::world::Running::start(shell).wait().exits(0);
        let files: Vec<_> = world.ledger_files().into_keys().collect();
        assert!(files.contains(&"ledger.db".to_owned()), "{files:?}");
        for name in files {
            let mode = std::fs::metadata(world.path(&name)).unwrap().permissions().mode() & 0o777;
            if name == "ledger.db" {
                assert_eq!(mode, 0o640, "umask {umask}: {name}: {mode:o}");
            }
            assert_eq!(mode & 0o007, 0, "umask {umask}: {name} is for everybody: {mode:o}");
        }
    }
}

#[test]
fn rewards_cannot_be_deleted_and_the_journal_cannot_be_changed() {
    let world = given([owed(1)]);
    world.once().exits(0);
    let shell = shell(&world, "");
    for (sql, words) in [
        ("DELETE FROM rewards", "rewards are never deleted"),
        (
            "UPDATE rewards SET state = 'waiting', next_attempt_at = '2025' WHERE commission_id = 1",
            "never delivered again",
        ),
        ("UPDATE journal SET reason = 'x'", "append-only"),
        ("DELETE FROM journal", "append-only"),
        ("UPDATE rewards SET state = 'lost'", "never delivered again"),
        ("UPDATE rewards SET delivered_by = 'nobody'", "CHECK constraint failed"),
        ("UPDATE rewards SET amount = -1", "CHECK constraint failed"),
        (
            "INSERT INTO rewards (commission_id, state, state_since, first_seen_at, owed_since, key, delivered_at, delivered_by) \
          VALUES (2, 'delivered', 'x', 'x', 'x', 'fp-12345-1', 'x', 'makegood')",
            "constraint failed",
        ),
    ] {
        let error = shell.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains(words), "{sql}: {error}");
    }
}

/// A world with most of the states that a person meets, and with long words in it.
fn a_bit_of_everything() -> World {
    let world = given([
        owed(1),
        owed(2).suspected("same_ip_suspicion"),
        owed(3).promoter(7, "a.very.long.address.of.somebody.with.many.names@subdomain.of.a.long.example.com", "Max"),
        owed(4).credits(1_000_000).reward(10, "50 credits for the friend").without_referral(),
        owed(5).points(90_000_000),
        owed(6),
        owed(123_456_789_012),
        commission(8).approved_at(crate::sandbox::now()),
    ]);
    world.sandbox.merchant.lock().faults_of = [
        (3, always(text(422, &"the account is closed and will not be opened again; ".repeat(20)))),
        (6, always(status(503))),
    ]
    .into();
    world.sandbox.firstpromoter.lock().switches.mark_fails = [123_456_789_012].into();
    for _ in 0..3 {
        world.once().exits(3);
    }
    world
}

#[test]
fn output_for_a_person_fits_eighty_columns() {
    let world = a_bit_of_everything();
    let ids = world.query("SELECT commission_id FROM rewards");
    let shows = ids.iter().map(|row| vec!["show".to_owned(), row["commission_id"].to_string()]);
    let others = ["status", "once", "plan"].map(|name| vec![name.to_owned()]);
    for args in others.into_iter().chain(shows) {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let ran = world.run(&args);
        assert!(ran.exit == 0 || ran.exit == 3, "{ran}");
        assert!(ran.stderr.is_empty(), "a report and nothing else: {ran}");
        for line in ran.stdout.lines() {
            // A word is never broken, so an address or a path may be longer.
            let words = line.split_whitespace().count();
            assert!(line.chars().count() <= 80 || words == 1, "{args:?} is wider than 80 columns: {line:?}");
            assert!(!line.contains('\u{1b}') && line.trim_end() == line, "{args:?}: {line:?}");
        }
    }
}

#[test]
fn status_says_what_needs_a_person_and_when_something_is_owed_next() {
    let world = a_bit_of_everything();
    let ran = world.run(&["status"]).exits(3);
    let text = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let next = world.query("SELECT min(next_attempt_at) AS next FROM owed")[0]["next"].as_str().unwrap().to_owned();
    for words in [
        "Account 12345 Last pass: 3 (command), 20",
        "Rewards: 1 delivered, 1 fulfilled, 4 held, 2 waiting",
        &format!("Next owed: {}Z", &next[..19]),
        "5 rewards need a person.",
        "2 held 500 points promoter p@example.com fraud_suspicion: fraud_check is same_ip_suspicion -> FirstPromoter suspects",
        "123456789012 delivered 500 points promoter p@example.com not_marked: 1 of the batch failed",
        &format!("Ledger: {}", world.ledger_path().display()),
    ] {
        assert!(text.contains(words), "{words:?} is not said: {ran}");
    }
    let json = world.status().exits(3).json;
    assert_eq!((&json["account_id"], &json["next_owed_at"]), (&json!("12345"), &json!(next)));
    assert_eq!(json["states"], json!({"delivered": 1, "fulfilled": 1, "held": 4, "waiting": 2}));
    assert_eq!((&json["last_pass"]["pass_id"], json["attention"].as_array().unwrap().len()), (&json!(3), 5));
    for it in json["attention"].as_array().unwrap() {
        assert!(["state", "reason", "since", "what_to_do"].iter().all(|field| it[field].is_string()), "{it}");
    }
}

#[test]
fn show_tells_the_whole_story_in_order() {
    let mut world = given([commission(88901).approved(LONG_AGO)]);
    world.without_backoff();
    world.sandbox.merchant.lock().faults = once(status(503));
    world.once().exits(0);
    world.sandbox.merchant.lock().faults = never();
    world.once().exits(0);
    let ran = world.run(&["show", "88901"]).exits(0);
    let text = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut from = 0;
    for words in [
        "Commission 88901: 500 points for promoter p@example.com",
        "state fulfilled",
        "They have it: delivered at",
        "by makegood to app, receipt r-1",
        "approved 2025-01-19T10:30:00Z",
        "campaign Spring",
        "key fp-12345-88901",
        "target app",
        "tried 2 attempts, the last at",
        "Timeline",
        "waiting first seen; owed",
        "waiting -> delivering attempt 1 at app (makegood)",
        "attempt 1 at app unknown: http://127.0.0.1:",
        "delivering -> waiting attempt 1: unknown:",
        "waiting -> delivering attempt 2 at app (makegood)",
        "attempt 2 at app delivered: receipt r-1",
        "delivering -> delivered attempt 2: delivered: receipt r-1 (makegood)",
        "delivered -> fulfilled marked, and FirstPromoter, read back, says fulfilled (makegood)",
    ] {
        let found = text[from..].find(words);
        from += found.unwrap_or_else(|| panic!("{words:?} is not said, or not in its place: {ran}"));
    }
    let json = world.show(88901).exits(0).json;
    assert_eq!(json["reward"], world.reward(88901));
    assert_eq!(json["attempts"].as_array().unwrap(), &world.attempts(88901));
    assert_eq!(json["journal"].as_array().unwrap(), &world.journal(88901));
}

#[test]
fn show_of_what_needs_a_person_says_what_to_do_and_exits_3() {
    let world = given([owed(1)]);
    world.sandbox.merchant.lock().faults = always(status(422));
    world.once().exits(3);
    let ran = world.run(&["show", "1"]).exits(3);
    let text = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("held for a person to decide, refused_by_target: http://127.0.0.1:"), "{ran}");
    assert!(text.contains("-> The target said no. Look at `makegood show 1`"), "{ran}");
}

#[test]
fn show_of_an_unknown_id_says_how_to_find_out() {
    let world = given([owed(1)]);
    world.once().exits(0);
    for id in ["2", "9223372036854775807"] {
        let ran = world.run(&["show", id, "--json"]).exits(1);
        let path = world.ledger_path().display().to_string();
        assert!(ran.error().starts_with(&format!("the ledger {path} does not know commission {id}")), "{ran}");
        assert!(
            ran.error().contains(&format!("`makegood once --commission {id}` asks FirstPromoter about it")),
            "{ran}"
        );
        let ran = world.run(&["show", id]).exits(1);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("does not know commission"), "{ran}");
    }
}
