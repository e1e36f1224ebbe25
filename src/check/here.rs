//! The checks that need only this machine and the configuration: the file, the secrets, the schedule.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Check;
use crate::{
    config::{Config, SecretOrigin, SecretSources, Settings, next_times},
    domain::Timestamp,
};

/// How many of the schedule's next times are shown.
const TIMES: usize = 3;

/// Reports that the file could be read, and what in it is probably a mistake.
pub(super) fn configuration(path: &Path, config: &Config) -> Check {
    let settings = &config.settings;
    let targets: Vec<&str> = settings.targets.keys().map(String::as_str).collect();
    let plural = if targets.len() == 1 { "target" } else { "targets" };
    let detail =
        format!("{}: account {}, {plural} {}", path.display(), settings.firstpromoter.account_id, targets.join(", "));
    if config.warnings.is_empty() {
        return Check::ok("configuration", detail);
    }
    Check::warning(
        "configuration",
        format!("{}: {}", path.display(), config.warnings.join("; ")),
        "correct it, if it is not meant",
    )
}

/// Where each secret comes from, and who else may read it there.
pub(super) fn secrets(config_file: &Path, sources: &SecretSources, offline: bool) -> Vec<Check> {
    let checks = sources.found(offline).into_iter().map(|found| {
        let name = format!("secret {}", found.key);
        match (found.problem, found.origin) {
            (Some(problem), _) => {
                let place = if problem.key == found.key {
                    problem.place
                } else {
                    format!("{}: {}", problem.place, problem.key)
                };
                let (what, remedy) = (problem.complaint.what(), problem.complaint.remedy());
                Check::failed(name, format!("{place}: {what}"), with_credential_hint(&found.key, remedy))
            }
            (None, Some(origin)) => found_at(name, config_file, origin),
            (None, None) => Check::ok(name, "none is given"),
        }
    });
    let useless = sources.useless_credentials();
    let useless = (!useless.is_empty()).then(|| {
        Check::warning(
            "credentials",
            useless.join("; "),
            "name it firstpromoter_api_key, target_NAME_secret, target_NAME_bearer, heartbeat_url or alert_url, as a file \
             and no link, or remove it",
        )
    });
    checks.map(Check::of_configuration).chain(useless).collect()
}

/// A shell does not have the credentials that the service has.
fn with_credential_hint(key: &str, remedy: &str) -> String {
    if key != "firstpromoter.api_key"
        || !remedy.contains("credential")
        || std::env::var_os("CREDENTIALS_DIRECTORY").is_some()
    {
        return remedy.to_owned();
    }
    format!(
        "{remedy}. Where the service has it by LoadCredential=, only root finds it (in the folder beside the configuration): sudo makegood check"
    )
}

fn found_at(name: String, config_file: &Path, origin: SecretOrigin) -> Check {
    let (place, file, remedy) = match origin {
        SecretOrigin::TakenAtStart => {
            return Check::ok(name, "not looked at: the service has what systemd gave it at its start, and keeps that");
        }
        SecretOrigin::Environment(variable) => {
            return Check::ok(name, format!("in the environment variable {variable}"));
        }
        SecretOrigin::Configuration(place) => {
            (format!("in {place}"), config_file.to_owned(), "move the secret to a file of its own (its key with _file)")
        }
        SecretOrigin::File(path) => {
            (format!("in the file {}", path.display()), path, "or hand it over as a credential")
        }
        SecretOrigin::Credential(path) => (format!("credential {}", path.display()), path, "or name another folder"),
    };
    if everybody_reads(&file) {
        let shut = format!("chmod o-rwx {}; {remedy}", file.display());
        return Check::warning(name, format!("{place}, which everybody on this machine may read"), shut);
    }
    Check::ok(name, place)
}

/// Whether the mode lets users in who are neither owner nor of the group.
pub(super) fn everybody_reads(path: &PathBuf) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

/// When the next passes are.
pub(super) fn schedule(settings: &Settings, now: Timestamp) -> Check {
    let poll = &settings.schedule.poll;
    let times: Vec<String> =
        next_times(poll, now, TIMES).iter().map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string()).collect();
    Check::ok("schedule", format!("{poll:?}, next at {}", times.join(", ")))
}
