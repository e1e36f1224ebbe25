//! The sandbox has all the faults that it claims to have: a fake without them would prove nothing.

use std::{collections::BTreeSet, time::Duration};

use reqwest::{Client, RequestBuilder, Response, redirect};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::sandbox::{
    ACCOUNT_ID, API_KEY, BEARER, BatchEnd, Commission, Endpoint, IgnoredFilters, Moment, RateLimit, SIGNING_SECRET,
    Sandbox, World, always, commission, cut_short, delayed, drip, dropped, empty, flood, half, hang, honest, never,
    next, now, once, overlong, page, redirect as redirected, small_world, status, text,
};

/// Longer than anything here takes. A scenario that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(20);
const APPROVED: &str = "2025-01-19T10:30:00Z";

fn client() -> Client {
    Client::builder().timeout(PATIENCE).redirect(redirect::Policy::none()).build().unwrap()
}

fn with_headers(request: RequestBuilder) -> RequestBuilder {
    request.bearer_auth(API_KEY).header("Account-ID", ACCOUNT_ID)
}

fn get(sandbox: &Sandbox, path_and_query: &str) -> RequestBuilder {
    with_headers(client().get(format!("{}{path_and_query}", sandbox.base_url())))
}

async fn json_of(request: RequestBuilder) -> Value {
    request.send().await.unwrap().json().await.unwrap()
}

async fn ids(sandbox: &Sandbox, query: &str) -> Vec<i64> {
    let rows = json_of(get(sandbox, &format!("/commissions?{query}"))).await;
    rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

fn post(sandbox: &Sandbox, action: &str, ids: &[i64]) -> RequestBuilder {
    with_headers(client().post(format!("{}/commissions/{action}", sandbox.base_url()))).json(&json!({ "ids": ids }))
}

async fn mark(sandbox: &Sandbox, ids: &[i64]) -> (u16, Value) {
    let response = post(sandbox, "mark_fulfilled", ids).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn owed(id: i64) -> Commission {
    commission(id).approved(APPROVED)
}

fn body(key: &str, id: i64) -> String {
    json!({
        "type": "reward.deliver", "key": key, "commission_id": id, "unit": "points", "amount": 500,
        "recipient": { "kind": "promoter", "id": 12345, "email": "p@example.com", "name": "Pat", "uid": null },
    })
    .to_string()
}

/// A delivery as the manual has it.
fn delivery(sandbox: &Sandbox, id: i64) -> RequestBuilder {
    let key = sandbox.key(id);
    let (body, at) = (body(&key, id), now().timestamp());
    let signature = Webhook::new(SIGNING_SECRET).unwrap().sign(&key, at, body.as_bytes()).unwrap();
    client()
        .post(sandbox.merchant_url())
        .bearer_auth(BEARER)
        .header("content-type", "application/json")
        .header("idempotency-key", format!("\"{key}\""))
        .header("webhook-id", &key)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature)
        .body(body)
}

async fn status_of(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

#[tokio::test]
async fn both_headers_are_demanded_and_a_401_has_no_body() {
    let sandbox = Sandbox::start();
    let url = format!("{}/commissions", sandbox.base_url());
    for request in [
        client().get(&url),
        client().get(&url).bearer_auth(API_KEY),
        client().get(&url).bearer_auth("wrong").header("Account-ID", ACCOUNT_ID),
        client().get(&url).bearer_auth(API_KEY).header("Account-ID", "54321"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.text().await.unwrap(), "");
    }
    assert_eq!(json_of(get(&sandbox, "/commissions")).await, json!([]));
    assert_eq!((sandbox.firstpromoter.requests(), sandbox.firstpromoter.writes()), (5, 0));
}

#[tokio::test]
async fn a_row_has_the_fields_of_the_openapi_and_no_word_on_fulfilment() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add(owed(88901).fulfilled().odd("shade", json!("blue")).odd("tier", Value::Null));
    let rows = json_of(get(&sandbox, "/commissions")).await;
    let row = &rows[0];
    assert_eq!(row["promoter_campaign"]["promoter"], json!({ "id": 12345, "email": "p@example.com", "name": "Pat" }));
    assert_eq!(row["promoter_campaign"]["campaign"]["name"], "Spring");
    assert_eq!(row["referral"], json!({ "id": 55678, "email": "user@example.com", "uid": "user_ext_id" }));
    assert_eq!(row["status_updated_at"], "2025-01-19T10:30:00.000Z");
    assert_eq!((&row["shade"], row.get("tier"), row.get("fulfilled")), (&json!("blue"), None, None));
    sandbox.firstpromoter.lock().switches.flat = true;
    sandbox.firstpromoter.lock().switches.wrapped = true;
    let wrapped = json_of(get(&sandbox, "/commissions")).await;
    assert_eq!((&wrapped["data"][0]["promoter_id"], &wrapped["meta"]), (&json!(12345), &json!({})));
}

#[tokio::test]
async fn offset_pages_shift_while_rows_leave_between_them() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add_all((1..=6).map(owed));
    let query = "filters[fulfilled]=no&sorting[created_at]=asc&per_page=2";
    sandbox.firstpromoter.after(Endpoint::Listing, 1, |firstpromoter| {
        firstpromoter.fulfil(1);
        firstpromoter.fulfil(2);
    });
    assert_eq!(ids(&sandbox, &format!("{query}&page=1")).await, [1, 2]);
    // 3 and 4 moved to page 1, which nobody reads again.
    assert_eq!(ids(&sandbox, &format!("{query}&page=2")).await, [5, 6]);
    assert_eq!(ids(&sandbox, &format!("{query}&page=3")).await, Vec::<i64>::new());
}

