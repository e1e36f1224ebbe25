//! The shipped files against the code: neither may differ from the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::DateTime;
use config::ValueKind;
use secrecy::ExposeSecret;

use super::*;
use crate::{
    config::{layers, settings},
    domain::Unit,
};

const MAKEGOOD: &str = include_str!("../../../config/makegood.toml");
const SANDBOX: &str = include_str!("../../../config/sandbox.toml");

/// Takes the # off every key and section, except those for which `skip` says not to.
fn uncommented(skip: impl Fn(&str) -> bool) -> String {
    let uncomment = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') && !skip(rest) => rest,
        _ => line,
    };
    MAKEGOOD.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

/// The secrets themselves, given beside their files.
fn is_secret(line: &str) -> bool {
    let secrets = ["api_key =", "secret =", "bearer =", "url = \"https://hc-ping.com", "url = \"https://hooks."];
    secrets.iter().any(|key| line.starts_with(key))
}

#[test]
fn as_shipped_it_parses_and_asks_for_what_it_cannot_know() {
    let message = refused(MAKEGOOD, &[]);
    assert_eq!(message.lines().count(), 2, "{message}");
    assert_names(&message, &["firstpromoter.account_id: this is missing", "targets: there is no target"]);
}

#[test]
fn the_defaults_it_shows_are_the_defaults() {
    let shown = loaded(&uncommented(is_secret), &[]).settings;
    // The same without anything that has a default.
    let least = r#"
        routes = [{ target = "app" }]
        firstpromoter.account_id = "12345"
        targets.app = { type = "http", url = "https://app.example.com/internal/rewards", ca_file = "/etc/ssl/internal.pem" }
        targets.script = { type = "command", argv = ["/usr/local/bin/grant-reward"] }
        metrics.textfile = "/var/lib/prometheus/node-exporter/makegood.prom"
    "#;
    let mut defaults = loaded(least, &[]).settings;
    assert_eq!(shown.policy.routes.len(), 1);
    defaults.policy.routes.clone_from(&shown.policy.routes);
    assert_eq!(format!("{shown:#?}"), format!("{defaults:#?}"));
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let Settings { firstpromoter, schedule, ledger, policy, targets, notice, log } = loaded(LEAST, &[]).settings;
    assert_eq!(firstpromoter.base_url.as_str(), "https://api.firstpromoter.com/api/v2/company");
    assert_eq!(firstpromoter.requests_per_minute, 300);
    assert_eq!(firstpromoter.timeout, Duration::from_secs(30));
    assert_eq!((schedule.poll.as_str(), schedule.on_start), ("0 */5 * * * *", true));
    assert_eq!(ledger.path, Path::new("/var/lib/makegood/ledger.db"));
    assert_eq!(ledger.keep_empty_passes, Duration::from_hours(400 * 24));
    assert_eq!(policy.grace, Duration::from_mins(15));
    assert_eq!(policy.units, Unit::NON_MONETARY);
    assert!(policy.campaigns.is_empty());
    assert_eq!(policy.deliver_from, DateTime::UNIX_EPOCH);
    assert_eq!(policy.recipient, RecipientPolicy::Auto);
    assert!(policy.hold_fraud_suspicion && policy.hold_self_referral);
    assert_eq!(policy.max_deliveries_per_pass, 100);
    assert_eq!(policy.max_amount, BTreeMap::from([(Unit::Points, 100_000)]));
    let hours = Duration::from_hours;
    let retry = Retry { first: Duration::from_mins(1), factor: 4.0, max: hours(6), give_up_after: hours(7 * 24) };
    assert_eq!(policy.retry, retry);
    assert_eq!((notice, log), (NoticeSettings::default(), LogSettings::default()));
    let app = &targets["app"];
    assert_eq!((app.timeout, app.idempotent), (Duration::from_secs(20), true));
    assert!(matches!(app.kind, TargetKind::Http { concurrency: 4, ca_file: None, .. }));
    let script = "[firstpromoter]\naccount_id = \"1\"\n[targets.s]\ntype = \"command\"\nargv = [\"/bin/x\"]";
    let script = &loaded(script, &[]).settings.targets["s"];
    assert_eq!((script.timeout, script.idempotent), (Duration::from_mins(1), false));
}

/// The full paths of all the values in a table.
fn leaves(path: &str, kind: &ValueKind, found: &mut BTreeSet<String>) {
    if let ValueKind::Table(table) = kind
        && !table.is_empty()
    {
        let dot = if path.is_empty() { "" } else { "." };
        for (key, value) in table {
            leaves(&format!("{path}{dot}{key}"), &value.kind, found);
        }
    } else if let (ValueKind::Array(items), "routes") = (kind, path) {
        for (index, item) in items.iter().enumerate() {
            leaves(&format!("{path}[{index}]"), &item.kind, found);
        }
    } else {
        found.insert(path.to_owned());
    }
}

/// Every key that the code asks for when it reads the shipped file. `policy.max_amount` has a key for each unit.
pub(super) fn uncommented_keys() -> BTreeSet<String> {
    let text = uncommented(|_| false);
    let (mut reader, root) = layers::merge(Path::new("FILE"), &text, &[]).unwrap();
    let _ = settings::read(&mut reader, root, SystemClock.now());
    let asked = reader.asked();
    let is_table = |key: &str| {
        asked.iter().any(|other| other.starts_with(&format!("{key}.")) || other.starts_with(&format!("{key}[")))
    };
    asked.iter().filter(|key| !is_table(key)).cloned().collect()
}

#[test]
fn it_shows_every_key_there_is_and_no_other() {
    let text = uncommented(|_| false);
    let file = config::File::from_str(&text, config::FileFormat::Toml);
    let parsed = config::Config::builder().add_source(file).build().unwrap();
    let mut shown = BTreeSet::new();
    leaves("", &parsed.cache.kind, &mut shown);
    // A limit for another unit would not be the default.
    let other_limit = |key: &str| key.starts_with("policy.max_amount.") && key != "policy.max_amount.points";
    let known: BTreeSet<_> = uncommented_keys().into_iter().filter(|key| !other_limit(key)).collect();
    assert_eq!(shown, known);
}

#[test]
fn the_sandboxs_file_is_complete() {
    let config = loaded(SANDBOX, &[]);
    assert_eq!(config.warnings, Vec::<String>::new());
    let settings = &config.settings;
    assert_eq!(settings.firstpromoter.account_id, "12345");
    assert_eq!(settings.firstpromoter.base_url.as_str(), "http://127.0.0.1:8787/api/v2/company");
    assert_eq!(settings.ledger.path, Path::new("./sandbox-ledger.db"));
    assert!(settings.targets["app"].idempotent);
    let secrets = load_secrets(&config.secret_sources).unwrap();
    assert_eq!(secrets.api_key.expose_secret(), "sandbox-key");
    assert!(secrets.targets["app"].secret.is_some());
}
