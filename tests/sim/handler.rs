//! The webhook handler: another program, in another language. makegood repairs its failures.
//!
//! It starts seconds or hours after the approval, knows what the webhook said then, and may die between any two steps. At a
//! target that deduplicates it depends on the key; elsewhere it shares the ledger through the table `claims`.

use std::rc::Rc;

use makegood::domain::{Timestamp, timestamp_text};
use rusqlite::Connection;

use super::{
    commission::Content,
    evidence::{By, HandlerRun},
    fault::Fault,
    owed,
    terms::Target,
    timeline::{HOUR, MINUTE, Ms, SECOND, Whose, later},
    witness::row,
    world::World,
};

const OWNER: &str = "webhook";
const CLAIM: Ms = 10 * MINUTE;

impl World {
    /// FirstPromoter sends the webhook of an approval, which may get lost.
    pub fn send_webhook(self: &Rc<Self>, id: i64) {
        if !self.rng.chance(self.webhooks) {
            return;
        }
        let terms = self.terms.borrow();
        let content =
            self.firstpromoter.borrow().get(id).and_then(|it| owed::content(it.now(), &terms, owed::Rules::Shown));
        let unit = self.firstpromoter.borrow().get(id).map(|it| it.now().unit);
        let target = unit.and_then(|unit| terms.route(unit)).map(|index| terms.targets[index].clone());
        let (Some(content), Some(target)) = (content, target) else { return };
        let grace = terms.grace;
        drop(terms);
        let delay = match self.rng.below(10) {
            0..4 => self.rng.skewed(10 * SECOND),
            4..7 => grace + self.rng.skewed(10 * MINUTE),
            _ => self.rng.skewed(17 * HOUR),
        };
        let run = {
            let runs = &mut self.evidence.borrow_mut().handlers;
            runs.push(HandlerRun { commission: id, ..HandlerRun::default() });
            runs.len() - 1
        };
        let webhook = Webhook { world: Rc::clone(self), run, id, content, target };
        self.spawn_handler(webhook.handle(delay));
    }
}

struct Webhook {
    world: Rc<World>,
    run: usize,
    id: i64,
    content: Content,
    target: Target,
}

impl Webhook {
    async fn handle(self, delay: Ms) {
        let world = &self.world;
        self.pause(delay).await;
        let claims = !self.target.idempotent || world.rng.chance(200);
        if claims && !self.claim_patiently().await {
            return;
        }
        if self.crashes() || !self.deliver().await || self.crashes() {
            return;
        }
        self.pause(1 + world.rng.skewed(MINUTE)).await;
        if claims {
            self.record();
        }
        if self.crashes() || world.rng.chance(300) {
            return;
        }
        self.pause(world.rng.skewed(MINUTE)).await;
        self.mark();
    }

    async fn pause(&self, wait: Ms) {
        self.world.time.sleep(wait, Whose::Handler).await;
    }

    fn crashes(&self) -> bool {
        let crashes = self.world.strikes(Fault::HandlerCrashes);
        if crashes {
            self.say(|| "crashes".to_owned());
        }
        crashes
    }

    async fn claim_patiently(&self) -> bool {
        for _ in 0..3 {
            if self.claim() {
                return true;
            }
            self.world.meet(Fault::HandlerRefused);
            self.pause(1 + self.world.rng.skewed(30 * MINUTE)).await;
        }
        false
    }

