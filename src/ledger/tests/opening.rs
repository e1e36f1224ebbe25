//! Opening, creating and refusing.

use std::{
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    sync::Barrier,
};

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Names the file, and does not stop at that.
fn explains(error: &LedgerError, place: &Place) {
    let text = error.to_string();
    let path = place.path();
    assert!(text.contains(path.to_str().unwrap()) && text.len() > path.as_os_str().len() + 40, "{text}");
}

#[test]
fn a_new_ledger_and_the_files_beside_it_are_readable_for_owner_and_group_only() {
    let world = World::new();
    world.waiting(1);
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(mode(&world.place.beside(suffix)), 0o640, "{suffix:?}");
    }
}

/// The umask belongs to the whole process, so this test runs itself again in a shell that has set one.
#[test]
fn the_mode_of_a_new_ledger_does_not_hang_on_the_umask() {
    const NAME: &str = "ledger::tests::opening::the_mode_of_a_new_ledger_does_not_hang_on_the_umask";
    const FOLDER: &str = "LEDGER_TEST_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let path = Path::new(&folder).join("ledger.db");
        let ledger = Ledger::open(&path, ACCOUNT, at(0)).unwrap();
        ledger.begin_pass("command", "poll", at(0)).unwrap();
        assert_eq!((mode(&path), mode(&path.with_extension("db-wal"))), (0o640, 0o640));
        return;
    }
    for umask in ["000", "027", "077"] {
        let place = Place::new();
        let script = format!("umask {umask} && exec \"$0\" --exact {NAME}");
        let child = Command::new("/bin/sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env(FOLDER, place.folder.path())
            .output()
            .unwrap();
        assert!(child.status.success(), "umask {umask}: {}", String::from_utf8_lossy(&child.stdout));
        assert_eq!(mode(&place.path()), 0o640, "umask {umask}");
    }
}

#[test]
fn a_ledger_that_nobody_has_open_keeps_an_empty_log_beside_it() {
    let world = World::new();
    world.waiting(1);
    assert_ne!(std::fs::metadata(world.place.beside("-wal")).unwrap().len(), 0);
    let World { place, ledger } = world;
    drop(ledger);
    assert_eq!(std::fs::metadata(place.beside("-wal")).unwrap().len(), 0, "what is in no log cannot spoil a copy");
    assert!(place.beside("-shm").exists());
}

#[test]
fn a_schema_that_somebody_changed_is_refused_and_named() {
    for (sql, words) in [
        ("CREATE VIEW mine AS SELECT 1", "the view \"mine\", which makegood does not know"),
        ("CREATE TABLE shopping (item)", "the table \"shopping\""),
        ("CREATE INDEX mine ON rewards (receipt)", "the index \"mine\""),
        ("DROP TRIGGER rewards_are_never_deleted", "lacks the trigger \"rewards_are_never_deleted\""),
        ("DROP VIEW owed; CREATE VIEW owed AS SELECT * FROM rewards", "another view \"owed\""),
        ("CREATE TRIGGER mine AFTER INSERT ON claims BEGIN UPDATE rewards SET amount = 1; END", "the trigger \"mine\""),
    ] {
        let place = Place::new();
        drop(place.open());
        place.shell().execute_batch(sql).unwrap();
        for error in [
            Ledger::open(&place.path(), ACCOUNT, at(0)).unwrap_err(),
            Ledger::open_read_only(&place.path()).unwrap_err(),
        ] {
            assert!(matches!(&error, LedgerError::Altered { what, .. } if what.contains(words)), "{sql}: {error:?}");
            explains(&error, &place);
        }
    }
}

/// A person's ANALYZE is no change of the schema.
#[test]
fn sqlites_own_tables_are_no_difference() {
    let world = World::new();
    world.waiting(1);
    world.elsewhere("ANALYZE");
    let World { place, ledger } = world;
    drop(ledger);
    assert_eq!(place.open().account_id().unwrap(), ACCOUNT);
}

#[test]
fn a_write_is_there_when_the_ledger_is_opened_again() {
    let place = Place::new();
    let first = World { ledger: place.open(), place };
    first.waiting(1);
    let dump = first.dump();
    let World { place, ledger } = first;
    drop(ledger);
    let again = World { ledger: place.open(), place };
    assert_eq!(again.dump(), dump);
}

#[test]
fn every_write_is_synchronous_and_a_lock_is_waited_for() {
    let world = World::new();
    let pragma = |name: &str| world.one(&format!("SELECT * FROM pragma_{name}"));
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("synchronous"), "2", "FULL");
    assert_eq!(pragma("foreign_keys"), "1");
    assert_eq!(pragma("busy_timeout"), "15000");
    assert_eq!(pragma("user_version"), migrate::known_version().to_string());
}

