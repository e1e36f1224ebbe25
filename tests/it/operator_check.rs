//! `makegood check` finds what is wrong, says what to do, and changes nothing anywhere.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use crate::{
    sandbox::{Endpoint, IgnoredFilters, always, commission, hang, page, status, text},
    world::{LONG_AGO, Ran, World, given},
};

/// Two fulfilled by makegood and one by the handler; two owed since; a configuration that only its owner reads.
fn a_world_in_order() -> World {
    let world = given((1..=2).map(|id| commission(id).approved(LONG_AGO)));
    world.once().exits(0);
    world.sandbox.firstpromoter.add_all((3..=9).map(|id| commission(id).approved(LONG_AGO)));
    world.sandbox.handler_delivers(3);
    private(&world);
    world
}

fn private(world: &World) {
    drop(world.command(&[])); // writes the configuration
    mode(world, "makegood.toml", 0o600);
}

fn mode(world: &World, name: &str, mode: u32) {
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

fn check(world: &World) -> Ran {
    world.run(&["check", "--json"])
}

fn results(ran: &Ran) -> Vec<(String, String)> {
    let checks = ran.json["checks"].as_array().unwrap_or_else(|| panic!("checks: {ran}"));
    checks
        .iter()
        .map(|it| (it["name"].as_str().unwrap().to_owned(), it["result"].as_str().unwrap().to_owned()))
        .collect()
}

/// The one with this name.
#[track_caller]
fn line(ran: &Ran, name: &str) -> Value {
    let checks = ran.json["checks"].as_array().unwrap_or_else(|| panic!("checks: {ran}"));
    checks.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{name}: {ran}")).clone()
}

/// The check has this result, and its detail and remedy contain these words.
#[track_caller]
fn comes_to(ran: &Ran, name: &str, result: &str, words: &[&str]) {
    let line = line(ran, name);
    assert_eq!(line["result"], result, "{name}: {ran}");
    assert_eq!(line["what_to_do"].is_string(), result != "ok", "{name}: {ran}");
    let said = format!("{} -> {}", line["detail"].as_str().unwrap(), line["what_to_do"].as_str().unwrap_or_default());
    for word in words {
        assert!(said.contains(word), "{word:?} is missing from {said:?}");
    }
}

/// All but these are ok. The free space of this machine's disk does not count.
#[track_caller]
fn all_is_well_but(ran: &Ran, but: &[&str]) {
    let unwell: Vec<_> = results(ran).into_iter().filter(|(name, it)| it != "ok" && name != "disk space").collect();
    let names: Vec<&str> = unwell.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, but, "{ran}");
}

#[test]
fn where_all_is_well_every_check_is_ok_and_nothing_is_changed_or_delivered() {
    let world = a_world_in_order();
    let (files, dump, passes) = (world.ledger_files(), world.dump(), world.passes().len());
    let (deliveries, writes) = (world.sandbox.merchant.requests(), world.sandbox.firstpromoter.writes());
    let requests = world.sandbox.firstpromoter.requests();
    let ran = check(&world);
    all_is_well_but(&ran, &[]);
    assert_eq!(ran.exit, if line(&ran, "disk space")["result"] == "ok" { 0 } else { 3 }, "{ran}");
    assert_eq!(world.sandbox.firstpromoter.requests() - requests, 5, "{ran}");
    assert_eq!((world.sandbox.merchant.requests(), world.sandbox.firstpromoter.writes()), (deliveries, writes));
    assert_eq!((world.dump(), world.passes().len()), (dump, passes));
    assert_eq!(world.ledger_files()["ledger.db"], files["ledger.db"]);
    comes_to(&ran, "filter fulfilled", "ok", &["what the ledger knows as fulfilled (2 asked for) is"]);
    comes_to(&ran, "filter ids", "ok", &["and no other came"]);
    comes_to(&ran, "schedule", "ok", &["next at 20", "Z, 20"]);
    comes_to(&ran, "secret firstpromoter.api_key", "ok", &["makegood.toml line 3"]);
    comes_to(&ran, "target app", "ok", &["nothing was sent"]);
    comes_to(&ran, "clock", "ok", &["agrees"]);
}

