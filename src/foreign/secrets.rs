//! Takes secrets out of text at the last moment before the text leaves. An echoed secret may have been escaped several times by
//! then.
//!
//! Guarantees: see [`super`]. A secret stays registered until the process ends. Suppose a reload changes the API key while an
//! answer to the old one is under way: that answer may still echo the old key.

use std::sync::{PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// What is shown instead.
const REDACTED: &str = "[redacted]";

/// Shorter texts are hardly secrets. Redacting them would hit other text by accident.
const LENGTH_MIN: usize = 6;

/// Where a text is cut off inside a secret, a beginning of this length is still redacted.
const BEGINNING_MIN: usize = 8;

/// A part of a path that contains a digit counts as a token from this length on; `rewards` and `2025` do not.
const TOKEN_MIN: usize = 12;

static REGISTERED: RwLock<SecretTexts> = RwLock::new(SecretTexts(Vec::new()));

/// Registers secrets: from now on [`redact`] takes them out.
pub fn register<'a>(secrets: impl IntoIterator<Item = &'a str>) {
    REGISTERED.write().unwrap_or_else(PoisonError::into_inner).add(secrets);
}

/// A text without the registered secrets.
pub fn redact(text: &str) -> String {
    REGISTERED.read().unwrap_or_else(PoisonError::into_inner).redact(text)
}

/// The parts of an address that may be secret: its password, its query, and parts of its path that look like tokens.
pub fn of_url(url: &Url) -> Vec<String> {
    let token = |part: &&str| part.len() >= TOKEN_MIN && part.contains(|c: char| c.is_ascii_digit());
    let path = url.path_segments().into_iter().flatten().filter(token).map(str::to_owned);
    let values = url.query_pairs().map(|(_, value)| value.into_owned()).filter(|value| value.len() >= BEGINNING_MIN);
    let whole = [url.password(), url.query()].into_iter().flatten().map(str::to_owned);
    whole.chain(values).chain(path).collect()
}

/// Texts that must not be shown.
#[derive(Debug, Default)]
pub struct SecretTexts(Vec<SecretString>);

impl SecretTexts {
    /// Makes a set of these. Leaves out those that are too short to be told from other text.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        all.add(secrets);
        all
    }

    fn add<'a>(&mut self, secrets: impl IntoIterator<Item = &'a str>) {
        for secret in secrets {
            let known = self.0.iter().any(|it| it.expose_secret() == secret);
            if secret.chars().count() >= LENGTH_MIN && !known {
                self.0.push(SecretString::from(secret));
            }
        }
        // The longest first, so that no secret hides part of a longer one.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
    }

    /// A text without any of them.
    pub fn redact(&self, text: &str) -> String {
        if self.0.is_empty() || text.len() < LENGTH_MIN {
            return text.to_owned();
        }
        let chars: Vec<char> = text.chars().collect();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(c) = chars.get(at) {
            if let Some(end) = self.0.iter().find_map(|secret| found(&chars, at, secret.expose_secret())) {
                out.push_str(REDACTED);
                at = end;
            } else {
                out.push(*c);
                at += 1;
            }
        }
        out
    }
}

/// Where a secret that begins at `start` ends; none if it does not begin there.
fn found(text: &[char], start: usize, secret: &str) -> Option<usize> {
    let (mut at, mut matched) = (start, 0);
    for expected in secret.chars() {
        let Some(next) = one(text, at, expected) else {
            let cut_off = text.get(at).is_none_or(|c| matches!(c, '…' | '"' | '\'' | '\\'));
            return (cut_off && matched >= BEGINNING_MIN).then_some(at);
        };
        (at, matched) = (next, matched + 1);
    }
    Some(at)
}

/// The position after this character, if it is the expected one in any form.
fn one(text: &[char], at: usize, expected: char) -> Option<usize> {
    let same = |c: char| c.eq_ignore_ascii_case(&expected);
    match decoded(text, at) {
        Some((c, next)) if same(c) => Some(next),
        Some(_) | None => text.get(at).filter(|c| same(**c)).map(|_| at + 1),
    }
}

/// An escaped character: JSON's at any depth (`\u0066`, `\\u0066`, `\/`, `\"`), a URL's (`%66`), HTML's (`&#102;`, `&#x66;`,
/// `&amp;`).
fn decoded(text: &[char], at: usize) -> Option<(char, usize)> {
    match text.get(at)? {
        '\\' => {
            let depth = text[at..].iter().take_while(|c| **c == '\\').count();
            let next = at + depth;
            match text.get(next) {
                Some('u') => Some((number(text, next + 1, 4, 16)?, next + 5)),
                Some('x') => Some((number(text, next + 1, 2, 16)?, next + 3)),
                Some(c @ ('/' | '"' | '\'')) => Some((*c, next + 1)),
                Some(_) | None => Some(('\\', next)),
            }
        }
        '%' => Some((number(text, at + 1, 2, 16)?, at + 3)),
        '&' => {
            let length = text[at..].iter().take(10).position(|c| *c == ';')?;
            let name: String = text[at + 1..at + length].iter().collect();
            let c = match name.as_str() {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                other => match other.strip_prefix("#x").or_else(|| other.strip_prefix("#X")) {
                    Some(hex) => char::from_u32(u32::from_str_radix(hex, 16).ok()?)?,
                    None => char::from_u32(other.strip_prefix('#')?.parse().ok()?)?,
                },
            };
            Some((c, at + length + 1))
        }
        _ => None,
    }
}

fn number(text: &[char], at: usize, digits: usize, radix: u32) -> Option<char> {
    let digits: String = text.get(at..at + digits)?.iter().collect();
    char::from_u32(u32::from_str_radix(&digits, radix).ok()?)
}
