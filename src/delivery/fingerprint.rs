//! Which target an attempt went to. The ledger keeps this with the attempt, so that a later configuration can be compared with
//! it.
//!
//! Suppose an attempt has an unknown outcome, and then somebody sets `idempotent` to true, or gives the name another `url`.
//! Sent again, the reward could take effect twice. So an attempt that may have taken effect is repeated only where the
//! fingerprint is the same.
//!
//! Guarantees:
//! - It contains no secret. It shows scheme, host and port of a URL, and the program of a command. Paths, queries and arguments
//!   are in it only as a hash (SHA-256, cut to 128 bits).
//! - The same target has the same text in every later version. A new setting that changes where a delivery goes may join the
//!   hash only where it is set.

use std::{collections::BTreeMap, fmt::Write};

use aws_lc_rs::digest::{SHA256, digest};

use crate::config::{TargetKind, TargetSettings};

/// How much of the hash is kept, in bytes.
const HASH_BYTES: usize = 16;
/// How much of a program's path is kept.
const PLACE_MAX_CHARS: usize = 200;

/// The text in `attempts.fingerprint`: `type=http;place=https://app.example.com;deduplicates=yes;address=9f86...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a target as it is configured now.
    pub fn of(target: &TargetSettings) -> Self {
        let (kind, place, address) = match &target.kind {
            TargetKind::Http { url, ca_file: _, concurrency: _ } => {
                ("http", url.origin().ascii_serialization(), url.as_str().to_owned())
            }
            TargetKind::Command { argv, env: _, pass_env: _ } => {
                ("command", argv.first().cloned().unwrap_or_default(), argv.join("\0"))
            }
        };
        // Semicolons separate the fields.
        let readable = |c: char| if c == ';' || c.is_control() { '_' } else { c };
        let place: String = place.chars().take(PLACE_MAX_CHARS).map(readable).collect();
        let deduplicates = if target.idempotent { "yes" } else { "no" };
        Self(format!("type={kind};place={place};deduplicates={deduplicates};address={}", hash(&address)))
    }

    /// The fingerprints of all targets as they are configured now, by name.
    pub fn of_all(targets: &BTreeMap<String, TargetSettings>) -> BTreeMap<String, Self> {
        targets.iter().map(|(name, target)| (name.clone(), Self::of(target))).collect()
    }

    /// The fingerprint of a target that nobody knows any more. It differs from every other.
    pub fn unknown() -> Self {
        Self("type=unknown".to_owned())
    }

    /// A fingerprint as the ledger recorded it.
    pub fn recorded(text: String) -> Self {
        Self(text)
    }

    /// The text in the ledger.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the target deduplicates by key.
    pub fn deduplicates(&self) -> bool {
        self.field("deduplicates") == Some("yes")
    }

    /// What differs in `now`, in words; none where both are the same target.
    pub fn difference(&self, now: &Self) -> Option<String> {
        if self == now {
            return None;
        }
        let named =
            [("type", "its type"), ("place", "its address"), ("deduplicates", "whether it deduplicates by key")];
        let differs = |(field, words): (&str, &str)| {
            let (then, now) = (self.field(field)?, now.field(field)?);
            (then != now).then(|| format!("{words}: {then} -> {now}"))
        };
        let mut all: Vec<String> = named.into_iter().filter_map(differs).collect();
        if all.is_empty() {
            all.push(match self.field("type") {
                Some("http") => "the path or query of its address".to_owned(),
                Some("command") => "its arguments".to_owned(),
                Some(_) | None => "the ledger does not know what it was then".to_owned(),
            });
        }
        Some(all.join(", "))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0.split(';').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    }
}

fn hash(address: &str) -> String {
    let mut hex = String::new();
    for byte in digest(&SHA256, address.as_bytes()).as_ref().iter().take(HASH_BYTES) {
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn http(url: &str, idempotent: bool) -> Fingerprint {
        let kind = TargetKind::Http { url: url.parse().unwrap(), ca_file: None, concurrency: 4 };
        Fingerprint::of(&TargetSettings { timeout: Duration::from_secs(20), idempotent, kind })
    }

    fn command(argv: &[&str]) -> Fingerprint {
        let kind = TargetKind::Command {
            argv: argv.iter().map(|it| (*it).to_owned()).collect(),
            env: std::collections::BTreeMap::default(),
            pass_env: Vec::new(),
        };
        Fingerprint::of(&TargetSettings { timeout: Duration::from_secs(20), idempotent: false, kind })
    }

    /// Ledgers of every later version are compared with these.
    #[test]
    fn a_target_has_the_same_text_for_ever_and_no_secret_is_in_it() {
        let app = http("https://app.example.com:8443/hooks/s3cret?token=t0ken", true);
        assert_eq!(
            app.as_str(),
            "type=http;place=https://app.example.com:8443;deduplicates=yes;address=5aa23c15cb6780afa1bc299d8be750e5"
        );
        let script = command(&["/usr/local/bin/grant-reward", "--password", "s3cret"]);
        assert_eq!(
            script.as_str(),
            "type=command;place=/usr/local/bin/grant-reward;deduplicates=no;address=0c34ef460a09ef3a16bd6a6c0000429f"
        );
        assert!(app.deduplicates() && !script.deduplicates());
    }

    #[test]
    fn differences_are_told_without_secrets() {
        let app = http("https://app.example.com/hooks/s3cret", true);
        let differs = |now: &Fingerprint| app.difference(now).unwrap_or_default();
        assert_eq!(app.difference(&http("https://app.example.com/hooks/s3cret", true)), None);
        assert_eq!(differs(&http("https://app.example.com/hooks/0ther", true)), "the path or query of its address");
        assert_eq!(
            differs(&http("https://other.example.com/hooks/s3cret", false)),
            "its address: https://app.example.com -> https://other.example.com, whether it deduplicates by key: yes -> no"
        );
        assert!(differs(&command(&["/bin/grant"])).starts_with("its type: http -> command, "));
        assert_eq!(command(&["/bin/grant", "a"]).difference(&command(&["/bin/grant", "b"])).unwrap(), "its arguments");
        assert_eq!(command(&["a", "b"]).difference(&command(&["a", "b"])), None);
    }

    #[test]
    fn a_target_that_nobody_knows_any_more_is_the_same_as_no_other() {
        let app = http("https://app.example.com/", true);
        assert!(Fingerprint::unknown().difference(&app).is_some());
        assert!(!Fingerprint::unknown().deduplicates());
        let odd = command(&["/bin/a;deduplicates=yes;x=\u{1b}"]);
        assert!(!odd.deduplicates() && !odd.as_str().contains('\u{1b}'), "{odd:?}");
    }
}
