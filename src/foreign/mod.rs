//! Text that others wrote (names, emails, receipts, answers, reasons), on its way to where it is read.
//!
//! One function for each kind of reader: [`line`](line()) and [`lines`] for people, [`json`] for programs, [`chat`] for rooms and
//! monitors. [`quote`] and [`cut`] bound what is stored. [`secrets`] takes out what is secret.
//!
//! Guarantees:
//! - [`line`](line()) returns one line. It moves no cursor, changes no colour, turns no direction, and starts no new line in a
//!   terminal, a log or an editor. [`json`] escapes the same characters and changes no value.
//! - [`chat`] calls nobody (`@channel`), shows no email, and contains neither link nor image, whether the room reads Slack's
//!   markup, Markdown or plain text.
//! - [`redact`] finds a registered secret in every form in which an answer echoes it: as it is, in other case, escaped for
//!   JSON (any depth), for URLs or HTML, and cut off at the end of a text.
//!
//! Assumptions: secrets are registered when they are loaded ([`secrets::register`]), before anything that could echo them.

pub mod secrets;
#[cfg(test)]
mod tests;

use std::fmt::Write;

pub use secrets::redact;

/// The longest text of others that is stored, in characters: an error with all that it quotes.
pub const STORED_MAX: usize = 4_000;

/// Whether a terminal or editor acts on a character instead of showing it: controls (C0, DEL, C1), line and paragraph
/// separators, marks of direction, characters without width (except the joiners, which some scripts need), tags, fillers.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// For people, on one line.
pub fn line(text: &str) -> String {
    text.chars().map(|c| if acts(c) { ' ' } else { c }).collect()
}

/// For people, on several lines. Of the characters that act only line breaks and tabs (`
/// `, `\t`) remain. The text itself must therefore be ours, and whatever it quotes must have gone through [`line`](line()).
pub fn lines(text: &str) -> String {
    text.chars().map(|c| if acts(c) && !matches!(c, '\n' | '\t') { ' ' } else { c }).collect()
}

/// For programs: a JSON document without characters that a terminal would obey. Its values stay the same.
pub fn json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        // The ASCII ones are line breaks between values; JSON has escaped the others.
        if acts(c) && !c.is_ascii() || c == '\u{7f}' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// For rooms and monitors: calls nobody, contains no link or image, shows no email.
pub fn chat(text: &str) -> String {
    let cleaned = line(text);
    let words: Vec<String> = cleaned.split(' ').map(for_room).collect();
    words.join(" ")
}

fn for_room(word: &str) -> String {
    if word.contains('@') {
        // `@channel` as well as an email, alone or in brackets and quotes.
        let named = word.split(|c: char| !(c.is_alphanumeric() || "@.+-_%".contains(c)));
        let whole = named.filter(|part| part.contains('@')).fold(word.to_owned(), |word, part| {
            let calls = part.starts_with('@') || part.ends_with('@');
            let instead = if calls { part.replace('@', "(at)") } else { "(email)".to_owned() };
            word.replace(part, &instead)
        });
        return unlinked(&whole.replace('@', "(at)"));
    }
    unlinked(word)
}

/// Removes what begins a link or an image, in Markdown, Slack's markup or plain text.
fn unlinked(word: &str) -> String {
    word.replace("://", ": //").replace("www.", "www ").replace('[', "(").replace(']', ")")
}

/// At most `max` characters of somebody else's text, without secrets, on one line. `…` shows that something was cut.
pub fn quote(text: &str, max: usize) -> String {
    cut(&line(&redact(text)), max)
}

/// At most `max` characters. `…` shows that something was cut.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// The form in which text is stored: without secrets, at most [`STORED_MAX`] characters.
pub fn stored(text: &str) -> String {
    cut(&redact(text), STORED_MAX)
}
