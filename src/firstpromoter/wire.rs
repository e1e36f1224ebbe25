//! FirstPromoter's JSON, read tolerantly: `commissions.json` (`Commission`, `BatchOperationResponse`,
//! `ErrorResponse`), `rewards.json` (`Reward`), `batches.json` (`BatchProcess`).
//!
//! Rows are read field by field from raw JSON text, not through a derived struct: one odd field must never lose its row, let
//! alone the listing.
//!
//! Guarantees:
//! - A bare array and `{"data": [...]}` read the same. Unknown fields are skipped, unknown enum values kept as text.
//! - No answer panics: nesting is skipped without recursion, numbers are compared as text and never rounded.
//! - Money is not guessed: only a JSON number that is whole and positive (`500`, `500.0`) is an amount. `"500"`, `5e2`, `0`,
//!   `-1`, `null` are kept as [`Amount::Odd`](crate::domain::Amount::Odd).
//! - Suspicion is not lost: a `fraud_check` or `is_self_referral` of an unexpected type counts as suspicion.
//! - The recipient is not guessed from a broken row. A party or a reward is [`Reference::Unreadable`] where its key is absent,
//!   where it has no readable id, or where two keys give different ids. Only an explicit null says that there is none (for a
//!   reward, emulators also write `{}`, `{"id": null}`, `{"id": 0}` when the commission was made by hand).
//! - Text is bounded. A name is cut to `TEXT_MAX` characters. An email or uid that is longer, or not text, makes its party
//!   unreadable, because a cut one would be somebody else's.
//! - A row without a usable positive id makes the whole listing unreadable: nobody could tell which commissions are listed.
//! - Memory is bounded: an answer of more than `ROWS_MAX` rows is unreadable.
//!
//! Assumptions: the flat `promoter_id`, `referral_id`, `campaign_id`, `reward_id` of webhook samples mean what the nested
//! objects' `id` means.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{Batch, BatchStatus, RewardRule};
use crate::domain::{
    Campaign, Commission, CommissionId, CommissionStatus, Promoter, Reference, Referral, RewardRef, Unit,
};
use crate::foreign::quote;
use time::timestamp;
use values::{amount, id, identity, name, object, object_or_first, present, string, whole_number, word, words_of};

mod time;
mod values;

/// The most rows of an answer: ten times what is asked for. 8 MiB could hold a hundred thousand rows, and each would take more
/// memory than it takes in the answer.
const ROWS_MAX: usize = 1_000;

/// The longest name, email or uid that is kept, in characters; an email has at most 254 (RFC 5321).
const TEXT_MAX: usize = 500;

/// The longest text kept of a value that makegood does not understand.
const ODD_MAX: usize = 100;

/// The longest text kept of a batch's `processing_errors`.
const BATCH_WORDS_MAX: usize = 500;

/// The most that an error message quotes of an answer.
pub(super) const QUOTE_MAX: usize = 200;

/// The answer is not what was asked for. The text quotes nothing that could be personal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Unreadable(String);

/// One JSON object, its values unread. Of duplicate names the last wins.
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

/// Whether the rows are wrapped as `{"data": [...]}`, or come as a bare array.
pub(super) fn is_wrapped(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Reads `GET /rewards`, each rule once. Rows without an id are skipped: a missing rule holds the reward, which is safe. A rule
/// that comes twice with different content counts as unknown.
pub fn rewards(text: &str) -> Result<Vec<RewardRule>, Unreadable> {
    let mut rules: Vec<RewardRule> = Vec::new();
    for row in rows(text)?.into_iter().filter_map(object) {
        let Some(id) = id(row.get("id").copied()) else { continue };
        let is_promoter_reward = row.get("is_promoter_reward").and_then(|raw| serde_json::from_str(raw.get()).ok());
        match rules.iter_mut().find(|rule| rule.id == id) {
            Some(twin) if twin.is_promoter_reward != is_promoter_reward => twin.is_promoter_reward = None,
            Some(_) => {}
            None => rules.push(RewardRule { id, name: name(&row), is_promoter_reward }),
        }
    }
    Ok(rules)
}

/// Reads the answer to a batch action or to `GET /batch_processes/{id}`: the batch alone, in `data`, or as the first of a list.
/// An answer without words (empty, `null`, `[]`, `true`) counts as a batch that ended well; reading back decides.
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

/// The rows of a bare array or of `{"data": [...]}`, at most [`ROWS_MAX`].
fn rows(text: &str) -> Result<Vec<&RawValue>, Unreadable> {
    let Rows { rows, too_many } = if is_wrapped(text) {
        let outer: Fields<'_> = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
        let data = outer.get("data").and_then(|raw| serde_json::from_str(raw.get()).ok());
        data.ok_or_else(|| {
            let words = refusal(text).map(|words| format!("; it says: {words}")).unwrap_or_default();
            Unreadable(format!("a list was asked for, and the answer is an object without a `data` list{words}"))
        })?
    } else {
        serde_json::from_str(text).map_err(|error| not_json(text, &error))?
    };
    if too_many {
        return Err(Unreadable(format!(
            "the answer holds more than {ROWS_MAX} rows, where a page has at most 100: it was not read"
        )));
    }
    Ok(rows)
}

/// A list that takes no more memory than its first [`ROWS_MAX`] rows.
struct Rows<'a> {
    rows: Vec<&'a RawValue>,
    too_many: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Rows<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Rows<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut rows = Vec::new();
                while rows.len() < ROWS_MAX {
                    match list.next_element()? {
                        Some(row) => rows.push(row),
                        None => return Ok(Rows { rows, too_many: false }),
                    }
                }
                let mut too_many = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    too_many = true;
                }
                Ok(Rows { rows, too_many })
            }
        }

        deserializer.deserialize_seq(Bounded)
    }
}

