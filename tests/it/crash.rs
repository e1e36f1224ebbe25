//! Never twice and never lost when the process dies. It is killed with SIGKILL at every boundary of every request of a pass, at
//! every call of a `command` target, around every `fsync` of the ledger and its high-water mark, and before every write to
//! them. The points are enumerated, not sampled. Then the world runs to rest, with the help of a person where the target does
//! not deduplicate.
//!
//! SIGKILL keeps what the kernel has taken, so these tests are about processes. That a power cut loses no more depends on
//! `synchronous=FULL`.

use std::{fs, process::Command};

use crate::{
    audit::{at_rest, consistent, effects, nobody, person_who_looks, run_to_rest},
    harm::{self, Harm, harmed},
    sandbox::{Moment, commission},
    world::{LONG_AGO, PATIENCE, World, given},
};

const OWED: [i64; 3] = [101, 102, 103];

/// Where the rewards go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// `http`, and deduplicates by key.
    Deduplicating,
    /// `http`, and every request takes effect: `idempotent = false`.
    Repeating,
    /// A program; every call takes effect.
    Command,
}

impl Target {
    fn world(self) -> World {
        let mut world = given(OWED.map(|id| commission(id).approved(LONG_AGO)));
        match self {
            Self::Deduplicating => world.set("targets.app.concurrency", "2"),
            Self::Repeating => {
                world.sandbox.merchant.lock().deduplicates = false;
                world.set("targets.app.idempotent", "false").set("targets.app.concurrency", "2")
            }
            Self::Command => {
                let script = world.file("grant.sh", include_str!("../fixtures/grant.sh"));
                world.toml(&format!(
                    "[targets.script]\ntype = \"command\"\nargv = [\"sh\", '{}']\n[[routes]]\ntarget = \"script\"\n",
                    script.display()
                ))
            }
        };
        world
    }

    /// Runs to rest. An endpoint that deduplicates needs nobody; for another one, a person looks and decides. Then every reward
    /// took effect once and is fulfilled.
    fn comes_to_rest(self, world: &World) {
        // Nothing looks into the ledger before: makegood itself must recover from the crash.
        match self {
            Self::Deduplicating => run_to_rest(world, nobody),
            Self::Repeating | Self::Command => {
                // Without a decision it stays with the person, and has no second effect.
                let ran = world.once();
                assert!(ran.error().is_empty(), "{ran}");
                consistent(world);
                person_who_looks(world);
                run_to_rest(world, person_who_looks);
            }
        }
        at_rest(world, &OWED).exits(0);
        assert_eq!(effects(world), OWED.map(|id| (id, 1)).into(), "every owed reward took effect once");
        assert_eq!(world.sandbox.firstpromoter.fulfilled_ids(), OWED, "and is fulfilled");
    }
}

/// Runs a pass to the `nth` request, and kills it there.
fn killed_at_request(world: &World, nth: u64, moment: Moment) {
    world.sandbox.gate.stop_at(nth, moment);
    let mut once = world.start(&["once", "--json"]);
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE), "a pass makes fewer than {nth} requests");
    once.kill();
    world.sandbox.gate.open();
}

/// The number of requests of an undisturbed pass.
fn requests_of_a_pass(world: &World) -> u64 {
    let before = world.sandbox.requests();
    world.once().exits(0);
    world.sandbox.requests() - before
}

fn killed_at_every_request(target: Target) {
    let requests = requests_of_a_pass(&target.world());
    assert!(requests >= if target == Target::Command { 6 } else { 9 }, "a pass with several rewards: {requests}");
    for nth in 1..=requests {
        for moment in [Moment::BeforeEffect, Moment::AfterEffect] {
            let world = target.world();
            killed_at_request(&world, nth, moment);
            target.comes_to_rest(&world);
        }
    }
}

#[test]
fn a_target_that_deduplicates_has_every_reward_once_after_a_kill_at_any_request() {
    killed_at_every_request(Target::Deduplicating);
}

#[test]
fn a_target_that_does_not_deduplicate_has_every_reward_once_after_a_kill_at_any_request_and_a_look() {
    killed_at_every_request(Target::Repeating);
}

#[test]
fn a_command_has_every_reward_once_after_a_kill_at_any_request_and_a_look() {
    killed_at_every_request(Target::Command);
}

/// A pass that recovers can be killed like any other.
#[test]
fn every_reward_is_there_once_after_a_second_kill_in_the_pass_that_recovers() {
    let target = Target::Deduplicating;
    // Listing 2, rules, confirming 2, and the first delivery takes effect.
    let crashed = || {
        let world = target.world();
        killed_at_request(&world, 6, Moment::AfterEffect);
        assert!(!world.query("SELECT 1 FROM rewards WHERE state = 'delivering'").is_empty(), "cut off");
        world
    };
    let requests = requests_of_a_pass(&crashed());
    for nth in 1..=requests {
        for moment in [Moment::BeforeEffect, Moment::AfterEffect] {
            let world = crashed();
            killed_at_request(&world, nth, moment);
            target.comes_to_rest(&world);
        }
    }
}

