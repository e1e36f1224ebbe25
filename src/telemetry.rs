//! The log: to stderr or to the journal, so that stdout has only the report.
//!
//! The log begins before the configuration is read: [`init`] guesses its form, and [`configure`] corrects it later.
//!
//! Guarantees: the crates that handle requests as bytes (HTTP, TLS) never log below a warning, whatever `RUST_LOG`, `log.level`
//! and the format say, because their finer levels print headers and bodies, and so secrets. No entry holds a secret, or text
//! that a terminal would obey: `Clean` comes before every format. Levels from the command line or `RUST_LOG` go before the
//! configuration.
//!
//! Assumptions: the program calls this once, before it logs anything. The format is settled before the first span is opened:
//! tracing-journald panics at a span that it did not see opened.

use std::{
    io::{IsTerminal, stderr},
    os::{fd::AsFd, unix::fs::MetadataExt},
    sync::{Once, OnceLock},
};

use tracing::{Level, Metadata, Subscriber, warn};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::filter_fn,
    fmt::{self, MakeWriter},
    layer::{Layered, SubscriberExt},
    reload,
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{LogFormat, LogLevel, LogSettings};
use clean::Clean;

mod clean;

/// Crates that see requests as bytes. A target is one of these, or below it (`hyper::proto`).
const WIRE: [&str; 10] = [
    "h2",
    "hyper",
    "hyper_rustls",
    "hyper_util",
    "reqwest",
    "rustls",
    "rustls_platform_verifier",
    "tokio_rustls",
    "tower",
    "tower_http",
];

/// How much to log, from `-q` and `-v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// `-q`: warnings and errors.
    Quiet,
    /// As `log.level` says; before it is read, the changes and a summary of each pass.
    #[default]
    Configured,
    /// The changes, and a summary of each pass.
    Normal,
    /// `-v`: the reasons as well.
    Verbose,
    /// `-vv`: everything that makegood itself logs.
    VeryVerbose,
}

impl Verbosity {
    /// From the numbers of `-q` and `-v`; `-q` wins.
    pub fn from_flags(quiet: bool, verbose: u8) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (false, 0) => Self::Normal,
            (false, 1) => Self::Verbose,
            (false, _) => Self::VeryVerbose,
        }
    }

    fn level(self) -> LogLevel {
        match self {
            Self::Quiet => LogLevel::Warn,
            Self::Configured | Self::Normal => LogLevel::Info,
            Self::Verbose => LogLevel::Debug,
            Self::VeryVerbose => LogLevel::Trace,
        }
    }
}

/// In `RUST_LOG`'s language. Other crates log only warnings; the scheduler is noisy at info.
fn directives(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,makegood=info",
        LogLevel::Debug => "warn,makegood=debug",
        LogLevel::Trace => "warn,makegood=trace",
    }
}

/// Writes entries; does not select them.
type Output = Box<dyn Layer<Registry> + Send + Sync>;
/// The layer below the levels.
type Outputs = Layered<reload::Layer<Output, Registry>, Registry>;

/// The running log: the parts of it that may change.
#[derive(Clone)]
pub struct Handle {
    levels: reload::Handle<EnvFilter, Outputs>,
    output: reload::Handle<Output, Registry>,
    /// Whether neither the command line nor `RUST_LOG` sets the level.
    configurable: bool,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("configurable", &self.configurable).finish_non_exhaustive()
    }
}

static HANDLE: OnceLock<Handle> = OnceLock::new();

/// The log that [`init`] began; none before that, and none in tests.
pub fn handle() -> Option<&'static Handle> {
    HANDLE.get()
}

impl Handle {
    /// Logs nothing less important than `level` from now on. Returns false and changes nothing where the command line or
    /// `RUST_LOG` decides.
    pub fn set_level(&self, level: LogLevel) -> bool {
        self.configurable && self.levels.reload(EnvFilter::new(directives(level))).is_ok()
    }

    fn configure(&self, settings: LogSettings) {
        self.set_level(settings.level);
        if settings.format != LogFormat::Auto {
            let (output, problem) = output(settings.format);
            let _the_log_lives_as_long_as_the_process = self.output.reload(output);
            if let Some(problem) = problem {
                warn!("{problem}");
            }
        }
    }
}

