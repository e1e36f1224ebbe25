//! When the whole file is read for damage: before something is delivered, where nobody has looked since the file was last left in
//! order, and at least once a day.
//!
//! The result is kept beside the ledger (`ledger.db.sound`), so that a `makegood once` every five minutes does not read the whole
//! file each time. It holds for the file as its process left it: same inode, size and times, and a write-ahead log that is there
//! and empty, as only a makegood that ended in order leaves it. Whoever else writes to the file, restores it, or dies over it,
//! makes the next delivery wait for a check.
//!
//! Guarantees: a delivery follows a check that is at most a day old, of this file. The service does not rely on an earlier process.
//! What cannot be told leads to a check.
//!
//! Assumptions: a file that rots in place is found within a day, not at once.

use std::{
    cell::Cell,
    fmt,
    fs::Metadata,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use chrono::TimeDelta;
use rusqlite::InterruptHandle;
use tokio::sync::oneshot;

use super::{
    Ledger, LedgerError,
    files::{self, For},
    with_suffix,
};
use crate::domain::{Timestamp, timestamp_text};

/// How long a check is good for.
const AGE_MAX: TimeDelta = TimeDelta::days(1);
const HEAD: &str = "makegood ledger sound: ";
/// Ours are never longer.
const SIZE_MAX: u64 = 4096;
/// How often a check that nobody waits for any more is told to stop, until it has.
const TELL_EVERY: Duration = Duration::from_millis(5);

/// The file that keeps the result of a check: the ledger's path with `.sound` after it.
pub(super) fn seal_path(ledger: &Path) -> PathBuf {
    with_suffix(ledger, ".sound")
}

/// What is known about a ledger that this process has open. When the connection is closed, it is written beside the ledger.
#[derive(Debug)]
pub(super) struct Seal {
    ledger: PathBuf,
    /// When the check began that found it sound.
    checked_at: Cell<Option<Timestamp>>,
    /// This process made it.
    by_us: Cell<bool>,
}

impl Seal {
    /// Call it before SQLite opens the file.
    pub(super) fn read(ledger: &Path) -> Self {
        let checked_at = read(&seal_path(ledger)).and_then(|text| {
            let (checked_at, state) = text.strip_prefix(HEAD)?.split_once(' ')?;
            (left_in_order(ledger)? == state).then(|| checked_at.parse().ok()).flatten()
        });
        if checked_at.is_none() {
            // Somebody else had the file. That it looks as before again proves nothing.
            let _there_is_none = std::fs::remove_file(seal_path(ledger));
        }
        Self { ledger: ledger.to_owned(), checked_at: Cell::new(checked_at), by_us: Cell::new(false) }
    }

    fn is_good(&self, now: Timestamp, ours: bool) -> bool {
        let is_young = |at: Timestamp| at <= now && now - at < AGE_MAX;
        self.checked_at.get().is_some_and(is_young) && (self.by_us.get() || !ours)
    }
}

impl Drop for Seal {
    /// The connection is closed. If it was the last one, the write-ahead log is empty, and the file is as it stays.
    fn drop(&mut self) {
        let Some(checked_at) = self.checked_at.get() else { return };
        let Some(state) = left_in_order(&self.ledger) else { return };
        let text = format!("{HEAD}{} {state}", timestamp_text(checked_at));
        if read(&seal_path(&self.ledger)).as_ref() != Some(&text) {
            // Without it the next process checks.
            let _it_is_not_kept = files::replace(&seal_path(&self.ledger), text.as_bytes(), files::FILE_MODE, false);
        }
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    files::open(path, For::Reading).ok()?.take(SIZE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// What tells this file from every other, and from itself after a write; none where somebody did not close it in order.
fn left_in_order(ledger: &Path) -> Option<String> {
    let metadata = |path: &Path| path.symlink_metadata().ok().filter(Metadata::is_file);
    let log = metadata(&with_suffix(ledger, "-wal"))?;
    let it = metadata(ledger)?;
    let state = format!(
        "inode {}:{} size {} written {}.{:09} changed {}.{:09}\n",
        it.dev(),
        it.ino(),
        it.size(),
        it.mtime(),
        it.mtime_nsec(),
        it.ctime(),
        it.ctime_nsec()
    );
    (log.size() == 0).then_some(state)
}

/// A check under way on a thread and a connection of its own. Dropping it ends it.
pub(super) struct Check {
    began_at: Timestamp,
    result: Option<oneshot::Receiver<Result<(), LedgerError>>>,
    interrupt: InterruptHandle,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Check {
    fn start(ledger: Ledger, now: Timestamp) -> Result<Self, LedgerError> {
        let interrupt = ledger.conn.get_interrupt_handle();
        let path = ledger.path.clone();
        let (answer, result) = oneshot::channel();
        let (ends, ended) = mpsc::channel::<()>();
        let work = move || {
            let verdict = ledger.check_sound();
            // Before the answer: the caller may be the last to close the ledger then.
            drop(ledger);
            let _nobody_waits = answer.send(verdict);
            drop(ends);
        };
        let thread = thread::Builder::new().name("ledger-check".to_owned()).spawn(work);
        let thread =
            thread.map_err(|source| LedgerError::File { doing: "start a thread that checks", path, source })?;
        Ok(Self { began_at: now, result: Some(result), interrupt, ended, thread: Some(thread) })
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("began_at", &self.began_at).finish_non_exhaustive()
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        // Again and again: an interrupt before the query begins is lost.
        while self.ended.recv_timeout(TELL_EVERY) == Err(RecvTimeoutError::Timeout) {
            self.interrupt.interrupt();
        }
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

impl Ledger {
    /// Whether the whole file has to be read before something is delivered. `ours`: a check by an earlier process does not count.
    pub(super) fn needs_check(&self, now: Timestamp, ours: bool) -> bool {
        self.seal.as_ref().is_none_or(|seal| !seal.is_good(now, ours))
    }

    /// Reads the whole file on another thread, from now on.
    pub(super) fn begin_check(&self, now: Timestamp) -> Result<Check, LedgerError> {
        Check::start(self.second()?, now)
    }

    /// Waits for the result of a check.
    pub(super) async fn end_check(&self, mut check: Check) -> Result<(), LedgerError> {
        let verdict = match check.result.take() {
            Some(result) => result.await.unwrap_or(Err(LedgerError::WriterEnded { path: self.path.clone() })),
            None => Ok(()),
        };
        self.note_check(check.began_at, verdict)
    }

    /// Reads the whole file here and now.
    pub(super) fn check_now(&self, now: Timestamp) -> Result<(), LedgerError> {
        self.note_check(now, self.check_sound())
    }

    fn note_check(&self, began_at: Timestamp, verdict: Result<(), LedgerError>) -> Result<(), LedgerError> {
        if let Some(seal) = &self.seal {
            seal.checked_at.set(verdict.is_ok().then_some(began_at));
            seal.by_us.set(verdict.is_ok());
        }
        verdict
    }
}
