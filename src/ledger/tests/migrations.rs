//! Ledgers of earlier schema versions. A makegood with schema version N wrote `tests/fixtures/ledgers/N.db`, with `cargo run
//! --example sandbox -- N.db`. Version 2 then went into every state, version 3 through passes that did not complete. Each file
//! is the whole ledger: nothing was left in its WAL.

use std::{collections::BTreeMap, path::Path};

use super::{measures::counts_are_what_a_recount_gives, *};

fn fixtures() -> BTreeMap<i64, PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledgers");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().parse().unwrap(), path)).collect()
}

fn copy_of(fixture: &Path) -> Place {
    let place = Place::new();
    std::fs::copy(fixture, place.path()).unwrap();
    place
}

/// Tables, indexes, triggers and views, as they were written.
fn schema(world: &World) -> Vec<(String, String)> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut statement = world.ledger.conn.prepare(sql).unwrap();
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

const KEPT: [&str; 7] = ["account", "rewards", "passes", "attempts", "journal", "claims", "reward_rules"];

#[test]
fn there_is_a_ledger_of_every_version_before_this_one() {
    let known = migrate::known_version();
    assert_eq!(fixtures().into_keys().collect::<Vec<_>>(), (1..known).collect::<Vec<_>>());
}

/// The columns that version 1 had, of every reward.
fn rewards(conn: &Connection) -> Vec<String> {
    let sql = "SELECT commission_id, state, state_since, unit, amount, recipient, promoter_id, promoter_email, promoter_name, \
               referral_id, referral_email, referral_uid, campaign_id, campaign_name, reward_id, reward_name, approved_at, \
               created_at, first_seen_at, owed_since, target, key, attempts, failures, first_attempt_at, uncertain, \
               next_attempt_at, last_error, receipt, delivered_at, delivered_by, fulfilled_at, mark_attempts, mark_error, \
               hold_reason, drift FROM rewards ORDER BY 1";
    let mut statement = conn.prepare(sql).unwrap();
    let width = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..width)
            .map(|column| row.get_ref(column).map(|value| format!("{value:?}")))
            .collect::<rusqlite::Result<Vec<_>>>()
    });
    rows.unwrap().map(|row| row.unwrap().join("|")).collect()
}

