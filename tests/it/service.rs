//! `makegood run` as a real process: what triggers a pass, how it stops, what it logs about failures, and who else may use its
//! ledger meanwhile.

use std::{
    fs::File,
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    sandbox::{Endpoint, Moment, always, delayed, hang, once, status},
    targets::{owed, the_time_has_come},
    world::{PATIENCE, World, given},
};

/// Longer than any test runner waits. A wait that only this bounds does not end before the test.
const FOR_EVER: &str = "365d";

/// The service under way, its log in a file; killed when dropped.
pub(crate) struct Service {
    child: Child,
    log: std::path::PathBuf,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Checks again and again, for at most [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < PATIENCE, "it never came about that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A world whose service makes a pass only when told to.
pub(crate) fn on_demand(ids: impl IntoIterator<Item = i64>) -> World {
    let mut world = given(ids.into_iter().map(owed));
    world.set("schedule.on_start", "false").set("schedule.poll", "0 0 0 1 1 *").without_backoff();
    world
}

impl Service {
    /// Starts it; returns when it listens to signals.
    pub(crate) fn start(world: &World) -> Self {
        let log = world.path("run.log");
        let mut command = world.command(&["run"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let service = Self { child: command.spawn().unwrap(), log };
        eventually("the service runs", || service.said("runs for account"));
        service
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn said(&self, words: &str) -> bool {
        self.count(words) > 0
    }

    pub(crate) fn count(&self, words: &str) -> usize {
        self.log().lines().filter(|line| line.contains(words)).count()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Asks for a pass; returns when it has been heard.
    pub(crate) fn ring(&self) {
        let heard = self.count("SIGUSR1");
        self.signal("USR1");
        eventually("SIGUSR1 is heard", || self.count("SIGUSR1") > heard);
    }

    /// Asks for a pass and waits for its end.
    pub(crate) fn pass(&self, world: &World) -> Value {
        let before = finished(world);
        self.ring();
        eventually("the pass ends", || finished(world) > before);
        world.last_pass()
    }

    /// Waits for its end. In a test that calls this, nothing ever happens that a stop must not wait for: a stop that did wait
    /// would not end.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Stops it while it is idle.
    #[track_caller]
    pub(crate) fn stops(mut self) -> String {
        self.signal("TERM");
        assert_eq!(self.ends().code(), Some(0), "{}", self.log());
        self.log()
    }
}

/// Passes that have ended.
pub(crate) fn finished(world: &World) -> usize {
    world.passes().iter().filter(|pass| pass["finished"].is_string()).count()
}

fn triggers(world: &World) -> Vec<String> {
    world.passes().iter().map(|pass| pass["trigger"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_service_makes_a_pass_at_its_start_and_stops_at_once_when_idle() {
    for signal in ["TERM", "INT"] {
        let world = given([owed(1)]);
        let mut service = Service::start(&world);
        eventually("the first pass ends", || finished(&world) == 1);
        assert_eq!((triggers(&world), world.state_of(1).as_str()), (vec!["start".to_owned()], "fulfilled"));
        service.signal(signal);
        assert_eq!(service.ends().code(), Some(0), "{}", service.log());
        let log = service.log();
        assert!(
            log.contains("commission 1: fulfilled") && log.contains("pass 1: listed 1, missing 1, delivered 1"),
            "{log}"
        );
        assert!(log.trim_end().ends_with("stopped"), "{log}");
    }
}

#[test]
fn it_passes_on_schedule() {
    let mut world = given([owed(1)]);
    world.set("schedule.on_start", "false").set("schedule.poll", "* * * * * *");
    let service = Service::start(&world);
    eventually("three passes end", || finished(&world) >= 3);
    assert!(triggers(&world).iter().all(|trigger| trigger == "schedule"));
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("fulfilled", 1));
    service.stops();
}

#[test]
fn the_service_makes_a_pass_for_each_signal_and_only_then() {
    let world = on_demand([1]);
    let service = Service::start(&world);
    assert_eq!(service.pass(&world)["trigger"], "signal");
    assert_eq!(world.state_of(1), "fulfilled");
    world.sandbox.firstpromoter.add(owed(2));
    service.pass(&world);
    assert_eq!(world.state_of(2), "fulfilled");
    service.stops();
    assert_eq!(triggers(&world), ["signal", "signal"]);
}

#[test]
fn signals_during_a_pass_make_exactly_one_more() {
    let world = on_demand([1]);
    let service = Service::start(&world);
    world.sandbox.gate.stop_at(1, Moment::BeforeEffect);
    service.ring();
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE));
    for _ in 0..3 {
        service.ring();
    }
    assert_eq!(finished(&world), 0, "the first pass is still held");
    world.sandbox.gate.open();
    eventually("two passes end", || finished(&world) == 2);
    // A third pass would have begun before this one is asked for.
    service.pass(&world);
    service.stops();
    assert_eq!(triggers(&world), ["signal", "signal", "signal"]);
    assert_eq!(world.sandbox.merchant.requests(), 1);
}

/// Rewards go to a command, one at a time. It reports that it has begun, and ends when the test lets it.
fn delivered_when_let_go(world: &mut World) {
    let script = world.file("grant.sh", ": > begun-$MAKEGOOD_COMMISSION_ID; until [ -e let-go ]; do sleep 0.05; done");
    let argv = json!(["/bin/sh", script]);
    let toml = format!("[targets.script]\ntype = \"command\"\nargv = {argv}\n[[routes]]\ntarget = \"script\"\n");
    world.toml(&toml);
}

fn begun(world: &World) -> Vec<i64> {
    (1..=9).filter(|id| world.path(&format!("begun-{id}")).exists()).collect()
}

#[test]
fn a_stop_lets_a_delivery_in_flight_end_and_starts_no_new_one() {
    let mut world = on_demand(1..=3);
    delivered_when_let_go(&mut world);
    let mut service = Service::start(&world);
    service.ring();
    eventually("the first delivery begins", || begun(&world) == [1]);
    service.signal("TERM");
    eventually("the signal is heard", || service.said("what is in flight ends first"));
    assert!(service.child.try_wait().unwrap().is_none(), "the delivery in flight is waited for");
    world.file("let-go", "");
    assert_eq!(service.ends().code(), Some(0), "{}", service.log());
    let states = || [1, 2, 3].map(|id| world.state_of(id));
    assert_eq!(states(), ["delivered", "waiting", "waiting"], "{}", service.log());
    assert_eq!(begun(&world), [1], "none was started after the signal");
    let pass = world.last_pass();
    assert!(pass["error"].as_str().unwrap().contains("the next pass goes on from here"), "{pass}");
    assert_eq!(pass["error_kind"], "stopped", "{pass}");
    assert_eq!((&pass["delivered"], &pass["fulfilled"]), (&json!(1), &json!(0)));

    world.once().exits(0);
    assert_eq!(states(), ["fulfilled", "fulfilled", "fulfilled"]);
    assert_eq!([1, 2, 3].map(|id| world.attempts(id).len()), [1, 1, 1], "one attempt a reward");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_second_signal_aborts_and_the_next_pass_resumes_with_the_same_key() {
    let mut world = on_demand([1]);
    world.set("targets.app.timeout", FOR_EVER);
    // It takes effect, and the answer never comes.
    world.sandbox.merchant.lock().faults = once(hang().after_effect());
    let mut service = Service::start(&world);
    service.ring();
    assert!(world.sandbox.wait_until(PATIENCE, |sandbox| sandbox.merchant.requests() == 1));
    service.signal("TERM");
    eventually("the first signal is heard", || service.said("what is in flight ends first"));
    assert!(service.child.try_wait().unwrap().is_none(), "the delivery in flight is waited for");
    service.signal("INT");
    assert_eq!(service.ends().code(), Some(1), "{}", service.log());
    assert_eq!((world.state_of(1).as_str(), &world.last_pass()["finished"]), ("delivering", &Value::Null));

    world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.effects_of(1).len()), ("fulfilled", 1));
    let bodies = world.sandbox.merchant.bodies_of(1);
    assert_eq!((bodies.len(), &bodies[0]), (2, &bodies[1]));
    let abandoned = &world.passes()[0];
    assert_eq!(abandoned["error_kind"], "abandoned", "{abandoned}");
    world.then_nothing_more_happens().exits(0);
}

/// Stops the service while this request of its first pass is not answered.
fn stopped_while_it_waits_for(endpoint: Endpoint, hangs: impl Fn(&World), state: &str) {
    let mut world = on_demand([1]);
    world.set("firstpromoter.timeout", FOR_EVER);
    hangs(&world);
    let mut service = Service::start(&world);
    service.ring();
    assert!(world.sandbox.wait_until(PATIENCE, |sandbox| sandbox.firstpromoter.requests_to(endpoint) == 1));
    service.signal("TERM");
    assert_eq!(service.ends().code(), Some(0), "{}", service.log());
    assert_eq!(world.state_of(1), state, "{endpoint:?}");
    let pass = world.last_pass();
    assert_eq!(pass["error_kind"], "stopped", "{endpoint:?}: {pass}");
    assert!(pass["finished"].is_string(), "{endpoint:?}: {pass}");
    assert_eq!(service.count("ERROR"), 0, "to be told to stop is no error: {}", service.log());

    drop(std::mem::take(&mut world.sandbox.firstpromoter.lock().faults));
    world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("fulfilled", 1), "{endpoint:?}");
    assert_eq!(world.reward(1)["mark_attempts"], 0);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_stop_does_not_wait_for_a_listing_or_a_confirmation() {
    stopped_while_it_waits_for(
        Endpoint::Listing,
        |world| world.sandbox.firstpromoter.lock().faults.listing = always(hang()),
        "none",
    );
    stopped_while_it_waits_for(
        Endpoint::ByIds,
        |world| world.sandbox.firstpromoter.lock().faults.by_ids = always(hang()),
        "none",
    );
}

#[test]
fn a_stop_does_not_wait_for_a_mark() {
    stopped_while_it_waits_for(
        Endpoint::Mark,
        |world| world.sandbox.firstpromoter.lock().faults.mark = always(hang()),
        "delivered",
    );
}

#[test]
fn a_stop_does_not_wait_for_a_batch_that_never_ends() {
    let world = on_demand([1]);
    {
        let switches = &mut world.sandbox.firstpromoter.lock().switches;
        (switches.batch_threshold, switches.batch_end) = (0, crate::sandbox::BatchEnd::Never);
    }
    let mut service = Service::start(&world);
    service.ring();
    assert!(world.sandbox.wait_until(PATIENCE, |sandbox| sandbox.firstpromoter.requests_to(Endpoint::Batch) == 2));
    service.signal("TERM");
    eventually("the signal is heard", || service.said("what is in flight ends first"));
    let asked = world.sandbox.firstpromoter.requests_to(Endpoint::Batch);
    assert_eq!(service.ends().code(), Some(0), "{}", service.log());
    let asked_after = world.sandbox.firstpromoter.requests_to(Endpoint::Batch);
    // One may be under way. A pass that polls a batch asks every few seconds for two minutes.
    assert!(asked_after <= asked + 1, "{asked} questions before the signal was heard, {asked_after} in all");
    assert_eq!(world.state_of(1), "delivered");
    world.sandbox.firstpromoter.lock().switches.batch_end = crate::sandbox::BatchEnd::Completes;
    world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("fulfilled", 1));
}

#[test]
fn firstpromoter_down_at_the_start_is_no_reason_to_exit() {
    let mut world = given([owed(1)]);
    world.sandbox.firstpromoter_goes_down();
    let mut service = Service::start(&world);
    eventually("the first pass ends", || finished(&world) == 1);
    assert!(world.last_pass()["error"].as_str().unwrap().contains("Connection refused"), "{}", world.last_pass());
    assert_eq!(world.last_pass()["error_kind"], "unavailable");
    assert!(service.child.try_wait().unwrap().is_none(), "it goes on: {}", service.log());
    world.sandbox.everybody_comes_back();
    assert_eq!(service.pass(&world)["error"], Value::Null);
    assert_eq!(world.state_of(1), "fulfilled");
    let log = service.stops();
    assert_eq!(log.matches("passes complete again, after 1 that did not").count(), 1, "{log}");
}

#[test]
fn a_failure_that_repeats_is_one_error_and_its_end_is_one_line() {
    let world = on_demand([1]);
    let api_key = std::mem::replace(&mut world.sandbox.firstpromoter.lock().api_key, "rotated".to_owned());
    let service = Service::start(&world);
    for _ in 0..4 {
        assert_eq!(service.pass(&world)["error_kind"], "rejected_key");
    }
    assert_eq!(service.count("ERROR"), 1, "{}", service.log());
    world.sandbox.firstpromoter.lock().api_key = api_key;
    service.pass(&world);
    service.pass(&world);
    eventually("the summary is written", || service.count("pass 6: listed") == 1);
    for pass in 1..=4 {
        assert_eq!(service.count(&format!("pass {pass}: listed")), 0, "like a good one: {}", service.log());
        assert_eq!(service.count(&format!("pass {pass} did not complete")), 1, "{}", service.log());
    }
    assert_eq!(service.count("pass 4 did not complete (4th in a row, since "), 1, "{}", service.log());
    assert_eq!(service.count("passes complete again, after 4 that did not"), 1, "{}", service.log());
    assert_eq!(service.count("ERROR"), 1, "{}", service.log());
    // The same failure after a recovery is news.
    world.sandbox.firstpromoter.lock().api_key = "rotated again".to_owned();
    service.pass(&world);
    let log = service.stops();
    assert_eq!(log.matches("ERROR").count(), 2, "{log}");
}

#[test]
fn two_kinds_of_failure_in_turn_are_two_errors_and_not_one_a_pass() {
    let world = on_demand([1]);
    let service = Service::start(&world);
    // 401 and 403 are about the key, 404 is not.
    for code in [401, 404, 403, 404, 401] {
        world.sandbox.firstpromoter.lock().faults.any = always(status(code));
        service.pass(&world);
    }
    let log = service.stops();
    assert_eq!(log.matches("ERROR").count(), 2, "{log}");
}

#[test]
fn while_firstpromoter_asks_to_be_left_alone_nothing_is_sent_and_little_is_said() {
    let world = on_demand([1]);
    world.sandbox.firstpromoter.lock().faults.any = always(status(429).retry_after(3600));
    let service = Service::start(&world);
    for _ in 0..4 {
        service.pass(&world);
    }
    assert_eq!(world.sandbox.firstpromoter.requests(), 1, "it asked us to stay away");
    assert!(world.last_pass()["error"].as_str().unwrap().contains("asked to stay away until about"));
    let log = service.stops();
    assert_eq!(log.matches("ERROR").count(), 1, "that it was told so; that it does so is the same failure: {log}");
}

#[test]
fn commands_that_only_read_do_not_wait_for_a_pass() {
    let mut world = on_demand([1]);
    world.set("firstpromoter.timeout", FOR_EVER);
    world.once().exits(0);
    world.sandbox.firstpromoter.add(owed(2));
    world.sandbox.firstpromoter.lock().faults.listing = once(hang());
    let service = Service::start(&world);
    let listings = world.sandbox.firstpromoter.requests_to(Endpoint::Listing);
    service.ring();
    assert!(world.sandbox.wait_until(PATIENCE, |it| it.firstpromoter.requests_to(Endpoint::Listing) > listings));
    // The pass never ends. A second one finds it there after 30 s, and exits with 4.
    assert_eq!(world.plan().exits(0).line(2)["decision"], "deliver");
    let status = world.status().exits(0);
    assert_eq!(
        (&status.json["states"], &status.json["last_pass"]["finished"]),
        (&json!({"fulfilled": 1}), &Value::Null)
    );
    world.show(1).exits(0);
    assert_eq!(world.last_pass()["finished"], Value::Null);
    service.stops();
}

#[test]
fn a_once_beside_a_short_pass_waits_for_it() {
    let world = on_demand([1, 2]);
    let service = Service::start(&world);
    // The service is stopped in the middle of its deliveries. A second pass would deliver the same rewards.
    world.sandbox.merchant.lock().faults = once(delayed(Duration::from_secs(2)));
    service.ring();
    assert!(world.sandbox.wait_until(PATIENCE, |sandbox| sandbox.merchant.requests() >= 1));
    let ran = world.once().exits(0);
    assert_eq!((ran.count("delivered"), ran.count("listed")), (0, 0), "it was all done by then: {ran}");
    assert_eq!((world.sandbox.merchant.requests(), finished(&world)), (2, 2));
    service.stops();
}

#[test]
fn a_once_beside_a_long_pass_gives_up_after_thirty_seconds_and_names_the_holder() {
    let mut world = on_demand([1]);
    world.set("firstpromoter.timeout", FOR_EVER);
    world.sandbox.firstpromoter.lock().faults.listing = once(hang());
    let service = Service::start(&world);
    service.ring();
    assert!(world.sandbox.wait_until(PATIENCE, |sandbox| sandbox.firstpromoter.requests() == 1));
    let begun = Instant::now();
    let ran = world.once().exits(4);
    assert!(begun.elapsed() >= Duration::from_secs(30), "{:?}", begun.elapsed());
    let holder = format!(
        "busy: another process holds the pass on this ledger: process {} (makegood run) since 20",
        service.child.id()
    );
    assert!(ran.error().contains(&holder) && ran.error().contains("Wait for it to end, or stop it"), "{ran}");
    assert_eq!((world.passes().len(), world.sandbox.firstpromoter.requests()), (1, 1), "it did nothing: {ran}");
    service.stops();
}

#[test]
fn a_killed_process_gives_up_the_pass_lock() {
    let mut world = on_demand([1]);
    world.set("firstpromoter.timeout", FOR_EVER);
    world.sandbox.firstpromoter.lock().faults.listing = once(hang());
    let service = Service::start(&world);
    service.ring();
    assert!(world.sandbox.wait_until(PATIENCE, |sandbox| sandbox.firstpromoter.requests() == 1));
    drop(service);
    world.once().exits(0);
    assert_eq!(world.state_of(1), "fulfilled");
}

#[test]
fn a_once_that_is_told_to_stop_while_it_reads_says_so_and_exits_1() {
    let mut world = on_demand([1]);
    world.set("firstpromoter.timeout", FOR_EVER);
    world.sandbox.firstpromoter.lock().faults.listing = once(hang());
    let pass = world.start(&["once", "--json"]);
    assert!(world.sandbox.wait_until(PATIENCE, |sandbox| sandbox.firstpromoter.requests() == 1));
    pass.signal("TERM");
    let ran = pass.wait().exits(1);
    assert!(ran.error().contains("stopped by a signal"), "{ran}");
    assert_eq!((&world.last_pass()["error"], world.state_of(1).as_str()), (&ran.json["error"], "none"), "{ran}");
    world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("fulfilled", 1));
}

#[test]
fn a_once_that_is_told_to_stop_while_it_delivers_finishes_that_delivery() {
    let mut world = on_demand([1, 2]);
    delivered_when_let_go(&mut world);
    let pass = world.start(&["once", "--json"]);
    eventually("the first delivery begins", || begun(&world) == [1]);
    pass.signal("TERM");
    world.file("let-go", "");
    let ran = pass.wait().exits(1);
    assert!(ran.error().contains("stopped by a signal"), "{ran}");
    assert_eq!((world.state_of(1).as_str(), world.state_of(2).as_str()), ("delivered", "waiting"), "{ran}");
    assert_eq!((world.last_pass()["error"].as_str(), begun(&world)), (Some(ran.error()), vec![1]), "{ran}");
    world.once().exits(0);
    assert_eq!([1, 2].map(|id| world.attempts(id).len()), [1, 1]);
}

#[test]
fn the_service_retries_a_failed_delivery_when_its_time_has_come() {
    let mut world = on_demand([1]);
    world.unset("policy.retry.first");
    world.sandbox.merchant.lock().faults = once(status(503));
    let service = Service::start(&world);
    service.pass(&world);
    assert_eq!(service.pass(&world)["failed"], 0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("waiting", 1), "not before its time");
    the_time_has_come(&world);
    service.pass(&world);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("fulfilled", 2));
    service.stops();
}

#[test]
fn the_services_signals_end_no_other_command() {
    for args in [&["once", "--json"][..], &["plan", "--json"], &["check"]] {
        let world = on_demand([1]);
        world.sandbox.gate.stop_at(1, Moment::BeforeEffect);
        let command = world.start(args);
        assert!(world.sandbox.gate.wait_until_stopped(PATIENCE));
        for signal in ["USR1", "USR2", "HUP"] {
            command.signal(signal);
        }
        world.sandbox.gate.open();
        let ran = command.wait();
        assert!(ran.exit >= 0, "{args:?}: {ran}");
    }
}

#[test]
fn a_signal_without_a_meaning_yet_does_not_end_the_service() {
    let world = on_demand([1]);
    let service = Service::start(&world);
    service.signal("USR2");
    service.pass(&world);
    assert_eq!(world.state_of(1), "fulfilled");
    service.stops();
}

/// A shell, a backup or a script holds the write lock for longer than a write waits.
#[test]
fn an_outcome_is_written_when_the_ledger_was_locked_for_longer_than_a_write_waits() {
    let mut world = on_demand([1]);
    delivered_when_let_go(&mut world);
    let service = Service::start(&world);
    service.ring();
    eventually("the delivery begins", || begun(&world) == [1]);
    let other = rusqlite::Connection::open(world.ledger_path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.file("let-go", "");
    eventually("the outcome cannot be written", || service.said("that cannot be written yet"));
    other.execute_batch("ROLLBACK").unwrap();
    eventually("the pass ends", || finished(&world) == 1);
    assert_eq!(
        (world.last_pass()["error"].as_str(), world.state_of(1).as_str()),
        (None, "fulfilled"),
        "{}",
        service.log()
    );
    assert_eq!(world.attempts(1)[0]["outcome"], "delivered");
    service.stops();
}

#[test]
fn where_an_outcome_cannot_be_written_the_service_says_so_and_ends_and_starts_nothing_more() {
    let mut world = on_demand([1, 2]);
    delivered_when_let_go(&mut world);
    let mut service = Service::start(&world);
    service.ring();
    eventually("the delivery begins", || begun(&world) == [1]);
    world.forge("CREATE TRIGGER harm BEFORE UPDATE OF outcome ON attempts BEGIN SELECT RAISE(ABORT, 'not today'); END");
    world.file("let-go", "");
    assert_eq!(service.ends().code(), Some(1), "{}", service.log());
    assert_eq!(begun(&world), [1], "{}", service.log());
    let said = service.log();
    let loud = said.lines().find(|line| line.contains("ERROR") && line.contains("could not be written to the ledger"));
    let loud = loud.unwrap_or_else(|| panic!("{said}"));
    for words in ["commission 1", "`delivered`", "Nothing more is started", "makegood record 1", "not today"] {
        assert!(loud.contains(words), "{words}: {loud}");
    }
    world.forge("DROP TRIGGER harm");
    world.run(&["record", "1"]).exits(0);
    world.once().exits(0);
    assert_eq!([1, 2].map(|id| world.state_of(id)), ["fulfilled", "fulfilled"]);
    assert_eq!(world.attempts(1).len(), 1);
}
