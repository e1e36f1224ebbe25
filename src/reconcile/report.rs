//! What a pass did: the numbers of its row in `passes`, and the rewards that moved or need somebody.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Order;
use crate::{
    domain::{CommissionId, Timestamp},
    ledger::{Aftermath, Author, Counts, Ledger, LedgerError, PassFailure, PassId, RewardState, Transition},
    plan::{Item, Step},
};

/// What a pass did. Serialises as the manual's `once --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `passes.id`
    pub pass_id: PassId,
    /// `poll`, or `commissions`.
    pub kind: &'static str,
    /// What made it happen.
    pub trigger: &'static str,
    /// The numbers.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many rewards stand in `attention` now.
    pub needs_attention: u64,
    /// Why it did not complete. Serialises as `error`, its words, and `error_kind`.
    #[serde(flatten, serialize_with = "PassFailure::beside")]
    pub error: Option<PassFailure>,
    /// How many deliveries were wanted when the fuse blew.
    pub fuse_wanted: Option<u64>,
    /// Those that moved, and those that need somebody.
    pub rewards: Vec<Line>,
    /// Attempts made.
    #[serde(skip)]
    pub(super) attempts: u64,
    #[serde(skip)]
    moved: BTreeSet<CommissionId>,
}

/// One reward that moved or needs somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Which commission.
    pub commission_id: CommissionId,
    /// Where it stands now.
    pub state: String,
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
    /// The hold's reason, `not_marked`, the drift, or why it waits; null where there is nothing to explain.
    pub reason: Option<String>,
    /// The same in the words of the target, of FirstPromoter or of the plan.
    pub detail: Option<String>,
    /// It stands in `attention`.
    pub needs_attention: bool,
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
            attempts: 0,
            moved: BTreeSet::new(),
        }
    }

    /// Who writes to the ledger in this pass.
    pub(super) fn author(&self, now: Timestamp) -> Author<'static> {
        Author { actor: "makegood", pass_id: Some(self.pass_id), now }
    }

    pub(super) fn moved(&mut self, id: CommissionId) {
        self.moved.insert(id);
    }

    /// What a step of the plan wrote.
    pub(super) fn settled(&mut self, id: CommissionId, item: &Item) {
        let from = item.reward.as_ref().map(|reward| reward.state);
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
            // Nothing but what FirstPromoter says of it was written.
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

    /// Reads from the ledger where the rewards stand now.
    pub(super) fn look_up(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        let attention = ledger.attention()?;
        self.needs_attention = attention.len() as u64;
        let reasons: std::collections::BTreeMap<CommissionId, &crate::ledger::Attention> =
            attention.iter().map(|it| (it.commission_id, it)).collect();
        let ids: BTreeSet<CommissionId> = self.moved.iter().copied().chain(reasons.keys().copied()).collect();
        let ids: Vec<CommissionId> = ids.into_iter().collect();
        self.rewards = ledger.reward_objects(&ids)?.iter().map(|row| Line::new(row, &reasons)).collect();
        Ok(())
    }
}

impl Line {
    fn new(
        row: &Map<String, Value>,
        attention: &std::collections::BTreeMap<CommissionId, &crate::ledger::Attention>,
    ) -> Self {
        let text = |column: &str| row.get(column).and_then(Value::as_str).map(str::to_owned);
        let id = CommissionId(row.get("commission_id").and_then(Value::as_i64).unwrap_or_default());
        let attention = attention.get(&id);
        let waits = || (text("state").as_deref() == Some("waiting")).then(|| text("next_attempt_at")).flatten();
        let recipient = text("recipient");
        let email = if recipient.as_deref() == Some("referral") { "referral_email" } else { "promoter_email" };
        Self {
            commission_id: id,
            state: text("state").unwrap_or_default(),
            unit: text("unit"),
            amount: row.get("amount").and_then(Value::as_i64),
            recipient_email: text(email),
            recipient,
            target: text("target"),
            reason: attention
                .map(|it| it.reason.clone())
                .or_else(|| waits().map(|until| format!("not before {until}"))),
            detail: attention
                .and_then(|it| it.detail.clone())
                .or_else(|| text("last_error"))
                .or_else(|| text("mark_error")),
            needs_attention: attention.is_some(),
        }
    }
}
