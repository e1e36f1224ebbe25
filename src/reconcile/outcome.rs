//! Writes the outcome of an attempt, and tries until it is written.
//!
//! Suppose a target said 200, and a script holds the ledger's write lock for 18 s. Only the answer shows that this delivery
//! arrived. A pass that gave up here would turn a delivered reward into one of unknown outcome. So the write is repeated while
//! there is hope. Meanwhile nothing new starts that would not have to wait for the same lock.

use std::time::Duration;

use tracing::{error, info, warn};

use super::Pass;
use crate::{
    clock::Clock, delivery::Deliver, domain::CommissionId, failure::Outcome, firstpromoter::Api, ledger::LedgerError,
};

/// Each try has already waited 15 s in SQLite: ten minutes in all. Enough for a migration, a backup, a forgotten shell.
const TRIES_LOCKED: u32 = 40;
/// For a disk that is full, or fails, for a moment.
const TRIES_DISK: u32 = 10;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(300);

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// `write` is one transaction; it returns whether the reward moved. An outcome that cannot be written in the end is logged
    /// as an error with everything that is known, and returned as [`LedgerError::Unwritten`].
    pub(super) async fn write_outcome(
        &self,
        id: CommissionId,
        outcome: &Outcome,
        write: impl AsyncFn() -> Result<bool, LedgerError>,
    ) -> Result<bool, LedgerError> {
        let mut tries = 0;
        loop {
            let failure = match write().await {
                Ok(moved) => {
                    if tries > 0 {
                        info!(
                            commission.id = id.0,
                            "commission {id}: its outcome is written now, after {tries} failures"
                        );
                    }
                    return Ok(moved);
                }
                Err(failure) => failure,
            };
            tries += 1;
            let tries_max = match (failure.is_lock(), failure.is_disk()) {
                (true, _) => TRIES_LOCKED,
                (false, true) => TRIES_DISK,
                (false, false) => 0,
            };
            if tries >= tries_max {
                return Err(given_up(id, outcome, failure));
            }
            if tries == 1 {
                warn!(
                    commission.id = id.0,
                    "commission {id} is {}, and that cannot be written yet; it is tried again: {failure}",
                    outcome.as_str()
                );
            }
            self.clock.sleep(PAUSE).await;
        }
    }
}

fn given_up(id: CommissionId, outcome: &Outcome, failure: LedgerError) -> LedgerError {
    let receipt = match outcome {
        Outcome::Delivered { receipt } => receipt.clone(),
        Outcome::NotDelivered { .. } | Outcome::Unknown { .. } | Outcome::Refused { .. } => None,
    };
    let unwritten = LedgerError::Unwritten { id, outcome: outcome.as_str(), receipt, source: Box::new(failure) };
    error!(commission.id = id.0, "{}", super::in_full(&unwritten));
    unwritten
}
