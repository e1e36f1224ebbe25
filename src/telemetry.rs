//! What the program says about itself while it works: to stderr or the journal, so that stdout stays the report's.
//!
//! The log begins before the configuration is read ([`init`]: how it looks is guessed), and is put right once it is
//! ([`configure`]).
//!
//! Guarantees: the crates that handle requests as bytes (HTTP, TLS) are never heard below a warning, whatever
//! `RUST_LOG` and `log.level` say and whatever an entry looks like: their finer levels print headers and bodies, and so
//! the secrets in them. No entry holds a secret, or text that a terminal would obey: `Clean` stands before every look.
//! What the command line or `RUST_LOG` says of levels goes before the configuration.
//!
//! Assumptions: called once, by the program, before anything is logged. How an entry looks is settled before the first
//! span is opened: tracing-journald panics at a span that it did not see opened.

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

/// How much to say, from `-q` and `-v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// `-q`: warnings and errors.
    Quiet,
    /// What `log.level` says; until it is read, what moved, and a summary a pass.
    #[default]
    Configured,
    /// What moved, and a summary a pass.
    Normal,
    /// `-v`: why, as well.
    Verbose,
    /// `-vv`: everything of our own.
    VeryVerbose,
}

impl Verbosity {
    /// From how often `-q` and `-v` were given; `-q` wins.
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

/// In `RUST_LOG`'s language. Other people's crates speak up for warnings only; the scheduler is noisy at info.
fn directives(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,makegood=info",
        LogLevel::Debug => "warn,makegood=debug",
        LogLevel::Trace => "warn,makegood=trace",
    }
}

/// Writes entries; which ones is not its business.
type Output = Box<dyn Layer<Registry> + Send + Sync>;
/// What the levels are put on.
type Outputs = Layered<reload::Layer<Output, Registry>, Registry>;

/// The log under way: what of it may change.
#[derive(Clone)]
pub struct Handle {
    levels: reload::Handle<EnvFilter, Outputs>,
    output: reload::Handle<Output, Registry>,
    /// Neither the command line nor `RUST_LOG` says how much is said.
    configurable: bool,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("configurable", &self.configurable).finish_non_exhaustive()
    }
}

static HANDLE: OnceLock<Handle> = OnceLock::new();

/// The log that [`init`] began; none before, and in tests.
pub fn handle() -> Option<&'static Handle> {
    HANDLE.get()
}

impl Handle {
    /// From now on nothing less important than `level` is said. False, and nothing changes, where the command line or
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

/// Begins the log: in the journal where stderr is the journal, for a person on a terminal (in colour, unless `NO_COLOR` is
/// set), else a line an event without escape sequences. `RUST_LOG`, if set and readable, replaces what `verbosity` says.
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

/// Puts the log right, now that the configuration is read; does nothing the second time (a reload only sets the level).
pub fn configure(settings: LogSettings) {
    static ONCE: Once = Once::new();
    let Some(handle) = handle() else { return };
    ONCE.call_once(|| handle.configure(settings));
}

/// The levels that hold, and what is wrong with `wish` (the text of `RUST_LOG`), if anything.
fn filter(verbosity: Verbosity, wish: Option<&str>) -> (EnvFilter, Option<String>) {
    let own = || EnvFilter::new(directives(verbosity.level()));
    match wish.map(EnvFilter::try_new) {
        None => (own(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (own(), Some(error.to_string())),
    }
}

/// What both the levels and [`is_safe`] let through goes to `output`.
fn stack(filter: EnvFilter, output: Output) -> (impl Subscriber + Send + Sync, Handle) {
    let (output, output_handle) = reload::Layer::new(output);
    let (levels, levels_handle) = reload::Layer::new(filter);
    let subscriber = Registry::default().with(output).with(levels).with(filter_fn(is_safe));
    (subscriber, Handle { levels: levels_handle, output: output_handle, configurable: true })
}

/// Whether an event may be heard at all: see the module's guarantee.
fn is_safe(event: &Metadata<'_>) -> bool {
    let krate = event.target().split("::").next().unwrap_or_default();
    *event.level() <= Level::WARN || !WIRE.contains(&krate)
}

/// Where entries go and how they look, and why not as wished.
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

/// Fields are named as the log names them (`commission.id` is `COMMISSION_ID`).
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

/// systemd says in `JOURNAL_STREAM` which file the journal is; whoever redirects stderr elsewhere wants it there.
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
