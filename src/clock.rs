//! The only place that asks what time it is.
//!
//! All decisions get their time from a [`Clock`], so that a test can set it and the simulator can run years in a second.

use std::time::Duration;

use crate::domain::Timestamp;

/// What time it is, and how to let some pass.
pub trait Clock {
    /// Now, in UTC, to the millisecond (what the ledger keeps).
    fn now(&self) -> Timestamp;

    /// Returns after `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where time comes from")]
    fn now(&self) -> Timestamp {
        use chrono::SubsecRound;
        chrono::Utc::now().trunc_subsecs(3)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// How long ago, in the largest unit that fits; `just now` also where a clock was set back since.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = (now - at).num_seconds();
    match seconds {
        ..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
