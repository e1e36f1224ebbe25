//! The `command` target as a real process: what its exit means, what it gets, and what it does not get.

use std::os::unix::{fs::PermissionsExt, process::CommandExt};

use serde_json::{Value, json};

use crate::{
    harm::{Harm, harmed},
    sandbox::{API_KEY, BEARER, SIGNING_SECRET, Timestamp, commission, instant},
    service::eventually,
    targets::{owed, the_time_has_come},
    world::{LONG_AGO, Ran, Running, World, given},
};

/// A world whose rewards go to this shell script. makegood starts no shell itself: `sh` is the program, and reads a file.
fn with_script(mut world: World, settings: &str, script: &str) -> World {
    let path = world.file("grant.sh", script);
    let argv = json!(["/bin/sh", path, "an argument with blanks; $HOME"]);
    with_argv(&mut world, settings, &argv);
    world
}

fn with_argv(world: &mut World, settings: &str, argv: &Value) {
    let toml =
        format!("[targets.script]\ntype = \"command\"\nargv = {argv}\n{settings}\n[[routes]]\ntarget = \"script\"\n");
    world.toml(&toml);
}

fn at(time: &Value) -> Timestamp {
    instant(time.as_str().unwrap_or_else(|| panic!("{time} is no time")))
}

/// Ends in every possible way, by commission. Each call leaves a line in `calls`.
const EVERY_END: &str = r#"
echo "$MAKEGOOD_KEY" >> calls
case $MAKEGOOD_COMMISSION_ID in
    1) printf 'r-1\nmore\n' ;;
    2) exit 0 ;;
    3) echo 'the wallet is closed' >&2; exit 75 ;;
    4) echo 'no such customer' >&2; exit 1 ;;
    5) echo 'only stdout'; exit 74 ;;
    6) kill -KILL $$ ;;
    7) sleep 60 & sleep 60 ;;
    8) exec <&-; echo r-8 ;;
    9) sh -c 'kill -TERM $$'; exit $? ;;
esac
"#;

/// Only the seventh meets the short timeout, so no other one depends on the machine's speed.
fn every_end(idempotent: bool) -> (World, Ran) {
    let ids = (1..=9).map(|id| if id == 7 { owed(id).credits(5) } else { owed(id) });
    let mut world = given(ids);
    let argv = json!(["/bin/sh", world.file("grant.sh", EVERY_END)]);
    let toml = format!(
        "[targets.script]\ntype = \"command\"\nargv = {argv}\nidempotent = {idempotent}\n\
         [targets.slow]\ntype = \"command\"\nargv = {argv}\nidempotent = {idempotent}\ntimeout = \"1s\"\n\
         [[routes]]\nunit = \"credits\"\ntarget = \"slow\"\n[[routes]]\ntarget = \"script\"\n"
    );
    world.toml(&toml);
    let ran = world.once().exits(3);
    assert_eq!((ran.error(), world.sandbox.merchant.requests()), ("", 0), "{ran}");
    (world, ran)
}

#[test]
fn every_end_has_its_meaning() {
    for idempotent in [false, true] {
        let (world, ran) = every_end(idempotent);
        let unknown = if idempotent { ("waiting", "none") } else { ("held", "outcome_unknown") };
        for (id, (state, reason), outcome, said) in [
            (1, ("fulfilled", "none"), "delivered", "r-1"),
            (2, ("fulfilled", "none"), "delivered", ""),
            (3, ("waiting", "none"), "not_delivered", "asks to be called again (exit 75): the wallet is closed"),
            (4, ("held", "refused_by_target"), "refused", "exited with 1: no such customer"),
            (5, ("held", "refused_by_target"), "refused", "exited with 74: only stdout"),
            (6, unknown, "unknown", "was killed by signal 9: it said nothing"),
            (7, unknown, "unknown", "ran past its timeout of 1s and was killed"),
            (8, ("fulfilled", "none"), "delivered", "r-8"),
            (9, unknown, "unknown", "exited with 143: Terminated"),
        ] {
            assert_eq!((world.state_of(id).as_str(), world.hold_reason(id).as_str()), (state, reason), "{id}: {ran}");
            let (reward, attempt) = (world.reward(id), world.attempts(id).remove(0));
            assert_eq!(
                (&attempt["outcome"], &attempt["target"]),
                (&json!(outcome), &json!(if id == 7 { "slow" } else { "script" })),
                "{id}: {attempt}"
            );
            if outcome == "delivered" {
                assert_eq!(reward["receipt"].as_str().unwrap_or_default(), said, "{id}: {reward}");
            } else {
                let words = reward["last_error"].as_str().unwrap();
                assert!(words.starts_with("/bin/sh ") && words.contains(said), "{id}: {words}");
            }
            if state == "waiting" {
                let wait = at(&reward["next_attempt_at"]) - at(&attempt["finished_at"]);
                assert_eq!(wait.num_milliseconds(), 60_000, "{id}: {reward}");
            }
        }
        the_time_has_come(&world);
        world.file("grant.sh", "echo \"$MAKEGOOD_KEY\" >> calls; echo later");
        let ran = world.once().exits(3);
        assert_eq!((&world.reward(3)["receipt"], world.state_of(3).as_str()), (&json!("later"), "fulfilled"), "{ran}");
        let calls = std::fs::read_to_string(world.path("calls")).unwrap();
        let called = |id| calls.lines().filter(|line| *line == world.sandbox.key(id)).count();
        let again = if idempotent { 2 } else { 1 };
        assert_eq!((1..=9).map(called).collect::<Vec<_>>(), [1, 1, 2, 1, 1, again, again, 1, again]);
        world.then_nothing_more_happens().exits(3);
    }
}

