//! The metrics file and its content, read by a parser as strict as promtool.

#![allow(clippy::float_cmp, reason = "counts, and times in whole seconds: exact")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::{
    domain::{CommissionId, DeliveryKey, Promoter, RecipientKind, Timestamp},
    failure::Outcome,
    ledger::{Aftermath, Author, Begun, Counts, Facts, FailureKind, PassFailure, Transition, Wait},
};

/// `name{labels}`, with the labels but for the account in order.
type Series = BTreeMap<String, f64>;

/// Reads the text format: HELP and TYPE before the series of each metric, each series once, names and labels as they must
/// be, histograms that add up. Panics at anything else.
fn parsed(text: &str, account: &str) -> Series {
    assert!(text.ends_with('\n'), "the last line ends");
    let (mut series, mut done, mut current) = (Series::new(), BTreeSet::new(), (String::new(), String::new()));
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(words.ends_with('.') && !words.contains('\\'), "{line}");
            let kind =
                lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect("TYPE after HELP");
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            assert!(kind != "counter" || name.ends_with("_total"), "{name}");
            assert!(kind == "counter" || !name.ends_with("_total"), "{name}");
            assert!(done.insert(name.to_owned()), "{name} comes in one piece");
            current = (name.to_owned(), kind.to_owned());
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap_or_else(|| panic!("no labels: {line}"));
        let (labels, value) = rest.rsplit_once("} ").unwrap_or_else(|| panic!("no value: {line}"));
        let suffixes: &[&str] = if current.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.iter().any(|suffix| *name == format!("{}{suffix}", current.0)), "{line} under {current:?}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        let labels = self::labels(labels);
        assert_eq!(labels.get("account").map(String::as_str), Some(account), "{line}");
        let others: Vec<_> =
            labels.iter().filter(|(name, _)| *name != "account").map(|(n, v)| format!("{n}={v}")).collect();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let key = format!("{name}{{{}}}", others.join(","));
        assert!(series.insert(key, value).is_none(), "twice: {line}");
    }
    assert_histogram(&series, "makegood_reward_wait_seconds");
    series
}

/// `a="b",c="d"`, with what is escaped unescaped.
fn labels(text: &str) -> BTreeMap<String, String> {
    let (mut labels, mut chars) = (BTreeMap::new(), text.chars().peekable());
    while chars.peek().is_some() {
        let name: String = chars.by_ref().take_while(|c| *c != '=').collect();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !name.is_empty(), "{text}");
        assert_eq!(chars.next(), Some('"'), "{text}");
        let mut value = String::new();
        loop {
            match chars.next().expect("a closing quote") {
                '"' => break,
                '\\' => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(c @ ('"' | '\\')) => c,
                    other => panic!("{other:?} is not escaped in {text}"),
                }),
                c => value.push(c),
            }
        }
        assert!(labels.insert(name, value).is_none(), "{text}");
        assert!(matches!(chars.next(), None | Some(',')), "{text}");
    }
    labels
}

fn assert_histogram(series: &Series, name: &str) {
    let bound = |key: &str| {
        key.strip_prefix(&format!("{name}_bucket{{le="))
            .and_then(|it| it.strip_suffix('}'))
            .map(|it| it.parse::<f64>().unwrap())
    };
    let mut buckets: Vec<_> = series.iter().filter_map(|(key, count)| Some((bound(key)?, *count))).collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{buckets:?}");
    let (last, all) = *buckets.last().expect("buckets");
    assert!(last.is_infinite(), "{buckets:?}");
    assert_eq!(Some(&all), series.get(&format!("{name}_count{{}}")));
    assert!(series.contains_key(&format!("{name}_sum{{}}")));
}

fn at(seconds: i64) -> Timestamp {
    "2026-01-01T12:00:00Z".parse::<Timestamp>().unwrap() + chrono::TimeDelta::seconds(seconds)
}

