//! A target in trouble: it is not hammered, it holds up nobody else, and what waited for it is delivered when it is well.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::{
    audit::{EFFECTS, at_rest, effects},
    harm::once_later,
    sandbox::{always, commission, never, status, text},
    world::{LONG_AGO, World, given},
};

const MANY: i64 = 30;
const CONCURRENCY: usize = 4;
/// Failures in a row after which a target is left alone.
const TOLERATED: usize = 10;
/// So many go, one at a time, when the wait is over.
const PROBES: usize = 10;

/// Thirty rewards for the endpoint, which answers 503, and three for a program, which is well.
fn a_failing_endpoint() -> World {
    let for_the_endpoint = (1..=MANY).map(|id| commission(id).approved(LONG_AGO));
    let for_the_program = (101..=103).map(|id| commission(id).credits(50).reward(10, "50 credits").approved(LONG_AGO));
    let mut world = given(for_the_endpoint.chain(for_the_program));
    let script = world.file("grant.sh", include_str!("../fixtures/grant.sh"));
    world.toml(&format!(
        "[targets.script]\ntype = \"command\"\nargv = [\"sh\", '{}']\n\
         [[routes]]\nunit = \"credits\"\ntarget = \"script\"\n[[routes]]\ntarget = \"app\"\n",
        script.display()
    ));
    let mut merchant = world.sandbox.merchant.lock();
    merchant.secret = None; // whose timestamps it compares with its own clock
    merchant.faults = always(status(503));
    drop(merchant);
    world
}

fn health(world: &World) -> Vec<Value> {
    world.query("SELECT target, failures, retry_at IS NOT NULL AS waits FROM target_health")
}

fn states(world: &World) -> BTreeMap<String, i64> {
    let rows = world.query("SELECT state, count(*) AS n FROM rewards GROUP BY state");
    rows.iter().map(|row| (row["state"].as_str().unwrap().to_owned(), row["n"].as_i64().unwrap())).collect()
}

#[test]
fn a_failing_target_is_paused_after_ten_failures_and_delays_no_other() {
    let world = a_failing_endpoint();
    let ran = world.once().exits(0);
    let attempts = world.sandbox.merchant.requests();
    assert!((TOLERATED..=TOLERATED + CONCURRENCY).contains(&attempts), "{attempts} attempts: {ran}");
    assert_eq!(effects(&world), [(101, 1), (102, 1), (103, 1)].into(), "the other target is well");
    assert_eq!(states(&world), [("fulfilled".to_owned(), 3), ("waiting".to_owned(), MANY)].into());

    // The wait is not over: nobody knocks, and once it is written until when, nothing is written.
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.requests(), attempts);
    world.then_nothing_more_happens().exits(0);
    let plan = world.plan().exits(0);
    let waits = plan.json["decisions"].as_array().unwrap().iter().filter(|line| line["decision"] == "wait").count();
    assert_eq!(waits, usize::try_from(MANY).unwrap(), "{plan}");
}

/// The reason is in the ledger: it is not told by comparing two times, one of which goes when the target is well.
#[test]
fn a_reward_that_waits_for_a_target_says_so_even_when_the_target_has_recovered() {
    let world = a_failing_endpoint();
    world.once().exits(0);
    world.once().exits(0);
    let rows = world
        .query("SELECT commission_id, wait_reason, wait_target FROM rewards WHERE state = 'waiting' AND attempts = 0");
    assert!(!rows.is_empty() && rows.iter().all(|row| row["wait_reason"] == "target" && row["wait_target"] == "app"));
    let id = rows[0]["commission_id"].to_string();
    let shown = || world.run(&["show", &id]).exits(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown().contains("failures in a row at app, so nothing goes there before"), "{}", shown());
    world.forge("DELETE FROM target_health");
    assert!(shown().contains("the last attempts at app failed, so nothing goes there before"), "{}", shown());
}

#[test]
fn when_the_pause_is_over_a_few_probes_go_and_a_target_that_still_fails_is_paused_for_longer() {
    let world = a_failing_endpoint();
    world.once().exits(0);
    let mut attempts = world.sandbox.merchant.requests();
    // The waits grow: a minute, four, a quarter of an hour at the most.
    let mut now = 0;
    for wait in [60, 240, 900, 900] {
        once_later(&world, now + wait - 20).exits(0);
        assert_eq!(world.sandbox.merchant.requests(), attempts, "{wait} s are not over");
        now += wait + 20;
        once_later(&world, now).exits(0);
        attempts += PROBES;
        assert_eq!(world.sandbox.merchant.requests(), attempts, "a few go after {wait} s");
    }
    assert_eq!(states(&world)["waiting"], MANY);

    world.sandbox.merchant.lock().faults = never();
    once_later(&world, now + 920).exits(0);
    // The few that failed themselves wait for longer than their target does.
    let well = effects(&world).len() - 3;
    assert!(well >= usize::try_from(MANY).unwrap() - TOLERATED - CONCURRENCY, "{well} of {MANY}");
    once_later(&world, now + 8 * 3600).exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), (1..=MANY).collect::<Vec<_>>(), "each once");
    assert_eq!(health(&world), Vec::<Value>::new(), "no trouble is left");
    let ids: Vec<i64> = (1..=MANY).chain(101..=103).collect();
    at_rest(&world, &ids).exits(0);
}