#[test]
fn the_report_for_a_person_has_a_line_a_check_and_a_summary() {
    let world = a_world_in_order();
    let ran = world.run(&["check"]);
    assert!(ran.stdout.starts_with("ok       configuration: "), "{ran}");
    assert!(ran.stdout.lines().last().is_some_and(|line| line.contains(" checks: ")), "{ran}");
    for line in ran.stdout.lines() {
        assert!(line.chars().count() <= 80 || !line.trim().contains(' '), "{line:?} is too wide");
    }
}

#[test]
fn no_check_shows_a_secret() {
    let world = given([]);
    for args in [&["check"][..], &["check", "--json"], &["check", "-vv"]] {
        let ran = world.run(args);
        for secret in [crate::sandbox::API_KEY, crate::sandbox::SIGNING_SECRET, crate::sandbox::BEARER] {
            assert!(!format!("{ran}").contains(secret), "{args:?}: {ran}");
        }
    }
}

#[test]
fn a_ledger_that_is_not_there_yet_is_not_created() {
    let world = given([]);
    private(&world);
    let ran = check(&world);
    comes_to(&ran, "ledger", "ok", &["none yet; the first pass will create it"]);
    comes_to(&ran, "filter fulfilled", "ok", &["cannot be told yet"]);
    comes_to(&ran, "filter ids", "ok", &["cannot be told yet"]);
    all_is_well_but(&ran, &[]);
    assert!(world.ledger_files().is_empty());
    let mut elsewhere = given([]);
    let nowhere = elsewhere.path("no/such/folder/ledger.db").display().to_string();
    elsewhere.set("ledger.path", &nowhere);
    let ran = check(&elsewhere).exits(1);
    comes_to(&ran, "ledger", "failed", &["does not exist", "create the folder"]);
    comes_to(&ran, "disk space", "warning", &["cannot be told"]);
}

#[test]
fn a_bad_configuration_exits_2_with_one_check_for_each_problem() {
    let mut world = given([]);
    world.set("policy.graze", "1m").set("schedule.poll", "often");
    let ran = check(&world).exits(2);
    assert_eq!(ran.json["checks"].as_array().map(Vec::len), Some(2), "{ran}");
    assert!(results(&ran).iter().all(|(name, result)| name == "configuration" && result == "failed"), "{ran}");
    let ran = world.run(&["check"]).exits(2);
    assert!(ran.stdout.contains("policy.graze") && ran.stdout.contains("schedule.poll"), "{ran}");
}

#[test]
fn a_missing_secret_exits_2_and_the_rest_is_checked_all_the_same() {
    let mut world = a_world_in_order();
    let file = world.file("key", "");
    world.set("firstpromoter.api_key_file", &file.display().to_string());
    let ran = check(&world).exits(2);
    comes_to(&ran, "secret firstpromoter.api_key", "failed", &["empty"]);
    comes_to(&ran, "ledger", "ok", &[]);
    comes_to(&ran, "target app", "ok", &[]);
}

#[test]
fn a_path_with_a_colon_does_not_split_the_problem_from_its_remedy() {
    let mut world = given([]);
    private(&world);
    let file = world.path("a: b");
    world.set("firstpromoter.api_key_file", &file.display().to_string());
    let said = line(&check(&world), "secret firstpromoter.api_key");
    assert!(said["detail"].as_str().unwrap().ends_with("a: b cannot be read (entity not found)"), "{said}");
    assert!(said["what_to_do"].as_str().unwrap().starts_with("create it, or give"), "{said}");
}

#[test]
fn secrets_that_everybody_may_read_are_a_warning_that_names_the_place() {
    let mut world = a_world_in_order();
    let file = world.file("key", crate::sandbox::API_KEY);
    world.set("firstpromoter.api_key_file", &file.display().to_string());
    mode(&world, "key", 0o644);
    mode(&world, "makegood.toml", 0o644);
    let ran = check(&world).exits(3);
    comes_to(&ran, "secret firstpromoter.api_key", "warning", &["/key, which everybody", "chmod o-rwx"]);
    comes_to(&ran, "secret targets.app.bearer", "warning", &["makegood.toml line", "everybody", "_file"]);
    mode(&world, "key", 0o640);
    mode(&world, "makegood.toml", 0o640);
    all_is_well_but(&check(&world), &[]);
}