#[tokio::test]
async fn filters_come_in_two_forms_and_an_unknown_one_is_ignored_without_a_word() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add_all([
        owed(1),
        owed(2).credits(50).campaign(18, "Friends"),
        commission(3),
        commission(4).denied(APPROVED),
        owed(5).promoter(7, "noor@haddad.example", "Noor").suspected("ad_source"),
        owed(6).created("2026-03-01T00:00:00Z"),
    ]);
    for (query, expected) in [
        ("filters[status]=approved", vec![1, 2, 5, 6]),
        ("status=approved&unit=points", vec![1, 5, 6]),
        ("filters[unit]=credits&filters[fulfiled]=no", vec![1, 2, 3, 4, 5, 6]),
        ("filters[campaign_id]=18", vec![2]),
        ("filters[campaign_id][]=18&filters[campaign_id][]=99", vec![2]),
        ("filters[promoter_id]=7", vec![5]),
        ("filters[fraud_check]=ad_source", vec![5]),
        ("filters[created_at][from]=2026-01-01&filters[created_at][to]=2026-03-01", vec![6]),
        ("ids[]=2&ids[]=4&ids[]=99", vec![2, 4]),
        ("ids%5B%5D=3", vec![3]),
        ("q=NOOR", vec![5]),
    ] {
        assert_eq!(set(ids(&sandbox, query).await), set(expected), "{query}");
    }
    sandbox.firstpromoter.lock().switches.ignored_filters = IgnoredFilters { ids: true, ..IgnoredFilters::default() };
    assert_eq!(set(ids(&sandbox, "ids[]=2&filters[status]=pending").await), set([3]));
    sandbox.firstpromoter.lock().switches.ignored_filters.all = true;
    assert_eq!(ids(&sandbox, "ids[]=2&filters[status]=pending&q=noor").await.len(), 6);
}

#[tokio::test]
async fn fulfilment_is_filtered_for_non_monetary_commissions_alone_unless_the_server_is_broken() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add_all([owed(1), owed(2).fulfilled(), owed(3).cash(4900)]);
    let both = async || {
        (set(ids(&sandbox, "filters[fulfilled]=yes").await), set(ids(&sandbox, "filters[fulfilled]=no").await))
    };
    assert_eq!(both().await, (set([2]), set([1])));
    sandbox.firstpromoter.lock().switches.cash_in_fulfilled_listing = true;
    assert_eq!(both().await, (set([2]), set([1, 3])));
    sandbox.firstpromoter.lock().switches.cash_in_fulfilled_listing = false;
    sandbox.firstpromoter.lock().switches.ignored_filters.fulfilled = true;
    assert_eq!(both().await, (set([1, 2, 3]), set([1, 2, 3])));
    sandbox.firstpromoter.lock().switches.ignored_filters.fulfilled = false;
    sandbox.firstpromoter.lock().switches.fulfilled_yes_is_nothing_no_is_everything = true;
    assert_eq!(both().await, (set([]), set([1, 2, 3])));
    sandbox.firstpromoter.lock().switches.fulfilled_yes_is_nothing_no_is_everything = false;
    sandbox.firstpromoter.lock().switches.always_listed = vec![3];
    assert_eq!(both().await, (set([2, 3]), set([1, 3])));
    sandbox.firstpromoter.lock().switches.always_listed.clear();
    sandbox.firstpromoter.lock().switches.replica_lag = 2;
    sandbox.firstpromoter.fulfil(1);
    assert_eq!(both().await, (set([2]), set([1])), "both of these still show what was");
    assert_eq!(both().await, (set([1, 2]), set([])));
}

