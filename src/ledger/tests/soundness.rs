//! When the whole file is read for damage before a delivery.

use super::*;

/// Noon, so many minutes after it, for a command or for the service.
fn needs(ledger: &Ledger, minutes: i64) -> bool {
    ledger.needs_check(at(minutes), false)
}

/// A ledger that was checked at noon and closed in order.
fn checked() -> Place {
    let place = Place::new();
    let ledger = place.open();
    assert!(needs(&ledger, 0), "a new one");
    ledger.check_now(at(0)).unwrap();
    assert!(!needs(&ledger, 1) && !ledger.needs_check(at(1), true));
    drop(ledger);
    place
}

const DAY_MIN: i64 = 24 * 60;

#[test]
fn a_check_holds_for_a_day_also_for_later_commands() {
    let place = checked();
    let ledger = place.open();
    assert!(!needs(&ledger, 5) && !needs(&ledger, DAY_MIN - 1));
    assert!(needs(&ledger, DAY_MIN), "once a day");
    assert!(needs(&ledger, -1), "it was made by a clock that was ahead");
    assert!(ledger.needs_check(at(5), true), "the service makes its own");
    drop(ledger);
    let world = World { ledger: place.open(), place };
    world.waiting(1);
    let World { place, ledger } = world;
    drop(ledger);
    assert!(!needs(&place.open(), 5), "what makegood writes itself is no reason");
}

#[test]
fn whoever_else_writes_to_the_file_or_replaces_it_makes_a_check_necessary() {
    type Spoil = (&'static str, fn(&Place));
    let spoil: [Spoil; 5] = [
        ("a handler's SQL", |place| place.shell().execute_batch("UPDATE account SET bound_at = 'x'").unwrap()),
        ("another file with the same content", |place| {
            std::fs::copy(place.path(), place.beside(".copy")).unwrap();
            std::fs::rename(place.beside(".copy"), place.path()).unwrap();
        }),
        ("bytes written into it", |place| {
            let bytes = place.bytes();
            std::fs::write(place.path(), &bytes).unwrap();
            // The clock of files may not have ticked since.
            let file = std::fs::File::options().write(true).open(place.path()).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("its write-ahead log is gone", |place| std::fs::remove_file(place.beside("-wal")).unwrap()),
        ("the result is gone", |place| std::fs::remove_file(place.beside(".sound")).unwrap()),
    ];
    for (what, spoil) in spoil {
        let place = checked();
        spoil(&place);
        let ledger = place.open();
        assert!(needs(&ledger, 5), "{what}");
        drop(ledger);
        assert!(needs(&place.open(), 5), "{what}: still, as long as nobody checked");
    }
    for text in ["", "makegood ledger sound: ", "makegood ledger sound: never inode\n", "\u{0}"] {
        let place = checked();
        std::fs::write(place.beside(".sound"), text).unwrap();
        assert!(needs(&place.open(), 5), "{text:?}");
    }
}

/// A kill leaves the write-ahead log as it was.
#[test]
fn after_a_process_that_was_killed_a_check_is_necessary() {
    let place = checked();
    let world = World { ledger: place.open(), place };
    world.waiting(1);
    let World { place, ledger } = world;
    let killed = Place::new();
    for suffix in ["", "-wal", ".sound", ".mark"] {
        std::fs::copy(place.beside(suffix), killed.beside(suffix)).unwrap();
    }
    assert!(needs(&killed.open(), 5));
    // The file itself was not touched yet.
    let other = place.open();
    assert!(needs(&other, 5), "its write-ahead log is not empty");
    drop((other, ledger));
}

#[tokio::test]
async fn a_check_on_a_thread_finds_damage_and_nothing_is_kept() {
    let world = World::new();
    (1..=50).for_each(|number| drop(world.waiting(number)));
    let World { place, ledger } = world;
    let writer = Writer::thread(&ledger, || at(0));
    writer.begin_check(at(0), false).unwrap();
    writer.checked(at(0), false).await.unwrap();
    assert!(!needs(&ledger, 1));
    drop(writer);
    drop(ledger);
    let mut bytes = place.bytes();
    let last = bytes.len() - 4096;
    bytes[last..].fill(0xA5);
    std::fs::write(place.path(), &bytes).unwrap();
    let ledger = place.open();
    let writer = Writer::thread(&ledger, || at(0));
    let error = writer.checked(at(1), false).await.unwrap_err();
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error:?}");
    assert_eq!(error.kind(), FailureKind::LedgerDamaged);
    assert!(needs(&ledger, 1), "the next pass looks again");
}

#[test]
fn a_check_that_nobody_waits_for_is_ended() {
    let world = World::new();
    (1..=50).for_each(|number| drop(world.waiting(number)));
    let writer = Writer::thread(&world.ledger, || at(0));
    writer.begin_check(at(0), false).unwrap();
    drop(writer);
    assert!(needs(&world.ledger, 1), "it counts for nothing");
    let World { place, ledger } = world;
    drop(ledger);
    assert_eq!(std::fs::metadata(place.beside("-wal")).unwrap().len(), 0, "its connection is closed");
}
