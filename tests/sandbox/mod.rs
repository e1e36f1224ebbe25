//! A stateful FirstPromoter and a merchant's endpoint, on loopback. Tests can make them fail in all the ways of production.
//!
//! Used by the scenarios of `tests/it` and by `cargo run --example sandbox`. Reading order: [`Sandbox`] here, then
//! `firstpromoter.rs` and `merchant.rs` (what each knows and how it answers), `commission.rs` (how a test writes one),
//! `switches.rs` and `fault.rs` (what can go wrong), `gate.rs` (stopping the world at a request).
//!
//! ```text
//! let sandbox = Sandbox::start();
//! sandbox.firstpromoter.add(commission(88901).points(500).approved("2025-01-19T10:30:00Z"));
//! sandbox.firstpromoter.lock().faults.mark = once(dropped().after_effect());
//! sandbox.merchant.lock().faults_of.insert(88901, next(2, status(503).retry_after(2)));
//! ...
//! assert_eq!(sandbox.merchant.effects_of(88901).len(), 1);
//! ```
//!
//! It is one of several imitations of FirstPromoter: the simulator (`tests/sim`) has its own, so have the script in
//! `src/firstpromoter/script.rs` and the unit tests of `src/reconcile`. Only this one speaks HTTP, so it imitates routes,
//! headers, JSON, pages and lost connections. They share no code on purpose: where makegood and one of them share a
//! misunderstanding, the next one does not have it, and a test fails.
//!
//! Guarantees: listens on 127.0.0.1 only. A request meets at most one fault. Counters count a request before it meets its
//! fault. Assumptions: one sandbox serves one test.

#![allow(dead_code, reason = "the scenarios and the example each use their part of it")]
#![allow(unreachable_pub, missing_docs, reason = "no API: a module of tests, whose names say what they are")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a sandbox that cannot go on should stop the test")]
#![allow(clippy::struct_field_names, reason = "they are FirstPromoter's names")]
#![allow(clippy::struct_excessive_bools, reason = "switches are independent of each other")]

mod actions;
mod commission;
mod fault;
mod firstpromoter;
mod gate;
mod http;
mod line;
mod listing;
mod merchant;
mod switches;
mod world;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

use http::Server;
#[allow(unused_imports, reason = "the scenarios and the example each use their part of it")]
pub use {
    actions::BatchEnd,
    commission::{Commission, Timestamp, commission, instant, now},
    fault::*,
    firstpromoter::{BASE_PATH, Endpoint, FirstPromoter},
    gate::{Gate, Moment},
    http::Ask,
    merchant::{Effect, Merchant},
    switches::{IgnoredFilters, RateLimit},
    world::{World, small_world},
};

/// The account of the sandbox.
pub const ACCOUNT_ID: &str = "12345";
/// The key that FirstPromoter demands. A secret: no output may show it.
pub const API_KEY: &str = "fp-sandbox-key-b2f1c7d09a";
/// The secret with which the merchant checks signatures. No output may show it.
pub const SIGNING_SECRET: &str = "whsec_c2FuZGJveC1zaWduaW5nLXNlY3JldC1ub2JvZHktc2Vlcw==";
/// The token that the merchant demands. A secret: no output may show it.
pub const BEARER: &str = "merchant-sandbox-token-51e8aa07";

