//! A target in trouble is not hammered: after some failures in a row its deliveries wait. When the wait is over, a few go, one at
//! a time, until one succeeds.
//!
//! Suppose two dozen rewards fail whatever happens, and have the lowest ids. If they went first, they would close the target
//! again and again, and the good rewards behind them would never go. So those that were tried least go first, and a probe of one
//! in doubt is followed by a probe of the least tried.

use std::{cell::Cell, time::Duration};

use crate::{
    config::Retry,
    domain::Timestamp,
    failure::{Outcome, backoff},
    ledger::{Health, Reward},
};

/// So many failures in a row, of any rewards, are the target's rather than the rewards'.
const FAILURES_TOLERATED: u32 = 10;
/// A target that has recovered is found out within this time, at the price of a few attempts.
const LONGEST_WAIT: Duration = Duration::from_mins(15);
/// So many go, one at a time, when the wait is over, until one succeeds.
const PROBES: u32 = 10;

/// Whether a delivery may start at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// As many at a time as the target takes.
    Open,
    /// One, and its outcome is waited for.
    Probing,
    /// None in this pass.
    Closed,
}

/// Failures in a row at one target, counted while the deliveries of a pass run.
#[derive(Debug)]
pub(super) struct Trouble {
    failures: Cell<u32>,
    /// Before this pass, or since the last success in it.
    failures_before: Cell<u32>,
    /// Of this pass: the wait counts from here, so that it is over when the first reward's own is.
    first_failure_at: Cell<Option<Timestamp>>,
    /// How many may still be tried in this pass while the target is in trouble.
    probes: Cell<u32>,
}

impl Trouble {
    /// A target as the ledger knows it; its wait is over.
    pub(super) fn new(failures: u32, deduplicates: bool) -> Self {
        let in_trouble = failures >= FAILURES_TOLERATED;
        // Where it does not deduplicate, each probe may leave a reward in doubt, which a person must then look up.
        let probes = if deduplicates { PROBES } else { 1 };
        Self {
            failures: Cell::new(failures),
            failures_before: Cell::new(failures),
            first_failure_at: Cell::new(None),
            probes: Cell::new(if in_trouble { probes } else { 0 }),
        }
    }

    pub(super) fn gate(&self) -> Gate {
        match (self.failures.get() >= FAILURES_TOLERATED, self.probes.get()) {
            (false, _) => Gate::Open,
            (true, 0) => Gate::Closed,
            (true, _) => Gate::Probing,
        }
    }

