//! What is news, what is over, and what is neither.

use serde_json::json;

use super::{
    alert::{AlertKind, Failing, Findings, News, Told},
    message::compose,
};
use crate::{
    config::AlertSettings,
    domain::{CommissionId, Timestamp},
    ledger::{Attention, Caught, FailureKind, Health, PassFailure},
};

/// Minutes after noon.
fn at(minutes: i64) -> Timestamp {
    "2026-01-01T12:00:00Z".parse::<Timestamp>().unwrap() + chrono::TimeDelta::minutes(minutes)
}

fn held(id: i64, reason: &str, since: &str) -> Attention {
    Attention {
        commission_id: CommissionId(id),
        state: "held".to_owned(),
        reason: reason.to_owned(),
        since: since.to_owned(),
        what_to_do: format!("Look at `makegood show {id}`."),
        detail: Some("secret words of the target".to_owned()),
        unit: Some("points".to_owned()),
        amount: Some(500),
        recipient: Some("promoter".to_owned()),
        recipient_email: Some("p@example.com".to_owned()),
    }
}

fn attention(rewards: &[Attention]) -> Findings {
    Findings::judge(Some(rewards.to_vec()), None, Some(Caught::default()), &AlertSettings::default(), at(0))
}

fn since_noon(text: &str) -> Failing {
    let failure = PassFailure { kind: FailureKind::Unavailable, text: text.to_owned() };
    Failing { since: at(0), failure, late: false }
}

/// Passes have failed since noon; it is `minutes` later.
fn failing(minutes: i64) -> Findings {
    let failing = since_noon("no answer from <FirstPromoter>");
    Findings::judge(Some(vec![]), Some(&failing), Some(Caught::default()), &AlertSettings::default(), at(minutes))
}

fn handler(caught: u64, of: u64) -> Findings {
    Findings::judge(Some(vec![]), None, Some(Caught { caught, of }), &AlertSettings::default(), at(0))
}

/// Tells the news, and returns it.
fn tell(told: &mut Told, findings: &Findings) -> News {
    let news = told.news(findings);
    told.replace(news.told.clone());
    news
}

fn ids(news: &News) -> Vec<i64> {
    news.attention.iter().map(|it| it.commission_id.0).collect()
}

#[test]
fn a_reward_that_needs_a_person_is_news_once_and_over_once() {
    let mut told = Told::default();
    let (one, two) = (held(1, "fuse", "t1"), held(2, "gave_up", "t2"));
    assert!(tell(&mut told, &attention(&[])).is_empty());
    assert_eq!(ids(&tell(&mut told, &attention(std::slice::from_ref(&one)))), [1]);
    assert!(tell(&mut told, &attention(std::slice::from_ref(&one))).is_empty());
    assert_eq!(ids(&tell(&mut told, &attention(&[one, two.clone()]))), [2]);
    assert!(tell(&mut told, &attention(&[two])).is_empty(), "one of two is solved: no news");
    assert_eq!(tell(&mut told, &attention(&[])).over, [AlertKind::Attention]);
    assert!(tell(&mut told, &attention(&[])).is_empty());
    assert!(told.subjects().is_empty());
}

#[test]
fn a_reward_that_comes_back_or_is_held_anew_is_news_again() {
    let mut told = Told::default();
    let other = held(9, "fuse", "t0");
    tell(&mut told, &attention(&[other.clone(), held(1, "refused_by_target", "t1")]));
    let again = held(1, "refused_by_target", "t2");
    assert_eq!(ids(&tell(&mut told, &attention(&[other.clone(), again.clone()]))), [1], "resolved, and refused again");
    assert!(tell(&mut told, &attention(std::slice::from_ref(&other))).is_empty());
    assert_eq!(ids(&tell(&mut told, &attention(&[other, again]))), [1]);
}

