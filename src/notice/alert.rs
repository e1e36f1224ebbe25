//! What is wrong, and what of it is news. Pure.

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

/// What can be wrong. There is one all-clear for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AlertKind {
    /// Rewards need a person.
    Attention,
    /// Passes keep failing.
    Failing,
    /// makegood delivers most of what the webhook handler should.
    Handler,
    /// The deliveries of a target wait.
    Targets,
}

impl AlertKind {
    /// Stands in `alerts` while an all-clear is owed.
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
    /// Of the last one.
    pub(super) failure: PassFailure,
    /// Three that `schedule.poll` asked for have come and gone.
    pub(super) late: bool,
}

/// What makegood had to deliver itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) caught: Caught,
    pub(super) within: Duration,
}

/// What is wrong now.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// None: cannot be known now.
    attention: Option<Vec<Attention>>,
    /// The last pass completed.
    completed: bool,
    /// For long enough.
    failing: Option<Failing>,
    handler: Handler,
    /// Those whose last attempts failed or were refused. None: cannot be known now.
    targets: Option<BTreeMap<String, Health>>,
}

/// How the webhook handler looks from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Handler {
    Broken(Broken),
    /// Neither so bad that it is told, nor so good that it is over.
    #[default]
    Between,
    Well,
}

impl Findings {
    /// `attention` and `caught`: none where the ledger cannot say.
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

    /// The targets in trouble; none where the ledger cannot say.
    pub(super) fn with_targets(self, targets: Option<BTreeMap<String, Health>>) -> Self {
        Self { targets, ..self }
    }
}

impl Handler {
    /// Over only when it is half as bad as what is told: the time that is looked at moves on, and no border may be crossed
    /// to and fro.
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

/// What people were told and is not over: the subjects in the ledger's `alerts`.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<String>);

/// What people are told next.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) attention: Vec<Attention>,
    pub(super) failing: Option<Failing>,
    pub(super) handler: Option<Broken>,
    /// Whose deliveries wait.
    pub(super) targets: Vec<(String, Health)>,
    /// What is over.
    pub(super) over: Vec<AlertKind>,
    /// What is told once this is.
    pub(super) told: BTreeSet<String>,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.is_all_clear() && self.over.is_empty()
    }

    /// Nothing new is wrong.
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

    /// Whether that changes anything.
    pub(super) fn replace(&mut self, told: BTreeSet<String>) -> bool {
        let changes = self.0 != told;
        self.0 = told;
        changes
    }

    /// Compares what is wrong with what was told.
    pub(super) fn news(&self, findings: &Findings) -> News {
        let mut news = News::default();
        if let Some(attention) = &findings.attention {
            // Those no longer in attention are forgotten: should they come back, they are news.
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

    /// A target stays told until its last attempt succeeded: one that opens and closes again is no news.
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

    /// One kind: stays told until it is over. Whether it is new.
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

/// The subject of one reward. With its time: held anew for the same reason, it is news again.
fn reward(it: &Attention) -> String {
    format!("{} {} {} {}", AlertKind::Attention.subject(), it.commission_id, it.reason, it.since)
}
