//! One process of makegood: the real passes on the real ledger, until it ends or the power is cut.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future,
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use makegood::{
    clock::Clock,
    domain::{CommissionId, Timestamp},
    firstpromoter::CommissionQuery,
    ledger::{Ledger, LedgerError, Writer},
    reconcile::{
        Order, Pass,
        reverse::{self, Reversal},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    evidence::Confirmed,
    fault::Fault,
    firstpromoter::SimApi,
    locked,
    merchant::SimTargets,
    sabotaged::{SabotagedApi, SabotagedTargets},
    terms::ACCOUNT,
    timeline::{Ms, Whose},
    world::World,
};

/// The end of a process that does not end by itself. Commits and awaits are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Lives,
    DiesAtAwait(u32),
    DiesBeforeCommit(u32),
    DiesAfterCommit(u32),
}

/// The orders of a process, and its troubles.
#[derive(Debug)]
pub struct Life {
    /// The passes, each after a wait.
    pub passes: Vec<(Ms, Order)>,
    pub fate: Fate,
    /// This commit fails, and the process goes on.
    pub commit_fails: Option<u32>,
    /// SIGTERM at this await.
    pub stopped_at: Option<u32>,
    /// A person's `makegood reverse`, in place of passes.
    pub reverses: Option<i64>,
}

impl Life {
    /// A process without faults.
    pub fn of(passes: Vec<(Ms, Order)>) -> Self {
        Self { passes, fate: Fate::Lives, commit_fails: None, stopped_at: None, reverses: None }
    }
}

/// The power supply, shared with the ledger's commits.
pub struct Plug {
    /// Sabotaged: the next commit fails.
    gives_up: AtomicBool,
    fate: Fate,
    commit_fails: Option<u32>,
    commits: AtomicU32,
    failed: AtomicBool,
    pulled: AtomicBool,
}

