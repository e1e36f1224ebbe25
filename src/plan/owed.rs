//! Part of the plan, and pure: rewards that are owed. Decides whether policy holds them, where they go, and when.

use chrono::SubsecRound;

use super::{Context, Entry, Observation, Rules, Step, Why, recipient};
use crate::{
    config::{Policy, Route},
    domain::{Amount, Commission, RecipientKind, Reference, Timestamp, Unit},
    failure::RETRY_AFTER_MAX,
    ledger::{Attempted, HoldReason, Reward, State, Transition, Wait},
};

/// What an owed commission gets, whatever state the ledger has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// Policy forbids the delivery, or its target is unknown.
    Held(HoldReason, String),
    /// Not before this time.
    Later(Timestamp, Wait),
    /// Deliver it to this target now.
    Now(String),
}

/// For a commission that the ledger does not know.
pub(super) fn unknown(observed: &Observation, entry: Entry<'_>, cx: Context<'_>) -> Step {
    match observed {
        Observation::Listed(commission) if in_scope(commission, cx.policy) => {
            step(due(commission, entry, cx), None, cx.now)
        }
        Observation::Listed(_) => Step::Leave(Why::OutOfScope),
        Observation::Fulfilled | Observation::NotApproved(_) | Observation::Gone | Observation::Unclear => {
            Step::Leave(Why::NotOwed)
        }
    }
}

/// Whether a commission that the ledger does not know is in scope: approved, not money, of a configured (or unknown) unit and
/// of a configured campaign.
pub fn in_scope(commission: &Commission, policy: &Policy) -> bool {
    let unit = match &commission.unit {
        Unit::Cash => false,
        Unit::Unknown(_) => true,
        known @ (Unit::Credits | Unit::Points | Unit::FreeMonths | Unit::MonDiscount | Unit::DiscountPer) => {
            policy.units.contains(known)
        }
    };
    unit && in_campaigns(commission, policy)
}

/// A commission that names no campaign may be of a configured one: it is held as `unreadable`.
fn in_campaigns(commission: &Commission, policy: &Policy) -> bool {
    policy.campaigns.is_empty()
        || commission.campaign.as_ref().is_none_or(|campaign| policy.campaigns.contains(&campaign.id))
}

/// Turns the result into a step for this row. This is the only way to a delivery; settled rows never get here.
pub(super) fn step(due: Due, reward: Option<&Reward>, now: Timestamp) -> Step {
    let Some(reward) = reward else { return anew(due, now) };
    match &reward.state {
        State::Waiting { until: recorded, why: for_what, .. } => match due {
            Due::Later(until, why) if !moves((*recorded, for_what), (until, &why)) => {
                Step::Leave(Why::Waits(until, why))
            }
            Due::Later(until, why) => Step::Write(Transition::Wait { until, why }),
            Due::Held(reason, detail) => Step::Write(Transition::Hold { reason, detail }),
            Due::Now(target) => Step::Deliver { target, resume: false, first: None },
        },
        State::Delivering => match due {
            Due::Later(until, why) => Step::Leave(Why::Waits(until, why)),
            Due::Held(reason, detail) => Step::Write(Transition::Hold { reason, detail }),
            Due::Now(target) => Step::Deliver { target, resume: true, first: None },
        },
        State::Held { reason: recorded, .. } => match due {
            Due::Held(reason, detail) if reason == *recorded => Step::Leave(Why::Held(reason, detail)),
            due @ (Due::Held(..) | Due::Later(..) | Due::Now(_)) => anew(due, now),
        },
        State::Cancelled => anew(due, now),
        State::Delivered { .. } | State::Fulfilled { .. } => Step::Leave(Why::Fulfilled),
        State::Reversed { .. } | State::Dismissed => Step::Leave(Why::DecidedByAPerson),
    }
}