#[tokio::test]
async fn a_page_has_20_rows_unless_asked_for_up_to_100_and_honoured() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add_all((1..=150).map(owed));
    let length = async |query| ids(&sandbox, query).await.len();
    assert_eq!(length("").await, 20);
    assert_eq!(length("per_page=100").await, 100);
    assert_eq!(length("per_page=100&page=2").await, 50);
    assert_eq!(length("per_page=1000").await, 100);
    sandbox.firstpromoter.lock().switches.per_page_cap = Some(30);
    assert_eq!(length("per_page=100").await, 30);
    sandbox.firstpromoter.lock().switches.per_page_ignored = true;
    assert_eq!(length("per_page=100").await, 20);
    sandbox.firstpromoter.lock().switches.page_ignored = true;
    assert_eq!(ids(&sandbox, "page=1").await, ids(&sandbox, "page=7").await);
}

#[tokio::test]
async fn up_to_five_are_marked_at_once_and_more_in_a_batch_that_takes_its_time() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add_all((1..=14).map(owed));
    let (code, done) = mark(&sandbox, &[1, 2, 3, 4, 5]).await;
    assert_eq!((code, &done["status"], &done["processed_count"]), (200, &json!("completed"), &json!(5)));
    assert_eq!(sandbox.firstpromoter.fulfilled_ids(), [1, 2, 3, 4, 5]);

    let (code, begun) = mark(&sandbox, &[6, 7, 8, 9, 10, 11]).await;
    assert_eq!((code, &begun["status"]), (202, &json!("pending")));
    let batch = format!("/batch_processes/{}", begun["id"]);
    assert_eq!(json_of(get(&sandbox, &batch)).await["status"], "in_progress");
    assert!(!sandbox.firstpromoter.is_fulfilled(6), "nothing has happened yet");
    assert_eq!(json_of(get(&sandbox, &batch)).await["status"], "completed");
    assert!(sandbox.firstpromoter.is_fulfilled(11));
    assert_eq!(json_of(get(&sandbox, &batch)).await["status"], "completed");
    assert_eq!(sandbox.firstpromoter.writes(), 2);

    sandbox.firstpromoter.lock().switches.batch_threshold = 0;
    for (end, last_word) in [
        (BatchEnd::Never, json!("in_progress")),
        (BatchEnd::Fails, json!("failed")),
        (BatchEnd::Stops, json!("stopped")),
        (BatchEnd::Vanishes, Value::Null),
    ] {
        sandbox.firstpromoter.lock().switches.batch_end = end;
        let (_, begun) = mark(&sandbox, &[12]).await;
        let batch = format!("/batch_processes/{}", begun["id"]);
        json_of(get(&sandbox, &batch)).await;
        assert_eq!(json_of(get(&sandbox, &batch)).await["status"], last_word, "{end:?}");
        assert!(!sandbox.firstpromoter.is_fulfilled(12), "{end:?}");
    }
    sandbox.firstpromoter.lock().switches.batch_end = BatchEnd::VanishesDone;
    let (_, begun) = mark(&sandbox, &[12]).await;
    assert_eq!(status_of(get(&sandbox, &format!("/batch_processes/{}", begun["id"]))).await, 404);
    assert!(sandbox.firstpromoter.is_fulfilled(12));
}

