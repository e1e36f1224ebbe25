//! The files of a ledger: the database, the pass lock and the high-water mark. They have mode 0640 and belong to the owner of
//! the folder.
//!
//! Guarantees: only a regular file at exactly that name is opened. A link, a FIFO or a device that somebody put there is
//! refused, without following it or waiting for it. A file that we write belongs to the owner of the folder, or to us. A file
//! is replaced as a whole: every reader, also after a kill, finds the old content or the new.
//!
//! Assumptions: root has become the owner of the folder before (see `place.rs`). These checks tell an honest user what is
//! wrong, and are a second fence against a hostile one.

use std::{
    ffi::OsStr,
    fs::{File, Metadata, OpenOptions, Permissions},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, process::geteuid};
use thiserror::Error;

/// For owner and group: operators in the group read the ledger while makegood runs.
pub(super) const FILE_MODE: u32 = 0o640;
/// How often a file is made again that somebody removed in the meantime.
const TRIES: u32 = 5;

/// Why makegood does not touch a file, as the source of an [`io::Error`].
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is no regular file.
    #[error("it is {0}, and makegood opens regular files only: find out who put it there, and remove it")]
    NoFile(&'static str),
    /// It belongs to another user.
    #[error(
        "it belongs to uid {uid}, and its folder to uid {folder}: find out who put it there, and give it to the folder's owner or remove it"
    )]
    SomebodyElses {
        /// The file's owner.
        uid: u32,
        /// The folder's owner.
        folder: u32,
    },
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::new(io::ErrorKind::InvalidInput, refused)
    }
}

/// What a file is to be opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Reading,
    Writing,
}

/// The folder of a file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens an existing regular file.
pub(super) fn open(path: &Path, what_for: For) -> io::Result<File> {
    // Opening a FIFO would wait for its other side. NONBLOCK prevents that, and means nothing for a regular file.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().read(true).write(what_for == For::Writing).custom_flags(flags).open(path);
    let file = opened.map_err(|error| {
        let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        let what = if is_link {
            Some("a symbolic link")
        } else {
            (error.kind() == io::ErrorKind::IsADirectory).then_some("a folder")
        };
        what.map_or(error, |what| Refused::NoFile(what).into())
    })?;
    check(&file.metadata()?, path, what_for)?;
    Ok(file)
}

/// Refuses anything that exists and is no regular file, without opening it. A missing file is fine.
pub(super) fn check_there(path: &Path, what_for: For) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) => check(&metadata, path, what_for),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn check(metadata: &Metadata, path: &Path, what_for: For) -> io::Result<()> {
    let kind = metadata.file_type();
    let odd = [
        (kind.is_symlink(), "a symbolic link"),
        (kind.is_dir(), "a folder"),
        (kind.is_fifo(), "a FIFO"),
        (kind.is_socket(), "a socket"),
        (!kind.is_file(), "a device"),
    ];
    if let Some((_, what)) = odd.into_iter().find(|(is, _)| *is) {
        return Err(Refused::NoFile(what).into());
    }
    let (uid, folder, us) = (metadata.uid(), std::fs::metadata(folder_of(path))?.uid(), geteuid().as_raw());
    // A user other than root may read what the modes allow. Root may read and change anything, so it is refused.
    if uid == folder || (us != 0 && (uid == us || what_for == For::Reading)) {
        return Ok(());
    }
    Err(Refused::SomebodyElses { uid, folder }.into())
}

/// Makes a file that does not exist yet. Where root makes it, it goes to the owner of the folder: after a `sudo makegood once`
/// the service must still be able to write.
pub(super) fn create(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
    // The umask reduces the mode given at creation.
    file.set_permissions(Permissions::from_mode(mode))?;
    let (ours, theirs) = (file.metadata()?, std::fs::metadata(folder_of(path))?);
    if ours.uid() == 0 && theirs.uid() != 0 {
        fchown(&file, Some(theirs.uid()), Some(theirs.gid()))?;
    }
    Ok(file)
}

