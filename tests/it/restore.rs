//! `makegood ledger restore` puts a copy in the place of the ledger and keeps the ledger beside it, without disturbing anybody.

use std::{fs, os::unix::fs::MetadataExt};

use serde_json::json;

use crate::{
    audit::at_rest,
    sandbox::{Moment, commission},
    service::{eventually, finished},
    world::{LONG_AGO, PATIENCE, World, given},
};

/// A world that delivered 1, was copied, and then delivered 2, which FirstPromoter has forgotten.
fn copied_and_gone_on() -> World {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.once().exits(0);
    world.run(&["ledger", "backup", "copy.db"]).exits(0);
    world.sandbox.firstpromoter.add(commission(2).approved(LONG_AGO));
    world.once().exits(0);
    world.sandbox.firstpromoter.unfulfil(2);
    world
}

fn kept(world: &World) -> Vec<String> {
    world.ledger_files().into_keys().filter(|name| name.contains("replaced")).collect()
}

#[test]
fn a_copy_takes_the_ledgers_place_which_is_kept_and_delivers_nothing_before_a_person_has_looked() {
    let world = copied_and_gone_on();
    let before = world.dump();
    let shown = world.run(&["ledger", "restore", "copy.db", "--json"]).exits(0);
    assert_eq!((&shown.json["copy"]["rewards"], &shown.json["there"]["rewards"]), (&json!(1), &json!(2)), "{shown}");
    assert_eq!((&shown.json["restored"], &shown.json["kept"]), (&json!(false), &json!(null)), "{shown}");
    assert_eq!((world.dump(), kept(&world)), (before, vec![]), "a look changes nothing");

    let ran = world.run(&["ledger", "restore", "copy.db", "--yes", "--json"]).exits(0);
    let kept = ran.json["kept"].as_str().unwrap().to_owned();
    let old = rusqlite::Connection::open(&kept).unwrap();
    assert_eq!(old.query_row("SELECT count(*) FROM rewards", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    assert_eq!(world.query("SELECT commission_id FROM rewards").len(), 1);
    let (new, beside) = (fs::metadata(world.ledger_path()).unwrap(), fs::metadata(&kept).unwrap());
    assert_eq!((new.uid(), new.gid(), new.mode() & 0o777), (beside.uid(), beside.gid(), 0o640));

    let refused = world.once().exits(1);
    assert!(refused.error().contains("makegood ledger accept"), "{refused}");
    assert_eq!(world.sandbox.merchant.requests(), 2, "{refused}");
    world.run(&["record", "2"]);
    world.run(&["ledger", "accept", "--yes"]).exits(0);
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2]);
    at_rest(&world, &[1, 2]).exits(0);
    let left: Vec<String> = world.ledger_files().into_keys().filter(|name| name.contains("draft")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn nothing_is_restored_under_a_service_or_a_reader_that_has_the_ledger_open() {
    let world = copied_and_gone_on();
    let passes = finished(&world);
    let service = world.start(&["run"]);
    eventually("the pass at the start ends", || finished(&world) > passes);
    let before = world.dump();
    let refused = world.run(&["ledger", "restore", "copy.db", "--yes", "--json"]).exits(4);
    let words = refused.error();
    assert!(words.contains("open in another program") && words.contains("systemctl stop makegood"), "{refused}");
    assert_eq!((world.dump(), kept(&world)), (before, vec![]));
    drop(service);

    let reader = world.ledger();
    reader.query_row("SELECT count(*) FROM rewards", [], |row| row.get::<_, i64>(0)).unwrap();
    world.run(&["ledger", "restore", "copy.db", "--yes", "--json"]).exits(4);
    drop(reader);
    world.run(&["ledger", "restore", "copy.db", "--yes"]).exits(0);
}

#[test]
fn only_a_sound_copy_of_this_account_is_restored() {
    let world = copied_and_gone_on();
    let copy = fs::read(world.path("copy.db")).unwrap();
    let mut damaged = copy.clone();
    let last = damaged.len() - 4096;
    damaged[last..].fill(0xA5);
    world.file("text.db", &"no database at all ".repeat(500));
    fs::write(world.path("damaged.db"), damaged).unwrap();
    for (name, sql) in [
        ("other.db", "UPDATE account SET account_id = '99999'"),
        ("newer.db", "PRAGMA user_version = 99"),
        ("altered.db", "CREATE VIEW mine AS SELECT 1"),
    ] {
        fs::write(world.path(name), &copy).unwrap();
        rusqlite::Connection::open(world.path(name)).unwrap().execute_batch(sql).unwrap();
    }
    fs::write(world.path("empty.db"), "").unwrap();
    fs::create_dir(world.path("folder.db")).unwrap();
    let before = world.dump();
    for (name, words) in [
        ("text.db", "damaged"),
        ("damaged.db", "damaged"),
        ("other.db", "account 99999"),
        ("newer.db", "schema version 99"),
        ("altered.db", "the view"),
        ("empty.db", "not a makegood ledger"),
        ("folder.db", "folder.db"),
        ("nowhere.db", "nowhere.db"),
        ("ledger.db", "ledger.db exists already"),
    ] {
        let ran = world.run(&["ledger", "restore", name, "--yes", "--json"]).exits(1);
        assert!(ran.error().contains(words), "{name}: {ran}");
        assert!(ran.error().contains(name), "{name}: {ran}");
        assert!(
            !fs::read_dir(world.path(".")).unwrap().any(|it| it
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains("draft")),
            "{name}"
        );
    }
    assert_eq!((world.dump(), kept(&world)), (before, vec![]));
}

#[test]
fn a_copy_that_was_made_file_by_file_includes_its_write_ahead_log() {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.sandbox.gate.stop_at(6, Moment::BeforeEffect);
    let mut once = world.start(&["once", "--json"]);
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE));
    once.kill();
    world.sandbox.gate.open();
    fs::create_dir(world.path("away")).unwrap();
    for suffix in ["", "-wal"] {
        fs::copy(world.path(&format!("ledger.db{suffix}")), world.path(&format!("away/copy.db{suffix}"))).unwrap();
    }
    assert!(fs::metadata(world.path("away/copy.db-wal")).unwrap().len() > 0);
    let state = world.state_of(1);
    let away = fs::read(world.path("away/copy.db")).unwrap();
    world.run(&["ledger", "restore", "away/copy.db", "--yes"]).exits(0);
    assert_eq!(world.state_of(1), state);
    assert_eq!(fs::read(world.path("away/copy.db")).unwrap(), away, "the copy stays as it is");
    assert_eq!(fs::read_dir(world.path("away")).unwrap().count(), 2);
}
