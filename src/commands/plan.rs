//! `makegood plan`: what a pass would do, and why. Reads FirstPromoter and the ledger; writes nothing anywhere.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Outside, exit_for, ink::Ink, once::Bar, print, print_json, text};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    domain::CommissionId,
    firstpromoter::Api,
    ledger::{EXAMPLES, Ledger, LedgerError, ONE_BY_ONE_MAX, Writer},
    plan::Item,
    reconcile::{Order, Pass, PassError, Plan, Trigger, in_full},
    service::triggers,
};

/// The document of `plan --json`, as in the manual.
#[derive(Debug, Serialize)]
struct Document {
    api_requests: u64,
    /// The fuse would blow: nothing would be delivered.
    fuse: bool,
    error: Option<String>,
    decisions: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    commission_id: CommissionId,
    decision: &'static str,
    reason: String,
    unit: Option<String>,
    amount: Option<i64>,
    recipient: Option<&'static str>,
    recipient_email: Option<String>,
    target: Option<String>,
    /// It would be delivered: always shown.
    #[serde(skip)]
    delivers: bool,
}

impl Row {
    /// What rows that are shown together have in common.
    fn kind(&self) -> (&'static str, &str, Option<&str>) {
        (self.decision, &self.reason, self.target.as_deref())
    }
}

pub(super) async fn plan(cli: &Cli) -> Result<Exit, Failure> {
    let outside = Outside::open(cli)?;
    let account_id = &outside.settings.firstpromoter.account_id;
    let path = &outside.settings.ledger.path;
    let ledger = match Ledger::open_read_only(path) {
        Ok(ledger) => ledger,
        // Before the first pass: compares with an empty ledger, and creates none.
        Err(LedgerError::Missing { .. }) => Ledger::not_made_yet(path, account_id, SystemClock.now())?,
        Err(error) => return Err(error.into()),
    };
    ledger.require_account(account_id)?;
    let plan = match ledger.require_not_behind() {
        Ok(()) => make(cli, &outside, &ledger).await,
        Err(error) => Err(error.into()),
    };
    let document = document(plan, outside.api.requests());
    if cli.json {
        print_json(&document)?;
    } else {
        print(&in_words(&document))?;
    }
    Ok(if document.error.is_some() { Exit::Failed } else { exit_for(ledger.needs_attention()? > 0) })
}

/// What a pass would do on this ledger.
pub(super) async fn make(cli: &Cli, outside: &Outside, ledger: &Ledger) -> Result<Plan, PassError> {
    let stop = CancellationToken::new();
    if let Err(error) = triggers::stop_on_signals(&stop) {
        tracing::warn!("a signal will end this at once: {error:#}");
    }
    let bar = Bar::new(!cli.quiet && !cli.json);
    let pass = Pass {
        api: &outside.api,
        targets: &outside.targets,
        ledger,
        writer: &Writer::thread(ledger, || SystemClock.now()),
        clock: &SystemClock,
        settings: &outside.settings,
        stop: &stop,
        progress: &|progress| bar.show(progress),
    };
    let plan = pass.plan(&Order::poll(Trigger::Command)).await;
    bar.clear();
    plan
}

fn document(plan: Result<Plan, PassError>, api_requests: u64) -> Document {
    match plan {
        Ok(plan) => Document {
            api_requests,
            fuse: plan.fuse_wanted.is_some(),
            error: None,
            decisions: plan.items.iter().map(|(id, item)| row(*id, item)).collect(),
        },
        Err(error) => Document { api_requests, fuse: false, error: Some(in_full(&error)), decisions: Vec::new() },
    }
}

fn row(commission_id: CommissionId, item: &Item) -> Row {
    let recorded = item.reward.as_ref().and_then(|reward| reward.target());
    let facts = &item.facts;
    Row {
        commission_id,
        decision: item.step.word(),
        reason: item.step.to_string(),
        unit: facts.unit.as_ref().map(|unit| unit.as_str().to_owned()),
        amount: facts.amount,
        recipient: facts.recipient.map(crate::domain::RecipientKind::as_str),
        recipient_email: facts.recipient_email().map(str::to_owned),
        target: item.step.target().or(recorded).map(str::to_owned),
        delivers: item.step.target().is_some(),
    }
}

/// A line for each, and of many that are held or wait for the same reason some examples.
fn decisions(ink: Ink, rows: &[Row]) -> String {
    let mut out = String::new();
    let mut alike: BTreeMap<_, (usize, &Row)> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.delivers) {
        alike.entry(row.kind()).or_insert((0, row)).0 += 1;
    }
    let mut shown: BTreeMap<_, usize> = BTreeMap::new();
    for row in rows {
        let shown = shown.entry(row.kind()).or_default();
        if *shown >= EXAMPLES && alike.get(&row.kind()).is_some_and(|(many, _)| *many > ONE_BY_ONE_MAX) {
            continue;
        }
        *shown += 1;
        out.push_str(&text::reward_line(
            ink,
            row.commission_id.0,
            row.decision,
            &text::amount(row.amount, row.unit.as_deref()),
            &text::recipient(row.recipient, row.recipient_email.as_deref()),
            row.target.as_deref(),
        ));
        out.push_str(&text::detail_text(&row.reason));
    }
    let many = alike.values().filter(|(many, _)| *many > ONE_BY_ONE_MAX);
    let many =
        many.map(|(many, first)| format!("{} more like {}: {}", many - EXAMPLES, first.commission_id, first.decision));
    let many: Vec<String> = many.collect();
    if !many.is_empty() {
        for line in &many {
            out.push_str(&text::wrapped(line, 2));
        }
        out.push_str("Every one: `makegood plan --json`\n");
    }
    out
}

fn in_words(document: &Document) -> String {
    let ink = Ink::for_stdout();
    let mut out = String::from("A pass would do this; nothing is done now.\n\n");
    out.push_str(&decisions(ink, &document.decisions));
    if document.decisions.is_empty() && document.error.is_none() {
        out.push_str("Nothing is owed.\n");
    }
    if document.fuse {
        out.push_str("\nThe fuse would blow: none of these would be delivered.\n");
    }
    if let Some(error) = &document.error {
        out.push_str(&text::wrapped(&format!("It would not complete: {error}"), 0));
    }
    let _infallible = write!(out, "\nRequests to FirstPromoter: {}.\n", document.api_requests);
    out
}