#[tokio::test]
async fn a_batch_that_takes_a_time_ends_by_itself_however_often_it_is_asked_for() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add_all((1..=12).map(owed));
    sandbox.firstpromoter.lock().switches.batch_takes = Some(Duration::ZERO);
    let (code, begun) = mark(&sandbox, &[1, 2, 3, 4, 5, 6]).await;
    assert_eq!((code, &begun["status"]), (202, &json!("pending")));
    assert_eq!(ids(&sandbox, "filters[fulfilled]=yes&sorting[created_at]=asc").await, [1, 2, 3, 4, 5, 6]);
    let batch = format!("/batch_processes/{}", begun["id"]);
    assert_eq!(json_of(get(&sandbox, &batch)).await["status"], "completed", "at the first question");

    sandbox.firstpromoter.lock().switches.batch_takes = Some(Duration::from_hours(1));
    let (_, begun) = mark(&sandbox, &[7, 8, 9, 10, 11, 12]).await;
    let batch = format!("/batch_processes/{}", begun["id"]);
    for _ in 0..3 {
        assert_eq!(json_of(get(&sandbox, &batch)).await["status"], "in_progress");
    }
    assert!(!sandbox.firstpromoter.is_fulfilled(7));
}

#[tokio::test]
async fn only_what_is_approved_non_monetary_and_has_a_payout_can_be_marked() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add_all([owed(1), commission(2), owed(3).cash(100), owed(4).without_payout()]);
    let (code, batch) = mark(&sandbox, &[1, 2, 3, 4, 99]).await;
    assert_eq!((code, &batch["status"], &batch["failed_count"]), (200, &json!("completed"), &json!(4)));
    assert_eq!(batch["processing_errors"].as_array().unwrap().len(), 4);
    assert_eq!(sandbox.firstpromoter.fulfilled_ids(), [1]);

    sandbox.firstpromoter.add(owed(5));
    sandbox.firstpromoter.lock().switches.mark_all_or_nothing = true;
    let (code, refusal) = mark(&sandbox, &[5, 2]).await;
    assert_eq!((code, &refusal["code"]), (422, &json!("invalid_record")));
    sandbox.firstpromoter.lock().switches.mark_all_or_nothing = false;
    sandbox.firstpromoter.lock().switches.mark_fails = set([5]);
    assert_eq!(mark(&sandbox, &[5]).await.1["failed_count"], 1);
    sandbox.firstpromoter.lock().switches.mark_fails = set([]);
    sandbox.firstpromoter.lock().switches.mark_lies = true;
    assert_eq!(mark(&sandbox, &[5]).await.1["failed_count"], 0);
    assert!(!sandbox.firstpromoter.is_fulfilled(5));

    for (action, id) in [("approve", 2), ("mark_unfulfilled", 1), ("deny", 4)] {
        assert_eq!(status_of(post(&sandbox, action, &[id])).await, 200, "{action}");
    }
    let status = |id| sandbox.firstpromoter.get(id).unwrap().status;
    assert_eq!(
        (status(2), status(4), sandbox.firstpromoter.fulfilled_ids()),
        ("approved".into(), "denied".into(), vec![])
    );
    assert_eq!(status_of(post(&sandbox, "mark_fulfilled", &[])).await, 422);
}

#[tokio::test]
async fn a_lost_reply_has_taken_effect_and_a_dropped_request_has_not() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add_all([owed(1), owed(2)]);
    sandbox.firstpromoter.lock().faults.mark = once(dropped()).then(1, dropped().after_effect()).then(1, status(503));
    assert!(post(&sandbox, "mark_fulfilled", &[1]).send().await.is_err());
    assert_eq!(sandbox.firstpromoter.fulfilled_ids(), Vec::<i64>::new());
    assert!(post(&sandbox, "mark_fulfilled", &[1]).send().await.is_err());
    assert_eq!(sandbox.firstpromoter.fulfilled_ids(), [1]);
    assert_eq!(status_of(post(&sandbox, "mark_fulfilled", &[2])).await, 503);
    assert_eq!(status_of(post(&sandbox, "mark_fulfilled", &[2])).await, 200);
    assert_eq!(sandbox.firstpromoter.requests_to(Endpoint::Mark), 4);
}

