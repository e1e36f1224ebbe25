//! Whether everything is in place for makegood to run. Each check is one small function; results are data.
//!
//! Guarantees: nothing is changed anywhere, no ledger is created, and nothing is delivered (a connection to a target is made
//! and closed). At most 6 requests go to FirstPromoter where it answers (and the client's bounded retries where it does not),
//! within a minute. No secret is shown.
//!
//! Assumptions: the user who checks has the same rights as the user of the service. The texts say so where it matters.

mod firstpromoter;
mod here;
mod ledger;
mod targets;

use std::path::Path;

use serde::Serialize;

use crate::{
    clock::{Clock, SystemClock},
    config::{self, Config, ConfigError, Secrets},
    firstpromoter::Client,
};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It runs, but a person should look.
    Warning,
    /// It cannot run like this.
    Failed,
}

impl Verdict {
    /// The word in the report, and in `check --json` (`src/manual/operation.md`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked; unique within a report.
    pub name: String,
    /// The result.
    pub result: Verdict,
    /// What was found.
    pub detail: String,
    /// Present unless the result is ok.
    pub what_to_do: Option<String>,
    /// Part of the configuration: where this fails, the service does not start.
    #[serde(skip)]
    pub is_configuration: bool,
}

impl Check {
    fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            result: Verdict::Ok,
            detail: detail.into(),
            what_to_do: None,
            is_configuration: false,
        }
    }

    fn warning(name: impl Into<String>, detail: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        let (name, detail) = (name.into(), detail.into());
        let what_to_do = Some(what_to_do.into());
        Self { name, result: Verdict::Warning, detail, what_to_do, is_configuration: false }
    }

    fn failed(name: impl Into<String>, detail: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self { result: Verdict::Failed, ..Self::warning(name, detail, what_to_do) }
    }

    fn of_configuration(self) -> Self {
        Self { is_configuration: true, ..self }
    }

    /// From an error that ends with its remedy, as our errors do: `what is wrong. What to do`.
    fn failed_as_told(name: impl Into<String>, error: &str) -> Self {
        let cut = [". ", ": ", "; "].iter().find_map(|stop| error.split_once(stop));
        match cut {
            Some((detail, remedy)) => Self::failed(name, detail, remedy),
            None => Self::failed(name, error, "correct it, and check again"),
        }
    }
}

/// All checks of a configuration that could be read, in the order in which a person would fix things. `offline`: only the
/// checks that need no network.
pub async fn all(path: &Path, config: &Config, offline: bool) -> Vec<Check> {
    let now = SystemClock.now();
    let mut checks = vec![here::configuration(path, config)];
    checks.extend(here::secrets(path, &config.secret_sources, offline));
    checks.push(here::schedule(&config.settings, now));
    // Files that only root may read come first.
    let secrets = config::load_secrets(&config.secret_sources).ok();
    let (settings, ledger_checks, canaries) = ledger::ledger(&config.settings, now);
    let settings = &settings;
    checks.extend(ledger_checks);
    checks.push(ledger::disk_space(&settings.ledger.path));
    if let Some(Secrets { api_key, .. }) = secrets.as_ref().filter(|_| !offline) {
        match Client::new(&settings.firstpromoter, api_key, SystemClock) {
            Ok(client) => checks.extend(firstpromoter::firstpromoter(&client, settings, &canaries).await),
            Err(error) => checks.push(Check::failed_as_told("FirstPromoter", &error.to_string())),
        }
    }
    checks.extend(targets::targets(settings, secrets.as_ref(), offline).await);
    checks
}

/// The checks of a configuration that could not be read: one for each problem.
pub fn unreadable(error: &ConfigError) -> Vec<Check> {
    match error {
        ConfigError::Missing(_) | ConfigError::Unreadable { .. } => {
            error.complaint().into_iter().map(|it| Check::failed("configuration", it.what(), it.remedy())).collect()
        }
        ConfigError::Invalid(problems) => {
            let fix = "correct it; config/makegood.toml shows every key";
            problems.iter().map(|problem| Check::failed("configuration", problem.to_string(), fix)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_ends_with_its_remedy_is_taken_apart() {
        let check = Check::failed_as_told("ledger", "it belongs to another. Give each its own. Or not");
        assert_eq!(check.detail, "it belongs to another");
        assert_eq!(check.what_to_do.as_deref(), Some("Give each its own. Or not"));
        assert_eq!(Check::failed_as_told("x", "so it is").detail, "so it is");
    }
}
