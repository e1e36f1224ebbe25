//! A reward: the data that it has in every state, and its state with the data of that state.

use super::{DeliveredBy, Drift, Facts, HoldReason, RewardState, WaitReason};
use crate::{
    delivery::Fingerprint,
    domain::{CommissionId, DeliveryKey, Timestamp},
};

/// One row of `rewards`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reward {
    /// Primary key.
    pub id: CommissionId,
    /// The delivery key.
    pub key: DeliveryKey,
    /// What FirstPromoter said.
    pub facts: Facts,
    /// Its state.
    pub state: State,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// When a pass, or a handler's `record`, saw it first.
    pub first_seen_at: Timestamp,
    /// When it was last found owed anew.
    pub owed_since: Timestamp,
    /// All attempts so far.
    pub attempts: u32,
    /// Failures in a row.
    pub failures: u32,
    /// The first attempt in this row of failures.
    pub first_attempt_at: Option<Timestamp>,
    /// Where the last attempt went.
    pub tried: Tried,
}

/// The state of a reward, with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Owed.
    Waiting {
        /// Not delivered before this time.
        until: Timestamp,
        /// The reason for the wait.
        why: Wait,
        /// The error of the last failure.
        last_error: Option<String>,
    },
    /// The intent is on disk; an attempt may be in flight or was cut off.
    Delivering,
    /// makegood does not decide alone.
    Held {
        /// The reason.
        reason: HoldReason,
        /// The reason in words, for a person.
        detail: Option<String>,
        /// The end of the backoff after a failed attempt. A hold by policy does not shorten it.
        until: Option<Timestamp>,
    },
    /// The recipient has it; FirstPromoter has not confirmed yet.
    Delivered {
        /// Who delivered it, and when.
        given: Given,
        /// The results of asking FirstPromoter to mark it.
        marking: Marking,
    },
    /// FirstPromoter, read back, says fulfilled.
    Fulfilled {
        /// Who delivered it, and when.
        given: Given,
        /// When FirstPromoter said so.
        at: Timestamp,
        /// How FirstPromoter contradicts that now.
        drift: Option<Drift>,
    },
    /// No longer approved upstream, and was never delivered.
    Cancelled,
    /// A person took it back.
    Reversed {
        /// The target's name for the delivery.
        receipt: Option<String>,
        /// How FirstPromoter contradicts that now.
        drift: Option<Drift>,
    },
    /// A person decided against delivery.
    Dismissed,
}

/// Why a reward waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: it is due.
    Due,
    /// The webhook handler has its chance.
    Grace,
    /// An attempt failed.
    Backoff,
    /// Somebody else holds a claim.
    Claimed,
    /// The last attempts at this target failed.
    Target(String),
}

/// Who delivered it, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Who.
    pub by: DeliveredBy,
    /// When; none where FirstPromoter called it fulfilled first.
    pub at: Option<Timestamp>,
    /// The target's name for the delivery.
    pub receipt: Option<String>,
}

/// The results of asking FirstPromoter to mark a delivered reward.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marking {
    /// Passes in a row that could not have it marked.
    pub failures: u32,
    /// Why not, in FirstPromoter's words.
    pub error: Option<String>,
    /// Not asked again before this time.
    pub not_before: Option<Timestamp>,
}

/// Where the last attempt went, and whether any attempt may have taken effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// There was none.
    Never,
    /// It went here; no attempt is in doubt.
    At(Attempted),
    /// It went here; some attempt had no verdict, or was interrupted, and may have taken effect.
    InDoubt(Attempted),
}

/// The target of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// The target.
    pub target: String,
    /// The fingerprint of the target at that time; none in 0.1.
    pub fingerprint: Option<Fingerprint>,
}

impl Reward {
    /// The target of the last attempt.
    pub fn target(&self) -> Option<&str> {
        match &self.tried {
            Tried::Never => None,
            Tried::At(at) | Tried::InDoubt(at) => Some(&at.target),
        }
    }

    /// The target of an attempt that may have taken effect: it had no verdict, or was interrupted.
    pub fn doubt(&self) -> Option<&Attempted> {
        match &self.tried {
            Tried::Never | Tried::At(_) => None,
            Tried::InDoubt(at) => Some(at),
        }
    }

    /// The target's name for the delivery.
    pub fn receipt(&self) -> Option<&str> {
        match &self.state {
            State::Delivered { given, .. } | State::Fulfilled { given, .. } => given.receipt.as_deref(),
            State::Reversed { receipt, .. } => receipt.as_deref(),
            State::Waiting { .. } | State::Delivering | State::Held { .. } | State::Cancelled | State::Dismissed => {
                None
            }
        }
    }
}

impl State {
    /// Its word in the ledger.
    pub fn word(&self) -> RewardState {
        match self {
            Self::Waiting { .. } => RewardState::Waiting,
            Self::Delivering => RewardState::Delivering,
            Self::Held { .. } => RewardState::Held,
            Self::Delivered { .. } => RewardState::Delivered,
            Self::Fulfilled { .. } => RewardState::Fulfilled,
            Self::Cancelled => RewardState::Cancelled,
            Self::Reversed { .. } => RewardState::Reversed,
            Self::Dismissed => RewardState::Dismissed,
        }
    }

    /// The last objection, from the target, FirstPromoter or the plan.
    pub fn last_error(&self) -> Option<&str> {
        match self {
            Self::Waiting { last_error, .. } => last_error.as_deref(),
            Self::Held { detail, .. } => detail.as_deref(),
            Self::Delivered { marking, .. } => marking.error.as_deref(),
            Self::Delivering | Self::Fulfilled { .. } | Self::Cancelled | Self::Reversed { .. } | Self::Dismissed => {
                None
            }
        }
    }
}

impl Wait {
    /// Its word in the ledger.
    pub fn word(&self) -> WaitReason {
        match self {
            Self::Due => WaitReason::Due,
            Self::Grace => WaitReason::Grace,
            Self::Backoff => WaitReason::Backoff,
            Self::Claimed => WaitReason::Claimed,
            Self::Target(_) => WaitReason::Target,
        }
    }

    /// The target that it waits for.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Target(target) => Some(target),
            Self::Due | Self::Grace | Self::Backoff | Self::Claimed => None,
        }
    }

    /// For a person.
    pub fn in_words(&self) -> &'static str {
        match self {
            Self::Due => "owed: nothing stands against delivery any more",
            Self::Grace => "grace: the webhook handler still has its chance",
            Self::Backoff => "backoff after a failed attempt",
            Self::Claimed => "claimed by somebody else",
            Self::Target(_) => "the last attempts at its target failed; a few go first when the wait is over",
        }
    }
}
