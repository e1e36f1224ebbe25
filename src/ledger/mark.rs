//! The mark beside the ledger: how far it had come, kept outside the database.
//!
//! A ledger restored from an old backup is sound in itself, and has forgotten deliveries. The mark has not: it holds the
//! number of the last journal entry of a delivery. What it means is decided in `forgotten.rs`.
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

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// None where there is no mark yet.
    pub(super) fn read(&self) -> Result<Option<Position>, LedgerError> {
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

    pub(super) fn write(&self, position: &Position) -> Result<(), LedgerError> {
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
}
