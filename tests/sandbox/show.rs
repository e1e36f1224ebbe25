//! What the example prints: the world on 80 columns, and what to try next.

use std::path::Path;

use crate::sandbox::{ACCOUNT_ID, API_KEY, Commission, Sandbox, now};

/// The default grace period after an approval.
const GRACE_MINUTES: i64 = 15;

/// The kinds of commissions, from makegood's view.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lot {
    Settled,
    Missed,
    /// Delivered, not marked.
    Unmarked,
    InGrace,
    Suspicious,
    Money,
    NotApproved,
}

impl Lot {
    fn of(commission: &Commission, is_rewarded: bool) -> Self {
        let approved_at = commission.status_updated_at.filter(|_| commission.status == "approved");
        match approved_at {
            None => Self::NotApproved,
            Some(_) if commission.is_cash() => Self::Money,
            Some(_) if commission.fulfilled => Self::Settled,
            Some(_) if is_rewarded => Self::Unmarked,
            Some(_) if commission.fraud_check.as_deref().is_some_and(|check| check != "no_suspicion") => {
                Self::Suspicious
            }
            Some(at) if (now() - at).num_minutes() < GRACE_MINUTES => Self::InGrace,
            Some(_) => Self::Missed,
        }
    }

    fn remark(self) -> &'static str {
        match self {
            Self::Settled => "",
            Self::Missed => "<- missed",
            Self::Unmarked => "<- not marked",
            Self::InGrace => "in grace",
            Self::Suspicious => "fraud?",
            Self::Money => "not ours",
            Self::NotApproved => "not owed",
        }
    }
}

/// Prints the world as FirstPromoter and the merchant see it.
pub(crate) fn world(sandbox: &Sandbox, title: &str) {
    let width = 80;
    println!("\n{title} {}", "-".repeat(width - 1 - title.len()));
    println!("{}", row(["", "reward", "to", "FirstPromoter", "merchant", ""]));
    let (mut missed, mut unmarked) = (0, 0);
    for commission in sandbox.firstpromoter.all() {
        let is_rewarded = !sandbox.merchant.effects_of(commission.id).is_empty();
        let lot = Lot::of(&commission, is_rewarded);
        missed += usize::from(lot == Lot::Missed);
        unmarked += usize::from(lot == Lot::Unmarked);
        let goes_to_promoter = sandbox.firstpromoter.goes_to_promoter(&commission);
        println!(
            "{}",
            row([
                &commission.id.to_string(),
                &amount(&commission),
                &recipient(&commission, goes_to_promoter),
                &standing(&commission),
                if is_rewarded { "has it" } else { "-" },
                lot.remark(),
            ])
        );
    }
    match (missed, unmarked) {
        (0, 0) => println!("Nothing is missed."),
        (missed, 0) => println!("{missed} rewards are owed and missed."),
        (missed, unmarked) => println!("{missed} rewards are owed and missed, {unmarked} delivered and not marked."),
    }
}

fn row([id, reward, to, firstpromoter, merchant, remark]: [&str; 6]) -> String {
    format!("{id:<6} {reward:<13} {to:<18} {firstpromoter:<17} {merchant:<8} {remark}").trim_end().to_owned()
}

fn amount(commission: &Commission) -> String {
    match commission.unit.as_str() {
        "cash" => format!("{:.2} cash", cents(commission.amount)),
        "mon_discount" => format!("{:.2} off", cents(commission.amount)),
        "discount_per" => format!("{} % off", commission.amount),
        "free_months" if commission.amount == 1 => "1 free month".to_owned(),
        unit => format!("{} {}", commission.amount, unit.replace('_', " ")),
    }
}

#[allow(clippy::cast_precision_loss, reason = "amounts of this small world")]
fn cents(minor: i64) -> f64 {
    minor as f64 / 100.0
}

fn recipient(commission: &Commission, goes_to_promoter: bool) -> String {
    match (&commission.promoter, &commission.referral) {
        (_, Some(referral)) if !goes_to_promoter => referral.email.clone(),
        (Some(promoter), _) => promoter.name.clone(),
        (None, Some(referral)) => referral.email.clone(),
        (None, None) => "nobody".to_owned(),
    }
    .chars()
    .take(18)
    .collect()
}

fn standing(commission: &Commission) -> String {
    if commission.fulfilled {
        return "fulfilled".to_owned();
    }
    let Some(at) = commission.status_updated_at.filter(|_| commission.status == "approved") else {
        return commission.status.clone();
    };
    let ago = now() - at;
    match (ago.num_minutes(), ago.num_hours()) {
        (..1, _) => "approved just now".to_owned(),
        (minutes, 0) => format!("approved {minutes} min"),
        (_, hours) => format!("approved {hours} h"),
    }
}

/// How to look into the ledger.
pub(crate) fn ledger_commands(makegood: &Path, config: &Path, ledger: &Path) {
    let (makegood, config, ledger) = (quoted(makegood), quoted(config), quoted(ledger));
    println!("\nLook into the ledger:");
    println!("  sqlite3 -readonly -box {ledger} 'SELECT * FROM totals'");
    println!("  sqlite3 -readonly -box {ledger} 'SELECT * FROM attention'");
    println!(
        "  sqlite3 -readonly -box {ledger} \\\n    'SELECT commission_id, state, unit, amount, recipient, receipt FROM rewards'"
    );
    println!("or, without sqlite3:");
    println!("  {makegood} --config {config} status");
    println!("  {makegood} --config {config} show 88904");
}

/// What to do next, when the example has ended.
pub(crate) fn next_steps(is_default_ledger: bool, ledger: &Path) {
    let path = if is_default_ledger { String::new() } else { format!(" {}", quoted(ledger)) };
    let flags = |flags: &str| format!("cargo run --example sandbox -- {flags}{path}");
    let again = if is_default_ledger { "cargo run --example sandbox".to_owned() } else { flags("").replace("  ", " ") };
    println!("\nOnce more, and nothing is left to do:  {again}");
    println!("Start over:                            {}", flags("--fresh"));
    println!("Keep it running, to try by hand:       {}", flags("--serve"));
}

/// What to try while the sandbox runs.
pub(crate) fn things_to_try(sandbox: &Sandbox, makegood: &Path, config: &Path, ledger: &Path) {
    let base = sandbox.base_url();
    let run = format!("{} --config {}", quoted(makegood), quoted(config));
    println!("\nFirstPromoter answers at  {base}");
    println!("the merchant at           {}", sandbox.merchant_url());
    println!("\nIn another terminal:");
    println!("  {run} plan          # what a pass would do");
    println!("  {run} once          # one pass");
    println!("  {run} run           # the service");
    println!("  kill -USR1 $(pgrep -x makegood)     # a pass now");
    println!("  kill -TERM $(pgrep -x makegood)     # stop");
    println!("Approve the pending commission, and have makegood not wait for the handler:");
    println!("  curl -H 'Authorization: Bearer {API_KEY}' \\");
    println!("    -H 'Account-ID: {ACCOUNT_ID}' -d '{{\"ids\": [88913]}}' \\");
    println!("    {base}/commissions/approve");
    println!("  MAKEGOOD_POLICY__GRACE=0s {run} once");
    ledger_commands(makegood, config, ledger);
    println!("\nRequests as they come; Ctrl-C ends, and the world is kept.");
}

/// The path, quoted for a shell. Relative where it lies below the working directory.
fn quoted(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(path).display().to_string();
    let is_plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    if is_plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
