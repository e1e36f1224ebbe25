//! The output of every command, as text and as JSON, on one fixed world, compared with the manual's examples of JSON.
//!
//! After an intended change: `INSTA_UPDATE=always cargo test --test it operator_output`, then read the difference.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    sandbox::{always, commission, delayed, now, status, text},
    world::{LONG_AGO, World, given},
};

/// One reward of each kind that an operator meets, after one pass: fulfilled, waiting after a failed attempt, held with the
/// longest email, of an unknown unit with the longest name, in its grace period, refused.
fn fixed_world() -> World {
    let mut world = given([
        commission(88901).promoter(501, "pat@ellis.example", "Pat Ellis").approved(LONG_AGO),
        commission(88902).credits(50).reward(10, "50 credits for the friend").approved(LONG_AGO),
        commission(88903)
            .promoter(502, "a.promoter.with.the.longest.of.names@mail.some-company.example.com", "A")
            .suspected("same_ip_suspicion")
            .approved(LONG_AGO),
        commission(88904).unit("stars_of_the_spring_campaign", 12_345_678).approved(LONG_AGO),
        commission(88905).promoter(501, "pat@ellis.example", "Pat Ellis").points(250).approved_at(now()),
        commission(88906).promoter(501, "pat@ellis.example", "Pat Ellis").points(75).approved("2025-01-20T10:30:00Z"),
    ]);
    // In order, each step in a millisecond of its own. Otherwise lines would change places.
    world.set("targets.app.concurrency", "1").set("ledger.path", "ledger.db").env("SUDO_USER", "kim");
    let pause = Duration::from_millis(5);
    {
        let mut merchant = world.sandbox.merchant.lock();
        merchant.faults = always(delayed(pause));
        merchant.faults_of.insert(88902, always(text(503, "back at two o'clock").delayed(pause)));
        merchant.faults_of.insert(88906, always(status(422).delayed(pause)));
    }
    world
}

