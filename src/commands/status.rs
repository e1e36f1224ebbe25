//! `makegood status`: reads only the ledger, for a person or a monitoring system. Needs no secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Exit, Failure, exit_for, ink::Ink, load, print, print_json, text};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock, ago},
    domain::{Timestamp, timestamp_text},
    ledger::{Attention, AttentionInShort, Health, Ledger},
    reconcile::in_full,
    service::late::{Lateness, lateness},
};

/// The document of `status --json`, as in the manual.
#[derive(Debug, Serialize)]
struct Document {
    account_id: String,
    ledger: String,
    states: BTreeMap<String, u64>,
    attention: Vec<Attention>,
    /// The same for a person.
    #[serde(skip)]
    in_short: AttentionInShort,
    last_pass: Option<Map<String, Value>>,
    /// When the last pass over everything completed.
    last_completed_at: Option<String>,
    /// Three scheduled polls have gone by since then.
    late: bool,
    /// The targets whose last attempts failed or were refused.
    targets: Vec<Target>,
    /// The earliest `next_attempt_at` among owed rewards.
    next_owed_at: Option<String>,
    /// Why nothing is delivered from this ledger until a person accepts it; absent where that is not so.
    #[serde(skip_serializing_if = "Option::is_none")]
    may_have_forgotten: Option<String>,
}

/// A target in trouble.
#[derive(Debug, Serialize)]
struct Target {
    #[serde(rename = "target")]
    name: String,
    /// Failures in a row, of any rewards.
    failures: u32,
    /// Refusals in a row, of different rewards.
    refusals: u32,
    /// Nothing is delivered there before this time; null where its deliveries are not paused.
    retry_at: Option<String>,
    last_error: Option<String>,
    #[serde(skip)]
    in_words: String,
}

impl Target {
    fn new(target: String, health: Health, now: Timestamp) -> Self {
        Self {
            name: target,
            failures: health.failures,
            refusals: health.refusals,
            in_words: health.in_words(),
            // Only a clock that was ahead can have written such a time; nobody should wait for it.
            retry_at: health.retry_at.filter(|at| *at <= now || health.closed_until(now).is_some()).map(timestamp_text),
            last_error: health.last_error,
        }
    }

    /// What is wrong and what to do; none unless its deliveries are paused.
    fn line(&self) -> Option<String> {
        let until = text::when(self.retry_at.as_deref()?);
        let words = self.last_error.as_deref().map(|words| format!(" The last: {words}.")).unwrap_or_default();
        Some(format!(
            "Target {}: {} in a row; its deliveries wait, the next goes not before {until}.{words} Repair it, or correct its \
             section in the configuration: what waits goes by itself then",
            self.name, self.in_words
        ))
    }
}

pub(super) fn status(cli: &Cli) -> Result<Exit, Failure> {
    let settings = load(cli)?.settings;
    let ledger = Ledger::open_read_only(&settings.ledger.path)?;
    ledger.require_account(&settings.firstpromoter.account_id)?;
    let now = SystemClock.now();
    let lateness = lateness(&ledger, &settings, now)?;
    let document = Document {
        account_id: ledger.account_id()?,
        ledger: ledger.path().display().to_string(),
        states: ledger.states()?,
        attention: if cli.json { ledger.attention()? } else { Vec::new() },
        in_short: ledger.attention_in_short(&BTreeSet::new())?,
        last_pass: ledger.last_pass()?,
        last_completed_at: lateness.completed.map(timestamp_text),
        late: lateness.late,
        next_owed_at: ledger.next_owed()?.map(|(_, at)| at),
        may_have_forgotten: may_have_forgotten(&ledger)?,
        targets: ledger.health()?.into_iter().map(|(target, health)| Target::new(target, health, now)).collect(),
    };
    if cli.json {
        print_json(&document)?;
    } else {
        print(&in_words(&document, &lateness, now, ledger.path()))?;
    }
    Ok(exit_for(document.in_short.count > 0 || document.may_have_forgotten.is_some() || document.late))
}

fn may_have_forgotten(ledger: &Ledger) -> Result<Option<String>, Failure> {
    match ledger.require_not_behind() {
        Ok(()) => Ok(None),
        Err(error) if error.forgot().is_some() => Ok(Some(in_full(&error))),
        Err(error) => Err(error.into()),
    }
}

fn in_words(document: &Document, lateness: &Lateness, now: Timestamp, path: &Path) -> String {
    let ink = Ink::for_stdout();
    let mut out = format!("Account {}\n", document.account_id);
    out.push_str(&last_pass(document.last_pass.as_ref(), now));
    if lateness.late {
        let (what, remedy) = lateness.in_words(&ago(lateness.since, now));
        out.push_str(&text::wrapped(&format!("Late: {what}"), 0));
        out.push_str(&text::wrapped(&format!("-> {remedy}"), 6));
    }
    if let Some(why) = &document.may_have_forgotten {
        out.push_str(&text::wrapped(&format!("NOTHING IS DELIVERED: {why}"), 0));
    }
    let states: Vec<String> = document.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let states = if states.is_empty() { "none yet".to_owned() } else { states.join(", ") };
    out.push_str(&text::wrapped(&format!("Rewards: {states}"), 0));
    if let Some(at) = &document.next_owed_at {
        let _infallible = writeln!(out, "Next owed: {}", text::when(at));
    }
    for line in document.targets.iter().filter_map(Target::line) {
        out.push_str(&text::wrapped(&line, 0));
    }
    let _infallible = writeln!(out, "{}", text::needs(document.in_short.count));
    for it in &document.in_short.rows {
        out.push_str(&text::attention_line(ink, it));
        out.push_str(&text::attention_text(it));
    }
    out.push_str(&text::groups(ink, &document.in_short.groups));
    let _infallible = writeln!(out, "Ledger: {}", path.display());
    out
}

fn last_pass(pass: Option<&Map<String, Value>>, now: Timestamp) -> String {
    let Some(pass) = pass else { return "Last pass: none yet\n".to_owned() };
    let word = |column: &str| match pass.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => "-".to_owned(),
    };
    let passes = match word("kind").as_str() {
        "poll" => word("trigger"),
        kind => format!("{}, {kind}", word("trigger")),
    };
    let started = word("started").parse::<Timestamp>();
    let ago = started.map_or_else(|_| String::new(), |at| format!(" ({})", ago(at, now)));
    let mut out = text::wrapped(
        &format!("Last pass: {} ({passes}), {}{ago}, {}", word("pass_id"), text::when(&word("started")), took(pass)),
        0,
    );
    let counts =
        ["listed", "missing", "delivered", "fulfilled", "held", "failed"].map(|it| format!("{it} {}", word(it)));
    out.push_str(&text::wrapped(&counts.join(", "), 11));
    if let Some(Value::String(error)) = pass.get("error") {
        out.push_str(&text::wrapped(&format!("It did not complete: {error}"), 11));
    }
    out
}

fn took(pass: &Map<String, Value>) -> String {
    let at = |column: &str| pass.get(column).and_then(Value::as_str).and_then(|at| at.parse::<Timestamp>().ok());
    match (at("started"), at("finished")) {
        (Some(started), Some(finished)) => {
            let tenths = (finished - started).num_milliseconds().max(0) / 100;
            format!("took {}.{} s", tenths / 10, tenths % 10)
        }
        _ => "under way, or cut off".to_owned(),
    }
}
