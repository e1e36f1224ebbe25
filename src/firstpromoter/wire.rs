//! FirstPromoter's JSON, read tolerantly: `commissions.json` (`Commission`, `BatchOperationResponse`,
//! `ErrorResponse`), `rewards.json` (`Reward`), `batches.json` (`BatchProcess`).
//!
//! Rows are read field by field from raw JSON text, not through a derived struct: one odd field must never lose the
//! row, let alone the listing.
//!
//! Guarantees:
//! - A bare array and `{"data": [...]}` read the same; unknown fields are skipped, unknown enum values kept as text.
//! - No answer panics: nesting is skipped without recursion, numbers are compared as text and never rounded.
//! - Money is not guessed: only a JSON number that is whole and positive (`500`, `500.0`) is an amount; `"500"`, `5e2`,
//!   `0`, `-1`, `null` are kept as [`Amount::Odd`].
//! - Suspicion is not lost: a `fraud_check` or `is_self_referral` of an unexpected type counts as suspicion.
//! - Who receives is not guessed from a broken row. A promoter that is there but has no readable id leaves the
//!   commission without *both* parties (a commission without a promoter would pass for the referral's), and a reward
//!   without a readable id leaves it not `custom` (a custom commission without a reward would pass for the promoter's).
//! - A row without a usable positive id makes the whole listing unreadable: what is listed could not be told apart from
//!   what is not.
//!
//! Assumptions: the flat `promoter_id`, `referral_id`, `campaign_id`, `reward_id` of webhook samples mean what the nested
//! objects' `id` means.

use std::collections::HashMap;

use serde_json::value::RawValue;
use thiserror::Error;

use super::{Batch, BatchStatus, RewardRule};
use crate::domain::{
    Amount, Campaign, Commission, CommissionId, CommissionStatus, Promoter, Referral, RewardRef, Timestamp, Unit,
};

/// The longest text kept of a value that was not understood.
const ODD_MAX: usize = 100;

/// The longest text kept of a batch's `processing_errors`.
const BATCH_WORDS_MAX: usize = 500;

/// The most that an error message quotes of an answer.
pub(super) const QUOTE_MAX: usize = 200;

/// An answer that is not what was asked for. The text quotes nothing that could be personal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Unreadable(String);

/// One JSON object, its values unread. The last of duplicated names wins.
type Fields<'a> = HashMap<String, &'a RawValue>;

/// Reads `GET /commissions`.
pub fn commissions(text: &str) -> Result<Vec<Commission>, Unreadable> {
    rows(text)?
        .into_iter()
        .enumerate()
        .map(|(index, raw)| {
            let row = object(raw).ok_or_else(|| Unreadable(format!("row {index} of the answer is not an object")))?;
            commission(&row).ok_or_else(|| {
                let given = row.get("id").map_or_else(|| "none".to_owned(), |id| quote(id.get(), ODD_MAX));
                Unreadable(format!("row {index} of the answer has no usable id (given: {given})"))
            })
        })
        .collect()
}

