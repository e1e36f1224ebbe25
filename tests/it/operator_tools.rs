//! Tools for operators and packagers: backups, completions, the manual, and colour on terminals.

use std::{
    fs,
    io::Read,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::{
    sandbox::commission,
    world::{LONG_AGO, World, given},
};

#[test]
fn a_backup_is_taken_at_any_time_and_never_over_another_file() {
    let world = given([commission(1).approved(LONG_AGO)]);
    let file = world.path("backup.db").display().to_string();
    let ran = world.run(&["ledger", "backup", &file]).exits(1);
    assert!(ran.stderr.contains("there is no ledger"), "{ran}");
    world.once().exits(0);
    let ran = world.run(&["ledger", "backup", &file, "--json"]).exits(0);
    assert_eq!((ran.count("rewards"), ran.json["backup"].as_str()), (1, Some(file.as_str())), "{ran}");
    let ran = world.run(&["ledger", "backup", &file]).exits(1);
    assert!(ran.stderr.contains("exists already"), "{ran}");
}

/// As the manual shows it.
#[test]
fn a_restored_backup_delivers_nothing_before_a_person_has_accepted_it() {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.once().exits(0);
    let file = world.path("backup.db").display().to_string();
    world.run(&["ledger", "backup", &file]).exits(0);
    world.sandbox.firstpromoter.add(commission(2).approved(LONG_AGO));
    world.once().exits(0);
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(world.path(&format!("ledger.db{suffix}"))).ok();
    }
    fs::copy(&file, world.ledger_path()).unwrap();
    world.sandbox.firstpromoter.unfulfil(2);
    let ran = world.once().exits(1);
    assert!(ran.error().contains("makegood ledger accept"), "{ran}");
    assert_eq!(world.sandbox.merchant.effects_of(2).len(), 1);
    let look = world.run(&["ledger", "accept"]).exits(0);
    assert!(look.stdout.contains("At stake") && look.stdout.contains(" 2 "), "{look}");
    world.run(&["record", "2"]).exits(0);
    world.run(&["ledger", "accept", "--yes"]).exits(0);
    world.once().exits(0);
    assert_eq!((world.state_of(2).as_str(), world.sandbox.merchant.effects_of(2).len()), ("fulfilled", 1));
}

#[test]
fn completions_are_there_for_every_shell_and_need_no_configuration() {
    let world = given([]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = bare(&world, &["completions", shell]);
        assert!(ran.contains("makegood") && ran.contains("resolve"), "{shell}: {ran}");
    }
    world.run(&["completions", "tcsh"]).exits(2);
}

#[test]
fn the_manual_has_a_page_a_command() {
    let world = given([]);
    let page = bare(&world, &["man"]);
    for words in [".TH makegood 1", ".SH \"EXIT STATUS\"", "makegood\\-once(1)", "makegood\\-ledger(5)"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let folder = world.path("man");
    let listed = bare(&world, &["man", &folder.display().to_string()]);
    for name in [
        "makegood.1",
        "makegood-once.1",
        "makegood-check.1",
        "makegood-ledger-backup.1",
        "makegood.toml.5",
        "makegood-ledger.5",
        "makegood-delivery.7",
    ] {
        assert!(folder.join(name).exists() && listed.contains(name), "{name}: {listed}");
    }
    assert!(!folder.join("makegood-completions.1").exists(), "what --help hides has no page");
}

#[test]
fn help_prints_a_topic_of_the_manual_or_what_clap_says_of_a_command() {
    let world = given([]);
    for (topic, words) in [
        ("delivery", "Idempotency-Key"),
        ("ledger", "outcome_unknown"),
        ("decisions", "max_deliveries_per_pass"),
        ("configuration", "deliver_from"),
        ("operation", "SIGUSR1"),
    ] {
        let shown = bare(&world, &["help", topic]);
        assert!(shown.contains(words), "{topic}: {shown}");
        let json: serde_json::Value = serde_json::from_str(&bare(&world, &["help", topic, "--json"])).unwrap();
        assert_eq!(json["topic"], topic);
    }
    assert_eq!(bare(&world, &["help", "once"]), bare(&world, &["once", "--help"]));
    assert_eq!(bare(&world, &["help"]), bare(&world, &["--help"]));
    for words in [&["help", "ledger", "backup"][..], &["ledger", "help", "backup"]] {
        assert_eq!(bare(&world, words), bare(&world, &["ledger", "backup", "--help"]), "{words:?}");
    }
    let ran = world.run(&["help", "nonsense"]).exits(2);
    assert!(ran.stderr.contains("configuration"), "the topics there are: {ran}");
}

#[test]
fn the_short_help_fits_eighty_columns_and_hides_what_packagers_need() {
    let world = given([]);
    let help = bare(&world, &["-h"]);
    assert!(!help.contains("completions") && help.contains("reverse") && help.contains("check"), "{help}");
}

/// stdout of a command without any configuration.
fn bare(world: &World, args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_makegood"))
        .env_clear()
        .current_dir(world.path(""))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Runs it on a terminal of its own, and returns what it shows.
fn on_a_terminal(world: &World, args: &[&str]) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = || OwnedFd::from(fs::OpenOptions::new().read(true).write(true).open(&name).unwrap());
    let mut command = world.command(args);
    let mut child = command.stdin(Stdio::null()).stdout(theirs()).stderr(theirs()).spawn().unwrap();
    drop(command); // closes our copies of their side
    let mut shown = Vec::new();
    // Reading fails when the last copy of their side is closed: that is the end.
    let _end = fs::File::from(ours).read_to_end(&mut shown);
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn colour_is_for_terminals_and_no_color_is_honoured() {
    let mut world = given([commission(1).approved(LONG_AGO), commission(2).approved(LONG_AGO).suspected("ad_source")]);
    world.once().exits(3);
    for args in [&["status"][..], &["show", "2"], &["plan", "-q"], &["once", "-q"], &["check"]] {
        let colours = |shown: &str| shown.contains("\u{1b}[");
        assert!(colours(&on_a_terminal(&world, args)), "{args:?}");
        assert!(!colours(&world.run(args).stdout), "{args:?} into a file");
        world.env("NO_COLOR", "1");
        assert!(!colours(&on_a_terminal(&world, args)), "{args:?} with NO_COLOR");
        world.env("NO_COLOR", "");
    }
    assert!(!on_a_terminal(&world, &["status", "--json"]).contains('\u{1b}'), "JSON is never coloured");
}
