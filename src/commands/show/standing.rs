//! Where a reward stands, in a sentence that answers "did they get it, and if not, why?".

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    super::text::{self, counted, when},
    Case,
};
use crate::{
    domain::Timestamp,
    ledger::{Health, RewardState},
};

/// One reward, and what of the present bears on it.
pub(super) struct Row<'a> {
    pub(super) case: &'a Case,
    /// The targets in trouble.
    pub(super) health: BTreeMap<String, Health>,
    pub(super) now: Timestamp,
}

/// What has become of a reward, as its recipient would ask.
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
        *by_unit.entry(row.text("unit").unwrap_or("?")).or_default() += i128::from(row.number("amount").unwrap_or(0));
    }
    if count == 0 {
        return String::new();
    }
    let amounts: Vec<String> = by_unit.iter().map(|(unit, amount)| format!("{amount} {unit}")).collect();
    format!("{} ({})", amounts.join(", "), counted(count, "reward"))
}

impl Row<'_> {
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        self.case.reward().get(column).and_then(Value::as_str)
    }

    pub(super) fn number(&self, column: &str) -> Option<i64> {
        self.case.reward().get(column).and_then(Value::as_i64)
    }

    pub(super) fn amount(&self) -> String {
        text::amount(self.number("amount"), self.text("unit"))
    }

    pub(super) fn recipient(&self) -> String {
        text::recipient(self.text("recipient"), self.recipient_email())
    }

    fn recipient_email(&self) -> Option<&str> {
        match self.text("recipient")? {
            "referral" => self.text("referral_email"),
            _ => self.text("promoter_email"),
        }
    }

    /// The recipient has this email, or it is not known yet who that is.
    pub(super) fn may_go_to(&self, email: &str) -> bool {
        self.text("recipient").is_none()
            || self.recipient_email().is_some_and(|theirs| theirs.eq_ignore_ascii_case(email))
    }

    fn state(&self) -> Option<RewardState> {
        self.text("state").and_then(RewardState::from_word)
    }

    pub(super) fn fate(&self) -> Fate {
        match self.state() {
            Some(RewardState::Delivered | RewardState::Fulfilled) => Fate::Got,
            Some(RewardState::Waiting | RewardState::Delivering) => Fate::Coming,
            Some(RewardState::Held) | None => Fate::Held,
            Some(RewardState::Cancelled | RewardState::Reversed | RewardState::Dismissed) => Fate::Never,
        }
    }

    pub(super) fn standing(&self) -> String {
        match self.state() {
            Some(RewardState::Waiting) => self.waiting(),
            Some(RewardState::Delivering) => format!(
                "Being delivered{}: an attempt has no outcome yet, or was cut off. If nothing runs, the next pass settles it.",
                self.at_target()
            ),
            Some(RewardState::Delivered) => self.delivered(),
            Some(RewardState::Fulfilled) => self.fulfilled(),
            Some(RewardState::Held) => self.held(),
            Some(RewardState::Cancelled) => {
                format!(
                    "Not owed: no longer approved, and never delivered. {}",
                    self.last_words(RewardState::Cancelled)
                )
            }
            Some(RewardState::Reversed) => {
                format!("Given and reversed by a person. {}", self.last_words(RewardState::Reversed))
            }
            Some(RewardState::Dismissed) => {
                format!("Not delivered: a person decided so. {}", self.last_words(RewardState::Dismissed))
            }
            None => "In a state that this version does not know.".to_owned(),
        }
    }

    fn waiting(&self) -> String {
        let next = self.text("next_attempt_at").unwrap_or_default();
        let not_before = next.parse::<Timestamp>().ok().filter(|at| *at > self.now);
        let failures = u64::try_from(self.number("failures").unwrap_or(0)).unwrap_or(0);
        let trouble = self.health.iter().find(|(_, it)| it.retry_at.is_some() && it.retry_at == not_before);
        if let Some(claim) = &self.case.claim {
            return format!(
                "Owed, and not known to be delivered: {} has claimed it until {}.",
                claim.owner,
                when(&claim.expires_at)
            );
        }
        match (not_before, trouble) {
            (None, _) if failures == 0 => {
                format!("Owed, not delivered yet: due since {}; the next pass delivers it.", when(next))
            }
            (None, _) => format!(
                "Owed, not delivered yet: {}; the next pass tries again. {}",
                failed(failures),
                self.last_error()
            ),
            (Some(_), Some((target, it))) => format!(
                "Owed, not delivered yet: {} in a row at {target}, so nothing goes there before {}. {}",
                it.in_words(),
                when(next),
                self.last_error()
            ),
            (Some(_), None) if failures == 0 => format!(
                "Owed, not delivered yet: not before {}, so that the webhook handler has its chance (policy.grace).",
                when(next)
            ),
            (Some(_), None) => format!(
                "Owed, not delivered yet: {}, the next attempt not before {}. {}",
                failed(failures),
                when(next),
                self.last_error()
            ),
        }
    }

    fn delivered(&self) -> String {
        let asked = u64::try_from(self.number("mark_attempts").unwrap_or(0)).unwrap_or(0);
        let words = self.text("mark_error").unwrap_or_default();
        let why = if asked == 0 {
            "FirstPromoter is asked to mark it in the next pass.".to_owned()
        } else {
            format!("FirstPromoter was asked {} to mark it: {words}", counted(asked, "time"))
        };
        format!("They have it: {}. Not marked fulfilled yet: {why}", self.by_whom())
    }

    fn fulfilled(&self) -> String {
        let since = self.text("fulfilled_at").map(when).unwrap_or_default();
        let drift = match self.text("drift") {
            Some(_) => " Since then FirstPromoter lists it as unfulfilled again; makegood does not deliver it twice.",
            None => "",
        };
        format!("They have it: {}. FirstPromoter said fulfilled at {since}.{drift}", self.by_whom())
    }

    fn held(&self) -> String {
        let reason = self.text("hold_reason").unwrap_or_default();
        let detail = self.text("last_error").map(|detail| format!(": {detail}")).unwrap_or_default();
        let perhaps = match self.number("uncertain") {
            Some(1) => "An attempt may have taken effect. ",
            Some(_) | None => "",
        };
        let stop = if detail.ends_with(['.', '!', '?']) { "" } else { "." };
        let known = if perhaps.is_empty() { "Not delivered: held" } else { "Held" };
        format!("{perhaps}{known} for a person to decide, {reason}{detail}{stop}")
    }

    /// Who delivered it, when, where, under which receipt.
    fn by_whom(&self) -> String {
        let at = self.text("delivered_at").map(|at| format!(" at {}", when(at))).unwrap_or_default();
        let receipt = self.text("receipt").map(|receipt| format!(", receipt {receipt}")).unwrap_or_default();
        match self.text("delivered_by") {
            Some("makegood") => format!("delivered{at} by makegood{}{receipt}", self.to_target()),
            Some("operator") => format!("delivered, as a person decided{at}{receipt}"),
            Some(_) | None => {
                format!("delivered{at} outside of makegood, by the webhook handler or a person{receipt}")
            }
        }
    }

    fn to_target(&self) -> String {
        self.text("target").map(|target| format!(" to {target}")).unwrap_or_default()
    }

    fn at_target(&self) -> String {
        self.text("target").map(|target| format!(" at {target}")).unwrap_or_default()
    }

    fn last_error(&self) -> String {
        self.text("last_error").map(|error| format!("The last one: {error}")).unwrap_or_default()
    }

    /// Why it came to this state, and who said so.
    fn last_words(&self, state: RewardState) -> String {
        let entry = self.case.dossier.journal.iter().rev().find(|entry| column(entry, "to_state") == state.as_str());
        entry
            .map(|entry| {
                format!("{}: {} ({})", when(column(entry, "at")), column(entry, "reason"), column(entry, "actor"))
            })
            .unwrap_or_default()
    }

    /// What was tried; none where nothing was.
    pub(super) fn tried(&self) -> Option<String> {
        let attempts = &self.case.dossier.attempts;
        let last = attempts.last()?;
        let outcome = last.get("outcome").and_then(Value::as_str).unwrap_or("no outcome yet, or cut off");
        let at = when(column(last, "started_at"));
        let times = counted(attempts.len() as u64, "attempt");
        Some(format!("{times}, the last at {at} at {}: {}", column(last, "target"), outcome.replace('_', " ")))
    }
}

fn failed(failures: u64) -> String {
    format!("{} failed", counted(failures, "attempt"))
}

fn column<'m>(row: &'m Map<String, Value>, name: &str) -> &'m str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}
