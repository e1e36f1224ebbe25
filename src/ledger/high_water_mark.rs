//! The high-water mark beside the ledger: how far the ledger had come, kept outside the database.
//!
//! A ledger restored from an old backup is sound in itself and has forgotten deliveries. The mark still knows them: it holds
//! the number of the last journal entry of a delivery. `forgotten.rs` decides what follows from it.
//!
//! Guarantees: the mark is on disk before the request of a delivery leaves. It is written after the commit, so it is never
//! ahead of its ledger.
//!
//! Assumptions: restoring a backup does not bring back an old mark: leave `*.mark` out of what you restore.

use std::{
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use super::{
    Ledger, LedgerError,
    files::{self, For},
    with_suffix,
};

/// How far a ledger has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The number of a journal entry; 0 before the first.
    pub journal: i64,
    /// When it was written; RFC 3339 UTC.
    pub at: String,
}

/// The file. It is replaced as a whole: a kill or a full disk at any instant leaves the old mark.
#[derive(Debug)]
pub(super) struct HighWaterMark {
    path: PathBuf,
}

const HEAD: &str = "makegood ledger mark: journal ";
/// Our marks are never longer.
const SIZE_MAX: u64 = 4096;

/// The path of a ledger's mark: the ledger's path with `.mark` after it.
pub(super) fn high_water_mark_path(ledger: &Path) -> PathBuf {
    with_suffix(ledger, ".mark")
}

impl HighWaterMark {
    pub(super) fn beside(ledger: &Path) -> Self {
        Self { path: high_water_mark_path(ledger) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// None where there is no mark yet.
    pub(super) fn read(&self) -> Result<Option<Position>, LedgerError> {
        let mut text = String::new();
        match files::open(&self.path, For::Reading).and_then(|file| file.take(SIZE_MAX).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(LedgerError::BadMark { path: self.path.clone() });
            }
            Err(source) => return Err(LedgerError::File { doing: "read", path: self.path.clone(), source }),
        }
        // Read to the last line break: without one the content was cut off. The time before it is taken as it is, even if it is
        // empty.
        let parsed = text
            .strip_prefix(HEAD)
            .and_then(|rest| rest.strip_suffix('\n'))
            .and_then(|rest| rest.split_once(" at "))
            .and_then(|(journal, at)| Some(Position { journal: journal.parse().ok()?, at: at.to_owned() }));
        parsed.map(Some).ok_or_else(|| LedgerError::BadMark { path: self.path.clone() })
    }

    pub(super) fn write(&self, position: &Position) -> Result<(), LedgerError> {
        let text = format!("{HEAD}{:019} at {}\n", position.journal, position.at);
        files::replace(&self.path, text.as_bytes(), files::FILE_MODE, true).map_err(|source| LedgerError::File {
            doing: "write",
            path: self.path.clone(),
            source,
        })
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

    /// How far the ledger had come according to its mark; none where there is no mark.
    pub fn marked_position(&self) -> Result<Option<Position>, LedgerError> {
        self.high_water_mark.as_ref().map_or(Ok(None), HighWaterMark::read)
    }
}
