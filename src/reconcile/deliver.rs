//! Delivers: the intent on disk, the request, the outcome on disk. A few at a time per target; a target in trouble does not
//! hold up the others, nor a reward that fails those behind it.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, future, stream};
use tracing::{Instrument, info_span, warn};

use super::{
    Decision, Idempotent, Pass, PassError, Plan, Progress, Report,
    plan::{self, Context, Entry, Observation},
    trouble::{Gate, Trouble},
};
use crate::{
    clock::Clock,
    config::{TargetKind, TargetSettings},
    delivery::Deliver,
    domain::{Commission, CommissionId, Timestamp},
    failure::{Outcome, backoff, given_up},
    firstpromoter::Api,
    ledger::{Aftermath, Begun, HoldReason, LedgerError, Reward, RewardState},
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
    /// By target, for the whole pass: probes that were not made before the confirmation was too old are made after it.
    troubles: BTreeMap<String, Trouble>,
    confirmed_at: Timestamp,
    total: u64,
}

impl Round<'_> {
    fn fail(&self, error: LedgerError) {
        self.failure.borrow_mut().get_or_insert(error);
    }
}

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Delivers what the plan says, a few at a time per target; returns what was delivered.
    pub(super) async fn deliver(
        &self,
        plan: &Plan,
        targets: &BTreeMap<String, Idempotent>,
        report: &mut Report,
    ) -> Result<Vec<CommissionId>, PassError> {
        let mut by_target = BTreeMap::<String, Vec<Ready>>::new();
        for it in self.ready(plan)? {
            by_target.entry(it.target.clone()).or_default().push(it);
        }
        let troubles = self.troubles(by_target.keys(), targets)?;
        let in_turn = |(target, queue): (String, Vec<Ready>)| match troubles.get(&target) {
            Some(trouble) => trouble.in_turn(queue, |it| &it.reward),
            None => queue,
        };
        let mut ready: Vec<Ready> = by_target.into_iter().flat_map(in_turn).collect();
        let mut round = Round {
            total: ready.len() as u64,
            troubles,
            report: RefCell::new(report),
            delivered: RefCell::default(),
            late: RefCell::default(),
            failure: RefCell::default(),
            confirmed_at: self.clock.now(),
        };
        loop {
            let mut by_target = BTreeMap::<String, Vec<Ready>>::new();
            for it in ready {
                by_target.entry(it.target.clone()).or_default().push(it);
            }
            let queues = by_target.into_iter().map(|(target, queue)| self.deliver_at(target, queue, &round));
            future::join_all(queues).await;
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
            ready = self.confirm_again(ready, plan, targets).await?;
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

    /// How the targets are, by name, for this pass.
    fn troubles<'n>(
        &self,
        names: impl Iterator<Item = &'n String>,
        targets: &BTreeMap<String, Idempotent>,
    ) -> Result<BTreeMap<String, Trouble>, LedgerError> {
        let health = self.ledger.health()?;
        let trouble = |name: &String| {
            let failures = health.get(name).map_or(0, |health| health.failures);
            Trouble::new(failures, targets.get(name).copied().unwrap_or(Idempotent::No))
        };
        Ok(names.map(|name| (name.clone(), trouble(name))).collect())
    }

    /// Delivers at one target, until too many attempts in a row fail; then what is left waits. At a target that was in trouble
    /// a few go first, one at a time.
    async fn deliver_at(&self, target: String, queue: Vec<Ready>, round: &Round<'_>) {
        let concurrency = self.settings.targets.get(&target).map_or(1, concurrency);
        let Some(trouble) = round.troubles.get(&target) else { return };
        let mut queue = queue.into_iter();
        while trouble.gate() == Gate::Probing
            && let Some(it) = queue.next()
        {
            self.deliver_next(it, trouble, round).await;
        }
        stream::iter(queue)
            .for_each_concurrent(concurrency, |it| async {
                if trouble.gate() == Gate::Open {
                    self.deliver_next(it, trouble, round).await;
                }
            })
            .await;
    }

    async fn deliver_next(&self, it: Ready, trouble: &Trouble, round: &Round<'_>) {
        let age = (self.clock.now() - round.confirmed_at).to_std().unwrap_or(Duration::MAX);
        if self.stop.is_cancelled() || round.failure.borrow().is_some() {
            return;
        }
        if age > CONFIRMATION_VALID {
            round.late.borrow_mut().push(it);
            return;
        }
        let span = info_span!("commission", commission.id = it.reward.id.0, attempt = it.reward.attempts + 1);
        if let Err(error) = self.deliver_one(&it, trouble, round).instrument(span).await {
            round.fail(error);
        }
    }

    /// Intent on disk, request, outcome on disk.
    async fn deliver_one(&self, it: &Ready, trouble: &Trouble, round: &Round<'_>) -> Result<(), LedgerError> {
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
        let author = round.report.borrow().author(self.clock.now());
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
        let author = round.report.borrow().author(self.clock.now());
        let after = self.aftermath(reward, target, &outcome, author.now);
        let health = trouble.after(&outcome, &self.settings.policy.retry, author.now);
        let write = || {
            self.ledger.change(author, |change| {
                change.note_health(target, &health)?;
                match change.finish(reward.id, attempt, &outcome, &after) {
                    // The attempt's row is still worth having: somebody recorded or resolved the reward during the attempt.
                    Err(error @ LedgerError::Moved { .. }) => {
                        warn!(
                            commission.id = reward.id.0,
                            "outcome {} kept as an attempt only: {error}",
                            outcome.as_str()
                        );
                        Ok(false)
                    }
                    result => result.map(|()| true),
                }
            })
        };
        let finished = self.write_outcome(reward.id, &outcome, write).await?;
        if let Some(until) = health.retry_at {
            warn!("target {target}: {} failures in a row; its deliveries wait until {until}", health.failures);
        }
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

    /// Keeps what is still unfulfilled, unchanged, and to be delivered as before; the rest is left for the next pass.
    async fn confirm_again(
        &self,
        ready: Vec<Ready>,
        plan: &Plan,
        targets: &BTreeMap<String, Idempotent>,
    ) -> Result<Vec<Ready>, PassError> {
        let ids: Vec<CommissionId> = ready.iter().map(|it| it.reward.id).collect();
        let mut answers = self.ask_both_ways(&ids, plan).await?;
        let policy = &self.settings.policy;
        let cx = Context { policy, targets, rules: &plan.rules, now: self.clock.now() };
        let stands = |it: &Ready| {
            let Some(commission) = answers.unfulfilled.remove(&it.reward.id).filter(Commission::approved_now) else {
                return false;
            };
            let unchanged = it.reward.facts.difference(&plan::facts(&commission, policy, &plan.rules)).is_none();
            // The ledger is asked for claims when the attempt begins.
            let entry = Entry { reward: Some(&it.reward), claimed_until: None };
            let decision = plan::decide(&Observation::Listed(Box::new(commission)), entry, cx);
            unchanged && matches!(decision, Decision::Deliver(target) | Decision::Resume(target) if target == it.target)
        };
        Ok(ready.into_iter().filter(stands).collect())
    }
}

fn concurrency(target: &TargetSettings) -> usize {
    match &target.kind {
        TargetKind::Http { concurrency, .. } => *concurrency,
        TargetKind::Command { .. } => 1,
    }
}
