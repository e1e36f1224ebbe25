//! A damaged or foreign ledger, a disk that is full or read-only, an old backup put back: nothing is delivered on the word
//! of such a ledger, and the error says what to do.

use std::{fs, path::Path};


use crate::{
    audit::{at_rest, consistent, effects, person_who_looks, run_to_rest},
    harm::{Harm, harmed},
    sandbox::{Commission, commission},
    world::{LONG_AGO, Ran, World, given},
};

fn owed(id: i64) -> Commission {
    commission(id).approved(LONG_AGO)
}

/// A world that has delivered 1 and 2, and is to deliver 3; every delivery takes effect, also a second one.
fn with_history() -> World {
    let mut world = given([owed(1), owed(2)]);
    world.sandbox.merchant.lock().deduplicates = false;
    world.set("targets.app.idempotent", "false");
    world.once().exits(0);
    world.sandbox.firstpromoter.add(owed(3));
    world
}

/// A pass on this ledger ends with exit code 1, these words in its error, and nothing delivered or marked; so does a plan.
#[track_caller]
fn refused(world: &World, words: &[&str]) -> Ran {
    let (deliveries, writes) = (world.sandbox.merchant.requests(), world.sandbox.firstpromoter.writes());
    let ran = world.once().exits(1);
    for word in words {
        assert!(ran.error().contains(word), "{word:?} is not in the error: {ran}");
    }
    assert_eq!(world.sandbox.merchant.requests(), deliveries, "delivered: {ran}");
    assert_eq!(world.sandbox.firstpromoter.writes(), writes, "marked: {ran}");
    ran
}

/// The same words tell somebody who only looks.
#[track_caller]
fn plan_refuses(world: &World, words: &[&str]) {
    let plan = world.plan().exits(1);
    for word in words {
        assert!(plan.error().contains(word), "{word:?} is not in the plan's error: {plan}");
    }
    assert_eq!(plan.ids(), Vec::<i64>::new(), "{plan}");
}

/// Copies the ledger and what belongs to it (`-wal`, `-shm`), not its mark and lock, as a backup with no program running does.
fn copy_ledger(from: &Path, to: &Path) {
    fs::copy(from, to).expect("a ledger to copy");
    for suffix in ["-wal", "-shm"] {
        let beside = |path: &Path| path.with_file_name(format!("{}{suffix}", path.file_name().unwrap().display()));
        fs::remove_file(beside(to)).ok();
        if beside(from).exists() {
            fs::copy(beside(from), beside(to)).expect("a copy");
        }
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let world = given([owed(1)]);
    let garbage = "These are not the rewards you are looking for.\n".repeat(200);
    fs::write(world.ledger_path(), &garbage).unwrap();
    refused(&world, &["ledger.db", "damaged, or not an SQLite file", "restore the latest backup"]);
    plan_refuses(&world, &["damaged, or not an SQLite file"]);
    for args in [&["claim", "1", "--json"][..], &["record", "1", "--json"], &["status", "--json"]] {
        world.run(args).exits(1);
    }
    assert_eq!(fs::read_to_string(world.ledger_path()).unwrap(), garbage, "kept for whoever can still read it");
}

#[test]
fn a_ledger_with_a_page_overwritten_delivers_nothing_whichever_page_it_is() {
    let world = with_history();
    let sound = fs::read(world.ledger_path()).unwrap();
    let page = usize::from(u16::from_be_bytes([sound[16], sound[17]]));
    let pages = sound.len() / page;
    assert!(pages > 10 && page >= 512, "{pages} pages of {page}");
    let mark = fs::read(world.path("ledger.db.mark")).unwrap();
    for nth in 0..pages {
        for suffix in ["-wal", "-shm"] {
            fs::remove_file(world.path(&format!("ledger.db{suffix}"))).ok();
        }
        let mut damaged = sound.clone();
        damaged[nth * page..(nth + 1) * page].fill(0xA5);
        fs::write(world.ledger_path(), &damaged).unwrap();
        fs::write(world.path("ledger.db.mark"), &mark).unwrap();
        let ran = world.once().exits(1);
        assert!(ran.error().contains("damaged") || ran.error().contains("estore the latest backup"), "page {nth}: {ran}");
        assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2], "page {nth}: {ran}");
    }
    fs::write(world.ledger_path(), &sound).unwrap();
    world.once().exits(0);
    at_rest(&world, &[1, 2, 3]);
}

