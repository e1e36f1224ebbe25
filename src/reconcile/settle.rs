//! Writes the transitions of a plan in one transaction. No other part of a pass writes them.

use tracing::warn;

use super::{Pass, Plan, Report};
use crate::{
    clock::Clock,
    delivery::Deliver,
    domain::{CommissionId, DeliveryKey},
    firstpromoter::Api,
    ledger::{Change, LedgerError},
    plan::Item,
};

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Writes the transitions of these in one transaction. A reward that is to be delivered is then in the ledger as waiting,
    /// and due.
    pub(super) fn settle(&self, plan: &mut Plan, ids: &[CommissionId], report: &mut Report) -> Result<(), LedgerError> {
        let fresh = std::mem::take(&mut plan.fresh_rules);
        if !fresh.is_empty() {
            self.ledger.remember_reward_rules(&fresh, plan.now)?;
        }
        let items: Vec<(CommissionId, &Item)> = ids
            .iter()
            .filter_map(|id| plan.items.get(id).map(|item| (*id, item)))
            .filter(|(_, item)| item.step.transition().is_some() || item.refreshes())
            .collect();
        if items.is_empty() {
            return Ok(());
        }
        let mut settled = Vec::new();
        // With the time of writing, which is later than what others wrote in the meantime.
        self.ledger.change(report.author(self.clock.now()), |change| {
            change.is_found_at(plan.now);
            for (id, item) in items {
                match self.settle_one(change, id, item) {
                    Ok(()) => settled.push((id, item)),
                    Err(error @ LedgerError::Moved { .. }) => {
                        warn!(commission.id = id.0, "left for the next pass: {error}");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
        for (id, item) in settled {
            report.settled(id, item);
        }
        Ok(())
    }

    fn settle_one(&self, change: &Change<'_>, id: CommissionId, item: &Item) -> Result<(), LedgerError> {
        let transition = item.step.transition();
        let Some(reward) = &item.reward else {
            let key = DeliveryKey::new(&self.settings.firstpromoter.account_id, id);
            return transition.map_or(Ok(()), |transition| change.enter(id, &key, &item.facts, transition));
        };
        if item.refreshes() {
            change.record_facts(reward, &item.facts)?;
        }
        transition.map_or(Ok(()), |transition| change.apply(reward, transition))
    }
}
