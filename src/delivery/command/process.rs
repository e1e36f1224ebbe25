//! One child process: starts it, ends it, reaps it.
//!
//! Guarantees:
//! - An error of [`start`] that says `NotStarted` is certain: the program did not run and may be started again. Everything that
//!   can fail on our side comes before the fork: making the pipes, watching them, starting the thread that waits. Fork and exec
//!   come last, and their errors mean that nothing ran. Suppose the pipes were watched after the fork, and that failed: a
//!   program that runs would be reported as not started, and would be started again.
//! - The child leads a process group. When the child ends, when it is killed, or when [`Process`] is dropped, the whole group
//!   is killed and the child is reaped.
//!
//! Assumptions: a process that leaves the group on purpose (into another session) is the program's own affair.
//!
//! # The child gets signals that are meant for makegood
//!
//! A signal that is sent to every process of the unit (`systemctl kill` without `--kill-whom=main`) reaches the child as well.
//! Two things survive an exec: which signals are ignored, and which are blocked. Safe code has three ways to set them, and each
//! loses something:
//! - std's `Command` starts the child with no signal blocked, whatever the thread that starts it has blocked; anything else
//!   needs `pre_exec`, which is unsafe. makegood cannot ignore the signals itself: the service waits for them.
//! - `posix_spawn` (the crate `nix` wraps it safely) takes a mask of blocked signals. The program hands that mask on to all its
//!   children, and none of them would ever get a HUP or USR1 that is meant for it. It cannot ignore a signal.
//! - `env --ignore-signal=USR1,USR2,HUP PROGRAM` ignores them. Where the program does not exist, `env` then ends with exit code
//!   127, which means refused, and nobody can tell any more that nothing ran.
//!
//! So the program has to ignore them itself where it matters; `src/manual/operation.md` says how.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};
use thiserror::Error;
use tokio::{
    net::unix::pipe::{Receiver, Sender},
    sync::oneshot,
    time::timeout,
};

/// How long a killed process may take to end. Only one that is stuck in the kernel (a dead network disk) takes longer.
const BURY: Duration = Duration::from_secs(5);

/// How a process ended.
#[derive(Debug)]
pub(super) enum ProcessEnd {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The operating system did not tell.
    Lost(io::Error),
}

/// Why no child is running.
#[derive(Debug, Error)]
pub(super) enum StartError {
    /// It certainly did not run.
    #[error("{0}")]
    NotStarted(#[from] io::Error),
    /// It may have run.
    #[error("the thread that starts programs ended before it said how it went")]
    Unknown,
}

/// Our ends of the child's streams.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) stdin: Sender,
    pub(super) stdout: Receiver,
    pub(super) stderr: Receiver,
}

/// A running child. Dropping it kills the whole group.
#[derive(Debug)]
pub(super) struct Process {
    group: Arc<Group>,
    exit: oneshot::Receiver<ProcessEnd>,
}

/// Starts a program, with streams of ours.
pub(super) async fn start(mut command: Command) -> Result<(Process, Streams), StartError> {
    // Our ends are watched before the process exists: a failure here must not leave a process behind.
    let (stdin, ours_in) = io::pipe()?;
    let (ours_out, stdout) = io::pipe()?;
    let (ours_err, stderr) = io::pipe()?;
    let streams = Streams {
        stdin: Sender::from_owned_fd(ours_in.into())?,
        stdout: Receiver::from_owned_fd(ours_out.into())?,
        stderr: Receiver::from_owned_fd(ours_err.into())?,
    };
    let theirs: [OwnedFd; 3] = [stdin.into(), stdout.into(), stderr.into()];
    let [stdin, stdout, stderr] = theirs.map(Stdio::from);
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    // A group of its own. Ctrl-C on our terminal then reaches only us, and we wait for the child. And all of it can be killed
    // at once.
    command.process_group(0);
    let (tell, started) = oneshot::channel();
    // The thread that starts the child also waits for it. Where no thread can be started, no process is started either.
    thread::Builder::new().name("command".to_owned()).spawn(move || {
        let leader = spawn(&mut command);
        // This closes our copies of the child's ends of the pipes. Otherwise we would never see them close.
        drop(command);
        match leader {
            Ok(leader) => {
                let group = Arc::new(Group { leader, reaped: Mutex::new(false) });
                let (tell_exit, exit) = oneshot::channel();
                // Where the attempt was dropped meanwhile, this drops the process, which kills it.
                drop(tell.send(Ok(Process { group: Arc::clone(&group), exit })));
                let _nobody_listens = tell_exit.send(group.wait());
            }
            Err(error) => drop(tell.send(Err(error))),
        }
    })?;
    let process = started.await.map_err(|_| StartError::Unknown)??;
    Ok((process, streams))
}

/// An error of std's `spawn` comes from fork, or from exec in the child, and means that nothing ran.
fn spawn(command: &mut Command) -> io::Result<Pid> {
    let child = command.spawn()?;
    // Dropping `child` neither kills nor reaps it.
    Ok(Pid::from_child(&child))
}

/// A process group, by its leader.
#[derive(Debug)]
struct Group {
    leader: Pid,
    /// Whether the leader was reaped. After that its number may belong to another group.
    reaped: Mutex<bool>,
}

impl Group {
    /// Kills the whole group, unless its leader was reaped.
    fn kill(&self) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // Fails only where no process is left.
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
    }

    /// Waits for the leader to end, kills the rest of the group, and then reaps the leader. In this order, because its number
    /// cannot be reused before it is reaped.
    fn wait(&self) -> ProcessEnd {
        let wait = |options| rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.leader), options));
        let seen = wait(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let mut reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_ok() {
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
        let exit = seen.and_then(|_| wait(WaitIdOptions::EXITED));
        *reaped = true;
        match exit {
            Ok(Some(status)) => ProcessEnd::from(&status),
            Ok(None) => ProcessEnd::Lost(io::Error::other("it ended without a status")),
            Err(error) => ProcessEnd::Lost(error.into()),
        }
    }
}

impl From<&WaitIdStatus> for ProcessEnd {
    fn from(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Lost(io::Error::other(format!("{status:?}"))),
        }
    }
}

impl Process {
    /// Waits for the end. May be dropped and called again until then.
    pub(super) async fn ended(&mut self) -> ProcessEnd {
        let lost = || ProcessEnd::Lost(io::Error::other("the thread that waited for it ended"));
        (&mut self.exit).await.unwrap_or_else(|_| lost())
    }

    /// Kills the whole group and returns how the leader ended; none where that takes too long.
    pub(super) async fn kill_and_bury(&mut self) -> Option<ProcessEnd> {
        self.group.kill();
        timeout(BURY, self.ended()).await.ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.kill();
    }
}
