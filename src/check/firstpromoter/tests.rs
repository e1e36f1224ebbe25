use super::{super::Verdict, *};
use crate::{clock::Clock, config::FirstPromoterSettings, firstpromoter::wire};

fn sample(rows: &str) -> Sample {
    Sample { rows: wire::commissions(rows).unwrap(), wrapped: false }
}

fn approved(ids: &[i64]) -> Sample {
    let row = |id: &i64| format!(r#"{{"id":{id},"status":"approved","unit":"points","amount":5,"promoter_id":1}}"#);
    sample(&format!("[{}]", ids.iter().map(row).collect::<Vec<_>>().join(",")))
}

fn ids(ids: &[i64]) -> Vec<CommissionId> {
    ids.iter().copied().map(CommissionId).collect()
}

#[tokio::test]
async fn a_check_ends_in_time_however_slow_firstpromoter_is() {
    // Accepted by the kernel, never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = FirstPromoterSettings {
        account_id: "12345".to_owned(),
        base_url: format!("http://{}", silent.local_addr().unwrap()).parse().unwrap(),
        requests_per_minute: 300,
        timeout: Duration::from_mins(10),
    };
    let client = Client::new(&settings, &"key".into(), SystemClock).unwrap();
    let checks = within(Duration::from_millis(200), &client, RecipientPolicy::Auto, &[]).await;
    assert_eq!(checks.len(), 1, "{checks:?}");
    assert_eq!((checks[0].result, checks[0].detail.contains("within 0.2 s")), (Verdict::Failed, true), "{checks:?}");
}

#[test]
fn the_clock_may_be_a_minute_off() {
    for (seconds, result) in
        [(0, Verdict::Ok), (60, Verdict::Ok), (-60, Verdict::Ok), (61, Verdict::Warning), (-61, Verdict::Warning)]
    {
        assert_eq!(clock(TimeDelta::seconds(seconds)).result, result, "{seconds}");
    }
    assert!(clock(TimeDelta::seconds(-90)).detail.contains("90 s behind"));
    assert!(clock(TimeDelta::seconds(90)).detail.contains("90 s ahead"));
}

#[test]
fn rows_that_lack_what_a_decision_needs_are_counted() {
    let rows = r#"[{"id":1,"status":"approved","unit":"points","promoter_id":1},{"id":2,"unit":"cash"},{"id":3,"status":"approved","amount":1}]"#;
    let check = Listings { fulfilled: approved(&[]), unfulfilled: sample(rows) }.shape();
    assert_eq!(check.result, Verdict::Warning);
    for words in ["1 without an amount", "1 without a unit", "1 without promoter and referral"] {
        assert!(check.detail.contains(words), "{words}: {check:?}");
    }
    assert!(!check.detail.contains("status"), "cash is none of our business: {check:?}");
}

#[test]
fn the_filter_fulfilled_is_judged_by_what_the_ledger_knows() {
    for (name, yes, no, by_yes, by_no, canaries, result) in [
        ("honoured", &[1, 2][..], &[3][..], &[1][..], &[3][..], &[][..], Verdict::Ok),
        ("marked in between", &[1], &[1, 3], &[1], &[3], &[], Verdict::Ok),
        ("one was taken back", &[8], &[1, 9], &[8], &[1, 9], &[8, 9], Verdict::Warning),
        ("all of the latest were taken back", &[8], &[1, 9], &[], &[1, 9], &[9], Verdict::Warning),
        ("a canary that is gone", &[8], &[1], &[8], &[1], &[9], Verdict::Ok),
        ("nothing there", &[], &[], &[], &[], &[], Verdict::Ok),
    ] {
        let listings = Listings { fulfilled: approved(yes), unfulfilled: approved(no) };
        let unfulfilled = |rows: Sample| rows.rows.into_iter().map(|row| (row.id, row)).collect();
        let answers = Answers {
            fulfilled: ids(by_yes).into_iter().collect(),
            unfulfilled: unfulfilled(approved(by_no)),
            asked_at: SystemClock.now(),
        };
        let check = listings.judge_fulfilled(&answers, &ids(canaries));
        assert_eq!(check.result, result, "{name}: {check:?}");
        assert_eq!(check.what_to_do.is_some(), result != Verdict::Ok, "{name}");
        let mut answers = answers;
        for row in answers.unfulfilled.values_mut() {
            row.status = CommissionStatus::Denied;
        }
        let denied = listings.judge_fulfilled(&answers, &ids(canaries));
        assert_eq!(denied.result, Verdict::Ok, "{name}, but all of the wrong ones were denied");
    }
}

#[test]
fn a_slow_pace_is_given_the_time_that_it_takes() {
    for (requests_per_minute, minutes) in [(1, 9), (2, 5), (8, 2), (9, 1), (300, 1)] {
        assert_eq!(patience(requests_per_minute), Duration::from_mins(minutes), "{requests_per_minute} a minute");
    }
}

#[test]
fn rules_that_do_not_say_who_receives_are_named() {
    let rule = |id, is_promoter_reward| RewardRule { id, name: None, is_promoter_reward };
    assert_eq!(rewards(&[rule(1, Some(true)), rule(2, Some(false))]).result, Verdict::Ok);
    let check = rewards(&[rule(1, Some(true)), rule(7, None)]);
    assert_eq!((check.result, check.detail.ends_with("of 7")), (Verdict::Warning, true), "{check:?}");
}
