//! The program under test as a child: how long it took, and what the kernel counted of it.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Value;

/// How often the high-water mark of a child's memory is read. Only what grows in its last moments is missed.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Of `/proc/PID/stat`, on every Linux.
const TICKS_A_SECOND: f64 = 100.0;
/// The calls by which something is brought to the disk.
pub(crate) const SYNCS: &str = "fsync,fdatasync,sync_file_range,msync";

/// What a child did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    /// From its start to its end, in seconds.
    pub(crate) wall: f64,
    /// Of all its threads, in user and kernel mode, in seconds.
    pub(crate) cpu: f64,
    /// The most memory that was ever resident, in millions of bytes.
    pub(crate) peak_mb: f64,
    /// System calls that read from a file (`/proc/PID/io`, `syscr`).
    pub(crate) reads: f64,
    pub(crate) stdout: String,
    stderr: String,
}

impl Ran {
    /// It must have done its work: 0, or 3 (something needs a person).
    pub(crate) fn done(self) -> anyhow::Result<Self> {
        ensure!(matches!(self.code, 0 | 3), "exit {}: {}{}", self.code, tail(&self.stdout), tail(&self.stderr));
        Ok(self)
    }

    /// A number of the report of `once --json`.
    pub(crate) fn count(&self, field: &str) -> anyhow::Result<u64> {
        let report: Value = serde_json::from_str(&self.stdout).context("the report is not JSON")?;
        report[field].as_u64().with_context(|| format!("the report has no {field}"))
    }
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(2_000);
    text.get(from..).unwrap_or(text)
}

/// Runs it to its end. Its output goes through files in `folder`, so that nobody waits for a reader.
pub(crate) fn run(mut command: Command, folder: &Path) -> anyhow::Result<Ran> {
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let begun = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let pid = Pid::from_child(&child);
    let watch = Watch::start(pid.as_raw_nonzero().get());
    // It stays a zombie, so that the kernel's counts of it can still be read.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let wall = begun.elapsed().as_secs_f64();
    let peak_mb = watch.end();
    let ran = counts(child)?;
    let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Ran { wall, peak_mb, stdout: text(&out)?, stderr: text(&err)?, ..ran })
}

fn counts(mut child: Child) -> anyhow::Result<Ran> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id()));
    let (stat, io) = (read("stat")?, read("io").unwrap_or_default());
    // The second field, a name in parentheses, may contain anything.
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<f64>().ok()).sum();
    let reads = io.lines().find_map(|line| line.strip_prefix("syscr: ")?.trim().parse().ok());
    let code = child.wait()?.code().unwrap_or(-1);
    Ok(Ran {
        code,
        wall: 0.0,
        cpu: ticks / TICKS_A_SECOND,
        peak_mb: 0.0,
        reads: reads.unwrap_or(f64::NAN),
        stdout: String::new(),
        stderr: String::new(),
    })
}

/// Reads the high-water mark of a process's memory (`VmHWM`) until it ends. It never falls, so the last one counts.
struct Watch {
    over: Arc<AtomicBool>,
    peak_kb: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Watch {
    fn start(pid: i32) -> Self {
        let (over, peak_kb) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, told) = (Arc::clone(&over), Arc::clone(&peak_kb));
        let look = move || {
            while !ends.load(Ordering::Relaxed) {
                if let Some(kb) = high_water_kb(pid) {
                    told.fetch_max(kb, Ordering::Relaxed);
                }
                thread::sleep(LOOK_EVERY);
            }
        };
        Self { over, peak_kb, thread: thread::spawn(look) }
    }

    fn end(self) -> f64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().ok();
        #[allow(clippy::cast_precision_loss, reason = "memory of a process")]
        let kb = self.peak_kb.load(Ordering::Relaxed) as f64;
        kb * 1024.0 / 1e6
    }
}

fn high_water_kb(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Whether `strace` is there and may trace a child.
pub(crate) fn strace_works() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "true"]);
    strace.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The same command under `strace` with these arguments. Only the calls that are traced are slowed (`--seccomp-bpf`).
pub(crate) fn under_strace(command: &Command, arguments: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-qq"]).args(arguments).arg("--");
    strace.arg(command.get_program()).args(command.get_args()).env_clear();
    strace.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    strace
}

/// The calls in a summary of `strace -c`.
pub(crate) fn calls_in(summary: &str) -> f64 {
    let calls = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_sync = SYNCS.split(',').any(|call| words.last() == Some(&call));
        if is_sync { words.get(3)?.parse::<f64>().ok() } else { None }
    };
    summary.lines().filter_map(calls).sum()
}
