//! Texts on the command line that the ledger keeps. A text that is too long is refused before anything is done.
//!
//! clap would quote the whole value in its error. This error says the argument, the length and the limit.

use std::ffi::OsStr;

use clap::{
    Arg,
    builder::{StringValueParser, TypedValueParser},
    error::ErrorKind,
};

/// Of `--reason`, in characters.
const REASON_MAX: usize = 1_000;
/// Of `--receipt`, in characters: as many as are kept of a target's own receipt.
const RECEIPT_MAX: usize = crate::delivery::EXCERPT_MAX_CHARS;
/// Of `--owner`, in characters.
pub(crate) const OWNER_MAX: usize = 100;

/// A text of at most so many characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounded {
    max: usize,
    /// What is wrong with the text otherwise, if anything.
    refusal: fn(&str) -> Option<&'static str>,
}

/// The reason for something. Blanks around it are removed.
pub(super) fn reason() -> impl TypedValueParser<Value = String> {
    let refusal = |text: &str| text.trim().is_empty().then_some("say why: it is kept in the journal");
    Bounded { max: REASON_MAX, refusal }.map(|text| text.trim().to_owned())
}

/// Like [`reason`], for a command that does not need one.
pub(super) fn any_reason() -> Bounded {
    Bounded { max: REASON_MAX, refusal: |_| None }
}

/// The recipient system's name for a delivery.
pub(super) fn receipt() -> Bounded {
    Bounded { max: RECEIPT_MAX, refusal: |_| None }
}

/// The owner of a claim.
pub(super) fn owner() -> Bounded {
    let refusal = |text: &str| match text {
        "" => Some("an owner has a name"),
        "makegood" => Some("makegood claims under this name itself; choose another"),
        _ => None,
    };
    Bounded { max: OWNER_MAX, refusal }
}

impl TypedValueParser for Bounded {
    type Value = String;

    fn parse_ref(&self, cmd: &clap::Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let text = StringValueParser::new().parse_ref(cmd, arg, value)?;
        let name = arg.map(ToString::to_string).unwrap_or_default();
        let length = text.chars().count();
        let why = if length > self.max {
            format!("{length} characters, and at most {} are kept. Nothing was done: give a shorter one", self.max)
        } else if let Some(why) = (self.refusal)(&text) {
            why.to_owned()
        } else {
            return Ok(text);
        };
        Err(clap::Error::raw(ErrorKind::ValueValidation, format!("{name}: {why}\n")).with_cmd(cmd))
    }
}
