//! A target in trouble is not hammered: after some failures in a row its deliveries wait, and one goes first when the wait
//! is over.

use std::{cell::Cell, time::Duration};

use crate::{
    config::Retry,
    domain::Timestamp,
    failure::{Outcome, backoff},
    ledger::Health,
};

/// So many failures in a row, of any rewards, are the target's rather than the rewards'.
const FAILURES_TOLERATED: u32 = 10;
/// A target that has recovered is found out within this time, at the price of one attempt.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// Failures in a row at one target, counted while its deliveries run.
#[derive(Debug)]
pub(super) struct Trouble {
    failures: Cell<u32>,
    /// Before this pass, or since the last answer in it.
    failures_before: Cell<u32>,
    /// Of this pass: the wait counts from here, so that it is over when the first reward's own is.
    first_failure_at: Cell<Option<Timestamp>>,
}

impl Trouble {
    pub(super) fn new(failures: u32) -> Self {
        Self { failures: Cell::new(failures), failures_before: Cell::new(failures), first_failure_at: Cell::new(None) }
    }

    pub(super) fn too_many(&self) -> bool {
        self.failures.get() >= FAILURES_TOLERATED
    }

    /// Counts an outcome; a target that answers, be it with a refusal, is well.
    pub(super) fn after(&self, outcome: &Outcome, retry: &Retry, now: Timestamp) -> Health {
        let retry_after = match outcome {
            Outcome::Delivered { .. } | Outcome::Refused { .. } => {
                self.failures.set(0);
                self.failures_before.set(0);
                self.first_failure_at.set(None);
                return Health { failures: 0, retry_at: None };
            }
            Outcome::NotDelivered { retry_after, .. } | Outcome::Unknown { retry_after, .. } => *retry_after,
        };
        // What was under way when the target was found in trouble says nothing new: only a probe lengthens the wait.
        let most = self.failures_before.get().saturating_add(1).max(FAILURES_TOLERATED);
        let failures = self.failures.get().saturating_add(1).min(most);
        self.failures.set(failures);
        let since = self.first_failure_at.get().unwrap_or(now);
        self.first_failure_at.set(Some(since));
        let retry_at = failures.checked_sub(FAILURES_TOLERATED).map(|beyond| {
            let wait = backoff(retry, beyond + 1, None).min(LONGEST_WAIT);
            (since + wait).max(now + retry_after.unwrap_or_default())
        });
        Health { failures, retry_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        let minutes = Duration::from_mins;
        Retry { first: minutes(1), factor: 4.0, max: minutes(360), give_up_after: minutes(10_000) }
    }

    fn failed() -> Outcome {
        Outcome::NotDelivered { detail: String::new(), retry_after: None }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn the_tenth_failure_in_a_row_closes_a_target_until_the_first_reward_is_due() {
        let trouble = Trouble::new(0);
        for second in 0..9 {
            assert_eq!(trouble.after(&failed(), &retry(), at(second)).retry_at, None);
            assert!(!trouble.too_many());
        }
        assert_eq!(trouble.after(&failed(), &retry(), at(9)), Health { failures: 10, retry_at: Some(at(60)) });
        assert!(trouble.too_many());
    }

    #[test]
    fn a_probe_that_fails_waits_longer_but_never_longer_than_a_quarter_of_an_hour() {
        let waits: Vec<_> = (10..14).map(|n| Trouble::new(n).after(&failed(), &retry(), at(0)).retry_at).collect();
        assert_eq!(waits, [Some(at(240)), Some(at(900)), Some(at(900)), Some(at(900))]);
    }

    #[test]
    fn what_was_under_way_when_a_target_was_closed_does_not_lengthen_the_wait() {
        let limit = FAILURES_TOLERATED;
        let trouble = Trouble::new(limit - 2);
        let health: Vec<_> = (0..6).map(|second| trouble.after(&failed(), &retry(), at(second))).collect();
        assert_eq!(health[0], Health { failures: limit - 1, retry_at: None });
        let closed = Health { failures: limit, retry_at: Some(at(60)) };
        assert!(health[1..].iter().all(|it| *it == closed), "{health:?}");
        let probe = Trouble::new(limit);
        let longer = Health { failures: limit + 1, retry_at: Some(at(300)) };
        assert_eq!(probe.after(&failed(), &retry(), at(60)), longer);
        probe.after(&Outcome::Delivered { receipt: None }, &retry(), at(61));
        let again: Vec<_> = (70..83).map(|second| probe.after(&failed(), &retry(), at(second))).collect();
        assert_eq!(again[12], Health { failures: limit, retry_at: Some(at(130)) }, "{again:?}");
    }

    #[test]
    fn retry_after_is_longer_than_our_own_wait() {
        let outcome = Outcome::Unknown { detail: String::new(), retry_after: Some(Duration::from_hours(2)) };
        assert_eq!(Trouble::new(9).after(&outcome, &retry(), at(0)).retry_at, Some(at(7200)));
    }

    #[test]
    fn an_answer_ends_the_trouble_even_if_it_is_a_refusal() {
        for outcome in [Outcome::Delivered { receipt: None }, Outcome::Refused { detail: String::new() }] {
            let trouble = Trouble::new(12);
            assert_eq!(trouble.after(&outcome, &retry(), at(0)), Health { failures: 0, retry_at: None });
            assert!(!trouble.too_many());
        }
    }
}
