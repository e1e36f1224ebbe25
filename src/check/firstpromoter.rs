//! FirstPromoter: reachable, the key accepted, the listing as expected, the filters honoured, `/rewards` readable, the clock.
//!
//! Five questions: the first page of the fulfilled, the first page of the unfulfilled, some ids under both values of the
//! filter, and `/rewards`. A second page is one more question, and so is each question that `firstpromoter::truth` repeats with
//! more canaries. The ids are asked about as in a pass, with the same proofs: whatever a pass refuses to believe fails here.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use chrono::TimeDelta;

use super::Check;
use crate::{
    clock::SystemClock,
    config::{RecipientPolicy, Settings},
    domain::{Amount, Commission, CommissionId, CommissionStatus, Unit},
    firstpromoter::{
        Api, ApiError, Client, CommissionQuery, ListingError, RewardRule, Sample, Truth, TruthError,
        listing::PER_PAGE,
        truth::{Answers, Canaries},
    },
};

/// The limit for all questions together, not counting the waits of the pace.
const PATIENCE: Duration = Duration::from_mins(1);

/// About how many questions there are, with second pages.
const QUESTIONS: u32 = 8;

/// How many ids of each listing are asked for again.
const ASKED_AGAIN: usize = 2;

/// How many of the rewards that the ledger knows as fulfilled are looked at one by one. All of them are canaries.
const LOOKED_AT: usize = 3;

/// How far the clocks may differ.
const CLOCK_MAX: TimeDelta = TimeDelta::seconds(60);

const REACHABLE: &str = "FirstPromoter";
const LISTING: &str = "listing";
const STATUS: &str = "filter status";
const FULFILLED: &str = "filter fulfilled";
const IDS: &str = "filter ids";
const REWARDS: &str = "rewards";
const CLOCK: &str = "clock";

const ASK_SUPPORT: &str =
    "check firstpromoter.base_url, and ask FirstPromoter's support; no pass delivers anything like this";

/// Asks FirstPromoter and judges the answers. `canaries`: rewards that the ledger knows as fulfilled.
pub(super) async fn firstpromoter(
    client: &Client<SystemClock>,
    settings: &Settings,
    canaries: &[CommissionId],
) -> Vec<Check> {
    let patience = patience(settings.firstpromoter.requests_per_minute);
    within(patience, client, settings.policy.recipient, canaries).await
}

/// A slow pace of our own does not mean that FirstPromoter is slow.
fn patience(requests_per_minute: u32) -> Duration {
    PATIENCE + Duration::from_mins(u64::from(QUESTIONS / requests_per_minute.max(1)))
}

async fn within(
    patience: Duration,
    client: &Client<SystemClock>,
    recipient: RecipientPolicy,
    canaries: &[CommissionId],
) -> Vec<Check> {
    let mut checks = Vec::new();
    if tokio::time::timeout(patience, ask_all(client, recipient, canaries, &mut checks)).await.is_err() {
        let detail = format!("FirstPromoter did not answer everything within {} s", patience.as_secs_f32());
        checks.push(Check::failed("FirstPromoter in time", detail, "check again later; a pass waits longer"));
    }
    checks.extend(client.server_is_ahead_by().map(clock));
    checks
}

async fn ask_all(
    client: &Client<SystemClock>,
    recipient: RecipientPolicy,
    canaries: &[CommissionId],
    checks: &mut Vec<Check>,
) {
    let asked = async {
        let fulfilled = client.sample(&query(&[], true)).await?;
        let unfulfilled = client.sample(&query(&[], false)).await?;
        Ok(Listings { fulfilled, unfulfilled })
    };
    let listings = match asked.await {
        Ok(listings) => listings,
        Err(error) => return checks.push(refused(REACHABLE, &error)),
    };
    checks.push(Check::ok(REACHABLE, format!("{} answers, and takes the key", client.host())));
    checks.push(listings.shape());
    checks.push(listings.status());
    let asked = listings.to_ask_again(canaries);
    match ask_by_ids(client, &listings, &asked, canaries).await {
        Ok(answers) => {
            checks.push(listings.judge_fulfilled(&answers, canaries));
            checks.push(listings.judge_ids(&asked));
        }
        Err(TruthError::Listing(error)) => checks.push(not_listed(&error)),
        Err(error @ (TruthError::BothWays(_) | TruthError::SilentCanary(_))) => {
            checks.push(filter_broken(&error));
            checks.push(listings.judge_ids(&asked));
        }
    }
    checks.push(match recipient {
        RecipientPolicy::Always(kind) => Check::ok(REWARDS, format!("not needed: policy.recipient is {kind}")),
        RecipientPolicy::Auto => match client.rewards().await {
            Ok(rules) => rewards(&rules),
            Err(error) => rewards_refused(&error),
        },
    });
}

