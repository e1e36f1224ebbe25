//! An alert in words: one JSON document that a Slack-compatible incoming webhook shows (`text`) and that a program reads
//! (`makegood`).
//!
//! Guarantees: it holds no name, no email and no text of a target's, and it notifies nobody by mention, whatever an error
//! quotes. A chat room is not the place for the ledger: the id is enough, and `makegood show ID` tells the rest.

use serde_json::{Value, json};

use super::alert::{AlertKind, Broken, Failing, News};
use crate::{
    domain::{Timestamp, timestamp_text},
    foreign::{chat, cut, redact},
    ledger::{Attention, Health},
    service::late::MISSED,
};

/// More rewards than these are counted, not listed in the text.
const LINES_MAX: usize = 10;
/// More rewards than these are counted, not listed at all.
const LISTED_MAX: usize = 100;
/// How much of an error is shown: about a screen.
const ERROR_MAX_CHARS: usize = 1_000;

/// The document to post.
pub(super) fn compose(account_id: &str, news: &News, now: Timestamp) -> Value {
    let event = if news.is_all_clear() { "all_clear" } else { "alert" };
    json!({
        "text": text(account_id, news),
        "makegood": {
            "version": env!("CARGO_PKG_VERSION"),
            "account_id": account_id,
            "event": event,
            "at": timestamp_text(now),
            "attention": news.attention.iter().take(LISTED_MAX).map(reward).collect::<Vec<_>>(),
            "attention_count": news.attention.len(),
            "failing": news.failing.as_ref().map(|it| json!({
                "since": timestamp_text(it.since), "late": it.late, "error": short(&it.failure.text), "error_kind": it.failure.kind,
            })),
            "handler": news.handler.map(|it| json!({
                "caught": it.caught.caught, "of": it.caught.of, "within_s": it.within.as_secs(),
            })),
            "targets": news.targets.iter().map(|(name, health)| json!({
                "target": name, "failures": health.failures, "refusals": health.refusals,
                "retry_at": health.retry_at.map(timestamp_text),
            })).collect::<Vec<_>>(),
            "over": news.over,
        }
    })
}

fn reward(it: &Attention) -> Value {
    json!({
        "commission_id": it.commission_id, "state": it.state, "reason": it.reason, "since": it.since, "unit": it.unit,
        "amount": it.amount, "what_to_do": it.what_to_do,
    })
}

fn text(account_id: &str, news: &News) -> String {
    let mut lines = Vec::new();
    if !news.attention.is_empty() {
        lines.push(newly(news.attention.len()));
        lines.extend(news.attention.iter().take(LINES_MAX).map(line));
        if let Some(more @ 1..) = news.attention.len().checked_sub(LINES_MAX) {
            lines.push(format!("• and {more} more: see `makegood status`"));
        }
    }
    lines.extend(news.failing.as_ref().map(failing));
    lines.extend(news.handler.as_ref().map(handler));
    lines.extend(news.targets.iter().map(|(name, health)| target(name, health)));
    lines.extend(news.over.iter().map(|kind| over(*kind).to_owned()));
    escaped(&format!("makegood, account {}: {}", chat(account_id), lines.join("\n")))
}

fn newly(count: usize) -> String {
    if count == 1 { "1 reward newly needs a person".to_owned() } else { format!("{count} rewards newly need a person") }
}

fn line(it: &Attention) -> String {
    let amount = it.amount.map(|amount| format!("{amount} ")).unwrap_or_default();
    let unit = chat(it.unit.as_deref().unwrap_or("of an unknown unit"));
    format!("• commission {}, {amount}{unit}: {}. {}", it.commission_id, chat(&it.reason), chat(&it.what_to_do))
}

fn failing(it: &Failing) -> String {
    let since = timestamp_text(it.since);
    let late = if it.late {
        format!("; they are late: {MISSED} that schedule.poll asked for have come and gone")
    } else {
        String::new()
    };
    format!(
        "passes have not completed since {since}{late}; nothing is delivered. The last error: {}",
        short(&it.failure.text)
    )
}

fn handler(it: &Broken) -> String {
    format!(
        "the webhook handler seems broken: makegood had to deliver {} of {} rewards that were approved within the last {}",
        it.caught.caught,
        it.caught.of,
        humantime::format_duration(it.within)
    )
}

fn target(name: &str, health: &Health) -> String {
    let until = health.retry_at.map(|at| format!(" until {}", timestamp_text(at))).unwrap_or_default();
    format!(
        "target {name}: {} in a row; its deliveries wait{until}. `makegood status` tells its last answer; repair it, and what \
         waits goes by itself",
        health.in_words()
    )
}

fn over(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::Attention => "all clear: no reward needs a person any more",
        AlertKind::Failing => "all clear: passes complete again",
        AlertKind::Handler => "all clear: the webhook handler seems to work again",
        AlertKind::Targets => "all clear: no target keeps its deliveries waiting any more",
    }
}

/// Errors quote other people's text.
fn short(error: &str) -> String {
    cut(&chat(&redact(error)), ERROR_MAX_CHARS)
}

/// The three characters that mean something to Slack (links, mentions such as `<!channel>`).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
