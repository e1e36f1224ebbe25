//! The true state of a commission, now and at every earlier moment. FirstPromoter answers from it, and the auditor compares
//! with it. It uses its own types, not makegood's.

use makegood::domain::{self, Timestamp};

use super::{
    fault::Fault,
    rng::Rng,
    timeline::{DAY, HOUR, Ms, later},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Pending,
    Approved,
    Denied,
}

/// One of the two parties of a commission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    Promoter,
    Referral,
}

/// The answer of the target to a reward, at every attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    Fails,
    Cannot,
    Refused,
}

impl Poison {
    pub fn fault(self) -> Fault {
        match self {
            Self::Fails => Fault::PoisonFails,
            Self::Cannot => Fault::PoisonCannot,
            Self::Refused => Fault::PoisonRefused,
        }
    }
}

/// The content of a delivery: unit, amount and recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub unit: String,
    pub amount: i64,
    pub party: Party,
    pub recipient: i64,
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let party = match self.party {
            Party::Promoter => "promoter",
            Party::Referral => "referral",
        };
        write!(f, "{} {} to {party} {}", self.amount, self.unit, self.recipient)
    }
}

/// The state of a commission during a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub status: Status,
    /// An unknown word, shown in place of `approved`.
    pub odd_word: bool,
    pub fulfilled: bool,
    pub unit: &'static str,
    /// The amount is not positive. FirstPromoter should never say so, and may.
    pub amount: i64,
    pub promoter: Option<i64>,
    pub referral: Option<i64>,
    pub rule: Option<i64>,
    pub custom: bool,
    pub campaign: Option<i64>,
    pub self_referral: bool,
    pub fraud: Option<&'static str>,
    /// When the status changed, according to FirstPromoter. It may be missing, or in the future.
    pub status_at: Option<Timestamp>,
    /// Not deleted.
    pub there: bool,
    /// It has a payout record. Without one, FirstPromoter does not mark it.
    pub payout: bool,
}

/// A commission and its history.
#[derive(Debug, Clone)]
pub struct Commission {
    pub id: i64,
    pub created_at: Timestamp,
    /// The true time of its first approval.
    pub approved_at: Option<Timestamp>,
    pub poison: Option<Poison>,
    /// makegood can read neither of its times.
    timeless: bool,
    clock: StatusClock,
    /// Each state holds from its time on. The first one holds from the beginning.
    versions: Vec<(Timestamp, Version)>,
}

/// How true FirstPromoter's `status_updated_at` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusClock {
    Right,
    Silent,
    Ahead(Ms),
}

impl StatusClock {
    fn tell(self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Right => Some(at),
            Self::Silent => None,
            Self::Ahead(ahead) => Some(later(at, ahead)),
        }
    }
}

pub const UNITS: [&str; 5] = ["points", "credits", "free_months", "mon_discount", "discount_per"];
/// Those of `GET /rewards`: one for each party, and one of which FirstPromoter does not say.
pub const RULES: [(i64, Option<Party>); 3] = [(7, Some(Party::Promoter)), (8, Some(Party::Referral)), (9, None)];

impl Commission {
    /// One that there is when the world begins; a plain one is owed, and nothing about it is odd.
    pub fn random(id: i64, rng: &Rng, start: Timestamp, plain: bool) -> Self {
        let created_at = later(start, -rng.skewed(60 * DAY));
        let (status, fulfilled) = match rng.below(100) {
            _ if plain => (Status::Approved, false),
            0..25 => (Status::Pending, false),
            25..75 => (Status::Approved, false),
            75..90 => (Status::Approved, true),
            _ => (Status::Denied, false),
        };
        let status_changed = later(created_at, rng.skewed((start - created_at).num_milliseconds()));
        let clock = match rng.below(20) {
            0..17 => StatusClock::Right,
            17..19 => StatusClock::Silent,
            _ => StatusClock::Ahead(rng.skewed(2 * DAY)),
        };
        let rare = |per_mille| !plain && rng.chance(per_mille);
        let custom = rare(150);
        let version = Version {
            status,
            odd_word: false,
            fulfilled,
            unit: match rng.below(100) {
                _ if plain => "points",
                0..6 => "cash",
                6..8 => "karma",
                _ => rng.pick::<&str>(&UNITS),
            },
            amount: if plain { rng.between(1, 500) } else { amount(rng) },
            promoter: (!rare(40)).then(|| rng.between(11, 15)),
            referral: (!custom && !rare(60)).then(|| rng.between(51, 55)),
            rule: (!custom || rare(300)).then(|| rng.pick(&RULES[..if rare(100) { 3 } else { 2 }]).0),
            custom,
            campaign: (!rare(30)).then(|| rng.between(1, 3)),
            self_referral: rare(40),
            fraud: if rare(60) { Some("same_ip_suspicion") } else { rare(200).then_some("no_suspicion") },
            status_at: clock.tell(status_changed),
            there: true,
            payout: !rare(40),
        };
        let approved_at = (status == Status::Approved).then_some(status_changed);
        Self {
            id,
            created_at,
            approved_at,
            poison: None,
            timeless: false,
            clock,
            versions: vec![(created_at, version)],
        }
    }

