//! The table `passes`: one row for each pass, written at its start and completed at its end, however it ends.

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
}
