use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use proptest::prelude::*;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::*;
use crate::{
    config::TargetKind,
    delivery::{
        Deliver, Targets,
        tests::{Still, sample, targets},
    },
    manual::{Topic, words as manual},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const CA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/ca.pem");
const SERVER_PEM: &[u8] = include_bytes!("../../../tests/fixtures/tls/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("../../../tests/fixtures/tls/server.key");

/// What the endpoint does after its reply.
#[derive(Clone, Copy)]
enum Then {
    Close,
    /// RST instead of FIN.
    Reset,
    /// Nothing, until the client closes the connection.
    Hang,
}

/// An endpoint for one connection. A second one finds nobody, so that a repeated request would be noticed.
async fn endpoint(reply: impl Into<Vec<u8>>, then: Then) -> (SocketAddr, JoinHandle<String>) {
    let (listener, reply) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), reply.into());
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let request = read_request(&mut stream).await;
        // The client may close the connection once it has read enough. That is no failure of the endpoint.
        let _ = stream.write_all(&reply).await;
        match then {
            Then::Close => {}
            Then::Reset => stream.set_zero_linger().unwrap(),
            Then::Hang => drop(stream.read_to_end(&mut Vec::new()).await),
        }
        request
    });
    (address, served)
}

async fn read_request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request ended early: {text}");
    }
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn http(
    url: &str,
    ca_file: Option<&str>,
    timeout_ms: u64,
    secrets: TargetSecrets,
) -> Result<Targets<Still>, TargetError> {
    let kind = TargetKind::Http { url: url.parse().unwrap(), ca_file: ca_file.map(Into::into), concurrency: 1 };
    targets(kind, Duration::from_millis(timeout_ms), secrets)
}

/// One attempt at `url` without secrets; long enough never to time out by accident.
async fn attempt(url: &str) -> Outcome {
    http(url, None, 20_000, TargetSecrets::default()).unwrap().deliver("app", &sample()).await
}

/// One attempt at an endpoint that answers like this.
async fn answered(reply: impl Into<Vec<u8>>, then: Then) -> Outcome {
    let (address, _served) = endpoint(reply, then).await;
    attempt(&format!("http://{address}/rewards")).await
}

fn not_delivered(outcome: Outcome) -> (String, Option<Duration>) {
    let Outcome::NotDelivered { detail, retry_after } = outcome else { panic!("not not-delivered: {outcome:?}") };
    (detail, retry_after)
}

fn unknown(outcome: Outcome) -> (String, Option<Duration>) {
    let Outcome::Unknown { detail, retry_after } = outcome else { panic!("not unknown: {outcome:?}") };
    (detail, retry_after)
}

fn refused(outcome: Outcome) -> String {
    let Outcome::Refused { detail } = outcome else { panic!("not refused: {outcome:?}") };
    detail
}

fn delivered(outcome: Outcome) -> Option<String> {
    let Outcome::Delivered { receipt } = outcome else { panic!("not delivered: {outcome:?}") };
    receipt
}

#[tokio::test]
async fn a_request_carries_the_headers_of_the_manual_and_a_signature_of_exactly_its_body() {
    let (address, served) = endpoint(reply("200 OK", "", ""), Then::Close).await;
    let secrets = TargetSecrets { secret: Some(SECRET.into()), bearer: Some("let-me-in\n".into()) };
    let targets = http(&format!("http://{address}/rewards?via=fp"), None, 20_000, secrets).unwrap();
    assert_eq!(delivered(targets.deliver("app", &sample()).await), None);

    let request = served.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, serde_json::to_string(&sample()).unwrap());
    // 2025-01-19T10:45:00Z, from the clock.
    let signature = standardwebhooks::Webhook::new(SECRET).unwrap();
    let signature = signature.sign("fp-12345-88901", 1_737_283_500, body.as_bytes()).unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /rewards?via=fp HTTP/1.1"));
    let lines: Vec<&str> = lines.collect();
    let named = |line: &&str| line.split_once(": ").map(|(name, _)| name.to_owned());
    let transport = ["accept", "accept-encoding", "host", "content-length"];
    let sent: BTreeSet<String> =
        lines.iter().filter_map(named).filter(|name| !transport.contains(&name.as_str())).collect();
    let told = manual::words(Topic::Delivery, "To an http target", "header");
    assert_eq!(sent, told.iter().map(|name| name.to_lowercase()).collect());
    for expected in [
        "content-type: application/json",
        "idempotency-key: \"fp-12345-88901\"",
        "webhook-id: fp-12345-88901",
        "webhook-timestamp: 1737283500",
        &format!("webhook-signature: {signature}"),
        "authorization: Bearer let-me-in",
        concat!("user-agent: makegood/", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(lines.iter().filter(|line| **line == expected).count(), 1, "{expected} in {head}");
    }
}

