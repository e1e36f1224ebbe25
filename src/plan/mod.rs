//! Decides what to do about one commission: its state in the ledger, and what FirstPromoter says about it, give a [`Step`].
//!
//! Pure: no clock, no I/O, no logging, and no errors; odd data becomes a hold. The state comes first: [`decide`] calls the
//! function for the row's state, and that looks at the observation. Reading order:
//!
//! - `owed`: rewards that are owed: whether policy holds them, where they go, and when.
//! - `open`: rows that wait, are being delivered, are held, or are delivered and not confirmed.
//! - `settled`: rows that are fulfilled, cancelled, reversed or dismissed.
//! - `rules`: who receives a commission, and what the ledger records of it.
//! - `words`: a step in the words of `makegood plan`.
//!
//! Guarantees:
//! - The ledger goes before the listing: a reward that it calls delivered is never delivered again, whatever upstream shows.
//! - A delivery of unknown outcome is repeated only at the same target (by fingerprint, not by name), with the same content,
//!   and only if that target deduplicates by key.
//! - Every approved commission in scope gets a step that leads to `fulfilled` or to a person.
//! - A step carries its [`Transition`], so nobody who writes or reports it has to derive it again.

mod open;
mod owed;
mod rules;
mod settled;
#[cfg(test)]
pub(crate) mod tests;
mod words;

use std::collections::BTreeMap;

pub use open::MARK_ATTEMPTS_BEFORE_ATTENTION;
pub use owed::in_scope;
pub use rules::{Rules, facts, recipient, recipient_of};

use crate::{
    config::Policy,
    delivery::Fingerprint,
    domain::{Commission, Timestamp},
    ledger::{Facts, HoldReason, Reward, RewardState, State, Transition, Wait},
};
use owed::Due;

/// What FirstPromoter said about a commission in this pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Approved and unfulfilled; or unfulfilled with an unknown status.
    Listed(Box<Commission>),
    /// Asked about by id: fulfilled.
    Fulfilled,
    /// Asked about by id: exists, and is not approved. With FirstPromoter's word.
    NotApproved(String),
    /// Asked about by id: does not exist any more.
    Gone,
    /// Asked about by id: approved, but neither fulfilled nor unfulfilled. Nothing can be concluded.
    Unclear,
}

/// Everything that a step depends on besides the commission and its ledger row.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// `[policy]` and `[[routes]]`.
    pub policy: &'a Policy,
    /// The configured targets, as they are now.
    pub targets: &'a BTreeMap<String, Fingerprint>,
    /// Who receives what.
    pub rules: &'a Rules,
    /// Now.
    pub now: Timestamp,
}

/// A ledger row, and whether somebody else is about to deliver it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The row; none where the ledger does not know the commission.
    pub reward: Option<&'a Reward>,
    /// The end of another owner's live claim.
    pub claimed_until: Option<Timestamp>,
}

/// What to do about one commission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Leave(Why),
    /// The ledger writes this, and nothing else happens.
    Write(Transition),
    /// Deliver it.
    Deliver {
        /// The target.
        target: String,
        /// An attempt was interrupted: send the same key again, to the same target.
        resume: bool,
        /// What the ledger writes first: a row must be waiting and due before it is delivered.
        first: Option<Transition>,
    },
    /// It is delivered. Ask FirstPromoter to mark it fulfilled.
    Mark,
}

impl Step {
    /// What the ledger writes before anything leaves.
    pub fn transition(&self) -> Option<&Transition> {
        match self {
            Self::Write(transition) | Self::Deliver { first: Some(transition), .. } => Some(transition),
            Self::Leave(_) | Self::Deliver { first: None, .. } | Self::Mark => None,
        }
    }

    /// The target of a delivery.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Deliver { target, .. } => Some(target),
            Self::Leave(_) | Self::Write(_) | Self::Mark => None,
        }
    }
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It waits, as the ledger already says.
    Waits(Timestamp, Wait),
    /// It is delivered, but FirstPromoter did not mark it. It is asked again at this time.
    MarkedLater(Timestamp),
    /// Policy holds it, as the ledger already says.
    Held(HoldReason, String),
    /// The ledger does not know it, and it is out of scope.
    OutOfScope,
    /// The ledger does not know it, and FirstPromoter does not call it approved and unfulfilled.
    NotOwed,
    /// An attempt or a change holds it.
    ForAPerson,
    /// It is in neither of FirstPromoter's answers.
    Neither,
    /// It is delivered, and FirstPromoter cannot mark it. The journal has said so often enough.
    CannotMark,
    /// It is over.
    Fulfilled,
    /// It is over, unless it is approved again.
    Cancelled,
    /// It was reversed or dismissed.
    DecidedByAPerson,
    /// Asked again just now, FirstPromoter says fulfilled.
    FulfilledMeanwhile,
    /// Asked again just now, FirstPromoter does not say approved.
    NotApprovedJustNow,
    /// Asked again just now, it is in neither of FirstPromoter's answers.
    NeitherJustNow,
}

