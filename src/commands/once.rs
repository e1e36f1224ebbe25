//! `makegood once`: makes one pass now and prints its report.

use std::{
    cell::RefCell,
    fmt::Write,
    io::{IsTerminal, stderr},
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Outside, exit_for, ink::Ink, open_to_write, print, print_json, text};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    domain::CommissionId,
    ledger::{Ledger, Writer, acquire_pass_lock},
    notice::Metrics,
    reconcile::{Order, Pass, Progress, Report, Trigger},
    service::{late::is_late, triggers},
};

pub(super) async fn once(cli: &Cli, only: &[CommissionId], max_deliveries: Option<u64>) -> Result<Exit, Failure> {
    let Outside { settings, api, targets, .. } = Outside::open(cli)?;
    let clock = SystemClock;
    let path = &settings.ledger.path;
    let ledger = open_to_write(&settings)?;
    let _pass_lock = acquire_pass_lock(path, "once", &clock).await?;
    let stop = CancellationToken::new();
    triggers::stop_on_signals(&stop)?;
    let bar = Bar::new(!cli.quiet && !cli.json);
    let pass = Pass {
        api: &api,
        targets: &targets,
        ledger: &ledger,
        writer: &Writer::thread(&ledger, || SystemClock.now()),
        clock: &clock,
        settings: &settings,
        stop: &stop,
        progress: &|progress| bar.show(progress),
    };
    let order = Order { trigger: Trigger::Command, only: only.to_vec(), max_deliveries };
    let report = pass.run(&order).await;
    bar.clear();
    let late = is_late(&ledger, &settings, SystemClock.now());
    Metrics::new(&settings.firstpromoter.account_id).write(settings.notice.textfile.as_deref(), &ledger, late);
    let mut report = report?;
    if cli.json {
        report.look_up_all(&ledger)?;
        print_json(&report)?;
    } else {
        print(&in_words(&report, &ledger)?)?;
    }
    Ok(match &report.error {
        Some(failure) => failure.kind.into(),
        None => exit_for(report.needs_attention > 0),
    })
}

fn in_words(report: &Report, ledger: &Ledger) -> Result<String, Failure> {
    let ink = Ink::for_stdout();
    let mut out = format!("Pass {} on account {}\n", report.pass_id, ledger.account_id()?);
    if !report.rewards.is_empty() {
        out.push('\n');
    }
    for line in &report.rewards {
        out.push_str(&text::report_line(ink, line));
    }
    out.push_str(&text::groups(ink, &report.groups));
    out.push('\n');
    if let Some(error) = &report.error {
        out.push_str(&text::wrapped(&format!("The pass did not complete: {error}"), 0));
    }
    let counts = report.counts;
    let totals = format!(
        "Listed {}, missing {}: delivered {}, fulfilled {}, held {}, failed {}.",
        counts.listed, counts.missing, counts.delivered, counts.fulfilled, counts.held, counts.failed
    );
    out.push_str(&text::wrapped(&totals, 0));
    let _infallible =
        writeln!(out, "{} Requests to FirstPromoter: {}.", text::needs(report.needs_attention), counts.api_requests);
    let _infallible = writeln!(out, "Ledger: {}", ledger.path().display());
    Ok(out)
}

/// A progress bar for a long pass, on a terminal only.
pub(super) struct Bar(Option<RefCell<ProgressBar>>);

impl Bar {
    pub(super) fn new(wanted: bool) -> Self {
        let bar = (wanted && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::no_length();
            bar.set_style(ProgressStyle::default_spinner());
            RefCell::new(bar)
        });
        Self(bar)
    }

    pub(super) fn show(&self, progress: Progress) {
        let Some(bar) = &self.0 else { return };
        let bar = bar.borrow();
        match progress {
            Progress::Listed(rows) => bar.set_message(format!("listing: {rows} rows")),
            Progress::Delivering(done, of) => {
                if bar.length() != Some(of) {
                    bar.set_length(of);
                    bar.set_style(ProgressStyle::default_bar());
                }
                bar.set_position(done);
            }
            Progress::Marking(count) => bar.set_message(format!("marking {count} as fulfilled")),
        }
        bar.tick();
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.borrow().finish_and_clear();
        }
    }
}
