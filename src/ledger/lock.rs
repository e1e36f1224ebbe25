//! The pass lock: at most one pass at a time on one ledger.
//!
//! It is an operating system lock on a file beside the ledger, so it ends with its holder in every case. The file's content
//! (the holder's name) is for people only and may be stale. We never remove the file; if somebody else removes it, it is made
//! again.

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

use super::{files, high_water_mark::high_water_mark_path, soundness::seal_path};
use crate::{
    clock::Clock,
    domain::{Timestamp, timestamp_text},
};

/// How long a second process waits.
const WAIT_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// The longest name that one of our holders writes.
const HOLDER_MAX: u64 = 256;

/// Why the lock could not be taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process holds the pass.
    #[error(
        "busy: another process holds the pass on this ledger: {holder}. Waited {} s. Wait for it to end, or stop it; \
         the lock ({path}) dies with its holder", WAIT_MAX.as_secs()
    )]
    Busy {
        /// The name that the holder wrote.
        holder: String,
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file could not be used.
    #[error("cannot {doing} the pass lock {path}: check that this user may write there, and that the disk has room")]
    File {
        /// What was tried.
        doing: &'static str,
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Held for the length of a pass; released when dropped.
#[derive(Debug)]
pub struct PassLock {
    _file: File,
}

/// The lock file of a ledger: its path with `.lock` after it.
fn lock_path(ledger: &Path) -> PathBuf {
    let mut name = OsString::from(ledger);
    name.push(".lock");
    PathBuf::from(name)
}

/// Takes the pass lock, waiting for at most 30 s.
pub async fn acquire(ledger: &Path, doing: &str, clock: &impl Clock) -> Result<PassLock, LockError> {
    let mut waited = Duration::ZERO;
    loop {
        match acquire_now(ledger, doing, clock.now()) {
            Err(LockError::Busy { .. }) if waited < WAIT_MAX => {
                clock.sleep(POLL).await;
                waited += POLL;
            }
            result => return result,
        }
    }
}

/// Takes the pass lock for a migration, waiting for at most 30 s in all. `pause` waits for as long as it is told.
pub(super) fn acquire_to_migrate(
    ledger: &Path,
    now: Timestamp,
    pause: impl Fn(Duration),
) -> Result<PassLock, LockError> {
    let mut waited = Duration::ZERO;
    loop {
        match acquire_now(ledger, "bringing the ledger up to date", now) {
            Err(LockError::Busy { .. }) if waited < WAIT_MAX => {
                pause(POLL);
                waited += POLL;
            }
            result => return result,
        }
    }
}

/// Takes the pass lock if nobody has it.
fn acquire_now(ledger: &Path, doing: &str, now: Timestamp) -> Result<PassLock, LockError> {
    let path = lock_path(ledger);
    let failed = |doing: &'static str| {
        let path = path.clone();
        move |source| LockError::File { doing, path, source }
    };
    let mut file = loop {
        let mut file = files::open_or_create(&path).map_err(failed("open"))?;
        match try_lock(&file, &path) {
            Ok(Locked::Nothing) => {}
            Ok(Locked::Pass) => break file,
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _unreadable_is_fine = (&mut file).take(HOLDER_MAX).read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "a process that left no name" } else { holder };
                return Err(LockError::Busy { holder: holder.to_owned(), path });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
    };
    let holder = format!("process {} (makegood {doing}) since {}\n", std::process::id(), timestamp_text(now));
    // For people only, so a full disk must not stop a pass here.
    let named = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
    if let Err(error) = named {
        tracing::debug!("the pass lock {} does not name its holder: {error}", path.display());
    }
    files::sweep_drafts(&high_water_mark_path(ledger));
    files::sweep_drafts(&seal_path(ledger));
    Ok(PassLock { _file: file })
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Locked {
    Pass,
    /// Somebody removed the file in the meantime. A lock on a file without a name protects nothing.
    Nothing,
}

pub(super) fn try_lock(file: &File, path: &Path) -> Result<Locked, TryLockError> {
    file.try_lock()?;
    Ok(if is_at(file, path) { Locked::Pass } else { Locked::Nothing })
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), path.symlink_metadata()), (Ok(open), Ok(there)) if id(&open) == id(&there))
}
