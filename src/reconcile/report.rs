//! The report of a pass: the numbers of its row in `passes`, and the rewards that moved or need a person.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Order;
use crate::{
    domain::{CommissionId, RecipientKind, Timestamp, Unit, timestamp_text},
    ledger::{
        Aftermath, Attention, AttentionGroup, Author, Counts, Ledger, LedgerError, PassFailure, PassId, Reward,
        RewardState, State, Transition,
    },
    plan::{Item, Step},
};

/// The report of a pass. Serialises as the manual's `once --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `passes.id`
    pub pass_id: PassId,
    /// `poll`, or `commissions`.
    pub kind: &'static str,
    /// The trigger.
    pub trigger: &'static str,
    /// The numbers.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many rewards are in `attention` now.
    pub needs_attention: u64,
    /// Why it did not complete. Serialises as `error`, its words, and `error_kind`.
    #[serde(flatten, serialize_with = "PassFailure::beside")]
    pub error: Option<PassFailure>,
    /// How many deliveries were wanted when the fuse blew.
    pub fuse_wanted: Option<u64>,
    /// Those that moved, and those that need a person, but for those in `groups`.
    pub rewards: Vec<Line>,
    /// Many rewards that need a person for the same reason.
    #[serde(skip)]
    pub groups: Vec<AttentionGroup>,
    /// Attempts in this pass.
    #[serde(skip)]
    pub(super) attempts: u64,
    #[serde(skip)]
    moved: BTreeSet<CommissionId>,
}

/// One reward that moved or needs a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Which commission.
    pub commission_id: CommissionId,
    /// Its state now.
    pub state: RewardState,
    /// FirstPromoter's word.
    pub unit: Option<String>,
    /// How much of the unit.
    pub amount: Option<i64>,
    /// `promoter` or `referral`.
    pub recipient: Option<String>,
    /// The recipient's.
    pub recipient_email: Option<String>,
    /// Where it went, or goes.
    pub target: Option<String>,
    /// The hold's reason, `not_marked`, the drift, or the reason for the wait; null where there is nothing to explain.
    pub reason: Option<String>,
    /// The same in the words of the target, of FirstPromoter or of the plan.
    pub detail: Option<String>,
    /// Whether it is in `attention`.
    pub needs_attention: bool,
    /// Its row there.
    #[serde(skip)]
    pub attention: Option<Attention>,
}

impl Report {
    pub(super) fn new(pass_id: PassId, order: &Order) -> Self {
        Self {
            pass_id,
            kind: order.kind(),
            trigger: order.trigger.as_str(),
            counts: Counts::default(),
            needs_attention: 0,
            error: None,
            fuse_wanted: None,
            rewards: Vec::new(),
            groups: Vec::new(),
            attempts: 0,
            moved: BTreeSet::new(),
        }
    }

    /// The author of this pass's changes.
    pub(super) fn author(&self, now: Timestamp) -> Author<'static> {
        Author { actor: "makegood", pass_id: Some(self.pass_id), now }
    }

    pub(super) fn moved(&mut self, id: CommissionId) {
        self.moved.insert(id);
    }

    /// Counts what a step of the plan wrote.
    pub(super) fn settled(&mut self, id: CommissionId, item: &Item) {
        let from = item.reward.as_ref().map(|reward| reward.state.word());
        let moves = match &item.step {
            Step::Write(Transition::Wait { .. }) => from != Some(RewardState::Waiting),
            Step::Write(Transition::Hold { .. }) => {
                self.counts.held += u64::from(from != Some(RewardState::Held));
                true
            }
            Step::Write(Transition::Fulfil { .. }) => {
                self.counts.fulfilled += 1;
                true
            }
            Step::Write(
                Transition::Cancel { .. }
                | Transition::NotMarked { .. }
                | Transition::Drift(_)
                | Transition::DriftOver(_),
            )
            | Step::Deliver { resume: false, .. } => true,
            // It wrote only what FirstPromoter says about it.
            Step::Deliver { resume: true, .. } | Step::Leave(_) | Step::Mark => false,
        };
        if moves {
            self.moved(id);
        }
    }

    pub(super) fn attempted(&mut self, after: &Aftermath) {
        self.attempts += 1;
        match after {
            Aftermath::Delivered => self.counts.delivered += 1,
            Aftermath::Retry(_) => self.counts.failed += 1,
            Aftermath::Hold(_) => {
                self.counts.failed += 1;
                self.counts.held += 1;
            }
        }
    }

    pub(super) fn marked(&mut self, id: CommissionId, confirmed: bool) {
        self.moved(id);
        self.counts.fulfilled += u64::from(confirmed);
    }

    /// Reads the present state of the rewards from the ledger, in short.
    pub(super) fn look_up(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        let attention = ledger.attention_in_short(&self.moved)?;
        self.needs_attention = attention.count;
        self.groups = attention.groups;
        let alone = self.moved.iter().copied().filter(|id| !attention.grouped.contains(id)).collect();
        self.look_up_these(alone, attention.rows, ledger)
    }

    /// Reads every one of them, so that none is in a group.
    pub fn look_up_all(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        let attention = ledger.attention()?;
        self.needs_attention = attention.len() as u64;
        self.groups = Vec::new();
        self.look_up_these(self.moved.clone(), attention, ledger)
    }

    fn look_up_these(
        &mut self,
        mut ids: BTreeSet<CommissionId>,
        attention: Vec<Attention>,
        ledger: &Ledger,
    ) -> Result<(), LedgerError> {
        let mut attention: BTreeMap<CommissionId, Attention> =
            attention.into_iter().map(|it| (it.commission_id, it)).collect();
        ids.extend(attention.keys().copied());
        let ids: Vec<CommissionId> = ids.into_iter().collect();
        let rewards = ledger.rewards(&ids)?;
        self.rewards = ids
            .iter()
            .filter_map(|id| rewards.get(id))
            .map(|reward| Line::new(reward, attention.remove(&reward.id)))
            .collect();
        Ok(())
    }
}

impl Line {
    fn new(reward: &Reward, attention: Option<Attention>) -> Self {
        let facts = &reward.facts;
        // While the recipient is unknown, the promoter is the person whom somebody would ask about.
        let promoter = || facts.promoter.as_ref().and_then(|promoter| promoter.email.as_deref());
        let email = if facts.recipient.is_some() { facts.recipient_email() } else { promoter() };
        let waits = match &reward.state {
            State::Waiting { until, .. } => Some(format!("not before {}", timestamp_text(*until))),
            State::Delivering
            | State::Held { .. }
            | State::Delivered { .. }
            | State::Fulfilled { .. }
            | State::Cancelled
            | State::Reversed { .. }
            | State::Dismissed => None,
        };
        let detail = attention.as_ref().and_then(|it| it.detail.as_deref()).or_else(|| reward.state.last_error());
        Self {
            commission_id: reward.id,
            state: reward.state.word(),
            unit: facts.unit.as_ref().map(Unit::as_str).map(str::to_owned),
            amount: facts.amount,
            recipient: facts.recipient.map(RecipientKind::as_str).map(str::to_owned),
            recipient_email: email.map(str::to_owned),
            target: reward.target().map(str::to_owned),
            reason: attention.as_ref().map(|it| it.reason.clone()).or(waits),
            detail: detail.map(str::to_owned),
            needs_attention: attention.is_some(),
            attention,
        }
    }
}
