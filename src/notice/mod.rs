//! Tells people outside when something needs them: heartbeats, alerts, and metrics.
//!
//! The service calls [`Notice::before_pass`] and [`Notice::after_pass`], nothing else. `once` writes the metrics
//! ([`Metrics::write`]) and sends neither pings nor alerts, because a person is looking. Each call gets the addresses
//! ([`Wires`]), so a reload needs nothing more.
//!
//! Reading order: `alert` decides what is news, and is pure. `message` puts it into words. `channel` sends it. [`Metrics`]
//! counts and writes.
//!
//! Guarantees:
//! - Nothing here fails a pass. Each of three calls takes at most its timeout (at most a minute), or three seconds after a
//!   signal to stop. What cannot be sent or written is one warning, then debug, and one line when it works again.
//! - The ledger keeps what was alerted: a restart repeats no alert and forgets no all-clear. An alert that could not be sent is
//!   sent after the next pass, as far as it still holds.
//! - No address is ever shown, and no post holds a name or an email of a promoter or referral.
//!
//! Assumptions: secrets are registered ([`crate::foreign`]).

mod alert;
mod channel;
mod message;
mod metrics;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::BTreeSet, path::PathBuf, time::Duration};

use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use alert::{Findings, Told};
use channel::{Body, Channel, Quiet};
pub use metrics::Metrics;

use crate::{
    config::{AlertSettings, NoticeSecrets, NoticeSettings},
    domain::Timestamp,
    foreign::{chat, cut, redact},
    ledger::{FailureKind, Ledger, PassFailure},
    reconcile::{Report, in_full},
};

/// How long a call may still take after a signal to stop.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How much of an error a ping has: enough to know what is wrong.
const ERROR_MAX_CHARS: usize = 1_000;

/// Why nothing can be sent.
#[derive(Debug, Error)]
pub enum NoticeError {
    /// No HTTP client could be made.
    #[error("nothing can be sent to {key}: check that this machine has CA certificates (package ca-certificates)")]
    Client {
        /// The key of the address.
        key: &'static str,
        /// What the HTTP library said.
        #[source]
        source: reqwest::Error,
    },
    /// The text is no address. [`crate::config::load_secrets`] lets only addresses through.
    #[error("{key} is no address: write it whole, as \"https://host.example.com/path\"")]
    Address {
        /// The key of the address.
        key: &'static str,
    },
}

/// The addresses. Making them sends nothing.
#[derive(Debug)]
pub struct Wires {
    heartbeat: Option<Channel>,
    alert: Option<(Channel, AlertSettings)>,
    textfile: Option<PathBuf>,
}

impl Wires {
    /// Fails only where this machine cannot do HTTPS.
    pub fn new(settings: &NoticeSettings, addresses: &NoticeSecrets) -> Result<Self, NoticeError> {
        let heartbeat = addresses.heartbeat_url.as_ref();
        let heartbeat = heartbeat.map(|url| Channel::new("heartbeat.url", url, settings.heartbeat_timeout));
        let alert = addresses.alert_url.as_ref();
        let alert = alert.map(|url| Channel::new("alert.url", url, settings.alert.timeout));
        Ok(Self {
            heartbeat: heartbeat.transpose()?,
            alert: alert.transpose()?.map(|channel| (channel, settings.alert.clone())),
            textfile: settings.textfile.clone(),
        })
    }
}

/// What people were told, and the metrics.
#[derive(Debug)]
pub struct Notice {
    account_id: String,
    state: RefCell<State>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// The ping before the pass. It may still be under way.
    starting: Option<JoinHandle<()>>,
    told: Told,
    /// Whether `told` holds what the ledger holds.
    loaded: bool,
    /// Whether the ledger does not hold what `told` holds.
    unsaved: bool,
    /// Since when passes fail without being able to write that to the ledger.
    failing_since: Option<Timestamp>,
    keeping: Quiet,
}

impl Notice {
    /// Of this account.
    pub fn new(account_id: &str) -> Self {
        Self { account_id: account_id.to_owned(), state: RefCell::default(), metrics: Metrics::new(account_id) }
    }

    /// Before a pass: pings, without delaying the pass.
    pub fn before_pass(&self, wires: &Wires) {
        if let Some(heartbeat) = wires.heartbeat.clone() {
            let starting = tokio::spawn(async move {
                let _said_by_the_channel = heartbeat.send("start", Body::None).await;
            });
            self.state.borrow_mut().starting = Some(starting);
        }
    }

