//! What happened in a world: as data for the auditor, as a trace for a person.

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
    /// As it was configured then.
    pub target: Target,
    /// All that was configured then.
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
    /// How the ledger stood when it left, read over another connection: the intent was on disk.
    pub intended: bool,
    /// Another request for the same commission was still waiting for its answer.
    pub overlaps: bool,
    /// By this pass.
    pub confirmed: Confirmed,
    /// How long the commit of its intent took.
    pub commit_took: Ms,
    /// The ledger that it went from may have forgotten deliveries.
    pub forgetful: bool,
}

/// What makegood hears of a delivery.
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
    /// The age of what a delivery depends on: that of the older question.
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

/// An effect: something that a recipient has now.
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

/// One run of the webhook handler. A careful one delivers and records within its claim. Nobody can repair what a careless one
/// does at a target that does not deduplicate.
#[derive(Debug, Default)]
pub struct HandlerRun {
    pub commission: i64,
    /// By its clock.
    pub claimed_until: Option<Timestamp>,
    /// By its clock.
    pub recorded_at: Option<Timestamp>,
    /// Its clock was set, or its ledger replaced, while it held the claim. Nobody can repair that either.
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

/// Said by somebody who looked: the recipient has it.
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
    /// Said by somebody who looked: the recipient does not have it, and nothing is under way.
    pub cleared: Vec<Word>,
    /// What was taken back, and when.
    pub reversed: Vec<Word>,
    /// Whole passes over everything that completed: when they began and ended.
    pub completed: Vec<(Timestamp, Timestamp)>,
    /// When a ledger was replaced by an older copy.
    pub restored: Vec<Timestamp>,
    /// Claims that a handler got on a ledger that had to refuse them.
    pub claims_on_forgetful: Vec<Word>,
    /// `GET /rewards` was refused at some time.
    pub rules_withheld: bool,
    /// The process of each pass, and when it began.
    pub begun: Vec<(usize, Timestamp)>,
    /// How many deliveries each pass was allowed.
    pub fuses: Vec<u64>,
}

/// What a person reads after a failure. Off, it costs nothing.
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
