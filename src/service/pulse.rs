//! Tells a stuck pass from a long one.
//!
//! A pass may take hours, but every step of it is bounded (a request by its timeout and its retries, a delivery by the target's
//! timeout, a wait by its own length). So a pass is stuck when no step begins or ends for longer than the longest step may
//! take. Then systemd's watchdog is not fed.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

use crate::{
    clock::Clock,
    config::Settings,
    delivery::{Deliver, Delivery},
    domain::{Commission, CommissionId, Timestamp},
    failure::Outcome,
    firstpromoter::{Api, ApiError, Batch, CommissionQuery, RewardRule},
};

/// Retries of one request, waits for the pace, and the pass lock: none of them waits longer than this at once.
const WAITS_MAX: Duration = Duration::from_mins(5);
/// How often one request to FirstPromoter is sent at most.
const TRIES_MAX: u32 = 4;

/// When a step last began or ended.
#[derive(Debug)]
pub(super) struct Pulse {
    last: Cell<Instant>,
    longest_step: Duration,
}

impl Pulse {
    pub(super) fn new(settings: &Settings) -> Self {
        let slowest_target = settings.targets.values().map(|target| target.timeout).max().unwrap_or_default();
        let request = settings.firstpromoter.timeout * TRIES_MAX;
        Self { last: Cell::new(Instant::now()), longest_step: request.max(slowest_target) + WAITS_MAX }
    }

    pub(super) fn beat(&self) {
        self.last.set(Instant::now());
    }

    pub(super) fn is_felt(&self) -> bool {
        self.last.get().elapsed() <= self.longest_step
    }
}

/// FirstPromoter, the targets or the clock. Records the beginning and end of each call.
#[derive(Debug)]
pub(super) struct Felt<'a, T> {
    pub(super) inner: &'a T,
    pub(super) pulse: &'a Pulse,
}

impl<T> Felt<'_, T> {
    async fn feel<R>(&self, step: impl Future<Output = R>) -> R {
        self.pulse.beat();
        let result = step.await;
        self.pulse.beat();
        result
    }
}

impl<A: Api> Api for Felt<'_, A> {
    async fn commissions(&self, query: &CommissionQuery) -> Result<Vec<Commission>, ApiError> {
        self.feel(self.inner.commissions(query)).await
    }

    async fn wait_for_room(&self, requests: u32) -> bool {
        self.feel(self.inner.wait_for_room(requests)).await
    }

    async fn mark_fulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        self.feel(self.inner.mark_fulfilled(ids)).await
    }

    async fn mark_unfulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        self.feel(self.inner.mark_unfulfilled(ids)).await
    }

    async fn batch(&self, id: i64) -> Result<Batch, ApiError> {
        self.feel(self.inner.batch(id)).await
    }

    async fn rewards(&self) -> Result<Vec<RewardRule>, ApiError> {
        self.feel(self.inner.rewards()).await
    }

    fn requests(&self) -> u64 {
        self.inner.requests()
    }
}

impl<D: Deliver> Deliver for Felt<'_, D> {
    async fn deliver(&self, target: &str, delivery: &Delivery) -> Outcome {
        self.feel(self.inner.deliver(target, delivery)).await
    }
}

impl<C: Clock> Clock for Felt<'_, C> {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.feel(self.inner.sleep(duration)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn settings() -> Settings {
        let env = [
            ("MAKEGOOD_FIRSTPROMOTER__ACCOUNT_ID", "1"),
            ("MAKEGOOD_TARGETS__APP__TYPE", "http"),
            ("MAKEGOOD_TARGETS__APP__URL", "https://app.example.com/"),
            ("MAKEGOOD_TARGETS__APP__TIMEOUT", "1h"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let file = tempfile::NamedTempFile::new().unwrap();
        config::load(file.path(), &env).unwrap().settings
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_as_long_as_its_timeout_is_no_reason_to_bark_and_a_longer_silence_is() {
        let pulse = Pulse::new(&settings());
        pulse.beat();
        tokio::time::advance(Duration::from_hours(1)).await;
        assert!(pulse.is_felt());
        tokio::time::advance(WAITS_MAX + Duration::from_secs(1)).await;
        assert!(!pulse.is_felt());
        pulse.beat();
        assert!(pulse.is_felt());
    }
}
