//! A person takes a reward back, perhaps while a batch that marks it is still under way.

use std::rc::Rc;

use super::{
    evidence::Word,
    fault::Fault,
    process::Life,
    timeline::{HOUR, Whose},
    world::World,
};

impl World {
    pub fn a_person_takes_back(self: &Rc<Self>) {
        if !self.weather.threatens(Fault::Reversed, &self.later) {
            return;
        }
        let rewards = self.witness.rewards().into_values();
        let delivered = rewards.filter(|it| matches!(it.state.as_str(), "delivered" | "fulfilled"));
        let ids: Vec<i64> = delivered.map(|it| it.id).collect();
        if ids.is_empty() {
            return;
        }
        let id = *self.later.pick(&ids);
        self.run_processes(vec![Life { reverses: Some(id), ..Life::of(Vec::new()) }]);
    }

    /// A pass that runs in time to see the result.
    pub fn look_at_what_was_taken_back(self: &Rc<Self>) {
        if !self.evidence.borrow().reversed.is_empty() {
            self.idle(HOUR);
            self.one_pass(0);
        }
    }

    pub fn note_reversed(&self, commission: i64) {
        self.meet(Fault::Reversed);
        self.say("operator", || format!("{commission} is taken back"));
        let word = Word { at: self.now(), commission };
        self.evidence.borrow_mut().reversed.push(word);
        // A batch at FirstPromoter that was requested before, and was delayed.
        if self.weather.threatens(Fault::Overtaken, &self.later) {
            let late = self.later.skewed(12 * HOUR);
            self.time.after(late, Whose::Network, move |world| world.mark_late(commission));
        }
    }
}
