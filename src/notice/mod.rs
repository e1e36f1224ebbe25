//! Being noticed when it matters, and only then: heartbeats, alerts, and metrics.
//!
//! The service calls [`Notice::before_pass`] and [`Notice::after_pass`]; that is all. `once` writes the metrics
//! ([`Metrics::write`]), and neither pings nor alerts: a person is looking. Where it all goes ([`Wires`]) comes with each
//! call, so that a reload needs nothing more.
//!
//! In reading order: `alert` decides what is news, and is pure; `message` puts it into words; `channel` sends;
//! [`Metrics`] counts and writes.
//!
//! Guarantees:
//! - Nothing here is an error of the pass, and nothing takes longer than its timeout (at most a minute) for each of three
//!   calls, or three seconds once a signal says stop. What could not be sent or written is one warning, then debug, and
//!   one line when it works again.
//! - What was alerted is kept in the ledger: a restart repeats no alert and forgets no all-clear. An alert that could not
//!   be sent is sent after the next pass, as far as it still holds.
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

/// How long what is being sent may still take once a signal says stop.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Of an error, in a ping: enough to know what is wrong.
const ERROR_MAX_CHARS: usize = 1_000;

/// Why nothing can be sent.
#[derive(Debug, Error)]
pub enum NoticeError {
    /// No HTTP client.
    #[error("nothing can be sent to {key}: check that this machine has CA certificates (package ca-certificates)")]
    Client {
        /// The key of the address.
        key: &'static str,
        /// What the HTTP library said.
        #[source]
        source: reqwest::Error,
    },
    /// What [`crate::config::load_secrets`] lets through is an address.
    #[error("{key} is no address: write it whole, as \"https://host.example.com/path\"")]
    Address {
        /// The key of the address.
        key: &'static str,
    },
}

/// Where it goes. Nothing is sent by making one.
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

/// What was told, and what is counted.
#[derive(Debug)]
pub struct Notice {
    account_id: String,
    state: RefCell<State>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// The ping before the pass, which may still be under way.
    starting: Option<JoinHandle<()>>,
    told: Told,
    /// `told` holds what the ledger holds.
    loaded: bool,
    /// The ledger does not hold what `told` holds.
    unsaved: bool,
    /// Since when passes fail that could not even write so.
    failing_since: Option<Timestamp>,
    keeping: Quiet,
}

impl Notice {
    /// Of this account.
    pub fn new(account_id: &str) -> Self {
        Self { account_id: account_id.to_owned(), state: RefCell::default(), metrics: Metrics::new(account_id) }
    }

    /// A pass begins: pings, beside the pass.
    pub fn before_pass(&self, wires: &Wires) {
        if let Some(heartbeat) = wires.heartbeat.clone() {
            let starting = tokio::spawn(async move {
                let _said_by_the_channel = heartbeat.send("start", Body::None).await;
            });
            self.state.borrow_mut().starting = Some(starting);
        }
    }

    /// A pass ended at `now`, and passes are `late` or not: writes, pings and alerts what there is. Returns when that is done, or soon after `stop` is
    /// cancelled.
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
            // Neither good nor bad news: the next service goes on from here.
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
        // In this order, or the monitor would take the pass for one that goes on for ever.
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

    /// What was told before this process began.
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
            Err(error) => state.keeping.failed("what was alerted cannot be read from the ledger", &in_full(&error)),
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
        // A ledger that cannot be read is told as the failure of passes.
        let (attention, caught) = (ledger.attention().ok(), ledger.caught(settings.caught_within, now).ok());
        Findings::judge(attention, failing.as_ref(), caught, settings, now).with_targets(ledger.health().ok())
    }
}

impl State {
    /// Since when passes fail: what the ledger knows, or what it could not be told.
    fn failing_since(&mut self, ledger: &Ledger, now: Timestamp) -> Timestamp {
        let streak = ledger.streak().unwrap_or_default();
        let unless_completed = |since: &Timestamp| streak.completed.is_none_or(|completed| completed < *since);
        let here = self.failing_since.filter(unless_completed).unwrap_or(now);
        self.failing_since = Some(here);
        streak.failing_since.map_or(here, |since| since.min(here))
    }

    /// Remembers what is told now.
    fn keep(&mut self, ledger: &Ledger, told: BTreeSet<String>, now: Timestamp) {
        self.unsaved |= self.told.replace(told);
        if !self.unsaved || !self.loaded {
            return;
        }
        match ledger.remember_alerts(self.told.subjects(), now) {
            Ok(()) => {
                self.unsaved = false;
                self.keeping.worked("what was alerted is kept in the ledger again");
            }
            Err(error) => self.keeping.failed("what was alerted cannot be kept in the ledger", &in_full(&error)),
        }
    }
}
