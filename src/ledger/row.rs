//! The only reader of a row of `rewards`.
//!
//! Guarantees: a value that no CHECK allows is an error that names the column. Nothing is guessed.

use rusqlite::{Connection, OptionalExtension, Row, types::Type};

use super::{
    Attempted, DeliveredBy, Drift, Facts, Given, HoldReason, Marking, Reward, RewardState, State, Tried, Wait,
    WaitReason,
};
use crate::{
    delivery::Fingerprint,
    domain::{Campaign, CommissionId, DeliveryKey, Promoter, RecipientKind, Referral, RewardRef, Timestamp, Unit},
};

/// The columns that [`Reward::read`] reads.
pub(super) const COLUMNS: &str = "commission_id, state, state_since, unit, amount, recipient, promoter_id, promoter_email, promoter_name, \
     referral_id, referral_email, referral_uid, campaign_id, campaign_name, reward_id, reward_name, approved_at, created_at, \
     first_seen_at, owed_since, target, key, attempts, failures, first_attempt_at, uncertain, next_attempt_at, last_error, receipt, \
     delivered_at, delivered_by, fulfilled_at, mark_attempts, mark_error, hold_reason, drift, fingerprint, wait_reason, wait_target";

/// A word or time that the CHECKs should have refused.
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

/// Reads a time column in any RFC 3339 form, because others write claims.
pub(super) fn time(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse::<Timestamp>().map_err(|_| odd(row, column, &text))).transpose()
}

/// Reads a column of words.
pub(super) fn word<T>(
    row: &Row<'_>,
    column: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| read(&text).ok_or_else(|| odd(row, column, &text))).transpose()
}

/// A value that is never null in this state.
pub(super) fn set<T>(row: &Row<'_>, column: &'static str, value: Option<T>) -> rusqlite::Result<T> {
    value.ok_or_else(|| odd(row, column, "null"))
}

/// The row of a commission.
pub(super) fn find(conn: &Connection, id: CommissionId) -> rusqlite::Result<Option<Reward>> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM rewards WHERE commission_id = ?1"))?
        .query_row([id.0], Reward::read)
        .optional()
}

impl Reward {
    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let state = State::read(row)?;
        Ok(Self {
            id: CommissionId(row.get("commission_id")?),
            key: DeliveryKey::recorded(row.get("key")?),
            facts: Facts::read(row)?,
            since: set(row, "state_since", time(row, "state_since")?)?,
            first_seen_at: set(row, "first_seen_at", time(row, "first_seen_at")?)?,
            owed_since: set(row, "owed_since", time(row, "owed_since")?)?,
            attempts: row.get("attempts")?,
            failures: row.get("failures")?,
            first_attempt_at: time(row, "first_attempt_at")?,
            tried: Tried::read(row, state.word())?,
            state,
        })
    }
}

impl State {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let state = set(row, "state", word(row, "state", RewardState::from_word)?)?;
        let drift = || word(row, "drift", Drift::from_word);
        Ok(match state {
            RewardState::Waiting => Self::Waiting {
                until: set(row, "next_attempt_at", time(row, "next_attempt_at")?)?,
                why: Wait::read(row)?,
                last_error: row.get("last_error")?,
            },
            RewardState::Delivering => Self::Delivering,
            RewardState::Held => Self::Held {
                reason: set(row, "hold_reason", word(row, "hold_reason", HoldReason::from_word)?)?,
                detail: row.get("last_error")?,
                until: time(row, "next_attempt_at")?,
            },
            RewardState::Delivered => Self::Delivered {
                given: Given::read(row)?,
                marking: Marking {
                    failures: row.get("mark_attempts")?,
                    error: row.get("mark_error")?,
                    not_before: time(row, "next_attempt_at")?,
                },
            },
            RewardState::Fulfilled => Self::Fulfilled {
                given: Given::read(row)?,
                at: set(row, "fulfilled_at", time(row, "fulfilled_at")?)?,
                drift: drift()?,
            },
            RewardState::Cancelled => Self::Cancelled,
            RewardState::Reversed => Self::Reversed { receipt: row.get("receipt")?, drift: drift()? },
            RewardState::Dismissed => Self::Dismissed,
        })
    }
}

impl Wait {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(match set(row, "wait_reason", word(row, "wait_reason", WaitReason::from_word)?)? {
            WaitReason::Due => Self::Due,
            WaitReason::Grace => Self::Grace,
            WaitReason::Backoff => Self::Backoff,
            WaitReason::Claimed => Self::Claimed,
            WaitReason::Target => Self::Target(set(row, "wait_target", row.get("wait_target")?)?),
        })
    }
}

impl Given {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            by: set(row, "delivered_by", word(row, "delivered_by", DeliveredBy::from_word)?)?,
            at: time(row, "delivered_at")?,
            receipt: row.get("receipt")?,
        })
    }
}

impl Tried {
    fn read(row: &Row<'_>, state: RewardState) -> rusqlite::Result<Self> {
        let target: Option<String> = row.get("target")?;
        let fingerprint = row.get::<_, Option<String>>("fingerprint")?.map(Fingerprint::recorded);
        let at = target.map(|target| Attempted { target, fingerprint });
        let in_doubt = row.get("uncertain")? || state == RewardState::Delivering;
        Ok(match (at, in_doubt) {
            (None, false) => Self::Never,
            (Some(at), false) => Self::At(at),
            (at, true) => Self::InDoubt(set(row, "target", at)?),
        })
    }
}

impl Facts {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let id = |column| row.get::<_, Option<i64>>(column);
        Ok(Self {
            unit: word(row, "unit", |text| Some(Unit::from_wire(text)))?,
            amount: row.get("amount")?,
            recipient: word(row, "recipient", RecipientKind::from_word)?,
            promoter: match id("promoter_id")? {
                Some(id) => Some(Promoter { id, email: row.get("promoter_email")?, name: row.get("promoter_name")? }),
                None => None,
            },
            referral: match id("referral_id")? {
                Some(id) => Some(Referral { id, email: row.get("referral_email")?, uid: row.get("referral_uid")? }),
                None => None,
            },
            campaign: match id("campaign_id")? {
                Some(id) => Some(Campaign { id, name: row.get("campaign_name")? }),
                None => None,
            },
            reward: match id("reward_id")? {
                Some(id) => Some(RewardRef { id, name: row.get("reward_name")? }),
                None => None,
            },
            approved_at: time(row, "approved_at")?,
            created_at: time(row, "created_at")?,
        })
    }
}
