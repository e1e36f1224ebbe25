//! Delivery to an `http` target: sends one signed POST and judges its answer.
//!
//! Guarantees: one call sends at most one request (no redirect, no retry, no connection that was used before). "Not delivered"
//! means that no connection was made, or that the target answered 429. Every other outcome without a verdict is unknown. A 2xx
//! status line is a verdict, whatever happens to the body after it.
//!
//! Assumptions: reqwest tells a failed connection (DNS, TCP, TLS) from a failed exchange. The tests check this.

use std::{collections::BTreeMap, error::Error, fmt, path::Path, time::Duration};

use reqwest::{
    Certificate, Client, ClientBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, RETRY_AFTER},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::{Delivery, READ_MAX_BYTES, TargetError, excerpt, not_sent, receipt, signature::Signer};
use crate::{
    clock::Clock,
    config::{LOCALHOST, TargetSecrets, is_loopback},
    failure::{self, Outcome},
    foreign,
};

/// The longest wait for a connection; less where the target's timeout is less than twice this.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// An endpoint, with everything that a request to it needs.
pub(super) struct HttpTarget {
    client: Client,
    url: Url,
    /// The URL as messages may show it. Its path, query or user part may hold a token.
    place: String,
    timeout: Duration,
    signer: Option<Signer>,
    authorization: Option<HeaderValue>,
}

/// Does not show the URL, which may hold a token.
impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTarget").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What happened to a request, not yet judged.
enum Answer {
    /// No connection was made: nothing of the request was sent.
    NoConnection(String),
    /// Part of the request may have been sent, and no status came back.
    NoReply(String),
    /// A status, and as much of the body as came in time.
    Reply { status: StatusCode, retry_after: Option<Duration>, body: Vec<u8> },
}

impl HttpTarget {
    pub(super) fn new(
        name: &str,
        url: &Url,
        ca_file: Option<&Path>,
        timeout: Duration,
        secrets: &TargetSecrets,
    ) -> Result<Self, TargetError> {
        keep_to_ourselves(url, secrets);
        let target = || name.to_owned();
        let signer = secrets.secret.as_ref().map(Signer::new).transpose();
        let authorization = secrets.bearer.as_ref().map(bearer).transpose();
        Ok(Self {
            client: client(name, url, ca_file, timeout)?,
            url: url.clone(),
            place: place(url),
            timeout,
            signer: signer.map_err(|source| TargetError::Secret { target: target(), source })?,
            authorization: authorization.map_err(|_| TargetError::Bearer { target: target() })?,
        })
    }

    /// One attempt. Sends and signs exactly these bytes.
    pub(super) async fn post(&self, delivery: &Delivery, body: Vec<u8>, clock: &impl Clock) -> Outcome {
        let headers = match self.headers(delivery.key.as_str(), clock.now().timestamp(), &body) {
            Ok(headers) => headers,
            Err(error) => {
                return not_sent(format!("the key {:?} cannot be sent in a header: {error}", delivery.key.as_str()));
            }
        };
        let request = match self.client.post(self.url.clone()).headers(headers).body(body).build() {
            Ok(request) => request,
            Err(error) => return not_sent(format!("no request to {} can be made: {}", self.place, causes(error))),
        };
        let answer = match self.client.execute(request).await {
            Ok(response) => self.read(response, clock).await,
            Err(error) if error.is_connect() => Answer::NoConnection(causes(error)),
            Err(error) if error.is_timeout() => {
                Answer::NoReply(format!("no answer within {}", humantime::format_duration(self.timeout)))
            }
            Err(error) => Answer::NoReply(causes(error)),
        };
        self.classify(answer)
    }

