//! Layers, names and unknown keys.

use std::{collections::BTreeMap, ffi::OsString, time::Duration};

use super::*;
use crate::{config::environment::collect, domain::Unit};

#[test]
fn the_environment_goes_before_the_file_and_the_file_before_the_defaults() {
    let text = with_policy("grace = \"1m\"\nmax_deliveries_per_pass = 5");
    let policy = loaded(&text, &[("MAKEGOOD_POLICY__GRACE", "2m")]).settings.policy;
    assert_eq!(policy.grace, Duration::from_mins(2));
    assert_eq!(policy.max_deliveries_per_pass, 5);
    assert_eq!(policy.retry.first, Duration::from_mins(1));
}

#[test]
fn every_kind_of_value_can_be_given_in_the_environment() {
    let settings = loaded(
        LEAST,
        &[
            ("MAKEGOOD_FIRSTPROMOTER__ACCOUNT_ID", "00123456"),
            ("MAKEGOOD_FIRSTPROMOTER__REQUESTS_PER_MINUTE", "1000000"),
            ("MAKEGOOD_SCHEDULE__ON_START", "false"),
            ("MAKEGOOD_POLICY__RETRY__FIRST", "2s"),
            ("MAKEGOOD_POLICY__RETRY__FACTOR", "1.5"),
            ("MAKEGOOD_POLICY__MAX_AMOUNT__CREDITS", "5"),
            ("MAKEGOOD_POLICY__UNITS", "points, credits"),
            ("MAKEGOOD_POLICY__CAMPAIGNS", "17,18"),
            ("MAKEGOOD_TARGETS__APP__URL", "http://127.0.0.1:1/r"),
            ("MAKEGOOD_TARGETS__APP__CONCURRENCY", "7"),
        ],
    )
    .settings;
    assert_eq!(settings.firstpromoter.account_id, "00123456");
    assert_eq!(settings.firstpromoter.requests_per_minute, 1_000_000);
    assert!(!settings.schedule.on_start);
    let policy = settings.policy;
    assert_eq!((policy.retry.first, policy.retry.factor), (Duration::from_secs(2), 1.5));
    assert_eq!(policy.retry.max, Duration::from_hours(6));
    assert_eq!(policy.max_amount, BTreeMap::from([(Unit::Credits, 5)]));
    assert_eq!(policy.units, [Unit::Points, Unit::Credits]);
    assert_eq!(policy.campaigns, [17, 18]);
    let TargetKind::Http { url, concurrency, .. } = &settings.targets["app"].kind else { panic!("not http") };
    assert_eq!((url.as_str(), *concurrency), ("http://127.0.0.1:1/r", 7));
}

#[test]
fn an_empty_variable_is_the_empty_list() {
    let text = with_policy("campaigns = [17]");
    assert!(loaded(&text, &[("MAKEGOOD_POLICY__CAMPAIGNS", "")]).settings.policy.campaigns.is_empty());
}

#[test]
fn a_target_can_be_made_of_variables_alone() {
    let text = "[firstpromoter]\naccount_id = \"1\"";
    let variables =
        [("MAKEGOOD_TARGETS__MY-APP__TYPE", "command"), ("MAKEGOOD_TARGETS__MY-APP__ARGV", "/bin/grant,-v")];
    let settings = loaded(text, &variables).settings;
    let TargetKind::Command { argv, .. } = &settings.targets["my-app"].kind else { panic!("not a command") };
    assert_eq!(argv, &["/bin/grant", "-v"]);
    assert_eq!(settings.policy.routes[0].target, "my-app");
}

#[test]
fn the_users_limits_replace_the_default_as_a_whole_and_merge_with_the_environments() {
    let text = with_policy("max_amount = { credits = 10 }");
    assert_eq!(loaded(&text, &[]).settings.policy.max_amount, BTreeMap::from([(Unit::Credits, 10)]));
    let both = loaded(&text, &[("MAKEGOOD_POLICY__MAX_AMOUNT__POINTS", "5")]).settings.policy.max_amount;
    assert_eq!(both, BTreeMap::from([(Unit::Points, 5), (Unit::Credits, 10)]));
    assert!(loaded(&with_policy("max_amount = {}"), &[]).settings.policy.max_amount.is_empty());
}

