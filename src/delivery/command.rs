//! Delivery by a `command` target: one process, the body on its stdin, its exit code as the verdict.
//!
//! Guarantees: no shell; the process gets an environment of its own, with nothing in it but what the manual lists; it neither blocks
//! nor outgrows us whatever it does with its streams; when it ends, past its timeout, or when the attempt is dropped, its whole process
//! group is killed; it is always reaped. "Not delivered" is only said of a program that did not start, or that says so (exit 75).
//!
//! Assumptions: what it starts and leaves behind on purpose (another session) is its own affair. It runs as makegood's user, and may
//! read what that user may read.

use std::{collections::BTreeMap, ffi::OsString, pin::pin, process::Command, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::unix::pipe::Sender,
    select,
    time::timeout,
};

use self::process::{Exit, Process, StartError, Streams};
use super::{Delivery, READ_MAX_BYTES, TargetError, excerpt, not_sent, receipt};
use crate::failure::Outcome;

mod process;

/// `EX_TEMPFAIL` of `sysexits.h`: the command did nothing and asks to be called again.
const EX_TEMPFAIL: i32 = 75;

/// From here on an exit code is a shell's word for a signal (143: SIGTERM) that ended what it ran, wherever that was just then.
const SIGNALLED: i32 = 128;

/// For output still in the pipe when the process is gone. More than enough for what it wrote itself; something it left
/// behind may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// What a command gets of makegood's own environment, besides what `pass_env` names.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// A program, its arguments, and what it sees besides the delivery.
#[derive(Debug)]
pub(super) struct CommandTarget {
    /// Never empty.
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    pass_env: Vec<String>,
    timeout: Duration,
}

/// How a process ended, and what it said: at most [`READ_MAX_BYTES`] each.
struct Ended {
    how: How,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

enum How {
    Ended(Exit),
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
                Outcome::Unknown { detail: format!("{program} was perhaps started: {error}"), retry_after: None }
            }
        }
    }

    /// All that the command sees: an allow-list, because what makegood was started with may hold its secrets. Later ones win.
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

    /// The manual's paragraph, the only place that says what an end means.
    fn classify(&self, ended: &Ended) -> Outcome {
        let program = &self.argv[0];
        let unknown = |what: String| Outcome::Unknown { detail: format!("{program} {what}"), retry_after: None };
        match &ended.how {
            How::Ended(Exit::Code(0)) => Outcome::Delivered { receipt: ended.first_line() },
            How::Ended(Exit::Code(EX_TEMPFAIL)) => {
                not_sent(format!("{program} asks to be called again (exit 75): {}", ended.said()))
            }
            How::Ended(Exit::Code(code @ SIGNALLED..)) => unknown(format!("exited with {code}: {}", ended.said())),
            How::Ended(Exit::Code(code)) => {
                Outcome::Refused { detail: format!("{program} exited with {code}: {}", ended.said()) }
            }
            How::Ended(Exit::Signal(signal)) => unknown(format!("was killed by signal {signal}: {}", ended.said())),
            How::TimedOut => {
                let limit = humantime::format_duration(self.timeout);
                unknown(format!("ran past its timeout of {limit} and was killed: {}", ended.said()))
            }
            How::Ended(Exit::Lost(error)) => unknown(format!("was started, but how it ended is not known: {error}")),
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

/// Feeds the process, listens to it and waits for its end, all at once: in any other order a full pipe is a deadlock.
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
                // That it ended by itself counts, also if we only came to know when its time was over.
                Some(exit @ Exit::Code(_)) => How::Ended(exit),
                Some(Exit::Signal(_) | Exit::Lost(_)) | None => How::TimedOut,
            },
        };
        if talking {
            let _ = timeout(DRAIN, &mut talk).await;
        }
        how
    };
    Ended { how, stdout, stderr }
}

/// Writes the body. A process that does not want it (EPIPE) is free not to read it.
async fn feed(mut stdin: Sender, input: &[u8]) {
    // With a line break, or `read` in a shell takes the line for an incomplete one.
    let _ = stdin.write_all(&[input, b"\n"].concat()).await;
}

/// Reads to the end; keeps the first [`READ_MAX_BYTES`], throws away the rest.
async fn listen(mut pipe: impl AsyncRead + Unpin, kept: &mut Vec<u8>) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = READ_MAX_BYTES - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

#[cfg(test)]
mod tests;
