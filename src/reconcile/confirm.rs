//! Before anything is done: the ids are asked for again, both ways.
//!
//! The service ignores a filter that it does not know, silently, and a commission does not say whether it is fulfilled. So
//! `filters[fulfilled]` is proved in every pass that acts: the same ids under `no` and under `yes` must be disjoint, and
//! commissions that the ledger knows as fulfilled (canaries) must come back under `yes` and not under `no`.

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
const CANARIES: u32 = 3;
/// First-time holds are confirmed too, so that a person is not asked about what is fulfilled; a backlog by its first rows.
const HOLDS_CONFIRMED: usize = 100;

/// The answers to both questions, proved disjoint.
#[derive(Debug, Default)]
pub(super) struct BothWays {
    pub(super) unfulfilled: BTreeMap<CommissionId, Commission>,
    pub(super) fulfilled: HashSet<CommissionId>,
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
        let cx = Context { policy: &self.settings.policy, targets, rules: &plan.rules, now: self.clock.now() };
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
        let asked: Vec<CommissionId> = ids.iter().chain(&canaries).copied().collect();
        // In this order: what somebody fulfils in between is then in neither answer, not in both. And nothing is fresher
        // than that it is still unfulfilled.
        let fulfilled = self.unless_stopped(listing::by_ids(self.api, &asked, Some(true))).await?;
        let unfulfilled = self.unless_stopped(listing::by_ids(self.api, &asked, Some(false))).await?;
        let answers = BothWays {
            unfulfilled: unfulfilled.into_iter().map(|row| (row.id, row)).collect(),
            fulfilled: fulfilled.into_iter().map(|row| row.id).collect(),
        };
        if let Some(id) = answers.unfulfilled.keys().find(|id| answers.fulfilled.contains(id)) {
            return Err(PassError::FilterBroken(both_ways(*id)));
        }
        let wrong: Vec<_> = canaries.iter().filter(|id| answers.unfulfilled.contains_key(id)).collect();
        let right = canaries.iter().filter(|id| answers.fulfilled.contains(id)).count();
        match wrong.first() {
            Some(id) if right == 0 => Err(PassError::FilterBroken(canary(**id))),
            Some(_) | None => Ok(answers),
        }
    }

    /// Prefers those that this pass did not see listed as unfulfilled: a person may have changed a few of them.
    fn choose_canaries(&self, plan: &Plan) -> Result<Vec<CommissionId>, PassError> {
        let candidates = self.ledger.canaries(20 * CANARIES)?;
        let (listed, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|id| plan.items.contains_key(id));
        let mut canaries = if others.is_empty() && wants_to_deliver(plan) { listed } else { others };
        canaries.truncate(CANARIES as usize);
        Ok(canaries)
    }
}

fn canary(id: CommissionId) -> String {
    format!(
        "FirstPromoter lists as unfulfilled what it confirmed as fulfilled before (commission {id}), and calls none of the latest ones \
         fulfilled. Either its filter `filters[fulfilled]` no longer works, or somebody marked them unfulfilled there. Look at {id} in \
         FirstPromoter: if it should be fulfilled, mark it so there; if the list is wrong, ask FirstPromoter's support"
    )
}

fn wants_to_deliver(plan: &Plan) -> bool {
    plan.items.values().any(|item| matches!(item.decision, Decision::Deliver(_) | Decision::Resume(_)))
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