fn ledger() -> Ledger {
    Ledger::in_memory("12345", at(0)).unwrap()
}

/// A reward of 500 points, approved at noon, and one attempt at it so many seconds later.
fn attempt(ledger: &Ledger, number: i64, after_s: i64, outcome: &Outcome, after: &Aftermath) {
    let id = CommissionId(number);
    let facts = Facts {
        unit: Some(Unit::Points),
        amount: Some(500),
        recipient: Some(RecipientKind::Promoter),
        promoter: Some(Promoter { id: 3, email: None, name: None }),
        referral: None,
        campaign: None,
        reward: None,
        approved_at: Some(at(0)),
        created_at: None,
    };
    let author = Author { actor: "makegood", pass_id: None, now: at(after_s) };
    let key = DeliveryKey::new("12345", id);
    ledger.change(author, |it| it.enter(id, &key, &facts, &Transition::Wait { until: at(0), why: Wait::Due })).unwrap();
    let reward = ledger.rewards(&[id]).unwrap().remove(&id).unwrap();
    let Begun::Attempt(attempt) = ledger.change(author, |it| it.begin(&reward, "app", at(after_s + 60))).unwrap()
    else {
        panic!("taken");
    };
    ledger.change(author, |it| it.finish(id, attempt, outcome, after)).unwrap();
}

fn pass(ledger: &Ledger, ended_s: i64, api_requests: u64, failure: Option<FailureKind>) {
    let pass = ledger.begin_pass("schedule", "poll", at(ended_s - 1)).unwrap();
    let failure = failure.map(|kind| PassFailure { kind, text: "it ended".to_owned() });
    ledger.finish_pass(pass, &Counts { api_requests, ..Counts::default() }, failure.as_ref(), at(ended_s)).unwrap();
}

fn delivered() -> Outcome {
    Outcome::Delivered { receipt: None }
}

fn refused() -> Outcome {
    Outcome::Refused { detail: "400".to_owned() }
}

fn metrics_of(metrics: &Metrics, ledger: &Ledger) -> Series {
    parsed(&metrics.text(ledger, false).unwrap(), &metrics.account_id)
}

