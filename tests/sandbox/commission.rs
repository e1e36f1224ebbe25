//! A commission: how FirstPromoter keeps it, how a test writes one, and how it looks over the wire.

use chrono::{DateTime, SecondsFormat, Utc};
use makegood::clock::{Clock, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Encloses a text that is sent without quotation marks.
const RAW: char = '\u{e000}';

/// Applies [`Commission::odd_text`] to a JSON text.
pub(super) fn with_raw_text(json: &str) -> String {
    json.replace(&format!("\"{RAW}"), "").replace(&format!("{RAW}\""), "")
}

/// An instant, in UTC.
pub type Timestamp = DateTime<Utc>;

/// The affiliate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promoter {
    pub id: i64,
    pub email: String,
    pub name: String,
}

/// The referred customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Referral {
    pub id: i64,
    pub email: String,
    pub uid: Option<String>,
}

/// A campaign, or the reward that a commission comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Named {
    pub id: i64,
    pub name: String,
}

/// One commission. It includes the fields that FirstPromoter never shows (`fulfilled`, `has_payout`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commission {
    pub id: i64,
    pub status: String,
    pub unit: String,
    pub amount: i64,
    pub commission_type: String,
    pub is_self_referral: bool,
    pub fraud_check: Option<String>,
    pub promoter: Option<Promoter>,
    pub referral: Option<Referral>,
    pub campaign: Option<Named>,
    pub reward: Option<Named>,
    pub created_at: Option<Timestamp>,
    pub status_updated_at: Option<Timestamp>,
    /// Cash only.
    pub is_paid: bool,
    /// Non-monetary only. No field of an answer shows it.
    pub fulfilled: bool,
    /// A commission without a payout record cannot be marked.
    pub has_payout: bool,
    /// Fields that replace those of the answer: unknown ones, or values of the wrong type. Null removes a field.
    pub odd: Map<String, Value>,
}

/// The commission of the manual's example body, still pending: 500 points of campaign 17 and reward 9, for
/// promoter 12345, by referral 55678.
pub fn commission(id: i64) -> Commission {
    Commission {
        id,
        status: "pending".to_owned(),
        unit: "points".to_owned(),
        amount: 500,
        commission_type: "sale".to_owned(),
        is_self_referral: false,
        fraud_check: Some("no_suspicion".to_owned()),
        promoter: Some(Promoter { id: 12345, email: "p@example.com".to_owned(), name: "Pat".to_owned() }),
        referral: Some(Referral {
            id: 55678,
            email: "user@example.com".to_owned(),
            uid: Some("user_ext_id".to_owned()),
        }),
        campaign: Some(Named { id: 17, name: "Spring".to_owned() }),
        reward: Some(Named { id: 9, name: "500 points per sale".to_owned() }),
        created_at: Some(instant("2025-01-18T09:00:00Z")),
        status_updated_at: None,
        is_paid: false,
        fulfilled: false,
        has_payout: false,
        odd: Map::new(),
    }
}

/// Reads RFC 3339; panics on anything else.
pub fn instant(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text:?} is no time: {error}"))
}

/// The machine's time.
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// The verbs with which a test describes a commission.
impl Commission {
    pub fn unit(mut self, unit: &str, amount: i64) -> Self {
        unit.clone_into(&mut self.unit);
        self.amount = amount;
        self
    }

    pub fn points(self, amount: i64) -> Self {
        self.unit("points", amount)
    }

    pub fn credits(self, amount: i64) -> Self {
        self.unit("credits", amount)
    }

    pub fn free_months(self, amount: i64) -> Self {
        self.unit("free_months", amount)
    }

    pub fn mon_discount(self, amount: i64) -> Self {
        self.unit("mon_discount", amount)
    }

    pub fn discount_per(self, amount: i64) -> Self {
        self.unit("discount_per", amount)
    }

    pub fn cash(self, amount: i64) -> Self {
        self.unit("cash", amount)
    }

    pub fn promoter(mut self, id: i64, email: &str, name: &str) -> Self {
        self.promoter = Some(Promoter { id, email: email.to_owned(), name: name.to_owned() });
        self
    }

    pub fn referral(mut self, id: i64, email: &str, uid: Option<&str>) -> Self {
        self.referral = Some(Referral { id, email: email.to_owned(), uid: uid.map(ToOwned::to_owned) });
        self
    }

    pub fn campaign(mut self, id: i64, name: &str) -> Self {
        self.campaign = Some(Named { id, name: name.to_owned() });
        self
    }

    pub fn reward(mut self, id: i64, name: &str) -> Self {
        self.reward = Some(Named { id, name: name.to_owned() });
        self
    }

    pub fn without_promoter(mut self) -> Self {
        self.promoter = None;
        self
    }

    pub fn without_referral(mut self) -> Self {
        self.referral = None;
        self
    }

    pub fn without_reward(mut self) -> Self {
        self.reward = None;
        self
    }

    /// A person created it: it has no sale, no referral and no reward.
    pub fn custom(mut self) -> Self {
        "custom".clone_into(&mut self.commission_type);
        self.without_referral().without_reward()
    }