/// Both parties, answering until dropped.
pub struct Sandbox {
    pub firstpromoter: FirstPromoter,
    pub merchant: Merchant,
    /// The gate at which a test stops the world.
    pub gate: Gate,
    firstpromoter_server: Server,
    merchant_server: Server,
    /// An option because a runtime that is simply dropped would block, which async tests may not.
    runtime: Option<Runtime>,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Sandbox {
    /// Starts both on free ports, without any commission.
    pub fn start() -> Self {
        Self::start_on(0, 0).expect("free ports on 127.0.0.1")
    }

    /// Starts both on these ports; 0 is any free one.
    pub fn start_on(firstpromoter_port: u16, merchant_port: u16) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("sandbox").enable_all().build()?;
        let firstpromoter = FirstPromoter::new(ACCOUNT_ID, API_KEY);
        let merchant = Merchant::new(Some(SIGNING_SECRET), Some(BEARER));
        let gate = Gate::new();
        let handle = runtime.handle();
        Ok(Self {
            firstpromoter_server: Server::start(handle, loopback(firstpromoter_port), &firstpromoter, &gate)?,
            merchant_server: Server::start(handle, loopback(merchant_port), &merchant, &gate)?,
            firstpromoter,
            merchant,
            gate,
            runtime: Some(runtime),
        })
    }

    /// For `firstpromoter.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}{BASE_PATH}", self.firstpromoter_server.address())
    }

    /// For `targets.app.url`.
    pub fn merchant_url(&self) -> String {
        format!("http://{}{}", self.merchant_server.address(), merchant::PATH)
    }

    /// From now on FirstPromoter's port refuses connections.
    pub fn firstpromoter_goes_down(&mut self) {
        self.firstpromoter_server.stop();
    }

    /// From now on the merchant's port refuses connections.
    pub fn merchant_goes_down(&mut self) {
        self.merchant_server.stop();
    }

    /// Both answer again, on the same ports.
    pub fn everybody_comes_back(&mut self) {
        let handle = self.runtime.as_ref().expect("runs until dropped").handle();
        let (firstpromoter, merchant) = (self.firstpromoter_server.address(), self.merchant_server.address());
        self.firstpromoter_server.stop();
        self.merchant_server.stop();
        self.firstpromoter_server = Server::start(handle, firstpromoter, &self.firstpromoter, &self.gate)
            .expect("FirstPromoter's port is still free");
        self.merchant_server =
            Server::start(handle, merchant, &self.merchant, &self.gate).expect("the merchant's port is still free");
    }

    /// The webhook handler works: it delivers under the same key, and marks.
    pub fn handler_delivers(&self, id: i64) {
        self.handler_delivers_without_marking(id);
        self.firstpromoter.fulfil(id);
    }

    /// The webhook handler delivers under the same key, and dies before it marks.
    pub fn handler_delivers_without_marking(&self, id: i64) {
        let commission = self.firstpromoter.get(id).expect("the handler was told of a commission that exists");
        let goes_to_promoter = self.firstpromoter.goes_to_promoter(&commission);
        self.merchant.handler_grants(&self.key(id), &commission, goes_to_promoter);
    }

    /// The delivery key, as the manual defines it.
    pub fn key(&self, id: i64) -> String {
        format!("fp-{}-{id}", self.firstpromoter.lock().account_id)
    }

    /// Requests to both parties so far.
    pub fn requests(&self) -> u64 {
        self.firstpromoter.requests() + u64::try_from(self.merchant.requests()).unwrap_or(u64::MAX)
    }

    /// Waits until requests have made `happened` true. False when `patience` ends first.
    pub fn wait_until(&self, patience: Duration, mut happened: impl FnMut(&Self) -> bool) -> bool {
        self.gate.wait_until(patience, || happened(self))
    }

    /// A configuration for the real binary: this sandbox, this ledger, every other key at its default. Tests change
    /// single keys through the environment (`MAKEGOOD_POLICY__GRACE`).
    pub fn config_toml(&self, ledger: &Path) -> String {
        let ledger = toml_string(&ledger.display().to_string());
        format!(
            r#"[firstpromoter]
account_id = "{ACCOUNT_ID}"
api_key = "{API_KEY}"
base_url = "{}"

[ledger]
path = {ledger}

[targets.app]
type = "http"
url = "{}"
secret = "{SIGNING_SECRET}"
bearer = "{BEARER}"
"#,
            self.base_url(),
            self.merchant_url(),
        )
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A basic string of TOML. JSON's escapes are valid in it.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
