//! The ledger on real files: what it accepts, what it refuses, and that it never writes half of anything.

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::{
    domain::{
        Campaign, CommissionId, DeliveryKey, Promoter, RecipientKind, Referral, RewardRef, Timestamp, Unit,
        timestamp_text,
    },
    failure::Outcome,
};

mod alerts;
mod attempts;
mod attention;
mod backup;
mod claims;
mod decisions;
mod forgotten;
mod high_water_mark;
mod lock;
mod looking;
mod measures;
mod migrations;
mod opening;
mod passes;
mod plans;
mod schema;
mod soundness;
mod thread;
mod transition;

const ACCOUNT: &str = "12345";

/// Minutes after noon.
fn at(minutes: i64) -> Timestamp {
    "2026-01-01T12:00:00Z".parse::<Timestamp>().unwrap() + chrono::TimeDelta::minutes(minutes)
}

fn id(number: i64) -> CommissionId {
    CommissionId(number)
}

fn key(number: i64) -> DeliveryKey {
    DeliveryKey::new(ACCOUNT, id(number))
}

/// The pass of most tests; its time counts in minutes after noon.
fn by_us(minutes: i64) -> Author<'static> {
    Author { actor: "makegood", pass_id: None, now: at(minutes) }
}

fn facts() -> Facts {
    Facts {
        unit: Some(Unit::Points),
        amount: Some(500),
        recipient: Some(RecipientKind::Promoter),
        promoter: Some(Promoter { id: 3, email: Some("p@example.com".to_owned()), name: Some("Pat".to_owned()) }),
        referral: Some(Referral { id: 4, email: Some("r@example.com".to_owned()), uid: Some("cus_4".to_owned()) }),
        campaign: Some(Campaign { id: 17, name: Some("Spring".to_owned()) }),
        reward: Some(RewardRef { id: 9, name: Some("500 points".to_owned()) }),
        approved_at: Some(at(-90)),
        created_at: Some(at(-900)),
    }
}

fn wait(until: Timestamp) -> Transition {
    Transition::Wait { until, why: Wait::Grace }
}

fn hold(reason: HoldReason, detail: &str) -> Transition {
    Transition::Hold { reason, detail: detail.to_owned() }
}

fn cancel(why: &str) -> Transition {
    Transition::Cancel { why: why.to_owned() }
}

fn fulfil(why: &'static str) -> Transition {
    Transition::Fulfil { why }
}

fn not_marked(why: &str, next: Option<Timestamp>) -> Transition {
    Transition::NotMarked { why: why.to_owned(), next }
}

/// In its grace period.
fn grace(until: Timestamp) -> State {
    State::Waiting { until, why: Wait::Grace, last_error: None }
}

/// Held, and not after a failed attempt.
fn held(reason: HoldReason, detail: &str) -> State {
    State::Held { reason, detail: Some(detail.to_owned()), until: None }
}

/// At `app`.
fn attempted() -> Attempted {
    Attempted { target: "app".to_owned(), fingerprint: None }
}

/// A ledger in a folder of its own.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("ledger.db{suffix}"))
    }

    fn open(&self) -> Ledger {
        Ledger::open(&self.path(), ACCOUNT, at(0)).unwrap()
    }

    /// Another program that has the file open, with SQLite's defaults.
    fn shell(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }
}

