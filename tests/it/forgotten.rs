//! Ledgers that may have forgotten deliveries: restored here, restored elsewhere, moved without their high-water mark. Neither
//! makegood nor the manual's handler delivers from them until a person has seen what is at stake and accepted it.

use std::fs;

use serde_json::json;

use crate::{
    audit::{EFFECTS, at_rest},
    ledger_trouble::{BEHIND, refused, restored_from_an_old_backup, with_history},
    sandbox::{commission, now},
    two_of_us::{DRIVER, python},
    world::{LONG_AGO, World},
};

/// Calls the manual's handler with this commission. It must not deliver it, and says why.
#[track_caller]
fn the_handler_delivers_nothing(world: &World, id: i64) {
    let before = fs::read(world.path(EFFECTS)).unwrap_or_default();
    let ended = python(world, DRIVER, [id]).output().expect("python3");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("may have forgotten deliveries"), "{said}");
    assert_eq!(fs::read(world.path(EFFECTS)).unwrap_or_default(), before, "it delivered: {said}");
}

/// The latest copy by `ledger backup` takes the ledger's place; the mark goes, as on another machine.
fn moved_to_another_machine(world: &World) {
    let backup = world.path("backup.db");
    world.run(&["ledger", "backup", &backup.display().to_string()]).exits(0);
    for suffix in ["", "-wal", "-shm", ".mark", ".lock"] {
        fs::remove_file(world.path(&format!("ledger.db{suffix}"))).ok();
    }
    fs::copy(&backup, world.ledger_path()).unwrap();
    // FirstPromoter lost the mark of 1. Only the ledger knows of the delivery, or has forgotten it.
    world.sandbox.firstpromoter.unfulfil(1);
}

#[test]
fn a_restored_backup_stays_locked_whoever_writes_to_it() {
    let world = restored_from_an_old_backup();
    // Beyond the number of the entry that the mark names.
    for id in 900..910 {
        world.run(&["record", &id.to_string()]).exits(0);
        refused(&world, &BEHIND);
    }
    the_handler_delivers_nothing(&world, 3);
    the_handler_delivers_nothing(&world, 911);
    assert_eq!(world.sandbox.merchant.effects_of(3).len(), 1);
    world.run(&["record", "3"]).exits(0);
    world.run(&["ledger", "accept", "--yes"]).exits(0);
    world.once();
    assert_eq!((world.state_of(3).as_str(), world.sandbox.merchant.effects_of(3).len()), ("fulfilled", 1));
}

#[test]
fn a_copy_on_another_machine_without_its_mark_delivers_nothing_and_says_so() {
    let world = with_history();
    moved_to_another_machine(&world);
    // Before any makegood has seen it.
    the_handler_delivers_nothing(&world, 3);
    let copy = "is a copy (`makegood ledger backup`)";
    let ran = refused(&world, &[copy, "makegood ledger accept"]);
    assert!(!world.path("ledger.db.mark").exists(), "{ran}");
    let claim = world.run(&["claim", "3"]).exits(1);
    assert!(claim.stderr.contains(copy), "{claim}");
    let status = world.run(&["status"]).exits(3);
    let said = status.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("NOTHING IS DELIVERED: the ledger") && said.contains("is a copy"), "{said}");
    let status = world.run(&["status", "--json"]).exits(3);
    assert!(status.json["may_have_forgotten"].as_str().is_some_and(|why| why.contains(copy)), "{status}");
    let check = world.run(&["check", "--json"]).exits(1);
    assert!(check.stdout.contains("is a copy"), "{check}");
    world.run(&["record", "900"]).exits(0);
    refused(&world, &[copy]);

    let shown = world.run(&["ledger", "accept", "--json"]).exits(0);
    assert_eq!((&shown.json["at_stake"], &shown.json["mark"]), (&json!([3]), &json!(null)), "{shown}");
    let said = world.run(&["ledger", "accept", "--yes"]).exits(0);
    assert!(said.stdout.contains("Nobody knows"), "{said}");
    world.once();
    assert_eq!((world.state_of(3).as_str(), world.sandbox.merchant.effects_of(3).len()), ("fulfilled", 1));
    assert_eq!(world.sandbox.merchant.effects_of(1).len(), 1, "the copy knew of 1");
}

#[test]
fn a_plain_copy_without_its_mark_locks_the_handler_too_once_makegood_has_seen_it() {
    let world = with_history();
    fs::remove_file(world.path("ledger.db.mark")).unwrap();
    refused(&world, &["its mark", "is not beside it"]);
    the_handler_delivers_nothing(&world, 3);
    world.run(&["ledger", "accept", "--yes"]).exits(0);
    let said = python(&world, DRIVER, [3]).output().expect("python3");
    assert!(String::from_utf8_lossy(&said.stdout).contains("delivered, handler-3"), "{said:?}");
    world.once().exits(0);
    assert_eq!((world.state_of(3).as_str(), world.sandbox.merchant.effects_of(3).len()), ("fulfilled", 0));
}

/// FirstPromoter lost the marks of three delivered rewards, and the ledger lost the deliveries: each looks owed.
#[test]
fn accepting_lists_what_waits_what_is_held_and_what_is_beyond_the_fuse() {
    let mut world = restored_from_an_old_backup();
    let firstpromoter = &world.sandbox.firstpromoter;
    firstpromoter.add(commission(4).approved(LONG_AGO).suspected("ad_source"));
    firstpromoter.add(commission(5).approved_at(now()));
    firstpromoter.add(commission(6).approved(LONG_AGO));
    world.set("policy.max_deliveries_per_pass", "1");
    let shown = world.run(&["ledger", "accept", "--json"]).exits(0);
    assert_eq!(shown.json["at_stake"], json!([3, 4, 5, 6]), "{shown}");
    let said = world.run(&["ledger", "accept"]).exits(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in
        ["3 500 points: held (fuse)", "held (fraud_suspicion)", "waits until", "grace", "6 500 points: held (fuse)"]
    {
        assert!(said.contains(words), "{words:?}: {said}");
    }
    // What this ledger calls delivered is not at stake.
    world.run(&["record", "3"]).exits(0);
    let shown = world.run(&["ledger", "accept", "--json"]).exits(0);
    assert_eq!(shown.json["at_stake"], json!([4, 5, 6]), "{shown}");
}

#[test]
fn a_new_ledger_has_its_mark_from_the_start_and_is_not_locked_without_deliveries() {
    let world = crate::world::given([commission(1).approved(LONG_AGO).suspected("ad_source")]);
    world.once().exits(3);
    assert!(world.path("ledger.db.mark").exists());
    for content in [&b""[..], b"makegood ledger ma"] {
        fs::write(world.path("ledger.db.mark"), content).unwrap();
        world.once().exits(3);
    }
    fs::remove_file(world.path("ledger.db.mark")).unwrap();
    world.sandbox.firstpromoter.add(commission(2).approved(LONG_AGO));
    world.once().exits(3);
    assert_eq!((world.state_of(2).as_str(), world.path("ledger.db.mark").exists()), ("fulfilled", true));
    world.sandbox.firstpromoter.change(1, |commission| commission.fraud_check = None);
    world.once().exits(0);
    at_rest(&world, &[1, 2]).exits(0);
}
