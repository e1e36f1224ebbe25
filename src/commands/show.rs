//! `makegood show`: the state of a commission and the reason for it, or of all rewards of one person. Needs no secret.

mod standing;

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::{Exit, Failure, exit_for, ink::Ink, load, print, print_json, text};
use crate::{
    cli::{Cli, Whom},
    clock::{Clock, SystemClock},
    config::Settings,
    domain::{CommissionId, Timestamp},
    ledger::{Attention, Dossier, Ledger, LiveClaim},
};
use standing::{Fate, Row};

/// What the ledger knows about one commission, with the present facts that matter for it.
#[derive(Debug, Serialize)]
struct Case {
    #[serde(flatten)]
    dossier: Dossier,
    /// Why it needs a person, if it does.
    attention: Option<Attention>,
    /// Who is about to deliver it, if anybody.
    claim: Option<LiveClaim>,
}

pub(super) fn show(cli: &Cli, whom: &Whom) -> Result<Exit, Failure> {
    let settings = load(cli)?.settings;
    let ledger = Ledger::open_read_only(&settings.ledger.path)?;
    ledger.require_account(&settings.firstpromoter.account_id)?;
    let now = SystemClock.now();
    let ids = match whom {
        Whom::Commission(id) => vec![*id],
        Whom::Email(email) => ledger.ids_of(email)?,
    };
    let cases = cases(&ledger, &ids, now)?;
    let page = Page { ledger: &ledger, settings: &settings, ink: Ink::for_stdout(), now };
    match (whom, cases.as_slice()) {
        (Whom::Commission(id), []) => return Err(unknown_id(*id, &ledger)),
        (Whom::Email(email), []) => return Err(unknown_email(email, &ledger)),
        (Whom::Commission(_), [case, ..]) if cli.json => print_json(case)?,
        (Whom::Commission(id), [case, ..]) => print(&page.commission(*id, case)?)?,
        (Whom::Email(_), cases) if cli.json => print_json(&cases)?,
        (Whom::Email(email), cases) => print(&page.person(email, cases)?)?,
    }
    Ok(exit_for(cases.iter().any(|case| case.attention.is_some())))
}

fn cases(ledger: &Ledger, ids: &[CommissionId], now: Timestamp) -> Result<Vec<Case>, Failure> {
    let attention = ledger.attention_of(ids)?.into_iter().map(|it| (it.commission_id, it));
    let mut attention: BTreeMap<CommissionId, Attention> = attention.collect();
    let mut cases = Vec::new();
    for id in ids {
        if let Some(dossier) = ledger.dossier(*id)? {
            cases.push(Case { dossier, attention: attention.remove(id), claim: ledger.live_claim(*id, now)? });
        }
    }
    Ok(cases)
}

fn unknown_id(id: CommissionId, ledger: &Ledger) -> Failure {
    anyhow::anyhow!(
        "the ledger {} does not know commission {id}: no pass has seen it as approved, unfulfilled and in scope. \
         `makegood once --commission {id}` asks FirstPromoter about it",
        ledger.path().display()
    )
    .into()
}

fn unknown_email(email: &str, ledger: &Ledger) -> Failure {
    anyhow::anyhow!(
        "the ledger {} knows no reward of {email}: no pass has seen one that was approved, unfulfilled and in scope, or the \
         email is another one at FirstPromoter. Look the person up there; with the id of a commission, \
         `makegood once --commission ID` asks FirstPromoter about it",
        ledger.path().display()
    )
    .into()
}

/// The text for a person.
struct Page<'a> {
    ledger: &'a Ledger,
    settings: &'a Settings,
    ink: Ink,
    now: Timestamp,
}

