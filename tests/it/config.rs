//! Mistakes that a person makes before anything runs, and the places of settings and secrets, as the real binary reports them.

use std::{path::PathBuf, process::Command};

use crate::{
    sandbox::{API_KEY, BEARER, SIGNING_SECRET},
    targets::owed,
    world::{Ran, Running, World, given},
};

/// The sandbox's configuration without its secrets.
fn without_secrets(world: &World) -> String {
    let toml = world.sandbox.config_toml(&world.ledger_path());
    let secret = |line: &&str| ["api_key", "secret", "bearer"].iter().any(|key| line.starts_with(key));
    let mut rest = toml.lines().filter(|line| !secret(line)).collect::<Vec<_>>().join("\n");
    rest.push('\n');
    rest
}

/// The binary with this configuration file, in an environment of just these variables.
fn with_config(world: &World, toml: &str, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let config = world.file("own.toml", toml);
    bare(world, env, &[args, &["--config", &config.display().to_string()]].concat())
}

/// The binary as it is, in an environment of just these variables.
fn bare(world: &World, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_makegood"));
    command.env_clear().envs(env.iter().copied()).current_dir(world.path(".")).args(args);
    Running::start(command).wait()
}

/// Nothing was asked of anybody, and no ledger was made.
#[track_caller]
fn nothing_happened(world: &World) {
    assert_eq!(world.sandbox.requests(), 0);
    assert!(!world.ledger_path().exists(), "a ledger was made");
}

#[test]
fn a_missing_file_is_named_with_the_ways_to_name_another() {
    let world = given([owed(1)]);
    for args in [["once", "--json"], ["run", "-q"], ["plan", "--json"], ["status", "--json"]] {
        let ran = bare(&world, &[("MAKEGOOD_CONFIG", "/nowhere/makegood.toml")], &args).exits(2);
        let words = "there is no configuration file /nowhere/makegood.toml: create it, or name another with --config FILE or \
                     MAKEGOOD_CONFIG";
        assert!(ran.stderr.contains(words), "{ran}");
        if args[1] == "--json" {
            assert_eq!(ran.error(), words, "{ran}");
        }
    }
    nothing_happened(&world);
}

#[test]
fn every_mistake_is_reported_with_its_place_its_key_and_a_remedy() {
    let world = given([owed(1)]);
    let good = world.sandbox.config_toml(&world.ledger_path());
    let base_url = world.sandbox.base_url();
    let target = &good[good.find("[targets.app]").unwrap()..];
    for (toml, says) in [
        (
            format!("{good}[policy]\ngraec = \"1m\"\n"),
            ["own.toml line", "policy.graec", "did you mean `policy.grace`?"],
        ),
        (format!("{good}[polcy]\ngrace = \"1m\"\n"), ["own.toml line", "polcy", "did you mean `policy`?"]),
        (format!("{good}urll = \"x\"\n"), ["own.toml line", "targets.app.urll", "did you mean `targets.app.url`?"]),
        (format!("{good}[policy]\ngrace = 15\n"), ["own.toml line", "policy.grace", "\"90s\""]),
        (format!("{good}[policy]\ngrace = \"15\"\n"), ["own.toml line", "policy.grace", "\"90s\""]),
        (format!("{good}[policy]\nunits = \"points\"\n"), ["own.toml line", "policy.units", "list"]),
        (format!("{good}[policy]\nunits = [\"pionts\"]\n"), ["own.toml line", "policy.units[0]", "`points`"]),
        (
            format!("{good}[policy]\nhold_self_referral = \"maybe\"\n"),
            ["own.toml", "policy.hold_self_referral", "true"],
        ),
        (format!("{good}[schedule]\npoll = \"*/5 * * * *\"\n"), ["own.toml line", "schedule.poll", "without seconds"]),
        (format!("{good}[schedule]\npoll = \"0 0 0 31 2 *\"\n"), ["own.toml line", "schedule.poll", "never comes"]),
        (
            good.replace(&base_url, "http://api.example.com/v2"),
            ["own.toml line 4", "firstpromoter.base_url", "use https"],
        ),
        (
            good.replace(&world.sandbox.merchant_url(), "http://10.0.0.1/rewards"),
            ["own.toml line", "targets.app.url", "use https"],
        ),
        (good.replace(target, ""), ["own.toml", "targets", "there is no target"]),
        (format!("{good}[[routes]]\ntarget = \"ap\"\n"), ["own.toml line", "routes[0].target", "`app`"]),
        (
            format!("{good}[targets.other]\ntype = \"command\"\nargv = [\"/bin/true\"]\n"),
            ["own.toml", "routes", "several targets"],
        ),
        (good.replace("account_id = ", "acount = "), ["own.toml", "firstpromoter.account_id", "missing"]),
        (good.replace("[ledger]\n", "[ledger\n"), ["own.toml line 6", "not TOML", "key = value"]),
    ] {
        let ran = with_config(&world, &toml, &[], &["once", "--json"]).exits(2);
        for words in says {
            assert!(ran.error().contains(words), "{words:?} is not said: {ran}");
        }
        for secret in [API_KEY, BEARER, SIGNING_SECRET] {
            assert!(!format!("{ran}").contains(secret), "a secret is told: {ran}");
        }
    }
    nothing_happened(&world);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let world = given([]);
    let toml = format!("{}graec = 1\n[policy]\ngrace = 1\n", world.sandbox.config_toml(&world.ledger_path()));
    let ran = with_config(&world, &toml, &[("MAKEGOOD_SCHEDULE__POL", "x")], &["plan", "--json"]).exits(2);
    for key in ["targets.app.graec", "policy.grace", "MAKEGOOD_SCHEDULE__POL"] {
        assert!(ran.error().contains(key), "{key} is not told: {ran}");
    }
    assert!(ran.error().lines().count() >= 3, "a line each: {ran}");
}