#[tokio::test]
async fn without_secrets_nothing_is_signed_or_authorized() {
    let (address, served) = endpoint(reply("204 No Content", "", ""), Then::Close).await;
    assert_eq!(delivered(attempt(&format!("http://{address}/")).await), None);
    let request = served.await.unwrap();
    assert!(request.contains("webhook-id: "), "{request}");
    assert!(!request.contains("webhook-signature") && !request.contains("authorization"), "{request}");
}

/// What the manual says about a status: the row that names it, else the row of its class, else the last row.
fn told(code: u16) -> String {
    let rows = manual::rows(Topic::Delivery, "What an answer means", "answer");
    let class = format!("{}xx", code / 100);
    let row = |word: &str| rows.iter().find(|row| manual::code(&row[0]).iter().any(|it| it == word));
    let row = row(&code.to_string()).or_else(|| row(&class)).or_else(|| rows.last()).unwrap();
    manual::code(&row[1]).remove(0)
}

#[test]
fn every_status_means_what_the_table_in_the_manual_says() {
    let target = HttpTarget::new(
        "app",
        &"http://127.0.0.1/".parse().unwrap(),
        None,
        Duration::from_secs(1),
        &TargetSecrets::default(),
    )
    .unwrap();
    for code in 100..=999 {
        let status = StatusCode::from_u16(code).unwrap();
        let retry_after = Some(Duration::from_secs(7));
        let outcome = target.classify(Answer::Reply { status, retry_after, body: b"why".to_vec() });
        let word = match code {
            200..=299 => "delivered",
            429 => "not_delivered",
            408 | 409 | 425 | 500..=599 => "unknown",
            300..=499 => "refused",
            _ => "unknown",
        };
        assert_eq!(outcome.as_str(), word, "{code}");
        assert_eq!(told(code), word, "{code}, in the manual");
        match outcome {
            Outcome::Delivered { .. } => {}
            Outcome::NotDelivered { detail, retry_after: waits } | Outcome::Unknown { detail, retry_after: waits } => {
                assert_eq!(waits, retry_after);
                assert!(detail.contains(&code.to_string()) && detail.ends_with("why"), "{detail}");
            }
            Outcome::Refused { detail } => {
                assert!(detail.contains(&code.to_string()) && detail.ends_with("why"), "{detail}");
            }
        }
    }
}

#[tokio::test]
async fn retry_after_is_honoured_as_seconds_and_as_a_date() {
    let (detail, wait) =
        not_delivered(answered(reply("429 Too Many", "Retry-After: 90\r\n", "slow"), Then::Close).await);
    assert_eq!(wait, Some(Duration::from_secs(90)));
    assert!(detail.ends_with("answered 429 Too Many Requests: slow"), "{detail}");
    let date = "Retry-After: Sun, 19 Jan 2025 10:46:00 GMT\r\n";
    let (_, wait) = unknown(answered(reply("503 Busy", date, ""), Then::Close).await);
    assert_eq!(wait, Some(Duration::from_mins(1)));
    assert_eq!(unknown(answered(reply("500 Oops", "", ""), Then::Close).await).1, None);
}

#[tokio::test]
async fn no_connection_is_certainly_not_delivered() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // No label may be this long: the resolver refuses without asking the network.
    let nowhere = format!("{}.invalid", "a".repeat(64));
    for url in [format!("http://{nobody}/x?token=hush"), format!("https://{nobody}/"), format!("http://{nowhere}/")] {
        let (detail, wait) = not_delivered(attempt(&url).await);
        assert_eq!(wait, None);
        assert!(detail.starts_with("no connection to http") && !detail.contains("hush"), "{detail}");
    }
}

#[tokio::test]
async fn a_failed_tls_handshake_is_certainly_not_delivered() {
    for greeting in ["", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
        for reset in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("https://{}/", listener.local_addr().unwrap());
            let served = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                // The client's greeting first, so that the connection certainly stands.
                stream.read_u8().await.unwrap();
                stream.write_all(greeting.as_bytes()).await.unwrap();
                if reset {
                    stream.set_zero_linger().unwrap();
                }
            });
            not_delivered(attempt(&url).await);
            served.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_certainly_not_delivered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let targets = http(&url, None, 8_000, TargetSecrets::default()).unwrap();
    // Accepted by the kernel, never answered.
    not_delivered(targets.deliver("app", &sample()).await);
}

