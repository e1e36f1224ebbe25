//! The only way to ask FirstPromoter about anything that is acted upon: which commissions are fulfilled, and which are not.
//!
//! A commission has no field for this. Only the filter `filters[fulfilled]` tells, and FirstPromoter silently ignores a filter
//! that it does not know. Suppose it ignores this one from tonight on. It answers the question for unfulfilled commissions with
//! all of history, and a client that believes the answer delivers two years of rewards again. Suppose it ignores the filter
//! from the marking on, and refused to mark. It answers the question for fulfilled commissions with everything that was asked
//! for, and a client that believes the answer calls commissions fulfilled that nobody marked.
//!
//! # Proofs
//!
//! - **Both ways.** The same ids are asked for under `yes` and under `no`. An id in both answers shows that the filter is
//!   ignored. `yes` is asked first: where somebody fulfils a commission between the two questions, it is in neither answer, not
//!   in both.
//! - **Fulfilled canaries.** Up to three commissions that the ledger knows as fulfilled are part of each question. One of them
//!   must come back under `yes`; otherwise the filter may be turned upside down. This does not count where all of them are
//!   gone, denied or pending. Where none of the three comes back under `yes`, the question is asked once more with up to 60.
//! - **Unfulfilled canaries.** Up to two commissions that this pass listed as unfulfilled are part of each question. Where they
//!   come back under `yes`, and nothing at all comes back under `no`, nothing counts as fulfilled.
//! - **Pages.** A server that cuts its pages may have cut the unfulfilled canaries off. So they prove an answer without a
//!   question under `no` only where it fits into the longest page that this pass has seen, or was read until an empty page
//!   came (an answer of 20 rows or more is).
//! - **Money.** FirstPromoter calls no commission fulfilled that became money. One that comes back as money under `yes` does
//!   not count as fulfilled: it may be in neither answer in truth, and then no question under `no` would contradict it.
//! - **Age.** [`Answers::asked_at`] is the time before the oldest question left. An answer counts as that old, however long it
//!   or a retry took.
//!
//! # A slow pace
//!
//! At one request a minute (`firstpromoter.requests_per_minute = 1`, or after many 429) both questions cannot leave within one
//! minute, and the answer under `yes` is always older than a minute when the one under `no` comes. So the questions leave when
//! there is room for both. Where the pace never has room for both, the age counts from the question under `no`, because only
//! that one says that something is still unfulfilled. The question under `yes` proves the filter, and may be `PROOF_VALID`
//! older. Suppose somebody fulfils a commission between the two: it is not in the answer under `no`, and is not delivered.
//! Suppose FirstPromoter ignores the filter from then on: the canaries that came under `yes` come under `no` as well, and
//! nothing is believed. Before there is a first canary, nobody notices a filter that breaks between the two questions. This
//! holds at any pace; at this one there is a minute for it, not a second.
//!
//! A proof covers its own question only: the filter may work again for the next one. So every question has canaries.
//!
//! # Costs
//!
//! Up to 100 ids take two requests when they are still owed. After marking they take two, or three for more than 97 ids, or one
//! where an unfulfilled canary replaces the second question.
//!
//! Guarantees: no conclusion from a question that was not proved. [`TruthError`] where an answer disproves the filter.
//!
//! Assumptions: the caller takes the canaries from its ledger and its listing. Without canaries, asking both ways is the only
//! proof. It fails where the filter is ignored at one of the two questions and the other one reaches a copy of FirstPromoter's
//! data from before the commission was there.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::TimeDelta;
use thiserror::Error;
use tokio::sync::Mutex;

use super::{
    Api, ListingError,
    listing::{self, Ids},
};
use crate::{
    clock::Clock,
    domain::{Commission, CommissionId, Timestamp, Unit},
};

