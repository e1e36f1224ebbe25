//! Reads the sections, top down; `[policy]` and the targets have files of their own.

use super::{
    address,
    error::Complaint,
    notice, path, policy,
    read::{Reader, Section, section},
    schedule,
    secrets::{SecretKind, Slot},
    targets,
    types::{FirstPromoterSettings, LedgerSettings, Schedule, Settings},
};
use crate::domain::Timestamp;

/// The longest account id.
const LONGEST_ID: usize = 128;

/// All settings, or none where the reader has a problem.
pub(super) fn read(reader: &mut Reader, mut root: Section, now: Timestamp) -> Option<(Settings, Vec<Slot>)> {
    let firstpromoter = section(reader, &mut root, "firstpromoter", firstpromoter);
    let schedule = section(reader, &mut root, "schedule", |reader, section| read_schedule(reader, section, now));
    let ledger = section(reader, &mut root, "ledger", ledger);
    let targets = targets::read(reader, &mut root);
    let policy = policy::read(reader, &mut root, &targets.names);
    let notice = notice::read(reader, &mut root);
    let log = section(reader, &mut root, "log", notice::log);
    root.finish(reader);

    let (firstpromoter, api_key) = firstpromoter?;
    let (notice, addresses) = notice?;
    let secrets = std::iter::once(api_key).chain(targets.secrets).chain(addresses).collect();
    let settings = Settings {
        firstpromoter,
        schedule: schedule?,
        ledger: ledger?,
        policy: policy?,
        targets: targets.settings?,
        notice,
        log: log?,
    };
    Some((settings, secrets))
}

fn firstpromoter(reader: &mut Reader, section: &mut Section) -> Option<(FirstPromoterSettings, Slot)> {
    let account_id = section
        .require(reader, "account_id", "it stands beside the API key in FirstPromoter's settings")
        .and_then(|entry| entry.text_or_number().checked(reader, account_id));
    let base_url = section.take(reader, "base_url").and_then(|entry| entry.checked(reader, address::parse_base));
    let requests_per_minute = section.take(reader, "requests_per_minute");
    let requests_per_minute = requests_per_minute.and_then(|entry| entry.integer(reader, 1..=1_000_000));
    let timeout = section.take(reader, "timeout").and_then(|entry| entry.timeout(reader));
    let api_key = Slot::read(reader, section, SecretKind::ApiKey, "api_key", "api_key_file");
    let settings = FirstPromoterSettings {
        account_id: account_id?,
        base_url: base_url?,
        requests_per_minute: u32::try_from(requests_per_minute?).ok()?,
        timeout: timeout?,
    };
    Some((settings, api_key?))
}

/// The id goes into a header, a key and a quoted string, so it must not need quoting.
fn account_id(text: &str) -> Result<String, Complaint> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    if text.is_empty() || text.len() > LONGEST_ID || !text.bytes().all(fits) {
        return Err(Complaint::new(
            "an account id is printable ASCII without spaces and quotes",
            "copy it from FirstPromoter's settings",
        ));
    }
    Ok(text.to_owned())
}

fn read_schedule(reader: &mut Reader, section: &mut Section, now: Timestamp) -> Option<Schedule> {
    let poll = section.take(reader, "poll");
    let poll =
        poll.and_then(|entry| entry.checked(reader, |poll| schedule::check(poll, now).map(|()| poll.to_owned())));
    let on_start = section.take(reader, "on_start").and_then(|entry| entry.boolean(reader));
    Some(Schedule { poll: poll?, on_start: on_start? })
}

fn ledger(reader: &mut Reader, section: &mut Section) -> Option<LedgerSettings> {
    let path = section.take(reader, "path").and_then(|entry| {
        entry.checked(reader, |text| match text {
            // SQLite would take these for a database in memory, or for a URI.
            _ if text.starts_with(':') || text.starts_with("file:") => {
                Err(Complaint::new("the ledger is a file on disk", "write its path"))
            }
            _ => path::parse(text),
        })
    });
    let keep_empty_passes = section.take(reader, "keep_empty_passes").and_then(|entry| entry.duration(reader));
    Some(LedgerSettings { path: path?, keep_empty_passes: keep_empty_passes? })
}
