//! One exhaustive classification of what can go wrong at FirstPromoter.
//!
//! Guarantees: no message contains the token ([`quote`] takes it out) or more than [`wire::QUOTE_MAX`] characters of an answer.
//! An unknown status ends the pass and is never retried.

use std::time::Duration;

use thiserror::Error;

use super::{retry::Retryable, wire};
use crate::foreign::quote;

/// Why a call to FirstPromoter failed. Never contains the token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApiError {
    /// It may work later: network, timeout, 429, 5xx; the bounded retries are used up.
    #[error("{what}: {detail}; the next pass tries again")]
    Transient {
        /// The request, for a person (`GET /commissions page 3`).
        what: String,
        /// What came back, and the remedy where there is one.
        detail: String,
    },
    /// This request was refused (404, 422, other 4xx); another may not be.
    #[error("{what}: FirstPromoter refused with {status}: {detail}; {}", remedy(*status))]
    Rejected {
        /// The request.
        what: String,
        /// The HTTP status.
        status: u16,
        /// FirstPromoter's own words.
        detail: String,
    },
    /// No call will work, or no answer can be trusted: 401, 403, a redirect, an unreadable or oversized answer. The pass ends.
    #[error("{what}: {detail}")]
    Fatal {
        /// The request.
        what: String,
        /// The HTTP status, where there was one.
        status: Option<u16>,
        /// What came back and what to do.
        detail: String,
    },
}

impl ApiError {
    /// The HTTP status of the final answer. Where `GET /rewards` is refused with 403 or 404, this key cannot be used with
    /// `policy.recipient = "auto"`.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Transient { .. } => None,
            Self::Rejected { status, .. } => Some(*status),
            Self::Fatal { status, .. } => *status,
        }
    }
}

/// An answer as it came. Every message must quote it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// `Content-Type`, empty where there was none.
    pub(super) content_type: String,
    /// The host that a `Location` names.
    pub(super) redirects_to: Option<String>,
    /// How long we were asked to stay away.
    pub(super) retry_after: Option<Duration>,
    /// The body; of an error only its beginning.
    pub(super) text: String,
}

/// Why one attempt came to nothing.
#[derive(Debug)]
pub(super) enum AttemptFailure {
    /// Asking again would not help.
    Final(ApiError),
    /// Another attempt may work.
    Again {
        /// The kind of failure.
        failure: Retryable,
        /// What happened, for a person.
        detail: String,
    },
}

/// Judges an answer by its status. `Ok` means 2xx; the body may still be unreadable.
pub(super) fn classify(what: &str, answer: &Answer) -> Result<(), AttemptFailure> {
    let status = answer.status;
    let words = wire::refusal(&answer.text);
    let fatal = |detail: String| {
        Err(AttemptFailure::Final(ApiError::Fatal { what: what.to_owned(), status: Some(status), detail }))
    };
    match status {
        200..=299 => Ok(()),
        300..=399 => fatal(format!(
            "the answer is a redirect ({status}) to {}; it is not followed, because the API key would go along; check \
             firstpromoter.base_url",
            quote(answer.redirects_to.as_deref().unwrap_or("nowhere"), wire::QUOTE_MAX)
        )),
        401 => fatal(
            "the API key was not accepted (401); check firstpromoter.api_key, and that firstpromoter.account_id (the \
             header Account-ID) is the account that the key belongs to"
                .to_owned(),
        ),
        403 => fatal(format!(
            "FirstPromoter forbids this to the API key (403): {}; check the key's permissions and the account",
            words.unwrap_or_else(|| "no reason given".to_owned())
        )),
        429 => again(Retryable::Limited(answer.retry_after), "too many requests (429)", words, answer),
        408 | 500..=599 => again(
            Retryable::Server(answer.retry_after),
            &format!("FirstPromoter could not answer ({status})"),
            words,
            answer,
        ),
        400..=499 => Err(AttemptFailure::Final(ApiError::Rejected {
            what: what.to_owned(),
            status,
            detail: words.unwrap_or_else(|| format!("no reason that could be read{}", looks_like(answer))),
        })),
        _ => fatal(format!("the answer has a status that means nothing here ({status})")),
    }
}

