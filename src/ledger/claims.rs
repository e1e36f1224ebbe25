//! Claims: leases that say who is about to deliver what. Webhook handlers in any language share them.
//!
//! Guarantees: a commission has at most one live claim. A claim is given only for a reward that nobody has delivered and whose
//! outcome is not in doubt.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, named_params};
use serde::Serialize;

use super::{
    HoldReason, Ledger, LedgerError, Reward, RewardState, State,
    row::{self, time},
};
use crate::domain::{CommissionId, Timestamp, timestamp_text};

/// The longest that a claim lasts.
pub const CLAIM_MAX: Duration = Duration::from_hours(24 * 7);
/// A claim may begin this much later than now, because clocks differ a little.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);

/// The answer to a request for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Taken, or renewed by the same owner.
    Taken,
    /// The recipient already has it; this is the row's state.
    Delivered(RewardState),
    /// Somebody else holds a live claim.
    ByOther {
        /// Who.
        owner: String,
        /// Until when, as they wrote it.
        expires_at: String,
    },
    /// Nobody may deliver it now: an attempt may have taken effect, or a person decided against it.
    NotNow(String),
}

/// A claim that has not expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveClaim {
    /// The owner; `makegood` for makegood's own deliveries.
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

    /// Takes a commission for `owner` until `until`, even one that no pass has seen yet. One transaction.
    pub fn claim(
        &self,
        id: CommissionId,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claimed, LedgerError> {
        self.write(|tx| {
            if let Some(refusal) = row::find(tx, id)?.as_ref().and_then(refusal) {
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

impl Ledger {
    /// Shortens other owners' claims that last longer than a claim may. Suppose a handler claims while the clock is ten days
    /// ahead, and the clock is set back: the claim would block its reward for ten days. Such a claim now counts from now. That
    /// is written, because otherwise it would begin anew in each pass. Returns how many were shortened.
    pub fn shorten_claims(&self, now: Timestamp) -> Result<usize, LedgerError> {
        if self.run(|conn| too_long(conn, now))?.is_empty() {
            return Ok(0);
        }
        // Looks again: the handler may have renewed or ended it in the meantime.
        let shortened = self.write(|tx| {
            let claims = too_long(tx, now)?;
            for claim in &claims {
                tx.prepare_cached(
                    "UPDATE claims SET claimed_at = :from, expires_at = :until WHERE commission_id = :id AND owner = :owner",
                )?
                .execute(named_params! {
                    ":id": claim.id.0, ":owner": claim.owner, ":from": timestamp_text(claim.from), ":until": timestamp_text(claim.until),
                })?;
            }
            Ok(claims)
        })?;
        for Shortened { id, owner, until, .. } in &shortened {
            tracing::warn!(
                commission.id = id.0,
                "commission {id}: the claim of {owner} lasted too long, as if taken by a clock that was ahead; it ends at {until} now"
            );
        }
        Ok(shortened.len())
    }

    /// Corrects owed rewards that were found in the future. Suppose a pass finds a reward while the clock is ahead, and the
    /// clock is set back: the grace period would begin anew in each pass, and where the fuse holds the reward in between, it
    /// would go from hold to wait and back until that future time. So it counts as found now. That is written, so that the
    /// grace period counts down once.
    pub fn found_by_now(&self, now: Timestamp) -> Result<usize, LedgerError> {
        const FUTURE: &str = "state IN ('waiting', 'held') AND owed_since > :now";
        let now = timestamp_text(now);
        let any = |conn: &Connection| {
            conn.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM rewards WHERE {FUTURE})"))?
                .query_row(named_params! {":now": now}, |row| row.get::<_, bool>(0))
        };
        if !self.run(any)? {
            return Ok(0);
        }
        let found = self.write(|tx| {
            tx.prepare_cached(&format!("UPDATE rewards SET owed_since = :now WHERE {FUTURE}"))?
                .execute(named_params! {":now": now})
        })?;
        tracing::warn!("{found} rewards were found by a clock that was ahead; they count as found now");
        Ok(found)
    }
}

/// A claim with the end that it may have.
struct Shortened {
    id: CommissionId,
    owner: String,
    from: Timestamp,
    until: Timestamp,
}

/// The live claims of others that last too long, each with the end that it may have.
fn too_long(conn: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Shortened>> {
    let mut statement = conn.prepare_cached(
        "SELECT commission_id, owner, strftime('%Y-%m-%dT%H:%M:%fZ', claimed_at) AS claimed_at, \
         strftime('%Y-%m-%dT%H:%M:%fZ', expires_at) AS expires_at FROM claims \
         WHERE owner <> 'makegood' AND julianday(expires_at) > julianday(:now)",
    )?;
    let claims = statement.query_map(named_params! {":now": timestamp_text(now)}, |row| {
        let (taken, expires) = (time(row, "claimed_at")?, time(row, "expires_at")?.unwrap_or(now));
        // A claim without a readable time counts as taken now.
        let from = taken.filter(|taken| *taken <= now + CLOCKS_DIFFER).unwrap_or(now);
        let asked = (expires - taken.unwrap_or(from)).to_std().unwrap_or_default();
        let claim = Shortened {
            id: CommissionId(row.get("commission_id")?),
            owner: row.get("owner")?,
            from,
            until: from + asked.min(CLAIM_MAX),
        };
        Ok(Some(claim).filter(|claim| claim.until < expires))
    })?;
    claims.filter_map(Result::transpose).collect()
}

/// Why nobody should deliver a reward now, if there is a reason.
fn refusal(reward: &Reward) -> Option<Claimed> {
    let in_doubt = |held: Option<HoldReason>| {
        let held = held.map(|reason| format!(", held as {reason}")).unwrap_or_default();
        reward.doubt().map(|_| Claimed::NotNow(format!("an attempt of makegood's may have taken effect{held}")))
    };
    match &reward.state {
        State::Delivered { .. } | State::Fulfilled { .. } | State::Reversed { .. } => {
            Some(Claimed::Delivered(reward.state.word()))
        }
        State::Dismissed => Some(Claimed::NotNow("a person decided against delivery".to_owned())),
        State::Delivering => Some(Claimed::NotNow("makegood is delivering it, or was cut off while it did".to_owned())),
        State::Held { reason, .. } => in_doubt(Some(*reason)),
        State::Waiting { .. } | State::Cancelled => in_doubt(None),
    }
}
