//! Decides what is wrong, and what of it is news. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use crate::{
    config::AlertSettings,
    domain::Timestamp,
    ledger::{Attention, Caught, Health, PassFailure},
};

/// What an alert is about. Each has one all-clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AlertKind {
    /// Rewards need a person.
    Attention,
    /// Passes keep failing.
    Failing,
    /// makegood delivers most of what the webhook handler should.
    Handler,
    /// A target's deliveries are paused.
    Targets,
}

impl AlertKind {
    /// The word in `alerts` while an all-clear is owed.
    fn subject(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Failing => "failing",
            Self::Handler => "handler",
            Self::Targets => "targets",
        }
    }
}

/// Passes that do not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    pub(super) since: Timestamp,
    /// The last pass's failure.
    pub(super) failure: PassFailure,
    /// Three polls of `schedule.poll` have passed without one that completed.
    pub(super) late: bool,
}

/// The share of rewards that makegood had to deliver itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) caught: Caught,
    pub(super) within: Duration,
}

/// What is wrong now.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// None: unknown at present.
    attention: Option<Vec<Attention>>,
    /// The last pass completed.
    completed: bool,
    /// Set when it has lasted long enough.
    failing: Option<Failing>,
    handler: Handler,
    /// The targets whose last attempts failed or were refused. None: unknown at present.
    targets: Option<BTreeMap<String, Health>>,
}

/// How the webhook handler looks from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Handler {
    Broken(Broken),
    /// Neither bad enough for an alert, nor good enough for the all-clear.
    #[default]
    Between,
    Well,
}

impl Findings {
    /// `attention` and `caught` are none where the ledger cannot tell.
    pub(super) fn judge(
        attention: Option<Vec<Attention>>,
        failing: Option<&Failing>,
        caught: Option<Caught>,
        settings: &AlertSettings,
        now: Timestamp,
    ) -> Self {
        let long_enough = |it: &Failing| (now - it.since).to_std().is_ok_and(|lasted| lasted >= settings.failing_for);
        let handler = caught.map_or(Handler::Between, |caught| Handler::judge(caught, settings));
        let failing_for_long = failing.filter(|it| long_enough(it)).cloned();
        Self { attention, completed: failing.is_none(), failing: failing_for_long, handler, targets: None }
    }

    /// The targets in trouble; none where the ledger cannot tell.
    pub(super) fn with_targets(self, targets: Option<BTreeMap<String, Health>>) -> Self {
        Self { targets, ..self }
    }
}

impl Handler {
    /// The all-clear needs a share that is half as bad as the alert's. Suppose both had the same limit: the period that is
    /// counted moves on, the share crosses the limit to and fro, and each time there is a post.
    fn judge(caught: Caught, settings: &AlertSettings) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a share of more than 2^53 rewards is still a share")]
        let at_least = |share: f64| caught.caught as f64 >= share * caught.of as f64;
        if caught.caught >= settings.caught_min && at_least(settings.caught_share) {
            return Self::Broken(Broken { caught, within: settings.caught_within });
        }
        let well = caught.caught * 2 < settings.caught_min || !at_least(settings.caught_share / 2.0);
        if well { Self::Well } else { Self::Between }
    }
}

/// The alerts whose all-clear is owed: the subjects in the ledger's `alerts`.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<String>);

/// What to tell people next.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) attention: Vec<Attention>,
    pub(super) failing: Option<Failing>,
    pub(super) handler: Option<Broken>,
    /// The targets whose deliveries are paused.
    pub(super) targets: Vec<(String, Health)>,
    /// The alerts that are over.
    pub(super) over: Vec<AlertKind>,
    /// The state after this has been told.
    pub(super) told: BTreeSet<String>,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.is_all_clear() && self.over.is_empty()
    }

    /// Whether there is nothing newly wrong.
    pub(super) fn is_all_clear(&self) -> bool {
        self.attention.is_empty() && self.failing.is_none() && self.handler.is_none() && self.targets.is_empty()
    }
}

impl Told {
    pub(super) fn extend(&mut self, subjects: BTreeSet<String>) {
        self.0.extend(subjects);
    }

    pub(super) fn subjects(&self) -> &BTreeSet<String> {
        &self.0
    }

    /// Takes over the new state; returns whether that changes anything.
    pub(super) fn replace(&mut self, told: BTreeSet<String>) -> bool {
        let changes = self.0 != told;
        self.0 = told;
        changes
    }

    /// Compares what is wrong with what people were told.
    pub(super) fn news(&self, findings: &Findings) -> News {
        let mut news = News::default();
        if let Some(attention) = &findings.attention {
            // A reward that is no longer in attention is forgotten: if it comes back, it is news.
            news.told.extend(attention.iter().map(reward));
            news.attention = attention.iter().filter(|it| !self.0.contains(&reward(it))).cloned().collect();
            self.weigh(AlertKind::Attention, !attention.is_empty(), attention.is_empty(), &mut news);
        } else {
            let rewards = self.0.iter().filter(|subject| subject.starts_with(AlertKind::Attention.subject()));
            news.told.extend(rewards.cloned());
        }
        let failing = findings.failing.as_ref();
        if self.weigh(AlertKind::Failing, failing.is_some(), findings.completed, &mut news) {
            news.failing = failing.cloned();
        }
        let broken = match findings.handler {
            Handler::Broken(broken) => Some(broken),
            Handler::Between | Handler::Well => None,
        };
        if self.weigh(AlertKind::Handler, broken.is_some(), findings.handler == Handler::Well, &mut news) {
            news.handler = broken;
        }
        self.weigh_targets(findings.targets.as_ref(), &mut news);
        news
    }

    /// A target stays told until its last attempt succeeded. So one that pauses again and again is no news.
    fn weigh_targets(&self, targets: Option<&BTreeMap<String, Health>>, news: &mut News) {
        let subject = |name: &str| format!("{} {name}", AlertKind::Targets.subject());
        let Some(targets) = targets else {
            let told = self.0.iter().filter(|subject| subject.starts_with(AlertKind::Targets.subject()));
            news.told.extend(told.cloned());
            return;
        };
        let mut any = false;
        for (name, health) in targets {
            let told = self.0.contains(&subject(name));
            if told || health.retry_at.is_some() {
                news.told.insert(subject(name));
                any = true;
            }
            if !told && health.retry_at.is_some() {
                news.targets.push((name.clone(), health.clone()));
            }
        }
        self.weigh(AlertKind::Targets, any, !any, news);
    }

    /// Weighs one kind, which stays told until it is over. Returns whether it is new.
    fn weigh(&self, kind: AlertKind, wrong: bool, over: bool, news: &mut News) -> bool {
        let told = self.0.contains(kind.subject());
        if told && over {
            news.over.push(kind);
        } else if told || wrong {
            news.told.insert(kind.subject().to_owned());
        }
        wrong && !told
    }
}

/// The subject of one reward, with its time: a reward that is held again for the same reason is news again.
fn reward(it: &Attention) -> String {
    format!("{} {} {} {}", AlertKind::Attention.subject(), it.commission_id, it.reason, it.since)
}
