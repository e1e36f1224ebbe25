//! The files of a ledger: the database, the pass lock and the mark. Made with mode 0640, and owned by who owns the folder.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

/// Owner and group: operators in the group read it while it runs.
pub(super) const FILE_MODE: u32 = 0o640;

/// Makes a file that is not there yet. One that root makes goes to the owner of the folder: after a `sudo makegood once` the
/// service must still be able to write.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
    // The mode given at creation is cut by the umask.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (ours, theirs) = (file.metadata()?, std::fs::metadata(folder)?);
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
}
