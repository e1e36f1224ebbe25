//! The record of a world: data for the auditor, and a trace for a person.

use std::{cell::RefCell, fmt::Write, rc::Rc};

use makegood::domain::Timestamp;

use super::{
    commission::Content,
    terms::{Target, Terms},
    timeline::Ms,
};

/// A delivery that makegood sent, whatever its outcome.
#[derive(Debug)]
pub struct Request {
    pub at: Timestamp,
    pub process: usize,
    /// Counted over all processes.
    pub pass: usize,
    /// The target, as configured then.
    pub target: Target,
    /// The whole configuration then.
    pub terms: Rc<Terms>,
    /// By the clock of makegood's machine.
    pub local: Timestamp,
    pub key: String,
    pub commission: i64,
    pub content: Content,
    /// Counted by the ledger, from 1.
    pub attempt: i64,
    /// The outcome that makegood heard; none if it died before.
    pub heard: Option<Heard>,
    /// Whether the intent was on disk when it left, read over another connection.
    pub intended: bool,
    /// Another request for the same commission was still waiting for its answer.
    pub overlaps: bool,
    /// By this pass.
    pub confirmed: Confirmed,
    /// How long the commit of its intent took.
    pub commit_took: Ms,
    /// Its ledger may have forgotten deliveries.
    pub forgetful: bool,
}

/// The outcome of a delivery, as makegood hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub at: Timestamp,
    pub what: Said,
}

/// In the words of `attempts.outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Delivered,
    NotDelivered,
    Unknown,
    Refused,
}

/// When the last answered questions about a commission left, under `fulfilled=no` and under `yes`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Confirmed {
    pub no_asked_at: Option<Timestamp>,
    pub yes_asked_at: Option<Timestamp>,
}

impl Confirmed {
    /// The age of the older question, on which a delivery depends.
    pub fn since(self) -> Option<Timestamp> {
        Some(self.no_asked_at?.min(self.yes_asked_at?))
    }
}

/// Who made an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Makegood, by this request.
    Makegood(usize),
    /// This run of the webhook handler.
    Handler(usize),
    /// The webhook handler, before the world began.
    History,
}

/// An effect: a recipient got a reward.
#[derive(Debug)]
pub struct Effect {
    pub at: Timestamp,
    pub by: By,
    pub target: &'static str,
    pub key: String,
    pub commission: i64,
    pub content: Content,
}

/// An id that makegood asked FirstPromoter to mark.
#[derive(Debug)]
pub struct Mark {
    pub at: Timestamp,
    pub commission: i64,
}

/// One run of the webhook handler. A careful one delivers and records within its claim. A careless one can deliver twice at
/// a target that does not deduplicate, and makegood cannot prevent that.
#[derive(Debug, Default)]
pub struct HandlerRun {
    pub commission: i64,
    /// By its clock.
    pub claimed_until: Option<Timestamp>,
    /// By its clock.
    pub recorded_at: Option<Timestamp>,
    /// Its clock was set, or its ledger replaced, while it held the claim. makegood cannot repair that either.
    pub disturbed: bool,
}

impl HandlerRun {
    pub fn was_careful(&self) -> bool {
        let in_time =
            matches!((self.recorded_at, self.claimed_until), (Some(recorded), Some(until)) if recorded <= until);
        in_time && !self.disturbed
    }

    /// It holds a claim, and has not recorded yet.
    pub fn is_at_it(&self) -> bool {
        self.claimed_until.is_some() && self.recorded_at.is_none()
    }
}

/// A person looked, and says that the recipient has it.
#[derive(Debug)]
pub struct Word {
    pub at: Timestamp,
    pub commission: i64,
}

/// The evidence for the auditor.
#[derive(Debug, Default)]
pub struct Evidence {
    pub requests: Vec<Request>,
    pub effects: Vec<Effect>,
    pub marks: Vec<Mark>,
    pub handlers: Vec<HandlerRun>,
    pub words: Vec<Word>,
    /// A person looked, and says that the recipient does not have it and that nothing is under way.
    pub cleared: Vec<Word>,
    /// The reversals, with their times.
    pub reversed: Vec<Word>,
    /// The begin and end of every pass over everything that completed.
    pub completed: Vec<(Timestamp, Timestamp)>,
    /// The times at which an older copy replaced the ledger.
    pub restored: Vec<Timestamp>,
    /// Claims that a ledger gave a handler and had to refuse.
    pub claims_on_forgetful: Vec<Word>,
    /// `GET /rewards` was refused at some time.
    pub rules_withheld: bool,
    /// The process of each pass, and when it began.
    pub begun: Vec<(usize, Timestamp)>,
    /// How many deliveries each pass was allowed.
    pub fuses: Vec<u64>,
}

/// The text that a person reads after a failure. It costs nothing while it is off.
pub struct Trace {
    start: Timestamp,
    lines: Option<RefCell<String>>,
}

impl Trace {
    pub fn new(start: Timestamp, on: bool) -> Self {
        Self { start, lines: on.then(RefCell::default) }
    }

    pub fn say(&self, now: Timestamp, who: &str, words: impl FnOnce() -> String) {
        let Some(lines) = &self.lines else { return };
        let ms = (now - self.start).num_milliseconds();
        let (days, ms) = (ms / 86_400_000, ms % 86_400_000);
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        let _infallible = writeln!(
            lines.borrow_mut(),
            "{days:>3}d {hours:02}:{minutes:02}:{seconds:02}.{:03}  {who:<12} {}",
            ms % 1000,
            words()
        );
    }

    pub fn text(&self) -> String {
        self.lines.as_ref().map(|lines| lines.borrow().clone()).unwrap_or_default()
    }
}
