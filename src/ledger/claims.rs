//! Claims: who is about to deliver what, shared with webhook handlers in any language.
//!
//! Guarantees: a commission has at most one live claim, and a claim is given only for what nobody has delivered and whose
//! outcome nobody is in doubt about.

use rusqlite::{OptionalExtension, named_params};
use serde::Serialize;

use super::{Ledger, LedgerError, RewardState};
use crate::domain::{CommissionId, Timestamp, timestamp_text};

/// What came of asking for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Taken, or renewed by the same owner.
    Taken,
    /// The recipient has it already; the row's state.
    Delivered(RewardState),
    /// Somebody else holds a live claim.
    ByOther {
        /// Who.
        owner: String,
        /// Until when, as they wrote it.
        expires_at: String,
    },
    /// Not to be delivered by anybody now: an attempt may have taken effect, or a person decided against it.
    NotNow(String),
}

/// A claim that has not expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveClaim {
    /// Who has it; `makegood` for what is being delivered.
    pub owner: String,
    /// Until when, as the owner wrote it.
    pub expires_at: String,
}

impl Ledger {
    /// Who is about to deliver a commission, if anybody.
    pub fn live_claim(&self, id: CommissionId, now: Timestamp) -> Result<Option<LiveClaim>, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached(
                "SELECT owner, expires_at FROM claims WHERE commission_id = :id AND julianday(expires_at) > julianday(:now)",
            )?
            .query_row(named_params! {":id": id.0, ":now": timestamp_text(now)}, |row| {
                Ok(LiveClaim { owner: row.get(0)?, expires_at: row.get(1)? })
            })
            .optional()
        })
    }

    /// Takes a commission for `owner` until `until`; also one that no pass has seen yet. One transaction.
    pub fn claim(
        &self,
        id: CommissionId,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claimed, LedgerError> {
        self.write(|tx| {
            let row: Option<(String, bool, Option<String>)> = tx
                .prepare_cached("SELECT state, uncertain, hold_reason FROM rewards WHERE commission_id = ?1")?
                .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            if let Some(refusal) = row.and_then(|(state, uncertain, reason)| refusal(&state, uncertain, reason.as_deref())) {
                return Ok(refusal);
            }
            let taken = tx
                .prepare_cached(
                    "INSERT INTO claims (commission_id, owner, claimed_at, expires_at) VALUES (:id, :owner, :now, :until) \
                     ON CONFLICT (commission_id) DO UPDATE SET owner = :owner, claimed_at = :now, expires_at = :until \
                     WHERE owner = :owner OR julianday(expires_at) <= julianday(:now)",
                )?
                .execute(named_params! {
                    ":id": id.0, ":owner": owner, ":now": timestamp_text(now), ":until": timestamp_text(until),
                })?;
            if taken == 1 {
                return Ok(Claimed::Taken);
            }
            tx.query_row("SELECT owner, expires_at FROM claims WHERE commission_id = ?1", [id.0], |row| {
                Ok(Claimed::ByOther { owner: row.get(0)?, expires_at: row.get(1)? })
            })
        })
    }
}

/// Why nobody should deliver a reward in this state, if so.
fn refusal(state: &str, uncertain: bool, hold_reason: Option<&str>) -> Option<Claimed> {
    let state = RewardState::from_word(state)?;
    match state {
        RewardState::Delivered | RewardState::Fulfilled | RewardState::Reversed => Some(Claimed::Delivered(state)),
        RewardState::Dismissed => Some(Claimed::NotNow("a person decided against delivery".to_owned())),
        RewardState::Delivering => {
            Some(Claimed::NotNow("makegood is delivering it, or was cut off while it did".to_owned()))
        }
        RewardState::Waiting | RewardState::Held | RewardState::Cancelled if uncertain => {
            let held = hold_reason.map(|reason| format!(", held as {reason}")).unwrap_or_default();
            Some(Claimed::NotNow(format!("an attempt of makegood's may have taken effect{held}")))
        }
        RewardState::Waiting | RewardState::Held | RewardState::Cancelled => None,
    }
}