    fn headers(&self, key: &str, timestamp: i64, body: &[u8]) -> Result<HeaderMap, InvalidHeaderValue> {
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (HeaderName::from_static("idempotency-key"), HeaderValue::try_from(format!("\"{key}\""))?),
            (HeaderName::from_static("webhook-id"), HeaderValue::from_str(key)?),
            (HeaderName::from_static("webhook-timestamp"), HeaderValue::from(timestamp)),
        ]);
        if let Some(signer) = &self.signer {
            let signature = HeaderValue::try_from(signer.sign(key, timestamp, body))?;
            headers.insert(HeaderName::from_static("webhook-signature"), signature);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(headers)
    }

    /// Reads at most [`READ_MAX_BYTES`] of the body. A body that breaks off or comes late changes nothing: the status is the
    /// verdict.
    async fn read(&self, mut response: Response, clock: &impl Clock) -> Answer {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| failure::retry_after(value, clock.now()));
        let mut body = Vec::new();
        while body.len() < READ_MAX_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            let room = READ_MAX_BYTES - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Answer::Reply { status, retry_after, body }
    }

    /// The only place that says what an answer means, as the manual's table has it. An answer that the table does not name is
    /// unknown.
    fn classify(&self, answer: Answer) -> Outcome {
        let place = &self.place;
        let (status, retry_after, body) = match answer {
            Answer::NoConnection(why) => {
                return not_sent(excerpt(&format!("no connection to {place}, nothing was sent: {why}")));
            }
            Answer::NoReply(why) => {
                let detail = excerpt(&format!("sent to {place}, without a verdict: {why}"));
                return Outcome::Unknown { detail, retry_after: None };
            }
            Answer::Reply { status, retry_after, body } => (status, retry_after, body),
        };
        let said = excerpt(&String::from_utf8_lossy(&body));
        let detail = format!("{place} answered {status}: {}", if said.is_empty() { "(no text)" } else { &said });
        match status.as_u16() {
            200..=299 => Outcome::Delivered { receipt: Self::receipt(&body) },
            429 => Outcome::NotDelivered { detail, retry_after },
            408 | 409 | 425 | 500..=599 => Outcome::Unknown { detail, retry_after },
            300..=499 => Outcome::Refused { detail },
            _ => Outcome::Unknown { detail, retry_after },
        }
    }

    /// `{"receipt": "..."}`, or a number as it was written: a large one must not lose digits.
    fn receipt(body: &[u8]) -> Option<String> {
        // Not a struct: serde would read one from `["..."]` as well.
        let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
        let raw = fields.get("receipt")?.get();
        let text = match raw.as_bytes().first()? {
            b'"' => serde_json::from_str(raw).ok()?,
            b'-' | b'0'..=b'9' => raw.to_owned(),
            _ => return None,
        };
        receipt(&text)
    }
}

/// Registers as secret what an error page may echo: the request's headers and address.
fn keep_to_ourselves(url: &Url, secrets: &TargetSecrets) {
    let configured = [&secrets.bearer, &secrets.secret].into_iter().flatten().map(ExposeSecret::expose_secret);
    let mut texts: Vec<String> = configured.map(|text| text.trim().to_owned()).collect();
    texts.extend(texts.clone().iter().filter_map(|text| text.strip_prefix("whsec_")).map(str::to_owned));
    texts.extend(foreign::secrets::of_url(url));
    foreign::secrets::register(texts.iter().map(String::as_str));
}

/// A client for one target. Attempts share no connection. Suppose the target closed a kept connection: the attempt on it would
/// end as "unknown" instead of "certainly not delivered".
fn client(name: &str, url: &Url, ca_file: Option<&Path>, timeout: Duration) -> Result<Client, TargetError> {
    let mut builder = ClientBuilder::new()
        .user_agent(concat!("makegood/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
        .timeout(timeout)
        .resolve_to_addrs("localhost", &LOCALHOST)
        // Less than the whole timeout. Otherwise a connection that was never made would end as "no answer", which is unknown.
        .connect_timeout(CONNECT_MAX.min(timeout / 2));
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        // No certificates needed: it must also work on a machine that has none.
        builder = builder.tls_certs_only([]);
    } else if let Some(path) = ca_file {
        builder = builder.tls_certs_merge(authorities(name, path)?);
    }
    builder.build().map_err(|source| TargetError::Client { target: name.to_owned(), source: source.without_url() })
}

/// The certificates in `path`, at least one.
fn authorities(name: &str, path: &Path) -> Result<Vec<Certificate>, TargetError> {
    let target = || name.to_owned();
    let unusable = |problem| TargetError::CaUnusable { target: target(), path: path.to_owned(), problem };
    let pem = std::fs::read(path).map_err(|source| TargetError::CaUnreadable {
        target: target(),
        path: path.to_owned(),
        source,
    })?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| unusable("is damaged"))?;
    if certificates.is_empty() {
        return Err(unusable("holds no certificate"));
    }
    Ok(certificates)
}

fn bearer(token: &SecretString) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret().trim()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `scheme://host:port`. User, path and query may hold a secret.
fn place(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// The error chain, from the outermost cause in, without reqwest's own layer, which says nothing and would show the URL.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Some causes repeat their own cause.
        if !text.starts_with("client error (") && !texts.last().is_some_and(|last| last.ends_with(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

#[cfg(test)]
mod tests;