fn version_of(conn: &Connection) -> i64 {
    conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_ledger_of_an_earlier_version_opens_keeps_every_row_and_becomes_like_a_new_one() {
    for (version, fixture) in fixtures() {
        let place = copy_of(&fixture);
        let before = |table: &str| {
            let shell = place.shell();
            let count = format!("SELECT count(*), coalesce(max(rowid), 0) FROM {table}");
            shell.query_row(&count, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap()
        };
        assert_eq!(version_of(&place.shell()), version);
        let counts = KEPT.map(before);
        assert!(counts.iter().filter(|(rows, _)| *rows > 0).count() >= 5, "version {version} is no empty shell");
        let rewards: Vec<String> = rewards(&place.shell());
        let world = World { ledger: place.open(), place: copy_of(&fixture) };
        assert_eq!(
            schema(&world),
            schema(&World::new()),
            "version {version}: a schema that was released never changes"
        );
        assert_eq!(self::rewards(&world.ledger.conn), rewards, "version {version}");
        assert_eq!(KEPT.map(before), counts, "version {version}");
        world.ledger.check_sound().unwrap();
        world.ledger.begin_pass("command", "poll", at(0)).unwrap();
        assert!(!world.ledger.open_ids().unwrap().is_empty() && !world.ledger.canaries(3).unwrap().is_empty());
        let counted = world.ledger.counted().unwrap();
        assert!(counted.passes_completed > 0 && counted.waits.sum_s > 0.0, "version {version}");
        counts_are_what_a_recount_gives(&world);
    }
}

#[test]
fn the_ledger_of_version_2_has_every_state_and_every_hold_of_its_time() {
    let place = copy_of(&fixtures()[&2]);
    let ledger = place.open();
    assert_eq!(ledger.states().unwrap().len(), RewardState::ALL.len());
    let reasons: std::collections::BTreeSet<String> =
        ledger.attention().unwrap().into_iter().map(|row| row.reason).collect();
    let new = [HoldReason::Unreadable];
    for reason in HoldReason::ALL.iter().filter(|it| !new.contains(it)) {
        assert!(reasons.contains(reason.as_str()), "{reason}: {reasons:?}");
    }
    assert!(reasons.contains("unfulfilled_upstream") && reasons.contains("not_marked"), "{reasons:?}");
    let app = &ledger.health().unwrap()["app"];
    assert_eq!((app.failures, app.refusals, app.retry_at, app.last_error.clone()), (10, 0, Some(at(9)), None));
}

/// Nothing else is known about an old pass, and no kind is guessed.
#[test]
fn passes_of_earlier_versions_get_a_kind_where_every_version_wrote_the_same_words() {
    let kinds = |ledger: &Ledger| {
        let mut statement = ledger.conn.prepare("SELECT coalesce(error_kind, '-') FROM passes ORDER BY id").unwrap();
        let kinds = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        kinds.map(Result::unwrap).collect::<Vec<_>>()
    };
    // One that completed, no answer, SIGTERM, SIGKILL, and no answer again.
    let ledger = copy_of(&fixtures()[&3]).open();
    assert_eq!(kinds(&ledger), ["-", "-", "stopped", "abandoned", "-"]);
    assert_eq!(ledger.streak().unwrap().failing_since, Some("2026-11-21T19:31:27.588Z".parse().unwrap()));
    // From version 4 on the kind is written with the words.
    for (version, fixture) in fixtures().into_iter().filter(|(version, _)| *version < 4) {
        let place = copy_of(&fixture);
        for error in
            ["stopped by a signal before the pass was complete", "abandoned: its process ended before it did", "401"]
        {
            let sql =
                "INSERT INTO passes (trigger, kind, started, finished, error) VALUES ('start', 'poll', 'x', 'x', ?1)";
            place.shell().execute(sql, [error]).unwrap();
        }
        assert!(kinds(&place.open()).ends_with(&["stopped", "abandoned", "-"].map(str::to_owned)), "version {version}");
    }
}

#[test]
fn an_object_that_somebody_added_to_an_earlier_ledger_is_refused_and_not_dropped() {
    for (version, fixture) in fixtures() {
        for sql in [
            "CREATE VIEW mine AS SELECT 1",
            "DROP VIEW owed; CREATE VIEW owed AS SELECT 1",
            "DROP TRIGGER rewards_are_never_deleted",
        ] {
            let place = copy_of(&fixture);
            place.shell().execute_batch(sql).unwrap();
            let error = Ledger::open(&place.path(), ACCOUNT, at(0)).unwrap_err();
            assert!(matches!(error, LedgerError::Altered { .. }), "version {version}: {sql}: {error:?}");
            assert_eq!(version_of(&place.shell()), version);
        }
    }
}

#[test]
fn the_ledger_of_version_4_has_every_state_and_every_hold() {
    let place = copy_of(&fixtures()[&4]);
    let ledger = place.open();
    assert_eq!(ledger.states().unwrap().len(), RewardState::ALL.len());
    let reasons: std::collections::BTreeSet<String> =
        ledger.attention().unwrap().into_iter().map(|row| row.reason).collect();
    let all: std::collections::BTreeSet<&str> = HoldReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let drifts = Drift::ALL.iter().map(|drift| drift.as_str());
    assert_eq!(reasons, all.into_iter().chain(drifts).chain(["not_marked"]).map(str::to_owned).collect());
}

/// The ledger now stores what `show` used to derive for earlier ledgers by comparing two times.
#[test]
fn a_reward_that_waited_in_an_earlier_ledger_gets_the_reason_that_its_journal_tells() {
    let waits = |version: i64| {
        let place = copy_of(&fixtures()[&version]);
        let ledger = place.open();
        let ids: Vec<CommissionId> = ledger.open_ids().unwrap().into_iter().collect();
        let rewards = ledger.rewards(&ids).unwrap();
        let why = rewards.into_values().filter_map(|reward| match reward.state {
            State::Waiting { why, .. } => Some((reward.id.0, why)),
            State::Delivering
            | State::Held { .. }
            | State::Delivered { .. }
            | State::Fulfilled { .. }
            | State::Cancelled
            | State::Reversed { .. }
            | State::Dismissed => None,
        });
        why.collect::<BTreeMap<i64, Wait>>()
    };
    assert_eq!(waits(1), [(88910, Wait::Grace)].into());
    assert_eq!(waits(2), [(1, Wait::Grace), (22, Wait::Backoff), (88910, Wait::Grace)].into());
    let app = || Wait::Target("app".to_owned());
    let expected = [(1, Wait::Grace), (2, Wait::Grace), (3, Wait::Backoff), (4, Wait::Backoff), (5, app()), (6, app())];
    assert_eq!(waits(4), expected.into_iter().chain([(7, Wait::Backoff), (88910, Wait::Grace)]).collect());
}

/// No makegood writes such a row. But a ledger that has one must open, and keep the doubt.
#[test]
fn a_doubt_without_a_target_stays_a_doubt() {
    let place = copy_of(&fixtures()[&4]);
    place.shell().execute_batch("UPDATE rewards SET uncertain = 1, target = NULL WHERE commission_id = 1").unwrap();
    let ledger = place.open();
    assert!(ledger.rewards(&[id(1)]).unwrap()[&id(1)].doubt().is_some());
}

/// Beside the fixtures' own rows, so that guards are tried on rows that were migrated.
#[test]
fn every_guard_still_guards_after_a_migration() {
    for (version, fixture) in fixtures() {
        let place = copy_of(&fixture);
        let shell = place.shell();
        drop(place.open());
        let fulfilled: i64 = shell
            .query_row("SELECT commission_id FROM rewards WHERE state = 'fulfilled' LIMIT 1", [], |row| row.get(0))
            .unwrap();
        for sql in [
            "DELETE FROM rewards",
            &format!("DELETE FROM rewards WHERE commission_id = {fulfilled}"),
            &format!(
                "REPLACE INTO rewards (commission_id, key, state, state_since, first_seen_at, owed_since, next_attempt_at, wait_reason) SELECT \
                 commission_id, key, 'waiting', state_since, state_since, state_since, state_since, 'due' FROM rewards \
                 WHERE commission_id = {fulfilled}"
            ),
            &format!("UPDATE rewards SET key = 'fp-9-{fulfilled}' WHERE commission_id = {fulfilled}"),
            &format!("UPDATE rewards SET commission_id = 77 WHERE commission_id = {fulfilled}"),
            &format!(
                "UPDATE rewards SET state = 'waiting', next_attempt_at = state_since, wait_reason = 'due' WHERE commission_id = {fulfilled}"
            ),
            &format!("UPDATE rewards SET drift = 'fulfilled_after_reversal' WHERE commission_id = {fulfilled}"),
            "UPDATE rewards SET state_since = 'noon'",
            "UPDATE rewards SET amount = -1",
            "UPDATE rewards SET hold_reason = 'mood' WHERE state = 'held'",
            "UPDATE journal SET reason = 'x'",
            "DELETE FROM journal",
            "REPLACE INTO journal SELECT * FROM journal",
            "INSERT INTO journal (commission_id, at, to_state, reason, actor) VALUES (4711, 'x', 'held', 'x', 'x')",
            "INSERT INTO attempts (commission_id, attempt, target, started_at) VALUES (4711, 1, 'app', 'x')",
            "UPDATE attempts SET outcome = 'maybe'",
            "UPDATE passes SET error = 'x', error_kind = 'mood'",
            "UPDATE passes SET error = NULL, error_kind = 'stopped'",
            "INSERT INTO account VALUES (2, '9', 'x')",
            "INSERT INTO claims VALUES (1, 'x', 'x', 'soon')",
            "INSERT INTO target_health (target) VALUES ('well')",
            "INSERT INTO may_have_forgotten VALUES (2, 'copy', 'x')",
            "INSERT INTO may_have_forgotten VALUES (1, 'mood', 'x')",
        ] {
            let error = shell.execute_batch(sql).expect_err(sql);
            assert_eq!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::ConstraintViolation),
                "version {version}: {sql}: {error}"
            );
        }
    }
}

