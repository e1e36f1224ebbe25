//! The client against a server on loopback. Each test says what the server answers, byte by byte.

use std::sync::Arc;

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::firstpromoter::script::{QuickClock, ids};

const KEY: &str = "fp_secret_key_0123456789";

/// What the server does with one connection.
#[derive(Clone)]
enum Reply {
    /// These bytes, then it closes the connection.
    Bytes(Vec<u8>),
    /// Nothing, until the client is gone.
    Hang,
}

fn reply(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    Reply::Bytes((head + body).into_bytes())
}

fn ok(body: &str) -> Reply {
    reply("200 OK", "content-type: application/json\r\n", body)
}

/// A server that gives these replies in order, repeats the last one, and keeps the requests.
async fn server(replies: Vec<Reply>) -> (Url, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v2/company", listener.local_addr().unwrap()).parse().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        for turn in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let reply = replies[turn.min(replies.len() - 1)].clone();
            tokio::spawn(serve(stream, reply, Arc::clone(&heard)));
        }
    });
    (url, asked)
}

async fn serve(mut stream: TcpStream, reply: Reply, heard: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                break;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    }
    heard.lock().unwrap().push(String::from_utf8(request).unwrap());
    match reply {
        // The client may hang up first.
        Reply::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Reply::Hang => while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {},
    }
}

fn client(base_url: Url, timeout_ms: u64) -> (Client<QuickClock>, QuickClock) {
    let settings = FirstPromoterSettings {
        account_id: "00123".to_owned(),
        base_url,
        requests_per_minute: 300,
        timeout: Duration::from_millis(timeout_ms),
    };
    let clock = QuickClock::new();
    (Client::new(&settings, &KEY.into(), clock.clone()).unwrap(), clock)
}

fn first_page() -> CommissionQuery {
    CommissionQuery {
        approved_only: true,
        fulfilled: Some(false),
        page: 1,
        per_page: 100,
        ..CommissionQuery::default()
    }
}

/// Lists once against a server with these replies: the outcome, the waits, and the requests counted and heard.
async fn list(replies: Vec<Reply>, timeout_ms: u64) -> (Result<Vec<Commission>, ApiError>, Vec<u128>, u64) {
    let (url, asked) = server(replies).await;
    let (client, clock) = client(url, timeout_ms);
    let answer = client.commissions(&first_page()).await;
    if let Err(error) = &answer {
        assert!(!format!("{error:?} {error}").contains(KEY), "the token is in {error:?}");
    }
    assert_eq!(client.requests(), asked.lock().unwrap().len() as u64, "every request sent is counted");
    (answer, clock.sleeps_ms(), client.requests())
}

fn transient(answer: Result<Vec<Commission>, ApiError>) -> String {
    match answer {
        Err(ApiError::Transient { detail, .. }) => detail,
        other => panic!("not transient: {other:?}"),
    }
}

fn fatal(answer: Result<Vec<Commission>, ApiError>) -> String {
    match answer {
        Err(ApiError::Fatal { detail, .. }) => detail,
        other => panic!("not fatal: {other:?}"),
    }
}