/// A ledger, and what tests do with it.
struct World {
    place: Place,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        let place = Place::new();
        let ledger = place.open();
        Self { place, ledger }
    }

    /// One change of ours, at noon.
    fn change<T>(&self, work: impl FnOnce(&Change<'_>) -> Result<T, LedgerError>) -> T {
        self.change_at(0, work)
    }

    fn change_at<T>(&self, minutes: i64, work: impl FnOnce(&Change<'_>) -> Result<T, LedgerError>) -> T {
        self.ledger.change(by_us(minutes), work).unwrap()
    }

    /// Another program's statements.
    fn elsewhere(&self, sql: &str) {
        self.place.shell().execute_batch(sql).unwrap();
    }

    fn row(&self, number: i64) -> Reward {
        self.ledger.rewards(&[id(number)]).unwrap().remove(&id(number)).unwrap()
    }

    /// A column as text; empty for null.
    fn column(&self, number: i64, column: &str) -> String {
        self.one(&format!("SELECT coalesce({column}, '') FROM rewards WHERE commission_id = {number}"))
    }

    /// The only value of a query, as text.
    fn one(&self, sql: &str) -> String {
        let text = format!("SELECT CAST(({sql}) AS TEXT)");
        self.ledger.conn.query_row(&text, [], |row| row.get::<_, Option<String>>(0)).unwrap().unwrap_or_default()
    }

    /// `from -> to: reason (actor)`, oldest first.
    fn journal(&self, number: i64) -> Vec<String> {
        let sql = "SELECT coalesce(from_state, '') || ' -> ' || to_state || ': ' || reason || ' (' || actor || ')' \
                   FROM journal WHERE commission_id = ?1 ORDER BY id";
        let mut statement = self.ledger.conn.prepare(sql).unwrap();
        statement.query_map([number], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// The whole content of the ledger.
    fn dump(&self) -> String {
        ["account", "rewards", "passes", "attempts", "journal", "claims", "reward_rules", "alerts"]
            .map(|it| self.table(it))
            .concat()
    }

    fn table(&self, table: &str) -> String {
        let mut statement = self.ledger.conn.prepare(&format!("SELECT * FROM {table} ORDER BY 1")).unwrap();
        let width = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut lines = vec![table.to_owned()];
        while let Some(row) = rows.next().unwrap() {
            let values = (0..width).map(|column| row.get_ref(column).unwrap());
            let words = values.map(|value| value.as_str().map_or_else(|_| format!("{value:?}"), str::to_owned));
            lines.push(words.collect::<Vec<_>>().join("|"));
        }
        lines.join("\n") + "\n"
    }

    /// Enters a commission as owed, and returns its row.
    fn waiting(&self, number: i64) -> Reward {
        self.change(|it| it.enter(id(number), &key(number), &facts(), &wait(at(15))));
        self.row(number)
    }

    fn held(&self, number: i64, reason: HoldReason) -> Reward {
        let seen = hold(reason, "because");
        self.change(|it| it.enter(id(number), &key(number), &facts(), &seen));
        self.row(number)
    }

    /// Takes a row for delivery at `app`, which must be possible; the number of the attempt.
    fn begin(&self, reward: &Reward) -> u32 {
        match self.change(|it| it.begin(reward, "app", at(2))) {
            Begun::Attempt(attempt) => attempt,
            Begun::Taken => panic!("commission {} is taken", reward.id),
        }
    }

    fn finish(&self, number: i64, attempt: u32, outcome: &Outcome, after: &Aftermath) {
        self.change_at(1, |it| it.finish(id(number), attempt, outcome, after));
    }

    /// A row in this state, made through the transitions as far as possible.
    fn in_state(&self, number: i64, state: RewardState) -> Reward {
        match state {
            RewardState::Waiting => return self.waiting(number),
            RewardState::Held => return self.held(number, HoldReason::Fuse),
            RewardState::Delivering => {
                self.begin(&self.waiting(number));
            }
            RewardState::Delivered => {
                let attempt = self.begin(&self.waiting(number));
                self.finish(number, attempt, &delivered(), &Aftermath::Delivered);
            }
            RewardState::Fulfilled => {
                let reward = self.in_state(number, RewardState::Delivered);
                self.change(|it| it.apply(&reward, &fulfil("read back")));
            }
            RewardState::Cancelled => {
                let reward = self.waiting(number);
                self.change(|it| it.apply(&reward, &cancel("denied")));
            }
            RewardState::Reversed => {
                self.in_state(number, RewardState::Fulfilled);
                self.elsewhere(&format!("UPDATE rewards SET state = 'reversed' WHERE commission_id = {number}"));
            }
            RewardState::Dismissed => {
                self.held(number, HoldReason::Fuse);
                let sql = "UPDATE rewards SET state = 'dismissed', hold_reason = NULL WHERE commission_id = ";
                self.elsewhere(&format!("{sql}{number}"));
            }
        }
        let reward = self.row(number);
        assert_eq!(reward.state.word(), state);
        reward
    }
}

fn delivered() -> Outcome {
    Outcome::Delivered { receipt: Some("r-1".to_owned()) }
}

fn not_delivered() -> Outcome {
    Outcome::NotDelivered { detail: "refused connection".to_owned(), retry_after: None }
}

fn unknown() -> Outcome {
    Outcome::Unknown { detail: "no answer".to_owned(), retry_after: None }
}

fn refused() -> Outcome {
    Outcome::Refused { detail: "400 no such user".to_owned() }
}