#[test]
fn an_alert_that_could_not_be_sent_is_news_until_it_is_sent_or_gone() {
    let mut told = Told::default();
    let news = attention(&[held(1, "fuse", "t1")]);
    assert_eq!(ids(&told.news(&news)), [1]);
    assert_eq!(ids(&told.news(&news)), [1]);
    assert!(told.news(&attention(&[])).is_empty(), "nobody was told, so that nothing is over");
    tell(&mut told, &news);
    assert_eq!(told.news(&attention(&[])).over, [AlertKind::Attention], "the all-clear did not come through");
    assert_eq!(told.news(&attention(&[])).over, [AlertKind::Attention]);
}

#[test]
fn passes_that_fail_are_told_after_the_time_that_was_set_and_over_with_the_first_that_completes() {
    let mut told = Told::default();
    assert!(tell(&mut told, &failing(59)).is_empty());
    assert!(tell(&mut told, &failing(60)).failing.is_some());
    assert!(tell(&mut told, &failing(61)).is_empty());
    assert_eq!(tell(&mut told, &attention(&[])).over, [AlertKind::Failing]);
    assert!(tell(&mut told, &attention(&[])).is_empty());
}

#[test]
fn a_short_failure_is_no_news() {
    let mut told = Told::default();
    tell(&mut told, &failing(5));
    assert!(tell(&mut told, &attention(&[])).is_empty());
}

#[test]
fn an_alert_stays_told_while_the_ledger_cannot_be_read() {
    let mut told = Told::default();
    tell(&mut told, &attention(&[held(1, "fuse", "t1")]));
    let before = told.subjects().clone();
    let failing = since_noon("damaged");
    let blind = Findings::judge(None, Some(&failing), None, &AlertSettings::default(), at(1));
    assert!(tell(&mut told, &blind).is_empty());
    assert_eq!(*told.subjects(), before);
}

#[test]
fn the_handler_seems_broken_when_most_was_left_to_us_and_not_before_it_was_a_few() {
    for (caught, of, broken) in
        [(0, 0, false), (4, 4, false), (5, 5, true), (5, 10, true), (5, 11, false), (40, 100, false), (50, 100, true)]
    {
        assert_eq!(Told::default().news(&handler(caught, of)).handler.is_some(), broken, "{caught} of {of}");
    }
}

#[test]
fn the_handler_is_well_again_only_when_it_is_half_as_bad() {
    let mut told = Told::default();
    assert!(tell(&mut told, &handler(5, 5)).handler.is_some());
    for (caught, of) in [(6, 6), (4, 4), (5, 5), (3, 5), (40, 100)] {
        assert!(tell(&mut told, &handler(caught, of)).is_empty(), "{caught} of {of}");
    }
    assert_eq!(tell(&mut told, &handler(2, 5)).over, [AlertKind::Handler]);
    assert!(tell(&mut told, &handler(5, 5)).handler.is_some());
    assert_eq!(tell(&mut told, &handler(24, 100)).over, [AlertKind::Handler]);
}

#[test]
fn an_alert_is_one_text_for_people_and_the_facts_for_programs() {
    let mut findings = attention(&[held(88901, "refused_by_target", "2026-01-01T11:00:00.000Z")]);
    let text = |findings: &Findings| compose("12345", &Told::default().news(findings), at(0));
    let post = text(&findings);
    assert_eq!(
        post,
        json!({
            "text": "makegood, account 12345: 1 reward newly needs a person\n\
                     • commission 88901, 500 points: refused_by_target. Look at `makegood show 88901`.",
            "makegood": {
                "version": env!("CARGO_PKG_VERSION"), "account_id": "12345", "event": "alert", "at": "2026-01-01T12:00:00.000Z",
                "attention": [{
                    "commission_id": 88901, "state": "held", "reason": "refused_by_target", "since": "2026-01-01T11:00:00.000Z",
                    "unit": "points", "amount": 500, "what_to_do": "Look at `makegood show 88901`.",
                }],
                "attention_count": 1, "failing": null, "handler": null, "targets": [], "over": [],
            }
        })
    );
    let many: Vec<_> = (1..=120).map(|id| held(id, "fuse", "t")).collect();
    findings = attention(&many);
    let post = text(&findings);
    let words = post["text"].as_str().unwrap();
    assert!(words.contains("120 rewards newly need a person") && words.contains("and 110 more"), "{words}");
    assert_eq!((words.lines().count(), post["makegood"]["attention"].as_array().unwrap().len()), (12, 100));
    assert!(!post.to_string().contains("p@example.com") && !post.to_string().contains("secret words"), "{post}");
}

