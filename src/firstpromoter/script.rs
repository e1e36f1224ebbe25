//! For tests: an [`Api`] in memory whose fields switch a server's faults on, and a clock that does not wait.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Api, ApiError, Batch, BatchStatus, CommissionQuery, RewardRule};
use crate::{
    clock::Clock,
    domain::{Commission, CommissionId, Timestamp},
};

/// A clock whose sleeps end at once. Only sleeping moves its time.
#[derive(Debug, Clone)]
pub(crate) struct QuickClock(Arc<Mutex<(Timestamp, Vec<Duration>)>>);

impl QuickClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(("2026-01-01T12:00:00Z".parse().unwrap(), Vec::new()))))
    }

    pub(crate) fn sleeps_ms(&self) -> Vec<u128> {
        self.0.lock().unwrap().1.iter().map(Duration::as_millis).collect()
    }
}

impl Clock for QuickClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    async fn sleep(&self, duration: Duration) {
        let (now, sleeps) = &mut *self.0.lock().unwrap();
        *now += duration;
        sleeps.push(duration);
    }
}

/// An approved commission of 500 points.
pub(crate) fn approved(id: i64) -> Commission {
    let json = format!(r#"[{{"id":{id},"status":"approved","unit":"points","amount":500}}]"#);
    super::wire::commissions(&json).unwrap().remove(0)
}

pub(crate) fn ids(range: impl IntoIterator<Item = i64>) -> Vec<CommissionId> {
    range.into_iter().map(CommissionId).collect()
}

pub(crate) fn rejected(status: u16) -> ApiError {
    ApiError::Rejected { what: "POST".to_owned(), status, detail: "Invalid ids (invalid)".to_owned() }
}

pub(crate) fn broken() -> ApiError {
    ApiError::Transient { what: "GET".to_owned(), detail: "no answer".to_owned() }
}

/// What one value of `filters[fulfilled]` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    Honoured,
    Ignored,
    /// Answers as the other value should.
    Inverted,
    /// Answers with nothing.
    Nothing,
}

/// A FirstPromoter whose commissions are all unfulfilled except a few.
pub(crate) struct Upstream {
    pub(crate) rows: Vec<Commission>,
    pub(crate) fulfilled: Vec<CommissionId>,
    /// `filters[fulfilled]=yes`
    pub(crate) yes: Filter,
    /// `filters[fulfilled]=no`
    pub(crate) no: Filter,
    /// No page is longer than this, whatever is asked for.
    pub(crate) cap: usize,
    pub(crate) ignores_page: bool,
    pub(crate) ignores_ids: bool,
    /// Every page brings other rows, without end.
    pub(crate) endless: bool,
    /// The page that fails.
    pub(crate) broken_page: u32,
    /// After this many requests all fail.
    pub(crate) broken_after: u64,
    /// How long each page takes, on this clock.
    pub(crate) takes_seconds: Cell<u64>,
    pub(crate) clock: RefCell<Option<QuickClock>>,
    /// At most this many requests may leave within a minute.
    pub(crate) per_minute: u32,
    /// Ids that make FirstPromoter refuse every call that contains them.
    pub(crate) poison: Vec<CommissionId>,
    /// Answers to marking, in order; after that, "completed".
    pub(crate) marks: RefCell<VecDeque<Result<Batch, ApiError>>>,
    /// Answers about batches, in order; after that, "running".
    pub(crate) batches: RefCell<VecDeque<Result<Batch, ApiError>>>,
    /// How many ids each marking call had.
    pub(crate) marked: RefCell<Vec<usize>>,
    /// How many of these calls took the mark back, and with how many ids.
    pub(crate) unmarked: RefCell<Vec<usize>>,
    pub(crate) calls: Cell<u64>,
}

impl Upstream {
    pub(crate) fn of(count: i64) -> Self {
        Self {
            rows: (1..=count).map(approved).collect(),
            fulfilled: Vec::new(),
            yes: Filter::Honoured,
            no: Filter::Honoured,
            cap: 100,
            ignores_page: false,
            ignores_ids: false,
            endless: false,
            broken_page: 0,
            broken_after: u64::MAX,
            takes_seconds: Cell::new(0),
            clock: RefCell::default(),
            per_minute: 300,
            poison: Vec::new(),
            marks: RefCell::default(),
            batches: RefCell::default(),
            marked: RefCell::default(),
            unmarked: RefCell::default(),
            calls: Cell::new(0),
        }
    }
}

pub(crate) fn batch(status: BatchStatus) -> Batch {
    Batch { id: Some(8), status, failed_count: 0, errors: String::new() }
}

impl Api for Upstream {
    async fn commissions(&self, query: &CommissionQuery) -> Result<Vec<Commission>, ApiError> {
        self.calls.set(self.calls.get() + 1);
        assert_eq!(query.per_page, 100, "the documented maximum is asked for");
        assert!(query.ids.len() <= 105, "a page of ids, and the canaries");
        let clock = self.clock.borrow().clone();
        if let Some(clock) = clock {
            clock.sleep(Duration::from_secs(self.takes_seconds.get())).await;
        }
        if query.page == self.broken_page || self.calls.get() > self.broken_after {
            return Err(broken());
        }
        if self.endless {
            return Ok(vec![approved(i64::from(query.page))]);
        }
        let asked = |row: &&Commission| self.ignores_ids || query.ids.is_empty() || query.ids.contains(&row.id);
        let page = if self.ignores_page { 1 } else { query.page as usize };
        let falls_under = |row: &&Commission| {
            query.fulfilled.is_none_or(|wanted| {
                let fits = self.fulfilled.contains(&row.id) == wanted;
                match if wanted { self.yes } else { self.no } {
                    Filter::Honoured => fits,
                    Filter::Ignored => true,
                    Filter::Inverted => !fits,
                    Filter::Nothing => false,
                }
            })
        };
        let rows = self.rows.iter().filter(falls_under).filter(asked);
        Ok(rows.skip((page - 1) * self.cap).take(self.cap).cloned().collect())
    }

    async fn mark_fulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        self.calls.set(self.calls.get() + 1);
        self.marked.borrow_mut().push(ids.len());
        if ids.iter().any(|id| self.poison.contains(id)) {
            return Err(rejected(422));
        }
        self.marks.borrow_mut().pop_front().unwrap_or(Ok(batch(BatchStatus::Completed)))
    }

    async fn mark_unfulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        self.unmarked.borrow_mut().push(ids.len());
        self.mark_fulfilled(ids).await
    }

    async fn batch(&self, id: i64) -> Result<Batch, ApiError> {
        self.calls.set(self.calls.get() + 1);
        assert_eq!(id, 8);
        self.batches.borrow_mut().pop_front().unwrap_or(Ok(batch(BatchStatus::Running)))
    }

    async fn rewards(&self) -> Result<Vec<RewardRule>, ApiError> {
        Ok(Vec::new())
    }

    async fn wait_for_room(&self, requests: u32) -> bool {
        requests <= self.per_minute
    }

    fn requests(&self) -> u64 {
        self.calls.get()
    }
}
