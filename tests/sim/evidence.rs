//! What happened in a world: for the auditor as data, for a person as a trace.

use std::{cell::RefCell, collections::BTreeSet, fmt::Write};

use makegood::domain::Timestamp;

use super::commission::Content;

/// A delivery that makegood sent, whatever became of it.
#[derive(Debug)]
pub struct Request {
    pub at: Timestamp,
    pub process: usize,
    /// Counted over all processes.
    pub pass: usize,
    pub target: String,
    pub key: String,
    pub commission: i64,
    pub content: Content,
    /// How the ledger stood when it left, read over another connection: the intent was on disk.
    pub intended: bool,
    /// Another request for the same commission was still waiting for its answer.
    pub overlaps: bool,
    /// By this pass.
    pub confirmed: Confirmed,
    /// It repeats an attempt that was cut off.
    pub resumes: bool,
}

/// When FirstPromoter was asked about a commission, under `fulfilled=no` and `yes`, and had answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Confirmed {
    pub no_asked_at: Option<Timestamp>,
    pub no_answered_at: Option<Timestamp>,
    pub yes_answered_at: Option<Timestamp>,
    /// The last answer of the whole confirmation, this commission's or another's.
    pub all_answered_at: Option<Timestamp>,
}

impl Confirmed {
    /// Since when FirstPromoter's answer may hold, and when the confirmation was over; if it was.
    pub fn span(self) -> Option<(Timestamp, Timestamp)> {
        self.no_answered_at.and(self.yes_answered_at).and(Some((self.no_asked_at?, self.all_answered_at?)))
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

/// Something that a recipient has now.
#[derive(Debug)]
pub struct Effect {
    pub at: Timestamp,
    pub by: By,
    pub target: String,
    pub idempotent: bool,
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

/// One run of the webhook handler. A careful one delivers and records within its claim; for what another one does at a
/// target that does not deduplicate, nobody can make up.
#[derive(Debug, Default)]
pub struct HandlerRun {
    pub claimed_until: Option<Timestamp>,
    pub recorded_at: Option<Timestamp>,
}

impl HandlerRun {
    pub fn was_careful(&self) -> bool {
        matches!((self.recorded_at, self.claimed_until), (Some(recorded), Some(until)) if recorded <= until)
    }
}

/// Said by somebody who looked: the recipient has it.
#[derive(Debug)]
pub struct Word {
    pub at: Timestamp,
    pub commission: i64,
}

/// What the auditor judges by.
#[derive(Debug, Default)]
pub struct Evidence {
    pub requests: Vec<Request>,
    pub effects: Vec<Effect>,
    pub marks: Vec<Mark>,
    pub handlers: Vec<HandlerRun>,
    pub words: Vec<Word>,
    /// Those that FirstPromoter called fulfilled when they were not, because it ignored the filter.
    pub misled: BTreeSet<i64>,
    /// `GET /rewards` was refused at some time.
    pub rules_withheld: bool,
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
