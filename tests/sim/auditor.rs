//! The auditor: the rules that must hold in every world, whatever happened in it.
//!
//! It judges by the evidence of the world (what was true, sent, done and marked, and when), by the ledger as an outside reader
//! sees it, and by its own model of the rules ([`super::owed`]). It does not know how makegood decides.

use std::collections::BTreeMap;

use makegood::domain::Timestamp;

use super::{
    commission::{Commission, Content, Party},
    evidence::{By, Effect, Request},
    firstpromoter::LAG_MAX,
    owed,
    timeline::{MINUTE, Ms, later},
    witness::{Entry, Reward},
    world::World,
};

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// makegood causes at most one effect for each key, even beside careful handlers.
    NeverTwice,
    /// A delivery is sent only for a reward that was owed when FirstPromoter was last asked, or since then.
    OnlyWhatIsOwed,
    /// A delivery has the right unit, amount and recipient of that time.
    RightContent,
    RightKey,
    /// The intent is on disk when a request leaves.
    IntentFirst,
    /// FirstPromoter was asked again, both ways; the older question left at most a minute before.
    ConfirmedFirst,
    /// An attempt that may have taken effect is repeated only at the same target, which deduplicates, with the same content.
    RepeatedInPlace,
    /// Nothing is delivered, and no claim given, from a ledger that may have forgotten deliveries.
    ForgottenIsLocked,
    /// After five refusals in a row a target gets no more than one probe in each pass.
    RefusalsPause,
    /// An outcome that makegood heard is in its ledger, even where somebody held the ledger's write lock meanwhile.
    KnownIsKept,
    /// A reward without any obstacle is delivered within a bounded time, whatever happens to the others.
    HealthyIsDelivered,
    /// A delivered reward that can be marked is marked within a bounded time, whatever happens to the others.
    MarkedInTime,
    /// A reversed reward that FirstPromoter calls fulfilled is shown to a person.
    ReversalIsWatched,
    /// One attempt at a time.
    OneAtATime,
    /// No delivery before the webhook handler had its chance.
    GraceIsKept,
    /// No pass delivers more than it may.
    FuseHolds,
    /// Everything owed ends fulfilled, or is shown to a person.
    NeverLost,
    /// A reward that is not owed ends neither waiting nor under way.
    NothingHangs,
    /// `fulfilled` is written only for a reward that was fulfilled, or that FirstPromoter, asked by id, called fulfilled.
    FulfilledIsTrue,
    /// `delivered_by = makegood` only where the recipient has it.
    DeliveredIsTrue,
    /// The ledger records exactly what was delivered.
    LedgerMatchesEffect,
    /// makegood has marked only rewards that somebody has.
    MarkedIsDelivered,
    /// The journal leads, entry by entry, to the state.
    JournalLeadsToState,
    /// A delivered reward is never on its way again.
    DeliveredStays,
    /// Attempts are numbered without a gap, and all have an outcome.
    AttemptsAreWhole,
    /// Every pass has an end.
    PassesEnd,
    /// A person gets the reason, and what to do.
    AttentionSpeaks,
    /// When all faults are over, the world comes to rest.
    ComesToRest,
    /// In a world at rest, one more pass changes nothing.
    RestIsRest,
    /// No panic, no endless loop.
    GoesOn,
}

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    pub words: String,
}

/// The greatest age of an answer when a delivery that depends on it is sent. It counts from before the question.
const ANSWER_VALID: Ms = MINUTE;

/// Judges a world that has come to rest.
pub fn audit(world: &World) -> Vec<Violation> {
    let ledger = world.witness.rewards();
    let mut audit = Audit { world, ledger, found: Vec::new() };
    audit.requests();
    audit.repetitions();
    audit.refusals();
    audit.outcomes();
    audit.reversals();
    audit.effects();
    audit.marks();
    audit.fuses();
    audit.rows();
    audit.ends();
    audit.journal();
    audit.attempts();
    audit.passes();
    audit.attention();
    audit.found
}