#[test]
fn the_ledger_of_another_account_is_refused() {
    let mut world = with_history();
    world.set("firstpromoter.account_id", "99999");
    world.sandbox.firstpromoter.lock().account_id = "99999".to_owned();
    let words = ["belongs to account 12345", "names account 99999", "ledger.path", "firstpromoter.account_id"];
    refused(&world, &words);
    plan_refuses(&world, &words);
    for args in [&["claim", "3"][..], &["record", "3"], &["resolve", "3", "--retry"], &["status"], &["show", "1"]] {
        let ran = world.run(args).exits(1);
        assert!(ran.stderr.contains("belongs to account 12345"), "{args:?}: {ran}");
    }
    assert_eq!(world.attempts(3), Vec::<serde_json::Value>::new());
}

#[test]
fn the_ledger_of_a_newer_makegood_is_refused_and_not_written() {
    let world = with_history();
    world.forge("PRAGMA user_version = 99");
    let before = fs::read(world.ledger_path()).unwrap();
    refused(&world, &["schema version 99", "newer makegood"]);
    plan_refuses(&world, &["schema version 99"]);
    assert_eq!(fs::read(world.ledger_path()).unwrap(), before);
}

#[test]
fn the_database_of_another_program_is_refused_and_not_written() {
    let world = given([owed(1)]);
    world.forge("CREATE TABLE shopping (item TEXT)");
    let before = fs::read(world.ledger_path()).unwrap();
    refused(&world, &["not a makegood ledger", "ledger.path"]);
    assert_eq!(fs::read(world.ledger_path()).unwrap(), before);
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let mut world = given([owed(1)]);
    let path = world.path("not-mounted/ledger.db");
    world.set("ledger.path", path.to_str().unwrap());
    refused(&world, &["not-mounted", "mount it"]);
    assert!(!world.path("not-mounted").exists(), "a new ledger in the wrong place forgets every delivery");
}

#[test]
fn a_read_only_ledger_delivers_nothing() {
    let world = with_history();
    let before = world.dump();
    let (ran, _) = harmed(&world, Harm::ReadOnly, &["once", "--json"]);
    let ran = ran.exits(1);
    assert!(ran.error().contains("ledger.db") && ran.error().contains("this user may write there"), "{ran}");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2], "{ran}");
    assert_eq!(world.dump(), before);
    let (plan, _) = harmed(&world, Harm::ReadOnly, &["plan", "--json"]);
    assert_eq!(plan.exits(0).line(3)["decision"], "deliver", "who only looks need not write");
    world.once().exits(0);
    at_rest(&world, &[1, 2, 3]);
}

/// The disk is full at a write: the pass ends with an error that names the remedy, and what took effect had its intent on
/// disk. When there is room again, all comes to rest, nothing twice.
fn disk_full(harm: impl Fn(u64) -> Harm) {
    let start = || {
        let world = with_history();
        world.sandbox.firstpromoter.add(owed(4));
        world
    };
    let (ran, calls) = harmed(&start(), Harm::None, &["once", "--json"]);
    ran.exits(0);
    assert!(calls.writes > 30, "{calls:?}");
    let mut failed = 0;
    for nth in 1..=calls.writes {
        let world = start();
        let (ran, _) = harmed(&world, harm(nth), &["once", "--json"]);
        match ran.exit {
            1 => {
                failed += 1;
                let error = ran.error();
                assert!(error.contains("ledger.db") && error.contains("room"), "write {nth}: says what to do: {ran}");
            }
            // The checkpoint at the end is not needed.
            0 => {}
            _ => panic!("write {nth} of {}: {ran}", calls.writes),
        }
        consistent(&world);
        run_to_rest(&world, person_who_looks);
        at_rest(&world, &[1, 2, 3, 4]).exits(0);
        assert_eq!(effects(&world), [1, 2, 3, 4].map(|id| (id, 1)).into(), "write {nth}");
    }
    assert!(failed > calls.writes / 2, "{failed} of {} writes matter", calls.writes);
}

#[test]
fn a_disk_that_is_full_from_any_write_on_ends_the_pass_and_nothing_is_delivered_twice() {
    disk_full(Harm::FullFrom);
}

#[test]
fn a_disk_that_is_full_at_any_one_write_ends_the_pass_and_nothing_is_delivered_twice() {
    disk_full(Harm::FullOnlyAt);
}
