//! One process of makegood: the real passes on the real ledger, until it ends or somebody pulls the plug.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use makegood::{
    clock::Clock,
    domain::Timestamp,
    firstpromoter::CommissionQuery,
    ledger::{Ledger, LedgerError},
    reconcile::{Order, Pass},
};
use tokio_util::sync::CancellationToken;

use super::{
    evidence::Confirmed,
    fault::Fault,
    firstpromoter::SimApi,
    merchant::SimTargets,
    sabotage::{SabotagedApi, SabotagedTargets},
    terms::ACCOUNT,
    timeline::{Ms, Whose},
    world::World,
};

/// How a process is to end, if not by itself. Commits and awaits are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Lives,
    DiesAtAwait(u32),
    DiesBeforeCommit(u32),
    DiesAfterCommit(u32),
}

/// What a process is to do and to suffer.
#[derive(Debug)]
pub struct Life {
    /// Each after a wait of its own.
    pub passes: Vec<(Ms, Order)>,
    pub fate: Fate,
    /// This commit fails, and the process goes on.
    pub commit_fails: Option<u32>,
    /// SIGTERM at this await.
    pub stopped_at: Option<u32>,
}

impl Life {
    /// A life without trouble.
    pub fn of(passes: Vec<(Ms, Order)>) -> Self {
        Self { passes, fate: Fate::Lives, commit_fails: None, stopped_at: None }
    }
}

/// The power supply, shared with the ledger's commits.
pub struct Plug {
    fate: Fate,
    commit_fails: Option<u32>,
    commits: AtomicU32,
    failed: AtomicBool,
    pulled: AtomicBool,
}

impl Plug {
    /// What the ledger asks before each commit: whether it fails. After death nothing reaches the disk any more.
    fn commit_fails(&self) -> bool {
        if self.is_pulled() {
            return true;
        }
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        let before = self.fate == Fate::DiesBeforeCommit(number);
        if before || self.fate == Fate::DiesAfterCommit(number) {
            self.pull();
            return before;
        }
        let fails = self.commit_fails == Some(number);
        self.failed.fetch_or(fails, Ordering::Relaxed);
        fails
    }

    fn pull(&self) {
        self.pulled.store(true, Ordering::Relaxed);
    }

    fn is_pulled(&self) -> bool {
        self.pulled.load(Ordering::Relaxed)
    }
}

/// A process, as the world sees it.
pub struct Process {
    pub name: String,
    pub number: usize,
    /// Requests to FirstPromoter so far.
    pub requests: Cell<u64>,
    /// Commissions whose delivery waits for its answer.
    pub delivering: RefCell<BTreeSet<i64>>,
    /// The pass it is in, counted over all processes.
    pub pass: Cell<usize>,
    pub stop: CancellationToken,
    pub ended: Cell<bool>,
    plug: Arc<Plug>,
    stopped_at: Option<u32>,
    awaits: Cell<u32>,
    confirmed: RefCell<BTreeMap<i64, Confirmed>>,
    /// The last answer about single commissions: a confirmation of many takes several.
    answered_at: Cell<Option<Timestamp>>,
}

impl Process {
    pub fn new(number: usize, life: &Life) -> Self {
        let plug = Plug {
            fate: life.fate,
            commit_fails: life.commit_fails,
            commits: AtomicU32::new(0),
            failed: AtomicBool::new(false),
            pulled: AtomicBool::new(false),
        };
        Self {
            name: format!("makegood {number}"),
            number,
            requests: Cell::new(0),
            delivering: RefCell::default(),
            pass: Cell::new(0),
            stop: CancellationToken::new(),
            ended: Cell::new(false),
            plug: Arc::new(plug),
            stopped_at: life.stopped_at,
            awaits: Cell::new(0),
            confirmed: RefCell::default(),
            answered_at: Cell::new(None),
        }
    }

    pub fn is_dead(&self) -> bool {
        self.plug.is_pulled()
    }

    /// Never returns for the dead: nothing that they do has an effect.
    pub async fn alive(&self) {
        if self.is_dead() {
            future::pending::<()>().await;
        }
    }

    /// Counts an await at which the process waits now, and lets happen what is to happen there. Returns whether it died
    /// there, or at a commit on the way.
    pub fn dies_here(&self, world: &World) -> bool {
        if self.plug.failed.swap(false, Ordering::Relaxed) {
            world.say(&self.name, || "a commit failed".to_owned());
            world.meet(Fault::CommitFails);
        }
        let number = self.awaits.get();
        self.awaits.set(number + 1);
        if self.stopped_at == Some(number) {
            world.say(&self.name, || "SIGTERM".to_owned());
            world.meet(Fault::Stopped);
            self.stop.cancel();
        }
        if self.plug.fate == Fate::DiesAtAwait(number) {
            self.plug.pull();
        }
        if self.is_dead() {
            world.say(&self.name, || format!("crashes: {:?}", self.plug.fate));
            match self.plug.fate {
                Fate::DiesAtAwait(_) => world.meet(Fault::CrashAtAwait),
                Fate::DiesBeforeCommit(_) => world.meet(Fault::CrashBeforeCommit),
                Fate::DiesAfterCommit(_) => world.meet(Fault::CrashAfterCommit),
                Fate::Lives => {}
            }
        }
        self.is_dead()
    }

