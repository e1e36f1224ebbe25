//! Delivers: writes the intent to disk, sends the request, writes the outcome to disk. A few at a time for each target. A
//! target in trouble does not delay the others, and a failing reward does not delay those behind it.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use tracing::{Instrument, info_span, warn};

use super::{
    Pass, PassError, Progress, Report,
    trouble::{Gate, Trouble},
};
use crate::{
    clock::Clock,
    config::{TargetKind, TargetSettings},
    delivery::{Deliver, Fingerprint},
    domain::{CommissionId, Timestamp},
    failure::{Outcome, backoff, given_up},
    firstpromoter::Api,
    ledger::{Aftermath, Begun, Change, Health, HoldReason, LedgerError, Reward},
};

/// No delivery starts on an older confirmation. The age counts from before the question.
pub(super) const CONFIRMATION_VALID: Duration = Duration::from_mins(1);
/// How much longer than the target's timeout our claims last.
const CLAIM_MARGIN: Duration = Duration::from_mins(1);

/// A reward that may be delivered now.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) reward: Reward,
    pub(super) target: String,
}

/// The end of an attempt.
#[derive(Debug, Clone)]
struct End {
    attempt: u32,
    outcome: Outcome,
    /// When the outcome was known.
    at: Timestamp,
    after: Aftermath,
    /// The target's health after it; none where nothing was sent.
    health: Option<Health>,
}

/// The state of a pass's deliveries, shared by those under way.
pub(super) struct Round<'a> {
    pub(super) report: RefCell<&'a mut Report>,
    pub(super) delivered: RefCell<Vec<CommissionId>>,
    /// The first failure. Nothing new starts after it.
    pub(super) failure: RefCell<Option<PassError>>,
    /// By target, for the whole pass. Probes that a confirmation was too old for are made after the next one.
    pub(super) troubles: BTreeMap<String, Trouble>,
    total: u64,
}

impl<'a> Round<'a> {
    /// `total`: how many deliveries are planned.
    pub(super) fn new(report: &'a mut Report, troubles: BTreeMap<String, Trouble>, total: usize) -> Self {
        Self {
            report: RefCell::new(report),
            delivered: RefCell::default(),
            failure: RefCell::default(),
            troubles,
            total: total as u64,
        }
    }

    /// Keeps the first failure; but that an outcome could not be written goes before all else: the process must start nothing more.
    pub(super) fn fail(&self, error: impl Into<PassError>) {
        let error = error.into();
        let unwritten = matches!(error, PassError::Ledger(LedgerError::Unwritten { .. }));
        let mut failure = self.failure.borrow_mut();
        if unwritten || failure.is_none() {
            *failure = Some(error);
        }
    }
}

/// The answer that a chunk of deliveries rests on.
pub(super) struct Confirmed {
    /// Before the oldest question of it left.
    asked_at: Timestamp,
    /// Not started, because the answer was too old by then.
    pub(super) late: RefCell<Vec<CommissionId>>,
}

impl Confirmed {
    pub(super) fn new(asked_at: Timestamp) -> Self {
        Self { asked_at, late: RefCell::default() }
    }
}

