//! The queries of a pass. The cost of each follows the backlog or its argument, never history.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::TimeDelta;
use rusqlite::named_params;

use super::{
    CLAIM_MAX, Drift, Ledger, LedgerError, Reward,
    row::{COLUMNS, time},
};
use crate::{
    domain::{CommissionId, RecipientKind, Timestamp, timestamp_text},
    firstpromoter::RewardRule,
};

/// How long a rule of `GET /rewards` is cached.
pub(super) const RULES_AGE_MAX: TimeDelta = TimeDelta::days(1);

fn before(now: Timestamp, age: TimeDelta) -> Timestamp {
    now.checked_sub_signed(age).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Ledger {
    /// The rewards that a complete listing should contain, or that a pass asks about: open ones, and those with a drift.
    pub fn open_ids(&self) -> Result<HashSet<CommissionId>, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached(
                "SELECT commission_id FROM rewards WHERE state IN ('waiting', 'delivering', 'delivered', 'held') \
                 UNION ALL SELECT commission_id FROM rewards WHERE drift IS NOT NULL",
            )?
            .query_map([], |row| row.get(0).map(CommissionId))?
            .collect()
        })
    }

    /// Whether a reward waits whose time has come, or is being delivered.
    pub fn has_due(&self, now: Timestamp) -> Result<bool, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM rewards WHERE state IN ('waiting', 'delivering') AND next_attempt_at <= :now) \
                 OR EXISTS (SELECT 1 FROM rewards WHERE state IN ('waiting', 'delivering') AND next_attempt_at IS NULL)",
            )?
            .query_row(named_params! {":now": timestamp_text(now)}, |row| row.get(0))
        })
    }

    /// The rewards that a person reversed since then. FirstPromoter may call one fulfilled after all when a batch under way
    /// takes effect.
    pub fn reversed_since(&self, since: Timestamp) -> Result<Vec<CommissionId>, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached("SELECT commission_id FROM rewards WHERE state = 'reversed' AND state_since >= :since")?
                .query_map(named_params! {":since": timestamp_text(since)}, |row| row.get(0).map(CommissionId))?
                .collect()
        })
    }

    /// The rows of these ids that exist.
    pub fn rewards(&self, ids: &[CommissionId]) -> Result<HashMap<CommissionId, Reward>, LedgerError> {
        let ids = serde_json::to_string(ids).unwrap_or_default();
        self.run(|conn| {
            conn.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM rewards WHERE commission_id IN (SELECT value FROM json_each(:ids))"
            ))?
            .query_map(named_params! {":ids": ids}, |row| Reward::read(row).map(|reward| (reward.id, reward)))?
            .collect()
        })
    }

    /// Live claims of others, with the time of their end.
    pub fn claims_of_others(&self, now: Timestamp) -> Result<HashMap<CommissionId, Timestamp>, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached(
                "SELECT commission_id, strftime('%Y-%m-%dT%H:%M:%fZ', expires_at) AS expires_at FROM claims \
                 WHERE owner <> 'makegood' AND julianday(expires_at) > julianday(:now)",
            )?
            .query_map(named_params! {":now": timestamp_text(now)}, |row| {
                Ok((
                    CommissionId(row.get("commission_id")?),
                    time(row, "expires_at")?.unwrap_or(now).min(now + CLAIM_MAX),
                ))
            })?
            .collect()
        })
    }

    /// Up to `limit` ids that FirstPromoter must call fulfilled: the latest, without those that it contradicted.
    pub fn canaries(&self, limit: u32) -> Result<Vec<CommissionId>, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached(
                "SELECT commission_id FROM rewards WHERE state = 'fulfilled' AND drift IS NULL ORDER BY fulfilled_at DESC LIMIT :limit",
            )?
            .query_map(named_params! {":limit": limit}, |row| row.get(0).map(CommissionId))?
            .collect()
        })
    }

    /// Up to `limit` ids that FirstPromoter called fulfilled and later unfulfilled.
    pub fn drifted(&self, limit: u32) -> Result<Vec<CommissionId>, LedgerError> {
        let drifts: Vec<&str> =
            Drift::ALL.iter().filter(|drift| drift.was_fulfilled()).map(|drift| drift.as_str()).collect();
        let drifts = serde_json::to_string(&drifts).unwrap_or_default();
        self.run(|conn| {
            conn.prepare_cached(
                "SELECT commission_id FROM rewards WHERE drift IN (SELECT value FROM json_each(:drifts)) \
                 ORDER BY fulfilled_at DESC LIMIT :limit",
            )?
            .query_map(named_params! {":drifts": drifts, ":limit": limit}, |row| row.get(0).map(CommissionId))?
            .collect()
        })
    }

    /// The cached answer of `GET /rewards`: who receives the rewards of each rule, as read within the last `RULES_AGE_MAX`.
    /// Rules can change at FirstPromoter, so older ones must be read again. So must rules that were read in the future, by a
    /// clock that was ahead.
    pub fn reward_rules(&self, now: Timestamp) -> Result<BTreeMap<i64, Option<RecipientKind>>, LedgerError> {
        let (since, now) = (timestamp_text(before(now, RULES_AGE_MAX)), timestamp_text(now));
        self.run(|conn| {
            let sql = "SELECT reward_id, recipient FROM reward_rules WHERE fetched_at > :since AND fetched_at <= :now";
            conn.prepare_cached(sql)?
                .query_map(named_params! {":since": since, ":now": now}, |row| {
                    let recipient: Option<String> = row.get("recipient")?;
                    Ok((row.get("reward_id")?, recipient.as_deref().and_then(RecipientKind::from_word)))
                })?
                .collect()
        })
    }

    /// Caches an answer of `GET /rewards`, read at `now`. Unchanged rules are written at most once an hour: where every pass
    /// asks for a rule in vain, it does not write all others each time.
    pub fn remember_reward_rules(&self, rules: &[RewardRule], now: Timestamp) -> Result<(), LedgerError> {
        let hour_ago = timestamp_text(before(now, TimeDelta::hours(1)));
        self.write(|tx| {
            for rule in rules {
                let recipient = rule.is_promoter_reward.map(|promoter| if promoter { "promoter" } else { "referral" });
                tx.prepare_cached(
                    "INSERT INTO reward_rules (reward_id, name, recipient, fetched_at) VALUES (:id, :name, :recipient, :now) \
                     ON CONFLICT (reward_id) DO UPDATE SET name = :name, recipient = :recipient, fetched_at = :now \
                     WHERE name IS NOT :name OR recipient IS NOT :recipient OR fetched_at <= :hour_ago OR fetched_at > :now",
                )?
                .execute(
                    named_params! {":id": rule.id, ":name": rule.name, ":recipient": recipient, ":now": timestamp_text(now), ":hour_ago": hour_ago},
                )?;
            }
            Ok(())
        })
    }
}
