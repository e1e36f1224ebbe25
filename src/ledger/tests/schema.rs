//! The guards: what no program, ours or another's, can write into a ledger.

use rusqlite::ErrorCode;

use super::*;

/// Statements of another program that must fail, and leave everything as it was.
fn refuses(world: &World, statements: &[&str]) {
    let shell = world.place.shell();
    let before = world.dump();
    let refused = |sql: &&str| match shell.execute_batch(sql).map_err(|error| error.sqlite_error_code()) {
        Ok(()) => false,
        Err(Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)) => true,
        Err(other) => panic!("{sql}: refused for another reason: {other:?}"),
    };
    let accepted: Vec<_> = statements.iter().filter(|sql| !refused(sql)).collect();
    assert!(accepted.is_empty(), "accepted: {accepted:#?}");
    assert_eq!(world.dump(), before);
}

#[test]
fn nonsense_in_a_reward_is_refused() {
    let world = World::new();
    world.waiting(1);
    world.waiting(2);
    let set = |columns: &str| format!("UPDATE rewards SET {columns} WHERE commission_id = 1");
    let nonsense = [
        "state = 'lost'",
        "state = ''",
        "state = NULL",
        "state_since = NULL",
        "amount = 0",
        "amount = -1",
        "amount = 'many'",
        "amount = 1.5",
        "recipient = 'nobody'",
        "promoter_id = 'Pat'",
        "first_seen_at = NULL",
        "owed_since = NULL",
        "key = NULL",
        "key = 'fp-12345-2'",
        "attempts = -1",
        "attempts = NULL",
        "failures = -1",
        "uncertain = 2",
        "uncertain = NULL",
        "delivered_by = 'nobody'",
        "mark_attempts = -1",
        "hold_reason = 'mood'",
        "hold_reason = 'fuse'",
        "drift = 'denied_after_delivery'",
        "drift = 'unfulfilled_upstream'",
        "next_attempt_at = NULL",
        "wait_reason = NULL",
        "wait_reason = 'mood'",
        "wait_reason = 'target'",
        "uncertain = 1",
        "commission_id = NULL",
        "commission_id = 2",
        "state = 'held'",
        "state = 'delivering'",
        "state = 'delivering', target = 'app'",
        "state = 'delivering', target = 'app', attempts = 1, amount = NULL",
        "state = 'delivering', target = 'app', attempts = 1, unit = NULL",
        "state = 'delivering', target = 'app', attempts = 1, recipient = NULL",
        "state = 'delivered'",
        "state = 'delivered', delivered_at = state_since",
        "state = 'delivered', delivered_by = 'outside'",
        "state = 'fulfilled'",
        "state = 'fulfilled', fulfilled_at = state_since",
        "state = 'fulfilled', delivered_by = 'outside'",
        "state = 'cancelled', uncertain = 1",
        "state = 'cancelled', delivered_at = state_since",
    ];
    let statements: Vec<String> = nonsense.iter().map(|it| set(it)).collect();
    refuses(&world, &statements.iter().map(String::as_str).collect::<Vec<_>>());
}

/// An unreadable time would stop every pass, so a handler gets an error when it writes one.
#[test]
fn times_are_utc_text_of_rfc_3339_in_whole_seconds_or_milliseconds() {
    let world = World::new();
    world.waiting(1);
    let columns = [
        "state_since",
        "first_seen_at",
        "owed_since",
        "first_attempt_at",
        "next_attempt_at",
        "delivered_at",
        "fulfilled_at",
    ];
    let set = |column: &str, time: &str| format!("UPDATE rewards SET {column} = '{time}' WHERE commission_id = 1");
    for column in columns {
        for time in ["2026-01-01T12:00:00Z", "2026-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"] {
            world.elsewhere(&set(column, time));
            world.row(1);
        }
        let wrong = [
            "yesterday",
            "",
            "2026-01-01 12:00:00",
            "2026-01-01T12:00:00",
            "2026-01-01T14:00:00+02:00",
            "2026-01-01T12:00:00.123456Z",
            "2026-02-30T12:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01",
            "1767268800",
        ];
        refuses(&world, &wrong.map(|time| set(column, time)).each_ref().map(String::as_str));
    }
    for column in ["approved_at", "created_at"] {
        refuses(&world, &[&set(column, "yesterday"), &set(column, "2026-01-01 12:00:00")]);
    }
    let odd = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 59999), \
               t (t) AS (SELECT printf('2026-01-01T12:00:%02d.%03dZ', i / 1000, i % 1000) FROM n) \
               SELECT count(*) FROM t WHERE strftime('%Y-%m-%dT%H:%M:%fZ', t) IS NOT t";
    assert_eq!(world.one(odd), "0", "no millisecond of ours is refused");
}

#[test]
fn everything_that_a_handler_may_write_is_accepted() {
    let world = World::new();
    for (number, columns) in [
        (1, "state = 'held', hold_reason = 'changed'"),
        (2, "state = 'delivering', target = 'app', attempts = 1"),
        (3, "state = 'delivered', delivered_at = state_since, delivered_by = 'outside', receipt = 'r'"),
        (4, "state = 'fulfilled', fulfilled_at = state_since, delivered_by = 'operator'"),
        (5, "state = 'cancelled'"),
        (6, "state = 'dismissed'"),
    ] {
        world.waiting(number);
        world.elsewhere(&format!("UPDATE rewards SET {columns} WHERE commission_id = {number}"));
    }
    assert_eq!(world.ledger.states().unwrap().len(), 6);
}

