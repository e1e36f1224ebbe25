//! What FirstPromoter said about a commission, as the ledger keeps it. Deliveries are made from it.

use crate::{
    delivery::{Delivery, Recipient},
    domain::{
        Campaign, CommissionId, DeliveryKey, Promoter, RecipientKind, Referral, RewardRef, Timestamp, Unit,
        upstream_timestamp_text,
    },
};

/// What FirstPromoter said about a commission, as recorded. Deliveries are made from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Null until a pass has seen it.
    pub unit: Option<Unit>,
    /// Null until a pass has seen it, or where the amount is not a positive whole number.
    pub amount: Option<i64>,
    /// Null while it is unknown.
    pub recipient: Option<RecipientKind>,
    /// The affiliate.
    pub promoter: Option<Promoter>,
    /// The referred customer.
    pub referral: Option<Referral>,
    /// The campaign.
    pub campaign: Option<Campaign>,
    /// The reward's rule.
    pub reward: Option<RewardRef>,
    /// When FirstPromoter approved it.
    pub approved_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
}

impl Facts {
    /// FirstPromoter's id of the recipient.
    pub fn recipient_id(&self) -> Option<i64> {
        match self.recipient? {
            RecipientKind::Promoter => self.promoter.as_ref().map(|promoter| promoter.id),
            RecipientKind::Referral => self.referral.as_ref().map(|referral| referral.id),
        }
    }

    /// The email of the recipient, once that is known.
    pub fn recipient_email(&self) -> Option<&str> {
        match self.recipient? {
            RecipientKind::Promoter => self.promoter.as_ref().and_then(|promoter| promoter.email.as_deref()),
            RecipientKind::Referral => self.referral.as_ref().and_then(|referral| referral.email.as_deref()),
        }
    }

    /// The differences in amount, unit or recipient, in words; none if there are none. A value that is unknown, before or now,
    /// does not count as different.
    pub fn difference(&self, newer: &Self) -> Option<String> {
        fn differ<T: PartialEq + std::fmt::Display>(what: &str, old: Option<&T>, new: Option<&T>) -> Option<String> {
            let (old, new) = (old?, new?);
            (old != new).then(|| format!("{what} {old} -> {new}"))
        }
        let kind = differ("recipient", self.recipient.as_ref(), newer.recipient.as_ref());
        let who = if kind.is_none() {
            differ("recipient's id", self.recipient_id().as_ref(), newer.recipient_id().as_ref())
        } else {
            None
        };
        let all: Vec<String> = [
            differ("unit", self.unit.as_ref(), newer.unit.as_ref()),
            differ("amount", self.amount.as_ref(), newer.amount.as_ref()),
            kind,
            who,
        ]
        .into_iter()
        .flatten()
        .collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// The body for a target; none where unit, amount or recipient is missing. The plan holds such a reward and never delivers
    /// it.
    pub fn delivery(&self, id: CommissionId, key: DeliveryKey) -> Option<Delivery> {
        let recipient = match self.recipient? {
            RecipientKind::Promoter => {
                let promoter = self.promoter.clone()?;
                Recipient {
                    kind: RecipientKind::Promoter,
                    id: promoter.id,
                    email: promoter.email,
                    name: promoter.name,
                    uid: None,
                }
            }
            RecipientKind::Referral => {
                let referral = self.referral.clone()?;
                Recipient {
                    kind: RecipientKind::Referral,
                    id: referral.id,
                    email: referral.email,
                    name: None,
                    uid: referral.uid,
                }
            }
        };
        Some(Delivery {
            kind: "reward.deliver",
            key,
            commission_id: id,
            unit: self.unit.as_ref()?.as_str().to_owned(),
            amount: self.amount?,
            recipient,
            promoter: self.promoter.clone(),
            referral: self.referral.clone(),
            campaign: self.campaign.clone(),
            reward: self.reward.clone(),
            approved_at: self.approved_at.map(upstream_timestamp_text),
            created_at: self.created_at.map(upstream_timestamp_text),
        })
    }
}
