//! A damaged or foreign ledger, a full or read-only disk, an old backup put back: makegood delivers nothing from such a ledger,
//! and the error says what to do.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    audit::{at_rest, effects, person_who_looks, run_to_rest},
    harm::{Calls, Harm, harmed},
    sandbox::{Commission, commission},
    world::{LONG_AGO, Ran, World, given},
};

fn owed(id: i64) -> Commission {
    commission(id).approved(LONG_AGO)
}

/// A world that has delivered 1 and 2, and is about to deliver 3. Every delivery takes effect, even a second one.
pub(crate) fn with_history() -> World {
    let mut world = given([owed(1), owed(2)]);
    world.sandbox.merchant.lock().deduplicates = false;
    world.set("targets.app.idempotent", "false");
    world.once().exits(0);
    world.sandbox.firstpromoter.add(owed(3));
    world
}

/// A pass on this ledger exits with 1 and these words, and delivers and marks nothing. So does a plan.
#[track_caller]
pub(crate) fn refused(world: &World, words: &[&str]) -> Ran {
    let (deliveries, writes) = (world.sandbox.merchant.requests(), world.sandbox.firstpromoter.writes());
    let ran = world.once().exits(1);
    for word in words {
        assert!(ran.error().contains(word), "{word:?} is not in the error: {ran}");
    }
    assert_eq!(world.sandbox.merchant.requests(), deliveries, "delivered: {ran}");
    assert_eq!(world.sandbox.firstpromoter.writes(), writes, "marked: {ran}");
    ran
}

/// Commands that only read say the same.
#[track_caller]
fn plan_refuses(world: &World, words: &[&str]) {
    let plan = world.plan().exits(1);
    for word in words {
        assert!(plan.error().contains(word), "{word:?} is not in the plan's error: {plan}");
    }
    assert_eq!(plan.ids(), Vec::<i64>::new(), "{plan}");
}

/// Copies the ledger with `-wal` and `-shm`, without mark and lock, like a backup while no program runs.
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
        assert!(
            ran.error().contains("damaged") || ran.error().contains("estore the latest backup"),
            "page {nth}: {ran}"
        );
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

/// Takes one new reward after another, and runs a pass for each that meets this harm at its n-th call. The pass ends with an
/// error that names the remedy, and every effect has its intent on disk. Then the disk works again, and the world comes to rest
/// with nothing twice. Goes on until n is beyond the last call of a pass; returns how many passes failed.
fn disk_fails(
    nths: impl Iterator<Item = u64>,
    harm: impl Fn(u64) -> Harm,
    calls_of: impl Fn(Calls) -> u64,
    remedy: &str,
) -> u64 {
    let world = with_history();
    world.sandbox.firstpromoter.lock().rate_limit = None;
    let mut failed = 0;
    for nth in nths {
        let id = 100 + i64::try_from(nth).unwrap();
        world.sandbox.firstpromoter.add(owed(id));
        let (ran, calls) = harmed(&world, harm(nth), &["once", "--json"]);
        match ran.exit {
            1 => {
                failed += 1;
                assert!(ran.error().contains("ledger.db") && ran.error().contains(remedy), "call {nth}: {ran}");
            }
            // The checkpoint at the end is not needed.
            0 if calls_of(calls) < nth => break,
            0 => {}
            _ => panic!("call {nth}: {ran}"),
        }
        run_to_rest(&world, person_who_looks);
        assert_eq!(effects(&world).get(&id), Some(&1), "call {nth}: {ran}");
        assert_eq!(world.state_of(id), "fulfilled", "call {nth}: {ran}");
    }
    run_to_rest(&world, person_who_looks);
    let ids: Vec<i64> = effects(&world).into_keys().collect();
    at_rest(&world, &ids).exits(0);
    failed
}

// One of the next two tests, which run at the same time, covers every write.

#[test]
fn a_disk_that_is_full_from_any_odd_write_on_ends_the_pass_and_nothing_is_delivered_twice() {
    let failed = disk_fails((1..).step_by(2), Harm::FullFrom, |calls| calls.writes, "room");
    assert!(failed > 25, "{failed} passes met the full disk");
}

