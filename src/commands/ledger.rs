//! `makegood ledger accept`: go on with a ledger that is behind its mark, after a look at what is at stake. `makegood ledger backup`: a
//! copy of it. `makegood ledger restore`: a copy in its place. The latter two need no secret.

use std::{fmt::Write, path::Path};

use serde_json::json;

use super::{Exit, Failure, Outside, configuration, plan, print, print_json, text};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    domain::{CommissionId, timestamp_text},
    ledger::{BackedUp, Ledger, LedgerError, Position, RewardState, acquire_pass_lock, as_owner, find_ledger},
    reconcile::{Decision, Item, Plan, in_full},
};

pub(super) async fn accept(cli: &Cli, yes: bool) -> Result<Exit, Failure> {
    let outside = Outside::open(cli)?;
    let settings = &outside.settings;
    let path = &settings.ledger.path;
    let ledger = Ledger::open(path, &settings.firstpromoter.account_id, SystemClock.now())?;
    let ends = ledger.position()?;
    let mut why = String::new();
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
        Err(error) if error.forgot().is_some() => {
            why = in_full(&error);
            None
        }
        Err(error) => return Err(error.into()),
    };
    let plan = plan::make(cli, &outside, &ledger).await?;
    let at_stake = at_stake(&plan);
    let _pass_lock = if yes { Some(acquire_pass_lock(path, "ledger accept", &SystemClock).await?) } else { None };
    if yes {
        ledger.accept_as_it_is()?;
    }
    let came = match &marked {
        Some(mark) => format!(
            "The ledger ends at journal entry {} ({}), and had come to {} ({}). What was delivered between the two is \
             forgotten, unless FirstPromoter has it marked fulfilled.",
            ends.journal,
            text::when(&ends.at),
            mark.journal,
            text::when(&mark.at)
        ),
        None => format!("Nobody knows how far the ledger had come: {why}."),
    };
    let mut out = format!("{}\n", text::wrapped(&came, 0));
    if at_stake.is_empty() {
        let nothing =
            "At stake: nothing. FirstPromoter lists nothing as owed that this ledger does not call delivered.";
        out.push_str(&text::wrapped(nothing, 0));
    } else {
        let these = "At stake: these are owed, as far as this ledger knows, and will be delivered sooner or later, some of them \
                     perhaps for the second time:";
        out.push_str(&text::wrapped(these, 0));
        for (id, what) in &at_stake {
            let _infallible = writeln!(out, "  {:>9}  {what}", id.0);
        }
        out.push_str("Those that were delivered: `makegood record ID` first.\n");
    }
    out.push('\n');
    out.push_str(&if yes {
        text::wrapped("Accepted: passes go on from here.", 0)
    } else {
        text::wrapped("Nothing is changed. To go on with the ledger as it is: `makegood ledger accept --yes`", 0)
    });
    report(cli, &out, &ends, marked.as_ref(), &at_stake, yes)
}

/// Only reads the ledger: whoever may read it may copy it. Root reads as the owner of the one folder, and writes as that of the
/// other.
pub(super) fn backup(cli: &Cli, file: &Path) -> Result<Exit, Failure> {
    let settings = configuration(cli)?.settings;
    let path = find_ledger(&settings.ledger.path)?;
    let ledger = as_owner(&path, || {
        let ledger = Ledger::open_read_only(&path)?;
        ledger.require_account(&settings.firstpromoter.account_id)?;
        Ok::<_, LedgerError>(ledger)
    })??;
    let BackedUp { position, rewards, bytes } = as_owner(file, || ledger.back_up(file))??;
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

/// Everything that FirstPromoter lists as owed and this ledger does not call delivered, in words: also what waits, what is held, and
/// what the fuse stops. A forgotten delivery is repeated as soon as nothing stands against it any more.
fn at_stake(plan: &Plan) -> Vec<(CommissionId, String)> {
    plan.items
        .iter()
        .filter_map(|(id, item)| {
            let becomes = becomes(item)?;
            let unit = item.facts.unit.as_ref().map_or("?", crate::domain::Unit::as_str);
            let amount = item.facts.amount.map_or_else(|| "?".to_owned(), |amount| amount.to_string());
            Some((*id, format!("{amount} {unit}: {becomes}")))
        })
        .collect()
}

/// What becomes of one that is owed and not called delivered; none for all others.
fn becomes(item: &Item) -> Option<String> {
    let open = item.reward.as_ref().is_none_or(|reward| match reward.state {
        RewardState::Waiting | RewardState::Delivering | RewardState::Held | RewardState::Cancelled => true,
        RewardState::Delivered | RewardState::Fulfilled | RewardState::Reversed | RewardState::Dismissed => false,
    });
    if !open {
        return None;
    }
    match &item.decision {
        Decision::Deliver(_) => Some("the next pass delivers it".to_owned()),
        Decision::Resume(_) => Some("an attempt was cut off; the next pass repeats it".to_owned()),
        Decision::Wait(until, waits) => Some(format!("waits until {} ({})", timestamp_text(*until), waits.as_str())),
        Decision::Hold(reason, _) => Some(format!("held ({reason})")),
        // Held by an attempt, or neither answer was clear: listed as owed all the same.
        Decision::Nothing(why) if item.listed && item.reward.is_some() => Some((*why).to_owned()),
        Decision::Nothing(_)
        | Decision::Mark
        | Decision::CannotMark(_)
        | Decision::Adopt
        | Decision::Cancel(_)
        | Decision::Drift
        | Decision::DriftOver => None,
    }
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