/// How many ids one question has, besides the canaries: the documented maximum of a page.
pub const QUESTION: usize = listing::PER_PAGE as usize;
/// How many fulfilled canaries a question has. More than one, because somebody may have deleted or reversed one.
const FULFILLED: usize = 3;
/// How many fulfilled canaries are asked for where none of the first ones comes back as fulfilled.
const FULFILLED_MAX: usize = 60;
/// How many unfulfilled canaries a question has. More than one, because somebody may fulfil one at this moment.
const UNFULFILLED: usize = 2;

/// How many requests both questions take at most where no page is capped: a second page shows that there is no more.
const BOTH_WAYS: u32 = 4;
/// How much older than the question under `no` its proof may be, where the pace has no room for both. Two pages under `yes` and
/// the first one under `no` leave within two minutes at any pace.
const PROOF_VALID: TimeDelta = TimeDelta::seconds(150);

/// The commissions that prove an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Canaries {
    /// Known as fulfilled, best first.
    pub fulfilled: Vec<CommissionId>,
    /// Listed as unfulfilled just now, and not about to be marked.
    pub unfulfilled: Vec<CommissionId>,
}

/// Both answers about some commissions, proved. A commission in neither answer does not exist, is neither, or was fulfilled
/// between the questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Unfulfilled at FirstPromoter, whatever the status.
    pub unfulfilled: BTreeMap<CommissionId, Commission>,
    /// Fulfilled at FirstPromoter.
    pub fulfilled: HashSet<CommissionId>,
    /// The time before the oldest question left; at a slow pace, before the question under `no`.
    pub asked_at: Timestamp,
}

/// Why nothing may be concluded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TruthError {
    /// FirstPromoter did not answer, or its answer cannot be a list.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// An id came back under `yes` and under `no`.
    #[error(
        "FirstPromoter lists commission {0} as fulfilled and as unfulfilled at the same time, so it (or something between) ignores \
         `filters[fulfilled]`, and its list of what is owed cannot be trusted. Check firstpromoter.base_url, and ask FirstPromoter's \
         support"
    )]
    BothWays(CommissionId),
    /// Canaries that the ledger knows as fulfilled came back under `no`, and none under `yes`.
    #[error(
        "FirstPromoter lists as unfulfilled what it confirmed as fulfilled before (commission {0}), and calls none of the latest ones \
         fulfilled. Either its filter `filters[fulfilled]` no longer works, or somebody marked them unfulfilled there. Look at {0} in \
         FirstPromoter: if it should be fulfilled, mark it so there; if it should not, `makegood reverse {0} --reason ...`; if the list \
         is wrong, ask FirstPromoter's support"
    )]
    SilentCanary(CommissionId),
}

/// Which answer should contain the ids: decides how far a short answer is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Unknown: a short page is the end.
    Either,
    /// All under `no`.
    Unfulfilled,
    /// All under `yes`.
    Fulfilled,
}

/// What a fulfilled canary tells about the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Canary {
    /// FirstPromoter calls it fulfilled: the filter works.
    Sings,
    /// FirstPromoter calls it unfulfilled: the filter does not work, or a person changed the commission.
    Silent,
}

/// Asks with these canaries.
#[derive(Debug)]
pub struct Truth<'a, A, C> {
    api: &'a A,
    clock: &'a C,
    canaries: Canaries,
    /// Rows of the longest page that this pass has seen; 0 where none is known.
    longest_page: u64,
    /// Held while asking at a slow pace: two askers would take each other's room.
    slow: Mutex<()>,
}

impl<'a, A: Api, C: Clock> Truth<'a, A, C> {
    /// Makes one; asks nothing yet.
    pub fn new(api: &'a A, clock: &'a C, mut canaries: Canaries) -> Self {
        canaries.fulfilled.truncate(FULFILLED_MAX);
        canaries.unfulfilled.truncate(UNFULFILLED);
        Self { api, clock, canaries, longest_page: 0, slow: Mutex::new(()) }
    }

    /// The server gave a page of so many rows in this pass, so it did not cut a shorter one.
    #[must_use]
    pub fn having_seen_a_page_of(mut self, rows: u64) -> Self {
        self.longest_page = rows;
        self
    }

