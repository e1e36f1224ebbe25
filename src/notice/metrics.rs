//! Metrics for `node_exporter`'s textfile collector: one file in Prometheus' text format, after each pass.
//!
//! Guarantees: a reader finds the whole new file or the whole old one (a draft with an unguessable name is renamed), and anyone
//! may read it. Every series has the account as a label, so that the files of several accounts can be side by side. Series of a
//! known unit or reason exist from the first time on, at 0. Counters count since the ledger began.
//!
//! Assumptions: the folder exists, and the collector reads names that end in `.prom` only.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    path::Path,
};

use super::channel::Quiet;
use crate::{
    domain::Unit,
    ledger::{
        Counted, Drift, FailureKind, Health, HoldReason, Ledger, LedgerError, Standing, WaitTimes, replace_file,
        sweep_drafts,
    },
    reconcile::in_full,
};

/// The collector's user must be able to read it.
const FILE_MODE: u32 = 0o644;
/// Passes of versions that kept no kind.
const KIND_UNKNOWN: &str = "unknown";
const OUTCOMES: [&str; 4] = ["delivered", "not_delivered", "unknown", "refused"];

/// The writer of the metrics.
#[derive(Debug)]
pub struct Metrics {
    account_id: String,
    quiet: Quiet,
}

impl Metrics {
    /// Of this account.
    pub fn new(account_id: &str) -> Self {
        Self { account_id: account_id.to_owned(), quiet: Quiet::default() }
    }

    /// Writes the metrics, and whether passes are `late`, to `textfile` (`metrics.textfile`; none: writes nothing). A failure
    /// is logged once and is no error for the caller.
    pub fn write(&self, textfile: Option<&Path>, ledger: &Ledger, late: bool) {
        let Some(path) = textfile else { return };
        sweep_drafts(path);
        let written = self
            .text(ledger, late)
            .map_err(|error| in_full(&error))
            .and_then(|text| replace_file(path, text.as_bytes(), FILE_MODE, false).map_err(|error| error.to_string()));
        match written {
            Ok(()) => self.quiet.worked("metrics.textfile can be written again"),
            Err(error) => self.quiet.failed(&format!("metrics.textfile {} cannot be written", path.display()), &error),
        }
    }

    fn text(&self, ledger: &Ledger, late: bool) -> Result<String, LedgerError> {
        let mut text = Text { account_id: escaped(&self.account_id), out: String::new() };
        text.standing(&ledger.standing()?);
        text.late(late);
        text.targets(&ledger.health()?);
        text.counted(&ledger.counted()?);
        Ok(text.out)
    }
}

/// The text so far.
struct Text {
    account_id: String,
    out: String,
}