/// The output and the exit code. Paths are relative to the world's folder, so they are the same everywhere.
fn print(world: &World, args: &[&str]) -> String {
    let template = world.command(&[]);
    fs::set_permissions(world.path("makegood.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(template.get_program());
    command.env_clear().envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(world.path("")).args(["--config", "makegood.toml"]).args(args).stdin(Stdio::null());
    let out = command.output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(stderr, "", "{args:?}");
    format!("{}[exit {}]\n", String::from_utf8(out.stdout).unwrap(), out.status.code().unwrap_or(-1))
}

/// The free space depends on this machine.
fn without_disk_space(printed: &str) -> String {
    let summary = |line: &&str| line.contains(" checks: ") || line.starts_with("[exit");
    let lines: Vec<&str> = printed.lines().filter(|line| !line.contains("disk space: ") && !summary(line)).collect();
    lines.join("\n")
}

fn json_without_disk_space(printed: &str) -> String {
    let json = printed.rsplit_once("[exit").map_or("", |(json, _)| json);
    let mut document: Value = serde_json::from_str(json).unwrap();
    document["checks"].as_array_mut().unwrap().retain(|check| check["name"] != "disk space");
    format!("{document:#}\n")
}

/// Compares with the snapshot of this name. Times, ports and sizes are masked.
fn holds(name: &str, printed: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[port]");
    settings.add_filter(r"address=[0-9a-f]{32}", "address=[hash]");
    settings.add_filter(r"took \d+\.\d s", "took [seconds] s");
    settings.add_filter(r"just now|\d+ (min|h|days) ago", "[ago]");
    settings.add_filter(r"\d+ KiB", "[size] KiB");
    settings.add_filter(r#""bytes": \d+"#, r#""bytes": [size]"#);
    settings.bind(|| insta::assert_snapshot!(name, printed));
}

/// Lines are at most 80 columns wide, unless a single word is longer, and do not end with blanks.
fn is_tidy(printed: &str) {
    for line in printed.lines() {
        assert!(line.chars().count() <= 80 || !line.trim().contains(' '), "too wide: {line:?}\n{printed}");
        assert_eq!(line, line.trim_end(), "blanks at the end\n{printed}");
    }
}

/// The command as text, and as JSON.
fn both(world: &World, name: &str, args: &[&str]) {
    let printed = print(world, args);
    is_tidy(&printed);
    holds(name, &printed);
    as_json(world, name, args);
}

fn as_json(world: &World, name: &str, args: &[&str]) {
    holds(&format!("{name}_json"), &print(world, &[args, &["--json"]].concat()));
}

#[test]
fn every_command_prints_what_its_snapshot_says() {
    let world = fixed_world();
    both(&world, "plan", &["plan"]);
    let first = print(&world, &["once"]);
    is_tidy(&first);
    holds("once", &first);
    as_json(&world, "once", &["once"]);
    both(&world, "status", &["status"]);
    for (name, whom) in [
        ("show_fulfilled", "88901"),
        ("show_waiting", "88902"),
        ("show_held", "88903"),
        ("show_unknown_unit", "88904"),
        ("show_in_grace", "88905"),
        ("show_refused", "88906"),
        ("show_person", "PAT@ellis.example"),
    ] {
        let printed = print(&world, &["show", whom]);
        is_tidy(&printed);
        holds(name, &printed);
    }
    as_json(&world, "show_fulfilled", &["show", "88901"]);
    as_json(&world, "show_held", &["show", "88903"]);
    as_json(&world, "show_person", &["show", "PAT@ellis.example"]);
    let checks = print(&world, &["check"]);
    is_tidy(&checks);
    holds("check", &without_disk_space(&checks));
    holds("check_json", &json_without_disk_space(&print(&world, &["check", "--json"])));
    both(&world, "claim", &["claim", "90000"]);
    holds("record", &print(&world, &["record", "90000", "--receipt", "r-17"]));
    as_json(&world, "record", &["record", "90001", "--receipt", "r-18"]);
    as_json(&world, "resolve", &["resolve", "88904", "--dismiss", "--reason", "a refund"]);
    holds("resolve", &print(&world, &["resolve", "88906", "--dismiss", "--reason", "a refund"]));
    holds("reverse", &print(&world, &["reverse", "88901", "--reason", "a refund"]));
    as_json(&world, "reverse", &["reverse", "88901", "--reason", "a refund"]);
    holds("backup", &print(&world, &["ledger", "backup", "copy.db"]));
    as_json(&world, "backup", &["ledger", "backup", "another.db"]);
    both(&world, "accept", &["ledger", "accept"]);
    holds("show_dismissed", &print(&world, &["show", "88906"]));
    holds("show_reversed", &print(&world, &["show", "88901"]));
}

/// The JSON blocks of the manual, by the command line before each: `makegood status --json`.
fn examples() -> Vec<(Vec<String>, Value)> {
    let manual = include_str!("../../src/manual/operation.md");
    let mut found = Vec::new();
    let mut command = None;
    let mut lines = manual.lines();
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("`makegood ").and_then(|rest| rest.split_once('`'))
            && words.0.ends_with("--json")
        {
            command = Some(words.0.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        } else if line == "```json" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if let Some(command) = command.take() {
                let json = serde_json::from_str(&block.join("\n"));
                found.push((command.clone(), json.unwrap_or_else(|error| panic!("{command:?}: {error}"))));
            }
        }
    }
    found
}

/// The same keys at every level. A null says nothing about its keys; the keys of `states` depend on the world.
fn same_keys(place: &str, example: &Value, real: &Value) {
    match (example, real) {
        (Value::Object(example), Value::Object(real)) => {
            if place.ends_with(".states") {
                return;
            }
            let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(keys(example), keys(real), "the manual (left) and the program about {place}");
            for (key, value) in example {
                same_keys(&format!("{place}.{key}"), value, &real[key]);
            }
        }
        (Value::Array(example), Value::Array(real)) => {
            for one in example {
                for other in real {
                    same_keys(&format!("{place}[]"), one, other);
                }
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (example, real) => {
            let kinds = [example, real].map(|value| (value.is_string(), value.is_number(), value.is_boolean()));
            assert_eq!(kinds[0], kinds[1], "{place}: {example} in the manual, {real} in fact");
        }
    }
}

#[test]
fn the_json_that_the_manual_shows_has_the_keys_of_the_real_one() {
    let world = fixed_world();
    let examples = examples();
    let mut commands: Vec<&str> = examples.iter().map(|(words, _)| words[0].as_str()).collect();
    commands.dedup();
    let documented = ["once", "plan", "status", "show", "check", "claim", "record", "resolve", "reverse", "ledger"];
    assert_eq!(commands, documented, "each command that prints has its example");
    for (words, example) in examples {
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        assert!(args.contains(&"--json"), "{args:?}");
        let printed = print(&world, &args);
        let json = printed.rsplit_once("[exit").map_or("", |(json, _)| json);
        let real: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{args:?}: {error}: {printed}"));
        assert!(real.get("error").is_none_or(Value::is_null), "{args:?}: {printed}");
        same_keys(&args.join(" "), &example, &real);
    }
}
