//! Reads the ledger for a person or a monitoring system.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, ToSql, named_params, types::ValueRef};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Attempt, JournalEntry, Ledger, LedgerError, Reward, row};
use crate::domain::CommissionId;

/// Everything that the ledger knows about one commission. It serialises as rows of JSON, with the columns' names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dossier {
    /// Its state.
    #[serde(skip)]
    pub reward: Reward,
    /// The columns of `rewards`, for the JSON only.
    #[serde(rename = "reward")]
    pub columns: Map<String, Value>,
    /// The rows of `attempts`, oldest first.
    pub attempts: Vec<Attempt>,
    /// The rows of `journal`, oldest first.
    pub journal: Vec<JournalEntry>,
}

impl Ledger {
    /// How many rewards are in each state; without the states that have none.
    pub fn states(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached("SELECT state, rewards FROM reward_states WHERE rewards > 0")?
                .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
                .collect()
        })
    }

    /// How many rewards there are, counted anew: also in a copy that has the schema of an earlier version.
    pub(super) fn count_rewards(&self) -> Result<u64, LedgerError> {
        self.run(|conn| {
            conn.query_row("SELECT count(*) FROM rewards", [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
        })
    }

    /// The view `last_pass` as an object; none before the first.
    pub fn last_pass(&self) -> Result<Option<Map<String, Value>>, LedgerError> {
        self.run(|conn| Ok(objects(conn, "SELECT * FROM last_pass", &[])?.pop()))
    }

    /// The next time at which an owed reward may be delivered: the smallest `next_attempt_at` of the view `owed`.
    pub fn next_owed(&self) -> Result<Option<(CommissionId, String)>, LedgerError> {
        self.run(|conn| {
            conn.query_row(
                "SELECT commission_id, next_attempt_at FROM owed WHERE next_attempt_at IS NOT NULL ORDER BY next_attempt_at LIMIT 1",
                [],
                |row| Ok((CommissionId(row.get(0)?), row.get(1)?)),
            )
            .optional()
        })
    }

    /// The commissions of the promoter or referral with this email, the latest approved first. Ignores the case of ASCII
    /// letters.
    pub fn ids_of(&self, email: &str) -> Result<Vec<CommissionId>, LedgerError> {
        // Only of ASCII, as NOCASE does it, but NOCASE takes a NUL for the end: `KIM@` with a Kelvin sign (U+212A) is somebody else.
        let same = |found: Option<&str>| found.is_some_and(|found| found.eq_ignore_ascii_case(email));
        self.run(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT commission_id, promoter_email, referral_email FROM rewards \
                 WHERE commission_id IN (SELECT commission_id FROM rewards WHERE promoter_email = :email COLLATE NOCASE \
                 UNION SELECT commission_id FROM rewards WHERE referral_email = :email COLLATE NOCASE) \
                 ORDER BY julianday(coalesce(approved_at, created_at, first_seen_at)) DESC, commission_id DESC",
            )?;
            let mut rows = statement.query(named_params! {":email": email})?;
            let mut ids = Vec::new();
            while let Some(row) = rows.next()? {
                let email = |column| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
                if same(email("promoter_email")?) || same(email("referral_email")?) {
                    ids.push(CommissionId(row.get("commission_id")?));
                }
            }
            Ok(ids)
        })
    }

    /// Everything about one commission; none where the ledger does not know it.
    pub fn dossier(&self, id: CommissionId) -> Result<Option<Dossier>, LedgerError> {
        self.run(|conn| {
            let columns = objects(conn, "SELECT * FROM rewards WHERE commission_id = ?1", &[&id.0])?.pop();
            let Some((reward, columns)) = row::find(conn, id)?.zip(columns) else { return Ok(None) };
            Ok(Some(Dossier {
                reward,
                columns,
                attempts: Attempt::all_of(conn, id)?,
                journal: JournalEntry::all_of(conn, id)?,
            }))
        })
    }

    /// The view `timeline` of one commission: (when, what, detail), oldest first.
    pub fn timeline(&self, id: CommissionId) -> Result<Vec<(String, String, String)>, LedgerError> {
        self.run(|conn| {
            conn.prepare_cached("SELECT at, what, coalesce(detail, '') FROM timeline WHERE commission_id = ?1")?
                .query_map([id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })
    }
}

/// Rows as JSON objects, with the columns' names.
pub(super) fn objects(
    conn: &Connection,
    sql: &str,
    params: &[&dyn ToSql],
) -> rusqlite::Result<Vec<Map<String, Value>>> {
    let mut statement = conn.prepare_cached(sql)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map(params, |row| {
        names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let value = match row.get_ref(index)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => number.into(),
                    ValueRef::Real(number) => number.into(),
                    ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into(),
                };
                Ok((name.clone(), value))
            })
            .collect()
    })?;
    rows.collect()
}
