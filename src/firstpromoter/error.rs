//! One exhaustive classification of what can go wrong at FirstPromoter.

use thiserror::Error;

/// Why a call to FirstPromoter came to nothing. Never contains the token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApiError {
    /// It may work later: network, timeout, 429, 5xx; the bounded retries are used up.
    #[error("{what}: {detail}")]
    Transient {
        /// What was asked, for a person (`GET /commissions page 3`).
        what: String,
        /// What came back, and what to do where there is something to do.
        detail: String,
    },
    /// This request was refused (404, 422, other 4xx); another may not be.
    #[error("{what}: FirstPromoter refused with {status}: {detail}")]
    Rejected {
        /// What was asked.
        what: String,
        /// The HTTP status.
        status: u16,
        /// FirstPromoter's own words.
        detail: String,
    },
    /// No call will work, or no answer can be trusted: 401, 403, a redirect, an unreadable or oversized answer. The pass ends.
    #[error("{what}: {detail}")]
    Fatal {
        /// What was asked.
        what: String,
        /// The HTTP status, where there was one.
        status: Option<u16>,
        /// What came back and what to do.
        detail: String,
    },
}
