//! A pass: compares what FirstPromoter lists as owed with the ledger, delivers what is missing, marks it, and reads it back.
//!
//! Guarantees:
//! - From a listing that was not read to its end nothing is concluded. On a filter that was not proved in the same pass nothing
//!   is delivered.
//! - The intent to deliver is on disk before the request leaves, its outcome right after.
//! - `fulfilled` is written only where FirstPromoter, asked again, says so.
//! - Every pass leaves a row in `passes`, even if it failed.
//!
//! Assumptions: the caller holds the pass lock.
//!
//! # What a pass costs
//!
//! Requests to FirstPromoter, for `n` rewards owed at 100 a page: listing `n/100 + 1`, `GET /rewards` 1 when a rule is not known yet, confirming
//! `2 * n/100` (where none of three canaries is called fulfilled, it is asked again with up to 60, which takes `2 * n/40`
//! more), marking as `firstpromoter::marking` says, reading back 2, or 1 where something unfulfilled can vouch for it and the
//! pages are long enough, and 3 above 97. With `n` = 100: 2 + 1 + 2 + 1 + 3 + 3 = 12 at the most, when the batch is asked for three times.

mod carry_out;
mod confirm;
mod deliver;
mod failure;
mod mark;
mod observe;
mod outcome;
mod report;
pub mod reverse;
mod settle;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::{BTreeMap, HashMap};

use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub(crate) use confirm::CANDIDATES;
pub use report::{Line, Report};

use crate::{
    clock::Clock,
    config::Settings,
    delivery::{Deliver, Fingerprint},
    domain::{CommissionId, Timestamp},
    firstpromoter::{Api, ApiError, ListingError, RewardRule, TruthError},
    ledger::{Ledger, LedgerError, Writer},
    plan::{self, Item, Rules},
};

/// The trigger of a pass. It says when, never what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The service started.
    Start,
    /// `schedule.poll`.
    Schedule,
    /// SIGUSR1.
    Signal,
    /// `makegood once`, or `plan`.
    Command,
}

impl Trigger {
    /// The word in `passes.trigger`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Schedule => "schedule",
            Self::Signal => "signal",
            Self::Command => "command",
        }
    }
}

/// The order for a pass, besides the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The trigger.
    pub trigger: Trigger,
    /// Only these; empty: all that FirstPromoter lists.
    pub only: Vec<CommissionId>,
    /// Replaces `policy.max_deliveries_per_pass` once.
    pub max_deliveries: Option<u64>,
}

impl Order {
    /// A pass over everything, within the fuse (the circuit breaker for deliveries).
    pub fn poll(trigger: Trigger) -> Self {
        Self { trigger, only: Vec::new(), max_deliveries: None }
    }

    /// The word in `passes.kind`: `poll`, or `commissions` for a pass over single commissions.
    pub fn kind(&self) -> &'static str {
        if self.only.is_empty() { "poll" } else { "commissions" }
    }
}

/// Why a pass did not complete.
#[derive(Debug, Error)]
pub enum PassError {
    /// FirstPromoter's listing could not be read, or cannot be trusted.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// FirstPromoter did not answer another request.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// FirstPromoter's answers disprove its filter. Nothing is concluded from them.
    #[error("nothing is delivered, and nothing called fulfilled, on such an answer: {0}")]
    FilterBroken(TruthError),
    /// All of FirstPromoter's answers were too old to deliver on when they came.
    #[error(
        "{rewards} rewards wait: FirstPromoter took longer than {} s to answer whether they are still unfulfilled, {times} times in a row, \
         and no reward is delivered on an older answer. Check firstpromoter.requests_per_minute, and whether FirstPromoter is slow; the next pass \
         tries again",
        deliver::CONFIRMATION_VALID.as_secs()
    )]
    OldAnswers {
        /// How many rewards wait for an answer.
        rewards: usize,
        /// How often the answers came too late.
        times: u32,
    },
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// More is owed or open than a pass can keep.
    #[error(
        "FirstPromoter lists so many rewards that are owed or open that this pass would need too much memory; nothing is \
         delivered. Look in FirstPromoter whether there are so many, and check firstpromoter.base_url; if there are, let \
         makegood begin with some of them: policy.campaigns, policy.units"
    )]
    TooMany,
    /// A signal to stop.
    #[error("stopped by a signal before the pass was complete; the next pass goes on from here")]
    Stopped,
    /// A person gave ids that FirstPromoter does not have.
    #[error("FirstPromoter has no commission {0}: check the id, and that the account is the right one")]
    NoSuchCommission(String),
}