/// For a row that is not waiting yet.
fn anew(due: Due, now: Timestamp) -> Step {
    match due {
        Due::Held(reason, detail) => Step::Write(Transition::Hold { reason, detail }),
        Due::Later(until, why) => Step::Write(Transition::Wait { until, why }),
        Due::Now(target) => {
            let first = Some(Transition::Wait { until: now, why: Wait::Due });
            Step::Deliver { target, resume: false, first }
        }
    }
}

/// Whether a wait replaces the recorded one.
fn moves(recorded: (Timestamp, &Wait), new: (Timestamp, &Wait)) -> bool {
    let anew = match new.1 {
        Wait::Grace | Wait::Target(_) => recorded != new,
        Wait::Due | Wait::Backoff | Wait::Claimed => false,
    };
    // A recorded wait that is longer than the new one was recorded by a clock that was ahead.
    anew || recorded.0 > new.0
}

/// The result for a commission that is approved, unfulfilled, and not known to be delivered.
pub(super) fn due(commission: &Commission, entry: Entry<'_>, cx: Context<'_>) -> Due {
    if let Some((reason, detail)) = held_by(commission, cx) {
        return Due::Held(reason, detail);
    }
    let target = match target(commission, entry.reward, cx) {
        Ok(target) => target,
        Err((reason, detail)) => return Due::Held(reason, detail),
    };
    let (not_before, why) = not_before(commission, entry.reward, cx);
    match entry.claimed_until {
        // The ledger keeps one time for both: a claim must not shorten the wait that the target asked for with Retry-After.
        Some(until) => Due::Later(until.max(not_before), Wait::Claimed),
        None if not_before > cx.now => Due::Later(not_before, why),
        None => Due::Now(target),
    }
}

/// Policy's objection to the delivery, if any. In the order in which a person would ask.
fn held_by(commission: &Commission, cx: Context<'_>) -> Option<(HoldReason, String)> {
    let policy = cx.policy;
    if let Some(detail) = unreadable(commission, policy) {
        return Some((HoldReason::Unreadable, detail));
    }
    if let Unit::Unknown(unit) = &commission.unit {
        return Some((HoldReason::UnknownUnit, format!("the unit is {unit:?}")));
    }
    let amount = match &commission.amount {
        odd @ Amount::Odd(_) => return Some((HoldReason::BadAmount, format!("the amount is {odd}"))),
        Amount::Whole(amount) => *amount,
    };
    if !in_scope(commission, policy) {
        let detail = format!("unit {} and its campaign are no longer configured in [policy]", commission.unit);
        return Some((HoldReason::NoRoute, detail));
    }
    if let Some(limit) = policy.max_amount.get(&commission.unit).filter(|limit| amount > **limit) {
        return Some((
            HoldReason::OverLimit,
            format!("{amount} {}, and policy.max_amount allows {limit}", commission.unit),
        ));
    }
    if let Some(detail) = backlog(commission, policy) {
        return Some((HoldReason::Backlog, detail));
    }
    if let Some(suspicion) = commission.fraud_suspicion.as_ref().filter(|_| policy.hold_fraud_suspicion) {
        return Some((HoldReason::FraudSuspicion, format!("fraud_check is {suspicion}")));
    }
    if commission.is_self_referral && policy.hold_self_referral {
        return Some((HoldReason::SelfReferral, "is_self_referral is true".to_owned()));
    }
    match recipient(commission, policy, cx.rules) {
        None => Some((HoldReason::RecipientUnknown, recipient_unknown(commission, cx.rules))),
        Some(kind @ RecipientKind::Promoter) => no_recipient(kind, &commission.promoter),
        Some(kind @ RecipientKind::Referral) => no_recipient(kind, &commission.referral),
    }
}

