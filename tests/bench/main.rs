//! `cargo run --release --example bench`: what makegood costs, beside what it should cost.
//!
//! The program under test is the real binary, built like this example, as a child process. FirstPromoter and the merchant's
//! endpoint are in this process, on loopback: the project's own sandbox, or, where it would be too slow to be the other side, pages
//! that are bytes already (`pages.rs`). All rows together take about five minutes; `--quick` takes the largest ones a tenth of
//! their size. Rows by name: `cargo run --release --example bench -- syncs history-idle`.
//!
//! How each is measured:
//!
//! - `requests-*`: as the sandbox counts them, and the report must say the same. Exact, on any machine. Batches of
//!   `mark_fulfilled` end at once, or by themselves after 3 s, however often they are asked for. "Canaries": ten rewards that
//!   makegood fulfilled before, and ten that are held, half of them with ids below and half above those that are owed.
//! - `pass-*`: 1,000 owed rewards from the start of the process to its end, and the same work by the script that an engineer would
//!   write in an afternoon (`script.rs`), also a child, in the same run, in turn. The figure is the script's median of three over
//!   makegood's. FirstPromoter answers at once. A slow disk is `strace`, which lets each `fsync` and `fdatasync` of both end 2 ms
//!   late; the row is skipped where it is not installed.
//! - `syncs`: as `strace` counts them over a whole pass with 200 owed, divided by 200.
//! - `history-*`: on a ledger with a million fulfilled rewards and 525,000 passes (`history.rs`), which is in the page cache. Reads are
//!   the system calls that read from a file (`/proc/PID/io`).
//! - `held`: 100,000 rewards that are held, from the third pass on.
//! - `listing-out-of-scope`, `memory`: rows that are cash or of another campaign. CPU time is that of all threads of the child, in
//!   user and kernel mode; memory is the most that was ever resident (`VmHWM`). The download asks for the same pages one after
//!   another and looks at nothing in them.
//!
//! Not here: how long `cargo run --example sandbox` takes in a fresh clone. That is a matter of the crates and of the network.
//!
//! A number of seconds holds for the machine that is printed above the table. Run it on a machine that does nothing else.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own, for a person")]

mod child;
mod delivering;
mod history;
mod listing;
mod pages;
mod place;
mod requests;
#[path = "../sandbox/mod.rs"]
mod sandbox;
mod script;
mod table;

use std::{
    cell::{Cell, OnceCell, RefCell, RefMut},
    env,
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand};
use serde_json::json;

use history::History;
use table::{Machine, Measured};

/// What makegood costs, beside what it should cost
#[derive(Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Only these rows (all without)
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// The largest rows at a tenth of their size, and once instead of three times: to see whether it works
    #[arg(long)]
    quick: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
    /// Exit with 1 where a goal is missed
    #[arg(long)]
    strict: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What runs as a child.
#[derive(Subcommand)]
enum Part {
    /// The script that makegood is measured against
    #[command(hide = true)]
    AsScript { base_url: String, target: String, file: PathBuf },
    /// The download that makegood is measured against
    #[command(hide = true)]
    AsDownload { base_url: String },
}

/// A row of the table: its name, what it is, and how it is measured.
struct Row(&'static str, &'static str, fn(&Bench) -> anyhow::Result<Measured>);

const ROWS: [Row; 16] = [
    Row("requests-idle", "requests of an idle pass", requests::idle),
    Row("requests-standing", "requests of an idle pass with standing rows", requests::idle_standing),
    Row("requests-owed", "requests for 1/5/20/100/500/2,000 owed once there are canaries", requests::owed_rewards),
    Row("requests-slow-batches", "the same with batches that take 3 s, 100/500", requests::slow_batches),
    Row("requests-first-pass", "requests of the first pass ever, 100 owed", requests::first_pass),
    Row("pass-0ms", "1,000 owed, target at 0 ms, against the script", delivering::at_once),
    Row("pass-5ms", "the same, target at 5 ms, concurrency 16", delivering::slow_target),
    Row("pass-5ms-slow-disk", "the same, every sync 2 ms slower", delivering::slow_target_and_disk),
    Row("syncs", "syncs a reward at concurrency 1 and 16", delivering::syncs),
    Row("history-idle", "idle pass on a million fulfilled rewards and 525,000 passes", history::idle),
    Row("history-looking", "a look at that ledger", history::looking),
    Row("history-delivering", "delivering one reward there", history::delivering),
    Row("history-metrics", "metrics there", history::metrics),
    Row("held", "idle pass with 100,000 held", listing::held),
    Row("listing-out-of-scope", "1,000,000 listed rows out of scope", listing::rows_out_of_scope),
    Row("memory", "memory at 10,000 and 1,000,000 listed", listing::memory),
];

