//! The service's own log: quiet about a failure that persists, loud about its end.
//!
//! Guarantees: while passes keep failing, each kind of failure ([`FailureKind`]) is one error, however often it comes and
//! whatever its text is. Every other pass that fails is one info line with its number in the row. After an hour, six hours, a
//! day, and then daily, that line is a warning. The first pass that completes is one line. No line about a pass that failed
//! reads like one about a pass that completed. A blown fuse (the circuit breaker for deliveries) is one warning, however long
//! it stays blown.

use std::{collections::BTreeSet, time::Duration};

use tracing::{debug, error, info, warn};

use crate::{
    domain::Timestamp,
    ledger::{FailureKind, PassFailure},
    reconcile::Report,
};

/// When the number of failures is logged as a warning; after that, every day.
const REMINDERS: [Duration; 3] = [Duration::from_hours(1), Duration::from_hours(6), Duration::from_hours(24)];
const DAY: Duration = Duration::from_hours(24);

/// Logs passes that did not complete.
#[derive(Debug, Default)]
pub(super) struct Failures {
    since: Option<Timestamp>,
    count: u64,
    /// The kinds in this row of failures.
    kinds: BTreeSet<FailureKind>,
    /// The time of the next warning, from `since`.
    reminder: Duration,
    fuse_blown: bool,
}

impl Failures {
    /// Logs the result of a pass that ended at `now`, and returns it as a line for systemd.
    pub(super) fn note(&mut self, result: &Result<Report, PassFailure>, now: Timestamp) -> String {
        if let Ok(report) = result {
            self.note_fuse(report);
        }
        let (pass, failure, done) = match result {
            Ok(report @ Report { error: None, .. }) => {
                info!("{}", summary(report));
                self.over();
                return summary(report);
            }
            Ok(report @ Report { error: Some(failure), .. }) => {
                (format!("pass {}", report.pass_id), failure, done(report))
            }
            Err(failure) => ("the pass".to_owned(), failure, String::new()),
        };
        if failure.kind == FailureKind::Stopped {
            info!("{pass} did not complete: {failure}{done}");
            return format!("{pass} did not complete: {failure}");
        }
        let since = *self.since.get_or_insert(now);
        self.count += 1;
        let line = format!("{pass} did not complete{}: {failure}{done}", in_a_row(self.count, since, now));
        self.failed(failure.kind, &line, (now - since).to_std().unwrap_or_default());
        line
    }

    fn over(&mut self) {
        if self.count > 0 {
            info!(failures = self.count, "passes complete again, after {} that did not", self.count);
            *self = Self { fuse_blown: self.fuse_blown, ..Self::default() };
        }
    }

    fn failed(&mut self, kind: FailureKind, line: &str, lasted: Duration) {
        let is_new = self.kinds.insert(kind);
        let is_reminder = self.is_reminder(lasted);
        if is_new {
            error!(failures = self.count, "{line}");
        } else if is_reminder {
            warn!(failures = self.count, "no pass has completed for {} h; {line}", lasted.as_secs() / 3600);
        } else {
            info!(failures = self.count, "{line}");
        }
    }

    /// Whether the row has lasted so long that it needs a warning.
    fn is_reminder(&mut self, lasted: Duration) -> bool {
        if self.reminder.is_zero() {
            self.reminder = REMINDERS[0];
        }
        let is_time = lasted >= self.reminder;
        while self.reminder <= lasted {
            self.reminder = REMINDERS.into_iter().find(|next| *next > self.reminder).unwrap_or(self.reminder + DAY);
        }
        is_time
    }

    fn note_fuse(&mut self, report: &Report) {
        match report.fuse_wanted {
            Some(wanted) if !self.fuse_blown => {
                warn!("the fuse blew: {wanted} deliveries were wanted, none was made; look at `makegood plan`");
                self.fuse_blown = true;
            }
            Some(wanted) => debug!("the fuse is still blown: {wanted} deliveries are wanted"),
            // A pass that did not complete may have ended before it knew.
            None if report.error.is_none() => self.fuse_blown = false,
            None => {}
        }
    }
}