#[test]
fn a_ledger_belongs_to_the_account_that_made_it() {
    let world = World::new();
    assert_eq!(world.ledger.account_id().unwrap(), ACCOUNT);
    let before = world.dump();
    let error = Ledger::open(&world.place.path(), "678", at(1)).unwrap_err();
    assert!(matches!(&error, LedgerError::OtherAccount { found, wanted, .. } if found == ACCOUNT && wanted == "678"));
    explains(&error, &world.place);
    assert_eq!(world.dump(), before);

    let reading = Ledger::open_read_only(&world.place.path()).unwrap();
    reading.require_account(ACCOUNT).unwrap();
    assert!(matches!(reading.require_account("0012345"), Err(LedgerError::OtherAccount { .. })), "00123 is not 123");
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let place = Place::new();
    drop(place.open());
    let known_now = migrate::known_version();
    place.shell().pragma_update(None, "user_version", known_now + 1).unwrap();
    let before = place.bytes();
    for error in
        [Ledger::open(&place.path(), ACCOUNT, at(0)).unwrap_err(), Ledger::open_read_only(&place.path()).unwrap_err()]
    {
        let LedgerError::Newer { found, known, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*found, *known), (known_now + 1, known_now));
        explains(&error, &place);
    }
    assert_eq!(place.bytes(), before);
}

#[test]
fn another_programs_database_is_refused_and_left_as_it_is() {
    for sql in
        ["CREATE TABLE users (id INTEGER)", "PRAGMA application_id = 7", "CREATE TABLE t (x); PRAGMA user_version = 1"]
    {
        let place = Place::new();
        place.shell().execute_batch(sql).unwrap();
        let before = place.bytes();
        for error in [
            Ledger::open(&place.path(), ACCOUNT, at(0)).unwrap_err(),
            Ledger::open_read_only(&place.path()).unwrap_err(),
        ] {
            assert!(matches!(error, LedgerError::Foreign { .. }), "{sql}: {error:?}");
            explains(&error, &place);
        }
        assert_eq!(place.bytes(), before, "{sql}");
        assert!(!place.beside("-wal").exists(), "{sql}");
    }
}

#[test]
fn a_file_that_is_no_database_is_called_damaged_and_left_as_it_is() {
    let place = Place::new();
    let text = "This is not a database, however long it is. ".repeat(200);
    std::fs::write(place.path(), &text).unwrap();
    for error in
        [Ledger::open(&place.path(), ACCOUNT, at(0)).unwrap_err(), Ledger::open_read_only(&place.path()).unwrap_err()]
    {
        assert!(matches!(error, LedgerError::Damaged { .. }), "{error:?}");
        explains(&error, &place);
    }
    assert_eq!(place.bytes(), text.as_bytes());
}

#[test]
fn a_ledger_with_a_broken_page_is_called_damaged_when_the_page_is_read() {
    let world = World::new();
    (1..=50).for_each(|number| drop(world.waiting(number)));
    let World { place, ledger } = world;
    drop(ledger);
    let mut bytes = place.bytes();
    assert!(bytes.len() > 3 * 4096);
    bytes[2 * 4096..].fill(0xA5);
    std::fs::write(place.path(), &bytes).unwrap();
    let error = Ledger::open(&place.path(), ACCOUNT, at(0))
        .and_then(|ledger| ledger.open_ids().and_then(|ids| ledger.rewards(&Vec::from_iter(ids))).map(|_| ()))
        .unwrap_err();
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error:?}");
    explains(&error, &place);
}

#[test]
fn the_folder_of_a_ledger_is_not_made() {
    let place = Place::new();
    let path = place.folder.path().join("unmounted").join("ledger.db");
    let error = Ledger::open(&path, ACCOUNT, at(0)).unwrap_err();
    assert!(matches!(error, LedgerError::NoFolder { .. }), "{error:?}");
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn looking_makes_no_ledger() {
    let place = Place::new();
    let error = Ledger::open_read_only(&place.path()).unwrap_err();
    assert!(matches!(error, LedgerError::Missing { .. }), "{error:?}");
    explains(&error, &place);
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0);
}

