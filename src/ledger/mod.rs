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

mod alerts;
mod attempts;
mod backup;
mod change;
mod claims;
mod decisions;
mod error;
mod failure;
mod fence;
mod files;
mod fingerprints;
mod forgotten;
mod health;
mod journal;
mod lock;
mod mark;
mod measures;
mod migrate;
mod passes;
mod place;
mod queries;
mod restore;
mod reward;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod transition;

use std::{
    ops::Deref,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, FileControl, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

pub use alerts::{Caught, Streak};
pub use attempts::{Aftermath, Begun};
pub use backup::BackedUp;
pub use change::{Author, Change};
pub use claims::{CLAIM_MAX, Claimed, LiveClaim};
pub use decisions::Resolution;
pub use error::LedgerError;
pub use failure::{FailureKind, PassFailure};
pub(crate) use files::{folder_of, replace as replace_file, sweep_drafts};
pub use health::Health;
pub use journal::{Attention, Dossier};
pub use lock::{LockError, PassLock, acquire as acquire_pass_lock};
pub use mark::Position;
pub use measures::{Counted, Standing, Tally, Waits};
pub use passes::{Counts, PassId};
pub use place::{as_owner, become_owner, find_ledger};
pub use restore::{Copy, Staged};
pub use reward::{Facts, Reward};
pub use state::{DeliveredBy, Drift, Forgot, HoldReason, RewardState, Wait};
pub use thread::Writer;
pub use transition::Transition;

use crate::domain::{Timestamp, timestamp_text};
use fence::Patience;
use files::For;
use mark::Mark;
use migrate::known_version;

/// `mkgd`, in the database's header: whose file it is.
const APPLICATION_ID: i64 = 0x6d6b_6764;
/// How long a write waits for somebody else's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A connection. Where it is the last to close, its log stays beside the ledger, empty: a member of the group that may not write the
/// folder could not open the ledger without it; and one that were not empty would be taken for that of a copy that is put there by hand.
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
    /// How long the question of the moment may take.
    patience: Patience,
    path: PathBuf,
    /// Beside it, outside the database: how far it had come. None in memory, and for readers.
    mark: Option<Mark>,
    /// The file that was opened; none in memory.
    file: Option<(u64, u64)>,
}

impl Ledger {
    /// Opens the ledger of `account_id` for passes; creates it (mode 0640) and brings it to the current schema where needed.
    pub fn open(path: &Path, account_id: &str, now: Timestamp) -> Result<Self, LedgerError> {
        create_file(path)?;
        check_files(path, For::Writing)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let ledger = Self::connect(path, |path| Connection::open_with_flags(path, flags))?;
        let ledger = Self { mark: Some(Mark::beside(path)), file: file_id(path), ..ledger };
        ledger.prepare_for_writing()?;
        // Before the schema: killed in between, the ledger is new, and its mark says so.
        ledger.make_first_mark()?;
        ledger.migrate()?;
        ledger.bind(account_id, now)?;
        ledger.note_doubt()?;
        Ok(ledger)
    }

    /// Another connection to this ledger, for a thread of its own.
    fn second(&self) -> Result<Self, LedgerError> {
        check_files(&self.path, For::Writing)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let ledger = Self::connect(&self.path, |path| Connection::open_with_flags(path, flags))?;
        let ledger = Self { mark: Some(Mark::beside(&self.path)), file: file_id(&self.path), ..ledger };
        if ledger.file != self.file {
            return Err(LedgerError::Replaced { path: self.path.clone() });
        }
        ledger.prepare_for_writing()?;
        Ok(ledger)
    }

