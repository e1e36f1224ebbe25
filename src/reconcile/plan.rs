//! What to do about one commission. Pure: no clock, no I/O, no logging, and no way to fail; odd data becomes a hold.
//!
//! Guarantees:
//! - The ledger decides before the listing: what it calls delivered is never delivered again, whatever upstream shows.
//! - A delivery whose outcome is unknown is repeated only at the same target (by fingerprint, not by name), with the same
//!   content, and only if that target deduplicates by key.
//! - Every approved commission in scope gets a decision that ends in `fulfilled` or in front of a person.

mod owed;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use chrono::TimeDelta;

use owed::{end_of_grace, latest, owed, repeatable};

use crate::{
    config::{Policy, RecipientPolicy},
    delivery::Fingerprint,
    domain::{Amount, Commission, RecipientKind, Timestamp, Unit},
    firstpromoter::RewardRule,
    ledger::{Facts, HoldReason, Reward, RewardState},
};

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

/// Who receives what comes from a rule (`GET /rewards`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// By `reward.id`; null where FirstPromoter did not say.
    pub known: BTreeMap<i64, Option<RecipientKind>>,
    /// They could not be had this time, and why.
    pub refused: Option<String>,
    /// They may be had next time: until then a rule that is not known may say anything.
    pub passing: bool,
}

/// All that a decision depends on besides the commission and its ledger row.
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

/// Why a reward waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The webhook handler has its chance.
    Grace,
    /// An attempt failed.
    Backoff,
    /// Somebody else holds a claim.
    Claimed,
    /// FirstPromoter would not mark it; not asked in every pass.
    Marking,
    /// The last attempts at its target failed.
    Target,
}

impl Waits {
    /// For a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grace => "grace: the webhook handler still has its chance",
            Self::Backoff => "backoff after a failed attempt",
            Self::Claimed => "claimed by somebody else",
            Self::Target => "the last attempts at its target failed; a few go first when the wait is over",
            Self::Marking => "delivered; FirstPromoter would not mark it, asked again later",
        }
    }
}