#[test]
fn looking_changes_nothing_and_sees_what_is_not_in_the_main_file_yet() {
    let world = World::new();
    world.waiting(1);
    let before = world.place.bytes();
    let wal = std::fs::read(world.place.beside("-wal")).unwrap();
    assert!(!wal.is_empty());
    let reading = Ledger::open_read_only(&world.place.path()).unwrap();
    assert_eq!(reading.states().unwrap()["waiting"], 1);
    assert!(reading.begin_pass("command", "poll", at(0)).is_err());
    assert!(reading.change(by_us(0), |it| it.enter(id(2), &key(2), &facts(), &wait(at(0)))).is_err());
    drop(reading);
    assert_eq!(world.place.bytes(), before);
    assert_eq!(std::fs::read(world.place.beside("-wal")).unwrap(), wal);
}

#[test]
fn looking_into_a_ledger_that_nobody_has_open_changes_nothing() {
    let world = World::new();
    world.waiting(1);
    let World { place, ledger } = world;
    drop(ledger);
    let before = place.bytes();
    let reading = Ledger::open_read_only(&place.path()).unwrap();
    assert_eq!(reading.states().unwrap()["waiting"], 1);
    drop(reading);
    assert_eq!(place.bytes(), before);
}

#[test]
fn a_ledgers_path_may_contain_any_character() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a?mode=rwc&b#c", "100%41", "spaces and ünïcode", "quote'\""] {
        let path = folder.path().join(name);
        drop(Ledger::open(&path, ACCOUNT, at(0)).unwrap());
        assert!(path.is_file(), "{name}");
        assert_eq!(Ledger::open_read_only(&path).unwrap().account_id().unwrap(), ACCOUNT, "{name}");
    }
}

#[test]
fn somebody_elses_write_lock_is_named_with_the_ledger() {
    let world = World::new();
    world.ledger.conn.busy_timeout(Duration::ZERO).unwrap();
    let before = world.dump();
    let shell = world.place.shell();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    for error in [
        world.ledger.begin_pass("command", "poll", at(0)).unwrap_err(),
        world.ledger.change(by_us(0), |_| Ok(())).unwrap_err(),
    ] {
        assert!(matches!(error, LedgerError::Locked { .. }), "{error:?}");
        explains(&error, &world.place);
    }
    shell.execute_batch("ROLLBACK").unwrap();
    assert_eq!(world.dump(), before);
    world.waiting(1);
}

#[test]
fn an_open_read_transaction_elsewhere_stops_no_write() {
    let world = World::new();
    world.ledger.conn.busy_timeout(Duration::ZERO).unwrap();
    let shell = world.place.shell();
    shell.execute_batch("BEGIN").unwrap();
    let seen = |it: &Connection| it.query_row("SELECT count(*) FROM rewards", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(seen(&shell), 0);
    world.waiting(1);
    world.ledger.begin_pass("command", "poll", at(0)).unwrap();
    assert_eq!(seen(&shell), 0, "the reader keeps its view");
    shell.execute_batch("COMMIT").unwrap();
    assert_eq!(seen(&shell), 1);
}

#[test]
fn a_ledger_in_memory_is_a_ledger() {
    let ledger = Ledger::in_memory(ACCOUNT, at(0)).unwrap();
    ledger.change(by_us(0), |it| it.enter(id(1), &key(1), &facts(), &wait(at(0)))).unwrap();
    assert_eq!(ledger.open_ids().unwrap().len(), 1);
    assert_eq!(ledger.account_id().unwrap(), ACCOUNT);
}

#[test]
fn a_value_that_no_version_writes_is_named_with_its_column() {
    let world = World::new();
    world.waiting(1);
    world.elsewhere("PRAGMA ignore_check_constraints = ON; UPDATE rewards SET recipient = 'nobody'");
    let error = world.ledger.rewards(&[id(1)]).unwrap_err();
    let LedgerError::Nonsense { column, value, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*column, value.as_str()), ("recipient", "nobody"));
    explains(&error, &world.place);
}

/// Its process made it and then ended. For a pass it is a new ledger, for a reader there is none.
#[test]
fn an_empty_file_is_no_ledger_to_look_into() {
    let place = Place::new();
    std::fs::write(place.path(), "").unwrap();
    let error = Ledger::open_read_only(&place.path()).unwrap_err();
    assert!(matches!(error, LedgerError::Missing { .. }), "{error:?}");
    assert_eq!(place.bytes(), b"");
    assert_eq!(place.open().account_id().unwrap(), ACCOUNT);
}

#[test]
fn two_slashes_are_one() {
    let place = Place::new();
    drop(place.open());
    let path = PathBuf::from(format!("/{}", place.path().display()));
    assert_eq!(Ledger::open_read_only(&path).unwrap().account_id().unwrap(), ACCOUNT);
}

