//! Puts a copy in the place of the ledger.
//!
//! Guarantees: first a copy is made beside the ledger and checked (ours, of this account, sound). Only then it gets the
//! ledger's name, in one step: after a kill at any time there is the old ledger or the new one. The old one is kept beside it.
//! Nothing is replaced while anybody has it open. The high-water mark stays, and shows what the copy has forgotten.
//!
//! Assumptions: the caller holds the pass lock. The file system supports hard links.

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

/// A copy that was opened and not checked yet. A step of its own, because root may read files that the ledger's owner may not.
#[derive(Debug)]
pub struct Copy {
    path: PathBuf,
    file: File,
    wal: Option<File>,
}

/// A copy beside the ledger that could take its place. Removed when dropped.
#[derive(Debug)]
pub struct Staged {
    draft: PathBuf,
    /// Locked, so that nobody takes the draft for that of a dead process.
    _file: File,
    /// How far it had come.
    pub position: Position,
    /// Rows of `rewards`.
    pub rewards: u64,
}

impl Copy {
    /// Opens it as the present user. If there is a WAL beside it (a copy made file by file), it belongs to the copy.
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

    /// Copies it beside the ledger, and checks that it is of this account and sound.
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
        // Under the name that the person gave.
        let copy = Ledger::of(conn, &self.path, patience);
        copy.refuse_strangers()?;
        if copy.version()? == 0 {
            return Err(LedgerError::Foreign { path: self.path.clone() });
        }
        // One file: the content of its WAL goes into it.
        copy.run(|conn| conn.pragma_update(None, "journal_mode", "DELETE"))?;
        copy.require_account(account_id)?;
        copy.check_sound()?;
        let (position, rewards) = (copy.position()?, copy.count_rewards()?);
        drop(copy);
        let synced = File::open(draft).and_then(|file| file.sync_all());
        synced.map_err(|source| LedgerError::File { doing: "write", path: draft.to_owned(), source })?;
        Ok((position, rewards))
    }
}

impl Staged {
    /// Gives it the ledger's name. Returns where the old ledger is kept.
    pub fn install(self, ledger: &Path, now: Timestamp) -> Result<Option<PathBuf>, LedgerError> {
        let failed = |source| LedgerError::File { doing: "replace", path: ledger.to_owned(), source };
        let there = ledger.symlink_metadata().is_ok();
        if there {
            drop(alone(ledger)?);
            merge_log(ledger);
        }
        let _nobody_else = if there { Some(alone(ledger)?) } else { None };
        let kept = if there { Some(keep(ledger, now).map_err(failed)?) } else { None };
        // SQLite would take a WAL that stays for the new ledger's.
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

/// Makes sure that nobody has it open. Whoever reads or writes a ledger in WAL mode holds SQLite's lock on the file as long as
/// it is open, including a service between its passes. Nobody gets that lock while the returned file is open.
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

/// Moves the content of the WAL into the file, so that one file is kept. A damaged ledger is kept with its WAL.
fn merge_log(ledger: &Path) {
    let merged = Ledger::open_uri(ledger, "mode=rw").and_then(|old| {
        old.refuse_strangers()?;
        old.run(|conn| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    });
    if let Err(error) = merged {
        tracing::debug!("the log of {} stays beside it: {error}", ledger.display());
    }
}

/// Gives the old ledger a second name, and its WAL too if it is not empty. The ledger keeps its first name until the new one
/// takes it.
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