    /// Asks about commissions that may be fulfilled or not, in any number.
    pub async fn either(&self, ids: &[CommissionId]) -> Result<Answers, TruthError> {
        self.ask(ids, Expect::Either).await
    }

    /// Asks again about commissions that were listed as unfulfilled, in any number.
    pub async fn still_unfulfilled(&self, ids: &[CommissionId]) -> Result<Answers, TruthError> {
        self.ask(ids, Expect::Unfulfilled).await
    }

    /// Reads back which of these are fulfilled, in any number; with an error where that may not be all.
    pub async fn read_back(&self, ids: &[CommissionId]) -> (HashSet<CommissionId>, Option<TruthError>) {
        let mut fulfilled = HashSet::new();
        for some in each_once(ids).chunks(QUESTION) {
            match self.ask_proved(some, Expect::Fulfilled).await {
                Ok(mut answers) => fulfilled.extend(some.iter().filter_map(|id| answers.fulfilled.take(id))),
                Err(error) => return (fulfilled, Some(error)),
            }
        }
        (fulfilled, None)
    }

    async fn ask(&self, ids: &[CommissionId], expect: Expect) -> Result<Answers, TruthError> {
        let mut all = None;
        for some in each_once(ids).chunks(QUESTION) {
            Answers::add(&mut all, self.ask_proved(some, expect).await?, some);
        }
        Ok(all.unwrap_or_else(|| Answers::none(self.clock.now())))
    }

    async fn ask_proved(&self, ids: &[CommissionId], expect: Expect) -> Result<Answers, TruthError> {
        let all = &self.canaries.fulfilled;
        let few = &all[..all.len().min(FULFILLED)];
        let answers = self.ask_once(ids, few, expect).await?;
        if few.len() == all.len() || answers.find(few, Canary::Sings).is_some() {
            return answers.proved_by(few, &self.canaries.unfulfilled);
        }
        let mut proved = None;
        for some in ids.chunks(QUESTION - all.len()) {
            let answers = self.ask_once(some, all, expect).await?;
            Answers::add(&mut proved, answers.proved_by(all, &self.canaries.unfulfilled)?, some);
        }
        Ok(proved.unwrap_or_else(|| Answers::none(self.clock.now())))
    }

    async fn ask_once(
        &self,
        ids: &[CommissionId],
        canaries: &[CommissionId],
        expect: Expect,
    ) -> Result<Answers, TruthError> {
        let slow = !self.api.wait_for_room(BOTH_WAYS).await;
        let _alone = if slow { Some(self.slow.lock().await) } else { None };
        if slow {
            self.api.wait_for_room(1).await;
        }
        let asked_at = self.clock.now();
        let witnesses = &self.canaries.unfulfilled;
        let all = [ids, canaries, witnesses].concat();
        let (yes, no) = match expect {
            Expect::Either => (canaries, &[][..]),
            Expect::Unfulfilled => (canaries, ids),
            Expect::Fulfilled => (ids, &[][..]),
        };
        let question = Ids { asked: &all, wanted: &all, expected: yes, fulfilled: Some(true) };
        let rows = listing::ask_for(self.api, question).await?;
        let fulfilled_rows = rows.len();
        let money: HashSet<CommissionId> = rows.iter().filter(|row| row.unit == Unit::Cash).map(|row| row.id).collect();
        let fulfilled: HashSet<CommissionId> = rows.into_iter().map(|row| row.id).collect();
        let mut answers = Answers { unfulfilled: BTreeMap::new(), fulfilled, asked_at };
        let uncut = fulfilled_rows >= listing::DEFAULT_PER_PAGE || all.len() as u64 <= self.longest_page;
        if expect == Expect::Fulfilled && uncut && money.is_empty() && answers.vouched_for(ids, canaries, witnesses) {
            return Ok(answers);
        }
        let rest = |some: &[CommissionId]| -> Vec<CommissionId> {
            some.iter().copied().filter(|id| !answers.fulfilled.contains(id)).collect()
        };
        if slow {
            self.api.wait_for_room(1).await;
            let now = self.clock.now();
            answers.asked_at = if now - asked_at <= PROOF_VALID { now } else { asked_at };
        }
        // A missing canary may have been fulfilled a moment ago, and is not worth another page.
        let (wanted, expected) = (rest(&all), rest(no));
        let question = Ids { asked: &all, wanted: &wanted, expected: &expected, fulfilled: Some(false) };
        let unfulfilled = listing::ask_for(self.api, question).await?;
        answers.unfulfilled = unfulfilled.into_iter().map(|row| (row.id, row)).collect();
        // Money in both answers stays, and disproves the filter.
        answers.fulfilled.retain(|id| !money.contains(id) || answers.unfulfilled.contains_key(id));
        Ok(answers)
    }
}

