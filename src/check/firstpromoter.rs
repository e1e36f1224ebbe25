//! FirstPromoter: reachable, the key accepted, the listing as expected, the filters honoured, `/rewards` readable, the clock.
//!
//! At most five questions: the first pages of what is fulfilled and of what is not, the same of some ids, and `/rewards`
//! (one more where there are more than 20 rules). Fulfilled is asked for before unfulfilled: what is marked in between is
//! then in neither answer, and never in both.

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
    firstpromoter::{Api, ApiError, Client, CommissionQuery, RewardRule, Sample, listing::PER_PAGE},
};

/// All the questions together take no longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many ids of each listing are asked for again.
const ASKED_AGAIN: usize = 2;

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

/// Asks, and judges. `canaries` are what the ledger knows as fulfilled.
pub(super) async fn firstpromoter(
    client: &Client<SystemClock>,
    settings: &Settings,
    canaries: &[CommissionId],
) -> Vec<Check> {
    within(PATIENCE, client, settings.policy.recipient, canaries).await
}

async fn within(
    patience: Duration,
    client: &Client<SystemClock>,
    recipient: RecipientPolicy,
    canaries: &[CommissionId],
) -> Vec<Check> {
    let mut checks = Vec::new();
    if tokio::time::timeout(patience, ask_all(client, recipient, canaries, &mut checks)).await.is_err() {
        let detail = format!("not all the answers came within {} s", patience.as_secs_f32());
        checks.push(Check::failed("FirstPromoter in time", detail, "check again later; a pass is more patient"));
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
    match ask_by_ids(client, &listings, canaries).await {
        Ok(by_ids) => {
            checks.push(listings.judge_fulfilled(&by_ids, canaries));
            checks.push(listings.judge_ids(&by_ids));
        }
        Err(error) => checks.push(refused(IDS, &error)),
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

/// What to do about an answer that stops every pass.
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

/// The same ids, asked for both ways.
#[derive(Default)]
struct ByIds {
    asked: BTreeSet<CommissionId>,
    fulfilled: HashSet<CommissionId>,
    unfulfilled: HashSet<CommissionId>,
    /// Of the unfulfilled those that could be fulfilled.
    contradicting: HashSet<CommissionId>,
}

/// The canaries, and some of each listing; nothing where there are none.
async fn ask_by_ids(
    client: &Client<SystemClock>,
    listings: &Listings,
    canaries: &[CommissionId],
) -> Result<ByIds, ApiError> {
    let both = listings.overlap();
    let some = |sample: &Sample| sample.rows.iter().map(|row| row.id).take(ASKED_AGAIN).collect::<Vec<_>>();
    let asked: BTreeSet<CommissionId> = canaries
        .iter()
        .copied()
        .chain(both.into_iter().take(ASKED_AGAIN))
        .chain(some(&listings.fulfilled))
        .chain(some(&listings.unfulfilled))
        .collect();
    if asked.is_empty() {
        return Ok(ByIds::default());
    }
    let ids: Vec<CommissionId> = asked.iter().copied().collect();
    let fulfilled = client.commissions(&query(&ids, true)).await?;
    let unfulfilled = client.commissions(&query(&ids, false)).await?;
    let set = |rows: &[Commission]| rows.iter().map(|row| row.id).collect();
    let contradicting = unfulfilled.iter().filter(|row| row.can_be_fulfilled()).map(|row| row.id).collect();
    Ok(ByIds { asked, fulfilled: set(&fulfilled), unfulfilled: set(&unfulfilled), contradicting })
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

    /// The same id must not be fulfilled and unfulfilled, and what the ledger knows as fulfilled must not be unfulfilled.
    fn judge_fulfilled(&self, by_ids: &ByIds, canaries: &[CommissionId]) -> Check {
        if let Some(id) = by_ids.fulfilled.intersection(&by_ids.unfulfilled).min() {
            let detail = format!("commission {id} is listed as fulfilled and as unfulfilled: the filter is ignored");
            return Check::failed(FULFILLED, detail, ASK_SUPPORT);
        }
        let wrong = canaries.iter().find(|id| by_ids.contradicting.contains(id));
        let right = canaries.iter().filter(|id| by_ids.fulfilled.contains(id)).count();
        let (yes, no) = (self.fulfilled.rows.len(), self.unfulfilled.rows.len());
        match (wrong, right) {
            (Some(id), 0) => {
                let detail = format!(
                    "commission {id}, fulfilled according to the ledger, is listed as unfulfilled, and none of the latest as fulfilled"
                );
                Check::failed(
                    FULFILLED,
                    detail,
                    format!(
                        "look at {id} in FirstPromoter: if it should be fulfilled, mark it so there; if the list is wrong, ask FirstPromoter's support"
                    ),
                )
            }
            (Some(id), _) => Check::warning(
                FULFILLED,
                format!("honoured, but commission {id}, fulfilled according to the ledger, is listed as unfulfilled"),
                format!("see `makegood show {id}`, and mark it fulfilled in FirstPromoter, if it should be"),
            ),
            (None, 1..) => Check::ok(
                FULFILLED,
                format!(
                    "asked both ways: what the ledger knows as fulfilled ({right} asked for) is, and no id is both"
                ),
            ),
            (None, 0) if yes > 0 && no > 0 => Check::ok(
                FULFILLED,
                format!("asked both ways: {yes} fulfilled and {no} not on the first pages, and no id is both"),
            ),
            (None, 0) => Check::ok(
                FULFILLED,
                format!("cannot be told yet: {yes} fulfilled and {no} not; each pass proves it before it delivers"),
            ),
        }
    }

    fn judge_ids(&self, by_ids: &ByIds) -> Check {
        let unasked = by_ids.fulfilled.union(&by_ids.unfulfilled).find(|id| !by_ids.asked.contains(id));
        if let Some(id) = unasked {
            return Check::failed(
                IDS,
                format!("commission {id} came, which was not asked for: the filter is ignored"),
                ASK_SUPPORT,
            );
        }
        let others = self.rows().filter(|row| !by_ids.asked.contains(&row.id)).count();
        let asked = by_ids.asked.len();
        if asked == 0 || others == 0 {
            return Check::ok(
                IDS,
                "cannot be told yet: there are too few commissions; each pass proves it before it delivers",
            );
        }
        Check::ok(IDS, format!("asked for {asked}, and no other came"))
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
mod tests {
    use super::{super::Verdict, *};
    use crate::{config::FirstPromoterSettings, firstpromoter::wire};

    fn sample(rows: &str) -> Sample {
        Sample { rows: wire::commissions(rows).unwrap(), wrapped: false }
    }

    fn approved(ids: &[i64]) -> Sample {
        let row = |id: &i64| format!(r#"{{"id":{id},"status":"approved","unit":"points","amount":5,"promoter_id":1}}"#);
        sample(&format!("[{}]", ids.iter().map(row).collect::<Vec<_>>().join(",")))
    }

    fn ids(ids: &[i64]) -> Vec<CommissionId> {
        ids.iter().copied().map(CommissionId).collect()
    }

    #[tokio::test]
    async fn a_check_ends_in_time_however_slow_firstpromoter_is() {
        // Accepted by the kernel, never answered.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = FirstPromoterSettings {
            account_id: "12345".to_owned(),
            base_url: format!("http://{}", silent.local_addr().unwrap()).parse().unwrap(),
            requests_per_minute: 300,
            timeout: Duration::from_mins(10),
        };
        let client = Client::new(&settings, &"key".into(), SystemClock).unwrap();
        let checks = within(Duration::from_millis(200), &client, RecipientPolicy::Auto, &[]).await;
        assert_eq!(checks.len(), 1, "{checks:?}");
        assert_eq!(
            (checks[0].result, checks[0].detail.contains("within 0.2 s")),
            (Verdict::Failed, true),
            "{checks:?}"
        );
    }

    #[test]
    fn the_clock_may_be_a_minute_off() {
        for (seconds, result) in
            [(0, Verdict::Ok), (60, Verdict::Ok), (-60, Verdict::Ok), (61, Verdict::Warning), (-61, Verdict::Warning)]
        {
            assert_eq!(clock(TimeDelta::seconds(seconds)).result, result, "{seconds}");
        }
        assert!(clock(TimeDelta::seconds(-90)).detail.contains("90 s behind"));
        assert!(clock(TimeDelta::seconds(90)).detail.contains("90 s ahead"));
    }

    #[test]
    fn rows_that_lack_what_a_decision_needs_are_counted() {
        let rows = r#"[{"id":1,"status":"approved","unit":"points","promoter_id":1},{"id":2,"unit":"cash"},{"id":3,"status":"approved","amount":1}]"#;
        let check = Listings { fulfilled: approved(&[]), unfulfilled: sample(rows) }.shape();
        assert_eq!(check.result, Verdict::Warning);
        for words in ["1 without an amount", "1 without a unit", "1 without promoter and referral"] {
            assert!(check.detail.contains(words), "{words}: {check:?}");
        }
        assert!(!check.detail.contains("status"), "cash is none of our business: {check:?}");
    }

    #[test]
    fn the_filter_fulfilled_is_judged_by_what_is_both_and_by_what_the_ledger_knows() {
        for (name, yes, no, by_yes, by_no, canaries, result) in [
            ("honoured", &[1, 2][..], &[3][..], &[1][..], &[3][..], &[][..], Verdict::Ok),
            ("ignored", &[1, 2], &[1, 2], &[1, 2], &[1, 2], &[], Verdict::Failed),
            ("marked in between", &[1], &[1, 3], &[1], &[3], &[], Verdict::Ok),
            ("yes is nothing, no is everything", &[], &[1, 9], &[], &[1, 9], &[9], Verdict::Failed),
            ("one was taken back", &[8], &[1, 9], &[8], &[1, 9], &[8, 9], Verdict::Warning),
            ("a canary that is gone", &[8], &[1], &[8], &[1], &[9], Verdict::Ok),
            ("nothing there", &[], &[], &[], &[], &[], Verdict::Ok),
        ] {
            let listings = Listings { fulfilled: approved(yes), unfulfilled: approved(no) };
            let set = |numbers: &[i64]| ids(numbers).into_iter().collect::<HashSet<_>>();
            let (fulfilled, unfulfilled) = (set(by_yes), set(by_no));
            let by_ids = ByIds { asked: BTreeSet::new(), fulfilled, contradicting: unfulfilled.clone(), unfulfilled };
            let check = listings.judge_fulfilled(&by_ids, &ids(canaries));
            assert_eq!(check.result, result, "{name}: {check:?}");
            assert_eq!(check.what_to_do.is_some(), result != Verdict::Ok, "{name}");
            let by_ids = ByIds { contradicting: HashSet::new(), ..by_ids };
            let denied = listings.judge_fulfilled(&by_ids, &ids(canaries));
            assert!(name == "ignored" || denied.result == Verdict::Ok, "{name}, but all of the wrong ones were denied");
        }
    }

    #[test]
    fn rules_that_do_not_say_who_receives_are_named() {
        let rule = |id, is_promoter_reward| RewardRule { id, name: None, is_promoter_reward };
        assert_eq!(rewards(&[rule(1, Some(true)), rule(2, Some(false))]).result, Verdict::Ok);
        let check = rewards(&[rule(1, Some(true)), rule(7, None)]);
        assert_eq!((check.result, check.detail.ends_with("of 7")), (Verdict::Warning, true), "{check:?}");
    }
}
