//! The ledger: what was owed, what was delivered, and what FirstPromoter confirmed. All SQL is in this folder.
//!
//! Guarantees:
//! - A write is on disk when the call returns (`synchronous=FULL`), whole or not at all, with its journal entry.
//! - A transition names the state it comes from; when the row has moved meanwhile it does nothing and says so
//!   ([`LedgerError::Moved`]).
//! - A ledger belongs to one account, and is refused for another; so are newer schemas and other programs' databases.
//! - Readers (a `sqlite3` shell, `makegood status`) never stop a pass: the file is in WAL mode.
//!
//! Assumptions: the file lies on a file system where locks and `fsync` work, and nobody edits it by hand.

mod error;
mod journal;
mod lock;
mod passes;
mod queries;
mod reward;
mod state;
mod transitions;

use std::{
    fs::OpenOptions,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

pub use error::LedgerError;
pub use journal::{Attention, Dossier};
pub use lock::{LockError, PassLock, acquire as acquire_pass_lock};
pub use passes::{Counts, PassId};
pub use reward::{Facts, Reward};
pub use state::{DeliveredBy, HoldReason, RewardState};
pub use transitions::{Aftermath, Author, Begun, Change, Seen};

use crate::domain::{Timestamp, timestamp_text};

/// Each brings `user_version` from its index to the next.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001-initial.sql")];
/// `mkgd`, in the database's header: whose file it is.
const APPLICATION_ID: i64 = 0x6d6b_6764;
/// How long a write waits for somebody else's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// Owner and group: operators in the group read it while it runs.
const FILE_MODE: u32 = 0o640;

/// One open ledger.
#[derive(Debug)]
pub struct Ledger {
    conn: Connection,
    path: PathBuf,
}

impl Ledger {
    /// Opens the ledger of `account_id` for passes; creates it (mode 0640) and brings it to the current schema where needed.
    pub fn open(path: &Path, account_id: &str, now: Timestamp) -> Result<Self, LedgerError> {
        create_file(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn =
            Connection::open_with_flags(path, flags).map_err(|source| LedgerError::from_sqlite(path, 0, source))?;
        let ledger = Self { conn, path: path.to_owned() };
        ledger.prepare_for_writing()?;
        ledger.migrate()?;
        ledger.bind(account_id, now)?;
        Ok(ledger)
    }

    /// Opens an existing ledger to look at; writes nothing, ever.
    pub fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        if !path.exists() {
            return Err(LedgerError::Missing { path: path.to_owned() });
        }
        let ledger = match Self::open_uri(path, "mode=ro").and_then(|ledger| ledger.version().map(|_| ledger)) {
            // A reader that may not write the folder cannot make the WAL's index; without a WAL none is needed.
            Err(LedgerError::ReadOnly { .. }) if !has_wal(path) => Self::open_uri(path, "immutable=1")?,
            other => other?,
        };
        ledger.refuse_strangers()?;
        Ok(ledger)
    }

    /// A ledger in memory, empty: what `plan` compares with when there is none yet.
    pub fn in_memory(account_id: &str, now: Timestamp) -> Result<Self, LedgerError> {
        let path = PathBuf::from(":memory:");
        let conn = Connection::open_in_memory().map_err(|source| LedgerError::from_sqlite(&path, 0, source))?;
        let ledger = Self { conn, path };
        ledger.migrate()?;
        ledger.bind(account_id, now)?;
        Ok(ledger)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The account that it is bound to.
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

    fn open_uri(path: &Path, query: &str) -> Result<Self, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let uri = format!("file:{}?{query}", percent_encoded(path));
        let conn =
            Connection::open_with_flags(uri, flags).map_err(|source| LedgerError::from_sqlite(path, 0, source))?;
        let ledger = Self { conn, path: path.to_owned() };
        ledger.run(|conn| conn.busy_timeout(BUSY_TIMEOUT))?;
        Ok(ledger)
    }

    fn prepare_for_writing(&self) -> Result<(), LedgerError> {
        self.run(|conn| conn.busy_timeout(BUSY_TIMEOUT))?;
        self.refuse_strangers()?;
        self.run(|conn| {
            conn.pragma_update(None, "journal_mode", "WAL")?;
            conn.pragma_update(None, "synchronous", "FULL")?;
            conn.pragma_update(None, "foreign_keys", true)
        })
    }

    fn version(&self) -> Result<i64, LedgerError> {
        self.run(|conn| conn.pragma_query_value(None, "user_version", |row| row.get(0)))
    }

    /// Refuses newer schemas and databases that are not ours, before anything is written to them.
    fn refuse_strangers(&self) -> Result<(), LedgerError> {
        let found = self.version()?;
        let application_id: i64 = self.run(|conn| conn.pragma_query_value(None, "application_id", |row| row.get(0)))?;
        let empty: bool =
            self.run(|conn| conn.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0)))?;
        if application_id != APPLICATION_ID && !(empty && application_id == 0) {
            return Err(LedgerError::Foreign { path: self.path.clone() });
        }
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        if found > known {
            return Err(LedgerError::Newer { path: self.path.clone(), found, known });
        }
        Ok(())
    }

    fn migrate(&self) -> Result<(), LedgerError> {
        for (from, sql) in (0_i64..).zip(MIGRATIONS) {
            // Read again inside the transaction: another process may have migrated meanwhile.
            self.write(|tx| {
                let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
                if version != from {
                    return Ok(());
                }
                tx.execute_batch(sql)?;
                tx.pragma_update(None, "application_id", APPLICATION_ID)?;
                tx.pragma_update(None, "user_version", from + 1)
            })?;
        }
        Ok(())
    }

    fn bind(&self, account_id: &str, now: Timestamp) -> Result<(), LedgerError> {
        let bound: Option<String> =
            self.run(|conn| conn.query_row("SELECT account_id FROM account", [], |row| row.get(0)).optional())?;
        if bound.is_none() {
            self.write(|tx| {
                tx.execute(
                    "INSERT INTO account (id, account_id, bound_at) VALUES (1, ?1, ?2) ON CONFLICT DO NOTHING",
                    (account_id, timestamp_text(now)),
                )
            })?;
        }
        self.require_account(account_id)
    }

    /// Calls `hook` before each commit on this connection; where it returns true, the commit fails and is rolled back.
    ///
    /// The seam at which the simulator pulls the plug: a commit is the one instant at which what is on disk changes.
    /// Nothing else uses it.
    pub fn on_commit(&mut self, hook: impl FnMut() -> bool + Send + 'static) -> Result<(), LedgerError> {
        let hooked = self.conn.commit_hook(Some(hook));
        hooked.map_err(|source| self.explain(source))
    }

    /// Runs something that reads.
    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        work(&self.conn).map_err(|source| self.explain(source))
    }

    /// Runs something that writes, in one transaction that is on disk when this returns.
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

/// Makes the empty file with its mode before SQLite does with another; the WAL and its index take the mode over.
fn create_file(path: &Path) -> Result<(), LedgerError> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(LedgerError::NoFolder { path: path.to_owned() });
    }
    let failed = |source| LedgerError::File { doing: "create", path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path) {
        // The mode given at creation is cut by the umask.
        Ok(file) => file.set_permissions(std::fs::Permissions::from_mode(FILE_MODE)).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn has_wal(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(wal).is_ok_and(|metadata| metadata.len() > 0)
}

/// A path for an SQLite URI: everything but the harmless is escaped.
fn percent_encoded(path: &Path) -> String {
    use std::{fmt::Write, os::unix::ffi::OsStrExt};
    let mut encoded = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
