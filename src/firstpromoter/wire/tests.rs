use proptest::prelude::*;

use super::*;
use crate::domain::Amount;
use crate::domain::Timestamp;

/// The one commission of an answer with these fields (besides `id`).
fn read(fields: &str) -> Commission {
    let comma = if fields.is_empty() { "" } else { "," };
    commissions(&format!(r#"[{{"id":1{comma}{fields}}}]"#)).unwrap().remove(0)
}

#[test]
fn a_documented_commission_is_read_whole() {
    let row = read(
        r#""status":"approved","unit":"points","amount":500,"commission_type":"sale","is_self_referral":null,
           "fraud_check":"no_suspicion","is_paid":false,"tier":1,"created_at":"2025-01-18T09:00:00Z",
           "status_updated_at":"2025-01-19T12:30:00.250+02:00","metadata":{"a":[1,{"b":null}]},
           "promoter_campaign":{"id":3,"campaign_id":17,"promoter_id":12345,
             "promoter":{"id":12345,"email":"p@example.com","name":"Pat"},"campaign":{"id":17,"name":"Spring"}},
           "referral":{"id":55678,"email":"user@example.com","uid":"user_ext_id"},
           "reward":{"id":9,"name":"500 points per sale"}"#,
    );
    let expected = Commission {
        id: CommissionId(1),
        status: CommissionStatus::Approved,
        unit: Unit::Points,
        amount: Amount::Whole(500),
        is_custom: false,
        is_self_referral: false,
        fraud_suspicion: None,
        promoter: Reference::To(Promoter { id: 12345, email: Some("p@example.com".into()), name: Some("Pat".into()) }),
        referral: Reference::To(Referral {
            id: 55678,
            email: Some("user@example.com".into()),
            uid: Some("user_ext_id".into()),
        }),
        campaign: Some(Campaign { id: 17, name: Some("Spring".into()) }),
        reward: Reference::To(RewardRef { id: 9, name: Some("500 points per sale".into()) }),
        created_at: Some("2025-01-18T09:00:00Z".parse().unwrap()),
        status_updated_at: Some("2025-01-19T10:30:00.250Z".parse().unwrap()),
    };
    assert_eq!(row, expected);
}

#[test]
fn a_commission_with_an_id_alone_is_a_row() {
    let row = read("");
    assert_eq!((row.status.as_str(), row.unit.as_str(), row.amount), ("", "", Amount::Odd(String::new())));
    assert!(row.promoter == Reference::Unreadable && row.referral == Reference::Unreadable && row.created_at.is_none());
}

#[test]
fn a_bare_array_and_a_wrapped_one_read_the_same() {
    let bare = commissions(r#"[{"id":1},{"id":2}]"#).unwrap();
    assert_eq!(commissions(r#" {"meta":{"page":1},"data":[{"id":1},{"id":2}]}"#).unwrap(), bare);
    assert_eq!(commissions("[]").unwrap(), []);
    assert_eq!(commissions(r#"{"data":[]}"#).unwrap(), []);
}

#[test]
fn only_a_positive_whole_json_number_is_an_amount() {
    for (given, whole) in [
        ("500", Some(500)),
        ("500.0", Some(500)),
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("1e400", None),
        ("5e2", None),
        ("0", None),
        ("-1", None),
        ("0.5", None),
        ("500.01", None),
        (r#""500""#, None),
        ("true", None),
        ("null", None),
        ("[500]", None),
    ] {
        let amount = read(&format!(r#""amount":{given}"#)).amount;
        assert_eq!(amount, whole.map_or_else(|| Amount::Odd(given.to_owned()), Amount::Whole), "{given}");
    }
    let Amount::Odd(kept) = read(&format!(r#""amount":"{}""#, "x".repeat(5_000))).amount else { panic!() };
    assert_eq!(kept.chars().count(), 100);
}

#[test]
fn flat_ids_of_webhook_samples_stand_for_the_objects() {
    let row = read(r#""promoter_id":5,"referral_id":"6","campaign_id":7,"reward_id":8,"promoter_campaign":null"#);
    assert_eq!(row.promoter.known().unwrap().id, 5);
    assert_eq!(row.referral.known().unwrap().id, 6);
    assert_eq!(row.campaign.unwrap().id, 7);
    assert_eq!(row.reward.known().unwrap().id, 8);
    let row = read(r#""promoter_campaign":{"promoter_id":5,"promoter":{"email":"p@x.org"},"campaign_id":7}"#);
    assert_eq!(row.promoter, Reference::To(Promoter { id: 5, email: Some("p@x.org".into()), name: None }));
    assert_eq!(row.campaign.unwrap().id, 7);
}

#[test]
fn one_odd_field_never_loses_the_row() {
    let odd = ["null", "0", "-7", "1e999", "true", "\"\"", "\"\\ud800\"", "[]", "[[{}]]", "{}", "{\"id\":{}}"];
    for field in [
        "status",
        "unit",
        "amount",
        "commission_type",
        "is_self_referral",
        "fraud_check",
        "promoter_campaign",
        "promoter",
        "promoter_id",
        "referral",
        "referral_id",
        "campaign",
        "campaign_id",
        "reward",
        "reward_id",
        "created_at",
        "status_updated_at",
        "metadata",
        "something_new",
    ] {
        for value in odd {
            assert_eq!(read(&format!(r#""{field}":{value}"#)).id, CommissionId(1), "{field}: {value}");
        }
    }
}

#[test]
fn a_value_of_an_unexpected_type_counts_as_suspicion() {
    for (given, suspicion) in [
        ("null", None),
        (r#""no_suspicion""#, None),
        (r#""ad_source""#, Some("ad_source")),
        (r#""brand_new_suspicion""#, Some("brand_new_suspicion")),
        (r#"["same_ip_suspicion"]"#, Some(r#"["same_ip_suspicion"]"#)),
        ("true", Some("true")),
        (r#""no_suspicion ""#, Some("no_suspicion ")),
    ] {
        assert_eq!(read(&format!(r#""fraud_check":{given}"#)).fraud_suspicion.as_deref(), suspicion, "{given}");
    }
    for (given, is) in [("null", false), ("false", false), ("true", true), ("1", true), ("\"yes\"", true)] {
        assert_eq!(read(&format!(r#""is_self_referral":{given}"#)).is_self_referral, is, "{given}");
    }
}

#[test]
fn the_recipient_is_not_guessed_from_a_broken_row() {
    for promoter in [
        "",
        r#""promoter_campaign":{"id":3,"campaign_id":17},"#,
        r#""promoter_campaign":{"promoter":{"email":"p@x.org"}},"#,
        r#""promoter_campaign":{"promoter_id":"abc"},"#,
        r#""promoter_campaign":{"promoter_id":5,"promoter":{"id":6}},"#,
        r#""promoter_campaign":{"promoter":{"id":5}},"promoter_id":6,"#,
        r#""promoter_campaign":{"promoter":{"id":5,"email":["p@x.org"]}},"#,
        r#""promoter_campaign":{"promoter":null,"promoter_id":"?"},"#,
        r#""promoter_campaign":[1],"#,
        r#""promoter_campaign":null,"promoter_id":-1,"#,
        r#""promoter_id":0,"#,
    ] {
        let row = read(&format!(r#"{promoter}"referral":{{"id":6}}"#));
        assert_eq!(row.promoter, Reference::Unreadable, "{promoter}");
        assert_eq!(row.referral.known().map(|it| it.id), Some(6), "{promoter}");
    }
    for none in [
        r#""promoter_campaign":null"#,
        r#""promoter_campaign":{"promoter":null,"promoter_id":null}"#,
        r#""promoter_campaign":{"promoter":null}"#,
        r#""promoter_id":null"#,
    ] {
        assert_eq!(read(none).promoter, Reference::Null, "{none}");
    }
}

#[test]
fn no_reward_and_an_unreadable_reward_are_told_apart() {
    for (given, expected) in [
        ("", Reference::Unreadable),
        (r#","reward":{"name":"?"}"#, Reference::Unreadable),
        (r#","reward":{"id":"x"}"#, Reference::Unreadable),
        (r#","reward":[]"#, Reference::Unreadable),
        (r#","reward":{"id":8},"reward_id":9"#, Reference::Unreadable),
        (r#","reward":null"#, Reference::Null),
        (r#","reward_id":null"#, Reference::Null),
        (r#","reward":{}"#, Reference::Null),
        (r#","reward":{"id":null,"name":"by hand"}"#, Reference::Null),
        (r#","reward":{"id":0,"name":"Custom commission"}"#, Reference::Null),
        (r#","reward":{"id":9}"#, Reference::To(RewardRef { id: 9, name: None })),
    ] {
        let row = read(&format!(r#""commission_type":"custom"{given}"#));
        assert_eq!((row.is_custom, row.reward), (true, expected), "{given}");
    }
}

#[test]
fn text_is_bounded_and_a_long_email_or_uid_is_unreadable() {
    let long = "é".repeat(1_000_000);
    let party = |field: &str, text: &str| format!(r#""promoter_id":5,"promoter":{{"id":5,"{field}":"{text}"}}"#);
    let name = read(&party("name", &long)).promoter.known().unwrap().name.clone().unwrap();
    assert_eq!((name.chars().count(), name.ends_with('…')), (500, true));
    assert_eq!(read(&party("email", &long)).promoter, Reference::Unreadable);
    assert_eq!(read(&party("email", &"x".repeat(500))).promoter.known().unwrap().email, Some("x".repeat(500)));
    assert_eq!(read(&format!(r#""referral":{{"id":6,"uid":"{long}"}}"#)).referral, Reference::Unreadable);
    assert_eq!(read(r#""referral":{"id":6,"uid":77}"#).referral.known().unwrap().uid.as_deref(), Some("77"));
    assert_eq!(read(r#""referral":{"id":6,"uid":{}}"#).referral, Reference::Unreadable);
}

#[test]
fn times_are_read_as_rails_and_javascript_write_them() {
    for (given, read_as) in [
        ("\"2025-01-19T10:30:00Z\"", Some("2025-01-19T10:30:00Z")),
        ("\"2025-01-19T10:30:00.123456-05:00\"", Some("2025-01-19T15:30:00.123456Z")),
        ("\"2025-01-19T10:30:00.123+0000\"", Some("2025-01-19T10:30:00.123Z")),
        ("\"2025-01-19T10:30Z\"", Some("2025-01-19T10:30:00Z")),
        ("\"2025-01-19 10:30:00 UTC\"", Some("2025-01-19T10:30:00Z")),
        ("\"2025-01-19 10:30:00.5 UTC\"", Some("2025-01-19T10:30:00.5Z")),
        ("\"2025-01-19 10:30:00 +0200\"", Some("2025-01-19T08:30:00Z")),
        ("\"2025-01-19 10:30:00 -05:00\"", Some("2025-01-19T15:30:00Z")),
        ("\"2025-01-19 10:30:00Z\"", Some("2025-01-19T10:30:00Z")),
        ("\"2025-01-19 10:30:00\"", Some("2025-01-19T10:30:00Z")),
        ("\"2025-01-19 10:30:00.123456\"", Some("2025-01-19T10:30:00.123456Z")),
        ("\"2025-01-19T10:30:00\"", Some("2025-01-19T10:30:00Z")),
        ("\"2025-01-19 10:30\"", Some("2025-01-19T10:30:00Z")),
        ("\"2025-01-19\"", Some("2025-01-19T00:00:00Z")),
        ("\"Sun, 19 Jan 2025 10:30:00 GMT\"", Some("2025-01-19T10:30:00Z")),
        ("\"Sun, 19 Jan 2025 10:30:00 +0000\"", Some("2025-01-19T10:30:00Z")),
        ("\"Sun Jan 19 2025 12:30:00 GMT+0200 (Eastern European Standard Time)\"", Some("2025-01-19T10:30:00Z")),
        ("\"Sun Jan 19 10:30:00 UTC 2025\"", Some("2025-01-19T10:30:00Z")),
        ("1737282600", Some("2025-01-19T10:30:00Z")),
        ("1737282600.25", Some("2025-01-19T10:30:00.250Z")),
        ("1737282600123", Some("2025-01-19T10:30:00.123Z")),
        ("\"1737282600\"", Some("2025-01-19T10:30:00Z")),
        ("\"0001-01-01T00:00:00Z\"", None),
        ("\"9999-12-31T23:59:59-23:00\"", None),
        ("\"Mon, 19 Jan 2025 10:30:00 GMT\"", None),
        ("\"2025-01-19 10:30:00 EST\"", None),
        ("\"01/02/2025\"", None),
        ("\"1/19/2025, 10:30:00 AM\"", None),
        ("\"January 19, 2025\"", None),
        ("\"2025-02-30\"", None),
        ("\"yesterday\"", None),
        ("\"\"", None),
        ("20250119", None),
        ("0", None),
        ("-1737282600", None),
        ("1737282600123456", None),
        ("1e10", None),
        ("true", None),
        ("[]", None),
    ] {
        let expected: Option<Timestamp> = read_as.map(|text| text.parse().unwrap());
        assert_eq!(read(&format!(r#""created_at":{given}"#)).created_at, expected, "{given}");
    }
}

#[test]
fn a_row_without_a_usable_id_makes_the_listing_unreadable() {
    for row in [
        "{}",
        "7",
        "null",
        "[]",
        r#"{"id":null}"#,
        r#"{"id":0}"#,
        r#"{"id":-4}"#,
        r#"{"id":1.5}"#,
        r#"{"id":"x1"}"#,
        r#"{"id":""}"#,
        r#"{"id":9223372036854775808}"#,
        r#"{"id":{}}"#,
    ] {
        let error = commissions(&format!(r#"[{{"id":1}},{row}]"#)).unwrap_err().to_string();
        assert!(error.contains("row 1 "), "{row}: {error}");
    }
    for id in ["7", "\"7\"", "7.0"] {
        assert_eq!(commissions(&format!(r#"[{{"id":{id}}}]"#)).unwrap()[0].id, CommissionId(7), "{id}");
    }
}

#[test]
fn the_error_for_an_answer_that_is_no_list_shows_no_personal_data() {
    for (text, expected) in [
        ("<html>\n<h1>Sorry", "it begins: <html> <h1>Sorry"),
        (r#"[{"id":1,"email":"p@x.org"},{"id"#, "of 32 bytes is cut off at line 1"),
        (r#"[{"id":1 "email":"p@x.org"}]"#, "not valid JSON at line 1"),
        (r#"{"message":"Be patient","email":"p@x.org"}"#, "without a `data` list; it says: Be patient"),
        (r#"{"data":{"email":"p@x.org"}}"#, "without a `data` list"),
        ("\"p\"", "it begins: \"p\""),
        ("null", "it begins: null"),
    ] {
        let error = commissions(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("p@x.org"), "{text}: {error}");
    }
}

#[test]
fn an_answer_of_more_rows_than_ten_pages_is_not_read() {
    let answer = |rows: usize| format!("[{}]", vec![r#"{"id":1}"#; rows].join(","));
    assert_eq!(commissions(&answer(ROWS_MAX)).unwrap().len(), ROWS_MAX);
    for many in [answer(ROWS_MAX + 1), format!(r#"{{"data":{}}}"#, answer(300_000))] {
        let error = commissions(&many).unwrap_err().to_string();
        assert!(error.contains("more than 1000 rows"), "{error}");
    }
    assert!(commissions(&answer(ROWS_MAX + 1).replace(']', "")).is_err(), "cut off after the last row that is kept");
}

#[test]
fn deep_nesting_is_skipped() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(read(&format!(r#""metadata":{deep},"amount":{deep},"fraud_check":{deep}"#)).id, CommissionId(1));
    let _ = (commissions(&deep), rewards(&deep), batch(&deep), refusal(&format!(r#"{{"errors":{deep}}}"#)));
}

#[test]
fn a_batch_tells_how_far_it_is() {
    for (status, expected) in [
        (r#""completed""#, BatchStatus::Completed),
        (r#""pending""#, BatchStatus::Running),
        (r#""in_progress""#, BatchStatus::Running),
        (r#""failed""#, BatchStatus::Ended),
        (r#""stopped""#, BatchStatus::Ended),
        (r#""brand_new""#, BatchStatus::Running),
        ("null", BatchStatus::Running),
    ] {
        assert_eq!(batch(&format!(r#"{{"id":8,"status":{status}}}"#)).unwrap().status, expected, "{status}");
    }
    let read = batch(r#"{"data":{"id":"8","status":"completed","failed_count":2,"processing_errors":["a","b"]}}"#);
    let expected = Batch { id: Some(8), status: BatchStatus::Completed, failed_count: 2, errors: "a, b".to_owned() };
    assert_eq!(read, Ok(expected));
    assert_eq!(batch(r#"[{"id":8,"status":"failed"}]"#).unwrap().status, BatchStatus::Ended);
    for without_a_word in ["", " ", "null", "[]", "true", r#""ok""#] {
        let read = batch(without_a_word).unwrap();
        assert_eq!((read.id, read.status, read.failed_count), (None, BatchStatus::Completed, 0), "{without_a_word:?}");
    }
    assert!(batch("<html>").is_err() && batch(r#"{"id":8,"stat"#).is_err());
}

#[test]
fn a_reward_rule_says_whose_it_is_only_by_a_boolean() {
    let rules = rewards(
        r#"[{"id":9,"name":"Points","is_promoter_reward":true},{"id":10,"is_promoter_reward":"false"},{"id":null},5]"#,
    );
    let expected = [
        RewardRule { id: 9, name: Some("Points".into()), is_promoter_reward: Some(true) },
        RewardRule { id: 10, name: None, is_promoter_reward: None },
    ];
    assert_eq!(rules.unwrap(), expected);
}

#[test]
fn words_of_a_refusal_are_joined() {
    for (text, words) in [
        (r#"{"message":"Not found","code":"not_found"}"#, Some("Not found (not_found)")),
        (r#"{"code":"x"}"#, Some("x")),
        (r#"{"error":"Boom"}"#, Some("Boom")),
        (r#"{"message":"Bad","errors":{"a":["b","c"],"d":"e","f":5}}"#, Some("Bad; a: b, c; d: e; f: 5")),
        (r#"{"message":null,"errors":["p","q"]}"#, Some("p, q")),
        ("{}", None),
        ("[]", None),
        ("<html>", None),
    ] {
        assert_eq!(refusal(text).as_deref(), words, "{text}");
    }
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("JSON has no infinity", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        Just("1e999".to_owned()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let names = prop_oneof![
        Just("id"),
        Just("data"),
        Just("status"),
        Just("amount"),
        Just("unit"),
        Just("promoter_campaign"),
        Just("promoter"),
        Just("referral"),
        Just("reward"),
        Just("created_at"),
        Just("errors"),
        Just("processing_errors"),
        Just("message"),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((names.clone(), inner), 0..8).prop_map(|fields| {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

fn survive(text: &str) {
    for error in [commissions(text).err(), rewards(text).err(), batch(text).err()].into_iter().flatten() {
        assert!(error.to_string().chars().count() < 400, "{error}");
    }
    assert!(refusal(text).is_none_or(|words| words.chars().count() <= QUOTE_MAX));
}

proptest! {
    #[test]
    fn arbitrary_bytes_as_an_answer_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_json_as_an_answer_never_panics(text in json()) {
        survive(&text);
    }

    #[test]
    fn an_answer_cut_anywhere_is_an_error_and_never_a_shorter_list(cut in 0_usize..54) {
        let whole = r#"[{"id":1,"status":"approved"},{"id":2,"amount":500.0}]"#;
        prop_assert!(commissions(whole).is_ok());
        prop_assert!(commissions(&whole[..cut]).is_err());
    }

    #[test]
    fn any_value_of_an_optional_field_keeps_the_row(value in json()) {
        for field in ["amount", "promoter_campaign", "referral", "reward", "fraud_check", "status", "created_at"] {
            prop_assert_eq!(read(&format!(r#""{field}":{value}"#)).id, CommissionId(1));
        }
    }
}
