//! Copies of the ledger.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn files(world: &World) -> Vec<String> {
    let entries = std::fs::read_dir(world.place.folder.path()).unwrap();
    let mut names: Vec<String> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_is_a_ledger_of_its_own_in_one_file() {
    let world = World::new();
    world.in_state(1, RewardState::Fulfilled);
    world.waiting(2);
    let to = world.place.beside(".copy");
    let copied = world.ledger.back_up(&to).unwrap();
    assert_eq!((copied.rewards, copied.position), (2, world.ledger.position().unwrap()));
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(
        files(&world).iter().all(|name| !name.contains(".copy-") && !name.contains(".part-")),
        "{:?}",
        files(&world)
    );
    let copy = Ledger::open_read_only(&to).unwrap();
    assert_eq!(
        (copy.account_id().unwrap().as_str(), copy.dossier(id(1)).unwrap()),
        (ACCOUNT, world.ledger.dossier(id(1)).unwrap())
    );
    drop(copy);
    // It can be used as a ledger.
    let copy = Ledger::open(&to, ACCOUNT, at(9)).unwrap();
    copy.change(by_us(9), |change| change.apply(&world.row(2), &cancel("denied"))).unwrap();
    assert_eq!(world.row(2).state.word(), RewardState::Waiting, "the original does not");
}

#[test]
fn nothing_is_overwritten() {
    let world = World::new();
    let to = world.place.beside(".copy");
    std::fs::write(&to, "precious").unwrap();
    let error = world.ledger.back_up(&to).unwrap_err();
    assert!(matches!(&error, LedgerError::Exists { path } if *path == to), "{error}");
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "precious");
    std::fs::remove_file(&to).unwrap();
    std::os::unix::fs::symlink("/no/such/place", &to).unwrap();
    assert!(matches!(world.ledger.back_up(&to), Err(LedgerError::Exists { .. })), "a dangling link is something, too");
}

#[test]
fn a_copy_is_taken_beside_an_open_write_transaction_and_does_not_see_it() {
    let world = World::new();
    world.waiting(1);
    let shell = world.place.shell();
    shell.execute_batch("BEGIN IMMEDIATE; UPDATE rewards SET receipt = 'half-done'").unwrap();
    let to = world.place.beside(".copy");
    assert_eq!(world.ledger.back_up(&to).unwrap().rewards, 1);
    shell.execute_batch("COMMIT").unwrap();
    let copy = Ledger::open_read_only(&to).unwrap();
    assert_eq!(copy.dossier(id(1)).unwrap().unwrap().columns["receipt"], serde_json::Value::Null);
}

#[test]
fn a_copy_that_cannot_be_made_leaves_nothing_behind() {
    let world = World::new();
    let nowhere = world.place.folder.path().join("no/such/folder/copy");
    let error = world.ledger.back_up(&nowhere).unwrap_err();
    assert!(matches!(error, LedgerError::File { doing: "create", .. }), "{error}");
    let before = files(&world);
    // A page that is damaged in the ledger is damaged in the copy, which is read back.
    for number in 1..200 {
        world.waiting(number);
    }
    world.elsewhere("PRAGMA wal_checkpoint(TRUNCATE)");
    let mut bytes = world.place.bytes();
    let end = bytes.len();
    bytes[end - 3 * 4096..].fill(0xa5);
    std::fs::write(world.place.path(), bytes).unwrap();
    let damaged = Ledger::open_read_only(&world.place.path()).unwrap();
    let error = damaged.back_up(&world.place.beside(".copy")).unwrap_err();
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
    drop(damaged);
    assert_eq!(files(&world), before);
}
