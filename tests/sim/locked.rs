//! Another program on makegood's host holds the ledger's write lock for a while: a script, a forgotten `sqlite3` shell. And a
//! disk on which a commit takes long.
//!
//! The lock is a real one, of SQLite, held over a connection of its own. What is simulated is how long makegood waits for it:
//! SQLite asks [`wait`] in place of sleeping, and each time a second of the world's passes. The main thread is blocked
//! meanwhile, so nothing happens in the world; what was due is done when makegood has come back from SQLite, in the order in
//! which it was due. So an answer that came during the wait is heard before the timeout that ran out later, as on a network
//! with a thread of its own.
//!
//! The lock is let go of when its time is over, when a process ends, and when somebody else in the world wants to write, who
//! would have waited for it just so.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use makegood::{
    domain::Timestamp,
    ledger::{Ledger, LedgerError},
};
use rusqlite::Connection;

use super::{
    fault::Fault,
    process::Process,
    timeline::{MINUTE, Ms, SECOND, Whose, later},
    world::World,
};

/// The longest time of a commit.
const COMMIT_MAX: Ms = 20 * SECOND;
/// The time that makegood waits for a lock before a write fails.
const WRITE_WAITS: Ms = 15 * SECOND;
/// The longest time of a lock. makegood can still write an outcome then (40 tries of [`WRITE_WAITS`] each).
const HELD_MAX: Ms = 9 * MINUTE;

/// The write lock, while somebody holds it.
#[derive(Debug, Default)]
pub struct WriteLock(RefCell<Option<Held>>);

#[derive(Debug)]
struct Held {
    until: Timestamp,
    /// Ends its transaction when it is dropped.
    _by: Connection,
}

/// The process that waits on this thread.
struct Waiter {
    world: Weak<World>,
    process: Weak<Process>,
}

thread_local! {
    static WAITER: RefCell<Option<Waiter>> = const { RefCell::new(None) };
}

/// Makes this ledger wait for locks in the world's time.
pub fn wait_in_world_time(world: &Rc<World>, process: &Rc<Process>, ledger: &mut Ledger) -> Result<(), LedgerError> {
    WAITER.set(Some(Waiter { world: Rc::downgrade(world), process: Rc::downgrade(process) }));
    ledger.on_busy(wait)
}

fn waiter() -> Option<(Rc<World>, Rc<Process>)> {
    WAITER.with_borrow(|waiter| {
        let waiter = waiter.as_ref()?;
        Some((waiter.world.upgrade()?, waiter.process.upgrade()?))
    })
}

/// A commit is on its way to the disk.
pub fn commit() {
    let Some((world, process)) = waiter() else { return };
    let takes = if world.strikes_later(Fault::DiskSlow) { world.later.skewed(COMMIT_MAX) } else { 0 };
    process.commit_took.set(takes);
    world.time.jump(later(world.now(), takes));
}

/// SQLite asks whether to try again; `tries` so far.
fn wait(tries: i32) -> bool {
    let Some((world, process)) = waiter() else { return false };
    if tries == 0 {
        world.meet(Fault::WriteLocked);
    }
    let goes_on = Ms::from(tries) * SECOND < WRITE_WAITS;
    if goes_on {
        world.time.jump(later(world.now(), SECOND));
        world.let_go_in_time();
    } else {
        world.say(&process.name, || "has waited in vain for the lock".to_owned());
        world.meet(Fault::LockOutlasts);
        if world.sabotage.gives_up_locked() {
            process.give_up_next_commit();
        }
    }
    goes_on
}

impl World {
    /// While a process waits for an answer.
    pub fn somebody_locks_the_ledger(&self) {
        // Not while two processes run at once: another fault covers that.
        if self.sabotage.ignores_lock() || self.lock.0.borrow().is_some() {
            return;
        }
        if !(self.weather.enables(Fault::WriteLocked) && self.later.chance(100)) {
            return;
        }
        let long = self.weather.threatens(Fault::LockOutlasts, &self.later);
        let held = SECOND + self.later.skewed(if long { HELD_MAX } else { WRITE_WAITS });
        let by = Connection::open(&self.ledger).expect("the ledger can be opened");
        by.execute_batch("BEGIN IMMEDIATE").expect("nobody is writing");
        let until = later(self.now(), held);
        self.say("script", || format!("holds the write lock until {until}"));
        *self.lock.0.borrow_mut() = Some(Held { until, _by: by });
        self.time.after(held, Whose::Network, |world| world.let_go_in_time());
    }

    fn let_go_in_time(&self) {
        let is_over = self.lock.0.borrow().as_ref().is_some_and(|it| it.until <= self.now());
        if is_over {
            self.let_go_of_the_lock();
        }
    }

    pub fn let_go_of_the_lock(&self) {
        if self.lock.0.take().is_some() {
            self.say("script", || "lets go of the write lock".to_owned());
        }
    }
}
