//! Changes of the configuration between two processes: targets move, get other names, begin or stop to deduplicate; units,
//! campaigns, limits and holds come and go.

use std::{collections::BTreeSet, rc::Rc};

use makegood::domain::Timestamp;

use super::{
    commission::UNITS,
    fault::Fault,
    terms::{Target, Terms},
    timeline::{DAY, later},
    world::{World, start},
};

type Change = fn(&World, &mut Terms);

const CHANGES: [(Fault, Change); 8] = [
    (Fault::TargetMoves, |world, terms| {
        let place = terms.new_place();
        world.a_target(terms).place = place;
    }),
    (Fault::TargetRenamed, |world, terms| {
        let target = world.a_target(terms);
        target.name = target.other_name();
    }),
    (Fault::TargetFlips, |world, terms| {
        let target = world.a_target(terms);
        target.idempotent = !target.idempotent;
    }),
    (Fault::TargetRetyped, |world, terms| {
        let place = terms.new_place();
        let target = world.a_target(terms);
        target.place = place;
        target.command = !target.command;
        target.concurrency = if target.command { 1 } else { 1 + world.later.below(4) };
    }),
    (Fault::UnitsChange, |world, terms| {
        terms.units = UNITS.into_iter().filter(|unit| *unit == "points" || world.later.chance(700)).collect();
    }),
    (Fault::CampaignsChange, |world, terms| {
        terms.campaigns = (1..=3).filter(|_| world.later.chance(500)).collect();
    }),
    (Fault::LimitsChange, |world, terms| {
        terms.max_points = *world.later.pick(&[100, 1000, 100_000, 100_000]);
        terms.fuse = *world.later.pick(&[2, 10, 100, 100]);
    }),
    (Fault::HoldsChange, |world, terms| {
        terms.hold_fraud = world.later.chance(600);
        terms.hold_self_referral = world.later.chance(600);
        terms.deliver_from = if world.later.chance(300) { later(start(), -5 * DAY) } else { Timestamp::UNIX_EPOCH };
    }),
];

impl World {
    /// Between two processes, somebody edits the file.
    pub fn configuration_changes(&self) {
        for (fault, change) in CHANGES {
            if self.weather.enables(fault) && self.strikes_later(fault) {
                self.reconfigure(|terms| change(self, terms));
                self.say("", || format!("{}: {:?}", fault.words(), self.terms.borrow()));
            }
        }
    }

    /// Picks a target. Most often one with an attempt in doubt, because people change a target when there is trouble with
    /// it.
    fn a_target<'a>(&self, terms: &'a mut Terms) -> &'a mut Target {
        let rewards = self.witness.rewards().into_values();
        let doubtful = rewards.filter(|it| it.uncertain || it.state == "delivering").filter_map(|it| it.target);
        let doubtful: BTreeSet<String> = doubtful.collect();
        let is_doubtful = |it: &&mut Target| doubtful.contains(it.name);
        let in_doubt = terms.targets.iter().filter(|it| doubtful.contains(it.name)).count();
        if in_doubt > 0 && self.later.chance(700) {
            let nth = self.later.below(in_doubt);
            return terms.targets.iter_mut().filter(is_doubtful).nth(nth).expect("there are so many");
        }
        self.later.pick_mut(&mut terms.targets)
    }

    /// For later processes.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Terms)) {
        let mut terms = Terms::clone(&self.terms.borrow());
        change(&mut terms);
        *self.terms.borrow_mut() = Rc::new(terms);
    }
}
