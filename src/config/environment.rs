//! Environment variables: which are ours, and what each is called.
//!
//! `MAKEGOOD_SECTION__KEY` is configuration. Whatever else begins with `MAKEGOOD_` is somebody else's (`MAKEGOOD_CONFIG`,
//! what a command target sees) and harmless, but a near miss is worth a warning.

use std::{collections::BTreeMap, ffi::OsString};

use super::error::{ConfigError, Problem};

/// Before every variable of ours.
pub(super) const PREFIX: &str = "MAKEGOOD_";

/// Where systemd puts credentials.
pub(super) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where systemd puts what a service keeps.
pub(super) const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// Set by systemd for what `ExecReload=` runs, and for nothing else.
pub(super) const MAINPID: &str = "MAINPID";

/// Whether this process was started by `ExecReload=` of a unit: systemd gives credentials to the main process at its start, and none
/// to a reload. Debian 12's sets `CREDENTIALS_DIRECTORY` and shuts the folder, Debian 13's does not set it.
pub fn reloads(env: &[(String, String)]) -> bool {
    env.iter().any(|(name, value)| name == MAINPID && !value.is_empty())
}

/// How an origin in the environment begins; a variable's name follows.
pub(super) const PLACE: &str = "environment variable ";

/// No key lies deeper; a name with more parts is not even looked at.
const DEEPEST: usize = 8;

/// The variables of this process that [`load`](super::load) wants: `MAKEGOOD_*` and three of systemd's. What is
/// not UTF-8 is an error if it is ours, and else none of our business.
pub fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    collect(std::env::vars_os())
}

pub(super) fn collect(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let (mut ours, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        // Lossy is enough to decide whose it is: the prefix is ASCII.
        let shown = name.to_string_lossy().into_owned();
        if !shown.starts_with(PREFIX) && ![CREDENTIALS_DIRECTORY, STATE_DIRECTORY, MAINPID].contains(&shown.as_str()) {
            continue;
        }
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => ours.push((name, value)),
            (name, _) => {
                let part = if name.is_err() { "name" } else { "value" };
                let what = format!("its {part} is not UTF-8: set it again, or unset it");
                problems.push(Problem { place: format!("{PLACE}{}", shown.escape_debug()), key: String::new(), what });
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

/// The variables that are configuration, by the key that each sets (`policy.retry.first`). Those whose name can be no
/// key, or collides with another's, are problems instead.
pub(super) fn configuration(env: &[(String, String)]) -> (BTreeMap<String, Variable>, Vec<Problem>) {
    let (mut found, mut problems) = (BTreeMap::<String, Variable>::new(), Vec::new());
    let mut complain = |name: &str, key: &str, what: String| {
        problems.push(Problem { place: format!("{PLACE}{}", name.escape_debug()), key: key.to_owned(), what });
    };
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| rest.contains("__")) else { continue };
        let key = rest.to_lowercase().replace("__", ".");
        let segments: Vec<_> = key.split('.').collect();
        // Anything else would be read by `config` as a path expression, an index such as `[9]` included.
        let is_word = |s: &&str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if rest.contains('.') || !segments.iter().all(is_word) || segments.len() > DEEPEST {
            complain(name, "", format!("its name is no key: write {PREFIX}SECTION__KEY, as MAKEGOOD_POLICY__GRACE"));
        } else if segments[0] == "routes" {
            complain(name, "routes", "routes can be given in the file only: unset the variable".to_owned());
        } else if let Some(other) = found.get(&key) {
            complain(name, &key, format!("{} sets the same key: unset one of the two", other.name));
        } else {
            found.insert(key, Variable { name: name.clone(), value: value.clone() });
        }
    }
    // A key and a key below it: one would silently replace the other.
    for (key, variable) in &found {
        if let Some((_, below)) =
            found.range(format!("{key}.")..).next().filter(|(k, _)| k.starts_with(&format!("{key}.")))
        {
            complain(&variable.name, key, format!("{} sets a part of it: unset one of the two", below.name));
        }
    }
    (found, problems)
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// A name without what people get wrong: case, and how many underscores stand where.
pub(super) fn flattened(name: &str) -> String {
    name.to_lowercase().split(['_', '.']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}