/// Whether the answer to a question asked at that time is too old to deliver on.
fn is_old(asked_at: Timestamp, now: Timestamp) -> bool {
    (now - asked_at).to_std().unwrap_or(Duration::MAX) > CONFIRMATION_VALID
}

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// The targets' health, by name, for this pass.
    pub(super) fn troubles<'n>(
        &self,
        names: impl Iterator<Item = &'n String>,
        targets: &BTreeMap<String, Fingerprint>,
    ) -> Result<BTreeMap<String, Trouble>, LedgerError> {
        let health = self.ledger.health()?;
        let trouble =
            |name: &String| Trouble::new(health.get(name), targets.get(name).is_some_and(Fingerprint::deduplicates));
        Ok(names.map(|name| (name.clone(), trouble(name))).collect())
    }

    /// Delivers at one target until too many attempts in a row fail. Then the rest waits. A target that was in trouble gets a
    /// few probes first, one at a time.
    pub(super) async fn deliver_at(&self, target: &str, queue: Vec<Ready>, confirmed: &Confirmed, round: &Round<'_>) {
        let concurrency = self.settings.targets.get(target).map_or(1, concurrency);
        let Some(trouble) = round.troubles.get(target) else { return };
        let mut queue = queue.into_iter();
        while trouble.gate() == Gate::Probing
            && let Some(it) = queue.next()
        {
            self.deliver_next(it, trouble, confirmed, round).await;
        }
        stream::iter(queue)
            .for_each_concurrent(concurrency, |it| async {
                if trouble.gate() == Gate::Open {
                    self.deliver_next(it, trouble, confirmed, round).await;
                }
            })
            .await;
    }

    async fn deliver_next(&self, it: Ready, trouble: &Trouble, confirmed: &Confirmed, round: &Round<'_>) {
        if self.stop.is_cancelled() || round.failure.borrow().is_some() {
            return;
        }
        if is_old(confirmed.asked_at, self.clock.now()) {
            confirmed.late.borrow_mut().push(it.reward.id);
            return;
        }
        let span = info_span!("commission", commission.id = it.reward.id.0, attempt = it.reward.attempts + 1);
        if let Err(error) = self.deliver_one(&it, trouble, confirmed, round).instrument(span).await {
            round.fail(error);
        }
    }

    /// Writes the intent to disk, sends the request, writes the outcome to disk.
    async fn deliver_one(
        &self,
        it: &Ready,
        trouble: &Trouble,
        confirmed: &Confirmed,
        round: &Round<'_>,
    ) -> Result<(), LedgerError> {
        let Ready { reward, target } = it;
        let Some(delivery) = reward.facts.delivery(reward.id, reward.key.clone()) else {
            warn!(
                commission.id = reward.id.0,
                "left for the next pass: the ledger lost its unit, amount or recipient meanwhile"
            );
            return Ok(());
        };
        let Some(attempt) = self.begin(it, confirmed, round).await? else { return Ok(()) };
        round.report.borrow_mut().moved(reward.id);
        // Suppose the commit, or another target's turn after it, took a minute: the answer is too old by now.
        if let Some(why) = self.stands_against(confirmed, round) {
            // What was not tried has not failed: neither the target nor the pass counts it.
            let outcome = Outcome::NotDelivered { detail: format!("not sent: {why}"), retry_after: None };
            let at = self.clock.now();
            let end = End { attempt, outcome, at, after: Aftermath::Retry(at), health: None };
            return self.finish(it, &end, round).await.map(|_| ());
        }
        let outcome = self.targets.deliver(target, &delivery).await;
        let at = self.clock.now();
        let after = self.aftermath(reward, target, &outcome, at);
        let was_refused = match outcome {
            // If the ledger cannot be read now, the outcome must still not be lost.
            Outcome::Refused { .. } => self.ledger.was_refused(target, reward.id).unwrap_or(false),
            Outcome::Delivered { .. } | Outcome::NotDelivered { .. } | Outcome::Unknown { .. } => false,
        };
        let health = trouble.after(&outcome, was_refused, &self.settings.policy.retry, at);
        let end = End { attempt, outcome, at, after: after.clone(), health: Some(health.clone()) };
        let finished = self.finish(it, &end, round).await?;
        if let Some(until) = health.retry_at {
            warn!("target {target}: {} in a row; its deliveries wait until {until}", health.in_words());
        }
        let mut report = round.report.borrow_mut();
        if finished && after == Aftermath::Delivered {
            round.delivered.borrow_mut().push(reward.id);
        }
        report.attempted(&after);
        (self.progress)(Progress::Delivering(report.attempts, round.total));
        Ok(())
    }

    /// Writes the intent to disk. Returns the number of the attempt; none where nothing must be sent.
    async fn begin(&self, it: &Ready, confirmed: &Confirmed, round: &Round<'_>) -> Result<Option<u32>, LedgerError> {
        let Ready { reward, target } = it.clone();
        let Some(settings) = self.settings.targets.get(&target) else { return Ok(None) };
        let (id, asked_at) = (reward.id, confirmed.asked_at);
        let (timeout, fingerprint) = (settings.timeout, Fingerprint::of(settings));
        let author = round.report.borrow().author(self.clock.now());
        let begin = move |change: &Change<'_>| {
            // Checks again: the write may have waited for a lock, and by now it has it.
            if is_old(asked_at, change.began_at()) {
                return Ok(None);
            }
            let begun = change.begin(&reward, &target, change.began_at() + timeout + CLAIM_MARGIN)?;
            if let Begun::Attempt(attempt) = begun {
                change.note_fingerprint(reward.id, attempt, &fingerprint)?;
            }
            Ok(Some(begun))
        };
        match self.writer.change(author, begin).await? {
            Some(Begun::Attempt(attempt)) => Ok(Some(attempt)),
            Some(Begun::Taken) => {
                tracing::info!(commission.id = id.0, "commission {id}: somebody else took it; left alone");
                Ok(None)
            }
            None => {
                confirmed.late.borrow_mut().push(id);
                Ok(None)
            }
        }
    }

    /// Writes the outcome of an attempt, until it is written. Says whether the reward moved.
    async fn finish(&self, it: &Ready, end: &End, round: &Round<'_>) -> Result<bool, LedgerError> {
        let (id, outcome) = (it.reward.id, &end.outcome);
        // The wait counts from the end of the attempt, so both are the same time, however long the write takes.
        let author = round.report.borrow().author(end.at);
        let write = async || {
            let (target, end) = (it.target.clone(), end.clone());
            let finish = move |change: &Change<'_>| {
                end.health.map_or(Ok(()), |health| change.note_health(&target, &health))?;
                match change.finish(id, end.attempt, &end.outcome, &end.after) {
                    // The attempt's row is still worth writing: somebody recorded or resolved the reward during the attempt.
                    Err(moved @ LedgerError::Moved { .. }) => Ok(Some(moved)),
                    result => result.map(|()| None),
                }
            };
            let moved = self.writer.change(author, finish).await?;
            if let Some(moved) = &moved {
                warn!(commission.id = id.0, "outcome {} kept as an attempt only: {moved}", outcome.as_str());
            }
            Ok(moved.is_none())
        };
        self.write_outcome(id, outcome, write).await
    }

    /// Why a request must not leave any more, though its intent is on disk.
    fn stands_against(&self, confirmed: &Confirmed, round: &Round<'_>) -> Option<&'static str> {
        if self.stop.is_cancelled() {
            Some("a signal said stop")
        } else if round.failure.borrow().is_some() {
            Some("the pass failed meanwhile")
        } else if is_old(confirmed.asked_at, self.clock.now()) {
            Some("FirstPromoter's answer was too old when the intent was on disk")
        } else {
            None
        }
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
}

fn concurrency(target: &TargetSettings) -> usize {
    match &target.kind {
        TargetKind::Http { concurrency, .. } => *concurrency,
        TargetKind::Command { .. } => 1,
    }
}
