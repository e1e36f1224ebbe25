//! What others may not hold up: a stage in which the world is fair, but for rewards that can never be delivered or
//! marked, and passes come every hour. At its end every reward that nothing stands against has been delivered, and every
//! delivered one that can be marked is.

use std::rc::Rc;

use super::{
    auditor::{Rule, Violation},
    fault::Fault,
    owed,
    timeline::HOUR,
    world::World,
};

/// Longer than any Retry-After and grace period, and than any backoff after it.
const PASSES: usize = 60;

impl World {
    /// Passes every hour, where there is anything that could hold up others.
    pub fn steady_passes(self: &Rc<Self>) -> Vec<Violation> {
        if !self.is_poisoned() && !self.clock.was_wrong() && !self.weather.was_enabled(Fault::Unmarkable) {
            return Vec::new();
        }
        for _ in 0..PASSES {
            self.idle(HOUR);
            self.one_pass(0);
            self.put_canaries_right();
        }
        let late = self.not_delivered().into_iter().map(|words| Violation { rule: Rule::HealthyIsDelivered, words });
        let unmarked = self.not_marked().into_iter().map(|words| Violation { rule: Rule::MarkedInTime, words });
        late.chain(unmarked).collect()
    }

    pub fn is_poisoned(&self) -> bool {
        self.firstpromoter.borrow().commissions.values().any(|it| it.poison.is_some())
    }

    /// Owed, nothing stands against it, nobody is asked about it, and still not delivered.
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

    /// Delivered, and FirstPromoter would mark it.
    pub fn not_marked(&self) -> Vec<String> {
        let rewards = self.witness.rewards().into_values();
        let odd = |id| self.firstpromoter.borrow().get(id).is_some_and(|it| it.now().odd_word);
        let unmarked = rewards.filter(|it| it.state == "delivered" && self.can_be_marked(it.id) && !odd(it.id));
        unmarked.map(|it| format!("{it:?}")).collect()
    }
}
