//! Attempts to deliver: the intent before the request, the outcome after it, and the state that a crash between the two leaves.

use rusqlite::{OptionalExtension, named_params};

use super::{Change, HoldReason, Ledger, LedgerError, Reward, RewardState, State};
use crate::{
    domain::{CommissionId, Timestamp, timestamp_text},
    failure::Outcome,
};

/// The owner of makegood's own claims.
const OURSELVES: &str = "makegood";

/// The result of taking a reward for delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The intent is on disk; this is the number of the attempt.
    Attempt(u32),
    /// Somebody else holds a live claim on it, or moved it in the meantime.
    Taken,
}

/// The state of a reward after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aftermath {
    /// The recipient has it.
    Delivered,
    /// To be tried again, not before this time.
    Retry(Timestamp),
    /// A person has to decide.
    Hold(HoldReason),
}

/// What is known of an attempt whose process ended first.
pub(super) const CUT_OFF_DETAIL: &str = "cut off: the process ended before the answer";

impl Ledger {
    /// Ends attempts whose process ended first, where the reward has moved on. Call it under the pass lock: then no attempt is
    /// under way.
    ///
    /// Suppose a pass dies during an attempt, and the handler records the reward as delivered. No later pass takes the reward up,
    /// so nothing else would ever end the attempt, and metrics would wait for its outcome for ever.
    pub fn end_cut_off_attempts(&self, now: Timestamp) -> Result<(), LedgerError> {
        const CUT_OFF: &str = "finished_at IS NULL AND \
             (SELECT state FROM rewards WHERE rewards.commission_id = attempts.commission_id) <> 'delivering'";
        let any: bool = self.run(|conn| {
            conn.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM attempts WHERE {CUT_OFF})"))?
                .query_row([], |row| row.get(0))
        })?;
        if any {
            self.write(|tx| {
                tx.prepare_cached(&format!(
                    "UPDATE attempts SET finished_at = :now, outcome = 'unknown', detail = '{CUT_OFF_DETAIL}' WHERE {CUT_OFF}"
                ))?
                .execute(named_params! {":now": timestamp_text(now)})
            })?;
        }
        Ok(())
    }
}

