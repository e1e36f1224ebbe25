//! Delivering: the body that a target gets, and the two kinds of targets.
//!
//! Guarantees: a call makes one attempt, bounded by the target's timeout (and a few seconds to reap a killed command). An
//! outcome that is not certain is [`Outcome::Unknown`]. No text in an [`Outcome`] holds a secret of the target or a control
//! character, or is longer than a person reads.
//!
//! Assumptions: the caller wrote the intent to disk before it calls, and keeps to the target's concurrency (a command: one at a
//! time).

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use serde::Serialize;

use self::{command::CommandTarget, http::HttpTarget};
pub use self::{fingerprint::Fingerprint, signature::SecretError};
use crate::{
    clock::Clock,
    config::{Secrets, TargetKind, TargetSecrets, TargetSettings},
    domain::{Campaign, CommissionId, DeliveryKey, Promoter, RecipientKind, Referral, RewardRef},
    failure::Outcome,
    foreign::{line, redact},
    network,
};

mod command;
mod fingerprint;
mod http;
mod signature;

/// How much of an answer, or of a command's output, is read. The rest is dropped.
const READ_MAX_BYTES: usize = 64 * 1024;

/// How much of it is kept (the manual's 500 characters).
pub(crate) const EXCERPT_MAX_CHARS: usize = 500;

/// The body that a target gets, field by field as the manual's section "Delivery to an `http` target" has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Always `reward.deliver`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The same for every attempt.
    pub key: DeliveryKey,
    /// FirstPromoter's id.
    pub commission_id: CommissionId,
    /// FirstPromoter's word for the unit.
    pub unit: String,
    /// How much of the unit; positive.
    pub amount: i64,
    /// Who receives.
    pub recipient: Recipient,
    /// The affiliate, if there is one.
    pub promoter: Option<Promoter>,
    /// The referred customer, if there is one.
    pub referral: Option<Referral>,
    /// The campaign, if there is one.
    pub campaign: Option<Campaign>,
    /// The reward's rule, if there is one.
    pub reward: Option<RewardRef>,
    /// RFC 3339 UTC, or null where FirstPromoter did not say.
    pub approved_at: Option<String>,
    /// RFC 3339 UTC, or null where FirstPromoter did not say.
    pub created_at: Option<String>,
}

/// Who receives, with everything by which the merchant's system may know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// Promoter or referral.
    pub kind: RecipientKind,
    /// FirstPromoter's id of the promoter or referral.
    pub id: i64,
    /// Null where FirstPromoter gave none.
    pub email: Option<String>,
    /// A promoter's name; null for a referral.
    pub name: Option<String>,
    /// A referral's uid; null for a promoter.
    pub uid: Option<String>,
}

/// The targets by name. The simulator replaces them here.
#[allow(async_fn_in_trait, reason = "one thread; no caller needs Send")]
pub trait Deliver {
    /// One attempt, bounded by the target's timeout. Never panics, never retries.
    async fn deliver(&self, target: &str, delivery: &Delivery) -> Outcome;
}

/// Why a target of the configuration cannot be used. Never shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// `targets.NAME.secret`
    #[error("targets.{target}.secret cannot be used: give the endpoint's signing secret (whsec_...) as it was issued")]
    Secret {
        /// The name in `[targets.NAME]`.
        target: String,
        /// What is wrong with it.
        source: SecretError,
    },
    /// `targets.NAME.bearer`
    #[error("targets.{target}.bearer holds a character that no header can carry: look for a line break inside it")]
    Bearer {
        /// The name in `[targets.NAME]`.
        target: String,
    },
    /// `targets.NAME.ca_file`
    #[error("targets.{target}.ca_file: cannot read {}: make it a file that makegood's user may read", path.display())]
    CaUnreadable {
        /// The name in `[targets.NAME]`.
        target: String,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// `targets.NAME.ca_file`
    #[error("targets.{target}.ca_file: {} {problem}: give the authority's certificate in PEM form", path.display())]
    CaUnusable {
        /// The name in `[targets.NAME]`.
        target: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        problem: &'static str,
    },
    /// The HTTP client as a whole; in practice the certificates.
    #[error(
        "targets.{target}: no HTTPS client can be made: check ca_file, and that the system's certificates are installed \
         (package ca-certificates)"
    )]
    Client {
        /// The name in `[targets.NAME]`.
        target: String,
        /// What the client said.
        source: reqwest::Error,
    },
    /// `targets.NAME.argv`
    #[error("targets.{target}.argv is empty: give the program and its arguments")]
    NoProgram {
        /// The name in `[targets.NAME]`.
        target: String,
    },
}

