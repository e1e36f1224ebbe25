//! The place of a ledger: one name, and one owner.
//!
//! Guarantees: a ledger has one name, whatever links lead to it, so that two processes use one lock and one high-water mark. A
//! link made by root or by the ledger's owner is resolved once, before lock and mark are named. Any other link is refused. Root
//! touches nothing in another user's folder: it becomes that user first, for good ([`become_owner`]) or for one step
//! ([`as_owner`]).
//!
//! How root becomes another user in safe code: through rustix, the system calls `setgroups`, `setresgid` and `setresuid` act on
//! the calling thread alone (libc would tell the others). So they are made while there is only one thread; threads that start
//! later inherit the user. The alternative, giving each file to the owner after it was made (`fchown`), would leave the opening
//! to root, and SQLite opens files by name as often as it likes.
//!
//! Assumptions: `/proc` is mounted where root becomes another user. The folders above the ledger's belong to the administrator.

use std::{
    ffi::OsString,
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use rustix::{
    process::{Gid, Uid, geteuid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::{LedgerError, folder_of};

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// The one name of the ledger that `path` leads to; `path` itself if it is no link.
pub fn find_ledger(path: &Path) -> Result<PathBuf, LedgerError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::PermissionDenied {
            LedgerError::Forbidden { path: path.to_owned() }
        } else if source.kind() == io::ErrorKind::NotFound {
            LedgerError::NoFolder { path: path.to_owned() }
        } else {
            LedgerError::File { doing: "look at", path: path.to_owned(), source }
        }
    };
    let (found, links) = match walk(path) {
        Ok(walked) => walked,
        // The folder does not exist. Opening the ledger reports that; reading finds nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(error) => return Err(failed(error)),
    };
    if links.is_empty() {
        return Ok(path.to_owned());
    }
    let there = found.symlink_metadata().or_else(|_| folder_of(&found).metadata()).map_err(failed)?;
    if let Some((link, uid)) = links.iter().find(|(_, uid)| *uid != 0 && *uid != there.uid()) {
        return Err(LedgerError::Link { path: path.to_owned(), link: link.clone(), uid: *uid, owner: there.uid() });
    }
    // A link in the middle of the path changes no name in the folder of lock and mark.
    let ends_in_a_link = path.symlink_metadata().is_ok_and(|it| it.is_symlink());
    Ok(if ends_in_a_link { found } else { path.to_owned() })
}

/// The place that a path leads to, and the links on the way with their owners. The last name need not exist.
fn walk(path: &Path) -> io::Result<(PathBuf, Vec<(PathBuf, u32)>)> {
    let (mut at, mut links) = (PathBuf::from("/"), Vec::new());
    let mut ahead: Vec<OsString> = Vec::new();
    let push = |ahead: &mut Vec<OsString>, path: &Path| {
        ahead.extend(path.components().rev().map(|part| part.as_os_str().to_owned()));
    };
    push(&mut ahead, &std::path::absolute(path)?);
    while let Some(part) = ahead.pop() {
        let name = match Path::new(&part).components().next() {
            Some(Component::Normal(name)) => name,
            Some(Component::ParentDir) => {
                at.pop();
                continue;
            }
            Some(Component::RootDir) => {
                at = PathBuf::from("/");
                continue;
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => continue,
        };
        let next = at.join(name);
        match next.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                if links.len() == LINKS_MAX {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                push(&mut ahead, &next.read_link()?);
                links.push((next, metadata.uid()));
            }
            Ok(_) => at = next,
            Err(error) if error.kind() == io::ErrorKind::NotFound && ahead.is_empty() => at = next,
            Err(error) => return Err(error),
        }
    }
    Ok((at, links))
}

/// The owner of a folder.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: Uid,
    gid: Gid,
}

/// The owner of the folder of `path`, if root must become that user.
fn other_owner(path: &Path) -> Result<Option<Owner>, LedgerError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    match folder_of(path).metadata() {
        Ok(folder) if folder.uid() == 0 => Ok(None),
        Ok(folder) => Ok(Some(Owner { uid: Uid::from_raw(folder.uid()), gid: Gid::from_raw(folder.gid()) })),
        // Opening the ledger reports that.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LedgerError::File { doing: "look at", path: folder_of(path).to_owned(), source }),
    }
}

/// Root becomes the owner of the folder of `path`, for good. Does nothing for other users. Call it before threads are started.
pub fn become_owner(path: &Path) -> Result<(), LedgerError> {
    let Some(owner) = other_owner(path)? else { return Ok(()) };
    switch(owner, true).map_err(|source| cannot_become(path, owner, source))
}

/// Does one step as the owner of the folder of `path` if the caller is root, and becomes root again.
pub fn as_owner<T>(path: &Path, work: impl FnOnce() -> T) -> Result<T, LedgerError> {
    let Some(owner) = other_owner(path)? else { return Ok(work()) };
    let failed = |source| cannot_become(path, owner, source);
    switch(owner, false).map_err(failed)?;
    let done = work();
    let back = || -> io::Result<()> {
        set_thread_res_uid(None, Uid::ROOT, None)?;
        set_thread_res_gid(None, Gid::ROOT, None)?;
        Ok(set_thread_groups(&[])?)
    };
    back().map_err(failed)?;
    Ok(done)
}

