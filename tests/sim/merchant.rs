//! The merchant's systems: what they are asked for, what they do, and what they say.

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
    commission::{Content, Party},
    evidence::{By, Effect, Request},
    fault::Fault,
    process::Process,
    terms::Target,
    timeline::{HOUR, Ms, SECOND, Slot, Whose, later},
    world::World,
};

/// The merchant's side of the world.
#[derive(Default)]
pub struct Merchant {
    /// Keys that each target has seen.
    seen: BTreeSet<(String, String)>,
    down_until: BTreeMap<String, Timestamp>,
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
        let number = world.note_request(process, target.name, delivery);
        process.delivering.borrow_mut().insert(id);
        let outcome = self.send(number, target, delivery).await;
        process.delivering.borrow_mut().remove(&id);
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

/// How long it takes there and back.
fn travel(world: &World, target: &Target) -> (Ms, Ms) {
    if world.strikes(Fault::TargetLate) {
        return (target.timeout + world.rng.skewed(HOUR), 0);
    }
    let slow = if world.strikes(Fault::TargetSlow) { world.rng.skewed(target.timeout + 5 * SECOND) } else { 0 };
    (5 + world.rng.skewed(300), 5 + world.rng.skewed(100) + slow)
}

impl World {
    /// A delivery arrives; what the target does, and says.
    pub fn receive(&self, target: &Target, by: By, key: &str, id: i64, content: &Content) -> Outcome {
        let now = self.now();
        let down_until = self.merchant.borrow().down_until.get(target.name).copied();
        if down_until.is_some_and(|until| until > now && !self.weather.is_fair()) {
            return certainly_not("no connection", None);
        }
        if self.rng.chance(100) && self.strikes(Fault::TargetDown) {
            let until = later(now, self.rng.skewed(6 * HOUR));
            self.merchant.borrow_mut().down_until.insert(target.name.to_owned(), until);
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

    /// The recipient gets it; unless the target has seen the key, and looks at keys.
    pub fn take(&self, target: &Target, by: By, key: &str, id: i64, content: &Content) {
        let new = self.merchant.borrow_mut().seen.insert((target.name.to_owned(), key.to_owned()));
        if target.idempotent && !new {
            self.meet(Fault::TargetDeduplicates);
            return self.say(target.name, || format!("has seen {key}"));
        }
        self.say(target.name, || format!("EFFECT {key}: {content} ({by:?})"));
        self.evidence.borrow_mut().effects.push(Effect {
            at: self.now(),
            by,
            target: target.name.to_owned(),
            idempotent: target.idempotent,
            key: key.to_owned(),
            commission: id,
            content: content.clone(),
        });
    }

    fn note_request(&self, process: &Process, target: &str, delivery: &Delivery) -> usize {
        let id = delivery.commission_id.0;
        let content = content(delivery);
        self.say(&process.name, || format!("delivers {id} to {target}: {content}"));
        let request = Request {
            at: self.now(),
            process: process.number,
            pass: process.pass.get(),
            target: target.to_owned(),
            key: delivery.key.as_str().to_owned(),
            commission: id,
            content,
            intended: self.witness.intends(id, target),
            overlaps: self.is_delivering(id),
            confirmed: process.confirmed(id),
            resumes: self.witness.resumes(id),
        };
        let requests = &mut self.evidence.borrow_mut().requests;
        requests.push(request);
        requests.len() - 1
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
