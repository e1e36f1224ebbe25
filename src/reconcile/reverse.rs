//! Reverses a reward, as a person asked: marks it unfulfilled at FirstPromoter, reads it back, and only then writes `reversed`.
//!
//! Guarantees: the ledger changes only where FirstPromoter, asked both ways, calls the commission unfulfilled. A reversed
//! reward is never delivered again, whatever a listing shows. If the process ends before it wrote to the ledger, the person can
//! simply repeat the command (until then the reward is in `attention` as a drift).
//!
//! Assumptions: the caller holds the pass lock.

use thiserror::Error;

use super::{confirm::CANDIDATES, in_full};
use crate::{
    clock::Clock,
    domain::CommissionId,
    firstpromoter::{Api, ListingError, Truth, TruthError, marking, truth::Canaries},
    ledger::{Author, Ledger, LedgerError, RewardState, State, Transition},
};

/// The result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reversal {
    /// It is `reversed` now, and was in this state before. That was `reversed` too where FirstPromoter had called it fulfilled
    /// after all.
    Done(RewardState),
    /// It was `reversed` before. Nobody was asked anything.
    Already,
}

/// Why it was not reversed. The ledger is unchanged.
#[derive(Debug, Error)]
pub enum ReverseError {
    /// It is not in the ledger.
    #[error("the ledger does not know commission {0}: there is nothing to reverse. Check the id: `makegood status`")]
    Unknown(CommissionId),
    /// It was never delivered.
    #[error(
        "commission {id} is {state}, and only what was delivered is reversed. If it is not to be delivered, deny it in \
         FirstPromoter; a held one is also ended by `makegood resolve {id} --dismiss`"
    )]
    NotDelivered {
        /// Which commission.
        id: CommissionId,
        /// Its state.
        state: RewardState,
    },
    /// FirstPromoter was asked, and did not do it.
    #[error(
        "FirstPromoter does not call commission {id} unfulfilled: {words}. The ledger is unchanged. Look at the commission in \
         FirstPromoter; `makegood reverse {id}` may be given again at any time"
    )]
    NotConfirmed {
        /// Which commission.
        id: CommissionId,
        /// FirstPromoter's words, where there are some.
        words: String,
    },
    /// The answer cannot be trusted.
    #[error("nothing is reversed, the ledger is unchanged: {0}")]
    FilterBroken(TruthError),
    /// There is no answer.
    #[error("the ledger is unchanged; `makegood reverse` may be given again at any time: {}", in_full(.0))]
    Listing(ListingError),
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Reverses one reward. The journal gets `actor` and `reason`.
pub async fn reverse(
    api: &impl Api,
    ledger: &Ledger,
    clock: &impl Clock,
    id: CommissionId,
    actor: &str,
    reason: &str,
) -> Result<Reversal, ReverseError> {
    ledger.require_not_behind()?;
    let reward = ledger.rewards(&[id])?.remove(&id).ok_or(ReverseError::Unknown(id))?;
    let was = reward.state.word();
    // FirstPromoter called it fulfilled after all, so it is asked once more to take the mark back.
    let over = match &reward.state {
        State::Delivered { .. } | State::Fulfilled { .. } => None,
        State::Reversed { drift: Some(drift), .. } => Some(*drift),
        State::Reversed { drift: None, .. } => return Ok(Reversal::Already),
        State::Waiting { .. } | State::Delivering | State::Held { .. } | State::Cancelled | State::Dismissed => {
            return Err(ReverseError::NotDelivered { id, state: was });
        }
    };
    // The answer does not matter: only reading back counts, and a lost answer may have been a yes.
    let asked = marking::unmark(api, clock, &[id]).await;
    let fulfilled = ledger.canaries(CANDIDATES)?.into_iter().filter(|canary| *canary != id).collect();
    let truth = Truth::new(api, clock, Canaries { fulfilled, unfulfilled: Vec::new() });
    let answers = truth.still_unfulfilled(&[id]).await?;
    if !answers.unfulfilled.contains_key(&id) {
        let words = asked.complaints.get(&id).cloned().or_else(|| asked.failure.as_ref().map(|error| in_full(error)));
        let words = words.unwrap_or_else(|| "it answered as if it were done, and reads back otherwise".to_owned());
        return Err(ReverseError::NotConfirmed { id, words });
    }
    let author = Author { actor, pass_id: None, now: clock.now() };
    let why = format!("{reason} (FirstPromoter, read back, says unfulfilled)");
    match over {
        Some(drift) => ledger.change(author, |change| change.apply(&reward, &Transition::DriftOver(drift)))?,
        None => ledger.change(author, |change| change.reverse(&reward, &why))?,
    }
    Ok(Reversal::Done(was))
}

impl From<TruthError> for ReverseError {
    fn from(error: TruthError) -> Self {
        match error {
            TruthError::Listing(error) => Self::Listing(error),
            error @ (TruthError::BothWays(_) | TruthError::SilentCanary(_)) => Self::FilterBroken(error),
        }
    }
}
