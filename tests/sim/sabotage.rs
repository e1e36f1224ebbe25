//! Deliberately broken steps, to see whether the auditor sees.
//!
//! Each replaces one step of makegood from outside, by standing between the pass and what it works with: an API that
//! answers the confirmation from memory *is* a pass without a confirmation. Nothing in `src` knows of this.

#![allow(clippy::wildcard_enum_match_arm, reason = "a sabotage breaks one step, and leaves the others as they are")]

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use makegood::{
    config::Settings,
    delivery::{Deliver, Delivery},
    domain::{self, CommissionId, DeliveryKey, RecipientKind},
    failure::Outcome,
    firstpromoter::{Api, ApiError, Batch, CommissionQuery, RewardRule},
    reconcile::Order,
};
use rusqlite::{Connection, backup::Backup};

use super::{
    firstpromoter::{SimApi, transient},
    merchant::SimTargets,
    terms::{ACCOUNT, Terms},
    world::World,
};

macro_rules! sabotages {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        /// A step that is broken on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum Sabotage {
            /// Makegood as it is.
            #[default]
            None,
            $($(#[$meta])* $name,)*
        }

        impl Sabotage {
            pub const ALL: &'static [Self] = &[Self::None, $(Self::$name,)*];
        }
    };
}

sabotages! {
    /// Delivers first and records when the process ends: it works on a copy of the ledger.
    RecordAfterwards,
    /// Does not ask again before delivering.
    DropConfirm,
    /// Believes a mark that was answered with 2xx.
    TrustThe2xx,
    /// Sends each delivery twice.
    DeliverTwice,
    /// Delivers under another key.
    OtherKey,
    OtherAmount,
    OtherUnit,
    OtherRecipient,
    /// Says delivered without delivering.
    PretendDelivery,
    /// Takes an unknown outcome for certainly not delivered.
    UnknownIsNo,
    /// Lets two passes run at once.
    IgnoreLock,
    /// Forgets the claims of others.
    IgnoreClaims,
    IgnoreGrace,
    IgnoreFuse,
    /// Delivers whatever policy says.
    IgnorePolicy,
    /// Overlooks some of what is listed.
    OverlookSome,
    /// Marks everything that is listed.
    MarkEverything,
    /// Takes back that something was delivered.
    ForgetDelivered,
    /// The ledger says another amount than was delivered.
    WriteOtherAmount,
    /// Loses an entry of the journal.
    TearJournal,
    /// Loses an attempt.
    LoseAttempt,
    /// A pass that never ends.
    LeavePassOpen,
    /// Attention without a reason.
    SilenceAttention,
    /// Every pass writes something.
    Fidget,
    /// Never completes a pass again.
    GiveUp,
}

