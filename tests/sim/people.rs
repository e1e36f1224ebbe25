//! People at FirstPromoter, who decide late and change their minds, and operators, who resolve what is held.

use std::rc::Rc;

use makegood::domain::timestamp_text;

use super::{
    commission::{Status, UNITS, Version, amount},
    fault::Fault,
    witness::Reward,
    world::World,
};

/// An act of a person at FirstPromoter, and when it makes sense.
struct Act {
    fault: Fault,
    makes_sense: fn(&Version) -> bool,
    change: fn(&World, &mut Version),
}

const ACTS: &[Act] = &[
    Act {
        fault: Fault::Approved,
        makes_sense: |it| it.status != Status::Approved,
        change: |_, it| it.status = Status::Approved,
    },
    Act {
        fault: Fault::Denied,
        makes_sense: |it| it.status != Status::Denied,
        change: |_, it| it.status = Status::Denied,
    },
    Act { fault: Fault::AmountChanges, makes_sense: |_| true, change: |world, it| it.amount = amount(&world.rng) },
    Act {
        fault: Fault::UnitChanges,
        makes_sense: |it| it.unit != "cash",
        change: |world, it| it.unit = *world.rng.pick(&UNITS[..]),
    },
    Act {
        fault: Fault::RecipientChanges,
        makes_sense: |_| true,
        change: |world, it| match world.rng.below(4) {
            0 => it.rule = (it.rule != Some(7)).then_some(7),
            1 => it.rule = Some(8),
            2 => it.promoter = Some(world.rng.between(11, 15)),
            _ => it.referral = Some(world.rng.between(51, 55)),
        },
    },
    Act {
        fault: Fault::FraudChanges,
        makes_sense: |_| true,
        change: |_, it| it.fraud = if it.fraud.is_some() { None } else { Some("ad_source") },
    },
    Act { fault: Fault::Unfulfilled, makes_sense: |it| it.fulfilled, change: |_, it| it.fulfilled = false },
    Act {
        fault: Fault::FulfilledByHand,
        makes_sense: |it| !it.fulfilled && it.status == Status::Approved,
        change: |_, it| it.fulfilled = true,
    },
    Act { fault: Fault::Deleted, makes_sense: |_| true, change: |_, it| it.there = false },
    Act {
        fault: Fault::CashInstead,
        makes_sense: |it| it.unit != "cash" && !it.fulfilled,
        change: |_, it| it.unit = "cash",
    },
];

impl World {
    /// A person acts, at FirstPromoter or at the ledger.
    pub fn people_act(self: &Rc<Self>) {
        if self.rng.chance(250) {
            return self.operator_acts();
        }
        let act = self.rng.pick(ACTS);
        let ids: Vec<i64> = {
            let firstpromoter = self.firstpromoter.borrow();
            let fitting = firstpromoter.commissions.values().filter(|it| it.now().there && (act.makes_sense)(it.now()));
            fitting.map(|it| it.id).collect()
        };
        // Rare, because it is final: otherwise no commissions would be left.
        let final_one = matches!(act.fault, Fault::Deleted | Fault::CashInstead);
        if ids.is_empty() || !self.weather.enables(act.fault) || (final_one && !self.rng.chance(300)) {
            return;
        }
        let id = *self.rng.pick(&ids);
        self.meet(act.fault);
        self.say("", || format!("{}: {id}", act.fault.words()));
        self.change(id, |version| (act.change)(self, version));
        if act.fault == Fault::Approved {
            self.send_webhook(id);
        }
    }

    /// An operator looks at a held reward and at the target, and waits until nothing can be under way any more.
    fn operator_acts(&self) {
        let held: Vec<Reward> = self.witness.rewards().into_values().filter(|it| it.state == "held").collect();
        if held.is_empty() {
            return;
        }
        let reward = self.rng.pick(&held);
        let policy = !matches!(
            reward.hold_reason.as_deref(),
            Some("refused_by_target" | "outcome_unknown" | "gave_up" | "changed")
        );
        if policy || self.merchant.borrow().awaits(reward.id) {
            return;
        }
        let has_it = self.evidence.borrow().effects.iter().any(|effect| effect.key == reward.key);
        let (fault, to) = match (has_it, self.rng.below(4)) {
            (true, 0..3) => (Fault::OperatorDelivered, "delivered"),
            (false, 0..3) => (Fault::OperatorRetries, "waiting"),
            _ => (Fault::OperatorDismisses, "dismissed"),
        };
        if self.weather.enables(fault) {
            self.resolve(reward, fault, to);
        }
    }

    fn resolve(&self, reward: &Reward, fault: Fault, to: &str) {
        let now = timestamp_text(self.local());
        self.say("operator", || format!("{}: {to}", reward.id));
        self.meet(fault);
        self.let_go_of_the_lock();
        self.witness.transaction(|tx| {
            tx.prepare_cached(
                "UPDATE rewards SET state = ?2, state_since = ?3, hold_reason = NULL, last_error = NULL, failures = 0, \
                 first_attempt_at = NULL, next_attempt_at = iif(?2 = 'waiting', ?3, NULL), wait_reason = iif(?2 = 'waiting', 'due', NULL), \
                 uncertain = iif(?2 = 'dismissed', uncertain, 0), delivered_at = iif(?2 = 'delivered', ?3, NULL), \
                 delivered_by = iif(?2 = 'delivered', 'operator', NULL) WHERE commission_id = ?1 AND state = 'held'",
            )?
            .execute((reward.id, to, &now))?;
            tx.prepare_cached(
                "INSERT INTO journal (commission_id, at, from_state, to_state, reason, actor) \
                 VALUES (?1, ?2, 'held', ?3, 'an operator looked', 'operator')",
            )?
            .execute((reward.id, &now, to))
        });
        match to {
            "delivered" => self.note_word(reward.id),
            _ => self.note_cleared(reward.id),
        }
    }
}
