//! The merchant's endpoint: takes rewards, deduplicates by key, and keeps the books.
//!
//! Guarantees: it accepts a delivery only with `Idempotency-Key: "<key>"`, `webhook-id: <key>` and the same key in the body,
//! and, where a secret or bearer is set, with a good signature and token. Any other gets a 4xx, and the reason stands in
//! [`State::rejected`]. It never forgets an effect, so that a test can count the effects of a key.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::{
    commission::{Commission, Timestamp, now},
    fault::{Fault, Script, first_of},
    http::{Ask, Party, Reply, lock},
};

/// The path to which rewards are posted.
pub const PATH: &str = "/rewards";

/// One change of the books.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    pub key: String,
    pub commission_id: i64,
    pub unit: String,
    pub amount: i64,
    /// `promoter` or `referral`
    pub recipient: String,
    pub recipient_id: i64,
    pub email: Option<String>,
    pub receipt: String,
    pub at: Timestamp,
    /// `makegood`, or `webhook handler`.
    pub by: String,
}

/// The data of the merchant, and the counters and switches of the test.
pub struct State {
    /// Where set, every delivery must carry this token.
    pub bearer: Option<String>,
    /// Where set, every delivery must carry a good signature (Standard Webhooks).
    pub secret: Option<String>,
    /// Whether a known key changes nothing and gets its first receipt.
    pub deduplicates: bool,
    /// For every delivery.
    pub faults: Script,
    /// By commission. They come before `faults`.
    pub faults_of: BTreeMap<i64, Script>,
    /// All requests, in order, with and without faults.
    pub received: Vec<Ask>,
    /// The reasons of refused requests, in order. Empty with a client that follows the manual.
    pub rejected: Vec<String>,
    /// In order. With deduplication, at most one for each key.
    pub effects: Vec<Effect>,
    /// Requests being answered now.
    pub in_flight: usize,
    /// The highest value of `in_flight`.
    pub in_flight_max: usize,
}

impl State {
    fn check(&self, ask: &Ask, body: &Value) -> Result<String, (u16, String)> {
        if ask.method != "POST" || ask.path != PATH {
            return Err((404, format!("no such thing here: {} {}", ask.method, ask.path)));
        }
        if let Some(bearer) = &self.bearer
            && ask.header("authorization") != Some(&format!("Bearer {bearer}"))
        {
            return Err((401, "wrong or missing bearer token".to_owned()));
        }
        if let Some(secret) = &self.secret {
            let oracle = Webhook::new(secret).expect("the sandbox's own secret");
            oracle
                .verify(ask.body.as_bytes(), &ask.headers)
                .map_err(|error| (401, format!("bad signature: {error}")))?;
        }
        let type_ = ask.header("content-type").unwrap_or_default();
        if !type_.starts_with("application/json") {
            return Err((415, format!("Content-Type is {type_:?}")));
        }
        let key = body["key"].as_str().ok_or((400, "the body has no key".to_owned()))?;
        if ask.header("webhook-id") != Some(key) {
            return Err((400, format!("webhook-id is {:?}, the key {key:?}", ask.header("webhook-id"))));
        }
        if ask.header("idempotency-key") != Some(&format!("\"{key}\"")) {
            return Err((400, format!("Idempotency-Key is {:?}, the key {key:?}", ask.header("idempotency-key"))));
        }
        Ok(key.to_owned())
    }

    fn act(&mut self, ask: &Ask) -> Reply {
        let body = ask.json();
        match self.check(ask, &body).and_then(|key| read(&key, &body).map_err(|reason| (422, reason))) {
            Ok(effect) => Reply::json(200, &json!({ "receipt": self.enter(effect) })),
            Err((status, reason)) => {
                let reply = Reply::json(status, &json!({ "error": reason }));
                self.rejected.push(reason);
                reply
            }
        }
    }

    /// Enters the effect into the books, unless its key is there already. Returns the receipt.
    fn enter(&mut self, mut effect: Effect) -> String {
        let known = self.effects.iter().find(|known| known.key == effect.key);
        if let Some(known) = known.filter(|_| self.deduplicates) {
            return known.receipt.clone();
        }
        effect.receipt = format!("r-{}", self.effects.len() + 1);
        self.effects.push(effect);
        self.effects[self.effects.len() - 1].receipt.clone()
    }
}