#[tokio::test]
async fn an_internal_authority_is_trusted_only_where_ca_file_names_it() {
    let tls = || async {
        let (listener, provider) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
        let chain = vec![CertificateDer::from_pem_slice(SERVER_PEM).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap();
        let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok()?;
            let request = read_request(&mut stream).await;
            stream.write_all(reply("200 OK", "", r#"{"receipt": "over TLS"}"#).as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            Some(request)
        });
        (url, served)
    };
    let (url, served) = tls().await;
    let targets = http(&url, Some(CA_FILE), 20_000, TargetSecrets::default()).unwrap();
    assert_eq!(delivered(targets.deliver("app", &sample()).await).as_deref(), Some("over TLS"));
    assert!(served.await.unwrap().is_some());

    let (url, served) = tls().await;
    let (detail, _) = not_delivered(attempt(&url).await);
    assert!(detail.contains("certificate"), "{detail}");
    assert_eq!(served.await.unwrap(), None, "no request may follow a failed handshake");
}

#[tokio::test]
async fn a_lost_reply_is_unknown() {
    for then in [Then::Close, Then::Reset] {
        for partial in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-le"] {
            let (detail, _) = unknown(answered(partial, then).await);
            assert!(detail.starts_with("sent to http://127.0.0.1:"), "{detail}");
        }
    }
    unknown(answered("SMTP is not HTTP\r\n\r\n", Then::Close).await);
}

#[tokio::test]
async fn a_connection_that_breaks_while_the_request_is_written_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.set_zero_linger().unwrap();
    });
    let mut delivery = sample();
    // More than the sockets' buffers hold.
    delivery.unit = "x".repeat(16 * 1024 * 1024);
    let targets = http(&url, None, 20_000, TargetSecrets::default()).unwrap();
    unknown(targets.deliver("app", &delivery).await);
    served.await.unwrap();
}

#[tokio::test]
async fn a_late_reply_is_unknown() {
    for partial in ["", "HTTP/1.1 200 OK\r\n"] {
        let (address, _served) = endpoint(partial, Then::Hang).await;
        let targets = http(&format!("http://{address}/"), None, 200, TargetSecrets::default()).unwrap();
        let (detail, _) = unknown(targets.deliver("app", &sample()).await);
        assert!(detail.ends_with("no answer within 200ms"), "{detail}");
    }
}

#[tokio::test]
async fn a_2xx_is_delivered_whatever_happens_to_its_body() {
    let cut = "HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{\"receipt\": \"1\"";
    assert_eq!(delivered(answered(cut, Then::Close).await), None);
    assert_eq!(delivered(answered(cut, Then::Reset).await), None);
    assert_eq!(
        delivered(answered("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nrubbish", Then::Close).await),
        None
    );
    let huge = format!("{{\"receipt\": \"1\", \"more\": \"{}\"}}", "x".repeat(10 * 1024 * 1024));
    assert_eq!(delivered(answered(reply("200 OK", "", &huge), Then::Close).await), None);

    let (address, _served) = endpoint(cut, Then::Hang).await;
    let targets = http(&format!("http://{address}/"), None, 200, TargetSecrets::default()).unwrap();
    assert_eq!(delivered(targets.deliver("app", &sample()).await), None);
}

