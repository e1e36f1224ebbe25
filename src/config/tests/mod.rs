//! The promises of the configuration, in the words of its user.

use std::path::Path;

use super::*;

mod layers;
mod manual;
mod properties;
mod secrets;
mod shipped;
mod values;

/// The smallest valid configuration.
pub(super) const LEAST: &str = r#"
[firstpromoter]
account_id = "12345"

[targets.app]
type = "http"
url = "https://app.example.com/rewards"
"#;

pub(super) fn env(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Loads `text` from a real file, called `FILE` in what comes back.
pub(super) fn try_load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("makegood.toml");
    std::fs::write(&path, text).unwrap();
    load(&path, &env(variables)).map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
}

pub(super) fn loaded(text: &str, variables: &[(&str, &str)]) -> Config {
    try_load(text, variables).unwrap()
}

pub(super) fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    try_load(text, variables).unwrap_err()
}

/// [`LEAST`] with more of `[policy]`.
pub(super) fn with_policy(lines: &str) -> String {
    format!("{LEAST}[policy]\n{lines}\n")
}

/// [`LEAST`] with more of `[firstpromoter]`.
pub(super) fn with_firstpromoter(lines: &str) -> String {
    LEAST.replace("account_id = \"12345\"", &format!("account_id = \"12345\"\n{lines}"))
}

/// [`LEAST`] with more of `[targets.app]`.
pub(super) fn with_target(lines: &str) -> String {
    format!("{LEAST}{lines}\n")
}

/// The message names all of these.
#[track_caller]
pub(super) fn assert_names(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

#[test]
fn a_missing_file_is_named_with_the_ways_to_give_another() {
    let error = load(Path::new("/nowhere/makegood.toml"), &[]).unwrap_err();
    assert!(matches!(error, ConfigError::Missing(_)));
    assert_names(&error.to_string(), &["/nowhere/makegood.toml", "--config FILE", "MAKEGOOD_CONFIG"]);
}

#[test]
fn a_folder_is_no_file_and_the_error_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(folder.path(), &[]).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert_names(&error.to_string(), &[&folder.path().display().to_string(), "directory"]);
}

#[test]
fn a_file_that_is_not_utf_8_is_refused_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.toml");
    std::fs::write(&path, b"[firstpromoter]\naccount_id = \"\xfc\"\n").unwrap();
    assert_names(&load(&path, &[]).unwrap_err().to_string(), &["latin1.toml", "line 2", "UTF-8"]);
}

#[test]
fn a_huge_file_is_refused_unparsed() {
    assert_names(&refused(&"#".repeat(2 * 1024 * 1024), &[]), &["FILE", "larger than 1 MiB"]);
}

#[test]
fn broken_toml_is_refused_with_file_and_line_and_never_quoted() {
    for broken in [
        "api_key = sk_live_51H",
        "api_key = \"sk_live_51H",
        "api_key: sk_live_51H",
        "sk_live_51H",
        "api_key = [sk_live_51H",
    ] {
        let message = refused(&format!("[firstpromoter]\naccount_id = \"1\"\n{broken}\n"), &[]);
        assert_names(&message, &["FILE line 3", "not TOML"]);
        assert!(!message.contains("sk_live"), "{message}");
    }
}

#[test]
fn a_key_given_twice_is_refused_with_its_line() {
    assert_names(&refused("[policy]\ngrace = \"1m\"\ngrace = \"2m\"\n", &[]), &["FILE line 3", "duplicate key"]);
}

#[test]
fn all_the_problems_are_reported_each_on_its_line_in_the_order_of_the_file() {
    let text = r#"[policy]
grace = 15
units = ["pionts", "cash"]
graec = "1m"
[targets.app]
type = "http"
url = "http://app.example.com/"
[targets.other]
type = "htp"
"#;
    let message = refused(text, &[("MAKEGOOD_SCHEDULE__POLL", "*/5 * * * *")]);
    let lines: Vec<_> = message.lines().collect();
    let expected = [
        "FILE: firstpromoter.account_id: this is missing",
        "FILE: routes: there are several targets (app, other)",
        "FILE line 2: policy.grace: a duration needs its unit",
        "FILE line 3: policy.units[0]: this is none of points, ",
        "FILE line 3: policy.units[1]: cash is paid out by FirstPromoter itself",
        "FILE line 4: policy.graec: unknown key; did you mean `policy.grace`?",
        "FILE line 7: targets.app.url: http goes only to this machine itself",
        "FILE line 9: targets.other.type: this is none of http, command",
        "environment variable MAKEGOOD_SCHEDULE__POLL: schedule.poll: these are five fields",
    ];
    assert_eq!(lines.len(), expected.len(), "{message}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line:?} does not start with {start:?}");
    }
}

#[test]
fn line_9_comes_before_line_10() {
    let message = refused(&format!("[policy]\n{}a = 1\nb = 1\n", "\n".repeat(7)), &[]);
    assert!(message.find("line 9:").unwrap() < message.find("line 10:").unwrap(), "{message}");
}
