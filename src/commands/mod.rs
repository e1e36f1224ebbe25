//! The commands, each in a file of its own. Each ends in an [`Exit`].
//!
//! Reports go to stdout, as text or as one JSON document. Everything else goes to stderr.

mod check;
mod handler;
mod help;
mod ink;
mod ledger;
mod once;
mod packaging;
mod plan;
mod resolve;
mod reverse;
mod run;
mod show;
mod status;
mod text;

use std::{io::Write, process::ExitCode};

use serde::Serialize;
use tracing::{error, warn};

use crate::{
    cli::{Cli, Command, LedgerCommand, bounded::OWNER_MAX},
    clock::{Clock, SystemClock},
    config::{self, Config, ConfigError, NoticeSecrets, Settings, TargetKind},
    delivery::{Fingerprint, Targets},
    firstpromoter::Client,
    foreign,
    ledger::{FailureKind, Ledger, LedgerError, LockError, Resolution, become_owner, find_ledger},
    reconcile::in_full,
    service::triggers,
    telemetry,
};

/// How a command ends: the exit status, as `src/manual/operation.md` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Nothing needs a person.
    Done = 0,
    /// The command could not run, or did not complete.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Done, but the view `attention` is not empty.
    Attention = 3,
    /// Another process holds the pass.
    Busy = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<FailureKind> for Exit {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Busy => Self::Busy,
            FailureKind::Stopped
            | FailureKind::Abandoned
            | FailureKind::Unavailable
            | FailureKind::RejectedKey
            | FailureKind::Refused
            | FailureKind::UnreadableAnswer
            | FailureKind::UntrustedAnswer
            | FailureKind::TooMany
            | FailureKind::NoSuchCommission
            | FailureKind::LedgerLocked
            | FailureKind::LedgerDisk
            | FailureKind::MayHaveForgotten
            | FailureKind::LedgerDamaged
            | FailureKind::Ledger
            | FailureKind::Unwritten => Self::Failed,
        }
    }
}

/// Why a command has no report.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// This machine cannot do what the configuration asks for.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self { exit: error.kind().into(), error: error.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { exit: Exit::Failed, error }
    }
}

impl From<crate::reconcile::PassError> for Failure {
    fn from(error: crate::reconcile::PassError) -> Self {
        Self { exit: error.kind().into(), error: error.into() }
    }
}

impl From<crate::reconcile::reverse::ReverseError> for Failure {
    fn from(error: crate::reconcile::reverse::ReverseError) -> Self {
        Self { exit: Exit::Failed, error: error.into() }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self { exit: error.kind().into(), error: error.into() }
    }
}

/// Runs the command of the command line.
pub async fn dispatch(cli: &Cli) -> Exit {
    if let Err(error) = triggers::outlive_wake_ups() {
        warn!("signals that are meant for the service would end this command: {error}");
    }
    let result = match &cli.command {
        Command::Run => Box::pin(run::run(cli)).await,
        Command::Once { commissions, max_deliveries } => once::once(cli, commissions, *max_deliveries).await,
        Command::Plan => plan::plan(cli).await,
        Command::Check { offline } => check::check(cli, *offline).await,
        Command::Status => status::status(cli),
        Command::Show { whom } => show::show(cli, whom),
        Command::Resolve { id, delivered, retry, receipt, reason, dismiss: _ } => {
            let resolution = match (delivered, retry) {
                (true, _) => Resolution::Delivered(receipt.clone()),
                (false, true) => Resolution::Retry,
                (false, false) => Resolution::Dismiss,
            };
            resolve::resolve(cli, *id, &resolution, reason.as_deref())
        }
        Command::Reverse { id, reason } => reverse::reverse(cli, *id, reason).await,
        Command::Ledger { command: LedgerCommand::Accept { yes } } => ledger::accept(cli, *yes).await,
        Command::Ledger { command: LedgerCommand::Backup { file } } => ledger::backup(cli, file),
        Command::Ledger { command: LedgerCommand::Restore { file, yes } } => ledger::restore(cli, file, *yes).await,
        Command::Ledger { command: LedgerCommand::Help { words } } => {
            let below = std::iter::once("ledger".to_owned()).chain(words.iter().cloned()).chain(["--help".to_owned()]);
            help::help(cli, &below.collect::<Vec<_>>())
        }
        Command::Help { words } => help::help(cli, words),
        Command::Completions { shell } => packaging::completions(*shell),
        Command::Man { folder } => packaging::man(folder.as_deref()),
        Command::Claim { id, period, owner } => handler::claim(cli, *id, owner, *period),
        Command::Record { id, receipt, owner } => handler::record(cli, *id, owner, receipt.as_deref()),
    };
    result.unwrap_or_else(|failure| {
        let text = in_full(failure.error.as_ref());
        if cli.json {
            let _exit_tells = print_json(&serde_json::json!({ "error": text }));
        }
        if cli.command.is_service() {
            error!("{text}");
        } else {
            // A person reads this line: no timestamp, no module. Only a configuration error has several lines. Any other error
            // may quote others, and a line break in a quote would begin a line.
            let clean = if failure.exit == Exit::Usage { foreign::lines } else { foreign::line };
            let _nowhere_else_to_say_it = writeln!(std::io::stderr(), "makegood: {}", clean(&foreign::redact(&text)));
        }
        failure.exit
    })
}

