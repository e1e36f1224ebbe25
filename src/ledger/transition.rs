//! The arrows of the state diagram that a pass draws without an attempt: one variant for each arrow, and one place that writes
//! them. `attempts` has the arrows of an attempt, `decisions` those of people and webhook handlers.
//!
//! Guarantees: each is an `UPDATE ... WHERE commission_id = ? AND state = ?` that must change one row, with its journal entry
//! in the same transaction.

use rusqlite::named_params;

use super::{Change, DeliveredBy, Drift, Facts, HoldReason, LedgerError, Reward, RewardState, Wait};
use crate::domain::{CommissionId, DeliveryKey, Timestamp, timestamp_text};

/// One arrow of the state diagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// To `waiting`: first seen, from a hold whose cause is gone, or from `cancelled`. Also changes the time that a reward
    /// waits for.
    Wait {
        /// Not delivered before this time.
        until: Timestamp,
        /// The reason for the wait.
        why: Wait,
    },
    /// To `held`: first seen, or from a state before delivery. From `delivering`, closes the interrupted attempt as unknown.
    Hold {
        /// Why.
        reason: HoldReason,
        /// The reason in words, for a person.
        detail: String,
    },
    /// To `cancelled`: no longer approved upstream, and never delivered. Ends the row of failures: if approved again, it is
    /// owed anew.
    Cancel {
        /// What FirstPromoter says about it.
        why: String,
    },
    /// To `fulfilled`: FirstPromoter, asked, says so. If makegood did not deliver it, somebody outside did.
    Fulfil {
        /// How that was found out.
        why: &'static str,
    },
    /// Stays `delivered`: FirstPromoter did not mark it, or cannot.
    NotMarked {
        /// Why not, in FirstPromoter's words.
        why: String,
        /// Not asked again before this time.
        next: Option<Timestamp>,
    },
    /// Stays settled, but FirstPromoter contradicts that.
    Drift(Drift),
    /// Stays settled, and FirstPromoter no longer contradicts that.
    DriftOver(Drift),
}

impl Transition {
    /// The state it leads to; none where the state stays.
    pub fn to(&self) -> Option<RewardState> {
        match self {
            Self::Wait { .. } => Some(RewardState::Waiting),
            Self::Hold { .. } => Some(RewardState::Held),
            Self::Cancel { .. } => Some(RewardState::Cancelled),
            Self::Fulfil { .. } => Some(RewardState::Fulfilled),
            Self::NotMarked { .. } | Self::Drift(_) | Self::DriftOver(_) => None,
        }
    }
}

