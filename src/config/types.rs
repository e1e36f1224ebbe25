//! The settings as the rest of the program sees them: one type for each section.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use secrecy::SecretString;
use url::Url;

use crate::domain::{RecipientKind, Timestamp, Unit};

/// The whole configuration, valid across fields. Secrets are not in it: see [`Secrets`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[firstpromoter]`
    pub firstpromoter: FirstPromoterSettings,
    /// `[schedule]`
    pub schedule: Schedule,
    /// `[ledger]`
    pub ledger: LedgerSettings,
    /// `[policy]` and `[[routes]]`: everything that a decision depends on.
    pub policy: Policy,
    /// `[targets.NAME]`, by name.
    pub targets: BTreeMap<String, TargetSettings>,
    /// `[heartbeat]`, `[alert]` and `[metrics]`: how people notice that something is wrong. No decision depends on it.
    pub notice: NoticeSettings,
    /// `[log]`
    pub log: LogSettings,
}

/// `[firstpromoter]`
#[derive(Debug, Clone)]
pub struct FirstPromoterSettings {
    /// The account, as sent in the header `Account-ID`; never a number: `00123` is not `123`.
    pub account_id: String,
    /// Everything up to `/commissions`, without a trailing slash.
    pub base_url: Url,
    /// Our own limit, 1 to 1,000,000.
    pub requests_per_minute: u32,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
}

/// `[schedule]`
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Cron with seconds, in UTC. It always has a next time.
    pub poll: String,
    /// Whether a pass runs at start.
    pub on_start: bool,
}

/// `[ledger]`
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// The SQLite file.
    pub path: PathBuf,
    /// How long the rows of passes are kept in which nothing happened.
    pub keep_empty_passes: Duration,
}

/// Who receives, by configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientPolicy {
    /// The party that the reward's rule names (`GET /rewards`).
    Auto,
    /// Always this party.
    Always(RecipientKind),
}

/// `[policy]` and `[[routes]]`: everything that a decision depends on besides the commission, the ledger and the time.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long after approval (unknown: after first seen) the webhook handler has its chance.
    pub grace: Duration,
    /// The units to deliver; cash is none of them.
    pub units: Vec<Unit>,
    /// The campaigns to deliver; empty: all.
    pub campaigns: Vec<i64>,
    /// Rewards approved (unknown: created) before this are held as `backlog`.
    pub deliver_from: Timestamp,
    /// Who receives.
    pub recipient: RecipientPolicy,
    /// Whether to hold any `fraud_check` except null and `no_suspicion`.
    pub hold_fraud_suspicion: bool,
    /// Whether to hold self referrals.
    pub hold_self_referral: bool,
    /// The circuit breaker ("fuse"): a pass that wants more deliveries makes none and asks a person.
    pub max_deliveries_per_pass: u64,
    /// The most that one reward may be worth, by unit. Above: held.
    pub max_amount: BTreeMap<Unit, i64>,
    /// When to try again after a failure.
    pub retry: Retry,
    /// The first match wins. Never empty: with one target and no `[[routes]]`, one route without filters.
    pub routes: Vec<Route>,
}

/// `policy.retry`
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// The wait after the first failure.
    pub first: Duration,
    /// How many times longer each further wait is; at least 1.
    pub factor: f64,
    /// The longest wait that makegood chooses itself.
    pub max: Duration,
    /// When to give up, counted from the first attempt.
    pub give_up_after: Duration,
}

/// One of `[[routes]]`: every field but `target` is an optional filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Only this unit.
    pub unit: Option<Unit>,
    /// Only rewards to this party.
    pub recipient: Option<RecipientKind>,
    /// Only this campaign.
    pub campaign: Option<i64>,
    /// A key of [`Settings::targets`].
    pub target: String,
}

/// `[targets.NAME]`
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// For one delivery.
    pub timeout: Duration,
    /// The target deduplicates by key, so that the same key may be sent again when the outcome is unknown.
    pub idempotent: bool,
    /// How it is reached.
    pub kind: TargetKind,
}

