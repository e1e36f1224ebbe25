//! One method a transition. Each is an `UPDATE ... WHERE commission_id = ? AND state = ?` that must change one row, with its
//! journal entry in the same transaction.

use std::cell::Cell;

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, named_params};

use super::{DeliveredBy, Drift, Facts, HoldReason, Ledger, LedgerError, PassId, Position, Reward, RewardState};
use crate::{
    domain::{CommissionId, DeliveryKey, Timestamp, timestamp_text, upstream_timestamp_text},
    failure::Outcome,
};

/// The owner of the claims that makegood takes for what it delivers itself.
const OURSELVES: &str = "makegood";

/// On whose behalf a change is made.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// `journal.actor`: `makegood`, or who gave the command.
    pub actor: &'a str,
    /// The pass it belongs to, if any.
    pub pass_id: Option<PassId>,
    /// When.
    pub now: Timestamp,
}

/// An open transaction on the ledger. Nothing of it is on disk before [`Ledger::change`] returns.
#[derive(Debug)]
pub struct Change<'a> {
    tx: Transaction<'a>,
    ledger: &'a Ledger,
    pub(super) author: Author<'a>,
    /// When FirstPromoter was asked: what is found owed counts from then, not from when it is written.
    found_at: Cell<Timestamp>,
    /// The last journal entry of a delivery, ours or another's: what must never be forgotten.
    delivery: Cell<Option<i64>>,
}

/// How a commission enters the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Owed; not before this time.
    Waiting(Timestamp),
    /// Not to be decided by us.
    Held(HoldReason, String),
}

/// What came of taking a reward for delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The intent is on disk; this is the number of the attempt.
    Attempt(u32),
    /// Somebody else holds a live claim on it, or moved it meanwhile.
    Taken,
}

/// Where an attempt leaves a reward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aftermath {
    /// The recipient has it.
    Delivered,
    /// To be tried again, not before this time.
    Retry(Timestamp),
    /// A person has to decide.
    Hold(HoldReason),
}

impl Ledger {
    /// Makes changes in one transaction; when `work` fails, none of them.
    pub fn change<'a, T>(
        &'a self,
        author: Author<'a>,
        work: impl FnOnce(&Change<'a>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)
            .map_err(|source| self.explain(source))?;
        let change = Change { tx, ledger: self, author, found_at: Cell::new(author.now), delivery: Cell::new(None) };
        let done = work(&change)?;
        change.tx.commit().map_err(|source| self.explain(source))?;
        // After the commit, so that the mark is never ahead of a sound ledger; before the caller lets a request leave.
        if let Some(journal) = change.delivery.get() {
            self.advance_mark(&Position { journal, at: timestamp_text(author.now) })?;
        }
        Ok(done)
    }
}

