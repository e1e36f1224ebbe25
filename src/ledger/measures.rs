//! The measurements: the present numbers, and counts since the ledger began.
//!
//! Guarantees: counts never go down, and are not added up anew: triggers keep them as they grow (`migrations/counts.sql`), in the
//! transaction that makes them grow, whoever writes. So reading them costs the same after a million rewards.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{Ledger, LedgerError};
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

/// Counts since the ledger began.
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

    /// The bucket that `counts.sql` calls so.
    fn bucket(&mut self, name: &str) -> &mut u64 {
        let bucket = Self::BOUNDS_S.iter().position(|bound| bound.to_string() == name);
        &mut self.buckets[bucket.unwrap_or(Self::BOUNDS_S.len())]
    }
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

    /// Reads the counts.
    pub fn counted(&self) -> Result<Counted, LedgerError> {
        self.run(|conn| {
            let mut counted = Counted::default();
            let mut statement = conn.prepare_cached("SELECT what, kind, outcome, count FROM counts")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (what, kind, outcome) = (row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?);
                let count = row.get::<_, i64>(3)?.unsigned_abs();
                match (what.as_str(), kind.as_str()) {
                    ("attempts", _) => *counted.deliveries.entry((kind, outcome)).or_default() += count,
                    ("passes", "") => counted.passes_completed += count,
                    ("passes", _) => *counted.passes_failed.entry(kind).or_default() += count,
                    ("api_requests", _) => counted.api_requests += count,
                    ("waits", bucket) => *counted.waits.bucket(bucket) += count,
                    #[allow(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
                    ("waited_ms", _) => counted.waits.sum_s += count as f64 / 1000.0,
                    (_, _) => {}
                }
            }
            Ok(counted)
        })
    }
}

fn by_word(conn: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<String, u64>> {
    conn.prepare_cached(sql)?.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?.collect()
}
