//! Ledgers of earlier schema versions: `tests/fixtures/ledgers/N.db` was written by a makegood whose schema was version N,
//! with `cargo run --example sandbox -- N.db` (and is the whole ledger: nothing was left in its WAL).

use std::{collections::BTreeMap, path::Path};

use super::*;

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
    let known = i64::try_from(MIGRATIONS.len()).unwrap();
    assert_eq!(fixtures().into_keys().collect::<Vec<_>>(), (1..known).collect::<Vec<_>>());
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
        assert_eq!(
            place.shell().pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(),
            version
        );
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
        let mut tally = Tally::default();
        world.ledger.count(&mut tally).unwrap();
        assert!(tally.counted.passes_completed > 0 && tally.counted.waits.sum_s > 0.0, "version {version}");
    }
}

/// Every reward, all its columns.
fn rewards(conn: &Connection) -> Vec<String> {
    let mut statement = conn.prepare("SELECT * FROM rewards ORDER BY 1").unwrap();
    let width = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..width)
            .map(|column| row.get_ref(column).map(|value| format!("{value:?}")))
            .collect::<rusqlite::Result<Vec<_>>>()
    });
    rows.unwrap().map(|row| row.unwrap().join("|")).collect()
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