#[tokio::test]
async fn every_request_carries_both_headers_and_the_documented_query() {
    let (url, asked) = server(vec![ok(r#"[{"id":1}]"#)]).await;
    let (client, _) = client(url, 5_000);
    client.commissions(&CommissionQuery { page: 2, ..first_page() }).await.unwrap();
    let by_ids = CommissionQuery { ids: ids([4, 5]), page: 1, per_page: 100, ..CommissionQuery::default() };
    client.commissions(&CommissionQuery { fulfilled: Some(true), ..by_ids }).await.unwrap();
    client.rewards().await.unwrap();
    let asked = asked.lock().unwrap();
    for request in asked.iter() {
        let head = request.to_ascii_lowercase();
        for header in [
            &format!("\r\nauthorization: bearer {KEY}\r\n"),
            "\r\naccount-id: 00123\r\n",
            concat!("\r\nuser-agent: makegood/", env!("CARGO_PKG_VERSION"), "\r\n"),
            "\r\naccept: application/json\r\n",
        ] {
            assert!(head.contains(header), "{header:?} is not in {head}");
        }
    }
    let line = |turn: usize| asked[turn].lines().next().unwrap().replace("%5B", "[").replace("%5D", "]");
    assert_eq!(
        line(0),
        "GET /api/v2/company/commissions?filters[status]=approved&filters[fulfilled]=no&sorting[created_at]=asc&page=2\
         &per_page=100 HTTP/1.1"
    );
    assert_eq!(
        line(1),
        "GET /api/v2/company/commissions?ids[]=4&ids[]=5&filters[fulfilled]=yes&page=1&per_page=100 HTTP/1.1"
    );
    assert_eq!(line(2), "GET /api/v2/company/rewards HTTP/1.1");
}

#[tokio::test]
async fn marking_posts_the_ids_and_reads_the_batch() {
    let (url, asked) = server(vec![reply("202 Accepted", "", r#"{"id":8,"status":"pending"}"#)]).await;
    let (client, _) = client(url, 5_000);
    let begun = client.mark_fulfilled(&ids([4, 5])).await.unwrap();
    assert_eq!(client.batch(8).await.unwrap(), begun);
    let asked = asked.lock().unwrap();
    assert!(asked[0].starts_with("POST /api/v2/company/commissions/mark_fulfilled HTTP/1.1"));
    assert!(asked[0].ends_with(r#"{"ids":[4,5]}"#));
    assert!(asked[1].starts_with("GET /api/v2/company/batch_processes/8 HTTP/1.1"));
}

#[tokio::test]
async fn final_answers_are_asked_for_once_and_say_what_to_do() {
    for (status, body, expected) in [
        ("401 Unauthorized", "", "check firstpromoter.api_key"),
        ("403 Forbidden", r#"{"message":"No access","code":"forbidden"}"#, "No access (forbidden)"),
        ("200 OK", "", "empty"),
        ("200 OK", "<html>Down for maintenance", "<html>Down for maintenance"),
        ("200 OK", r#"[{"id":1},{"#, "cut off"),
        ("204 No Content", "", "empty"),
    ] {
        let (answer, waits, requests) = list(vec![reply(status, "content-type: text/x\r\n", body)], 5_000).await;
        let said = fatal(answer);
        assert!(said.contains(expected), "{status}: {said}");
        assert_eq!((waits, requests), (vec![], 1), "{status}");
    }
}

#[tokio::test]
async fn refusals_are_asked_for_once_in_firstpromoters_words() {
    for (status, code) in [("404 Not Found", 404), ("422 Unprocessable", 422), ("400 Bad Request", 400)] {
        let body = r#"{"message":"Bad ids","code":"invalid","errors":{"ids":["unknown"]}}"#;
        let (answer, waits, requests) = list(vec![reply(status, "", body)], 5_000).await;
        let expected = ApiError::Rejected {
            what: "GET /commissions fulfilled=no page 1".to_owned(),
            status: code,
            detail: "Bad ids (invalid); ids: unknown".to_owned(),
        };
        assert_eq!((answer, waits, requests), (Err(expected), vec![], 1));
    }
    let (answer, ..) = list(vec![reply("404 Not Found", "", "<html>nginx")], 5_000).await;
    let said = answer.unwrap_err().to_string();
    assert!(said.contains("<html>nginx") && said.contains("base_url"), "{said}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_only_its_host_is_told() {
    let location = "location: https://evil.example/steal?x=1\r\n";
    let (answer, _, requests) = list(vec![reply("302 Found", location, ""), ok("[]")], 5_000).await;
    let said = fatal(answer);
    assert!(said.contains("to evil.example;") && !said.contains("steal"), "{said}");
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn failures_that_pass_are_waited_out() {
    for (status, waits) in [
        ("500 Oops", vec![500, 1_000]),
        ("503 Busy", vec![500, 1_000]),
        ("408 Late", vec![500, 1_000]),
        ("429 Slow", vec![1_000, 2_000]),
    ] {
        let bad = reply(status, "", "<html>");
        let (answer, slept, requests) = list(vec![bad.clone(), bad, ok("[]")], 5_000).await;
        assert_eq!((answer, slept, requests), (Ok(vec![]), waits, 3), "{status}");
    }
}

#[tokio::test]
async fn failures_that_stay_are_given_up_after_four_attempts() {
    for (status, waits) in [("500 Oops", vec![500, 1_000, 2_000]), ("429 Slow", vec![1_000, 2_000, 4_000])] {
        let (answer, slept, requests) = list(vec![reply(status, "", r#"{"message":"later"}"#)], 5_000).await;
        let said = transient(answer);
        assert!(said.contains("later") && said.contains("after 4 attempts"), "{said}");
        assert_eq!((slept, requests), (waits, 4), "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_honoured_as_seconds_and_as_a_date() {
    for (header, waits) in [
        ("retry-after: 7\r\n", vec![7_000]),
        ("Retry-After: Thu, 01 Jan 2026 12:01:00 GMT\r\n", vec![60_000]),
        ("retry-after: 0\r\n", vec![0]),
        ("retry-after: soon\r\n", vec![1_000]),
        ("retry-after: 120\r\n", vec![120_000]),
    ] {
        let (answer, slept, requests) = list(vec![reply("429 Slow", header, ""), ok("[]")], 5_000).await;
        assert_eq!((answer, slept, requests), (Ok(vec![]), waits, 2), "{header}");
    }
}

#[tokio::test]
async fn a_long_retry_after_ends_the_pass_and_delays_the_next_ones() {
    for status in ["429 Slow", "503 Busy"] {
        let (url, asked) = server(vec![reply(status, "retry-after: 900\r\n", ""), ok("[]")]).await;
        let (client, clock) = client(url, 5_000);
        assert!(transient(client.commissions(&first_page()).await).contains("asks to wait 900 s"), "{status}");
        assert!(transient(client.commissions(&first_page()).await).contains("not sent"), "{status}");
        assert_eq!((clock.sleeps_ms(), client.requests(), asked.lock().unwrap().len()), (vec![], 1, 1), "{status}");
        clock.sleep(Duration::from_mins(15)).await;
        assert_eq!(client.commissions(&first_page()).await, Ok(vec![]), "{status}");
    }
}

#[tokio::test]
async fn a_hung_connection_is_given_up_at_the_second_timeout() {
    let (answer, slept, requests) = list(vec![Reply::Hang], 150).await;
    let said = transient(answer);
    assert!(
        said.starts_with("no answer from 127.0.0.1 (check the network") && said.contains("after 2 attempts"),
        "{said}"
    );
    assert_eq!((slept, requests), (vec![500], 2));
}

#[tokio::test]
async fn a_body_that_stops_in_the_middle_is_asked_for_again() {
    let cut = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n[{\"id\":1}".to_vec());
    let (answer, _, requests) = list(vec![cut.clone(), ok("[]")], 5_000).await;
    assert_eq!((answer, requests), (Ok(vec![]), 2));
    let (answer, _, requests) = list(vec![cut], 5_000).await;
    transient(answer);
    assert_eq!(requests, 4);
}

#[tokio::test]
async fn a_connection_that_is_refused_is_transient_and_names_the_host() {
    // Bound, so that nobody else gets the port, and not listening.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url: Url = format!("http://{}/x", closed.local_addr().unwrap()).parse().unwrap();
    let (client, clock) = client(url, 5_000);
    let said = transient(client.commissions(&first_page()).await);
    assert!(said.contains("127.0.0.1") && said.contains("refused"), "{said}");
    assert_eq!((clock.sleeps_ms(), client.requests()), (vec![500, 1_000, 2_000], 4));
}

#[tokio::test]
async fn an_answer_of_fifty_megabytes_is_not_read_to_its_end() {
    let huge = "[".to_owned() + &" ".repeat(50 * 1024 * 1024);
    let (answer, _, requests) = list(vec![ok(&huge)], 20_000).await;
    assert!(fatal(answer).contains("longer than 8 MiB"));
    assert_eq!(requests, 1);
    let (answer, _, requests) = list(vec![reply("500 Oops", "", &huge), ok("[]")], 20_000).await;
    assert_eq!((answer, requests), (Ok(vec![]), 2), "of an error only the beginning is read");
}

#[tokio::test]
async fn a_token_that_the_server_echoes_is_not_repeated() {
    for status in ["200 OK", "403 Forbidden", "422 No", "500 Oops"] {
        for body in [format!(r#"{{"message":"bad key {KEY}"}}"#), format!("<p>{KEY}")] {
            // The check is in `list`.
            assert!(list(vec![reply(status, "", &body)], 5_000).await.0.is_err());
        }
    }
}

#[tokio::test]
async fn a_key_that_no_header_can_carry_is_named_without_being_shown() {
    let settings = FirstPromoterSettings {
        account_id: "1".to_owned(),
        base_url: "http://127.0.0.1:1/x".parse().unwrap(),
        requests_per_minute: 1,
        timeout: Duration::from_secs(1),
    };
    let error = Client::new(&settings, &"abc\ndef".into(), QuickClock::new()).unwrap_err();
    assert!(matches!(error, ClientError::ApiKey));
    let error = format!("{error} {error:?}");
    assert!(error.contains("api_key") && !error.contains("def"), "{error}");
}

#[tokio::test]
async fn rewards_are_read_on_where_a_page_may_have_cut_them() {
    let page = |from: i32, to: i32| {
        let rows: Vec<String> = (from..to).map(|id| format!(r#"{{"id":{id},"is_promoter_reward":true}}"#)).collect();
        ok(&format!("[{}]", rows.join(",")))
    };
    let refused = || reply("422 Unprocessable Entity", "", r#"{"message":"unknown parameter: page"}"#);
    // Replies, rules, requests: few; cut at 20; paging ignored; no paging.
    for (replies, rules, requests) in [
        (vec![page(1, 20)], 19, 1),
        (vec![page(1, 21), page(21, 41), page(41, 44), page(41, 44)], 43, 4),
        (vec![page(1, 31)], 30, 2),
        (vec![page(1, 31), refused()], 30, 2),
    ] {
        let (url, _) = server(replies).await;
        let (client, _) = client(url, 5_000);
        assert_eq!((client.rewards().await.unwrap().len(), client.requests()), (rules, requests));
    }
}

#[tokio::test]
async fn a_refused_rewards_list_is_told_by_its_status() {
    let (url, _) = server(vec![reply("403 Forbidden", "", r#"{"message":"No"}"#)]).await;
    let (client, _) = client(url, 5_000);
    assert_eq!(client.rewards().await.unwrap_err().status(), Some(403));
}

#[tokio::test]
async fn no_minute_holds_more_requests_than_configured() {
    let (url, _) = server(vec![ok("[]")]).await;
    let settings = FirstPromoterSettings {
        account_id: "1".to_owned(),
        base_url: url,
        requests_per_minute: 3,
        timeout: Duration::from_secs(5),
    };
    let clock = QuickClock::new();
    let client = Client::new(&settings, &KEY.into(), clock.clone()).unwrap();
    for _ in 0..7 {
        client.commissions(&first_page()).await.unwrap();
    }
    let slept: u128 = clock.sleeps_ms().iter().sum();
    assert!((120_000..121_000).contains(&slept), "{slept}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn arbitrary_bytes_on_the_wire_never_panic(
        status in 100_u16..700,
        head in "[ -~]{0,60}",
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bytes = format!("HTTP/1.1 {status} X\r\nconnection: close\r\nretry-after: {head}\r\n\r\n").into_bytes();
            bytes.extend(body);
            let (url, _) = server(vec![Reply::Bytes(bytes)]).await;
            let (client, _) = client(url, 1_000);
            let _ = client.commissions(&first_page()).await;
        });
    }
}
