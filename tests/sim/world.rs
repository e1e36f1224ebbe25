//! A world: everything outside makegood, and the trace of its events.

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
    rc::Rc,
};

use chrono::TimeZone;
use makegood::{
    domain::Timestamp,
    reconcile::{Order, Report},
};

use super::{
    clock::HostClock,
    commission::{Status, Version},
    evidence::{By, Evidence, Mark, Trace, Word},
    executor::Task,
    fault::{Fault, Weather},
    firstpromoter::FirstPromoter,
    locked::WriteLock,
    merchant::Merchant,
    owed,
    process::Process,
    restored::Copies,
    rng::Rng,
    sabotage::Sabotage,
    terms::Terms,
    timeline::{Timeline, later},
    witness::Witness,
};

/// The time at which every world begins.
pub fn start() -> Timestamp {
    chrono::Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).single().expect("a constant")
}

pub struct World {
    pub rng: Rng,
    /// The random stream of the faults that were added later. It does not disturb the first one.
    pub later: Rng,
    pub time: Timeline,
    pub weather: Weather,
    pub terms: RefCell<Rc<Terms>>,
    pub clock: HostClock,
    pub copies: RefCell<Copies>,
    pub lock: WriteLock,
    pub firstpromoter: RefCell<FirstPromoter>,
    pub merchant: RefCell<Merchant>,
    pub evidence: RefCell<Evidence>,
    pub witness: Witness,
    pub sabotage: Sabotage,
    pub ledger: PathBuf,
    pub tasks: RefCell<Vec<Task>>,
    /// How often in a thousand awaits a person does something.
    pub restlessness: u32,
    /// How many webhooks in a thousand arrive.
    pub webhooks: u32,
    trace: Trace,
    processes: RefCell<Vec<Rc<Process>>>,
    turns: Cell<u64>,
}

impl World {
    /// `ledger` is an empty one.
    pub fn new(seed: u64, sabotage: Sabotage, ledger: &Path, traced: bool) -> Rc<Self> {
        let rng = Rng::new(seed);
        let later = Rng::new(!seed);
        let start = start();
        let weather = Weather::new(&rng, &later);
        for fault in sabotage.shows_in() {
            weather.bring(*fault);
        }
        let terms = Terms::random(&rng, start);
        let mut firstpromoter = FirstPromoter::random(&rng, start);
        firstpromoter.make_odd(&weather, &later);
        let world = Self {
            time: Timeline::new(start),
            weather,
            terms: RefCell::new(Rc::new(terms)),
            clock: HostClock::default(),
            copies: RefCell::default(),
            lock: WriteLock::default(),
            firstpromoter: RefCell::new(firstpromoter),
            merchant: RefCell::default(),
            evidence: RefCell::default(),
            witness: Witness::open(ledger),
            sabotage,
            ledger: ledger.to_owned(),
            tasks: RefCell::default(),
            restlessness: *rng.pick(&[0, 5, 30, 120]),
            webhooks: *rng.pick(&[0, 0, 200, 500, 1000]),
            trace: Trace::new(start, traced),
            processes: RefCell::default(),
            turns: Cell::new(0),
            rng,
            later,
        };
        Rc::new(world)
    }

    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// The time according to the machine on which makegood, its ledger and the webhook handler are.
    pub fn local(&self) -> Timestamp {
        later(self.now(), self.clock.ahead())
    }

    /// Whether a fault that came later strikes.
    pub fn strikes_later(&self, fault: Fault) -> bool {
        self.weather.strikes(fault, &self.later)
    }

    pub fn say(&self, who: &str, words: impl FnOnce() -> String) {
        self.trace.say(self.now(), who, words);
    }

    pub fn trace(&self) -> String {
        self.trace.text()
    }

    pub fn strikes(&self, fault: Fault) -> bool {
        self.weather.strikes(fault, &self.rng)
    }

    pub fn meet(&self, fault: Fault) {
        self.weather.meet(fault);
    }

    /// Changes the true state of a commission.
    pub fn change(&self, id: i64, change: impl FnOnce(&mut Version)) {
        let now = self.now();
        if let Some(commission) = self.firstpromoter.borrow_mut().commissions.get_mut(&id) {
            commission.change(now, change);
        }
    }

