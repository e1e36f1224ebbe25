//! "Open it read-only at any time": another user in the ledger's group reads it with common tools, while the service runs,
//! after a stop, and after a kill.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    process::{Command, Output},
};

use crate::{
    sandbox::commission,
    service::eventually,
    world::{LONG_AGO, World, copy_program, given},
};

/// The service's user and group, and the reader; they need not exist.
const SERVICE: u32 = 4321;
const READER: u32 = 65534;

const PYTHON: &str = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1], uri=True)
print(db.execute('SELECT count(*) FROM rewards').fetchone()[0])";

/// The commands that read. Those that this machine does not have are named and left out.
fn tools() -> Vec<(&'static str, Vec<&'static str>)> {
    let all = [
        ("sqlite3", vec!["sqlite3"]),
        // Not simply the first in the PATH: it may be in a home directory that others cannot read.
        ("python3", vec!["/usr/bin/python3", "-c", PYTHON]),
    ];
    let there = |(name, argv): &(&str, Vec<&str>)| {
        let found = as_reader(&["which", argv[0]]).is_some_and(|it| it.status.success());
        if !found {
            eprintln!("readers: NOT TESTED with {name}, which is not here");
        }
        found
    };
    all.into_iter().filter(there).collect()
}

fn as_reader(argv: &[&str]) -> Option<Output> {
    let (uid, gid) = (READER.to_string(), SERVICE.to_string());
    let ids = ["--reuid", &uid, "--regid", &uid, "--groups", &gid];
    Command::new("setpriv").args(ids).args(argv).current_dir("/").output().ok()
}

#[track_caller]
fn everybody_reads(world: &World, tools: &[(&str, Vec<&str>)], rewards: usize, when: &str) {
    let uri = format!("file:{}?mode=ro", world.ledger_path().display());
    for (name, argv) in tools {
        let mut argv = argv.clone();
        argv.push(&uri);
        if *name == "sqlite3" {
            argv.push("SELECT count(*) FROM rewards");
        }
        let output = as_reader(&argv).unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(out.trim(), rewards.to_string(), "{name}, {when}: {err}");
    }
    let binary = world.path("makegood");
    let config = world.path("makegood.toml");
    let output =
        as_reader(&[binary.to_str().unwrap(), "--config", config.to_str().unwrap(), "status", "--json"]).unwrap();
    assert_eq!(output.status.code(), Some(0), "status, {when}: {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_member_of_the_group_reads_while_it_runs_after_a_stop_and_after_a_kill() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root || as_reader(&["true"]).is_none_or(|it| !it.status.success()) {
        eprintln!("readers: NOT TESTED, it takes root and setpriv to be another user");
        return;
    }
    let tools = tools();
    let world = given([commission(1).approved(LONG_AGO)]);
    world.command(&["status"]);
    // With the mode that systemd gives it: StateDirectoryMode=0750.
    chown(world.path("."), Some(SERVICE), Some(SERVICE)).unwrap();
    fs::set_permissions(world.path("."), fs::Permissions::from_mode(0o750)).unwrap();
    copy_program(env!("CARGO_BIN_EXE_makegood"), &world.path("makegood"));
    world.once().exits(0);
    everybody_reads(&world, &tools, 1, "after a pass");

    let serve = |id: i64| {
        world.sandbox.firstpromoter.add(commission(id).approved(LONG_AGO));
        let service = world.start(&["run"]);
        eventually("the pass at the start delivers", || world.state_of(id) == "fulfilled");
        eventually("and ends", || world.last_pass()["finished"].is_string());
        service
    };
    let mut service = serve(2);
    everybody_reads(&world, &tools, 2, "while it runs");
    service.kill();
    drop(service);
    everybody_reads(&world, &tools, 2, "after a kill");
    let service = serve(3);
    service.signal("TERM");
    service.wait().exits(0);
    everybody_reads(&world, &tools, 3, "after a stop");
    world.then_nothing_more_happens().exits(0);
    for suffix in ["", "-wal", "-shm"] {
        let file = fs::metadata(world.path(&format!("ledger.db{suffix}"))).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (SERVICE, SERVICE, 0o640), "{suffix:?}");
    }
}
