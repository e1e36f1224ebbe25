//! Has marked as fulfilled what was delivered, and believes only what reads back.

use std::collections::{BTreeMap, HashSet};

use tracing::warn;

use super::{Decision, Pass, PassError, Plan, Progress, Report, plan::MARK_ATTEMPTS_BEFORE_ATTENTION};
use crate::{
    clock::Clock,
    delivery::Deliver,
    domain::{CommissionId, Timestamp},
    failure::backoff,
    firstpromoter::{Api, listing, marking},
    ledger::{LedgerError, Reward, RewardState},
};

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Has everything delivered marked, and believes only what reads back.
    pub(super) async fn mark(
        &self,
        plan: &Plan,
        delivered: Vec<CommissionId>,
        report: &mut Report,
    ) -> Result<(), PassError> {
        let to_mark = plan.items.iter().filter(|(_, item)| item.decision == Decision::Mark).map(|(id, _)| *id);
        let ids: Vec<CommissionId> = to_mark.chain(delivered).collect();
        if ids.is_empty() {
            return Ok(());
        }
        if self.stop.is_cancelled() {
            return Err(PassError::Stopped);
        }
        (self.progress)(Progress::Marking(ids.len() as u64));
        // A stop waits for none of this: the next pass sees what was done, and has the rest marked.
        let (complaints, failure) = match self.unless_stopped(marking::mark(self.api, self.clock, &ids)).await {
            Ok(marking) => (marking.complaints, None),
            Err(PassError::Stopped) => return Err(PassError::Stopped),
            Err(error) => (BTreeMap::new(), Some(error)),
        };
        // Also after a failure: what was asked before it may have been done.
        let (confirmed, trouble) = self.read_back(&ids).await;
        if matches!(trouble, Some(PassError::Stopped)) {
            return Err(PassError::Stopped);
        }
        let failure = failure.or(trouble);
        let rewards = self.ledger.rewards(&ids)?;
        let general = failure.as_ref().map_or_else(
            || "mark_fulfilled was answered as done, and the commission still reads back as unfulfilled".to_owned(),
            |error| super::in_full(error),
        );
        let author = report.author(self.clock.now());
        self.ledger.change(author, |change| {
            for reward in
                ids.iter().filter_map(|id| rewards.get(id)).filter(|reward| reward.state == RewardState::Delivered)
            {
                let written = if confirmed.contains(&reward.id) {
                    change.fulfil(reward, "marked, and FirstPromoter, read back, says fulfilled")
                } else {
                    let words = complaints.get(&reward.id).unwrap_or(&general);
                    change.mark_failed(reward, words, self.next_mark(reward, author.now))
                };
                match written {
                    Err(error @ LedgerError::Moved { .. }) => {
                        warn!(commission.id = reward.id.0, "left for the next pass: {error}");
                    }
                    other => other?,
                }
            }
            Ok(())
        })?;
        for id in ids {
            report.marked(id, confirmed.contains(&id));
        }
        failure.map_or(Ok(()), Err)
    }

    /// What FirstPromoter calls fulfilled of these, and why that may not be all. A server that caps its pages cuts the
    /// answer: the rest is asked for while there is progress.
    async fn read_back(&self, ids: &[CommissionId]) -> (HashSet<CommissionId>, Option<PassError>) {
        let mut confirmed = HashSet::new();
        let (mut rest, mut before) = (ids.to_vec(), usize::MAX);
        while !rest.is_empty() && rest.len() < before {
            match self.unless_stopped(listing::by_ids(self.api, &rest, Some(true))).await {
                Ok(rows) => confirmed.extend(rows.iter().map(|row| row.id)),
                Err(error) => return (confirmed, Some(error)),
            }
            before = rest.len();
            rest.retain(|id| !confirmed.contains(id));
        }
        (confirmed, None)
    }

    /// From the third failure on, not in every pass.
    fn next_mark(&self, reward: &Reward, now: Timestamp) -> Option<Timestamp> {
        let failures = reward.mark_attempts + 1;
        let beyond = failures.checked_sub(MARK_ATTEMPTS_BEFORE_ATTENTION)?;
        Some(now + backoff(&self.settings.policy.retry, beyond + 1, None))
    }
}