/// One commission of a plan.
#[derive(Debug, Clone)]
pub struct Item {
    /// What to do.
    pub step: Step,
    /// What FirstPromoter says now. If it did not list the commission, what the ledger recorded.
    pub facts: Facts,
    /// Its row, if the ledger has one.
    pub reward: Option<Reward>,
    /// Approved and unfulfilled according to FirstPromoter.
    pub listed: bool,
}

impl Item {
    /// Its state in the ledger once the step has begun; none where the ledger does not know it and will not.
    pub fn becomes(&self) -> Option<RewardState> {
        let stands = self.reward.as_ref().map(|reward| reward.state.word());
        match &self.step {
            Step::Leave(_) | Step::Mark => stands,
            Step::Write(transition) => transition.to().or(stands),
            Step::Deliver { .. } => Some(RewardState::Delivering),
        }
    }

    /// Approved and unfulfilled at FirstPromoter, in scope, and not delivered according to the ledger.
    pub fn is_missing(&self) -> bool {
        let undelivered = match self.becomes() {
            Some(RewardState::Waiting | RewardState::Delivering | RewardState::Held) => true,
            Some(
                RewardState::Delivered
                | RewardState::Fulfilled
                | RewardState::Cancelled
                | RewardState::Reversed
                | RewardState::Dismissed,
            )
            | None => false,
        };
        self.listed && undelivered
    }

    /// Whether the present facts replace the recorded ones. They do not where an attempt with the recorded content may have
    /// taken effect.
    pub fn refreshes(&self) -> bool {
        let Some(reward) = &self.reward else { return false };
        let untouched = match &reward.state {
            State::Waiting { .. } | State::Held { .. } | State::Cancelled => reward.doubt().is_none(),
            State::Delivering
            | State::Delivered { .. }
            | State::Fulfilled { .. }
            | State::Reversed { .. }
            | State::Dismissed => false,
        };
        // A handler may have recorded it before any pass saw it.
        let never_seen = reward.facts.unit.is_none();
        self.listed && (untouched || never_seen) && reward.facts != self.facts
    }
}

/// What to do about one commission.
pub fn decide(observed: &Observation, entry: Entry<'_>, cx: Context<'_>) -> Step {
    let Some(reward) = entry.reward else { return owed::unknown(observed, entry, cx) };
    match &reward.state {
        State::Waiting { until, why, .. } => open::waiting(reward, (*until, why), observed, entry, cx),
        State::Delivering => open::delivering(reward, observed, entry, cx),
        State::Held { reason, .. } => open::held(reward, *reason, observed, entry, cx),
        State::Delivered { marking, .. } => open::delivered(marking, observed, cx),
        State::Fulfilled { drift, .. } => settled::fulfilled(*drift, observed),
        State::Cancelled => settled::cancelled(observed, entry, cx),
        State::Reversed { drift, .. } => settled::reversed(*drift, observed),
        State::Dismissed => settled::dismissed(observed),
    }
}

/// Makes deliveries to a target in trouble wait until the target's time.
pub fn spare<'a>(items: impl Iterator<Item = &'a mut Item>, closed: &BTreeMap<String, Timestamp>, now: Timestamp) {
    for item in items {
        let Some(target) = item.step.target() else { continue };
        if let Some(until) = closed.get(target) {
            let due = Due::Later(*until, Wait::Target(target.to_owned()));
            item.step = owed::step(due, item.reward.as_ref(), now);
        }
    }
}

/// The fuse, a circuit breaker: if a pass wants more deliveries than `max`, none is made, and all of them are held for a
/// person. Returns how many were wanted when it blew.
pub fn fuse<'a>(items: impl Iterator<Item = &'a mut Item>, max: u64, now: Timestamp) -> Option<u64> {
    let wanted: Vec<&mut Item> = items.filter(|item| item.step.target().is_some()).collect();
    let count = u64::try_from(wanted.len()).unwrap_or(u64::MAX);
    if count <= max {
        return None;
    }
    for item in wanted {
        let detail = format!("a pass wanted {count} deliveries, and policy.max_deliveries_per_pass allows {max}");
        item.step = owed::step(Due::Held(HoldReason::Fuse, detail), item.reward.as_ref(), now);
    }
    Some(count)
}
