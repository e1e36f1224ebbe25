//! Reads lists from FirstPromoter, and knows the traps. All paging is here, above the [`Api`] seam.
//!
//! # The end of a listing
//!
//! An answer is a bare array. It has no total and no next link, and nobody promises that `per_page` is honoured. The documented
//! default page size is 20 and the documented maximum is 100; we ask for 100. The rules:
//!
//! - An empty page is the end.
//! - A page of 100 rows or more shows that `per_page` is honoured; from then on a shorter page is the end.
//! - Any other page may be a cap or the end, so reading goes on until an empty page. Suppose a server gives ten rows a page,
//!   and the first ten are held. A client that takes a short page for the end never sees the eleventh.
//! - A page with exactly the ids of the page before means that the server ignores `page`: an error. More than 20,000 pages are
//!   an error too.
//!
//! Guarantees: `Ok` means that the server said "end" by one of these rules. An error means that the caller may conclude
//! nothing, not even from pages that it already got. One page is in memory at a time, and the ids of the one before.
//!
//! Assumptions: offset pages shift while rows change. A row may therefore come twice: it is passed on twice, and the caller
//! keeps rows by id. A row may also be skipped: the next pass finds it, and the caller asks for the open ones by id.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{Api, ApiError, CommissionQuery};
use crate::domain::{Commission, CommissionId, CommissionStatus};

/// The page size asked for: the documented maximum.
pub const PER_PAGE: u32 = 100;

/// The documented default page size.
pub const DEFAULT_PER_PAGE: usize = 20;

/// Pages after which a listing is taken for endless: two million rows.
const PAGES_MAX: u32 = 20_000;

/// The counts of a whole listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listed {
    /// All rows that the server gave, including duplicates and rows that do not match the filter.
    pub rows: u64,
    /// Requests that were answered, the empty last page included.
    pub pages: u64,
    /// Rows of the longest page. The server does not cap its pages to fewer.
    pub longest_page: u64,
    /// Rows that are pending or denied although only approved ones were asked for. They are dropped. A row of an unknown status
    /// is passed on: the status may be a new word for approved, and nobody would notice that it is missing.
    pub off_filter: u64,
}

/// Why nothing may be concluded from a listing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ListingError {
    /// A page could not be read.
    #[error("the listing could not be read, nothing is concluded from it")]
    Api(#[from] ApiError),
    /// Two pages in a row hold the same commissions.
    #[error(
        "page {page} of the listing repeats the page before it: FirstPromoter (or something between) ignores `page`, so \
         that the whole list cannot be read; nothing is delivered; check firstpromoter.base_url and ask FirstPromoter's \
         support"
    )]
    PageIgnored {
        /// The page that came twice.
        page: u32,
    },
    /// A commission came that was not asked for.
    #[error(
        "commission {unasked} was not asked for: FirstPromoter (or something between) ignores the filter `ids[]`, so that \
         no answer about single commissions can be trusted; nothing is delivered; check firstpromoter.base_url and ask \
         FirstPromoter's support"
    )]
    FilterIgnored {
        /// The first such commission.
        unasked: CommissionId,
    },
    /// The pages do not end.
    #[error(
        "the listing does not end after {PAGES_MAX} pages, nothing is concluded from it; check firstpromoter.base_url and \
         whether FirstPromoter's own dashboard shows as many unfulfilled rewards"
    )]
    TooManyPages,
}

/// Lists the approved and unfulfilled commissions, completely. `on_page` gets the rows of each page that are approved or of an
/// unknown status. The caller must act on none of them before this function has returned `Ok`.
pub async fn unfulfilled(api: &impl Api, mut on_page: impl FnMut(Vec<Commission>)) -> Result<Listed, ListingError> {
    let mut listed = Listed::default();
    let mut end = End::default();
    for page in 1..=PAGES_MAX {
        let mut rows = api.commissions(&query(&[], true, Some(false), page)).await?;
        let length = rows.len();
        listed.pages += 1;
        listed.rows += length as u64;
        listed.longest_page = listed.longest_page.max(length as u64);
        end.refuse_repetition(page, &rows)?;
        rows.retain(|row| may_be_approved(&row.status));
        listed.off_filter += (length - rows.len()) as u64;
        if length > 0 {
            on_page(rows);
        }
        if end.is_reached(length) {
            return Ok(listed);
        }
    }
    Err(ListingError::TooManyPages)
}

