//! The table `alerts`, and the facts that alerts depend on.

use std::{collections::BTreeSet, time::Duration};

use rusqlite::{OptionalExtension, named_params};

use super::{FailureKind, Ledger, LedgerError, row::time};
use crate::domain::{Timestamp, timestamp_text};

/// How passes went lately, not counting those over single commissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Streak {
    /// When the last pass that completed ended.
    pub completed: Option<Timestamp>,
    /// When the first pass began of those that have not completed since. A pass that a signal stopped does not count.
    pub failing_since: Option<Timestamp>,
}

/// Who delivered the settled rewards that were approved within some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caught {
    /// By makegood.
    pub caught: u64,
    /// All.
    pub of: u64,
}

impl Ledger {
    /// The alerts that people got and that are not over.
    pub fn alerts(&self) -> Result<BTreeSet<String>, LedgerError> {
        self.run(|conn| conn.prepare_cached("SELECT subject FROM alerts")?.query_map([], |row| row.get(0))?.collect())
    }

    /// Writes these as the alerts that people got. Those already there keep their time.
    pub fn remember_alerts(&self, subjects: &BTreeSet<String>, now: Timestamp) -> Result<(), LedgerError> {
        let subjects = serde_json::to_string(subjects).unwrap_or_default();
        self.write(|tx| {
            tx.execute(
                "DELETE FROM alerts WHERE subject NOT IN (SELECT value FROM json_each(:subjects))",
                named_params! {":subjects": subjects},
            )?;
            tx.execute(
                "INSERT INTO alerts (subject, sent_at) SELECT value, :now FROM json_each(:subjects) WHERE true ON CONFLICT DO NOTHING",
                named_params! {":subjects": subjects, ":now": timestamp_text(now)},
            )?;
            Ok(())
        })
    }

    /// When the ledger was made, for its account.
    pub fn bound_at(&self) -> Result<Option<Timestamp>, LedgerError> {
        self.run(|conn| {
            let at = conn.query_row("SELECT bound_at AS at FROM account", [], |row| time(row, "at")).optional()?;
            Ok(at.flatten())
        })
    }

    /// How passes went lately.
    pub fn streak(&self) -> Result<Streak, LedgerError> {
        self.run(|conn| {
            let last = conn
                .prepare_cached(
                    "SELECT id, finished AS at FROM passes WHERE id = (SELECT max(id) FROM passes \
                     WHERE kind <> 'commissions' AND finished IS NOT NULL AND error IS NULL)",
                )?
                .query_row([], |row| Ok((row.get::<_, i64>("id")?, time(row, "at")?)))
                .optional()?;
            let (id, completed) = last.unwrap_or_default();
            let failing_since = conn
                .prepare_cached(
                    "SELECT started AS at FROM passes WHERE id > :id AND kind <> 'commissions' AND finished IS NOT NULL \
                     AND error IS NOT NULL AND error_kind IS NOT :stopped ORDER BY id LIMIT 1",
                )?
                .query_row(named_params! {":id": id, ":stopped": FailureKind::Stopped.as_str()}, |row| time(row, "at"))
                .optional()?
                .flatten();
            Ok(Streak { completed, failing_since })
        })
    }

    /// Who delivered the settled rewards that were approved (unknown: first seen) within this time before `now`. A reward that
    /// a handler delivers before any pass sees it is not in the ledger, and is not counted.
    pub fn caught(&self, within: Duration, now: Timestamp) -> Result<Caught, LedgerError> {
        let since = now - within;
        self.run(|conn| {
            conn.prepare_cached(
                "SELECT count(*) FILTER (WHERE delivered_by = 'makegood') AS caught, count(*) AS everything FROM ( \
                 SELECT delivered_by, approved_at, first_seen_at FROM rewards WHERE state = 'fulfilled' AND fulfilled_at >= :since \
                 UNION ALL SELECT delivered_by, approved_at, first_seen_at FROM rewards \
                 WHERE state IN ('waiting', 'delivering', 'delivered', 'held') AND state = 'delivered') \
                 WHERE coalesce(approved_at, first_seen_at) >= :since",
            )?
            .query_row(named_params! {":since": timestamp_text(since)}, |row| {
                let count = |column: &str| row.get::<_, i64>(column).map(i64::unsigned_abs);
                Ok(Caught { caught: count("caught")?, of: count("everything")? })
            })
        })
    }
}
