//! A stateful FirstPromoter: its data, the verbs for tests, and its answers.
//!
//! Guarantees: it demands both headers. It counts every request before anything else happens to it. A request whose fault
//! prevents its effect changes nothing. Source: the vendor's OpenAPI files and guide. Where they say nothing, it does
//! what is harder for makegood.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    actions::Batch,
    commission::{Commission, Timestamp, now},
    fault::{Fault, first_of},
    http::{Ask, Party, Reply, lock},
    listing::{Filter, Page, Remembered},
    switches::{Faults, RateLimit, Switches},
};

/// The path before `/commissions`.
pub const BASE_PATH: &str = "/api/v2/company";

/// How many requests the log keeps.
const LOG_MAX: usize = 10_000;

/// The endpoint of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `GET /commissions` without `ids[]`.
    Listing,
    /// `GET /commissions` with `ids[]`: confirms, reads back, and asks for commissions that were not listed.
    ByIds,
    /// `POST /commissions/mark_fulfilled`
    Mark,
    /// `POST /commissions/mark_unfulfilled`
    Unmark,
    /// `POST /commissions/approve`
    Approve,
    /// `POST /commissions/deny`
    Deny,
    /// `GET /batch_processes/{id}`
    Batch,
    /// `GET /rewards`
    Rewards,
    /// Any other address.
    Elsewhere,
}

impl Endpoint {
    fn of(ask: &Ask) -> Self {
        let path = ask.path.strip_prefix(BASE_PATH).unwrap_or_default();
        match (ask.method.as_str(), path) {
            ("GET", "/commissions") if ask.pairs().iter().any(|(name, _)| name == "ids[]") => Self::ByIds,
            ("GET", "/commissions") => Self::Listing,
            ("POST", "/commissions/mark_fulfilled") => Self::Mark,
            ("POST", "/commissions/mark_unfulfilled") => Self::Unmark,
            ("POST", "/commissions/approve") => Self::Approve,
            ("POST", "/commissions/deny") => Self::Deny,
            ("GET", path) if path.starts_with("/batch_processes/") => Self::Batch,
            ("GET", "/rewards") => Self::Rewards,
            _ => Self::Elsewhere,
        }
    }
}

/// The rule that a reward comes from, as `GET /rewards` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    pub id: i64,
    pub name: String,
    pub is_promoter_reward: bool,
    pub unit: String,
    pub amount: i64,
}

type Action = Box<dyn FnOnce(&FirstPromoter) + Send>;

/// An action that runs after the answer to a certain request is made.
struct Planned {
    endpoint: Endpoint,
    nth: u64,
    action: Action,
}

/// The data of FirstPromoter, and the counters and switches of the test.
pub struct State {
    pub account_id: String,
    pub api_key: String,
    pub faults: Faults,
    pub switches: Switches,
    /// None: no limit.
    pub rate_limit: Option<RateLimit>,
    pub rewards: BTreeMap<i64, Reward>,
    /// All requests, with and without faults.
    pub requests: u64,
    /// Those that are not GET.
    pub writes: u64,
    /// All requests, by endpoint.
    pub by_endpoint: BTreeMap<Endpoint, u64>,
    /// The last 10,000 requests.
    pub log: VecDeque<Ask>,
    /// The time of this server. None: the machine's time.
    pub clock: Option<Timestamp>,
    pub(super) commissions: BTreeMap<i64, Commission>,
    /// Grows with every change that a listing may show.
    pub(super) version: u64,
    pub(super) remembered: Remembered,
    pub(super) batches: BTreeMap<i64, Batch>,
    /// By id: the value of `fulfilled` that listings still show, and how many listings show it.
    lagging: BTreeMap<i64, (bool, u32)>,
    recent: VecDeque<Instant>,
    planned: Vec<Planned>,
}

impl State {
    /// Whether a listing shows it as fulfilled.
    pub(super) fn seems_fulfilled(&self, commission: &Commission) -> bool {
        self.lagging.get(&commission.id).map_or(commission.fulfilled, |(before, _)| *before)
    }

    /// Changes a commission, if there is one.
    pub fn change(&mut self, id: i64, change: impl FnOnce(&mut Commission)) -> bool {
        self.version += 1;
        let Some(commission) = self.commissions.get_mut(&id) else { return false };
        let before = commission.fulfilled;
        change(commission);
        if commission.fulfilled != before && self.switches.replica_lag > 0 {
            self.lagging.insert(id, (before, self.switches.replica_lag));
        }
        true
    }

    /// The time of this server.
    pub fn now(&self) -> Timestamp {
        self.clock.unwrap_or_else(now)
    }

    fn replicas_catch_up(&mut self) {
        if !self.lagging.is_empty() {
            self.version += 1;
            self.lagging.retain(|_, (_, left)| {
                *left -= 1;
                *left > 0
            });
        }
    }