/// A question about single commissions, under one value of `filters[fulfilled]`.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'a> {
    /// The commissions to ask about, all in one request a page.
    pub asked: &'a [CommissionId],
    /// Stop reading once all of these have come.
    pub wanted: &'a [CommissionId],
    /// Until all of these have come, do not take a short first page for the end: the server may cap its pages.
    pub expected: &'a [CommissionId],
    /// `filters[fulfilled]`; none: both.
    pub fulfilled: Option<bool>,
}

/// Asks about single commissions, whatever their status, and returns them in the order of their ids. Commissions that do not
/// exist, or that `fulfilled` excludes, do not come back. An answer of [`DEFAULT_PER_PAGE`] rows or more that lacks a wanted one
/// was read to its end.
pub async fn ask_for(api: &impl Api, question: Ids<'_>) -> Result<Vec<Commission>, ListingError> {
    let asked: Vec<CommissionId> = question.asked.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let set = |ids: &[CommissionId]| -> BTreeSet<CommissionId> { ids.iter().copied().collect() };
    let (mut wanted, mut expected) = (set(question.wanted), set(question.expected));
    let mut found = BTreeMap::new();
    let mut end = End::default();
    for page in 1..=PAGES_MAX {
        let rows = api.commissions(&query(&asked, false, question.fulfilled, page)).await?;
        let length = rows.len();
        if let Some(unasked) = rows.iter().map(|row| row.id).find(|id| asked.binary_search(id).is_err()) {
            return Err(ListingError::FilterIgnored { unasked });
        }
        match end.refuse_repetition(page, &rows) {
            // The whole answer is one page, and no documented page size has cut it, even where the server ignores `page`.
            Err(ListingError::PageIgnored { .. }) if length < DEFAULT_PER_PAGE => {
                return Ok(found.into_values().collect());
            }
            verdict => verdict?,
        }
        for row in rows {
            wanted.remove(&row.id);
            expected.remove(&row.id);
            found.insert(row.id, row);
        }
        let short_enough = page == 1 && length < DEFAULT_PER_PAGE && expected.is_empty();
        if end.is_reached(length) || wanted.is_empty() || short_enough {
            return Ok(found.into_values().collect());
        }
    }
    Err(ListingError::TooManyPages)
}

/// Asks about single commissions, fulfilled or not, in any number. A commission that does not come back does not exist.
///
/// This takes one request for 100 ids where all of them come back. Where a row is missing, it takes one more: then only an
/// empty page is the end.
pub async fn by_ids(api: &impl Api, ids: &[CommissionId]) -> Result<Vec<Commission>, ListingError> {
    let ids: Vec<CommissionId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let mut found = Vec::new();
    for some in ids.chunks(PER_PAGE as usize) {
        let question = Ids { asked: some, wanted: some, expected: some, fulfilled: None };
        found.extend(ask_for(api, question).await?);
    }
    Ok(found)
}

fn may_be_approved(status: &CommissionStatus) -> bool {
    match status {
        CommissionStatus::Approved | CommissionStatus::Unknown(_) => true,
        CommissionStatus::Pending | CommissionStatus::Denied => false,
    }
}

fn query(ids: &[CommissionId], approved_only: bool, fulfilled: Option<bool>, page: u32) -> CommissionQuery {
    CommissionQuery { ids: ids.to_vec(), approved_only, fulfilled, page, per_page: PER_PAGE }
}

/// What the pages so far show of the server's paging.
#[derive(Default)]
struct End {
    before: BTreeSet<CommissionId>,
    per_page_honoured: bool,
}

impl End {
    fn refuse_repetition(&mut self, page: u32, rows: &[Commission]) -> Result<(), ListingError> {
        let ids: BTreeSet<CommissionId> = rows.iter().map(|row| row.id).collect();
        if !ids.is_empty() && ids == self.before {
            return Err(ListingError::PageIgnored { page });
        }
        self.before = ids;
        Ok(())
    }

    fn is_reached(&mut self, length: usize) -> bool {
        let full = length >= PER_PAGE as usize;
        let short_after_full = self.per_page_honoured && !full;
        self.per_page_honoured |= full;
        length == 0 || short_after_full
    }
}

#[cfg(test)]
mod tests;
