//! A row of `rewards`, and the facts in it that come from FirstPromoter.

use rusqlite::{Row, types::Type};

use super::{DeliveredBy, Drift, HoldReason, RewardState};
use crate::{
    delivery::{Delivery, Fingerprint, Recipient},
    domain::{
        Campaign, CommissionId, DeliveryKey, Promoter, RecipientKind, Referral, RewardRef, Timestamp, Unit,
        upstream_timestamp_text,
    },
};

/// What FirstPromoter said of a commission, as recorded; deliveries are made from these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Null until a pass has seen it.
    pub unit: Option<Unit>,
    /// Null until a pass has seen it, or where the amount is not a positive whole number.
    pub amount: Option<i64>,
    /// Null while it cannot be told.
    pub recipient: Option<RecipientKind>,
    /// The affiliate.
    pub promoter: Option<Promoter>,
    /// The referred customer.
    pub referral: Option<Referral>,
    /// The campaign.
    pub campaign: Option<Campaign>,
    /// The reward's rule.
    pub reward: Option<RewardRef>,
    /// When FirstPromoter approved it.
    pub approved_at: Option<Timestamp>,
    /// When it came to be.
    pub created_at: Option<Timestamp>,
}

impl Facts {
    /// Whom the recorded recipient kind names: FirstPromoter's id.
    pub fn recipient_id(&self) -> Option<i64> {
        match self.recipient? {
            RecipientKind::Promoter => self.promoter.as_ref().map(|promoter| promoter.id),
            RecipientKind::Referral => self.referral.as_ref().map(|referral| referral.id),
        }
    }

    /// What of amount, unit or recipient differs in `newer`, in words; none where nothing that matters does. What is not
    /// known, before or now, does not differ.
    pub fn difference(&self, newer: &Self) -> Option<String> {
        fn differ<T: PartialEq + std::fmt::Display>(what: &str, old: Option<&T>, new: Option<&T>) -> Option<String> {
            let (old, new) = (old?, new?);
            (old != new).then(|| format!("{what} {old} -> {new}"))
        }
        let kind = differ("recipient", self.recipient.as_ref(), newer.recipient.as_ref());
        let who = if kind.is_none() {
            differ("recipient's id", self.recipient_id().as_ref(), newer.recipient_id().as_ref())
        } else {
            None
        };
        let all: Vec<String> = [
            differ("unit", self.unit.as_ref(), newer.unit.as_ref()),
            differ("amount", self.amount.as_ref(), newer.amount.as_ref()),
            kind,
            who,
        ]
        .into_iter()
        .flatten()
        .collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// The body for a target; none where unit, amount or recipient is missing, which the plan holds and never delivers.
    pub fn delivery(&self, id: CommissionId, key: DeliveryKey) -> Option<Delivery> {
        let recipient = match self.recipient? {
            RecipientKind::Promoter => {
                let promoter = self.promoter.clone()?;
                Recipient {
                    kind: RecipientKind::Promoter,
                    id: promoter.id,
                    email: promoter.email,
                    name: promoter.name,
                    uid: None,
                }
            }
            RecipientKind::Referral => {
                let referral = self.referral.clone()?;
                Recipient {
                    kind: RecipientKind::Referral,
                    id: referral.id,
                    email: referral.email,
                    name: None,
                    uid: referral.uid,
                }
            }
        };
        Some(Delivery {
            kind: "reward.deliver",
            key,
            commission_id: id,
            unit: self.unit.as_ref()?.as_str().to_owned(),
            amount: self.amount?,
            recipient,
            promoter: self.promoter.clone(),
            referral: self.referral.clone(),
            campaign: self.campaign.clone(),
            reward: self.reward.clone(),
            approved_at: self.approved_at.map(upstream_timestamp_text),
            created_at: self.created_at.map(upstream_timestamp_text),
        })
    }
}

/// One row of `rewards`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reward {
    /// Primary key.
    pub id: CommissionId,
    /// Where it stands.
    pub state: RewardState,
    /// Why it is held; present exactly when it is.
    pub hold_reason: Option<HoldReason>,
    /// What FirstPromoter said.
    pub facts: Facts,
    /// When a pass, or a handler's `record`, saw it first.
    pub first_seen_at: Timestamp,
    /// When it was last found owed anew.
    pub owed_since: Timestamp,
    /// The target of the last attempt.
    pub target: Option<String>,
    /// That target as it was then; none where nothing was tried, or by 0.1.
    pub fingerprint: Option<Fingerprint>,
    /// The delivery key.
    pub key: DeliveryKey,
    /// All attempts so far.
    pub attempts: u32,
    /// Failures in a row.
    pub failures: u32,
    /// Of this row of failures.
    pub first_attempt_at: Option<Timestamp>,
    /// Some attempt may have taken effect.
    pub uncertain: bool,
    /// Not before.
    pub next_attempt_at: Option<Timestamp>,
    /// Of the last failure, or why it is held.
    pub last_error: Option<String>,
    /// Who delivered.
    pub delivered_by: Option<DeliveredBy>,
    /// Passes in a row that could not mark it.
    pub mark_attempts: u32,
    /// Why not, in FirstPromoter's words.
    pub mark_error: Option<String>,
    /// How FirstPromoter contradicts what was settled.
    pub drift: Option<Drift>,
}

