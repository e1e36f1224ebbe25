//! The values that each key accepts and refuses.

use std::{path::PathBuf, time::Duration};

use chrono::{TimeZone, Utc};

use super::*;
use crate::domain::{RecipientKind, Unit};

/// Refused with exactly one problem, which names these.
#[track_caller]
fn assert_one_problem(text: &str, words: &[&str]) {
    let message = refused(text, &[]);
    assert_eq!(message.lines().count(), 1, "{message}");
    assert_names(&message, words);
}

#[test]
fn durations_are_read_with_their_unit() {
    for (text, millis) in
        [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("7d", 604_800_000), ("500ms", 500), ("0s", 0)]
    {
        let grace = loaded(&with_policy(&format!("grace = \"{text}\"")), &[]).settings.policy.grace;
        assert_eq!(grace, Duration::from_millis(millis), "{text}");
    }
}

#[test]
fn a_duration_without_its_unit_is_refused_with_the_way_to_write_it() {
    for value in ["90", "1.5", "\"90\"", "\"0\"", "\"\""] {
        assert_one_problem(&with_policy(&format!("grace = {value}")), &["policy.grace", "needs its unit", "\"90s\""]);
    }
    for value in ["\"-5s\"", "\"5 parsecs\"", "\"s\""] {
        assert_one_problem(&with_policy(&format!("grace = {value}")), &["policy.grace", "no duration", "\"90s\""]);
    }
    assert_one_problem(&with_policy("grace = \"11y\""), &["policy.grace", "ten years"]);
    assert_one_problem(&with_policy("grace = true"), &["policy.grace", "must be text", "is true or false"]);
}

#[test]
fn a_timeout_is_above_zero() {
    assert_one_problem(&with_firstpromoter("timeout = \"0s\""), &["firstpromoter.timeout", "above \"0s\""]);
    assert_one_problem(&with_target("timeout = \"0ms\""), &["targets.app.timeout", "above \"0s\""]);
}

#[test]
fn wrong_types_are_refused_with_what_belongs_there() {
    for (line, words) in [
        ("units = \"points\"", ["policy.units", "a list", "is text"]),
        ("campaigns = [\"17\"]", ["policy.campaigns[0]", "a whole number", "is text"]),
        ("campaigns = [1.5]", ["policy.campaigns[0]", "a whole number", "a number with a fraction"]),
        ("hold_self_referral = \"true\"", ["policy.hold_self_referral", "true or false", "is text"]),
        ("hold_fraud_suspicion = 1", ["policy.hold_fraud_suspicion", "true or false", "is a number"]),
        ("max_deliveries_per_pass = \"5\"", ["policy.max_deliveries_per_pass", "a whole number", "is text"]),
        ("max_amount = 5", ["policy.max_amount", "a table", "is a number"]),
        ("retry = [1]", ["policy.retry", "a table", "is a list"]),
        ("recipient = [\"auto\"]", ["policy.recipient", "text", "is a list"]),
    ] {
        assert_one_problem(&with_policy(line), &words);
    }
    assert_one_problem(&format!("policy = 3\n{LEAST}"), &["FILE line 1: policy:", "a table"]);
    assert_one_problem("targets = 3\n[firstpromoter]\naccount_id = \"1\"", &["FILE line 1: targets:", "a table"]);
    let message = refused(LEAST, &[("MAKEGOOD_POLICY__CAMPAIGNS", "17,x"), ("MAKEGOOD_POLICY__GRACE__X", "1")]);
    assert_names(&message, &["VARIABLE".to_lowercase().as_str(), "MAKEGOOD_POLICY__CAMPAIGNS: policy.campaigns[1]"]);
    assert_names(&message, &["MAKEGOOD_POLICY__GRACE__X: policy.grace: this must be text"]);
}