#[tokio::test]
async fn answers_go_wrong_in_every_way() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add(owed(1));
    let ask = || get(&sandbox, "/commissions").send();
    let fault = |fault| sandbox.firstpromoter.lock().faults.any = once(fault);
    let is_json = |text: String| serde_json::from_str::<Value>(&text).is_ok();
    let header = |response: &Response, name: &str| response.headers()[name].to_str().unwrap().to_owned();

    fault(status(429).retry_after(7));
    assert_eq!(header(&ask().await.unwrap(), "retry-after"), "7");
    fault(page(200, "Down for maintenance"));
    assert!(!is_json(ask().await.unwrap().text().await.unwrap()));
    fault(text(200, "ok"));
    assert_eq!(ask().await.unwrap().text().await.unwrap(), "ok");
    fault(empty(200));
    assert_eq!(ask().await.unwrap().text().await.unwrap(), "");
    fault(redirected(302, "http://127.0.0.1:1/"));
    assert_eq!(header(&ask().await.unwrap(), "location"), "http://127.0.0.1:1/");
    fault(half());
    assert!(!is_json(ask().await.unwrap().text().await.unwrap()));
    fault(cut_short());
    assert!(ask().await.unwrap().text().await.is_err());
    fault(overlong());
    assert!(!is_json(ask().await.unwrap().text().await.unwrap()));
    fault(flood(50));
    assert_eq!(ask().await.unwrap().bytes().await.unwrap().len(), 50 << 20);
    fault(drip(Duration::from_millis(1)));
    assert!(is_json(ask().await.unwrap().text().await.unwrap()));
    fault(delayed(Duration::from_millis(1)));
    assert!(is_json(ask().await.unwrap().text().await.unwrap()));
    fault(hang());
    let hung = get(&sandbox, "/commissions").timeout(Duration::from_millis(50)).send().await.unwrap_err();
    assert!(hung.is_timeout(), "{hung}");
    assert!(is_json(ask().await.unwrap().text().await.unwrap()), "one fault, one request");
}

#[tokio::test]
async fn faults_meet_the_requests_they_are_meant_for() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.lock().faults.by_ids = always(status(500));
    sandbox.firstpromoter.lock().faults.listing = honest(1).then(2, status(502));
    let (listing, by_ids) = ("/commissions?page=1", "/commissions?ids[]=1");
    for (question, expected) in [
        (listing, 200),
        (by_ids, 500),
        (listing, 502),
        (listing, 502),
        (listing, 200),
        (by_ids, 500),
        ("/rewards", 200),
    ] {
        assert_eq!(status_of(get(&sandbox, question)).await, expected, "{question}");
    }
    sandbox.firstpromoter.lock().faults.by_ids = never();
    sandbox.firstpromoter.lock().faults.any = next(1, status(403));
    assert_eq!(status_of(get(&sandbox, "/rewards")).await, 403);
    assert_eq!(json_of(get(&sandbox, "/rewards?scope=referrals")).await[0]["is_promoter_reward"], false);
}

#[tokio::test]
async fn requests_over_the_limit_are_answered_429_and_have_no_effect() {
    let sandbox = Sandbox::start();
    sandbox.firstpromoter.add(owed(1));
    let limit = RateLimit { requests: 2, window: Duration::from_hours(1), says_retry_after: true };
    sandbox.firstpromoter.lock().rate_limit = Some(limit);
    assert_eq!(status_of(get(&sandbox, "/rewards")).await, 200);
    assert_eq!(status_of(get(&sandbox, "/rewards")).await, 200);
    let refused = post(&sandbox, "mark_fulfilled", &[1]).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"3600".parse().unwrap()));
    assert!(!sandbox.firstpromoter.is_fulfilled(1));
    sandbox.firstpromoter.lock().rate_limit = None;
    assert_eq!(status_of(post(&sandbox, "mark_fulfilled", &[1])).await, 200);
}