    /// After a pass that ended at `now`, with passes `late` or not: writes the metrics, pings, and alerts. Returns when that is
    /// done, or soon after `stop` is cancelled.
    pub async fn after_pass(
        &self,
        wires: &Wires,
        ledger: &Ledger,
        result: &Result<Report, PassFailure>,
        (now, late): (Timestamp, bool),
        stop: &CancellationToken,
    ) {
        let failure = match result {
            Ok(report) => report.error.as_ref(),
            Err(failure) => Some(failure),
        };
        self.metrics.write(wires.textfile.as_deref(), ledger, late);
        if failure.is_some_and(|it| it.kind == FailureKind::Stopped) {
            // Neither good nor bad news: the next service continues from here.
            return;
        }
        let enough = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(self.ping(wires, failure), self.alert(wires, ledger, failure, (now, late))) } => {}
            () = enough => {}
        }
    }

    async fn ping(&self, wires: &Wires, failure: Option<&PassFailure>) {
        let Some(heartbeat) = &wires.heartbeat else { return };
        // In this order. Suppose the ping of the end overtook the ping of the start: the monitor would take the pass for one
        // that never ends.
        let starting = self.state.borrow_mut().starting.take();
        if let Some(starting) = starting {
            let _said_by_the_channel = starting.await;
        }
        match failure {
            None => heartbeat.send("", Body::None).await,
            Some(failure) => {
                heartbeat.send("fail", Body::Text(cut(&chat(&redact(&failure.text)), ERROR_MAX_CHARS))).await
            }
        };
    }

    async fn alert(
        &self,
        wires: &Wires,
        ledger: &Ledger,
        failure: Option<&PassFailure>,
        (now, late): (Timestamp, bool),
    ) {
        let Some((channel, settings)) = &wires.alert else { return };
        self.load(ledger);
        let findings = self.find(ledger, failure, settings, (now, late));
        let news = self.state.borrow().told.news(&findings);
        if news.is_empty() {
            self.state.borrow_mut().keep(ledger, news.told, now);
            return;
        }
        let body = message::compose(&self.account_id, &news, now);
        if channel.send("", Body::Json(body)).await {
            self.state.borrow_mut().keep(ledger, news.told, now);
        }
    }

    /// Loads what was told before this process started.
    fn load(&self, ledger: &Ledger) {
        let mut state = self.state.borrow_mut();
        if state.loaded {
            return;
        }
        match ledger.alerts() {
            Ok(subjects) => {
                state.told.extend(subjects);
                state.loaded = true;
            }
            Err(error) => {
                state.keeping.failed("the alerts already sent cannot be read from the ledger", &in_full(&error));
            }
        }
    }

    fn find(
        &self,
        ledger: &Ledger,
        failure: Option<&PassFailure>,
        settings: &AlertSettings,
        (now, late): (Timestamp, bool),
    ) -> Findings {
        let mut state = self.state.borrow_mut();
        let failing = match failure {
            None => {
                state.failing_since = None;
                None
            }
            Some(failure) => {
                let since = state.failing_since(ledger, now);
                Some(alert::Failing { since, failure: failure.clone(), late })
            }
        };
        // A ledger that cannot be read is already alerted as the failure of passes.
        let (attention, caught) = (ledger.attention().ok(), ledger.caught(settings.caught_within, now).ok());
        Findings::judge(attention, failing.as_ref(), caught, settings, now).with_targets(ledger.health().ok())
    }
}

impl State {
    /// Since when passes fail: as the ledger knows, or as remembered where the ledger could not be written.
    fn failing_since(&mut self, ledger: &Ledger, now: Timestamp) -> Timestamp {
        let streak = ledger.streak().unwrap_or_default();
        let unless_completed = |since: &Timestamp| streak.completed.is_none_or(|completed| completed < *since);
        let here = self.failing_since.filter(unless_completed).unwrap_or(now);
        self.failing_since = Some(here);
        streak.failing_since.map_or(here, |since| since.min(here))
    }

    /// Saves what people have been told.
    fn keep(&mut self, ledger: &Ledger, told: BTreeSet<String>, now: Timestamp) {
        self.unsaved |= self.told.replace(told);
        if !self.unsaved || !self.loaded {
            return;
        }
        match ledger.remember_alerts(self.told.subjects(), now) {
            Ok(()) => {
                self.unsaved = false;
                self.keeping.worked("the alerts already sent are kept in the ledger again");
            }
            Err(error) => self.keeping.failed("the alerts already sent cannot be kept in the ledger", &in_full(&error)),
        }
    }
}
