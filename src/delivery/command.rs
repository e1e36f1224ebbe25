//! Delivery by a `command` target: one process, the body on its stdin, its exit code as the verdict.
//!
//! Guarantees: no shell; the process never sees makegood's secrets in its environment; it neither blocks nor outgrows
//! us whatever it does with its streams; past its timeout, or when the attempt is dropped, its whole process group is
//! killed; it is always reaped.
//!
//! Assumptions: what it starts and leaves behind on purpose (another session) is its own affair.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::ExitStatusExt,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, Command},
    select,
    time::timeout,
};

use super::{Delivery, READ_MAX_BYTES, TargetError, excerpt, not_sent, receipt};
use crate::failure::Outcome;

/// `EX_TEMPFAIL` of `sysexits.h`: the command did nothing and asks to be called again.
const EX_TEMPFAIL: i32 = 75;

/// For output still in the pipe when the process is gone. More than enough for what it wrote itself; something it left
/// behind may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// For a killed process to be gone. Only one stuck in the kernel (a dead network disk) takes longer.
const BURY: Duration = Duration::from_secs(5);

/// A program and its arguments.
#[derive(Debug)]
pub(super) struct CommandTarget {
    program: String,
    arguments: Vec<String>,
    timeout: Duration,
}

/// How a process ended, and what it said: at most [`READ_MAX_BYTES`] each.
struct Ended {
    how: How,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

enum How {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    /// The operating system would not tell.
    Lost(io::Error),
}

impl CommandTarget {
    pub(super) fn new(name: &str, argv: &[String], timeout: Duration) -> Result<Self, TargetError> {
        let (program, arguments) =
            argv.split_first().ok_or_else(|| TargetError::NoProgram { target: name.to_owned() })?;
        Ok(Self { program: program.clone(), arguments: arguments.to_vec(), timeout })
    }

    /// One attempt. `body` and a line break go to stdin.
    pub(super) async fn run(&self, delivery: &Delivery, body: &[u8]) -> Outcome {
        match self.command(delivery).spawn() {
            Ok(mut child) => self.classify(&converse(&mut child, body, self.timeout).await),
            Err(error) => not_sent(format!("{} cannot be started: {error}", self.program)),
        }
    }

    fn command(&self, delivery: &Delivery) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C on our terminal is for us, who then wait for it; and all of it can be killed.
        command.process_group(0).kill_on_drop(true);
        for name in std::env::vars_os().map(|(name, _)| name).filter(|name| is_private(name)) {
            command.env_remove(name);
        }
        command
            .env("MAKEGOOD_KEY", delivery.key.as_str())
            .env("MAKEGOOD_COMMISSION_ID", delivery.commission_id.to_string())
            .env("MAKEGOOD_UNIT", &delivery.unit)
            .env("MAKEGOOD_AMOUNT", delivery.amount.to_string())
            .env("MAKEGOOD_RECIPIENT_KIND", delivery.recipient.kind.as_str())
            .env("MAKEGOOD_RECIPIENT_EMAIL", delivery.recipient.email.as_deref().unwrap_or_default());
        command
    }

    /// The contract's paragraph, the only place that says what an end means.
    fn classify(&self, ended: &Ended) -> Outcome {
        let program = &self.program;
        let unknown = |what: String| Outcome::Unknown { detail: format!("{program} {what}"), retry_after: None };
        match &ended.how {
            How::Exited(0) => Outcome::Delivered { receipt: ended.first_line() },
            How::Exited(EX_TEMPFAIL) => {
                not_sent(format!("{program} asks to be called again (exit 75): {}", ended.said()))
            }
            How::Exited(code) => Outcome::Refused { detail: format!("{program} exited with {code}: {}", ended.said()) },
            How::Signalled(signal) => unknown(format!("was killed by signal {signal}: {}", ended.said())),
            How::TimedOut => {
                let limit = humantime::format_duration(self.timeout);
                unknown(format!("ran past its timeout of {limit} and was killed: {}", ended.said()))
            }
            How::Lost(error) => unknown(format!("was started, but how it ended is not known: {error}")),
        }
    }
}

impl Ended {
    fn first_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.stdout);
        text.lines().next().and_then(receipt)
    }

    /// What a person should read: stderr, or else stdout.
    fn said(&self) -> String {
        let texts = [&self.stderr, &self.stdout].map(|bytes| excerpt(&String::from_utf8_lossy(bytes)));
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or_else(|| "it said nothing".to_owned())
    }
}

/// Configuration (which may hold secrets) and the service manager's sockets are ours alone. Compared without regard to
/// case, as the configuration is read.
fn is_private(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    let configuration = name.strip_prefix("MAKEGOOD_").is_some_and(|rest| rest.contains("__"));
    configuration || name == "NOTIFY_SOCKET" || name.starts_with("WATCHDOG_")
}

/// Feeds the process, listens to it and waits for its end, all at once: in any other order a full pipe is a deadlock.
async fn converse(child: &mut Child, input: &[u8], limit: Duration) -> Ended {
    let mut group = Group::of(child);
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let how = {
        let talk = async {
            tokio::join!(feed(stdin, input), listen(out, &mut stdout), listen(err, &mut stderr));
        };
        let mut talk = pin!(talk);
        let mut talking = true;
        let exit = timeout(limit, async {
            loop {
                select! {
                    exit = child.wait() => break exit,
                    () = &mut talk, if talking => talking = false,
                }
            }
        });
        let exit = exit.await.ok();
        let in_time = exit.is_some();
        let exit = if in_time { exit } else { group.kill_and_bury(child).await };
        if exit.is_some() {
            group.release();
        }
        if talking {
            let _ = timeout(DRAIN, &mut talk).await;
        }
        match exit.map(How::from) {
            // That it ended by itself counts, also if we only came to know when its time was over.
            Some(exited @ How::Exited(_)) => exited,
            Some(ended @ (How::Signalled(_) | How::TimedOut | How::Lost(_))) if in_time => ended,
            Some(How::Signalled(_) | How::TimedOut | How::Lost(_)) | None => How::TimedOut,
        }
    };
    Ended { how, stdout, stderr }
}

impl From<io::Result<ExitStatus>> for How {
    fn from(exit: io::Result<ExitStatus>) -> Self {
        match exit {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Self::Exited(code),
                (None, Some(signal)) => Self::Signalled(signal),
                (None, None) => Self::Lost(io::Error::other(status.to_string())),
            },
            Err(error) => Self::Lost(error),
        }
    }
}

/// A process group that dies with this value, unless it is released first. `kill_on_drop` alone would leave behind
/// what the process has started.
struct Group(Option<Pid>);

impl Group {
    /// `child` leads its group, so that its id is the group's.
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(pid) = self.0 {
            // Fails only if none of it is left.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Kills all of it, and says how its leader ended; nothing if that takes too long.
    async fn kill_and_bury(&self, leader: &mut Child) -> Option<io::Result<ExitStatus>> {
        self.kill();
        timeout(BURY, leader.wait()).await.ok()
    }

    /// Its leader is reaped: from now on the id may come to mean another group.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes the body. A process that does not want it (EPIPE) is free not to read it.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        // With a line break, or `read` in a shell takes the line for an incomplete one.
        let _ = stdin.write_all(&[input, b"\n"].concat()).await;
    }
}

/// Reads to the end; keeps the first [`READ_MAX_BYTES`], throws away the rest.
async fn listen(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = READ_MAX_BYTES - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

#[cfg(test)]
mod tests;
