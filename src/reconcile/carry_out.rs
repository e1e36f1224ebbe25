//! Carries a plan out, chunk by chunk: confirms a chunk, delivers it while the answer is young, and goes on.
//!
//! Suppose a pass has twelve thousand deliveries and asks about all of them first. A moment later the handler delivers and
//! marks the last one. The pass, which still calls it unfulfilled, reaches it after an hour and delivers it again. So each
//! target asks about a chunk just ahead of its deliveries, and asks again about those that could not start within
//! [`deliver::CONFIRMATION_VALID`](super::deliver). Where everything fits into one question, the targets share it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use futures_util::future;

use super::{
    Pass, PassError, Plan, Report,
    confirm::to_confirm,
    deliver::{Confirmed, Ready, Round},
    trouble::{Gate, Trouble},
};
use crate::{
    clock::Clock,
    delivery::{Deliver, Fingerprint},
    domain::{CommissionId, Timestamp},
    firstpromoter::{Api, Truth, truth::QUESTION},
    ledger::{LedgerError, State},
};

/// After this many answers in a row that come too old for a single delivery, the pass says so and ends.
const OLD_ANSWERS: u32 = 3;

/// Everything that the deliveries of a plan need.
struct Way<'a, A, C> {
    plan: RefCell<&'a mut Plan>,
    truth: &'a Truth<'a, A, C>,
    targets: &'a BTreeMap<String, Fingerprint>,
}