#[test]
fn a_disk_that_is_full_from_any_even_write_on_ends_the_pass_and_nothing_is_delivered_twice() {
    let failed = disk_fails((2..).step_by(2), Harm::FullFrom, |calls| calls.writes, "room");
    assert!(failed > 25, "{failed} passes met the full disk");
}

/// Nothing exists yet: ledger, lock and mark are made on a disk that is full from this write on. Then there is room, and nobody
/// needs to help.
#[test]
fn a_disk_that_is_full_from_any_write_of_the_very_first_pass_on_wedges_nothing() {
    let mut failed = 0;
    for nth in 1.. {
        let world = given([owed(1)]);
        let (ran, calls) = harmed(&world, Harm::FullFrom(nth), &["once", "--json"]);
        match ran.exit {
            1 => failed += 1,
            0 if calls.writes < nth => break,
            0 => {}
            _ => panic!("write {nth}: {ran}"),
        }
        run_to_rest(&world, crate::audit::nobody);
        at_rest(&world, &[1]).exits(0);
        assert_eq!(effects(&world).get(&1), Some(&1), "write {nth}: {ran}");
    }
    assert!(failed > 25, "{failed} passes met the full disk");
}

#[test]
fn a_disk_that_fails_at_any_one_sync_ends_the_pass_and_nothing_is_delivered_twice() {
    let failed = disk_fails(1.., Harm::SyncFails, |calls| calls.syncs, "disk");
    // An outcome is written again, so a sync that fails once fails the pass only before an attempt.
    assert!(failed > 4, "{failed} passes met the failing disk");
}

/// A world whose ledger was copied after 1 and 2. Then 3 was delivered, and the copy was put back. FirstPromoter lost the mark
/// of 3 (somebody took it back): only the old ledger knew of the delivery.
pub(crate) fn restored_from_an_old_backup() -> World {
    let world = with_history();
    let backup = world.path("backup.db");
    copy_ledger(&world.ledger_path(), &backup);
    world.once().exits(0);
    world.sandbox.firstpromoter.unfulfil(3);
    copy_ledger(&backup, &world.ledger_path());
    world
}

pub(crate) const BEHIND: [&str; 4] =
    ["behind its mark", "old backup", "Nothing is delivered", "makegood ledger accept"];

#[test]
fn a_ledger_restored_from_an_old_backup_delivers_nothing_until_a_person_has_seen_what_is_at_stake() {
    let world = restored_from_an_old_backup();
    for _ in 0..2 {
        refused(&world, &BEHIND);
    }
    plan_refuses(&world, &BEHIND);
    let claim = world.run(&["claim", "3"]).exits(1);
    assert!(claim.stderr.contains("behind its mark"), "a handler is told, too: {claim}");

    let before = world.dump();
    let shown = world.run(&["ledger", "accept", "--json"]).exits(0);
    assert_eq!((&shown.json["at_stake"], &shown.json["accepted"]), (&json!([3]), &json!(false)), "{shown}");
    assert!(shown.json["mark"]["journal"].as_i64() > shown.json["ledger"]["journal"].as_i64(), "{shown}");
    let said = world.run(&["ledger", "accept"]).exits(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in
        ["3 500 points: the next pass delivers it", "second time", "makegood record ID", "makegood ledger accept --yes"]
    {
        assert!(said.contains(words), "{words:?}: {said}");
    }
    assert_eq!(world.dump(), before, "a look changes nothing");
    refused(&world, &BEHIND);

    // The person finds 3 in the target, records it, and accepts.
    world.run(&["record", "3", "--owner", "pat"]).exits(0);
    refused(&world, &BEHIND);
    let accepted = world.run(&["ledger", "accept", "--yes", "--json"]).exits(0);
    assert_eq!((&accepted.json["at_stake"], &accepted.json["accepted"]), (&json!([]), &json!(true)), "{accepted}");
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3], "3 took effect once");
    assert_eq!((world.state_of(3).as_str(), &world.reward(3)["delivered_by"]), ("fulfilled", &json!("outside")));
    at_rest(&world, &[1, 2, 3]).exits(0);
    let nothing = world.run(&["ledger", "accept", "--yes"]).exits(0);
    assert!(nothing.stdout.contains("not behind its mark"), "{nothing}");
}

