//! Delivery by a `command` target: starts one process, writes the body to its stdin, and takes its exit code as the verdict.
//!
//! Guarantees: no shell. The process gets an environment of its own, with only the variables that the manual lists. Whatever
//! the process does with its streams, it neither blocks us nor fills our memory. When it ends, when it passes its timeout, or
//! when the attempt is dropped, its whole process group is killed. It is always reaped. "Not delivered" means that the program
//! did not start, or that it says so itself (exit 75).
//!
//! Assumptions: a process that the program leaves behind on purpose (in another session) is the program's own affair. The
//! program runs as makegood's user and may read everything that this user may read.

use std::{collections::BTreeMap, ffi::OsString, pin::pin, process::Command, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::unix::pipe::Sender,
    select,
    time::timeout,
};

use self::process::{Process, ProcessEnd, StartError, Streams};
use super::{Delivery, READ_MAX_BYTES, TargetError, excerpt, not_sent, receipt};
use crate::failure::Outcome;

mod process;

/// `EX_TEMPFAIL` of `sysexits.h`: the command did nothing and asks to be called again.
const EX_TEMPFAIL: i32 = 75;

/// From here on an exit code tells in a shell's way that a signal ended the program (143: SIGTERM), at whatever point it was.
const SIGNALLED: i32 = 128;

/// How long to read output that is still in the pipe after the process ended. This is more than enough for its own output; a
/// process that it left behind may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// The variables of makegood's own environment that a command gets, besides those in `pass_env`.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// A program, its arguments, and the variables that it gets besides those of the delivery.
#[derive(Debug)]
pub(super) struct CommandTarget {
    /// Never empty.
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    pass_env: Vec<String>,
    timeout: Duration,
}

/// How a process ended, and its output: at most [`READ_MAX_BYTES`] of each stream.
struct Ended {
    how: How,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

enum How {
    Ended(ProcessEnd),
    TimedOut,
}

impl CommandTarget {
    pub(super) fn new(
        name: &str,
        argv: &[String],
        env: &BTreeMap<String, String>,
        pass_env: &[String],
        timeout: Duration,
    ) -> Result<Self, TargetError> {
        if argv.is_empty() {
            return Err(TargetError::NoProgram { target: name.to_owned() });
        }
        Ok(Self { argv: argv.to_vec(), env: env.clone(), pass_env: pass_env.to_vec(), timeout })
    }

    /// One attempt. `body` and a line break go to stdin.
    pub(super) async fn run(&self, delivery: &Delivery, body: &[u8]) -> Outcome {
        let program = &self.argv[0];
        let mut command = Command::new(program);
        command.args(&self.argv[1..]).env_clear().envs(self.environment(delivery));
        match process::start(command).await {
            Ok((mut process, streams)) => self.classify(&converse(&mut process, streams, body, self.timeout).await),
            Err(error @ StartError::NotStarted(_)) => not_sent(format!("{program} cannot be started: {error}")),
            Err(error @ StartError::Unknown) => {
                Outcome::Unknown { detail: format!("{program} may have been started: {error}"), retry_after: None }
            }
        }
    }

    /// All variables that the command gets. An allow-list, because makegood's own environment may hold its secrets. Later ones
    /// win.
    fn environment(&self, delivery: &Delivery) -> BTreeMap<String, OsString> {
        let inherited = INHERITED.iter().copied().chain(self.pass_env.iter().map(String::as_str));
        let inherited = inherited.filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?)));
        let own = self.env.iter().map(|(name, value)| (name.clone(), OsString::from(value)));
        let recipient = &delivery.recipient;
        let delivery = [
            ("MAKEGOOD_KEY", delivery.key.as_str().to_owned()),
            ("MAKEGOOD_COMMISSION_ID", delivery.commission_id.to_string()),
            ("MAKEGOOD_UNIT", delivery.unit.clone()),
            ("MAKEGOOD_AMOUNT", delivery.amount.to_string()),
            ("MAKEGOOD_RECIPIENT_KIND", recipient.kind.as_str().to_owned()),
            ("MAKEGOOD_RECIPIENT_EMAIL", recipient.email.clone().unwrap_or_default()),
            ("MAKEGOOD_RECIPIENT_UID", recipient.uid.clone().unwrap_or_default()),
        ];
        let delivery = delivery.map(|(name, value)| (name.to_owned(), OsString::from(value)));
        inherited.chain(own).chain(delivery).collect()
    }

    /// The only place that says what an end means, as the manual's table has it.
    fn classify(&self, ended: &Ended) -> Outcome {
        let program = &self.argv[0];
        let unknown = |what: String| Outcome::Unknown { detail: format!("{program} {what}"), retry_after: None };
        match &ended.how {
            How::Ended(ProcessEnd::Code(0)) => Outcome::Delivered { receipt: ended.first_line() },
            How::Ended(ProcessEnd::Code(EX_TEMPFAIL)) => {
                not_sent(format!("{program} asks to be called again (exit 75): {}", ended.said()))
            }
            How::Ended(ProcessEnd::Code(code @ SIGNALLED..)) => {
                unknown(format!("exited with {code}: {}", ended.said()))
            }
            How::Ended(ProcessEnd::Code(code)) => {
                Outcome::Refused { detail: format!("{program} exited with {code}: {}", ended.said()) }
            }
            How::Ended(ProcessEnd::Signal(signal)) => {
                unknown(format!("was killed by signal {signal}: {}", ended.said()))
            }
            How::TimedOut => {
                let limit = humantime::format_duration(self.timeout);
                unknown(format!("ran past its timeout of {limit} and was killed: {}", ended.said()))
            }
            How::Ended(ProcessEnd::Lost(error)) => {
                unknown(format!("was started, but the system does not say how it ended: {error}"))
            }
        }
    }
}

impl Ended {
    fn first_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.stdout);
        text.lines().next().and_then(receipt)
    }

    /// The output for a person: stderr, or else stdout.
    fn said(&self) -> String {
        let texts = [&self.stderr, &self.stdout].map(|bytes| excerpt(&String::from_utf8_lossy(bytes)));
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or_else(|| "it said nothing".to_owned())
    }
}

/// Writes to the process, reads from it and waits for its end, all at the same time. In any other order a full pipe is a
/// deadlock.
async fn converse(process: &mut Process, streams: Streams, input: &[u8], limit: Duration) -> Ended {
    let Streams { stdin, stdout: out, stderr: err } = streams;
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
                    exit = process.ended() => break exit,
                    () = &mut talk, if talking => talking = false,
                }
            }
        });
        let how = match exit.await {
            Ok(exit) => How::Ended(exit),
            Err(_) => match process.kill_and_bury().await {
                // An exit by itself counts, even where we noticed it after the timeout.
                Some(exit @ ProcessEnd::Code(_)) => How::Ended(exit),
                Some(ProcessEnd::Signal(_) | ProcessEnd::Lost(_)) | None => How::TimedOut,
            },
        };
        if talking {
            let _ = timeout(DRAIN, &mut talk).await;
        }
        how
    };
    Ended { how, stdout, stderr }
}

/// Writes the body. A process may choose not to read it (EPIPE).
async fn feed(mut stdin: Sender, input: &[u8]) {
    // With a line break; otherwise a shell's `read` reports an incomplete line.
    let _ = stdin.write_all(&[input, b"\n"].concat()).await;
}

/// Reads to the end, keeps the first [`READ_MAX_BYTES`], drops the rest.
async fn listen(mut pipe: impl AsyncRead + Unpin, kept: &mut Vec<u8>) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = READ_MAX_BYTES - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

#[cfg(test)]
mod tests;
