//! FirstPromoter's answers: pages of commissions, computed from the present data, and all the errors that they can have.
//!
//! A request travels, gets an answer from the data at its arrival (or from a while before), and the answer travels back. Each
//! of the three steps may fail.

use std::{collections::BTreeMap, rc::Rc};

use makegood::{
    domain::{self, Timestamp},
    firstpromoter::{Api, ApiError, Batch, CommissionQuery, RewardRule},
};

use super::{
    commission::{Commission, Party, Poison, RULES, Status, Version},
    fault::{Fault, Weather},
    marking::Batches,
    process::Process,
    rng::Rng,
    terms::API_TIMEOUT,
    timeline::{MINUTE, Ms, SECOND, Slot, Whose, later},
    world::World,
};

/// The greatest age of a replica's answer.
pub const LAG_MAX: Ms = 2 * MINUTE;

/// The longest delay of a question that does not fail.
const PUT_OFF_MAX: Ms = 2 * MINUTE;

/// What `filters[fulfilled]` does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Honoured,
    Ignored,
    /// `yes` returns no rows, `no` returns all.
    UpsideDown,
}

/// FirstPromoter's side of the world.
pub struct FirstPromoter {
    pub commissions: BTreeMap<i64, Commission>,
    pub batches: Batches,
    filter: Filter,
    /// Rows on a page, whatever the request asks for.
    cap: usize,
    newest_first: bool,
    /// Cash commissions are listed as unfulfilled; else under neither.
    lists_cash: bool,
    /// One id that cannot be marked makes the whole call fail.
    pub refuses_whole_calls: bool,
    /// The ids of the listing of which the last page was given. They show whether rows have shifted.
    listed_last: Vec<i64>,
}

impl FirstPromoter {
    pub fn random(rng: &Rng, start: Timestamp) -> Self {
        let count = match rng.below(100) {
            0..60 => 1 + rng.below(6),
            60..86 => 7 + rng.below(20),
            86..97 => 27 + rng.below(40),
            _ => 100 + rng.below(40),
        };
        // A backlog in which everything is owed: otherwise no batch would be full.
        let plain = count > 20 && rng.chance(300);
        let ids = (0..count).map(|n| 1001 + i64::try_from(n).unwrap_or_default());
        Self {
            commissions: ids.map(|id| (id, Commission::random(id, rng, start, plain))).collect(),
            batches: Batches::default(),
            filter: Filter::Honoured,
            cap: *rng.pick(&[20, 25, 50, 100, 100]),
            newest_first: rng.chance(500),
            lists_cash: rng.chance(500),
            refuses_whole_calls: rng.chance(500),
            listed_last: Vec::new(),
        }
    }

    /// Adds what the simulator got later. The rest of the world stays the same.
    pub fn make_odd(&mut self, weather: &Weather, later: &Rng) {
        if weather.enables(Fault::PagesAreTiny) {
            self.cap = 5 + later.below(15);
            weather.meet(Fault::PagesAreTiny);
        }
        let poisons: Vec<Poison> = [Poison::Fails, Poison::Cannot, Poison::Refused]
            .into_iter()
            .filter(|poison| weather.enables(poison.fault()))
            .collect();
        let per_mille = *later.pick(&[100, 300, 600]);
        for commission in self.commissions.values_mut() {
            if !poisons.is_empty() && later.chance(per_mille) {
                commission.poison = Some(*later.pick(&poisons));
            }
            if weather.enables(Fault::Unmarkable) && later.chance(per_mille) {
                weather.meet(Fault::Unmarkable);
                commission.was_always(|version| version.payout = false);
            }
            if weather.strikes(Fault::StatusUnheardOf, later) {
                commission.was_always(|version| version.odd_word = true);
            }
            if weather.strikes(Fault::TimesUnreadable, later) {
                commission.lose_times();
            }
        }
    }

    /// The filter breaks now.
    pub fn ignore_filter(&mut self) {
        self.filter = Filter::Ignored;
    }

    pub fn get(&self, id: i64) -> Option<&Commission> {
        self.commissions.get(&id)
    }

    fn rows(
        &self,
        query: &CommissionQuery,
        as_of: Timestamp,
        ids_count: bool,
        status_counts: bool,
    ) -> Vec<(&Commission, &Version)> {
        let matches = |commission: &Commission, version: &Version| {
            version.there
                && commission.created_at <= as_of
                && (!ids_count || query.ids.is_empty() || query.ids.contains(&domain::CommissionId(commission.id)))
                && (!status_counts || !query.approved_only || version.status == Status::Approved)
                && query.fulfilled.is_none_or(|wanted| self.falls_under(version, wanted))
        };
        let all = self.commissions.values().map(|commission| (commission, commission.at(as_of)));
        let mut rows: Vec<_> = all.filter(|(commission, version)| matches(commission, version)).collect();
        if self.newest_first {
            rows.reverse();
        }
        rows
    }