/// The effect of a body in the manual's format.
fn read(key: &str, body: &Value) -> Result<Effect, String> {
    let number = |field: &Value, name: &str| field.as_i64().ok_or(format!("{name} is {field}"));
    let word = |field: &Value, name: &str| field.as_str().map(ToOwned::to_owned).ok_or(format!("{name} is {field}"));
    if body["type"] != "reward.deliver" {
        return Err(format!("type is {}", body["type"]));
    }
    let recipient = &body["recipient"];
    Ok(Effect {
        key: key.to_owned(),
        commission_id: number(&body["commission_id"], "commission_id")?,
        unit: word(&body["unit"], "unit")?,
        amount: number(&body["amount"], "amount")?,
        recipient: word(&recipient["kind"], "recipient.kind")?,
        recipient_id: number(&recipient["id"], "recipient.id")?,
        email: recipient["email"].as_str().map(ToOwned::to_owned),
        receipt: String::new(),
        at: now(),
        by: "makegood".to_owned(),
    })
}

/// A handle on the merchant; a clone is the same merchant.
#[derive(Clone)]
pub struct Merchant(Arc<Mutex<State>>);

impl Merchant {
    /// With empty books. Deduplicates, and demands this signature and token.
    pub fn new(secret: Option<&str>, bearer: Option<&str>) -> Self {
        Self(Arc::new(Mutex::new(State {
            bearer: bearer.map(ToOwned::to_owned),
            secret: secret.map(ToOwned::to_owned),
            deduplicates: true,
            faults: Script::default(),
            faults_of: BTreeMap::new(),
            received: Vec::new(),
            rejected: Vec::new(),
            effects: Vec::new(),
            in_flight: 0,
            in_flight_max: 0,
        })))
    }

    /// The state: assign faults, read requests. Do not hold it across another verb.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// The webhook handler's own delivery, under the same key, in the same books.
    pub fn handler_grants(&self, key: &str, commission: &Commission, goes_to_promoter: bool) {
        let (recipient, recipient_id, email) =
            commission.recipient(goes_to_promoter).expect("the handler needs somebody to deliver to");
        self.lock().enter(Effect {
            key: key.to_owned(),
            commission_id: commission.id,
            unit: commission.unit.clone(),
            amount: commission.amount,
            recipient: recipient.to_owned(),
            recipient_id,
            email: Some(email.to_owned()),
            receipt: String::new(),
            at: now(),
            by: "webhook handler".to_owned(),
        });
    }

    /// The recipient's amount of the unit, from all their rewards.
    pub fn balance(&self, recipient: &str, id: i64, unit: &str) -> i64 {
        self.sum(|effect| effect.recipient == recipient && effect.recipient_id == id && effect.unit == unit)
    }

    /// The person's amount of the unit, as promoter and as referral.
    pub fn balance_of(&self, email: &str, unit: &str) -> i64 {
        self.sum(|effect| effect.email.as_deref() == Some(email) && effect.unit == unit)
    }

    fn sum(&self, counts: impl Fn(&Effect) -> bool) -> i64 {
        self.lock().effects.iter().filter(|effect| counts(effect)).map(|effect| effect.amount).sum()
    }

    /// The effects of one commission. One, if all is well.
    pub fn effects_of(&self, id: i64) -> Vec<Effect> {
        self.lock().effects.iter().filter(|effect| effect.commission_id == id).cloned().collect()
    }

    /// The number of effects of each key.
    pub fn effects_by_key(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for effect in &self.lock().effects {
            *count.entry(effect.key.clone()).or_default() += 1;
        }
        count
    }

    /// The commissions with an effect, in order of id; each once for every effect.
    pub fn rewarded_ids(&self) -> Vec<i64> {
        let mut ids: Vec<_> = self.lock().effects.iter().map(|effect| effect.commission_id).collect();
        ids.sort_unstable();
        ids
    }

    /// The reasons of refused requests, in order. Empty with a client that follows the manual.
    pub fn rejections(&self) -> Vec<String> {
        self.lock().rejected.clone()
    }

    /// The highest number of requests at the same time.
    pub fn concurrency_reached(&self) -> usize {
        self.lock().in_flight_max
    }

    /// All requests so far, refused ones included.
    pub fn requests(&self) -> usize {
        self.lock().received.len()
    }

    /// The bodies of all requests so far, in order.
    pub fn bodies(&self) -> Vec<Value> {
        self.lock().received.iter().map(Ask::json).collect()
    }

    /// The bodies of all requests for one commission, in order.
    pub fn bodies_of(&self, id: i64) -> Vec<Value> {
        self.bodies().into_iter().filter(|body| body["commission_id"] == id).collect()
    }
}

impl Party for Merchant {
    fn receive(&self, ask: &Ask) -> Fault {
        let mut state = self.lock();
        let state = &mut *state;
        state.in_flight += 1;
        state.in_flight_max = state.in_flight_max.max(state.in_flight);
        state.received.push(ask.clone());
        let own = ask.json()["commission_id"].as_i64().and_then(|id| state.faults_of.get_mut(&id));
        first_of(own.into_iter().chain([&mut state.faults]))
    }

    fn act(&self, ask: &Ask) -> Reply {
        self.lock().act(ask)
    }

    fn leave(&self) {
        self.lock().in_flight -= 1;
    }
}