#[test]
fn the_environment_wins_over_the_file_and_a_mistake_there_is_told_by_its_variable() {
    let mut world = given([owed(1)]);
    world.set("policy.max_amount.points", "499").once().exits(3);
    assert_eq!(world.hold_reason(1), "over_limit");
    world.toml("[policy]\nmax_amount = { points = 1 }\n").set("policy.max_amount.points", "500").once().exits(0);
    assert_eq!(world.state_of(1), "fulfilled");
    for (key, value, says) in [
        ("policy.graec", "1m", ["environment variable MAKEGOOD_POLICY__GRAEC", "did you mean MAKEGOOD_POLICY__GRACE?"]),
        ("firstpromoter.timeout", "soon", ["environment variable MAKEGOOD_FIRSTPROMOTER__TIMEOUT", "\"90s\""]),
    ] {
        let ran = world.set(key, value).once().exits(2);
        assert!(says.iter().all(|words| ran.error().contains(words)), "{ran}");
        world.unset(key);
    }
}

#[test]
fn the_configuration_is_found_by_the_variable_and_the_option_goes_before_it() {
    let world = given([owed(1)]);
    let good = world.file("good.toml", &world.sandbox.config_toml(&world.ledger_path())).display().to_string();
    let bad = world.file("bad.toml", "[nonsense]\n").display().to_string();
    bare(&world, &[("MAKEGOOD_CONFIG", &good)], &["once"]).exits(0);
    bare(&world, &[("MAKEGOOD_CONFIG", &bad)], &["once"]).exits(2);
    bare(&world, &[("MAKEGOOD_CONFIG", &bad)], &["--config", &good, "once"]).exits(0);
    bare(&world, &[("MAKEGOOD_CONFIG", &bad)], &["once", "--config", &good]).exits(0);
    bare(&world, &[], &["once"]).exits(2);
}

#[test]
fn secrets_come_from_files() {
    let world = given([owed(1)]);
    let file = |name, secret: &str| world.file(name, &format!("{secret}\n")).display().to_string();
    let toml = without_secrets(&world)
        .replace("[ledger]", &format!("api_key_file = \"{}\"\n[ledger]", file("key", API_KEY)))
        + &format!("secret_file = \"{}\"\nbearer_file = \"{}\"\n", file("s", SIGNING_SECRET), file("b", BEARER));
    with_config(&world, &toml, &[], &["once", "--json"]).exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.rejections().len()), ("fulfilled", 0));
}

