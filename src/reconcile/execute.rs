//! Carries a plan out: writes what was decided, delivers, has it marked, reads back.

use std::{cell::RefCell, time::Duration};

use futures_util::{StreamExt, future, stream};
use tracing::{Instrument, info_span, warn};

use super::{
    Decision, Item, Pass, PassError, Plan, Progress, Report, Waits,
    plan::{self, MARK_ATTEMPTS_BEFORE_ATTENTION},
};
use crate::{
    clock::Clock,
    config::{TargetKind, TargetSettings},
    delivery::Deliver,
    domain::{CommissionId, Timestamp},
    failure::{Outcome, backoff, given_up},
    firstpromoter::{Api, listing, marking},
    ledger::{Aftermath, Begun, Change, HoldReason, LedgerError, Reward, RewardState, Seen},
};

/// A confirmation older than this is asked for again before the next delivery starts.
const CONFIRMATION_VALID: Duration = Duration::from_mins(1);
/// How much longer than the target's timeout a claim of ours lives.
const CLAIM_MARGIN: Duration = Duration::from_mins(1);

/// A reward that may be delivered now.
#[derive(Debug, Clone)]
struct Ready {
    reward: Reward,
    target: String,
}

/// What a round of deliveries has come to, shared by the deliveries under way.
struct Round<'a> {
    report: RefCell<&'a mut Report>,
    delivered: RefCell<Vec<CommissionId>>,
    /// Not started, because the confirmation was too old by then.
    late: RefCell<Vec<Ready>>,
    /// The first failure of the ledger: nothing new starts after it.
    failure: RefCell<Option<LedgerError>>,
    confirmed_at: Timestamp,
    total: u64,
}

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Writes all decisions that need no delivery, in one transaction; what is to be delivered is owed in the ledger then.
    pub(super) fn settle(&self, plan: &mut Plan, report: &mut Report) -> Result<(), PassError> {
        let fresh = std::mem::take(&mut plan.fresh_rules);
        if !fresh.is_empty() {
            self.ledger.remember_reward_rules(&fresh, self.clock.now())?;
        }
        if !plan.items.values().any(writes) {
            return Ok(());
        }
        let mut settled = Vec::new();
        self.ledger.change(self.author(report), |change| {
            for (id, item) in plan.items.iter().filter(|(_, item)| writes(item)) {
                match self.settle_one(change, *id, item) {
                    Ok(()) => settled.push(*id),
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

    fn settle_one(&self, change: &Change<'_>, id: CommissionId, item: &Item) -> Result<(), LedgerError> {
        let Some(reward) = &item.reward else {
            let key = crate::domain::DeliveryKey::new(&self.settings.firstpromoter.account_id, id);
            return match &item.decision {
                Decision::Wait(until, _) => change.insert(id, &key, &item.facts, &Seen::Waiting(*until)),
                Decision::Deliver(_) => change.insert(id, &key, &item.facts, &Seen::Waiting(self.clock.now())),
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
                change.wait(reward, self.clock.now(), "owed: nothing stands against delivery any more")
            }
            Decision::Hold(reason, detail) if reward.hold_reason != Some(*reason) => {
                change.hold(reward, *reason, detail)
            }
            Decision::CannotMark(why) => change.mark_failed(reward, why, None),
            Decision::Adopt => change.fulfil(reward, "FirstPromoter says fulfilled"),
            Decision::Cancel(why) => change.cancel(reward, why),
            Decision::Drift => change.set_drift(reward, true),
            Decision::DriftOver => change.set_drift(reward, false),
            Decision::Wait(..)
            | Decision::Deliver(_)
            | Decision::Hold(..)
            | Decision::Nothing(_)
            | Decision::Resume(_)
            | Decision::Mark => Ok(()),
        }
    }

    /// Delivers what the plan says, a few at a time per target; returns what was delivered.
    pub(super) async fn deliver(&self, plan: &Plan, report: &mut Report) -> Result<Vec<CommissionId>, PassError> {
        let mut ready = self.ready(plan)?;
        let mut round = Round {
            total: ready.len() as u64,
            report: RefCell::new(report),
            delivered: RefCell::default(),
            late: RefCell::default(),
            failure: RefCell::default(),
            confirmed_at: self.clock.now(),
        };
        loop {
            let mut by_target = std::collections::BTreeMap::<String, Vec<Ready>>::new();
            for it in ready {
                by_target.entry(it.target.clone()).or_default().push(it);
            }
            let targets = by_target.into_iter().map(|(target, queue)| self.deliver_at(target, queue, &round));
            future::join_all(targets).await;
            if let Some(error) = round.failure.take() {
                return Err(error.into());
            }
            ready = round.late.take();
            if self.stop.is_cancelled() {
                return Err(PassError::Stopped);
            }
            if ready.is_empty() {
                return Ok(round.delivered.take());
            }
            ready = self.confirm_again(ready, plan).await?;
            round.confirmed_at = self.clock.now();
        }
    }

    /// The rows as the ledger has them now; content comes from there, so that every attempt says the same.
    fn ready(&self, plan: &Plan) -> Result<Vec<Ready>, LedgerError> {
        let wanted: Vec<(CommissionId, &String)> = plan
            .items
            .iter()
            .filter_map(|(id, item)| match &item.decision {
                Decision::Deliver(target) | Decision::Resume(target) => Some((*id, target)),
                Decision::Nothing(_)
                | Decision::Wait(..)
                | Decision::Mark
                | Decision::CannotMark(_)
                | Decision::Adopt
                | Decision::Hold(..)
                | Decision::Cancel(_)
                | Decision::Drift
                | Decision::DriftOver => None,
            })
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<CommissionId> = wanted.iter().map(|(id, _)| *id).collect();
        let mut rewards = self.ledger.rewards(&ids)?;
        let expected = |state| matches!(state, RewardState::Waiting | RewardState::Delivering);
        Ok(wanted
            .into_iter()
            .filter_map(|(id, target)| rewards.remove(&id).map(|reward| Ready { reward, target: target.clone() }))
            .filter(|it| expected(it.reward.state))
            .collect())
    }

    async fn deliver_at(&self, target: String, queue: Vec<Ready>, round: &Round<'_>) {
        let concurrency = self.settings.targets.get(&target).map_or(1, concurrency);
        stream::iter(queue)
            .for_each_concurrent(concurrency, |it| async move {
                let halted = self.stop.is_cancelled() || round.failure.borrow().is_some();
                let age = (self.clock.now() - round.confirmed_at).to_std().unwrap_or(Duration::MAX);
                if halted {
                    return;
                }
                if age > CONFIRMATION_VALID {
                    round.late.borrow_mut().push(it);
                    return;
                }
                let span = info_span!("commission", commission.id = it.reward.id.0, attempt = it.reward.attempts + 1);
                if let Err(error) = self.deliver_one(&it, round).instrument(span).await {
                    round.failure.borrow_mut().get_or_insert(error);
                }
            })
            .await;
    }

    /// Intent on disk, request, outcome on disk.
    async fn deliver_one(&self, it: &Ready, round: &Round<'_>) -> Result<(), LedgerError> {
        let Ready { reward, target } = it;
        let Some(delivery) = reward.facts.delivery(reward.id, reward.key.clone()) else {
            warn!(
                commission.id = reward.id.0,
                "left for the next pass: the ledger lost its unit, amount or recipient meanwhile"
            );
            return Ok(());
        };
        let timeout = self.settings.targets.get(target).map_or(Duration::ZERO, |target| target.timeout);
        let claim_until = self.clock.now() + timeout + CLAIM_MARGIN;
        let author = self.author(&round.report.borrow());
        let attempt = match self.ledger.change(author, |change| change.begin(reward, target, claim_until))? {
            Begun::Attempt(attempt) => attempt,
            Begun::Taken => {
                tracing::info!(
                    commission.id = reward.id.0,
                    "commission {}: somebody else took it; left alone",
                    reward.id
                );
                return Ok(());
            }
        };
        round.report.borrow_mut().moved(reward.id);
        let outcome = self.targets.deliver(target, &delivery).await;
        let author = self.author(&round.report.borrow());
        let after = self.aftermath(reward, target, &outcome, author.now);
        let finished =
            self.ledger.change(author, |change| match change.finish(reward.id, attempt, &outcome, &after) {
                // The attempt's row is still worth having: somebody recorded or resolved the reward during the attempt.
                Err(error @ LedgerError::Moved { .. }) => {
                    warn!(commission.id = reward.id.0, "outcome {} kept as an attempt only: {error}", outcome.as_str());
                    Ok(false)
                }
                result => result.map(|()| true),
            })?;
        let mut report = round.report.borrow_mut();
        if finished && after == Aftermath::Delivered {
            round.delivered.borrow_mut().push(reward.id);
        }
        report.attempted(&after);
        (self.progress)(Progress::Delivering(report.attempts, round.total));
        Ok(())
    }

    fn aftermath(&self, reward: &Reward, target: &str, outcome: &Outcome, now: Timestamp) -> Aftermath {
        let retry = &self.settings.policy.retry;
        let again = |retry_after: Option<Duration>| {
            if given_up(retry, reward.first_attempt_at.unwrap_or(now), now) {
                return Aftermath::Hold(HoldReason::GaveUp);
            }
            Aftermath::Retry(now + backoff(retry, reward.failures + 1, retry_after))
        };
        let idempotent = self.settings.targets.get(target).is_some_and(|target| target.idempotent);
        match outcome {
            Outcome::Delivered { .. } => Aftermath::Delivered,
            Outcome::NotDelivered { retry_after, .. } => again(*retry_after),
            Outcome::Unknown { retry_after, .. } if idempotent => again(*retry_after),
            Outcome::Unknown { .. } => Aftermath::Hold(HoldReason::OutcomeUnknown),
            Outcome::Refused { .. } => Aftermath::Hold(HoldReason::RefusedByTarget),
        }
    }

    /// Keeps what is still unfulfilled and unchanged; the rest is left for the next pass.
    async fn confirm_again(&self, ready: Vec<Ready>, plan: &Plan) -> Result<Vec<Ready>, PassError> {
        let ids: Vec<CommissionId> = ready.iter().map(|it| it.reward.id).collect();
        let answers = self.ask_both_ways(&ids, plan).await?;
        let unchanged = |it: &Ready| {
            answers.unfulfilled.get(&it.reward.id).is_some_and(|commission| {
                let facts = plan::facts(commission, &self.settings.policy, &plan.rules);
                commission.approved_now() && it.reward.facts.difference(&facts).is_none()
            })
        };
        Ok(ready.into_iter().filter(unchanged).collect())
    }

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
            Err(error) => (std::collections::BTreeMap::new(), Some(error)),
        };
        // Also after a failure: what was asked before it may have been done.
        let (confirmed, failure) =
            match (self.unless_stopped(listing::by_ids(self.api, &ids, Some(true))).await, failure) {
                (Ok(rows), failure) => (rows, failure),
                (Err(PassError::Stopped), _) => return Err(PassError::Stopped),
                (Err(error), None) | (Err(_), Some(error)) => (Vec::new(), Some(error)),
            };
        let confirmed: std::collections::HashSet<CommissionId> = confirmed.iter().map(|row| row.id).collect();
        let rewards = self.ledger.rewards(&ids)?;
        let general = failure.as_ref().map_or_else(
            || "mark_fulfilled was answered as done, and the commission still reads back as unfulfilled".to_owned(),
            |error| super::in_full(error),
        );
        let author = self.author(report);
        self.ledger.change(author, |change| {
            for reward in
                ids.iter().filter_map(|id| rewards.get(id)).filter(|reward| reward.state == RewardState::Delivered)
            {
                if confirmed.contains(&reward.id) {
                    change.fulfil(reward, "marked, and FirstPromoter, read back, says fulfilled")?;
                } else {
                    let words = complaints.get(&reward.id).unwrap_or(&general);
                    change.mark_failed(reward, words, self.next_mark(reward, author.now))?;
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
    fn next_mark(&self, reward: &Reward, now: Timestamp) -> Option<Timestamp> {
        let failures = reward.mark_attempts + 1;
        let beyond = failures.checked_sub(MARK_ATTEMPTS_BEFORE_ATTENTION)?;
        Some(now + backoff(&self.settings.policy.retry, beyond + 1, None))
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
    item.listed && untouched && reward.facts != item.facts
}

fn moves_wait(reward: &Reward, until: Timestamp, waits: Waits) -> bool {
    match reward.state {
        RewardState::Waiting => waits == Waits::Grace && reward.next_attempt_at != Some(until),
        RewardState::Held | RewardState::Cancelled => true,
        RewardState::Delivering
        | RewardState::Delivered
        | RewardState::Fulfilled
        | RewardState::Reversed
        | RewardState::Dismissed => false,
    }
}

fn concurrency(target: &TargetSettings) -> usize {
    match &target.kind {
        TargetKind::Http { concurrency, .. } => *concurrency,
        TargetKind::Command { .. } => 1,
    }
}
