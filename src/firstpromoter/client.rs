//! [`Api`] over HTTP: headers, pacing, bounded retries, limits of time and size.
//!
//! Guarantees:
//! - Both headers go with every request. The token never goes along with a redirect, nor into a message or a log, not even
//!   where an answer echoes it.
//! - Every request ends: `timeout` counts from connecting to the last byte, and a body may have 8 MiB after decompression.
//! - Retries are bounded, see `retry.rs`. `mark_fulfilled` and `mark_unfulfilled` are retried like reads: asking twice has the
//!   same effect as asking once.
//! - All waiting goes through the [`Clock`].
//!
//! Assumptions: the settings are checked (`https`, or `http` to loopback).

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use reqwest::{
    Method, RequestBuilder,
    header::{self, HeaderName},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use thiserror::Error;
use url::Url;

use super::{
    Api, ApiError, Batch, CommissionQuery, RewardRule,
    error::{self, Answer, AttemptFailure},
    pace::{Admission, Pacer, Ticks},
    retry::{PATIENCE, Retryable},
    wire,
};
use crate::{
    clock::Clock,
    config::{FirstPromoterSettings, LOCALHOST, is_loopback},
    domain::{Commission, CommissionId},
    failure, foreign, network,
};

/// How much of an answer is read, after decompression. A hundred commissions take some 200 KiB.
const BODY_MAX: usize = 8 * 1024 * 1024;

/// How much of an error's answer is read. Its message comes first.
const ERROR_BODY_MAX: usize = 64 * 1024;

/// The longest `Retry-After` that is honoured. A wrong one must not stop the service for a day.
const STAY_AWAY_MAX: Duration = Duration::from_hours(1);

/// The documented default page size. Paging has not cut an answer that is shorter.
const DEFAULT_PER_PAGE: usize = 20;

/// People write these rules, so there are few. A server that gives more pages than this never ends.
const REWARDS_PAGES_MAX: usize = 100;

/// Why no client could be made.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The secret has a line break or another control character inside.
    #[error("firstpromoter.api_key holds characters that cannot be sent; check the file that it comes from")]
    ApiKey,
    /// The account has characters that a header cannot carry.
    #[error(
        "firstpromoter.account_id holds characters that cannot be sent; it is the number shown in FirstPromoter under Settings, Integrations"
    )]
    AccountId,
    /// TLS could not be set up.
    #[error("the HTTP client could not be set up; are the system's certificates installed (package ca-certificates)?")]
    Setup(#[source] reqwest::Error),
}

/// FirstPromoter over HTTP.
pub struct Client<C: Clock> {
    http: reqwest::Client,
    base_url: Url,
    clock: C,
    pace: Mutex<(Ticks, Pacer)>,
    requests: AtomicU64,
    /// How far the server's clock is ahead, by the `Date` of the last answer.
    ahead: Mutex<Option<TimeDelta>>,
}

