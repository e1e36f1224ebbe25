//! Before anything is done: the ids are asked for again, both ways.
//!
//! The service ignores a filter that it does not know, silently, and a commission does not say whether it is fulfilled. So
//! `filters[fulfilled]` is proved in every question that is acted upon: the same ids under `no` and under `yes` must be
//! disjoint, and of the commissions that the ledger knows as fulfilled (canaries) one must come back under `yes`, unless none
//! of them comes back as one that could be fulfilled.

use std::collections::{BTreeMap, HashSet};

use super::{
    Decision, Idempotent, Item, Pass, PassError, Plan,
    plan::{self, Context, Entry, Observation},
};
use crate::{
    clock::Clock,
    delivery::Deliver,
    domain::{Commission, CommissionId, CommissionStatus},
    firstpromoter::{Api, listing},
};

/// How many canaries ride along: one may have been deleted, or reversed by a person.
const CANARIES: usize = 3;
/// How many are asked for where none of these calls itself fulfilled.
const CANARIES_MAX: usize = 60;
/// Of those that nothing speaks against, and of those that FirstPromoter contradicted before.
const CANDIDATES: u32 = 40;
const PER_PAGE: usize = listing::PER_PAGE as usize;
/// First-time holds are confirmed too, so that a person is not asked about what is fulfilled; a backlog by its first rows.
const HOLDS_CONFIRMED: usize = 100;

/// The answers to both questions, proved disjoint.
#[derive(Debug, Default)]
pub(super) struct BothWays {
    pub(super) unfulfilled: BTreeMap<CommissionId, Commission>,
    pub(super) fulfilled: HashSet<CommissionId>,
}

impl BothWays {
    /// Adds what other answers say of these.
    fn take(&mut self, mut answers: Self, ids: &[CommissionId]) {
        for id in ids {
            self.unfulfilled.extend(answers.unfulfilled.remove_entry(id));
            self.fulfilled.extend(answers.fulfilled.take(id));
        }
    }

    /// Those that are in neither answer.
    fn without(&self, ids: &[CommissionId]) -> Vec<CommissionId> {
        let answered = |id: &CommissionId| self.unfulfilled.contains_key(id) || self.fulfilled.contains(id);
        ids.iter().copied().filter(|id| !answered(id)).collect()
    }

    /// The answers themselves, or why they cannot be trusted.
    fn proved_by(self, canaries: &[CommissionId]) -> Result<Self, PassError> {
        if let Some(id) = self.unfulfilled.keys().find(|id| self.fulfilled.contains(id)) {
            return Err(PassError::FilterBroken(both_ways(*id)));
        }
        match (self.find(canaries, Canary::Sings), self.find(canaries, Canary::Silent)) {
            (None, Some(id)) => Err(PassError::FilterBroken(silent_canary(id))),
            (Some(_), _) | (None, None) => Ok(self),
        }
    }

    /// The first canary that tells this of the filter. One tells nothing that is gone, or rightly not called fulfilled any
    /// more.
    fn find(&self, canaries: &[CommissionId], what: Canary) -> Option<CommissionId> {
        let tells = |id: &CommissionId| match what {
            Canary::Sings => self.fulfilled.contains(id),
            Canary::Silent => self.unfulfilled.get(id).is_some_and(Commission::can_be_fulfilled),
        };
        canaries.iter().copied().find(tells)
    }
}

/// What a commission that the ledger knows as fulfilled tells of the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Canary {
    /// It is called fulfilled: the filter works.
    Sings,
    /// It is called unfulfilled: the filter does not work, or a person changed it.
    Silent,
}

