//! The ledger: what was owed, what was delivered, and what FirstPromoter confirmed. All SQL is in this folder.
//!
//! Reading order: `state` has the states of a reward, each with its data. `row` is the only reader of a row. `transition` has
//! the arrows of the state diagram that a pass draws, `attempts` those of an attempt, `decisions` those of people and handlers.
//! `words` has the words of the columns. `change` is the transaction that they share.
//!
//! Guarantees:
//! - When a call that writes returns, the write is on disk (`synchronous=FULL`), complete or not at all, with its journal
//!   entry.
//! - A transition names the state that it starts from. If the row has moved in the meantime, it does nothing and says so
//!   ([`LedgerError::Moved`]).
//! - A ledger belongs to one account and is refused for another. Newer schemas and other programs' databases are refused too.
//! - Readers (a `sqlite3` shell, `makegood status`) never stop a pass: the file is in WAL mode.
//!
//! Assumptions: the file lies on a file system where locks and `fsync` work, and nobody edits it by hand.

mod alerts;
mod attempts;
mod attention;
mod backup;
mod change;
mod claims;
mod decisions;
mod error;
mod facts;
mod failure;
mod fence;
mod files;
mod fingerprints;
mod forgotten;
mod health;
mod high_water_mark;
mod history;
mod journal;
mod lock;
mod measures;
mod migrate;
mod open;
mod passes;
mod place;
mod queries;
mod restore;
mod row;
mod soundness;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod transition;
mod words;

use std::{
    ops::Deref,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use alerts::{Caught, Streak};
pub use attempts::{Aftermath, Begun};
pub use attention::{Attention, AttentionGroup, AttentionInShort};
pub(crate) use attention::{EXAMPLES, ONE_BY_ONE_MAX};
pub use backup::BackedUp;
pub use change::{Author, Change};
pub use claims::{CLAIM_MAX, Claimed, LiveClaim};
pub use decisions::Resolution;
pub use error::LedgerError;
pub use facts::Facts;
pub use failure::{FailureKind, PassFailure};
pub(crate) use files::{folder_of, replace as replace_file, sweep_drafts};
pub use health::Health;
pub use high_water_mark::Position;
pub use history::{Attempt, JournalEntry};
pub use journal::Dossier;
pub use lock::{LockError, PassLock, acquire as acquire_pass_lock};
pub use measures::{Counted, Standing, WaitTimes};
pub use passes::{Counts, PassId};
pub use place::{as_owner, become_owner, find_ledger};
pub use restore::{Copy, Staged};
pub use state::{Attempted, Given, Marking, Reward, State, Tried, Wait};
pub use thread::Writer;
pub use transition::Transition;
pub use words::{DeliveredBy, Drift, Forgot, HoldReason, OutcomeWord, RewardState, WaitReason};

use fence::Patience;
use high_water_mark::HighWaterMark;
use soundness::Seal;

/// `mkgd`, in the database's header: marks the file as ours.
const APPLICATION_ID: i64 = 0x6d6b_6764;
/// How long a write waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause between two tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A connection. The last one to close leaves an empty WAL beside the ledger. Without it, a member of the group who may not
/// write to the folder could not open the ledger. If it were not empty, SQLite would take it for the WAL of a copy that
/// somebody puts there by hand.
#[derive(Debug)]
struct Kept(Connection);

impl Deref for Kept {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _it_stays_as_it_is = self.0.pragma_update(None, "journal_size_limit", 0);
    }
}

/// One open ledger.
#[derive(Debug)]
pub struct Ledger {
    conn: Kept,
    /// The time limit of the present query.
    patience: Patience,
    path: PathBuf,
    /// The high-water mark beside the database. None in memory, and for readers.
    high_water_mark: Option<HighWaterMark>,
    /// The file that was opened; none in memory.
    file: Option<(u64, u64)>,
    /// What is known about damage. After `conn`, because it is written when that is closed; none in memory, for readers, and for
    /// further connections.
    seal: Option<Seal>,
}

impl Ledger {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The account that it belongs to.
    pub fn account_id(&self) -> Result<String, LedgerError> {
        self.run(|conn| conn.query_row("SELECT account_id FROM account", [], |row| row.get(0)))
    }

    /// Refuses the ledger of another account.
    pub fn require_account(&self, wanted: &str) -> Result<(), LedgerError> {
        let found = self.account_id()?;
        if found == wanted {
            return Ok(());
        }
        Err(LedgerError::OtherAccount { path: self.path.clone(), found, wanted: wanted.to_owned() })
    }

    /// Fails if the file at its path is another one now (somebody moved a backup there), or if a newer makegood has migrated it.
    pub fn require_in_place(&self) -> Result<(), LedgerError> {
        if self.file.is_some() && file_id(&self.path) != self.file {
            return Err(LedgerError::Replaced { path: self.path.clone() });
        }
        let (found, known) = (self.version()?, migrate::known_version());
        if found > known {
            return Err(LedgerError::Newer { path: self.path.clone(), found, known });
        }
        Ok(())
    }

    /// Reads the whole file and looks for damage.
    pub fn check_sound(&self) -> Result<(), LedgerError> {
        let verdict: String = self.run(|conn| conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))?;
        if verdict == "ok" {
            return Ok(());
        }
        let source =
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(verdict));
        Err(LedgerError::Damaged { path: self.path.clone(), source })
    }

    fn version(&self) -> Result<i64, LedgerError> {
        self.run(|conn| conn.pragma_query_value(None, "user_version", |row| row.get(0)))
    }

    /// Calls `hook` before each commit on this connection. Where it returns true, the commit fails and is rolled back.
    ///
    /// The simulator cuts the power here, because what is on disk changes only with a commit. Nothing else uses it.
    pub fn on_commit(&mut self, hook: impl FnMut() -> bool + Send + 'static) -> Result<(), LedgerError> {
        let hooked = self.conn.0.commit_hook(Some(hook));
        hooked.map_err(|source| self.explain(source))
    }

    /// Calls `wait` instead of sleeping while somebody else holds the lock, with the number of calls so far; false: the write
    /// fails. The simulator uses it, because its time is not the wall's. Nothing else does.
    pub fn on_busy(&mut self, wait: fn(i32) -> bool) -> Result<(), LedgerError> {
        let asked = self.conn.0.busy_handler(Some(wait));
        asked.map_err(|source| self.explain(source))
    }

    /// Runs a read.
    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        self.patience.begin();
        work(&self.conn).map_err(|source| self.explain(source))
    }

    /// Runs a write in one transaction. It is on disk when this returns.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        self.run(|conn| {
            let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            tx.commit()?;
            Ok(done)
        })
    }

    fn explain(&self, source: rusqlite::Error) -> LedgerError {
        LedgerError::from_sqlite(&self.path, BUSY_TIMEOUT.as_secs(), source)
    }
}

/// A file name beside a ledger.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The identity of the file that is at this path now.
fn file_id(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
