//! The only place that asks what time it is.
//!
//! Everything that decides gets its time from a [`Clock`], so that a test can set it and the simulator can run years
//! in a second.

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
