//! The faults, how often each strikes in a world, and whether it ever did.
//!
//! Each world enables some of the faults and gives each a rate of its own (swarm testing: Groce et al. 2012): a world with
//! three faults reaches states that a world with all of them never does.

use std::cell::{Cell, RefCell};

use super::rng::Rng;

macro_rules! faults {
    ($($(#[$meta:meta])* $name:ident = $words:literal,)*) => {
        /// One kind of trouble.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault { $($(#[$meta])* $name,)* }

        impl Fault {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }

        }
    };
}

faults! {
    // FirstPromoter, when it is asked.
    ReadTransient = "a question to FirstPromoter fails for now",
    ReadRejected = "a question to FirstPromoter is refused",
    ReadFatal = "a question to FirstPromoter is answered unreadably",
    ReadSlow = "a question to FirstPromoter takes long",
    ReadLost = "an answer of FirstPromoter's is lost",
    ReplicaLag = "FirstPromoter answers with what was true a while ago",
    FulfilledIgnored = "the filter `fulfilled` is ignored for a while",
    FulfilledUpsideDown = "`yes` answers nothing and `no` everything for a while",
    StatusIgnored = "the filter `status` is ignored",
    IdsIgnored = "the filter `ids` is ignored",
    PageIgnored = "`page` is ignored",
    PerPageCapped = "fewer rows to a page than asked for",
    PageShifts = "rows come or go between two pages",
    RewardsForbidden = "GET /rewards is forbidden",
    RewardsFail = "GET /rewards fails",
    // FirstPromoter, when it is told to mark.
    MarkTransient = "a mark fails for now, without effect",
    MarkLost = "the answer to a mark is lost, after its effect",
    MarkRejected = "a mark is refused",
    MarkFatal = "a mark is answered unreadably, after its effect",
    MarkLies = "a mark is answered as done, and nothing was",
    MarkPartial = "only some of a mark's ids are marked",
    MarkLate = "a mark takes effect after its sender stopped waiting",
    NoPayout = "a commission that cannot be marked",
    BatchStops = "a batch is stopped before its end",
    BatchForgotten = "a batch cannot be asked for",
    BatchEndless = "a batch does not end in time",
    BatchNameless = "a batch has no id",
    // The targets.
    TargetRefuses = "a target refuses",
    TargetCannot = "a target certainly does not take it",
    TargetAsksToWait = "a target says Retry-After",
    TargetFailsBefore = "a target fails before the effect, without a verdict",
    TargetFailsAfter = "a target fails after the effect, without a verdict",
    TargetSlow = "a target takes long",
    TargetLate = "a delivery takes effect after its sender stopped waiting",
    TargetDown = "a target is down for a while",
    TargetDeduplicates = "a target has seen the key before",
    // The process.
    CrashAtAwait = "crash while waiting for an answer",
    CrashBeforeCommit = "crash just before a commit",
    CrashAfterCommit = "crash just after a commit",
    OutlivesCrash = "a request arrives although its sender has died",
    DiesUnsent = "a request dies with its sender",
    CommitFails = "a commit fails, and the process goes on",
    Stopped = "SIGTERM in the middle of a pass",
    Suspended = "the machine is suspended in the middle of a pass",
    RoutesChange = "the routes change between two processes",
    // The webhook handler.
    HandlerDelivers = "the handler delivers",
    HandlerMarks = "the handler has it marked",
    HandlerCrashes = "the handler crashes between two steps",
    HandlerHurries = "the handler wakes up in the middle of a pass",
    HandlerClaims = "the handler takes a claim",
    HandlerRefused = "the handler finds it claimed or delivered",
    HandlerRecords = "the handler records what it delivered",
    // People.
    Approved = "a person approves late",
    Denied = "a person denies",
    AmountChanges = "a person changes the amount",
    UnitChanges = "a person changes the unit",
    RecipientChanges = "a person changes who receives",
    FraudChanges = "a suspicion of fraud comes or goes",
    Unfulfilled = "a person marks as unfulfilled",
    CanariesPutRight = "a person marks as fulfilled again what proves the filter",
    FulfilledByHand = "a person marks as fulfilled",
    Deleted = "a person deletes",
    CashInstead = "a person turns it into money",
    OperatorDelivered = "an operator resolves a hold: delivered",
    OperatorRetries = "an operator resolves a hold: try again",
    OperatorDismisses = "an operator resolves a hold: not to be delivered",
    OnlySome = "a pass over just some commissions",
    FuseLifted = "a pass with a fuse of its own",
    FuseBlows = "the fuse blows",
    // Faults that were added later draw from a stream of chance of their own, so that a world without them stays the same.
    // FirstPromoter, when it is asked.
    ReadPutsOff = "FirstPromoter puts a question off, and answers it then",
    PagesAreTiny = "pages of fewer than twenty rows, whatever is asked for",
    StatusUnheardOf = "a status that nobody knows, among the approved",
    TimesUnreadable = "a commission whose times cannot be read",
    MarksRefusedBlindly = "the filter is ignored from the marking on, and the mark is refused",
    // The targets.
    PoisonFails = "a reward whose delivery always fails, without a verdict",
    PoisonCannot = "a reward whose delivery certainly never takes effect",
    PoisonRefused = "a reward that is always refused",
    Unmarkable = "many commissions that cannot be marked",
    RefusesAll = "a target refuses everything for a while",
    // The configuration, between two processes.
    TargetMoves = "a target moves to another address",
    TargetRenamed = "a target gets another name",
    TargetFlips = "a target begins or ceases to look at keys",
    TargetRetyped = "a target becomes one of another type",
    UnitsChange = "the configured units change",
    CampaignsChange = "the configured campaigns change",
    LimitsChange = "the limits change",
    HoldsChange = "what policy holds changes",
    // The clock.
    ClockAhead = "the clock is set ahead",
    ClockBehind = "the clock is set back",
    // Backups.
    CopyTaken = "somebody copies the ledger",
    BackupTaken = "somebody backs the ledger up",
    RestoredHere = "a copy is restored beside its mark",
    RestoredElsewhere = "a copy is restored without a mark",
    RestoredRefuses = "a restored ledger refuses a handler's claim",
    RestoredWritten = "a person records on a restored ledger",
    RestoredAccepted = "a person accepts a restored ledger",
    // Reversals.
    Reversed = "a person takes a reward back",
    Overtaken = "a batch lands after a reverse",
    // Others on makegood's host.
    WriteLocked = "makegood waits for somebody who holds the ledger's write lock",
    LockOutlasts = "a write lock that lasts longer than a write waits for it",
    DiskSlow = "a commit takes long",
}

/// A rate in a thousand.
const OFTEN: u32 = 400;

/// How often each fault strikes in this world, and how often each has been met.
pub struct Weather {
    per_mille: RefCell<Vec<u32>>,
    met: RefCell<Vec<u64>>,
    fair: Cell<bool>,
}

impl Weather {
    /// `later` is the random stream of the faults that were added later.
    pub fn new(rng: &Rng, later: &Rng) -> Self {
        let enabled = *rng.pick(&[0, 60, 150, 300, 600, 1000]);
        // A pass asks often, and one failure ends it. With more failures nothing would ever be delivered.
        let rates = |fault: Fault| if fault as usize <= Fault::RewardsFail as usize { 2..5 } else { 0..4 };
        let rates = |fault| &[400, 150, 60, 20, 5][rates(fault)];
        let rate = |fault: &Fault| if rng.chance(enabled) { *rng.pick(rates(*fault)) } else { 0 };
        let enabled_later = *later.pick(&[0, 0, 60, 150, 300, 600]);
        let rate_later = |_: &Fault| if later.chance(enabled_later) { *later.pick(&[400, 150, 60, 20]) } else { 0 };
        let (first, came_later) = Fault::ALL.split_at(Fault::ReadPutsOff as usize);
        let rates: Vec<u32> = first.iter().map(rate).chain(came_later.iter().map(rate_later)).collect();
        Self { per_mille: RefCell::new(rates), met: RefCell::new(vec![0; Fault::ALL.len()]), fair: Cell::new(false) }
    }

    /// Makes it strike often in this world.
    pub fn bring(&self, fault: Fault) {
        self.per_mille.borrow_mut()[fault as usize] = OFTEN;
    }

    /// Whether it strikes this time. If so, counts it as met.
    pub fn strikes(&self, fault: Fault, rng: &Rng) -> bool {
        let strikes = self.threatens(fault, rng);
        if strikes {
            self.meet(fault);
        }
        strikes
    }

    /// Whether it should strike. The caller calls [`Weather::meet`] where there was something to strike.
    pub fn threatens(&self, fault: Fault, rng: &Rng) -> bool {
        let rate = self.per_mille.borrow()[fault as usize];
        rate > 0 && !self.fair.get() && rng.chance(rate)
    }

    /// Whether this world has it at all. For faults with a rate of their own.
    pub fn enables(&self, fault: Fault) -> bool {
        self.per_mille.borrow()[fault as usize] > 0 && !self.fair.get()
    }

    /// Whether it happened in this world before it cleared up.
    pub fn was_enabled(&self, fault: Fault) -> bool {
        self.per_mille.borrow()[fault as usize] > 0
    }

    pub fn meet(&self, fault: Fault) {
        self.met.borrow_mut()[fault as usize] += 1;
    }

    /// Ends all faults.
    pub fn clear_up(&self) {
        self.fair.set(true);
    }

    pub fn is_fair(&self) -> bool {
        self.fair.get()
    }

    pub fn met(&self) -> Mix {
        Mix(self.met.borrow().clone())
    }
}

/// How often each fault was met, over any number of worlds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(Vec<u64>);

impl Default for Mix {
    fn default() -> Self {
        Self(vec![0; Fault::ALL.len()])
    }
}

impl Mix {
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.iter().copied().zip(self.0.iter().copied())
    }

    pub fn never_met(&self) -> Vec<Fault> {
        self.iter().filter(|(_, times)| *times == 0).map(|(fault, _)| fault).collect()
    }
}
