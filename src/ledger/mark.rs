//! The mark beside the ledger: how far it had come, kept outside the database.
//!
//! A ledger restored from an old backup is sound in itself, and has forgotten deliveries. The mark has not: it holds the
//! number of the last journal entry of a delivery. A ledger that ends before it delivers nothing until a person decides.
//!
//! Guarantees: the mark is on disk before the request of a delivery leaves, and never ahead of the ledger it belongs to (it is
//! written after the commit). Assumptions: a backup that is restored does not bring an old mark along: leave `*.mark` out of
//! what you restore.

use std::{
    ffi::OsString,
    fs::File,
    io::{ErrorKind, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rusqlite::OptionalExtension;

use super::{Ledger, LedgerError, files};

/// How far a ledger has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The number of a journal entry; 0 before the first.
    pub journal: i64,
    /// When it was written; RFC 3339 UTC.
    pub at: String,
}

/// The file. Its content has a fixed length and is overwritten in place, so that a full disk does not stop it.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
}

const HEAD: &str = "makegood ledger mark: journal ";

impl Mark {
    pub(super) fn beside(ledger: &Path) -> Self {
        let mut name = OsString::from(ledger);
        name.push(".mark");
        Self { path: PathBuf::from(name) }
    }

    /// None where there is no mark yet.
    fn read(&self) -> Result<Option<Position>, LedgerError> {
        let mut text = String::new();
        match File::open(&self.path).and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(LedgerError::BadMark { path: self.path.clone() });
            }
            Err(source) => return Err(LedgerError::File { doing: "read", path: self.path.clone(), source }),
        }
        let parsed = text
            .strip_prefix(HEAD)
            .and_then(|rest| rest.trim_end().split_once(" at "))
            .and_then(|(journal, at)| Some(Position { journal: journal.parse().ok()?, at: at.to_owned() }));
        parsed.map(Some).ok_or_else(|| LedgerError::BadMark { path: self.path.clone() })
    }

    fn write(&self, position: &Position) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::File { doing: "write", path: self.path.clone(), source };
        let text = format!("{HEAD}{:019} at {}\n", position.journal, position.at);
        files::open_or_create(&self.path)
            .and_then(|file| {
                file.write_all_at(text.as_bytes(), 0)?;
                file.set_len(text.len() as u64)?;
                file.sync_data()
            })
            .map_err(failed)
    }
}

impl Ledger {
    /// How far the ledger has come.
    pub fn position(&self) -> Result<Position, LedgerError> {
        self.run(|conn| {
            conn.query_row("SELECT coalesce(max(id), 0), coalesce(max(at), 'never') FROM journal WHERE id = (SELECT max(id) FROM journal)", [], |row| {
                Ok(Position { journal: row.get(0)?, at: row.get(1)? })
            })
        })
    }

    /// How far it had come according to its mark; none where there is none.
    pub fn marked_position(&self) -> Result<Option<Position>, LedgerError> {
        self.mark.as_ref().map_or(Ok(None), Mark::read)
    }

    /// Refuses a ledger that has forgotten something.
    pub fn require_not_behind(&self) -> Result<(), LedgerError> {
        // In this order: another process may go on meanwhile, and the ledger comes before its mark.
        let Some(mark) = self.marked_position()? else { return Ok(()) };
        // The entry itself, not only its number: a copy that went on by itself comes to the same numbers.
        let at: Option<String> = self.run(|conn| {
            conn.query_row("SELECT at FROM journal WHERE id = ?1", [mark.journal], |row| row.get(0)).optional()
        })?;
        if mark.journal == 0 || at.as_ref() == Some(&mark.at) {
            return Ok(());
        }
        let ledger = self.position()?.journal;
        Err(LedgerError::Behind { path: self.path.clone(), ledger, mark: mark.journal, mark_at: mark.at })
    }

    /// A person has decided that the ledger is to be gone on with as it is.
    pub fn accept_as_it_is(&self) -> Result<Position, LedgerError> {
        let position = self.position()?;
        if let Some(mark) = &self.mark {
            mark.write(&position)?;
        }
        Ok(position)
    }

    /// Brings the mark up to what handlers have written into the ledger themselves.
    pub fn catch_up_mark(&self) -> Result<(), LedgerError> {
        let last: Option<Position> = self.run(|conn| {
            conn.prepare_cached(
                "SELECT id, at FROM journal WHERE to_state IN ('delivering', 'delivered') ORDER BY id DESC LIMIT 1",
            )?
            .query_row([], |row| Ok(Position { journal: row.get(0)?, at: row.get(1)? }))
            .optional()
        })?;
        last.map_or(Ok(()), |position| self.advance_mark(&position))
    }

    pub(super) fn advance_mark(&self, position: &Position) -> Result<(), LedgerError> {
        let Some(mark) = &self.mark else { return Ok(()) };
        // Two processes (a pass and a handler) may come here in any order.
        if mark.read()?.is_some_and(|marked| marked.journal >= position.journal) {
            return Ok(());
        }
        mark.write(position)
    }
}