/// Opens a file for reading and writing; makes it where there is none.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    // With a limit: a name that exists and cannot be opened (a link that leads nowhere) would be tried for ever.
    for _ in 0..TRIES {
        match open(path, For::Writing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match create(path, FILE_MODE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                made => return made,
            },
            opened => return opened,
        }
    }
    Err(last)
}

/// Replaces a file with this content as a whole, or makes it (a link itself, not its target): writes under an unguessable name,
/// then renames. `durable`: name and content are on disk when this returns.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for _ in 0..TRIES {
        let draft = draft_of(path)?;
        let written = write_draft(&draft, content, mode, durable).and_then(|file| {
            std::fs::rename(&draft, path)?;
            drop(file);
            Ok(())
        });
        match written {
            Ok(()) if durable => return File::open(folder_of(path))?.sync_all(),
            Ok(()) => return Ok(()),
            // Somebody took it for the draft of a dead process before it was locked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => last = error,
            Err(error) => {
                let _nothing_to_tidy_is_fine = std::fs::remove_file(&draft);
                return Err(error);
            }
        }
    }
    Err(last)
}

/// Stays locked while the file is open, so that others can tell it from the draft of a dead process.
fn write_draft(draft: &Path, content: &[u8], mode: u32, durable: bool) -> io::Result<File> {
    let mut file = create(draft, mode)?;
    file.try_lock()?;
    file.write_all(content)?;
    if durable {
        file.sync_data()?;
    }
    Ok(file)
}

const DRAFT: &str = ".draft";

/// An unguessable name beside the file.
pub(super) fn draft_of(path: &Path) -> io::Result<PathBuf> {
    let random = RandomState::new().hash_one(std::process::id());
    Ok(path.with_file_name(format!("{}{random:016x}{DRAFT}", before_draft(path)?)))
}

fn before_draft(path: &Path) -> io::Result<String> {
    let name = path.file_name().map(OsStr::to_string_lossy);
    name.map(|name| format!(".{name}.")).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))
}

/// Removes the drafts of this file that dead processes left.
pub(crate) fn sweep_drafts(path: &Path) {
    let (Ok(before), Ok(entries)) = (before_draft(path), std::fs::read_dir(folder_of(path))) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_draft =
            name.strip_prefix(&before).and_then(|rest| rest.strip_suffix(DRAFT)).is_some_and(|it| it.len() == 16);
        if is_draft && open(&entry.path(), For::Writing).is_ok_and(|file| file.try_lock().is_ok()) {
            let _next_time_then = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_root_makes_belongs_to_the_owner_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        if std::fs::metadata(folder.path()).unwrap().uid() != 0 {
            // Only root can give a folder to somebody else; for others the rule does not apply.
            assert!(open_or_create(&folder.path().join("a")).is_ok());
            return;
        }
        std::os::unix::fs::chown(folder.path(), Some(1234), Some(2345)).unwrap();
        let path = folder.path().join("ledger.db");
        drop(open_or_create(&path).unwrap());
        let made = std::fs::metadata(&path).unwrap();
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (1234, 2345, 0o640));
    }

    #[test]
    fn a_name_alone_lies_in_the_working_directory() {
        for (path, folder) in [("ledger.db", "."), ("./ledger.db", "."), ("a/ledger.db", "a"), ("/ledger.db", "/")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
        }
    }

    #[test]
    fn processes_that_make_a_file_at_the_same_time_share_it() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let (path, all_at_once) = (folder.path().join(round.to_string()), std::sync::Barrier::new(4));
            let open = || {
                all_at_once.wait();
                open_or_create(&path).unwrap().metadata().unwrap().ino()
            };
            let made: std::collections::BTreeSet<u64> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|it| it.join().unwrap()).collect()
            });
            assert_eq!(made.len(), 1);
        }
    }
}