impl Text {
    fn standing(&mut self, standing: &Standing) {
        self.head("makegood_build_info", "gauge", "The version that wrote this file.");
        self.series("makegood_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);

        self.head("makegood_owed_rewards", "gauge", "Rewards that are owed and not delivered yet, held ones aside.");
        for unit in Unit::NON_MONETARY.iter().map(Unit::as_str).filter(|unit| !standing.owed.contains_key(*unit)) {
            self.series("makegood_owed_rewards", &[("unit", unit)], 0);
        }
        for (unit, count) in &standing.owed {
            self.series("makegood_owed_rewards", &[("unit", unit)], count);
        }

        self.head("makegood_attention_rewards", "gauge", "Rewards that need a person, by reason.");
        let reasons = HoldReason::ALL.iter().map(|reason| reason.as_str()).chain(["not_marked"]);
        let reasons = reasons.chain(Drift::ALL.iter().map(|drift| drift.as_str()));
        for reason in reasons.filter(|reason| !standing.attention.contains_key(*reason)) {
            self.series("makegood_attention_rewards", &[("reason", reason)], 0);
        }
        for (reason, count) in &standing.attention {
            self.series("makegood_attention_rewards", &[("reason", reason)], count);
        }

        let name = "makegood_last_completed_pass_timestamp_seconds";
        self.head(name, "gauge", "When the last pass over everything completed, in Unix time; 0 before the first.");
        self.series(name, &[], standing.completed.map_or(0, |at| at.timestamp()));
    }

    fn late(&mut self, late: bool) {
        let name = "makegood_passes_late";
        self.head(name, "gauge", "1 where three scheduled passes came and went since one last completed.");
        self.series(name, &[], u8::from(late));
    }

    /// Only targets in trouble: the ledger does not know the names of others.
    fn targets(&mut self, targets: &BTreeMap<String, Health>) {
        type Value = fn(&Health) -> u32;
        let series: [(&str, &str, Value); 3] = [
            ("makegood_target_failures", "Failed attempts in a row at a target in trouble.", |it| it.failures),
            ("makegood_target_refusals", "Refusals in a row at a target in trouble.", |it| it.refusals),
            ("makegood_target_paused", "1 where a target's deliveries wait.", |it| u32::from(it.retry_at.is_some())),
        ];
        for (name, help, value) in series {
            self.head(name, "gauge", help);
            for (target, health) in targets {
                self.series(name, &[("target", target)], value(health));
            }
        }
    }

    fn counted(&mut self, counted: &Counted) {
        self.head("makegood_deliveries_total", "counter", "Attempts to deliver, by unit and outcome.");
        for unit in Unit::NON_MONETARY.iter().map(Unit::as_str) {
            for outcome in OUTCOMES {
                if !counted.deliveries.contains_key(&(unit.to_owned(), outcome.to_owned())) {
                    self.series("makegood_deliveries_total", &[("unit", unit), ("outcome", outcome)], 0);
                }
            }
        }
        for ((unit, outcome), count) in &counted.deliveries {
            self.series("makegood_deliveries_total", &[("unit", unit), ("outcome", outcome)], count);
        }

        self.head("makegood_passes_total", "counter", "Passes, by result.");
        self.series("makegood_passes_total", &[("result", "completed")], counted.passes_completed);
        self.series("makegood_passes_total", &[("result", "failed")], counted.passes_failed.values().sum::<u64>());

        self.head("makegood_failed_passes_total", "counter", "Passes that did not complete, by kind of failure.");
        for kind in FailureKind::ALL.iter().map(|kind| kind.as_str()).chain([KIND_UNKNOWN]) {
            let count = counted.passes_failed.get(kind).copied().unwrap_or_default();
            self.series("makegood_failed_passes_total", &[("kind", kind)], count);
        }

        self.head("makegood_api_requests_total", "counter", "HTTP requests to FirstPromoter, retries included.");
        self.series("makegood_api_requests_total", &[], counted.api_requests);
        self.waits(&counted.waits);
    }

    fn waits(&mut self, waits: &WaitTimes) {
        let name = "makegood_reward_wait_seconds";
        self.head(name, "histogram", "How long rewards that makegood delivered had waited since their approval.");
        let mut so_far = 0;
        for (bound, count) in WaitTimes::BOUNDS_S.iter().zip(waits.buckets) {
            so_far += count;
            self.series("makegood_reward_wait_seconds_bucket", &[("le", &bound.to_string())], so_far);
        }
        let all: u64 = waits.buckets.iter().sum();
        self.series("makegood_reward_wait_seconds_bucket", &[("le", "+Inf")], all);
        self.series("makegood_reward_wait_seconds_sum", &[], waits.sum_s);
        self.series("makegood_reward_wait_seconds_count", &[], all);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _infallible = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn series(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _infallible = write!(self.out, "{name}{{account=\"{}\"", self.account_id);
        for (label, text) in labels {
            let _infallible = write!(self.out, ",{label}=\"{}\"", escaped(text));
        }
        let _infallible = writeln!(self.out, "}} {value}");
    }
}

/// A label's value, escaped as the text format requires.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
