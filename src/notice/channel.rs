//! One address outside, and whether calls to it worked lately.
//!
//! Guarantees: no secret is in a body. A call takes at most its timeout. The answer's body is not read, redirects are not
//! followed, and the address is shown nowhere.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, ClientBuilder, header::CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tracing::{debug, info, warn};
use url::Url;

use super::NoticeError;
use crate::{
    config::{LOCALHOST, is_loopback},
    foreign, network,
    reconcile::in_full,
};

/// What is sent.
#[derive(Debug)]
pub(super) enum Body {
    /// A GET.
    None,
    /// A POST.
    Text(String),
    /// A POST.
    Json(Value),
}

/// An address to call. A clone shares the same state.
#[derive(Clone)]
pub(super) struct Channel {
    key: &'static str,
    client: Client,
    url: Url,
    quiet: Arc<Quiet>,
}

/// Does not show the address: anybody who knows it may post there.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Channel {
    pub(super) fn new(key: &'static str, url: &SecretString, timeout: Duration) -> Result<Self, NoticeError> {
        let url = Url::parse(url.expose_secret()).map_err(|_| NoticeError::Address { key })?;
        foreign::secrets::register(foreign::secrets::of_url(&url).iter().map(String::as_str));
        let mut builder = ClientBuilder::new()
            .user_agent(concat!("makegood/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .pool_max_idle_per_host(0)
            .timeout(timeout)
            .resolve_to_addrs("localhost", &LOCALHOST);
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // No certificates needed: it must also work on a machine that has none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|source| NoticeError::Client { key, source: source.without_url() })?;
        Ok(Self { key, client, url, quiet: Arc::default() })
    }

    /// Calls the address once, with `suffix` at the end of its path. Returns whether it worked.
    pub(super) async fn send(&self, suffix: &str, body: Body) -> bool {
        let url = with_suffix(&self.url, suffix);
        let request = match body {
            Body::None => self.client.get(url),
            Body::Text(text) => {
                self.client.post(url).header(CONTENT_TYPE, "text/plain; charset=utf-8").body(foreign::redact(&text))
            }
            Body::Json(json) => {
                let text = foreign::json(&foreign::redact(&json.to_string()));
                self.client.post(url).header(CONTENT_TYPE, "application/json").body(text)
            }
        };
        let problem = match network::run(request.send()).await {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(in_full(&error.without_url())),
        };
        match &problem {
            None => self.quiet.worked(&format!("{} can be reached again", self.key)),
            Some(problem) => self.quiet.failed(&format!("{} cannot be reached", self.key), problem),
        }
        problem.is_none()
    }
}

/// `https://host/path?query` becomes `https://host/path/suffix?query`.
fn with_suffix(url: &Url, suffix: &str) -> Url {
    let mut url = url.clone();
    if !suffix.is_empty() {
        let path = format!("{}/{suffix}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    url
}

/// Logs once that something does not work, and once that it works again.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    failures: AtomicU64,
}

impl Quiet {
    pub(super) fn failed(&self, what: &str, why: &str) {
        let count = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if count == 1 {
            warn!("{what}: {why}. Passes go on; makegood tries again after the next one");
        } else {
            debug!(failures = count, "{what}, for the {count}th time: {why}");
        }
    }

    pub(super) fn worked(&self, again: &str) {
        let count = self.failures.swap(0, Ordering::Relaxed);
        if count > 0 {
            info!(failures = count, "{again}, after {count} failures");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_goes_to_the_end_of_the_path_and_leaves_the_query_alone() {
        let suffixed = |url: &str, suffix: &str| with_suffix(&Url::parse(url).unwrap(), suffix).to_string();
        assert_eq!(suffixed("https://hc-ping.com/uuid", "start"), "https://hc-ping.com/uuid/start");
        assert_eq!(
            suffixed("https://hc-ping.com/key/slug/?create=1", "fail"),
            "https://hc-ping.com/key/slug/fail?create=1"
        );
        assert_eq!(suffixed("https://hc-ping.com/uuid", ""), "https://hc-ping.com/uuid");
    }

    #[test]
    fn a_channel_that_is_printed_does_not_show_its_address() {
        let url = SecretString::from("https://hooks.example.com/services/T0/B0/token");
        let channel = Channel::new("alert.url", &url, Duration::from_secs(1)).unwrap();
        let shown = format!("{channel:?} {channel:#?}");
        assert!(!shown.contains("hooks") && !shown.contains("token"), "{shown}");
    }
}
