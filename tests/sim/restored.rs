//! Copies of the ledger: somebody takes one, somebody puts it back, and a person who has looked goes on with it.
//!
//! The restored ledger has forgotten the deliveries since the copy. The person who accepts it has waited until nothing is under
//! way any more, and records everything that the recipients have.

use std::{collections::BTreeSet, path::PathBuf, rc::Rc};

use makegood::{
    domain::{CommissionId, DeliveryKey, Timestamp},
    ledger::{Author, Ledger},
};
use rusqlite::{Connection, backup::Backup};

use super::{evidence::Word, fault::Fault, terms::ACCOUNT, world::World};

/// Entries of the journal that a delivery by makegood leaves.
const DELIVERIES: &str = "SELECT coalesce(max(id), 0) FROM journal WHERE to_state IN ('delivering', 'delivered')";

/// The copy of the ledger, and the state of the ledger itself.
#[derive(Debug, Default)]
pub struct Copies {
    taken: Option<Taken>,
    forgetful: Option<Forgetful>,
    /// A copy was restored and nobody has accepted it. makegood may ask even where only a handler's entries are lost.
    pending: bool,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    /// makegood made it, and says so in the copy.
    stamped: bool,
    /// The last entry of the journal.
    last: i64,
    /// The last one of a delivery.
    last_delivery: i64,
}

/// The ledger may have forgotten deliveries.
#[derive(Debug, Clone, Copy)]
struct Forgetful {
    stamped: bool,
    /// A pass has seen it since.
    found: bool,
}

impl Copies {
    /// Nothing may be delivered from the ledger.
    pub fn is_forgetful(&self) -> bool {
        self.forgetful.is_some()
    }

    /// A person must accept the ledger before the world can come to rest.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// No handler may take a claim there.
    fn must_refuse_claims(&self) -> bool {
        self.forgetful.is_some_and(|it| it.stamped || it.found)
    }

    /// A pass has looked at the ledger.
    pub fn note_pass(&mut self) {
        if let Some(forgetful) = &mut self.forgetful {
            forgetful.found = true;
        }
    }
}

impl World {
    /// Between two processes.
    pub fn copies_come_and_go(self: &Rc<Self>) {
        self.somebody_copies_the_ledger();
        self.somebody_restores_a_copy();
        if !self.copies.borrow().is_forgetful() {
            return;
        }
        match self.later.below(10) {
            0..4 => self.a_person_accepts_the_ledger(),
            4..7 => self.a_person_records(),
            _ => {}
        }
    }

    /// `makegood record` for a delivery that the ledger may have forgotten.
    fn a_person_records(&self) {
        let has_it: Vec<i64> = self.evidence.borrow().effects.iter().map(|it| it.commission).collect();
        if has_it.is_empty() {
            return;
        }
        self.record_by_command(*self.later.pick(&has_it));
        self.meet(Fault::RestoredWritten);
    }

    fn record_by_command(&self, id: i64) {
        let ledger = Ledger::open(&self.ledger, ACCOUNT, self.local()).expect("the ledger can be opened");
        let author = Author { actor: "webhook", pass_id: None, now: self.local() };
        let key = DeliveryKey::new(ACCOUNT, CommissionId(id));
        let recorded = ledger.change(author, |change| change.record(CommissionId(id), &key, None, "webhook"));
        self.say("operator", || format!("records {id} on a restored ledger: {recorded:?}"));
        recorded.expect("it is recorded");
        self.note_word(id);
    }

    fn copy_path(&self) -> PathBuf {
        self.ledger.with_file_name("copy.db")
    }

    fn somebody_copies_the_ledger(&self) {
        // A copy of a copy is not simulated.
        let (backup, copy) = (self.strikes_later(Fault::BackupTaken), self.strikes_later(Fault::CopyTaken));
        if self.copies.borrow().is_forgetful() || !(backup || copy) {
            return;
        }
        let path = self.copy_path();
        let _not_there = std::fs::remove_file(&path);
        if backup {
            let ledger = Ledger::open_read_only(&self.ledger).expect("the ledger can be read");
            ledger.back_up(&path).expect("a backup");
        } else {
            let mut conn = Connection::open(&path).expect("a file");
            let copied = Backup::new(&self.witness.conn.borrow(), &mut conn).and_then(|it| it.step(-1));
            copied.expect("a copy");
        }
        let number = |sql: &str| self.witness.query(sql, &[], |row| row.get(0)).pop().unwrap_or_default();
        let taken = Taken {
            stamped: backup,
            last: number("SELECT coalesce(max(id), 0) FROM journal"),
            last_delivery: number(DELIVERIES),
        };
        self.say("", || format!("somebody copies the ledger: {taken:?}"));
        self.copies.borrow_mut().taken = Some(taken);
    }

