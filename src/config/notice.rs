//! Reads `[heartbeat]`, `[alert]`, `[metrics]` and `[log]`: how people notice the service, and what it logs.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    path,
    read::{Entry, Reader, Section, section},
    secrets::{SecretKind, Slot},
    types::{AlertSettings, LogFormat, LogLevel, LogSettings, NoticeSettings},
};

/// Passes wait for these calls, so a longer timeout would delay them.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The values that a share may have.
const SHARE: RangeInclusive<f64> = f64::MIN_POSITIVE..=1.0;

/// Reads the settings of notices, and the secrets among them.
pub(super) fn read(reader: &mut Reader, root: &mut Section) -> Option<(NoticeSettings, Vec<Slot>)> {
    let heartbeat = section(reader, root, "heartbeat", |reader, section| {
        let url = Slot::read(reader, section, SecretKind::HeartbeatUrl, "url", "url_file");
        let timeout = short_timeout(reader, section);
        Some((url?, timeout?))
    });
    let alert = section(reader, root, "alert", alert);
    let textfile = section(reader, root, "metrics", |reader, section| {
        section.take(reader, "textfile").map_or(Some(None), |entry| entry.checked(reader, path::parse).map(Some))
    });
    let ((heartbeat_url, heartbeat_timeout), (alert_url, alert)) = (heartbeat?, alert?);
    Some((NoticeSettings { heartbeat_timeout, alert, textfile: textfile? }, vec![heartbeat_url, alert_url]))
}

/// `[log]`
pub(super) fn log(reader: &mut Reader, section: &mut Section) -> Option<LogSettings> {
    let formats = [
        ("auto", LogFormat::Auto),
        ("human", LogFormat::Human),
        ("journald", LogFormat::Journald),
        ("json", LogFormat::Json),
    ];
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let format = section.take(reader, "format").and_then(|entry| entry.word(reader, &formats));
    let level = section.take(reader, "level").and_then(|entry| entry.word(reader, &levels));
    Some(LogSettings { format: format?, level: level? })
}

fn alert(reader: &mut Reader, section: &mut Section) -> Option<(Slot, AlertSettings)> {
    let url = Slot::read(reader, section, SecretKind::AlertUrl, "url", "url_file");
    let timeout = short_timeout(reader, section);
    let failing_for = section.take(reader, "failing_for").and_then(|entry| entry.duration(reader));
    let caught_share = section.take(reader, "caught_share").and_then(|entry| share(reader, entry));
    let caught_min = section.take(reader, "caught_min").and_then(|entry| entry.integer(reader, 1..=1_000_000));
    let caught_within = section.take(reader, "caught_within").and_then(|entry| entry.timeout(reader));
    let settings = AlertSettings {
        timeout: timeout?,
        failing_for: failing_for?,
        caught_share: caught_share?,
        caught_min: u64::try_from(caught_min?).ok()?,
        caught_within: caught_within?,
    };
    Some((url?, settings))
}

fn short_timeout(reader: &mut Reader, section: &mut Section) -> Option<Duration> {
    let entry = section.take(reader, "timeout")?;
    let problem = entry.problem("the next pass waits for this", "write at most \"1m\"");
    let timeout = entry.timeout(reader)?;
    if timeout > LONGEST_TIMEOUT {
        reader.add(problem);
        return None;
    }
    Some(timeout)
}

fn share(reader: &mut Reader, entry: Entry) -> Option<f64> {
    let problem = entry.problem("this must be above 0 and at most 1", "0.5 is one half");
    let share = entry.number(reader)?;
    if SHARE.contains(&share) {
        return Some(share);
    }
    reader.add(problem);
    None
}