/// What to do about one commission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing changes, and why.
    Nothing(&'static str),
    /// Owed; not before this time.
    Wait(Timestamp, Waits),
    /// Deliver it at this target.
    Deliver(String),
    /// An attempt was cut off: the same key again, at the same target.
    Resume(String),
    /// Delivered: mark it fulfilled.
    Mark,
    /// Delivered, and FirstPromoter cannot mark it, for this reason.
    CannotMark(String),
    /// FirstPromoter says fulfilled.
    Adopt,
    /// A person has to decide.
    Hold(HoldReason, String),
    /// No longer approved, and never delivered.
    Cancel(String),
    /// FirstPromoter contradicts what was settled: unfulfilled, though the ledger calls it fulfilled, or fulfilled, though a
    /// person reversed it.
    Drift,
    /// It does so no longer.
    DriftOver,
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

/// Who receives a commission, as far as the policy and the rules tell. What is not said decides nothing.
pub fn recipient(commission: &Commission, policy: &Policy, rules: &Rules) -> Option<RecipientKind> {
    match policy.recipient {
        RecipientPolicy::Always(kind) => Some(kind),
        RecipientPolicy::Auto => {
            let by_rule = commission.reward.known().and_then(|reward| rules.known.get(&reward.id).copied().flatten());
            let by_hand = (commission.is_custom && commission.reward.is_null()).then_some(RecipientKind::Promoter);
            let may_be_known_later = rules.passing && commission.reward.known().is_some();
            let only_one = commission.promoter.is_null() && !may_be_known_later;
            let only_one = only_one.then_some(RecipientKind::Referral);
            by_rule.or(by_hand).or(only_one)
        }
    }
}

/// Who receives what comes from one rule.
pub fn recipient_of(rule: &RewardRule) -> Option<RecipientKind> {
    rule.is_promoter_reward.map(|promoter| if promoter { RecipientKind::Promoter } else { RecipientKind::Referral })
}

/// What the ledger records of a commission.
pub fn facts(commission: &Commission, policy: &Policy, rules: &Rules) -> Facts {
    Facts {
        unit: Some(commission.unit.clone()),
        amount: commission.amount.whole(),
        recipient: recipient(commission, policy, rules),
        promoter: commission.promoter.known().cloned(),
        referral: commission.referral.known().cloned(),
        campaign: commission.campaign.clone(),
        reward: commission.reward.known().cloned(),
        approved_at: commission.approved_at(),
        created_at: commission.created_at,
    }
}

/// How long what is due may be in neither of FirstPromoter's answers before a person is asked.
const UNCLEAR_PATIENCE: TimeDelta = TimeDelta::hours(24);

/// Why nothing can be concluded.
const NEITHER: &str = "FirstPromoter calls it neither fulfilled nor unfulfilled";

/// What to do about one commission.
pub fn decide(observed: &Observation, entry: Entry<'_>, cx: Context<'_>) -> Decision {
    let Some(reward) = entry.reward else {
        return match observed {
            Observation::Listed(commission) if in_scope(commission, cx.policy) => owed(commission, entry, cx),
            Observation::Listed(_) => Decision::Nothing("out of scope"),
            Observation::Fulfilled | Observation::NotApproved(_) | Observation::Gone | Observation::Unclear => {
                Decision::Nothing("not owed")
            }
        };
    };
    match (reward.state, observed) {
        (RewardState::Fulfilled, Observation::Listed(_)) | (RewardState::Reversed, Observation::Fulfilled)
            if reward.drift.is_none() =>
        {
            Decision::Drift
        }
        (RewardState::Fulfilled, Observation::Fulfilled | Observation::NotApproved(_) | Observation::Gone)
        | (RewardState::Reversed, Observation::Listed(_) | Observation::NotApproved(_) | Observation::Gone)
            if reward.drift.is_some() =>
        {
            Decision::DriftOver
        }
        (RewardState::Reversed | RewardState::Dismissed, _) => Decision::Nothing("a person decided"),
        (RewardState::Delivered, Observation::Unclear) => {
            cannot_mark(reward, "FirstPromoter lists it neither as fulfilled nor as unfulfilled".to_owned())
        }
        (RewardState::Waiting | RewardState::Delivering | RewardState::Held, Observation::Unclear) => {
            unclear(reward, cx)
        }
        (_, Observation::Unclear) => Decision::Nothing(NEITHER),
        (RewardState::Fulfilled, _) => Decision::Nothing("fulfilled"),
        (RewardState::Cancelled, Observation::Listed(commission)) if in_scope(commission, cx.policy) => {
            owed(commission, entry, cx)
        }
        (RewardState::Cancelled, _) => Decision::Nothing("cancelled"),
        (_, Observation::Fulfilled) => Decision::Adopt,
        (RewardState::Delivered, Observation::Listed(_)) => mark(reward, cx),
        (RewardState::Delivered, Observation::NotApproved(status)) => {
            cannot_mark(reward, format!("FirstPromoter calls it {status} now, and marks only approved ones"))
        }
        (RewardState::Delivered, Observation::Gone) => {
            cannot_mark(reward, "FirstPromoter does not have it any more".to_owned())
        }
        (_, Observation::NotApproved(status)) => withdrawn(reward, &format!("FirstPromoter calls it {status} now")),
        (_, Observation::Gone) => withdrawn(reward, "FirstPromoter does not have it any more"),
        (RewardState::Held, Observation::Listed(_)) if !held_by_policy(reward) => {
            Decision::Nothing("held until a person resolves it")
        }
        (RewardState::Delivering, Observation::Listed(commission)) => cut_off(commission, reward, entry, cx),
        (RewardState::Waiting | RewardState::Held, Observation::Listed(commission)) => {
            match changed(commission, reward, cx) {
                Some(change) if reward.uncertain => Decision::Hold(HoldReason::Changed, change),
                Some(_) | None => owed(commission, entry, cx),
            }
        }
    }
}

fn held_by_policy(reward: &Reward) -> bool {
    reward.hold_reason.is_none_or(HoldReason::is_policy)
}

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

/// Found in `delivering`: the process ended between the intent and the outcome. It is owed by the same rules as any other: the
/// process may have ended before the request left, and a suspicion, a limit or a route of today counts then as before.
fn cut_off(commission: &Commission, reward: &Reward, entry: Entry<'_>, cx: Context<'_>) -> Decision {
    if let Some(change) = changed(commission, reward, cx) {
        return Decision::Hold(HoldReason::Changed, change);
    }
    match owed(commission, entry, cx) {
        Decision::Deliver(target) => Decision::Resume(target),
        other @ (Decision::Nothing(_)
        | Decision::Wait(..)
        | Decision::Resume(_)
        | Decision::Mark
        | Decision::CannotMark(_)
        | Decision::Adopt
        | Decision::Hold(..)
        | Decision::Cancel(_)
        | Decision::Drift
        | Decision::DriftOver) => other,
    }
}

/// Approved, and in neither answer: once is nothing, for long it is a person's.
fn unclear(reward: &Reward, cx: Context<'_>) -> Decision {
    // What lies in the future was recorded by a clock that was ahead.
    let found = [Some(reward.owed_since), reward.first_attempt_at].into_iter().flatten().find(|at| *at <= cx.now);
    let due = reward.next_attempt_at.filter(|_| reward.state == RewardState::Waiting);
    let latest = latest(cx).max(end_of_grace(cx.now, cx));
    if due.is_some_and(|due| due > latest) {
        return Decision::Wait(latest, Waits::Backoff);
    }
    let for_long = due.max(found).is_none_or(|since| cx.now - since > UNCLEAR_PATIENCE);
    match reward.state {
        RewardState::Delivering => match repeatable(reward, cx) {
            // FirstPromoter's next answer will not tell either: a person is asked now, not never.
            Err((reason, detail)) => Decision::Hold(reason, detail),
            Ok(_) if for_long => Decision::Hold(HoldReason::OutcomeUnknown, NEITHER.to_owned()),
            Ok(_) => Decision::Nothing(NEITHER),
        },
        RewardState::Waiting if for_long => Decision::Hold(HoldReason::Changed, NEITHER.to_owned()),
        RewardState::Waiting
        | RewardState::Held
        | RewardState::Delivered
        | RewardState::Fulfilled
        | RewardState::Cancelled
        | RewardState::Reversed
        | RewardState::Dismissed => Decision::Nothing(NEITHER),
    }
}

/// Denied, or gone: what may have taken effect goes to a person, what certainly did not is over.
fn withdrawn(reward: &Reward, why: &str) -> Decision {
    if reward.hold_reason == Some(HoldReason::OutcomeUnknown) {
        Decision::Nothing("held until a person resolves it")
    } else if reward.in_doubt() {
        Decision::Hold(
            HoldReason::OutcomeUnknown,
            format!(
                "{why}, and an attempt at {} may have taken effect",
                reward.target.as_deref().unwrap_or("a target")
            ),
        )
    } else {
        Decision::Cancel(why.to_owned())
    }
}

fn mark(reward: &Reward, cx: Context<'_>) -> Decision {
    match reward.next_attempt_at {
        // A longer wait was recorded by a clock that was ahead.
        Some(until) if until > cx.now && until <= latest(cx) => Decision::Wait(until, Waits::Marking),
        Some(_) | None => Decision::Mark,
    }
}

/// Said three times, then left to the person in front of whom it stands.
fn cannot_mark(reward: &Reward, why: String) -> Decision {
    if reward.mark_attempts >= MARK_ATTEMPTS_BEFORE_ATTENTION && reward.mark_error.as_ref() == Some(&why) {
        Decision::Nothing("delivered; FirstPromoter cannot mark it")
    } else {
        Decision::CannotMark(why)
    }
}

/// After as many passes in a row that could not mark a reward it stands in `attention`, and is asked for less often.
pub const MARK_ATTEMPTS_BEFORE_ATTENTION: u32 = 3;

/// Leaves targets in trouble alone: what would go to one waits until its time.
pub fn spare<'a>(decisions: impl Iterator<Item = &'a mut Decision>, closed: &BTreeMap<String, Timestamp>) {
    for decision in decisions {
        if let Decision::Deliver(target) | Decision::Resume(target) = decision
            && let Some(until) = closed.get(target)
        {
            *decision = Decision::Wait(*until, Waits::Target);
        }
    }
}

/// The fuse: when more would be delivered than `max`, none is, and all of them ask for a person. Returns how many wanted to be
/// delivered when it blew.
pub fn fuse<'a>(decisions: impl Iterator<Item = &'a mut Decision>, max: u64) -> Option<u64> {
    let mut wanted: Vec<_> =
        decisions.filter(|decision| matches!(decision, Decision::Deliver(_) | Decision::Resume(_))).collect();
    let count = u64::try_from(wanted.len()).unwrap_or(u64::MAX);
    if count <= max {
        return None;
    }
    for decision in &mut wanted {
        **decision = Decision::Hold(
            HoldReason::Fuse,
            format!("a pass wanted {count} deliveries, and policy.max_deliveries_per_pass allows {max}"),
        );
    }
    Some(count)
}
