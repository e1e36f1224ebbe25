//! The layer between a pass and the world that breaks a step on purpose. An API that answers the confirmation from memory has
//! the effect of a pass without a confirmation.

#![allow(clippy::wildcard_enum_match_arm, reason = "a sabotage breaks one step, and leaves the others as they are")]

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use makegood::{
    delivery::{Deliver, Delivery},
    domain::{self, CommissionId, DeliveryKey, RecipientKind},
    failure::Outcome,
    firstpromoter::{Api, ApiError, Batch, CommissionQuery, RewardRule},
};

use super::{
    firstpromoter::{SimApi, rejected, transient},
    merchant::SimTargets,
    sabotage::Sabotage,
    terms::ACCOUNT,
};

/// Between a pass and FirstPromoter.
pub struct SabotagedApi {
    api: SimApi,
    sabotage: Sabotage,
    /// The last listing.
    listed: RefCell<BTreeMap<CommissionId, domain::Commission>>,
    /// The ids that this process asked to mark.
    marked: RefCell<BTreeSet<CommissionId>>,
}

impl SabotagedApi {
    pub fn new(api: SimApi, sabotage: Sabotage) -> Self {
        Self { api, sabotage, listed: RefCell::default(), marked: RefCell::default() }
    }

    /// The answer from memory, where the sabotage has one.
    fn remembered(&self, query: &CommissionQuery) -> Option<Vec<domain::Commission>> {
        let (listed, marked) = (self.listed.borrow(), self.marked.borrow());
        let known = |keep: &dyn Fn(&CommissionId) -> bool| {
            query.ids.iter().filter(|id| keep(id)).filter_map(|id| listed.get(id).cloned()).collect::<Vec<_>>()
        };
        match (self.sabotage, query.fulfilled) {
            (Sabotage::DropConfirm, Some(false)) if !query.ids.is_empty() => Some(known(&|_| true)),
            (Sabotage::DropConfirm, Some(true)) if !query.ids.iter().any(|id| marked.contains(id)) => Some(Vec::new()),
            _ => None,
        }
    }
}

impl Api for SabotagedApi {
    async fn commissions(&self, query: &CommissionQuery) -> Result<Vec<domain::Commission>, ApiError> {
        if self.sabotage == Sabotage::GiveUp && self.api.world.weather.is_fair() {
            return Err(transient("GET /commissions", "sabotaged"));
        }
        if let Some(rows) = self.remembered(query) {
            return Ok(if query.page == 1 { rows } else { Vec::new() });
        }
        let mut rows = self.api.commissions(query).await?;
        if let (Sabotage::TrustThe2xx, false, Some(fulfilled)) = (self.sabotage, query.ids.is_empty(), query.fulfilled)
        {
            // Every id that it asked to mark counts as fulfilled, whatever FirstPromoter says.
            let (listed, marked) = (self.listed.borrow(), self.marked.borrow());
            rows.retain(|row| !marked.contains(&row.id));
            if fulfilled && query.page == 1 {
                let ids = query.ids.iter().filter(|id| marked.contains(id));
                rows.extend(ids.filter_map(|id| listed.get(id).cloned()));
            }
        }
        if self.sabotage == Sabotage::ReadAnything {
            for row in &mut rows {
                if matches!(row.status, domain::CommissionStatus::Unknown(_)) {
                    row.status = domain::CommissionStatus::Approved;
                }
            }
        }
        if query.ids.is_empty() {
            if query.page == 1 {
                self.listed.borrow_mut().clear();
            }
            if self.sabotage == Sabotage::OverlookSome {
                rows.retain(|row| row.id.0 % 3 != 0);
            }
            self.listed.borrow_mut().extend(rows.iter().map(|row| (row.id, row.clone())));
            if self.sabotage == Sabotage::MarkEverything && !rows.is_empty() {
                let ids: Vec<CommissionId> = rows.iter().map(|row| row.id).collect();
                let _whatever = self.api.mark_fulfilled(&ids).await;
            }
        }
        Ok(rows)
    }

    async fn mark_fulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        if self.sabotage == Sabotage::MarkSome && ids.iter().any(|id| id.0 % 3 == 0) {
            return Err(rejected("POST /commissions/mark_fulfilled"));
        }
        let answer = self.api.mark_fulfilled(ids).await;
        if answer.is_ok() {
            self.marked.borrow_mut().extend(ids);
        }
        answer
    }

    async fn mark_unfulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        self.api.mark_unfulfilled(ids).await
    }

    async fn batch(&self, id: i64) -> Result<Batch, ApiError> {
        self.api.batch(id).await
    }

    async fn rewards(&self) -> Result<Vec<RewardRule>, ApiError> {
        self.api.rewards().await
    }

    fn requests(&self) -> u64 {
        self.api.requests()
    }
}

/// Between a pass and its targets.
pub struct SabotagedTargets {
    targets: SimTargets,
    sabotage: Sabotage,
}

impl SabotagedTargets {
    pub fn new(targets: SimTargets, sabotage: Sabotage) -> Self {
        Self { targets, sabotage }
    }
}

impl Deliver for SabotagedTargets {
    async fn deliver(&self, target: &str, delivery: &Delivery) -> Outcome {
        let mut delivery = delivery.clone();
        match self.sabotage {
            Sabotage::OtherKey => delivery.key = DeliveryKey::new(ACCOUNT, CommissionId(delivery.commission_id.0 + 1)),
            Sabotage::OtherAmount => delivery.amount += 1,
            Sabotage::OtherUnit => "credit".clone_into(&mut delivery.unit),
            Sabotage::OtherRecipient => {
                delivery.recipient.kind = match delivery.recipient.kind {
                    RecipientKind::Promoter => RecipientKind::Referral,
                    RecipientKind::Referral => RecipientKind::Promoter,
                };
            }
            Sabotage::StarveSome if delivery.commission_id.0 % 3 == 0 => {
                return Outcome::NotDelivered { detail: "not today".to_owned(), retry_after: None };
            }
            Sabotage::PretendDelivery => return Outcome::Delivered { receipt: None },
            Sabotage::DeliverTwice => {
                let _lost = self.targets.deliver(target, &delivery).await;
            }
            _ => {}
        }
        match self.targets.deliver(target, &delivery).await {
            Outcome::Delivered { .. } if self.sabotage == Sabotage::LoseOutcome => {
                Outcome::Unknown { detail: "lost".to_owned(), retry_after: None }
            }
            Outcome::Unknown { detail, retry_after } if self.sabotage == Sabotage::UnknownIsNo => {
                Outcome::NotDelivered { detail, retry_after }
            }
            outcome => outcome,
        }
    }
}
