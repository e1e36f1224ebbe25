//! The auditor's rules about sequences: repeated attempts, refusals in a row, recorded outcomes, and events after a
//! reversal.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    auditor::{Audit, Rule},
    evidence::{Heard, Request, Said, Word},
    firstpromoter::LAG_MAX,
    timeline::{DAY, Ms, later},
};

/// After this many refusals in a row the target is the cause.
const REFUSALS_TOLERATED: usize = 5;
/// The time for which makegood watches a reversed reward.
const WATCHED: Ms = DAY;

impl Audit<'_> {
    /// Suppose an attempt may have taken effect, and nobody looked before the next one. Then the next must be the same.
    pub fn repetitions(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        let mut by_id: BTreeMap<i64, Vec<&Request>> = BTreeMap::new();
        for request in &evidence.requests {
            by_id.entry(request.commission).or_default().push(request);
        }
        let uncertain = |it: &Request| it.heard.is_none_or(|heard| heard.what == Said::Unknown);
        for requests in by_id.into_values() {
            for (index, before) in requests.iter().enumerate().filter(|(_, it)| uncertain(it)) {
                for next in &requests[index + 1..] {
                    let between = |at| before.at < at && at <= next.at;
                    let cleared = |it: &Word| it.commission == next.commission && between(it.at);
                    if evidence.cleared.iter().any(cleared) || evidence.restored.iter().any(|at| between(*at)) {
                        break;
                    }
                    let same = before.target.is_same(&next.target) && next.target.idempotent;
                    let same = same && before.content == next.content;
                    self.hold(Rule::RepeatedInPlace, same, || format!("{before:#?}\nand then {next:#?}"));
                }
            }
        }
    }

    /// Counts the refusals that the ledger knows. It cannot count one that a crash lost.
    pub fn refusals(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        if !evidence.restored.is_empty() {
            return;
        }
        let attempts = world.witness.attempts();
        let known: BTreeMap<(i64, i64), String> =
            attempts.into_iter().filter_map(|it| Some(((it.id, it.number), it.outcome?))).collect();
        let known = |it: &Request| known.get(&(it.commission, it.attempt)).cloned();
        let mut by_target: BTreeMap<(&str, u32), Vec<&Request>> = BTreeMap::new();
        for request in &evidence.requests {
            by_target.entry((request.target.name, request.target.place)).or_default().push(request);
        }
        for requests in by_target.into_values() {
            let mut heard: Vec<(Heard, &Request)> = requests.iter().filter_map(|it| Some((it.heard?, *it))).collect();
            heard.sort_by_key(|(heard, _)| heard.at);
            let mut probes = BTreeMap::<usize, usize>::new();
            for request in &requests {
                let mut in_a_row = BTreeSet::new();
                let mut last_pass = None;
                // A refusal of the same instant may not be recorded yet. A success, which lets the next one go, is.
                let earlier =
                    |heard: &Heard| heard.at < request.at || (heard.at == request.at && heard.what != Said::Refused);
                for (heard, of) in heard.iter().filter(|(heard, _)| earlier(heard)) {
                    match (heard.what, known(of).as_deref()) {
                        (Said::Refused, Some("refused")) => {
                            in_a_row.insert(of.commission);
                            last_pass = Some(of.pass);
                        }
                        _ => in_a_row.clear(),
                    }
                }
                if in_a_row.len() < REFUSALS_TOLERATED {
                    continue;
                }
                let probes = probes.entry(request.pass).or_default();
                *probes += 1;
                let rests = last_pass != Some(request.pass) && *probes == 1;
                self.hold(Rule::RefusalsPause, rests, || {
                    format!("after refusals of {in_a_row:?}, probe {probes} of its pass: {request:#?}")
                });
            }
        }
    }

    /// A process writes every outcome that it heard, if it lives. After a commit that failed for good, it starts nothing.
    pub fn outcomes(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        let outcomes: BTreeMap<(i64, i64), Option<String>> =
            world.witness.attempts().into_iter().map(|it| ((it.id, it.number), it.outcome)).collect();
        for request in &evidence.requests {
            let Some(Heard { at, what }) = request.heard else { continue };
            let said = match what {
                Said::Delivered => "delivered",
                Said::NotDelivered => "not_delivered",
                Said::Refused => "refused",
                Said::Unknown => continue,
            };
            let forgotten = evidence.restored.iter().any(|restored| *restored >= request.at);
            if forgotten || world.died(request.process) {
                continue;
            }
            let written = outcomes.get(&(request.commission, request.attempt)).cloned().flatten();
            let went_on = evidence.requests.iter().any(|it| it.process == request.process && it.at > at)
                || evidence.begun.iter().any(|(process, begun)| *process == request.process && *begun >= at);
            let excused = world.lost_a_commit(request.process) && !went_on;
            let kept = written.as_deref() == Some(said) || excused;
            self.hold(Rule::KnownIsKept, kept, || format!("{written:?}: {request:#?}"));
        }
    }

    /// Checks reversed rewards that a pass saw in time and that are still fulfilled.
    pub fn reversals(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        let firstpromoter = world.firstpromoter.borrow();
        let attention: Vec<i64> = world.witness.attention().into_iter().map(|it| it.id).collect();
        for reversed in &evidence.reversed {
            let Some(commission) = firstpromoter.get(reversed.commission) else { continue };
            let row = self.ledger.get(&reversed.commission).filter(|it| it.state == "reversed").cloned();
            // A person may mark a reward that became money. FirstPromoter then lists it under neither filter, so that no pass
            // sees it.
            let (Some(row), true) = (row, commission.will_show()) else { continue };
            let since = commission.fulfilled_since();
            let seen = evidence.completed.iter().any(|(began, ended)| {
                *began >= later(since, LAG_MAX) && *began > reversed.at && *ended < later(reversed.at, WATCHED)
            });
            let shown = row.drift.as_deref() == Some("fulfilled_after_reversal") && attention.contains(&row.id);
            let right = !seen || shown || world.clock.was_wrong();
            self.hold(Rule::ReversalIsWatched, right, || {
                format!("taken back at {}, fulfilled since {since}: {row:?}", reversed.at)
            });
        }
    }
}