/// The columns that [`Reward::read`] reads.
pub(super) const COLUMNS: &str = "commission_id, state, hold_reason, unit, amount, recipient, promoter_id, promoter_email, promoter_name, \
     referral_id, referral_email, referral_uid, campaign_id, campaign_name, reward_id, reward_name, approved_at, created_at, \
     first_seen_at, owed_since, target, key, attempts, failures, first_attempt_at, uncertain, next_attempt_at, last_error, \
     delivered_by, mark_attempts, mark_error, drift, fingerprint";

/// A word or time that the CHECKs should not have let in.
#[derive(Debug, thiserror::Error)]
#[error("{column} is {value:?}")]
pub(super) struct Odd {
    pub(super) column: &'static str,
    pub(super) value: String,
}

fn odd(row: &Row<'_>, column: &'static str, value: &str) -> rusqlite::Error {
    let index = row.as_ref().column_index(column).unwrap_or_default();
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(Odd { column, value: value.to_owned() }))
}

/// Reads a time column; any RFC 3339 text will do, as others write claims.
pub(super) fn time(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse::<Timestamp>().map_err(|_| odd(row, column, &text))).transpose()
}

/// Reads a time column that is never null.
fn time_set(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Timestamp> {
    time(row, column)?.ok_or_else(|| odd(row, column, "null"))
}

/// Reads a column of words.
fn word<T>(row: &Row<'_>, column: &'static str, read: impl Fn(&str) -> Option<T>) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| read(&text).ok_or_else(|| odd(row, column, &text))).transpose()
}

impl Reward {
    /// Whether an attempt may have taken effect: it had no verdict, or was cut off.
    pub fn in_doubt(&self) -> bool {
        self.uncertain || self.state == RewardState::Delivering
    }

    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: CommissionId(row.get("commission_id")?),
            state: word(row, "state", RewardState::from_word)?.ok_or_else(|| odd(row, "state", "null"))?,
            hold_reason: word(row, "hold_reason", HoldReason::from_word)?,
            facts: Facts {
                unit: word(row, "unit", |text| Some(Unit::from_wire(text)))?,
                amount: row.get("amount")?,
                recipient: word(row, "recipient", RecipientKind::from_word)?,
                promoter: match row.get::<_, Option<i64>>("promoter_id")? {
                    Some(id) => {
                        Some(Promoter { id, email: row.get("promoter_email")?, name: row.get("promoter_name")? })
                    }
                    None => None,
                },
                referral: match row.get::<_, Option<i64>>("referral_id")? {
                    Some(id) => Some(Referral { id, email: row.get("referral_email")?, uid: row.get("referral_uid")? }),
                    None => None,
                },
                campaign: match row.get::<_, Option<i64>>("campaign_id")? {
                    Some(id) => Some(Campaign { id, name: row.get("campaign_name")? }),
                    None => None,
                },
                reward: match row.get::<_, Option<i64>>("reward_id")? {
                    Some(id) => Some(RewardRef { id, name: row.get("reward_name")? }),
                    None => None,
                },
                approved_at: time(row, "approved_at")?,
                created_at: time(row, "created_at")?,
            },
            first_seen_at: time_set(row, "first_seen_at")?,
            owed_since: time_set(row, "owed_since")?,
            target: row.get("target")?,
            fingerprint: row.get::<_, Option<String>>("fingerprint")?.map(Fingerprint::recorded),
            key: DeliveryKey::recorded(row.get("key")?),
            attempts: row.get("attempts")?,
            failures: row.get("failures")?,
            first_attempt_at: time(row, "first_attempt_at")?,
            uncertain: row.get("uncertain")?,
            next_attempt_at: time(row, "next_attempt_at")?,
            last_error: row.get("last_error")?,
            delivered_by: word(row, "delivered_by", DeliveredBy::from_word)?,
            mark_attempts: row.get("mark_attempts")?,
            mark_error: row.get("mark_error")?,
            drift: word(row, "drift", Drift::from_word)?,
        })
    }
}
