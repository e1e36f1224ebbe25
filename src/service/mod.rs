//! The service: triggers start passes, one at a time, until a signal says stop.
//!
//! Guarantees: a pass that fails does not end the service. A failure that repeats is one error in the log, and one line when it
//! is over (`failures`).

mod failures;
pub mod late;
mod pulse;
mod systemd;
pub mod triggers;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, error_span, field::Empty, info, warn};

use crate::{
    clock::{Clock, SystemClock},
    config::Settings,
    delivery::Deliver,
    firstpromoter::Api,
    ledger::{FailureKind, Ledger, PassFailure, Writer, acquire_pass_lock},
    notice::{Notice, Wires},
    reconcile::{Order, Pass, Report, Trigger, in_full},
    telemetry,
};
use failures::Failures;
use late::is_late;
use pulse::{Felt, Pulse};
use triggers::{Triggers, Wake};

/// systemd makes a unit's credentials when it starts it, and no reload can change them.
const SECRETS: &str = "secrets in files were read again, systemd credentials are those of the start (new ones: `systemctl restart makegood`)";

/// Everything that a configuration leads to. A reload makes it anew.
#[derive(Debug)]
pub struct Parts<A, D> {
    /// The configuration.
    pub settings: Settings,
    /// FirstPromoter.
    pub api: A,
    /// The targets.
    pub targets: D,
    /// The addresses for heartbeats and alerts.
    pub wires: Wires,
}

/// Everything that the service works with.
pub struct Service<A, D, C> {
    /// As configured now.
    pub parts: Parts<A, D>,
    /// Reads the configuration again. The error says what is wrong with it.
    pub reload: Box<dyn Fn() -> Result<Parts<A, D>, String>>,
    /// The ledger.
    pub ledger: Ledger,
    /// The time.
    pub clock: C,
}