impl<A, C> Way<'_, A, C> {
    /// The rewards of each target, in the order of delivery.
    fn in_turn(
        &self,
        lanes: BTreeMap<String, Vec<CommissionId>>,
        troubles: &BTreeMap<String, Trouble>,
    ) -> BTreeMap<String, Vec<CommissionId>> {
        let plan = self.plan.borrow();
        let reward = |id: &CommissionId| plan.items.get(id).and_then(|item| item.reward.as_ref());
        let in_turn = |(target, ids): (String, Vec<CommissionId>)| {
            let ids = match troubles.get(&target) {
                Some(trouble) => trouble.in_turn(ids, reward),
                None => ids,
            };
            (target, ids)
        };
        lanes.into_iter().map(in_turn).collect()
    }
}

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Confirms, settles rewards that need no delivery, and delivers. Returns the delivered ones.
    pub(super) async fn carry_out(
        &self,
        plan: &mut Plan,
        truth: &Truth<'_, A, C>,
        targets: &BTreeMap<String, Fingerprint>,
        report: &mut Report,
    ) -> Result<Vec<CommissionId>, PassError> {
        let lanes = plan.lanes();
        let (first, asked_at) = self.confirm_first(plan, &lanes, truth, targets).await?;
        self.settle(plan, &first, report)?;
        let way = Way { plan: RefCell::new(plan), truth, targets };
        let troubles = self.troubles(lanes.keys(), targets)?;
        let lanes = way.in_turn(lanes, &troubles);
        let round = Round::new(report, troubles, lanes.values().map(Vec::len).sum());
        future::join_all(lanes.into_iter().map(|(target, ids)| self.deliver_lane(target, ids, asked_at, &way, &round)))
            .await;
        if let Some(error) = round.failure.take() {
            return Err(error);
        }
        if self.stop.is_cancelled() {
            return Err(PassError::Stopped);
        }
        Ok(round.delivered.take())
    }

    /// Confirms a whole plan, to show it.
    pub(super) async fn confirm_all(
        &self,
        plan: &mut Plan,
        targets: &BTreeMap<String, Fingerprint>,
    ) -> Result<(), PassError> {
        let truth = self.truth(plan)?;
        let lanes = plan.lanes();
        let (_, asked_at) = self.confirm_first(plan, &lanes, &truth, targets).await?;
        if asked_at.is_none() {
            let ids: Vec<CommissionId> = lanes.into_values().flatten().collect();
            let answers = self.ask_again(&ids, &truth).await?;
            self.confirm(&ids, answers, plan, targets)?;
        }
        Ok(())
    }

    /// Confirms the rewards that need no delivery, and the deliveries with them where one question is enough for both. Returns
    /// what may be settled now, and the time before the question about the remaining deliveries.
    async fn confirm_first(
        &self,
        plan: &mut Plan,
        lanes: &BTreeMap<String, Vec<CommissionId>>,
        truth: &Truth<'_, A, C>,
        targets: &BTreeMap<String, Fingerprint>,
    ) -> Result<(Vec<CommissionId>, Option<Timestamp>), PassError> {
        let deliveries: BTreeSet<CommissionId> = lanes.values().flatten().copied().collect();
        let mut ids = to_confirm(plan);
        let together = ids.len() + deliveries.len() <= QUESTION;
        if together {
            ids.extend(&deliveries);
        }
        let answers = self.ask_again(&ids, truth).await?;
        let asked_at = self.confirm(&ids, answers, plan, targets)?;
        let settled = |id: &CommissionId| together || !deliveries.contains(id);
        Ok((plan.items.keys().copied().filter(settled).collect(), together.then_some(asked_at)))
    }

    /// Delivers at one target, chunk by chunk. `asked_at`: the time of a question that has already covered all of them.
    async fn deliver_lane(
        &self,
        target: String,
        mut left: Vec<CommissionId>,
        mut asked_at: Option<Timestamp>,
        way: &Way<'_, A, C>,
        round: &Round<'_>,
    ) {
        let mut old_answers = 0;
        while !left.is_empty() {
            // Answers about fewer rewards come sooner: one page holds them all, even if the server caps its pages.
            let many = (QUESTION / 10_usize.pow(old_answers)).max(1);
            match self.deliver_chunk(&target, &mut left, many, asked_at.take(), way, round).await {
                Ok(0) => old_answers += 1,
                Ok(_) => old_answers = 0,
                Err(error) => return round.fail(error),
            }
            if old_answers >= OLD_ANSWERS && !left.is_empty() {
                return round.fail(PassError::OldAnswers { rewards: left.len(), times: OLD_ANSWERS });
            }
        }
    }

    /// Takes this many from the front, confirms them, and delivers those that can start in time. Puts the late ones back.
    /// Returns how many are finished.
    async fn deliver_chunk(
        &self,
        target: &str,
        left: &mut Vec<CommissionId>,
        many: usize,
        asked_at: Option<Timestamp>,
        way: &Way<'_, A, C>,
        round: &Round<'_>,
    ) -> Result<usize, PassError> {
        let closed = round.troubles.get(target).is_none_or(|trouble| trouble.gate() == Gate::Closed);
        if closed || self.stop.is_cancelled() || round.failure.borrow().is_some() {
            // No further question: it would be in vain.
            left.clear();
            return Ok(0);
        }
        let chunk: Vec<CommissionId> = left.drain(..left.len().min(many)).collect();
        let asked_at = if let Some(asked_at) = asked_at {
            asked_at
        } else {
            let answers = self.ask_again(&chunk, way.truth).await?;
            let plan = &mut **way.plan.borrow_mut();
            let asked_at = self.confirm(&chunk, answers, plan, way.targets)?;
            self.settle(plan, &chunk, &mut round.report.borrow_mut())?;
            asked_at
        };
        let confirmed = Confirmed::new(asked_at);
        let ready = self.ready(&chunk, target, &way.plan.borrow())?;
        self.deliver_at(target, ready, &confirmed, round).await;
        let late = confirmed.late.take();
        let done = chunk.len() - late.len();
        left.splice(..0, late);
        Ok(done)
    }

    /// The rows as the ledger has them now. Their content is delivered, so that every attempt has the same.
    fn ready(&self, ids: &[CommissionId], target: &str, plan: &Plan) -> Result<Vec<Ready>, LedgerError> {
        let mut rewards = self.ledger.rewards(ids)?;
        let goes_there = |id: &&CommissionId| plan.items.get(id).and_then(|item| item.step.target()) == Some(target);
        let expected = |state: &State| match state {
            State::Waiting { .. } | State::Delivering => true,
            State::Held { .. }
            | State::Delivered { .. }
            | State::Fulfilled { .. }
            | State::Cancelled
            | State::Reversed { .. }
            | State::Dismissed => false,
        };
        Ok(ids
            .iter()
            .filter(goes_there)
            .filter_map(|id| rewards.remove(id).map(|reward| Ready { reward, target: target.to_owned() }))
            .filter(|it| expected(&it.reward.state))
            .collect())
    }
}

impl Plan {
    /// The deliveries, by target.
    fn lanes(&self) -> BTreeMap<String, Vec<CommissionId>> {
        let mut lanes = BTreeMap::<String, Vec<CommissionId>>::new();
        for (id, item) in &self.items {
            if let Some(target) = item.step.target() {
                lanes.entry(target.to_owned()).or_default().push(*id);
            }
        }
        lanes
    }
}