pub struct Audit<'a> {
    pub world: &'a World,
    pub ledger: BTreeMap<i64, Reward>,
    found: Vec<Violation>,
}

impl Audit<'_> {
    pub fn hold(&mut self, rule: Rule, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            self.found.push(Violation { rule, words: words() });
        }
    }

    fn requests(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        let firstpromoter = world.firstpromoter.borrow();
        for request in &evidence.requests {
            let Request { commission: id, at, .. } = request;
            let told = |what: &str| format!("{what}: {id} at {at} ({})", request.content);
            self.hold(Rule::RightKey, request.key == owed::key(*id), || told(&request.key));
            self.hold(Rule::IntentFirst, request.intended, || told("no intent on disk"));
            self.hold(Rule::OneAtATime, !request.overlaps, || told("another attempt was under way"));
            let asked_at = request.confirmed.since();
            // Nobody can look at the clock during a commit.
            let valid = ANSWER_VALID + request.commit_took;
            let fresh = asked_at.is_some_and(|at| later(at, valid) >= request.at);
            self.hold(Rule::ConfirmedFirst, fresh, || told(&format!("{:?}", request.confirmed)));
            self.hold(Rule::ForgottenIsLocked, !request.forgetful, || told("from a ledger that may have forgotten"));
            let Some(commission) = firstpromoter.get(*id) else {
                self.hold(Rule::OnlyWhatIsOwed, false, || told("there is no such commission"));
                continue;
            };
            let asked_at = asked_at.unwrap_or(later(*at, -ANSWER_VALID));
            self.request_is_owed(request, commission, later(asked_at, -LAG_MAX));
        }
        for claim in &evidence.claims_on_forgetful {
            self.hold(Rule::ForgottenIsLocked, false, || format!("a handler's claim: {claim:?}"));
        }
    }

    /// Whether, at some moment since makegood asked, exactly this was owed; also for an interrupted delivery.
    fn request_is_owed(&mut self, request: &Request, commission: &Commission, since: Timestamp) {
        let world = self.world;
        let terms = &request.terms;
        let withheld = world.evidence.borrow().rules_withheld.then_some(owed::Rules::Withheld);
        let rules: Vec<owed::Rules> = std::iter::once(owed::Rules::Shown).chain(withheld).collect();
        let mut owed = Vec::new();
        for version in commission.during(since, request.at) {
            owed.extend(rules.iter().filter_map(|rules| owed::deliverable(commission, version, terms, *rules)));
        }
        let told = |what: &str| format!("{what}: {} at {} ({})", commission.id, request.at, request.content);
        self.hold(Rule::OnlyWhatIsOwed, !owed.is_empty(), || told("was not owed"));
        let right = owed.is_empty() || owed.contains(&request.content);
        self.hold(Rule::RightContent, right, || told(&format!("owed were {owed:?}")));
        let grace_over = commission.approved_at.map(|at| later(at, terms.grace));
        // A grace period that was over is over, also where the clock was ahead then, and was set right.
        let has_begun = |it: &Request| it.commission == request.commission && it.at < request.at;
        let began_before = world.evidence.borrow().requests.iter().any(has_begun);
        // A ledger whose clock was behind found it before it existed.
        let in_time = began_before || world.clock.was_behind() || grace_over.is_some_and(|over| over <= request.local);
        self.hold(Rule::GraceIsKept, in_time, || told("still in its grace period"));
    }

    fn effects(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        let mut by_key: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
        for effect in &evidence.effects {
            by_key.entry(&effect.key).or_default().push(effect);
        }
        for (key, effects) in by_key {
            let ours = effects.iter().filter(|it| matches!(it.by, By::Makegood(_))).count();
            let careful = |it: &&&Effect| match it.by {
                By::Handler(run) => evidence.handlers[run].was_careful(),
                By::Makegood(_) | By::History => false,
            };
            let theirs = effects.iter().filter(careful).count();
            let twice = ours > 0 && ours + theirs > 1;
            self.hold(Rule::NeverTwice, !twice, || format!("{key}: {effects:#?}"));
        }
    }

    fn marks(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        for mark in &evidence.marks {
            let delivered = evidence.effects.iter().any(|it| it.commission == mark.commission && it.at <= mark.at);
            let said = evidence.words.iter().any(|it| it.commission == mark.commission && it.at <= mark.at);
            self.hold(Rule::MarkedIsDelivered, delivered || said, || format!("{} at {}", mark.commission, mark.at));
        }
    }

    fn fuses(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        let mut sent = vec![0; evidence.fuses.len()];
        for request in &evidence.requests {
            sent[request.pass] += 1;
        }
        for (pass, (sent, fuse)) in sent.into_iter().zip(&evidence.fuses).enumerate() {
            self.hold(Rule::FuseHolds, sent <= *fuse, || format!("pass {pass} sent {sent}, and {fuse} were allowed"));
        }
    }

    /// Checks that the rows are true.
    fn rows(&mut self) {
        let world = self.world;
        let evidence = world.evidence.borrow();
        let firstpromoter = world.firstpromoter.borrow();
        // Times of the ledger can be compared with those of the world.
        let times_compare = !world.clock.was_wrong();
        let finished = world.witness.passes_finished();
        for (id, row) in self.ledger.clone() {
            let effects: Vec<&Effect> = evidence.effects.iter().filter(|it| it.commission == id).collect();
            self.hold(Rule::RightKey, row.key == owed::key(id), || format!("{id} has the key {}", row.key));
            if row.delivered_by.as_deref() == Some("makegood") {
                let has_it = effects.iter().any(|it| row.delivered_at.is_some_and(|at| it.at <= at || !times_compare));
                self.hold(Rule::DeliveredIsTrue, has_it, || format!("{id}: {row:?}"));
            }
            if let Some(fulfilled_at) = row.fulfilled_at {
                let commission = firstpromoter.get(id);
                // A pass writes one time for all its decisions, and may have seen things before its end.
                let until = finished.iter().copied().find(|at| *at >= fulfilled_at).unwrap_or(fulfilled_at);
                let until = if times_compare { until } else { world.now() };
                let was = commission.is_some_and(|it| it.during(it.created_at, until).any(|it| it.fulfilled));
                self.hold(Rule::FulfilledIsTrue, was, || format!("{id} since {fulfilled_at}"));
            }
            let ours = effects.iter().find(|it| matches!(it.by, By::Makegood(_)));
            if let (Some("makegood"), Some(effect)) = (row.delivered_by.as_deref(), ours) {
                let same = content(&row).as_ref() == Some(&effect.content);
                self.hold(Rule::LedgerMatchesEffect, same, || {
                    format!("{id}: {:?}, but {}", content(&row), effect.content)
                });
            }
        }
    }

    /// The state of everything at rest.
    fn ends(&mut self) {
        let world = self.world;
        let attention: Vec<i64> = world.witness.attention().into_iter().map(|it| it.id).collect();
        let terms = world.terms.borrow();
        let firstpromoter = world.firstpromoter.borrow();
        for commission in firstpromoter.commissions.values() {
            let id = commission.id;
            let now = commission.now();
            let row = self.ledger.get(&id).cloned();
            let state = row.as_ref().map(|row| row.state.clone());
            let told = || format!("{id} is {now:?}, and in the ledger: {row:?}");
            let settled_by_person = matches!(state.as_deref(), Some("dismissed" | "reversed"));
            let told_person = attention.contains(&id) || settled_by_person;
            if !owed::in_scope(now, &terms) {
                let hangs = matches!(state.as_deref(), Some("waiting" | "delivering"));
                self.hold(Rule::NothingHangs, !hangs, told);
            } else if now.fulfilled {
                let settled =
                    matches!(state.as_deref(), None | Some("fulfilled" | "cancelled" | "dismissed" | "reversed"));
                self.hold(Rule::NothingHangs, settled, told);
            } else {
                self.hold(Rule::NeverLost, told_person, told);
            }
        }
        for words in world.not_marked() {
            self.hold(Rule::MarkedInTime, false, || words);
        }
        for (id, row) in self.ledger.clone() {
            let open = matches!(row.state.as_str(), "waiting" | "delivering");
            self.hold(Rule::NothingHangs, !open, || format!("{id}: {row:?}"));
            let silent = row.state == "held" && !attention.contains(&id);
            self.hold(Rule::AttentionSpeaks, !silent, || format!("{id} is held, and not shown"));
        }
    }

    fn journal(&mut self) {
        let mut by_id: BTreeMap<i64, Vec<Entry>> = BTreeMap::new();
        for entry in self.world.witness.journal() {
            by_id.entry(entry.id).or_default().push(entry);
        }
        for (id, row) in self.ledger.clone() {
            let entries = by_id.remove(&id).unwrap_or_default();
            let mut state: Option<String> = None;
            let mut last = None;
            let mut delivered = false;
            for entry in entries {
                self.hold(Rule::JournalLeadsToState, entry.from == state, || {
                    format!("{id}: {entry:?} after {state:?}")
                });
                let in_order = last.is_none_or(|last| last <= entry.at) || self.world.clock.was_wrong();
                self.hold(Rule::JournalLeadsToState, in_order, || format!("{id}: {entry:?} before {last:?}"));
                let again = !matches!(entry.to.as_str(), "delivered" | "fulfilled" | "reversed");
                self.hold(Rule::DeliveredStays, !(delivered && again), || format!("{id}: {entry:?}"));
                delivered |= matches!(entry.to.as_str(), "delivered" | "fulfilled");
                last = Some(entry.at);
                state = Some(entry.to);
            }
            self.hold(Rule::JournalLeadsToState, state.as_deref() == Some(&row.state), || {
                format!("{id}: {state:?}, not {}", row.state)
            });
        }
        self.hold(Rule::JournalLeadsToState, by_id.is_empty(), || format!("entries without a reward: {by_id:?}"));
    }

    fn attempts(&mut self) {
        let mut count: BTreeMap<i64, i64> = BTreeMap::new();
        for attempt in self.world.witness.attempts() {
            let count = count.entry(attempt.id).or_default();
            *count += 1;
            let next = attempt.number == *count;
            self.hold(Rule::AttemptsAreWhole, next, || {
                format!("attempt {} of {} comes as {count}", attempt.number, attempt.id)
            });
            self.hold(Rule::AttemptsAreWhole, attempt.outcome.is_some(), || format!("no outcome: {attempt:?}"));
        }
        for (id, row) in self.ledger.clone() {
            let rows = count.get(&id).copied().unwrap_or_default();
            self.hold(Rule::AttemptsAreWhole, rows == row.attempts, || {
                format!("{id}: {} attempts, {rows} rows", row.attempts)
            });
        }
    }

    fn passes(&mut self) {
        let open = self.world.witness.passes_without_end();
        self.hold(Rule::PassesEnd, open.is_empty(), || format!("{open:?}"));
    }

    fn attention(&mut self) {
        for it in self.world.witness.attention() {
            let speaks = |words: &Option<String>| words.as_ref().is_some_and(|words| !words.trim().is_empty());
            self.hold(Rule::AttentionSpeaks, speaks(&it.reason) && speaks(&it.what_to_do), || format!("{it:?}"));
        }
    }
}

/// What a row says about who got what.
fn content(row: &Reward) -> Option<Content> {
    let (party, recipient) = match row.recipient.as_deref()? {
        "promoter" => (Party::Promoter, row.promoter?),
        "referral" => (Party::Referral, row.referral?),
        _ => return None,
    };
    Some(Content { unit: row.unit.clone()?, amount: row.amount?, party, recipient })
}
