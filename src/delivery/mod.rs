//! Delivering: the body of the contract, and the two ways to hand it over.

use serde::Serialize;

use crate::{
    domain::{Campaign, CommissionId, DeliveryKey, Promoter, RecipientKind, Referral, RewardRef},
    failure::Outcome,
};

/// What is handed to a target: the body of the contract's section "Delivery to an `http` target", field for field.
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

/// Who receives, with what the merchant's system may know them by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// Which of the parties.
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

/// The targets by name. The seam at which the simulator stands.
#[allow(async_fn_in_trait, reason = "one thread; no caller needs Send")]
pub trait Deliver {
    /// One attempt, bounded by the target's timeout. Never panics, never retries.
    async fn deliver(&self, target: &str, delivery: &Delivery) -> Outcome;
}
