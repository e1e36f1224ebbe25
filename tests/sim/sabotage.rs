//! Sabotages: steps that are broken on purpose, to see whether the auditor notices.
//!
//! Each replaces one step of makegood from outside: by other settings, by a change of the ledger between two processes, or in
//! [`super::sabotaged`] by a layer between the pass and its surroundings. Nothing in `src` knows of this.

#![allow(clippy::wildcard_enum_match_arm, reason = "a sabotage breaks one step, and leaves the others as they are")]

use std::path::{Path, PathBuf};

use makegood::{config::Settings, domain, reconcile::Order};
use rusqlite::{Connection, backup::Backup};

use super::{fault::Fault, terms::Terms, world::World};

macro_rules! sabotages {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        /// A step that is broken on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum Sabotage {
            /// makegood unchanged.
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
    /// Takes a 2xx for a mark.
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
    /// Ignores some of the listed commissions.
    OverlookSome,
    /// Marks everything that it lists.
    MarkEverything,
    /// Undoes the record of a delivery.
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
    /// Uses the time of a pass's beginning throughout the pass: no answer grows old.
    StopTheClock,
    /// Takes a target that has moved for the old one.
    OverlookMoves,
    /// Uses a restored ledger without asking.
    TrustCopies,
    /// Forgets how often a target has refused.
    ForgetRefusals,
    /// Takes an outcome that it heard for unknown.
    LoseOutcome,
    /// Never makes some deliveries.
    StarveSome,
    /// Never marks some rewards.
    MarkSome,
    /// Ignores reversed rewards.
    ForgetReversed,
    /// Takes unknown statuses for approved.
    ReadAnything,
    /// Gives up an outcome when somebody holds the ledger's write lock for long.
    GiveUpLocked,
}

impl Sabotage {
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| format!("{it:?}") == name)
    }

    /// The faults that make it visible. A sabotaged world has them often.
    pub fn shows_in(self) -> &'static [Fault] {
        match self {
            Self::StopTheClock => &[Fault::ReadPutsOff],
            Self::OverlookMoves => &[Fault::TargetMoves, Fault::TargetFailsAfter],
            Self::TrustCopies => &[Fault::CopyTaken, Fault::RestoredHere],
            Self::ForgetRefusals => &[Fault::RefusesAll],
            Self::StarveSome => &[Fault::PoisonFails],
            Self::ForgetReversed => &[Fault::Reversed, Fault::Overtaken],
            Self::ReadAnything => &[Fault::StatusUnheardOf],
            Self::GiveUpLocked => &[Fault::WriteLocked, Fault::LockOutlasts],
            _ => &[],
        }
    }

    pub fn gives_up_locked(self) -> bool {
        self == Self::GiveUpLocked
    }

    pub fn stops_the_clock(self) -> bool {
        self == Self::StopTheClock
    }

    pub fn trusts_copies(self) -> bool {
        self == Self::TrustCopies
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
        let mut terms = terms.clone();
        if self == Self::OverlookMoves {
            for target in &mut terms.targets {
                target.place = 0;
            }
        }
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

    /// The change of the ledger before anything else.
    pub fn prepare(self, world: &World) {
        if self == Self::IgnoreClaims {
            world.witness.execute(
                // For this connection alone: makegood opens no ledger whose schema was changed.
                "CREATE TEMP TRIGGER ignored AFTER INSERT ON main.claims WHEN NEW.owner <> 'makegood' \
                 BEGIN DELETE FROM claims WHERE commission_id = NEW.commission_id; END",
                &[],
            );
        }
    }

    /// The change of the ledger, without makegood's knowledge, when a process has ended.
    pub fn after_life(self, world: &World, path: &Path) {
        let id = |sql: &str| world.witness.query(sql, &[], |row| row.get::<_, i64>(0)).pop();
        let run = |sql: &str| world.witness.execute(sql, &[]);
        // The guard is back before anybody opens the ledger again. Otherwise makegood would notice the altered schema.
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
                    "UPDATE rewards SET state = 'waiting', next_attempt_at = state_since, wait_reason = 'due', delivered_by = NULL WHERE state = 'delivered'",
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
            Self::ForgetRefusals => {
                run("DELETE FROM target_health");
            }
            Self::ForgetReversed => {
                run("UPDATE rewards SET drift = NULL WHERE state = 'reversed'");
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
