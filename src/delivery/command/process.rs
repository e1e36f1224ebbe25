//! One child process: started, ended, reaped.
//!
//! Guarantees:
//! - An error of [`start`] that says `NotStarted` is the truth: the program did not run, and may be tried again. All that can
//!   fail on our side comes before the fork: the pipes, their watching, the thread that waits. The fork and exec come last, and
//!   their own errors mean that nothing ran. Suppose the pipes were watched after the fork, and that failed: a program that
//!   runs would be reported as not started, and would be started again.
//! - The child leads a process group. When the child ends, when it is killed, or when [`Process`] is dropped, the whole group is
//!   killed, and the child is reaped.
//!
//! Assumptions: what leaves the group on purpose (another session) is its own affair.
//!
//! # Signals that the child is not shielded from
//!
//! A signal that is sent to every process of the unit (`systemctl kill` without `--kill-whom=main`) reaches the child, too.
//! An exec keeps two things: which signals are ignored, and which are blocked. Safe code has three ways to them, and each loses
//! something:
//! - std's `Command` starts the child with no signal blocked, whatever the thread that starts it has blocked; anything else
//!   needs `pre_exec`, which is unsafe. makegood cannot ignore the signals itself: the service waits for them.
//! - `posix_spawn` (safely wrapped by the crate `nix`) takes a mask of blocked signals. The program hands that on to all that
//!   it starts, and none of them would ever hear a HUP or USR1 that is meant for it. It cannot ignore a signal.
//! - `env --ignore-signal=USR1,USR2,HUP PROGRAM` ignores them. A program that is not there then ends `env` with exit code 127,
//!   which means refused, and no longer that nothing ran.
//!
//! So the program has to do it itself where it matters; `src/manual/operation.md` says how.

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

/// For a killed process to be gone. Only one stuck in the kernel (a dead network disk) takes longer.
const BURY: Duration = Duration::from_secs(5);

/// What a process ended with.
#[derive(Debug)]
pub(super) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The operating system would not tell.
    Lost(io::Error),
}

/// Why there is no child to talk to.
#[derive(Debug, Error)]
pub(super) enum StartError {
    /// It certainly did not run.
    #[error("{0}")]
    NotStarted(#[from] io::Error),
    /// Nobody knows.
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

/// A child under way. Dropped, it is killed with its whole group.
#[derive(Debug)]
pub(super) struct Process {
    group: Arc<Group>,
    exit: oneshot::Receiver<Exit>,
}

/// Starts a program, with streams of ours.
pub(super) async fn start(mut command: Command) -> Result<(Process, Streams), StartError> {
    // Our ends are watched before there is a process that a failure could leave behind.
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
    // A group of its own: Ctrl-C on our terminal is for us, who then wait for it; and all of it can be killed.
    command.process_group(0);
    let (tell, started) = oneshot::channel();
    // The thread that starts it is the one that waits for it: where there can be no such thread, there is no process either.
    thread::Builder::new().name("command".to_owned()).spawn(move || {
        let leader = spawn(&mut command);
        // With it go the child's ends of the pipes, or nobody would see them close.
        drop(command);
        match leader {
            Ok(leader) => {
                let group = Arc::new(Group { leader, reaped: Mutex::new(false) });
                let (tell_exit, exit) = oneshot::channel();
                // Where the attempt was dropped meanwhile, so is this, which kills it.
                drop(tell.send(Ok(Process { group: Arc::clone(&group), exit })));
                let _nobody_listens = tell_exit.send(group.wait());
            }
            Err(error) => drop(tell.send(Err(error))),
        }
    })?;
    let process = started.await.map_err(|_| StartError::Unknown)??;
    Ok((process, streams))
}

/// std's error is that of fork, or of exec in the child, and means that nothing ran.
fn spawn(command: &mut Command) -> io::Result<Pid> {
    let child = command.spawn()?;
    // Dropping it neither kills nor reaps it.
    Ok(Pid::from_child(&child))
}

/// A process group, by its leader.
#[derive(Debug)]
struct Group {
    leader: Pid,
    /// From then on the number may come to mean another group.
    reaped: Mutex<bool>,
}

impl Group {
    /// Kills all of it, if its leader was not reaped yet.
    fn kill(&self) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // Fails only if none of it is left.
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
    }

    /// Waits for its leader to end, ends what it left behind, and reaps it, in this order: until it is reaped, its number is its own.
    fn wait(&self) -> Exit {
        let wait = |options| rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.leader), options));
        let seen = wait(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let mut reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_ok() {
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
        let exit = seen.and_then(|_| wait(WaitIdOptions::EXITED));
        *reaped = true;
        match exit {
            Ok(Some(status)) => Exit::from(&status),
            Ok(None) => Exit::Lost(io::Error::other("it ended without a status")),
            Err(error) => Exit::Lost(error.into()),
        }
    }
}

impl From<&WaitIdStatus> for Exit {
    fn from(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Lost(io::Error::other(format!("{status:?}"))),
        }
    }
}

impl Process {
    /// Returns when it has ended. May be dropped and called again until then.
    pub(super) async fn ended(&mut self) -> Exit {
        let lost = || Exit::Lost(io::Error::other("the thread that waited for it ended"));
        (&mut self.exit).await.unwrap_or_else(|_| lost())
    }

    /// Kills all of it, and says how its leader ended; nothing if that takes too long.
    pub(super) async fn kill_and_bury(&mut self) -> Option<Exit> {
        self.group.kill();
        timeout(BURY, self.ended()).await.ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.kill();
    }
}