#[test]
fn a_program_that_is_not_there_is_certainly_not_delivered_to() {
    let mut world = given([owed(1)]);
    with_argv(&mut world, "", &json!(["/nowhere/grant-reward"]));
    let ran = world.once().exits(0);
    let reward = world.reward(1);
    assert_eq!((&reward["state"], &reward["uncertain"]), (&json!("waiting"), &json!(0)), "{ran}");
    let words = reward["last_error"].as_str().unwrap();
    assert!(words.contains("/nowhere/grant-reward cannot be started: No such file"), "{words}");
    let there = world.file("grant.sh", "echo r-1");
    with_argv(&mut world, "", &json!(["/bin/sh", there]));
    the_time_has_come(&world);
    world.once().exits(0);
    assert_eq!((&world.reward(1)["receipt"], world.attempts(1).len()), (&json!("r-1"), 2));
}

#[test]
fn a_command_gets_the_documented_body_and_environment_and_none_of_our_secrets() {
    let script = "env > seen.env; cat > seen.json; printf '%s' \"$1\" > seen.arg";
    let settings = "env = { REGION = \"eu\" }\npass_env = [\"GREETING\", \"UNSET\"]";
    let mut world = with_script(given([commission(88901).approved(LONG_AGO)]), settings, script);
    world.set("firstpromoter.api_key", API_KEY).set("targets.app.bearer", BEARER).set("policy.grace", "1m");
    world.env("makegood_targets__app__secret", SIGNING_SECRET).env("NOTIFY_SOCKET", "/run/nobody/notify");
    world.env("WATCHDOG_USEC", "1000000").env("GREETING", "hello").env("LANG", "C.UTF-8").env("TZ", "UTC");
    world.env("CREDENTIALS_DIRECTORY", "/run/credentials/makegood").env("DATABASE_URL", "postgres://kim:secret@db/");
    world.once().exits(0);

    let body = std::fs::read_to_string(world.path("seen.json")).unwrap();
    assert!(body.ends_with("}\n") && body.lines().count() == 1, "one line: {body:?}");
    let expected = json!({
        "type": "reward.deliver",
        "key": "fp-12345-88901",
        "commission_id": 88901,
        "unit": "points",
        "amount": 500,
        "recipient": { "kind": "promoter", "id": 12345, "email": "p@example.com", "name": "Pat", "uid": null },
        "promoter":  { "id": 12345, "email": "p@example.com", "name": "Pat" },
        "referral":  { "id": 55678, "email": "user@example.com", "uid": "user_ext_id" },
        "campaign":  { "id": 17, "name": "Spring" },
        "reward":    { "id": 9, "name": "500 points per sale" },
        "approved_at": "2025-01-19T10:30:00Z",
        "created_at": "2025-01-18T09:00:00Z"
    });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);

    let seen = std::fs::read_to_string(world.path("seen.env")).unwrap();
    let mut ours: Vec<_> = seen.lines().filter(|line| line.to_uppercase().starts_with("MAKEGOOD_")).collect();
    ours.sort_unstable();
    assert_eq!(
        ours,
        [
            "MAKEGOOD_AMOUNT=500",
            "MAKEGOOD_COMMISSION_ID=88901",
            "MAKEGOOD_KEY=fp-12345-88901",
            "MAKEGOOD_RECIPIENT_EMAIL=p@example.com",
            "MAKEGOOD_RECIPIENT_KIND=promoter",
            "MAKEGOOD_RECIPIENT_UID=",
            "MAKEGOOD_UNIT=points",
        ]
    );
    // The shell itself sets `PWD` and the like.
    let shells = ["PWD", "OLDPWD", "SHLVL", "_"];
    let mut others: Vec<_> = seen.lines().filter(|line| !line.starts_with("MAKEGOOD_")).collect();
    others.retain(|line| !shells.contains(&line.split('=').next().unwrap()));
    others.sort_unstable();
    let home = format!("HOME={}", world.path("").display());
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    assert_eq!(others, ["GREETING=hello", home.trim_end_matches('/'), "LANG=C.UTF-8", &path, "REGION=eu", "TZ=UTC"]);
    for kept in [API_KEY, BEARER, SIGNING_SECRET] {
        assert!(!seen.contains(kept), "{kept} must not reach a command: {seen}");
    }
    assert_eq!(std::fs::read_to_string(world.path("seen.arg")).unwrap(), "an argument with blanks; $HOME");
}

