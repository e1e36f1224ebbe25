//! Whatever a file or a variable contains, there is no panic and no secret in the output.

use proptest::prelude::*;

use super::*;

const PLANTED: &str = "sk_live_51Hplanted";

/// A secret in the shapes in which it gets into a value.
fn planted_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(format!("\"{PLANTED}\"")),
        Just(format!("'{PLANTED}'")),
        Just(PLANTED.to_owned()),
        Just(format!("\"{PLANTED}")),
        Just(format!("[\"{PLANTED}\"]")),
        Just(format!("[\"x\", {PLANTED}]")),
        Just(format!("{{ url = \"{PLANTED}\" }}")),
        Just(format!("\"https://u:{PLANTED}@a.example/?k={PLANTED}\"")),
        Just(format!("\"\"\"{PLANTED}\n{PLANTED}\"\"\"")),
        Just(format!("\"Bearer {PLANTED}\"")),
        Just(format!("\"\\u0000{PLANTED}\"")),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => planted_value(),
        1 => "[ -~]{0,20}",
        1 => Just("true".to_owned()),
        1 => any::<i64>().prop_map(|n| n.to_string()),
        1 => any::<f64>().prop_map(|n| format!("{n:e}")),
        1 => "\"[0-9]{1,25}[a-z]{0,2}\"",
        1 => "\"([*@/0-9LW#?,-]{1,6} ){4,6}[*0-9]\"",
    ]
}

fn key() -> impl Strategy<Value = String> {
    let known = [
        "account_id",
        "api_key",
        "api_key_file",
        "base_url",
        "requests_per_minute",
        "timeout",
        "poll",
        "on_start",
        "path",
        "grace",
        "units",
        "campaigns",
        "deliver_from",
        "recipient",
        "max_amount",
        "retry",
        "retry.first",
        "retry.factor",
        "type",
        "url",
        "secret",
        "secret_file",
        "bearer",
        "bearer_file",
        "ca_file",
        "argv",
        "idempotent",
        "unit",
        "target",
        "max_amount.points",
        "hold_self_referral",
        "firstpromoter",
        "targets",
        "targets.app",
        "routes",
        "policy",
    ];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[a-z_.\"\\[\\]]{0,12}"]
}

fn header() -> impl Strategy<Value = String> {
    let known = [
        "",
        "[firstpromoter]",
        "[schedule]",
        "[ledger]",
        "[policy]",
        "[policy.retry]",
        "[policy.max_amount]",
        "[targets.app]",
        "[targets.script]\ntype = \"command\"",
        "[targets.web]\ntype = \"http\"",
        "[[routes]]",
        "[targets.\"A b\"]",
    ];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[\\[\\]a-z.]{0,10}"]
}

/// Anything that looks a little like TOML; little of it parses.
fn messy_file() -> impl Strategy<Value = String> {
    let line = (key(), value()).prop_map(|(key, value)| format!("{key} = {value}\n"));
    let section =
        (header(), prop::collection::vec(line, 0..6)).prop_map(|(header, lines)| header + "\n" + &lines.concat());
    prop::collection::vec(section, 0..5).prop_map(|sections| sections.concat())
}

/// Text that parses, so that the values are examined: existing keys, each at most once, mostly with a value of the wrong type.
fn tidy_file() -> impl Strategy<Value = String> {
    const SECTIONS: [(&str, &[&str]); 8] = [
        ("[firstpromoter]", &["account_id", "api_key", "api_key_file", "base_url", "requests_per_minute", "timeout"]),
        ("[schedule]", &["poll", "on_start"]),
        ("[ledger]", &["path", "pth"]),
        ("[policy]", &["grace", "units", "campaigns", "deliver_from", "recipient", "hold_self_referral"]),
        ("[policy.retry]", &["first", "factor", "max", "give_up_after"]),
        ("[targets.app]\ntype = \"http\"", &["url", "secret", "secret_file", "bearer", "ca_file", "concurrency"]),
        ("[targets.s]\ntype = \"command\"", &["argv", "timeout", "idempotent", "secret"]),
        ("[[routes]]", &["unit", "recipient", "campaign", "target"]),
    ];
    let value = prop_oneof![
        Just(format!("\"{PLANTED}\"")),
        Just(format!("[\"{PLANTED}\", 1]")),
        Just(format!("{{ points = \"{PLANTED}\" }}")),
        Just(format!("\"https://u:{PLANTED}@a.example/\"")),
        Just(format!("\"Bearer {PLANTED}\"")),
        Just("\"https://a.example/\"".to_owned()),
        Just("5".to_owned()),
        "\"([*@/0-9LW#?,-]{1,6} ){4,6}[*0-9]\"",
        "\"[0-9]{1,25}[a-z]{0,2}\"",
    ];
    let section = |(header, keys): (&'static str, &'static [&'static str])| {
        let keys = prop::sample::subsequence(keys, 0..=keys.len());
        (any::<bool>(), keys, prop::collection::vec(value.clone(), 6)).prop_map(move |(there, keys, values)| {
            if !there {
                return String::new();
            }
            let lines: Vec<_> = keys.iter().zip(values).map(|(key, value)| format!("{key} = {value}")).collect();
            format!("{header}\n{}\n", lines.join("\n"))
        })
    };
    SECTIONS.map(section).into_iter().collect::<Vec<_>>().prop_map(|sections| sections.concat())
}

fn variables() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        4 => (header(), key()).prop_map(|(header, key)| {
            let section = header.lines().next().unwrap_or_default().replace(['[', ']', '"'], "");
            format!("MAKEGOOD_{}", format!("{section}.{key}").trim_start_matches('.').replace('.', "__").to_uppercase())
        }),
        1 => "MAKEGOOD_[A-Za-z_.\\[\\]0-9-]{0,20}",
        1 => Just("CREDENTIALS_DIRECTORY".to_owned()),
        1 => Just("MAKEGOOD_FIRSTPROMOTER_API_KEY".to_owned()),
    ];
    let value = prop_oneof![value(), Just(PLANTED.to_owned()), "\\PC{0,20}", Just(format!("1,{PLANTED}"))];
    prop::collection::vec((name, value), 0..5)
}

/// Everything that anybody may print about the result of loading.
fn everything_printed(text: &str, env: &[(String, String)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("makegood.toml");
    std::fs::write(&path, text).unwrap();
    match load(&path, env) {
        Err(error) => format!("{error} {error:?}"),
        Ok(config) => {
            let secrets = load_secrets(&config.secret_sources);
            let error = secrets.as_ref().err().map(ToString::to_string);
            format!("{:?} {:?} {secrets:?} {error:?}", config.warnings, config.secret_sources)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_file_and_no_variable_panics_or_shows_a_planted_secret(text in prop_oneof![1 => messy_file(), 2 => tidy_file(), 1 => Just(LEAST.to_owned())], env in variables()) {
        // A credentials directory is a path that is shown, so that none is planted there.
        let env: Vec<_> =
            env.into_iter().filter(|(name, value)| name != "CREDENTIALS_DIRECTORY" || !value.contains(PLANTED)).collect();
        let printed = everything_printed(&text, &env);
        prop_assert!(!printed.contains("planted"), "{}", printed);
    }

    #[test]
    fn no_text_at_all_panics(text in "\\PC{0,200}", line in "([a-z]{1,5}\\.){0,90}[a-z] = 1") {
        everything_printed(&text, &[]);
        everything_printed(&line, &[]);
    }
}
