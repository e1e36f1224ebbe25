//! The only reader of rows of `attempts` and `journal`.
//!
//! Guarantees: a word that makegood does not write is an error that names the column. Nothing is guessed. As JSON, a row has
//! the names of its columns as keys, in alphabetical order.

use rusqlite::{Connection, Row};
use serde::Serialize;

use super::{
    OutcomeWord, RewardState,
    row::{set, word},
};
use crate::domain::CommissionId;

/// A row of `attempts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// 1, 2, ... for this reward.
    pub attempt: u32,
    /// Which reward.
    pub commission_id: CommissionId,
    /// The outcome in words.
    pub detail: Option<String>,
    /// The fingerprint of the target at that time.
    pub fingerprint: Option<String>,
    /// When the outcome was known; RFC 3339 UTC. None in flight, or cut off.
    pub finished_at: Option<String>,
    /// Rising.
    pub id: i64,
    /// None in flight, or cut off.
    pub outcome: Option<OutcomeWord>,
    /// In which pass.
    pub pass_id: Option<i64>,
    /// When the intent was on disk; RFC 3339 UTC.
    pub started_at: String,
    /// Where it went.
    pub target: String,
}

impl Attempt {
    /// The attempts of one reward, oldest first.
    pub(super) fn all_of(conn: &Connection, id: CommissionId) -> rusqlite::Result<Vec<Self>> {
        conn.prepare_cached(
            "SELECT id, commission_id, attempt, target, started_at, finished_at, outcome, detail, pass_id, fingerprint \
             FROM attempts WHERE commission_id = ?1 ORDER BY id",
        )?
        .query_map([id.0], Self::read)?
        .collect()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            attempt: row.get("attempt")?,
            commission_id: CommissionId(row.get("commission_id")?),
            detail: row.get("detail")?,
            fingerprint: row.get("fingerprint")?,
            finished_at: row.get("finished_at")?,
            id: row.get("id")?,
            outcome: word(row, "outcome", OutcomeWord::from_word)?,
            pass_id: row.get("pass_id")?,
            started_at: row.get("started_at")?,
            target: row.get("target")?,
        })
    }
}

/// A row of `journal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    /// `makegood`, the name of a person, or the owner of a claim.
    pub actor: String,
    /// When; RFC 3339 UTC.
    pub at: String,
    /// Which reward.
    pub commission_id: CommissionId,
    /// The state before; none where the row of `rewards` was new.
    pub from_state: Option<RewardState>,
    /// Rising.
    pub id: i64,
    /// In which pass; none for a person's decision or a handler's record.
    pub pass_id: Option<i64>,
    /// Why, in words.
    pub reason: String,
    /// The state after.
    pub to_state: RewardState,
}

impl JournalEntry {
    /// The entries of one reward, oldest first.
    pub(super) fn all_of(conn: &Connection, id: CommissionId) -> rusqlite::Result<Vec<Self>> {
        conn.prepare_cached(
            "SELECT id, commission_id, at, from_state, to_state, reason, actor, pass_id \
             FROM journal WHERE commission_id = ?1 ORDER BY id",
        )?
        .query_map([id.0], Self::read)?
        .collect()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            actor: row.get("actor")?,
            at: row.get("at")?,
            commission_id: CommissionId(row.get("commission_id")?),
            from_state: word(row, "from_state", RewardState::from_word)?,
            id: row.get("id")?,
            pass_id: row.get("pass_id")?,
            reason: row.get("reason")?,
            to_state: set(row, "to_state", word(row, "to_state", RewardState::from_word)?)?,
        })
    }
}