/// The names beside the ledger.
fn beside(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.folder.path()).unwrap();
    let mut names: Vec<String> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains("before") || name.contains("part"));
    names.sort();
    names
}

#[test]
fn a_ledger_is_copied_as_it_was_before_it_is_migrated() {
    let known = migrate::known_version();
    let name = format!("ledger.db.before-{known}");
    for (version, fixture) in fixtures() {
        let place = copy_of(&fixture);
        let rows = rewards(&place.shell());
        drop(place.open());
        assert_eq!(beside(&place), [name.as_str()], "version {version}");
        let copy = Connection::open(place.folder.path().join(&name)).unwrap();
        assert_eq!((version_of(&copy), rewards(&copy)), (version, rows), "version {version}");
        drop(place.open());
        assert_eq!(beside(&place), [name.as_str()], "it is migrated once");
        // Somebody put an older ledger back. The existing copy may be the only one.
        for suffix in ["", "-wal", "-shm"] {
            let _may_be_gone = std::fs::remove_file(place.beside(suffix));
        }
        std::fs::copy(&fixture, place.path()).unwrap();
        drop(place.open());
        assert_eq!(beside(&place), [name.clone(), format!("{name}.2")]);
    }
    let world = World::new();
    assert!(beside(&world.place).is_empty(), "a new ledger has no past");
}