/// The number of the failure in the row, with the day where that is not today; empty for the first.
fn in_a_row(count: u64, since: Timestamp, now: Timestamp) -> String {
    if count < 2 {
        return String::new();
    }
    let ending = match (count % 10, count % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    let format = if since.date_naive() == now.date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    format!(" ({count}{ending} in a row, since {} UTC)", since.format(format))
}

/// What a pass did before it failed; empty where it did nothing.
fn done(report: &Report) -> String {
    let counts = report.counts;
    let done = [
        (counts.delivered, "delivered"),
        (counts.fulfilled, "fulfilled"),
        (counts.held, "held"),
        (counts.failed, "failed attempts"),
    ];
    let done: Vec<String> =
        done.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if done.is_empty() { String::new() } else { format!("; before that: {}", done.join(", ")) }
}

fn summary(report: &Report) -> String {
    let counts = report.counts;
    format!(
        "pass {}: listed {}, missing {}, delivered {}, fulfilled {}, held {}, failed {}; {} in attention; {} requests",
        report.pass_id,
        counts.listed,
        counts.missing,
        counts.delivered,
        counts.fulfilled,
        counts.held,
        counts.failed,
        report.needs_attention,
        counts.api_requests
    )
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use chrono::TimeDelta;
    use tracing_subscriber::fmt;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines above debug: their level and their text.
    fn heard(speak: impl FnOnce(&mut Failures)) -> Vec<String> {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = fmt().with_writer(move || writer.clone()).with_ansi(false).without_time().with_target(false);
        tracing::subscriber::with_default(subscriber.finish(), || speak(&mut Failures::default()));
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn unavailable(text: String) -> PassFailure {
        PassFailure { kind: FailureKind::Unavailable, text }
    }

    fn errors(lines: &[String]) -> usize {
        lines.iter().filter(|line| line.starts_with("ERROR")).count()
    }

    /// So many passes, five minutes apart.
    fn pass(failures: &mut Failures, passes: std::ops::Range<i64>, failure: impl Fn(i64) -> PassFailure) {
        let start: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        for number in passes {
            failures.note(&Err(failure(number)), start + TimeDelta::minutes(5 * number));
        }
    }

    #[test]
    fn a_failure_that_repeats_for_a_day_is_one_error_a_few_warnings_and_one_line_at_its_end() {
        let lines = heard(|failures| {
            pass(failures, 0..289, |n| {
                unavailable(format!("GET /commissions page {n}: no answer from 127.0.0.1:{}, {n} requests", 40_000 + n))
            });
            failures.over();
            failures.over();
        });
        assert_eq!(lines.len(), 290, "{lines:#?}");
        let (quiet, loud): (Vec<&String>, Vec<&String>) =
            lines.iter().partition(|line| line.starts_with("INFO the pass did not complete ("));
        assert!(
            quiet[0].starts_with("INFO the pass did not complete (2nd in a row, since 12:00 UTC): GET "),
            "{quiet:#?}"
        );
        assert_eq!(loud.len(), 5, "{loud:#?}");
        assert!(loud[0].starts_with("ERROR the pass did not complete: GET /commissions page 0"), "{loud:#?}");
        for (line, hours, nth) in [(loud[1], 1, "13th"), (loud[2], 6, "73rd"), (loud[3], 24, "289th")] {
            assert!(
                line.starts_with(&format!("WARN no pass has completed for {hours} h; the pass did not")),
                "{loud:#?}"
            );
            assert!(line.contains(&format!("({nth} in a row, since ")), "{loud:#?}");
        }
        assert!(loud[4].starts_with("INFO passes complete again, after 289 that did not"), "{loud:#?}");
    }

    #[test]
    fn failures_of_one_kind_are_one_error_whatever_their_texts_say() {
        let texts = ["no answer from 10.0.0.7:41022", "it could not answer (503): Ray ID: 8f3a2b", "not sent"];
        let text = |n: i64| texts[usize::try_from(n).unwrap() % texts.len()].to_owned();
        let lines = heard(|failures| pass(failures, 0..9, |n| unavailable(text(n))));
        assert_eq!((errors(&lines), lines.len()), (1, 9), "{lines:#?}");
        assert!(lines[8].starts_with("INFO the pass did not complete (9th in a row, "), "{lines:#?}");
    }

    #[test]
    fn failures_of_two_kinds_are_two_errors_though_their_texts_differ_in_a_number_only() {
        let failure = |n: i64| {
            let (kind, status) =
                [(FailureKind::RejectedKey, 403), (FailureKind::Refused, 404)][usize::from(n % 2 == 0)];
            PassFailure { kind, text: format!("refused with {status}") }
        };
        let lines = heard(|failures| pass(failures, 0..10, failure));
        assert_eq!((errors(&lines), lines.len()), (2, 10), "{lines:#?}");
    }

    #[test]
    fn the_day_is_told_where_it_is_another() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let since = at("2026-01-01T14:20:31Z");
        assert_eq!(in_a_row(1, since, since), "");
        assert_eq!(in_a_row(6, since, at("2026-01-01T14:45:00Z")), " (6th in a row, since 14:20 UTC)");
        assert_eq!(in_a_row(122, since, at("2026-01-02T00:30:00Z")), " (122nd in a row, since 2026-01-01 14:20 UTC)");
        for (count, word) in [(11, "11th"), (12, "12th"), (21, "21st"), (113, "113th"), (103, "103rd")] {
            assert!(in_a_row(count, since, since).starts_with(&format!(" ({word} in a row")), "{count}");
        }
    }

    #[test]
    fn the_same_failure_after_a_recovery_is_an_error_again() {
        let lines = heard(|failures| {
            pass(failures, 0..2, |_| unavailable("down".to_owned()));
            failures.over();
            pass(failures, 5..7, |_| unavailable("down".to_owned()));
        });
        assert_eq!(errors(&lines), 2, "{lines:#?}");
    }

    #[test]
    fn a_pass_that_a_signal_stopped_is_no_failure() {
        let lines = heard(|failures| {
            let stopped = PassFailure { kind: FailureKind::Stopped, text: "as told".to_owned() };
            failures.note(&Err(stopped), Timestamp::UNIX_EPOCH);
            failures.over();
        });
        assert_eq!(lines, ["INFO the pass did not complete: as told"]);
    }
}
