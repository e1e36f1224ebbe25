//! A stage to check that nothing delays others. The world has no faults except rewards that can never be delivered or marked,
//! and there is a pass every hour. Within a number of passes every reward without an obstacle has been delivered, and every
//! delivered one that can be marked is marked.

use std::rc::Rc;

use makegood::reconcile::{Order, Trigger};

use super::{
    auditor::{Rule, Violation},
    fault::Fault,
    owed,
    process::Life,
    timeline::HOUR,
    world::World,
};

/// How many passes each process makes: 60 in all, which is longer than any Retry-After, grace period and backoff. A process
/// costs more time than its passes.
const PASSES: [usize; 5] = [1, 3, 8, 16, 32];

impl World {
    /// Runs a pass every hour, in a world with rewards that could hold up others.
    pub fn steady_passes(self: &Rc<Self>) -> Vec<Violation> {
        if !self.is_poisoned() && !self.clock.was_wrong() && !self.weather.was_enabled(Fault::Unmarkable) {
            return Vec::new();
        }
        for passes in PASSES {
            let hourly = (0..passes).map(|_| (HOUR, Order::poll(Trigger::Schedule))).collect();
            self.run_processes(vec![Life::of(hourly)]);
            self.put_canaries_right();
            if self.not_delivered().is_empty() && self.not_marked().is_empty() {
                return Vec::new();
            }
        }
        let late = self.not_delivered().into_iter().map(|words| Violation { rule: Rule::HealthyIsDelivered, words });
        let unmarked = self.not_marked().into_iter().map(|words| Violation { rule: Rule::MarkedInTime, words });
        late.chain(unmarked).collect()
    }

    pub fn is_poisoned(&self) -> bool {
        self.firstpromoter.borrow().commissions.values().any(|it| it.poison.is_some())
    }

    /// The rewards that are owed, have no obstacle and wait for no person, and are still not delivered.
    fn not_delivered(&self) -> Vec<String> {
        let rewards = self.witness.rewards();
        let terms = self.terms.borrow();
        let firstpromoter = self.firstpromoter.borrow();
        let healthy = firstpromoter
            .commissions
            .values()
            .filter(|it| it.poison.is_none() && owed::deliverable(it, it.now(), &terms, owed::Rules::Shown).is_some());
        let waits = |id: &i64| rewards.get(id).is_none_or(|it| matches!(it.state.as_str(), "waiting" | "delivering"));
        let waiting = healthy.filter(|it| waits(&it.id));
        waiting.map(|it| format!("{:?} in the ledger: {:?}", it.now(), rewards.get(&it.id))).collect()
    }

    /// The delivered rewards that FirstPromoter would mark.
    pub fn not_marked(&self) -> Vec<String> {
        let rewards = self.witness.rewards().into_values();
        let odd = |id| self.firstpromoter.borrow().get(id).is_some_and(|it| it.now().odd_word);
        let unmarked = rewards.filter(|it| it.state == "delivered" && self.can_be_marked(it.id) && !odd(it.id));
        unmarked.map(|it| format!("{it:?}")).collect()
    }
}
