//! `GET /commissions` as the fake answers it: which filters it knows, which of them it ignores, and how it pages.
//!
//! Filters: the OpenAPI's form (`filters[status]=approved`) and the guide's (`status=approved&unit=points`). Like the real
//! one, it ignores an unknown filter without an error.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use super::{
    commission::{Commission, commission, with_raw_text},
    firstpromoter::State,
    switches::Switches,
};

/// The documented page size, and the largest.
const PER_PAGE: usize = 20;
const PER_PAGE_MAX: usize = 100;

/// One query, without the filters that the server ignores.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    status: Option<String>,
    unit: Option<String>,
    fulfilled: Option<bool>,
    cash_has_fulfilment: bool,
    yes_is_nothing: bool,
    paid: Option<bool>,
    campaigns: BTreeSet<i64>,
    promoters: BTreeSet<i64>,
    fraud_checks: BTreeSet<String>,
    created_from: Option<NaiveDate>,
    created_to: Option<NaiveDate>,
    ids: BTreeSet<i64>,
    text: Option<String>,
    oldest_first: bool,
    always: Vec<i64>,
}

/// The page that a query asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Page {
    number: usize,
    size: usize,
}

impl Filter {
    /// Reads the query's pairs as the server does under these switches.
    pub fn read(pairs: &[(String, String)], switches: &Switches) -> Self {
        let mut filter = Self { always: switches.always_listed.clone(), ..Self::default() };
        for (name, value) in pairs {
            filter.read_pair(name, value);
        }
        let ignored = &switches.ignored_filters;
        if ignored.all {
            return Self { always: filter.always, oldest_first: filter.oldest_first, ..Self::default() };
        }
        if ignored.status {
            filter.status = None;
        }
        if ignored.fulfilled {
            filter.fulfilled = None;
        }
        if ignored.ids {
            filter.ids.clear();
        }
        filter.cash_has_fulfilment = switches.cash_in_fulfilled_listing;
        if switches.fulfilled_yes_is_nothing_no_is_everything {
            filter.yes_is_nothing = filter.fulfilled == Some(true);
            filter.fulfilled = None;
        }
        filter
    }

    fn read_pair(&mut self, name: &str, value: &str) {
        let yes_no = match value {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        };
        match name {
            "status" | "filters[status]" => self.status = Some(value.to_owned()),
            "unit" => self.unit = Some(value.to_owned()),
            "filters[fulfilled]" => self.fulfilled = yes_no,
            "filters[paid]" => self.paid = yes_no,
            "filters[campaign_id]" | "filters[campaign_id][]" => self.campaigns.extend(value.parse::<i64>().ok()),
            "filters[promoter_id]" => self.promoters.extend(value.parse::<i64>().ok()),
            "filters[fraud_check]" | "filters[fraud_check][]" => drop(self.fraud_checks.insert(value.to_owned())),
            "filters[created_at][from]" => self.created_from = value.parse().ok(),
            "filters[created_at][to]" => self.created_to = value.parse().ok(),
            "ids[]" => self.ids.extend(value.parse::<i64>().ok()),
            "q" => self.text = Some(value.to_lowercase()),
            "sorting[created_at]" => self.oldest_first = value == "asc",
            _ => {}
        }
    }

    /// Whether the commission is listed; `fulfilled` as this listing sees it (a replica may lag).
    fn lists(&self, commission: &Commission, fulfilled: bool) -> bool {
        if self.always.contains(&commission.id) {
            return true;
        }
        let wants = |set: &BTreeSet<i64>, id: Option<i64>| set.is_empty() || id.is_some_and(|id| set.contains(&id));
        let created = commission.created_at.map(|at| at.date_naive());
        !self.yes_is_nothing
            && wants(&self.ids, Some(commission.id))
            && self.status.as_ref().is_none_or(|status| *status == commission.status)
            && self.unit.as_ref().is_none_or(|unit| *unit == commission.unit)
            && self.fulfilled.is_none_or(|yes| {
                // Only non-monetary commissions can be fulfilled (OpenAPI, `CommissionFilters.fulfilled`).
                if commission.is_cash() { self.cash_has_fulfilment && !yes } else { yes == fulfilled }
            })
            && self.paid.is_none_or(|yes| commission.is_cash() && yes == commission.is_paid)
            && wants(&self.campaigns, commission.campaign.as_ref().map(|campaign| campaign.id))
            && wants(&self.promoters, commission.promoter.as_ref().map(|promoter| promoter.id))
            && (self.fraud_checks.is_empty()
                || commission.fraud_check.as_ref().is_some_and(|check| self.fraud_checks.contains(check)))
            && self.created_from.is_none_or(|from| created.is_some_and(|created| created >= from))
            && self.created_to.is_none_or(|to| created.is_some_and(|created| created <= to))
            && self.text.as_ref().is_none_or(|text| mentions(commission, text))
    }
}

