//! The settings in words, to say what a reload changed. Secrets are not in [`Settings`], and so not here.

use std::collections::BTreeMap;

use super::types::{RecipientPolicy, Settings, TargetKind};
use crate::domain::Unit;

impl Settings {
    /// Every setting by its key, as text. URLs come without the parts that may be secret.
    pub fn in_words(&self) -> BTreeMap<String, String> {
        let mut words = BTreeMap::new();
        let mut say = |key: &str, value: String| drop(words.insert(key.to_owned(), value));
        let time = |duration| humantime::format_duration(duration).to_string();
        let api = &self.firstpromoter;
        say("firstpromoter.account_id", api.account_id.clone());
        say("firstpromoter.base_url", api.base_url.to_string());
        say("firstpromoter.requests_per_minute", api.requests_per_minute.to_string());
        say("firstpromoter.timeout", time(api.timeout));
        say("schedule.poll", self.schedule.poll.clone());
        say("schedule.on_start", self.schedule.on_start.to_string());
        say("ledger.path", self.ledger.path.display().to_string());
        say("ledger.keep_empty_passes", time(self.ledger.keep_empty_passes));
        let policy = &self.policy;
        say("policy.grace", time(policy.grace));
        say("policy.units", policy.units.iter().map(Unit::as_str).collect::<Vec<_>>().join(","));
        say("policy.campaigns", policy.campaigns.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        say("policy.deliver_from", policy.deliver_from.to_rfc3339());
        say(
            "policy.recipient",
            match policy.recipient {
                RecipientPolicy::Auto => "auto".to_owned(),
                RecipientPolicy::Always(kind) => kind.to_string(),
            },
        );
        say("policy.hold_fraud_suspicion", policy.hold_fraud_suspicion.to_string());
        say("policy.hold_self_referral", policy.hold_self_referral.to_string());
        say("policy.max_deliveries_per_pass", policy.max_deliveries_per_pass.to_string());
        for (unit, amount) in &policy.max_amount {
            say(&format!("policy.max_amount.{unit}"), amount.to_string());
        }
        say("policy.retry.first", time(policy.retry.first));
        say("policy.retry.factor", policy.retry.factor.to_string());
        say("policy.retry.max", time(policy.retry.max));
        say("policy.retry.give_up_after", time(policy.retry.give_up_after));
        say("routes", format!("{:?}", policy.routes));
        say("heartbeat.timeout", time(self.notice.heartbeat_timeout));
        let alert = &self.notice.alert;
        say("alert.timeout", time(alert.timeout));
        say("alert.failing_for", time(alert.failing_for));
        say("alert.caught_share", alert.caught_share.to_string());
        say("alert.caught_min", alert.caught_min.to_string());
        say("alert.caught_within", time(alert.caught_within));
        if let Some(path) = &self.notice.textfile {
            say("metrics.textfile", path.display().to_string());
        }
        say("log.format", format!("{:?}", self.log.format).to_lowercase());
        say("log.level", format!("{:?}", self.log.level).to_lowercase());
        for (name, target) in &self.targets {
            let mut say = |key: &str, value: String| say(&format!("targets.{name}.{key}"), value);
            say("timeout", time(target.timeout));
            say("idempotent", target.idempotent.to_string());
            match &target.kind {
                TargetKind::Http { url, ca_file, concurrency } => {
                    let mut url = url.clone();
                    url.set_query(None);
                    say("url", url.to_string());
                    say("concurrency", concurrency.to_string());
                    say(
                        "ca_file",
                        ca_file.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string()),
                    );
                }
                TargetKind::Command { argv, env, pass_env } => {
                    say("argv", format!("{} and {} arguments", argv[0], argv.len() - 1));
                    // Values may be the command's secrets.
                    say("env", listed(env.keys()));
                    say("pass_env", listed(pass_env));
                }
            }
        }
        words
    }

    /// The differences in `newer`, a sentence each.
    pub fn changes(&self, newer: &Self) -> Vec<String> {
        let (old, new) = (self.in_words(), newer.in_words());
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        keys.into_iter()
            .filter_map(|key| match (old.get(key), new.get(key)) {
                (Some(old), Some(new)) if old == new => None,
                (Some(old), Some(new)) => Some(format!("{key}: {old} -> {new}")),
                (Some(old), None) => Some(format!("{key}: {old} -> gone")),
                (None, Some(new)) => Some(format!("{key}: new, {new}")),
                (None, None) => None,
            })
            .collect()
    }
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
