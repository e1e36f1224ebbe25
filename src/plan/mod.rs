//! What to do about one commission: its state in the ledger, and what FirstPromoter says of it, give a [`Step`].
//!
//! Pure: no clock, no I/O, no logging, and no way to fail; odd data becomes a hold. The state comes first: [`decide`] picks the
//! function of the row's state, and that asks what was observed. In reading order:
//!
//! - `owed`: what is owed: whether policy holds it, where it goes, and when.
//! - `open`: rows that wait, are being delivered, are held, or are delivered and not confirmed.
//! - `settled`: rows that are fulfilled, cancelled, reversed or dismissed.
//! - `rules`: who receives a commission, and what the ledger records of it.
//! - `words`: a step in the words of `makegood plan`.
//!
//! Guarantees:
//! - The ledger decides before the listing: what it calls delivered is never delivered again, whatever upstream shows.
//! - A delivery whose outcome is unknown is repeated only at the same target (by fingerprint, not by name), with the same
//!   content, and only if that target deduplicates by key.
//! - Every approved commission in scope gets a step that ends in `fulfilled` or in front of a person.
//! - A step carries the [`Transition`] that it means: whoever writes or reports it asks nothing again.

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

/// What FirstPromoter said of a commission, in this pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Approved and unfulfilled; or unfulfilled, and of a status that is not known.
    Listed(Box<Commission>),
    /// Asked for by id: fulfilled.
    Fulfilled,
    /// Asked for by id: there, and not approved. In FirstPromoter's word.
    NotApproved(String),
    /// Asked for by id: not there any more.
    Gone,
    /// Asked for by id: approved, but neither fulfilled nor unfulfilled. Nothing can be concluded.
    Unclear,
}

/// All that a step depends on besides the commission and its ledger row.
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
    /// The ledger writes this, and that is all.
    Write(Transition),
    /// It is delivered.
    Deliver {
        /// Where.
        target: String,
        /// An attempt was cut off: the same key again, at the same target.
        resume: bool,
        /// What the ledger writes first: a row that is to be delivered waits, and is due.
        first: Option<Transition>,
    },
    /// It is delivered, and FirstPromoter is asked to mark it fulfilled.
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

    /// Where it is delivered.
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
    /// It waits, and the ledger has that.
    Waits(Timestamp, Wait),
    /// It is delivered. FirstPromoter would not mark it, and is asked again then.
    MarkedLater(Timestamp),
    /// Policy holds it, and the ledger has that.
    Held(HoldReason, String),
    /// The ledger does not know it, and it is not ours to deliver.
    OutOfScope,
    /// The ledger does not know it, and FirstPromoter does not call it approved and unfulfilled.
    NotOwed,
    /// An attempt or a change holds it.
    ForAPerson,
    /// FirstPromoter's answers say nothing of it.
    Neither,
    /// It is delivered, and FirstPromoter cannot mark it. That was said often enough.
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
    /// Asked again just now, FirstPromoter's answers say nothing of it.
    NeitherJustNow,
}

/// One commission of a plan.
#[derive(Debug, Clone)]
pub struct Item {
    /// What to do.
    pub step: Step,
    /// What FirstPromoter says now; for one that it did not list, what the ledger recorded.
    pub facts: Facts,
    /// Its row, if the ledger has one.
    pub reward: Option<Reward>,
    /// Approved and unfulfilled according to FirstPromoter.
    pub listed: bool,
}

impl Item {
    /// Where it stands in the ledger once the step is under way; none where the ledger does not know it and will not.
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

    /// Whether what FirstPromoter says now replaces what was recorded: not where an attempt with that content may have taken
    /// effect.
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
        // A handler may have recorded it before any pass had seen it.
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

/// Leaves targets in trouble alone: what would go to one waits until its time.
pub fn spare<'a>(items: impl Iterator<Item = &'a mut Item>, closed: &BTreeMap<String, Timestamp>, now: Timestamp) {
    for item in items {
        let Some(target) = item.step.target() else { continue };
        if let Some(until) = closed.get(target) {
            let due = Due::Later(*until, Wait::Target(target.to_owned()));
            item.step = owed::step(due, item.reward.as_ref(), now);
        }
    }
}

/// The fuse: when more would be delivered than `max`, none is, and all of them ask for a person. Returns how many wanted to be
/// delivered when it blew.
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
