//! Puts a copy in the place of the ledger.
//!
//! Guarantees: a copy is taken beside the ledger first, looked at (ours, of this account, sound) and only then given the ledger's name,
//! in one step: whoever comes after a kill finds the old ledger or the new one, never none. The old one is kept beside it. Nothing
//! is replaced that anybody has open. The mark stays: what the copy has forgotten is found out by it.
//!
//! Assumptions: the caller holds the pass lock. The file system knows hard links.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, OFlags, fcntl_lock};

use super::{
    BUSY_TIMEOUT, Ledger, LedgerError, Position, fence,
    files::{self, For, folder_of},
    with_suffix,
};
use crate::domain::Timestamp;

/// A copy that was opened, and not looked at yet. Apart from the rest, because root may read what the ledger's owner may not.
#[derive(Debug)]
pub struct Copy {
    path: PathBuf,
    file: File,
    wal: Option<File>,
}

/// A copy beside the ledger that could take its place; removed again when dropped.
#[derive(Debug)]
pub struct Staged {
    draft: PathBuf,
    /// Locked, so that nobody takes the draft for what a dead process left.
    _file: File,
    /// How far it had come.
    pub position: Position,
    /// Rows of `rewards`.
    pub rewards: u64,
}

impl Copy {
    /// Opens it as whoever we are. Where a log lies beside it (a copy made file by file), it belongs to the copy.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::File { doing: "read", path: path.to_owned(), source };
        let open = |path: &Path| {
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_file() { Ok((file, metadata)) } else { Err(files::Refused::NoFile("no file").into()) }
        };
        let (file, _) = open(path).map_err(failed)?;
        let wal = match open(&with_suffix(path, "-wal")) {
            Ok((wal, metadata)) => (metadata.len() > 0).then_some(wal),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path: path.to_owned(), file, wal })
    }

    /// Copies it beside the ledger, and looks whether it is one of this account, and sound.
    pub fn stage(mut self, ledger: &Path, account_id: &str) -> Result<Staged, LedgerError> {
        let failed = |source| LedgerError::File { doing: "copy to", path: ledger.to_owned(), source };
        let id = |it: &fs::Metadata| (it.dev(), it.ino());
        if let (Ok(copy), Ok(there)) = (self.file.metadata(), fs::metadata(ledger))
            && id(&copy) == id(&there)
        {
            return Err(LedgerError::Exists { path: self.path });
        }
        let draft = files::draft_of(ledger).map_err(failed)?;
        let mut file = files::create(&draft, files::FILE_MODE).map_err(failed)?;
        let looked_at = self.fill(&draft, &mut file).map_err(failed).and_then(|()| self.look_at(&draft, account_id));
        match looked_at {
            Ok((position, rewards)) => Ok(Staged { draft, _file: file, position, rewards }),
            Err(error) => {
                remove(&draft);
                Err(error)
            }
        }
    }

    fn fill(&mut self, draft: &Path, file: &mut File) -> io::Result<()> {
        file.try_lock()?;
        io::copy(&mut self.file, file)?;
        if let Some(wal) = &mut self.wal {
            io::copy(wal, &mut files::create(&with_suffix(draft, "-wal"), files::FILE_MODE)?)?;
        }
        Ok(())
    }

    fn look_at(&self, draft: &Path, account_id: &str) -> Result<(Position, u64), LedgerError> {
        let failed = |source| LedgerError::from_sqlite(&self.path, BUSY_TIMEOUT.as_secs(), source);
        let mut conn = Connection::open(draft).map_err(failed)?;
        let patience = fence::put_around(&mut conn).map_err(failed)?;
        // Under the name that the person knows it by.
        let copy = Ledger::of(conn, &self.path, patience);
        copy.refuse_strangers()?;
        if copy.version()? == 0 {
            return Err(LedgerError::Foreign { path: self.path.clone() });
        }
        // One file: what stood in its log goes into it.
        copy.run(|conn| conn.pragma_update(None, "journal_mode", "DELETE"))?;
        copy.require_account(account_id)?;
        copy.check_sound()?;
        let (position, rewards) = (copy.position()?, copy.states()?.values().sum());
        drop(copy);
        let synced = File::open(draft).and_then(|file| file.sync_all());
        synced.map_err(|source| LedgerError::File { doing: "write", path: draft.to_owned(), source })?;
        Ok((position, rewards))
    }
}

impl Staged {
    /// Gives it the ledger's name. Returns where the one that lay there is kept.
    pub fn install(self, ledger: &Path, now: Timestamp) -> Result<Option<PathBuf>, LedgerError> {
        let failed = |source| LedgerError::File { doing: "replace", path: ledger.to_owned(), source };
        let there = ledger.symlink_metadata().is_ok();
        if there {
            drop(alone(ledger)?);
            merge_log(ledger);
        }
        let _nobody_else = if there { Some(alone(ledger)?) } else { None };
        let kept = if there { Some(keep(ledger, now).map_err(failed)?) } else { None };
        // A log that stays would be taken for that of the new one.
        for suffix in ["-wal", "-shm", "-journal"] {
            match fs::remove_file(with_suffix(ledger, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.draft, ledger).map_err(failed)?;
        File::open(folder_of(ledger)).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(kept)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        remove(&self.draft);
    }
}

fn remove(draft: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _was_not_there = fs::remove_file(with_suffix(draft, suffix));
    }
}

/// Nobody has it open. Whoever reads or writes a ledger holds SQLite's lock on the file, in WAL mode for as long as it is open: a
/// service between its passes, too. Nobody gets one while the file that is returned is open.
fn alone(ledger: &Path) -> Result<File, LedgerError> {
    let failed = |source| LedgerError::File { doing: "lock", path: ledger.to_owned(), source };
    let file = files::open(ledger, For::Writing).map_err(failed)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            Err(LedgerError::InUse { path: ledger.to_owned() })
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// Brings what stands in the log into the file, so that one file is kept. A damaged ledger is kept with its log.
fn merge_log(ledger: &Path) {
    let merged = Ledger::open_uri(ledger, "mode=rw").and_then(|old| {
        old.refuse_strangers()?;
        old.run(|conn| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    });
    if let Err(error) = merged {
        tracing::debug!("the log of {} stays beside it: {error}", ledger.display());
    }
}

/// Gives the old one a second name, and its log, where something stands in it. It keeps the first until the new one takes it.
fn keep(ledger: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let stem = format!(".replaced-{}", now.format("%Y%m%dT%H%M%SZ"));
    for further in 1..100 {
        let kept = with_suffix(ledger, &if further == 1 { stem.clone() } else { format!("{stem}.{further}") });
        match fs::hard_link(ledger, &kept) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                let wal = with_suffix(ledger, "-wal");
                if wal.symlink_metadata().is_ok_and(|it| it.len() > 0) {
                    fs::hard_link(wal, with_suffix(&kept, "-wal"))?;
                }
                return Ok(kept);
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