fn query(ids: &[CommissionId], fulfilled: bool) -> CommissionQuery {
    let approved_only = ids.is_empty();
    CommissionQuery { ids: ids.to_vec(), approved_only, fulfilled: Some(fulfilled), page: 1, per_page: PER_PAGE }
}

/// What to do about an answer that would stop every pass.
fn refused(name: &str, error: &ApiError) -> Check {
    match error {
        ApiError::Transient { what, detail } => Check::failed(
            name,
            format!("{what}: {detail}"),
            "check the network and firstpromoter.base_url; if both are right, check again later",
        ),
        ApiError::Rejected { what, status, detail } => Check::failed(
            name,
            format!("{what}: refused with {status}: {detail}"),
            "check firstpromoter.base_url and firstpromoter.account_id",
        ),
        ApiError::Fatal { what, detail, .. } => {
            let (detail, remedy) = detail.rsplit_once("; ").unwrap_or((detail, "check firstpromoter.base_url"));
            Check::failed(name, format!("{what}: {detail}"), remedy)
        }
    }
}

/// The first pages, as they came.
struct Listings {
    fulfilled: Sample,
    unfulfilled: Sample,
}

/// Asks about these as a pass does; nothing where there are none.
async fn ask_by_ids(
    client: &Client<SystemClock>,
    listings: &Listings,
    asked: &BTreeSet<CommissionId>,
    canaries: &[CommissionId],
) -> Result<Answers, TruthError> {
    let unfulfilled = listings.unfulfilled.rows.iter().map(|row| row.id).collect();
    let canaries = Canaries { fulfilled: canaries.to_vec(), unfulfilled };
    let ids: Vec<CommissionId> = asked.iter().copied().collect();
    Truth::new(client, &SystemClock, canaries).either(&ids).await
}

/// Why the question about single commissions failed.
fn not_listed(error: &ListingError) -> Check {
    match error {
        ListingError::Api(error) => refused(IDS, error),
        ListingError::FilterIgnored { unasked } => Check::failed(
            IDS,
            format!("commission {unasked} came, which was not asked for: the filter is ignored"),
            ASK_SUPPORT,
        ),
        ListingError::PageIgnored { .. } | ListingError::TooManyPages => {
            let text = error.to_string();
            let (detail, remedy) = text.rsplit_once("; ").unwrap_or((&text, ASK_SUPPORT));
            Check::failed(IDS, detail, remedy)
        }
    }
}

/// A filter that no pass would believe.
fn filter_broken(error: &TruthError) -> Check {
    match error {
        TruthError::BothWays(id) => {
            let detail = format!("commission {id} is listed as fulfilled and as unfulfilled: the filter is ignored");
            Check::failed(FULFILLED, detail, ASK_SUPPORT)
        }
        TruthError::SilentCanary(id) => Check::failed(
            FULFILLED,
            format!(
                "commission {id}, fulfilled according to the ledger, is listed as unfulfilled, and none of the latest as fulfilled"
            ),
            format!(
                "look at {id} in FirstPromoter: if it should be fulfilled, mark it so there; if the list is wrong, ask FirstPromoter's support"
            ),
        ),
        TruthError::Listing(error) => not_listed(error),
    }
}

impl Listings {
    fn rows(&self) -> impl Iterator<Item = &Commission> {
        self.fulfilled.rows.iter().chain(&self.unfulfilled.rows)
    }

    fn overlap(&self) -> Vec<CommissionId> {
        let fulfilled: HashSet<CommissionId> = self.fulfilled.rows.iter().map(|row| row.id).collect();
        self.unfulfilled.rows.iter().map(|row| row.id).filter(|id| fulfilled.contains(id)).collect()
    }

