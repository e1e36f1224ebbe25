//! FirstPromoter's API, as documented and as met in production.
//!
//! Reading order: this file has the seam ([`Api`]). [`truth`] is the only way to ask about anything that is acted upon.
//! [`listing`] and [`marking`] ask through the seam, and know every trap of paging. [`Client`] is the seam over HTTP, [`wire`]
//! reads the JSON, [`pace`] limits the speed, [`ApiError`] says what can go wrong.
//!
//! Guarantees: a listing is complete or an error. No answer causes a panic, a second delivery or an endless loop. The token is
//! in no message.
//!
//! Assumptions: what the vendor documents may still be wrong. Callers check the fields of each row too, because FirstPromoter
//! answers with everything when it ignores a filter.

use crate::domain::{Commission, CommissionId};

mod client;
mod error;
pub mod listing;
pub mod marking;
pub mod pace;
mod retry;
#[cfg(test)]
mod script;
pub mod truth;
pub mod wire;

pub use client::{Client, ClientError, Sample};
pub use error::ApiError;
pub use listing::ListingError;
pub use truth::{Truth, TruthError};

/// What to ask of `GET /commissions`: one page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommissionQuery {
    /// `ids[]`: only these; empty: no such filter.
    pub ids: Vec<CommissionId>,
    /// `filters[status]=approved`.
    pub approved_only: bool,
    /// `filters[fulfilled]=yes|no`.
    pub fulfilled: Option<bool>,
    /// From 1.
    pub page: u32,
    /// Asked for; the server may do as it likes.
    pub per_page: u32,
}

/// `status` of a batch (`batches.json`, schema `BatchProcess`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStatus {
    /// `pending` or `in_progress`, or a value we do not know: ask again.
    Running,
    /// `completed`: all were tried; some may have failed.
    Completed,
    /// `failed` or `stopped`.
    Ended,
}

/// The answer to a batch action, or to `GET /batch_processes/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// None where the answer has no id: then nobody can ask about this batch.
    pub id: Option<i64>,
    /// How far it is.
    pub status: BatchStatus,
    /// How many failed; the answer does not say which.
    pub failed_count: u64,
    /// FirstPromoter's own words, joined, at most 500 characters; empty when there are none.
    pub errors: String,
}

/// One rule of `GET /rewards`. It says who receives the rewards that it creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardRule {
    /// FirstPromoter's id.
    pub id: i64,
    /// Its name.
    pub name: Option<String>,
    /// `true`: the promoter; `false`: the referral; null where FirstPromoter did not say.
    pub is_promoter_reward: Option<bool>,
}

/// FirstPromoter: one request a call, with bounded retries. The simulator replaces it here.
#[allow(async_fn_in_trait, reason = "one thread; no caller needs Send")]
pub trait Api {
    /// One page of `GET /commissions` as the server gave it, including rows that do not match the query.
    async fn commissions(&self, query: &CommissionQuery) -> Result<Vec<Commission>, ApiError>;

    /// `POST /commissions/mark_fulfilled`, once. A 2xx does not mean that anything changed.
    async fn mark_fulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError>;

    /// `POST /commissions/mark_unfulfilled`, once. A 2xx does not mean that anything changed.
    async fn mark_unfulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError>;

    /// `GET /batch_processes/{id}`.
    async fn batch(&self, id: i64) -> Result<Batch, ApiError>;

    /// `GET /rewards`, complete; one request where there are fewer than 20.
    async fn rewards(&self) -> Result<Vec<RewardRule>, ApiError>;

    /// Waits until this many requests may leave at once, and returns true. Returns false at once where the pace never lets so
    /// many leave within a minute. Reserves nothing.
    async fn wait_for_room(&self, _requests: u32) -> bool {
        true
    }

    /// HTTP requests sent so far by this client, retries included.
    fn requests(&self) -> u64;
}