#[test]
fn a_command_that_kills_makegood_at_every_call_is_not_called_again_before_a_person_has_looked() {
    for call in 1..=OWED.len() {
        for moment in ["before", "during", "after"] {
            let world = Target::Command.world();
            let order = world.file("kill", &format!("{call} {moment}\n"));
            let ran = world.once();
            assert_eq!(ran.exit, -1, "killed: {ran}");
            fs::remove_file(order).expect("ours");
            // A command outlives makegood. The test waits for it, as a person would.
            let waited = Command::new("flock").args(["-w", "60"]).arg(world.path("running")).arg("true").status();
            assert!(waited.expect("flock").success(), "the command does not end");

            world.once().exits(3);
            let held = world.attention();
            assert_eq!(held.values().collect::<Vec<_>>(), ["outcome_unknown"], "{call} {moment}");
            let id = *held.keys().next().expect("one");
            assert_eq!(effects(&world).contains_key(&id), moment != "before", "{call} {moment}: only a look can tell");
            Target::Command.comes_to_rest(&world);
        }
    }
}

#[test]
fn a_target_that_deduplicates_has_every_reward_once_after_a_kill_around_any_sync() {
    let target = Target::Deduplicating;
    let (ran, calls) = harmed(&target.world(), Harm::None, &["once", "--json"]);
    ran.exits(0);
    // Create, bind, begin, settle; intent and outcome three times (some share a transaction), each followed by the mark; mark;
    // end.
    let at_least = 14;
    assert!(calls.syncs >= at_least, "{calls:?}");
    for nth in 1..=calls.syncs {
        for moment in [harm::Moment::Before, harm::Moment::After] {
            let world = target.world();
            let (ran, _) = harmed(&world, Harm::KilledAtSync(moment, nth), &["once", "--json"]);
            // How many share a transaction depends on timing, so the last syncs do not happen in every run.
            assert!(ran.exit == -1 || nth > at_least, "{moment:?} sync {nth} of {}: {ran}", calls.syncs);
            target.comes_to_rest(&world);
        }
    }
}

/// Before each write and each sync, and so also after each: half of a transaction is in the WAL, or an effect has no outcome
/// there. Takes one new reward after another, and kills each pass one write later than the one before.
fn killed_before_every_write(nths: impl Iterator<Item = u64>) {
    let world = Target::Command.world();
    world.sandbox.firstpromoter.lock().rate_limit = None;
    world.once().exits(0);
    let (mut killed, mut looked) = (0, 0);
    for nth in nths {
        let id = 1000 + i64::try_from(nth).unwrap();
        world.sandbox.firstpromoter.add(commission(id).approved(LONG_AGO));
        let (ran, _) = harmed(&world, Harm::KilledAtWrite(nth), &["once", "--json"]);
        if ran.exit == 0 {
            break;
        }
        assert_eq!(ran.exit, -1, "write {nth}: {ran}");
        killed += 1;
        world.once();
        looked += world.attention().len();
        person_who_looks(&world);
        run_to_rest(&world, person_who_looks);
        assert_eq!(effects(&world).get(&id), Some(&1), "write {nth}: {:#?}", world.journal(id));
        assert_eq!(world.state_of(id), "fulfilled", "write {nth}");
    }
    assert!(killed > 40 && looked > 5, "{killed} were killed, {looked} needed a look");
    let ids: Vec<i64> = effects(&world).into_keys().collect();
    at_rest(&world, &ids).exits(0);
}

// One of the next two tests, which run at the same time, covers every write.

#[test]
fn killed_before_every_odd_write_a_command_has_every_reward_once_after_a_look() {
    killed_before_every_write((1..).step_by(2));
}

#[test]
fn killed_before_every_even_write_a_command_has_every_reward_once_after_a_look() {
    killed_before_every_write((2..).step_by(2));
}

/// Nothing exists yet: this pass makes the ledger, its lock and its mark, and each of them can be left half made.
fn killed_before_writes_of_the_very_first_pass(nths: impl Iterator<Item = u64>) {
    let target = Target::Deduplicating;
    let mut killed = 0;
    for nth in nths {
        let world = target.world();
        let (ran, _) = harmed(&world, Harm::KilledAtWrite(nth), &["once", "--json"]);
        if ran.exit == 0 {
            break;
        }
        assert_eq!(ran.exit, -1, "write {nth}: {ran}");
        killed += 1;
        // Nobody needs to help: a killed pass leaves nothing that stops the next one.
        target.comes_to_rest(&world);
        let left: Vec<String> = world.ledger_files().into_keys().collect();
        assert!(left.iter().all(|name| !name.contains("draft")), "write {nth}: {left:?}");
    }
    assert!(killed > 25, "{killed} were killed");
}

#[test]
fn killed_before_every_odd_write_of_the_very_first_pass_every_reward_is_there_once() {
    killed_before_writes_of_the_very_first_pass((1..).step_by(2));
}

#[test]
fn killed_before_every_even_write_of_the_very_first_pass_every_reward_is_there_once() {
    killed_before_writes_of_the_very_first_pass((2..).step_by(2));
}