impl<C: Clock> std::fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("host", &self.host()).field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl<C: Clock> Client<C> {
    /// A client for one account; sends nothing yet.
    pub fn new(settings: &FirstPromoterSettings, api_key: &SecretString, clock: C) -> Result<Self, ClientError> {
        foreign::secrets::register([api_key.expose_secret()]);
        let builder = reqwest::Client::builder()
            .default_headers(headers(settings, api_key)?)
            .user_agent(concat!("makegood/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(settings.timeout)
            .resolve_to_addrs("localhost", &LOCALHOST)
            .connect_timeout(settings.timeout.min(Duration::from_secs(10)));
        // A proxy from the environment cannot reach our loopback.
        let builder = if is_loopback(&settings.base_url) { builder.no_proxy() } else { builder.https_only(true) };
        Ok(Self {
            http: builder.build().map_err(ClientError::Setup)?,
            base_url: settings.base_url.clone(),
            clock,
            pace: Mutex::new((Ticks::default(), Pacer::new(settings.requests_per_minute))),
            requests: AtomicU64::new(0),
            ahead: Mutex::default(),
        })
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    /// Sends a request until there is a good answer, a final one, or no attempt left.
    async fn ask<T>(
        &self,
        what: &str,
        request: impl Fn() -> RequestBuilder,
        read: impl Fn(&str) -> Result<T, wire::Unreadable>,
    ) -> Result<T, ApiError> {
        let mut attempt = 1;
        loop {
            self.admission(what).await?;
            let (failure, detail) = match self.attempt(what, request()).await {
                Ok(answer) => return read(&answer.text).map_err(|why| error::unreadable(what, &answer, &why)),
                Err(AttemptFailure::Final(error)) => return Err(error),
                Err(AttemptFailure::Again { failure, detail }) => (failure, detail),
            };
            self.heed(failure);
            let Some(wait) = failure.wait_after(attempt) else {
                let detail = match failure.retry_after() {
                    Some(asked) if asked > PATIENCE => {
                        format!("{detail}; FirstPromoter asks to wait {} s", asked.as_secs())
                    }
                    Some(_) | None if attempt > 1 => format!("{detail} (after {attempt} attempts)"),
                    Some(_) | None => detail,
                };
                return Err(ApiError::Transient { what: what.to_owned(), detail });
            };
            tracing::debug!("{what}: {detail}; attempt {} follows in {wait:?}", attempt + 1);
            self.sleep(wait).await;
            attempt += 1;
        }
    }

    /// One request, counted.
    async fn attempt(&self, what: &str, request: RequestBuilder) -> Result<Answer, AttemptFailure> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        // On the network's thread, so that the timeout measures FirstPromoter and not the ledger's disk: see `network`.
        let raw = network::run(exchange(request)).await.map_err(|broken| match broken {
            Broken::NoAnswer(error) => self.no_answer(error),
            Broken::TooLong(status) => too_long(what, status),
        })?;
        tracing::trace!("{what}: {}", raw.status);
        let answer = self.receive(raw);
        error::classify(what, &answer)?;
        Ok(answer)
    }

    fn receive(&self, raw: Raw) -> Answer {
        let header = |name: HeaderName| {
            raw.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        self.note_date(&header(header::DATE));
        let location = header(header::LOCATION);
        let mut answer = Answer {
            status: raw.status.as_u16(),
            content_type: header(header::CONTENT_TYPE),
            redirects_to: raw.url.join(&location).ok().and_then(|url| url.host_str().map(str::to_owned)),
            retry_after: failure::retry_after(&header(header::RETRY_AFTER), self.clock.now()),
            text: String::new(),
        };
        if location.is_empty() {
            answer.redirects_to = None;
        }
        // Bytes that are not UTF-8 are replaced. They can only be in a name, never in a number.
        answer.text =
            String::from_utf8(raw.body).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned());
        answer
    }

    /// For a request without a whole answer. Tells the error chain, but not the URL.
    fn no_answer(&self, error: reqwest::Error) -> AttemptFailure {
        let failure = if error.is_timeout() { Retryable::Timeout } else { Retryable::Network };
        let error = error.without_url();
        let mut causes = vec![error.to_string()];
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !causes.iter().any(|told| told.contains(&text)) {
                causes.push(text);
            }
            cause = inner.source();
        }
        let causes = foreign::quote(&causes.join(": "), wire::QUOTE_MAX);
        let detail = format!("no answer from {} (check the network and firstpromoter.base_url): {causes}", self.host());
        AttemptFailure::Again { failure, detail }
    }

    /// Waits until the pacer lets one request through.
    async fn admission(&self, what: &str) -> Result<(), ApiError> {
        loop {
            let admission = {
                let (ticks, pacer) = &mut *self.lock();
                let now_ms = ticks.read(self.clock.now());
                pacer.admit(now_ms)
            };
            match admission {
                Admission::Go => return Ok(()),
                Admission::Full(ms) => {
                    tracing::debug!("{what}: waits {ms} ms for the ceiling of requests a minute");
                    self.sleep(Duration::from_millis(ms)).await;
                }
                Admission::Blocked(ms) => {
                    let wait = Duration::from_millis(ms);
                    if wait > PATIENCE {
                        // A time, to the minute: the seconds that are left would differ from pass to pass, and so would the lines.
                        let until = self.clock.now() + wait + Duration::from_secs(30);
                        let detail = format!(
                            "not sent: FirstPromoter asked to stay away until about {} UTC",
                            until.format("%Y-%m-%d %H:%M")
                        );
                        return Err(ApiError::Transient { what: what.to_owned(), detail });
                    }
                    self.sleep(wait).await;
                }
            }
        }
    }

    /// Lets the pacer learn from an answer.
    fn heed(&self, failure: Retryable) {
        let stay_away = failure.retry_after().map(|asked| asked.min(STAY_AWAY_MAX));
        let (ticks, pacer) = &mut *self.lock();
        let now_ms = ticks.read(self.clock.now());
        match failure {
            Retryable::Limited(_) => pacer.limited(now_ms, stay_away),
            Retryable::Server(_) => pacer.block(now_ms, stay_away.unwrap_or_default()),
            Retryable::Network | Retryable::Timeout => {}
        }
    }

    /// `POST /commissions/ACTION`
    async fn mark(&self, action: &str, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        let what = format!("POST /commissions/{action} for {}", counted(ids));
        let body = json!({ "ids": ids });
        let request = || self.request(Method::POST, &["commissions", action]).json(&body);
        self.ask(&what, request, wire::batch).await
    }

    async fn sleep(&self, duration: Duration) {
        let since_ms = self.lock().0.read(self.clock.now());
        self.clock.sleep(duration).await;
        let ticks = &mut self.lock().0;
        ticks.read(self.clock.now());
        ticks.slept(since_ms, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, (Ticks, Pacer)> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host that is asked, for a person.
    pub fn host(&self) -> &str {
        self.base_url.host_str().unwrap_or("nowhere")
    }
}

impl<C: Clock> Api for Client<C> {
    async fn commissions(&self, query: &CommissionQuery) -> Result<Vec<Commission>, ApiError> {
        let parameters = parameters(query);
        let what = describe(query);
        self.ask(&what, || self.request(Method::GET, &["commissions"]).query(&parameters), wire::commissions).await
    }

    async fn mark_fulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        self.mark("mark_fulfilled", ids).await
    }

    async fn mark_unfulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        self.mark("mark_unfulfilled", ids).await
    }

    async fn batch(&self, id: i64) -> Result<Batch, ApiError> {
        let id = id.to_string();
        let what = format!("GET /batch_processes/{id}");
        self.ask(&what, || self.request(Method::GET, &["batch_processes", &id]), wire::batch).await
    }

    /// The OpenAPI knows only the parameter `scope` here, and 422 for unknown parameters; the guide says that everything is
    /// paged. So the first request has no parameters. Only where a default page could have cut the answer are further pages
    /// asked for, until a page brings nothing new. Where the server refuses that request, there are no pages.
    async fn rewards(&self) -> Result<Vec<RewardRule>, ApiError> {
        let mut rules = self.ask("GET /rewards", || self.request(Method::GET, &["rewards"]), wire::rewards).await?;
        if rules.len() < DEFAULT_PER_PAGE {
            return Ok(rules);
        }
        for page in 2..=REWARDS_PAGES_MAX {
            let what = format!("GET /rewards page {page}");
            let request = || self.request(Method::GET, &["rewards"]).query(&[("page", page)]);
            let answer = match self.ask(&what, request, wire::rewards).await {
                Err(ApiError::Rejected { .. }) if page == 2 => return Ok(rules),
                answer => answer?,
            };
            let known = rules.len();
            for rule in answer {
                if !rules.iter().any(|seen| seen.id == rule.id) {
                    rules.push(rule);
                }
            }
            if rules.len() == known {
                return Ok(rules);
            }
        }
        Err(ApiError::Fatal {
            what: "GET /rewards".to_owned(),
            status: None,
            detail: format!("the list does not end after {REWARDS_PAGES_MAX} pages; set policy.recipient"),
        })
    }

    async fn wait_for_room(&self, requests: u32) -> bool {
        loop {
            let room = {
                let (ticks, pacer) = &mut *self.lock();
                let now_ms = ticks.read(self.clock.now());
                pacer.room_for(requests, now_ms)
            };
            match room {
                None => return false,
                Some(Admission::Go) => return true,
                // Too long to wait. The request itself fails then, and says so.
                Some(Admission::Blocked(ms)) if Duration::from_millis(ms) > PATIENCE => return true,
                Some(Admission::Full(ms) | Admission::Blocked(ms)) => self.sleep(Duration::from_millis(ms)).await,
            }
        }
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

mod exchange;
mod request;
mod sample;
#[cfg(test)]
mod tests;

use exchange::{Broken, Raw, exchange};
use request::{counted, describe, headers, parameters, too_long};
pub use sample::Sample;