#[test]
fn an_empty_ledger_has_all_the_known_series_at_0() {
    let series = metrics_of(&Metrics::new("12345"), &ledger());
    for unit in Unit::NON_MONETARY.iter().map(Unit::as_str) {
        assert_eq!(series[&format!("makegood_owed_rewards{{unit={unit}}}")], 0.0);
        assert_eq!(series[&format!("makegood_deliveries_total{{outcome=refused,unit={unit}}}")], 0.0);
    }
    for reason in ["backlog", "changed", "not_marked", "unfulfilled_upstream"] {
        assert_eq!(series[&format!("makegood_attention_rewards{{reason={reason}}}")], 0.0);
    }
    assert_eq!(series["makegood_last_completed_pass_timestamp_seconds{}"], 0.0);
    assert_eq!(series[&format!("makegood_build_info{{version={}}}", env!("CARGO_PKG_VERSION"))], 1.0);
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "seconds of this century")]
fn what_the_ledger_knows_is_counted_and_counted_on() {
    let (ledger, metrics) = (ledger(), Metrics::new("12345"));
    attempt(&ledger, 1, 90, &delivered(), &Aftermath::Delivered);
    attempt(&ledger, 2, 1_000_000, &delivered(), &Aftermath::Delivered);
    attempt(&ledger, 3, 90, &refused(), &Aftermath::Hold(HoldReason::RefusedByTarget));
    attempt(
        &ledger,
        4,
        90,
        &Outcome::Unknown { detail: "lost".to_owned(), retry_after: None },
        &Aftermath::Retry(at(9)),
    );
    pass(&ledger, 100, 4, None);
    pass(&ledger, 200, 3, Some(FailureKind::Unavailable));
    for round in 0..2 {
        let series = metrics_of(&metrics, &ledger);
        let is = |key: &str, value: f64| assert_eq!(series[key], value, "{key}, {round}");
        is("makegood_deliveries_total{outcome=delivered,unit=points}", 2.0);
        is("makegood_deliveries_total{outcome=refused,unit=points}", 1.0);
        is("makegood_deliveries_total{outcome=unknown,unit=points}", 1.0);
        is("makegood_owed_rewards{unit=points}", 1.0);
        is("makegood_attention_rewards{reason=refused_by_target}", 1.0);
        is("makegood_passes_total{result=completed}", 1.0);
        is("makegood_passes_total{result=failed}", 1.0);
        is("makegood_failed_passes_total{kind=unavailable}", 1.0);
        is("makegood_failed_passes_total{kind=stopped}", 0.0);
        is("makegood_api_requests_total{}", 7.0);
        is("makegood_last_completed_pass_timestamp_seconds{}", at(100).timestamp() as f64);
        is("makegood_reward_wait_seconds_bucket{le=60}", 0.0);
        is("makegood_reward_wait_seconds_bucket{le=300}", 1.0);
        is("makegood_reward_wait_seconds_bucket{le=604800}", 1.0);
        is("makegood_reward_wait_seconds_count{}", 2.0);
        is("makegood_reward_wait_seconds_sum{}", 1_000_090.0);
    }
    attempt(&ledger, 5, 60, &delivered(), &Aftermath::Delivered);
    pass(&ledger, 300, 1, None);
    let series = metrics_of(&metrics, &ledger);
    assert_eq!(series["makegood_deliveries_total{outcome=delivered,unit=points}"], 3.0);
    assert_eq!(series["makegood_reward_wait_seconds_bucket{le=60}"], 1.0);
    assert_eq!(series["makegood_api_requests_total{}"], 8.0);
    assert_eq!(series, metrics_of(&Metrics::new("12345"), &ledger), "whoever counts from the beginning agrees");
}

#[test]
fn a_row_is_counted_once_when_it_is_final() {
    let (ledger, metrics) = (ledger(), Metrics::new("12345"));
    let open = ledger.begin_pass("schedule", "poll", at(0)).unwrap();
    assert_eq!(metrics_of(&metrics, &ledger)["makegood_passes_total{result=completed}"], 0.0);
    ledger.finish_pass(open, &Counts { api_requests: 2, ..Counts::default() }, None, at(1)).unwrap();
    for _ in 0..2 {
        let series = metrics_of(&metrics, &ledger);
        assert_eq!(series["makegood_passes_total{result=completed}"], 1.0);
        assert_eq!(series["makegood_api_requests_total{}"], 2.0);
    }
}

#[test]
fn whatever_an_account_is_called_it_is_a_label() {
    let account = "a\"b\\c";
    metrics_of(&Metrics::new(account), &ledger());
}

#[test]
fn the_file_is_replaced_as_a_whole_and_readable_by_anyone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("makegood.prom");
    let (ledger, metrics) = (ledger(), Metrics::new("12345"));
    metrics.write(Some(&path), &ledger, false);
    // A reader that has it open goes on reading what it was.
    let before = std::fs::File::open(&path).unwrap();
    pass(&ledger, 100, 4, None);
    metrics.write(Some(&path), &ledger, false);
    let old = std::io::read_to_string(before).unwrap();
    let new = std::fs::read_to_string(&path).unwrap();
    assert_eq!(parsed(&old, "12345")["makegood_api_requests_total{}"], 0.0);
    assert_eq!(parsed(&new, "12345")["makegood_api_requests_total{}"], 4.0);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_file_that_cannot_be_written_is_nobodys_error() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["none/makegood.prom", "..", "/"] {
        Metrics::new("12345").write(Some(&folder.path().join(path)), &ledger(), false);
    }
    std::fs::create_dir(folder.path().join("taken.prom")).unwrap();
    Metrics::new("12345").write(Some(&folder.path().join("taken.prom")), &ledger(), false);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}
