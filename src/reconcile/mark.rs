//! Marks delivered rewards as fulfilled, and believes only what reads back.

use futures_util::FutureExt;
use tracing::warn;

use super::{Pass, PassError, Plan, Progress, Report};
use crate::{
    clock::Clock,
    delivery::Deliver,
    domain::{CommissionId, Timestamp},
    failure::backoff,
    firstpromoter::{Api, Truth, marking},
    ledger::{LedgerError, Marking, Reward, State, Transition},
    plan::{MARK_ATTEMPTS_BEFORE_ATTENTION, Step},
};

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Marks all delivered rewards, and believes only what reads back.
    pub(super) async fn mark(
        &self,
        plan: &Plan,
        truth: &Truth<'_, A, C>,
        delivered: Vec<CommissionId>,
        report: &mut Report,
    ) -> Result<(), PassError> {
        let to_mark = plan.items.iter().filter(|(_, item)| item.step == Step::Mark).map(|(id, _)| *id);
        let ids: Vec<CommissionId> = to_mark.chain(delivered).collect();
        if ids.is_empty() {
            return Ok(());
        }
        if self.stop.is_cancelled() {
            return Err(PassError::Stopped);
        }
        (self.progress)(Progress::Marking(ids.len() as u64));
        let rewards = self.ledger.rewards(&ids)?;
        let failures = |id: &CommissionId| rewards.get(id).and_then(marking_of).map_or(0, |marking| marking.failures);
        let (never_failed, mut failed_before): (Vec<_>, Vec<_>) = ids.iter().copied().partition(|id| failures(id) == 0);
        // Suppose more of them make FirstPromoter refuse a call than it may refuse in a pass. Those that failed least go first.
        failed_before.sort_by_key(failures);
        // A signal to stop does not wait for this: the next pass sees what was done, and marks the rest.
        let marking = marking::mark(self.api, self.clock, &never_failed, &failed_before);
        let marking = self.unless_stopped(marking.map(Ok::<_, PassError>)).await?;
        let ids: Vec<CommissionId> = marking.asked.iter().copied().collect();
        // Reads back even after a failure: earlier calls may have had their effect.
        let (confirmed, trouble) = self.unless_stopped(truth.read_back(&ids).map(Ok::<_, PassError>)).await?;
        let failure = marking.failure.map(PassError::from).or(trouble.map(PassError::from));
        let rewards = self.ledger.rewards(&ids)?;
        let general = failure.as_ref().map_or_else(
            || "mark_fulfilled was answered as done, and the commission still reads back as unfulfilled".to_owned(),
            |error| super::in_full(error),
        );
        let author = report.author(self.clock.now());
        self.ledger.change(author, |change| {
            for reward in ids.iter().filter_map(|id| rewards.get(id)) {
                let Some(before) = marking_of(reward) else { continue };
                let transition = if confirmed.contains(&reward.id) {
                    Transition::Fulfil { why: "marked, and FirstPromoter, read back, says fulfilled" }
                } else {
                    let why = marking.complaints.get(&reward.id).unwrap_or(&general).clone();
                    Transition::NotMarked { why, next: self.next_mark(before, author.now) }
                };
                match change.apply(reward, &transition) {
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

    /// From the third failure on, not in every pass.
    fn next_mark(&self, before: &Marking, now: Timestamp) -> Option<Timestamp> {
        let failures = before.failures + 1;
        let beyond = failures.checked_sub(MARK_ATTEMPTS_BEFORE_ATTENTION)?;
        Some(now + backoff(&self.settings.policy.retry, beyond + 1, None))
    }
}

/// The results of marking it so far, while it is delivered and not confirmed.
fn marking_of(reward: &Reward) -> Option<&Marking> {
    match &reward.state {
        State::Delivered { marking, .. } => Some(marking),
        State::Waiting { .. }
        | State::Delivering
        | State::Held { .. }
        | State::Fulfilled { .. }
        | State::Cancelled
        | State::Reversed { .. }
        | State::Dismissed => None,
    }
}
