//! The merchant's systems: their requests, effects and answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use makegood::{
    delivery::{Deliver, Delivery},
    domain::{RecipientKind, Timestamp},
    failure::Outcome,
};

use super::{
    commission::{Content, Party, Poison},
    evidence::{By, Effect, Heard, Request, Said},
    fault::Fault,
    process::Process,
    terms::Target,
    timeline::{HOUR, Ms, SECOND, Slot, Whose, later},
    world::World,
};

/// The merchant's side of the world.
#[derive(Default)]
pub struct Merchant {
    /// The keys that each place has seen while it deduplicated.
    seen: BTreeSet<(u32, String)>,
    down_until: BTreeMap<u32, Timestamp>,
    refuses_until: BTreeMap<u32, Timestamp>,
    /// Deliveries that may still arrive, by commission.
    under_way: BTreeMap<i64, usize>,
}

impl Merchant {
    /// Whether a delivery of this commission may still arrive.
    pub fn awaits(&self, commission: i64) -> bool {
        self.under_way.get(&commission).is_some_and(|count| *count > 0)
    }
}

/// The seam of [`makegood::delivery`], for one process.
pub struct SimTargets {
    pub world: Rc<World>,
    pub process: Rc<Process>,
}

impl Deliver for SimTargets {
    async fn deliver(&self, target: &str, delivery: &Delivery) -> Outcome {
        let (world, process) = (&self.world, &self.process);
        process.alive().await;
        let target = world.terms.borrow().targets.iter().find(|it| it.name == target).cloned();
        let Some(target) = target else {
            return Outcome::NotDelivered { detail: "no such target".to_owned(), retry_after: None };
        };
        let id = delivery.commission_id.0;
        let number = world.note_request(process, &target, delivery);
        process.delivering.borrow_mut().insert(id);
        let outcome = self.send(number, target, delivery).await;
        process.delivering.borrow_mut().remove(&id);
        world.evidence.borrow_mut().requests[number].heard = Some(Heard { at: world.now(), what: said(&outcome) });
        world.say(&process.name, || format!("hears of {id}: {outcome:?}"));
        outcome
    }
}

impl SimTargets {
    async fn send(&self, number: usize, target: Target, delivery: &Delivery) -> Outcome {
        let world = &self.world;
        let slot = Slot::new();
        let (go, back) = travel(world, &target);
        let (key, id) = (delivery.key.as_str().to_owned(), delivery.commission_id.0);
        let content = content(delivery);
        let (sender, reply, timeout) = (self.process.departure(world), slot.clone(), target.timeout);
        *world.merchant.borrow_mut().under_way.entry(id).or_default() += 1;
        world.time.after(go, Whose::Network, move |world| {
            if let Some(count) = world.merchant.borrow_mut().under_way.get_mut(&id) {
                *count -= 1;
            }
            if sender.arrives(world) {
                let outcome = world.receive(&target, By::Makegood(number), &key, id, &content);
                world.time.after(back, Whose::Network, move |_| reply.fill(outcome));
            }
        });
        let late = slot.clone();
        world.time.after(timeout, Whose::Network, move |_| late.fill(unknown("no answer in time", None)));
        slot.await
    }
}

/// The travelling times there and back.
fn travel(world: &World, target: &Target) -> (Ms, Ms) {
    if world.strikes(Fault::TargetLate) {
        return (target.timeout + world.rng.skewed(HOUR), 0);
    }
    let slow = if world.strikes(Fault::TargetSlow) { world.rng.skewed(target.timeout + 5 * SECOND) } else { 0 };
    (5 + world.rng.skewed(300), 5 + world.rng.skewed(100) + slow)
}

impl World {
    /// A delivery arrives. The target acts and answers.
    pub fn receive(&self, target: &Target, by: By, key: &str, id: i64, content: &Content) -> Outcome {
        let now = self.now();
        if let Some(outcome) = self.never_delivers(target, id) {
            return outcome;
        }
        let down_until = self.merchant.borrow().down_until.get(&target.place).copied();
        if down_until.is_some_and(|until| until > now && !self.weather.is_fair()) {
            return certainly_not("no connection", None);
        }
        if self.rng.chance(100) && self.strikes(Fault::TargetDown) {
            let until = later(now, self.rng.skewed(6 * HOUR));
            self.merchant.borrow_mut().down_until.insert(target.place, until);
            self.say(target.name, || format!("is down until {until}"));
            return certainly_not("no connection", None);
        }
        let retry_after = || {
            self.strikes(Fault::TargetAsksToWait)
                .then(|| Duration::from_millis(self.rng.skewed(24 * HOUR).unsigned_abs()))
        };
        if self.strikes(Fault::TargetCannot) {
            return certainly_not("429", retry_after());
        }
        if self.strikes(Fault::TargetRefuses) {
            return Outcome::Refused { detail: "no such customer".to_owned() };
        }
        if self.strikes(Fault::TargetFailsBefore) {
            return unknown("503", retry_after());
        }
        self.take(target, by, key, id, content);
        if self.strikes(Fault::TargetFailsAfter) {
            return unknown("502", retry_after());
        }
        Outcome::Delivered { receipt: Some(format!("{}-{id}", target.name)) }
    }

