//! The story of every world: trouble, then fair weather, then rest, then the auditor.

use std::{
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    rc::Rc,
    sync::Once,
};

use makegood::{
    domain::CommissionId,
    ledger::Ledger,
    reconcile::{Order, Trigger},
};

use super::{
    auditor::{Rule, Violation, audit},
    commission::{Commission, EVERYTHING_HAS_ARRIVED, Status},
    fault::{Fault, Mix},
    process::{Fate, Life},
    sabotage::Sabotage,
    terms::ACCOUNT,
    timeline::{HOUR, MINUTE, Ms, SECOND},
    witness::Reward,
    world::{World, start},
};

/// Within this many passes everything must come to rest.
const PASSES_TO_REST: usize = 12;
/// Within this many passes everything that is due is marked, or refused once more.
const PASSES_TO_MARK: usize = 20;
/// Longer than any backoff, claim, grace period and Retry-After.
const LONG_ENOUGH: Ms = 26 * HOUR;

/// The result of a world.
#[derive(Debug)]
pub struct Verdict {
    pub seed: u64,
    pub violations: Vec<Violation>,
    pub mix: Mix,
    pub trace: String,
}

impl Verdict {
    pub fn breaks(&self, rule: Rule) -> bool {
        self.violations.iter().any(|it| it.rule == rule)
    }
}

/// A folder of one thread, with an empty ledger to begin each world from.
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// In memory where there is such a folder, because nothing here has to survive.
    pub fn new() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let scratch = Self { folder: folder.expect("a temporary folder") };
        drop(Ledger::open(&scratch.template(), ACCOUNT, start()).expect("a new ledger"));
        scratch
    }

    /// Runs the world of this seed, from beginning to end.
    pub fn run(&self, seed: u64, sabotage: Sabotage, traced: bool) -> Verdict {
        let ledger = self.fresh_ledger();
        let world = World::new(seed, sabotage, &ledger, traced);
        let told = RefCell::new(Vec::new());
        let ended = catch_panic(|| told.borrow_mut().extend(tell(&world)));
        let mut violations = told.take();
        violations.extend(ended.err().map(|words| Violation { rule: Rule::GoesOn, words }));
        world.dissolve();
        Verdict { seed, violations, mix: world.weather.met(), trace: world.trace() }
    }

    fn template(&self) -> PathBuf {
        self.folder.path().join("template.db")
    }

    fn fresh_ledger(&self) -> PathBuf {
        let path = self.folder.path().join("ledger.db");
        let with = |path: &PathBuf, suffix: &str| {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        for suffix in ["", "-wal", "-shm"] {
            let _not_there = std::fs::remove_file(with(&path, suffix));
        }
        for suffix in ["", ".mark"] {
            std::fs::copy(with(&self.template(), suffix), with(&path, suffix))
                .expect("a copy of the empty ledger and its mark");
        }
        path
    }
}

fn tell(world: &Rc<World>) -> Vec<Violation> {
    world.sabotage.prepare(world);
    world.remember_history();
    world.send_webhooks_to_come();
    for _ in 0..2 + world.rng.below(7) {
        world.time_passes();
        let lives = (0..if world.sabotage.ignores_lock() { 2 } else { 1 }).map(|_| world.random_life()).collect();
        world.run_processes(lives);
        world.a_person_takes_back();
    }
    world.weather.clear_up();
    world.tasks.borrow_mut().clear();
    world.set_clock(0);
    world.say("", || "--- nothing goes wrong any more".to_owned());
    if world.copies.borrow().is_pending() {
        world.idle(EVERYTHING_HAS_ARRIVED);
        world.a_person_accepts_the_ledger();
    }
    world.look_at_what_was_taken_back();
    let mut violations = world.steady_passes();
    violations.extend(world.come_to_rest());
    violations.extend(audit(world));
    violations.extend(world.rest_is_rest());
    violations
}

impl World {
    fn send_webhooks_to_come(self: &Rc<Self>) {
        let waiting: Vec<i64> = {
            let firstpromoter = self.firstpromoter.borrow();
            let waiting = firstpromoter.commissions.values().filter(|it| {
                let now = it.now();
                now.status == Status::Approved && !now.fulfilled
            });
            waiting.map(|it| it.id).collect()
        };
        for id in waiting {
            self.send_webhook(id);
        }
    }

    /// Between two processes.
    fn time_passes(self: &Rc<Self>) {
        for _ in 0..=self.rng.below(4) {
            self.idle(self.rng.skewed(8 * HOUR));
            self.people_act();
        }
        if self.rng.chance(50) && self.strikes(Fault::RoutesChange) {
            self.reconfigure(|terms| {
                let targets = terms.targets.len();
                for route in &mut terms.routes {
                    *route = self.rng.below(targets);
                }
            });
        }
        self.configuration_changes();
        self.copies_come_and_go();
        self.somebody_sets_the_clock();
    }

    fn random_life(&self) -> Life {
        let passes = (0..=self.rng.below(3)).map(|_| (self.rng.skewed(20 * MINUTE), self.random_order())).collect();
        let instant = || u32::try_from(self.rng.skewed(60)).unwrap_or_default();
        let threatens = |fault| self.weather.threatens(fault, &self.rng);
        let fate = if threatens(Fault::CrashAtAwait) {
            Fate::DiesAtAwait(instant())
        } else if threatens(Fault::CrashBeforeCommit) {
            Fate::DiesBeforeCommit(instant())
        } else if threatens(Fault::CrashAfterCommit) {
            Fate::DiesAfterCommit(instant())
        } else {
            Fate::Lives
        };
        Life {
            passes,
            fate,
            commit_fails: threatens(Fault::CommitFails).then(instant),
            stopped_at: threatens(Fault::Stopped).then(instant),
            reverses: None,
        }
    }

