//! No secret appears in output, log or ledger, at any verbosity, in any failure, and however it was given.

use std::process::Command;

use serde_json::json;

use crate::{
    sandbox::{
        API_KEY, BEARER, SIGNING_SECRET, Sandbox, always, commission, echo, echo_json, hang, next, once, page,
        redirect, status, text,
    },
    world::{LONG_AGO, PATIENCE, Ran, Running, World, given},
};

/// All forms of the secret that would still show it.
fn shapes(secret: &str) -> Vec<String> {
    let bare = secret.trim_start_matches("whsec_").to_owned();
    let encoded = url::form_urlencoded::byte_serialize(bare.as_bytes()).collect();
    vec![bare.trim_end_matches('=').to_owned(), bare, encoded]
}

#[track_caller]
fn nothing_shows(what: &str, text: &str, secrets: &[&str]) {
    for shape in secrets.iter().flat_map(|secret| shapes(secret)) {
        let at = text.find(&shape);
        assert!(at.is_none(), "{what} shows {shape} at {at:?}:\n{}", text.chars().take(5_000).collect::<String>());
    }
}

const ALL: [&str; 3] = [API_KEY, SIGNING_SECRET, BEARER];

/// Runs it at every verbosity, and searches everything that it leaves behind.
#[track_caller]
fn run(world: &mut World, args: &[&str], secrets: &[&str]) -> Ran {
    // While somebody reads, writes stay in the WAL as well.
    let reader = world.ledger_path().exists().then(|| world.ledger());
    let mut last = None;
    for (log, flags) in [("", vec!["-q"]), ("", vec!["-vv"]), ("trace", vec!["-vv", "--json"])] {
        world.env("RUST_LOG", log);
        let ran = world.run(&[args, &flags].concat());
        let what = format!("{args:?} {flags:?} RUST_LOG={log}");
        nothing_shows(&format!("{what}: stdout"), &ran.stdout, secrets);
        nothing_shows(&format!("{what}: stderr"), &ran.stderr, secrets);
        last = Some(ran);
    }
    for (name, content) in world.ledger_files() {
        nothing_shows(&format!("{args:?}: {name}"), &String::from_utf8_lossy(&content), secrets);
    }
    drop(reader);
    last.expect("it ran")
}

fn run_all(world: &mut World, secrets: &[&str]) {
    for args in [vec!["plan"], vec!["once"], vec!["plan"], vec!["status"], vec!["show", "1"], vec!["show", "9"]] {
        run(world, &args, secrets);
    }
}

fn given_two() -> World {
    let mut world = given([commission(1).approved(LONG_AGO), commission(2).approved(LONG_AGO).suspected("ad_source")]);
    world.without_backoff();
    world
}

#[test]
fn when_all_goes_well() {
    let mut world = given_two();
    run_all(&mut world, &ALL);
    assert_eq!(world.state_of(1), "fulfilled");
}

#[test]
fn the_log_at_its_loudest_does_say_something() {
    let mut world = given_two();
    world.env("RUST_LOG", "trace");
    let ran = world.run(&["once", "-vv"]).exits(3);
    assert!(ran.stderr.lines().count() > 10, "a silent log proves nothing: {ran}");
}

#[test]
fn when_the_service_runs() {
    let mut world = given_two();
    world.env("RUST_LOG", "trace").set("firstpromoter.api_key", API_KEY).set("targets.app.bearer", BEARER);
    let running = world.start(&["run", "-vv"]);
    let mark = |sandbox: &Sandbox| sandbox.firstpromoter.is_fulfilled(1);
    assert!(world.sandbox.wait_until(PATIENCE, mark));
    running.signal("TERM");
    let ran = running.wait().exits(0);
    nothing_shows("run", &format!("{ran}"), &ALL);
}

#[test]
fn when_firstpromoter_quotes_the_request_back() {
    for code in [200, 400, 401, 403, 404, 422, 429, 500] {
        for fault in [echo(code), echo_json(code)] {
            let fault = fault.retry_after(3600); // else it is asked again and again
            let mut world = given_two();
            world.sandbox.firstpromoter.lock().faults.any = always(fault);
            assert_eq!(run(&mut world, &["once"], &ALL).exit, 1);
            run(&mut world, &["plan"], &ALL);
            run(&mut world, &["status"], &ALL);
        }
    }
}

