//! `makegood show`: everything the ledger knows of one commission, as a timeline. Needs no secret.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{Exit, Failure, exit_for, load, print, print_json, text};
use crate::{
    cli::Cli,
    domain::CommissionId,
    ledger::{Attention, Ledger},
};

pub(super) fn show(cli: &Cli, id: CommissionId) -> Result<Exit, Failure> {
    let settings = load(cli)?.settings;
    let ledger = Ledger::open_read_only(&settings.ledger.path)?;
    ledger.require_account(&settings.firstpromoter.account_id)?;
    let Some(dossier) = ledger.dossier(id)? else {
        return Err(anyhow::anyhow!(
            "the ledger {} does not know commission {id}: no pass has seen it as approved, unfulfilled and in scope. \
             `makegood once --commission {id}` asks FirstPromoter about it",
            ledger.path().display()
        )
        .into());
    };
    let attention = ledger.attention()?.into_iter().find(|it| it.commission_id == id);
    if cli.json {
        print_json(&dossier)?;
    } else {
        print(&in_words(id, &dossier.reward, attention.as_ref(), &ledger.timeline(id)?))?;
    }
    Ok(exit_for(attention.is_some()))
}

fn in_words(
    id: CommissionId,
    reward: &Map<String, Value>,
    attention: Option<&Attention>,
    timeline: &[(String, String, String)],
) -> String {
    let word = |column: &str| reward.get(column).and_then(Value::as_str);
    let email = if word("recipient") == Some("referral") { word("referral_email") } else { word("promoter_email") };
    let amount = text::amount(reward.get("amount").and_then(Value::as_i64), word("unit"));
    let title = format!("Commission {id}: {amount} for {}", text::recipient(word("recipient"), email));
    let mut out = text::wrapped(&title, 0);
    for (label, column) in [
        ("state", "state"),
        ("since", "state_since"),
        ("key", "key"),
        ("target", "target"),
        ("receipt", "receipt"),
        ("delivered", "delivered_at"),
        ("by", "delivered_by"),
        ("fulfilled", "fulfilled_at"),
        ("not before", "next_attempt_at"),
        ("campaign", "campaign_name"),
        ("reward", "reward_name"),
        ("approved", "approved_at"),
        ("last error", "last_error"),
    ] {
        if let Some(value) = word(column) {
            let wrapped = text::wrapped(value, 14);
            let _infallible = write!(out, "  {label:<12}{}", wrapped.trim_start());
        }
    }
    if let Some(attention) = attention {
        out.push_str("\nNeeds a person\n");
        out.push_str(&text::attention_text(attention));
    }
    out.push_str("\nTimeline\n");
    for (at, what, detail) in timeline {
        out.push_str(&text::wrapped(&format!("{at} {what}"), 2));
        if !detail.is_empty() {
            out.push_str(&text::wrapped(detail, 6));
        }
    }
    out
}
