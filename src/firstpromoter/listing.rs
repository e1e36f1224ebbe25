//! Reading lists from FirstPromoter, and its traps. All paging is here, above the [`Api`] seam.
//!
//! # The end of a listing
//!
//! An answer is a bare array: no total, no next link, and nobody promises that `per_page` is honoured. The rules, with
//! 20 the documented default page size and 100 the documented maximum, which is asked for:
//!
//! - An empty page is the end.
//! - A page of 100 rows or more shows that `per_page` is honoured; from then on a shorter page is the end.
//! - Anything else may be a cap or the end: it is read on until an empty page. Suppose a server gives ten rows a page, and
//!   the first ten are held. A client that takes a short page without anything to do for the end never sees the eleventh.
//! - A page with exactly the ids of the page before means that `page` is ignored: an error. So does nothing but an
//!   error follow from more than 20,000 pages.
//!
//! Guarantees: `Ok` means that the server said "end" by one of these rules; an error means that nothing may be concluded,
//! pages already handed out included. One page is held at a time (and the ids of the one before).
//!
//! Assumptions: offset pages shift while rows change. Rows may therefore come twice (they are passed on twice: the caller
//! keeps them by id) or be skipped (the next pass catches them; the caller asks for the open ones by id).

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{Api, ApiError, CommissionQuery};
use crate::domain::{Commission, CommissionId, CommissionStatus};

/// The page size asked for: the documented maximum.
pub const PER_PAGE: u32 = 100;

/// The documented default page size.
const DEFAULT_PER_PAGE: usize = 20;

/// Pages after which a listing is taken for endless: two million rows.
const PAGES_MAX: u32 = 20_000;

/// What a whole listing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listed {
    /// All rows that the server gave, twins and those off the filter included.
    pub rows: u64,
    /// Requests that were answered, the empty last page included.
    pub pages: u64,
    /// Rows that are pending or denied although only approved ones were asked for; dropped. One of an unknown status is
    /// handed on: its status may be a new word for approved, and nobody would miss it.
    pub off_filter: u64,
}

/// Why nothing may be concluded from a listing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ListingError {
    /// A page could not be had.
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

/// Lists the approved and unfulfilled, whole. `on_page` gets the rows of each page that are approved, or of an
/// unknown status; nothing may be acted upon before this function has returned `Ok`.
pub async fn unfulfilled(api: &impl Api, mut on_page: impl FnMut(Vec<Commission>)) -> Result<Listed, ListingError> {
    let mut listed = Listed::default();
    let mut end = End::default();
    for page in 1..=PAGES_MAX {
        let mut rows = api.commissions(&query(&[], true, Some(false), page)).await?;
        let length = rows.len();
        listed.pages += 1;
        listed.rows += length as u64;
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
    /// All of these, in one request a page.
    pub asked: &'a [CommissionId],
    /// Once all of these have come, the rest is not read.
    pub wanted: &'a [CommissionId],
    /// Until all of these have come, a short first page is not taken for the end: the server may cap its pages.
    pub expected: &'a [CommissionId],
    /// `filters[fulfilled]`; none: whether or not.
    pub fulfilled: Option<bool>,
}

/// Asks for single commissions, whatever their status. Those that do not exist, or that are on the other side of
/// `fulfilled`, do not come back. In the order of their ids.
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
            // The whole answer is one page that no documented page size has cut, whatever `page` says.
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

/// Asks for single commissions wherever they stand, in any number: what does not come back does not exist.
///
/// One request for 100 ids where all of them come back. A row's absence is worth one more request: then only an empty page
/// is the end.
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

/// What has been learnt of the server's paging so far.
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
