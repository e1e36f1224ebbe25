//! Virtual time: what is due next, and how a future waits for it.
//!
//! Nothing here sleeps. Time stands still while any task can go on, and then jumps to the next event. Requests under way are
//! entries of the timeline, not parts of the future that sent them, so that they arrive even if their sender has died.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use chrono::TimeDelta;
use makegood::domain::Timestamp;

use super::world::World;

/// Milliseconds: what the ledger keeps.
pub type Ms = i64;

pub const SECOND: Ms = 1000;
pub const MINUTE: Ms = 60 * SECOND;
pub const HOUR: Ms = 60 * MINUTE;
pub const DAY: Ms = 24 * HOUR;

/// The owner of an event. The events of a handler can be hurried, those of the network cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Makegood,
    Handler,
    Network,
}

type Happening = Box<dyn FnOnce(&Rc<World>)>;

/// The events by time. Two events at the same time happen in the order in which they were scheduled.
pub struct Timeline {
    now: Cell<Timestamp>,
    scheduled: Cell<u64>,
    due: RefCell<BTreeMap<(Timestamp, u64), (Whose, Happening)>>,
}

impl Timeline {
    pub fn new(now: Timestamp) -> Self {
        Self { now: Cell::new(now), scheduled: Cell::new(0), due: RefCell::default() }
    }

    pub fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// Schedules an event after `wait`.
    pub fn after(&self, wait: Ms, whose: Whose, happening: impl FnOnce(&Rc<World>) + 'static) {
        self.at(later(self.now(), wait), whose, Box::new(happening));
    }

    pub fn sleep(&self, wait: Ms, whose: Whose) -> Slot<()> {
        let slot = Slot::new();
        let alarm = slot.clone();
        self.after(wait, whose, move |_| alarm.fill(()));
        slot
    }

    /// Takes the next event, if it is due by `limit`, and moves time there.
    pub fn next(&self, limit: Timestamp) -> Option<Happening> {
        let mut due = self.due.borrow_mut();
        let entry = due.first_entry().filter(|entry| entry.key().0 <= limit)?;
        // After a jump, events of the past happen now.
        self.now.set(self.now().max(entry.key().0));
        Some(entry.remove().1)
    }

    /// Moves time on without any event: the machine was suspended.
    pub fn jump(&self, to: Timestamp) {
        self.now.set(self.now().max(to));
    }

    /// The number of scheduled events of a handler.
    pub fn handlers_waiting(&self) -> usize {
        self.due.borrow().values().filter(|(whose, _)| *whose == Whose::Handler).count()
    }

    /// Makes the `n`th event of a handler happen now.
    pub fn hurry_handler(&self, n: usize) {
        let key =
            self.due.borrow().iter().filter(|(_, (whose, _))| *whose == Whose::Handler).map(|(key, _)| *key).nth(n);
        let Some(key) = key else { return };
        let due = self.due.borrow_mut().remove(&key);
        if let Some((whose, happening)) = due {
            self.at(self.now().min(key.0), whose, happening);
        }
    }

    /// Removes all events at the end of a world, because they may hold references to it.
    pub fn clear(&self) {
        self.due.borrow_mut().clear();
    }

    fn at(&self, at: Timestamp, whose: Whose, happening: Happening) {
        let number = self.scheduled.get();
        self.scheduled.set(number + 1);
        self.due.borrow_mut().insert((at, number), (whose, happening));
    }
}

pub fn later(at: Timestamp, wait: Ms) -> Timestamp {
    at + TimeDelta::milliseconds(wait)
}

/// A slot for one answer, and the future that waits for it. The first answer counts.
pub struct Slot<T>(Rc<Inner<T>>);

struct Inner<T> {
    answer: RefCell<Option<T>>,
    filled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Slot<T> {
    pub fn new() -> Self {
        Self(Rc::new(Inner { answer: RefCell::new(None), filled: Cell::new(false), waker: RefCell::new(None) }))
    }

    pub fn fill(&self, answer: T) {
        if self.0.filled.replace(true) {
            return;
        }
        *self.0.answer.borrow_mut() = Some(answer);
        if let Some(waker) = self.0.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl<T> Future for Slot<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(answer) = self.0.answer.borrow_mut().take() {
            return Poll::Ready(answer);
        }
        *self.0.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
