//! Opens ledgers: for writing, for reading, in memory. Compares each with what makegood makes before it reads anything else
//! from it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, FileControl, OpenFlags, OptionalExtension};

use super::{
    APPLICATION_ID, BUSY_PAUSE, BUSY_TIMEOUT, Kept, Ledger, LedgerError, fence,
    fence::Patience,
    file_id,
    files::{self, For},
    folder_of,
    high_water_mark::HighWaterMark,
    migrate::{self, known_version},
    soundness::Seal,
    with_suffix,
};
use crate::domain::{Timestamp, timestamp_text};

/// More than there are, because preparing a statement again takes longer than running it.
const STATEMENTS: usize = 64;

impl Ledger {
    /// Opens the ledger of `account_id` for passes; creates it (mode 0640) and brings it to the current schema where needed.
    pub fn open(path: &Path, account_id: &str, now: Timestamp) -> Result<Self, LedgerError> {
        create_file(path)?;
        check_files(path, For::Writing)?;
        let seal = Seal::read(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let ledger = Self::connect(path, |path| Connection::open_with_flags(path, flags))?;
        let ledger = Self {
            high_water_mark: Some(HighWaterMark::beside(path)),
            file: file_id(path),
            seal: Some(seal),
            ..ledger
        };
        ledger.prepare_for_writing()?;
        // Before the schema: after a kill between the two, the ledger is new, and its mark says so.
        ledger.make_first_high_water_mark()?;
        ledger.migrate(now, std::thread::sleep)?;
        ledger.bind(account_id, now)?;
        ledger.note_doubt()?;
        Ok(ledger)
    }

    /// Another connection to this ledger, for a thread of its own.
    pub(super) fn second(&self) -> Result<Self, LedgerError> {
        check_files(&self.path, For::Writing)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let ledger = Self::connect(&self.path, |path| Connection::open_with_flags(path, flags))?;
        let ledger =
            Self { high_water_mark: Some(HighWaterMark::beside(&self.path)), file: file_id(&self.path), ..ledger };
        if ledger.file != self.file {
            return Err(LedgerError::Replaced { path: self.path.clone() });
        }
        ledger.prepare_for_writing()?;
        Ok(ledger)
    }

    /// Opens an existing ledger for reading. Never writes.
    pub fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        if !exists(path)? {
            return Err(LedgerError::Missing { path: path.to_owned() });
        }
        check_files(path, For::Reading)?;
        // An existing WAL may hold what a crash left, and stays unchanged. A missing one is made, empty, as passes leave it.
        let ledger = match Self::open_uri(path, "mode=ro").and_then(|ledger| ledger.version().map(|_| ledger)) {
            // A reader who may not write to the folder cannot make the WAL's index. Without a WAL none is needed.
            Err(LedgerError::ReadOnly { .. }) if !has_wal(path) => Self::open_uri(path, "immutable=1")?,
            other => other?,
        };
        ledger.run(|conn| conn.pragma_update(None, "query_only", true))?;
        ledger.refuse_strangers()?;
        let known = known_version();
        match ledger.version()? {
            // The process that made the file ended before it wrote anything.
            0 => Err(LedgerError::Missing { path: path.to_owned() }),
            found if found < known => Err(LedgerError::Older { path: path.to_owned(), found, known }),
            _ => Ok(ledger),
        }
    }

    /// A stand-in, empty and in memory, for a ledger that no pass has made yet: `plan` compares with it. If a mark is left at
    /// `path`, the ledger was removed, and the stand-in is behind the mark as a new ledger would be.
    pub fn not_made_yet(path: &Path, account_id: &str, now: Timestamp) -> Result<Self, LedgerError> {
        let ledger = Self::in_memory(account_id, now)?;
        Ok(Self { path: path.to_owned(), high_water_mark: Some(HighWaterMark::beside(path)), ..ledger })
    }

    /// An empty ledger in memory.
    pub fn in_memory(account_id: &str, now: Timestamp) -> Result<Self, LedgerError> {
        let path = PathBuf::from(":memory:");
        let ledger = Self::connect(&path, |_| Connection::open_in_memory())?;
        ledger.migrate(now, std::thread::sleep)?;
        ledger.bind(account_id, now)?;
        Ok(ledger)
    }

    /// A connection with its limits. `path` is its name in messages.
    pub(super) fn connect(
        path: &Path,
        open: impl FnOnce(&Path) -> rusqlite::Result<Connection>,
    ) -> Result<Self, LedgerError> {
        let fenced = open(path).and_then(|mut conn| fence::put_around(&mut conn).map(|patience| (conn, patience)));
        let (conn, patience) = fenced.map_err(|source| LedgerError::from_sqlite(path, 0, source))?;
        Ok(Self::of(conn, path, patience))
    }

    pub(super) fn of(conn: Connection, path: &Path, patience: Patience) -> Self {
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        Self { conn: Kept(conn), patience, path: path.to_owned(), high_water_mark: None, file: None, seal: None }
    }

    pub(super) fn open_uri(path: &Path, query: &str) -> Result<Self, LedgerError> {
        // `mode` in the URI overrides the flags, but may not exceed them.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        // With an explicit empty authority. Otherwise SQLite takes the text after two slashes for one.
        let scheme = if path.is_absolute() { "file://" } else { "file:" };
        let uri = format!("{scheme}{}?{query}", percent_encoded(path));
        let ledger = Self::connect(path, |_| Connection::open_with_flags(uri, flags))?;
        let ledger = Self { high_water_mark: Some(HighWaterMark::beside(path)), file: file_id(path), ..ledger };
        ledger.run(|conn| conn.busy_timeout(BUSY_TIMEOUT))?;
        Ok(ledger)
    }

    pub(super) fn prepare_for_writing(&self) -> Result<(), LedgerError> {
        self.run(|conn| conn.busy_timeout(BUSY_TIMEOUT))?;
        self.refuse_strangers()?;
        self.enter_wal(BUSY_TIMEOUT, || std::thread::sleep(BUSY_PAUSE))?;
        self.run(|conn| conn.file_control(None::<&str>, FileControl::PersistWal(&mut 1)))?;
        self.run(|conn| {
            conn.pragma_update(None, "synchronous", "FULL")?;
            conn.pragma_update(None, "foreign_keys", true)
        })
    }

    /// SQLite does not wait for anybody when it changes to WAL, so processes that open a new ledger at the same time wait here.
    pub(super) fn enter_wal(&self, patience: Duration, mut pause: impl FnMut()) -> Result<(), LedgerError> {
        let began = Instant::now();
        loop {
            match self.run(|conn| conn.pragma_update(None, "journal_mode", "WAL")) {
                Err(LedgerError::Locked { .. }) if began.elapsed() < patience => pause(),
                result => return result,
            }
        }
    }

    /// Refuses newer schemas and other programs' databases before anything is written to them.
    pub(super) fn refuse_strangers(&self) -> Result<(), LedgerError> {
        // In one snapshot: another process may be making the ledger at this moment.
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
}

/// Makes the empty file with our mode, before SQLite makes it with another. The WAL and its index copy the mode.
pub(super) fn create_file(path: &Path) -> Result<(), LedgerError> {
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

/// SQLite opens these by name, and would wait at a FIFO.
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

/// A path that we may not look at is not the same as a missing one.
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

fn has_wal(path: &Path) -> bool {
    std::fs::metadata(with_suffix(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0)
}

/// A path for an SQLite URI, with everything escaped except harmless characters.
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