#[tokio::test]
async fn a_receipt_is_text_or_a_number_of_at_most_500_characters() {
    let long = format!("{{\"receipt\": \"{}\"}}", "ä".repeat(501));
    for (body, expected) in [
        (r#"{"receipt": "grant \u0007 17", "more": {"receipt": 1}}"#, Some("grant   17".to_owned())),
        (r#"{"receipt": 123456789012345678901234567890}"#, Some("123456789012345678901234567890".to_owned())),
        (r#"{"receipt": -1.50}"#, Some("-1.50".to_owned())),
        (&long, Some("ä".repeat(500))),
        (r#"{"receipt": ""}"#, None),
        (r#"{"receipt": null}"#, None),
        (r#"{"receipt": ["a"]}"#, None),
        (r#"["receipt"]"#, None),
        ("ok", None),
        ("", None),
    ] {
        assert_eq!(delivered(answered(reply("200 OK", "", body), Then::Close).await), expected, "{body}");
    }
}

#[tokio::test]
async fn a_redirect_is_refused_and_not_followed() {
    let detail = refused(answered(reply("307 Temporary Redirect", "Location: /elsewhere\r\n", ""), Then::Close).await);
    assert!(detail.ends_with(" answered 307 Temporary Redirect: (no text)"), "{detail}");
}

#[tokio::test]
async fn a_refusal_keeps_the_first_500_characters_fit_for_a_terminal() {
    let body = format!("\u{1b}[2Jno\n{}", "é".repeat(600));
    let detail = refused(answered(reply("422 Unprocessable", "", &body), Then::Close).await);
    let said = detail.split_once(": ").unwrap().1;
    assert_eq!(said.chars().count(), 500);
    assert!(said.starts_with(" [2Jno é") && said.ends_with('é'), "{said}");
}

#[tokio::test]
async fn no_secret_comes_back_in_a_detail_or_a_receipt() {
    let secrets = || TargetSecrets { secret: Some(SECRET.into()), bearer: Some("bearer-token".into()) };
    let echo = format!(
        "POST /r?token=query-token&v=1 had bearer-token, \\\\u0062earer\\\\u002dtoken, {SECRET}, {}, p4ssw0rd",
        &SECRET[6..]
    );
    for (status, body) in
        [("404 Not Found", echo.clone()), ("503 Busy", echo.clone()), ("200 OK", format!(r#"{{"receipt": "{echo}"}}"#))]
    {
        let (address, _served) = endpoint(reply(status, "", &body), Then::Close).await;
        let url = format!("http://user:p4ssw0rd@{address}/r?token=query-token&v=1");
        let targets = http(&url, None, 20_000, secrets()).unwrap();
        let shown = format!("{:?} {targets:?}", targets.deliver("app", &sample()).await);
        assert!(shown.contains("[redacted]"), "{shown}");
        for hidden in ["bearer-token", "query-token", &SECRET[6..], "p4ssw0rd"] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
    }
}

#[test]
fn an_unusable_secret_or_certificate_is_refused_by_name_before_anything_is_sent() {
    let error = |ca_file: Option<&str>, secret: Option<&str>, bearer: Option<&str>| {
        let secrets = TargetSecrets { secret: secret.map(Into::into), bearer: bearer.map(Into::into) };
        http("https://127.0.0.1/", ca_file, 1_000, secrets).unwrap_err()
    };
    let bad = error(None, Some("whsec_h!dden"), None);
    assert!(bad.to_string().contains("targets.app.secret") && !format!("{bad:?}").contains("h!dden"), "{bad:?}");
    let bad = error(None, None, Some("hid\nden"));
    assert!(bad.to_string().contains("targets.app.bearer") && !format!("{bad:?}").contains("hid"), "{bad:?}");

    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pem = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    for path in [
        folder.path().join("missing.pem").to_str().unwrap().to_owned(),
        write("empty.pem", ""),
        write("text.pem", "no certificate here"),
        write("damaged.pem", &pem("!!!")),
        write("rubbish.pem", &pem("AAAA")),
    ] {
        let bad = error(Some(&path), None, None).to_string();
        assert!(bad.contains("targets.app") && bad.contains("ca_file"), "{bad}");
    }
}

#[test]
fn only_hosts_of_this_machine_count_as_loopback() {
    let loopback = |url: &str| is_loopback(&url.parse().unwrap());
    for url in ["http://127.0.0.1/", "http://127.9.9.9:80/", "http://localhost:1/", "http://[::1]/"] {
        assert!(loopback(url), "{url}");
    }
    // A name below localhost is looked up, and may be anywhere.
    for url in [
        "https://example.com/",
        "https://a.localhost/",
        "https://localhost.example.com/",
        "https://10.0.0.1/",
        "https://[::2]/",
    ] {
        assert!(!loopback(url), "{url}");
    }
}

#[test]
fn a_place_is_a_host_and_shows_neither_user_nor_path_nor_query() {
    let shown = place(&"https://user:pass@app.example.com/internal/rewards?token=x#y".parse().unwrap());
    assert_eq!(shown, "https://app.example.com:443");
    assert_eq!(place(&"http://[::1]:8080".parse().unwrap()), "http://[::1]:8080");
}

proptest! {
    #[test]
    fn no_answer_makes_a_receipt_or_a_detail_that_is_too_long_or_breaks_a_terminal(
        code in 100u16..1000,
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..2_000),
            any::<String>().prop_map(|text| serde_json::json!({ "receipt": text }).to_string().into_bytes()),
        ],
    ) {
        let url: Url = "http://127.0.0.1:1/".parse().unwrap();
        let target = HttpTarget::new("app", &url, None, Duration::from_secs(1), &TargetSecrets::default()).unwrap();
        let status = StatusCode::from_u16(code).unwrap();
        let text = match target.classify(Answer::Reply { status, retry_after: None, body }) {
            Outcome::Delivered { receipt } => {
                prop_assert!(receipt.as_ref().is_none_or(|text| !text.trim().is_empty() && text.chars().count() <= 500));
                receipt.unwrap_or_default()
            }
            Outcome::NotDelivered { detail, .. } | Outcome::Unknown { detail, .. } | Outcome::Refused { detail } => detail,
        };
        prop_assert!(text.chars().count() <= 600 && !text.contains(char::is_control));
    }
}
