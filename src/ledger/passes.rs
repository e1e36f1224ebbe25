//! The table `passes`: one row for each pass, written at its start and completed at its end, however it ends. Rows of passes in
//! which nothing happened are removed after some time.

use std::time::Duration;

use chrono::TimeDelta;
use rusqlite::named_params;
use serde::Serialize;

use super::{FailureKind, Ledger, LedgerError, PassFailure};
use crate::domain::{Timestamp, timestamp_text};

/// `passes.id`
pub type PassId = i64;

/// The numbers of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Rows that FirstPromoter listed, in scope or not.
    pub listed: u64,
    /// Approved, unfulfilled, in scope, and not delivered according to the ledger.
    pub missing: u64,
    /// Delivered by this pass.
    pub delivered: u64,
    /// Became fulfilled in this pass, whoever delivered it.
    pub fulfilled: u64,
    /// Became held in this pass.
    pub held: u64,
    /// Attempts of this pass that did not deliver.
    pub failed: u64,
    /// HTTP requests to FirstPromoter, retries included.
    pub api_requests: u64,
}

/// At least so many are removed at once: each removal is a sync, and a hundred cost no more than one.
const REMOVED_MIN: u32 = 100;
/// A pass does not remove more.
const REMOVED_MAX: u32 = 1_000;

/// Passes that may be removed.
const EMPTY: &str = "SELECT id FROM passes \
    WHERE happened = 0 AND finished IS NOT NULL AND error IS NULL AND finished < :before AND id < \
    (SELECT max(id) FROM passes WHERE kind <> 'commissions' AND finished IS NOT NULL AND error IS NULL)";

impl Ledger {
    /// Writes that a pass begins. First closes passes whose process ended before they did. The caller holds the pass lock, so
    /// no other pass can be running.
    pub fn begin_pass(&self, trigger: &str, kind: &str, now: Timestamp) -> Result<PassId, LedgerError> {
        self.write(|tx| {
            tx.prepare_cached(
                "UPDATE passes SET finished = :now, error = 'abandoned: its process ended before it did', error_kind = :abandoned \
                 WHERE finished IS NULL",
            )?
            .execute(named_params! {":now": timestamp_text(now), ":abandoned": FailureKind::Abandoned.as_str()})?;
            tx.prepare_cached("INSERT INTO passes (trigger, kind, started) VALUES (:trigger, :kind, :now)")?
                .execute(named_params! {":trigger": trigger, ":kind": kind, ":now": timestamp_text(now)})?;
            Ok(tx.last_insert_rowid())
        })
    }

    /// Writes how a pass ended, with `failure` where it did not complete.
    pub fn finish_pass(
        &self,
        id: PassId,
        counts: &Counts,
        failure: Option<&PassFailure>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.write(|tx| {
            tx.prepare_cached(
                "UPDATE passes SET finished = :now, listed = :listed, missing = :missing, delivered = :delivered, \
                 fulfilled = :fulfilled, held = :held, failed = :failed, api_requests = :api_requests, error = :error, \
                 error_kind = :error_kind WHERE id = :id",
            )?
            .execute(named_params! {
                ":id": id, ":now": timestamp_text(now), ":listed": whole(counts.listed), ":missing": whole(counts.missing),
                ":delivered": whole(counts.delivered), ":fulfilled": whole(counts.fulfilled), ":held": whole(counts.held),
                ":failed": whole(counts.failed), ":api_requests": whole(counts.api_requests),
                ":error": failure.map(|it| it.text.as_str()), ":error_kind": failure.map(|it| it.kind.as_str()),
            })
        })
        .map(|_| ())
    }
    /// Removes passes that ended longer than `keep` ago and in which nothing happened: neither the journal nor an attempt names
    /// them, and they completed. The last one that completed stays. Returns how many are gone.
    pub fn remove_empty_passes(&self, keep: Duration, now: Timestamp) -> Result<usize, LedgerError> {
        let Some(before) = TimeDelta::from_std(keep).ok().and_then(|keep| now.checked_sub_signed(keep)) else {
            return Ok(0);
        };
        let before = timestamp_text(before);
        let many: u32 = self.run(|conn| {
            conn.prepare_cached(&format!("SELECT count(*) FROM ({EMPTY} LIMIT :most)"))?
                .query_row(named_params! {":before": before, ":most": REMOVED_MIN}, |row| row.get(0))
        })?;
        if many < REMOVED_MIN {
            return Ok(0);
        }
        // With foreign keys on, SQLite would read the whole journal for each pass to see that nothing refers to it.
        self.run(|conn| conn.pragma_update(None, "foreign_keys", false))?;
        let removed = self.write(|tx| {
            tx.prepare_cached(&format!("DELETE FROM passes WHERE id IN ({EMPTY} ORDER BY finished LIMIT :most)"))?
                .execute(named_params! {":before": before, ":most": REMOVED_MAX})
        });
        let guarded_again = self.run(|conn| conn.pragma_update(None, "foreign_keys", true));
        guarded_again.and(removed)
    }
}
