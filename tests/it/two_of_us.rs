//! Two of us: any number of passes on one ledger, and webhook handlers beside them, in Python as in the manual and through
//! `claim` and `record`. Each reward takes effect once.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    audit::{EFFECTS, at_rest, effects, nobody, run_to_rest},
    harm::{self, Harm},
    sandbox::{Commission, Moment, always, commission, delayed, dropped, once},
    world::{LONG_AGO, PATIENCE, Running, World, given},
};

fn owed(id: i64) -> Commission {
    commission(id).approved(LONG_AGO)
}

/// Every delivery takes effect, also a second one.
fn world(ids: impl IntoIterator<Item = i64>) -> World {
    let mut world = given(ids.into_iter().map(owed));
    world.sandbox.merchant.lock().deduplicates = false;
    world.set("targets.app.idempotent", "false");
    world
}

/// The manual's handler, as it stands there, in the world's folder.
fn manual_handler(world: &World) {
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/delivery.md")).unwrap();
    let blocks: Vec<_> = manual.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [handler] = blocks[..] else { panic!("the manual has {} blocks of Python", blocks.len()) };
    world.file("handler.py", handler);
}

/// What the manual's handler is called with instead of its own `deliver`: an effect that can be counted, and a word for each.
pub(crate) const DRIVER: &str = r#"
import sys, handler

def deliver(commission_id):
    with open(sys.argv[2], "a") as effects:
        effects.write(f"fp-12345-{commission_id} by the handler\n")
    return f"handler-{commission_id}"

handler.deliver = deliver
for commission_id in sys.argv[3:]:
    print(commission_id, handler.handle(sys.argv[1], int(commission_id)))
"#;

