//! The table `target_health`: which targets are in trouble.

use std::collections::BTreeMap;

use rusqlite::named_params;

use super::{Change, Ledger, LedgerError, reward::time};
use crate::domain::{Timestamp, timestamp_text};

/// How a target has answered lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Failed attempts in a row, of any rewards; 0: it is well.
    pub failures: u32,
    /// Nothing is delivered there before.
    pub retry_at: Option<Timestamp>,
}

impl Ledger {
    /// The targets whose last attempt failed.
    pub fn health(&self) -> Result<BTreeMap<String, Health>, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached("SELECT target, failures, retry_at FROM target_health")?
                .query_map([], |row| {
                    Ok((
                        row.get("target")?,
                        Health { failures: row.get("failures")?, retry_at: time(row, "retry_at")? },
                    ))
                })?
                .collect()
        })
    }
}

impl Change<'_> {
    /// Writes how a target answered; one that is well has no row.
    pub fn note_health(&self, target: &str, health: &Health) -> Result<(), LedgerError> {
        if health.failures == 0 {
            self.sql("DELETE FROM target_health WHERE target = :target", named_params! {":target": target})?;
            return Ok(());
        }
        self.sql(
            "INSERT INTO target_health (target, failures, retry_at) VALUES (:target, :failures, :retry_at) \
             ON CONFLICT (target) DO UPDATE SET failures = :failures, retry_at = :retry_at",
            named_params! {":target": target, ":failures": health.failures, ":retry_at": health.retry_at.map(timestamp_text)},
        )?;
        Ok(())
    }
}