/// What FirstPromoter, or a page in its place, may say in an error.
#[test]
fn no_alert_calls_anybody_or_holds_a_link_an_image_or_an_email() {
    let hostile = "it said: @channel <!here>\n- write to kim@example.com ![x](https://evil.example/p.png) \u{9b}31m\u{202e}\u{2028}now";
    let failing = since_noon(hostile);
    let findings =
        Findings::judge(Some(vec![]), Some(&failing), Some(Caught::default()), &AlertSettings::default(), at(99));
    let post = compose("12345", &Told::default().news(&findings), at(99));
    for text in [&post["text"], &post["makegood"]["failing"]["error"]] {
        let text = text.as_str().unwrap();
        for bad in ["@", "://", "](", "\n", "\u{9b}", "\u{202e}", "\u{2028}"] {
            assert!(!text.contains(bad), "{bad:?} in {text:?}");
        }
        assert!(text.contains("(at)channel") && text.contains("write to (email)"), "{text}");
    }
}

#[test]
fn slacks_special_characters_are_escaped_in_the_text_only() {
    let post = compose("12345", &Told::default().news(&failing(90)), at(90));
    let words = post["text"].as_str().unwrap();
    assert!(words.contains("since 2026-01-01T12:00:00.000Z") && words.contains("&lt;FirstPromoter&gt;"), "{words}");
    assert_eq!(post["makegood"]["failing"]["error"], "no answer from <FirstPromoter>");
    assert_eq!(post["makegood"]["failing"]["error_kind"], "unavailable");
}

#[test]
fn a_target_whose_deliveries_wait_is_told_once_and_over_when_an_attempt_succeeded() {
    let health = |failures, refusals, waits: Option<i64>| {
        let health = Health { failures, refusals, retry_at: waits.map(at), last_error: Some("no <secret>".to_owned()) };
        let targets = [("app".to_owned(), health)].into_iter().filter(|it| it.1.failures + it.1.refusals > 0).collect();
        attention(&[]).with_targets(Some(targets))
    };
    let mut told = Told::default();
    assert!(tell(&mut told, &health(9, 4, None)).is_empty(), "nothing waits yet");
    let news = tell(&mut told, &health(9, 5, Some(1)));
    let post = compose("12345", &news, at(0));
    let words = post["text"].as_str().unwrap();
    assert!(
        words.contains("target app: 9 failures and 5 refusals in a row; its deliveries wait until 2026"),
        "{words}"
    );
    assert!(!post.to_string().contains("secret"), "{post}");
    assert_eq!(post["makegood"]["targets"][0]["refusals"], 5);
    assert!(tell(&mut told, &health(9, 6, Some(2))).is_empty(), "told once");
    assert!(tell(&mut told, &health(1, 0, None)).is_empty(), "still in trouble");
    assert!(tell(&mut told, &attention(&[])).is_empty(), "cannot be known now");
    assert_eq!(tell(&mut told, &health(0, 0, None)).over, [AlertKind::Targets]);
    assert!(!tell(&mut told, &health(10, 0, Some(1))).targets.is_empty());
}

#[test]
fn the_handlers_numbers_are_told() {
    let post = compose("12345", &Told::default().news(&handler(7, 8)), at(0));
    let words = post["text"].as_str().unwrap();
    assert!(words.contains("deliver 7 of 8 rewards") && words.contains("within the last 1day"), "{words}");
    assert_eq!(post["makegood"]["handler"], json!({ "caught": 7, "of": 8, "within_s": 86_400 }));
}

#[test]
fn an_all_clear_is_called_one() {
    let mut told = Told::default();
    tell(&mut told, &failing(60));
    let post = compose("12345", &told.news(&attention(&[])), at(0));
    assert_eq!(post["makegood"]["event"], "all_clear");
    assert_eq!(post["makegood"]["over"], json!(["failing"]));
    assert_eq!(post["text"], "makegood, account 12345: all clear: passes complete again");
}