#[test]
fn secrets_come_from_systemd_credentials_unless_they_are_given() {
    let world = given([owed(1)]);
    let credentials = world.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let put = |name: &str, secret: &str| std::fs::write(credentials.join(name), format!("{secret}\n")).unwrap();
    put("firstpromoter_api_key", API_KEY);
    put("target_app_secret", SIGNING_SECRET);
    put("target_app_bearer", BEARER);
    let folder = credentials.display().to_string();
    let (toml, env) = (without_secrets(&world), [("CREDENTIALS_DIRECTORY", folder.as_str())]);
    with_config(&world, &toml, &env, &["once", "--json"]).exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.rejections().len()), ("fulfilled", 0));

    // As systemd names the files of a folder: LoadCredential=makegood:/etc/makegood/credentials.
    for name in ["firstpromoter_api_key", "target_app_secret", "target_app_bearer"] {
        std::fs::rename(credentials.join(name), credentials.join(format!("makegood_{name}"))).unwrap();
    }
    world.sandbox.firstpromoter.add(owed(2));
    with_config(&world, &toml, &env, &["once", "--json"]).exits(0);
    assert_eq!((world.state_of(2).as_str(), world.sandbox.merchant.rejections().len()), ("fulfilled", 0));

    put("target_app_bearer", "the one that is handed over by its name goes before");
    let ran = with_config(&world, &toml, &env, &["once", "--json"]).exits(2);
    assert!(ran.error().contains("credentials/target_app_bearer: targets.app.bearer"), "{ran}");
    std::fs::remove_file(credentials.join("target_app_bearer")).unwrap();

    let wrong = [env[0], ("MAKEGOOD_FIRSTPROMOTER__API_KEY", "another-key")];
    let ran = with_config(&world, &toml, &wrong, &["once", "--json"]).exits(1);
    assert!(ran.error().contains("not accepted (401)"), "what is given goes before a credential: {ran}");
}

#[test]
fn credentials_that_cannot_be_looked_at_are_not_taken_for_none() {
    let world = given([owed(1)]);
    let no_folder = world.file("credentials", "");
    let env = [("CREDENTIALS_DIRECTORY", no_folder.to_str().unwrap()), ("MAKEGOOD_FIRSTPROMOTER__API_KEY", API_KEY)];
    let ran = with_config(&world, &without_secrets(&world), &env, &["once", "--json"]).exits(2);
    assert!(ran.error().contains("targets.app.secret") && ran.error().contains("cannot be read"), "{ran}");
    assert_eq!(world.sandbox.requests(), 0);
}

#[test]
fn an_unreadable_secret_is_reported_and_stops_nobody_from_reading_the_ledger() {
    let world = given([owed(1)]);
    world.once().exits(0);
    let requests = world.sandbox.requests();
    let bare_toml = without_secrets(&world);
    let unreadable = bare_toml.replace("[ledger]", "api_key_file = \"/nowhere/key\"\n[ledger]");
    for (toml, says) in [
        (&bare_toml, ["firstpromoter.api_key", "the systemd credential firstpromoter_api_key"]),
        (&unreadable, ["firstpromoter.api_key_file", "/nowhere/key cannot be read"]),
    ] {
        for args in [["once", "--json"], ["plan", "--json"]] {
            let ran = with_config(&world, toml, &[], &args).exits(2);
            assert!(says.iter().all(|words| ran.error().contains(words)), "{ran}");
        }
        let ran = with_config(&world, toml, &[], &["run"]).exits(2);
        assert!(says.iter().all(|words| ran.stderr.contains(words)), "{ran}");
        with_config(&world, toml, &[], &["status"]).exits(0);
        let ran = with_config(&world, toml, &[], &["show", "1", "--json"]).exits(0);
        assert_eq!(ran.json["reward"]["state"], "fulfilled", "{ran}");
    }
    assert_eq!(world.sandbox.requests(), requests, "without its secrets it asks nobody");
}

#[test]
fn an_invalid_secret_is_reported_without_being_shown() {
    let mut world = given([owed(1)]);
    for (key, value) in [
        ("firstpromoter.api_key", "two words"),
        ("firstpromoter.api_key", "Bearer abcdefgh"),
        ("targets.app.secret", "no-base64-at-all!"),
        ("targets.app.bearer", "line\nbreak"),
    ] {
        let ran = world.set(key, value).once().exits(2);
        assert!(ran.error().contains(key) && !format!("{ran}").contains(value), "{ran}");
        world.unset(key);
    }
    nothing_happened(&world);
}