#[test]
fn a_target_that_recovers_takes_a_probe_and_then_the_others_in_the_same_pass() {
    let world = a_failing_endpoint();
    world.once().exits(0);
    let failed = world.query("SELECT commission_id FROM rewards WHERE failures > 0").len();
    world.sandbox.merchant.lock().faults = never();
    let attempts = world.sandbox.merchant.requests();
    once_later(&world, 80).exits(0);
    assert_eq!(world.sandbox.merchant.requests() - attempts, usize::try_from(MANY).unwrap(), "{failed} had failed");
    let ids: Vec<i64> = (1..=MANY).chain(101..=103).collect();
    at_rest(&world, &ids).exits(0);
}

/// Twenty-four rewards whose endpoint fails whatever happens, and six good ones behind them.
#[test]
fn rewards_that_always_fail_do_not_starve_those_behind_them() {
    let (bad, good) = (1..=24, 101..=106);
    let world = given(bad.clone().chain(good.clone()).map(|id| commission(id).approved(LONG_AGO)));
    {
        let mut merchant = world.sandbox.merchant.lock();
        merchant.secret = None; // whose timestamps it compares with its own clock
        merchant.faults_of = bad.map(|id| (id, always(status(500)))).collect();
    }
    world.once().exits(0);
    assert_eq!(effects(&world), BTreeMap::new(), "the bad ones came first, and closed the target");
    let mut now = 0;
    // The waits in between: a minute, four, a quarter of an hour.
    for wait in [80, 260, 920] {
        now += wait;
        once_later(&world, now).exits(0);
    }
    assert_eq!(effects(&world), good.clone().map(|id| (id, 1)).collect(), "{:?}", health(&world));
    // New ones that come while only bad ones are left go before them.
    world.sandbox.firstpromoter.add_all((107..=108).map(|id| commission(id).approved(LONG_AGO)));
    once_later(&world, now + 8 * 3600).exits(0);
    assert_eq!(effects(&world), (101..=108).map(|id| (id, 1)).collect(), "{:?}", health(&world));
}

/// Refusals in a row, of different rewards, after which a target is left alone.
const REFUSALS: usize = 5;

#[test]
fn a_target_that_refuses_everything_holds_a_few_rewards_and_pauses_the_others_until_it_is_repaired() {
    let world = a_failing_endpoint();
    world.sandbox.merchant.lock().faults = always(text(401, "bad signature"));
    world.once().exits(3);
    let refused = world.sandbox.merchant.requests();
    assert!((REFUSALS..REFUSALS + CONCURRENCY).contains(&refused), "{refused} were asked for");
    assert!(world.attention().values().all(|reason| reason == "refused_by_target"));
    assert_eq!((world.attention().len(), states(&world)["waiting"]), (refused, MANY - i64::try_from(refused).unwrap()));
    assert_eq!(effects(&world), [(101, 1), (102, 1), (103, 1)].into(), "the other target is well");

    let status = world.status().exits(3);
    let target = &status.json["targets"][0];
    assert_eq!((&target["target"], &target["failures"]), (&"app".into(), &0.into()), "{status}");
    assert!(target["refusals"].as_u64().unwrap() >= 5 && target["retry_at"].is_string(), "{status}");
    let words = world.run(&["status"]).stdout.replace('\n', " ");
    assert!(words.contains("Target app: 5 refusals in a row; its deliveries wait"), "{words}");
    assert_eq!(world.query("SELECT target, refusals FROM targets")[0]["target"], "app");

    world.once().exits(3);
    world.then_nothing_more_happens().exits(3);
    assert_eq!(world.sandbox.merchant.requests(), refused, "the wait is not over");
    once_later(&world, 80).exits(3);
    assert_eq!(world.sandbox.merchant.requests(), refused + 1, "a single one goes, and is held, too");
    world.sandbox.merchant.lock().faults = never();
    once_later(&world, 500).exits(3);
    let waited = usize::try_from(MANY).unwrap() - refused - 1;
    assert_eq!((effects(&world).len(), health(&world)), (waited + 3, vec![]), "what waited goes by itself");
}

#[test]
fn one_reward_that_is_refused_again_and_again_pauses_no_target() {
    let mut world = given([commission(1).approved(LONG_AGO)]);
    world.without_backoff();
    world.sandbox.merchant.lock().faults_of = [(1, always(text(422, "no such customer")))].into();
    for _ in 0..6 {
        world.once().exits(3);
        world.run(&["resolve", "1", "--retry"]).exits(0);
    }
    assert_eq!(world.sandbox.merchant.requests(), 6);
    assert_eq!(world.query("SELECT refusals FROM targets")[0]["refusals"], 1);
    world.sandbox.firstpromoter.add_all([commission(2).approved(LONG_AGO)]);
    world.once().exits(3);
    assert_eq!(effects(&world), [(2, 1)].into());
}

#[test]
fn a_command_target_that_keeps_asking_for_later_is_paused_too() {
    let world = a_failing_endpoint();
    world.sandbox.merchant.lock().faults = never();
    world
        .sandbox
        .firstpromoter
        .add_all((104..=115).map(|id| commission(id).credits(50).reward(10, "50 credits").approved(LONG_AGO)));
    let works = fs::read_to_string(world.path("grant.sh")).unwrap();
    world.file("grant.sh", "echo \"$MAKEGOOD_KEY\" >>\"$(dirname \"$0\")/calls\"\nexit 75\n");
    world.once().exits(0);
    assert_eq!(fs::read_to_string(world.path("calls")).unwrap().lines().count(), TOLERATED, "one at a time");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), (1..=MANY).collect::<Vec<_>>());
    world.file("grant.sh", &works);
    once_later(&world, 80).exits(0);
    assert_eq!(fs::read_to_string(world.path(EFFECTS)).unwrap().lines().count(), 15);
    let ids: Vec<i64> = (1..=MANY).chain(101..=115).collect();
    at_rest(&world, &ids).exits(0);
}
