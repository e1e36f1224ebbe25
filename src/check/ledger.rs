//! Checks the ledger, its folder, and the space on its disk.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::{Access, access, statvfs};

use super::{Check, here};
use crate::{
    clock::{Clock, SystemClock, ago},
    config::Settings,
    domain::{CommissionId, Timestamp},
    ledger::{Health, Ledger, LedgerError, become_owner, find_ledger, folder_of},
    reconcile::{CANDIDATES, in_full},
    service::late::{Lateness, lateness},
};

/// Less free space than this, in bytes, is a warning.
const ROOM_MIN: u64 = 100 * 1024 * 1024;

/// ... if it is also less than this share of the whole, in per cent.
const ROOM_MIN_PERCENT: u64 = 5;

const NAME: &str = "ledger";
const RIGHTS: &str = "ledger rights";

/// Whether the ledger is sound and this user may work with it. Also returns rewards that it knows as fulfilled, for the
/// questions to FirstPromoter. From here on root acts as the ledger's owner, and the settings hold the ledger's real name.
pub(super) fn ledger(settings: &Settings, now: Timestamp) -> (Settings, Vec<Check>, Vec<CommissionId>) {
    let mut settings = settings.clone();
    let entered = find_ledger(&settings.ledger.path).and_then(|path| {
        settings.ledger.path = path;
        become_owner(&settings.ledger.path)
    });
    let (checks, canaries) = match entered {
        Ok(()) => looked_at(&settings, now),
        Err(error) => (vec![Check::failed_as_told(NAME, &in_full(&error))], Vec::new()),
    };
    (settings, checks, canaries)
}

fn looked_at(settings: &Settings, now: Timestamp) -> (Vec<Check>, Vec<CommissionId>) {
    let path = &settings.ledger.path;
    match look(settings, now) {
        Ok((detail, canaries, more)) => {
            let checks = [Check::ok(NAME, detail), rights(path)];
            (checks.into_iter().chain(more).collect(), canaries)
        }
        Err(LedgerError::Missing { .. }) => (vec![to_be_created(path, settings)], Vec::new()),
        Err(error) => (vec![Check::failed_as_told(NAME, &in_full(&error))], Vec::new()),
    }
}

fn look(settings: &Settings, now: Timestamp) -> Result<(String, Vec<CommissionId>, Vec<Check>), LedgerError> {
    let path = &settings.ledger.path;
    let ledger = Ledger::open_read_only(path)?;
    ledger.require_account(&settings.firstpromoter.account_id)?;
    ledger.check_sound()?;
    ledger.require_not_behind()?;
    let rewards: u64 = ledger.states()?.values().sum();
    let size_kib = fs::metadata(path).map_or(0, |metadata| metadata.len()).div_ceil(1024);
    let plural = if rewards == 1 { "" } else { "s" };
    let detail = format!("{}: sound, not behind its mark; {rewards} reward{plural}, {size_kib} KiB", path.display());
    let mut more = vec![passes(&lateness(&ledger, settings, now)?, now)];
    let health = ledger.health()?;
    let configured = health.iter().filter(|(target, _)| settings.targets.contains_key(*target));
    more.extend(configured.filter_map(|(target, health)| paused(target, health, now)));
    Ok((detail, ledger.canaries(CANDIDATES)?, more))
}

/// A target whose deliveries are paused.
fn paused(target: &str, health: &Health, now: Timestamp) -> Option<Check> {
    let in_a_row = format!("{} in a row", health.in_words());
    let until = |at: Timestamp| at.format("%Y-%m-%dT%H:%M:%SZ");
    let what = if let Some(at) = health.closed_until(now) {
        format!("{in_a_row}; they wait until {}", until(at))
    } else {
        let over = health.retry_at.filter(|at| *at <= now)?;
        format!("{in_a_row}; they waited until {}, and the next pass tries a few", until(over))
    };
    let last = health.last_error.as_deref().map(|words| format!(". The last: {words}")).unwrap_or_default();
    let remedy = "repair the target, or correct its section in the configuration: what waits goes by itself then";
    Some(Check::warning(format!("deliveries to {target}"), format!("{what}{last}"), remedy))
}