#[test]
fn secrets_are_found_in_the_environment_and_among_the_credentials() {
    let mut world = given([]);
    world.set("firstpromoter.api_key", crate::sandbox::API_KEY);
    let folder = world.path("credentials");
    fs::create_dir(&folder).unwrap();
    world.env("CREDENTIALS_DIRECTORY", &folder.display().to_string());
    world.toml("[targets.other]\ntype = \"http\"\nurl = \"http://127.0.0.1:9/\"\n[[routes]]\ntarget = \"app\"\n");
    let credential = world.file("credentials/target_other_bearer", "token");
    fs::set_permissions(credential, fs::Permissions::from_mode(0o400)).unwrap();
    let ran = check(&world);
    comes_to(&ran, "secret firstpromoter.api_key", "ok", &["environment variable MAKEGOOD_FIRSTPROMOTER__API_KEY"]);
    comes_to(&ran, "secret targets.other.bearer", "ok", &["credential ", "target_other_bearer"]);
    comes_to(&ran, "secret targets.other.secret", "ok", &["none is given"]);
    assert!(!ran.stdout.contains("no secret of this configuration"), "{ran}");
    world.file("credentials/target_othr_secret", "whsec_c2VjcmV0");
    comes_to(&check(&world), "credentials", "warning", &["target_othr_secret is no secret", "target_NAME_secret"]);
    std::os::unix::fs::symlink("target_other_bearer", folder.join("target_app_bearer")).unwrap();
    fs::write(folder.join(".swp"), "").unwrap();
    comes_to(&check(&world), "credentials", "warning", &["target_app_bearer is a link", "target_othr_secret is no"]);
    let ran = world.once();
    assert!(ran.stderr.contains("target_othr_secret") && !ran.stderr.contains(".swp"), "{ran}");
}

#[test]
fn probable_mistakes_in_the_configuration_are_warnings() {
    let mut world = a_world_in_order();
    world.toml("[[routes]]\ntarget = \"app\"\n[[routes]]\nunit = \"points\"\ntarget = \"app\"\n");
    let ran = check(&world).exits(3);
    comes_to(&ran, "configuration", "warning", &["routes"]);
}

#[test]
fn a_key_that_is_not_accepted_or_not_allowed_has_failed() {
    for (code, words) in [(401, "not accepted (401)"), (403, "forbids this to the API key (403)")] {
        let world = a_world_in_order();
        world.sandbox.firstpromoter.lock().faults.any = always(status(code));
        let requests = world.sandbox.firstpromoter.requests();
        let ran = check(&world).exits(1);
        comes_to(&ran, "FirstPromoter", "failed", &[words, "-> check"]);
        assert_eq!(world.sandbox.firstpromoter.requests() - requests, 1, "{ran}");
        all_is_well_but(&ran, &["FirstPromoter"]);
    }
}

#[test]
fn firstpromoter_down_silent_or_something_else_has_failed() {
    let mut world = a_world_in_order();
    world.sandbox.firstpromoter_goes_down();
    comes_to(&check(&world).exits(1), "FirstPromoter", "failed", &["no answer", "check the network"]);
    world.sandbox.everybody_comes_back();
    world.sandbox.firstpromoter.lock().faults.any = always(page(200, "Welcome"));
    comes_to(&check(&world).exits(1), "FirstPromoter", "failed", &["unreadable answer", "base_url"]);
    world.sandbox.firstpromoter.lock().faults.any = always(hang());
    world.set("firstpromoter.timeout", "300ms");
    comes_to(&check(&world).exits(1), "FirstPromoter", "failed", &["no answer"]);
}

#[test]
fn a_listing_that_is_wrapped_is_told_and_rows_without_what_is_needed_are_a_warning() {
    let world = a_world_in_order();
    world.sandbox.firstpromoter.lock().switches.wrapped = true;
    let ran = check(&world);
    comes_to(&ran, "listing", "ok", &["an object with `data`"]);
    all_is_well_but(&ran, &[]);
    world.sandbox.firstpromoter.add(commission(10).approved(LONG_AGO).odd("unit", Value::Null));
    comes_to(&check(&world).exits(3), "listing", "warning", &["1 without a unit"]);
}

