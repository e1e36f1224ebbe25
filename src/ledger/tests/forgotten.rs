//! A ledger that may have forgotten deliveries stays locked until a person accepts it, whoever writes to it.

use super::{high_water_mark::restored, *};

/// Why nothing may be delivered, if there is a reason.
fn forgot(ledger: &Ledger) -> Option<Forgot> {
    ledger.require_not_behind().err().map(|error| error.forgot().unwrap_or_else(|| panic!("{error}")))
}

/// The word in the ledger; empty where there is none.
fn stamp(world: &World) -> String {
    world.one("SELECT why FROM may_have_forgotten")
}

fn mark(world: &World) -> Option<Position> {
    world.ledger.marked_position().unwrap()
}

/// Claims of handlers, in the different forms of SQL. Returns whether they fail; all must agree.
#[track_caller]
fn claims_fail(place: &Place) -> bool {
    let shell = place.shell();
    let values = "VALUES (7, 'webhook', '2026-01-01T12:00:00Z', '2026-01-01T12:10:00Z')";
    let tried = [
        format!("INSERT INTO claims {values}"),
        format!("INSERT OR IGNORE INTO claims {values}"),
        format!("INSERT OR REPLACE INTO claims {values}"),
        format!("INSERT INTO claims {values} ON CONFLICT (commission_id) DO UPDATE SET owner = excluded.owner"),
        format!("INSERT INTO claims {values} ON CONFLICT DO NOTHING"),
    ]
    .map(|sql| {
        shell.execute_batch("BEGIN").unwrap();
        let tried = shell.execute_batch(&sql);
        shell.execute_batch("ROLLBACK").ok();
        if let Err(error) = &tried {
            assert!(error.to_string().contains("may have forgotten deliveries"), "{sql}: {error}");
        }
        tried.is_err()
    });
    assert!(tried.iter().all(|failed| *failed == tried[0]), "{tried:?}");
    tried[0]
}

/// Somebody who writes, by name.
type Writer<'a> = (&'a str, &'a dyn Fn(&World));

/// A ledger that has forgotten the delivery of 2.
fn behind() -> World {
    let world = World::new();
    world.in_state(1, RewardState::Delivered);
    world.held(5, HoldReason::GaveUp);
    restored(world, |it| drop(it.in_state(2, RewardState::Delivered)))
}