/// Whether passes complete as often as the schedule asks for them.
fn passes(lateness: &Lateness, now: Timestamp) -> Check {
    const NAME: &str = "passes";
    let ago = ago(lateness.since, now);
    if lateness.late {
        let (what, remedy) = lateness.in_words(&ago);
        return Check::warning(NAME, what, remedy);
    }
    match lateness.completed {
        Some(_) => Check::ok(NAME, format!("the last one that completed: {ago}")),
        None => Check::ok(NAME, "none has completed yet, and none is late"),
    }
}

fn to_be_created(path: &Path, settings: &Settings) -> Check {
    let folder = folder_of(path);
    if !folder.is_dir() {
        let no_folder = LedgerError::NoFolder { path: path.to_owned() };
        return Check::failed_as_told(NAME, &no_folder.to_string());
    }
    // With a high-water mark beside it, the ledger was removed, and a new one would have forgotten everything.
    let stand_in = Ledger::not_made_yet(path, &settings.firstpromoter.account_id, SystemClock.now());
    if let Err(error) = stand_in.and_then(|ledger| ledger.require_not_behind()) {
        return Check::failed_as_told(NAME, &in_full(&error));
    }
    let detail = format!("{}: none yet; the first pass will create it", path.display());
    if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Check::warning(
            NAME,
            format!("{detail}, but this user may not write there"),
            as_the_service("the folder"),
        );
    }
    Check::ok(NAME, detail)
}

fn as_the_service(what: &str) -> String {
    format!(
        "if this is the user that makegood runs as, let it write {what}; else check as that user: sudo -u makegood makegood check"
    )
}

/// Whether this user may write the ledger, and whether everybody may read it.
fn rights(path: &Path) -> Check {
    let may_write = |path: &Path, access_mode| access(path, access_mode).is_ok();
    if !may_write(folder_of(path), Access::WRITE_OK | Access::EXEC_OK) {
        let detail = format!("this user may not write the folder {}", folder_of(path).display());
        return Check::warning(RIGHTS, detail, as_the_service("the folder"));
    }
    if !may_write(path, Access::WRITE_OK) {
        return Check::warning(RIGHTS, "this user may not write the file", as_the_service("the file"));
    }
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.mode() & 0o777);
    if here::everybody_reads(&path.to_owned()) {
        return Check::warning(
            RIGHTS,
            format!("everybody on this machine may read it (mode {mode:o}), with the names and emails in it"),
            format!("chmod 640 {}", path.display()),
        );
    }
    Check::ok(RIGHTS, format!("file and folder can be written; mode {mode:o}"))
}

/// Whether the ledger has space to grow.
pub(super) fn disk_space(path: &Path) -> Check {
    const NAME: &str = "disk space";
    let folder = folder_of(path);
    let room = match statvfs(folder) {
        Ok(room) => room,
        Err(error) => {
            let detail = format!("{}: cannot be told ({error})", folder.display());
            return Check::warning(NAME, detail, "create the folder of the ledger, and check again");
        }
    };
    judge_room(folder, room.f_bavail.saturating_mul(room.f_frsize), room.f_blocks.saturating_mul(room.f_frsize))
}

fn judge_room(folder: &Path, free: u64, all: u64) -> Check {
    const NAME: &str = "disk space";
    // Some file systems do not know their size.
    let percent = free.saturating_mul(100).checked_div(all).unwrap_or(100);
    let detail = format!("{}: {} MiB free ({percent} %)", folder.display(), free / (1024 * 1024));
    if free < ROOM_MIN || percent < ROOM_MIN_PERCENT {
        return Check::warning(NAME, detail, "make room: with a full disk nothing is delivered");
    }
    Check::ok(NAME, detail)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn little_room_is_worth_a_look_in_bytes_or_in_per_cent() {
        const MIB: u64 = 1024 * 1024;
        for (free, all, result) in [
            (200 * MIB, 1000 * MIB, Verdict::Ok),
            (100 * MIB, 1000 * MIB, Verdict::Ok),
            (99 * MIB, 1000 * MIB, Verdict::Warning),
            (4 * 1024 * MIB, 100 * 1024 * MIB, Verdict::Warning),
            (5 * 1024 * MIB, 100 * 1024 * MIB, Verdict::Ok),
            (200 * MIB, 0, Verdict::Ok),
            (0, 0, Verdict::Warning),
        ] {
            assert_eq!(judge_room(Path::new("/x"), free, all).result, result, "{free} of {all}");
        }
    }
}