fn cannot_become(path: &Path, owner: Owner, source: io::Error) -> LedgerError {
    LedgerError::CannotBecome { folder: folder_of(path).to_owned(), uid: owner.uid.as_raw(), source }
}

/// In this order: a user who is no longer root cannot change groups.
fn switch(owner: Owner, for_good: bool) -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("other threads of this process would stay root"));
    }
    // If not for good, only the effective ids change, so that the way back stays open.
    let (user, group) = (for_good.then_some(owner.uid), for_good.then_some(owner.gid));
    set_thread_groups(&groups_of(owner))?;
    set_thread_res_gid(group, owner.gid, group)?;
    Ok(set_thread_res_uid(user, owner.uid, user)?)
}

/// The groups of a user by the local files. Rights to a folder for metrics, or of a command target, may depend on them.
fn groups_of(owner: Owner) -> Vec<Gid> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    groups_in(&read("/etc/passwd"), &read("/etc/group"), owner)
}

fn groups_in(passwd: &str, group: &str, owner: Owner) -> Vec<Gid> {
    let uid = owner.uid.as_raw().to_string();
    let names: Vec<&str> = passwd
        .lines()
        .filter_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
            [name, _, id, ..] if id == uid => Some(name),
            _ => None,
        })
        .collect();
    let member = group.lines().filter_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
        [_, _, gid, members] if members.split(',').any(|it| names.contains(&it)) => gid.parse().ok().map(Gid::from_raw),
        _ => None,
    });
    std::iter::once(owner.gid).chain(member).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    fn is_root() -> bool {
        geteuid().is_root()
    }

    #[test]
    fn a_path_without_a_link_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["ledger.db", "./ledger.db", "/nowhere/at/all/ledger.db"].map(Path::new) {
            assert_eq!(find_ledger(path).unwrap(), path);
        }
        let there = folder.path().join("ledger.db");
        assert_eq!(find_ledger(&there).unwrap(), there);
        std::fs::write(&there, "").unwrap();
        assert_eq!(find_ledger(&there).unwrap(), there);
    }

    #[test]
    fn all_links_to_a_ledger_lead_to_one_name_whether_it_is_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        symlink(at("real"), at("folder")).unwrap();
        symlink("folder/ledger.db", at("relative")).unwrap();
        symlink(at("relative"), at("twice")).unwrap();
        symlink("../relative", at("real/up")).unwrap();
        for _ in 0..2 {
            for name in ["relative", "twice", "real/up", "folder/up"] {
                assert_eq!(find_ledger(&at(name)).unwrap(), at("real/ledger.db"), "{name}");
            }
            assert_eq!(
                find_ledger(&at("folder/ledger.db")).unwrap(),
                at("folder/ledger.db"),
                "the same folder, the same lock"
            );
            std::fs::write(at("real/ledger.db"), "").unwrap();
        }
    }

    #[test]
    fn links_that_lead_in_a_circle_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert!(matches!(find_ledger(&folder.path().join("a")), Err(LedgerError::File { .. })));
    }

    #[test]
    fn a_link_that_a_third_made_is_refused() {
        if !is_root() {
            eprintln!("not tested: only root can make another user's link");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::chown(at("real"), Some(1234), Some(1234)).unwrap();
        symlink("real/ledger.db", at("link")).unwrap();
        for (uid, taken) in [(0, true), (1234, true), (999, false)] {
            lchown(at("link"), Some(uid), None).unwrap();
            match find_ledger(&at("link")) {
                Ok(found) => assert!(taken && found == at("real/ledger.db"), "{uid}"),
                Err(LedgerError::Link { uid: by, owner: 1234, .. }) => assert!(!taken && by == uid, "{uid}"),
                Err(error) => panic!("{error}"),
            }
        }
        // The owner of this folder may lead to its own ledger, not to root's.
        symlink("/etc/ledger-of-nobody.db", at("planted")).unwrap();
        lchown(at("planted"), Some(1234), None).unwrap();
        assert!(matches!(find_ledger(&at("planted")), Err(LedgerError::Link { uid: 1234, owner: 0, .. })));
    }

    #[test]
    fn the_groups_of_a_user_are_those_that_name_it() {
        let owner = Owner { uid: Uid::from_raw(990), gid: Gid::from_raw(991) };
        let passwd = "root:x:0:0::/:/bin/sh\nmakegood:x:990:991::/:/bin/false\n";
        let group = "root:x:0:\nmakegood:x:991:\nmetrics:x:50:kim,makegood\nothers:x:51:makegoods\nbroken\n";
        assert_eq!(groups_in(passwd, group, owner), [991, 50].map(Gid::from_raw));
        assert_eq!(groups_in("", "", owner), [Gid::from_raw(991)]);
    }
}
