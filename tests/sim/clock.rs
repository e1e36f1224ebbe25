//! The clock of the machine of makegood, its ledger and the webhook handler. Somebody sets it ahead and back.
//!
//! FirstPromoter, the targets and the auditor have the world's time.

use std::{cell::Cell, rc::Rc};

use super::{
    fault::Fault,
    timeline::{DAY, Ms},
    world::World,
};

/// The error of the clock.
#[derive(Debug, Default)]
pub struct HostClock {
    ahead: Cell<Ms>,
    was_behind: Cell<bool>,
    was_wrong: Cell<bool>,
}

impl HostClock {
    /// Negative where it is behind.
    pub fn ahead(&self) -> Ms {
        self.ahead.get()
    }

    /// Then times of the ledger cannot be compared with others.
    pub fn was_wrong(&self) -> bool {
        self.was_wrong.get()
    }

    /// Then the ledger may have found something before it existed.
    pub fn was_behind(&self) -> bool {
        self.was_behind.get()
    }
}

impl World {
    /// Between two passes.
    pub fn somebody_sets_the_clock(self: &Rc<Self>) {
        if self.strikes_later(Fault::ClockAhead) {
            self.set_clock(self.later.skewed(20 * DAY));
        } else if self.strikes_later(Fault::ClockBehind) {
            self.set_clock(-self.later.skewed(10 * DAY));
        } else if self.clock.ahead() != 0 && self.later.chance(500) {
            self.set_clock(0);
        }
    }

    /// Sets it right if it is wrong.
    pub fn set_clock(&self, ahead: Ms) {
        if self.clock.ahead() == ahead {
            return;
        }
        self.clock.ahead.set(ahead);
        self.clock.was_wrong.set(true);
        self.clock.was_behind.set(self.clock.was_behind() || ahead < 0);
        for run in self.evidence.borrow_mut().handlers.iter_mut().filter(|run| run.is_at_it()) {
            run.disturbed = true;
        }
        self.say("", || format!("the clock is set: {} s ahead", ahead / 1000));
    }
}