/// What cannot be read of status or campaign, if the decision depends on it.
fn unreadable(commission: &Commission, policy: &Policy) -> Option<String> {
    if !commission.approved_now() {
        let status = commission.status.as_str();
        return Some(format!("its status is {status:?}, where only approved ones were asked for"));
    }
    let no_campaign = commission.campaign.is_none() && !policy.campaigns.is_empty();
    no_campaign.then(|| "which campaign it is of could not be read, and policy.campaigns allows only some".to_owned())
}

/// Why it may be older than `policy.deliver_from`. The time of creation replaces that of approval, because approval cannot be
/// earlier. If neither can be read, the reward does not count as young.
fn backlog(commission: &Commission, policy: &Policy) -> Option<String> {
    let from = policy.deliver_from;
    let (word, at) = match (commission.approved_at(), commission.created_at) {
        (Some(approved), _) => ("approved", approved),
        (None, Some(created)) => ("created", created),
        (None, None) => {
            return (from != Timestamp::UNIX_EPOCH).then(|| {
                format!(
                    "neither status_updated_at nor created_at could be read, so that it may be from before \
                     policy.deliver_from {from}"
                )
            });
        }
    };
    (at < from).then(|| format!("{word} {at}, before policy.deliver_from {from}"))
}

fn no_recipient<T>(kind: RecipientKind, party: &Reference<T>) -> Option<(HoldReason, String)> {
    let detail = match party {
        Reference::To(_) => return None,
        Reference::Null => format!("it goes to the {kind}, and names none"),
        Reference::Unreadable => {
            format!("it goes to the {kind}, of whom FirstPromoter's answer says nothing that can be read")
        }
    };
    Some((HoldReason::NoRecipient, detail))
}

fn recipient_unknown(commission: &Commission, rules: &Rules) -> String {
    match (&commission.reward, &rules.refused) {
        (Reference::Null, _) => match commission.promoter {
            Reference::To(_) | Reference::Null => "it comes from no reward rule, and names two parties".to_owned(),
            Reference::Unreadable => {
                "it comes from no reward rule, and whether it has a promoter could not be read".to_owned()
            }
        },
        (Reference::Unreadable, _) => "which reward rule it comes from could not be read: FirstPromoter's answer has \
             no usable `reward`, and that it is absent does not say that there is none"
            .to_owned(),
        (Reference::To(reward), Some(words)) => {
            format!("who receives reward {} is not known: {words}", reward.id)
        }
        (Reference::To(reward), None) => format!("GET /rewards does not tell who receives reward {}", reward.id),
    }
}

/// The target. A delivery that may have taken effect at one target never goes to another.
fn target(commission: &Commission, reward: Option<&Reward>, cx: Context<'_>) -> Result<String, (HoldReason, String)> {
    if let Some(at) = reward.and_then(Reward::doubt) {
        return repeatable(at, cx);
    }
    let matches = |route: &&Route| {
        route.unit.as_ref().is_none_or(|unit| *unit == commission.unit)
            && route.recipient.is_none_or(|kind| recipient(commission, cx.policy, cx.rules) == Some(kind))
            && route.campaign.is_none_or(|id| commission.campaign.as_ref().is_some_and(|campaign| campaign.id == id))
    };
    cx.policy
        .routes
        .iter()
        .find(matches)
        .map(|route| route.target.clone())
        .ok_or_else(|| (HoldReason::NoRoute, "no route matches its unit, recipient and campaign".to_owned()))
}

/// Where an attempt of unknown outcome may be repeated, or why it may not.
pub(super) fn repeatable(at: &Attempted, cx: Context<'_>) -> Result<String, (HoldReason, String)> {
    let target = &at.target;
    let unknown = |why: String| {
        let what = format!("an attempt at {target} was cut off or lost, and ");
        Err((HoldReason::OutcomeUnknown, what + &why))
    };
    let Some(now) = cx.targets.get(target) else { return unknown(format!("{target} is no longer configured")) };
    // An attempt of 0.1 has none until the first command that may write gives it that of today's target.
    let then = at.fingerprint.as_ref().unwrap_or(now);
    match then.difference(now) {
        Some(difference) => unknown(format!("{target} is another target now: {difference}")),
        None if !now.deduplicates() => unknown(format!("{target} does not deduplicate by key")),
        None => Ok(target.clone()),
    }
}