#[test]
fn an_accepted_backup_goes_on_from_where_it_is() {
    let world = restored_from_an_old_backup();
    world.sandbox.firstpromoter.fulfil(3);
    world.sandbox.firstpromoter.add(owed(4));
    refused(&world, &BEHIND);
    assert_eq!(world.run(&["ledger", "accept", "--yes", "--json"]).exits(0).json["at_stake"], json!([4]));
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3, 4], "FirstPromoter still knew of 3");
    world.then_nothing_more_happens().exits(0);
}

/// The numbers of journal entries prove nothing: the old copy may reach the same ones on its own.
#[test]
fn an_old_backup_is_found_out_also_after_it_went_on_by_itself() {
    let world = restored_from_an_old_backup();
    let mark = fs::read(world.path("ledger.db.mark")).unwrap();
    fs::remove_file(world.path("ledger.db.mark")).unwrap();
    world.sandbox.firstpromoter.fulfil(3);
    world.sandbox.firstpromoter.add_all([owed(4), owed(5)]);
    // A person who knows nothing about the high-water mark goes on with it.
    world.run(&["ledger", "accept", "--yes"]).exits(0);
    world.once().exits(0);
    fs::write(world.path("ledger.db.mark"), mark).unwrap();
    world.sandbox.firstpromoter.add(owed(6));
    refused(&world, &BEHIND);
}

#[test]
fn a_ledger_that_is_gone_while_its_mark_is_left_delivers_nothing() {
    let world = with_history();
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(world.path(&format!("ledger.db{suffix}"))).ok();
    }
    world.sandbox.firstpromoter.unfulfil(1);
    // A plan makes no ledger. There is none that could be behind, but the mark is there.
    plan_refuses(&world, &BEHIND);
    refused(&world, &["behind its mark", "removed", "makegood ledger accept"]);
    plan_refuses(&world, &BEHIND);
    let shown = world.run(&["ledger", "accept", "--json"]).exits(0);
    assert_eq!(shown.json["at_stake"], json!([1, 3]), "1 would be delivered again: {shown}");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2]);
}

#[test]
fn an_unreadable_high_water_mark_delivers_nothing_until_a_person_accepts_the_ledger() {
    for garbage in
        [&b""[..], b"\0\0\0\0", b"\xff\xfe", b"makegood ledger mark: journal x at y\n", b"makegood ledger mark: jour"]
    {
        let world = with_history();
        let mark = world.path("ledger.db.mark");
        fs::write(&mark, garbage).unwrap();
        refused(&world, &["ledger.db.mark", "cannot be understood", "makegood ledger accept"]);
        plan_refuses(&world, &["cannot be understood"]);
        assert_eq!(world.run(&["ledger", "accept", "--json"]).exits(0).json["at_stake"], json!([3]));
        refused(&world, &["cannot be understood"]);
        world.run(&["ledger", "accept", "--yes"]).exits(0);
        world.once().exits(0);
        at_rest(&world, &[1, 2, 3]).exits(0);
    }
}

#[test]
fn a_removed_high_water_mark_is_missed_and_made_again_when_a_person_accepts_the_ledger() {
    let world = with_history();
    fs::remove_file(world.path("ledger.db.mark")).unwrap();
    for _ in 0..2 {
        refused(&world, &["its mark", "is not beside it", "makegood ledger accept"]);
        assert!(!world.path("ledger.db.mark").exists());
    }
    world.run(&["ledger", "accept", "--yes"]).exits(0);
    assert!(world.path("ledger.db.mark").exists());
    world.once().exits(0);
    at_rest(&world, &[1, 2, 3]).exits(0);
}