/// What the rows share.
struct Bench {
    makegood: PathBuf,
    quick: bool,
    /// Whether `strace` can be used.
    strace: bool,
    history: OnceCell<RefCell<History>>,
    peak_of_a_million: OnceCell<f64>,
    last_id: Cell<i64>,
}

impl Bench {
    fn history_cell(&self) -> anyhow::Result<&RefCell<History>> {
        if self.history.get().is_none() {
            let made = History::make(self)?;
            self.history.set(RefCell::new(made)).ok();
        }
        self.history.get().context("it was just made")
    }

    /// The ledger with much history, made when it is first asked for.
    fn history(&self) -> anyhow::Result<RefMut<'_, History>> {
        Ok(self.history_cell()?.borrow_mut())
    }

    /// The id of a commission that is in no ledger yet.
    fn next_id(&self) -> i64 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.part {
        Some(Part::AsScript { base_url, target, file }) => script::script(base_url, target, file).map(|()| true),
        Some(Part::AsDownload { base_url }) => script::download(base_url).map(|()| true),
        None => bench(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> anyhow::Result<bool> {
    if let Some(unknown) = arguments.rows.iter().find(|name| !ROWS.iter().any(|Row(id, ..)| id == name)) {
        let names: Vec<&str> = ROWS.iter().map(|Row(id, ..)| *id).collect();
        bail!("there is no row {unknown}; the rows: {}", names.join(", "));
    }
    let bench = Bench {
        makegood: built_makegood()?,
        quick: arguments.quick,
        strace: child::strace_works(),
        history: OnceCell::new(),
        peak_of_a_million: OnceCell::new(),
        last_id: Cell::new(2_000_000),
    };
    let machine = Machine::here();
    if !arguments.json {
        println!("{}\n", machine.in_words());
    }
    if cfg!(debug_assertions) {
        eprintln!("warning: a debug build; only the counts mean anything. cargo run --release --example bench");
    }
    let (begun, mut rows, mut all_hold) = (Instant::now(), Vec::new(), true);
    for Row(id, what, measure) in &ROWS {
        if !arguments.rows.is_empty() && !arguments.rows.iter().any(|name| name == id) {
            continue;
        }
        let measured = measure(&bench).with_context(|| format!("row {id}"))?;
        all_hold &= measured.all_hold();
        if arguments.json {
            rows.push(measured.in_json(id, what));
        } else {
            println!("{}", measured.in_words(id, what));
        }
    }
    let seconds = begun.elapsed().as_secs();
    if arguments.json {
        let document = json!({ "machine": machine, "quick": arguments.quick, "seconds": seconds, "rows": rows });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        println!("\nIt took {seconds} s.");
    }
    Ok(all_hold || !arguments.strict)
}

/// The binary beside this example. Under cargo it is built first: `cargo run --example` builds no binaries, and an old one would
/// give the figures of an old makegood.
fn built_makegood() -> anyhow::Result<PathBuf> {
    let example = env::current_exe()?;
    let profile = example.ancestors().nth(2).context("the example is not in cargo's target directory")?;
    let binary = profile.join("makegood");
    if let Some(cargo) = env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--locked", "--bin", "makegood"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        ensure!(build.status().context("cannot start cargo")?.success(), "makegood could not be built");
    }
    ensure!(binary.exists(), "{} is not there: build it with `cargo build --release --bin makegood`", binary.display());
    Ok(binary)
}
