//! Colour where a person reads on a terminal. None elsewhere, or with `NO_COLOR`.

use std::{
    ffi::OsStr,
    io::{IsTerminal, stdout},
};

use anstyle::{AnsiColor, Effects, Style};

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ink {
    on: bool,
}

impl Ink {
    /// For a report on stdout.
    pub(super) fn for_stdout() -> Self {
        Self::new(stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref(), std::env::var_os("TERM").as_deref())
    }

    /// `NO_COLOR` counts where it is not empty (no-color.org).
    fn new(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        Self { on: terminal && no_color.is_none_or(OsStr::is_empty) && term != Some(OsStr::new("dumb")) }
    }

    /// Colours a state, a decision or the result of a check. `shown` is the word as it is printed, with padding for example.
    pub(super) fn word(self, word: &str, shown: &str) -> String {
        match style(word) {
            Some(style) if self.on => format!("{style}{shown}{style:#}"),
            Some(_) | None => shown.to_owned(),
        }
    }
}

/// Green: fine. Cyan: on its way. Yellow: needs a person. Red: broken. Dim: over.
fn style(word: &str) -> Option<Style> {
    let colour = |colour: AnsiColor| Some(Style::new().fg_color(Some(colour.into())));
    match word {
        "fulfilled" | "delivered" | "mark" | "adopt" | "ok" => colour(AnsiColor::Green),
        "waiting" | "delivering" | "wait" | "deliver" | "resume" => colour(AnsiColor::Cyan),
        "held" | "hold" | "warning" => colour(AnsiColor::Yellow),
        "failed" => colour(AnsiColor::Red),
        "cancelled" | "reversed" | "dismissed" | "cancel" | "nothing" => Some(Style::new().effects(Effects::DIMMED)),
        _ => None,
    }
}

/// Cleans a report but keeps our own colours: cleans the text between them. Off a terminal there are none.
pub(super) fn between_colours(report: &str, clean: impl Fn(&str) -> String) -> String {
    let mut parts = report.split("\u{1b}[");
    let mut out = clean(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(|b| b.is_ascii_digit() || *b == b';').count();
        let ours = part.get(digits..).and_then(|rest| rest.strip_prefix('m')).filter(|_| Ink::for_stdout().on);
        if let Some(rest) = ours {
            out.push_str("\u{1b}[");
            out.push_str(&part[..=digits]);
            out.push_str(&clean(rest));
        } else {
            out.push(' ');
            out.push_str(&clean(part));
        }
    }
    out
}

#[cfg(test)]
impl Ink {
    pub(super) const PLAIN: Self = Self { on: false };
    pub(super) const COLOURED: Self = Self { on: true };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::RewardState;

    #[test]
    fn colour_is_for_terminals_without_no_color() {
        let on = |terminal, no_color: Option<&str>, term: Option<&str>| {
            Ink::new(terminal, no_color.map(OsStr::new), term.map(OsStr::new)).on
        };
        assert!(on(true, None, Some("xterm")) && on(true, Some(""), None));
        assert!(!on(false, None, Some("xterm")), "not into a file");
        assert!(!on(true, Some("1"), Some("xterm")), "not against NO_COLOR");
        assert!(!on(true, None, Some("dumb")), "not on a terminal that cannot");
    }

    #[test]
    fn every_state_has_its_colour_and_nothing_is_coloured_where_it_is_off() {
        for state in RewardState::ALL {
            let word = state.as_str();
            let coloured = Ink::COLOURED.word(word, word);
            assert!(coloured.starts_with('\u{1b}') && coloured.ends_with("\u{1b}[0m"), "{coloured:?}");
            assert_eq!(Ink::PLAIN.word(word, word), word);
        }
        assert_eq!(Ink::COLOURED.word("new_word", "new_word"), "new_word");
    }
}
