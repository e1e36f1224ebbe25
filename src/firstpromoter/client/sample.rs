//! What `makegood check` looks at besides the rows: the shape of the answer, and the server's clock.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Client, Method, PoisonError, describe, parameters};
use crate::{
    clock::Clock,
    domain::Commission,
    firstpromoter::{ApiError, CommissionQuery, wire},
};

/// One page of `GET /commissions`, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Includes rows that do not match the query.
    pub rows: Vec<Commission>,
    /// `{"data": [...]}` instead of a bare array.
    pub wrapped: bool,
}

impl<C: Clock> Client<C> {
    /// As [`Api::commissions`](crate::firstpromoter::Api::commissions), with the shape of the answer.
    pub async fn sample(&self, query: &CommissionQuery) -> Result<Sample, ApiError> {
        let parameters = parameters(query);
        let read = |text: &str| Ok(Sample { rows: wire::commissions(text)?, wrapped: wire::is_wrapped(text) });
        self.ask(&describe(query), || self.request(Method::GET, &["commissions"]).query(&parameters), read).await
    }

    /// How far FirstPromoter's clock is ahead of ours, by the header `Date` of its last answer (whole seconds); none where
    /// there was none.
    pub fn server_is_ahead_by(&self) -> Option<TimeDelta> {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_date(&self, date: &str) {
        if let Ok(at) = httpdate::parse_http_date(date) {
            let ahead = DateTime::<Utc>::from(at) - self.clock.now();
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
    }
}