/// The manual's handler, told of these commissions one after the other.
pub(crate) fn python(world: &World, driver: &str, ids: impl IntoIterator<Item = i64>) -> Command {
    manual_handler(world);
    let mut python = Command::new("python3");
    python.arg("-c").arg(driver).args([world.ledger_path(), world.path(EFFECTS)]);
    python.args(ids.into_iter().map(|id| id.to_string()));
    python.env("PYTHONPATH", world.path("")).env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// What it says of each.
fn says(mut python: Command) -> Vec<String> {
    let ended = python.output().expect("python3");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

fn python_handles(world: &World, ids: &[i64]) -> Vec<String> {
    let said = says(python(world, DRIVER, ids.iter().copied()));
    assert_eq!(said.len(), ids.len(), "{said:?}");
    said
}

/// It was delivered by the handler, and the next pass has it marked without delivering it.
fn then_it_is_marked_as_delivered_outside(world: &World, id: i64) {
    let deliveries = world.sandbox.merchant.requests();
    assert_eq!(world.state_of(id), "delivered");
    world.once().exits(0);
    let reward = world.reward(id);
    assert_eq!((&reward["state"], &reward["delivered_by"]), (&json!("fulfilled"), &json!("outside")), "{reward}");
    assert_eq!(world.sandbox.merchant.requests(), deliveries, "the handler had delivered it");
    at_rest(world, &[id]);
}

#[test]
fn the_manuals_handler_runs_unchanged() {
    let world = world([]);
    world.once().exits(0);
    manual_handler(&world);
    let handle = || {
        let python = Command::new("python3").arg(world.path("handler.py")).arg(world.ledger_path()).arg("1").output();
        let ended = python.expect("python3");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap()
    };
    assert_eq!(handle(), "delivered, handler-1\n");
    assert_eq!(handle(), "left alone: delivered already, or somebody else is at it\n");
}

#[test]
fn a_delivery_by_the_manuals_handler_is_marked_and_not_repeated() {
    // One that no pass has seen, one that waits, and one that a person is asked about.
    let world = world([2]);
    world.sandbox.firstpromoter.add(owed(3).suspected("ad_source"));
    world.sandbox.firstpromoter.change(2, |commission| *commission = owed(2).approved_at(crate::sandbox::now()));
    world.once().exits(3);
    world.sandbox.firstpromoter.add(owed(1));
    let said = python_handles(&world, &[1, 2, 3]);
    assert_eq!(said, ["1 delivered, handler-1", "2 delivered, handler-2", "3 delivered, handler-3"]);
    assert_eq!(world.query("SELECT * FROM claims"), Vec::<Value>::new(), "the claims are over");
    for id in [1, 2, 3] {
        let entry = world.journal(id).pop().unwrap();
        assert_eq!((&entry["to_state"], &entry["actor"]), (&json!("delivered"), &json!("webhook")), "{entry}");
        assert_eq!(world.reward(id)["receipt"], format!("handler-{id}").as_str());
        assert_eq!(world.reward(id)["key"], format!("fp-12345-{id}").as_str());
    }
    then_it_is_marked_as_delivered_outside(&world, 1);
    at_rest(&world, &[1, 2, 3]).exits(0);
    assert_eq!(effects(&world), [(1, 1), (2, 1), (3, 1)].into());
    let again = python_handles(&world, &[1, 2, 3]);
    assert!(again.iter().all(|said| said.contains("left alone")), "{again:?}");
}

#[test]
fn the_manuals_handler_leaves_alone_what_somebody_else_claimed() {
    let world = world([1, 2, 3]);
    // 1: another handler has it. 2: an attempt may have taken effect. 3: makegood is at it.
    world.run(&["claim", "1", "--owner", "other"]).exits(0);
    world.sandbox.merchant.lock().faults_of.insert(2, once(dropped().after_effect()));
    world.once_with(&["--commission", "2"]).exits(3);
    // Asking 2, rules are known, confirming 2 with the canaries: none yet.
    let before = world.sandbox.requests();
    world.sandbox.gate.stop_at(5, Moment::BeforeEffect);
    let mut pass = world.start(&["once", "--json", "--commission", "3"]);
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE));
    assert_eq!((world.sandbox.requests() - before, world.state_of(3).as_str()), (5, "delivering"));
    let said = python_handles(&world, &[1, 2, 3]);
    assert!(said.iter().all(|said| said.contains("left alone")), "{said:?}");
    assert_eq!(effects(&world), [(2, 1)].into());
    pass.kill();
    world.sandbox.gate.open();
    // A claim that ran out is no obstacle.
    world.forge("UPDATE claims SET expires_at = '2025-01-19T10:30:00Z'");
    assert_eq!(python_handles(&world, &[1, 3])[0], "1 delivered, handler-1");
    then_it_is_marked_as_delivered_outside_with(&world, 1, &[(2, "outcome_unknown"), (3, "outcome_unknown")]);
}

fn then_it_is_marked_as_delivered_outside_with(world: &World, id: i64, held: &[(i64, &str)]) {
    world.once().exits(3);
    assert_eq!((world.state_of(id).as_str(), &world.reward(id)["delivered_by"]), ("fulfilled", &json!("outside")));
    assert_eq!(world.attention(), held.iter().map(|(id, reason)| (*id, (*reason).to_owned())).collect());
    at_rest(world, &[1, 2, 3]).exits(3);
}

#[test]
fn a_reward_marked_by_hand_during_a_handlers_delivery_stays_fulfilled() {
    let world = world([1]);
    world.run(&["claim", "1"]).exits(0);
    world.once().exits(0);
    // The same owner renews its claim. While it delivers, somebody marks the reward, and a pass sees it.
    let waits =
        DRIVER.replace("    return", "    print(\"delivered\", flush=True)\n    sys.stdin.readline()\n    return");
    let mut python = python(&world, &waits, [1]);
    let mut handler = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let mut said = BufReader::new(handler.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "delivered");
    world.sandbox.firstpromoter.fulfil(1);
    world.once().exits(0);
    handler.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "1 delivered, handler-1");
    assert!(handler.wait().unwrap().success());
    assert_eq!(world.way_of(1), ["waiting", "fulfilled"]);
    assert_eq!(effects(&world), [(1, 1)].into());
    at_rest(&world, &[1]).exits(0);
}

