//! The service: triggers in, passes out, one at a time, until a signal says stop.
//!
//! Guarantees: a pass that fails does not end the service; the same failure again and again is one error in the log, a
//! count, and one line when it is over.

pub mod triggers;

use std::collections::BTreeSet;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::{
    clock::Clock,
    config::Settings,
    delivery::Deliver,
    firstpromoter::Api,
    ledger::{Ledger, acquire_pass_lock},
    reconcile::{Order, Pass, Report, Trigger, in_full},
};
use triggers::Triggers;

/// Everything that the service works with.
#[derive(Debug)]
pub struct Service<A, D, C> {
    /// The configuration.
    pub settings: Settings,
    /// FirstPromoter.
    pub api: A,
    /// The targets.
    pub targets: D,
    /// The ledger.
    pub ledger: Ledger,
    /// The time.
    pub clock: C,
}

impl<A: Api, D: Deliver, C: Clock> Service<A, D, C> {
    /// Runs until SIGTERM or SIGINT; what is in flight then ends first.
    pub async fn run(&self) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        triggers::stop_on_signals(&stop)?;
        let triggers =
            Triggers::start(&self.settings.schedule.poll).await.context("the schedule could not be started")?;
        info!(
            "makegood {} runs for account {}; ledger {}; polls at {:?} (UTC)",
            env!("CARGO_PKG_VERSION"),
            self.settings.firstpromoter.account_id,
            self.ledger.path().display(),
            self.settings.schedule.poll
        );
        if self.settings.schedule.on_start {
            triggers.ring(Trigger::Start);
        }
        let mut failures = Failures::default();
        loop {
            let trigger = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                trigger = triggers.next(&self.clock) => trigger,
            };
            let span = info_span!("pass", trigger = trigger.as_str());
            failures.note(&self.pass(trigger, &stop).instrument(span).await, stop.is_cancelled());
        }
        info!("stopped");
        Ok(())
    }

    async fn pass(&self, trigger: Trigger, stop: &CancellationToken) -> Result<Report, String> {
        let lock = tokio::select! {
            biased;
            () = stop.cancelled() => return Err("stopped by a signal before the pass began".to_owned()),
            lock = acquire_pass_lock(self.ledger.path(), "run", &self.clock) => lock,
        };
        let _pass_lock = lock.map_err(|error| in_full(&error))?;
        let pass = Pass {
            api: &self.api,
            targets: &self.targets,
            ledger: &self.ledger,
            clock: &self.clock,
            settings: &self.settings,
            stop,
            progress: &|_| {},
        };
        pass.run(&Order::poll(trigger)).await.map_err(|error| in_full(&error))
    }
}

/// Keeps a persistent failure quiet, and its end loud.
#[derive(Debug, Default)]
struct Failures {
    /// What has been told since passes completed last: two failures that take turns are no news either.
    told: BTreeSet<String>,
    count: u64,
}

/// Failures of so many kinds are remembered; what comes after that many is told each time.
const TOLD_MAX: usize = 100;

impl Failures {
    fn note(&mut self, result: &Result<Report, String>, stopping: bool) {
        let failure = match result {
            Ok(report) => {
                log_summary(report);
                report.error.clone()
            }
            Err(error) => Some(error.clone()),
        };
        match failure {
            None if self.count > 0 => {
                info!("passes complete again, after {} that did not", self.count);
                *self = Self::default();
            }
            None => {}
            Some(error) if stopping => info!("{error}"),
            Some(error) => {
                self.count += 1;
                if self.told.contains(&error) {
                    debug!("the pass did not complete, {} times by now: {error}", self.count);
                } else {
                    error!("the pass did not complete: {error}");
                    if self.told.len() < TOLD_MAX {
                        self.told.insert(error);
                    }
                }
            }
        }
    }
}

fn log_summary(report: &Report) {
    let counts = report.counts;
    info!(
        pass.id = report.pass_id,
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
    );
    if let Some(wanted) = report.fuse_wanted {
        warn!("the fuse blew: {wanted} deliveries were wanted, none was made; look at `makegood plan`");
    }
}
