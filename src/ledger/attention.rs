//! Reads the view `attention`: what needs a person.
//!
//! Guarantees: a report of it is bounded, however many rewards need a person for the same reason ([`AttentionInShort`]).

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Row, named_params};
use serde::Serialize;

use super::{Ledger, LedgerError};
use crate::domain::CommissionId;

/// So many rewards with the same reason are shown one by one; of more, some examples.
pub(crate) const ONE_BY_ONE_MAX: usize = 20;
/// How many of a larger group are shown.
pub(crate) const EXAMPLES: usize = 3;

/// A row of the view `attention`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// Which commission.
    pub commission_id: CommissionId,
    /// `held`, `delivered` or `fulfilled`.
    pub state: String,
    /// The hold's reason, `not_marked`, or the drift.
    pub reason: String,
    /// Since when it is in that state; RFC 3339 UTC.
    pub since: String,
    /// For a person.
    pub what_to_do: String,
    /// The last words of the target, FirstPromoter or the plan.
    pub detail: Option<String>,
    /// FirstPromoter's word.
    pub unit: Option<String>,
    /// How much of the unit.
    pub amount: Option<i64>,
    /// `promoter` or `referral`.
    pub recipient: Option<String>,
    /// The recipient's.
    pub recipient_email: Option<String>,
}

/// More rewards than anybody reads one by one, in the same state for the same reason at the same target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionGroup {
    /// `held`, `delivered` or `fulfilled`.
    pub state: String,
    /// The hold's reason, `not_marked`, or the drift.
    pub reason: String,
    /// Where they went, or go.
    pub target: Option<String>,
    /// How many there are.
    pub count: u64,
    /// Those that have stood longest, the longest first.
    pub examples: Vec<Attention>,
}

/// The view `attention` as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttentionInShort {
    /// How many rewards need a person.
    pub count: u64,
    /// Those that are shown one by one, longest standing first.
    pub rows: Vec<Attention>,
    /// The others, by what they have in common.
    pub groups: Vec<AttentionGroup>,
    /// Those of the ids asked about that are in a group.
    pub grouped: BTreeSet<CommissionId>,
}

/// A group while it is read: its first ids, and those that were asked about.
#[derive(Default)]
struct Members {
    count: u64,
    first: Vec<CommissionId>,
    asked: Vec<CommissionId>,
}

impl Ledger {
    /// The view `attention`, longest standing first.
    pub fn attention(&self) -> Result<Vec<Attention>, LedgerError> {
        self.run(|conn| conn.prepare_cached("SELECT * FROM attention")?.query_map([], read)?.collect())
    }

    /// The rows of `attention` of these commissions, longest standing first.
    pub fn attention_of(&self, ids: &[CommissionId]) -> Result<Vec<Attention>, LedgerError> {
        let ids = serde_json::to_string(ids).unwrap_or_default();
        self.run(|conn| {
            let sql = "SELECT * FROM attention WHERE commission_id IN (SELECT value FROM json_each(:ids))";
            conn.prepare_cached(sql)?.query_map(named_params! {":ids": ids}, read)?.collect()
        })
    }

    /// How many rewards need a person.
    pub fn needs_attention(&self) -> Result<u64, LedgerError> {
        self.run(|conn| {
            let count =
                conn.prepare_cached("SELECT count(*) FROM attention")?.query_row([], |row| row.get::<_, i64>(0))?;
            Ok(count.unsigned_abs())
        })
    }

    /// The view `attention` in short. `asked`: ids of which the caller wants to know whether they are in a group.
    pub fn attention_in_short(&self, asked: &BTreeSet<CommissionId>) -> Result<AttentionInShort, LedgerError> {
        let groups: BTreeMap<(String, String, Option<String>), Members> = self.run(|conn| {
            let mut statement = conn.prepare_cached("SELECT commission_id, state, reason, target FROM attention")?;
            let (mut groups, mut rows) = (BTreeMap::<_, Members>::new(), statement.query([])?);
            while let Some(row) = rows.next()? {
                let id = CommissionId(row.get("commission_id")?);
                let members = groups.entry((row.get("state")?, row.get("reason")?, row.get("target")?)).or_default();
                members.count += 1;
                if members.first.len() < ONE_BY_ONE_MAX {
                    members.first.push(id);
                }
                if asked.contains(&id) {
                    members.asked.push(id);
                }
            }
            Ok(groups)
        })?;
        let mut short = AttentionInShort::default();
        let mut one_by_one = Vec::new();
        for ((state, reason, target), members) in groups {
            short.count += members.count;
            if members.count <= ONE_BY_ONE_MAX as u64 {
                one_by_one.extend(members.first);
                continue;
            }
            let examples = self.attention_of(&members.first[..EXAMPLES])?;
            short.grouped.extend(members.asked);
            short.groups.push(AttentionGroup { state, reason, target, count: members.count, examples });
        }
        short.rows = self.attention_of(&one_by_one)?;
        Ok(short)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Attention> {
    Ok(Attention {
        commission_id: CommissionId(row.get("commission_id")?),
        state: row.get("state")?,
        reason: row.get("reason")?,
        since: row.get("since")?,
        what_to_do: row.get("what_to_do")?,
        detail: row.get("detail")?,
        unit: row.get("unit")?,
        amount: row.get("amount")?,
        recipient: row.get("recipient")?,
        recipient_email: row.get("recipient_email")?,
    })
}
