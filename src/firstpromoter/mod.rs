//! FirstPromoter's API, as documented and as met in production.
//!
//! Reading order: this file, the seam ([`Api`]); [`truth`], the only way to ask what is acted upon; [`listing`] and
//! [`marking`], all that is asked through the seam and every trap of paging; [`Client`], the seam over HTTP; [`wire`], the
//! JSON; [`pace`], how fast; [`ApiError`], what can go wrong.
//!
//! Guarantees: a listing is whole or an error; no answer makes a panic, a second delivery or an endless loop; the token
//! stands in no message.
//!
//! Assumptions: what the vendor documents is documented, not proven. The fields of a row are checked by the caller, too:
//! an ignored filter answers everything.

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
    /// Null where the answer has none: then it cannot be asked for.
    pub id: Option<i64>,
    /// How far it is.
    pub status: BatchStatus,
    /// How many failed; the answer does not say which.
    pub failed_count: u64,
    /// FirstPromoter's own words, joined, at most 500 characters; empty when there are none.
    pub errors: String,
}

/// One of `GET /rewards`: who receives what comes from this rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardRule {
    /// FirstPromoter's id.
    pub id: i64,
    /// Its name.
    pub name: Option<String>,
    /// `true`: the promoter; `false`: the referral; null where FirstPromoter did not say.
    pub is_promoter_reward: Option<bool>,
}

/// FirstPromoter, one request a call (and bounded retries of it). The seam at which the simulator stands.
#[allow(async_fn_in_trait, reason = "one thread; no caller needs Send")]
pub trait Api {
    /// One page of `GET /commissions`, as the server gave it: rows that do not match the question included.
    async fn commissions(&self, query: &CommissionQuery) -> Result<Vec<Commission>, ApiError>;

    /// `POST /commissions/mark_fulfilled`, once. A 2xx does not mean that anything changed.
    async fn mark_fulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError>;

    /// `POST /commissions/mark_unfulfilled`, once. A 2xx does not mean that anything changed.
    async fn mark_unfulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError>;

    /// `GET /batch_processes/{id}`.
    async fn batch(&self, id: i64) -> Result<Batch, ApiError>;

    /// `GET /rewards`, whole; one request where there are fewer than 20.
    async fn rewards(&self) -> Result<Vec<RewardRule>, ApiError>;

    /// Waits until so many requests may leave at once, and returns true; returns false at once where the pace never lets so
    /// many leave in a minute. Reserves nothing.
    async fn wait_for_room(&self, _requests: u32) -> bool {
        true
    }

    /// HTTP requests sent so far by this client, retries included.
    fn requests(&self) -> u64;
}
