//! What the program says about itself while it works: to stderr, so that stdout stays the report's.
//!
//! Guarantees: the crates that handle requests as bytes (HTTP, TLS) are never heard below a warning, whatever
//! `RUST_LOG` says: their finer levels print headers and bodies, and so the secrets in them.
//!
//! Assumptions: called once, by the program, before anything is logged.

use std::io::{IsTerminal, stderr};

use tracing::{Level, Metadata, level_filters::LevelFilter, warn};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

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
    /// What moved, and a summary a pass.
    #[default]
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

    /// In `RUST_LOG`'s language. Other people's crates speak up for warnings only; the scheduler is noisy at info.
    fn directives(self) -> &'static str {
        match self {
            Self::Quiet => "warn",
            Self::Normal => "warn,makegood=info",
            Self::Verbose => "warn,makegood=debug",
            Self::VeryVerbose => "warn,makegood=trace",
        }
    }
}

/// Sends the log to stderr: for a person on a terminal (in colour, unless `NO_COLOR` is set), else a line an event
/// without escape sequences. `RUST_LOG`, if set and readable, replaces what `verbosity` says.
pub fn init(verbosity: Verbosity) -> Result<(), TryInitError> {
    let wish = std::env::var("RUST_LOG").ok().filter(|text| !text.trim().is_empty());
    let (filter, unread) = filter(verbosity, wish.as_deref());
    let terminal = stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Registry::default().with(layer(filter, stderr, terminal, colour)).try_init()?;
    if let Some(error) = unread {
        warn!(%error, "RUST_LOG cannot be read and is ignored: write it as in RUST_LOG=makegood=debug");
    }
    Ok(())
}

/// The levels that hold, and what is wrong with `wish` (the text of `RUST_LOG`), if anything.
fn filter(verbosity: Verbosity, wish: Option<&str>) -> (EnvFilter, Option<String>) {
    let own = || EnvFilter::new(verbosity.directives());
    match wish.map(EnvFilter::try_new) {
        None => (own(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (own(), Some(error.to_string())),
    }
}

/// One layer that writes what both `filter` and [`is_safe`] let through.
fn layer<W>(filter: EnvFilter, writer: W, terminal: bool, colour: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // The hint matters: without it a closure filter would make every crate format its trace events only to drop them.
    let safe = filter_fn(is_safe).with_max_level_hint(filter.max_level_hint().unwrap_or(LevelFilter::TRACE));
    let layer = fmt::layer().with_writer(writer).with_ansi(colour);
    if terminal {
        layer.with_filter(filter.and(safe)).boxed()
    } else {
        layer.compact().with_filter(filter.and(safe)).boxed()
    }
}

/// Whether an event may be heard at all: see the module's guarantee.
fn is_safe(event: &Metadata<'_>) -> bool {
    let krate = event.target().split("::").next().unwrap_or_default();
    *event.level() <= Level::WARN || !WIRE.contains(&krate)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::{debug, error, info, trace};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `speak` runs.
    fn heard(verbosity: Verbosity, wish: Option<&str>, speak: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = layer(filter(verbosity, wish).0, move || writer.clone(), false, false);
        tracing::subscriber::with_default(Registry::default().with(layer), speak);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    fn chatter() {
        error!(target: "makegood::reconcile", "an error of ours");
        info!(target: "makegood::reconcile", "an info of ours");
        debug!(target: "makegood", "a debug of ours");
        trace!(target: "makegood", "a trace of ours");
        info!(target: "tokio_cron_scheduler::job", "the scheduler chats");
        warn!(target: "hyper::proto::h1", "the wire warns");
        debug!(target: "hyper::proto::h1", "the wire chats: authorization: Bearer abc");
        trace!(target: "h2", "the wire chats: authorization: Bearer abc");
        trace!(target: "reqwest::connect", "the wire chats: authorization: Bearer abc");
        trace!(target: "rustls::conn", "the wire chats: authorization: Bearer abc");
        trace!(target: "hyperion", "a crate of another name");
    }

    #[test]
    fn each_verbosity_lets_through_its_own_levels() {
        let lines = |verbosity| {
            let text = heard(verbosity, None, chatter);
            assert!(!text.contains("chat"), "{text}");
            assert!(text.contains("the wire warns"), "{text}");
            text.matches("of ours").count()
        };
        assert_eq!(lines(Verbosity::Quiet), 1);
        assert_eq!(lines(Verbosity::Normal), 2);
        assert_eq!(lines(Verbosity::Verbose), 3);
        assert_eq!(lines(Verbosity::VeryVerbose), 4);
    }

    #[test]
    fn rust_log_replaces_the_levels_but_never_opens_the_wire() {
        for wish in ["trace", "hyper=trace,h2=trace,reqwest=trace,rustls=debug,hyperion=trace,makegood=trace"] {
            let text = heard(Verbosity::Quiet, Some(wish), chatter);
            assert!(text.contains("a trace of ours") && text.contains("a crate of another name"), "{text}");
            assert!(!text.contains("Bearer"), "{text}");
        }
        assert!(heard(Verbosity::Normal, Some("trace"), chatter).contains("the scheduler chats"));
    }

    #[test]
    fn an_unreadable_rust_log_is_reported_and_ignored() {
        let (_, unread) = filter(Verbosity::Normal, Some("makegood=loud"));
        assert!(unread.is_some());
        assert!(heard(Verbosity::Normal, Some("makegood=loud"), chatter).contains("an info of ours"));
    }

    #[test]
    fn beside_a_terminal_an_event_is_one_line_without_escape_sequences() {
        let text = heard(Verbosity::Normal, None, || info!(commission.id = 7, "delivered"));
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("commission.id=7") && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn flags_become_a_verbosity_and_quiet_wins() {
        assert_eq!(Verbosity::from_flags(true, 2), Verbosity::Quiet);
        assert_eq!(Verbosity::from_flags(false, 0), Verbosity::Normal);
        assert_eq!(Verbosity::from_flags(false, 1), Verbosity::Verbose);
        assert_eq!(Verbosity::from_flags(false, 9), Verbosity::VeryVerbose);
    }
}
