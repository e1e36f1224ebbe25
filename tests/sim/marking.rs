//! FirstPromoter's marking: small calls at once, large ones as slow batches, and answers that do not say what happened.

use std::{collections::BTreeMap, rc::Rc};

use makegood::firstpromoter::{ApiError, Batch, BatchStatus};

use super::{
    commission::Status,
    fault::Fault,
    firstpromoter::{fatal, rejected, transient},
    timeline::{MINUTE, Ms, SECOND, Whose},
    world::World,
};

/// The number of ids up to which a call is carried out at once.
const SMALL_CALL: usize = 5;

/// All batches so far.
#[derive(Default)]
pub struct Batches(BTreeMap<i64, Progress>);

struct Progress {
    status: BatchStatus,
    failed: u64,
}

impl World {
    /// `POST /commissions/mark_fulfilled` arrives.
    pub fn mark(self: &Rc<Self>, ids: &[i64]) -> Option<Result<Batch, ApiError>> {
        let what = "POST /commissions/mark_fulfilled";
        if self.strikes(Fault::MarkTransient) {
            return Some(Err(transient(what, "502")));
        }
        if self.strikes(Fault::MarkRejected) {
            return Some(Err(rejected(what)));
        }
        if self.strikes_later(Fault::MarksRefusedBlindly) {
            self.firstpromoter.borrow_mut().ignore_filter();
            return Some(Err(rejected(what)));
        }
        if self.strikes(Fault::MarkLies) {
            return Some(Ok(batch(Some(1), BatchStatus::Completed, 0)));
        }
        if ids.len() > SMALL_CALL {
            return Some(Ok(self.begin_batch(ids)));
        }
        let hopeless = ids.iter().filter(|id| !self.can_be_marked(**id)).count();
        if hopeless > 0 {
            self.meet(Fault::NoPayout);
            if self.firstpromoter.borrow().refuses_whole_calls {
                return Some(Err(rejected(what)));
            }
        }
        let failed = ids.iter().filter(|id| !self.mark_one(**id)).count();
        if self.strikes(Fault::MarkLost) {
            return None;
        }
        if self.strikes(Fault::MarkFatal) {
            return Some(Err(fatal(what, None)));
        }
        Some(Ok(batch(Some(1), BatchStatus::Completed, failed as u64)))
    }

    /// `POST /commissions/mark_unfulfilled` arrives.
    pub fn unmark(self: &Rc<Self>, ids: &[i64]) -> Option<Result<Batch, ApiError>> {
        for id in ids {
            self.say("", || format!("{id} is unfulfilled"));
            self.change(*id, |version| version.fulfilled = false);
        }
        Some(Ok(batch(Some(1), BatchStatus::Completed, 0)))
    }

    /// `GET /batch_processes/{id}` arrives.
    pub fn batch(self: &Rc<Self>, id: i64) -> Option<Result<Batch, ApiError>> {
        if self.strikes_batch(Fault::BatchForgotten) {
            return Some(Err(rejected("GET /batch_processes")));
        }
        let firstpromoter = self.firstpromoter.borrow();
        let answer = firstpromoter.batches.0.get(&id).map(|it| batch(Some(id), it.status, it.failed));
        Some(answer.ok_or_else(|| rejected("GET /batch_processes")))
    }

    /// Batches are rare. Where they fail at all, they fail often.
    fn strikes_batch(&self, fault: Fault) -> bool {
        let strikes = self.weather.enables(fault) && self.rng.chance(600);
        if strikes {
            self.meet(fault);
        }
        strikes
    }

    fn begin_batch(self: &Rc<Self>, ids: &[i64]) -> Batch {
        let id = {
            let batches = &mut self.firstpromoter.borrow_mut().batches.0;
            let id = 100 + i64::try_from(batches.len()).unwrap_or_default();
            batches.insert(id, Progress { status: BatchStatus::Running, failed: 0 });
            id
        };
        let endless = self.strikes_batch(Fault::BatchEndless);
        let pace: Ms = if endless { MINUTE } else { 1 + self.rng.skewed(SECOND) };
        let stops_after = if self.strikes_batch(Fault::BatchStops) { self.rng.below(ids.len()) } else { ids.len() };
        self.go_on_with_batch(id, ids.to_vec(), stops_after, pace);
        let told = (!self.strikes_batch(Fault::BatchNameless)).then_some(id);
        batch(told, BatchStatus::Running, 0)
    }

    /// Marks one id after the other, while everything else goes on.
    fn go_on_with_batch(self: &Rc<Self>, id: i64, mut rest: Vec<i64>, left: usize, pace: Ms) {
        self.time.after(pace, Whose::Network, move |world| {
            let stopped = left == 0 && !rest.is_empty();
            let next = (!stopped).then(|| rest.pop()).flatten();
            let failed = next.is_some_and(|next| !world.mark_one(next));
            if let Some(progress) = world.firstpromoter.borrow_mut().batches.0.get_mut(&id) {
                progress.failed += u64::from(failed);
                if stopped {
                    progress.status = BatchStatus::Ended;
                } else if next.is_none() {
                    progress.status = BatchStatus::Completed;
                }
            }
            if next.is_some() {
                world.go_on_with_batch(id, rest, left.saturating_sub(1), pace);
            }
        });
    }

    pub fn can_be_marked(&self, id: i64) -> bool {
        self.firstpromoter.borrow().get(id).is_some_and(|commission| {
            let now = commission.now();
            now.there && now.payout && now.status == Status::Approved && now.unit != "cash"
        })
    }

    /// A batch that was delayed marks this id.
    pub fn mark_late(&self, id: i64) {
        self.mark_one(id);
    }

    /// Returns whether it is fulfilled now.
    fn mark_one(&self, id: i64) -> bool {
        if !self.can_be_marked(id) || self.strikes(Fault::MarkPartial) {
            return false;
        }
        self.say("", || format!("{id} is fulfilled"));
        if self.evidence.borrow().reversed.iter().any(|it| it.commission == id) {
            self.meet(Fault::Overtaken);
        }
        self.change(id, |version| version.fulfilled = true);
        true
    }
}

fn batch(id: Option<i64>, status: BatchStatus, failed_count: u64) -> Batch {
    let errors = if failed_count > 0 { "no payout record".to_owned() } else { String::new() };
    Batch { id, status, failed_count, errors }
}