/// The targets of the configuration, ready to use.
#[derive(Debug)]
pub struct Targets<C> {
    by_name: BTreeMap<String, Arc<Target>>,
    clock: C,
}

#[derive(Debug)]
enum Target {
    Http(Box<HttpTarget>),
    Command(CommandTarget),
}

impl<C: Clock> Targets<C> {
    /// Makes all targets ready. Reads certificates, contacts nobody. `clock` gives `webhook-timestamp`, and the time that a
    /// `Retry-After` date is compared with.
    pub fn new(settings: &BTreeMap<String, TargetSettings>, secrets: &Secrets, clock: C) -> Result<Self, TargetError> {
        let none = TargetSecrets::default();
        let by_name = settings
            .iter()
            .map(|(name, settings)| {
                let secrets = secrets.targets.get(name).unwrap_or(&none);
                Ok((name.clone(), Arc::new(Target::new(name, settings, secrets)?)))
            })
            .collect::<Result<_, TargetError>>()?;
        Ok(Self { by_name, clock })
    }
}

impl Target {
    fn new(name: &str, settings: &TargetSettings, secrets: &TargetSecrets) -> Result<Self, TargetError> {
        match &settings.kind {
            TargetKind::Http { url, ca_file, concurrency: _ } => {
                HttpTarget::new(name, url, ca_file.as_deref(), settings.timeout, secrets).map(Box::new).map(Self::Http)
            }
            TargetKind::Command { argv, env, pass_env } => {
                CommandTarget::new(name, argv, env, pass_env, settings.timeout).map(Self::Command)
            }
        }
    }
}

impl<C: Clock + Clone + Send + Sync + 'static> Deliver for Targets<C> {
    async fn deliver(&self, target: &str, delivery: &Delivery) -> Outcome {
        let body = match serde_json::to_vec(delivery) {
            Ok(body) => body,
            Err(error) => return not_sent(format!("the delivery cannot be written as JSON: {error}")),
        };
        let Some(target) = self.by_name.get(target).map(Arc::clone) else {
            return not_sent(format!("the configuration has no target `{target}`; nothing was sent"));
        };
        // On the network's thread, so that the timeout measures the target and not the ledger's disk: see `network`.
        let (delivery, clock) = (delivery.clone(), self.clock.clone());
        network::run(async move {
            match &*target {
                Target::Http(http) => http.post(&delivery, body, &clock).await,
                Target::Command(command) => command.run(&delivery, &body).await,
            }
        })
        .await
    }
}

/// An attempt that certainly had no effect. The target did not say when to come back.
fn not_sent(detail: String) -> Outcome {
    Outcome::NotDelivered { detail, retry_after: None }
}

/// A target's text for a person: on one line, without secrets, at most [`EXCERPT_MAX_CHARS`].
fn excerpt(text: &str) -> String {
    line(&redact(text.trim())).chars().take(EXCERPT_MAX_CHARS).collect()
}