impl Sabotage {
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| format!("{it:?}") == name)
    }

    pub fn ignores_lock(self) -> bool {
        self == Self::IgnoreLock
    }

    /// The ledger that a process works on.
    pub fn ledger_for(self, world: &World) -> PathBuf {
        if self != Self::RecordAfterwards {
            return world.ledger.clone();
        }
        let copy = world.ledger.with_extension("copy");
        copy_ledger(&world.witness.conn.borrow(), &mut fresh(&copy));
        // With its mark, or it would count as one that may have forgotten.
        let mark = |ledger: &Path| ledger.with_added_extension("mark");
        let _none_yet = std::fs::copy(mark(&world.ledger), mark(&copy));
        copy
    }

    pub fn settings(self, terms: &Terms, ledger: &Path) -> Settings {
        let mut settings = terms.settings(ledger);
        let policy = &mut settings.policy;
        match self {
            Self::IgnoreGrace => policy.grace = std::time::Duration::ZERO,
            Self::IgnoreFuse => policy.max_deliveries_per_pass = u64::MAX,
            Self::IgnorePolicy => {
                policy.hold_fraud_suspicion = false;
                policy.hold_self_referral = false;
                policy.max_amount.clear();
                policy.deliver_from = domain::Timestamp::UNIX_EPOCH;
            }
            _ => {}
        }
        settings
    }

    pub fn order(self, order: Order) -> Order {
        if self == Self::IgnoreFuse { Order { max_deliveries: None, ..order } } else { order }
    }

    /// What is done to the ledger before anything else.
    pub fn prepare(self, world: &World) {
        if self == Self::IgnoreClaims {
            world.witness.execute(
                // For this connection alone: a ledger whose schema was changed is opened by nobody.
                "CREATE TEMP TRIGGER ignored AFTER INSERT ON main.claims WHEN NEW.owner <> 'makegood' \
                 BEGIN DELETE FROM claims WHERE commission_id = NEW.commission_id; END",
                &[],
            );
        }
    }

    /// What is done to the ledger behind makegood's back when a process has ended.
    pub fn after_life(self, world: &World, path: &Path) {
        let id = |sql: &str| world.witness.query(sql, &[], |row| row.get::<_, i64>(0)).pop();
        let run = |sql: &str| world.witness.execute(sql, &[]);
        // The guard is back before anybody opens the ledger again, or its schema would be found to be altered.
        let unguarded = |guard: &str, sql: &str| {
            let text = format!("SELECT sql FROM main.sqlite_schema WHERE name = '{guard}'");
            let text = world.witness.query(&text, &[], |row| row.get::<_, String>(0)).pop().expect("a guard");
            run(&format!("DROP TRIGGER {guard}"));
            run(sql);
            run(&text);
        };
        match self {
            Self::RecordAfterwards => {
                let copy = Connection::open(path).expect("the copy can be opened");
                copy_ledger(&copy, &mut world.witness.conn.borrow_mut());
            }
            Self::ForgetDelivered => {
                unguarded(
                    "delivered_is_never_delivered_again",
                    "UPDATE rewards SET state = 'waiting', next_attempt_at = state_since, delivered_by = NULL WHERE state = 'delivered'",
                );
            }
            Self::WriteOtherAmount => {
                run("UPDATE rewards SET amount = amount + 1 WHERE state = 'delivered'");
            }
            Self::TearJournal => {
                if let Some(entry) = id("SELECT id FROM journal WHERE to_state = 'delivering'") {
                    unguarded("journal_is_append_only_delete", &format!("DELETE FROM journal WHERE id = {entry}"));
                }
            }
            Self::LoseAttempt => {
                if let Some(attempt) = id("SELECT id FROM attempts WHERE attempt = 1") {
                    world.witness.execute("DELETE FROM attempts WHERE id = ?1", &[&attempt]);
                }
            }
            Self::LeavePassOpen => {
                run("UPDATE passes SET finished = NULL");
            }
            Self::SilenceAttention => {
                run("DROP VIEW IF EXISTS temp.attention");
                run(
                    "CREATE TEMP VIEW attention AS SELECT commission_id, state, NULL AS reason, state_since AS since, unit, amount, recipient, \
                     NULL AS recipient_email, target, NULL AS detail, '' AS what_to_do FROM rewards WHERE 0",
                );
            }
            Self::Fidget => {
                run(
                    "UPDATE rewards SET last_error = coalesce(last_error, '') || '!' WHERE state IN ('held', 'fulfilled')",
                );
            }
            _ => {}
        }
    }
}

fn fresh(path: &Path) -> Connection {
    for suffix in ["", "-wal", "-shm", ".mark"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let _not_there = std::fs::remove_file(PathBuf::from(name));
    }
    Connection::open(path).expect("a copy of the ledger")
}

fn copy_ledger(from: &Connection, to: &mut Connection) {
    Backup::new(from, to)
        .and_then(|backup| backup.run_to_completion(10_000, std::time::Duration::ZERO, None))
        .expect("a copy");
}

/// Between a pass and FirstPromoter.
pub struct SabotagedApi {
    api: SimApi,
    sabotage: Sabotage,
    /// What the listing said last.
    listed: RefCell<BTreeMap<CommissionId, domain::Commission>>,
    /// What was asked to be marked in this process.
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
            // What was asked to be marked is fulfilled, whatever FirstPromoter says of it.
            let (listed, marked) = (self.listed.borrow(), self.marked.borrow());
            rows.retain(|row| !marked.contains(&row.id));
            if fulfilled && query.page == 1 {
                let ids = query.ids.iter().filter(|id| marked.contains(id));
                rows.extend(ids.filter_map(|id| listed.get(id).cloned()));
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
            Sabotage::PretendDelivery => return Outcome::Delivered { receipt: None },
            Sabotage::DeliverTwice => {
                let _lost = self.targets.deliver(target, &delivery).await;
            }
            _ => {}
        }
        match self.targets.deliver(target, &delivery).await {
            Outcome::Unknown { detail, retry_after } if self.sabotage == Sabotage::UnknownIsNo => {
                Outcome::NotDelivered { detail, retry_after }
            }
            outcome => outcome,
        }
    }
}
