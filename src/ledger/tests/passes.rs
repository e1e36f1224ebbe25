//! Which rows of `passes` are removed, and which never.

use super::*;

const DAY: Duration = Duration::from_hours(24);

/// Passes that completed a minute after one another, from noon on, and did nothing.
pub(super) fn many_empty(world: &World, many: i64) -> Vec<PassId> {
    let empty = |minutes| {
        let pass = world.ledger.begin_pass("schedule", "poll", at(minutes)).unwrap();
        world.ledger.finish_pass(pass, &Counts { listed: 3, ..Counts::default() }, None, at(minutes)).unwrap();
        pass
    };
    (0..many).map(empty).collect()
}

fn kept(world: &World) -> Vec<PassId> {
    let mut statement = world.ledger.conn.prepare("SELECT id FROM passes ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn empty_passes_are_removed_once_they_are_old_and_nothing_else_is() {
    let world = World::new();
    let failure = PassFailure { kind: FailureKind::Unavailable, text: "no answer".to_owned() };
    let failed = world.ledger.begin_pass("schedule", "poll", at(0)).unwrap();
    world.ledger.finish_pass(failed, &Counts::default(), Some(&failure), at(0)).unwrap();
    // One that found a reward, and one that tried to deliver one.
    let mut eventful = Vec::new();
    for _ in 0..2 {
        let pass = world.ledger.begin_pass("schedule", "poll", at(0)).unwrap();
        let author = Author { pass_id: Some(pass), ..by_us(0) };
        if eventful.is_empty() {
            world.ledger.change(author, |it| it.enter(id(1), &key(1), &facts(), &wait(at(0)))).unwrap();
        } else {
            let row = world.row(1);
            world.ledger.change(author, |it| it.begin(&row, "app", at(2))).unwrap();
        }
        world.ledger.finish_pass(pass, &Counts::default(), None, at(0)).unwrap();
        eventful.push(pass);
    }
    let empty = many_empty(&world, 300);
    let unfinished = world.ledger.begin_pass("schedule", "poll", at(300)).unwrap();
    let before = world.ledger.counted().unwrap();
    let day_later = at(24 * 60);
    assert_eq!(
        world.ledger.remove_empty_passes(DAY, day_later + chrono::TimeDelta::minutes(50)).unwrap(),
        0,
        "too few"
    );
    assert_eq!(world.ledger.remove_empty_passes(DAY, day_later + chrono::TimeDelta::minutes(100)).unwrap(), 100);
    let rest = || std::iter::once(failed).chain(eventful.iter().copied());
    assert_eq!(kept(&world), rest().chain(empty[100..].iter().copied()).chain([unfinished]).collect::<Vec<_>>());
    assert_eq!(world.ledger.remove_empty_passes(DAY, day_later + chrono::TimeDelta::days(9)).unwrap(), 199);
    assert_eq!(
        kept(&world),
        rest().chain([empty[299], unfinished]).collect::<Vec<_>>(),
        "the last that completed stays"
    );
    assert_eq!(world.ledger.counted().unwrap(), before, "what the metrics count does not go down");
    let foreign_keys: bool = world.ledger.conn.pragma_query_value(None, "foreign_keys", |row| row.get(0)).unwrap();
    assert!(foreign_keys, "they are on again");
    assert_eq!(world.one("SELECT count(*) FROM pragma_foreign_key_check"), "0");
    world.ledger.check_sound().unwrap();
}

#[test]
fn one_pass_removes_no_more_than_a_thousand() {
    let world = World::new();
    many_empty(&world, 1_200);
    assert_eq!(world.ledger.remove_empty_passes(Duration::ZERO, at(2_000)).unwrap(), 1_000);
    assert_eq!(world.ledger.remove_empty_passes(Duration::ZERO, at(2_000)).unwrap(), 199);
    assert_eq!(world.ledger.remove_empty_passes(Duration::MAX, at(2_000)).unwrap(), 0, "as good as for ever");
}

#[test]
fn a_pass_of_an_earlier_version_that_the_journal_names_is_not_empty() {
    let place = Place::new();
    std::fs::copy(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledgers/5.db"), place.path())
        .unwrap();
    drop(place.open());
    let shell = place.shell();
    let count = |sql: &str| shell.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    // `IN` is unknown beside a null.
    let named = "SELECT pass_id FROM journal UNION SELECT pass_id FROM attempts EXCEPT SELECT NULL";
    assert_eq!(count(&format!("SELECT count(*) FROM passes WHERE happened <> (id IN ({named}))")), 0);
    assert!(count("SELECT sum(happened) FROM passes") > 0);
}