    /// The order in which rewards go: those that were tried least first. Where several probes are to be made, they are in turn
    /// one in doubt, whose outcome is wanted soonest, and the least tried.
    /// `reward`: the ledger's row, where there is one.
    pub(super) fn in_turn<'r, T>(&self, mut queue: Vec<T>, reward: impl Fn(&T) -> Option<&'r Reward>) -> Vec<T> {
        queue.sort_by_key(|it| reward(it).map_or(0, |reward| reward.attempts));
        let probes = self.probes.get();
        if self.gate() != Gate::Probing || probes == 1 {
            return queue;
        }
        let mut first = Vec::new();
        for turn in 0..probes {
            let in_doubt = || queue.iter().position(|it| reward(it).is_some_and(Reward::in_doubt));
            let next = if turn % 2 == 0 { in_doubt().unwrap_or(0) } else { 0 };
            if next < queue.len() {
                first.push(queue.remove(next));
            }
        }
        first.extend(queue);
        first
    }

    /// Counts an outcome; a target that answers, be it with a refusal, is well.
    pub(super) fn after(&self, outcome: &Outcome, retry: &Retry, now: Timestamp) -> Health {
        let (retry_after, said) = match outcome {
            Outcome::Delivered { .. } | Outcome::Refused { .. } => {
                self.failures.set(0);
                self.failures_before.set(0);
                self.first_failure_at.set(None);
                self.probes.set(0);
                return Health::default();
            }
            Outcome::NotDelivered { retry_after, detail } | Outcome::Unknown { retry_after, detail } => {
                (*retry_after, detail)
            }
        };
        self.probes.set(self.probes.get().saturating_sub(1));
        // What was under way when the target was found in trouble says nothing new, and several probes say no more than one:
        // in each pass the wait grows by one step at the most.
        let most = self.failures_before.get().saturating_add(1).max(FAILURES_TOLERATED);
        let failures = self.failures.get().saturating_add(1).min(most);
        self.failures.set(failures);
        let since = self.first_failure_at.get().unwrap_or(now);
        self.first_failure_at.set(Some(since));
        let retry_at = failures.checked_sub(FAILURES_TOLERATED).map(|beyond| {
            let wait = backoff(retry, beyond + 1, None).min(LONGEST_WAIT);
            (since + wait).max(now + retry_after.unwrap_or_default())
        });
        Health { failures, refusals: 0, retry_at, last_error: Some(said.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        let minutes = Duration::from_mins;
        Retry { first: minutes(1), factor: 4.0, max: minutes(360), give_up_after: minutes(10_000) }
    }

    fn failed() -> Outcome {
        Outcome::NotDelivered { detail: String::new(), retry_after: None }
    }

    fn target(failures: u32) -> Trouble {
        Trouble::new(failures, true)
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
            assert_eq!(trouble.after(&failed(), &retry(), at(second)).retry_at, None);
            assert_eq!(trouble.gate(), Gate::Open);
        }
        assert_eq!(trouble.after(&failed(), &retry(), at(9)), closed_after(10, Some(at(60))));
        assert_eq!(trouble.gate(), Gate::Closed);
    }

    #[test]
    fn a_probe_that_fails_waits_longer_but_never_longer_than_a_quarter_of_an_hour() {
        let waits: Vec<_> = (10..14).map(|n| target(n).after(&failed(), &retry(), at(0)).retry_at).collect();
        assert_eq!(waits, [Some(at(240)), Some(at(900)), Some(at(900)), Some(at(900))]);
    }

    #[test]
    fn what_was_under_way_when_a_target_was_closed_does_not_lengthen_the_wait() {
        let limit = FAILURES_TOLERATED;
        let trouble = target(limit - 2);
        let health: Vec<_> = (0..6).map(|second| trouble.after(&failed(), &retry(), at(second))).collect();
        assert_eq!(health[0], closed_after(limit - 1, None));
        let closed = closed_after(limit, Some(at(60)));
        assert!(health[1..].iter().all(|it| *it == closed), "{health:?}");
        let probe = target(limit);
        let longer = closed_after(limit + 1, Some(at(300)));
        assert_eq!(probe.after(&failed(), &retry(), at(60)), longer);
        probe.after(&Outcome::Delivered { receipt: None }, &retry(), at(61));
        let again: Vec<_> = (70..83).map(|second| probe.after(&failed(), &retry(), at(second))).collect();
        assert_eq!(again[12], closed_after(limit, Some(at(130))), "{again:?}");
    }

    #[test]
    fn retry_after_is_longer_than_our_own_wait() {
        let outcome = Outcome::Unknown { detail: String::new(), retry_after: Some(Duration::from_hours(2)) };
        assert_eq!(target(9).after(&outcome, &retry(), at(0)).retry_at, Some(at(7200)));
    }

    #[test]
    fn an_answer_ends_the_trouble_even_if_it_is_a_refusal() {
        for outcome in [Outcome::Delivered { receipt: None }, Outcome::Refused { detail: String::new() }] {
            let trouble = target(12);
            assert_eq!(trouble.after(&outcome, &retry(), at(0)), Health::default());
            assert_eq!(trouble.gate(), Gate::Open);
        }
    }

    #[test]
    fn up_to_ten_probes_are_made_until_one_succeeds_and_lengthen_the_wait_once() {
        let trouble = target(11);
        for probe in 0..10 {
            assert_eq!(trouble.gate(), Gate::Probing, "probe {probe}");
            assert_eq!(trouble.after(&failed(), &retry(), at(probe)).failures, 12);
        }
        assert_eq!(trouble.gate(), Gate::Closed);
        let trouble = target(11);
        trouble.after(&failed(), &retry(), at(0));
        trouble.after(&Outcome::Delivered { receipt: None }, &retry(), at(1));
        assert_eq!(trouble.gate(), Gate::Open);
    }

    #[test]
    fn a_target_that_does_not_deduplicate_is_probed_once() {
        let trouble = Trouble::new(10, false);
        assert_eq!(trouble.gate(), Gate::Probing);
        trouble.after(&failed(), &retry(), at(0));
        assert_eq!(trouble.gate(), Gate::Closed);
    }

    #[test]
    fn a_target_that_closed_in_this_pass_is_not_probed_in_it() {
        let trouble = target(9);
        trouble.after(&failed(), &retry(), at(0));
        assert_eq!(trouble.gate(), Gate::Closed);
    }

    /// Rewards by id, with their attempts, and whether they are in doubt.
    fn order(trouble: &Trouble, rewards: &[(i64, u32, bool)]) -> Vec<i64> {
        let row = |(id, attempts, uncertain): &(i64, u32, bool)| {
            let base = crate::reconcile::plan::tests::reward(crate::ledger::RewardState::Waiting);
            Reward { id: crate::domain::CommissionId(*id), attempts: *attempts, uncertain: *uncertain, ..base }
        };
        let queue: Vec<Reward> = rewards.iter().map(row).collect();
        trouble.in_turn(queue.iter().collect(), |it| Some(*it)).into_iter().map(|it| it.id.0).collect()
    }

    #[test]
    fn those_tried_least_go_first() {
        let rewards = [(1, 3, true), (2, 1, false), (3, 0, false), (4, 1, true), (5, 0, false)];
        assert_eq!(order(&target(0), &rewards), [3, 5, 2, 4, 1]);
        assert_eq!(order(&Trouble::new(10, false), &rewards), [3, 5, 2, 4, 1], "a single probe is no doubtful one");
    }

    #[test]
    fn probes_are_in_turn_one_in_doubt_and_the_least_tried() {
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
