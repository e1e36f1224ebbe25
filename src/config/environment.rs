//! Environment variables: which ones are ours, and how each is named.
//!
//! `MAKEGOOD_SECTION__KEY` is configuration. Other names that begin with `MAKEGOOD_` belong to somebody else
//! (`MAKEGOOD_CONFIG`, the variables of a command target) and are harmless, but a near miss is worth a warning.

use std::{collections::BTreeMap, ffi::OsString};

use super::error::{Complaint, ConfigError, Problem};

/// Before every variable of ours.
pub(super) const PREFIX: &str = "MAKEGOOD_";

/// Where systemd puts credentials.
pub(super) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where systemd puts a service's state.
pub(super) const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// systemd sets it for `ExecReload=`, and for nothing else.
pub(super) const MAINPID: &str = "MAINPID";

/// Whether this process was started by `ExecReload=` of a unit. systemd gives credentials to the main process when it starts,
/// and none to a reload. Debian 12 sets `CREDENTIALS_DIRECTORY` then and closes the folder; Debian 13 does not set it.
pub fn reloads(env: &[(String, String)]) -> bool {
    env.iter().any(|(name, value)| name == MAINPID && !value.is_empty())
}

/// How an origin in the environment begins. The variable's name follows.
pub(super) const PLACE: &str = "environment variable ";

/// No key is nested deeper. A name with more parts is ignored.
const DEEPEST: usize = 8;

/// The variables of this process that [`load`](super::load) needs: `MAKEGOOD_*` and three of systemd's. A variable that is not
/// UTF-8 is an error if it is ours, and ignored otherwise.
pub fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    collect(std::env::vars_os())
}

pub(super) fn collect(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let (mut ours, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        // Lossy text is enough to decide whose variable it is, because the prefix is ASCII.
        let shown = name.to_string_lossy().into_owned();
        if !shown.starts_with(PREFIX) && ![CREDENTIALS_DIRECTORY, STATE_DIRECTORY, MAINPID].contains(&shown.as_str()) {
            continue;
        }
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => ours.push((name, value)),
            (name, _) => {
                let part = if name.is_err() { "name" } else { "value" };
                let complaint = Complaint::new(format!("its {part} is not UTF-8"), "set it again, or unset it");
                let place = format!("{PLACE}{}", shown.escape_debug());
                problems.push(Problem { place, key: String::new(), complaint });
            }
        }
    }
    if problems.is_empty() { Ok(ours) } else { Err(ConfigError::Invalid(problems)) }
}

/// A variable that is configuration.
#[derive(Clone)]
pub(super) struct Variable {
    /// As it was set.
    pub(super) name: String,
    /// What it was set to; perhaps a secret.
    pub(super) value: String,
}

/// The variables that are configuration, by the key that each sets (`policy.retry.first`). A name that is no key, or that
/// collides with another's, becomes a problem instead.
pub(super) fn configuration(env: &[(String, String)]) -> (BTreeMap<String, Variable>, Vec<Problem>) {
    let (mut found, mut problems) = (BTreeMap::<String, Variable>::new(), Vec::new());
    let mut complain = |name: &str, key: &str, what: &str, remedy: &str| {
        let (place, complaint) = (format!("{PLACE}{}", name.escape_debug()), Complaint::new(what, remedy));
        problems.push(Problem { place, key: key.to_owned(), complaint });
    };
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| rest.contains("__")) else { continue };
        let key = rest.to_lowercase().replace("__", ".");
        let segments: Vec<_> = key.split('.').collect();
        // `config` would read any other name as a path expression, including an index such as `[9]`.
        let is_word = |s: &&str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if rest.contains('.') || !segments.iter().all(is_word) || segments.len() > DEEPEST {
            let remedy = format!("write {PREFIX}SECTION__KEY, as MAKEGOOD_POLICY__GRACE");
            complain(name, "", "its name is no key", &remedy);
        } else if segments[0] == "routes" {
            complain(name, "routes", "routes can be given in the file only", "unset the variable");
        } else if let Some(other) = found.get(&key) {
            complain(name, &key, &format!("{} sets the same key", other.name), "unset one of the two");
        } else {
            found.insert(key, Variable { name: name.clone(), value: value.clone() });
        }
    }
    // A key, and a key below it: one would silently replace the other.
    for (key, variable) in &found {
        if let Some((_, below)) =
            found.range(format!("{key}.")..).next().filter(|(k, _)| k.starts_with(&format!("{key}.")))
        {
            complain(&variable.name, key, &format!("{} sets a part of it", below.name), "unset one of the two");
        }
    }
    (found, problems)
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// A name without the two things that people get wrong: case, and the number of underscores.
pub(super) fn flattened(name: &str) -> String {
    name.to_lowercase().split(['_', '.']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}
