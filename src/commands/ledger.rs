//! `makegood ledger accept`: go on with a ledger that is behind its mark, after a look at what is at stake. And `makegood ledger
//! backup`: a copy of it. The latter needs no secret.

use std::{fmt::Write, path::Path};

use serde_json::json;

use super::{Exit, Failure, Outside, load, plan, print, print_json, text};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    domain::CommissionId,
    ledger::{BackedUp, Ledger, LedgerError, Position, acquire_pass_lock},
    reconcile::{Decision, Plan},
};

pub(super) async fn accept(cli: &Cli, yes: bool) -> Result<Exit, Failure> {
    let outside = Outside::open(cli)?;
    let settings = &outside.settings;
    let path = &settings.ledger.path;
    let ledger = Ledger::open(path, &settings.firstpromoter.account_id, SystemClock.now())?;
    let ends = ledger.position()?;
    let marked = match ledger.require_not_behind() {
        Ok(()) => {
            return report(
                cli,
                "The ledger is not behind its mark: there is nothing to accept.\n",
                &ends,
                None,
                &[],
                false,
            );
        }
        Err(LedgerError::Behind { mark, mark_at, .. }) => Some(Position { journal: mark, at: mark_at }),
        Err(LedgerError::BadMark { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let plan = plan::make(cli, &outside, &ledger).await?;
    let at_stake = at_stake(&plan);
    let _pass_lock = if yes { Some(acquire_pass_lock(path, "ledger accept", &SystemClock).await?) } else { None };
    if yes {
        ledger.accept_as_it_is()?;
    }
    let mut out = match &marked {
        Some(mark) => format!(
            "The ledger ends at journal entry {} ({}), and had come to {} ({}).\n\
             What was delivered between the two is forgotten, unless FirstPromoter has it marked fulfilled.\n\n",
            ends.journal, ends.at, mark.journal, mark.at
        ),
        None => "The mark beside the ledger cannot be understood, so nobody knows how far the ledger had come.\n\n"
            .to_owned(),
    };
    if at_stake.is_empty() {
        out.push_str("At stake: nothing. FirstPromoter lists nothing as owed that a pass would deliver.\n");
    } else {
        out.push_str("At stake: the next pass delivers these, some of them perhaps for the second time:\n");
        for (id, what) in &at_stake {
            let _infallible = writeln!(out, "  {:>9}  {what}", id.0);
        }
        out.push_str("Those that were delivered: `makegood record ID` first.\n");
    }
    out.push_str(if yes {
        "\nAccepted: passes go on from here.\n"
    } else {
        "\nNothing is changed. To go on with the ledger as it is: makegood ledger accept --yes\n"
    });
    report(cli, &out, &ends, marked.as_ref(), &at_stake, yes)
}

/// Only reads the ledger: whoever may read it may copy it.
pub(super) fn backup(cli: &Cli, file: &Path) -> Result<Exit, Failure> {
    let settings = load(cli)?.settings;
    let ledger = Ledger::open_read_only(&settings.ledger.path)?;
    ledger.require_account(&settings.firstpromoter.account_id)?;
    let BackedUp { position, rewards, bytes } = ledger.back_up(file)?;
    if cli.json {
        print_json(&json!({
            "ledger": ledger.path(), "backup": file, "journal": position.journal, "at": position.at, "rewards": rewards, "bytes": bytes,
        }))?;
    } else {
        let copied = format!(
            "{}: {} up to journal entry {} ({}), {} KiB; read back, and sound.",
            file.display(),
            text::counted(rewards, "reward"),
            position.journal,
            text::when(&position.at),
            bytes.div_ceil(1024)
        );
        print(&text::wrapped(&copied, 0))?;
    }
    Ok(Exit::Done)
}

/// What the next pass would deliver, in words.
fn at_stake(plan: &Plan) -> Vec<(CommissionId, String)> {
    let delivers = |decision: &Decision| matches!(decision, Decision::Deliver(_) | Decision::Resume(_));
    plan.items
        .iter()
        .filter(|(_, item)| delivers(&item.decision))
        .map(|(id, item)| {
            let unit = item.facts.unit.as_ref().map_or("?", crate::domain::Unit::as_str);
            (*id, format!("{} {unit}", item.facts.amount.unwrap_or_default()))
        })
        .collect()
}

fn report(
    cli: &Cli,
    words: &str,
    ends: &Position,
    marked: Option<&Position>,
    at_stake: &[(CommissionId, String)],
    accepted: bool,
) -> Result<Exit, Failure> {
    if cli.json {
        let ids: Vec<CommissionId> = at_stake.iter().map(|(id, _)| *id).collect();
        print_json(&json!({
            "ledger": {"journal": ends.journal, "at": ends.at},
            "mark": marked.map(|mark| json!({"journal": mark.journal, "at": mark.at})),
            "at_stake": ids,
            "accepted": accepted,
        }))?;
    } else {
        print(words)?;
    }
    Ok(Exit::Done)
}
