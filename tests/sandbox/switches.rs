//! The differences of this FirstPromoter from an honest one. Tests assign to these fields.

use std::{collections::BTreeSet, time::Duration};

use super::{actions::BatchEnd, fault::Script};

/// Faults by endpoint. An endpoint's own script comes before `any`.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub any: Script,
    pub listing: Script,
    pub by_ids: Script,
    pub mark: Script,
    pub batch: Script,
    pub rewards: Script,
}

/// Filters that the server ignores without an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct IgnoredFilters {
    pub status: bool,
    pub fulfilled: bool,
    pub ids: bool,
    /// All filters.
    pub all: bool,
}

/// The differences of this FirstPromoter from an honest one.
#[derive(Debug, Clone)]
pub struct Switches {
    /// Rows come as `{"data": [...], "meta": {}}`.
    pub wrapped: bool,
    /// Rows carry `promoter_id`, `referral_id` ... as webhook samples do.
    pub flat: bool,
    /// Every page is the first.
    pub page_ignored: bool,
    /// Always 20 rows a page.
    pub per_page_ignored: bool,
    /// Never more rows a page than this.
    pub per_page_cap: Option<usize>,
    pub ignored_filters: IgnoredFilters,
    /// `fulfilled=yes` returns no rows, and `no` returns all.
    pub fulfilled_yes_is_nothing_no_is_everything: bool,
    /// `fulfilled=no` returns cash as well.
    pub cash_in_fulfilled_listing: bool,
    /// Every listing contains these ids, whatever it asked for.
    pub always_listed: Vec<i64>,
    /// Listings without `ids[]` end with this many more rows: cash, and points of campaign 99. They are not stored.
    pub also_listed: usize,
    /// After a change of `fulfilled`, this many listings still show the old value.
    pub replica_lag: u32,
    /// Marking answers with success, and changes nothing.
    pub mark_lies: bool,
    /// These cannot be marked. The answer counts them in `failed_count` and does not name them.
    pub mark_fails: BTreeSet<i64>,
    /// One id that cannot be marked makes the whole call fail with 422.
    pub mark_all_or_nothing: bool,
    /// Calls of up to this many ids are carried out at once. The documented number is 5.
    pub batch_threshold: usize,
    /// The number of status requests that get `in_progress`. Then the batch ends.
    pub batch_polls: u32,
    /// Where set, a batch ends by itself this long after its call, whether anybody asks or not, however often.
    pub batch_takes: Option<Duration>,
    pub batch_end: BatchEnd,
    /// The status of the answer that announces a batch; the guide says 200, the OpenAPI 202.
    pub batch_status: u16,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            wrapped: false,
            flat: false,
            page_ignored: false,
            per_page_ignored: false,
            per_page_cap: None,
            ignored_filters: IgnoredFilters::default(),
            fulfilled_yes_is_nothing_no_is_everything: false,
            cash_in_fulfilled_listing: false,
            always_listed: Vec::new(),
            also_listed: 0,
            replica_lag: 0,
            mark_lies: false,
            mark_fails: BTreeSet::new(),
            mark_all_or_nothing: false,
            batch_threshold: 5,
            batch_polls: 1,
            batch_takes: None,
            batch_end: BatchEnd::Completes,
            batch_status: 202,
        }
    }
}

/// The number of requests in a sliding window. Further requests get 429.
#[derive(Debug, Clone)]
pub struct RateLimit {
    pub requests: usize,
    pub window: Duration,
    /// Whether the 429 carries `Retry-After` (seconds, rounded up).
    pub says_retry_after: bool,
}
