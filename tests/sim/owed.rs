//! A second model of the rules: what is owed, to whom, and what forbids a delivery.
//!
//! Written from the promises (`src/manual/decisions.md`), not from `src/plan`: it shares no code with what it judges.

use makegood::domain::Timestamp;

use super::{
    commission::{Commission, Content, Party, RULES, Status, UNITS, Version},
    terms::{ACCOUNT, Terms},
};

/// The key of a delivery. It never changes.
pub fn key(id: i64) -> String {
    format!("fp-{ACCOUNT}-{id}")
}

/// Whether it is in scope: approved, not money, of a configured (or unknown) unit and of a configured campaign. This does not
/// include whether it is fulfilled.
pub fn in_scope(version: &Version, terms: &Terms) -> bool {
    let unit = version.unit != "cash" && (terms.units.contains(&version.unit) || !UNITS.contains(&version.unit));
    let campaign = terms.campaigns.is_empty() || version.campaign.is_none_or(|id| terms.campaigns.contains(&id));
    version.there && version.status == Status::Approved && unit && campaign
}

/// Whether `GET /rewards` can be asked who receives what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    Shown,
    /// No: only the commission itself tells.
    Withheld,
}

/// The content of the delivery, if it is known.
pub fn content(version: &Version, terms: &Terms, rules: Rules) -> Option<Content> {
    if version.amount <= 0 || !UNITS.contains(&version.unit) {
        return None;
    }
    let party = party(version, terms, rules)?;
    let recipient = match party {
        Party::Promoter => version.promoter,
        Party::Referral => version.referral,
    }?;
    Some(Content { unit: version.unit.to_owned(), amount: version.amount, party, recipient })
}

fn party(version: &Version, terms: &Terms, rules: Rules) -> Option<Party> {
    if terms.recipient.is_some() {
        return terms.recipient;
    }
    let shown = version.rule.filter(|_| rules == Rules::Shown);
    let by_rule = shown.and_then(|id| RULES.iter().find(|rule| rule.0 == id)).and_then(|rule| rule.1);
    match by_rule {
        Some(party) => Some(party),
        None if version.custom && version.rule.is_none() => Some(Party::Promoter),
        None if version.promoter.is_none() => Some(Party::Referral),
        None => None,
    }
}

/// Whether everything that the decision depends on can be read.
fn is_readable(version: &Version, terms: &Terms) -> bool {
    !version.odd_word && (terms.campaigns.is_empty() || version.campaign.is_some())
}

/// The delivery, if the reward is owed and nothing forbids it.
pub fn deliverable(commission: &Commission, version: &Version, terms: &Terms, rules: Rules) -> Option<Content> {
    let approved_at = version.status_at.or(commission.created_told());
    let from_ever = terms.deliver_from == Timestamp::UNIX_EPOCH;
    let fraud = version.fraud.is_some_and(|words| words != "no_suspicion");
    let refused = version.fulfilled
        || (version.unit == "points" && version.amount > terms.max_points)
        || (!from_ever && approved_at.is_none_or(|at| at < terms.deliver_from))
        || !is_readable(version, terms)
        || (fraud && terms.hold_fraud)
        || (version.self_referral && terms.hold_self_referral);
    if refused || !in_scope(version, terms) {
        return None;
    }
    content(version, terms, rules)
}
