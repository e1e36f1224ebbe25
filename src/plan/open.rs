//! Rows where something may still have to happen: they wait, are being delivered, are held, or are delivered and not confirmed. A
//! part of the plan, and as pure.

use chrono::TimeDelta;

use super::{Context, Entry, Observation, Step, Why, facts, owed};
use crate::{
    domain::{Amount, Commission, Timestamp},
    ledger::{HoldReason, Reward, Transition, Wait},
};

/// After as many passes in a row that could not mark a reward it stands in `attention`, and is asked for less often.
pub const MARK_ATTEMPTS_BEFORE_ATTENTION: u32 = 3;

/// How long what is due may be in neither of FirstPromoter's answers before a person is asked.
const UNCLEAR_PATIENCE: TimeDelta = TimeDelta::hours(24);
/// Why nothing can be concluded.
pub(super) const NEITHER: &str = "FirstPromoter calls it neither fulfilled nor unfulfilled";
/// Where FirstPromoter had it once.
const GONE: &str = "FirstPromoter does not have it any more";

/// It is owed, and was not delivered as far as is known.
pub(super) fn waiting(reward: &Reward, observed: &Observation, entry: Entry<'_>, cx: Context<'_>) -> Step {
    match observed {
        Observation::Listed(commission) => still_owed(commission, reward, entry, cx),
        Observation::Fulfilled => adopt(),
        Observation::NotApproved(status) => withdrawn(reward, not_approved(status)),
        Observation::Gone => withdrawn(reward, GONE.to_owned()),
        Observation::Unclear => waits_unclear(reward, cx),
    }
}

/// Found in `delivering`: the process ended between the intent and the outcome. It is owed by the same rules as any other: the
/// process may have ended before the request left, and a suspicion, a limit or a route of today counts then as before.
pub(super) fn delivering(reward: &Reward, observed: &Observation, entry: Entry<'_>, cx: Context<'_>) -> Step {
    match observed {
        Observation::Listed(commission) => match changed(commission, reward, cx) {
            Some(change) => hold(HoldReason::Changed, change),
            None => owed::step(owed::due(commission, entry, cx), Some(reward), cx.now),
        },
        Observation::Fulfilled => adopt(),
        Observation::NotApproved(status) => withdrawn(reward, not_approved(status)),
        Observation::Gone => withdrawn(reward, GONE.to_owned()),
        Observation::Unclear => match owed::repeatable(reward, cx) {
            // FirstPromoter's next answer will not tell either: a person is asked now, not never.
            Err((reason, detail)) => hold(reason, detail),
            Ok(_) if for_long(found(reward, cx), cx) => hold(HoldReason::OutcomeUnknown, NEITHER.to_owned()),
            Ok(_) => Step::Leave(Why::Neither),
        },
    }
}

/// A person has to decide, or the cause has to go.
pub(super) fn held(reward: &Reward, observed: &Observation, entry: Entry<'_>, cx: Context<'_>) -> Step {
    let by_policy = reward.hold_reason.is_none_or(HoldReason::is_policy);
    match observed {
        Observation::Listed(commission) if by_policy => still_owed(commission, reward, entry, cx),
        Observation::Listed(_) => Step::Leave(Why::ForAPerson),
        Observation::Fulfilled => adopt(),
        Observation::NotApproved(status) => held_and_withdrawn(reward, not_approved(status)),
        Observation::Gone => held_and_withdrawn(reward, GONE.to_owned()),
        Observation::Unclear => Step::Leave(Why::Neither),
    }
}

