//! The service: triggers in, passes out, one at a time, until a signal says stop.
//!
//! Guarantees: a pass that fails does not end the service; the same failure again and again is one error in the log, a
//! count, and one line when it is over ([`failures`]).

mod failures;
pub mod triggers;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span};

use crate::{
    clock::Clock,
    config::Settings,
    delivery::Deliver,
    firstpromoter::Api,
    ledger::{Ledger, acquire_pass_lock},
    notice::Notice,
    reconcile::{Order, Pass, Report, Trigger, in_full},
};
use failures::Failures;
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
    /// Those who are told how it goes.
    pub notice: Notice,
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
            self.notice.before_pass();
            let result = self.pass(trigger, &stop).instrument(span).await;
            let (now, error) =
                (self.clock.now(), result.as_ref().map_or_else(|error| Some(error.as_str()), |it| it.error.as_deref()));
            failures.note(&result, stop.is_cancelled(), now);
            self.notice.after_pass(&self.ledger, error, now, &stop).await;
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
