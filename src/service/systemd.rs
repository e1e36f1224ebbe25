//! Messages to systemd. Without `$NOTIFY_SOCKET` there are none.
//!
//! Assumptions: a message that systemd does not get is no reason to stop. The failure is logged at debug.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

use crate::foreign::{line, redact};

/// Configuration and ledger are good, and the service listens for triggers.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&line(&redact(status)))]);
}

/// One line about the state of the service.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(&line(&redact(status)))]);
}

/// SIGHUP has arrived; [`ready`] follows. systemd 253 and later also want the time.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!("systemd is not told of the reload: {error}"),
    }
}

/// No new delivery starts.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: what is in flight ends first")]);
}

/// The main loop makes progress.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear [`alive`], if at all: half of `WatchdogSec=`.
pub(super) fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("systemd could not be told: {error}");
    }
}
