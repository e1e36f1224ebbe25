//! The state of a reward in a sentence that answers "did they get it, and if not, why?".

use std::collections::BTreeMap;

use super::{
    super::text::{self, counted, when},
    Case,
};
use crate::{
    domain::{RecipientKind, Timestamp, Unit},
    ledger::{DeliveredBy, Drift, Given, Health, HoldReason, Marking, OutcomeWord, Reward, RewardState, State, Wait},
};

/// One reward, with the present facts that matter for it.
pub(super) struct Row<'a> {
    pub(super) case: &'a Case,
    /// The targets in trouble.
    pub(super) health: BTreeMap<String, Health>,
    pub(super) now: Timestamp,
}

/// The state of a reward in its recipient's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Got,
    Coming,
    Held,
    Never,
}

impl Fate {
    pub(super) const ALL: [(Self, &'static str); 4] =
        [(Self::Got, "got"), (Self::Coming, "on its way"), (Self::Held, "held"), (Self::Never, "not given")];
}

/// Amounts by unit: `1000 points, 50 credits (3 rewards)`; empty where there are none.
pub(super) fn sum<'r, 'a: 'r>(rows: impl Iterator<Item = &'r Row<'a>>) -> String {
    let (mut count, mut by_unit) = (0, BTreeMap::<&str, i128>::new());
    for row in rows {
        count += 1;
        let facts = &row.reward().facts;
        let unit = facts.unit.as_ref().map_or("?", Unit::as_str);
        *by_unit.entry(unit).or_default() += i128::from(facts.amount.unwrap_or(0));
    }
    if count == 0 {
        return String::new();
    }
    let amounts: Vec<String> = by_unit.iter().map(|(unit, amount)| format!("{amount} {unit}")).collect();
    format!("{} ({})", amounts.join(", "), counted(count, "reward"))
}

impl Row<'_> {
    pub(super) fn reward(&self) -> &Reward {
        &self.case.dossier.reward
    }

    pub(super) fn amount(&self) -> String {
        let facts = &self.reward().facts;
        text::amount(facts.amount, facts.unit.as_ref().map(Unit::as_str))
    }

    pub(super) fn recipient(&self) -> String {
        let facts = &self.reward().facts;
        text::recipient(facts.recipient.map(RecipientKind::as_str), facts.recipient_email())
    }

    /// Whether the recipient has this email, or is unknown so far.
    pub(super) fn may_go_to(&self, email: &str) -> bool {
        let facts = &self.reward().facts;
        facts.recipient.is_none() || facts.recipient_email().is_some_and(|theirs| theirs.eq_ignore_ascii_case(email))
    }

    pub(super) fn fate(&self) -> Fate {
        match &self.reward().state {
            State::Delivered { .. } | State::Fulfilled { .. } => Fate::Got,
            State::Waiting { .. } | State::Delivering => Fate::Coming,
            State::Held { .. } => Fate::Held,
            State::Cancelled | State::Reversed { .. } | State::Dismissed => Fate::Never,
        }
    }

    pub(super) fn standing(&self) -> String {
        let reward = self.reward();
        let last_words = || self.last_words(reward.state.word());
        match &reward.state {
            State::Waiting { until, why, last_error } => self.waiting(*until, why, last_error.as_deref()),
            State::Delivering => format!(
                "Being delivered{}: an attempt has no outcome yet, or was cut off. If nothing runs, the next pass settles it.",
                reward.target().map(|target| format!(" at {target}")).unwrap_or_default()
            ),
            State::Delivered { given, marking } => self.delivered(given, marking),
            State::Fulfilled { given, at, drift } => self.fulfilled(given, *at, *drift),
            State::Held { reason, detail, .. } => self.held(*reason, detail.as_deref()),
            State::Cancelled => format!("Not owed: no longer approved, and never delivered. {}", last_words()),
            State::Reversed { .. } => format!("Given and reversed by a person. {}", last_words()),
            State::Dismissed => format!("Not delivered: a person decided so. {}", last_words()),
        }
    }

