//! Times, in the forms that Ruby on Rails and JavaScript commonly write.
//!
//! FirstPromoter documents `date-time` (RFC 3339). Another way to write a time must not make a reward look as if it had no
//! time: `policy.deliver_from` holds rewards without one.
//!
//! Guarantees: an ambiguous time (`01/02/2025`, an abbreviated zone other than UTC) is none; it is never guessed. So are years
//! that RFC 3339 cannot write, and numbers that are no time of this century.
//!
//! Assumptions: a time without a zone is UTC, as Rails' `to_s(:db)` is; a date stands for its beginning, in UTC.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime};
use serde_json::value::RawValue;

use super::string;
use crate::domain::Timestamp;

/// Formats with an offset, tried after `UTC`, `GMT` and `Z` became `+0000`. `%.f` is a fraction or nothing, a blank is any
/// number of blanks.
const WITH_OFFSET: [&str; 6] = [
    // Rails: Time#to_s, DateTime#to_s; ISO 8601 without the colon
    "%Y-%m-%d %H:%M:%S%.f %z",
    "%Y-%m-%dT%H:%M:%S%.f %z",
    "%Y-%m-%dT%H:%M %z",
    // Rails: to_fs(:rfc822), httpdate; JavaScript: toUTCString
    "%a, %d %b %Y %H:%M:%S %z",
    // JavaScript: toString
    "%a %b %d %Y %H:%M:%S %z",
    // Ruby before 1.9.2
    "%a %b %d %H:%M:%S %z %Y",
];

/// Formats without an offset.
const WITHOUT: [&str; 4] = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];

/// Seconds since 1970 are below this until the year 5138; milliseconds have been above it since 1973.
const SECONDS_BELOW: f64 = 1e11;

/// 2001-09-09, in seconds. FirstPromoter is younger, and a smaller number is something else (`20250118`).
const SECONDS_FROM: f64 = 1e9;

/// Longer texts are not parsed. JavaScript's `toString` has the name of its zone at the end.
const LENGTH_MAX: usize = 100;

/// Reads a time; none where the value cannot be read as one.
pub(super) fn timestamp(raw: Option<&RawValue>) -> Option<Timestamp> {
    let raw = raw?;
    let text = string(Some(raw));
    let text = text.as_deref().unwrap_or(raw.get()).trim();
    if text.len() > LENGTH_MAX || !text.is_ascii() {
        return None;
    }
    let at = epoch(text).or_else(|| zoned(text)).or_else(|| local(text))?;
    (1970..=9999).contains(&at.year()).then_some(at)
}

fn zoned(text: &str) -> Option<Timestamp> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    // JavaScript names the zone in parentheses after its offset: `GMT+0100 (Central European Standard Time)`.
    let text = text.split_once(" (").map_or(text, |(text, _)| text);
    let text = text.replace("GMT+", "+").replace("GMT-", "-");
    let zero =
        ["UTC", "GMT", "Z"].into_iter().find_map(|zone| text.strip_suffix(zone).map(|text| format!("{text}+0000")));
    let text = zero.or_else(|| text.contains(" UTC ").then(|| text.replace(" UTC ", " +0000 "))).unwrap_or(text);
    WITH_OFFSET.iter().find_map(|form| DateTime::parse_from_str(&text, form).ok()).map(|at| at.to_utc())
}

fn local(text: &str) -> Option<Timestamp> {
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN));
    let at = WITHOUT.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).or_else(date)?;
    Some(at.and_utc())
}

/// Seconds (Ruby's `to_i`, `to_f`) or milliseconds (JavaScript's `getTime`), as a number or a text of one.
fn epoch(text: &str) -> Option<Timestamp> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    let ms = match number {
        seconds if (SECONDS_FROM..SECONDS_BELOW).contains(&seconds) => seconds * 1000.0,
        ms if (SECONDS_FROM * 1000.0..SECONDS_BELOW * 1000.0).contains(&ms) => ms,
        _ => return None,
    };
    #[allow(clippy::cast_possible_truncation, reason = "below 1e14, and a fraction of a millisecond is nothing to us")]
    DateTime::from_timestamp_millis(ms.round() as i64)
}