#[test]
fn numbers_outside_their_range_are_refused() {
    for (text, words) in [
        (with_firstpromoter("requests_per_minute = 0"), ["firstpromoter.requests_per_minute", "between 1 and 1000000"]),
        (
            with_firstpromoter("requests_per_minute = 1000001"),
            ["firstpromoter.requests_per_minute", "between 1 and 1000000"],
        ),
        (
            with_firstpromoter("requests_per_minute = 99999999999999999999999999999999999999999"),
            ["requests_per_minute", "between"],
        ),
        (with_target("concurrency = 0"), ["targets.app.concurrency", "between 1 and 64"]),
        (with_target("concurrency = 65"), ["targets.app.concurrency", "between 1 and 64"]),
        (with_policy("max_deliveries_per_pass = -1"), ["policy.max_deliveries_per_pass", "at least 0"]),
        (with_policy("max_amount = { points = 0 }"), ["policy.max_amount.points", "at least 1"]),
        (with_policy("campaigns = [0]"), ["policy.campaigns[0]", "at least 1"]),
        (with_policy("retry = { factor = 0.5 }"), ["policy.retry.factor", "at least 1"]),
        (with_policy("retry = { factor = nan }"), ["policy.retry.factor", "at least 1"]),
        (with_policy("retry = { factor = inf }"), ["policy.retry.factor", "at least 1"]),
        (with_policy("retry = { first = \"7h\" }"), ["policy.retry.max", "shorter than policy.retry.first"]),
    ] {
        // The last is about a default: there is no line.
        let message = refused(&text, &[]);
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_names(&message, &words);
    }
    assert_eq!(loaded(&with_policy("max_deliveries_per_pass = 0"), &[]).settings.policy.max_deliveries_per_pass, 0);
}

#[test]
fn the_account_id_is_text_that_a_number_may_stand_for() {
    let id = |value: &str| LEAST.replace("\"12345\"", value);
    assert_eq!(loaded(&id("12345"), &[]).settings.firstpromoter.account_id, "12345");
    assert_eq!(loaded(&id("\"00123\""), &[]).settings.firstpromoter.account_id, "00123");
    for bad in ["\"\"", "\"1 2\"", "\"ü\"", "\"1\\n2\"", "'a\"b'", "'a\\b'"] {
        assert_one_problem(&id(bad), &["firstpromoter.account_id", "printable ASCII"]);
    }
    assert_one_problem(&id("1.5"), &["firstpromoter.account_id", "text in quotes"]);
    assert_names(&refused("", &[]), &["firstpromoter.account_id", "missing", "MAKEGOOD_FIRSTPROMOTER__ACCOUNT_ID"]);
}

#[test]
fn units_are_the_five_without_cash() {
    assert_one_problem(&with_policy("units = [\"cash\"]"), &["policy.units[0]", "paid out by FirstPromoter"]);
    assert_one_problem(
        &with_policy("units = [\"points\", \"pionts\"]"),
        &["policy.units[1]", "did you mean `points`?"],
    );
    assert_one_problem(&with_policy("units = []"), &["policy.units", "at least one"]);
    assert_one_problem(
        &with_policy("max_amount = { cash = 5 }"),
        &["policy.max_amount.cash", "paid out by FirstPromoter"],
    );
    let twice = loaded(&with_policy("units = [\"points\", \"points\"]"), &[]).settings.policy.units;
    assert_eq!(twice, [Unit::Points]);
}

#[test]
fn the_recipient_is_one_of_three_words() {
    for (word, meaning) in [
        ("auto", RecipientPolicy::Auto),
        ("promoter", RecipientPolicy::Always(RecipientKind::Promoter)),
        ("referral", RecipientPolicy::Always(RecipientKind::Referral)),
    ] {
        assert_eq!(loaded(&with_policy(&format!("recipient = \"{word}\"")), &[]).settings.policy.recipient, meaning);
    }
    assert_one_problem(&with_policy("recipient = \"promotor\""), &["policy.recipient", "did you mean `promoter`?"]);
}

#[test]
fn the_first_day_is_a_time_with_a_zone_in_quotes_or_not() {
    let expected = Utc.with_ymd_and_hms(2026, 1, 30, 23, 0, 0).unwrap();
    for value in ["\"2026-01-30T23:00:00Z\"", "\"2026-01-31T00:00:00+01:00\"", "2026-01-30T23:00:00Z"] {
        let text = with_policy(&format!("deliver_from = {value}"));
        assert_eq!(loaded(&text, &[]).settings.policy.deliver_from, expected, "{value}");
    }
    for value in ["\"2026-01-31\"", "2026-01-31", "2026-01-31T00:00:00", "\"soon\""] {
        assert_one_problem(
            &with_policy(&format!("deliver_from = {value}")),
            &["policy.deliver_from", "2026-01-31T00:00:00Z"],
        );
    }
}