    fn waiting(&self, until: Timestamp, why: &Wait, last_error: Option<&str>) -> String {
        if let Some(claim) = &self.case.claim {
            return format!(
                "Owed, and not known to be delivered: {} has claimed it until {}.",
                claim.owner,
                when(&claim.expires_at)
            );
        }
        let failed = format!("{} failed", counted(u64::from(self.reward().failures), "attempt"));
        let last = last_error.map(|error| format!("The last one: {error}")).unwrap_or_default();
        let until_text = text::at(until);
        if until <= self.now && self.reward().failures == 0 {
            return format!("Owed, not delivered yet: due since {until_text}; the next pass delivers it.");
        }
        if until <= self.now {
            return format!("Owed, not delivered yet: {failed}; the next pass tries again. {last}");
        }
        let what = match why {
            Wait::Target(target) => {
                let trouble = self.health.get(target).map_or_else(
                    || format!("the last attempts at {target} failed"),
                    |it| format!("{} in a row at {target}", it.in_words()),
                );
                format!("{trouble}, so nothing goes there before {until_text}. {last}")
            }
            Wait::Grace => {
                format!("not before {until_text}, so that the webhook handler has its chance (policy.grace).")
            }
            Wait::Backoff => format!("{failed}, the next attempt not before {until_text}. {last}"),
            Wait::Claimed => format!("not before {until_text}, when a claim on it was to end. {last}"),
            Wait::Due => format!("not before {until_text}. {last}"),
        };
        format!("Owed, not delivered yet: {what}")
    }

    fn delivered(&self, given: &Given, marking: &Marking) -> String {
        let words = marking.error.as_deref().unwrap_or_default();
        let why = if marking.failures == 0 {
            "FirstPromoter is asked to mark it in the next pass.".to_owned()
        } else {
            let times = counted(u64::from(marking.failures), "time");
            format!("FirstPromoter was asked {times} to mark it: {words}")
        };
        format!("They have it: {}. Not marked fulfilled yet: {why}", self.by_whom(given))
    }

    fn fulfilled(&self, given: &Given, at: Timestamp, drift: Option<Drift>) -> String {
        let drift = match drift {
            Some(Drift::UnfulfilledUpstream) => {
                " Since then FirstPromoter lists it as unfulfilled again; makegood does not deliver it twice."
            }
            // Only a reversed reward has this one.
            Some(Drift::FulfilledAfterReversal) | None => "",
        };
        format!("They have it: {}. FirstPromoter said fulfilled at {}.{drift}", self.by_whom(given), text::at(at))
    }

    fn held(&self, reason: HoldReason, detail: Option<&str>) -> String {
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        let stop = if detail.ends_with(['.', '!', '?']) { "" } else { "." };
        let known = match self.reward().doubt() {
            Some(_) => "An attempt may have taken effect. Held",
            None => "Not delivered: held",
        };
        format!("{known} for a person to decide, {reason}{detail}{stop}")
    }

    /// Who delivered it, when, where, and under which receipt.
    fn by_whom(&self, given: &Given) -> String {
        let at = given.at.map(|at| format!(" at {}", text::at(at))).unwrap_or_default();
        let receipt = given.receipt.as_ref().map(|receipt| format!(", receipt {receipt}")).unwrap_or_default();
        match given.by {
            DeliveredBy::Makegood => {
                let to = self.reward().target().map(|target| format!(" to {target}")).unwrap_or_default();
                format!("delivered{at} by makegood{to}{receipt}")
            }
            DeliveredBy::Operator => format!("delivered, as a person decided{at}{receipt}"),
            DeliveredBy::Outside => {
                format!("delivered{at} outside of makegood, by the webhook handler or a person{receipt}")
            }
        }
    }

    /// Why it is in this state, and who said so.
    fn last_words(&self, state: RewardState) -> String {
        let entry = self.case.dossier.journal.iter().rev().find(|entry| entry.to_state == state);
        entry.map(|entry| format!("{}: {} ({})", when(&entry.at), entry.reason, entry.actor)).unwrap_or_default()
    }

    /// The attempts so far; none where there were none.
    pub(super) fn tried(&self) -> Option<String> {
        let attempts = &self.case.dossier.attempts;
        let last = attempts.last()?;
        let outcome = match last.outcome {
            Some(OutcomeWord::Delivered) => "delivered",
            Some(OutcomeWord::NotDelivered) => "not delivered",
            Some(OutcomeWord::Unknown) => "unknown",
            Some(OutcomeWord::Refused) => "refused",
            None => "no outcome yet, or cut off",
        };
        let times = counted(attempts.len() as u64, "attempt");
        Some(format!("{times}, the last at {} at {}: {outcome}", when(&last.started_at), last.target))
    }
}