/// A 2xx that could not be read.
pub(super) fn unreadable(what: &str, answer: &Answer, why: &wire::Unreadable) -> ApiError {
    let kind = quote(&answer.content_type, 60);
    if answer.text.trim().is_empty() {
        let status = answer.status;
        let detail = format!("the answer ({status}) is empty where JSON was expected; check firstpromoter.base_url");
        return ApiError::Fatal { what: what.to_owned(), status: Some(status), detail };
    }
    ApiError::Fatal {
        what: what.to_owned(),
        status: Some(answer.status),
        detail: format!(
            "unreadable answer ({}, {}): {why}; nothing is concluded from it; check firstpromoter.base_url, or whether \
             something between answers in FirstPromoter's place",
            answer.status,
            if kind.is_empty() { "no content type" } else { &kind }
        ),
    }
}

/// What to do about a refusal that stops a pass.
fn remedy(status: u16) -> &'static str {
    match status {
        404 => "check firstpromoter.base_url and firstpromoter.account_id",
        _ => "the next pass asks again; if it is refused again, ask FirstPromoter's support",
    }
}

fn again(
    failure: Retryable,
    what_happened: &str,
    words: Option<String>,
    answer: &Answer,
) -> Result<(), AttemptFailure> {
    let words = words.map_or_else(|| looks_like(answer), |words| format!(": {words}"));
    Err(AttemptFailure::Again { failure, detail: format!("{what_happened}{words}") })
}

/// The beginning of an answer that is not JSON: an error page often says who wrote it.
fn looks_like(answer: &Answer) -> String {
    let text = quote(answer.text.trim(), 80);
    if text.is_empty() || text.starts_with(['{', '[']) { String::new() } else { format!(", the answer begins: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer { status, text: text.to_owned(), ..Answer::default() }
    }

    fn last_word(answer: &Answer) -> String {
        match classify("GET /commissions", answer) {
            Ok(()) => "good".to_owned(),
            Err(AttemptFailure::Final(error)) => format!("{error:?}"),
            Err(AttemptFailure::Again { failure, detail }) => format!("again {failure:?} {detail}"),
        }
    }

    #[test]
    fn every_status_has_its_class() {
        for (status, body, expected) in [
            (200, "[]", "good"),
            (202, "{}", "good"),
            (200, "  ", "good"),
            (204, "", "good"),
            (302, "", "Fatal"),
            (400, "{}", "Rejected"),
            (401, "", "Fatal"),
            (403, "{}", "Fatal"),
            (404, "{}", "Rejected"),
            (408, "", "again Server"),
            (422, "{}", "Rejected"),
            (429, "", "again Limited"),
            (500, "", "again Server"),
            (503, "<html>", "again Server"),
            (101, "", "Fatal"),
            (700, "[]", "Fatal"),
        ] {
            let said = last_word(&answer(status, body));
            assert!(said.starts_with(expected), "{status}: {said}");
        }
    }

    #[test]
    fn firstpromoters_own_words_are_told() {
        let body = r#"{"message":"Validation failed","code":"invalid","errors":{"ids":["are wrong","are many"]}}"#;
        assert!(last_word(&answer(422, body)).contains("Validation failed (invalid); ids: are wrong, are many"));
        assert!(last_word(&answer(403, r#"{"message":"Not yours","code":"x"}"#)).contains("Not yours (x)"));
    }

    #[test]
    fn no_message_quotes_more_than_two_hundred_characters_or_a_control_character() {
        let long = format!("\u{1b}[31m<p>{}", "é".repeat(10_000));
        let json = format!(r#"{{"message":"\u0007{}"}}"#, "é".repeat(10_000));
        for status in [200, 302, 400, 401, 403, 404, 422, 429, 500, 999] {
            for body in [&long, &json] {
                let said = last_word(&answer(status, body));
                assert!(said.chars().filter(|c| *c == 'é').count() <= 200, "{status}: {said}");
                assert!(!said.contains(char::is_control), "{status}: {said:?}");
            }
        }
    }

    #[test]
    fn the_status_is_there_for_the_caller_who_can_do_without() {
        for (status, text) in [(403, "{}"), (404, "{}")] {
            let Err(AttemptFailure::Final(error)) = classify("GET /rewards", &answer(status, text)) else { panic!() };
            assert_eq!(error.status(), Some(status));
        }
    }
}