    /// Whether the rows have what a decision needs.
    fn shape(&self) -> Check {
        let rows = self.rows().count();
        let form = if self.unfulfilled.wrapped { "an object with `data`" } else { "a bare array" };
        let lacking = |what: &'static str, lacks: &dyn Fn(&Commission) -> bool| {
            let count = self.rows().filter(|row| row.unit != Unit::Cash && lacks(row)).count();
            (count > 0).then(|| format!("{count} without {what}"))
        };
        let no_word = |word: &str| word.is_empty();
        let missing: Vec<String> = [
            lacking("a status", &|row| no_word(row.status.as_str())),
            lacking("a unit", &|row| no_word(row.unit.as_str())),
            lacking("an amount", &|row| matches!(&row.amount, Amount::Odd(text) if text.is_empty())),
            lacking("promoter and referral", &|row| row.promoter.known().is_none() && row.referral.known().is_none()),
        ]
        .into_iter()
        .flatten()
        .collect();
        if missing.is_empty() {
            return Check::ok(LISTING, format!("{form}; {rows} rows on the first pages have what is needed"));
        }
        Check::warning(
            LISTING,
            format!("{form}; of {rows} rows on the first pages {}", missing.join(", ")),
            "such rewards are held or left alone: look at one of them in FirstPromoter, and ask its support",
        )
    }

    fn status(&self) -> Check {
        let rows = self.rows().count();
        match self.rows().find(|row| row.status != CommissionStatus::Approved) {
            None => Check::ok(STATUS, format!("asked for the approved; all of {rows} rows are")),
            Some(row) => Check::warning(
                STATUS,
                format!("asked for the approved, and commission {} came, which is {:?}", row.id, row.status.as_str()),
                "nothing wrong is delivered (each row is looked at), but passes read more than they need: tell FirstPromoter's support",
            ),
        }
    }

    /// The latest rewards that the ledger knows as fulfilled, any that both listings have, and some of each listing.
    fn to_ask_again(&self, canaries: &[CommissionId]) -> BTreeSet<CommissionId> {
        let some = |sample: &Sample| sample.rows.iter().map(|row| row.id).take(ASKED_AGAIN).collect::<Vec<_>>();
        let both = self.overlap().into_iter().take(ASKED_AGAIN);
        let latest = canaries.iter().copied().take(LOOKED_AT);
        latest.chain(both).chain(some(&self.fulfilled)).chain(some(&self.unfulfilled)).collect()
    }

    /// The answers are proved. A reward that the ledger knows as fulfilled may still be unfulfilled.
    fn judge_fulfilled(&self, answers: &Answers, canaries: &[CommissionId]) -> Check {
        let latest = &canaries[..canaries.len().min(LOOKED_AT)];
        let contradicts = |id: &&CommissionId| answers.unfulfilled.get(id).is_some_and(Commission::can_be_fulfilled);
        if let Some(id) = latest.iter().find(contradicts) {
            return Check::warning(
                FULFILLED,
                format!("honoured, but commission {id}, fulfilled according to the ledger, is listed as unfulfilled"),
                format!("see `makegood show {id}`, and mark it fulfilled in FirstPromoter, if it should be"),
            );
        }
        let right = latest.iter().filter(|id| answers.fulfilled.contains(id)).count();
        let (yes, no) = (self.fulfilled.rows.len(), self.unfulfilled.rows.len());
        let detail = if right > 0 {
            format!("asked both ways: what the ledger knows as fulfilled ({right} asked for) is, and no id is both")
        } else if yes > 0 && no > 0 {
            format!("asked both ways: {yes} fulfilled and {no} not on the first pages, and no id is both")
        } else {
            format!("cannot be told yet: {yes} fulfilled and {no} not; each pass proves it before it delivers")
        };
        Check::ok(FULFILLED, detail)
    }

    /// Other ids in the answer would have failed the question before.
    fn judge_ids(&self, asked: &BTreeSet<CommissionId>) -> Check {
        let others = self.rows().filter(|row| !asked.contains(&row.id)).count();
        if asked.is_empty() || others == 0 {
            return Check::ok(
                IDS,
                "cannot be told yet: there are too few commissions; each pass proves it before it delivers",
            );
        }
        Check::ok(IDS, format!("asked for {}, and no other came", asked.len()))
    }
}

fn rewards(rules: &[RewardRule]) -> Check {
    let of = |promoter: bool| rules.iter().filter(|rule| rule.is_promoter_reward == Some(promoter)).count();
    let silent: Vec<String> =
        rules.iter().filter(|rule| rule.is_promoter_reward.is_none()).map(|rule| rule.id.to_string()).collect();
    let detail = format!("readable: {} for promoters, {} for referrals", of(true), of(false));
    if silent.is_empty() {
        return Check::ok(REWARDS, detail);
    }
    Check::warning(
        REWARDS,
        format!("{detail}; who receives is not said of {}", silent.join(", ")),
        "rewards of these are held as recipient_unknown: set policy.recipient to promoter or referral",
    )
}

fn rewards_refused(error: &ApiError) -> Check {
    match error.status() {
        Some(status @ (403 | 404)) => Check::warning(
            REWARDS,
            format!("this key may not read /rewards ({status}), so that it cannot be told who receives a reward"),
            "set policy.recipient to promoter or referral, or give the key the right; until then such rewards are held as recipient_unknown",
        ),
        Some(_) | None => refused(REWARDS, error),
    }
}

fn clock(ahead: TimeDelta) -> Check {
    let seconds = ahead.num_seconds();
    let detail = match seconds {
        -1..=1 => "agrees with FirstPromoter's".to_owned(),
        2.. => format!("FirstPromoter's is {seconds} s ahead"),
        _ => format!("FirstPromoter's is {} s behind", -seconds),
    };
    if ahead.abs() > CLOCK_MAX {
        let remedy = "let the system keep the time (systemd-timesyncd, chrony): grace periods and signatures go by it";
        return Check::warning(CLOCK, detail, remedy);
    }
    Check::ok(CLOCK, detail)
}

#[cfg(test)]
mod tests;
