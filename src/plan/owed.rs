//! What is owed: whether policy holds it, where it goes, and when. A part of the plan, and as pure.

use chrono::SubsecRound;

use super::{Context, Entry, Observation, Rules, Step, Why, recipient};
use crate::{
    config::{Policy, Route},
    domain::{Amount, Commission, RecipientKind, Reference, Timestamp, Unit},
    failure::RETRY_AFTER_MAX,
    ledger::{Attempted, HoldReason, Reward, State, Transition, Wait},
};

/// What is due to a commission that is owed, whatever the ledger has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// Policy is against delivery, or where it goes cannot be told.
    Held(HoldReason, String),
    /// Not before this time.
    Later(Timestamp, Wait),
    /// Delivery at this target.
    Now(String),
}

/// One that the ledger does not know.
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

/// Whether a commission that the ledger does not know is any of our business: approved, not money, of a unit (or an unknown one)
/// and a campaign that are configured.
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

/// One that names no campaign may be of a configured one: it is held as `unreadable`.
fn in_campaigns(commission: &Commission, policy: &Policy) -> bool {
    policy.campaigns.is_empty()
        || commission.campaign.as_ref().is_none_or(|campaign| policy.campaigns.contains(&campaign.id))
}

/// What is due means this for a row that stands there. The only way to a delivery: what is settled never gets one.
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

/// The row does not wait yet.
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

/// Whether a wait replaces the one that is recorded.
fn moves(recorded: (Timestamp, &Wait), new: (Timestamp, &Wait)) -> bool {
    let anew = match new.1 {
        Wait::Grace | Wait::Target(_) => recorded != new,
        Wait::Due | Wait::Backoff | Wait::Claimed => false,
    };
    // A wait that is shorter than what is recorded was recorded by a clock that was ahead.
    anew || recorded.0 > new.0
}

/// What is due to a commission that is approved and unfulfilled, and not known to be delivered.
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
        // The ledger keeps one time for both: a claim must not shorten what the target asked for with Retry-After.
        Some(until) => Due::Later(until.max(not_before), Wait::Claimed),
        None if not_before > cx.now => Due::Later(not_before, why),
        None => Due::Now(target),
    }
}

/// What policy says against delivering it; the order is the order in which a person would ask.
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

/// What of status and campaign could not be read, where the decision depends on it.
fn unreadable(commission: &Commission, policy: &Policy) -> Option<String> {
    if !commission.approved_now() {
        let status = commission.status.as_str();
        return Some(format!("its status is {status:?}, where only approved ones were asked for"));
    }
    let no_campaign = commission.campaign.is_none() && !policy.campaigns.is_empty();
    no_campaign.then(|| "which campaign it is of could not be read, and policy.campaigns allows only some".to_owned())
}

/// Why it may be older than what is to be delivered. The time of creation stands in for that of approval, which cannot be
/// earlier; where neither can be read, it is not taken for young.
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

/// Where it goes. What may have taken effect at one target never goes to another.
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

/// Whether an attempt with an unknown outcome may be made again, and where.
pub(super) fn repeatable(at: &Attempted, cx: Context<'_>) -> Result<String, (HoldReason, String)> {
    let target = &at.target;
    let unknown = |why: String| {
        let what = format!("an attempt at {target} was cut off or lost, and ");
        Err((HoldReason::OutcomeUnknown, what + &why))
    };
    let Some(now) = cx.targets.get(target) else { return unknown(format!("{target} is no longer configured")) };
    // An attempt of 0.1 has none before the first pass; it is then given the one of today.
    let then = at.fingerprint.as_ref().unwrap_or(now);
    match then.difference(now) {
        Some(difference) => unknown(format!("{target} is another target now: {difference}")),
        None if !now.deduplicates() => unknown(format!("{target} does not deduplicate by key")),
        None => Ok(target.clone()),
    }
}

/// The grace period counts from approval, but never from later than when the reward was found owed: FirstPromoter's clock must not
/// postpone it for ever.
fn not_before(commission: &Commission, reward: Option<&Reward>, cx: Context<'_>) -> (Timestamp, Wait) {
    let found = reward.filter(|it| it.state != State::Cancelled).map_or(cx.now, |reward| reward.owed_since);
    let since = commission.approved_exactly_at().map_or(found, |approved| approved.min(found));
    let (recorded, backoff) = recorded(reward, cx);
    let grace = if since > cx.now {
        // Found in the future: by a clock that was ahead, and a pass that writes has not come by since. The grace period begins
        // now; what an earlier pass wrote of that counts down.
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

/// What the ledger has of waits: until when it waits, and what is not shortened because an attempt failed.
fn recorded(reward: Option<&Reward>, cx: Context<'_>) -> (Option<Timestamp>, Option<(Timestamp, Wait)>) {
    let Some(reward) = reward else { return (None, None) };
    let after_failure = |until: Timestamp, why: Wait| Some((until, why)).filter(|_| reward.failures > 0);
    match &reward.state {
        State::Waiting { until, why, .. } => {
            let why = if *why == Wait::Due { Wait::Backoff } else { why.clone() };
            (Some(*until), after_failure(*until, why))
        }
        // Where it was tried, the handler has had its chance.
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
    // To the millisecond, as the ledger keeps it: FirstPromoter's finer times would look new to it in every pass.
    grace.unwrap_or(Timestamp::MAX_UTC).trunc_subsecs(3)
}

/// The latest time that a wait of ours may end at. A later one was recorded by a clock that was ahead, and is not believed.
pub(super) fn latest(cx: Context<'_>) -> Timestamp {
    let longest = chrono::TimeDelta::from_std(cx.policy.retry.max.max(RETRY_AFTER_MAX)).ok();
    longest.and_then(|longest| cx.now.checked_add_signed(longest)).unwrap_or(Timestamp::MAX_UTC)
}
