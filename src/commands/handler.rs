//! `makegood claim` and `makegood record`, for a webhook handler on the same host. They do not take the pass lock: a handler
//! must not wait for a pass, and the ledger's transactions are enough.

use std::time::Duration;

use serde_json::json;

use super::{Exit, Failure, load, open_to_write, print, print_json, text};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    domain::{CommissionId, DeliveryKey, timestamp_text},
    ledger::{Author, Claimed, Ledger, RewardState},
};

pub(super) fn claim(cli: &Cli, id: CommissionId, owner: &str, period: Duration) -> Result<Exit, Failure> {
    let (ledger, account_id) = open(cli)?;
    let now = SystemClock.now();
    let until = now + period;
    ledger.require_not_behind()?;
    let claimed = ledger.claim(id, owner, now, until)?;
    let (exit, words) = match &claimed {
        Claimed::Taken => {
            let until = timestamp_text(until);
            (
                Exit::Done,
                format!(
                    "taken for {owner} until {until}: deliver it under the key {}, then `makegood record {id}`",
                    DeliveryKey::new(&account_id, id)
                ),
            )
        }
        Claimed::Delivered(state) => (Exit::Attention, format!("{state} already: do not deliver it")),
        Claimed::ByOther { owner, expires_at } => {
            (Exit::Busy, format!("{owner} has it until {expires_at}: do not deliver it"))
        }
        Claimed::NotNow(why) => (Exit::Busy, format!("do not deliver it: {why}")),
    };
    if cli.json {
        print_json(&json!({
            "commission_id": id, "claimed": claimed == Claimed::Taken, "owner": owner, "key": DeliveryKey::new(&account_id, id),
            "expires_at": (claimed == Claimed::Taken).then(|| timestamp_text(until)), "reason": words,
        }))?;
    } else {
        print(&text::wrapped(&format!("Commission {id}: {words}"), 0))?;
    }
    Ok(exit)
}

pub(super) fn record(cli: &Cli, id: CommissionId, owner: &str, receipt: Option<&str>) -> Result<Exit, Failure> {
    let (ledger, account_id) = open(cli)?;
    let author = Author { actor: owner, pass_id: None, now: SystemClock.now() };
    let key = DeliveryKey::new(&account_id, id);
    let before = ledger.change(author, |change| change.record(id, &key, receipt, owner))?;
    let words = match before {
        Some(RewardState::Reversed) => {
            return Err(anyhow::anyhow!(
                "commission {id} was delivered before and reversed by a person; the ledger keeps `reversed`. \
                 If it was delivered once more, talk to that person: `makegood show {id}`"
            )
            .into());
        }
        Some(state @ (RewardState::Delivered | RewardState::Fulfilled)) => format!("{state} already; nothing changed"),
        Some(
            RewardState::Waiting
            | RewardState::Delivering
            | RewardState::Held
            | RewardState::Cancelled
            | RewardState::Dismissed,
        )
        | None => "recorded as delivered; the next pass marks it fulfilled".to_owned(),
    };
    if cli.json {
        let recorded = !matches!(before, Some(RewardState::Delivered | RewardState::Fulfilled));
        print_json(&json!({
            "commission_id": id, "recorded": recorded, "state_before": before, "receipt": receipt, "reason": words,
        }))?;
    } else {
        print(&text::wrapped(&format!("Commission {id}: {words}"), 0))?;
    }
    Ok(Exit::Done)
}

/// Opens the ledger, or creates it where a handler comes before the first pass. Needs no secret.
fn open(cli: &Cli) -> Result<(Ledger, String), Failure> {
    let settings = load(cli)?.settings;
    let account_id = settings.firstpromoter.account_id.clone();
    Ok((open_to_write(&settings)?, account_id))
}
