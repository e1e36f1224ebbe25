//! A copy of the ledger, taken while it is in use.
//!
//! Guarantees: the copy is the complete ledger at one instant (SQLite's online backup, in one step; readers and writers go on).
//! It is one file without a WAL. It is read back and found sound before it gets its name. Nothing is overwritten.
//!
//! The copy contains a stamp that says it is a copy. A ledger that is restored from it delivers nothing until a person accepts
//! it, whatever high-water mark is beside it (`forgotten.rs`).

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    BUSY_TIMEOUT, Forgot, Ledger, LedgerError, Position,
    fence::Patience,
    files::{FILE_MODE, folder_of},
    forgotten, migrate, with_suffix,
};

/// What a copy contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// How far the ledger had come.
    pub position: Position,
    /// Rows of `rewards`.
    pub rewards: u64,
    /// The size of the file.
    pub bytes: u64,
}

impl Ledger {
    /// Copies the ledger to a file that must not exist yet.
    pub fn back_up(&self, to: &Path) -> Result<BackedUp, LedgerError> {
        self.back_up_to(to, |draft| OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(draft))
    }

    /// Like [`Ledger::back_up`]; `create` makes the empty file.
    pub(super) fn back_up_to(
        &self,
        to: &Path,
        create: impl FnOnce(&Path) -> io::Result<File>,
    ) -> Result<BackedUp, LedgerError> {
        if fs::symlink_metadata(to).is_ok() {
            return Err(LedgerError::Exists { path: to.to_owned() });
        }
        let draft = draft(to);
        let copied = self.copy_to(&draft, create).and_then(|copied| {
            give_name(&draft, to)?;
            Ok(copied)
        });
        if copied.is_err() {
            for suffix in ["", "-journal"] {
                let _was_not_there = fs::remove_file(with_suffix(&draft, suffix));
            }
        }
        copied
    }

    fn copy_to(&self, draft: &Path, create: impl FnOnce(&Path) -> io::Result<File>) -> Result<BackedUp, LedgerError> {
        let failed = |doing| move |source| LedgerError::File { doing, path: draft.to_owned(), source };
        create(draft).map_err(failed("create"))?;
        let sqlite = |source| LedgerError::from_sqlite(draft, BUSY_TIMEOUT.as_secs(), source);
        let mut conn = Connection::open(draft).map_err(sqlite)?;
        match Backup::new(&self.conn, &mut conn).and_then(|backup| backup.step(-1)).map_err(sqlite)? {
            StepResult::Done => {}
            // Somebody keeps it locked for longer than the busy timeout.
            StepResult::More | StepResult::Busy | StepResult::Locked | _ => {
                return Err(LedgerError::Locked { path: self.path.clone(), waited_s: BUSY_TIMEOUT.as_secs() });
            }
        }
        // The copied header says WAL. One file is easier to keep than three.
        conn.pragma_update(None, "journal_mode", "DELETE").map_err(sqlite)?;
        let copy = Self::of(conn, draft, Patience::default());
        copy.check_sound()?;
        let rewards = copy.count_rewards()?;
        let position = copy.position()?;
        // Not for a ledger of an earlier schema, which has no table for it. Only the mark shows that one.
        if copy.version()? == migrate::known_version() {
            copy.write(|tx| forgotten::stamp(tx, Forgot::Copy, &position))?;
        }
        drop(copy);
        let file = File::open(draft).map_err(failed("read"))?;
        // The umask reduces the mode given at creation.
        file.set_permissions(Permissions::from_mode(FILE_MODE))
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(BackedUp { position, rewards, bytes: file.metadata()?.len() }))
            .map_err(failed("write"))
    }
}

/// Beside the copy, so that it only has to be renamed; of this process alone.
fn draft(to: &Path) -> PathBuf {
    with_suffix(to, &format!(".part-{}", std::process::id()))
}

/// Replaces nobody else's file, not even one that appeared in the meantime.
fn give_name(draft: &Path, to: &Path) -> Result<(), LedgerError> {
    let failed = |source| LedgerError::File { doing: "create", path: to.to_owned(), source };
    match renameat_with(CWD, draft, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Err(LedgerError::Exists { path: to.to_owned() }),
        // A file system that cannot guarantee that (some network disks).
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(draft, to).map_err(failed)?,
        Err(error) => return Err(failed(io::Error::from(error))),
    }
    File::open(folder_of(to)).and_then(|folder| folder.sync_all()).map_err(failed)
}
