//! What the auditor says of what follows one upon another: repetitions, refusals in a row, outcomes and what became of
//! them, and what happens after a reverse.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    auditor::{Audit, Rule},
    evidence::{Heard, Request, Said, Word},
    firstpromoter::LAG_MAX,
    timeline::{DAY, Ms, later},
};

/// So many in a row are the target's.
const REFUSALS_TOLERATED: usize = 5;
/// For so long what was taken back is watched.
const WATCHED: Ms = DAY;

impl Audit<'_> {
    /// Between an attempt that may have taken effect and the next one nobody has looked: then the next is the same.
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

    /// Counted by what the ledger knows of: what a crash took from it, it cannot count.
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
                // A refusal heard at the very instant may not be known yet; a success, which lets the next one go, is.
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

    /// What a process heard, and lived to write, is written; where a commit failed for good, it starts nothing more.
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

    /// Where a pass saw it in time, and it is still so.
    pub fn reversals(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        let firstpromoter = world.firstpromoter.borrow();
        let attention: Vec<i64> = world.witness.attention().into_iter().map(|it| it.id).collect();
        for reversed in &evidence.reversed {
            let Some(commission) = firstpromoter.get(reversed.commission) else { continue };
            let row = self.ledger.get(&reversed.commission).filter(|it| it.state == "reversed").cloned();
            // A person may mark what became money: FirstPromoter calls that neither fulfilled nor unfulfilled, and nobody sees it.
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