    fn somebody_restores_a_copy(&self) {
        let (here, elsewhere) = (self.strikes_later(Fault::RestoredHere), self.strikes_later(Fault::RestoredElsewhere));
        // Without a mark, a copy from before the first delivery looks like a new ledger. There is no guarantee for it.
        let tells = |it: &Taken| here || (elsewhere && (it.stamped || it.last_delivery > 0));
        let taken = self.copies.borrow().taken.filter(tells);
        let Some(taken) = taken else { return };
        self.copies.borrow_mut().taken = None;
        self.copies.borrow_mut().pending = true;
        let sql = format!("{DELIVERIES} AND actor = 'makegood'");
        let delivered: i64 = self.witness.query(&sql, &[], |row| row.get(0)).pop().unwrap_or_default();
        let behind = here && delivered > taken.last;
        let unmarked = !here && taken.last_delivery > 0;
        self.witness.replace(|| self.put_back(here), &self.ledger);
        let before = self.copies.borrow().forgetful;
        let forgetful = behind || unmarked || taken.stamped || (here && before.is_some());
        self.copies.borrow_mut().forgetful = forgetful.then_some(Forgetful { stamped: taken.stamped, found: false });
        self.say("", || format!("a copy is restored: {taken:?}, here: {here}, forgetful: {forgetful}"));
        self.evidence.borrow_mut().restored.push(self.now());
        self.disturb_handlers(forgetful);
        if self.sabotage.trusts_copies() {
            self.accept();
        }
    }

    fn put_back(&self, with_mark: bool) {
        for suffix in ["-wal", "-shm"].iter().chain((!with_mark).then_some(&".mark")) {
            let mut name = self.ledger.clone().into_os_string();
            name.push(suffix);
            let _not_there = std::fs::remove_file(name);
        }
        std::fs::rename(self.copy_path(), &self.ledger).expect("the copy takes the ledger's place");
    }

    /// makegood cannot repair an act of a handler under a lost claim, nor a lost record that nothing points to.
    fn disturb_handlers(&self, forgetful: bool) {
        let rewards = self.witness.rewards();
        for run in &mut self.evidence.borrow_mut().handlers {
            let recorded = rewards.get(&run.commission).is_some_and(|it| is_delivered(&it.state));
            run.disturbed |= run.is_at_it() || !(forgetful || recorded);
        }
    }

    /// A handler got a claim.
    pub fn note_claim(&self, run: usize, commission: i64, until: Timestamp) {
        let copies = self.copies.borrow();
        let at = self.now();
        let mut evidence = self.evidence.borrow_mut();
        evidence.handlers[run].claimed_until = Some(until);
        evidence.handlers[run].disturbed |= copies.is_forgetful();
        if copies.must_refuse_claims() {
            evidence.claims_on_forgetful.push(Word { at, commission });
        }
    }

    /// Accepts the ledger before the end of the world.
    pub fn a_person_accepts_the_ledger(self: &Rc<Self>) {
        let under_way = || self.firstpromoter.borrow().commissions.keys().any(|id| self.merchant.borrow().awaits(*id));
        if !self.copies.borrow().is_pending() || under_way() {
            return;
        }
        let has_it: BTreeSet<i64> = self.evidence.borrow().effects.iter().map(|it| it.commission).collect();
        let rewards = self.witness.rewards();
        let known = |id: &i64| rewards.get(id).is_some_and(|it| is_delivered(&it.state) || it.state == "dismissed");
        for id in has_it.into_iter().filter(|id| !known(id)) {
            // Plain SQL would leave an attempt that was cut off without an end.
            self.record_by_command(id);
        }
        for id in self.firstpromoter.borrow().commissions.keys() {
            self.note_cleared(*id);
        }
        self.meet(Fault::RestoredAccepted);
        self.accept();
        self.copies.borrow_mut().forgetful = None;
        self.copies.borrow_mut().pending = false;
    }

    fn accept(&self) {
        let ledger = Ledger::open(&self.ledger, ACCOUNT, self.local()).expect("the ledger can be opened");
        ledger.accept_as_it_is().expect("it is accepted");
        self.say("operator", || "accepts the ledger".to_owned());
    }
}

fn is_delivered(state: &str) -> bool {
    matches!(state, "delivered" | "fulfilled" | "reversed")
}