/// Whether the rows come wrapped, as `{"data": [...]}`, instead of as a bare array.
pub(super) fn is_wrapped(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Reads `GET /rewards`. Rows without an id are skipped: a rule that is not found holds the reward, which is safe.
pub fn rewards(text: &str) -> Result<Vec<RewardRule>, Unreadable> {
    let rule = |raw| {
        let row = object(raw)?;
        Some(RewardRule {
            id: id(row.get("id").copied())?,
            name: string(row.get("name").copied()),
            is_promoter_reward: row.get("is_promoter_reward").and_then(|raw| serde_json::from_str(raw.get()).ok()),
        })
    };
    Ok(rows(text)?.into_iter().filter_map(rule).collect())
}

/// Reads the answer to a batch action or to `GET /batch_processes/{id}`: the batch, alone, in `data` or as the first of a
/// list. An answer without a word (empty, `null`, `[]`, `true`) is taken for a batch that ended well: what reads back decides.
pub fn batch(text: &str) -> Result<Batch, Unreadable> {
    const WITHOUT_A_WORD: Batch =
        Batch { id: None, status: BatchStatus::Completed, failed_count: 0, errors: String::new() };
    if text.trim().is_empty() {
        return Ok(WITHOUT_A_WORD);
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
    let Some(outer) = object_or_first(raw) else { return Ok(WITHOUT_A_WORD) };
    let row = outer.get("data").and_then(|raw| object_or_first(raw)).unwrap_or(outer);
    let count = |name: &str| {
        let number = row.get(name).and_then(|raw| whole_number(raw.get()));
        u64::try_from(number.unwrap_or(0)).unwrap_or(0)
    };
    Ok(Batch {
        id: id(row.get("id").copied()),
        status: match string(row.get("status").copied()).as_deref() {
            Some("completed") => BatchStatus::Completed,
            Some("failed" | "stopped") => BatchStatus::Ended,
            Some(_) | None => BatchStatus::Running,
        },
        failed_count: count("failed_count"),
        errors: row.get("processing_errors").map(|raw| quote(&words_of(raw), BATCH_WORDS_MAX)).unwrap_or_default(),
    })
}

/// FirstPromoter's own words in an error answer (`message`, `code`, `errors: {field: [..]}`), joined, at most
/// [`QUOTE_MAX`] characters; none where there are none.
pub(super) fn refusal(text: &str) -> Option<String> {
    let row: Fields<'_> = serde_json::from_str(text).ok()?;
    let field = |name: &str| row.get(name).map(|raw| words_of(raw)).filter(|words| !words.is_empty());
    let message = field("message").or_else(|| field("error"));
    let mut words = match (message, field("code")) {
        (Some(message), Some(code)) => format!("{message} ({code})"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => String::new(),
    };
    if let Some(errors) = field("errors") {
        if !words.is_empty() {
            words.push_str("; ");
        }
        words.push_str(&errors);
    }
    (!words.is_empty()).then(|| quote(&words, QUOTE_MAX))
}

/// At most `max` characters of a text that somebody else wrote, on one line and without control characters.
pub(super) fn quote(text: &str, max: usize) -> String {
    let mut quoted: String = text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        quoted.pop();
        quoted.push('…');
    }
    quoted
}

/// The rows of a bare array or of `{"data": [...]}`.
fn rows(text: &str) -> Result<Vec<&RawValue>, Unreadable> {
    if !is_wrapped(text) {
        return serde_json::from_str(text).map_err(|error| not_json(text, &error));
    }
    let outer: Fields<'_> = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
    let data = outer.get("data").and_then(|raw| serde_json::from_str(raw.get()).ok());
    data.ok_or_else(|| {
        let words = refusal(text).map(|words| format!("; it says: {words}")).unwrap_or_default();
        Unreadable(format!("a list was asked for, and the answer is an object without a `data` list{words}"))
    })
}

/// Says what is wrong with an answer. What begins like JSON may hold names and emails and is not quoted.
fn not_json(text: &str, error: &serde_json::Error) -> Unreadable {
    let (length, start) = (text.len(), text.trim_start());
    Unreadable(if start.starts_with(['{', '[']) {
        let kind = if error.is_eof() { "cut off" } else { "not valid JSON" };
        format!("the answer of {length} bytes is {kind} at line {} column {}", error.line(), error.column())
    } else {
        format!("the answer is not JSON of the expected kind, it begins: {}", quote(start, 80))
    })
}

fn commission(row: &Fields<'_>) -> Option<Commission> {
    let field = |name: &str| present(row.get(name).copied());
    let promoter_campaign = field("promoter_campaign");
    let participation = promoter_campaign.and_then(object).unwrap_or_default();
    let part = |name: &str| present(participation.get(name).copied()).or_else(|| field(name));

    let promoter = match Part::read(part("promoter"), part("promoter_id")) {
        // The place where the promoter would stand is there, and cannot be read.
        Part::Absent if promoter_campaign.is_some_and(|raw| object(raw).is_none()) => Part::Broken,
        found @ (Part::Absent | Part::Broken | Part::Present(..)) => found,
    };
    let reward = Part::read(field("reward"), field("reward_id"));
    let parties_readable = !matches!(promoter, Part::Broken);
    let is_custom = field("commission_type").and_then(|raw| string(Some(raw))).as_deref() == Some("custom");

    Some(Commission {
        id: CommissionId(id(field("id"))?),
        status: CommissionStatus::from_wire(&word(field("status"))),
        unit: Unit::from_wire(&word(field("unit"))),
        amount: amount(row.get("amount").copied()),
        is_custom: is_custom && !matches!(reward, Part::Broken),
        is_self_referral: field("is_self_referral")
            .is_some_and(|raw| !matches!(raw.get(), "false" | "0" | "\"false\"")),
        fraud_suspicion: field("fraud_check").map(|raw| word(Some(raw))).filter(|word| word != "no_suspicion"),
        promoter: promoter.map(|id, row| Promoter { id, email: text(row, "email"), name: text(row, "name") }),
        referral: Part::read(field("referral"), field("referral_id"))
            .map(|id, row| Referral { id, email: text(row, "email"), uid: uid(row) })
            .filter(|_| parties_readable),
        campaign: Part::read(part("campaign"), part("campaign_id"))
            .map(|id, row| Campaign { id, name: text(row, "name") }),
        reward: reward.map(|id, row| RewardRef { id, name: text(row, "name") }),
        created_at: timestamp(field("created_at")),
        status_updated_at: timestamp(field("status_updated_at")),
    })
}

/// Something that a commission refers to, as an object with an `id` or by a flat id.
enum Part<'a> {
    Absent,
    Broken,
    Present(i64, Fields<'a>),
}

impl<'a> Part<'a> {
    fn read(nested: Option<&'a RawValue>, flat: Option<&RawValue>) -> Self {
        if nested.is_none() && flat.is_none() {
            return Self::Absent;
        }
        let row = nested.and_then(object).unwrap_or_default();
        match id(row.get("id").copied()).or_else(|| id(flat)) {
            Some(id) => Self::Present(id, row),
            None => Self::Broken,
        }
    }

    fn map<T>(self, make: impl FnOnce(i64, &Fields<'a>) -> T) -> Option<T> {
        match self {
            Self::Present(id, row) => Some(make(id, &row)),
            Self::Absent | Self::Broken => None,
        }
    }
}

/// An object, or the first of a list of them.
fn object_or_first(raw: &RawValue) -> Option<Fields<'_>> {
    let first = || serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok()?.first().copied();
    object(raw).or_else(|| object(first()?))
}

fn object(raw: &RawValue) -> Option<Fields<'_>> {
    serde_json::from_str(raw.get()).ok()
}

fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

fn string(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// A text field; an empty one is none.
fn text(row: &Fields<'_>, name: &str) -> Option<String> {
    string(row.get(name).copied()).filter(|text| !text.is_empty())
}

/// The merchant's own id: a number is its digits.
fn uid(row: &Fields<'_>) -> Option<String> {
    text(row, "uid").or_else(|| row.get("uid").and_then(|raw| whole_number(raw.get())).map(|number| number.to_string()))
}

/// An enum value: text as it is, anything else as it was written, nothing as the empty text.
fn word(raw: Option<&RawValue>) -> String {
    let Some(raw) = raw else { return String::new() };
    quote(&string(Some(raw)).unwrap_or_else(|| raw.get().to_owned()), ODD_MAX)
}

/// The texts in a value, joined; anything else as it was written.
fn words_of(raw: &RawValue) -> String {
    let json = raw.get();
    if json == "null" {
        return String::new();
    }
    if let Some(text) = string(Some(raw)) {
        return text;
    }
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(json) {
        // Not recursive: nesting deeper than FirstPromoter's is quoted as it stands.
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

fn amount(raw: Option<&RawValue>) -> Amount {
    let Some(raw) = raw else { return Amount::Odd(String::new()) };
    match whole_number(raw.get()) {
        Some(number) if number > 0 => Amount::Whole(number),
        Some(_) | None => Amount::Odd(quote(raw.get(), ODD_MAX)),
    }
}

/// A positive id, as a number or as a text of digits.
fn id(raw: Option<&RawValue>) -> Option<i64> {
    let raw = raw?;
    let number = match string(Some(raw)) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
        None => whole_number(raw.get()),
    };
    number.filter(|number| *number > 0)
}

/// A JSON number without a fraction (`5`, `-5`, `5.00`), compared as text so that nothing is rounded.
fn whole_number(json: &str) -> Option<i64> {
    let whole = match json.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => json,
    };
    whole.parse().ok()
}

/// RFC 3339 with any offset and fraction; years that RFC 3339 text could not hold again are none.
fn timestamp(raw: Option<&RawValue>) -> Option<Timestamp> {
    use chrono::Datelike;
    let at = chrono::DateTime::parse_from_rfc3339(&string(raw)?).ok()?.to_utc();
    (1970..=9999).contains(&at.year()).then_some(at)
}

#[cfg(test)]
mod tests;