impl Change<'_> {
    /// Enters a commission that the ledger does not know, as waiting or held.
    pub fn enter(
        &self,
        id: CommissionId,
        key: &DeliveryKey,
        facts: &Facts,
        transition: &Transition,
    ) -> Result<(), LedgerError> {
        match transition {
            Transition::Wait { until, why } => {
                let words = format!("first seen; owed, not before {}", timestamp_text(*until));
                self.insert(id, key, facts, &Beginning { waits: Some((*until, why)), held: None, words })
            }
            Transition::Hold { reason, detail } => {
                let words = format!("first seen; {reason}: {detail}");
                let held = Some((*reason, detail.as_str()));
                self.insert(id, key, facts, &Beginning { waits: None, held, words })
            }
            Transition::Cancel { .. }
            | Transition::Fulfil { .. }
            | Transition::NotMarked { .. }
            | Transition::Drift(_)
            | Transition::DriftOver(_) => Err(self.moved(id, RewardState::Delivered)?),
        }
    }

    /// Writes a transition of a row. The row must still be in the state in which it was read.
    pub fn apply(&self, reward: &Reward, transition: &Transition) -> Result<(), LedgerError> {
        match transition {
            Transition::Wait { until, why } => self.wait(reward, *until, why),
            Transition::Hold { reason, detail } => self.hold(reward, *reason, detail),
            Transition::Cancel { why } => self.cancel(reward, why),
            Transition::Fulfil { why } => self.fulfil(reward, why),
            Transition::NotMarked { why, next } => self.not_marked(reward, why, *next),
            Transition::Drift(drift) => self.set_drift(reward, Some(*drift), &format!("drift: {}", drift.in_words())),
            Transition::DriftOver(drift) => self.set_drift(reward, None, drift.over_in_words()),
        }
    }

    fn insert(
        &self,
        id: CommissionId,
        key: &DeliveryKey,
        facts: &Facts,
        beginning: &Beginning<'_>,
    ) -> Result<(), LedgerError> {
        let ((until, why), (reason, detail)) = (beginning.waits.unzip(), beginning.held.unzip());
        let state = if reason.is_some() { RewardState::Held } else { RewardState::Waiting };
        let inserted = self.sql(
            "INSERT INTO rewards (commission_id, key, state, state_since, first_seen_at, owed_since, next_attempt_at, wait_reason, \
             wait_target, hold_reason, last_error) \
             VALUES (:id, :key, :state, :now, :found, :found, :until, :why, :wait_target, :reason, :detail) ON CONFLICT (commission_id) DO NOTHING",
            named_params! {
                ":id": id.0, ":key": key.as_str(), ":state": state.as_str(), ":now": timestamp_text(self.author.now),
                ":found": timestamp_text(self.found_at()), ":until": until.map(timestamp_text),
                ":why": why.map(|why| why.word().as_str()), ":wait_target": why.and_then(Wait::target),
                ":reason": reason.map(HoldReason::as_str), ":detail": detail,
            },
        )?;
        if inserted == 0 {
            return Err(self.moved(id, RewardState::Waiting)?);
        }
        self.write_facts(id, state, facts)?;
        self.journal(id, None, state, &beginning.words)
    }

    fn wait(&self, reward: &Reward, until: Timestamp, why: &Wait) -> Result<(), LedgerError> {
        let from = reward.state.word();
        if from == RewardState::Waiting {
            let changed = self.sql(
                "UPDATE rewards SET next_attempt_at = :until, wait_reason = :why, wait_target = :target \
                 WHERE commission_id = :id AND state = 'waiting'",
                named_params! {
                    ":id": reward.id.0, ":until": timestamp_text(until), ":why": why.word().as_str(), ":target": why.target(),
                },
            )?;
            return self.one(changed, reward.id, from);
        }
        let changed = self.sql(
            "UPDATE rewards SET state = 'waiting', state_since = :now, next_attempt_at = :until, wait_reason = :why, wait_target = :target, \
             hold_reason = NULL, last_error = NULL, owed_since = iif(state = 'cancelled', :found, owed_since) \
             WHERE commission_id = :id AND state = :from",
            named_params! {
                ":id": reward.id.0, ":from": from.as_str(), ":now": timestamp_text(self.author.now),
                ":found": timestamp_text(self.found_at()), ":until": timestamp_text(until), ":why": why.word().as_str(),
                ":target": why.target(),
            },
        )?;
        self.one(changed, reward.id, from)?;
        self.journal(reward.id, Some(from), RewardState::Waiting, why.in_words())
    }

    fn hold(&self, reward: &Reward, reason: HoldReason, detail: &str) -> Result<(), LedgerError> {
        let from = reward.state.word();
        let cut_off = from == RewardState::Delivering;
        let changed = self.sql(
            "UPDATE rewards SET state = 'held', state_since = :now, hold_reason = :reason, last_error = :detail, \
             next_attempt_at = iif(failures > 0, next_attempt_at, NULL), wait_reason = NULL, wait_target = NULL, \
             uncertain = max(uncertain, :cut_off), owed_since = iif(state = 'cancelled', :found, owed_since) \
             WHERE commission_id = :id AND state = :from",
            named_params! {
                ":id": reward.id.0, ":from": from.as_str(), ":now": timestamp_text(self.author.now),
                ":found": timestamp_text(self.found_at()), ":reason": reason.as_str(), ":detail": detail, ":cut_off": cut_off,
            },
        )?;
        self.one(changed, reward.id, from)?;
        if cut_off {
            self.close_cut_off(reward.id)?;
            self.release_claim(reward.id)?;
        }
        self.journal(reward.id, Some(from), RewardState::Held, &format!("{reason}: {detail}"))
    }

    fn cancel(&self, reward: &Reward, why: &str) -> Result<(), LedgerError> {
        let from = reward.state.word();
        let changed = self.sql(
            "UPDATE rewards SET state = 'cancelled', state_since = :now, hold_reason = NULL, next_attempt_at = NULL, last_error = NULL, \
             wait_reason = NULL, wait_target = NULL, failures = 0, first_attempt_at = NULL \
             WHERE commission_id = :id AND state = :from",
            named_params! {
                ":id": reward.id.0, ":from": from.as_str(), ":now": timestamp_text(self.author.now),
            },
        )?;
        self.one(changed, reward.id, from)?;
        self.journal(reward.id, Some(from), RewardState::Cancelled, why)
    }

    fn fulfil(&self, reward: &Reward, why: &str) -> Result<(), LedgerError> {
        let from = reward.state.word();
        let cut_off = from == RewardState::Delivering;
        let changed = self.sql(
            "UPDATE rewards SET state = 'fulfilled', state_since = :now, fulfilled_at = :now, hold_reason = NULL, next_attempt_at = NULL, \
             wait_reason = NULL, wait_target = NULL, last_error = NULL, uncertain = 0, mark_attempts = 0, mark_error = NULL, \
             delivered_by = coalesce(delivered_by, :outside) WHERE commission_id = :id AND state = :from",
            named_params! {
                ":id": reward.id.0, ":from": from.as_str(), ":now": timestamp_text(self.author.now),
                ":outside": DeliveredBy::Outside.as_str(),
            },
        )?;
        self.one(changed, reward.id, from)?;
        if cut_off {
            self.close_cut_off(reward.id)?;
            self.release_claim(reward.id)?;
        }
        self.journal(reward.id, Some(from), RewardState::Fulfilled, why)
    }

    fn not_marked(&self, reward: &Reward, error: &str, next: Option<Timestamp>) -> Result<(), LedgerError> {
        let changed = self.sql(
            "UPDATE rewards SET mark_attempts = mark_attempts + 1, mark_error = :error, next_attempt_at = :next \
             WHERE commission_id = :id AND state = 'delivered'",
            named_params! {":id": reward.id.0, ":error": error, ":next": next.map(timestamp_text)},
        )?;
        self.one(changed, reward.id, RewardState::Delivered)?;
        let why = format!("FirstPromoter does not say fulfilled: {error}");
        self.journal(reward.id, Some(RewardState::Delivered), RewardState::Delivered, &why)
    }

    fn set_drift(&self, reward: &Reward, drift: Option<Drift>, why: &str) -> Result<(), LedgerError> {
        let from = reward.state.word();
        let changed = self.sql(
            "UPDATE rewards SET drift = :drift WHERE commission_id = :id AND state = :state AND state IN ('fulfilled', 'reversed')",
            named_params! {":id": reward.id.0, ":state": from.as_str(), ":drift": drift.map(Drift::as_str)},
        )?;
        self.one(changed, reward.id, from)?;
        self.journal(reward.id, Some(from), from, why)
    }
}

/// How a commission enters the ledger.
struct Beginning<'a> {
    waits: Option<(Timestamp, &'a Wait)>,
    held: Option<(HoldReason, &'a str)>,
    /// For the journal.
    words: String,
}