#[test]
fn nonsense_in_the_other_tables_is_refused() {
    let world = World::new();
    world.begin(&world.waiting(1));
    refuses(
        &world,
        &[
            "INSERT INTO account (id, account_id, bound_at) VALUES (2, '678', 'now')",
            "INSERT INTO account (id, account_id, bound_at) VALUES (1, '678', 'now')",
            "UPDATE account SET id = 2",
            "UPDATE account SET account_id = NULL",
            "UPDATE attempts SET attempt = 0",
            "UPDATE attempts SET outcome = 'maybe', finished_at = started_at",
            "UPDATE attempts SET outcome = 'unknown'",
            "UPDATE attempts SET finished_at = started_at",
            "INSERT INTO attempts (commission_id, attempt, target, started_at) VALUES (1, 1, 'app', 'x')",
            "INSERT INTO claims VALUES (5, 'handler', '2026-01-01T12:00:00Z', 'soon')",
            "INSERT INTO claims VALUES (5, 'handler', '2026-01-01T12:00:00Z', NULL)",
            "INSERT INTO claims VALUES (5, NULL, '2026-01-01T12:00:00Z', '2026-01-01T12:00:00Z')",
            "INSERT INTO claims VALUES (1, 'handler', '2026-01-01T12:00:00Z', '2026-01-01T12:00:00Z')",
            "INSERT INTO passes (trigger, kind, started) VALUES ('command', NULL, 'now')",
            "INSERT INTO passes (trigger, kind, started, error, error_kind) VALUES ('command', 'poll', 'now', 'x', 'mood')",
            "INSERT INTO passes (trigger, kind, started, error_kind) VALUES ('command', 'poll', 'now', 'stopped')",
            "UPDATE claims SET commission_id = 'one'",
        ],
    );
}

#[test]
fn the_journal_is_append_only() {
    let world = World::new();
    world.waiting(1);
    world.waiting(2);
    refuses(
        &world,
        &[
            "UPDATE journal SET reason = 'nothing happened'",
            "UPDATE journal SET id = id + 1",
            "DELETE FROM journal",
            "DELETE FROM journal WHERE id = 1",
            "REPLACE INTO journal (id, commission_id, at, to_state, reason, actor) VALUES (1, 1, '2026-01-01T12:00:00Z', 'waiting', 'x', 'x')",
            "REPLACE INTO journal (id, commission_id, at, to_state, reason, actor) VALUES (2, 1, '2026-01-01T12:00:00Z', 'waiting', 'x', 'x')",
        ],
    );
}

#[test]
fn rewards_are_never_deleted() {
    let world = World::new();
    for (number, state) in (1..).zip(RewardState::ALL) {
        world.in_state(number, *state);
    }
    refuses(&world, &["DELETE FROM rewards", "DELETE FROM rewards WHERE state = 'waiting'"]);
}

/// REPLACE deletes without firing the triggers on DELETE.
#[test]
fn rewards_are_never_replaced_either() {
    let world = World::new();
    let replace = |number: i64, key: &str| {
        format!(
            "REPLACE INTO rewards (commission_id, key, state, state_since, first_seen_at, owed_since, next_attempt_at, wait_reason) \
             SELECT {number}, '{key}', 'waiting', state_since, state_since, state_since, state_since, 'due' FROM rewards LIMIT 1"
        )
    };
    for (number, state) in (1..).zip(RewardState::ALL) {
        world.in_state(number, *state);
        refuses(
            &world,
            &[&replace(number, &format!("fp-12345-{number}")), &replace(99, &format!("fp-12345-{number}"))],
        );
    }
    refuses(&world, &["UPDATE OR REPLACE rewards SET commission_id = 2, key = 'fp-12345-2' WHERE commission_id = 1"]);
}

#[test]
fn a_key_names_its_commission_and_stays() {
    let world = World::new();
    world.waiting(1);
    let insert = |number: i64, key: &str| {
        format!(
            "INSERT INTO rewards (commission_id, key, state, state_since, first_seen_at, owed_since, next_attempt_at, wait_reason) \
             SELECT {number}, '{key}', 'waiting', state_since, state_since, state_since, state_since, 'due' FROM rewards LIMIT 1"
        )
    };
    refuses(
        &world,
        &[
            &insert(12, "fp-12345-2"),
            &insert(2, "fp-12345-12"),
            &insert(2, "12345-2"),
            &insert(2, "fp-2"),
            "UPDATE rewards SET commission_id = 2, key = 'fp-12345-2'",
            "UPDATE rewards SET key = 'fp-678-1'",
        ],
    );
    world.elsewhere(&insert(2, "fp-12-345-2"));
}

#[test]
fn a_delivered_reward_never_goes_back() {
    let world = World::new();
    let there = [RewardState::Delivered, RewardState::Fulfilled, RewardState::Reversed];
    for (number, state) in (1..).zip(there) {
        world.in_state(number, state);
    }
    let back = [
        "state = 'waiting', next_attempt_at = state_since, wait_reason = 'due'",
        "state = 'delivering', attempts = attempts + 1",
        "state = 'held', hold_reason = 'fuse'",
        "state = 'cancelled', delivered_at = NULL",
        "state = 'dismissed'",
    ];
    for number in 1..=3 {
        let statements = back.map(|it| format!("UPDATE rewards SET {it} WHERE commission_id = {number}"));
        refuses(&world, &statements.each_ref().map(String::as_str));
    }
    let reward = world.row(1);
    let error = world.ledger.change(by_us(0), |it| it.apply(&reward, &wait(at(0)))).unwrap_err();
    assert!(matches!(error, LedgerError::Sqlite { .. }), "{error:?}");
}