    fn falls_under(&self, version: &Version, wanted: bool) -> bool {
        match self.filter {
            Filter::Honoured if version.unit == "cash" => self.lists_cash && !wanted,
            Filter::Honoured => version.fulfilled == wanted,
            Filter::Ignored => true,
            Filter::UpsideDown => !wanted,
        }
    }
}

/// The seam of [`makegood::firstpromoter`], for one process.
pub struct SimApi {
    pub world: Rc<World>,
    pub process: Rc<Process>,
}

impl Api for SimApi {
    async fn commissions(&self, query: &CommissionQuery) -> Result<Vec<domain::Commission>, ApiError> {
        let what = in_words(query);
        self.process.note_question(&self.world, query);
        if self.world.strikes_later(Fault::ReadPutsOff) {
            // 429 with Retry-After: the client waits, and asks again.
            self.world.say(&self.process.name, || format!("{what}: put off"));
            self.world.time.sleep(self.world.later.between(SECOND, PUT_OFF_MAX), Whose::Makegood).await;
        }
        let serve = query.clone();
        let answer = self.call(what, move |world| answer(world, &serve)).await;
        if answer.is_ok() {
            self.process.note_answer(query);
        }
        answer
    }

    async fn mark_fulfilled(&self, ids: &[domain::CommissionId]) -> Result<Batch, ApiError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let what = format!("mark {ids:?}");
        self.world.note_marks(&ids);
        if self.world.strikes(Fault::MarkLate) {
            let late = API_TIMEOUT + self.world.rng.skewed(30 * MINUTE);
            return self.call_taking(what, late, 0, move |world| world.mark(&ids)).await;
        }
        self.call(what, move |world| world.mark(&ids)).await
    }

    async fn mark_unfulfilled(&self, ids: &[domain::CommissionId]) -> Result<Batch, ApiError> {
        // Only a person's `reverse` asks for this. No pass may.
        assert!(self.process.reverses, "a pass asks to mark {ids:?} as unfulfilled");
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        self.call(format!("take back {ids:?}"), move |world| world.unmark(&ids)).await
    }

    async fn batch(&self, id: i64) -> Result<Batch, ApiError> {
        self.call(format!("ask for batch {id}"), move |world| world.batch(id)).await
    }

    async fn rewards(&self) -> Result<Vec<RewardRule>, ApiError> {
        self.call("GET /rewards".to_owned(), |world| Some(rewards(world))).await
    }

    fn requests(&self) -> u64 {
        self.process.requests.get()
    }
}

impl SimApi {
    /// A question with realistic travelling times.
    async fn call<T: 'static>(
        &self,
        what: String,
        serve: impl FnOnce(&Rc<World>) -> Option<Result<T, ApiError>> + 'static,
    ) -> Result<T, ApiError> {
        let world = &self.world;
        let slow = if world.strikes(Fault::ReadSlow) { world.rng.skewed(40 * SECOND) } else { 0 };
        let (go, back) = (5 + world.rng.skewed(400) + slow, 5 + world.rng.skewed(100));
        self.call_taking(what, go, back, serve).await
    }

    /// `serve` answers when the question arrives; `None` is no answer at all.
    async fn call_taking<T: 'static>(
        &self,
        what: String,
        go: Ms,
        back: Ms,
        serve: impl FnOnce(&Rc<World>) -> Option<Result<T, ApiError>> + 'static,
    ) -> Result<T, ApiError> {
        let (world, process) = (&self.world, &self.process);
        process.alive().await;
        process.requests.set(process.requests.get() + 1);
        world.say(&process.name, || what.clone());
        let slot = Slot::new();
        let (sender, reply) = (process.departure(world), slot.clone());
        world.time.after(go, Whose::Network, move |world| {
            if !sender.arrives(world) {
                return;
            }
            let answer = serve(world);
            let answer = answer.filter(|_| !world.strikes(Fault::ReadLost));
            let Some(answer) = answer else { return world.say("", || "no answer".to_owned()) };
            if let Err(error) = &answer {
                world.say("", || format!("answers: {error}"));
            }
            world.time.after(back, Whose::Network, move |_| reply.fill(answer));
        });
        let late = slot.clone();
        world.time.after(API_TIMEOUT, Whose::Network, move |_| late.fill(Err(transient(&what, "timed out"))));
        slot.await
    }
}