/// A handler's two commands about one commission.
fn handled_by_commands(world: &World, id: i64) -> (i64, Command, Command) {
    let name = id.to_string();
    let claim = world.command(&["claim", &name, "--owner", "shell", "--json"]);
    (id, claim, world.command(&["record", &name, "--owner", "shell"]))
}

/// Four passes at a time, twice; a handler in Python going through the same rewards from the other end; another one through
/// the commands. 1, 2 and 3 are claimed before anybody begins; 10 is makegood's alone.
fn everybody_at_once(disk: Harm) {
    const ALL: std::ops::RangeInclusive<i64> = 1..=20;
    let world = world(ALL);
    world.sandbox.merchant.lock().faults = always(delayed(Duration::from_millis(10)));
    for id in ["1", "2", "3"] {
        world.run(&["claim", id, "--owner", "shell"]).exits(0);
    }
    let passes: Vec<Command> = (0..8).map(|_| harm::command(&world, disk, &["once", "--json"])).collect();
    let python = python(&world, DRIVER, ALL.rev().filter(|id| *id != 10));
    let shell: Vec<_> = ALL.filter(|id| *id != 10).map(|id| handled_by_commands(&world, id)).collect();
    let effects_file = world.path(EFFECTS);
    thread::scope(|scope| {
        let mut passes = passes.into_iter();
        while let (Some(first), Some(second)) = (passes.next(), passes.next()) {
            scope.spawn(|| {
                for once in [first, second] {
                    let ran = Running::start(once).wait();
                    assert!([0, 4].contains(&ran.exit), "{ran}");
                }
            });
        }
        scope.spawn(|| says(python));
        scope.spawn(|| {
            for (id, claim, record) in shell {
                let claim = Running::start(claim).wait();
                assert!([0, 3, 4].contains(&claim.exit), "{claim}");
                if claim.exit == 0 {
                    let mut file = fs::File::options().append(true).create(true).open(&effects_file).unwrap();
                    file.write_all(format!("fp-12345-{id} by the shell\n").as_bytes()).unwrap();
                    Running::start(record).wait().exits(0);
                }
            }
        });
    });
    let world = &world;
    run_to_rest(world, nobody);
    let ids: Vec<i64> = ALL.collect();
    at_rest(world, &ids).exits(0);
    assert_eq!(effects(world), ALL.map(|id| (id, 1)).collect());
    assert_eq!(world.sandbox.firstpromoter.fulfilled_ids(), ids);
    let by = |id: i64| world.reward(id)["delivered_by"].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (by(1), by(2), by(3), by(10)),
        ("outside".into(), "outside".into(), "outside".into(), "makegood".into())
    );
}

#[test]
fn four_passes_at_a_time_and_two_handlers_have_every_reward_once() {
    everybody_at_once(Harm::None);
}

#[test]
fn four_passes_at_a_time_and_two_handlers_have_every_reward_once_on_a_slow_disk() {
    everybody_at_once(Harm::SlowSyncs(5));
}

/// Takes half a minute, which it waits.
#[test]
fn a_second_pass_waits_and_names_the_holder_while_other_commands_look_and_claim() {
    let world = world([1, 2]);
    world.once_with(&["--commission", "2"]).exits(0);
    world.sandbox.gate.stop_at(1, Moment::BeforeEffect);
    let holder = world.start(&["run"]);
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE));
    let waiting = world.start(&["once", "--json"]);
    world.status().exits(0);
    world.show(2).exits(0);
    world.run(&["claim", "1"]).exits(0);
    world.run(&["record", "1"]).exits(0);
    let busy = waiting.wait().exits(4);
    for words in ["busy", &format!("process {} (makegood run)", holder.pid()), "ledger.db.lock"] {
        assert!(busy.error().contains(words), "{words:?}: {busy}");
    }
    assert_eq!(world.passes().len(), 2, "{busy}");
    drop(holder);
    world.sandbox.gate.open();
    let after = world.once().exits(0);
    assert_eq!((after.count("fulfilled"), world.sandbox.merchant.requests()), (1, 1), "the lock died with its holder");
    world.then_nothing_more_happens().exits(0);
}
