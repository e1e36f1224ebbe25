//! The files of a ledger: the database, the pass lock and the mark. Made with mode 0640, and owned by who owns the folder.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

/// Owner and group: operators in the group read it while it runs.
pub(super) const FILE_MODE: u32 = 0o640;

/// Where a file lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a file that is not there yet. One that root makes goes to the owner of the folder: after a `sudo makegood once` the
/// service must still be able to write.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
    // The mode given at creation is cut by the umask.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    let (ours, theirs) = (file.metadata()?, std::fs::metadata(folder_of(path))?);
    if ours.uid() == 0 && theirs.uid() != 0 {
        fchown(&file, Some(theirs.uid()), Some(theirs.gid()))?;
    }
    Ok(file)
}

/// Opens a file to read and write, and makes it where there is none.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    loop {
        match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            },
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_folder() {
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
    fn those_who_make_a_file_at_the_same_time_have_the_same() {
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
