//! Whether passes complete as often as the schedule says. Pure, except that it reads the ledger.
//!
//! A pass that never ran and a pass that failed count the same: only the last one that completed matters. So an outage that
//! makes every pass fail is as late as a service that does not run.

use crate::{
    config::{Settings, next_times},
    domain::Timestamp,
    ledger::{Ledger, LedgerError},
};

/// Passes are late when this many scheduled polls went by without one that completed. One fewer is a hiccup.
pub(crate) const MISSED: usize = 3;

/// How far behind the schedule passes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lateness {
    /// When the last pass over everything completed; none before the first.
    pub completed: Option<Timestamp>,
    /// The start of the count: the last pass that completed, or the creation of the ledger.
    pub since: Timestamp,
    /// Three scheduled polls have gone by since then.
    pub late: bool,
}

/// Judges by `schedule.poll`.
pub fn lateness(ledger: &Ledger, settings: &Settings, now: Timestamp) -> Result<Lateness, LedgerError> {
    let completed = ledger.streak()?.completed;
    let since = match completed {
        Some(at) => at,
        None => ledger.bound_at()?.unwrap_or(now),
    };
    Ok(Lateness { completed, since, late: missed_three(&settings.schedule.poll, since, now) })
}

/// Whether passes are late; false where the ledger cannot be read, which is an error of its own.
pub fn is_late(ledger: &Ledger, settings: &Settings, now: Timestamp) -> bool {
    lateness(ledger, settings, now).is_ok_and(|it| it.late)
}

fn missed_three(poll: &str, since: Timestamp, now: Timestamp) -> bool {
    next_times(poll, since, MISSED).get(MISSED - 1).is_some_and(|third| *third <= now)
}

impl Lateness {
    /// For a person, where it is late: what is wrong, and what to do.
    pub fn in_words(&self, ago: &str) -> (String, &'static str) {
        let since = self.since.format("%Y-%m-%dT%H:%M:%SZ");
        let what = match self.completed {
            Some(_) => format!("no pass has completed since {since} ({ago}), and {MISSED} scheduled ones should have"),
            None => format!(
                "no pass has completed since the ledger was made at {since} ({ago}), and {MISSED} scheduled ones should have"
            ),
        };
        let remedy = "look whether the service runs, and why its passes fail: systemctl status makegood, journalctl -u makegood. Where \
             something other than `makegood run` makes the passes, let schedule.poll say how often";
        (what, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_scheduled_poll_without_a_pass_that_completes_is_late() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let since = at("2026-01-01T12:00:03Z");
        let late = |poll, now| missed_three(poll, since, at(now));
        assert!(!late("0 */5 * * * *", "2026-01-01T12:14:59Z"), "two were missed");
        assert!(late("0 */5 * * * *", "2026-01-01T12:15:00Z"));
        assert!(late("0 */5 * * * *", "2026-01-04T12:00:00Z"));
        assert!(!late("0 */5 * * * *", "2025-01-01T12:00:00Z"), "a clock set back makes nothing late");
        assert!(!late("0 0 3 * * *", "2026-01-03T03:00:00Z") && late("0 0 3 * * *", "2026-01-04T03:00:00Z"), "daily");
        assert!(!late("0 0 0 1 1 * 2027", "2030-01-01T00:00:00Z"), "a schedule that ends has no third time");
    }
}
