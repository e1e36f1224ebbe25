//! `makegood plan`: what a pass would do, and why. Reads FirstPromoter and the ledger; writes nothing anywhere.

use std::fmt::Write;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Outside, exit_for, ink::Ink, once::Bar, print, print_json, text};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    domain::CommissionId,
    firstpromoter::Api,
    ledger::{Ledger, LedgerError, Writer},
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
    Ok(if document.error.is_some() { Exit::Failed } else { exit_for(!ledger.attention()?.is_empty()) })
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
    }
}

fn in_words(document: &Document) -> String {
    let ink = Ink::for_stdout();
    let mut out = String::from("A pass would do this; nothing is done now.\n\n");
    for row in &document.decisions {
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
