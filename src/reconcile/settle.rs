//! Writes what was decided and needs no delivery, in one transaction.

use tracing::warn;

use super::{Decision, Item, Pass, Plan, Report, Waits};
use crate::{
    clock::Clock,
    delivery::Deliver,
    domain::{CommissionId, DeliveryKey, Timestamp},
    firstpromoter::Api,
    ledger::{Change, Drift, LedgerError, Reward, RewardState, Seen},
};

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Writes the decisions about these that need no delivery, in one transaction; what is to be delivered is owed in the ledger
    /// then.
    pub(super) fn settle(&self, plan: &mut Plan, ids: &[CommissionId], report: &mut Report) -> Result<(), LedgerError> {
        let fresh = std::mem::take(&mut plan.fresh_rules);
        if !fresh.is_empty() {
            self.ledger.remember_reward_rules(&fresh, plan.now)?;
        }
        let items: Vec<(CommissionId, &Item)> = ids
            .iter()
            .filter_map(|id| plan.items.get(id).map(|item| (*id, item)))
            .filter(|(_, it)| writes(it))
            .collect();
        if items.is_empty() {
            return Ok(());
        }
        let mut settled = Vec::new();
        // Written with the time of writing, which comes after what others wrote meanwhile.
        self.ledger.change(report.author(self.clock.now()), |change| {
            change.found_at(plan.now);
            for (id, item) in items {
                match self.settle_one(change, id, item, plan.now) {
                    Ok(()) => settled.push(id),
                    Err(error @ LedgerError::Moved { .. }) => {
                        warn!(commission.id = id.0, "left for the next pass: {error}");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
        for id in settled {
            if let Some(item) = plan.items.get(&id) {
                report.settled(id, item);
            }
        }
        Ok(())
    }

    fn settle_one(
        &self,
        change: &Change<'_>,
        id: CommissionId,
        item: &Item,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let Some(reward) = &item.reward else {
            let key = DeliveryKey::new(&self.settings.firstpromoter.account_id, id);
            return match &item.decision {
                Decision::Wait(until, _) => change.insert(id, &key, &item.facts, &Seen::Waiting(*until)),
                Decision::Deliver(_) => change.insert(id, &key, &item.facts, &Seen::Waiting(now)),
                Decision::Hold(reason, detail) => {
                    change.insert(id, &key, &item.facts, &Seen::Held(*reason, detail.clone()))
                }
                Decision::Nothing(_)
                | Decision::Resume(_)
                | Decision::Mark
                | Decision::CannotMark(_)
                | Decision::Adopt
                | Decision::Cancel(_)
                | Decision::Drift
                | Decision::DriftOver => Ok(()),
            };
        };
        if refreshes(item, reward) {
            change.record_facts(reward, &item.facts)?;
        }
        match &item.decision {
            Decision::Wait(until, waits) if moves_wait(reward, *until, *waits) => {
                change.wait(reward, *until, waits.as_str())
            }
            Decision::Deliver(_) if reward.state != RewardState::Waiting => {
                change.wait(reward, now, "owed: nothing stands against delivery any more")
            }
            Decision::Hold(reason, detail) if reward.hold_reason != Some(*reason) => {
                change.hold(reward, *reason, detail)
            }
            Decision::CannotMark(why) => change.mark_failed(reward, why, None),
            Decision::Adopt => change.fulfil(reward, "FirstPromoter says fulfilled"),
            Decision::Cancel(why) => change.cancel(reward, why),
            Decision::Drift if reward.state == RewardState::Reversed => {
                change.set_drift(reward, Some(Drift::FulfilledAfterReversal))
            }
            Decision::Drift => change.set_drift(reward, Some(Drift::UnfulfilledUpstream)),
            Decision::DriftOver => change.set_drift(reward, None),
            Decision::Wait(..)
            | Decision::Deliver(_)
            | Decision::Hold(..)
            | Decision::Nothing(_)
            | Decision::Resume(_)
            | Decision::Mark => Ok(()),
        }
    }
}

/// Whether carrying out this item's decision writes to the ledger, besides a delivery and a mark.
fn writes(item: &Item) -> bool {
    let Some(reward) = &item.reward else {
        return matches!(item.decision, Decision::Wait(..) | Decision::Deliver(_) | Decision::Hold(..));
    };
    if refreshes(item, reward) {
        return true;
    }
    match &item.decision {
        Decision::Wait(until, waits) => moves_wait(reward, *until, *waits),
        Decision::Deliver(_) => reward.state != RewardState::Waiting,
        Decision::Hold(reason, _) => reward.hold_reason != Some(*reason),
        Decision::CannotMark(_) | Decision::Adopt | Decision::Cancel(_) | Decision::Drift | Decision::DriftOver => true,
        Decision::Nothing(_) | Decision::Resume(_) | Decision::Mark => false,
    }
}

/// What FirstPromoter says now replaces what was recorded, unless an attempt with that content may have taken effect.
fn refreshes(item: &Item, reward: &Reward) -> bool {
    let untouched = match reward.state {
        RewardState::Waiting | RewardState::Held | RewardState::Cancelled => !reward.uncertain,
        RewardState::Delivering
        | RewardState::Delivered
        | RewardState::Fulfilled
        | RewardState::Reversed
        | RewardState::Dismissed => false,
    };
    // A handler may have recorded it before any pass had seen it.
    let never_seen = reward.facts.unit.is_none();
    item.listed && (untouched || never_seen) && reward.facts != item.facts
}

fn moves_wait(reward: &Reward, until: Timestamp, waits: Waits) -> bool {
    match reward.state {
        RewardState::Waiting => {
            // A wait that is shorter than what is recorded was recorded by a clock that was ahead.
            let moved = matches!(waits, Waits::Grace | Waits::Target) && reward.next_attempt_at != Some(until);
            moved || reward.next_attempt_at.is_some_and(|recorded| recorded > until)
        }
        RewardState::Held | RewardState::Cancelled => true,
        RewardState::Delivering
        | RewardState::Delivered
        | RewardState::Fulfilled
        | RewardState::Reversed
        | RewardState::Dismissed => false,
    }
}