#[tokio::test]
async fn the_merchant_takes_each_key_once_and_turns_away_what_is_not_signed() {
    let sandbox = Sandbox::start();
    for _ in 0..2 {
        assert_eq!(json_of(delivery(&sandbox, 88901)).await, json!({ "receipt": "r-1" }));
    }
    assert_eq!(json_of(delivery(&sandbox, 88902)).await, json!({ "receipt": "r-2" }));
    assert_eq!(sandbox.merchant.balance("promoter", 12345, "points"), 1000);
    assert_eq!(sandbox.merchant.balance_of("p@example.com", "points"), 1000);
    assert_eq!(sandbox.merchant.effects_by_key().into_values().collect::<Vec<_>>(), [1, 1]);
    assert_eq!((sandbox.merchant.requests(), sandbox.merchant.bodies_of(88901).len()), (3, 2));

    let key = sandbox.key(88903);
    let tampered = delivery(&sandbox, 88903).body(body(&key, 88904));
    assert_eq!(status_of(tampered).await, 401);
    sandbox.merchant.lock().secret = None;
    let unlike = delivery(&sandbox, 88903).body(body("fp-12345-1", 1));
    assert_eq!(status_of(unlike).await, 400);
    assert_eq!((sandbox.merchant.rejections().len(), sandbox.merchant.rewarded_ids()), (2, vec![88901, 88902]));

    sandbox.merchant.lock().deduplicates = false;
    delivery(&sandbox, 88901).send().await.unwrap();
    assert_eq!(sandbox.merchant.effects_of(88901).len(), 2);
}

#[tokio::test]
async fn the_merchant_fails_one_commission_and_serves_the_others() {
    let mut sandbox = Sandbox::start();
    sandbox.merchant.lock().faults_of.insert(1, next(1, status(503).after_effect()).then(1, text(400, "no such user")));
    sandbox.merchant.lock().faults = honest(1).then(1, hang());
    assert_eq!(status_of(delivery(&sandbox, 1)).await, 503);
    assert_eq!(status_of(delivery(&sandbox, 2)).await, 200);
    assert_eq!(status_of(delivery(&sandbox, 1)).await, 400);
    assert!(delivery(&sandbox, 3).timeout(Duration::from_millis(50)).send().await.unwrap_err().is_timeout());
    assert_eq!(sandbox.merchant.rewarded_ids(), [1, 2]);
    assert_eq!(sandbox.merchant.concurrency_reached(), 1);
    sandbox.merchant_goes_down();
    assert!(delivery(&sandbox, 3).send().await.unwrap_err().is_connect());
    sandbox.everybody_comes_back();
    assert_eq!(status_of(delivery(&sandbox, 3)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_world_stops_at_a_request_before_or_after_its_effect() {
    for (moment, effects) in [(Moment::BeforeEffect, 0), (Moment::AfterEffect, 1)] {
        let sandbox = Sandbox::start();
        sandbox.gate.stop_at(2, moment);
        assert_eq!(status_of(get(&sandbox, "/rewards")).await, 200);
        let stopped = tokio::spawn(delivery(&sandbox, 1).send());
        assert!(sandbox.gate.wait_until_stopped(PATIENCE));
        assert_eq!(sandbox.merchant.effects_of(1).len(), effects);
        sandbox.gate.open();
        assert!(stopped.await.unwrap().is_err(), "who was stopped is taken for dead");
        assert_eq!(sandbox.merchant.effects_of(1).len(), effects);
        assert_eq!(status_of(delivery(&sandbox, 1)).await, 200);
        assert!(sandbox.wait_until(PATIENCE, |sandbox| sandbox.requests() == 3));
    }
}

#[tokio::test]
async fn the_small_world_has_something_of_everything_and_survives_a_restart() {
    let sandbox = Sandbox::start();
    small_world(&sandbox);
    let of = |what: fn(&Commission) -> bool| {
        sandbox.firstpromoter.all().iter().filter(|row| what(row)).map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(sandbox.merchant.rewarded_ids(), sandbox.firstpromoter.fulfilled_ids());
    assert_eq!(sandbox.firstpromoter.fulfilled_ids().len(), 3);
    let missed = of(|row| {
        let is_clean = row.fraud_check.as_deref() == Some("no_suspicion") && !row.is_cash();
        let is_old = row.status_updated_at.is_some_and(|at| (now() - at).num_hours() > 1);
        row.status == "approved" && !row.fulfilled && is_clean && is_old
    });
    assert_eq!(missed, [88904, 88905, 88906, 88907, 88908, 88909]);
    let units = missed.iter().map(|id| sandbox.firstpromoter.get(*id).unwrap().unit);
    assert_eq!(set(units), set(["points", "credits", "free_months", "mon_discount", "discount_per"].map(Into::into)));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("world.json");
    let world = World::of(&sandbox);
    world.save(&path).unwrap();
    let next = Sandbox::start();
    World::load(&path).unwrap().enter(&next);
    assert_eq!(World::of(&next), world);
}