#[test]
fn the_ledger_of_another_account_is_refused_by_every_command() {
    let mut world = given([owed(1)]);
    world.sandbox.firstpromoter.lock().account_id = "54321".to_owned();
    world.set("firstpromoter.account_id", "54321").once().exits(0);
    let (dump, passes, requests) = (world.dump(), world.passes(), world.sandbox.requests());
    world.set("firstpromoter.account_id", "12345");
    for args in
        [["once", "--json", "-q"], ["plan", "--json", "-q"], ["status", "--json", "-q"], ["show", "1", "--json"]]
    {
        let ran = world.run(&args).exits(1);
        assert!(ran.error().contains("belongs to account 54321, and the configuration names account 12345"), "{ran}");
        assert!(ran.error().contains("Give each account a ledger of its own"), "{ran}");
    }
    let ran = world.run(&["run"]).exits(1);
    assert!(ran.stderr.contains("belongs to account 54321"), "{ran}");
    assert_eq!((world.dump(), world.passes(), world.sandbox.requests()), (dump, passes, requests));
}

#[test]
fn a_ledger_that_cannot_be_made_stops_everything_before_anybody_is_asked() {
    let mut world = given([owed(1)]);
    let folder = world.path("a-folder");
    std::fs::create_dir(&folder).unwrap();
    let in_the_way: [(PathBuf, [&str; 2]); 3] = [
        (world.path("unmounted/ledger.db"), ["does not exist", "mount it; otherwise create the folder"]),
        // Nobody can make a file there, not even root.
        (PathBuf::from("/proc/makegood.db"), ["cannot create /proc/makegood.db", "this user may write there"]),
        (folder, ["cannot open", "it is a folder"]),
    ];
    for (path, says) in in_the_way {
        world.set("ledger.path", &path.display().to_string());
        let ran = world.once().exits(1);
        assert!(says.iter().all(|words| ran.error().contains(words)), "{ran}");
        let ran = world.run(&["run"]).exits(1);
        assert!(says.iter().all(|words| ran.stderr.contains(words)), "{ran}");
    }
    nothing_happened(&world);
    assert!(!world.path("unmounted").exists(), "the folder of an unmounted disk is not made");
}

#[test]
fn a_file_that_is_no_ledger_is_left_alone() {
    let world = given([owed(1)]);
    for (content, says) in [
        (b"my diary, which is no database of any kind".to_vec(), "is damaged, or not an SQLite file"),
        (foreign_database(&world), "is an SQLite database, but not a makegood ledger"),
    ] {
        std::fs::write(world.ledger_path(), &content).unwrap();
        for args in [["once", "--json"], ["plan", "--json"], ["status", "--json"]] {
            let ran = world.run(&args).exits(1);
            assert!(ran.error().contains(says), "{ran}");
        }
        assert_eq!(std::fs::read(world.ledger_path()).unwrap(), content, "somebody else's file was written");
    }
    assert_eq!(world.sandbox.requests(), 0);
}

fn foreign_database(world: &World) -> Vec<u8> {
    let path = world.path("foreign.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes (note TEXT)").unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn before_the_first_pass_status_and_show_say_that_there_is_no_ledger() {
    let world = given([owed(1)]);
    for args in [["status", "--json"].as_slice(), &["show", "1", "--json"]] {
        let ran = world.run(args).exits(1);
        assert!(ran.error().contains("no pass has run yet") && ran.error().contains("`makegood once`"), "{ran}");
    }
    nothing_happened(&world);
}

#[test]
fn wrong_usage_exits_2_and_help_and_version_exit_0() {
    let world = given([]);
    for args in [
        ["deliver"].as_slice(),
        &[],
        &["show"],
        &["show", "eighty"],
        &["show", "0"],
        &["once", "--commission", "-7"],
        &["once", "--max-deliveries", "many"],
        &["once", "--comission", "7"],
        &["status", "-v", "-q"],
        &["plan", "--config"],
    ] {
        let ran = bare(&world, &[], args).exits(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran}");
    }
    let help = bare(&world, &[], &["--help"]).exits(0).stdout;
    for word in ["run", "once", "plan", "status", "show", "--config", "--json", "Exit codes"] {
        assert!(help.contains(word), "{word} is not in {help}");
    }
    assert!(bare(&world, &[], &["once", "--help"]).exits(0).stdout.contains("--max-deliveries"));
    let version = bare(&world, &[], &["--version"]).exits(0).stdout;
    assert_eq!(version, format!("makegood {}\n", env!("CARGO_PKG_VERSION")));
}