#[test]
fn filters_that_are_ignored_are_found_by_asking_both_ways() {
    let with = |ignored: IgnoredFilters| {
        let world = a_world_in_order();
        world.sandbox.firstpromoter.add(commission(10));
        world.sandbox.firstpromoter.lock().switches.ignored_filters = ignored;
        check(&world)
    };
    let ran = with(IgnoredFilters { fulfilled: true, ..IgnoredFilters::default() }).exits(1);
    comes_to(&ran, "filter fulfilled", "failed", &["as fulfilled and as unfulfilled", "no pass delivers anything"]);
    all_is_well_but(&ran, &["filter fulfilled"]);
    let ran = with(IgnoredFilters { ids: true, ..IgnoredFilters::default() }).exits(1);
    comes_to(&ran, "filter ids", "failed", &["was not asked for"]);
    let ran = with(IgnoredFilters { status: true, ..IgnoredFilters::default() }).exits(3);
    comes_to(&ran, "filter status", "warning", &["commission 10 came, which is \"pending\""]);
    all_is_well_but(&ran, &["filter status"]);
}

#[test]
fn a_canary_shows_that_a_server_answers_yes_with_nothing() {
    let world = a_world_in_order();
    world.sandbox.firstpromoter.lock().switches.fulfilled_yes_is_nothing_no_is_everything = true;
    comes_to(&check(&world).exits(1), "filter fulfilled", "failed", &["fulfilled according to the ledger"]);
}

#[test]
fn unmarked_canaries_are_no_broken_filter_where_an_older_one_proves_it_to_a_pass() {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.once().exits(0);
    world.sandbox.firstpromoter.add_all((2..=4).map(|id| commission(id).approved(LONG_AGO)));
    world.once().exits(0);
    private(&world);
    (2..=4).for_each(|id| world.sandbox.firstpromoter.unfulfil(id));
    let ran = check(&world).exits(3);
    comes_to(&ran, "filter fulfilled", "warning", &["honoured, but commission", "makegood show"]);
    world.sandbox.firstpromoter.add(commission(5).approved(LONG_AGO));
    assert_eq!(world.once().exits(3).json["delivered"], 1, "a pass believes it, too");
}

#[test]
fn rewards_are_needed_for_recipient_auto_only() {
    let mut world = a_world_in_order();
    world.sandbox.firstpromoter.lock().faults.rewards = always(status(403));
    let ran = check(&world).exits(3);
    comes_to(&ran, "rewards", "warning", &["/rewards (403)", "set policy.recipient"]);
    all_is_well_but(&ran, &["rewards"]);
    let before = world.sandbox.firstpromoter.requests_to(Endpoint::Rewards);
    world.set("policy.recipient", "promoter");
    comes_to(&check(&world), "rewards", "ok", &["not needed: policy.recipient is promoter"]);
    assert_eq!(world.sandbox.firstpromoter.requests_to(Endpoint::Rewards), before);
}

#[test]
fn a_target_that_cannot_be_reached_has_failed() {
    let mut world = a_world_in_order();
    world.sandbox.merchant_goes_down();
    let ran = check(&world).exits(1);
    comes_to(&ran, "target app", "failed", &["refused", "start it"]);
    world.sandbox.everybody_comes_back();
    let program = world.file("grant", "#!/bin/sh\ntouch started\n");
    let script = format!(
        "[targets.script]\ntype = \"command\"\nargv = [{:?}]\n[[routes]]\ntarget = \"app\"\n",
        program.display().to_string()
    );
    world.toml(&script);
    let ran = check(&world);
    // root may execute anything, except a file that nobody may execute.
    comes_to(&ran.exits(1), "target script", "failed", &["may not be executed", "chmod +x"]);
    mode(&world, "grant", 0o755);
    let ran = check(&world);
    comes_to(&ran, "target script", "ok", &["was not started"]);
    assert!(!world.path("started").exists(), "{ran}");
}

