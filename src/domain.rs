//! The words of the domain: what a commission is, who receives it, and the key under which it is delivered once.
//!
//! Types follow FirstPromoter's OpenAPI (`commissions.json`, schema `Commission`) and make every doubt explicit: an unknown
//! enum value is kept as text, and an amount that is not a positive integer is kept as [`Amount::Odd`].

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// An instant, in UTC.
pub type Timestamp = DateTime<Utc>;

/// Writes a time of our own as RFC 3339 UTC text with milliseconds (`2025-01-19T10:30:00.000Z`). Such texts sort like the
/// times.
pub fn timestamp_text(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Writes FirstPromoter's time as RFC 3339 UTC text, with a fraction only where there is one (`2025-01-19T10:30:00Z`).
pub fn upstream_timestamp_text(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// FirstPromoter's id of a commission; unique within an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommissionId(pub i64);

impl fmt::Display for CommissionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for CommissionId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The key of a delivery, `fp-<account_id>-<commission_id>`: an idempotency key, the same for every attempt, for ever. A
/// webhook handler should use the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryKey(String);

impl DeliveryKey {
    /// The key of one commission of one account.
    pub fn new(account_id: &str, id: CommissionId) -> Self {
        Self(format!("fp-{account_id}-{id}"))
    }

    /// A key as the ledger recorded it.
    pub(crate) fn recorded(key: String) -> Self {
        Self(key)
    }

    /// The key as it goes over the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a commission is counted in (`commissions.json`, `Commission.unit`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Money, paid by FirstPromoter; never ours.
    Cash,
    /// Credits in the merchant's own system.
    Credits,
    /// Points in the merchant's own system.
    Points,
    /// Months free of charge.
    FreeMonths,
    /// A discount as an amount of money, probably in minor units; the vendor's documentation does not say.
    MonDiscount,
    /// A discount in per cent.
    DiscountPer,
    /// A unit that FirstPromoter may add: held, never guessed. Empty where the field is missing.
    Unknown(String),
}

impl Unit {
    /// The five units that are not money, in the manual's order.
    pub const NON_MONETARY: [Self; 5] =
        [Self::Points, Self::Credits, Self::FreeMonths, Self::MonDiscount, Self::DiscountPer];

    /// Reads FirstPromoter's word.
    pub fn from_wire(word: &str) -> Self {
        match word {
            "cash" => Self::Cash,
            "credits" => Self::Credits,
            "points" => Self::Points,
            "free_months" => Self::FreeMonths,
            "mon_discount" => Self::MonDiscount,
            "discount_per" => Self::DiscountPer,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// FirstPromoter's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cash => "cash",
            Self::Credits => "credits",
            Self::Points => "points",
            Self::FreeMonths => "free_months",
            Self::MonDiscount => "mon_discount",
            Self::DiscountPer => "discount_per",
            Self::Unknown(word) => word,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much of the unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    /// A positive whole number, as documented.
    Whole(i64),
    /// Any other value, as FirstPromoter wrote it (at most 100 characters): zero, negative, a fraction, text, nothing.
    Odd(String),
}

impl Amount {
    /// The number, if it can be delivered.
    pub fn whole(&self) -> Option<i64> {
        match self {
            Self::Whole(n) => Some(*n),
            Self::Odd(_) => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(amount) => amount.fmt(f),
            Self::Odd(nothing) if nothing.is_empty() => f.write_str("missing"),
            Self::Odd(text) => f.write_str(text),
        }
    }
}

/// The status at FirstPromoter (`Commission.status`). It does not include whether the commission is fulfilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommissionStatus {
    /// Not decided yet.
    Pending,
    /// Owed.
    Approved,
    /// Refused.
    Denied,
    /// A status that we do not know; treated as not approved.
    Unknown(String),
}

impl CommissionStatus {
    /// Reads FirstPromoter's word.
    pub fn from_wire(word: &str) -> Self {
        match word {
            "pending" => Self::Pending,
            "approved" => Self::Approved,
            "denied" => Self::Denied,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// FirstPromoter's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Unknown(word) => word,
        }
    }
}

/// Which of the two parties of a commission receives the reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientKind {
    /// The affiliate.
    Promoter,
    /// The referred customer.
    Referral,
}

impl RecipientKind {
    /// The manual's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promoter => "promoter",
            Self::Referral => "referral",
        }
    }

    /// Reads the manual's word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "promoter" => Some(Self::Promoter),
            "referral" => Some(Self::Referral),
            _ => None,
        }
    }
}