    fn over_limit(&mut self) -> Option<Reply> {
        let limit = self.rate_limit.clone()?;
        let now = Instant::now();
        while self.recent.front().is_some_and(|first| now.duration_since(*first) >= limit.window) {
            self.recent.pop_front();
        }
        if self.recent.len() < limit.requests {
            self.recent.push_back(now);
            return None;
        }
        let mut reply = Reply::error(429, "too_many_requests", "Rate limit exceeded");
        if limit.says_retry_after {
            let left = self
                .recent
                .front()
                .map_or(limit.window, |first| limit.window.saturating_sub(now.duration_since(*first)));
            reply.headers.push(("retry-after".to_owned(), left.as_secs_f64().ceil().to_string()));
        }
        Some(reply)
    }

    fn act(&mut self, endpoint: Endpoint, ask: &Ask) -> Reply {
        let bearer = format!("Bearer {}", self.api_key);
        let known = ask.header("authorization") == Some(&bearer);
        if !known || ask.header("account-id") != Some(&self.account_id) {
            return Reply::empty(401); // documented: no JSON body
        }
        if let Some(refusal) = self.over_limit() {
            return refusal;
        }
        self.end_batches();
        match endpoint {
            Endpoint::Listing | Endpoint::ByIds => {
                let pairs = ask.pairs();
                let rows =
                    self.list(Filter::read(&pairs, &self.switches), Page::read(&pairs, &self.switches)).join(",");
                self.replicas_catch_up();
                let wrapped = self.switches.wrapped;
                let text = if wrapped { format!(r#"{{"data":[{rows}],"meta":{{}}}}"#) } else { format!("[{rows}]") };
                Reply::new(200, "application/json; charset=utf-8", text)
            }
            Endpoint::Mark => self.mark(ask, true),
            Endpoint::Unmark => self.mark(ask, false),
            Endpoint::Approve => self.decide(ask, "approved"),
            Endpoint::Deny => self.decide(ask, "denied"),
            Endpoint::Batch => self.batch(ask),
            Endpoint::Rewards => self.show_rewards(ask),
            Endpoint::Elsewhere => Reply::error(404, "not_found", "Record not found"),
        }
    }

    /// `rewards.json`: `scope` is its only parameter, not paged, and 422 for what it does not know.
    fn show_rewards(&self, ask: &Ask) -> Reply {
        let pairs = ask.pairs();
        if let Some((name, _)) = pairs.iter().find(|(name, _)| name != "scope") {
            return Reply::error(422, "invalid", &format!("unknown parameter: {name}"));
        }
        let scope = pairs.iter().find(|(name, _)| name == "scope").map(|(_, value)| value == "promoters");
        let rewards = self.rewards.values().filter(|reward| scope.is_none_or(|s| s == reward.is_promoter_reward));
        let rows: Vec<_> = rewards
            .map(|reward| {
                json!({
                    "id": reward.id,
                    "name": reward.name,
                    "is_promoter_reward": reward.is_promoter_reward,
                    "promoter_reward_type": if reward.is_promoter_reward { Some("sale") } else { None },
                    "coupon": null,
                    "editable": true,
                    "hide_reward": null,
                    "provider_coupon_id": null,
                    "duration": null,
                    "duration_in_months": null,
                    "max_redemptions": null,
                    "new_customers_only": false,
                    "created_at": "2024-11-01T08:00:00.000Z",
                    "updated_at": "2024-11-01T08:00:00.000Z",
                    "provider": "stripe",
                    "tier_reward_mode": null,
                    "tier_level": null,
                    "schemas": [{ "unit": reward.unit, "amount": reward.amount, "flat_amount": true, "rules": [] }],
                })
            })
            .collect();
        Reply::json(200, &json!(rows))
    }
}

/// A handle on FirstPromoter; a clone is the same FirstPromoter.
#[derive(Clone)]
pub struct FirstPromoter(Arc<Mutex<State>>);

impl FirstPromoter {
    /// An account without commissions, with the rewards of the manual's examples: 9 to promoters, 10 to referrals.
    pub fn new(account_id: &str, api_key: &str) -> Self {
        let this = Self(Arc::new(Mutex::new(State {
            account_id: account_id.to_owned(),
            api_key: api_key.to_owned(),
            faults: Faults::default(),
            switches: Switches::default(),
            rate_limit: Some(RateLimit { requests: 400, window: Duration::from_mins(1), says_retry_after: false }),
            rewards: BTreeMap::new(),
            requests: 0,
            writes: 0,
            by_endpoint: BTreeMap::new(),
            log: VecDeque::new(),
            clock: None,
            commissions: BTreeMap::new(),
            version: 1,
            remembered: Remembered::default(),
            batches: BTreeMap::new(),
            lagging: BTreeMap::new(),
            recent: VecDeque::new(),
            planned: Vec::new(),
        })));
        this.add_reward(9, "500 points per sale", true, "points", 500);
        this.add_reward(10, "50 credits for the friend", false, "credits", 50);
        this
    }

    /// The state: assign faults and switches, read counters. Do not hold it across another verb.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Adds a rule of `GET /rewards`.
    pub fn add_reward(&self, id: i64, name: &str, is_promoter_reward: bool, unit: &str, amount: i64) {
        let reward = Reward { id, name: name.to_owned(), is_promoter_reward, unit: unit.to_owned(), amount };
        self.lock().rewards.insert(id, reward);
    }

    pub fn add(&self, commission: Commission) {
        let mut state = self.lock();
        state.version += 1;
        state.commissions.insert(commission.id, commission);
    }

    pub fn add_all(&self, commissions: impl IntoIterator<Item = Commission>) {
        commissions.into_iter().for_each(|commission| self.add(commission));
    }

    /// Changes a commission; panics when there is none.
    pub fn change(&self, id: i64, change: impl FnOnce(&mut Commission)) {
        assert!(self.lock().change(id, change), "the sandbox has no commission {id}");
    }

    /// Somebody else marks it as fulfilled.
    pub fn fulfil(&self, id: i64) {
        self.change(id, |commission| commission.fulfilled = true);
    }

    pub fn unfulfil(&self, id: i64) {
        self.change(id, |commission| commission.fulfilled = false);
    }

    pub fn approve(&self, id: i64) {
        let now = self.lock().now();
        self.change(id, |commission| commission.approve(Some(now)));
    }

    pub fn deny(&self, id: i64) {
        let now = self.lock().now();
        self.change(id, |commission| {
            "denied".clone_into(&mut commission.status);
            commission.status_updated_at = Some(now);
        });
    }

    pub fn delete(&self, id: i64) {
        let mut state = self.lock();
        state.version += 1;
        assert!(state.commissions.remove(&id).is_some(), "the sandbox has no commission {id}");
    }

    pub fn set_amount(&self, id: i64, amount: i64) {
        self.change(id, |commission| commission.amount = amount);
    }

    /// The commission as it is now.
    pub fn get(&self, id: i64) -> Option<Commission> {
        self.lock().commissions.get(&id).cloned()
    }

    /// All commissions, by id.
    pub fn all(&self) -> Vec<Commission> {
        self.lock().commissions.values().cloned().collect()
    }

    /// Whether it is fulfilled; false when there is none.
    pub fn is_fulfilled(&self, id: i64) -> bool {
        self.get(id).is_some_and(|commission| commission.fulfilled)
    }

    /// The ids of all fulfilled commissions.
    pub fn fulfilled_ids(&self) -> Vec<i64> {
        self.all().iter().filter(|commission| commission.fulfilled).map(|commission| commission.id).collect()
    }

    /// Whether the promoter gets the reward, by its rule. Without a known rule the promoter does.
    pub fn goes_to_promoter(&self, commission: &Commission) -> bool {
        let rule = commission.reward.as_ref().map(|reward| reward.id);
        rule.and_then(|id| self.lock().rewards.get(&id).map(|reward| reward.is_promoter_reward)).unwrap_or(true)
    }

    /// All requests so far.
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// The requests to one endpoint so far.
    pub fn requests_to(&self, endpoint: Endpoint) -> u64 {
        self.lock().by_endpoint.get(&endpoint).copied().unwrap_or_default()
    }

    /// All requests so far that ask for a change.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Runs `action` after the answer to the `nth` request from now (from 1) to this endpoint is made, and before it is
    /// sent. Example: a row leaves the listing between two pages.
    pub fn after(&self, endpoint: Endpoint, nth: u64, action: impl FnOnce(&Self) + Send + 'static) {
        let nth = self.requests_to(endpoint) + nth;
        self.lock().planned.push(Planned { endpoint, nth, action: Box::new(action) });
    }
}

impl Party for FirstPromoter {
    fn receive(&self, ask: &Ask) -> Fault {
        let endpoint = Endpoint::of(ask);
        let mut state = self.lock();
        state.requests += 1;
        state.writes += u64::from(ask.is_write());
        *state.by_endpoint.entry(endpoint).or_default() += 1;
        if state.log.len() == LOG_MAX {
            state.log.pop_front();
        }
        state.log.push_back(ask.clone());
        let faults = &mut state.faults;
        let own = match endpoint {
            Endpoint::Listing => Some(&mut faults.listing),
            Endpoint::ByIds => Some(&mut faults.by_ids),
            Endpoint::Mark => Some(&mut faults.mark),
            Endpoint::Batch => Some(&mut faults.batch),
            Endpoint::Rewards => Some(&mut faults.rewards),
            Endpoint::Unmark | Endpoint::Approve | Endpoint::Deny | Endpoint::Elsewhere => None,
        };
        first_of(own.into_iter().chain([&mut faults.any]))
    }

    fn act(&self, ask: &Ask) -> Reply {
        let endpoint = Endpoint::of(ask);
        let reply = self.lock().act(endpoint, ask);
        let reached = self.requests_to(endpoint);
        let due: Vec<_> = self
            .lock()
            .planned
            .extract_if(.., |planned| planned.endpoint == endpoint && planned.nth <= reached)
            .collect();
        // Without the lock, because the action may use verbs.
        for planned in due {
            (planned.action)(self);
        }
        reply
    }
}
