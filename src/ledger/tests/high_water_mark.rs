//! The high-water mark beside the ledger.

use super::*;

fn text(world: &World) -> String {
    std::fs::read_to_string(world.place.beside(".mark")).unwrap()
}

/// Puts back a copy of the ledger from before `work`.
pub(super) fn restored(world: World, work: impl FnOnce(&World)) -> World {
    let World { place, ledger } = world;
    drop(ledger);
    let backup = place.bytes();
    let world = World { ledger: place.open(), place };
    work(&world);
    let World { place, ledger } = world;
    drop(ledger);
    assert_eq!(std::fs::metadata(place.beside("-wal")).unwrap().len(), 0, "it would spoil the copy");
    std::fs::write(place.path(), backup).unwrap();
    World { ledger: place.open(), place }
}

fn is_behind(world: &World) -> bool {
    match world.ledger.require_not_behind() {
        Ok(()) => false,
        Err(LedgerError::Behind { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_mark_says_how_far_deliveries_have_come_and_when() {
    let world = World::new();
    let first = Some(Position { journal: 0, at: "never".to_owned() });
    assert_eq!(world.ledger.marked_position().unwrap(), first, "made with the ledger");
    assert_eq!(world.ledger.position().unwrap(), Position { journal: 0, at: "never".to_owned() });
    let reward = world.waiting(1);
    assert_eq!(world.ledger.marked_position().unwrap(), first, "what waits can be found again");
    world.begin(&reward);
    let position = Position { journal: 2, at: "2026-01-01T12:00:00.000Z".to_owned() };
    assert_eq!(world.ledger.position().unwrap(), position);
    assert_eq!(world.ledger.marked_position().unwrap(), Some(position));
    assert_eq!(text(&world), "makegood ledger mark: journal 0000000000000000002 at 2026-01-01T12:00:00.000Z\n");
    assert!(!is_behind(&world));
}

#[test]
fn a_ledger_that_has_forgotten_a_delivery_is_behind_it_until_it_is_accepted() {
    let world = World::new();
    world.in_state(1, RewardState::Delivered);
    let world = restored(world, |it| drop(it.in_state(2, RewardState::Delivered)));
    let marked = world.ledger.marked_position().unwrap().unwrap();
    let error = world.ledger.require_not_behind().unwrap_err();
    let LedgerError::Behind { ledger, mark, mark_at, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*ledger, *mark, mark_at), (3, marked.journal, &marked.at));
    let accepted = world.ledger.accept_as_it_is().unwrap();
    assert_eq!(accepted.journal, 3);
    assert_eq!(world.ledger.marked_position().unwrap(), Some(accepted));
    assert!(!is_behind(&world));
}

#[test]
fn a_copy_that_came_to_the_same_numbers_by_itself_is_behind_too() {
    let world = World::new();
    let world = restored(world, |it| drop(it.in_state(1, RewardState::Delivered)));
    for _ in 0..3 {
        let sql = "INSERT INTO journal (commission_id, at, to_state, reason, actor) \
                   VALUES (7, '2026-01-01T15:00:00.000Z', 'waiting', 'x', 'x')";
        world.elsewhere(&format!("PRAGMA foreign_keys = OFF; {sql}"));
    }
    assert_eq!(world.ledger.position().unwrap().journal, 3);
    assert!(is_behind(&world));
}

#[test]
fn a_mark_is_advanced_to_the_entries_of_handlers_and_never_moved_back() {
    let world = World::new();
    let reward = world.waiting(1);
    world.begin(&reward);
    let sql = "INSERT INTO journal (commission_id, at, from_state, to_state, reason, actor) \
               VALUES (1, '2026-01-01T12:05:00.000Z', 'delivering', 'delivered', 'x', 'handler')";
    world.elsewhere(sql);
    assert_eq!(world.ledger.marked_position().unwrap().unwrap().journal, 2);
    world.ledger.catch_up_high_water_mark().unwrap();
    assert_eq!(
        world.ledger.marked_position().unwrap(),
        Some(Position { journal: 3, at: "2026-01-01T12:05:00.000Z".to_owned() })
    );
    world.ledger.advance_high_water_mark(&Position { journal: 2, at: "2026-01-01T12:09:00.000Z".to_owned() }).unwrap();
    assert_eq!(world.ledger.marked_position().unwrap().unwrap().journal, 3);
    world.ledger.advance_high_water_mark(&Position { journal: 3, at: "2026-01-01T12:09:00.000Z".to_owned() }).unwrap();
    assert_eq!(world.ledger.marked_position().unwrap().unwrap().at, "2026-01-01T12:05:00.000Z");
}

#[test]
fn an_unreadable_mark_is_refused_and_left_as_it_is() {
    for bad in [
        "",
        "rubbish",
        "makegood ledger mark: journal 0000000000000000001 at 2026-01-01T12:00:0",
        "makegood ledger mark: journal x at noon\n",
        "makegood ledger mark: journal 1\n",
        "\u{fffd}",
    ] {
        let world = World::new();
        world.in_state(1, RewardState::Delivered);
        std::fs::write(world.place.beside(".mark"), bad).unwrap();
        let error = world.ledger.require_not_behind().unwrap_err();
        assert!(matches!(error, LedgerError::BadMark { .. }), "{bad:?}: {error:?}");
        assert_eq!(text(&world), bad);
    }
    let world = World::new();
    world.in_state(1, RewardState::Delivered);
    std::fs::write(world.place.beside(".mark"), [0xFF, 0xFE]).unwrap();
    assert!(matches!(world.ledger.require_not_behind(), Err(LedgerError::BadMark { .. })));
    std::fs::remove_file(world.place.beside(".mark")).unwrap();
    std::fs::create_dir(world.place.beside(".mark")).unwrap();
    assert!(matches!(world.ledger.require_not_behind(), Err(LedgerError::File { doing: "read", .. })));
}

#[test]
fn a_ledger_in_memory_has_none() {
    let ledger = Ledger::in_memory(ACCOUNT, at(0)).unwrap();
    assert_eq!(ledger.accept_as_it_is().unwrap().journal, 0);
    assert_eq!(ledger.marked_position().unwrap(), None);
    ledger.require_not_behind().unwrap();
    ledger.require_in_place().unwrap();
}

#[test]
fn a_mark_from_before_the_first_delivery_forbids_nothing() {
    let world = World::new();
    world.ledger.accept_as_it_is().unwrap();
    assert_eq!(world.ledger.marked_position().unwrap().unwrap().journal, 0);
    assert!(!is_behind(&world));
}

#[test]
fn an_unreadable_mark_means_nothing_beside_a_ledger_that_knows_no_delivery() {
    for bad in [&b""[..], b"makegood ledger mark: jour", b"\xff\xfe"] {
        let world = World::new();
        let reward = world.waiting(1);
        std::fs::write(world.place.beside(".mark"), bad).unwrap();
        assert!(!is_behind(&world));
        world.begin(&reward);
        assert_eq!(world.ledger.marked_position().unwrap(), Some(world.ledger.position().unwrap()));
    }
}

#[test]
fn a_mark_may_have_an_empty_time() {
    let world = World::new();
    let reward = world.waiting(1);
    world.begin(&reward);
    let sql = "INSERT INTO journal (commission_id, at, from_state, to_state, reason, actor) \
               VALUES (1, '', 'delivering', 'delivered', 'x', 'handler')";
    world.elsewhere(sql);
    world.ledger.catch_up_high_water_mark().unwrap();
    assert_eq!(world.ledger.marked_position().unwrap(), Some(Position { journal: 3, at: String::new() }));
    assert!(!is_behind(&world));
}

#[test]
fn a_mark_that_is_no_regular_file_is_refused_and_not_waited_for() {
    let world = World::new();
    world.in_state(1, RewardState::Delivered);
    let mark = world.place.beside(".mark");
    let plants: [&dyn Fn(); 3] = [
        &|| std::os::unix::fs::symlink("/dev/zero", &mark).unwrap(),
        &|| std::os::unix::fs::symlink(world.place.beside("-nowhere"), &mark).unwrap(),
        &|| rustix::fs::mknodat(rustix::fs::CWD, &mark, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap(),
    ];
    for plant in plants {
        std::fs::remove_file(&mark).unwrap();
        plant();
        let error = world.ledger.require_not_behind().unwrap_err();
        assert!(matches!(&error, LedgerError::File { doing: "read", .. }), "{error:?}");
    }
}

#[test]
fn a_dead_processs_draft_of_a_mark_is_removed_and_a_living_ones_is_not() {
    let world = World::new();
    let (dead, alive, other) = (
        files::draft_of(&world.place.beside(".mark")).unwrap(),
        files::draft_of(&world.place.beside(".mark")).unwrap(),
        world.place.beside(".mark.draft"),
    );
    assert_ne!(dead, alive, "nobody can guess it");
    for path in [&dead, &alive, &other] {
        std::fs::write(path, "x").unwrap();
    }
    let writing = std::fs::File::open(&alive).unwrap();
    writing.try_lock().unwrap();
    files::sweep_drafts(&world.place.beside(".mark"));
    assert_eq!([&dead, &alive, &other].map(|path| path.exists()), [false, true, true]);
}