    fn random_order(&self) -> Order {
        let mut order = Order::poll(*self.rng.pick(&[Trigger::Start, Trigger::Schedule, Trigger::Signal]));
        if self.weather.threatens(Fault::OnlySome, &self.rng) {
            let ids: Vec<i64> = self.firstpromoter.borrow().commissions.keys().copied().collect();
            order.only = (0..=self.rng.below(4)).map(|_| CommissionId(*self.rng.pick(&ids))).collect();
        }
        if self.weather.threatens(Fault::FuseLifted, &self.rng) {
            order.max_deliveries = Some(*self.rng.pick(&[0, 3, 30, 1000]));
        }
        order
    }

    pub fn one_pass(self: &Rc<Self>, wait: Ms) {
        self.run_processes(vec![Life::of(vec![(wait, Order::poll(Trigger::Schedule))])]);
    }

    /// Runs passes until everything is settled or is shown to a person.
    fn come_to_rest(self: &Rc<Self>) -> Option<Violation> {
        // A probe at a time may go to a target at which some are never delivered, until makegood gives them up.
        let poisoned = self.firstpromoter.borrow().commissions.values().filter(|it| it.poison.is_some()).count();
        for _ in 0..PASSES_TO_REST + 2 * poisoned {
            self.idle(LONG_ENOUGH);
            self.one_pass_and_its_marks();
            if self.is_at_rest() {
                return None;
            }
            self.put_canaries_right();
        }
        let restless: Vec<_> = self.witness.rewards().into_values().filter(|it| self.moves(it)).collect();
        let words = format!("{:?}; {restless:#?}", self.witness.last_error());
        Some(Violation { rule: Rule::ComesToRest, words })
    }

    /// A pass stops after a number of refused marking calls. The next passes mark the rest.
    fn one_pass_and_its_marks(self: &Rc<Self>) {
        let marks = || self.evidence.borrow().marks.len();
        let mut before = marks();
        self.one_pass(0);
        for _ in 0..PASSES_TO_MARK {
            if marks() == before {
                return;
            }
            before = marks();
            self.one_pass(SECOND);
        }
    }

    fn is_at_rest(&self) -> bool {
        self.witness.last_error().is_none() && !self.witness.rewards().values().any(|it| self.moves(it))
    }

    fn moves(&self, reward: &Reward) -> bool {
        let shows = || self.firstpromoter.borrow().get(reward.id).is_some_and(Commission::will_show);
        match reward.state.as_str() {
            "waiting" | "delivering" => true,
            // A server with short pages shows only a few fulfilled rows at a time.
            "delivered" if shows() => true,
            // So does the end of a contradiction come into sight a few at a time.
            "fulfilled" => reward.drift.as_deref() == Some("unfulfilled_upstream") && shows(),
            "delivered" => !self.witness.attention().iter().any(|it| it.id == reward.id),
            _ => false,
        }
    }

    /// Where people marked as unfulfilled all that proves the filter, makegood stops and asks a person to look. This one
    /// does as it says.
    pub fn put_canaries_right(&self) {
        if self.witness.last_error().is_none_or(|error| !error.contains("somebody marked them unfulfilled there")) {
            return;
        }
        self.meet(Fault::CanariesPutRight);
        let fulfilled = self.witness.rewards().into_values().filter(|it| it.state == "fulfilled");
        for id in fulfilled.map(|it| it.id) {
            self.say("", || format!("a person looks at {id}, and marks it as fulfilled"));
            self.change(id, |version| version.fulfilled = true);
        }
    }

    /// One more pass, at once, changes nothing but `passes`, and asks nobody for anything.
    fn rest_is_rest(self: &Rc<Self>) -> Option<Violation> {
        let counts = || {
            let evidence = self.evidence.borrow();
            (evidence.requests.len(), evidence.marks.len())
        };
        let before = (self.witness.dump(), counts());
        self.one_pass(SECOND);
        let after = (self.witness.dump(), counts());
        (before != after).then(|| {
            let changed = difference(&before.0, &after.0);
            Violation { rule: Rule::RestIsRest, words: format!("{:?} -> {:?}\n{changed}", before.1, after.1) }
        })
    }
}

/// A panic in a world is a finding. It is reported with its place, and not printed.
fn catch_panic(work: impl FnOnce()) -> Result<(), String> {
    thread_local! {
        static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
        static CATCHING: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                CAUGHT.set(Some(info.to_string()));
            } else {
                others(info);
            }
        }));
    });
    CATCHING.set(true);
    let ended = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(false);
    ended.map_err(|_| CAUGHT.take().unwrap_or_default())
}

/// The lines that only one of the two has.
fn difference(before: &str, after: &str) -> String {
    let gone = before.lines().filter(|line| !after.lines().any(|it| it == *line)).map(|line| format!("- {line}\n"));
    let new = after.lines().filter(|line| !before.lines().any(|it| it == *line)).map(|line| format!("+ {line}\n"));
    gone.chain(new).collect()
}