impl Page<'_> {
    fn row<'c>(&self, case: &'c Case) -> Result<Row<'c>, Failure> {
        Ok(Row { case, health: self.ledger.health()?, now: self.now })
    }

    /// The answer first, then the facts, then the history.
    fn commission(&self, id: CommissionId, case: &Case) -> Result<String, Failure> {
        let row = self.row(case)?;
        let heading = format!("Commission {id}: {} for {}", row.amount(), row.recipient());
        let mut out = text::wrapped(&heading, 0);
        let state = row.reward().state.word().as_str();
        let since = text::at(row.reward().since);
        let _infallible = writeln!(out, "  {:<12}{} since {since}", "state", self.ink.word(state, state));
        out.push('\n');
        out.push_str(&text::wrapped(&row.standing(), 2));
        if let Some(attention) = &case.attention {
            out.push_str(&text::wrapped(&format!("-> {}", attention.what_to_do), 2));
        }
        out.push('\n');
        out.push_str(&facts(&row, &self.settings.firstpromoter.account_id));
        out.push_str("\nTimeline\n");
        for (at, what, detail) in self.ledger.timeline(id)? {
            out.push_str(&text::wrapped(&format!("{} {what}", text::when(&at)), 2));
            if !detail.is_empty() {
                out.push_str(&text::wrapped(&detail, 6));
            }
        }
        Ok(out)
    }

    /// The sums first, then a line and a sentence for each reward, the latest first.
    fn person(&self, email: &str, cases: &[Case]) -> Result<String, Failure> {
        let rows: Vec<Row<'_>> = cases.iter().map(|case| self.row(case)).collect::<Result<_, _>>()?;
        let mut out = text::wrapped(&format!("{email}: {}", text::counted(rows.len() as u64, "reward")), 0);
        let (theirs, others): (Vec<&Row<'_>>, Vec<&Row<'_>>) = rows.iter().partition(|row| row.may_go_to(email));
        for (fate, label) in Fate::ALL {
            let sum = standing::sum(theirs.iter().copied().filter(|row| row.fate() == fate));
            if !sum.is_empty() {
                out.push_str(&text::labelled(label, &sum));
            }
        }
        if !others.is_empty() {
            out.push_str(&text::labelled("for others", &text::counted(others.len() as u64, "reward")));
        }
        for row in rows {
            out.push('\n');
            let reward = row.reward();
            let state = reward.state.word().as_str();
            let (amount, recipient) = (row.amount(), row.recipient());
            out.push_str(&text::reward_line(self.ink, reward.id.0, state, &amount, &recipient, reward.target()));
            out.push_str(&text::detail_text(&row.standing()));
            if let Some(attention) = &row.case.attention {
                out.push_str(&text::detail_text(&format!("-> {}", attention.what_to_do)));
            }
        }
        out.push_str("\nAll that is known of one: makegood show ID\n");
        Ok(out)
    }
}

/// Facts that a support question may depend on.
fn facts(row: &Row<'_>, account_id: &str) -> String {
    let mut out = String::new();
    let (reward, facts) = (row.reward(), &row.reward().facts);
    let party = |id: i64, name: Option<&str>, email: Option<&str>| {
        let known = [name, email].into_iter().flatten().collect::<Vec<_>>().join(", ");
        if known.is_empty() { id.to_string() } else { format!("{known} ({id})") }
    };
    let named = |id: i64, name: Option<&str>| name.map_or_else(|| id.to_string(), |name| format!("{name} ({id})"));
    let promoter = facts.promoter.as_ref().map(|it| party(it.id, it.name.as_deref(), it.email.as_deref()));
    let referral = facts.referral.as_ref().map(|it| party(it.id, it.uid.as_deref(), it.email.as_deref()));
    for (label, value) in [
        ("approved", facts.approved_at.map(text::at)),
        ("first seen", Some(text::at(reward.first_seen_at))),
        ("reward", facts.reward.as_ref().map(|it| named(it.id, it.name.as_deref()))),
        ("campaign", facts.campaign.as_ref().map(|it| named(it.id, it.name.as_deref()))),
        ("promoter", promoter),
        ("referral", referral),
        ("account", Some(account_id.to_owned())),
        ("key", Some(reward.key.to_string())),
        ("target", reward.target().map(str::to_owned)),
        ("tried", row.tried()),
        ("receipt", reward.receipt().map(str::to_owned)),
    ] {
        if let Some(value) = value {
            out.push_str(&text::labelled(label, &value));
        }
    }
    out
}
