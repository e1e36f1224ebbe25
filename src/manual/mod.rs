//! The manual: what people and programs outside the source tree may rely on, in Markdown beside this file.
//!
//! One text for four readers: `makegood help TOPIC` prints it, the package installs it as man pages, rustdoc shows it
//! (below), and the repository shows the files. The tests hold its words against the code: a key, a state, a column, an
//! exit code that only one of the two knows is an error.
//!
//! Assumptions: the texts keep to the part of Markdown that [`markdown`] knows; its tests say so.

pub mod markdown;
mod roff;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod words;

#[doc = include_str!("configuration.md")]
pub mod configuration {}
#[doc = include_str!("decisions.md")]
pub mod decisions {}
#[doc = include_str!("delivery.md")]
pub mod delivery {}
#[doc = include_str!("ledger.md")]
pub mod ledger {}
#[doc = include_str!("operation.md")]
pub mod operation {}

/// A part of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// What a target gets, and what its answer means.
    Delivery,
    /// Tables, views, states.
    Ledger,
    /// What a pass does with each commission.
    Decisions,
    /// Every key.
    Configuration,
    /// Commands, exit codes, signals, files, backup, JSON.
    Operation,
}

impl Topic {
    /// All of them, in reading order.
    pub const ALL: [Self; 5] = [Self::Delivery, Self::Ledger, Self::Decisions, Self::Configuration, Self::Operation];

    /// The word in `makegood help TOPIC`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Ledger => "ledger",
            Self::Decisions => "decisions",
            Self::Configuration => "configuration",
            Self::Operation => "operation",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == word)
    }

    /// The text, in Markdown.
    pub fn text(self) -> &'static str {
        match self {
            Self::Delivery => include_str!("delivery.md"),
            Self::Ledger => include_str!("ledger.md"),
            Self::Decisions => include_str!("decisions.md"),
            Self::Configuration => include_str!("configuration.md"),
            Self::Operation => include_str!("operation.md"),
        }
    }

    /// The man page of its own: name and section. `operation` is a part of makegood(1): see [`operation_sections`].
    fn page(self) -> Option<(&'static str, u8)> {
        match self {
            Self::Delivery => Some(("makegood-delivery", 7)),
            Self::Ledger => Some(("makegood-ledger", 5)),
            Self::Decisions => Some(("makegood-decisions", 7)),
            Self::Configuration => Some(("makegood.toml", 5)),
            Self::Operation => None,
        }
    }
}

/// The man pages beside those of the commands: the file's name (`makegood.toml.5`) and its text.
pub fn pages() -> Vec<(String, String)> {
    Topic::ALL
        .into_iter()
        .filter_map(|topic| {
            let (name, section) = topic.page()?;
            Some((format!("{name}.{section}"), roff::page(name, section, &markdown::read(topic.text()))))
        })
        .collect()
}

/// What follows the options in makegood(1): the sections of `operation`, and where to read on.
pub fn operation_sections() -> String {
    roff::sections(&markdown::read(Topic::Operation.text()))
}