impl Answers {
    fn none(asked_at: Timestamp) -> Self {
        Self { unfulfilled: BTreeMap::new(), fulfilled: HashSet::new(), asked_at }
    }

    /// Adds the answers about these.
    fn add(all: &mut Option<Self>, mut answers: Self, ids: &[CommissionId]) {
        let all = all.get_or_insert_with(|| Self::none(answers.asked_at));
        for id in ids {
            all.unfulfilled.extend(answers.unfulfilled.remove_entry(id));
            all.fulfilled.extend(answers.fulfilled.take(id));
        }
        all.asked_at = all.asked_at.min(answers.asked_at);
    }

    /// Whether the answer under `yes` alone is proved: it contains everything but the unfulfilled canaries, also a fulfilled one.
    /// Where anything else is missing, the unfulfilled ones may be missing for the same reason: the server cut its page.
    fn vouched_for(&self, ids: &[CommissionId], canaries: &[CommissionId], witnesses: &[CommissionId]) -> bool {
        let honest = !witnesses.is_empty() && witnesses.iter().all(|id| !self.fulfilled.contains(id));
        let whole = ids.iter().chain(canaries).all(|id| self.fulfilled.contains(id));
        honest && whole && !canaries.is_empty()
    }

    /// The answers, or why nobody can trust them.
    fn proved_by(mut self, canaries: &[CommissionId], witnesses: &[CommissionId]) -> Result<Self, TruthError> {
        if let Some(id) = self.unfulfilled.keys().find(|id| self.fulfilled.contains(id)) {
            return Err(TruthError::BothWays(*id));
        }
        if self.find(canaries, Canary::Sings).is_none()
            && let Some(id) = self.find(canaries, Canary::Silent)
        {
            return Err(TruthError::SilentCanary(id));
        }
        // Suppose `yes` answers with everything and `no` with nothing. It looks the same when somebody fulfilled the
        // unfulfilled canaries just now. So this is no error, and nothing is concluded.
        let contradicted = witnesses.iter().any(|id| self.fulfilled.contains(id));
        if contradicted && !self.unfulfilled.keys().any(|id| !canaries.contains(id)) {
            tracing::warn!(
                "FirstPromoter calls commissions fulfilled that it listed as unfulfilled just now, and calls none unfulfilled. makegood does \
                 not believe it; the next pass asks again"
            );
            self.fulfilled.clear();
        }
        Ok(self)
    }

    /// The first canary that tells this about the filter. A canary tells nothing where it is gone, or where FirstPromoter is
    /// right not to call it fulfilled any more.
    fn find(&self, canaries: &[CommissionId], what: Canary) -> Option<CommissionId> {
        let tells = |id: &CommissionId| match what {
            Canary::Sings => self.fulfilled.contains(id),
            Canary::Silent => self.unfulfilled.get(id).is_some_and(Commission::can_be_fulfilled),
        };
        canaries.iter().copied().find(tells)
    }
}

/// Without duplicates, in order. [`Answers::add`] takes each id out of the answers once, and would take a duplicate for gone.
fn each_once(ids: &[CommissionId]) -> Vec<CommissionId> {
    ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