impl From<TruthError> for PassError {
    fn from(error: TruthError) -> Self {
        match error {
            TruthError::Listing(error) => Self::Listing(error),
            error @ (TruthError::BothWays(_) | TruthError::SilentCanary(_)) => Self::FilterBroken(error),
        }
    }
}

/// The progress of a pass, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Rows listed so far.
    Listed(u64),
    /// Deliveries tried so far, and how many there are.
    Delivering(u64, u64),
    /// How many are being marked.
    Marking(u64),
}

/// Everything that a pass works with.
pub struct Pass<'a, A, D, C> {
    /// FirstPromoter.
    pub api: &'a A,
    /// The targets.
    pub targets: &'a D,
    /// The ledger; the caller holds the pass lock.
    pub ledger: &'a Ledger,
    /// Writes for the deliveries.
    pub writer: &'a Writer<'a>,
    /// The time.
    pub clock: &'a C,
    /// The policy, and the settings of the targets.
    pub settings: &'a Settings,
    /// Cancelled when no new delivery may start.
    pub stop: &'a CancellationToken,
    /// Gets the progress of the pass.
    pub progress: &'a dyn Fn(Progress),
}

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Makes one pass. It fails only where the outcome of an attempt could not be written (then the process must start nothing
    /// more), or where even the row in `passes` could not be written. Everything else is in the report.
    pub async fn run(&self, order: &Order) -> Result<Report, LedgerError> {
        let requests_before = self.api.requests();
        let pass_id = self.ledger.begin_pass(order.trigger.as_str(), order.kind(), self.clock.now())?;
        tracing::Span::current().record("pass.id", pass_id);
        let mut report = Report::new(pass_id, order);
        let result = self.work(order, &mut report).await;
        report.counts.api_requests = self.api.requests() - requests_before;
        report.error = result.as_ref().err().map(PassError::failure);
        let finished = self.ledger.finish_pass(pass_id, &report.counts, report.error.as_ref(), self.clock.now());
        // Returned before any error of the pass's own row, which has the same cause: the caller must not go on.
        if let Err(PassError::Ledger(unwritten @ LedgerError::Unwritten { .. })) = result {
            return Err(unwritten);
        }
        finished?;
        self.remove_empty_passes();
        report.look_up(self.ledger)?;
        Ok(report)
    }

    async fn work(&self, order: &Order, report: &mut Report) -> Result<(), PassError> {
        self.ledger.require_in_place()?;
        self.ledger.require_not_behind()?;
        self.ledger.catch_up_high_water_mark()?;
        self.ledger.shorten_claims(self.clock.now())?;
        self.ledger.found_by_now(self.clock.now())?;
        self.ledger.end_cut_off_attempts(self.clock.now())?;
        let targets = self.fingerprints();
        self.ledger.adopt_fingerprints(&targets)?;
        // Where something is due already: the file is read for damage while FirstPromoter is asked.
        let of_the_service = order.trigger != Trigger::Command;
        if self.ledger.has_due(self.clock.now())? {
            self.writer.begin_check(self.clock.now(), of_the_service)?;
        }
        let mut plan = self.plan_with(order, &targets).await?;
        report.counts.listed = plan.listed;
        report.counts.missing = plan.missing();
        report.fuse_wanted = plan.fuse_wanted;
        if plan.wants_to_deliver() {
            self.unless_stopped(self.writer.checked(self.clock.now(), of_the_service)).await?;
        }
        let truth = self.truth(&plan)?;
        let delivered = self.carry_out(&mut plan, &truth, &targets, report).await;
        report.counts.missing = plan.missing();
        self.mark(&plan, &truth, delivered?, report).await?;
        plan.unknown_ids_error()
    }

    /// What fails here is done by a later pass.
    fn remove_empty_passes(&self) {
        let removed = self.ledger.remove_empty_passes(self.settings.ledger.keep_empty_passes, self.clock.now());
        if let Err(error) = removed {
            tracing::debug!("the rows of old passes in which nothing happened are not removed: {}", in_full(&error));
        }
    }

    /// What a pass would do: observes, plans, applies the fuse, confirms. Only reads.
    pub async fn plan(&self, order: &Order) -> Result<Plan, PassError> {
        let targets = self.fingerprints();
        let mut plan = self.plan_with(order, &targets).await?;
        self.confirm_all(&mut plan, &targets).await?;
        Ok(plan)
    }

    /// The targets as they are configured now, by name.
    fn fingerprints(&self) -> BTreeMap<String, Fingerprint> {
        Fingerprint::of_all(&self.settings.targets)
    }

    async fn plan_with(&self, order: &Order, targets: &BTreeMap<String, Fingerprint>) -> Result<Plan, PassError> {
        let mut plan = self.observe(order, targets).await?;
        let now = self.clock.now();
        let closed = self.ledger.health()?.into_iter();
        let closed = closed.filter_map(|(target, health)| Some((target, health.closed_until(now)?))).collect();
        plan::spare(plan.items.values_mut(), &closed, plan.now);
        let max = order.max_deliveries.unwrap_or(self.settings.policy.max_deliveries_per_pass);
        plan.fuse_wanted = plan::fuse(plan.items.values_mut(), max, plan.now);
        Ok(plan)
    }

    /// Ends a read at a signal.
    async fn unless_stopped<T, E: Into<PassError>>(
        &self,
        reading: impl Future<Output = Result<T, E>>,
    ) -> Result<T, PassError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(PassError::Stopped),
            result = reading => result.map_err(Into::into),
        }
    }
}