    /// Opens an existing ledger to look at; writes nothing, ever.
    pub fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        if !exists(path)? {
            return Err(LedgerError::Missing { path: path.to_owned() });
        }
        check_files(path, For::Reading)?;
        // A log that is there may hold what a crash left, and stays as it is; one that is not there is made, as passes leave it.
        let ledger = match Self::open_uri(path, "mode=ro").and_then(|ledger| ledger.version().map(|_| ledger)) {
            // A reader that may not write the folder cannot make the WAL's index; without a WAL none is needed.
            Err(LedgerError::ReadOnly { .. }) if !has_wal(path) => Self::open_uri(path, "immutable=1")?,
            other => other?,
        };
        ledger.run(|conn| conn.pragma_update(None, "query_only", true))?;
        ledger.refuse_strangers()?;
        let known = known_version();
        match ledger.version()? {
            // The process that made the file ended before it put anything in.
            0 => Err(LedgerError::Missing { path: path.to_owned() }),
            found if found < known => Err(LedgerError::Older { path: path.to_owned(), found, known }),
            _ => Ok(ledger),
        }
    }

    /// A stand-in, in memory and empty, for the ledger at `path` that no pass has made yet: what `plan` compares with. Where a
    /// mark is left there, the ledger was removed, and the stand-in is behind it as a new one would be.
    pub fn not_made_yet(path: &Path, account_id: &str, now: Timestamp) -> Result<Self, LedgerError> {
        let ledger = Self::in_memory(account_id, now)?;
        Ok(Self { path: path.to_owned(), mark: Some(Mark::beside(path)), ..ledger })
    }

    /// A ledger in memory, empty.
    pub fn in_memory(account_id: &str, now: Timestamp) -> Result<Self, LedgerError> {
        let path = PathBuf::from(":memory:");
        let ledger = Self::connect(&path, |_| Connection::open_in_memory())?;
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

    /// Refuses to go on with a file that is no longer the one at its path (a backup was moved there).
    pub fn require_in_place(&self) -> Result<(), LedgerError> {
        if self.file.is_none() || file_id(&self.path) == self.file {
            return Ok(());
        }
        Err(LedgerError::Replaced { path: self.path.clone() })
    }

    /// Reads the whole file for damage. Worth its time before something is delivered on the word of it.
    pub fn check_sound(&self) -> Result<(), LedgerError> {
        let verdict: String = self.run(|conn| conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))?;
        if verdict == "ok" {
            return Ok(());
        }
        let source =
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(verdict));
        Err(LedgerError::Damaged { path: self.path.clone(), source })
    }

    /// A connection with a fence around it; `path` is what it is called.
    fn connect(path: &Path, open: impl FnOnce(&Path) -> rusqlite::Result<Connection>) -> Result<Self, LedgerError> {
        let fenced = open(path).and_then(|mut conn| fence::put_around(&mut conn).map(|patience| (conn, patience)));
        let (conn, patience) = fenced.map_err(|source| LedgerError::from_sqlite(path, 0, source))?;
        Ok(Self::of(conn, path, patience))
    }

    fn of(conn: Connection, path: &Path, patience: Patience) -> Self {
        Self { conn: Kept(conn), patience, path: path.to_owned(), mark: None, file: None }
    }

    fn open_uri(path: &Path, query: &str) -> Result<Self, LedgerError> {
        // What `mode` in the URI says goes before the flags, but may not exceed them.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        // With the empty authority spelt out, or SQLite takes what follows two slashes for one.
        let scheme = if path.is_absolute() { "file://" } else { "file:" };
        let uri = format!("{scheme}{}?{query}", percent_encoded(path));
        let ledger = Self::connect(path, |_| Connection::open_with_flags(uri, flags))?;
        let ledger = Self { mark: Some(Mark::beside(path)), file: file_id(path), ..ledger };
        ledger.run(|conn| conn.busy_timeout(BUSY_TIMEOUT))?;
        Ok(ledger)
    }

    fn prepare_for_writing(&self) -> Result<(), LedgerError> {
        self.run(|conn| conn.busy_timeout(BUSY_TIMEOUT))?;
        self.refuse_strangers()?;
        self.enter_wal(BUSY_TIMEOUT, || std::thread::sleep(BUSY_PAUSE))?;
        self.run(|conn| conn.file_control(None::<&str>, FileControl::PersistWal(&mut 1)))?;
        self.run(|conn| {
            conn.pragma_update(None, "synchronous", "FULL")?;
            conn.pragma_update(None, "foreign_keys", true)
        })
    }

    /// For the change to WAL SQLite waits for nobody: those who open a new ledger at the same time have to.
    fn enter_wal(&self, patience: Duration, mut pause: impl FnMut()) -> Result<(), LedgerError> {
        let began = Instant::now();
        loop {
            match self.run(|conn| conn.pragma_update(None, "journal_mode", "WAL")) {
                Err(LedgerError::Locked { .. }) if began.elapsed() < patience => pause(),
                result => return result,
            }
        }
    }

    fn version(&self) -> Result<i64, LedgerError> {
        self.run(|conn| conn.pragma_query_value(None, "user_version", |row| row.get(0)))
    }

    /// Refuses newer schemas and databases that are not ours, before anything is written to them.
    fn refuse_strangers(&self) -> Result<(), LedgerError> {
        // In one snapshot: somebody else may be making it just now.
        let (found, application_id, objects): (i64, i64, Vec<fence::Object>) = self.run(|conn| {
            let snapshot = conn.unchecked_transaction()?;
            let value = |name| snapshot.pragma_query_value(None, name, |row| row.get(0));
            Ok((value("user_version")?, value("application_id")?, fence::schema(&snapshot)?))
        })?;
        let empty = objects.is_empty();
        if application_id != APPLICATION_ID && !(empty && application_id == 0) {
            return Err(LedgerError::Foreign { path: self.path.clone() });
        }
        let known = known_version();
        if found > known {
            return Err(LedgerError::Newer { path: self.path.clone(), found, known });
        }
        let ours = migrate::known_schema(found).map_err(|source| self.explain(source))?;
        match fence::difference(&objects, &ours) {
            Some(what) => Err(LedgerError::Altered { path: self.path.clone(), what }),
            None => Ok(()),
        }
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
        let hooked = self.conn.0.commit_hook(Some(hook));
        hooked.map_err(|source| self.explain(source))
    }

    /// Asks `wait` in place of sleeping while somebody else holds the lock, with how often it was asked; false: the write fails.
    /// The simulator's other seam, whose time is not the wall's. Nothing else uses it.
    pub fn on_busy(&mut self, wait: fn(i32) -> bool) -> Result<(), LedgerError> {
        let asked = self.conn.0.busy_handler(Some(wait));
        asked.map_err(|source| self.explain(source))
    }

    /// Runs something that reads.
    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        self.patience.begin();
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
    if exists(path)? {
        return Ok(());
    }
    if !folder_of(path).is_dir() {
        return Err(LedgerError::NoFolder { path: path.to_owned() });
    }
    let failed = |source| LedgerError::File { doing: "create", path: path.to_owned(), source };
    match files::create(path, files::FILE_MODE) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// SQLite opens these by name, and would wait for a FIFO.
fn check_files(path: &Path, what_for: For) -> Result<(), LedgerError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let file = with_suffix(path, suffix);
        files::check_there(&file, what_for).map_err(|source| LedgerError::File {
            doing: "open",
            path: file,
            source,
        })?;
    }
    Ok(())
}

/// A name beside a ledger.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Not being allowed to look is not the same as not being there.
fn exists(path: &Path) -> Result<bool, LedgerError> {
    let there = match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    there.map_err(|source| {
        if source.kind() == std::io::ErrorKind::PermissionDenied {
            return LedgerError::Forbidden { path: path.to_owned() };
        }
        LedgerError::File { doing: "look at", path: path.to_owned(), source }
    })
}

/// Which file lies there now.
fn file_id(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn has_wal(path: &Path) -> bool {
    std::fs::metadata(with_suffix(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0)
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
