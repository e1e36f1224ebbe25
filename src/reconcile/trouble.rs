//! The circuit breaker of a target: after some failures or refusals in a row its deliveries wait. When the wait is over, a few
//! probes go, one at a time, until one succeeds.
//!
//! Suppose the endpoint's secret is wrong, and it refuses three hundred rewards. Each would be held, and a person would have to
//! resolve each. So the fifth refusal counts as the target's fault, and the others wait until somebody has repaired it.
//!
//! Suppose two dozen rewards fail every time, and have the lowest ids. If they went first, they would stop the target's
//! deliveries again and again, and the good rewards behind them would never go. So those that were tried least go first, and a
//! probe of a reward in doubt is followed by a probe of the least tried.

use std::{cell::Cell, time::Duration};

use crate::{
    config::Retry,
    domain::Timestamp,
    failure::{Outcome, backoff},
    ledger::{Health, Reward},
};

/// This many failures in a row, of any rewards, are the target's fault and not the rewards'.
const FAILURES_TOLERATED: u32 = 10;
/// The same for refusals of different rewards. Each of them holds a reward, so the number is smaller.
const REFUSALS_TOLERATED: u32 = 5;
/// After recovery a target is found well within this time, at the price of a few attempts.
const LONGEST_WAIT: Duration = Duration::from_mins(15);
/// How many probes go, one at a time, after the wait, until one succeeds.
const PROBES: u32 = 10;

/// Whether a delivery may start at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// As many at a time as the target takes.
    Open,
    /// One, whose outcome is awaited.
    Probing,
    /// None in this pass.
    Closed,
}

/// Outcomes of one kind in a row, without a success between them.
#[derive(Debug)]
struct Row {
    count: Cell<u32>,
    /// The number before this pass, or since the last success in it.
    before: Cell<u32>,
    tolerated: u32,
}

impl Row {
    fn new(count: u32, tolerated: u32) -> Self {
        Self { count: Cell::new(count), before: Cell::new(count), tolerated }
    }

    /// Counts one more. A delivery that was already under way when the trouble was found says nothing new, and several probes
    /// say no more than one. So the wait grows by one step at most in each pass.
    fn grow(&self) {
        let most = self.before.get().saturating_add(1).max(self.tolerated);
        self.count.set(self.count.get().saturating_add(1).min(most));
    }

    fn end(&self) {
        self.count.set(0);
        self.before.set(0);
    }

    /// How many steps the row is beyond what counts as the rewards' own fault; 0: not beyond.
    fn steps(&self) -> u32 {
        (self.count.get() + 1).saturating_sub(self.tolerated)
    }
}

/// How one target answers while the deliveries of a pass run. Only a success ends a row.
#[derive(Debug)]
pub(super) struct Trouble {
    failures: Row,
    refusals: Row,
    /// The first failure in this pass. The wait counts from it, so that it ends when the first reward's own wait does.
    first_at: Cell<Option<Timestamp>>,
    /// How many probes are left in this pass.
    probes: Cell<u32>,
}

impl Trouble {
    /// A target with the health that the ledger has, after its wait.
    pub(super) fn new(health: Option<&Health>, deduplicates: bool) -> Self {
        let failures = Row::new(health.map_or(0, |health| health.failures), FAILURES_TOLERATED);
        let refusals = Row::new(health.map_or(0, |health| health.refusals), REFUSALS_TOLERATED);
        let probes = match (failures.steps(), refusals.steps()) {
            (0, 0) => 0,
            // Each refusal holds a reward. So may each failure where the target does not deduplicate. A person must look at
            // these.
            (_, 0) if deduplicates => PROBES,
            (_, _) => 1,
        };
        Self { failures, refusals, first_at: Cell::new(None), probes: Cell::new(probes) }
    }

    fn steps(&self) -> u32 {
        self.failures.steps() + self.refusals.steps()
    }

    pub(super) fn gate(&self) -> Gate {
        match (self.steps(), self.probes.get()) {
            (0, _) => Gate::Open,
            (_, 0) => Gate::Closed,
            (_, _) => Gate::Probing,
        }
    }