/// Says what is wrong with an answer. Text that begins like JSON may hold names and emails, and is not quoted.
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
    let campaign = [said(part("campaign")), said(part("campaign_id"))];

    Some(Commission {
        id: CommissionId(id(field("id"))?),
        status: CommissionStatus::from_wire(&word(field("status"))),
        unit: Unit::from_wire(&word(field("unit"))),
        amount: amount(row.get("amount").copied()),
        is_custom: field("commission_type").and_then(|raw| string(Some(raw))).as_deref() == Some("custom"),
        is_self_referral: field("is_self_referral")
            .is_some_and(|raw| !matches!(raw.get(), "false" | "0" | "\"false\"")),
        fraud_suspicion: field("fraud_check").map(|raw| word(Some(raw))).filter(|word| word != "no_suspicion"),
        promoter: read(promoter(row, &participation), |id, row| {
            Some(Promoter { id, email: identity(row, "email").ok()?, name: name(row) })
        }),
        referral: read([said(row.get("referral").copied()), said(row.get("referral_id").copied())], |id, row| {
            Some(Referral { id, email: identity(row, "email").ok()?, uid: identity(row, "uid").ok()? })
        }),
        campaign: read(campaign, |id, row| Some(Campaign { id, name: name(row) })).known().cloned(),
        reward: read([rule(row.get("reward").copied()), said(row.get("reward_id").copied())], |id, row| {
            Some(RewardRef { id, name: name(row) })
        }),
        created_at: timestamp(field("created_at")),
        status_updated_at: timestamp(field("status_updated_at")),
    })
}

/// What one key says about something that a commission may refer to.
enum Said<'a> {
    /// The key is absent.
    Unsaid,
    Null,
    /// The id cannot be read.
    Odd(Fields<'a>),
    Id(i64, Fields<'a>),
}

/// An object with an `id`, or a flat id.
fn said(raw: Option<&RawValue>) -> Said<'_> {
    let Some(raw) = raw else { return Said::Unsaid };
    if raw.get() == "null" {
        return Said::Null;
    }
    let Some(row) = object(raw) else {
        return id(Some(raw)).map_or_else(|| Said::Odd(Fields::new()), |id| Said::Id(id, Fields::new()));
    };
    match id(row.get("id").copied()) {
        Some(id) => Said::Id(id, row),
        None => Said::Odd(row),
    }
}

/// For a commission made by hand, emulators write a reward without an id in place of null.
fn rule(raw: Option<&RawValue>) -> Said<'_> {
    match said(raw) {
        Said::Odd(_) if raw.is_some_and(|raw| object(raw).is_some_and(|row| is_no_rule(&row))) => Said::Null,
        other @ (Said::Unsaid | Said::Null | Said::Odd(_) | Said::Id(..)) => other,
    }
}

fn is_no_rule(row: &Fields<'_>) -> bool {
    row.is_empty() || row.get("id").is_some_and(|raw| matches!(raw.get(), "null" | "0"))
}

/// All that a row says about the promoter. A `promoter_campaign` always has a promoter, readable or not.
fn promoter<'a>(row: &Fields<'a>, participation: &Fields<'a>) -> [Said<'a>; 5] {
    let inner = [said(participation.get("promoter").copied()), said(participation.get("promoter_id").copied())];
    let around = match said(row.get("promoter_campaign").copied()) {
        Said::Null => Said::Null,
        // The id of the participation is not the promoter's.
        Said::Odd(_) | Said::Id(..) if inner.iter().all(|it| matches!(it, Said::Unsaid)) => Said::Odd(Fields::new()),
        Said::Unsaid | Said::Odd(_) | Said::Id(..) => Said::Unsaid,
    };
    let [nested, flat] = inner;
    [nested, flat, said(row.get("promoter").copied()), said(row.get("promoter_id").copied()), around]
}

/// Combines what several keys say about one thing. `make` gets its id and the fields of the first object.
fn read<'a, T, const N: usize>(keys: [Said<'a>; N], make: impl FnOnce(i64, &Fields<'a>) -> Option<T>) -> Reference<T> {
    let (mut found, mut fields, mut null, mut odd) = (None, Fields::new(), false, false);
    for said in keys {
        let row = match said {
            Said::Unsaid => continue,
            Said::Null => {
                null = true;
                continue;
            }
            Said::Odd(row) => {
                odd = true;
                row
            }
            Said::Id(id, row) => {
                if found.is_some_and(|before| before != id) {
                    return Reference::Unreadable;
                }
                found = Some(id);
                row
            }
        };
        if fields.is_empty() {
            fields = row;
        }
    }
    match found.map(|id| make(id, &fields)) {
        Some(Some(it)) => Reference::To(it),
        None if null && !odd => Reference::Null,
        Some(None) | None => Reference::Unreadable,
    }
}

#[cfg(test)]
mod tests;