/// Looks, as a user without rights, into the folder that `prepare` makes: root runs the test `name` again as nobody.
fn as_somebody(name: &str, prepare: impl FnOnce() -> Place, look: impl FnOnce(&Path)) {
    const FOLDER: &str = "LEDGER_TEST_FOLDER_OF_NOBODY";
    const NOBODY: u32 = 65534;
    if let Some(folder) = std::env::var_os(FOLDER) {
        return look(Path::new(&folder));
    }
    let place = prepare();
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        look(place.folder.path());
        // So that it can be taken away again.
        return set_mode(place.folder.path(), 0o755);
    }
    // Where nobody can get at it.
    let bin = tempfile::tempdir().unwrap();
    let exe = bin.path().join("test");
    // By a process of its own. A child that another test starts meanwhile would have this one's copy open for writing, and nobody
    // can start such a file ("Text file busy").
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&exe).status().unwrap();
    assert!(copied.success());
    set_mode(bin.path(), 0o755);
    let child = Command::new(exe)
        .args(["--exact", &format!("ledger::tests::opening::{name}")])
        .current_dir("/")
        .env(FOLDER, place.folder.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && stdout.contains("1 passed"),
        "{stdout}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A ledger with one reward that nobody has open, as these files of it, in a folder that nobody may write.
fn left_alone(files: &[&str]) -> Place {
    let (from, to) = (World::new(), Place::new());
    from.waiting(1);
    let World { place, ledger } = from;
    let open = if files.contains(&"-wal") {
        Some(ledger)
    } else {
        drop(ledger);
        None
    };
    for suffix in files {
        std::fs::copy(place.beside(suffix), to.beside(suffix)).unwrap();
        set_mode(&to.beside(suffix), 0o644);
    }
    drop(open);
    set_mode(to.folder.path(), 0o555);
    to
}

#[test]
fn a_reader_who_may_not_write_the_folder_reads_a_ledger_that_nobody_has_open() {
    let name = "a_reader_who_may_not_write_the_folder_reads_a_ledger_that_nobody_has_open";
    as_somebody(
        name,
        || left_alone(&[""]),
        |folder| {
            let reading = Ledger::open_read_only(&folder.join("ledger.db")).unwrap();
            assert_eq!(reading.states().unwrap()["waiting"], 1);
        },
    );
}

#[test]
fn a_reader_who_may_not_write_the_folder_gets_no_stale_data_after_a_crash() {
    let name = "a_reader_who_may_not_write_the_folder_gets_no_stale_data_after_a_crash";
    as_somebody(
        name,
        || left_alone(&["", "-wal"]),
        |folder| match Ledger::open_read_only(&folder.join("ledger.db")) {
            Ok(reading) => assert_eq!(reading.states().unwrap()["waiting"], 1),
            Err(error) => assert!(matches!(error, LedgerError::ReadOnly { .. }), "{error:?}"),
        },
    );
}

#[test]
fn a_wal_that_a_crash_left_is_read_and_left_as_it_is() {
    let place = left_alone(&["", "-wal"]);
    set_mode(place.folder.path(), 0o755);
    let before = (place.bytes(), std::fs::read(place.beside("-wal")).unwrap());
    let reading = Ledger::open_read_only(&place.path()).unwrap();
    assert_eq!(reading.states().unwrap()["waiting"], 1);
    drop(reading);
    assert_eq!((place.bytes(), std::fs::read(place.beside("-wal")).unwrap()), before);
}

#[test]
fn an_empty_wal_is_none() {
    let place = left_alone(&[""]);
    set_mode(place.folder.path(), 0o755);
    std::fs::write(place.beside("-wal"), "").unwrap();
    assert_eq!(Ledger::open_read_only(&place.path()).unwrap().states().unwrap()["waiting"], 1);
}

#[test]
fn a_folder_without_the_right_to_write_or_look_is_named() {
    let shut = |folder: &Path| folder.join("shut");
    let prepare = || {
        let place = Place::new();
        std::fs::create_dir(shut(place.folder.path())).unwrap();
        set_mode(&shut(place.folder.path()), 0o000);
        set_mode(place.folder.path(), 0o555);
        place
    };
    as_somebody("a_folder_without_the_right_to_write_or_look_is_named", prepare, |folder| {
        let error = Ledger::open(&folder.join("ledger.db"), ACCOUNT, at(0)).unwrap_err();
        assert!(matches!(error, LedgerError::File { doing: "create", .. }), "{error:?}");
        for error in [
            Ledger::open(&shut(folder).join("ledger.db"), ACCOUNT, at(0)).unwrap_err(),
            Ledger::open_read_only(&shut(folder).join("ledger.db")).unwrap_err(),
        ] {
            assert!(matches!(error, LedgerError::Forbidden { .. }), "{error:?}");
        }
    });
}

#[test]
fn a_user_other_than_root_owns_the_files_it_makes_in_somebody_elses_folder() {
    let prepare = || {
        let place = Place::new();
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            std::os::unix::fs::chown(place.folder.path(), Some(1234), Some(2345)).unwrap();
            set_mode(place.folder.path(), 0o777);
        }
        place
    };
    as_somebody("a_user_other_than_root_owns_the_files_it_makes_in_somebody_elses_folder", prepare, |folder| {
        let path = folder.join("ledger.db");
        drop(Ledger::open(&path, ACCOUNT, at(0)).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), std::fs::metadata("/proc/self").unwrap().uid());
    });
}

