//! What is wrong with a configuration: every problem, each with its place, its key and the remedy.

use std::{fmt, io, path::PathBuf};

/// Why there is no configuration. `Display` has a line per problem and never shows a value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no file at that path.
    #[error(
        "there is no configuration file {}: create it, or name another with --config FILE or MAKEGOOD_CONFIG",
        .0.display()
    )]
    Missing(PathBuf),
    /// The file exists and cannot be read, or is not text.
    #[error("the configuration file {} cannot be read ({reason}): {remedy}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// In a few words.
        reason: String,
        /// What to do.
        remedy: &'static str,
        /// The operating system's answer, where it gave one.
        source: Option<io::Error>,
    },
    /// Its content is wrong; never empty.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, with the line where one is known, or the environment variable.
    pub place: String,
    /// The full path of the key, such as `routes[1].target`; empty where the problem is the text as a whole.
    pub key: String,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, what } = self;
        if key.is_empty() { write!(f, "{place}: {what}") } else { write!(f, "{place}: {key}: {what}") }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
