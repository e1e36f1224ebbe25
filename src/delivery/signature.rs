//! Standard Webhooks signatures (<https://www.standardwebhooks.com>, version `v1`). By them an endpoint knows that a delivery
//! comes from us and that nobody changed it on the way.
//!
//! Guarantees: the secret is never part of an error or of a `Debug` text.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

use crate::config::SIGNING_SECRET_BYTES;

/// The secret cannot be used. The message says nothing about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64 of 24 to 64 bytes after an optional `whsec_`")]
pub struct SecretError;

/// Signs with one secret.
#[derive(Debug)]
pub(super) struct Signer {
    key: hmac::Key,
}

impl Signer {
    /// `secret`: base64 with padding, after an optional `whsec_`. White space around it (a file's last line break) does not
    /// count.
    pub(super) fn new(secret: &SecretString) -> Result<Self, SecretError> {
        let text = secret.expose_secret().trim();
        let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).map_err(|_| SecretError)?;
        if !SIGNING_SECRET_BYTES.contains(&bytes.len()) {
            return Err(SecretError);
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    /// The value of the header `webhook-signature` for exactly these bytes; `timestamp` in seconds since 1970.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(secret: &str) -> Result<Signer, SecretError> {
        Signer::new(&SecretString::from(secret))
    }

    #[test]
    fn the_prefix_and_a_line_break_do_not_change_the_signature() {
        let plain = signer("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap().sign("fp-1-2", 5, b"{}");
        assert!(plain.starts_with("v1,"));
        for same in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"] {
            assert_eq!(signer(same).unwrap().sign("fp-1-2", 5, b"{}"), plain);
        }
    }

    #[test]
    fn a_secret_that_is_not_base64_is_refused_without_being_shown() {
        let (short, long) = (STANDARD.encode([7; 23]), STANDARD.encode([7; 65]));
        for bad in ["", "whsec_", "not base64!", "whsec_abc", "whsec_AA==", &short, &long] {
            let error = signer(bad).unwrap_err();
            assert!(bad.is_empty() || bad == "whsec_" || !error.to_string().contains(bad));
        }
        let shown = format!("{:?}", signer("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        assert!(!shown.contains("MfKQ9r8"), "{shown}");
    }

    proptest! {
        #[test]
        fn the_reference_implementation_signs_the_same(
            secret in proptest::collection::vec(any::<u8>(), 24..=64),
            id in "fp-[0-9]{1,12}-[0-9]{1,12}",
            timestamp in 0i64..10_000_000_000,
            body: String,
        ) {
            let text = format!("whsec_{}", STANDARD.encode(&secret));
            let oracle = standardwebhooks::Webhook::new(&text).unwrap();
            prop_assert_eq!(
                signer(&text).unwrap().sign(&id, timestamp, body.as_bytes()),
                oracle.sign(&id, timestamp, body.as_bytes()).unwrap()
            );
        }
    }
}