/// Loads the configuration for a command that needs the ledger and no secret.
fn load(cli: &Cli) -> Result<Config, Failure> {
    let mut config = configuration(cli)?;
    enter(&mut config.settings)?;
    Ok(config)
}

/// Called before the ledger is touched: finds the ledger's real name, and as root becomes its owner. Files that only root may
/// read must be read before.
fn enter(settings: &mut Settings) -> Result<(), Failure> {
    settings.ledger.path = find_ledger(&settings.ledger.path)?;
    become_owner(&settings.ledger.path)?;
    Ok(())
}

/// Loads the configuration and logs its warnings.
fn configuration(cli: &Cli) -> Result<Config, Failure> {
    let config = config::load(&cli.config, &config::environment()?)?;
    telemetry::configure(config.settings.log);
    for warning in &config.warnings {
        warn!("{warning}");
    }
    Ok(config)
}

/// Everything that a command needs to talk to the outside.
struct Outside {
    settings: Settings,
    api: Client<SystemClock>,
    targets: Targets<SystemClock>,
    /// The addresses for heartbeats and alerts.
    addresses: NoticeSecrets,
    /// The HTTP targets for which a credential could be missing: this process has credentials, and none for these.
    unproved: Vec<String>,
}

impl Outside {
    fn open(cli: &Cli) -> Result<Self, Failure> {
        let Config { mut settings, secret_sources, .. } = configuration(cli)?;
        let secrets = config::load_secrets(&secret_sources)?;
        for useless in secret_sources.useless_credentials() {
            tracing::warn!("{useless}: nothing is taken from there; see `makegood check`");
        }
        enter(&mut settings)?;
        let api = Client::new(&settings.firstpromoter, &secrets.api_key, SystemClock).map_err(Failure::usage)?;
        let targets = Targets::new(&settings.targets, &secrets, SystemClock).map_err(Failure::usage)?;
        let is_proved = |name| secrets.targets.get(name).is_some_and(|it| it.secret.is_some() || it.bearer.is_some());
        let unproved = settings.targets.iter().filter(|(name, target)| match target.kind {
            TargetKind::Http { .. } => secret_sources.has_credentials() && !is_proved(*name),
            TargetKind::Command { .. } => false,
        });
        let unproved = unproved.map(|(name, _)| name.clone()).collect();
        Ok(Self { settings, api, targets, addresses: secrets.notice, unproved })
    }
}

/// Prints a report without secrets and without control characters except our own. A reader that has closed the pipe is no error
/// of ours.
fn print(text: &str) -> Result<(), Failure> {
    write(&ink::between_colours(&foreign::redact(text), foreign::lines))
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).context("the report could not be written to stdout").into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(anyhow::Error::from)?;
    write(&format!("{}\n", foreign::json(&foreign::redact(&text))))
}

/// [`Exit::Attention`] if something needs a person.
fn exit_for(needs_attention: bool) -> Exit {
    if needs_attention { Exit::Attention } else { Exit::Done }
}

/// Opens the ledger for writing; creates or migrates it where needed.
///
/// Attempts of 0.1 kept no fingerprint of their target. They get the fingerprint of the target that is configured now. Suppose
/// that happened only in the first pass: `resolve` migrates the ledger, then somebody changes the target's address, and the
/// pass takes the new address for that of the old attempts. It would repeat there what may have taken effect elsewhere.
fn open_to_write(settings: &Settings) -> Result<Ledger, LedgerError> {
    let ledger = Ledger::open(&settings.ledger.path, &settings.firstpromoter.account_id, SystemClock.now())?;
    ledger.adopt_fingerprints(&Fingerprint::of_all(&settings.targets))?;
    Ok(ledger)
}

/// The person who gives the command, for the journal: the one behind `sudo`, if any.
fn operator() -> String {
    let named = ["SUDO_USER", "LOGNAME", "USER"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|it| !it.is_empty());
    named.map_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()), |name| foreign::cut(&name, OWNER_MAX))
}
