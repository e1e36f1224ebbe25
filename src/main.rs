//! The binary: parse, wire, exit code. Everything else is in the library; its first page is `src/lib.rs`.

use std::process::ExitCode;

use clap::Parser;
use makegood::{cli::Cli, commands, telemetry};

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    telemetry::init(cli.verbosity())?;
    // One thread decides and writes; a second would only have to wait for the ledger.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(commands::dispatch(&cli)).into())
}