    /// A request of this process sets out.
    pub fn departure(self: &Rc<Self>, world: &World) -> Departure {
        Departure { sender: Rc::clone(self), outlives: world.rng.chance(500) }
    }

    /// Notes a question about single commissions.
    pub fn note_question(&self, world: &World, query: &CommissionQuery) {
        let now = Some(world.now());
        self.note(query, |confirmed, fulfilled| match fulfilled {
            false if query.page == 1 => {
                *confirmed = Confirmed { no_asked_at: now, no_answered_at: None, ..*confirmed };
            }
            true if query.page == 1 => confirmed.yes_answered_at = None,
            _ => {}
        });
    }

    /// Notes that it was answered; of several pages the last one counts.
    pub fn note_answer(&self, world: &World, query: &CommissionQuery) {
        let now = Some(world.now());
        if !query.ids.is_empty() {
            self.answered_at.set(now);
        }
        self.note(query, |confirmed, fulfilled| {
            if fulfilled {
                confirmed.yes_answered_at = now;
            } else {
                confirmed.no_answered_at = now;
            }
        });
    }

    fn note(&self, query: &CommissionQuery, note: impl Fn(&mut Confirmed, bool)) {
        let Some(fulfilled) = query.fulfilled else { return };
        let mut confirmed = self.confirmed.borrow_mut();
        for id in &query.ids {
            note(confirmed.entry(id.0).or_default(), fulfilled);
        }
    }

    /// How far the confirmation of a commission has come in this pass.
    pub fn confirmed(&self, id: i64) -> Confirmed {
        let confirmed = self.confirmed.borrow().get(&id).copied().unwrap_or_default();
        Confirmed { all_answered_at: self.answered_at.get(), ..confirmed }
    }
}

/// Whether a request arrives does not hang on its sender's life alone.
pub struct Departure {
    sender: Rc<Process>,
    outlives: bool,
}

impl Departure {
    pub fn arrives(&self, world: &World) -> bool {
        if !self.sender.is_dead() {
            return true;
        }
        world.meet(if self.outlives { Fault::OutlivesCrash } else { Fault::DiesUnsent });
        self.outlives
    }
}

/// The process from its start to its end.
pub async fn live(world: Rc<World>, process: Rc<Process>, passes: Vec<(Ms, Order)>) {
    if let Err(error) = work(&world, &process, passes).await {
        world.say(&process.name, || format!("ends: {}", makegood::reconcile::in_full(&error)));
    }
}

async fn work(world: &Rc<World>, process: &Rc<Process>, passes: Vec<(Ms, Order)>) -> Result<(), LedgerError> {
    let path = world.sabotage.ledger_for(world);
    let mut ledger = Ledger::open(&path, ACCOUNT, world.now())?;
    let plug = Arc::clone(&process.plug);
    ledger.on_commit(move || plug.commit_fails())?;
    let settings = world.sabotage.settings(&world.terms.borrow(), &path);
    let api = SabotagedApi::new(SimApi { world: Rc::clone(world), process: Rc::clone(process) }, world.sabotage);
    let targets = SimTargets { world: Rc::clone(world), process: Rc::clone(process) };
    let targets = SabotagedTargets::new(targets, world.sabotage);
    let clock = SimClock { world: Rc::clone(world), process: Rc::clone(process) };
    for (wait, order) in passes {
        world.time.sleep(wait, Whose::Makegood).await;
        if process.stop.is_cancelled() {
            break;
        }
        let order = world.sabotage.order(order);
        world.begin_pass(process, &order);
        process.confirmed.borrow_mut().clear();
        let pass = Pass {
            api: &api,
            targets: &targets,
            ledger: &ledger,
            clock: &clock,
            settings: &settings,
            stop: &process.stop,
            progress: &|_| {},
        };
        let report = pass.run(&order).await?;
        world.end_pass(process, &report);
    }
    drop(ledger);
    world.sabotage.after_life(world, &path);
    Ok(())
}

/// The clock of [`makegood::clock`], in the world's time.
struct SimClock {
    world: Rc<World>,
    process: Rc<Process>,
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.world.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.process.alive().await;
        let wait = Ms::try_from(duration.as_millis()).unwrap_or(Ms::MAX);
        self.world.time.sleep(wait, Whose::Makegood).await;
    }
}