#[test]
fn a_command_is_called_one_at_a_time() {
    // `mkdir` is the lock: a second one at the same time fails.
    let script = "mkdir busy || exit 1; sleep 0.2; rmdir busy";
    let world = with_script(given((1..=4).map(owed)), "", script);
    let ran = world.once().exits(0);
    assert_eq!(ran.count("fulfilled"), 4, "{ran}");
}

#[test]
fn a_command_that_writes_more_than_any_pipe_holds_is_still_heard() {
    let world = with_script(given([owed(1)]), "", "echo r-1; yes | head -c 1000000; yes | head -c 1000000 >&2");
    let ran = world.once().exits(0);
    assert_eq!((&world.reward(1)["receipt"], world.state_of(1).as_str()), (&json!("r-1"), "fulfilled"), "{ran}");
}

#[test]
fn a_command_that_cannot_be_watched_is_not_run_twice() {
    let world = with_script(given([owed(1)]), "", "echo \"$MAKEGOOD_KEY\" >> calls; echo r-1");
    let (ran, _) = harmed(&world, Harm::NoEpoll, &["once", "--json"]);
    let calls = || std::fs::read_to_string(world.path("calls")).unwrap_or_default().lines().count();
    let attempt = world.attempts(1).remove(0);
    assert!(calls() == 0 || attempt["outcome"] == "unknown", "it ran: {attempt} {ran}");
    assert!(attempt["detail"].as_str().unwrap().contains("No space left on device"), "{attempt}");
    the_time_has_come(&world);
    let ran = world.once();
    assert!(calls() <= 1, "{} calls: {ran}", calls());
    world.then_nothing_more_happens();
}

#[test]
fn processes_in_a_commands_group_are_killed_with_it() {
    let script = "(sleep 600; echo late > late) & echo $! > left; echo r-1";
    let world = with_script(given([owed(1)]), "", script);
    let ran = world.once().exits(0);
    assert_eq!(world.reward(1)["receipt"], "r-1", "{ran}");
    let left = std::fs::read_to_string(world.path("left")).unwrap();
    // Dead, even if the process that adopts orphans here has not reaped it yet.
    let status = || std::fs::read_to_string(format!("/proc/{}/status", left.trim())).unwrap_or_default();
    eventually("what was left behind is dead", || status().is_empty() || status().contains("State:\tZ"));
}

/// Any process of the same user may read another one's memory, unless that one forbids it.
#[test]
fn a_command_cannot_read_the_secrets_in_makegoods_environment_from_the_system() {
    let mut world = with_script(given([owed(1)]), "", "cat /proc/$PPID/environ > seen.parent 2>&1; echo r-1");
    world.set("firstpromoter.api_key", API_KEY);
    std::fs::set_permissions(world.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut once = world.command(&["once", "--json"]);
    if rustix::process::getuid().is_root() {
        // root may read everything. Another user, who has no name here, may not.
        once.uid(61_234).gid(61_234);
    }
    let ran = Running::start(once).wait().exits(0);
    let seen = std::fs::read_to_string(world.path("seen.parent")).unwrap();
    assert!(seen.contains("Permission denied") && !seen.contains(API_KEY), "{seen} {ran}");
}
