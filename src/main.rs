//! The binary: parses, wires, exits. Everything else is in the library; start with `src/lib.rs`.

use std::process::ExitCode;

use clap::Parser;
use makegood::{cli::Cli, commands, telemetry};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    telemetry::init(cli.verbosity())?;
    // Secrets are in our memory and perhaps in our environment. So no core dumps, and no other process of the same user (such
    // as a command target) may read either.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("processes of the same user can read makegood's memory: {error}");
    }
    // One thread decides and writes; a second one would only wait for the ledger. Requests wait on another one:
    // `src/network.rs`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(commands::dispatch(&cli)).into())
}