#[test]
fn a_ledger_of_another_account_a_damaged_one_and_one_behind_its_mark_have_failed() {
    let mut world = a_world_in_order();
    world.set("firstpromoter.account_id", "999");
    comes_to(&check(&world).exits(1), "ledger", "failed", &["belongs to account 12345", "Give each account"]);
    world.unset("firstpromoter.account_id");
    let mark = fs::read_to_string(world.path("ledger.db.mark")).unwrap();
    world.file("ledger.db.mark", "makegood ledger mark: journal 0000000000000009999 at 2030-01-01T00:00:00.000Z\n");
    comes_to(&check(&world).exits(1), "ledger", "failed", &["behind its mark"]);
    world.file("ledger.db.mark", &mark);
    all_is_well_but(&check(&world), &[]);
    fs::rename(world.ledger_path(), world.path("elsewhere.db")).unwrap();
    comes_to(&check(&world).exits(1), "ledger", "failed", &["behind its mark", "makegood ledger accept"]);
    world.file("ledger.db", "not a database, and long enough to be looked at as one: ".repeat(100).as_str());
    let ran = check(&world).exits(1);
    comes_to(&ran, "ledger", "failed", &["damaged"]);
    comes_to(&ran, "FirstPromoter", "ok", &[]);
}

#[test]
fn a_ledger_that_everybody_may_read_is_a_warning() {
    let world = a_world_in_order();
    mode(&world, "ledger.db", 0o644);
    comes_to(&check(&world).exits(3), "ledger rights", "warning", &["everybody", "chmod 640"]);
}

#[test]
fn a_clock_that_disagrees_by_more_than_a_minute_is_a_warning() {
    let world = given([]);
    private(&world);
    let late = text(200, "[]").header("date", "Tue, 15 Nov 1994 08:12:31 GMT");
    world.sandbox.firstpromoter.lock().faults.any = always(late);
    let ran = check(&world).exits(3);
    comes_to(&ran, "clock", "warning", &["s behind", "timesyncd"]);
    all_is_well_but(&ran, &["clock"]);
}

#[test]
fn a_target_that_takes_rewards_from_anybody_is_a_warning() {
    let mut world = a_world_in_order();
    world.without_secrets().env("MAKEGOOD_FIRSTPROMOTER__API_KEY", crate::sandbox::API_KEY);
    private(&world);
    let ran = check(&world).exits(3);
    comes_to(&ran, "target app", "warning", &["neither a secret nor a bearer token", "targets.app.secret"]);
    world.set("targets.app.bearer", crate::sandbox::BEARER);
    comes_to(&check(&world), "target app", "ok", &["takes connections"]);
}

#[test]
fn a_check_without_the_network_asks_nobody_and_warns_without_failing() {
    let mut world = a_world_in_order();
    mode(&world, "makegood.toml", 0o644);
    let (requests, dump) = (world.sandbox.requests(), world.dump());
    let ran = world.run(&["check", "--offline", "--json"]).exits(0);
    assert!(results(&ran).iter().any(|(_, result)| result == "warning"), "everybody reads the file: {ran}");
    comes_to(&ran, "target app", "ok", &["no connection was made"]);
    comes_to(&ran, "ledger", "ok", &["sound"]);
    assert_eq!((world.sandbox.requests(), world.dump()), (requests, dump), "{ran}");
    world.set("policy.grace", "soon");
    world.run(&["check", "--offline", "--json"]).exits(2);
    world.unset("policy.grace").without_secrets();
    world.run(&["check", "--offline", "--json"]).exits(2);
}