#[test]
fn an_unreadable_marks_file_is_an_error() {
    let prepare = || {
        let place = Place::new();
        std::fs::write(place.beside(".mark"), "").unwrap();
        set_mode(&place.beside(".mark"), 0o000);
        set_mode(place.folder.path(), 0o777);
        place
    };
    as_somebody("an_unreadable_marks_file_is_an_error", prepare, |folder| {
        let error = files::open_or_create(&folder.join("ledger.db.mark")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    });
}

#[test]
fn processes_that_make_a_ledger_at_the_same_time_share_it() {
    for _ in 0..20 {
        let (place, all_at_once) = (Place::new(), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    all_at_once.wait();
                    assert_eq!(place.open().account_id().unwrap(), ACCOUNT);
                });
            }
        });
    }
}

#[test]
fn a_file_that_was_put_in_the_place_of_an_open_ledger_is_noticed() {
    let world = World::new();
    world.ledger.require_in_place().unwrap();
    std::fs::copy(world.place.path(), world.place.beside(".copy")).unwrap();
    std::fs::rename(world.place.beside(".copy"), world.place.path()).unwrap();
    let error = world.ledger.require_in_place().unwrap_err();
    assert!(matches!(error, LedgerError::Replaced { .. }), "{error:?}");
    explains(&error, &world.place);
}

#[test]
fn damage_is_found_where_nothing_was_read_yet() {
    let world = World::new();
    (1..=50).for_each(|number| drop(world.waiting(number)));
    world.ledger.check_sound().unwrap();
    let World { place, ledger } = world;
    drop(ledger);
    let mut bytes = place.bytes();
    let last = bytes.len() - 4096;
    bytes[last..].fill(0xA5);
    std::fs::write(place.path(), &bytes).unwrap();
    let error = place.open().check_sound().unwrap_err();
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error:?}");
    explains(&error, &place);
}

#[test]
fn the_stand_in_for_a_ledger_that_was_removed_is_behind_its_mark() {
    let world = World::new();
    world.in_state(1, RewardState::Delivered);
    let World { place, ledger } = world;
    drop(ledger);
    std::fs::remove_file(place.path()).unwrap();
    let stand_in = Ledger::not_made_yet(&place.path(), ACCOUNT, at(0)).unwrap();
    assert_eq!(stand_in.path(), place.path());
    let error = stand_in.require_not_behind().unwrap_err();
    assert!(matches!(error, LedgerError::Behind { .. }), "{error:?}");
    explains(&error, &place);
}

#[test]
fn a_commit_that_fails_changes_nothing() {
    let mut world = World::new();
    let before = world.dump();
    world.ledger.on_commit(|| true).unwrap();
    assert!(world.ledger.begin_pass("command", "poll", at(0)).is_err());
    assert_eq!(world.dump(), before);
}

#[test]
fn entering_wal_waits_for_a_lock_but_not_for_ever() {
    let place = Place::new();
    drop(place.open());
    let shell = place.shell();
    shell.pragma_update(None, "journal_mode", "DELETE").unwrap();
    shell.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let ledger = Ledger::open_uri(&place.path(), "mode=rw").unwrap();
    ledger.conn.busy_timeout(Duration::ZERO).unwrap();
    let error = ledger.enter_wal(Duration::from_millis(20), || ()).unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error:?}");
    let mut pauses = 0;
    let in_the_meantime = || {
        pauses += 1;
        shell.execute_batch("ROLLBACK").unwrap();
    };
    ledger.enter_wal(BUSY_TIMEOUT, in_the_meantime).unwrap();
    assert_eq!(pauses, 1);
}
