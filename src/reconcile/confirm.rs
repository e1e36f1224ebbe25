//! Asks FirstPromoter again before anything is done. Whatever is no longer as the listing said leaves the plan.

use std::collections::{BTreeMap, HashMap};

use super::{Pass, PassError, Plan};
use crate::{
    clock::Clock,
    delivery::{Deliver, Fingerprint},
    domain::{Commission, CommissionId, CommissionStatus, Timestamp},
    firstpromoter::{
        Api, Truth,
        truth::{Answers, Canaries},
    },
    ledger::{LedgerError, Reward, RewardState, Transition},
    plan::{self, Context, Entry, Item, Observation, Step, Why},
};

/// How many canaries are candidates, separately for those without any contradiction and for those that FirstPromoter
/// contradicted before.
pub(crate) const CANDIDATES: u32 = 40;
/// First-time holds are confirmed as well, so that no person is asked about a fulfilled reward. Of a backlog only the first
/// rows.
const HOLDS_CONFIRMED: usize = 100;

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Asks again about commissions that were listed as unfulfilled.
    pub(super) async fn ask_again(&self, ids: &[CommissionId], truth: &Truth<'_, A, C>) -> Result<Answers, PassError> {
        self.unless_stopped(truth.still_unfulfilled(ids)).await
    }

    /// Takes everything out of the plan that is no longer as the listing said. Returns the time before the oldest question
    /// behind these answers.
    pub(super) fn confirm(
        &self,
        ids: &[CommissionId],
        mut answers: Answers,
        plan: &mut Plan,
        targets: &BTreeMap<String, Fingerprint>,
    ) -> Result<Timestamp, LedgerError> {
        // In a long pass, others have written since the plan was made.
        let mut rewards = self.ledger.rewards(ids)?;
        let cx = Context { policy: &self.settings.policy, targets, rules: &plan.rules, now: plan.now };
        for id in ids {
            let Some(item) = plan.items.get_mut(id) else { continue };
            confirm_one(item, *id, &mut answers, &mut rewards, plan.claims.get(id).copied(), cx);
        }
        Ok(answers.asked_at)
    }

    /// Makes the questions of this pass, with its canaries.
    pub(super) fn truth(&self, plan: &Plan) -> Result<Truth<'_, A, C>, LedgerError> {
        let truth = Truth::new(self.api, self.clock, self.choose_canaries(plan)?);
        Ok(truth.having_seen_a_page_of(plan.longest_page))
    }

    /// The canaries, best first. Prefers those that this pass did not see listed as unfulfilled, because a person may have
    /// changed a few. But if FirstPromoter contradicts all that it still has, nothing is delivered: a person who changed all of
    /// them looks like a filter turned upside down.
    fn choose_canaries(&self, plan: &Plan) -> Result<Canaries, LedgerError> {
        let candidates = self.ledger.canaries(CANDIDATES)?;
        let (listed, mut fulfilled): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|id| plan.items.contains_key(id));
        if plan.wants_to_deliver() {
            let drifting = plan.items.iter().filter(|(_, item)| was_fulfilled(&item.step)).map(|(id, _)| *id);
            let more = listed.into_iter().chain(self.ledger.drifted(CANDIDATES)?).chain(drifting);
            let more: Vec<CommissionId> = more.filter(|id| !fulfilled.contains(id)).collect();
            fulfilled.extend(more);
        }
        let unfulfilled = plan.items.iter().filter(|(_, item)| item.listed && stays_unfulfilled(&item.step));
        let unfulfilled = unfulfilled.map(|(id, _)| *id).collect();
        Ok(Canaries { fulfilled, unfulfilled })
    }
}

/// Whether this step is a drift of a reward that FirstPromoter called fulfilled.
fn was_fulfilled(step: &Step) -> bool {
    match step {
        Step::Write(Transition::Drift(drift)) => drift.was_fulfilled(),
        Step::Write(
            Transition::Wait { .. }
            | Transition::Hold { .. }
            | Transition::Cancel { .. }
            | Transition::Fulfil { .. }
            | Transition::NotMarked { .. }
            | Transition::DriftOver(_),
        )
        | Step::Leave(_)
        | Step::Deliver { .. }
        | Step::Mark => false,
    }
}

/// Whether nothing in this pass makes FirstPromoter call it fulfilled.
fn stays_unfulfilled(step: &Step) -> bool {
    match step {
        Step::Leave(_) | Step::Write(Transition::Wait { .. } | Transition::Hold { .. }) => true,
        Step::Write(
            Transition::Cancel { .. }
            | Transition::Fulfil { .. }
            | Transition::NotMarked { .. }
            | Transition::Drift(_)
            | Transition::DriftOver(_),
        )
        | Step::Deliver { .. }
        | Step::Mark => false,
    }
}

/// The commissions to confirm besides the deliveries.
pub(super) fn to_confirm(plan: &Plan) -> Vec<CommissionId> {
    let mut holds = 0;
    plan.items
        .iter()
        .filter(|(_, item)| {
            let first_held = item.reward.is_none() && item.becomes() == Some(RewardState::Held);
            holds += usize::from(first_held);
            let drifts = matches!(item.step, Step::Write(Transition::Drift(_)));
            item.step == Step::Mark || drifts || (first_held && holds <= HOLDS_CONFIRMED)
        })
        .map(|(id, _)| *id)
        .collect()
}

fn confirm_one(
    item: &mut Item,
    id: CommissionId,
    answers: &mut Answers,
    rewards: &mut HashMap<CommissionId, Reward>,
    claimed_until: Option<Timestamp>,
    cx: Context<'_>,
) {
    // A hold stays as it was decided. Otherwise rewards that the fuse holds would be delivered after all.
    let hold = matches!(item.step, Step::Write(Transition::Hold { .. }));
    if !hold {
        item.reward = rewards.remove(&id);
    }
    if let Some(commission) = answers.unfulfilled.remove(&id) {
        if !hold {
            still_unfulfilled(item, commission, claimed_until, cx);
        }
    } else if answers.fulfilled.contains(&id) {
        fulfilled_meanwhile(item, cx);
    } else {
        item.step = Step::Leave(Why::NeitherJustNow);
        item.listed = false;
    }
}

/// Decides again with FirstPromoter's present answer.
fn still_unfulfilled(item: &mut Item, commission: Commission, claimed_until: Option<Timestamp>, cx: Context<'_>) {
    match &commission.status {
        // An unknown status is decided as in the listing: an owed reward is held; a delivered one is marked, and is in
        // `attention` if that fails. If it were left alone here, it would be left alone in every pass.
        CommissionStatus::Approved | CommissionStatus::Unknown(_) => {}
        CommissionStatus::Pending | CommissionStatus::Denied => {
            item.step = Step::Leave(Why::NotApprovedJustNow);
            item.listed = false;
            return;
        }
    }
    item.facts = plan::facts(&commission, cx.policy, cx.rules);
    let entry = Entry { reward: item.reward.as_ref(), claimed_until };
    item.step = plan::decide(&Observation::Listed(Box::new(commission)), entry, cx);
}

fn fulfilled_meanwhile(item: &mut Item, cx: Context<'_>) {
    item.listed = false;
    let entry = Entry { reward: item.reward.as_ref(), claimed_until: None };
    item.step = match plan::decide(&Observation::Fulfilled, entry, cx) {
        Step::Leave(_) => Step::Leave(Why::FulfilledMeanwhile),
        step @ (Step::Write(_) | Step::Deliver { .. } | Step::Mark) => step,
    };
}