    /// The rewards from before makegood: the webhook handler delivered them and had them marked.
    pub fn remember_history(&self) {
        let terms = self.terms.borrow();
        for commission in self.firstpromoter.borrow().commissions.values() {
            let now = commission.now();
            if !now.fulfilled {
                continue;
            }
            let (Some(content), Some(target)) = (owed::content(now, &terms, owed::Rules::Shown), terms.route(now.unit))
            else {
                continue;
            };
            let key = owed::key(commission.id);
            self.take(&terms.targets[target], By::History, &key, commission.id, &content);
        }
    }

    /// Whether the ledger has an id that FirstPromoter must call fulfilled, and that is fulfilled.
    pub fn has_canary(&self) -> bool {
        let firstpromoter = self.firstpromoter.borrow();
        self.witness.canaries().into_iter().any(|id| {
            let now = firstpromoter.get(id).map(super::commission::Commission::now);
            now.is_some_and(|now| now.there && now.fulfilled && now.status == Status::Approved && now.unit != "cash")
        })
    }

    /// A person looked, and says that the recipient does not have it and that nothing is under way.
    pub fn note_cleared(&self, commission: i64) {
        let word = Word { at: self.now(), commission };
        self.evidence.borrow_mut().cleared.push(word);
    }

    /// Whether a process was killed.
    pub fn died(&self, process: usize) -> bool {
        self.processes.borrow().iter().any(|it| it.number == process && it.is_dead())
    }

    /// Whether a commit of a process failed on purpose.
    pub fn lost_a_commit(&self, process: usize) -> bool {
        self.processes.borrow().iter().any(|it| it.number == process && it.commit_failed.get())
    }

    /// Whether any living process waits for the answer to a delivery of this commission.
    pub fn is_delivering(&self, id: i64) -> bool {
        self.processes.borrow().iter().any(|process| !process.ended.get() && process.delivering.borrow().contains(&id))
    }

    pub fn note_marks(&self, ids: &[i64]) {
        let at = self.now();
        self.evidence.borrow_mut().marks.extend(ids.iter().map(|id| Mark { at, commission: *id }));
    }

    /// A person looked, and says that the recipient has it.
    pub fn note_word(&self, commission: i64) {
        let word = Word { at: self.now(), commission };
        self.evidence.borrow_mut().words.push(word);
    }

    /// Counts a step. Returns the number of steps before it.
    pub fn count_turn(&self) -> u64 {
        self.turns.replace(self.turns.get() + 1)
    }

    /// A process starts. Returns its number, from 1.
    pub fn enter(&self, process: impl FnOnce(usize) -> Process) -> Rc<Process> {
        let mut processes = self.processes.borrow_mut();
        let number = processes.len() + 1;
        processes.push(Rc::new(process(number)));
        Rc::clone(&processes[processes.len() - 1])
    }

    pub fn begin_pass(&self, process: &Process, order: &Order) {
        self.evidence.borrow_mut().begun.push((process.number, self.now()));
        let fuses = &mut self.evidence.borrow_mut().fuses;
        process.pass.set(fuses.len());
        process.pass_began.set(self.now());
        fuses.push(order.max_deliveries.unwrap_or(self.terms.borrow().fuse));
        if !order.only.is_empty() {
            self.meet(Fault::OnlySome);
        }
        if order.max_deliveries.is_some() {
            self.meet(Fault::FuseLifted);
        }
        self.say(&process.name, || format!("begins pass {}: {order:?}", process.pass.get()));
    }

    pub fn end_pass(&self, process: &Process, order: &Order, report: &Report) {
        self.copies.borrow_mut().note_pass();
        if order.only.is_empty() && report.error.is_none() {
            self.evidence.borrow_mut().completed.push((process.pass_began.get(), self.now()));
        }
        if report.fuse_wanted.is_some() {
            self.meet(Fault::FuseBlows);
        }
        self.say(&process.name, || {
            let error = report.error.as_ref().map(|error| format!("; error: {error}")).unwrap_or_default();
            format!("ends pass {}: {:?}{error}", process.pass.get(), report.counts)
        });
    }

    /// Ends the world. Its parts hold references to each other, which would keep it in memory.
    pub fn dissolve(&self) {
        self.let_go_of_the_lock();
        self.tasks.borrow_mut().clear();
        self.time.clear();
    }
}