impl Plug {
    /// The ledger asks this before each commit; true makes it fail. After a crash no commit succeeds.
    fn commit_fails(&self) -> bool {
        if self.is_pulled() {
            return true;
        }
        if self.gives_up.swap(false, Ordering::Relaxed) {
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
    pub pass_began: Cell<Timestamp>,
    pub stop: CancellationToken,
    pub ended: Cell<bool>,
    plug: Arc<Plug>,
    /// A commit of it failed.
    pub commit_failed: Cell<bool>,
    /// How long its last commit took.
    pub commit_took: Cell<Ms>,
    stopped_at: Option<u32>,
    awaits: Cell<u32>,
    /// When the questions under way left.
    asked: RefCell<BTreeMap<i64, Confirmed>>,
    confirmed: RefCell<BTreeMap<i64, Confirmed>>,
    /// A person's `reverse`, and no pass.
    pub reverses: bool,
}

impl Process {
    pub fn new(number: usize, life: &Life) -> Self {
        let plug = Plug {
            fate: life.fate,
            commit_fails: life.commit_fails,
            commits: AtomicU32::new(0),
            failed: AtomicBool::new(false),
            gives_up: AtomicBool::new(false),
            pulled: AtomicBool::new(false),
        };
        Self {
            name: format!("makegood {number}"),
            number,
            requests: Cell::new(0),
            delivering: RefCell::default(),
            pass: Cell::new(0),
            pass_began: Cell::default(),
            stop: CancellationToken::new(),
            ended: Cell::new(false),
            plug: Arc::new(plug),
            commit_failed: Cell::new(false),
            commit_took: Cell::new(0),
            stopped_at: life.stopped_at,
            awaits: Cell::new(0),
            asked: RefCell::default(),
            confirmed: RefCell::default(),
            reverses: life.reverses.is_some(),
        }
    }

    pub fn is_dead(&self) -> bool {
        self.plug.is_pulled()
    }

    /// Sabotaged: gives up its write.
    pub fn give_up_next_commit(&self) {
        self.plug.gives_up.store(true, Ordering::Relaxed);
    }

    /// Never returns for a dead process, so that it has no further effect.
    pub async fn alive(&self) {
        if self.is_dead() {
            future::pending::<()>().await;
        }
    }

    /// Counts an await of the process, and carries out the trouble that is due there. Returns whether the process died
    /// there, or at a commit before it.
    pub fn dies_here(&self, world: &World) -> bool {
        if self.plug.failed.swap(false, Ordering::Relaxed) {
            world.say(&self.name, || "a commit failed".to_owned());
            self.commit_failed.set(true);
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

    /// Notes a question about single commissions: the first page of it counts.
    pub fn note_question(&self, world: &World, query: &CommissionQuery) {
        if query.page > 1 {
            return;
        }
        let now = Some(world.now());
        let mut asked = self.asked.borrow_mut();
        for id in &query.ids {
            let asked = asked.entry(id.0).or_default();
            match query.fulfilled {
                Some(true) => asked.yes_asked_at = now,
                Some(false) => asked.no_asked_at = now,
                None => {}
            }
        }
    }

    /// Notes that it was answered.
    pub fn note_answer(&self, query: &CommissionQuery) {
        let asked = self.asked.borrow();
        let mut confirmed = self.confirmed.borrow_mut();
        for id in &query.ids {
            let asked = asked.get(&id.0).copied().unwrap_or_default();
            let confirmed = confirmed.entry(id.0).or_default();
            match query.fulfilled {
                Some(true) => confirmed.yes_asked_at = asked.yes_asked_at,
                Some(false) => confirmed.no_asked_at = asked.no_asked_at,
                None => {}
            }
        }
    }

    /// The questions about a commission that were answered in this pass.
    pub fn confirmed(&self, id: i64) -> Confirmed {
        self.confirmed.borrow().get(&id).copied().unwrap_or_default()
    }

    pub fn forget_confirmations(&self) {
        self.asked.borrow_mut().clear();
        self.confirmed.borrow_mut().clear();
    }
}

/// A request may arrive even if its sender died.
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
pub async fn live(world: Rc<World>, process: Rc<Process>, life: Life) {
    let ended = match life.reverses {
        Some(id) => reverse(&world, &process, id).await,
        None => work(&world, &process, life.passes).await,
    };
    if let Err(error) = ended {
        world.say(&process.name, || format!("ends: {}", makegood::reconcile::in_full(&error)));
    }
}

fn open_ledger(world: &Rc<World>, process: &Rc<Process>, path: &Path) -> Result<Ledger, LedgerError> {
    let mut ledger = Ledger::open(path, ACCOUNT, world.local())?;
    let plug = Arc::clone(&process.plug);
    ledger.on_commit(move || {
        locked::commit();
        plug.commit_fails()
    })?;
    locked::wait_in_world_time(world, process, &mut ledger)?;
    Ok(ledger)
}

async fn work(world: &Rc<World>, process: &Rc<Process>, passes: Vec<(Ms, Order)>) -> Result<(), LedgerError> {
    let path = world.sabotage.ledger_for(world);
    let ledger = open_ledger(world, process, &path)?;
    let settings = world.sabotage.settings(&world.terms.borrow(), &path);
    let api = SabotagedApi::new(SimApi { world: Rc::clone(world), process: Rc::clone(process) }, world.sabotage);
    let targets = SimTargets { world: Rc::clone(world), process: Rc::clone(process) };
    let targets = SabotagedTargets::new(targets, world.sabotage);
    let clock = SimClock::new(world, process);
    for (wait, order) in passes {
        world.time.sleep(wait, Whose::Makegood).await;
        if process.stop.is_cancelled() {
            break;
        }
        let order = world.sabotage.order(order);
        world.somebody_sets_the_clock();
        clock.begin_pass();
        world.begin_pass(process, &order);
        process.forget_confirmations();
        let pass = Pass {
            api: &api,
            targets: &targets,
            ledger: &ledger,
            writer: &Writer::here(&ledger, || clock.now()),
            clock: &clock,
            settings: &settings,
            stop: &process.stop,
            progress: &|_| {},
        };
        let report = pass.run(&order).await?;
        world.end_pass(process, &order, &report);
    }
    drop(ledger);
    world.let_go_of_the_lock();
    world.sabotage.after_life(world, &path);
    Ok(())
}

/// `makegood reverse`, which holds the same lock as a pass.
async fn reverse(world: &Rc<World>, process: &Rc<Process>, id: i64) -> Result<(), LedgerError> {
    let ledger = open_ledger(world, process, &world.ledger)?;
    let api = SimApi { world: Rc::clone(world), process: Rc::clone(process) };
    let clock = SimClock::new(world, process);
    let id = CommissionId(id);
    match reverse::reverse(&api, &ledger, &clock, id, "operator", "taken back").await {
        Ok(Reversal::Done(_)) => world.note_reversed(id.0),
        Ok(Reversal::Already) => {}
        Err(error) => world.say(&process.name, || error.to_string()),
    }
    Ok(())
}

/// The clock of [`makegood::clock`]: the machine's time, right or wrong.
struct SimClock {
    world: Rc<World>,
    process: Rc<Process>,
    pass_began: Cell<Timestamp>,
}

impl SimClock {
    fn new(world: &Rc<World>, process: &Rc<Process>) -> Self {
        Self { world: Rc::clone(world), process: Rc::clone(process), pass_began: Cell::new(world.local()) }
    }

    fn begin_pass(&self) {
        self.pass_began.set(self.world.local());
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        if self.world.sabotage.stops_the_clock() { self.pass_began.get() } else { self.world.local() }
    }

    async fn sleep(&self, duration: Duration) {
        self.process.alive().await;
        let wait = Ms::try_from(duration.as_millis()).unwrap_or(Ms::MAX);
        self.world.time.sleep(wait, Whose::Makegood).await;
    }
}
