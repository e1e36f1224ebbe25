//! The policy of a world, in the simulator's own types and as makegood's settings.

use std::{collections::BTreeMap, path::Path, time::Duration};

use makegood::{
    config::{
        FirstPromoterSettings, LedgerSettings, LogSettings, NoticeSettings, Policy, RecipientPolicy, Retry, Route,
        Schedule, Settings, TargetKind, TargetSettings,
    },
    domain::{RecipientKind, Timestamp, Unit},
};

use super::{
    commission::{Party, UNITS},
    rng::Rng,
    timeline::{DAY, HOUR, MINUTE, Ms, SECOND, later},
};

pub const ACCOUNT: &str = "12345";
/// The time-out of makegood's client for FirstPromoter.
pub const API_TIMEOUT: Ms = 30 * SECOND;

/// The settings that decide what is owed, and where it goes.
#[derive(Debug, Clone)]
pub struct Terms {
    pub grace: Ms,
    pub units: Vec<&'static str>,
    /// Empty: all.
    pub campaigns: Vec<i64>,
    pub deliver_from: Timestamp,
    /// None: the reward's rule decides.
    pub recipient: Option<Party>,
    pub hold_fraud: bool,
    pub hold_self_referral: bool,
    pub fuse: u64,
    pub max_points: i64,
    pub retry_first: Ms,
    pub retry_max: Ms,
    pub give_up_after: Ms,
    pub targets: Vec<Target>,
    /// The target of each unit, by its place in [`UNITS`].
    pub routes: Vec<usize>,
    places: u32,
}

/// One of the merchant's systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: &'static str,
    /// Its address. A new address has seen no keys of deliveries to the old one.
    pub place: u32,
    pub idempotent: bool,
    /// One at a time, and killed at its timeout.
    pub command: bool,
    pub concurrency: usize,
    pub timeout: Ms,
}

impl Terms {
    pub fn random(rng: &Rng, start: Timestamp) -> Self {
        let targets = vec![
            Target {
                name: "app",
                place: 1,
                idempotent: true,
                command: false,
                concurrency: 1 + rng.below(4),
                timeout: 20 * SECOND,
            },
            Target { name: "script", place: 2, idempotent: false, command: true, concurrency: 1, timeout: 60 * SECOND },
            Target {
                name: "legacy",
                place: 3,
                idempotent: false,
                command: false,
                concurrency: 3,
                timeout: 10 * SECOND,
            },
        ];
        let favourite = rng.below(targets.len());
        let mixed = rng.chance(600);
        Self {
            grace: *rng.pick(&[0, 30 * SECOND, 15 * MINUTE, 15 * MINUTE, 2 * HOUR]),
            units: UNITS.into_iter().filter(|unit| *unit == "points" || rng.chance(900)).collect(),
            campaigns: if rng.chance(200) { vec![1, 2] } else { Vec::new() },
            deliver_from: if rng.chance(150) { later(start, -5 * DAY) } else { Timestamp::UNIX_EPOCH },
            recipient: match rng.below(6) {
                0 => Some(Party::Promoter),
                1 => Some(Party::Referral),
                _ => None,
            },
            hold_fraud: rng.chance(700),
            hold_self_referral: rng.chance(700),
            fuse: *rng.pick(&[2, 10, 100, 100, 100, 100]),
            max_points: 100_000,
            retry_first: *rng.pick(&[10 * SECOND, MINUTE, 10 * MINUTE]),
            retry_max: *rng.pick(&[HOUR, 6 * HOUR]),
            give_up_after: *rng.pick(&[HOUR, DAY, 7 * DAY, 7 * DAY]),
            routes: UNITS.iter().map(|_| if mixed { rng.below(targets.len()) } else { favourite }).collect(),
            places: 3,
            targets,
        }
    }

    /// A new address.
    pub fn new_place(&mut self) -> u32 {
        self.places += 1;
        self.places
    }

    /// The target of a unit.
    pub fn route(&self, unit: &str) -> Option<usize> {
        UNITS.iter().position(|it| *it == unit).map(|index| self.routes[index])
    }

    pub fn settings(&self, ledger: &Path) -> Settings {
        let url = |text: &str| text.parse().expect("a constant");
        let routes = UNITS.iter().zip(&self.routes).map(|(unit, target)| Route {
            unit: Some(Unit::from_wire(unit)),
            recipient: None,
            campaign: None,
            target: self.targets[*target].name.to_owned(),
        });
        Settings {
            firstpromoter: FirstPromoterSettings {
                account_id: ACCOUNT.to_owned(),
                base_url: url("https://firstpromoter.invalid"),
                requests_per_minute: 300,
                timeout: duration(API_TIMEOUT),
            },
            schedule: Schedule { poll: "0 */5 * * * *".to_owned(), on_start: true },
            ledger: LedgerSettings { path: ledger.to_owned(), keep_empty_passes: Duration::from_hours(24 * 400) },
            policy: Policy {
                grace: duration(self.grace),
                units: self.units.iter().map(|unit| Unit::from_wire(unit)).collect(),
                campaigns: self.campaigns.clone(),
                deliver_from: self.deliver_from,
                recipient: match self.recipient {
                    None => RecipientPolicy::Auto,
                    Some(Party::Promoter) => RecipientPolicy::Always(RecipientKind::Promoter),
                    Some(Party::Referral) => RecipientPolicy::Always(RecipientKind::Referral),
                },
                hold_fraud_suspicion: self.hold_fraud,
                hold_self_referral: self.hold_self_referral,
                max_deliveries_per_pass: self.fuse,
                max_amount: BTreeMap::from([(Unit::Points, self.max_points)]),
                retry: Retry {
                    first: duration(self.retry_first),
                    factor: 4.0,
                    max: duration(self.retry_max),
                    give_up_after: duration(self.give_up_after),
                },
                routes: routes.collect(),
            },
            targets: self.targets.iter().map(|target| (target.name.to_owned(), target.settings(&url))).collect(),
            notice: NoticeSettings::default(),
            log: LogSettings::default(),
        }
    }
}

impl Target {
    /// What it is called after it was renamed, and again.
    pub fn other_name(&self) -> &'static str {
        const NAMES: [(&str, &str); 3] = [("app", "portal"), ("script", "tool"), ("legacy", "attic")];
        let other = NAMES.iter().find_map(|(one, other)| match self.name {
            name if name == *one => Some(*other),
            name if name == *other => Some(*one),
            _ => None,
        });
        other.unwrap_or(self.name)
    }

    /// Whether an attempt that may have taken effect here may be repeated there.
    pub fn is_same(&self, other: &Self) -> bool {
        let what = |it: &Self| (it.place, it.command, it.idempotent);
        what(self) == what(other)
    }

    fn settings(&self, url: &impl Fn(&str) -> url::Url) -> TargetSettings {
        let kind = if self.command {
            let argv = vec![format!("/bin/false-{}", self.place)];
            TargetKind::Command { argv, env: BTreeMap::new(), pass_env: Vec::new() }
        } else {
            let url = url(&format!("https://target-{}.invalid", self.place));
            TargetKind::Http { url, ca_file: None, concurrency: self.concurrency }
        };
        TargetSettings { timeout: duration(self.timeout), idempotent: self.idempotent, kind }
    }
}

fn duration(ms: Ms) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}
