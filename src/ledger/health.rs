//! The table `target_health`: which targets are in trouble.

use std::collections::BTreeMap;

use rusqlite::named_params;

use super::{Change, Ledger, LedgerError, row::time};
use crate::{
    domain::{CommissionId, Timestamp, timestamp_text},
    failure::RETRY_AFTER_MAX,
};

/// How a target has answered lately.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Failed attempts in a row, of any rewards.
    pub failures: u32,
    /// Refusals in a row, of different rewards. A target with no failures and no refusals is well.
    pub refusals: u32,
    /// Nothing is delivered there before this time.
    pub retry_at: Option<Timestamp>,
    /// The last answer of the target, or the outcome of the attempt, for a person.
    pub last_error: Option<String>,
}

impl Health {
    /// `10 failures and 2 refusals`, for a person.
    pub fn in_words(&self) -> String {
        let counted = |count: u32, what: &str| {
            let ending = if count == 1 { "" } else { "s" };
            (count > 0).then(|| format!("{count} {what}{ending}"))
        };
        let both = [counted(self.failures, "failure"), counted(self.refusals, "refusal")];
        both.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }

    /// The end of its wait, if it is not over. A time further ahead than our longest wait was written by a clock that was
    /// ahead, and does not count.
    pub fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.retry_at.filter(|until| *until > now && *until <= now + RETRY_AFTER_MAX)
    }
}

/// How far back to look for an earlier refusal of the same reward.
const ATTEMPTS_LOOKED_AT: u32 = 500;

impl Ledger {
    /// Whether this target refused this reward since its last success. Ask before the latest attempt is finished.
    pub fn was_refused(&self, target: &str, id: CommissionId) -> Result<bool, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached(
                "WITH latest AS (SELECT id, commission_id, outcome FROM \
                 attempts WHERE id > (SELECT max(id) FROM attempts) - :limit AND target = :target) \
                 SELECT EXISTS (SELECT 1 FROM latest WHERE commission_id = :id AND outcome = 'refused' \
                 AND id > (SELECT coalesce(max(id), 0) FROM latest WHERE outcome = 'delivered'))",
            )?
            .query_row(named_params! {":target": target, ":id": id.0, ":limit": ATTEMPTS_LOOKED_AT}, |row| row.get(0))
        })
    }

    /// The targets whose last attempt failed or was refused.
    pub fn health(&self) -> Result<BTreeMap<String, Health>, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached("SELECT target, failures, refusals, retry_at, last_error FROM target_health")?
                .query_map([], |row| {
                    let health = Health {
                        failures: row.get("failures")?,
                        refusals: row.get("refusals")?,
                        retry_at: time(row, "retry_at")?,
                        last_error: row.get("last_error")?,
                    };
                    Ok((row.get("target")?, health))
                })?
                .collect()
        })
    }
}

impl Change<'_> {
    /// Writes how a target answered. A target that is well has no row.
    pub fn note_health(&self, target: &str, health: &Health) -> Result<(), LedgerError> {
        if health.failures == 0 && health.refusals == 0 {
            self.sql("DELETE FROM target_health WHERE target = :target", named_params! {":target": target})?;
            return Ok(());
        }
        self.sql(
            "INSERT INTO target_health (target, failures, refusals, retry_at, last_error) \
             VALUES (:target, :failures, :refusals, :retry_at, :last_error) ON CONFLICT (target) DO UPDATE \
             SET failures = :failures, refusals = :refusals, retry_at = :retry_at, last_error = :last_error",
            named_params! {
                ":target": target, ":failures": health.failures, ":refusals": health.refusals,
                ":retry_at": health.retry_at.map(timestamp_text), ":last_error": health.last_error,
            },
        )?;
        Ok(())
    }
}