#[test]
fn a_ledger_that_lacks_its_marks_entry_stays_locked_whoever_writes_to_it() {
    let record = |world: &World| {
        for number in 10..20 {
            world.change(|it| it.record(id(number), &key(number), None, "webhook"));
        }
    };
    let resolve = |world: &World| {
        let reward = world.row(5);
        world.change(|it| it.resolve(&reward, &Resolution::Delivered(None), "a person"));
        record(world);
    };
    let in_sql = |world: &World| {
        for _ in 0..10 {
            world.elsewhere(
                "INSERT INTO journal (commission_id, at, from_state, to_state, reason, actor) \
                 VALUES (1, '2026-01-02T12:00:00.000Z', 'waiting', 'delivered', 'x', 'webhook')",
            );
        }
        world.ledger.catch_up_high_water_mark().unwrap();
    };
    let writers: [Writer<'_>; 3] = [("record", &record), ("resolve", &resolve), ("SQL", &in_sql)];
    for (name, write) in writers {
        let world = behind();
        let marked = mark(&world);
        write(&world);
        assert!(
            world.ledger.position().unwrap().journal > marked.as_ref().unwrap().journal,
            "{name} went past the mark"
        );
        assert_eq!((forgot(&world.ledger), mark(&world)), (Some(Forgot::Behind), marked), "{name}");
        drop(world.place.open());
        assert_eq!(forgot(&world.ledger), Some(Forgot::Behind), "{name}: opened once more");
        world.ledger.accept_as_it_is().unwrap();
        assert_eq!((forgot(&world.ledger), stamp(&world).as_str()), (None, ""), "{name}");
    }
}

#[test]
fn a_ledger_that_was_found_behind_refuses_claims_to_handlers_until_it_is_accepted() {
    let world = behind();
    assert_eq!(stamp(&world), "behind", "opening it to write has found it out");
    assert!(claims_fail(&world.place));
    let waiting = world.waiting(30);
    assert!(world.ledger.change(by_us(0), |it| it.begin(&waiting, "app", at(2))).is_err());
    world.ledger.accept_as_it_is().unwrap();
    assert!(!claims_fail(&world.place));
    world.begin(&waiting);
    assert_eq!(forgot(&world.ledger), None);
}

#[test]
fn a_ledger_that_knows_deliveries_and_has_no_mark_is_locked_and_gets_none_by_being_written_to() {
    let world = World::new();
    world.in_state(1, RewardState::Delivered);
    std::fs::remove_file(world.place.beside(".mark")).unwrap();
    assert!(matches!(world.ledger.require_not_behind(), Err(LedgerError::NoMark { .. })));
    world.change(|it| it.record(id(10), &key(10), None, "webhook"));
    world.ledger.catch_up_high_water_mark().unwrap();
    let again = world.place.open();
    assert_eq!((forgot(&again), mark(&world), stamp(&world).as_str()), (Some(Forgot::NoMark), None, "no_mark"));
    assert!(claims_fail(&world.place));
    // A mark that is put there later does not undo the finding.
    std::fs::write(world.place.beside(".mark"), "makegood ledger mark: journal 0000000000000000000 at never\n")
        .unwrap();
    let error = world.ledger.require_not_behind().unwrap_err();
    assert!(matches!(&error, LedgerError::Stamped { why: Forgot::NoMark, .. }), "{error:?}");
    assert!(error.to_string().contains("without a readable mark") && error.to_string().contains("ledger accept"));
    world.ledger.accept_as_it_is().unwrap();
    assert_eq!((forgot(&world.ledger), claims_fail(&world.place)), (None, false));
    assert_eq!(mark(&world), Some(world.ledger.position().unwrap()));
}

#[test]
fn a_delivery_of_a_handler_that_wrote_no_journal_is_known_too() {
    let world = World::new();
    world.waiting(1);
    world.elsewhere("UPDATE rewards SET state = 'delivered', delivered_at = state_since, delivered_by = 'outside'");
    std::fs::remove_file(world.place.beside(".mark")).unwrap();
    assert_eq!(forgot(&world.place.open()), Some(Forgot::NoMark));
}

#[test]
fn a_ledger_that_knows_no_delivery_has_nothing_to_forget_and_gets_its_mark_when_it_is_opened() {
    let world = World::new();
    world.waiting(1);
    world.held(2, HoldReason::Fuse);
    let outside = world.waiting(3);
    world.change(|it| it.apply(&outside, &fulfil("adopted")));
    for bad in [None, Some(""), Some("rubbish"), Some("makegood ledger mark: journal 00")] {
        match bad {
            None => std::fs::remove_file(world.place.beside(".mark")).unwrap(),
            Some(bad) => std::fs::write(world.place.beside(".mark"), bad).unwrap(),
        }
        assert_eq!(forgot(&world.ledger), None, "{bad:?}");
        assert_eq!(forgot(&world.place.open()), None, "{bad:?}");
        assert_eq!(mark(&world), Some(Position { journal: 0, at: "never".to_owned() }), "{bad:?}");
        assert_eq!(stamp(&world), "", "{bad:?}");
    }
    world.begin(&world.row(1));
    assert_eq!((forgot(&world.ledger), claims_fail(&world.place)), (None, false));
}

#[test]
fn the_mark_is_there_before_the_schema_so_that_no_kill_leaves_a_ledger_without_one() {
    let place = Place::new();
    open::create_file(&place.path()).unwrap();
    let ledger = Ledger::open_uri(&place.path(), "mode=rw").unwrap();
    ledger.prepare_for_writing().unwrap();
    ledger.make_first_high_water_mark().unwrap();
    assert_eq!(ledger.version().unwrap(), 0);
    assert!(place.beside(".mark").exists());
}

#[test]
fn a_copy_says_that_it_is_one_whatever_mark_lies_beside_it() {
    for with_mark in [true, false] {
        let world = World::new();
        world.in_state(1, RewardState::Delivered);
        let elsewhere = Place::new();
        world.ledger.back_up(&elsewhere.path()).unwrap();
        assert_eq!(forgot(&world.ledger), None, "the original is none");
        if with_mark {
            std::fs::copy(world.place.beside(".mark"), elsewhere.beside(".mark")).unwrap();
        }
        // Before any makegood has seen it.
        assert!(claims_fail(&elsewhere));
        let reader = Ledger::open_read_only(&elsewhere.path()).unwrap();
        assert_eq!(forgot(&reader), Some(Forgot::Copy));
        drop(reader);
        let copy = World { ledger: elsewhere.open(), place: elsewhere };
        let error = copy.ledger.require_not_behind().unwrap_err();
        assert!(matches!(&error, LedgerError::Stamped { why: Forgot::Copy, .. }), "{error:?}");
        assert!(
            error.to_string().contains("is a copy") && error.to_string().contains("2026-01-01T12:01:00"),
            "{error}"
        );
        copy.change(|it| it.record(id(10), &key(10), None, "webhook"));
        assert_eq!(forgot(&copy.place.open()), Some(Forgot::Copy));
        copy.ledger.accept_as_it_is().unwrap();
        assert_eq!((forgot(&copy.ledger), claims_fail(&copy.place)), (None, false));
        assert_eq!(forgot(&copy.place.open()), None);
    }
}

#[test]
fn a_copy_of_a_ledger_without_any_delivery_is_a_copy_too() {
    let world = World::new();
    let elsewhere = Place::new();
    world.ledger.back_up(&elsewhere.path()).unwrap();
    assert_eq!(forgot(&elsewhere.open()), Some(Forgot::Copy));
}

#[test]
fn a_reader_finds_out_the_same_and_writes_nothing() {
    let world = World::new();
    world.in_state(1, RewardState::Delivered);
    std::fs::remove_file(world.place.beside(".mark")).unwrap();
    let reader = Ledger::open_read_only(&world.place.path()).unwrap();
    assert_eq!(forgot(&reader), Some(Forgot::NoMark));
    assert_eq!(stamp(&world), "");
    assert!(!world.place.beside(".mark").exists());
}

/// 0.1 made its mark with the first delivery, not with the ledger.
#[test]
fn a_ledger_of_0_1_gets_its_mark_then_and_is_locked_where_it_lost_one() {
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledgers/2.db");
    // With deliveries, and without the mark that 0.1 had written: restored, or moved without it.
    let place = Place::new();
    std::fs::copy(&fixture, place.path()).unwrap();
    assert_eq!(forgot(&place.open()), Some(Forgot::NoMark));
    // With its own mark it goes on.
    let place = Place::new();
    std::fs::copy(&fixture, place.path()).unwrap();
    let sql = "SELECT id, at FROM journal WHERE to_state IN ('delivering', 'delivered') ORDER BY id DESC LIMIT 1";
    let (journal, at): (i64, String) = place.shell().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    std::fs::write(place.beside(".mark"), format!("makegood ledger mark: journal {journal:019} at {at}\n")).unwrap();
    assert_eq!(forgot(&place.open()), None);
    // An old backup of it does not.
    let place = Place::new();
    std::fs::copy(&fixture, place.path()).unwrap();
    let later = "makegood ledger mark: journal 0000000000000004711 at 2026-11-21T12:00:00.000Z\n";
    std::fs::write(place.beside(".mark"), later).unwrap();
    assert_eq!(forgot(&place.open()), Some(Forgot::Behind));
}
