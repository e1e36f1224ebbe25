//! The measurements: the present numbers, and counts since the ledger began.
//!
//! Guarantees: counts never go down. Counting continues from where it was, so it costs as much as there is new, except the
//! first time.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, named_params};

use super::{Ledger, LedgerError, row::time};
use crate::domain::Timestamp;

/// The present numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Rows of `owed` by unit; empty text where it is unknown.
    pub owed: BTreeMap<String, u64>,
    /// Rows of `attention` by reason.
    pub attention: BTreeMap<String, u64>,
    /// When the last pass over everything completed.
    pub completed: Option<Timestamp>,
}

/// Counts since the ledger began; [`Ledger::count`] brings them up to date.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// Counts of final rows: up to [`Self::upto`].
    finals: Counted,
    upto: Upto,
    /// Counts of all rows.
    pub counted: Counted,
}

/// The counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counted {
    /// Attempts by unit (empty text where it is unknown) and outcome.
    pub deliveries: BTreeMap<(String, String), u64>,
    /// Passes that completed.
    pub passes_completed: u64,
    /// Passes that did not, by kind; `unknown` in passes of earlier versions.
    pub passes_failed: BTreeMap<String, u64>,
    /// Requests to FirstPromoter.
    pub api_requests: u64,
    /// From approval to delivery by makegood.
    pub waits: WaitTimes,
}

/// How long rewards waited, in seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WaitTimes {
    /// How many waited up to each of [`Self::BOUNDS_S`] and longer than the one before. The last counts those that waited
    /// longer.
    pub buckets: [u64; Self::BOUNDS_S.len() + 1],
    /// All of them together.
    pub sum_s: f64,
}

impl WaitTimes {
    /// A minute to a week.
    pub const BOUNDS_S: [u32; 10] = [60, 300, 900, 1_800, 3_600, 10_800, 21_600, 86_400, 259_200, 604_800];

    fn add(&mut self, wait_s: f64) {
        let bucket = Self::BOUNDS_S.partition_point(|bound| f64::from(*bound) < wait_s);
        self.buckets[bucket] += 1;
        self.sum_s += wait_s;
    }
}

/// The last final row of each table. All rows before it are final too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Upto {
    attempt: i64,
    pass: i64,
    journal: i64,
}

impl Ledger {
    /// Reads the present numbers.
    pub fn standing(&self) -> Result<Standing, LedgerError> {
        let completed = self.streak()?.completed;
        self.run(|conn| {
            let owed = by_word(conn, "SELECT coalesce(unit, ''), count(*) FROM owed GROUP BY 1")?;
            let attention = by_word(conn, "SELECT reason, count(*) FROM attention GROUP BY 1")?;
            Ok(Standing { owed, attention, completed })
        })
    }

    /// Brings the counts up to date.
    pub fn count(&self, tally: &mut Tally) -> Result<(), LedgerError> {
        let next = self.run(|conn| {
            // One snapshot: a row that becomes final in the meantime is counted exactly once.
            let snapshot = conn.unchecked_transaction()?;
            let mut next = tally.clone();
            next.upto = final_rows(&snapshot)?;
            count_attempts(&snapshot, &mut next.finals, tally.upto.attempt, next.upto.attempt)?;
            count_passes(&snapshot, &mut next.finals, tally.upto.pass, next.upto.pass)?;
            count_waits(&snapshot, &mut next.finals, tally.upto.journal)?;
            next.counted = next.finals.clone();
            count_attempts(&snapshot, &mut next.counted, next.upto.attempt, i64::MAX)?;
            count_passes(&snapshot, &mut next.counted, next.upto.pass, i64::MAX)?;
            snapshot.finish()?;
            Ok(next)
        })?;
        *tally = next;
        Ok(())
    }
}

fn by_word(conn: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<String, u64>> {
    conn.prepare_cached(sql)?.query_map([], |row| Ok((row.get(0)?, count(row, 1)?)))?.collect()
}

fn final_rows(conn: &Connection) -> rusqlite::Result<Upto> {
    conn.prepare_cached(
        "SELECT coalesce((SELECT min(id) FROM attempts WHERE finished_at IS NULL) - 1, (SELECT max(id) FROM attempts), 0) AS attempt, \
         coalesce((SELECT min(id) FROM passes WHERE finished IS NULL) - 1, (SELECT max(id) FROM passes), 0) AS pass, \
         coalesce((SELECT max(id) FROM journal), 0) AS journal",
    )?
    .query_row([], |row| {
        Ok(Upto { attempt: row.get("attempt")?, pass: row.get("pass")?, journal: row.get("journal")? })
    })
}

fn count_attempts(conn: &Connection, counted: &mut Counted, after: i64, upto: i64) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT coalesce(unit, ''), outcome, count(*) FROM attempts JOIN rewards USING (commission_id) \
         WHERE attempts.id > :after AND attempts.id <= :upto AND outcome IS NOT NULL GROUP BY 1, 2",
    )?;
    let mut rows = statement.query(named_params! {":after": after, ":upto": upto})?;
    while let Some(row) = rows.next()? {
        *counted.deliveries.entry((row.get(0)?, row.get(1)?)).or_default() += count(row, 2)?;
    }
    Ok(())
}

fn count_passes(conn: &Connection, counted: &mut Counted, after: i64, upto: i64) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT iif(error IS NULL, '', coalesce(error_kind, 'unknown')) AS kind, count(*), total(api_requests) FROM passes \
         WHERE id > :after AND id <= :upto AND finished IS NOT NULL GROUP BY 1",
    )?;
    let mut rows = statement.query(named_params! {":after": after, ":upto": upto})?;
    while let Some(row) = rows.next()? {
        match row.get::<_, String>(0)? {
            completed if completed.is_empty() => counted.passes_completed += count(row, 1)?,
            kind => *counted.passes_failed.entry(kind).or_default() += count(row, 1)?,
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and not below 0")]
        let requests = row.get::<_, f64>(2)? as u64;
        counted.api_requests += requests;
    }
    Ok(())
}

/// A reward is delivered once, and the journal only grows.
fn count_waits(conn: &Connection, counted: &mut Counted, after: i64) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT approved_at, delivered_at FROM journal JOIN rewards USING (commission_id) \
         WHERE journal.id > :after AND to_state = 'delivered' AND from_state = 'delivering' \
         AND delivered_by = 'makegood' AND approved_at IS NOT NULL",
    )?;
    let mut rows = statement.query(named_params! {":after": after})?;
    while let Some(row) = rows.next()? {
        if let (Some(approved), Some(delivered)) = (time(row, "approved_at")?, time(row, "delivered_at")?) {
            counted.waits.add((delivered - approved).as_seconds_f64().max(0.0));
        }
    }
    Ok(())
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}