impl<A: Api, D: Deliver, C: Clock> Service<A, D, C> {
    /// Runs until SIGTERM or SIGINT; then lets what is in flight end first.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        triggers::stop_on_signals(&stop)?;
        let settings = &self.parts.settings;
        let mut triggers =
            Triggers::start(&settings.schedule.poll).await.context("the schedule could not be started")?;
        info!(
            "makegood {} runs for account {}; ledger {}; polls at {:?} (UTC)",
            env!("CARGO_PKG_VERSION"),
            settings.firstpromoter.account_id,
            self.ledger.path().display(),
            settings.schedule.poll
        );
        if settings.schedule.on_start {
            triggers.ring(Trigger::Start);
        }
        systemd::ready("waiting for the first pass");
        let mut failures = Failures::default();
        let notice = Notice::new(&self.parts.settings.firstpromoter.account_id);
        loop {
            let idle = Pulse::new(&self.parts.settings);
            let wake = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                wake = watched(triggers.next(&self.clock), || { idle.beat(); true }) => wake,
            };
            match wake {
                Wake::Reload => self.reload(&mut triggers).await,
                Wake::Pass(trigger) => {
                    notice.before_pass(&self.parts.wires);
                    // At error level, so that an error names its pass at any log level. The pass fills in its id.
                    let span = error_span!("pass", pass.id = Empty, trigger = trigger.as_str());
                    let pulse = Pulse::new(&self.parts.settings);
                    let pass = self.pass(trigger, &stop, &pulse).instrument(span.clone());
                    let result = watched(pass, || pulse.is_felt()).await;
                    let for_good = result.as_ref().is_err_and(|failure| failure.kind == FailureKind::Unwritten);
                    let now = self.clock.now();
                    systemd::status(&span.in_scope(|| failures.note(&result, now)));
                    let late = is_late(&self.ledger, &self.parts.settings, now);
                    let told = notice.after_pass(&self.parts.wires, &self.ledger, &result, (now, late), &stop);
                    watched(told, || true).await;
                    if for_good {
                        systemd::stopping();
                        // The next process finds the attempt as after a crash, and looks at everything anew.
                        anyhow::bail!("stopped: the ledger could not be told what became of an attempt; see above");
                    }
                }
            }
        }
        systemd::stopping();
        info!("stopped");
        Ok(())
    }

    async fn pass(&self, trigger: Trigger, stop: &CancellationToken, pulse: &Pulse) -> Result<Report, PassFailure> {
        let clock = Felt { inner: &self.clock, pulse };
        let lock = tokio::select! {
            biased;
            () = stop.cancelled() => {
                let text = "stopped by a signal before the pass began".to_owned();
                return Err(PassFailure { kind: FailureKind::Stopped, text });
            }
            lock = acquire_pass_lock(self.ledger.path(), "run", &clock) => lock,
        };
        let _pass_lock = lock.map_err(|error| PassFailure { kind: error.kind(), text: in_full(&error) })?;
        let pass = Pass {
            api: &Felt { inner: &self.parts.api, pulse },
            targets: &Felt { inner: &self.parts.targets, pulse },
            ledger: &self.ledger,
            writer: &Writer::thread(&self.ledger, || SystemClock.now()),
            clock: &clock,
            settings: &self.parts.settings,
            stop,
            progress: &|_| {},
        };
        let order = Order::poll(trigger);
        let mut run = std::pin::pin!(pass.run(&order));
        let report = tokio::select! {
            report = &mut run => report,
            () = stop.cancelled() => {
                systemd::stopping();
                run.await
            }
        };
        report.map_err(|error| PassFailure { kind: error.kind(), text: in_full(&error) })
    }

    /// Takes over the settings that can change. Where one is wrong or cannot change, everything stays as it was.
    async fn reload(&mut self, triggers: &mut Triggers) {
        systemd::reloading();
        let outcome = match (self.reload)() {
            Err(problem) => Err(problem),
            Ok(new) => self.take_over(new, triggers).await,
        };
        let status = match outcome {
            Ok(changes) => {
                let what = if changes.is_empty() { "no setting differs".to_owned() } else { changes.join("; ") };
                let what = format!("{what}; {SECRETS}");
                info!("reloaded: {what}");
                format!("reloaded: {what}")
            }
            Err(problem) => {
                error!("the configuration is not reloaded, the old one stays in force: {problem}");
                "the configuration is not reloaded, the old one stays in force; see the log".to_owned()
            }
        };
        systemd::ready(&status);
    }

    async fn take_over(&mut self, new: Parts<A, D>, triggers: &mut Triggers) -> Result<Vec<String>, String> {
        let old = &self.parts.settings;
        if new.settings.firstpromoter.account_id != old.firstpromoter.account_id {
            return Err("another firstpromoter.account_id needs a restart: `systemctl restart makegood`".to_owned());
        }
        if new.settings.ledger.path != old.ledger.path {
            return Err("another ledger.path needs a restart: `systemctl restart makegood`".to_owned());
        }
        triggers.reschedule(&new.settings.schedule.poll).await.map_err(|error| format!("{error:#}"))?;
        let changes = old.changes(&new.settings);
        if let Some(log) = telemetry::handle() {
            log.set_level(new.settings.log.level);
        }
        if new.settings.log.format != old.log.format {
            warn!("another log.format holds from the next start on: `systemctl restart makegood`");
        }
        self.parts = new;
        Ok(changes)
    }
}

impl<A, D, C> std::fmt::Debug for Service<A, D, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("settings", &self.parts.settings).finish_non_exhaustive()
    }
}

/// Runs something and feeds systemd's watchdog meanwhile, as long as `well` says so. Both are on one thread: where that is
/// stuck, the watchdog is not fed.
async fn watched<T>(work: impl Future<Output = T>, well: impl Fn() -> bool) -> T {
    let Some(period) = systemd::watchdog_period() else { return work.await };
    tokio::pin!(work);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => {
                if well() {
                    systemd::alive();
                }
            }
        }
    }
}
