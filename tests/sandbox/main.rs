//! `cargo run --example sandbox`: the main job, against a FirstPromoter and a merchant of our own on loopback.
//!
//! Prints the world before, runs `makegood once`, prints the world after. The world is kept beside the ledger, so that
//! running it again shows that nothing is left to do.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what the example is for")]

#[path = "mod.rs"]
mod sandbox;
mod show;

use std::{
    env, fs, io,
    path::{Path, PathBuf, absolute},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use sandbox::{Sandbox, World, small_world};
use tokio::signal::unix::{SignalKind, signal};

/// The ports of `--serve`. Others are used where these are taken.
const SERVE_PORTS: (u16, u16) = (8787, 8788);
/// The time between two looks of `--serve` for new requests.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A FirstPromoter and a merchant on loopback, and makegood between them.
#[derive(Parser)]
#[command(name = "sandbox")]
struct Arguments {
    /// Forget the ledger and the world of earlier runs
    #[arg(long)]
    fresh: bool,
    /// Keep FirstPromoter and the merchant running, to try things by hand
    #[arg(long)]
    serve: bool,
    /// The ledger; the world and the configuration are kept beside it
    #[arg(default_value = "sandbox-ledger.db")]
    ledger_path: PathBuf,
}

/// The files that the example leaves behind.
struct Files {
    ledger: PathBuf,
    world: PathBuf,
    config: PathBuf,
}

impl Files {
    fn beside(ledger: &Path) -> anyhow::Result<Self> {
        let ledger = absolute(ledger)?;
        let name = ledger.file_name().context("the ledger's path names no file")?.to_string_lossy().into_owned();
        let stem = name.strip_suffix(".db").unwrap_or(&name);
        let (world, config) = (format!("{stem}-world.json"), format!("{stem}.toml"));
        Ok(Self { world: ledger.with_file_name(world), config: ledger.with_file_name(config), ledger })
    }

    /// Refuses a ledger or a configuration without a world beside it. It may be a real one, so it is never touched.
    fn check(&self) -> anyhow::Result<()> {
        for path in [&self.ledger, &self.config] {
            ensure!(
                self.world.exists() || !path.exists(),
                "{} exists, but not the sandbox's world {}: it may belong to real rewards. \
                 Give another path, or remove it by hand.",
                path.display(),
                self.world.display(),
            );
        }
        Ok(())
    }

    fn forget(&self) -> anyhow::Result<()> {
        let beside = ["", "-wal", "-shm", "-journal", ".lock", ".mark", ".sound"].map(|suffix| {
            let mut path = self.ledger.clone().into_os_string();
            path.push(suffix);
            PathBuf::from(path)
        });
        // The world goes last, because it shows that the other files are the sandbox's.
        for path in beside.iter().chain([&self.config, &self.world]) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let files = Files::beside(&arguments.ledger_path)?;
    files.check()?;
    if arguments.fresh {
        files.forget()?;
    }
    let sandbox = if arguments.serve {
        let (firstpromoter, merchant) = SERVE_PORTS;
        Sandbox::start_on(firstpromoter, merchant).or_else(|_| Sandbox::start_on(0, 0))?
    } else {
        Sandbox::start_on(0, 0)?
    };
    if files.world.exists() {
        let world = World::load(&files.world).with_context(|| {
            format!("cannot read the world of earlier runs, {} (--fresh starts over)", files.world.display())
        })?;
        world.enter(&sandbox);
        println!("The world as the last run left it.");
    } else {
        small_world(&sandbox);
        println!("A webhook handler was down for a day: three rewards came, six did not.");
    }
    keep(&sandbox, &files)?;
    fs::write(&files.config, sandbox.config_toml(&files.ledger))
        .with_context(|| format!("cannot write {}", files.config.display()))?;
    let makegood = built_makegood()?;
    show::world(&sandbox, "Before");
    if arguments.serve {
        show::things_to_try(&sandbox, &makegood, &files.config, &files.ledger);
        serve(&sandbox, &files)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nmakegood once {}", "-".repeat(66));
    let code = run_once(&makegood, &files.config)?;
    keep(&sandbox, &files)?;
    show::world(&sandbox, "After");
    show::ledger_commands(&makegood, &files.config, &files.ledger);
    show::next_steps(arguments.ledger_path == Path::new("sandbox-ledger.db"), &files.ledger);
    // 3 means that something needs a person. In this world something does.
    ensure!(matches!(code, Some(0 | 3)), "makegood did not complete its pass: exit code {code:?}");
    Ok(ExitCode::SUCCESS)
}

fn keep(sandbox: &Sandbox, files: &Files) -> anyhow::Result<()> {
    World::of(sandbox).save(&files.world).with_context(|| format!("cannot write {}", files.world.display()))
}

/// Runs one pass of the real makegood. Returns its exit code.
fn run_once(binary: &Path, config: &Path) -> anyhow::Result<Option<i32>> {
    let mut makegood = Command::new(binary);
    // The caller's own settings, perhaps those of a real account, must not apply here.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("MAKEGOOD_") || name == "CREDENTIALS_DIRECTORY" {
            makegood.env_remove(name);
        }
    }
    let status = makegood.arg("--config").arg(config).arg("once").status().context("cannot start makegood")?;
    Ok(status.code())
}

/// The binary beside this example. Under cargo it is built first: `cargo run --example` builds no binaries, and an old
/// one would show an old makegood.
fn built_makegood() -> anyhow::Result<PathBuf> {
    let example = env::current_exe()?;
    let profile = example.ancestors().nth(2).context("the example is not in cargo's target directory")?;
    let binary = profile.join(format!("makegood{}", env::consts::EXE_SUFFIX));
    let cargo = env::var_os("CARGO");
    if cargo.is_some() || !binary.exists() {
        let mut build = Command::new(cargo.unwrap_or_else(|| "cargo".into()));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--bin", "makegood"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        ensure!(build.status().context("cannot start cargo")?.success(), "makegood could not be built");
    }
    if !binary.exists() {
        bail!("{} is not there: build it with `cargo build --bin makegood`", binary.display());
    }
    Ok(binary)
}

/// Shows requests and keeps the world, until Ctrl-C or SIGTERM.
fn serve(sandbox: &Sandbox, files: &Files) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut kept = World::of(sandbox);
        let (mut seen, mut received) = (0, 0);
        loop {
            let is_over = tokio::select! {
                _ = interrupted.recv() => true,
                _ = terminated.recv() => true,
                _ = look.tick() => false,
            };
            (seen, received) = print_requests(sandbox, seen, received);
            let world = World::of(sandbox);
            if world != kept {
                keep(sandbox, files)?;
                kept = world;
            }
            if is_over {
                return Ok(());
            }
        }
    })
}

/// Prints the requests since these counts. Returns the present counts.
fn print_requests(sandbox: &Sandbox, seen: u64, received: usize) -> (u64, usize) {
    let firstpromoter = sandbox.firstpromoter.lock();
    let fresh = usize::try_from(firstpromoter.requests - seen).unwrap_or(usize::MAX);
    for ask in firstpromoter.log.iter().skip(firstpromoter.log.len().saturating_sub(fresh)) {
        let query = percent_decoded(&ask.query);
        println!("{}", format!("FirstPromoter  {} {}{query} {}", ask.method, ask.path, ask.body).trim_end());
    }
    let seen = firstpromoter.requests;
    drop(firstpromoter);
    let merchant = sandbox.merchant.lock();
    for ask in merchant.received.iter().skip(received) {
        println!("merchant       {} {} {}", ask.method, ask.path, ask.header("webhook-id").unwrap_or_default());
    }
    (seen, merchant.received.len())
}

fn percent_decoded(query: &str) -> String {
    let pairs = url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| format!("{name}={value}"));
    let text = pairs.collect::<Vec<_>>().join("&");
    if text.is_empty() { text } else { format!("?{text}") }
}
