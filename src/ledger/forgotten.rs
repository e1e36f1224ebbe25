//! Recognises a ledger that may have forgotten deliveries. makegood delivers nothing from it until a person accepts it.
//!
//! Three things show it: the ledger lacks the entry that its high-water mark names; it has the stamp of a copy (`ledger
//! backup`); it knows deliveries and has no readable mark beside it.
//!
//! Guarantees:
//! - Whoever writes to such a ledger, it stays locked until [`Ledger::accept_as_it_is`]: the mark does not move past an entry
//!   that the ledger lacks, and none is made where one is missing.
//! - A process that may write stores its finding in the ledger (`may_have_forgotten`). So a handler that works in SQL is
//!   refused its claim there (`guards.sql`), and putting a mark back or removing one changes nothing.
//! - A new ledger gets its mark before its schema, so that makegood itself never leaves a ledger with deliveries and no mark.
//!
//! Assumptions: nobody deletes rows of `may_have_forgotten`.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::{Forgot, Ledger, LedgerError, Position};

/// Journal entries which mean that something was, or may have been, delivered.
const DELIVERY: &str = "to_state IN ('delivering', 'delivered')";

impl Ledger {
    /// Refuses a ledger that may have forgotten something. Writes that into the ledger where this process may write.
    pub fn require_not_behind(&self) -> Result<(), LedgerError> {
        match self.doubt()? {
            None => Ok(()),
            Some(error) => {
                self.remember(&error);
                Err(error)
            }
        }
    }

    /// Writes a person's decision to go on with the ledger as it is.
    pub fn accept_as_it_is(&self) -> Result<Position, LedgerError> {
        let position = self.position()?;
        // The mark first: after a kill between the two, the ledger is still locked.
        if let Some(mark) = &self.high_water_mark {
            mark.write(&position)?;
        }
        self.write(|tx| tx.execute("DELETE FROM may_have_forgotten", []))?;
        Ok(position)
    }

    /// Advances the mark to the entries that handlers have written themselves.
    pub fn catch_up_high_water_mark(&self) -> Result<(), LedgerError> {
        let last: Option<Position> = self.run(|conn| {
            conn.prepare_cached("SELECT journal, at FROM last_delivery")?
                .query_row([], |row| Ok(Position { journal: row.get(0)?, at: row.get(1)? }))
                .optional()
        })?;
        last.map_or(Ok(()), |position| self.advance_high_water_mark(&position))
    }

    /// Moves the mark to an entry of this ledger, if the mark belongs to this ledger.
    ///
    /// Suppose somebody restored a backup, and `makegood record` (or a pass, whose handler wrote) writes an entry with a higher
    /// number than the mark's. If the mark moved there, it would vouch for a ledger that lacks the entries in between.
    pub(super) fn advance_high_water_mark(&self, position: &Position) -> Result<(), LedgerError> {
        let Some(mark) = &self.high_water_mark else { return Ok(()) };
        let belongs = match self.read_high_water_mark()? {
            // Two processes (a pass and a handler) may come here in any order.
            Some(marked) => marked.journal < position.journal && self.has(&marked)?,
            None => !self.knows_deliveries_before(position.journal)?,
        };
        if belongs { mark.write(position) } else { Ok(()) }
    }

    /// Makes the mark of a ledger that has none and knows no delivery: nothing can be missing from it.
    pub(super) fn make_first_high_water_mark(&self) -> Result<(), LedgerError> {
        let Some(mark) = &self.high_water_mark else { return Ok(()) };
        // In this order: another process may make mark and ledger in the meantime, and deliver.
        if self.read_high_water_mark()?.is_some() || self.knows_deliveries()? || self.read_high_water_mark()?.is_some()
        {
            return Ok(());
        }
        mark.write(&Position { journal: 0, at: "never".to_owned() })
    }

    /// Writes into the ledger that it may have forgotten something, if so. Called by every process that opens it for writing.
    pub(super) fn note_doubt(&self) -> Result<(), LedgerError> {
        if let Some(error) = self.doubt()? {
            self.remember(&error);
        }
        Ok(())
    }