    /// Changes its state from the beginning on.
    pub fn was_always(&mut self, odd: impl FnOnce(&mut Version)) {
        if let Some((_, first)) = self.versions.first_mut() {
            odd(first);
        }
    }

    pub fn lose_times(&mut self) {
        self.timeless = true;
        self.clock = StatusClock::Silent;
        self.was_always(|version| version.status_at = None);
    }

    /// When it was created, according to FirstPromoter.
    pub fn created_told(&self) -> Option<Timestamp> {
        (!self.timeless).then_some(self.created_at)
    }

    pub fn now(&self) -> &Version {
        &self.versions[self.versions.len() - 1].1
    }

    /// Its state at a time. Before its creation, its first state.
    pub fn at(&self, at: Timestamp) -> &Version {
        let index = self.versions.iter().rposition(|(since, _)| *since <= at).unwrap_or_default();
        &self.versions[index].1
    }

    /// Its states between two times, both included.
    pub fn during(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &Version> {
        let ends = self.versions.iter().skip(1).map(|(since, _)| Some(*since)).chain([None]);
        let spans = self.versions.iter().zip(ends).enumerate();
        spans.filter_map(move |(index, ((since, version), end))| {
            let begun = index == 0 || *since <= to;
            (begun && end.is_none_or(|end| end >= from)).then_some(version)
        })
    }

    /// Whether FirstPromoter calls it fulfilled.
    pub fn will_show(&self) -> bool {
        let now = self.now();
        now.there && now.fulfilled && now.unit != "cash"
    }

    /// The time of the last change of `fulfilled`.
    pub fn fulfilled_since(&self) -> Timestamp {
        let now = self.now().fulfilled;
        let since = self.versions.iter().rev().take_while(|(_, version)| version.fulfilled == now).last();
        since.map_or(self.created_at, |(since, _)| *since)
    }

    pub fn change(&mut self, now: Timestamp, change: impl FnOnce(&mut Version)) {
        let before = self.now();
        let mut version = before.clone();
        change(&mut version);
        if version == *before {
            return;
        }
        if version.status != before.status {
            version.status_at = self.clock.tell(now);
        }
        if version.status == Status::Approved && self.approved_at.is_none() {
            self.approved_at = Some(now);
        }
        self.versions.push((now, version));
    }

    /// The commission as makegood's client returns it.
    pub fn told(&self, version: &Version) -> domain::Commission {
        let text = |text: String| Some(text);
        domain::Commission {
            id: domain::CommissionId(self.id),
            status: match version.status {
                Status::Pending => domain::CommissionStatus::Pending,
                Status::Approved if version.odd_word => domain::CommissionStatus::from_wire("on_hold"),
                Status::Approved => domain::CommissionStatus::Approved,
                Status::Denied => domain::CommissionStatus::Denied,
            },
            unit: domain::Unit::from_wire(version.unit),
            amount: if version.amount > 0 {
                domain::Amount::Whole(version.amount)
            } else {
                domain::Amount::Odd(version.amount.to_string())
            },
            is_custom: version.custom,
            is_self_referral: version.self_referral,
            fraud_suspicion: version.fraud.filter(|words| *words != "no_suspicion").map(str::to_owned),
            promoter: version
                .promoter
                .map(|id| domain::Promoter {
                    id,
                    email: text(format!("p{id}@example.com")),
                    name: (id % 2 == 0).then(|| format!("Promoter {id}")),
                })
                .into(),
            referral: version
                .referral
                .map(|id| domain::Referral {
                    id,
                    email: text(format!("r{id}@example.com")),
                    uid: (id % 2 == 0).then(|| format!("user-{id}")),
                })
                .into(),
            campaign: version.campaign.map(|id| domain::Campaign { id, name: None }),
            reward: version.rule.map(|id| domain::RewardRef { id, name: None }).into(),
            created_at: self.created_told(),
            status_updated_at: version.status_at,
        }
    }
}

/// Mostly a realistic amount; sometimes none, sometimes far too much.
pub fn amount(rng: &Rng) -> i64 {
    match rng.below(40) {
        0 => 0,
        1 => -rng.between(1, 500),
        2 | 3 => rng.between(100_001, 1_000_000),
        _ => 1 + rng.skewed(5000),
    }
}

/// After this time every request that was under way has arrived.
pub const EVERYTHING_HAS_ARRIVED: Ms = 3 * HOUR;
