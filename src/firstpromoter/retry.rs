//! How often one request is sent again, and how soon. Pure.
//!
//! Guarantees: at most 4 attempts in all, and 2 where an answer does not come in time, because each may take the whole timeout.
//! Where FirstPromoter asks for a wait of more than 2 minutes, the request is not sent again.

use std::time::Duration;

/// Attempts of one request, the first included.
const ATTEMPTS: u32 = 4;

/// Attempts of one request to which no answer comes in time.
const ATTEMPTS_AT_TIMEOUT: u32 = 2;

/// The longest that a pass waits because FirstPromoter asked it to.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// A kind of failure after which another attempt may work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retryable {
    /// No connection, or one that broke.
    Network,
    /// No whole answer in time.
    Timeout,
    /// 408 or 5xx, with `Retry-After` where there was one.
    Server(Option<Duration>),
    /// 429, with `Retry-After` where there was one.
    Limited(Option<Duration>),
}

impl Retryable {
    /// How long FirstPromoter asked us to stay away.
    pub(super) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Limited(asked) | Self::Server(asked) => asked,
            Self::Network | Self::Timeout => None,
        }
    }

    /// How long to wait after the `attempt`-th attempt (from 1) before the next; none: there is no next.
    pub(super) fn wait_after(self, attempt: u32) -> Option<Duration> {
        let (attempts, first_ms) = match self {
            Self::Network | Self::Server(_) => (ATTEMPTS, 500),
            Self::Timeout => (ATTEMPTS_AT_TIMEOUT, 500),
            Self::Limited(_) => (ATTEMPTS, 1_000),
        };
        let asked = self.retry_after();
        if attempt >= attempts || asked.is_some_and(|asked| asked > PATIENCE) {
            return None;
        }
        let own = Duration::from_millis(first_ms << attempt.saturating_sub(1));
        Some(match self {
            // FirstPromoter knows its limits better than we do, even where it says 0.
            Self::Limited(Some(asked)) => asked,
            // A server in trouble guesses its wait: never wait less than our own.
            Self::Server(Some(asked)) => asked.max(own),
            Self::Network | Self::Timeout | Self::Server(None) | Self::Limited(None) => own,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let seconds = Duration::from_secs;
        for (failure, waits_ms) in [
            (Retryable::Network, vec![500, 1_000, 2_000]),
            (Retryable::Timeout, vec![500]),
            (Retryable::Server(None), vec![500, 1_000, 2_000]),
            (Retryable::Server(Some(seconds(1))), vec![1_000, 1_000, 2_000]),
            (Retryable::Server(Some(seconds(121))), vec![]),
            (Retryable::Limited(None), vec![1_000, 2_000, 4_000]),
            (Retryable::Limited(Some(seconds(0))), vec![0, 0, 0]),
            (Retryable::Limited(Some(seconds(120))), vec![120_000, 120_000, 120_000]),
            (Retryable::Limited(Some(seconds(121))), vec![]),
        ] {
            let waits: Vec<_> = (1..10).map_while(|attempt| failure.wait_after(attempt)).collect();
            assert_eq!(waits, waits_ms.into_iter().map(Duration::from_millis).collect::<Vec<_>>(), "{failure:?}");
        }
    }
}