    /// The README's SQL: nothing that may have been delivered, and no live claim of somebody else.
    fn claim(&self) -> bool {
        let now = self.world.local();
        let until = later(now, CLAIM);
        self.world.let_go_of_the_lock();
        let taken = self.world.witness.try_transaction(|tx| {
            let taboo: Option<bool> = row(
                tx,
                "SELECT uncertain OR state NOT IN ('waiting', 'held', 'cancelled') FROM rewards WHERE commission_id = ?1",
                &[&self.id],
                |row| row.get(0),
            )?;
            if taboo == Some(true) {
                return Ok(false);
            }
            let taken = tx
                .prepare_cached(
                    "INSERT INTO claims (commission_id, owner, claimed_at, expires_at) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (commission_id) DO UPDATE SET owner = ?2, claimed_at = ?3, expires_at = ?4 \
                     WHERE owner = ?2 OR julianday(expires_at) <= julianday(?3)",
                )?
                .execute((self.id, OWNER, timestamp_text(now), timestamp_text(until)))?;
            Ok(taken == 1)
        });
        let Ok(taken) = taken else {
            self.say(|| format!("the ledger refuses: {taken:?}"));
            self.world.meet(Fault::RestoredRefuses);
            return false;
        };
        self.say(|| if taken { "takes the claim".to_owned() } else { "is refused the claim".to_owned() });
        if taken {
            self.world.meet(Fault::HandlerClaims);
            self.world.note_claim(self.run, self.id, until);
        }
        taken
    }

    async fn deliver(&self) -> bool {
        let world = &self.world;
        self.pause(5 + world.rng.skewed(8 * MINUTE)).await;
        let poisoned = world.firstpromoter.borrow().get(self.id).is_some_and(|it| it.poison.is_some());
        if poisoned || self.claim_is_over(world.local()) || world.rng.chance(50) {
            self.say(|| "does not deliver".to_owned());
            return false;
        }
        world.meet(Fault::HandlerDelivers);
        world.take(&self.target, By::Handler(self.run), &owed::key(self.id), self.id, &self.content);
        true
    }

    fn claim_is_over(&self, now: Timestamp) -> bool {
        let claimed_until = self.world.evidence.borrow().handlers[self.run].claimed_until;
        claimed_until.is_some_and(|until| until <= now)
    }

    /// The README's SQL.
    fn record(&self) {
        let now = self.world.local();
        self.world.let_go_of_the_lock();
        self.world.witness.transaction(|tx| record(tx, self.id, &timestamp_text(now), OWNER, "outside"));
        self.say(|| "records it".to_owned());
        self.world.meet(Fault::HandlerRecords);
        self.world.evidence.borrow_mut().handlers[self.run].recorded_at = Some(now);
        self.world.note_word(self.id);
    }

    fn mark(&self) {
        self.say(|| "has it marked".to_owned());
        self.world.meet(Fault::HandlerMarks);
        let markable = |version: &super::commission::Version| {
            version.there && version.payout && version.status == super::commission::Status::Approved
        };
        self.world.change(self.id, |version| version.fulfilled |= markable(version));
    }

    fn say(&self, words: impl FnOnce() -> String) {
        self.world.say("handler", || format!("{}: {}", self.id, words()));
    }
}

/// The README's SQL for what was delivered by somebody else.
fn record(tx: &Connection, id: i64, now: &str, who: &str, delivered_by: &str) -> rusqlite::Result<()> {
    let from: Option<String> = row(tx, "SELECT state FROM rewards WHERE commission_id = ?1", &[&id], |row| row.get(0))?;
    let settled = matches!(from.as_deref(), Some("delivered" | "fulfilled" | "reversed"));
    if from.is_none() {
        tx.execute(
            "INSERT INTO rewards (commission_id, key, state, state_since, first_seen_at, owed_since, delivered_at, delivered_by) \
             VALUES (?1, ?2, 'delivered', ?3, ?3, ?3, ?3, ?4)",
            (id, owed::key(id), now, delivered_by),
        )?;
    } else if !settled {
        tx.execute(
            "UPDATE rewards SET state = 'delivered', state_since = ?2, delivered_at = ?2, delivered_by = ?3, hold_reason = NULL, \
             next_attempt_at = NULL, last_error = NULL, failures = 0, uncertain = 0, mark_attempts = 0, mark_error = NULL \
             WHERE commission_id = ?1",
            (id, now, delivered_by),
        )?;
    }
    if !settled {
        tx.execute(
            "INSERT INTO journal (commission_id, at, from_state, to_state, reason, actor) \
             VALUES (?1, ?2, ?3, 'delivered', 'recorded as delivered', ?4)",
            (id, now, from, who),
        )?;
    }
    tx.execute("DELETE FROM claims WHERE commission_id = ?1 AND owner = ?2", (id, who))?;
    Ok(())
}