/// systemd gives credentials to the main process at its start, and none to `ExecReload=`: Debian 12 names their folder and
/// closes it, Debian 13 does not name it. Every `systemctl reload` failed on both.
#[test]
fn a_reload_does_not_miss_the_credentials_that_only_the_service_has() {
    let mut world = a_world_in_order();
    world.without_secrets();
    let shut = world.path("makegood.toml").join("makegood.service");
    for credentials in ["", shut.to_str().unwrap()] {
        world.env("CREDENTIALS_DIRECTORY", credentials).env("MAINPID", "");
        world.run(&["check", "--offline"]).exits(2);
        world.env("MAINPID", "4711");
        // Whatever a unit starts inherits it. Only a check that asks nobody can do without the key.
        world.run(&["check", "--json"]).exits(2);
        let ran = world.run(&["check", "--offline", "--json"]).exits(0);
        comes_to(&ran, "secret firstpromoter.api_key", "ok", &["at its start"]);
        let words = world.run(&["check", "--offline"]).exits(0);
        assert_eq!(words.stdout.lines().count(), 1, "the journal is spared what is well: {words}");
    }
    world.set("policy.grace", "soon");
    let ran = world.run(&["check", "--offline"]).exits(2);
    assert!(ran.stdout.contains("policy.grace"), "{ran}");
}

/// systemd runs this first. If it fails, `systemctl reload` fails, and no signal is sent.
#[test]
fn the_units_reload_checks_the_configuration_before_the_signal() {
    for unit in ["makegood.service", "makegood@.service"] {
        let text = fs::read_to_string(format!("{}/systemd/{unit}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let setting = |key: &str| -> Vec<&str> {
            text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
        };
        let [check, signal] = setting("ExecReload")[..] else { panic!("{unit}: {text}") };
        assert_eq!(
            (signal, setting("Type"), setting("LimitCORE")),
            ("/bin/kill -HUP $MAINPID", vec!["notify"], vec!["0"])
        );
        let start = setting("ExecStart")[0].replace(" run ", " check --offline ");
        assert_eq!(check, start, "{unit}: the same configuration as the service's");
    }
}

#[test]
fn passes_that_do_not_complete_are_late_and_said_to_be() {
    let world = a_world_in_order();
    let ran = world.status().exits(0);
    assert_eq!((&ran.json["late"], ran.json["last_completed_at"].is_string()), (&Value::from(false), true), "{ran}");
    world.forge("UPDATE passes SET started = '2026-01-02T03:04:05.000Z', finished = '2026-01-02T03:04:06.000Z'");
    world.forge(
        "INSERT INTO passes (trigger, kind, started, finished, error) \
         VALUES ('schedule', 'poll', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), 'down')",
    );
    let ran = world.status().exits(3);
    assert_eq!(ran.json["late"], true, "{ran}");
    assert_eq!(ran.json["last_completed_at"], "2026-01-02T03:04:06.000Z", "{ran}");
    let words = world.run(&["status"]).exits(3);
    assert!(words.stdout.contains("Late: no pass has completed since 2026-01-02T03:04:06Z ("), "{words}");
    assert!(words.stdout.contains("days ago"), "{words}");
    comes_to(&check(&world), "passes", "warning", &["no pass has completed since", "journalctl -u makegood"]);
    world.once();
    assert_eq!(world.status().exits(0).json["late"], false);
}

#[test]
fn a_target_that_is_paused_is_a_warning_that_says_until_when() {
    let world = a_world_in_order();
    let health = |retry_at: &str| {
        world.forge(&format!(
            "INSERT OR REPLACE INTO target_health (target, failures, refusals, retry_at, last_error) \
             VALUES ('app', 10, 0, {retry_at}, 'it answered 500')"
        ));
        world.query("SELECT retry_at FROM target_health")[0]["retry_at"].as_str().unwrap_or_default().to_owned()
    };
    health("NULL");
    all_is_well_but(&check(&world), &[]);
    let in_ten_minutes = health("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+10 minutes')");
    let ran = check(&world).exits(3);
    comes_to(
        &ran,
        "deliveries to app",
        "warning",
        &["10 failures in a row", "wait until", &in_ten_minutes[..19], "500"],
    );
    all_is_well_but(&ran, &["deliveries to app"]);
    let over = health("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-10 minutes')");
    let ran = check(&world).exits(3);
    comes_to(&ran, "deliveries to app", "warning", &["waited until", &over[..19], "the next pass tries a few"]);
    // Written by a clock that was ahead: nobody waits so long.
    health("'2099-01-01T00:00:00.000Z'");
    all_is_well_but(&check(&world), &[]);
}
