//! Marking commissions as fulfilled at FirstPromoter, or as unfulfilled again, in as few requests as it takes.
//!
//! FirstPromoter handles up to 5 ids within the call, and turns more into a batch, which must be polled. So up to 15 rewards go
//! in at most 3 small calls, more in batches of up to 100.
//!
//! Suppose eleven commissions without a payout record are among ten good ones, and one bad id makes FirstPromoter refuse a
//! call. The call is split in half, and again, down to the single commission. Commissions that failed in an earlier pass go
//! into calls of their own, after the others: so each bad one is found once and does not spoil the next pass's calls.
//!
//! Guarantees: bounded in calls (20 refusals among those that never failed, 20 among the rest) and in time (2 minutes for a
//! batch). A 2xx, or a batch that completed, proves nothing: only reading back does. A commission that was not asked for has
//! not failed.
//!
//! Assumptions: marking twice is harmless, so a request whose answer is lost is sent again. A refused call (422) has marked
//! nothing, or only some.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Api, ApiError, Batch, BatchStatus};
use crate::{clock::Clock, domain::CommissionId};

/// Ids that FirstPromoter handles within the call (`commissions.json`, `BatchActionRequest.ids`).
const SMALL_CALL: usize = 5;

/// Up to this many ids go in small calls.
const SMALL_CALLS_UP_TO: usize = 15;

/// Ids in a call that becomes a batch.
const LARGE_CALL: usize = 100;

/// Refused calls in one pass, counted separately for those that never failed and for the others.
const REFUSALS_MAX: u32 = 20;

/// The first wait before a batch is asked for; each further one is twice as long.
const FIRST_POLL: Duration = Duration::from_millis(500);

/// The longest wait between two questions.
const SLOWEST_POLL: Duration = Duration::from_secs(10);

/// How long to poll a batch in all.
const BATCH_PATIENCE: Duration = Duration::from_mins(2);

/// The two actions.
#[derive(Debug, Clone, Copy)]
enum Action {
    Fulfilled,
    Unfulfilled,
}

/// What FirstPromoter was asked to mark, and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marking {
    /// The commissions that were asked for. The rest waits for the next pass and has not failed.
    pub asked: BTreeSet<CommissionId>,
    /// Why a commission may not have been marked, in FirstPromoter's words where there are some. A batch does not say which of
    /// its ids failed. Then all of them are here, and reading back tells which.
    pub complaints: BTreeMap<CommissionId, String>,
    /// Why the rest was not asked for.
    pub failure: Option<ApiError>,
}

/// Asks FirstPromoter to mark these as fulfilled: first those that never failed, each list in its order. The caller reads back
/// even after a failure, because earlier calls may have had their effect.
pub async fn mark(
    api: &impl Api,
    clock: &impl Clock,
    never_failed: &[CommissionId],
    failed_before: &[CommissionId],
) -> Marking {
    let mut marking = Marking::default();
    for ids in [never_failed, failed_before] {
        if let Err(error) = carry_out(Action::Fulfilled, api, clock, ids, &mut marking).await {
            marking.failure = Some(error);
            break;
        }
    }
    marking
}

/// Asks FirstPromoter to take the mark back. Works like [`mark`] otherwise.
pub async fn unmark(api: &impl Api, clock: &impl Clock, ids: &[CommissionId]) -> Marking {
    let mut marking = Marking::default();
    marking.failure = carry_out(Action::Unfulfilled, api, clock, ids, &mut marking).await.err();
    marking
}

/// Errors: only those that stop everything (`Fatal`, `Transient`). Refusals become complaints.
async fn carry_out(
    action: Action,
    api: &impl Api,
    clock: &impl Clock,
    ids: &[CommissionId],
    marking: &mut Marking,
) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    let ids: Vec<CommissionId> = ids.iter().copied().filter(|id| seen.insert(*id)).collect();
    let size = if ids.len() <= SMALL_CALLS_UP_TO { SMALL_CALL } else { LARGE_CALL };
    let mut calls: Vec<&[CommissionId]> = ids.chunks(size).rev().collect();
    let mut refusals = 0;
    while let Some(call) = calls.pop() {
        if refusals >= REFUSALS_MAX {
            let left = call.len() + calls.iter().map(|call| call.len()).sum::<usize>();
            tracing::warn!(
                "{left} commissions are not asked for in this pass, after FirstPromoter refused {REFUSALS_MAX} calls; they go first in the next one"
            );
            return Ok(());
        }
        let answer = match action {
            Action::Fulfilled => api.mark_fulfilled(call).await,
            Action::Unfulfilled => api.mark_unfulfilled(call).await,
        };
        match answer {
            Ok(batch) => {
                marking.asked.extend(call);
                if let Some(words) = outcome(api, clock, batch).await? {
                    marking.complain(call, &words);
                }
            }
            Err(ApiError::Rejected { status, detail, .. }) => {
                refusals += 1;
                if call.len() > 1 {
                    let (first, second) = call.split_at(call.len() / 2);
                    calls.extend([second, first]);
                } else {
                    marking.asked.extend(call);
                    marking.complain(call, &format!("refused with {status}: {detail}"));
                }
            }
            Err(error @ (ApiError::Transient { .. } | ApiError::Fatal { .. })) => {
                marking.asked.extend(call);
                return Err(error);
            }
        }
    }
    Ok(())
}

impl Marking {
    fn complain(&mut self, ids: &[CommissionId], words: &str) {
        self.complaints.extend(ids.iter().map(|id| (*id, words.to_owned())));
    }
}

/// Follows a batch to its end; what is to be complained of, if anything.
async fn outcome(api: &impl Api, clock: &impl Clock, mut batch: Batch) -> Result<Option<String>, ApiError> {
    let mut wait = FIRST_POLL;
    let mut waited = Duration::ZERO;
    while batch.status == BatchStatus::Running {
        let Some(id) = batch.id else {
            return Ok(Some("FirstPromoter began a batch without telling its id".to_owned()));
        };
        if waited >= BATCH_PATIENCE {
            return Ok(Some(format!("batch {id} had not ended after {} s", waited.as_secs())));
        }
        clock.sleep(wait).await;
        waited += wait;
        wait = (wait * 2).min(SLOWEST_POLL);
        batch = match api.batch(id).await {
            // An answer without the id is still about this batch.
            Ok(answer) => Batch { id: Some(id), ..answer },
            Err(ApiError::Rejected { status, detail, .. }) => {
                return Ok(Some(format!("batch {id} could not be asked for ({status}): {detail}")));
            }
            Err(error @ (ApiError::Transient { .. } | ApiError::Fatal { .. })) => return Err(error),
        };
    }
    Ok(complaint(&batch))
}

fn complaint(batch: &Batch) -> Option<String> {
    let ended = match batch.status {
        BatchStatus::Completed if batch.failed_count == 0 => return None,
        BatchStatus::Completed => format!("{} of the batch failed", batch.failed_count),
        BatchStatus::Ended => "the batch was stopped before its end".to_owned(),
        BatchStatus::Running => "the batch has not ended".to_owned(),
    };
    let number = batch.id.map(|id| format!(" (batch {id})")).unwrap_or_default();
    let words = if batch.errors.is_empty() { "no reason given" } else { &batch.errors };
    Some(format!("{ended}{number}: {words}"))
}

#[cfg(test)]
mod tests;
