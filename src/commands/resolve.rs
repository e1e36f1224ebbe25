//! `makegood resolve`: a person's decision on a held reward.

use serde_json::json;

use super::{Exit, Failure, load, open_to_write, operator, print, print_json, text};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    domain::CommissionId,
    ledger::{Attempted, Author, Ledger, Resolution, Reward, State},
};

/// What a person must know before deciding: an attempt may have taken effect.
fn doubt(reward: &Reward, resolution: &Resolution) -> String {
    let otherwise = match resolution {
        Resolution::Delivered(_) => return String::new(),
        Resolution::Retry => "it would take effect twice where the target does not deduplicate by key",
        Resolution::Dismiss => "the recipient would have it all the same",
    };
    let Some(Attempted { target, .. }) = reward.doubt() else { return String::new() };
    format!(
        "An attempt at {target} may have taken effect: if key {} is there, {otherwise}; `makegood show {}` tells what was tried. ",
        reward.key, reward.id
    )
}

pub(super) fn resolve(
    cli: &Cli,
    id: CommissionId,
    resolution: &Resolution,
    reason: Option<&str>,
) -> Result<Exit, Failure> {
    let settings = load(cli)?.settings;
    let path = &settings.ledger.path;
    // Fails where there is no ledger. `resolve` creates none, because an empty one has nothing to resolve.
    drop(Ledger::open_read_only(path)?);
    let ledger = open_to_write(&settings)?;
    let Some(reward) = ledger.rewards(&[id])?.remove(&id) else {
        return Err(anyhow::anyhow!(
            "the ledger {} does not know commission {id}: there is nothing to resolve",
            path.display()
        )
        .into());
    };
    let State::Held { reason: held, .. } = reward.state else {
        return Err(anyhow::anyhow!(
            "commission {id} is {}, not held: only held rewards are resolved (`makegood show {id}`)",
            reward.state.word()
        )
        .into());
    };
    if let (Resolution::Retry, Some(why_not)) = (resolution, held.no_retry()) {
        return Err(anyhow::anyhow!("commission {id} is not retried: {why_not}").into());
    }
    let (decided, next) = match resolution {
        Resolution::Delivered(_) => ("delivered, says a person", "the next pass marks it fulfilled"),
        Resolution::Retry => ("to be tried again, says a person", "the next pass delivers it"),
        Resolution::Dismiss => ("not to be delivered, says a person", "makegood leaves it alone from now on"),
    };
    let doubt = doubt(&reward, resolution);
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let actor = operator();
    let author = Author { actor: &actor, pass_id: None, now: SystemClock.now() };
    ledger.change(author, |change| {
        change.resolve(&reward, resolution, &format!("{decided}{reason} (was held: {held})"))
    })?;
    let state = ledger.rewards(&[id])?.remove(&id).map(|reward| reward.state.word());
    if cli.json {
        print_json(
            &json!({"commission_id": id, "state": state, "was": held, "actor": actor, "uncertain": reward.doubt().is_some()}),
        )?;
    } else {
        print(&text::wrapped(&format!("{doubt}Commission {id}: {decided}; {next}."), 0))?;
    }
    Ok(Exit::Done)
}
