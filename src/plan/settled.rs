//! Part of the plan, and pure: rows that are over: fulfilled, cancelled, reversed, dismissed.
//!
//! None of them is delivered again, with one exception that was never delivered: a cancelled reward is owed anew when it is
//! approved again.

use super::{Context, Entry, Observation, Step, Why, owed};
use crate::ledger::{Drift, Transition};

/// FirstPromoter called it fulfilled. What it says later can only begin or end a drift.
pub(super) fn fulfilled(drift: Option<Drift>, observed: &Observation) -> Step {
    match observed {
        Observation::Listed(_) => found(drift, Drift::UnfulfilledUpstream, Why::Fulfilled),
        Observation::Fulfilled | Observation::NotApproved(_) | Observation::Gone => over(drift, Why::Fulfilled),
        Observation::Unclear => Step::Leave(Why::Neither),
    }
}

/// It was never delivered, and was no longer approved.
pub(super) fn cancelled(observed: &Observation, entry: Entry<'_>, cx: Context<'_>) -> Step {
    match observed {
        Observation::Listed(commission) if owed::in_scope(commission, cx.policy) => {
            owed::step(owed::due(commission, entry, cx), entry.reward, cx.now)
        }
        Observation::Listed(_) | Observation::Fulfilled | Observation::NotApproved(_) | Observation::Gone => {
            Step::Leave(Why::Cancelled)
        }
        Observation::Unclear => Step::Leave(Why::Neither),
    }
}

/// A person reversed it. Suppose a batch was under way then: FirstPromoter may call it fulfilled after all.
pub(super) fn reversed(drift: Option<Drift>, observed: &Observation) -> Step {
    match observed {
        Observation::Fulfilled => found(drift, Drift::FulfilledAfterReversal, Why::DecidedByAPerson),
        Observation::Listed(_) | Observation::NotApproved(_) | Observation::Gone => over(drift, Why::DecidedByAPerson),
        Observation::Unclear => Step::Leave(Why::DecidedByAPerson),
    }
}

/// A person decided against delivery.
pub(super) fn dismissed(observed: &Observation) -> Step {
    match observed {
        Observation::Listed(_)
        | Observation::Fulfilled
        | Observation::NotApproved(_)
        | Observation::Gone
        | Observation::Unclear => Step::Leave(Why::DecidedByAPerson),
    }
}

fn found(known: Option<Drift>, drift: Drift, why: Why) -> Step {
    match known {
        None => Step::Write(Transition::Drift(drift)),
        Some(Drift::UnfulfilledUpstream | Drift::FulfilledAfterReversal) => Step::Leave(why),
    }
}

fn over(known: Option<Drift>, why: Why) -> Step {
    match known {
        Some(drift) => Step::Write(Transition::DriftOver(drift)),
        None => Step::Leave(why),
    }
}