    pub fn created(mut self, at: &str) -> Self {
        self.created_at = Some(instant(at));
        self
    }

    pub fn approved(self, at: &str) -> Self {
        self.approved_at(instant(at))
    }

    pub fn approved_at(mut self, at: Timestamp) -> Self {
        self.approve(Some(at));
        self
    }

    /// Approved, and `status_updated_at` is null.
    pub fn approved_who_knows_when(mut self) -> Self {
        self.approve(None);
        self
    }

    pub fn denied(mut self, at: &str) -> Self {
        "denied".clone_into(&mut self.status);
        self.status_updated_at = Some(instant(at));
        self
    }

    /// Approved, and later fulfilled.
    pub fn fulfilled(mut self) -> Self {
        self.fulfilled = true;
        self
    }

    pub fn without_payout(mut self) -> Self {
        self.has_payout = false;
        self
    }

    pub fn suspected(mut self, fraud_check: &str) -> Self {
        self.fraud_check = Some(fraud_check.to_owned());
        self
    }

    pub fn self_referral(mut self) -> Self {
        self.is_self_referral = true;
        self
    }

    /// Replaces a field of the answer with a value that no program would write as JSON (`1e400`).
    pub fn odd_text(self, field: &str, raw: &str) -> Self {
        self.odd(field, format!("{RAW}{raw}{RAW}").into())
    }

    /// Replaces a field of the answer: adds an unknown one, or gives a value that FirstPromoter should not write. Null
    /// removes the field.
    pub fn odd(mut self, field: &str, value: Value) -> Self {
        self.odd.insert(field.to_owned(), value);
        self
    }
}

impl Commission {
    pub(super) fn approve(&mut self, at: Option<Timestamp>) {
        "approved".clone_into(&mut self.status);
        self.status_updated_at = at;
        self.has_payout = true;
    }

    pub fn is_cash(&self) -> bool {
        self.unit == "cash"
    }

    /// Who receives it, by the reward's rule: (`promoter` or `referral`, id, email).
    pub fn recipient(&self, goes_to_promoter: bool) -> Option<(&'static str, i64, &str)> {
        let promoter = self.promoter.as_ref().map(|p| ("promoter", p.id, p.email.as_str()));
        let referral = self.referral.as_ref().map(|r| ("referral", r.id, r.email.as_str()));
        if goes_to_promoter { promoter.or(referral) } else { referral.or(promoter) }
    }

    /// As `GET /commissions` shows it (`commissions.json`, schema `Commission`), or flat as webhook samples do.
    pub fn wire(&self, flat: bool) -> Value {
        let mut row = json!({
            "id": self.id,
            "status": self.status,
            "metadata": {},
            "is_self_referral": self.is_self_referral,
            "commission_type": self.commission_type,
            "created_by_user_email": if self.commission_type == "custom" { Some("team@example.com") } else { None },
            "created_by_user_at": null,
            "sale_amount": 4900,
            "original_sale_amount": 4900,
            "original_sale_currency": "USD",
            "event_id": format!("evt_{}", self.id),
            "plan_id": "pro-monthly",
            "tier": 1,
            "internal_note": null,
            "external_note": null,
            "unit": self.unit,
            "fraud_check": self.fraud_check,
            "amount": self.amount,
            "is_paid": self.is_paid,
            "is_split": false,
            "created_at": self.created_at.map(rails),
            "status_updated_at": self.status_updated_at.map(rails),
            "split_details": null,
        });
        let parties = if flat { self.parties_flat() } else { self.parties_nested() };
        if let (Value::Object(row), Value::Object(parties)) = (&mut row, parties) {
            row.extend(parties);
            for (field, value) in &self.odd {
                if value.is_null() {
                    row.remove(field);
                } else {
                    row.insert(field.clone(), value.clone());
                }
            }
        }
        row
    }

    fn parties_nested(&self) -> Value {
        json!({
            "promoter_campaign": self.promoter.as_ref().map(|promoter| json!({
                "id": 700_000 + promoter.id,
                "campaign_id": self.campaign.as_ref().map(|campaign| campaign.id),
                "promoter_id": promoter.id,
                "created_at": "2024-11-02T08:00:00.000Z",
                "promoter": promoter,
                "campaign": self.campaign.as_ref().map(|campaign| json!({
                    "id": campaign.id, "name": campaign.name, "color": "#3f7d58"
                })),
            })),
            "referral": self.referral,
            "reward": self.reward,
        })
    }

    fn parties_flat(&self) -> Value {
        json!({
            "promoter_id": self.promoter.as_ref().map(|promoter| promoter.id),
            "referral_id": self.referral.as_ref().map(|referral| referral.id),
            "campaign_id": self.campaign.as_ref().map(|campaign| campaign.id),
            "reward_id": self.reward.as_ref().map(|reward| reward.id),
        })
    }
}

/// A time in the format of the vendor's samples: `2025-03-26T15:15:34.908Z`.
pub fn rails(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
