//! The manual's tables of keys against the code: every key, with its default.

use std::collections::{BTreeMap, BTreeSet};

use super::{loaded, shipped::uncommented_keys};
use crate::{
    config::layers,
    manual::{Topic, words},
};

/// The sections of the manual, and where their keys are.
const SECTIONS: [(&str, &str); 12] = [
    ("[firstpromoter]", "firstpromoter"),
    ("[schedule]", "schedule"),
    ("[ledger]", "ledger"),
    ("[policy]", "policy"),
    ("policy.retry", "policy"),
    ("type = \"http\"", "targets.app"),
    ("type = \"command\"", "targets.script"),
    ("[[routes]]", "routes[0]"),
    ("[heartbeat]", "heartbeat"),
    ("[alert]", "alert"),
    ("[metrics]", "metrics"),
    ("[log]", "log"),
];

/// Every key in the manual, with its default as TOML; none where there is none.
fn told() -> BTreeMap<String, Option<String>> {
    let keys = SECTIONS.iter().flat_map(|(heading, path)| {
        words::rows(Topic::Configuration, heading, "key").into_iter().map(move |row| {
            let [key] = &words::code(&row[0])[..] else { panic!("{row:?}") };
            (format!("{path}.{key}"), words::code(&row[1]).pop())
        })
    });
    keys.collect()
}

#[test]
fn the_manual_has_every_key_there_is_and_no_other() {
    let limit = |key: String| if key.starts_with("policy.max_amount.") { "policy.max_amount".to_owned() } else { key };
    let known: BTreeSet<String> = uncommented_keys().into_iter().map(limit).collect();
    assert_eq!(told().into_keys().collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_defaults_in_the_manual_are_the_defaults() {
    let needed = "routes = [{ target = \"app\" }]\nfirstpromoter.account_id = \"1\"\n\
        targets.app.type = \"http\"\ntargets.app.url = \"https://app.example.com/\"\n\
        targets.script.type = \"command\"\ntargets.script.argv = [\"/bin/x\"]\n";
    let told = told();
    let lines = told.iter().filter_map(|(key, default)| Some(format!("{key} = {}\n", default.as_ref()?)));
    let lines: String = lines.filter(|line| !line.starts_with("targets.") || !line.contains(".type = ")).collect();
    let shown = loaded(&format!("{needed}{lines}"), &[]).settings;
    assert_eq!(format!("{shown:#?}"), format!("{:#?}", loaded(needed, &[]).settings));
    for key in layers::default_keys() {
        assert!(told[&key].is_some(), "{key} has a default");
    }
    for key in
        ["timeout", "idempotent"].iter().flat_map(|key| ["app", "script"].map(|name| format!("targets.{name}.{key}")))
    {
        assert!(told[&key].is_some(), "{key} has a default");
    }
}

#[test]
fn every_secret_has_its_credential() {
    let names: Vec<(String, String)> = words::rows(Topic::Configuration, "Secrets", "secret")
        .iter()
        .map(|row| (words::code(&row[0]).remove(0), words::code(&row[1]).remove(0)))
        .collect();
    let known = crate::config::secrets::credentials_of("NAME");
    assert_eq!(names, known);
}