/// The grace period counts from approval, but never from later than when the reward was found owed. So FirstPromoter's clock
/// cannot postpone it for ever.
fn not_before(commission: &Commission, reward: Option<&Reward>, cx: Context<'_>) -> (Timestamp, Wait) {
    let found = reward.filter(|it| it.state != State::Cancelled).map_or(cx.now, |reward| found(reward, cx.now));
    let since = commission.approved_exactly_at().map_or(found, |approved| approved.min(found));
    let (recorded, backoff) = recorded(reward, cx);
    let grace = if since > cx.now {
        // Found in the future by a clock that was ahead, and no pass has written since. The grace period begins now. If an
        // earlier pass has already written its end, that counts.
        let anew = end_of_grace(cx.now, cx);
        recorded.map_or(anew, |recorded| recorded.min(anew))
    } else {
        end_of_grace(since, cx)
    };
    match backoff.map(|(backoff, why)| (backoff.min(latest(cx)), why)) {
        Some((backoff, why)) if backoff > grace => (backoff, why),
        Some(_) | None => (grace, Wait::Grace),
    }
}

/// When a pass found it owed. Suppose the machine starts with its clock behind: what was found a minute before looks as if found in the
/// future, and a pass writes that it is found then (`Ledger::found_by_now`). The clock is set right, and the grace period would be over
/// before it was: nothing is found before it was seen first. What the fuse holds has had its grace period.
fn found(reward: &Reward, now: Timestamp) -> Timestamp {
    let first = Some(reward.first_seen_at).filter(|first| *first <= now && !held_by_fuse(reward));
    first.map_or(reward.owed_since, |first| reward.owed_since.max(first))
}

fn held_by_fuse(reward: &Reward) -> bool {
    matches!(reward.state, State::Held { reason: HoldReason::Fuse, .. })
}

/// What the ledger says about waiting: the time, and a wait that a failed attempt does not shorten.
fn recorded(reward: Option<&Reward>, cx: Context<'_>) -> (Option<Timestamp>, Option<(Timestamp, Wait)>) {
    let Some(reward) = reward else { return (None, None) };
    let after_failure = |until: Timestamp, why: Wait| Some((until, why)).filter(|_| reward.failures > 0);
    match &reward.state {
        State::Waiting { until, why, .. } => {
            let why = if *why == Wait::Due { Wait::Backoff } else { why.clone() };
            (Some(*until), after_failure(*until, why))
        }
        // It was tried, so the handler has had its chance.
        State::Delivering => (Some(cx.now), None),
        State::Held { until, .. } => (None, until.and_then(|until| after_failure(until, Wait::Backoff))),
        State::Delivered { .. }
        | State::Fulfilled { .. }
        | State::Cancelled
        | State::Reversed { .. }
        | State::Dismissed => (None, None),
    }
}

pub(super) fn end_of_grace(since: Timestamp, cx: Context<'_>) -> Timestamp {
    let grace = chrono::TimeDelta::from_std(cx.policy.grace).ok().and_then(|grace| since.checked_add_signed(grace));
    // To the millisecond, as the ledger keeps it. A finer time from FirstPromoter would look new in every pass.
    grace.unwrap_or(Timestamp::MAX_UTC).trunc_subsecs(3)
}

/// The latest end that a wait of ours can have. A later one was recorded by a clock that was ahead, and does not count.
pub(super) fn latest(cx: Context<'_>) -> Timestamp {
    let longest = chrono::TimeDelta::from_std(cx.policy.retry.max.max(RETRY_AFTER_MAX)).ok();
    longest.and_then(|longest| cx.now.checked_add_signed(longest)).unwrap_or(Timestamp::MAX_UTC)
}