/// Escaped, in other case, or in an unexpected place: a reader could still recover the key.
#[test]
fn when_an_answer_holds_the_key_in_disguise() {
    let tail = &API_KEY[API_KEY.len() - 10..];
    let disguised = format!("\\u0066{}", &API_KEY[1..]);
    let slashed = format!("{{\"message\":\"{disguised}\\/{disguised}\"}}");
    let row = |field: &str, value: String| {
        format!(r#"[{{"id":1,"status":"approved","unit":"points","amount":5,"reward":null,"{field}":{value}}}]"#)
    };
    let faults = [
        text(422, &slashed),
        text(503, &slashed).retry_after(3600),
        text(403, &slashed),
        text(200, &slashed),
        text(200, &row("amount", format!("\"{disguised}\""))),
        text(200, &row("amount", format!("[\"{disguised}\"]"))),
        text(200, &row("unit", format!("\"{disguised}\""))),
        text(200, &row("fraud_check", format!("[\"{disguised}\"]"))),
        text(200, &row("promoter", format!("{{\"id\":5,\"name\":\"{disguised}\",\"email\":\"{disguised}\"}}"))),
        text(200, "<html>").header("content-type", &format!("text/{API_KEY}")),
        text(200, &format!("<html>{}", "%66".to_owned() + &API_KEY[1..])),
        text(200, &format!("<html>{}{API_KEY}", "x".repeat(60))),
        redirect(302, &format!("https://{API_KEY}.example.com/")),
    ];
    for fault in faults {
        let mut world = given_two();
        world.sandbox.firstpromoter.lock().faults.listing = always(fault);
        for args in [vec!["plan"], vec!["once"], vec!["status"], vec!["check"]] {
            run(&mut world, &args, &[API_KEY, tail]);
        }
    }
    let disguised = format!("\\u{:04x}{}", u32::from(BEARER.as_bytes()[0]), &BEARER[1..]);
    for code in [200, 422, 503] {
        let mut world = given_two();
        let answer = format!("{{\"receipt\":\"{disguised}\",\"error\":\"{disguised}\"}}");
        world.sandbox.merchant.lock().faults = always(text(code, &answer));
        run_all(&mut world, &[BEARER, &BEARER[BEARER.len() - 8..]]);
    }
}

#[test]
fn when_firstpromoter_quotes_the_mark_the_batch_and_the_rewards_back() {
    for fault in [echo(422), echo_json(422), echo_json(200), echo(403)] {
        let mut world = given((1..=17).map(|id| commission(id).approved(LONG_AGO)));
        world.sandbox.firstpromoter.lock().faults.mark = always(fault.clone());
        world.sandbox.firstpromoter.lock().faults.rewards = once(fault);
        run_all(&mut world, &ALL);
    }
    let mut world = given((1..=16).map(|id| commission(id).approved(LONG_AGO)));
    world.sandbox.firstpromoter.lock().faults.batch = always(echo_json(404));
    run_all(&mut world, &ALL);
    assert_eq!(world.state_of(1), "delivered");
}

#[test]
fn when_the_target_quotes_the_request_back() {
    for code in [200, 302, 400, 401, 408, 429, 503] {
        for fault in [echo(code), echo_json(code)] {
            let mut world = given_two();
            world.sandbox.merchant.lock().faults = always(fault);
            run_all(&mut world, &ALL);
            assert!(!world.attempts(1).is_empty(), "it was tried");
        }
    }
}

#[test]
fn when_an_answer_is_a_redirect_a_page_or_never_comes() {
    let elsewhere = format!("http://127.0.0.1:1/{API_KEY}/{BEARER}");
    let faults =
        [redirect(302, &elsewhere), redirect(307, &elsewhere), page(200, API_KEY), page(200, "x"), status(401), hang()];
    for fault in faults {
        let mut world = given_two();
        world.set("firstpromoter.timeout", "50ms").set("targets.app.timeout", "50ms");
        world.sandbox.merchant.lock().faults = next(1, fault.clone());
        run(&mut world, &["once"], &ALL);
        world.sandbox.firstpromoter.lock().faults.any = always(fault);
        run(&mut world, &["once"], &ALL);
        run(&mut world, &["plan"], &ALL);
    }
}

#[test]
fn when_nobody_is_there() {
    let mut world = given_two();
    world.sandbox.merchant_goes_down();
    run(&mut world, &["once"], &ALL);
    assert_eq!(world.attempts(1)[0]["outcome"], "not_delivered");
    world.sandbox.firstpromoter_goes_down();
    assert_eq!(run(&mut world, &["status"], &ALL).exit, 3);
    let ran = world.run(&["once", "-vv"]).exits(1);
    nothing_shows("once, unreachable", &format!("{ran}"), &ALL);
}

#[test]
fn when_it_is_given_in_the_environment_in_files_or_as_credentials() {
    let (key, secret, bearer) =
        ("another-key-7741", "whsec_YW5vdGhlci1zaWduaW5nLXNlY3JldC1vZi0zMi1ieXQ=", "another-token-5512");
    let all = [key, secret, bearer, API_KEY, SIGNING_SECRET, BEARER];
    let accept = |world: &World| {
        world.sandbox.firstpromoter.lock().api_key = key.to_owned();
        let mut merchant = world.sandbox.merchant.lock();
        (merchant.secret, merchant.bearer) = (Some(secret.to_owned()), Some(bearer.to_owned()));
    };

    let mut world = given_two();
    accept(&world);
    world.set("firstpromoter.api_key", key).set("targets.app.secret", secret).set("targets.app.bearer", bearer);
    run_all(&mut world, &all);
    assert_eq!(world.state_of(1), "fulfilled", "in the environment");

    let mut world = given_two();
    accept(&world);
    for (name, value) in
        [("firstpromoter.api_key", key), ("targets.app.secret", secret), ("targets.app.bearer", bearer)]
    {
        let path = world.file(name, &format!("{value}\n"));
        world.set(&format!("{name}_file"), path.to_str().unwrap());
    }
    run_all(&mut world, &all);
    assert_eq!(world.state_of(1), "fulfilled", "in files");

    let mut world = given_two();
    accept(&world);
    world.without_secrets();
    std::fs::create_dir(world.path("credentials")).unwrap();
    for (name, value) in [("firstpromoter_api_key", key), ("target_app_secret", secret), ("target_app_bearer", bearer)]
    {
        world.file(&format!("credentials/{name}"), value);
    }
    let folder = world.path("credentials");
    world.env("CREDENTIALS_DIRECTORY", folder.to_str().unwrap());
    run_all(&mut world, &all);
    assert_eq!(world.state_of(1), "fulfilled", "as credentials");
}

#[test]
fn when_a_command_target_prints_its_whole_environment_and_quotes_what_it_was_given() {
    for end in [0, 1, 75] {
        let mut world = given_two();
        let script = world.program("env", &format!("#!/bin/sh\nenv | tr '\\n' ' '\nenv >&2\nexit {end}\n"));
        world.toml(&format!(
            "[targets.script]\ntype = \"command\"\nargv = [\"{}\"]\n[[routes]]\ntarget = \"script\"\n",
            script.display()
        ));
        world.set("firstpromoter.api_key", API_KEY).set("targets.app.bearer", BEARER);
        world.set("targets.app.secret", SIGNING_SECRET);
        run_all(&mut world, &ALL);
        assert_eq!(world.attempts(1)[0]["target"], "script");
    }
}

#[test]
fn when_the_configuration_is_wrong() {
    let key = "misplaced-key-90210";
    for line in [
        format!("[firstpromoter]\napi_key = {key}"),
        format!("[firstpromoter]\napi_key = \"{key}"),
        format!("[firstpromoter]\napi_key = [\"{key}\"]"),
        format!("[firstpromoter]\napi_key = {{ \"{key}\" = 1 }}"),
        format!("[firstpromoter]\napi_kye = \"{key}\""),
        format!("[firstpromoter]\napi_key = \"Bearer {key}\""),
        format!("[firstpromoter]\napi_key = \"{key} \\u0007\""),
        format!("[firstpromoter]\napi_key_file = \"{key}\""),
        format!("[firstpromoter]\ntimeout = \"{key}\""),
        format!("[firstpromoter]\nbase_url = \"https://user:{key}@example.com\""),
        format!("[firstpromoter]\nbase_url = \"https://example.com/?{key}\""),
        format!("[targets.app]\nsecret = \"whsec_{key}\""),
        format!("[targets.app]\nbearer = \"{key} x\""),
        format!("[targets.app]\ntype = \"{key}\""),
        format!("[targets.app]\nurl = \"{key}\""),
        format!("api_key = \"{key}\""),
        key.to_owned(),
    ] {
        let world = given_two();
        let config = world.file("wrong.toml", &line);
        for args in [["once"], ["plan"], ["status"], ["run"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_makegood"));
            command
                .env_clear()
                .env("RUST_LOG", "trace")
                .arg("--config")
                .arg(&config)
                .args(["-vv", "--json"])
                .args(args);
            let ran = Running::start(command).wait().exits(2);
            nothing_shows(&format!("{line:?} {args:?}"), &format!("{ran}"), &[key]);
        }
    }
    let mut world = given_two();
    for (name, value) in [
        ("firstpromoter.api_key", "misplaced key 90210"),
        ("firstpromoter.api_kye", "misplaced-key-90210"),
        ("targets.app.secret", "whsec_misplaced-key-90210"),
        ("policy.grace", "misplaced-key-90210"),
    ] {
        world.set(name, value);
        let ran = world.run(&["once", "-vv", "--json"]).exits(2);
        nothing_shows(name, &format!("{ran}"), &["misplaced-key-90210", "misplaced key 90210"]);
        world.unset(name);
    }
}

#[test]
fn a_delivery_holds_no_secret() {
    let mut world = given_two();
    run(&mut world, &["once"], &ALL);
    let body = json!(world.sandbox.merchant.bodies()).to_string();
    nothing_shows("the body", &body, &ALL);
    let asked = world.sandbox.merchant.lock().received[0].clone();
    nothing_shows("the target's headers", &format!("{:?}", asked.headers), &[API_KEY, SIGNING_SECRET]);
    let log = world.sandbox.firstpromoter.lock().log.clone();
    nothing_shows("what FirstPromoter sees", &format!("{log:?}"), &[SIGNING_SECRET, BEARER]);
}