/// Begins the log: in the journal where stderr is the journal; for a person on a terminal (in colour, unless `NO_COLOR` is
/// set); else one line for each event, without escape sequences. `RUST_LOG`, if set and readable, replaces `verbosity`.
pub fn init(verbosity: Verbosity) -> Result<(), TryInitError> {
    let wish = std::env::var("RUST_LOG").ok().filter(|text| !text.trim().is_empty());
    let (filter, unread) = filter(verbosity, wish.as_deref());
    let (subscriber, mut handle) = stack(filter, output(LogFormat::Auto).0);
    subscriber.try_init()?;
    handle.configurable = verbosity == Verbosity::Configured && (wish.is_none() || unread.is_some());
    let _only_the_first_counts = HANDLE.set(handle);
    if let Some(error) = unread {
        warn!(%error, "RUST_LOG cannot be read and is ignored: write it as in RUST_LOG=makegood=debug");
    }
    Ok(())
}

/// Applies the configuration. Does nothing the second time (a reload only sets the level).
pub fn configure(settings: LogSettings) {
    static ONCE: Once = Once::new();
    let Some(handle) = handle() else { return };
    ONCE.call_once(|| handle.configure(settings));
}

/// The levels, and what is wrong with `wish` (the text of `RUST_LOG`), if anything.
fn filter(verbosity: Verbosity, wish: Option<&str>) -> (EnvFilter, Option<String>) {
    let own = || EnvFilter::new(directives(verbosity.level()));
    match wish.map(EnvFilter::try_new) {
        None => (own(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (own(), Some(error.to_string())),
    }
}

/// Writes to `output` whatever both the levels and [`is_safe`] allow.
fn stack(filter: EnvFilter, output: Output) -> (impl Subscriber + Send + Sync, Handle) {
    let (output, output_handle) = reload::Layer::new(output);
    let (levels, levels_handle) = reload::Layer::new(filter);
    let subscriber = Registry::default().with(output).with(levels).with(filter_fn(is_safe));
    (subscriber, Handle { levels: levels_handle, output: output_handle, configurable: true })
}

/// Whether an event may be logged at all: see the module's guarantee.
fn is_safe(event: &Metadata<'_>) -> bool {
    let krate = event.target().split("::").next().unwrap_or_default();
    *event.level() <= Level::WARN || !WIRE.contains(&krate)
}

/// Where entries go and in which form, and why not as configured, if so.
fn output(format: LogFormat) -> (Output, Option<String>) {
    let terminal = stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let human = || human(stderr, terminal, colour);
    match format {
        LogFormat::Auto if stderr_is_journal() => (journald().unwrap_or_else(|_| human()), None),
        LogFormat::Auto | LogFormat::Human => (human(), None),
        LogFormat::Json => (json(stderr), None),
        LogFormat::Journald => match journald() {
            Ok(output) => (output, None),
            Err(error) => {
                let problem =
                    format!("log.format: systemd's journal cannot be reached, so that the log goes to stderr: {error}");
                (human(), Some(problem))
            }
        },
    }
}

fn human<W>(writer: W, terminal: bool, colour: bool) -> Output
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(colour);
    if terminal { Clean(layer).boxed() } else { Clean(layer.compact()).boxed() }
}

fn json<W>(writer: W) -> Output
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    Clean(fmt::layer().with_writer(writer).json().flatten_event(true).with_current_span(false)).boxed()
}

/// Fields keep their names in the log (`commission.id` is `COMMISSION_ID`).
fn journald() -> std::io::Result<Output> {
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer()?.with_field_prefix(None).with_priority_mappings(priorities);
    Ok(Clean(layer.with_syslog_identifier("makegood".to_owned())).boxed())
}

/// systemd names the journal's file in `JOURNAL_STREAM`. Somebody who redirects stderr wants the log there instead.
fn stderr_is_journal() -> bool {
    let said = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stderr = stderr().as_fd().try_clone_to_owned().and_then(|stderr| std::fs::File::from(stderr).metadata());
    stderr.is_ok_and(|file| is_stream(&said, file.dev(), file.ino()))
}

/// `DEVICE:INODE`, in decimal (systemd.exec(5)).
fn is_stream(said: &str, device: u64, inode: u64) -> bool {
    said.split_once(':').is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

#[cfg(test)]
mod tests;
