//! `makegood ledger accept`: go on with a ledger that is behind its high-water mark, after a look at what is at stake.
//! `makegood ledger backup`: copy it. `makegood ledger restore`: put a copy in its place. The latter two need no secret.

use std::{fmt::Write, path::Path};

use serde_json::json;

use super::{Exit, Failure, Outside, configuration, enter, open_to_write, plan, print, print_json, text};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    domain::{CommissionId, timestamp_text},
    ledger::{
        BackedUp, Copy, Ledger, LedgerError, Position, State, Transition, acquire_pass_lock, as_owner, find_ledger,
    },
    plan::{Item, Step, Why},
    reconcile::{Plan, in_full},
};

pub(super) async fn accept(cli: &Cli, yes: bool) -> Result<Exit, Failure> {
    let outside = Outside::open(cli)?;
    let settings = &outside.settings;
    let path = &settings.ledger.path;
    let ledger = open_to_write(settings)?;
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

/// Only reads the ledger: anybody who may read it may copy it. Root reads as the owner of the ledger's folder, and writes as
/// the owner of the copy's folder.
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

/// Puts a copy in the ledger's place. Opens the copy as the present user; does everything else as the ledger's owner.
pub(super) async fn restore(cli: &Cli, file: &Path, yes: bool) -> Result<Exit, Failure> {
    let mut settings = configuration(cli)?.settings;
    let copy = Copy::open(file)?;
    enter(&mut settings)?;
    let (path, account_id) = (&settings.ledger.path, &settings.firstpromoter.account_id);
    let _pass_lock = if yes { Some(acquire_pass_lock(path, "ledger restore", &SystemClock).await?) } else { None };
    let now_there = there_now(path, account_id)?;
    let staged = copy.stage(path, account_id)?;
    let (position, rewards) = (staged.position.clone(), staged.rewards);
    let kept = if yes { staged.install(path, SystemClock.now())? } else { None };
    let holds = |rewards: u64, position: &Position| {
        format!(
            "{} up to journal entry {} ({})",
            text::counted(rewards, "reward"),
            position.journal,
            text::when(&position.at)
        )
    };
    if cli.json {
        let holds = |rewards: u64, position: &Position| json!({"rewards": rewards, "journal": position.journal, "at": position.at});
        print_json(&json!({
            "ledger": path, "file": file, "copy": holds(rewards, &position),
            "there": now_there.as_ref().ok().and_then(Option::as_ref).map(|(rewards, position)| holds(*rewards, position)),
            "kept": kept, "restored": yes,
        }))?;
        return Ok(Exit::Done);
    }
    let mut out = text::wrapped(&format!("{}: {}; sound.", file.display(), holds(rewards, &position)), 0);
    out.push_str(&text::wrapped(
        &match &now_there {
            Ok(Some((rewards, position))) => {
                format!("The ledger in its place, {}: {}.", path.display(), holds(*rewards, position))
            }
            Ok(None) => format!("There is no ledger at {} to be replaced.", path.display()),
            Err(why) => format!("The ledger in its place, {}, cannot be read: {why}", path.display()),
        },
        0,
    ));
    out.push('\n');
    out.push_str(&text::wrapped(
        &match (yes, kept) {
            (true, kept) => {
                let kept = kept.map(|kept| format!(" What lay there is kept as {}.", kept.display())).unwrap_or_default();
                format!(
                    "Restored.{kept} What was delivered since the copy was taken is forgotten: nothing is delivered before you have \
                     looked at what is at stake and accepted it: `makegood ledger accept`"
                )
            }
            (false, _) => {
                format!("Nothing is changed. To put the copy there: `makegood ledger restore {} --yes`", file.display())
            }
        },
        0,
    ));
    print(&out)?;
    Ok(Exit::Done)
}

type Holding = Option<(u64, Position)>;

/// What is in the ledger's place now: nothing, a ledger of this size, or the reason why nobody can tell (it is damaged, which
/// is often why it is replaced). A ledger of another account is not replaced.
fn there_now(path: &Path, account_id: &str) -> Result<Result<Holding, String>, LedgerError> {
    let looked = Ledger::open_read_only(path).and_then(|ledger| {
        ledger.require_account(account_id)?;
        Ok(Some((ledger.states()?.values().sum(), ledger.position()?)))
    });
    match looked {
        Err(LedgerError::Missing { .. }) => Ok(Ok(None)),
        Err(error @ LedgerError::OtherAccount { .. }) => Err(error),
        Err(error) => Ok(Err(in_full(&error))),
        Ok(holding) => Ok(Ok(holding)),
    }
}

/// Everything that FirstPromoter lists as owed and that this ledger does not call delivered, in words. This includes waiting
/// and held rewards, and those that the fuse stops, because a forgotten delivery is repeated as soon as nothing stops it any
/// more.
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

/// What happens to a reward that is owed and not called delivered; none for all others.
fn becomes(item: &Item) -> Option<String> {
    let open = item.reward.as_ref().is_none_or(|reward| match &reward.state {
        State::Waiting { .. } | State::Delivering | State::Held { .. } | State::Cancelled => true,
        State::Delivered { .. } | State::Fulfilled { .. } | State::Reversed { .. } | State::Dismissed => false,
    });
    if !open {
        return None;
    }
    match &item.step {
        Step::Deliver { resume: false, .. } => Some("the next pass delivers it".to_owned()),
        Step::Deliver { resume: true, .. } => Some("an attempt was cut off; the next pass repeats it".to_owned()),
        Step::Leave(Why::Waits(until, why)) | Step::Write(Transition::Wait { until, why }) => {
            Some(format!("waits until {} ({})", timestamp_text(*until), why.in_words()))
        }
        Step::Leave(Why::Held(reason, _)) | Step::Write(Transition::Hold { reason, .. }) => {
            Some(format!("held ({reason})"))
        }
        // Held after an attempt, or unclear. FirstPromoter lists it as owed all the same.
        Step::Leave(why) if item.listed && item.reward.is_some() => Some(why.to_string()),
        Step::Leave(_) | Step::Write(_) | Step::Mark => None,
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