#[test]
fn addresses_are_https_or_this_machine() {
    let url = |url: &str| LEAST.replace("https://app.example.com/rewards", url);
    for good in [
        "https://a.example/r?x=1",
        "http://127.0.0.1:8788/r",
        "http://127.9.9.9/",
        "http://[::1]:1/",
        "http://localhost:1/",
        "HTTP://LOCALHOST/",
    ] {
        loaded(&url(good), &[]);
    }
    for (bad, word) in [
        ("http://a.example/r", "only to this machine"),
        ("http://localhost.a.example/", "only to this machine"),
        ("http://127.0.0.1.a.example/", "only to this machine"),
        ("http://0.0.0.0/", "only to this machine"),
        ("http://[::2]/", "only to this machine"),
        ("ftp://a.example/", "only https"),
        ("file:///etc/passwd", "only https"),
        ("a.example/r", "no URL"),
        ("", "no URL"),
        ("https://a.example/#x", "no fragment"),
        ("https://sk_live@a.example/", "user name or password"),
        ("https://u:sk_live@a.example/", "user name or password"),
        ("http://127.0.0.1@a.example/", "only to this machine"),
    ] {
        assert_one_problem(&url(bad), &["FILE line 7: targets.app.url", word]);
        assert!(!refused(&url(bad), &[]).contains("sk_live"));
    }
}

#[test]
fn the_base_address_loses_its_last_slash_and_has_no_query() {
    let base = |url: &str| with_firstpromoter(&format!("base_url = \"{url}\""));
    for (given, kept) in [
        ("https://a.example/v2/company/", "https://a.example/v2/company"),
        ("https://a.example/v2/company", "https://a.example/v2/company"),
        ("http://127.0.0.1:8787/v2//", "http://127.0.0.1:8787/v2"),
    ] {
        assert_eq!(loaded(&base(given), &[]).settings.firstpromoter.base_url.as_str(), kept);
    }
    for (bad, word) in [
        ("https://a.example/?key=sk_live", "?"),
        ("http://a.example", "only to this machine"),
        ("https://a.example/#", "fragment"),
    ] {
        assert_one_problem(&base(bad), &["firstpromoter.base_url", word]);
        assert!(!refused(&base(bad), &[]).contains("sk_live"));
    }
}

#[test]
fn the_schedule_is_read_as_the_scheduler_reads_it() {
    let poll = |poll: &str| format!("{LEAST}[schedule]\npoll = \"{poll}\"");
    for good in
        ["0 */5 * * * *", "*/10 * * * * *", "0 0 12 * * MON", "0 0 0 29 2 *", "0 0 0 1 1 * 2999", "@hourly", "@daily"]
    {
        assert_eq!(loaded(&poll(good), &[]).settings.schedule.poll, good);
    }
    assert_one_problem(&poll("*/5 * * * *"), &["schedule.poll", "five fields, without seconds", "\"0 */5 * * * *\""]);
    for bad in ["", "x", "61 * * * * *", "* * * *", "* * * * * * * *", "@sometimes"] {
        assert_one_problem(&poll(bad), &["schedule.poll", "no cron expression", "\"0 */5 * * * *\""]);
    }
    for never in ["0 0 0 31 2 *", "0 0 0 1 1 * 2020"] {
        assert_one_problem(&poll(never), &["schedule.poll", "never comes"]);
    }
}

#[test]
fn next_times_are_those_at_which_the_scheduler_rings() {
    let at = |h, m| Utc.with_ymd_and_hms(2026, 3, 1, h, m, 0).unwrap();
    assert_eq!(next_times("0 */5 * * * *", at(0, 3), 3), [at(0, 5), at(0, 10), at(0, 15)]);
    assert_eq!(next_times("0 0 * * * *", at(0, 0), 1), [at(1, 0)]);
    assert_eq!(next_times("@hourly", at(0, 1), 1), [at(1, 0)]);
    // Both day and weekday: the first 13th that is a Friday.
    assert_eq!(next_times("0 0 0 13 * FRI", at(0, 0), 1), [Utc.with_ymd_and_hms(2026, 3, 13, 0, 0, 0).unwrap()]);
    assert!(next_times("not cron", at(0, 0), 5).is_empty());
    assert_eq!(next_times("0 0 0 1 1 * 2027", at(0, 0), 5).len(), 1);
}

#[test]
fn the_ledger_is_a_file() {
    for bad in ["", ":memory:", "file:ledger.db?mode=memory"] {
        assert_one_problem(&format!("{LEAST}[ledger]\npath = \"{bad}\""), &["ledger.path"]);
    }
    let relative = loaded(&format!("{LEAST}[ledger]\npath = \"./l.db\""), &[]).settings.ledger.path;
    assert_eq!(relative, Path::new("./l.db"));
}

