//! Where a test stops the world: at the n-th request, before or after it has taken effect, to kill whoever asked.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// The two instants of a request at which the world can be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It has arrived; nothing has happened yet.
    BeforeEffect,
    /// It has taken effect; its answer has not left.
    AfterEffect,
}

#[derive(Default)]
struct Inner {
    /// Requests since the last [`Gate::stop_at`], by moment: before, after.
    passed: [u64; 2],
    stop_at: Option<(u64, Moment)>,
    stopped: bool,
    /// Grows with everything that happens, so that a waiter misses nothing.
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

    /// The world will stop at the `nth` request from now, counted from 1 over both parties: it and all that arrive
    /// later wait there.
    pub fn stop_at(&self, nth: u64, moment: Moment) {
        let mut inner = self.lock();
        inner.passed = [0, 0];
        inner.stop_at = Some((nth, moment));
    }

    /// The world goes on. What was stopped is cut off, its effect undone by never happening if it was stopped before:
    /// whoever asked is taken for dead.
    pub fn open(&self) {
        let mut inner = self.lock();
        inner.stop_at = None;
        inner.stopped = false;
        drop(inner);
        self.stopped.send_replace(false);
    }

    /// Waits until the world stands still; false when `patience` is over first.
    pub fn wait_until_stopped(&self, patience: Duration) -> bool {
        self.wait_until(patience, || self.lock().stopped)
    }

    /// Waits for something that requests bring about, looking after each; false when `patience` is over first.
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

    /// Passes through, or waits; false: the request is to be cut off.
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
