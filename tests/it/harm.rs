//! Harm that a machine does to a process: it dies at a chosen `fsync`, the disk is full from a chosen write on, the file system
//! is mounted read-only, the clock is later. Done by `tests/fixtures/harm.c`, preloaded into the real binary.
//!
//! Assumptions: `cc` is there (the bundled SQLite needs it anyway), and the binary, including SQLite, calls libc dynamically.
//! SIGKILL ends a process and keeps what the kernel has taken, so this shows the death of processes, not of machines.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::world::{Ran, Running, World};

/// Before or after the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// What happens to one command. Calls are counted from 1, and only those on the ledger's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Nothing; the calls are only counted.
    None,
    /// SIGKILL at this `fsync` or `fdatasync`.
    KilledAtSync(Moment, u64),
    /// SIGKILL before this write.
    KilledAtWrite(u64),
    /// From this write on nothing reaches the disk; half of this one does.
    FullFrom(u64),
    /// Only this `fsync` or `fdatasync` fails.
    SyncFails(u64),
    /// Each `fsync` and `fdatasync` takes this many milliseconds longer, as over a network.
    SlowSyncs(u64),
    /// Nothing opens for writing.
    ReadOnly,
    /// The time of day is this many seconds later.
    Later(u64),
    /// The machine's hosts file says that `localhost` is 127.0.0.9.
    LocalhostIsElsewhere,
    /// No pipe and no process can be watched, as beyond `fs.epoll.max_user_watches`.
    NoEpoll,
}

/// How often a command made the calls that can be harmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Calls {
    pub(crate) syncs: u64,
    pub(crate) writes: u64,
}

/// Runs a command under this harm to its end.
pub(crate) fn harmed(world: &World, harm: Harm, args: &[&str]) -> (Ran, Calls) {
    let mut command = command(world, harm, args);
    let counts = world.path("counts");
    fs::remove_file(&counts).ok();
    command.env("HARM_COUNTS", &counts);
    let ran = Running::start(command).wait();
    let text = fs::read_to_string(&counts).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a count"));
    let mut next = || numbers.next().unwrap_or_default();
    (ran, Calls { syncs: next(), writes: next() })
}

/// The command, not started yet.
pub(crate) fn command(world: &World, harm: Harm, args: &[&str]) -> Command {
    let mut command = world.command(args);
    command.env("LD_PRELOAD", library()).env("HARM_FILES", world.ledger_path());
    match harm {
        Harm::None => &mut command,
        Harm::KilledAtSync(Moment::Before, n) => command.env("HARM_KILL", format!("before:{n}")),
        Harm::KilledAtSync(Moment::After, n) => command.env("HARM_KILL", format!("after:{n}")),
        Harm::KilledAtWrite(n) => command.env("HARM_KILL", format!("write:{n}")),
        Harm::FullFrom(n) => command.env("HARM_FULL_FROM", n.to_string()),
        Harm::SyncFails(n) => command.env("HARM_SYNC_FAILS", n.to_string()),
        Harm::SlowSyncs(ms) => command.env("HARM_SLOW_MS", ms.to_string()),
        Harm::ReadOnly => command.env("HARM_READ_ONLY", "1"),
        Harm::Later(seconds) => command.env("HARM_CLOCK_S", seconds.to_string()),
        Harm::LocalhostIsElsewhere => command.env("HARM_LOCALHOST", "127.0.0.9"),
        Harm::NoEpoll => command.env("HARM_NO_EPOLL", "1"),
    };
    command
}

/// `makegood once --json`, so many seconds later.
pub(crate) fn once_later(world: &World, seconds: u64) -> Ran {
    harmed(world, Harm::Later(seconds), &["once", "--json"]).0
}

/// The library, compiled unless another test has done it.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/harm.c");
        let mut hasher = DefaultHasher::new();
        fs::read(&source).expect("the fixture").hash(&mut hasher);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(folder).expect("cargo's folder for tests");
        let library = folder.join(format!("harm-{:016x}.so", hasher.finish()));
        if !library.exists() {
            // Under another name first: other test processes may be doing the same.
            let own = folder.join(format!("harm-{}.so", std::process::id()));
            let cc =
                Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&own).arg(&source).arg("-ldl").output();
            let cc = cc.expect("a C compiler, as for the bundled SQLite");
            assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
            fs::rename(&own, &library).expect("the same folder");
        }
        library
    })
}
