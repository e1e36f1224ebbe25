//! What is wrong with a configuration: every problem, each with its place, its key and the remedy.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why there is no configuration. `Display` has a line per problem and never shows a value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no file at that path.
    #[error("{}", missing(.0))]
    Missing(PathBuf),
    /// The file exists and cannot be read, or is not text.
    #[error("{}", unreadable(.path, .reason, .remedy))]
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

impl ConfigError {
    /// What is wrong with the file as a whole; none where the problems are in it.
    pub fn complaint(&self) -> Option<Complaint> {
        match self {
            Self::Missing(path) => Some(missing(path)),
            Self::Unreadable { path, reason, remedy, source: _ } => Some(unreadable(path, reason, remedy)),
            Self::Invalid(_) => None,
        }
    }
}

fn missing(path: &Path) -> Complaint {
    Complaint::new(
        format!("there is no configuration file {}", path.display()),
        "create it, or name another with --config FILE or MAKEGOOD_CONFIG",
    )
}

fn unreadable(path: &Path, reason: &str, remedy: &str) -> Complaint {
    Complaint::new(format!("the configuration file {} cannot be read ({reason})", path.display()), remedy)
}

/// What is wrong, and the remedy. `Display` has both; it never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Complaint {
    /// About a value, or that there is none.
    Value {
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Nothing reads a key of this name.
    UnknownKey {
        /// What to do.
        remedy: String,
    },
}

impl Complaint {
    /// About a value, or that there is none.
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Value { what: what.into(), remedy: remedy.into() }
    }

    /// What is wrong.
    pub fn what(&self) -> &str {
        match self {
            Self::Value { what, .. } => what,
            Self::UnknownKey { .. } => "unknown key",
        }
    }

    /// What to do.
    pub fn remedy(&self) -> &str {
        match self {
            Self::Value { remedy, .. } | Self::UnknownKey { remedy } => remedy,
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = match self {
            Self::Value { .. } => ":",
            // The remedy is a question, or has a colon of its own.
            Self::UnknownKey { .. } => ";",
        };
        write!(f, "{}{between} {}", self.what(), self.remedy())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, with the line where one is known, or the environment variable.
    pub place: String,
    /// The full path of the key, such as `routes[1].target`; empty where the problem is the text as a whole.
    pub key: String,
    /// What is wrong, and the remedy.
    pub complaint: Complaint,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, complaint } = self;
        if key.is_empty() { write!(f, "{place}: {complaint}") } else { write!(f, "{place}: {key}: {complaint}") }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
