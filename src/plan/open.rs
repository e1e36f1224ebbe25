//! Part of the plan, and pure: rows that something may still happen to. They wait, are being delivered, are held, or are
//! delivered and not confirmed.

use chrono::TimeDelta;

use super::{Context, Entry, Observation, Step, Why, facts, owed};
use crate::{
    domain::{Amount, Commission, Timestamp},
    ledger::{Attempted, HoldReason, Marking, Reward, Transition, Wait},
};

/// After this many passes in a row that could not mark a reward, it is in `attention`, and marking is tried less often.
pub const MARK_ATTEMPTS_BEFORE_ATTENTION: u32 = 3;

/// How long a due reward may be in neither of FirstPromoter's answers before a person is asked.
const UNCLEAR_PATIENCE: TimeDelta = TimeDelta::hours(24);
/// Why nothing can be concluded.
pub(super) const NEITHER: &str = "FirstPromoter calls it neither fulfilled nor unfulfilled";
/// Where FirstPromoter had it once.
const GONE: &str = "FirstPromoter does not have it any more";

/// Owed, and not delivered as far as the ledger knows.
pub(super) fn waiting(
    reward: &Reward,
    (until, why): (Timestamp, &Wait),
    observed: &Observation,
    entry: Entry<'_>,
    cx: Context<'_>,
) -> Step {
    match observed {
        Observation::Listed(commission) => still_owed(commission, reward, entry, cx),
        Observation::Fulfilled => adopt(),
        Observation::NotApproved(status) => withdrawn(reward, not_approved(status)),
        Observation::Gone => withdrawn(reward, GONE.to_owned()),
        Observation::Unclear => waits_unclear(reward, until, why, cx),
    }
}

/// Found in `delivering`: the process ended between the intent and the outcome. The same rules apply as to any owed reward: the
/// request may never have left, so a suspicion, a limit or a route of today counts as before.
pub(super) fn delivering(reward: &Reward, observed: &Observation, entry: Entry<'_>, cx: Context<'_>) -> Step {
    match observed {
        Observation::Listed(commission) => match changed(commission, reward, cx) {
            Some(change) => hold(HoldReason::Changed, change),
            None => owed::step(owed::due(commission, entry, cx), Some(reward), cx.now),
        },
        Observation::Fulfilled => adopt(),
        Observation::NotApproved(status) => withdrawn(reward, not_approved(status)),
        Observation::Gone => withdrawn(reward, GONE.to_owned()),
        Observation::Unclear => match reward.doubt().map(|at| owed::repeatable(at, cx)) {
            // FirstPromoter's next answer will not tell either, so a person is asked now.
            Some(Err((reason, detail))) => hold(reason, detail),
            Some(Ok(_)) | None if for_long(found(reward, cx), cx) => {
                hold(HoldReason::OutcomeUnknown, NEITHER.to_owned())
            }
            Some(Ok(_)) | None => Step::Leave(Why::Neither),
        },
    }
}

/// A person has to decide, or the cause has to go away.
pub(super) fn held(
    reward: &Reward,
    reason: HoldReason,
    observed: &Observation,
    entry: Entry<'_>,
    cx: Context<'_>,
) -> Step {
    match observed {
        Observation::Listed(commission) if reason.is_policy() => still_owed(commission, reward, entry, cx),
        Observation::Listed(_) => Step::Leave(Why::ForAPerson),
        Observation::Fulfilled => adopt(),
        Observation::NotApproved(status) => held_and_withdrawn(reward, reason, not_approved(status)),
        Observation::Gone => held_and_withdrawn(reward, reason, GONE.to_owned()),
        Observation::Unclear => Step::Leave(Why::Neither),
    }
}

/// The recipient has it. It is not delivered again, whatever FirstPromoter says.
pub(super) fn delivered(marking: &Marking, observed: &Observation, cx: Context<'_>) -> Step {
    match observed {
        Observation::Listed(_) => mark(marking, cx),
        Observation::Fulfilled => adopt(),
        Observation::NotApproved(status) => {
            cannot_mark(marking, format!("{}, and marks only approved ones", not_approved(status)))
        }
        Observation::Gone => cannot_mark(marking, GONE.to_owned()),
        Observation::Unclear => {
            cannot_mark(marking, "FirstPromoter lists it neither as fulfilled nor as unfulfilled".to_owned())
        }
    }
}