    /// Why the ledger may have forgotten something; none where nothing shows it.
    fn doubt(&self) -> Result<Option<LedgerError>, LedgerError> {
        let path = || self.path.clone();
        // In this order: another process may write in the meantime, and it writes the ledger before the mark.
        let marked = self.read_high_water_mark()?;
        if let Some(marked) = &marked
            && !self.has(marked)?
        {
            let ledger = self.position()?.journal;
            let (mark, mark_at) = (marked.journal, marked.at.clone());
            return Ok(Some(LedgerError::Behind { path: path(), ledger, mark, mark_at }));
        }
        let stamp = self.stamp()?;
        if let Some((Forgot::Copy, ends_at)) = stamp {
            return Ok(Some(LedgerError::Stamped { path: path(), why: Forgot::Copy, ends_at }));
        }
        // Reads again: the mark, and the first delivery, may have been made since then.
        if marked.is_none()
            && let Some(mark) = &self.high_water_mark
            && self.knows_deliveries()?
            && self.read_high_water_mark()?.is_none()
        {
            return match self.marked_position() {
                Err(error @ LedgerError::BadMark { .. }) => Ok(Some(error)),
                Err(error) => Err(error),
                Ok(_) => Ok(Some(LedgerError::NoMark { path: path(), mark: mark.path().to_owned() })),
            };
        }
        Ok(stamp.map(|(why, ends_at)| LedgerError::Stamped { path: path(), why, ends_at }))
    }

    /// The mark; none where it cannot be understood.
    fn read_high_water_mark(&self) -> Result<Option<Position>, LedgerError> {
        match self.marked_position() {
            Err(LedgerError::BadMark { .. }) => Ok(None),
            read => read,
        }
    }

    /// Whether the ledger has the entry that a mark names: the entry itself, not only its number. A copy that was used on its
    /// own reaches the same numbers.
    fn has(&self, marked: &Position) -> Result<bool, LedgerError> {
        if marked.journal == 0 {
            return Ok(true);
        }
        let at: Option<String> = self.run(|conn| {
            conn.prepare_cached("SELECT at FROM journal WHERE id = ?1")?
                .query_row([marked.journal], |row| row.get(0))
                .optional()
        })?;
        Ok(at.as_ref() == Some(&marked.at))
    }

    /// Whether something was delivered, or may have been, as far as the ledger knows; also by a handler that wrote no journal.
    fn knows_deliveries(&self) -> Result<bool, LedgerError> {
        // Not made yet.
        if self.version()? == 0 {
            return Ok(false);
        }
        let handlers: bool = self.run(|conn| {
            conn.query_row("SELECT EXISTS (SELECT 1 FROM rewards WHERE delivered_at IS NOT NULL)", [], |row| row.get(0))
        })?;
        Ok(handlers || self.knows_deliveries_before(i64::MAX)?)
    }

    fn knows_deliveries_before(&self, entry: i64) -> Result<bool, LedgerError> {
        self.run(|conn| {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM journal WHERE {DELIVERY} AND id < ?1)");
            conn.prepare_cached(&sql)?.query_row([entry], |row| row.get(0))
        })
    }

    /// The row of `may_have_forgotten`.
    fn stamp(&self) -> Result<Option<(Forgot, String)>, LedgerError> {
        let stamp: Option<(String, String)> = self.run(|conn| {
            conn.prepare_cached("SELECT why, ends_at FROM may_have_forgotten")?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })?;
        // A word of a later version, perhaps. The ledger may have forgotten, whatever the reason.
        Ok(stamp.map(|(why, ends_at)| (Forgot::from_word(&why).unwrap_or(Forgot::Behind), ends_at)))
    }

    /// Writes the finding down. If that fails, nothing is lost: the next process finds out again.
    fn remember(&self, found: &LedgerError) {
        let Some(why) = found.forgot() else { return };
        let reads_only = self.run(|conn| conn.pragma_query_value(None, "query_only", |row| row.get(0))).unwrap_or(true);
        if reads_only {
            return;
        }
        let written = self.position().and_then(|position| self.write(|tx| stamp(tx, why, &position)));
        if let Err(error) = written {
            tracing::warn!(
                "handlers that work in SQL are not told that the ledger {} may have forgotten deliveries: {error}",
                self.path.display()
            );
        }
    }
}

/// Writes a stamp which says that the ledger may have forgotten deliveries. An existing stamp stays.
pub(super) fn stamp(conn: &Connection, why: Forgot, position: &Position) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO may_have_forgotten (id, why, ends_at) VALUES (1, :why, :ends_at) ON CONFLICT (id) DO NOTHING",
        named_params! {":why": why.as_str(), ":ends_at": position.at},
    )
    .map(drop)
}
