//! A gate at which a test stops the world: at the n-th request, before or after its effect. The test can then kill the
//! process that sent it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// The two moments of a request at which a test can stop the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It has arrived, and has had no effect yet.
    BeforeEffect,
    /// It has taken effect, and its answer is not sent yet.
    AfterEffect,
}

#[derive(Default)]
struct Inner {
    /// Requests since the last [`Gate::stop_at`], by moment: before, after.
    passed: [u64; 2],
    stop_at: Option<(u64, Moment)>,
    stopped: bool,
    /// Grows with every event, so that a waiter misses none.
    events: u64,
}

/// One gate for both parties; a clone is the same gate.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<(Mutex<Inner>, Condvar)>,
    stopped: watch::Sender<bool>,
}

impl Gate {
    /// An open gate.
    pub fn new() -> Self {
        Self { inner: Arc::default(), stopped: watch::Sender::new(false) }
    }

    /// Stops the world at the `nth` request from now, counted from 1 over both parties. That request and all later ones
    /// wait there.
    pub fn stop_at(&self, nth: u64, moment: Moment) {
        let mut inner = self.lock();
        inner.passed = [0, 0];
        inner.stop_at = Some((nth, moment));
    }

    /// Lets the world go on. The requests that wait are cut off, because their sender counts as dead. One that was stopped
    /// before its effect never has it.
    pub fn open(&self) {
        let mut inner = self.lock();
        inner.stop_at = None;
        inner.stopped = false;
        drop(inner);
        self.stopped.send_replace(false);
    }

    /// Waits until the world is stopped. False when `patience` ends first.
    pub fn wait_until_stopped(&self, patience: Duration) -> bool {
        self.wait_until(patience, || self.lock().stopped)
    }

    /// Waits until requests have made `happened` true; asks after each request. False when `patience` ends first.
    pub fn wait_until(&self, patience: Duration, mut happened: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let events = self.lock().events;
            if happened() {
                return true;
            }
            let mut inner = self.lock();
            while inner.events == events {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                inner = self.inner.1.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Lets a request pass, or makes it wait. False: cut the request off.
    pub(super) async fn pass(&self, moment: Moment) -> bool {
        let mut stopped = self.stopped.subscribe();
        let must_wait = {
            let mut inner = self.lock();
            let side = usize::from(moment == Moment::AfterEffect);
            inner.passed[side] += 1;
            if inner.stop_at == Some((inner.passed[side], moment)) {
                inner.stopped = true;
                self.stopped.send_replace(true);
            }
            inner.events += 1;
            self.inner.1.notify_all();
            inner.stopped
        };
        if must_wait {
            stopped.wait_for(|stopped| !stopped).await.ok();
        }
        !must_wait
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