fn mentions(commission: &Commission, text: &str) -> bool {
    let promoter = commission.promoter.iter().flat_map(|promoter| [&promoter.email, &promoter.name]);
    let referral = commission.referral.iter().flat_map(|referral| [Some(&referral.email), referral.uid.as_ref()]);
    promoter.chain(referral.flatten()).any(|word| word.to_lowercase().contains(text))
}

impl Page {
    /// Reads `page` and `per_page` as the server does under these switches.
    pub fn read(pairs: &[(String, String)], switches: &Switches) -> Self {
        let number = |wanted: &str| {
            pairs.iter().rev().find(|(name, _)| name == wanted).and_then(|(_, value)| value.parse::<usize>().ok())
        };
        let asked = if switches.per_page_ignored { None } else { number("per_page") };
        let cap = switches.per_page_cap.unwrap_or(PER_PAGE_MAX);
        Self {
            number: if switches.page_ignored { 1 } else { number("page").unwrap_or(1).max(1) },
            size: asked.unwrap_or(PER_PAGE).clamp(1, cap),
        }
    }
}

/// The rows of the last listing, kept while neither the question nor the world changes: a listing of 200,000 rows is
/// 2,000 pages.
#[derive(Default)]
pub struct Remembered {
    version: u64,
    filter: Filter,
    ids: Vec<i64>,
}

impl State {
    /// One page as JSON texts, computed from the present data. When rows leave between two pages, other rows are
    /// skipped.
    pub(super) fn list(&mut self, filter: Filter, page: Page) -> Vec<String> {
        let also_listed = if filter.ids.is_empty() { self.switches.also_listed } else { 0 };
        if self.remembered.version != self.version || self.remembered.filter != filter {
            let mut rows: Vec<_> =
                self.commissions.values().filter(|row| filter.lists(row, self.seems_fulfilled(row))).collect();
            rows.sort_by_key(|row| (row.created_at, row.id));
            if !filter.oldest_first {
                rows.reverse();
            }
            let ids = rows.iter().map(|row| row.id).collect();
            self.remembered = Remembered { version: self.version, filter, ids };
        }
        let flat = self.switches.flat;
        let start = (page.number - 1).saturating_mul(page.size);
        let kept = self.remembered.ids.len();
        let ids = self.remembered.ids.iter().skip(start).take(page.size);
        let rows = ids.filter_map(|id| self.commissions.get(id)).map(|row| with_raw_text(&row.wire(flat).to_string()));
        let mut rows: Vec<String> = rows.collect();
        let (from, to) = (start.max(kept), start.saturating_add(page.size).min(kept + also_listed));
        if from < to {
            rows.extend(strangers(from - kept..to - kept, flat));
        }
        rows
    }
}

/// Rows of `also_listed` by number. Written once and then only numbered: there may be hundreds of thousands.
fn strangers(numbers: std::ops::Range<usize>, flat: bool) -> impl Iterator<Item = String> {
    const ID: i64 = 987_654_321;
    let row = commission(ID).approved("2025-01-19T10:30:00Z");
    let kinds = [row.clone().cash(4900), row.campaign(99, "Autumn")].map(|row| row.wire(flat).to_string());
    numbers.map(move |number| kinds[number % kinds.len()].replace(&ID.to_string(), &(500_000_000 + number).to_string()))
}