/// Like [`excerpt`], for a receipt. An empty text is no receipt.
fn receipt(text: &str) -> Option<String> {
    Some(excerpt(text)).filter(|receipt| !receipt.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::SecretString;

    use super::*;
    use crate::domain::Timestamp;

    /// A clock that stands still.
    #[derive(Debug, Clone)]
    pub(super) struct Still(Timestamp);

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            self.0
        }

        async fn sleep(&self, _: Duration) {}
    }

    /// The manual's example.
    pub(super) fn sample() -> Delivery {
        let text = |text: &str| Some(text.to_owned());
        Delivery {
            kind: "reward.deliver",
            key: DeliveryKey::new("12345", CommissionId(88_901)),
            commission_id: CommissionId(88_901),
            unit: "points".to_owned(),
            amount: 500,
            recipient: Recipient {
                kind: RecipientKind::Promoter,
                id: 12_345,
                email: text("p@example.com"),
                name: text("Pat"),
                uid: None,
            },
            promoter: Some(Promoter { id: 12_345, email: text("p@example.com"), name: text("Pat") }),
            referral: Some(Referral { id: 55_678, email: text("user@example.com"), uid: text("user_ext_id") }),
            campaign: Some(Campaign { id: 17, name: text("Spring") }),
            reward: Some(RewardRef { id: 9, name: text("500 points per sale") }),
            approved_at: text("2025-01-19T10:30:00Z"),
            created_at: text("2025-01-18T09:00:00Z"),
        }
    }

    /// A program with only the environment that every program gets.
    pub(super) fn command_kind(argv: &[&str]) -> TargetKind {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        TargetKind::Command { argv, env: BTreeMap::new(), pass_env: Vec::new() }
    }

    /// One target `app`, at 10:45 of 19 January 2025.
    pub(super) fn targets(
        kind: TargetKind,
        timeout: Duration,
        secrets: TargetSecrets,
    ) -> Result<Targets<Still>, TargetError> {
        let settings = TargetSettings { timeout, idempotent: true, kind };
        let secrets = Secrets {
            api_key: SecretString::from("fp-key"),
            targets: BTreeMap::from([("app".to_owned(), secrets)]),
            notice: crate::config::NoticeSecrets::default(),
        };
        let clock = Still("2025-01-19T10:45:00Z".parse().unwrap());
        Targets::new(&BTreeMap::from([("app".to_owned(), settings)]), &secrets, clock)
    }

    #[test]
    fn the_body_has_exactly_the_documented_fields() {
        let expected = serde_json::json!({
            "type": "reward.deliver",
            "key": "fp-12345-88901",
            "commission_id": 88901,
            "unit": "points",
            "amount": 500,
            "recipient": { "kind": "promoter", "id": 12345, "email": "p@example.com", "name": "Pat", "uid": null },
            "promoter":  { "id": 12345, "email": "p@example.com", "name": "Pat" },
            "referral":  { "id": 55678, "email": "user@example.com", "uid": "user_ext_id" },
            "campaign":  { "id": 17, "name": "Spring" },
            "reward":    { "id": 9, "name": "500 points per sale" },
            "approved_at": "2025-01-19T10:30:00Z",
            "created_at": "2025-01-18T09:00:00Z"
        });
        assert_eq!(serde_json::to_value(sample()).unwrap(), expected);
    }

    #[tokio::test]
    async fn a_delivery_to_an_unknown_target_is_certainly_not_delivered() {
        let kind = command_kind(&["/bin/true"]);
        let targets = targets(kind, Duration::from_secs(20), TargetSecrets::default()).unwrap();
        let Outcome::NotDelivered { detail, retry_after: None } = targets.deliver("other", &sample()).await else {
            panic!("an unknown target was delivered to");
        };
        assert!(detail.contains("`other`"), "{detail}");
    }

    #[test]
    fn an_excerpt_counts_characters_and_drops_control_characters() {
        assert_eq!(excerpt(&"ä".repeat(600)), "ä".repeat(500));
        assert_eq!(excerpt("\ta\nb\u{1b}[31mc\u{9b}d\n"), "a b [31mc d");
        assert_eq!(receipt(" \n"), None);
        assert_eq!(receipt("\u{0}\u{7}"), None);
        assert_eq!(receipt(" 42 "), Some("42".to_owned()));
    }
}