#[test]
fn a_retry_that_is_given_in_part_keeps_the_other_defaults() {
    let retry = loaded(&with_policy("retry = { factor = 2 }"), &[]).settings.policy.retry;
    let hours = Duration::from_hours;
    assert_eq!(
        retry,
        Retry { first: Duration::from_mins(1), factor: 2.0, max: hours(6), give_up_after: hours(7 * 24) }
    );
}

#[test]
fn variables_of_somebody_else_disturb_nothing() {
    let others = [
        "MAKEGOOD_CONFIG",
        "MAKEGOOD_KEY",
        "MAKEGOOD_COMMISSION_ID",
        "MAKEGOOD_UNIT",
        "MAKEGOOD_AMOUNT",
        "MAKEGOOD_RECIPIENT_KIND",
        "MAKEGOOD_RECIPIENT_EMAIL",
        "MAKEGOOD_BIN",
        "PATH",
        "OTHER__KEY",
        "makegood_policy__x",
    ]
    .map(|name| (name, "x"));
    assert_eq!(loaded(LEAST, &others).warnings, Vec::<String>::new());
}

#[test]
fn a_variable_with_single_underscores_is_warned_about_without_its_value() {
    let variables = [("MAKEGOOD_FIRSTPROMOTER_API_KEY", "sk_live_1"), ("MAKEGOOD_TARGETS_APP_URL", "sk_live_2")];
    let warnings = loaded(LEAST, &variables).warnings.join("\n");
    assert_names(
        &warnings,
        &[
            "MAKEGOOD_FIRSTPROMOTER_API_KEY does nothing: did you mean MAKEGOOD_FIRSTPROMOTER__API_KEY?",
            "did you mean MAKEGOOD_TARGETS__APP__URL?",
        ],
    );
    assert!(!warnings.contains("sk_live"), "{warnings}");
}

#[test]
fn an_unknown_variable_is_an_error_that_names_the_nearest() {
    for (name, meant) in [
        ("MAKEGOOD_POLICY__GRAEC", "MAKEGOOD_POLICY__GRACE"),
        ("MAKEGOOD_POLICY__RETRY_FIRST", "MAKEGOOD_POLICY__RETRY__FIRST"),
        ("MAKEGOOD__FIRSTPROMOTER__API_KEY", "MAKEGOOD_FIRSTPROMOTER__API_KEY"),
        ("MAKEGOOD_POLICY___GRACE", "MAKEGOOD_POLICY__GRACE"),
        ("MAKEGOOD_POLICY__", "its name is no key"),
        ("MAKEGOOD_A__B[999999999]", "its name is no key"),
        ("MAKEGOOD_ROUTES__0__TARGET", "routes can be given in the file only"),
    ] {
        assert_names(&refused(LEAST, &[(name, "sk_live")]), &[&format!("environment variable {name}"), meant]);
    }
}

#[test]
fn every_unknown_variable_is_reported_also_those_of_one_unknown_section() {
    let variables = [("MAKEGOOD_POLCY__GRACE", "1m"), ("MAKEGOOD_POLCY__UNITS", "points")];
    let message = refused(&format!("{LEAST}[polcy]\na = 1"), &variables);
    assert_eq!(message.lines().count(), 3, "{message}");
    assert_names(&message, &["MAKEGOOD_POLCY__GRACE: polcy", "MAKEGOOD_POLCY__UNITS: polcy", "FILE line 9: polcy"]);
}

