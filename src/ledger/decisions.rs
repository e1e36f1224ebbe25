//! Decisions of people and webhook handlers: recorded deliveries, resolved holds, reversals.

use rusqlite::named_params;

use super::{Change, DeliveredBy, HoldReason, LedgerError, Reward, RewardState, row};
use crate::domain::{CommissionId, DeliveryKey, timestamp_text};

/// A person's decision on a held reward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The recipient has it, with the target's own name for it.
    Delivered(Option<String>),
    /// It did not take effect: try again, from the beginning.
    Retry,
    /// Do not deliver it.
    Dismiss,
}

impl Change<'_> {
    /// Records that somebody outside delivered it, and ends the claim; also for a commission that no pass has seen. Returns the
    /// state before. `delivered`, `fulfilled` and a person's `reversed` do not change.
    pub fn record(
        &self,
        id: CommissionId,
        key: &DeliveryKey,
        receipt: Option<&str>,
        owner: &str,
    ) -> Result<Option<RewardState>, LedgerError> {
        let before = self.read(|tx| row::find(tx, id))?.map(|reward| reward.state.word());
        match before {
            Some(RewardState::Delivered | RewardState::Fulfilled | RewardState::Reversed) => {}
            None => {
                self.sql(
                    "INSERT INTO rewards (commission_id, key, state, state_since, first_seen_at, owed_since, delivered_at, delivered_by, \
                     receipt) VALUES (:id, :key, 'delivered', :now, :now, :now, :now, 'outside', :receipt)",
                    named_params! {":id": id.0, ":key": key.as_str(), ":now": timestamp_text(self.author.now), ":receipt": receipt},
                )?;
                self.journal(
                    id,
                    None,
                    RewardState::Delivered,
                    &format!("recorded as delivered by {owner}, before any pass saw it"),
                )?;
            }
            Some(
                from @ (RewardState::Waiting
                | RewardState::Delivering
                | RewardState::Held
                | RewardState::Cancelled
                | RewardState::Dismissed),
            ) => self.to_delivered(
                id,
                from,
                DeliveredBy::Outside,
                receipt,
                &format!("recorded as delivered by {owner}"),
            )?,
        }
        self.sql(
            "DELETE FROM claims WHERE commission_id = :id AND owner = :owner",
            named_params! {":id": id.0, ":owner": owner},
        )?;
        Ok(before)
    }

    /// Applies a person's decision to a held reward.
    pub fn resolve(&self, reward: &Reward, resolution: &Resolution, why: &str) -> Result<(), LedgerError> {
        let to = match resolution {
            Resolution::Delivered(receipt) => {
                return self.to_delivered(reward.id, RewardState::Held, DeliveredBy::Operator, receipt.as_deref(), why);
            }
            Resolution::Retry => RewardState::Waiting,
            Resolution::Dismiss => RewardState::Dismissed,
        };
        let retry = to == RewardState::Waiting;
        let changed = self.sql(
            "UPDATE rewards SET state = :to, state_since = :now, hold_reason = NULL, last_error = NULL, \
             next_attempt_at = iif(:retry, :now, NULL), wait_reason = iif(:retry, 'due', NULL), wait_target = NULL, failures = 0, first_attempt_at = NULL, \
             uncertain = iif(:retry, 0, uncertain) WHERE commission_id = :id AND state = 'held'",
            named_params! {
                ":id": reward.id.0, ":to": to.as_str(), ":now": timestamp_text(self.author.now), ":retry": retry,
            },
        )?;
        self.one(changed, reward.id, RewardState::Held)?;
        self.journal(reward.id, Some(RewardState::Held), to, why)
    }

    /// Writes that a person reversed it. FirstPromoter was read back and says unfulfilled. Never owed again.
    pub fn reverse(&self, reward: &Reward, why: &str) -> Result<(), LedgerError> {
        let from = reward.state.word();
        let changed = self.sql(
            "UPDATE rewards SET state = 'reversed', state_since = :now, drift = NULL, next_attempt_at = NULL, last_error = NULL, \
             mark_attempts = 0, mark_error = NULL WHERE commission_id = :id AND state = :from AND state IN ('delivered', 'fulfilled')",
            named_params! {":id": reward.id.0, ":from": from.as_str(), ":now": timestamp_text(self.author.now)},
        )?;
        self.one(changed, reward.id, from)?;
        self.journal(reward.id, Some(from), RewardState::Reversed, why)
    }

    fn to_delivered(
        &self,
        id: CommissionId,
        from: RewardState,
        by: DeliveredBy,
        receipt: Option<&str>,
        why: &str,
    ) -> Result<(), LedgerError> {
        let changed = self.sql(
            "UPDATE rewards SET state = 'delivered', state_since = :now, delivered_at = :now, delivered_by = :by, receipt = :receipt, \
             hold_reason = NULL, next_attempt_at = NULL, wait_reason = NULL, wait_target = NULL, last_error = NULL, failures = 0, uncertain = 0, mark_attempts = 0, \
             mark_error = NULL WHERE commission_id = :id AND state = :from",
            named_params! {
                ":id": id.0, ":from": from.as_str(), ":by": by.as_str(), ":receipt": receipt, ":now": timestamp_text(self.author.now),
            },
        )?;
        self.one(changed, id, from)?;
        if from == RewardState::Delivering {
            // If the attempt is still in flight, it overwrites this with its outcome later.
            self.close_cut_off(id)?;
        }
        self.journal(id, Some(from), RewardState::Delivered, why)
    }
}

impl HoldReason {
    /// Why `--retry` does not move a hold made by policy.
    pub fn no_retry(self) -> Option<String> {
        self.is_policy().then(|| {
            format!(
                "it is held by policy ({self}), which is judged again in every pass: remove the cause, as `makegood status` says, \
                 or decide with --delivered or --dismiss"
            )
        })
    }
}