fn answer(world: &Rc<World>, query: &CommissionQuery) -> Option<Result<Vec<domain::Commission>, ApiError>> {
    let what = "GET /commissions";
    if world.strikes(Fault::ReadTransient) {
        return Some(Err(transient(what, "503")));
    }
    if world.strikes(Fault::ReadRejected) {
        return Some(Err(rejected(what)));
    }
    if world.strikes(Fault::ReadFatal) {
        return Some(Err(fatal(what, None)));
    }
    if query.page == 1 {
        turn_the_filter(world);
    }
    let now = world.now();
    let lag = if world.strikes(Fault::ReplicaLag) { world.rng.skewed(LAG_MAX) } else { 0 };
    // A broken filter and a replica from before the commission was there answer `yes` as a working filter does. Without a canary
    // nobody can tell them apart.
    let is_believed = world.firstpromoter.borrow().filter != Filter::Honoured && !world.has_canary();
    let as_of = if is_believed { now } else { later(now, -lag) };
    // Nor where the filter was broken at the other one of two questions: it may have broken or healed since.
    let as_of = if query.fulfilled.is_some() && !world.has_canary() {
        let firstpromoter = world.firstpromoter.borrow();
        let there_since = query.ids.iter().filter_map(|id| firstpromoter.get(id.0)).map(|it| it.created_at).max();
        there_since.map_or(as_of, |since| as_of.max(since))
    } else {
        as_of
    };
    let ids_count = query.ids.is_empty() || !world.strikes(Fault::IdsIgnored);
    let status_counts = !query.approved_only || !world.strikes(Fault::StatusIgnored);
    let page = if query.page > 1 && world.strikes(Fault::PageIgnored) { 1 } else { query.page };

    let mut firstpromoter = world.firstpromoter.borrow_mut();
    let rows = firstpromoter.rows(query, as_of, ids_count, status_counts);
    let ids: Vec<i64> = rows.iter().map(|(commission, _)| commission.id).collect();
    let per_page = firstpromoter.cap.min(query.per_page as usize).max(1);
    let page: Vec<_> = rows
        .into_iter()
        .skip(per_page * (page as usize - 1))
        .take(per_page)
        .map(|(commission, version)| commission.told(version))
        .collect();

    if per_page < query.per_page as usize && ids.len() > per_page {
        world.meet(Fault::PerPageCapped);
    }
    if query.ids.is_empty() {
        if query.page > 1 && ids != firstpromoter.listed_last {
            world.meet(Fault::PageShifts);
        }
        firstpromoter.listed_last = ids;
    }
    let filter = firstpromoter.filter;
    drop(firstpromoter);
    world.say("", || {
        let shown: Vec<i64> = page.iter().map(|row| row.id.0).collect();
        let filter = if filter == Filter::Honoured { String::new() } else { format!(" (filter {filter:?})") };
        let age = if as_of == now { String::new() } else { format!(" ({} ago)", now - as_of) };
        format!("answers {shown:?}{filter}{age}")
    });
    Some(Ok(page))
}

/// The filter breaks for a while, and heals. This happens between two questions, not between two pages of one. Only a canary
/// can show that the filter is upside down, so there is no guarantee before the first canary.
fn turn_the_filter(world: &Rc<World>) {
    let now = world.firstpromoter.borrow().filter;
    let next = match now {
        _ if world.weather.is_fair() => Filter::Honoured,
        Filter::Honoured if world.strikes(Fault::FulfilledIgnored) => Filter::Ignored,
        Filter::Honoured if world.has_canary() && world.strikes(Fault::FulfilledUpsideDown) => Filter::UpsideDown,
        Filter::Ignored | Filter::UpsideDown if world.rng.chance(300) => Filter::Honoured,
        Filter::UpsideDown if !world.has_canary() => Filter::Honoured,
        Filter::Honoured | Filter::Ignored | Filter::UpsideDown => now,
    };
    world.firstpromoter.borrow_mut().filter = next;
}

fn rewards(world: &Rc<World>) -> Result<Vec<RewardRule>, ApiError> {
    if world.strikes(Fault::RewardsForbidden) {
        world.evidence.borrow_mut().rules_withheld = true;
        return Err(fatal("GET /rewards", Some(403)));
    }
    if world.strikes(Fault::RewardsFail) {
        return Err(transient("GET /rewards", "502"));
    }
    let rule = |(id, party): (i64, Option<Party>)| RewardRule {
        id,
        name: None,
        is_promoter_reward: party.map(|party| party == Party::Promoter),
    };
    Ok(RULES.into_iter().map(rule).collect())
}

fn in_words(query: &CommissionQuery) -> String {
    let ids: Vec<i64> = query.ids.iter().map(|id| id.0).collect();
    let which = if ids.is_empty() { "approved ones".to_owned() } else { format!("{ids:?}") };
    let fulfilled = match query.fulfilled {
        Some(true) => " fulfilled=yes",
        Some(false) => " fulfilled=no",
        None => "",
    };
    format!("asks for {which}{fulfilled}, page {}", query.page)
}

pub fn transient(what: &str, detail: &str) -> ApiError {
    ApiError::Transient { what: what.to_owned(), detail: detail.to_owned() }
}

pub fn rejected(what: &str) -> ApiError {
    ApiError::Rejected { what: what.to_owned(), status: 422, detail: "cannot be processed".to_owned() }
}

pub fn fatal(what: &str, status: Option<u16>) -> ApiError {
    ApiError::Fatal { what: what.to_owned(), status, detail: "nothing that can be read".to_owned() }
}