impl Change<'_> {
    /// From now on, what is found owed counts from this time.
    pub fn found_at(&self, at: Timestamp) {
        self.found_at.set(at);
    }

    /// Enters a commission that the ledger does not know.
    pub fn insert(&self, id: CommissionId, key: &DeliveryKey, facts: &Facts, seen: &Seen) -> Result<(), LedgerError> {
        let now = timestamp_text(self.author.now);
        let (state, until, reason, detail) = match seen {
            Seen::Waiting(until) => (RewardState::Waiting, Some(timestamp_text(*until)), None, None),
            Seen::Held(reason, detail) => (RewardState::Held, None, Some(reason.as_str()), Some(detail.as_str())),
        };
        let inserted = self.sql(
            "INSERT INTO rewards (commission_id, key, state, state_since, first_seen_at, owed_since, next_attempt_at, hold_reason, last_error) \
             VALUES (:id, :key, :state, :now, :found, :found, :until, :reason, :detail) ON CONFLICT (commission_id) DO NOTHING",
            named_params! {
                ":id": id.0, ":key": key.as_str(), ":state": state.as_str(), ":now": now,
                ":found": timestamp_text(self.found_at.get()), ":until": until, ":reason": reason, ":detail": detail,
            },
        )?;
        if inserted == 0 {
            return Err(self.moved(id, RewardState::Waiting)?);
        }
        self.write_facts(id, state, facts)?;
        let why = match seen {
            Seen::Waiting(until) => format!("first seen; owed, not before {}", timestamp_text(*until)),
            Seen::Held(reason, detail) => format!("first seen; {reason}: {detail}"),
        };
        self.journal(id, None, state, &why)
    }

    /// Records what FirstPromoter says now; journaled where amount, unit or recipient differ.
    pub fn record_facts(&self, reward: &Reward, facts: &Facts) -> Result<(), LedgerError> {
        if reward.facts == *facts {
            return Ok(());
        }
        self.write_facts(reward.id, reward.state, facts)?;
        match reward.facts.difference(facts) {
            Some(difference) => self.journal(
                reward.id,
                Some(reward.state),
                reward.state,
                &format!("changed upstream before delivery: {difference}"),
            ),
            None => Ok(()),
        }
    }

    /// Owed (again): from a hold whose cause went, from `cancelled`, or waiting with another time.
    pub fn wait(&self, reward: &Reward, until: Timestamp, why: &str) -> Result<(), LedgerError> {
        if reward.state == RewardState::Waiting {
            let changed = self.sql(
                "UPDATE rewards SET next_attempt_at = :until WHERE commission_id = :id AND state = 'waiting'",
                named_params! {":id": reward.id.0, ":until": timestamp_text(until)},
            )?;
            return self.one(changed, reward.id, reward.state);
        }
        let changed = self.sql(
            "UPDATE rewards SET state = 'waiting', state_since = :now, next_attempt_at = :until, hold_reason = NULL, last_error = NULL, \
             owed_since = iif(state = 'cancelled', :found, owed_since) \
             WHERE commission_id = :id AND state = :from",
            named_params! {
                ":id": reward.id.0, ":from": reward.state.as_str(), ":now": timestamp_text(self.author.now),
                ":found": timestamp_text(self.found_at.get()), ":until": timestamp_text(until),
            },
        )?;
        self.one(changed, reward.id, reward.state)?;
        self.journal(reward.id, Some(reward.state), RewardState::Waiting, why)
    }

    /// Holds it. From `delivering`, the attempt that was cut off is closed as unknown.
    pub fn hold(&self, reward: &Reward, reason: HoldReason, detail: &str) -> Result<(), LedgerError> {
        let cut_off = reward.state == RewardState::Delivering;
        let changed = self.sql(
            "UPDATE rewards SET state = 'held', state_since = :now, hold_reason = :reason, last_error = :detail, \
             next_attempt_at = iif(failures > 0, next_attempt_at, NULL), \
             uncertain = max(uncertain, :cut_off), owed_since = iif(state = 'cancelled', :found, owed_since) \
             WHERE commission_id = :id AND state = :from",
            named_params! {
                ":id": reward.id.0, ":from": reward.state.as_str(), ":now": timestamp_text(self.author.now),
                ":found": timestamp_text(self.found_at.get()), ":reason": reason.as_str(), ":detail": detail, ":cut_off": cut_off,
            },
        )?;
        self.one(changed, reward.id, reward.state)?;
        if cut_off {
            self.close_cut_off(reward.id)?;
            self.release_claim(reward.id)?;
        }
        self.journal(reward.id, Some(reward.state), RewardState::Held, &format!("{reason}: {detail}"))
    }

    /// No longer approved upstream, and never delivered. Ends a row of failures: approved again, it is owed anew.
    pub fn cancel(&self, reward: &Reward, why: &str) -> Result<(), LedgerError> {
        let changed = self.sql(
            "UPDATE rewards SET state = 'cancelled', state_since = :now, hold_reason = NULL, next_attempt_at = NULL, last_error = NULL, \
             failures = 0, first_attempt_at = NULL \
             WHERE commission_id = :id AND state = :from",
            named_params! {
                ":id": reward.id.0, ":from": reward.state.as_str(), ":now": timestamp_text(self.author.now),
            },
        )?;
        self.one(changed, reward.id, reward.state)?;
        self.journal(reward.id, Some(reward.state), RewardState::Cancelled, why)
    }

    /// FirstPromoter, asked, says fulfilled. What we did not deliver was delivered outside.
    pub fn fulfil(&self, reward: &Reward, why: &str) -> Result<(), LedgerError> {
        let cut_off = reward.state == RewardState::Delivering;
        let changed = self.sql(
            "UPDATE rewards SET state = 'fulfilled', state_since = :now, fulfilled_at = :now, hold_reason = NULL, next_attempt_at = NULL, \
             last_error = NULL, uncertain = 0, mark_attempts = 0, mark_error = NULL, \
             delivered_by = coalesce(delivered_by, :outside) WHERE commission_id = :id AND state = :from",
            named_params! {
                ":id": reward.id.0, ":from": reward.state.as_str(), ":now": timestamp_text(self.author.now),
                ":outside": DeliveredBy::Outside.as_str(),
            },
        )?;
        self.one(changed, reward.id, reward.state)?;
        if cut_off {
            self.close_cut_off(reward.id)?;
            self.release_claim(reward.id)?;
        }
        self.journal(reward.id, Some(reward.state), RewardState::Fulfilled, why)
    }

    /// Puts the intent on disk, under a claim, before the request leaves. Returns [`Begun::Taken`], and changes nothing,
    /// where somebody else holds a live claim or moved the row.
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
        let begun: Option<u32> = self
            .tx
            .prepare_cached(
                "UPDATE rewards SET state = 'delivering', state_since = :now, target = :target, attempts = attempts + 1, \
                 uncertain = max(uncertain, state = 'delivering'), first_attempt_at = min(coalesce(first_attempt_at, :now), :now), \
                 next_attempt_at = NULL, hold_reason = NULL \
                 WHERE commission_id = :id AND state = :from RETURNING attempts",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(
                        named_params! {
                            ":id": reward.id.0, ":from": reward.state.as_str(), ":now": timestamp_text(self.author.now), ":target": target,
                        },
                        |row| row.get(0),
                    )
                    .optional()
            })
            .map_err(|source| self.ledger.explain(source))?;
        let Some(attempt) = begun else {
            self.release_claim(reward.id)?;
            return Ok(Begun::Taken);
        };
        if reward.state == RewardState::Delivering {
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
            Some(reward.state),
            RewardState::Delivering,
            &format!("attempt {attempt} at {target}"),
        )?;
        Ok(Begun::Attempt(attempt))
    }

    /// Writes what became of an attempt. `detail` is for a person.
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
                    "UPDATE rewards SET state = 'waiting', state_since = :now, next_attempt_at = :until, failures = failures + 1, \
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

    /// FirstPromoter did not mark it, or cannot; from the third time on not before `next`.
    pub fn mark_failed(&self, reward: &Reward, error: &str, next: Option<Timestamp>) -> Result<(), LedgerError> {
        let changed = self.sql(
            "UPDATE rewards SET mark_attempts = mark_attempts + 1, mark_error = :error, next_attempt_at = :next \
             WHERE commission_id = :id AND state = 'delivered'",
            named_params! {":id": reward.id.0, ":error": error, ":next": next.map(timestamp_text)},
        )?;
        self.one(changed, reward.id, RewardState::Delivered)?;
        let why = format!("FirstPromoter does not say fulfilled: {error}");
        self.journal(reward.id, Some(RewardState::Delivered), RewardState::Delivered, &why)
    }

    /// FirstPromoter contradicts what was settled, or (none) no longer does.
    pub fn set_drift(&self, reward: &Reward, drift: Option<Drift>) -> Result<(), LedgerError> {
        let changed = self.sql(
            "UPDATE rewards SET drift = :drift WHERE commission_id = :id AND state = :state AND state IN ('fulfilled', 'reversed')",
            named_params! {":id": reward.id.0, ":state": reward.state.as_str(), ":drift": drift.map(Drift::as_str)},
        )?;
        self.one(changed, reward.id, reward.state)?;
        let why = match (drift, reward.drift) {
            (Some(drift), _) => format!("drift: {}", drift.in_words()),
            (None, Some(Drift::FulfilledAfterReversal)) => {
                "drift is over: FirstPromoter no longer says fulfilled".to_owned()
            }
            (None, Some(Drift::UnfulfilledUpstream) | None) => "drift is over: FirstPromoter says fulfilled".to_owned(),
        };
        self.journal(reward.id, Some(reward.state), reward.state, &why)
    }

    fn write_facts(&self, id: CommissionId, state: RewardState, facts: &Facts) -> Result<(), LedgerError> {
        let (promoter, referral) = (facts.promoter.as_ref(), facts.referral.as_ref());
        let (campaign, reward) = (facts.campaign.as_ref(), facts.reward.as_ref());
        let changed = self.sql(
            "UPDATE rewards SET unit = :unit, amount = :amount, recipient = :recipient, promoter_id = :promoter_id, \
             promoter_email = :promoter_email, promoter_name = :promoter_name, referral_id = :referral_id, \
             referral_email = :referral_email, referral_uid = :referral_uid, campaign_id = :campaign_id, campaign_name = :campaign_name, \
             reward_id = :reward_id, reward_name = :reward_name, approved_at = :approved_at, created_at = :created_at \
             WHERE commission_id = :id AND state = :state",
            named_params! {
                ":id": id.0, ":state": state.as_str(), ":unit": facts.unit.as_ref().map(crate::domain::Unit::as_str), ":amount": facts.amount,
                ":recipient": facts.recipient.map(crate::domain::RecipientKind::as_str),
                ":promoter_id": promoter.map(|it| it.id), ":promoter_email": promoter.and_then(|it| it.email.as_deref()),
                ":promoter_name": promoter.and_then(|it| it.name.as_deref()),
                ":referral_id": referral.map(|it| it.id), ":referral_email": referral.and_then(|it| it.email.as_deref()),
                ":referral_uid": referral.and_then(|it| it.uid.as_deref()),
                ":campaign_id": campaign.map(|it| it.id), ":campaign_name": campaign.and_then(|it| it.name.as_deref()),
                ":reward_id": reward.map(|it| it.id), ":reward_name": reward.and_then(|it| it.name.as_deref()),
                ":approved_at": facts.approved_at.map(upstream_timestamp_text),
                ":created_at": facts.created_at.map(upstream_timestamp_text),
            },
        )?;
        self.one(changed, id, state)
    }

    /// An attempt without an outcome was cut off: its process ended first.
    pub(super) fn close_cut_off(&self, id: CommissionId) -> Result<(), LedgerError> {
        self.sql(
            "UPDATE attempts SET finished_at = :now, outcome = 'unknown', detail = 'cut off: the process ended before the answer' \
             WHERE commission_id = :id AND outcome IS NULL",
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

    pub(super) fn journal(
        &self,
        id: CommissionId,
        from: Option<RewardState>,
        to: RewardState,
        reason: &str,
    ) -> Result<(), LedgerError> {
        self.sql(
            "INSERT INTO journal (commission_id, at, from_state, to_state, reason, actor, pass_id) \
             VALUES (:id, :at, :from, :to, :reason, :actor, :pass)",
            named_params! {
                ":id": id.0, ":at": timestamp_text(self.author.now), ":from": from.map(RewardState::as_str), ":to": to.as_str(),
                ":reason": reason, ":actor": self.author.actor, ":pass": self.author.pass_id,
            },
        )?;
        if matches!(to, RewardState::Delivering | RewardState::Delivered) {
            self.delivery.set(Some(self.tx.last_insert_rowid()));
        }
        tracing::info!(
            commission.id = id.0,
            from = from.map(RewardState::as_str),
            to = to.as_str(),
            "commission {id}: {to}: {reason}"
        );
        Ok(())
    }

    pub(super) fn sql(&self, sql: &str, params: &[(&str, &dyn rusqlite::ToSql)]) -> Result<usize, LedgerError> {
        self.tx
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(|source| self.ledger.explain(source))
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        work(&self.tx).map_err(|source| self.ledger.explain(source))
    }

    pub(super) fn one(&self, changed: usize, id: CommissionId, expected: RewardState) -> Result<(), LedgerError> {
        if changed == 1 { Ok(()) } else { Err(self.moved(id, expected)?) }
    }

    fn moved(&self, id: CommissionId, expected: RewardState) -> Result<LedgerError, LedgerError> {
        let found: Option<String> = self.read(|tx| {
            tx.query_row("SELECT state FROM rewards WHERE commission_id = ?1", [id.0], |row| row.get(0)).optional()
        })?;
        Ok(LedgerError::Moved { id, expected, found: found.unwrap_or_else(|| "missing".to_owned()) })
    }
}