const TWO: &str = r#"
[firstpromoter]
account_id = "1"
[targets.app]
type = "http"
url = "https://a.example/"
[targets.script]
type = "command"
argv = ["/bin/grant"]
"#;

#[test]
fn one_target_gets_everything_without_routes() {
    let routes = loaded(LEAST, &[]).settings.policy.routes;
    assert_eq!(routes, [Route { unit: None, recipient: None, campaign: None, target: "app".to_owned() }]);
    assert_eq!(loaded(&format!("routes = []\n{LEAST}"), &[]).settings.policy.routes, routes);
}

#[test]
fn no_target_is_an_error_and_so_are_several_without_routes() {
    assert_one_problem("[firstpromoter]\naccount_id = \"1\"", &["FILE: targets: there is no target", "[targets.app]"]);
    assert_one_problem(TWO, &["routes", "app, script", "[[routes]]"]);
}

#[test]
fn routes_are_read_in_order_with_their_filters() {
    let text = format!(
        "{TWO}[[routes]]\nunit = \"points\"\nrecipient = \"promoter\"\ncampaign = 17\ntarget = \"app\"\n[[routes]]\ntarget = \"script\""
    );
    let config = loaded(&text, &[]);
    let first = Route {
        unit: Some(Unit::Points),
        recipient: Some(RecipientKind::Promoter),
        campaign: Some(17),
        target: "app".to_owned(),
    };
    assert_eq!(config.settings.policy.routes[0], first);
    assert_eq!(config.settings.policy.routes[1].target, "script");
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn a_wrong_route_is_named_by_its_place_in_the_list() {
    let route = |lines: &str| format!("{TWO}[[routes]]\ntarget = \"app\"\n[[routes]]\n{lines}");
    assert_one_problem(&route("target = \"scirpt\""), &["routes[1].target", "app, script", "did you mean `script`?"]);
    assert_one_problem(&route("unit = \"points\""), &["routes[1].target", "missing"]);
    assert_one_problem(&route("target = \"app\"\nunit = \"cash\""), &["routes[1].unit", "FirstPromoter itself"]);
    assert_one_problem(&route("target = \"app\"\nrecipient = \"auto\""), &["routes[1].recipient"]);
    assert_one_problem(&route("target = \"app\"\ncampaign = 0"), &["routes[1].campaign"]);
    assert_one_problem(&format!("routes = [1]\n{TWO}"), &["routes[0]", "a table"]);
}

#[test]
fn routes_that_nothing_takes_and_targets_that_nothing_reaches_are_warned_about() {
    let text = with_policy("units = [\"points\"]\ncampaigns = [17]")
        + "[[routes]]\nunit = \"credits\"\ntarget = \"app\"\n[[routes]]\ncampaign = 18\ntarget = \"app\"\n"
        + "[[routes]]\ntarget = \"app\"\n[[routes]]\nunit = \"points\"\ntarget = \"app\"\n"
        + "[targets.script]\ntype = \"command\"\nargv = [\"/bin/grant\"]\n";
    assert_eq!(
        loaded(&text, &[]).warnings,
        [
            "routes[0] is never reached: its unit is not in policy.units",
            "routes[1] is never reached: its campaign is not in policy.campaigns",
            "routes[3] is never reached: routes[2] takes all that it would",
            "targets.script is never used: no route leads to it",
        ]
    );
}

#[test]
fn a_targets_name_survives_the_environment() {
    let named = |name: &str| LEAST.replace("[targets.app]", &format!("[targets.{name}]"));
    for good in ["a", "my-app", "my_app", "app2", "2"] {
        assert!(loaded(&named(good), &[]).settings.targets.contains_key(good));
    }
    let long = "a".repeat(65);
    for bad in ["App", "a__b", "_a", "a_", "-a", "\"a b\"", "\"a.b\"", "\"\"", "\"ü\"", long.as_str()] {
        assert_one_problem(&named(bad), &["targets.", "rename it"]);
    }
}

#[test]
fn a_target_needs_a_type_and_what_belongs_to_it() {
    let target = |lines: &str| format!("[firstpromoter]\naccount_id = \"1\"\n[targets.t]\n{lines}\n");
    assert_one_problem(
        &target("url = \"https://a.example\""),
        &["targets.t.type", "missing", "MAKEGOOD_TARGETS__T__TYPE"],
    );
    assert_one_problem(&target("type = \"htpt\""), &["targets.t.type", "did you mean `http`?"]);
    assert_one_problem(&target("type = \"http\""), &["targets.t.url", "missing"]);
    assert_one_problem(&target("type = \"command\""), &["targets.t.argv", "missing"]);
    assert_one_problem(&target("type = \"command\"\nargv = []"), &["targets.t.argv", "no program"]);
    assert_one_problem(&target("type = \"command\"\nargv = [\"\"]"), &["targets.t.argv", "no program"]);
    assert_one_problem(&target("type = \"command\"\nargv = [\"/bin/x\", 1]"), &["targets.t.argv[1]", "text in quotes"]);
    let command = |line: &str| target(&format!("type = \"command\"\nargv = [\"/bin/x\"]\n{line}"));
    for (line, words) in [
        ("env = { MAKEGOOD_KEY = \"x\" }", ["targets.t.env.MAKEGOOD_KEY", "choose another name"]),
        ("env = { \"A B\" = \"x\" }", ["targets.t.env", "letters, digits"]),
        ("env = { A = 1 }", ["targets.t.env.A", "text in quotes"]),
        ("env = { A = \"a\\u0000b\" }", ["targets.t.env.A", "NUL"]),
        ("pass_env = [\"MAKEGOOD_FIRSTPROMOTER__API_KEY\"]", ["targets.t.pass_env[0]", "choose another name"]),
        ("pass_env = [\"makegood_x\"]", ["targets.t.pass_env[0]", "choose another name"]),
        ("pass_env = [\"A\", \"CREDENTIALS_DIRECTORY\"]", ["targets.t.pass_env[1]", "take it out"]),
        ("pass_env = [\"A=b\"]", ["targets.t.pass_env[0]", "letters, digits"]),
        ("pass_env = [\"\"]", ["targets.t.pass_env[0]", "letters, digits"]),
    ] {
        assert_one_problem(&command(line), &words);
    }
    assert_one_problem(&target("type = \"command\"\nargv = \"/bin/x\""), &["targets.t.argv", "a list"]);
}

#[test]
fn notices_and_the_log_are_read_as_written() {
    let text = "[heartbeat]\ntimeout = \"5s\"\n[alert]\ntimeout = \"6s\"\nfailing_for = \"0s\"\ncaught_share = 1\n\
        caught_min = 1\ncaught_within = \"7d\"\n[metrics]\ntextfile = \"m.prom\"\n[log]\nformat = \"json\"\nlevel = \"trace\"";
    let settings = loaded(&format!("{LEAST}{text}"), &[]).settings;
    let alert = AlertSettings {
        timeout: Duration::from_secs(6),
        failing_for: Duration::ZERO,
        caught_share: 1.0,
        caught_min: 1,
        caught_within: Duration::from_hours(7 * 24),
    };
    let heartbeat_timeout = Duration::from_secs(5);
    let textfile = Some(PathBuf::from("m.prom"));
    assert_eq!(settings.notice, NoticeSettings { heartbeat_timeout, alert, textfile });
    assert_eq!(settings.log, LogSettings { format: LogFormat::Json, level: LogLevel::Trace });
}

#[test]
fn wrong_settings_of_notices_and_the_log_are_refused() {
    for (line, says) in [
        ("[heartbeat]\ntimeout = \"0s\"", "heartbeat.timeout: nothing is done in no time"),
        ("[alert]\ntimeout = \"61s\"", "alert.timeout: the next pass waits for this"),
        ("[alert]\ncaught_share = 0", "alert.caught_share: this must be above 0"),
        ("[alert]\ncaught_share = 1.01", "alert.caught_share: this must be above 0"),
        ("[alert]\ncaught_share = nan", "alert.caught_share: this must be above 0"),
        ("[alert]\ncaught_min = 0", "alert.caught_min: this must be between 1"),
        ("[alert]\ncaught_within = \"0s\"", "alert.caught_within: nothing is done"),
        ("[alert]\nfailing_for = 3600", "alert.failing_for: a duration needs its unit"),
        ("[metrics]\ntextfile = \"\"", "metrics.textfile: this is no path"),
        ("[metrics]\ntextfil = \"m.prom\"", "metrics.textfil: unknown key; did you mean `metrics.textfile`?"),
        ("[log]\nformat = \"syslog\"", "log.format: this is none of auto, human, journald, json"),
        ("[log]\nlevel = \"loud\"", "log.level: this is none of error"),
        ("heartbeats = 1", "unknown key"),
    ] {
        assert_names(&refused(&format!("{LEAST}{line}\n"), &[]), &["FILE line ", says]);
    }
}