fn adopt() -> Step {
    Step::Write(Transition::Fulfil { why: "FirstPromoter says fulfilled" })
}

fn hold(reason: HoldReason, detail: String) -> Step {
    Step::Write(Transition::Hold { reason, detail })
}

fn not_approved(status: &str) -> String {
    format!("FirstPromoter calls it {status} now")
}

/// Listed as owed, and not delivered as far as the ledger knows.
fn still_owed(commission: &Commission, reward: &Reward, entry: Entry<'_>, cx: Context<'_>) -> Step {
    match changed(commission, reward, cx) {
        Some(change) if reward.doubt().is_some() => hold(HoldReason::Changed, change),
        Some(_) | None => owed::step(owed::due(commission, entry, cx), Some(reward), cx.now),
    }
}

/// What FirstPromoter changed about the content of a delivery, in words.
fn changed(commission: &Commission, reward: &Reward, cx: Context<'_>) -> Option<String> {
    // An odd amount is certainly not the recorded one.
    let odd = match &commission.amount {
        odd @ Amount::Odd(_) => reward.facts.amount.map(|amount| format!("amount {amount} -> {odd}")),
        Amount::Whole(_) => None,
    };
    let difference = reward.facts.difference(&facts(commission, cx.policy, cx.rules));
    match (odd, difference) {
        (Some(odd), Some(difference)) => Some(format!("{odd}, {difference}")),
        (odd, difference) => odd.or(difference),
    }
}

/// Approved, but in neither answer. Once means nothing; after a long time a person must look.
fn waits_unclear(reward: &Reward, until: Timestamp, why: &Wait, cx: Context<'_>) -> Step {
    let latest = owed::latest(cx).max(owed::end_of_grace(cx.now, cx));
    if until > latest {
        return Step::Write(Transition::Wait { until: latest, why: why.clone() });
    }
    if for_long(Some(until).max(found(reward, cx)), cx) {
        hold(HoldReason::Changed, NEITHER.to_owned())
    } else {
        Step::Leave(Why::Neither)
    }
}

/// Since when it is known. A time in the future was recorded by a clock that was ahead.
fn found(reward: &Reward, cx: Context<'_>) -> Option<Timestamp> {
    [Some(reward.owed_since), reward.first_attempt_at].into_iter().flatten().find(|at| *at <= cx.now)
}

fn for_long(since: Option<Timestamp>, cx: Context<'_>) -> bool {
    since.is_none_or(|since| cx.now - since > UNCLEAR_PATIENCE)
}

/// Denied, or gone. If an attempt may have taken effect, a person must look; otherwise it is over.
fn withdrawn(reward: &Reward, why: String) -> Step {
    match reward.doubt() {
        Some(Attempted { target, .. }) => {
            hold(HoldReason::OutcomeUnknown, format!("{why}, and an attempt at {target} may have taken effect"))
        }
        None => Step::Write(Transition::Cancel { why }),
    }
}

fn held_and_withdrawn(reward: &Reward, reason: HoldReason, why: String) -> Step {
    if reason == HoldReason::OutcomeUnknown { Step::Leave(Why::ForAPerson) } else { withdrawn(reward, why) }
}

fn mark(marking: &Marking, cx: Context<'_>) -> Step {
    match marking.not_before {
        // A longer wait was recorded by a clock that was ahead.
        Some(until) if until > cx.now && until <= owed::latest(cx) => Step::Leave(Why::MarkedLater(until)),
        Some(_) | None => Step::Mark,
    }
}

/// Written in three passes. From the third on it is in `attention`.
fn cannot_mark(marking: &Marking, why: String) -> Step {
    if marking.failures >= MARK_ATTEMPTS_BEFORE_ATTENTION && marking.error.as_ref() == Some(&why) {
        Step::Leave(Why::CannotMark)
    } else {
        Step::Write(Transition::NotMarked { why, next: None })
    }
}