impl fmt::Display for RecipientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The affiliate of a commission (`promoter_campaign.promoter`; flat `promoter_id` in webhook samples).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoter {
    /// FirstPromoter's id.
    pub id: i64,
    /// Null where FirstPromoter gave none.
    pub email: Option<String>,
    /// Null where FirstPromoter gave none.
    pub name: Option<String>,
}

/// The referred customer of a commission (`referral`, nullable).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referral {
    /// FirstPromoter's id.
    pub id: i64,
    /// Null where FirstPromoter gave none.
    pub email: Option<String>,
    /// The merchant's own id of the customer, where one was given.
    pub uid: Option<String>,
}

/// The campaign of a commission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// FirstPromoter's id.
    pub id: i64,
    /// Null where FirstPromoter gave none.
    pub name: Option<String>,
}

/// The reward (the rule) that a commission comes from (`Commission.reward`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewardRef {
    /// FirstPromoter's id; looked up in `GET /rewards`.
    pub id: i64,
    /// Null where FirstPromoter gave none.
    pub name: Option<String>,
}

/// What a commission says about something that it may refer to. An absent key is not null: FirstPromoter's own sample of a
/// commission in a webhook leaves out whole objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<T> {
    /// This one.
    To(T),
    /// FirstPromoter says that there is none: the key is there, and null.
    Null,
    /// Missing or unreadable: nothing may be concluded.
    Unreadable,
}

impl<T> Reference<T> {
    /// What it refers to, where that is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::To(it) => Some(it),
            Self::Null | Self::Unreadable => None,
        }
    }

    /// Whether FirstPromoter says that there is none.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// None means that FirstPromoter says there is none.
impl<T> From<Option<T>> for Reference<T> {
    fn from(it: Option<T>) -> Self {
        it.map_or(Self::Null, Self::To)
    }
}

/// One commission as FirstPromoter describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commission {
    /// Its id.
    pub id: CommissionId,
    /// Its status.
    pub status: CommissionStatus,
    /// What it is counted in.
    pub unit: Unit,
    /// How much.
    pub amount: Amount,
    /// `commission_type` is `custom`: made by hand, or without a sale.
    pub is_custom: bool,
    /// FirstPromoter thinks that promoter and referral are the same person.
    pub is_self_referral: bool,
    /// `fraud_check`, unless null or `no_suspicion`.
    pub fraud_suspicion: Option<String>,
    /// The affiliate.
    pub promoter: Reference<Promoter>,
    /// The referred customer.
    pub referral: Reference<Referral>,
    /// The campaign.
    pub campaign: Option<Campaign>,
    /// The reward's rule.
    pub reward: Reference<RewardRef>,
    /// When it was created; none where that is missing or unreadable.
    pub created_at: Option<Timestamp>,
    /// `status_updated_at`: for an approved commission, when it was approved; none where that is missing or unreadable.
    pub status_updated_at: Option<Timestamp>,
}

impl Commission {
    /// Whether it is approved now.
    pub fn approved_now(&self) -> bool {
        self.status == CommissionStatus::Approved
    }

    /// Whether FirstPromoter could call it fulfilled: neither pending, denied nor turned into money. With a status that nobody
    /// knows it could.
    pub fn can_be_fulfilled(&self) -> bool {
        match self.status {
            CommissionStatus::Approved | CommissionStatus::Unknown(_) => self.unit != Unit::Cash,
            CommissionStatus::Pending | CommissionStatus::Denied => false,
        }
    }

    /// When it was approved, as far as FirstPromoter says.
    pub fn approved_at(&self) -> Option<Timestamp> {
        self.approved_now().then_some(self.status_updated_at).flatten()
    }

    /// Like [`approved_at`](Self::approved_at), but to the second: a time at midnight may be a bare date, and stand for any
    /// time of that day.
    pub fn approved_exactly_at(&self) -> Option<Timestamp> {
        self.approved_at().filter(|at| at.time() != chrono::NaiveTime::MIN)
    }
}