    /// The order of the rewards: those tried least go first. With several probes, they are by turns one in doubt, whose outcome
    /// is wanted soonest, and the least tried. `reward`: the ledger's row, where there is one.
    pub(super) fn in_turn<'r, T>(&self, mut queue: Vec<T>, reward: impl Fn(&T) -> Option<&'r Reward>) -> Vec<T> {
        queue.sort_by_key(|it| reward(it).map_or(0, |reward| reward.attempts));
        let probes = self.probes.get();
        if self.gate() != Gate::Probing || probes == 1 {
            return queue;
        }
        let mut first = Vec::new();
        for turn in 0..probes {
            let in_doubt = || queue.iter().position(|it| reward(it).is_some_and(|reward| reward.doubt().is_some()));
            let next = if turn % 2 == 0 { in_doubt().unwrap_or(0) } else { 0 };
            if next < queue.len() {
                first.push(queue.remove(next));
            }
        }
        first.extend(queue);
        first
    }

    /// Counts an outcome. A refusal is neither a success nor a failure. A reward that `was_refused` before in this row counts
    /// as its own fault.
    pub(super) fn after(&self, outcome: &Outcome, was_refused: bool, retry: &Retry, now: Timestamp) -> Health {
        let (retry_after, said) = match outcome {
            Outcome::Delivered { .. } => {
                self.failures.end();
                self.refusals.end();
                self.first_at.set(None);
                self.probes.set(0);
                return Health::default();
            }
            Outcome::Refused { detail } => {
                if !was_refused {
                    self.refusals.grow();
                }
                (None, detail)
            }
            Outcome::NotDelivered { retry_after, detail } | Outcome::Unknown { retry_after, detail } => {
                self.failures.grow();
                (*retry_after, detail)
            }
        };
        self.probes.set(self.probes.get().saturating_sub(1));
        let since = self.first_at.get().unwrap_or(now);
        self.first_at.set(Some(since));
        let retry_at = (self.steps() > 0).then(|| {
            let wait = backoff(retry, self.steps(), None).min(LONGEST_WAIT);
            (since + wait).max(now + retry_after.unwrap_or_default())
        });
        let (failures, refusals) = (self.failures.count.get(), self.refusals.count.get());
        Health { failures, refusals, retry_at, last_error: Some(said.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Attempted, Tried};

    fn retry() -> Retry {
        let minutes = Duration::from_mins;
        Retry { first: minutes(1), factor: 4.0, max: minutes(360), give_up_after: minutes(10_000) }
    }

    fn failed() -> Outcome {
        Outcome::NotDelivered { detail: String::new(), retry_after: None }
    }

    fn target(failures: u32) -> Trouble {
        Trouble::new(Some(&Health { failures, ..Health::default() }), true)
    }

    /// What [`failed`] leaves.
    fn closed_after(failures: u32, retry_at: Option<Timestamp>) -> Health {
        Health { failures, retry_at, last_error: Some(String::new()), ..Health::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn the_tenth_failure_in_a_row_closes_a_target_until_the_first_reward_is_due() {
        let trouble = target(0);
        for second in 0..9 {
            assert_eq!(trouble.after(&failed(), false, &retry(), at(second)).retry_at, None);
            assert_eq!(trouble.gate(), Gate::Open);
        }
        assert_eq!(trouble.after(&failed(), false, &retry(), at(9)), closed_after(10, Some(at(60))));
        assert_eq!(trouble.gate(), Gate::Closed);
    }

    #[test]
    fn a_probe_that_fails_waits_longer_but_never_longer_than_a_quarter_of_an_hour() {
        let waits: Vec<_> = (10..14).map(|n| target(n).after(&failed(), false, &retry(), at(0)).retry_at).collect();
        assert_eq!(waits, [Some(at(240)), Some(at(900)), Some(at(900)), Some(at(900))]);
    }

    #[test]
    fn deliveries_under_way_when_a_target_closes_do_not_lengthen_the_wait() {
        let limit = FAILURES_TOLERATED;
        let trouble = target(limit - 2);
        let health: Vec<_> = (0..6).map(|second| trouble.after(&failed(), false, &retry(), at(second))).collect();
        assert_eq!(health[0], closed_after(limit - 1, None));
        let closed = closed_after(limit, Some(at(60)));
        assert!(health[1..].iter().all(|it| *it == closed), "{health:?}");
        let probe = target(limit);
        let longer = closed_after(limit + 1, Some(at(300)));
        assert_eq!(probe.after(&failed(), false, &retry(), at(60)), longer);
        probe.after(&Outcome::Delivered { receipt: None }, false, &retry(), at(61));
        let again: Vec<_> = (70..83).map(|second| probe.after(&failed(), false, &retry(), at(second))).collect();
        assert_eq!(again[12], closed_after(limit, Some(at(130))), "{again:?}");
    }

    #[test]
    fn retry_after_is_longer_than_our_own_wait() {
        let outcome = Outcome::Unknown { detail: String::new(), retry_after: Some(Duration::from_hours(2)) };
        assert_eq!(target(9).after(&outcome, false, &retry(), at(0)).retry_at, Some(at(7200)));
    }

    fn refused() -> Outcome {
        Outcome::Refused { detail: "401".to_owned() }
    }

    #[test]
    fn a_success_ends_the_trouble_and_a_refusal_does_not() {
        let trouble = target(12);
        assert_eq!(trouble.after(&refused(), false, &retry(), at(0)).failures, 12);
        assert_eq!(trouble.gate(), Gate::Probing);
        assert_eq!(trouble.after(&Outcome::Delivered { receipt: None }, false, &retry(), at(0)), Health::default());
        assert_eq!(trouble.gate(), Gate::Open);
    }

    #[test]
    fn the_fifth_refusal_in_a_row_closes_a_target_and_a_single_one_probes_it() {
        let trouble = target(0);
        for second in 0..4 {
            assert_eq!(trouble.after(&refused(), false, &retry(), at(second)).retry_at, None);
            // Failures in between are no success.
            assert_eq!(trouble.after(&failed(), false, &retry(), at(second)).retry_at, None);
            assert_eq!(trouble.gate(), Gate::Open);
        }
        let health = trouble.after(&refused(), false, &retry(), at(4));
        let last_error = Some("401".to_owned());
        assert_eq!(health, Health { failures: 4, refusals: 5, retry_at: Some(at(60)), last_error });
        assert_eq!(trouble.gate(), Gate::Closed);
        let probed = Trouble::new(Some(&health), true);
        assert_eq!(probed.gate(), Gate::Probing);
        assert_eq!(probed.after(&refused(), false, &retry(), at(60)).retry_at, Some(at(300)), "longer");
        assert_eq!(probed.gate(), Gate::Closed);
    }

    #[test]
    fn the_same_reward_refused_again_and_again_closes_no_target() {
        let trouble = target(0);
        trouble.after(&refused(), false, &retry(), at(0));
        for second in 1..9 {
            assert_eq!(trouble.after(&refused(), true, &retry(), at(second)).refusals, 1);
        }
        assert_eq!(trouble.gate(), Gate::Open);
    }

    #[test]
    fn up_to_ten_probes_are_made_until_one_succeeds_and_lengthen_the_wait_once() {
        let trouble = target(11);
        for probe in 0..10 {
            assert_eq!(trouble.gate(), Gate::Probing, "probe {probe}");
            assert_eq!(trouble.after(&failed(), false, &retry(), at(probe)).failures, 12);
        }
        assert_eq!(trouble.gate(), Gate::Closed);
        let trouble = target(11);
        trouble.after(&failed(), false, &retry(), at(0));
        trouble.after(&Outcome::Delivered { receipt: None }, false, &retry(), at(1));
        assert_eq!(trouble.gate(), Gate::Open);
    }

    #[test]
    fn a_target_that_does_not_deduplicate_is_probed_once() {
        let trouble = Trouble::new(Some(&Health { failures: 10, ..Health::default() }), false);
        assert_eq!(trouble.gate(), Gate::Probing);
        trouble.after(&failed(), false, &retry(), at(0));
        assert_eq!(trouble.gate(), Gate::Closed);
    }

    #[test]
    fn a_target_that_closed_in_this_pass_is_not_probed_in_it() {
        let trouble = target(9);
        trouble.after(&failed(), false, &retry(), at(0));
        assert_eq!(trouble.gate(), Gate::Closed);
    }

    /// Rewards by id, with their attempts, and whether they are in doubt.
    fn order(trouble: &Trouble, rewards: &[(i64, u32, bool)]) -> Vec<i64> {
        let row = |(id, attempts, uncertain): &(i64, u32, bool)| {
            let base = crate::plan::tests::reward(crate::ledger::RewardState::Waiting);
            let place = || Attempted { target: "app".to_owned(), fingerprint: None };
            let tried = if *uncertain { Tried::InDoubt(place()) } else { Tried::At(place()) };
            Reward { id: crate::domain::CommissionId(*id), attempts: *attempts, tried, ..base }
        };
        let queue: Vec<Reward> = rewards.iter().map(row).collect();
        trouble.in_turn(queue.iter().collect(), |it| Some(*it)).into_iter().map(|it| it.id.0).collect()
    }

    #[test]
    fn rewards_tried_least_go_first() {
        let rewards = [(1, 3, true), (2, 1, false), (3, 0, false), (4, 1, true), (5, 0, false)];
        assert_eq!(order(&target(0), &rewards), [3, 5, 2, 4, 1]);
        assert_eq!(
            order(&Trouble::new(Some(&Health { failures: 10, ..Health::default() }), false), &rewards),
            [3, 5, 2, 4, 1],
            "a single probe is no doubtful one"
        );
    }

    #[test]
    fn probes_alternate_between_a_reward_in_doubt_and_the_least_tried() {
        let rewards = [(1, 3, true), (2, 1, false), (3, 0, false), (4, 1, true), (5, 0, false)];
        assert_eq!(order(&target(10), &rewards), [4, 3, 1, 5, 2]);
        assert_eq!(order(&target(10), &[]), Vec::<i64>::new());
        let many: Vec<(i64, u32, bool)> = (1..=40).map(|id| (id, u32::from(id <= 20), id <= 20)).collect();
        let mixed = order(&target(10), &many);
        assert_eq!(mixed[..10], [1, 21, 2, 22, 3, 23, 4, 24, 5, 25]);
        assert_eq!(mixed[10..25], (26..=40).collect::<Vec<_>>(), "then the least tried");
    }

    #[test]
    fn a_wait_that_lies_further_ahead_than_any_of_ours_is_not_believed() {
        let until = |seconds| closed_after(10, Some(at(seconds))).closed_until(at(0));
        assert_eq!((until(0), until(1), until(86_400)), (None, Some(at(1)), Some(at(86_400))));
        assert_eq!((until(86_401), until(864_000)), (None, None));
    }
}
