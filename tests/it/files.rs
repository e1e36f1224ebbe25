//! The files around a ledger, and who may lead makegood to others: two names for one ledger, planted links, FIFOs, and root in
//! another user's folder.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    path::Path,
};

use crate::{
    audit::at_rest,
    sandbox::{Moment, commission},
    world::{LONG_AGO, PATIENCE, World, given},
};

/// The service's user in these tests; it need not exist.
const SERVICE: u32 = 4321;

fn owed(id: i64) -> crate::sandbox::Commission {
    commission(id).approved(LONG_AGO)
}

/// Needs root; otherwise prints that it tested nothing.
fn root(test: &str) -> bool {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        eprintln!("{test}: NOT TESTED, only root can be somebody else");
    }
    is_root
}

fn give_away(path: &Path) {
    lchown(path, Some(SERVICE), Some(SERVICE)).unwrap();
}

/// A file of root's that nothing may change.
fn roots_file(world: &World, name: &str, content: &str) -> std::path::PathBuf {
    let path = world.file(name, content);
    chown(&path, Some(0), Some(0)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Takes half a minute, because the second pass waits that long.
#[test]
fn a_ledger_with_two_names_has_one_lock_and_one_mark() {
    let mut world = given([owed(1), owed(2)]);
    fs::create_dir(world.path("elsewhere")).unwrap();
    symlink(world.ledger_path(), world.path("elsewhere/link.db")).unwrap();
    world.set("firstpromoter.timeout", "5m");
    world.sandbox.gate.stop_at(1, Moment::BeforeEffect);
    let first = world.start(&["once", "--json"]);
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE));
    world.set("ledger.path", world.path("elsewhere/link.db").to_str().unwrap());
    let requests = world.sandbox.requests();
    let second = world.once().exits(4);
    assert!(second.error().contains("busy") && second.error().contains("ledger.db.lock"), "{second}");
    assert_eq!(world.sandbox.requests(), requests, "nobody was asked: {second}");
    world.sandbox.gate.open();
    first.wait().exits(0);
    world.once().exits(0);
    let beside: Vec<_> = fs::read_dir(world.path("elsewhere")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(beside, ["link.db"], "nothing is kept under the second name");
    world.set("ledger.path", world.ledger_path().to_str().unwrap());
    at_rest(&world, &[1, 2]).exits(0);
}

#[test]
fn a_link_that_leads_nowhere_is_refused_or_made_and_never_tried_for_ever() {
    let world = given([owed(1)]);
    symlink(world.path("nowhere").join("at-all"), world.ledger_path()).unwrap();
    let ran = world.once().exits(1);
    assert!(ran.error().contains("a symbolic link"), "{ran}");
    fs::remove_file(world.ledger_path()).unwrap();
    for name in ["ledger.db.mark", "ledger.db.lock"] {
        fs::remove_file(world.path(name)).ok();
        symlink(world.path("nowhere").join("at-all"), world.path(name)).unwrap();
        let ran = world.once().exits(1);
        assert!(ran.error().contains(name) && ran.error().contains("a symbolic link"), "{ran}");
        fs::remove_file(world.path(name)).unwrap();
    }
    world.once().exits(0);
    at_rest(&world, &[1]).exits(0);
}

#[test]
fn a_fifo_or_a_folder_in_the_place_of_a_file_is_named_without_waiting_for_it() {
    let world = given([owed(1)]);
    world.once().exits(0);
    let mark = fs::read(world.path("ledger.db.mark")).unwrap();
    for name in ["ledger.db.mark", "ledger.db.lock", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal"] {
        for (what, make) in [("a FIFO", "mkfifo"), ("a folder", "mkdir")] {
            fs::remove_file(world.path(name)).ok();
            let made = std::process::Command::new(make).arg(world.path(name)).status();
            assert!(made.unwrap().success());
            for args in [&["once", "--json"][..], &["plan", "--json"], &["status", "--json"], &["check", "--json"]] {
                let locks = name == "ledger.db.lock" && args[0] != "once";
                if locks || (name == "ledger.db.mark" && args[0] == "status") {
                    continue;
                }
                let ran = world.run(args).exits(1);
                assert!(ran.stdout.contains(name) && ran.stdout.contains(what), "{args:?}, {name}: {ran}");
            }
            let path = world.path(name);
            if what == "a folder" { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
        }
        fs::write(world.path("ledger.db.mark"), &mark).unwrap();
    }
    at_rest(&world, &[1]).exits(0);
}

#[test]
fn root_follows_no_link_that_the_services_user_planted() {
    if !root("root_follows_no_link_that_the_services_user_planted") {
        return;
    }
    for name in ["ledger.db", "ledger.db.lock", "ledger.db.mark", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal"]
    {
        for content in ["", "of root\n"] {
            let world = given([owed(1)]);
            world.command(&["status"]);
            let secret = roots_file(&world, "roots", content);
            give_away(&world.path("."));
            symlink(&secret, world.path(name)).unwrap();
            give_away(&world.path(name));
            let ran = world.once().exits(1);
            assert!(ran.error().contains("link"), "{name}: {ran}");
            let after = fs::metadata(&secret).unwrap();
            assert_eq!((after.uid(), after.mode() & 0o777), (0, 0o600), "{name}");
            assert_eq!(fs::read_to_string(&secret).unwrap(), content, "{name}");
            assert_eq!(world.sandbox.merchant.requests(), 0);
            fs::remove_file(world.path(name)).unwrap();
            world.once().exits(0);
        }
    }
}

#[test]
fn root_works_as_the_owner_of_the_ledgers_folder() {
    if !root("root_works_as_the_owner_of_the_ledgers_folder") {
        return;
    }
    let mut world = given([owed(1)]);
    let script = world.file("who.sh", "id -u > who; id -G >> who\n");
    world.toml(&format!(
        "[targets.who]\ntype = \"command\"\nargv = [\"sh\", '{}']\n[[routes]]\ntarget = \"who\"\n",
        script.display()
    ));
    // Files that only root may read are read all the same.
    let key = roots_file(&world, "key", &world.sandbox.firstpromoter.lock().api_key.clone());
    world.without_secrets().set("firstpromoter.api_key_file", key.to_str().unwrap());
    world.command(&["status"]);
    fs::set_permissions(world.path("makegood.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    give_away(&world.path("."));
    world.once().exits(0);
    for name in world.ledger_files().into_keys() {
        let file = fs::metadata(world.path(&name)).unwrap();
        assert_eq!((file.uid(), file.gid()), (SERVICE, SERVICE), "{name}");
    }
    assert_eq!(
        fs::read_to_string(world.path("who")).unwrap(),
        format!("{SERVICE}\n{SERVICE}\n"),
        "and so do its programs"
    );
    world.then_nothing_more_happens().exits(0);
    world.plan().exits(0);
    world.status().exits(0);
    world.run(&["check"]);

    // A copy goes where root may write, and the service's user may not.
    let vault = tempfile::tempdir().unwrap();
    let copy = vault.path().join("copy.db");
    world.run(&["ledger", "backup", copy.to_str().unwrap()]).exits(0);
    assert_eq!(fs::metadata(&copy).unwrap().uid(), 0);
}

#[test]
fn metrics_are_written_under_a_name_that_nobody_can_guess() {
    let mut world = given([owed(1)]);
    fs::create_dir(world.path("metrics")).unwrap();
    let victim = world.file("victim", "untouched");
    // Drafts of an older makegood stay. Drafts of this version are removed.
    world.file("metrics/.makegood.prom.0123456789abcdef.draft", "cut off");
    world.set("metrics.textfile", world.path("metrics/makegood.prom").to_str().unwrap());
    // Under the process id that the pass has.
    let once = world.command(&["once"]);
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .env_clear()
        .envs(once.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(world.path("."));
    shell.args(["-c", "ln -s \"$PWD/victim\" metrics/.makegood.prom.$$.tmp; exec \"$0\" \"$@\""]);
    shell.arg(once.get_program()).args(once.get_args());
    crate::world::Running::start(shell).wait().exits(0);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    let text = fs::symlink_metadata(world.path("metrics/makegood.prom")).unwrap();
    assert!(text.is_file() && text.len() > 0);
    assert!(!world.path("metrics/.makegood.prom.0123456789abcdef.draft").exists());
}