#[test]
fn a_migration_that_fails_leaves_the_ledger_as_it_was_and_no_copy() {
    let place = copy_of(&fixtures()[&2]);
    let shell = place.shell();
    shell
        .execute_batch(
            "PRAGMA foreign_keys = OFF; \
             INSERT INTO attempts (commission_id, attempt, target, started_at) VALUES (4711, 1, 'app', 'x')",
        )
        .unwrap();
    let rows = rewards(&shell);
    let error = Ledger::open(&place.path(), ACCOUNT, at(0)).unwrap_err();
    assert!(matches!(&error, LedgerError::Orphans { table, .. } if table == "attempts"), "{error:?}");
    assert_eq!((version_of(&shell), rewards(&shell), beside(&place)), (2, rows, Vec::new()));
    shell.execute_batch("DELETE FROM attempts WHERE commission_id = 4711").unwrap();
    let ledger = place.open();
    assert_eq!(ledger.version().unwrap(), migrate::known_version());
    let foreign_keys: bool = ledger.conn.pragma_query_value(None, "foreign_keys", |row| row.get(0)).unwrap();
    assert!(foreign_keys, "and they are on again");
}

#[test]
fn a_migrated_ledger_is_refused_by_earlier_versions() {
    let place = copy_of(&fixtures()[&2]);
    let ledger = place.open();
    // What 0.1 asks before anything else.
    assert!(ledger.version().unwrap() > 2);
    drop(ledger);
    place.shell().pragma_update(None, "user_version", migrate::known_version() + 1).unwrap();
    assert!(matches!(Ledger::open(&place.path(), ACCOUNT, at(0)), Err(LedgerError::Newer { .. })));
}

#[test]
fn processes_that_open_an_earlier_ledger_at_the_same_time_migrate_it_once() {
    let place = copy_of(&fixtures()[&2]);
    let all_at_once = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                all_at_once.wait();
                drop(place.open());
            });
        }
    });
    assert_eq!(beside(&place).len(), 1, "{:?}", beside(&place));
    assert_eq!(version_of(&place.shell()), migrate::known_version());
}

#[tokio::test]
async fn a_ledger_is_not_migrated_while_a_pass_runs_on_it() {
    let place = copy_of(&fixtures()[&4]);
    let before = place.bytes();
    let pass = acquire_pass_lock(&place.path(), "run", &crate::clock::SystemClock).await.unwrap();
    let waited = std::cell::Cell::new(Duration::ZERO);
    let wait = |time| waited.set(waited.get() + time);
    // As `Ledger::open` does it, with a clock of the test's own.
    let earlier = Ledger::connect(&place.path(), |path| Connection::open(path)).unwrap();
    let error = earlier.migrate(at(0), wait).unwrap_err();
    assert!(matches!(error, LedgerError::NotMigrated { .. }) && error.kind() == FailureKind::Busy, "{error:?}");
    assert_eq!(waited.get(), Duration::from_secs(30));
    assert_eq!((place.bytes(), beside(&place)), (before, Vec::new()), "nothing is changed");
    let pass = std::cell::RefCell::new(Some(pass));
    earlier.migrate(at(0), |_| drop(pass.take())).unwrap();
    assert_eq!(version_of(&place.shell()), migrate::known_version());
}

#[test]
fn a_process_that_has_the_ledger_open_finds_out_that_a_newer_one_migrated_it() {
    let world = World::new();
    world.ledger.require_in_place().unwrap();
    world.place.shell().pragma_update(None, "user_version", migrate::known_version() + 1).unwrap();
    let error = world.ledger.require_in_place().unwrap_err();
    assert!(matches!(error, LedgerError::Newer { .. }) && error.to_string().contains("systemctl restart"), "{error}");
}

#[test]
fn a_reader_leaves_a_ledger_of_an_earlier_version_as_it_is() {
    for (version, fixture) in fixtures() {
        let place = copy_of(&fixture);
        let before = place.bytes();
        let error = Ledger::open_read_only(&place.path()).unwrap_err();
        assert!(matches!(error, LedgerError::Older { found, .. } if found == version), "{error:?}");
        assert_eq!(place.bytes(), before);
    }
}
