//! Cron expressions, read as tokio-cron-scheduler 0.15 reads them (`JobLocked::new_async`): seconds first and required, an
//! optional year, and day of month *and* day of week where both are given. In UTC.
//!
//! The scheduler accepts an expression that never comes (31 February) and then silently drops the job, so we refuse it here.

use croner::{
    Cron,
    parser::{CronParser, Seconds},
};

use super::error::Complaint;
use crate::domain::Timestamp;

/// What to write.
const REMEDY: &str = r#"write six fields, seconds first (second minute hour day month weekday), in UTC: "0 */5 * * * *" is every five minutes"#;

fn parse(poll: &str) -> Option<Cron> {
    CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build().parse(poll).ok()
}

/// Whether the scheduler accepts it and rings after `now`. The error says what is wrong and what to do.
pub(super) fn check(poll: &str, now: Timestamp) -> Result<(), Complaint> {
    let Some(cron) = parse(poll) else {
        let what = match poll.split_whitespace().count() {
            5 => "these are five fields, without seconds",
            _ => "this is no cron expression",
        };
        return Err(Complaint::new(what, REMEDY));
    };
    match cron.find_next_occurrence(&now, false) {
        Ok(_) => Ok(()),
        Err(_) => Err(Complaint::new(
            "this time never comes (a day that its month does not have, or a year that is over)",
            "correct it",
        )),
    }
}

/// The next `n` times after `after` at which `poll` rings. Fewer where there are no more; none where `poll` is an expression
/// that [`load`](super::load) refuses.
pub fn next_times(poll: &str, after: Timestamp, n: usize) -> Vec<Timestamp> {
    parse(poll).map(|cron| cron.iter_after(after).take(n).collect()).unwrap_or_default()
}