/// What it means that a commission is fulfilled and unfulfilled at the same time.
pub(super) fn both_ways(id: CommissionId) -> String {
    format!(
        "FirstPromoter lists commission {id} as fulfilled and as unfulfilled at the same time, so it (or something between) ignores \
         `filters[fulfilled]`, and its list of what is owed cannot be trusted. Check firstpromoter.base_url, and ask FirstPromoter's support"
    )
}

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Takes out of the plan what is not as the listing said.
    pub(super) async fn confirm(
        &self,
        plan: &mut Plan,
        targets: &BTreeMap<String, Idempotent>,
    ) -> Result<(), PassError> {
        let ids = to_confirm(plan);
        if ids.is_empty() {
            return Ok(());
        }
        let mut answers = self.ask_both_ways(&ids, plan).await?;
        let cx = Context { policy: &self.settings.policy, targets, rules: &plan.rules, now: plan.now };
        for id in ids {
            let Some(item) = plan.items.get_mut(&id) else { continue };
            let claimed_until = plan.claims.get(&id).copied();
            if let Some(commission) = answers.unfulfilled.remove(&id) {
                still_unfulfilled(item, commission, claimed_until, cx);
            } else if answers.fulfilled.contains(&id) {
                fulfilled_meanwhile(item);
            } else {
                item.decision =
                    Decision::Nothing("neither fulfilled nor unfulfilled just now; the next pass asks again");
                item.listed = false;
            }
        }
        Ok(())
    }

    /// Asks for these under `fulfilled=no` and `fulfilled=yes`, with canaries; an error where the answers disprove the filter.
    pub(super) async fn ask_both_ways(&self, ids: &[CommissionId], plan: &Plan) -> Result<BothWays, PassError> {
        let canaries = self.choose_canaries(plan)?;
        let mut answers = BothWays::default();
        let mut rest = ids.to_vec();
        while !rest.is_empty() {
            for some in rest.chunks(PER_PAGE - CANARIES) {
                answers.take(self.ask_proved(some, &canaries).await?, some);
            }
            // In neither answer: gone, or cut off by a server that caps its pages. The latter ends while there is progress.
            let before = rest.len();
            rest = answers.without(&rest);
            if rest.len() == before {
                break;
            }
        }
        Ok(answers)
    }

    /// What proves one question says nothing of another, which may have met a filter that works again. So canaries ride along
    /// in each; and where none of the best few sings, the whole question is asked once more with all of them.
    async fn ask_proved(&self, ids: &[CommissionId], canaries: &[CommissionId]) -> Result<BothWays, PassError> {
        let few = &canaries[..canaries.len().min(CANARIES)];
        let answers = self.ask_once(ids, few).await?;
        if answers.find(few, Canary::Sings).is_some() || few.len() == canaries.len() {
            return answers.proved_by(few);
        }
        let mut proved = BothWays::default();
        for some in ids.chunks(PER_PAGE - canaries.len()) {
            proved.take(self.ask_once(some, canaries).await?.proved_by(canaries)?, some);
        }
        Ok(proved)
    }

    async fn ask_once(&self, ids: &[CommissionId], canaries: &[CommissionId]) -> Result<BothWays, PassError> {
        let all = [ids, canaries].concat();
        // In this order: what somebody fulfils in between is then in neither answer, not in both. And nothing is fresher
        // than that it is still unfulfilled.
        let fulfilled = self.unless_stopped(listing::by_ids(self.api, &all, Some(true))).await?;
        let fulfilled: HashSet<CommissionId> = fulfilled.into_iter().map(|row| row.id).collect();
        // The rest is expected now; that what was fulfilled does not come is not worth another page.
        let wanted: Vec<CommissionId> = all.iter().copied().filter(|id| !fulfilled.contains(id)).collect();
        let unfulfilled = self.unless_stopped(listing::by_ids_until(self.api, &all, &wanted, Some(false))).await?;
        let unfulfilled = unfulfilled.into_iter().map(|row| (row.id, row)).collect();
        Ok(BothWays { unfulfilled, fulfilled })
    }

    /// Best first. Prefers those that this pass did not see listed as unfulfilled: a person may have changed a few of them. But
    /// where FirstPromoter contradicts all that it still has, nothing is delivered: a person who changed all of them looks
    /// like a filter turned upside down.
    fn choose_canaries(&self, plan: &Plan) -> Result<Vec<CommissionId>, PassError> {
        let candidates = self.ledger.canaries(CANDIDATES)?;
        let (listed, mut canaries): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|id| plan.items.contains_key(id));
        if plan.wants_to_deliver() {
            let drifting = plan.items.iter().filter(|(_, item)| item.decision == Decision::Drift).map(|(id, _)| *id);
            let more = listed.into_iter().chain(self.ledger.drifted(CANDIDATES)?).chain(drifting);
            let more: Vec<CommissionId> = more.filter(|id| !canaries.contains(id)).collect();
            canaries.extend(more);
        }
        canaries.truncate(CANARIES_MAX);
        Ok(canaries)
    }
}

fn silent_canary(id: CommissionId) -> String {
    format!(
        "FirstPromoter lists as unfulfilled what it confirmed as fulfilled before (commission {id}), and calls none of the latest ones \
         fulfilled. Either its filter `filters[fulfilled]` no longer works, or somebody marked them unfulfilled there. Look at {id} in \
         FirstPromoter: if it should be fulfilled, mark it so there; if it should not, `makegood reverse {id} --reason ...`; if the list \
         is wrong, ask FirstPromoter's support"
    )
}

fn to_confirm(plan: &Plan) -> Vec<CommissionId> {
    let mut holds = 0;
    plan.items
        .iter()
        .filter(|(_, item)| match &item.decision {
            Decision::Deliver(_) | Decision::Resume(_) | Decision::Mark | Decision::Drift => true,
            Decision::Hold(..) if item.reward.is_none() => {
                holds += 1;
                holds <= HOLDS_CONFIRMED
            }
            Decision::Hold(..)
            | Decision::Nothing(_)
            | Decision::Wait(..)
            | Decision::CannotMark(_)
            | Decision::Adopt
            | Decision::Cancel(_)
            | Decision::DriftOver => false,
        })
        .map(|(id, _)| *id)
        .collect()
}

/// Decides again on what FirstPromoter says now. A hold stays: else what the fuse holds would be delivered after all.
fn still_unfulfilled(
    item: &mut Item,
    commission: Commission,
    claimed_until: Option<crate::domain::Timestamp>,
    cx: Context<'_>,
) {
    if matches!(item.decision, Decision::Hold(..)) {
        return;
    }
    if commission.status != CommissionStatus::Approved {
        item.decision = Decision::Nothing("no longer approved just now; the next pass decides");
        item.listed = false;
        return;
    }
    item.facts = plan::facts(&commission, cx.policy, cx.rules);
    let entry = Entry { reward: item.reward.as_ref(), claimed_until };
    item.decision = plan::decide(&Observation::Listed(Box::new(commission)), entry, cx);
}

fn fulfilled_meanwhile(item: &mut Item) {
    item.listed = false;
    item.decision = match (&item.decision, &item.reward) {
        (Decision::Drift, _) | (_, None) => Decision::Nothing("fulfilled meanwhile, by somebody else"),
        (_, Some(_)) => Decision::Adopt,
    };
}