/// An error and its whole chain of causes, on one line.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// The plan of a pass, by commission.
#[derive(Debug, Default)]
pub struct Plan {
    /// The time of all steps, and of what they write: a wait that counts from "found" must count from the recorded time.
    now: Timestamp,
    /// Rows that FirstPromoter listed.
    pub listed: u64,
    /// Rows of the longest page of the listing; 0 where nothing was listed.
    longest_page: u64,
    /// One for each commission that is owed, or open in the ledger.
    pub items: BTreeMap<CommissionId, Item>,
    /// How many deliveries were wanted when the fuse blew.
    pub fuse_wanted: Option<u64>,
    /// Ids that a person gave and FirstPromoter does not have.
    unknown_ids: Vec<CommissionId>,
    /// The answer of `GET /rewards` in this pass, to be cached.
    fresh_rules: Vec<RewardRule>,
    /// Who receives what.
    rules: Rules,
    /// Live claims of others.
    claims: HashMap<CommissionId, Timestamp>,
}

impl Plan {
    /// Approved, unfulfilled, in scope, and not delivered according to the ledger.
    fn missing(&self) -> u64 {
        self.items.values().filter(|item| item.is_missing()).count() as u64
    }

    fn wants_to_deliver(&self) -> bool {
        self.items.values().any(|item| item.step.target().is_some())
    }

    /// An error where a person gave ids that FirstPromoter does not have. The other commissions were done.
    fn unknown_ids_error(&self) -> Result<(), PassError> {
        if self.unknown_ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = self.unknown_ids.iter().map(ToString::to_string).collect();
        Err(PassError::NoSuchCommission(ids.join(", ")))
    }
}
