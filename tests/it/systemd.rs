//! `makegood run` under systemd: the messages on `$NOTIFY_SOCKET`, the watchdog, and SIGHUP.

use std::{
    fs::File,
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    sandbox::{always, hang},
    targets::owed,
    world::{PATIENCE, World, given},
};

/// The running service, and its notify socket.
struct Watched {
    child: Child,
    ear: UnixDatagram,
    heard: Vec<String>,
    log: std::path::PathBuf,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Watched {
    fn start(world: &World, watchdog: Option<Duration>) -> Self {
        let ear = UnixDatagram::bind(world.path("notify")).unwrap();
        ear.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let log = world.path("run.log");
        let mut command = world.command(&["run"]);
        command.env("NOTIFY_SOCKET", world.path("notify"));
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Self { child: command.spawn().unwrap(), ear, heard: Vec::new(), log }
    }

    /// Waits for a message with these words and returns it. Earlier messages are dropped.
    #[track_caller]
    fn until(&mut self, words: &str) -> String {
        let begun = Instant::now();
        let mut buffer = [0; 4096];
        loop {
            assert!(
                begun.elapsed() < PATIENCE,
                "{words:?} was never said; heard: {:#?}\nlog: {}",
                self.heard,
                self.log()
            );
            let Ok(length) = self.ear.recv(&mut buffer) else { continue };
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            self.heard.push(message.clone());
            if message.contains(words) {
                return message;
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn on_demand(ids: impl IntoIterator<Item = i64>) -> World {
    let mut world = given(ids.into_iter().map(owed));
    world.set("schedule.on_start", "false").set("schedule.poll", "0 0 0 1 1 *");
    world
}

/// Writes the configuration anew, with `extra` after the sandbox's own part, where the running service reads it.
fn rewrite(world: &mut World, extra: &str) {
    world.toml(extra);
    drop(world.command(&["status"]));
}

#[test]
fn systemd_hears_that_it_is_ready_how_passes_went_and_that_it_stops() {
    let world = on_demand([1]);
    let mut service = Watched::start(&world, None);
    service.until("READY=1");
    service.signal("USR1");
    let status = service.until("STATUS=pass 1");
    assert!(status.contains("delivered 1, fulfilled 1"), "{status}");
    service.signal("TERM");
    service.until("STOPPING=1");
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
    let watchdog = service.heard.iter().any(|message| message.contains("WATCHDOG=1"));
    assert!(!watchdog, "nobody asked for a watchdog");
}

#[test]
fn the_watchdog_is_fed_while_idle_and_during_a_long_pass() {
    let world = on_demand([1]);
    let mut service = Watched::start(&world, Some(Duration::from_millis(100)));
    service.until("READY=1");
    service.until("WATCHDOG=1");
    world.sandbox.firstpromoter.lock().faults.listing = always(hang());
    service.signal("USR1");
    assert!(world.sandbox.wait_until(PATIENCE, |sandbox| sandbox.firstpromoter.requests() > 0));
    for _ in 0..5 {
        service.until("WATCHDOG=1");
    }
    assert!(world.passes().iter().all(|pass| pass["finished"].is_null()), "the pass is still under way");
}

#[test]
fn a_reload_takes_over_what_changed_and_says_what() {
    let mut world = on_demand([1]);
    world.toml("[policy]\nunits = [\"credits\"]");
    let mut service = Watched::start(&world, None);
    service.until("READY=1");
    service.signal("USR1");
    let status = service.until("STATUS=pass 1");
    assert!(status.contains("delivered 0"), "points are out of scope: {status}");

    rewrite(&mut world, "[policy]\nunits = [\"points\"]");
    service.signal("HUP");
    let reloading = service.until("RELOADING=1");
    let usec: u64 = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
        .unwrap_or_else(|| panic!("{reloading:?}"))
        .parse()
        .unwrap();
    assert!(usec > 0);
    let ready = service.until("READY=1");
    assert!(ready.contains("policy.units: credits -> points"), "{ready}");
    service.signal("USR1");
    service.until("STATUS=pass 2");
    assert_eq!(world.state_of(1), "fulfilled");
    assert!(service.log().contains("policy.units: credits -> points"));
}

#[test]
fn a_bad_file_leaves_the_old_configuration_in_force_and_the_log_says_why() {
    let mut world = on_demand([1]);
    let mut service = Watched::start(&world, None);
    service.until("READY=1");
    rewrite(&mut world, "[policy]\ngrease = \"1m\"");
    service.signal("HUP");
    service.until("RELOADING=1");
    let ready = service.until("READY=1");
    assert!(ready.contains("the old one stays in force"), "{ready}");
    assert!(service.log().contains("policy.grease") && service.log().contains("grace"), "{}", service.log());
    service.signal("USR1");
    service.until("STATUS=pass 1");
    assert_eq!(world.state_of(1), "fulfilled");
}

#[test]
fn another_account_or_ledger_needs_a_restart_and_is_refused() {
    let world = on_demand([1]);
    let mut service = Watched::start(&world, None);
    service.until("READY=1");
    let own = std::fs::read_to_string(world.path("makegood.toml")).unwrap();
    for (old, new, words) in [
        ("account_id = \"12345\"", "account_id = \"54321\"", "another firstpromoter.account_id needs a restart"),
        ("ledger.db", "other.db", "another ledger.path needs a restart"),
    ] {
        assert!(own.contains(old), "{own}");
        world.file("makegood.toml", &own.replace(old, new));
        service.signal("HUP");
        service.until("RELOADING=1");
        service.until("the old one stays in force");
        assert!(service.log().contains(words), "{}", service.log());
    }
    world.file("makegood.toml", &own);
    service.signal("USR1");
    service.until("STATUS=pass 1");
    assert_eq!(world.state_of(1), "fulfilled");
}

/// systemd gives credentials at the start only. Without its signing secret the endpoint would refuse every reward.
#[test]
fn a_new_target_whose_credential_this_process_cannot_have_needs_a_restart() {
    let mut world = on_demand([1]);
    std::fs::create_dir(world.path("credentials")).unwrap();
    let folder = world.path("credentials");
    world.env("CREDENTIALS_DIRECTORY", folder.to_str().unwrap());
    let mut service = Watched::start(&world, None);
    service.until("READY=1");
    let new = "[targets.credits]\ntype = \"http\"\nurl = \"http://127.0.0.1:9/\"\n[[routes]]\nunit = \"credits\"\ntarget = \"credits\"\n\
               [[routes]]\ntarget = \"app\"";
    rewrite(&mut world, new);
    service.signal("HUP");
    service.until("RELOADING=1");
    service.until("the old one stays in force");
    let log = service.log();
    assert!(log.contains("the target credits is new") && log.contains("systemctl restart makegood"), "{log}");
    // A file can be read at any time.
    world.file("bearer", "token-of-the-credits-endpoint");
    let file = world.path("bearer").display().to_string();
    rewrite(&mut world, &new.replace("9/\"\n", &format!("9/\"\nbearer_file = \"{file}\"\n")));
    service.signal("HUP");
    service.until("RELOADING=1");
    let ready = service.until("READY=1");
    assert!(ready.contains("reloaded: ") && !ready.contains("stays in force"), "{ready}");
}

#[test]
fn a_new_schedule_is_gone_by_after_a_reload() {
    let mut world = given([owed(1)]);
    world.set("schedule.on_start", "false");
    world.toml("[schedule]\npoll = \"0 0 0 1 1 *\"");
    let mut service = Watched::start(&world, None);
    service.until("READY=1");
    rewrite(&mut world, "[schedule]\npoll = \"* * * * * *\"");
    service.signal("HUP");
    let ready = service.until("schedule.poll");
    assert!(ready.contains("0 0 0 1 1 * -> * * * * * *"), "{ready}");
    service.until("STATUS=pass 2");
    assert_eq!(world.passes()[0]["trigger"], "schedule");
}
