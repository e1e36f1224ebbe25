//! Single values: texts, numbers, ids. Reads every form that FirstPromoter uses, and never guesses.

use serde_json::value::RawValue;

use super::{Fields, ODD_MAX, TEXT_MAX};
use crate::{
    domain::Amount,
    foreign::{cut, quote, redact},
};

/// An object, or the first one of a list.
pub(super) fn object_or_first(raw: &RawValue) -> Option<Fields<'_>> {
    let first = || serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok()?.first().copied();
    object(raw).or_else(|| object(first()?))
}

pub(super) fn object(raw: &RawValue) -> Option<Fields<'_>> {
    serde_json::from_str(raw.get()).ok()
}

pub(super) fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// A text, unescaped. Secrets are taken out after that, because an echo may be escaped.
pub(super) fn string(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).map(|text| redact(&text))
}

/// A text for people only: cut where it is too long. None where it is empty or not text.
pub(super) fn name(row: &Fields<'_>) -> Option<String> {
    string(row.get("name").copied()).filter(|text| !text.is_empty()).map(|text| cut(&text, TEXT_MAX))
}

/// The text by which the merchant knows a person: complete or an error. None where there is none. A number becomes its digits.
pub(super) fn identity(row: &Fields<'_>, name: &str) -> Result<Option<String>, ()> {
    let Some(raw) = present(row.get(name).copied()) else { return Ok(None) };
    let text = string(Some(raw)).or_else(|| whole_number(raw.get()).map(|number| number.to_string()));
    match text {
        Some(text) if text.is_empty() => Ok(None),
        Some(text) if text.chars().nth(TEXT_MAX).is_none() => Ok(Some(text)),
        Some(_) | None => Err(()),
    }
}

/// An enum value: text as it is, any other value as it was written, a missing one as the empty text.
pub(super) fn word(raw: Option<&RawValue>) -> String {
    let Some(raw) = raw else { return String::new() };
    quote(&string(Some(raw)).unwrap_or_else(|| raw.get().to_owned()), ODD_MAX)
}

/// The texts in a value, joined; any other value as it was written.
pub(super) fn words_of(raw: &RawValue) -> String {
    let json = raw.get();
    if json == "null" {
        return String::new();
    }
    if let Some(text) = string(Some(raw)) {
        return text;
    }
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(json) {
        // Not recursive: text that is nested deeper is quoted as it stands.
        let item = |raw: &&RawValue| string(Some(raw)).unwrap_or_else(|| raw.get().to_owned());
        return list.iter().map(item).collect::<Vec<_>>().join(", ");
    }
    if let Ok(fields) = serde_json::from_str::<std::collections::BTreeMap<String, &RawValue>>(json) {
        let field = |(name, raw): (&String, &&RawValue)| {
            let texts = serde_json::from_str::<Vec<String>>(raw.get()).map(|texts| texts.join(", "));
            format!("{name}: {}", texts.ok().or_else(|| string(Some(raw))).unwrap_or_else(|| raw.get().to_owned()))
        };
        return fields.iter().map(field).collect::<Vec<_>>().join("; ");
    }
    json.to_owned()
}

pub(super) fn amount(raw: Option<&RawValue>) -> Amount {
    let Some(raw) = raw else { return Amount::Odd(String::new()) };
    match whole_number(raw.get()) {
        Some(number) if number > 0 => Amount::Whole(number),
        Some(_) | None => Amount::Odd(quote(raw.get(), ODD_MAX)),
    }
}

/// A positive id, as a number or as a text of digits.
pub(super) fn id(raw: Option<&RawValue>) -> Option<i64> {
    let raw = raw?;
    let number = match string(Some(raw)) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
        None => whole_number(raw.get()),
    };
    number.filter(|number| *number > 0)
}

/// A JSON number without a fraction (`5`, `-5`, `5.00`), compared as text so that nothing is rounded.
pub(super) fn whole_number(json: &str) -> Option<i64> {
    let whole = match json.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => json,
    };
    whole.parse().ok()
}
