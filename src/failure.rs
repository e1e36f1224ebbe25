//! What became of an attempt to deliver, and when to try again. Pure.
//!
//! Guarantees: what is not recognised is [`Outcome::Unknown`], never "safe to retry".

use std::time::Duration;

use crate::{config::Retry, domain::Timestamp};

/// The longest `Retry-After` that is believed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What became of one attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target took it.
    Delivered {
        /// What the target calls it, at most 500 characters.
        receipt: Option<String>,
    },
    /// It certainly did not take effect: no connection, 429, exit 75.
    NotDelivered {
        /// What happened, for a person.
        detail: String,
        /// How long the target asked us to stay away, counted from the answer; at most [`RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
    },
    /// It may or may not have taken effect: sent, and no verdict.
    Unknown {
        /// What happened, for a person.
        detail: String,
        /// How long the target asked us to stay away, counted from the answer; at most [`RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
    },
    /// The target said no, and will say no again.
    Refused {
        /// The answer's status and the first 500 characters of its body, or of the command's stderr.
        detail: String,
    },
}

impl Outcome {
    /// The word in the ledger's `attempts.outcome`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::NotDelivered { .. } => "not_delivered",
            Self::Unknown { .. } => "unknown",
            Self::Refused { .. } => "refused",
        }
    }
}

/// How long to wait after the `failures`-th failure in a row (from 1): `first * factor^(failures-1)`, at most `max`;
/// and not less than the target asked for, even above `max`.
pub fn backoff(retry: &Retry, failures: u32, retry_after: Option<Duration>) -> Duration {
    let first = retry.first.as_secs_f64();
    let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = (first * retry.factor.powi(exponent)).min(retry.max.as_secs_f64());
    let own = Duration::try_from_secs_f64(seconds).unwrap_or(retry.max).min(retry.max);
    own.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// Whether the time for trying is over: it counts from the first attempt.
pub fn given_up(retry: &Retry, first_attempt_at: Timestamp, now: Timestamp) -> bool {
    (now - first_attempt_at).to_std().unwrap_or_default() >= retry.give_up_after
}
