//! The outcome of an attempt to deliver, and when to try again. Pure.
//!
//! Guarantees: an outcome that is not recognised is [`Outcome::Unknown`], never "safe to retry".

use std::time::Duration;

use crate::{config::Retry, domain::Timestamp};

/// The longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// The outcome of one attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target took it.
    Delivered {
        /// The target's own name for it, at most 500 characters.
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
    /// The target said no, and would say no again.
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

/// The wait after the `failures`-th failure in a row (from 1): `first * factor^(failures-1)`, at most `max`, and never less
/// than the target asked for, even above `max`.
pub fn backoff(retry: &Retry, failures: u32, retry_after: Option<Duration>) -> Duration {
    // Zero times an overflowing power would be NaN. And a wait of zero stays zero, whatever the factor.
    let first = retry.first.as_secs_f64();
    if retry.first.is_zero() {
        return retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    }
    let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = (first * retry.factor.powi(exponent)).min(retry.max.as_secs_f64());
    let own = Duration::try_from_secs_f64(seconds).unwrap_or(retry.max).min(retry.max);
    own.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// Reads a `Retry-After` header (RFC 9110, 10.2.3): whole seconds, or an HTTP date counted from `now`. At most
/// [`RETRY_AFTER_MAX`]; the past and negative numbers are zero; `None` where it cannot be read.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let digits = value.strip_prefix('-').unwrap_or(value);
    let wait = if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit mean a very long time, not rubbish.
        let seconds = if digits.len() < value.len() { 0 } else { digits.parse().unwrap_or(u64::MAX) };
        Duration::from_secs(seconds)
    } else {
        let at = Timestamp::from(httpdate::parse_http_date(value).ok()?);
        (at - now).to_std().unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Whether it is time to give up, counted from the first attempt.
pub fn given_up(retry: &Retry, first_attempt_at: Timestamp, now: Timestamp) -> bool {
    (now - first_attempt_at).to_std().unwrap_or_default() >= retry.give_up_after
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    use super::*;

    fn retry(first: u64, factor: f64, max: u64) -> Retry {
        Retry {
            first: Duration::from_secs(first),
            factor,
            max: Duration::from_secs(max),
            give_up_after: Duration::from_hours(168),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse::<DateTime<Utc>>().unwrap()
    }

    #[test]
    fn waits_grow_by_the_factor_up_to_the_longest() {
        let retry = retry(60, 4.0, 21_600);
        let waits: Vec<u64> = (1..=7).map(|n| backoff(&retry, n, None).as_secs()).collect();
        assert_eq!(waits, [60, 240, 960, 3_840, 15_360, 21_600, 21_600]);
        assert_eq!(backoff(&retry, 0, None).as_secs(), 60, "a count that was never raised is a first failure");
    }

    #[test]
    fn retry_after_only_lengthens_a_wait_and_at_most_to_a_day() {
        let retry = retry(60, 4.0, 600);
        let asked = |seconds| backoff(&retry, 1, Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!(asked(1), 60);
        assert_eq!(asked(3_600), 3_600, "even above retry.max");
        assert_eq!(asked(u64::MAX), 86_400);
    }

    #[test]
    fn a_wait_of_zero_stays_zero_however_often_it_failed() {
        for failures in [1, 2, 1_000, u32::MAX] {
            assert_eq!(backoff(&retry(0, 4.0, 600), failures, None), Duration::ZERO);
            assert_eq!(backoff(&retry(0, f64::MAX, 600), failures, None), Duration::ZERO);
        }
        assert_eq!(backoff(&retry(0, 4.0, 600), 3, Some(Duration::from_secs(7))).as_secs(), 7);
    }

    #[test]
    fn makegood_gives_up_at_give_up_after_and_not_before() {
        let retry = retry(60, 4.0, 600);
        let first = at("2025-01-19T10:30:00Z");
        assert!(!given_up(&retry, first, first));
        assert!(!given_up(&retry, first, at("2025-01-26T10:29:59.999Z")));
        assert!(given_up(&retry, first, at("2025-01-26T10:30:00Z")));
        assert!(!given_up(&retry, first, at("2024-01-01T00:00:00Z")), "a clock set back gives more time, not less");
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = at("2025-01-19T10:30:00Z");
        let read = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("-5"), Some(0));
        assert_eq!(read("99999999999999999999999"), Some(86_400));
        assert_eq!(read("Sun, 19 Jan 2025 10:31:00 GMT"), Some(60));
        assert_eq!(read("Sun, 19 Jan 2025 10:29:00 GMT"), Some(0), "the past is now");
        assert_eq!(read("Fri, 31 Dec 9999 23:59:59 GMT"), Some(86_400));
        for rubbish in ["", "-", "soon", "1.5", "+5", "5 s", "0x10", "2025-01-19T10:31:00Z", "\u{661}"] {
            assert_eq!(read(rubbish), None, "{rubbish:?}");
        }
    }

    proptest! {
        #[test]
        fn waits_never_shrink_and_never_exceed_the_longest(
            first in 0u64..100_000,
            percent in 100u32..100_000,
            max in 0u64..10_000_000,
            failures in 0u32..u32::MAX,
        ) {
            let retry = retry(first, f64::from(percent) / 100.0, max);
            let (this, next) = (backoff(&retry, failures, None), backoff(&retry, failures + 1, None));
            prop_assert!(this <= next);
            prop_assert!(next <= retry.max);
        }

        #[test]
        fn no_retry_setting_and_no_count_panics(
            first: u64, factor: f64, max: u64, failures: u32, asked in proptest::option::of(any::<u64>()),
        ) {
            let wait = backoff(&retry(first, factor, max), failures, asked.map(Duration::from_secs));
            prop_assert!(wait <= Duration::from_secs(max).max(RETRY_AFTER_MAX));
        }

        #[test]
        fn no_retry_after_panics_or_exceeds_a_day(value: String, now in -8_000_000_000_000i64..8_000_000_000_000) {
            if let Some(wait) = retry_after(&value, DateTime::from_timestamp(now, 0).unwrap()) {
                prop_assert!(wait <= RETRY_AFTER_MAX);
            }
        }

        #[test]
        fn no_date_panics(
            value in "(Mon|Sun), [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
            now in -8_000_000_000_000i64..8_000_000_000_000,
        ) {
            let wait = retry_after(&value, DateTime::from_timestamp(now, 0).unwrap());
            prop_assert!(wait.unwrap_or_default() <= RETRY_AFTER_MAX);
        }
    }
}