    /// The answer of a target that fails for this reward always, or for all rewards for a while.
    fn never_delivers(&self, target: &Target, id: i64) -> Option<Outcome> {
        let poison = self.firstpromoter.borrow().get(id).and_then(|it| it.poison);
        if let Some(poison) = poison {
            self.meet(poison.fault());
            return Some(match poison {
                Poison::Fails => unknown("500", None),
                Poison::Cannot => certainly_not("not today", None),
                Poison::Refused => Outcome::Refused { detail: "never".to_owned() },
            });
        }
        let now = self.now();
        if self.later.chance(250) && self.strikes_later(Fault::RefusesAll) {
            let until = later(now, HOUR + self.later.skewed(12 * HOUR));
            self.merchant.borrow_mut().refuses_until.insert(target.place, until);
            self.say(target.name, || format!("refuses everything until {until}"));
        }
        let refuses_until = self.merchant.borrow().refuses_until.get(&target.place).copied();
        let refuses = refuses_until.is_some_and(|until| until > now && !self.weather.is_fair());
        refuses.then(|| Outcome::Refused { detail: "401".to_owned() })
    }

    /// Gives it to the recipient, unless the target has seen the key and deduplicates.
    pub fn take(&self, target: &Target, by: By, key: &str, id: i64, content: &Content) {
        let seen = (target.place, key.to_owned());
        if target.idempotent && !self.merchant.borrow_mut().seen.insert(seen) {
            self.meet(Fault::TargetDeduplicates);
            return self.say(target.name, || format!("has seen {key}"));
        }
        self.say(target.name, || format!("EFFECT {key}: {content} ({by:?})"));
        self.evidence.borrow_mut().effects.push(Effect {
            at: self.now(),
            by,
            target: target.name,
            key: key.to_owned(),
            commission: id,
            content: content.clone(),
        });
    }

    fn note_request(&self, process: &Process, target: &Target, delivery: &Delivery) -> usize {
        let id = delivery.commission_id.0;
        let content = content(delivery);
        self.say(&process.name, || format!("delivers {id} to {}: {content}", target.name));
        let request = Request {
            at: self.now(),
            local: self.local(),
            process: process.number,
            pass: process.pass.get(),
            target: target.clone(),
            terms: Rc::clone(&self.terms.borrow()),
            key: delivery.key.as_str().to_owned(),
            commission: id,
            content,
            attempt: self.witness.attempt(id),
            heard: None,
            intended: self.witness.intends(id, target.name),
            overlaps: self.is_delivering(id),
            confirmed: process.confirmed(id),
            commit_took: process.commit_took.get(),
            forgetful: self.copies.borrow().is_forgetful(),
        };
        let requests = &mut self.evidence.borrow_mut().requests;
        requests.push(request);
        requests.len() - 1
    }
}

fn said(outcome: &Outcome) -> Said {
    match outcome {
        Outcome::Delivered { .. } => Said::Delivered,
        Outcome::NotDelivered { .. } => Said::NotDelivered,
        Outcome::Unknown { .. } => Said::Unknown,
        Outcome::Refused { .. } => Said::Refused,
    }
}

fn content(delivery: &Delivery) -> Content {
    Content {
        unit: delivery.unit.clone(),
        amount: delivery.amount,
        party: match delivery.recipient.kind {
            RecipientKind::Promoter => Party::Promoter,
            RecipientKind::Referral => Party::Referral,
        },
        recipient: delivery.recipient.id,
    }
}

fn certainly_not(detail: &str, retry_after: Option<Duration>) -> Outcome {
    Outcome::NotDelivered { detail: detail.to_owned(), retry_after }
}

fn unknown(detail: &str, retry_after: Option<Duration>) -> Outcome {
    Outcome::Unknown { detail: detail.to_owned(), retry_after }
}
