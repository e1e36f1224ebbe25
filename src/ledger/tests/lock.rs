//! The pass lock. Two holders in one process are as two processes: the lock belongs to the open file.

use std::{cell::RefCell, fs::File, os::unix::fs::PermissionsExt};

use super::*;
use crate::{
    clock::Clock,
    ledger::lock::{Locked, try_lock},
};

/// A clock whose sleeps are over at once; `during` is called in each.
struct Counting<F> {
    slept: RefCell<Vec<Duration>>,
    during: F,
}

impl<F: Fn(usize)> Counting<F> {
    fn new(during: F) -> Self {
        Self { slept: RefCell::default(), during }
    }

    fn sleeps(&self) -> usize {
        self.slept.borrow().len()
    }
}

impl<F: Fn(usize)> Clock for Counting<F> {
    fn now(&self) -> Timestamp {
        at(0)
    }

    async fn sleep(&self, duration: Duration) {
        self.slept.borrow_mut().push(duration);
        (self.during)(self.sleeps());
    }
}

#[tokio::test]
async fn a_second_one_waits_thirty_seconds_and_is_told_who_has_it() {
    let place = Place::new();
    let holder = Counting::new(|_| ());
    let _held = acquire_pass_lock(&place.path(), "run", &holder).await.unwrap();
    assert_eq!(holder.sleeps(), 0);

    let second = Counting::new(|_| ());
    let error = acquire_pass_lock(&place.path(), "once", &second).await.unwrap_err();
    assert_eq!(second.slept.borrow().iter().sum::<Duration>(), Duration::from_secs(30));
    let LockError::Busy { holder, path } = &error else { panic!("{error:?}") };
    assert_eq!(path, &place.beside(".lock"));
    let me = format!("process {} (makegood run) since 2026-01-01T12:00:00.000Z", std::process::id());
    assert_eq!(*holder, me);
    let text = error.to_string();
    assert!(text.contains(&me) && text.contains("Waited 30 s") && text.contains(".lock"), "{text}");
}

#[tokio::test]
async fn it_is_released_when_dropped_and_taken_by_the_one_that_waits() {
    let place = Place::new();
    let idle = Counting::new(|_| ());
    let held = RefCell::new(Some(acquire_pass_lock(&place.path(), "run", &idle).await.unwrap()));
    let waiting = Counting::new(|sleeps| {
        if sleeps == 3 {
            drop(held.take());
        }
    });
    let _second = acquire_pass_lock(&place.path(), "once", &waiting).await.unwrap();
    assert_eq!(waiting.sleeps(), 3);
    let text = std::fs::read_to_string(place.beside(".lock")).unwrap();
    assert!(text.contains("makegood once") && !text.contains("makegood run"), "{text}");
}

#[tokio::test]
async fn a_holder_that_left_no_name_is_still_a_holder() {
    let place = Place::new();
    let file = File::create(place.beside(".lock")).unwrap();
    file.try_lock().unwrap();
    let error = acquire_pass_lock(&place.path(), "once", &Counting::new(|_| ())).await.unwrap_err();
    assert!(matches!(&error, LockError::Busy { holder, .. } if holder.contains("left no name")), "{error}");
}

#[tokio::test]
async fn a_dead_holders_lock_file_is_no_obstacle_and_stays() {
    let place = Place::new();
    std::fs::write(place.beside(".lock"), "process 1 (makegood run) since for ever, and much longer than that\n")
        .unwrap();
    let clock = Counting::new(|_| ());
    drop(acquire_pass_lock(&place.path(), "once", &clock).await.unwrap());
    assert_eq!(clock.sleeps(), 0);
    let text = std::fs::read_to_string(place.beside(".lock")).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.starts_with(&format!("process {} (makegood once) since", std::process::id())), "{text}");
}

#[tokio::test]
async fn the_lock_of_one_ledger_is_not_that_of_another() {
    let (one, other) = (Place::new(), Place::new());
    let clock = Counting::new(|_| ());
    let _first = acquire_pass_lock(&one.path(), "run", &clock).await.unwrap();
    let _second = acquire_pass_lock(&other.path(), "run", &clock).await.unwrap();
    assert_eq!(clock.sleeps(), 0);
    let mode = std::fs::metadata(one.beside(".lock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "no more than 0640");
}

#[tokio::test]
async fn a_lock_file_that_cannot_be_made_is_named() {
    let path = Place::new().folder.path().join("missing").join("ledger.db");
    let error = acquire_pass_lock(&path, "once", &Counting::new(|_| ())).await.unwrap_err();
    assert!(matches!(error, LockError::File { doing: "open", .. }), "{error:?}");
    assert!(error.to_string().contains("missing/ledger.db.lock"), "{error}");
}

#[test]
fn a_lock_on_a_file_that_was_removed_or_replaced_is_none() {
    let place = Place::new();
    let path = place.beside(".lock");
    let file = File::create(&path).unwrap();
    assert_eq!(try_lock(&file, &path).unwrap(), Locked::Pass);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(try_lock(&file, &path).unwrap(), Locked::Nothing);
    let another = File::create(&path).unwrap();
    assert_eq!(try_lock(&file, &path).unwrap(), Locked::Nothing);
    assert_eq!(try_lock(&another, &path).unwrap(), Locked::Pass);
}