/// `type` of a target, and what belongs to it.
#[derive(Debug, Clone)]
pub enum TargetKind {
    /// `type = "http"`
    Http {
        /// Where to POST.
        url: Url,
        /// An internal certificate authority, in addition to the system's (PEM).
        ca_file: Option<PathBuf>,
        /// Deliveries at a time, at least 1.
        concurrency: usize,
    },
    /// `type = "command"`: one delivery at a time.
    Command {
        /// The program and its arguments; no shell.
        argv: Vec<String>,
        /// More variables for the program.
        env: BTreeMap<String, String>,
        /// Variables of makegood's own environment that the program gets, by name.
        pass_env: Vec<String>,
    },
}

/// `[heartbeat]`, `[alert]` and `[metrics]`. All are off until an address or a file is given. The addresses are secrets
/// ([`NoticeSecrets`]), because anybody who has one can post there.
#[derive(Debug, Clone, PartialEq)]
pub struct NoticeSettings {
    /// `heartbeat.timeout`: the limit for one ping, at most a minute.
    pub heartbeat_timeout: Duration,
    /// `[alert]`
    pub alert: AlertSettings,
    /// `metrics.textfile`: the file for `node_exporter`'s textfile collector; none: no metrics are written.
    pub textfile: Option<PathBuf>,
}

/// `[alert]`, without its address.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertSettings {
    /// The limit for one post, at most a minute.
    pub timeout: Duration,
    /// How long passes must keep failing before an alert.
    pub failing_for: Duration,
    /// The handler seems broken when makegood delivered at least this share of the settled rewards; above 0, at most 1.
    pub caught_share: f64,
    /// ... and at least this many; at least 1.
    pub caught_min: u64,
    /// ... of what was approved within this time.
    pub caught_within: Duration,
}

impl Default for NoticeSettings {
    /// The defaults.
    fn default() -> Self {
        Self { heartbeat_timeout: Duration::from_secs(10), alert: AlertSettings::default(), textfile: None }
    }
}

impl Default for AlertSettings {
    /// The defaults.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            failing_for: Duration::from_hours(1),
            caught_share: 0.5,
            caught_min: 5,
            caught_within: Duration::from_hours(24),
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// The form of an entry.
    pub format: LogFormat,
    /// How much `makegood run` says.
    pub level: LogLevel,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Journald where stderr is the journal, otherwise human.
    #[default]
    Auto,
    /// For a person; in colour on a terminal.
    Human,
    /// Native entries of systemd's journal, with fields and priorities.
    Journald,
    /// One JSON object a line.
    Json,
}

/// `log.level`: the least important level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// What a person should act on.
    Error,
    /// What is odd.
    Warn,
    /// What changed, and a summary of each pass.
    #[default]
    Info,
    /// The reasons as well.
    Debug,
    /// Everything that makegood itself logs.
    Trace,
}

/// Secrets: never printed, logged or stored.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// `Authorization: Bearer` for FirstPromoter.
    pub api_key: SecretString,
    /// By target name. Targets without secrets may be missing.
    pub targets: BTreeMap<String, TargetSecrets>,
    /// The addresses of heartbeats and alerts.
    pub notice: NoticeSecrets,
}

/// Addresses that contain a token. Each is https, or http to this machine itself.
#[derive(Debug, Clone, Default)]
pub struct NoticeSecrets {
    /// `heartbeat.url`; none: no heartbeats.
    pub heartbeat_url: Option<SecretString>,
    /// `alert.url`; none: no alerts.
    pub alert_url: Option<SecretString>,
}

/// The secrets of one `http` target.
#[derive(Debug, Clone, Default)]
pub struct TargetSecrets {
    /// Standard Webhooks signing secret: base64 with an optional `whsec_` before it.
    pub secret: Option<SecretString>,
    /// `Authorization: Bearer` for the endpoint.
    pub bearer: Option<SecretString>,
}