impl Change<'_> {
    /// Writes the intent to disk, under a claim, before the request leaves. Returns [`Begun::Taken`] and changes nothing where
    /// somebody else holds a live claim or moved the row.
    pub fn begin(&self, reward: &Reward, target: &str, claim_until: Timestamp) -> Result<Begun, LedgerError> {
        let claimed = self.sql(
            "INSERT INTO claims (commission_id, owner, claimed_at, expires_at) VALUES (:id, :owner, :now, :until) \
             ON CONFLICT (commission_id) DO UPDATE SET owner = :owner, claimed_at = :now, expires_at = :until \
             WHERE owner = :owner OR julianday(expires_at) <= julianday(:now)",
            named_params! {
                ":id": reward.id.0, ":owner": OURSELVES, ":now": timestamp_text(self.author.now), ":until": timestamp_text(claim_until),
            },
        )?;
        if claimed == 0 {
            return Ok(Begun::Taken);
        }
        let begun: Option<u32> = self.read(|tx| {
            tx.prepare_cached(
                "UPDATE rewards SET state = 'delivering', state_since = :now, target = :target, attempts = attempts + 1, \
                 uncertain = max(uncertain, state = 'delivering'), first_attempt_at = min(coalesce(first_attempt_at, :now), :now), \
                 next_attempt_at = NULL, wait_reason = NULL, wait_target = NULL, hold_reason = NULL \
                 WHERE commission_id = :id AND state = :from RETURNING attempts",
            )?
            .query_row(
                named_params! {
                    ":id": reward.id.0, ":from": reward.state.word().as_str(), ":now": timestamp_text(self.author.now), ":target": target,
                },
                |row| row.get(0),
            )
            .optional()
        })?;
        let Some(attempt) = begun else {
            self.release_claim(reward.id)?;
            return Ok(Begun::Taken);
        };
        if reward.state == State::Delivering {
            self.close_cut_off(reward.id)?;
        }
        self.sql(
            "INSERT INTO attempts (commission_id, attempt, target, started_at, pass_id) VALUES (:id, :attempt, :target, :now, :pass)",
            named_params! {
                ":id": reward.id.0, ":attempt": attempt, ":target": target, ":now": timestamp_text(self.author.now),
                ":pass": self.author.pass_id,
            },
        )?;
        self.journal(
            reward.id,
            Some(reward.state.word()),
            RewardState::Delivering,
            &format!("attempt {attempt} at {target}"),
        )?;
        Ok(Begun::Attempt(attempt))
    }

    /// Writes the outcome of an attempt. `detail` is for a person.
    pub fn finish(
        &self,
        id: CommissionId,
        attempt: u32,
        outcome: &Outcome,
        after: &Aftermath,
    ) -> Result<(), LedgerError> {
        let now = timestamp_text(self.author.now);
        let (receipt, detail) = match outcome {
            Outcome::Delivered { receipt } => {
                (receipt.as_deref(), receipt.as_deref().map(|receipt| format!("receipt {receipt}")))
            }
            Outcome::NotDelivered { detail, .. } | Outcome::Unknown { detail, .. } | Outcome::Refused { detail } => {
                (None, Some(detail.clone()))
            }
        };
        self.sql(
            "UPDATE attempts SET finished_at = :now, outcome = :outcome, detail = :detail \
             WHERE commission_id = :id AND attempt = :attempt",
            named_params! {":id": id.0, ":attempt": attempt, ":now": now, ":outcome": outcome.as_str(), ":detail": detail},
        )?;
        self.release_claim(id)?;
        let unknown = matches!(outcome, Outcome::Unknown { .. });
        let (to, changed) = match after {
            Aftermath::Delivered => (
                RewardState::Delivered,
                self.sql(
                    "UPDATE rewards SET state = 'delivered', state_since = :now, delivered_at = :now, delivered_by = 'makegood', \
                     receipt = :receipt, failures = 0, uncertain = 0, last_error = NULL, mark_attempts = 0 \
                     WHERE commission_id = :id AND state = 'delivering'",
                    named_params! {":id": id.0, ":now": now, ":receipt": receipt},
                )?,
            ),
            Aftermath::Retry(until) => (
                RewardState::Waiting,
                self.sql(
                    "UPDATE rewards SET state = 'waiting', state_since = :now, next_attempt_at = :until, wait_reason = 'backoff', failures = failures + 1, \
                     uncertain = max(uncertain, :unknown), last_error = :detail WHERE commission_id = :id AND state = 'delivering'",
                    named_params! {
                        ":id": id.0, ":now": now, ":until": timestamp_text(*until), ":unknown": unknown, ":detail": detail,
                    },
                )?,
            ),
            Aftermath::Hold(reason) => (
                RewardState::Held,
                self.sql(
                    "UPDATE rewards SET state = 'held', state_since = :now, hold_reason = :reason, failures = failures + 1, \
                     uncertain = max(uncertain, :unknown), last_error = :detail WHERE commission_id = :id AND state = 'delivering'",
                    named_params! {
                        ":id": id.0, ":now": now, ":reason": reason.as_str(), ":unknown": unknown, ":detail": detail,
                    },
                )?,
            ),
        };
        self.one(changed, id, RewardState::Delivering)?;
        let why = format!(
            "attempt {attempt}: {}{}",
            outcome.as_str(),
            detail.map(|it| format!(": {it}")).unwrap_or_default()
        );
        self.journal(id, Some(RewardState::Delivering), to, &why)
    }

    /// Closes an attempt without an outcome: its process ended first.
    pub(super) fn close_cut_off(&self, id: CommissionId) -> Result<(), LedgerError> {
        self.sql(
            &format!(
                "UPDATE attempts SET finished_at = :now, outcome = 'unknown', detail = '{CUT_OFF_DETAIL}' \
                 WHERE commission_id = :id AND outcome IS NULL"
            ),
            named_params! {":id": id.0, ":now": timestamp_text(self.author.now)},
        )
        .map(|_| ())
    }

    pub(super) fn release_claim(&self, id: CommissionId) -> Result<(), LedgerError> {
        self.sql(
            "DELETE FROM claims WHERE commission_id = :id AND owner = :owner",
            named_params! {":id": id.0, ":owner": OURSELVES},
        )
        .map(|_| ())
    }
}