#[test]
fn two_variables_for_one_key_are_refused_whatever_their_order() {
    for pair in [
        ["MAKEGOOD_POLICY__GRACE", "MAKEGOOD_policy__grace"],
        ["MAKEGOOD_POLICY__RETRY", "MAKEGOOD_POLICY__RETRY__MAX"],
    ] {
        let message = refused(LEAST, &[(pair[0], "1h"), (pair[1], "1h")]);
        assert_names(&message, &["unset one of the two", pair[0], pair[1]]);
    }
}

#[test]
fn variables_that_are_not_utf_8_matter_only_where_they_are_ours() {
    use std::os::unix::ffi::OsStringExt;
    let bad = || OsString::from_vec(vec![b'x', 0xff]);
    let named = |name: &str| OsString::from(name);
    let kept = collect([(named("LS_COLORS"), bad()), (bad(), named("x")), (named("MAKEGOOD_X"), named("y"))]).unwrap();
    assert_eq!(kept, env(&[("MAKEGOOD_X", "y")]));
    for name in ["MAKEGOOD_POLICY__GRACE", "CREDENTIALS_DIRECTORY"] {
        assert_names(&collect([(named(name), bad())]).unwrap_err().to_string(), &[name, "not UTF-8"]);
    }
}

#[test]
fn unknown_keys_are_named_with_place_and_nearest_key_wherever_they_are() {
    for (text, expected) in [
        (with_policy("graec = \"1m\""), "policy.graec: unknown key; did you mean `policy.grace`?"),
        (
            with_policy("retry = { frist = \"1m\" }"),
            "policy.retry.frist: unknown key; did you mean `policy.retry.first`?",
        ),
        (with_policy("max_amount = { point = 1 }"), "did you mean `policy.max_amount.points`?"),
        (with_policy("retry_first = \"1m\""), "did you mean `policy.retry.first`?"),
        (with_policy("poll = \"@hourly\""), "did you mean `schedule.poll`?"),
        (with_target("tiemout = \"1s\""), "targets.app.tiemout: unknown key; did you mean `targets.app.timeout`?"),
        (format!("{LEAST}[[routes]]\ntarget = \"app\"\nunits = \"points\""), "did you mean `routes[0].unit`?"),
        (format!("{LEAST}[polcy]\ngrace = \"1m\""), "polcy: unknown key; did you mean `policy`?"),
        (format!("grace = \"1m\"\n{LEAST}"), "FILE line 1: grace: unknown key; did you mean `policy.grace`?"),
        (format!("{LEAST}[ledger]\nzzz = 1"), "take it out; valid here: path, keep_empty_passes"),
    ] {
        assert_names(&refused(&text, &[]), &[expected, "FILE line "]);
    }
}

#[test]
fn a_key_at_the_top_is_no_path_expression() {
    for key in ["\"routes[99999999999]\"", "\"policy.grace\"", "\"\"", "\"a b\""] {
        assert_names(&refused(&format!("{key} = 1\n{LEAST}"), &[]), &["FILE line 1", "cannot be one"]);
    }
}

#[test]
fn an_odd_key_is_shown_escaped_and_short() {
    let message = refused(&with_policy(&format!("\"a\\n{}\" = 1", "b".repeat(500))), &[]);
    assert_eq!(message.lines().count(), 1);
    assert!(message.len() < 400, "{message}");
}

#[test]
fn keys_of_the_other_type_are_unknown_to_a_target() {
    assert_names(&refused(&with_target("argv = [\"/bin/true\"]"), &[]), &["targets.app.argv", "type = \"command\""]);
    for line in [
        "url = \"https://a.example\"",
        "secret = \"sk_live\"",
        "bearer_file = \"x\"",
        "ca_file = \"x\"",
        "concurrency = 2",
    ] {
        let text = format!(
            "[firstpromoter]\naccount_id = \"1\"\n[targets.s]\ntype = \"command\"\nargv = [\"/bin/true\"]\n{line}"
        );
        let message = refused(&text, &[]);
        assert_names(&message, &["FILE line 6: targets.s.", "type = \"http\""]);
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}
