//! Deliveries that write together.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use futures_util::future::join_all;

use super::*;

/// Takes these for delivery, all at the same time.
async fn begin_all(writer: &Writer<'_>, rewards: &[Reward]) -> Vec<Result<Begun, LedgerError>> {
    join_all(rewards.iter().map(|reward| {
        let reward = reward.clone();
        writer.change(by_us(0), move |change| change.begin(&reward, "app", at(2)))
    }))
    .await
}

/// Counts the commits from now on; while `failing`, they fail.
fn counted(ledger: &mut Ledger, failing: bool) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let hook = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        failing
    };
    ledger.on_commit(hook).unwrap();
    count
}

#[tokio::test]
async fn requests_at_the_same_time_share_a_transaction() {
    let mut world = World::new();
    let rewards: Vec<Reward> = (1..=16).map(|number| world.waiting(number)).collect();
    let commits = counted(&mut world.ledger, false);
    let writer = Writer::here(&world.ledger, || at(0));
    let begun = begin_all(&writer, &rewards).await;
    assert!(begun.iter().all(|it| matches!(it, Ok(Begun::Attempt(1)))), "{begun:?}");
    assert_eq!(commits.load(Ordering::Relaxed), 1);
    let last = world.ledger.position().unwrap();
    assert_eq!(world.ledger.marked_position().unwrap(), Some(last), "the mark follows the transaction");
    begin_all(&writer, &rewards[..1]).await;
    assert_eq!(commits.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_failed_request_is_rolled_back_alone() {
    let world = World::new();
    let rewards: Vec<Reward> = (1..=3).map(|number| world.waiting(number)).collect();
    let writer = Writer::here(&world.ledger, || at(0));
    let change = |reward: &Reward, fails: bool| {
        let reward = reward.clone();
        writer.change(by_us(0), move |change| {
            let begun = change.begin(&reward, "app", at(2))?;
            // The row is `delivering` now, and no more `waiting`.
            if fails { change.apply(&reward, &cancel("denied")).map(|()| begun) } else { Ok(begun) }
        })
    };
    let done = join_all([change(&rewards[0], false), change(&rewards[1], true), change(&rewards[2], false)]).await;
    assert!(matches!(done[1], Err(LedgerError::Moved { .. })), "{done:?}");
    assert!(done[0].is_ok() && done[2].is_ok(), "{done:?}");
    let states = [1, 2, 3].map(|number| world.row(number).state.word());
    assert_eq!(states, [RewardState::Delivering, RewardState::Waiting, RewardState::Delivering]);
    assert_eq!(world.one("SELECT count(*) FROM attempts"), "2");
}

#[tokio::test]
async fn a_commit_that_fails_is_told_to_all_and_nothing_of_it_is_logged() {
    let mut world = World::new();
    let rewards: Vec<Reward> = (1..=3).map(|number| world.waiting(number)).collect();
    let before = world.dump();
    counted(&mut world.ledger, true);
    let (said, guard) = listen();
    let writer = Writer::here(&world.ledger, || at(0));
    let begun = begin_all(&writer, &rewards).await;
    assert!(begun.iter().all(|it| matches!(it, Err(LedgerError::Shared(_)))), "{begun:?}");
    let alone = world.ledger.change(by_us(0), |change| change.begin(&rewards[0], "app", at(2)));
    assert!(alone.is_err(), "{alone:?}");
    drop(guard);
    assert_eq!(world.dump(), before);
    assert_eq!(said.text(), "", "nothing moved");
}

#[tokio::test]
async fn the_thread_hands_back_what_is_committed_marked_and_logged() {
    let world = World::new();
    let rewards: Vec<Reward> = (1..=16).map(|number| world.waiting(number)).collect();
    let (said, guard) = listen();
    let writer = Writer::thread(&world.ledger, || at(0));
    let begun = begin_all(&writer, &rewards).await;
    assert!(begun.iter().all(|it| matches!(it, Ok(Begun::Attempt(1)))), "{begun:?}");
    assert_eq!(world.place.shell().query_row("SELECT count(*) FROM attempts", [], |row| row.get::<_, i64>(0)), Ok(16));
    let last = world.ledger.position().unwrap();
    assert_eq!(world.ledger.marked_position().unwrap(), Some(last));
    drop(guard);
    assert_eq!(said.text().matches(": delivering: ").count(), 16, "{}", said.text());
    let moved = begin_all(&writer, &rewards[..1]).await;
    assert!(matches!(moved[0], Ok(Begun::Taken)), "{moved:?}");
}

#[tokio::test]
async fn somebody_elses_lock_is_told_to_all_and_blocks_only_those_who_wait() {
    let world = World::new();
    let rewards: Vec<Reward> = (1..=3).map(|number| world.waiting(number)).collect();
    let writer = Writer::thread(&world.ledger, || at(0));
    // Started before the lock.
    writer.change(by_us(0), |_| Ok(())).await.unwrap();
    let shell = world.place.shell();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let released = AtomicBool::new(false);
    let release = async {
        // The main thread goes on while the other one waits for the lock.
        released.store(true, Ordering::Relaxed);
        shell.execute_batch("COMMIT").unwrap();
    };
    let (begun, ()) = futures_util::join!(begin_all(&writer, &rewards), release);
    assert!(released.load(Ordering::Relaxed) && begun.iter().all(Result::is_ok), "{begun:?}");
}

#[tokio::test]
async fn a_lock_that_lasts_is_told_to_all_as_a_lock_and_nothing_is_written() {
    let world = World::new();
    let rewards: Vec<Reward> = (1..=3).map(|number| world.waiting(number)).collect();
    let before = world.dump();
    let mut second = world.ledger.second().unwrap();
    // Its patience is over at once.
    second.on_busy(|_| false).unwrap();
    let writer = Writer::thread_with(&world.ledger, second, || at(0)).unwrap();
    let shell = world.place.shell();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = begin_all(&writer, &rewards).await;
    assert!(begun.iter().all(|it| it.as_ref().is_err_and(LedgerError::is_lock)), "{begun:?}");
    shell.execute_batch("COMMIT").unwrap();
    assert_eq!(world.dump(), before);
    let begun = begin_all(&writer, &rewards).await;
    assert!(begun.iter().all(Result::is_ok), "the thread goes on: {begun:?}");
}

/// The mark follows the commit. Where it cannot be written, nobody may send anything: a ledger that is restored later would not
/// know that it has forgotten this.
#[tokio::test]
async fn a_mark_that_cannot_be_written_is_told_to_all_who_deliver_and_the_thread_goes_on() {
    let world = World::new();
    let rewards: Vec<Reward> = (1..=3).map(|number| world.waiting(number)).collect();
    let (said, guard) = listen();
    let writer = Writer::thread(&world.ledger, || at(0));
    let (mark, aside) = (world.place.beside(".mark"), world.place.beside(".aside"));
    std::fs::rename(&mark, &aside).unwrap();
    std::fs::create_dir(&mark).unwrap();
    let begun = begin_all(&writer, &rewards).await;
    assert!(begun.iter().all(|it| it.as_ref().is_err_and(LedgerError::is_disk)), "{begun:?}");
    writer.change(by_us(0), |_| Ok(())).await.unwrap();
    std::fs::remove_dir(&mark).unwrap();
    std::fs::rename(&aside, &mark).unwrap();
    let more = world.waiting(4);
    let begun = begin_all(&writer, &[more]).await;
    assert!(begun[0].is_ok(), "{begun:?}");
    drop(guard);
    // They are committed, so the log tells them.
    assert_eq!(said.text().matches(": delivering: ").count(), 4, "{}", said.text());
}

/// SQLite takes back the whole transaction where a statement finds the disk full: for those whose statements ran it was the disk, too,
/// and they may be tried again.
#[tokio::test]
async fn a_disk_that_is_full_for_one_is_full_for_all() {
    let world = World::new();
    let (first, last) = (world.waiting(1), world.waiting(2));
    let before = world.dump();
    let pages: i64 = world.one("SELECT page_count FROM pragma_page_count").parse().unwrap();
    world.ledger.run(|conn| conn.pragma_update(None, "max_page_count", pages + 1)).unwrap();
    let writer = Writer::here(&world.ledger, || at(0));
    let begin = |reward: &Reward| {
        let reward = reward.clone();
        writer.change(by_us(0), move |change| change.begin(&reward, "app", at(2)))
    };
    let too_much = "UPDATE rewards SET promoter_name = hex(zeroblob(1000000)) WHERE commission_id = 2";
    let fill = writer.change(by_us(0), move |change| change.sql(too_much, &[]));
    let (first, filled, last) = futures_util::join!(begin(&first), fill, begin(&last));
    assert!(filled.as_ref().is_err_and(LedgerError::is_disk), "{filled:?}");
    assert!(first.as_ref().is_err_and(LedgerError::is_disk), "{first:?}");
    assert!(last.as_ref().is_err_and(LedgerError::is_disk), "{last:?}");
    assert_eq!(world.dump(), before);
}

#[tokio::test]
async fn a_panic_on_the_thread_is_an_error_of_who_waits() {
    let world = World::new();
    let writer = Writer::thread(&world.ledger, || at(0));
    let panicked: Result<(), LedgerError> = writer.change(by_us(0), |_| panic!("for the test")).await;
    assert!(matches!(panicked, Err(LedgerError::WriterEnded { .. })), "{panicked:?}");
    let after = writer.change(by_us(0), |_| Ok(())).await;
    assert!(matches!(after, Err(LedgerError::WriterEnded { .. })), "{after:?}");
}

/// The log of this thread.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn listen() -> (Said, tracing::subscriber::DefaultGuard) {
    let said = Said::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    (said, tracing::subscriber::set_default(subscriber))
}