/// The recipient has it. Whatever FirstPromoter says, it is not delivered again.
pub(super) fn delivered(reward: &Reward, observed: &Observation, cx: Context<'_>) -> Step {
    match observed {
        Observation::Listed(_) => mark(reward, cx),
        Observation::Fulfilled => adopt(),
        Observation::NotApproved(status) => {
            cannot_mark(reward, format!("{}, and marks only approved ones", not_approved(status)))
        }
        Observation::Gone => cannot_mark(reward, GONE.to_owned()),
        Observation::Unclear => {
            cannot_mark(reward, "FirstPromoter lists it neither as fulfilled nor as unfulfilled".to_owned())
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

/// Listed as owed, and not delivered as far as is known.
fn still_owed(commission: &Commission, reward: &Reward, entry: Entry<'_>, cx: Context<'_>) -> Step {
    match changed(commission, reward, cx) {
        Some(change) if reward.uncertain => hold(HoldReason::Changed, change),
        Some(_) | None => owed::step(owed::due(commission, entry, cx), Some(reward), cx.now),
    }
}

/// What FirstPromoter changed of what is delivered, in words.
fn changed(commission: &Commission, reward: &Reward, cx: Context<'_>) -> Option<String> {
    // What is no amount at all is certainly not the one that was recorded.
    let odd = match (&commission.amount, reward.facts.amount) {
        (odd @ Amount::Odd(_), Some(amount)) => Some(format!("amount {amount} -> {odd}")),
        (Amount::Odd(_), None) | (Amount::Whole(_), _) => None,
    };
    let difference = reward.facts.difference(&facts(commission, cx.policy, cx.rules));
    match (odd, difference) {
        (Some(odd), Some(difference)) => Some(format!("{odd}, {difference}")),
        (odd, difference) => odd.or(difference),
    }
}

/// Approved, and in neither answer: once is nothing, for long it is a person's.
fn waits_unclear(reward: &Reward, cx: Context<'_>) -> Step {
    let latest = owed::latest(cx).max(owed::end_of_grace(cx.now, cx));
    let due = reward.next_attempt_at;
    if due.is_some_and(|due| due > latest) {
        return Step::Write(Transition::Wait { until: latest, why: Wait::Backoff });
    }
    if for_long(due.max(found(reward, cx)), cx) {
        hold(HoldReason::Changed, NEITHER.to_owned())
    } else {
        Step::Leave(Why::Neither)
    }
}

/// Since when it is known. What lies in the future was recorded by a clock that was ahead.
fn found(reward: &Reward, cx: Context<'_>) -> Option<Timestamp> {
    [Some(reward.owed_since), reward.first_attempt_at].into_iter().flatten().find(|at| *at <= cx.now)
}

fn for_long(since: Option<Timestamp>, cx: Context<'_>) -> bool {
    since.is_none_or(|since| cx.now - since > UNCLEAR_PATIENCE)
}

/// Denied, or gone: what may have taken effect goes to a person, what certainly did not is over.
fn withdrawn(reward: &Reward, why: String) -> Step {
    if reward.in_doubt() {
        let target = reward.target.as_deref().unwrap_or("a target");
        hold(HoldReason::OutcomeUnknown, format!("{why}, and an attempt at {target} may have taken effect"))
    } else {
        Step::Write(Transition::Cancel { why })
    }
}

fn held_and_withdrawn(reward: &Reward, why: String) -> Step {
    if reward.hold_reason == Some(HoldReason::OutcomeUnknown) {
        Step::Leave(Why::ForAPerson)
    } else {
        withdrawn(reward, why)
    }
}

fn mark(reward: &Reward, cx: Context<'_>) -> Step {
    match reward.next_attempt_at {
        // A longer wait was recorded by a clock that was ahead.
        Some(until) if until > cx.now && until <= owed::latest(cx) => Step::Leave(Why::MarkedLater(until)),
        Some(_) | None => Step::Mark,
    }
}

/// Said in three passes. From then on it stands in `attention`.
fn cannot_mark(reward: &Reward, why: String) -> Step {
    if reward.mark_attempts >= MARK_ATTEMPTS_BEFORE_ATTENTION && reward.mark_error.as_ref() == Some(&why) {
        Step::Leave(Why::CannotMark)
    } else {
        Step::Write(Transition::NotMarked { why, next: None })
    }
}
