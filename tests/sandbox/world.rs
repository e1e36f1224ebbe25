//! A small believable world: Lumen, a note-taking app, whose webhook handler was down for a day.

use std::{collections::BTreeMap, io, path::Path};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::{
    Sandbox,
    commission::{Commission, commission, now},
    firstpromoter::Reward,
    merchant::Effect,
};

/// The data of FirstPromoter and the merchant, saved between two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct World {
    pub commissions: Vec<Commission>,
    pub rewards: Vec<Reward>,
    pub effects: Vec<Effect>,
}

impl World {
    /// The present world of a sandbox.
    pub fn of(sandbox: &Sandbox) -> Self {
        Self {
            commissions: sandbox.firstpromoter.all(),
            rewards: sandbox.firstpromoter.lock().rewards.values().cloned().collect(),
            effects: sandbox.merchant.lock().effects.clone(),
        }
    }

    /// Puts the sandbox into this world.
    pub fn enter(self, sandbox: &Sandbox) {
        sandbox.firstpromoter.lock().rewards =
            self.rewards.into_iter().map(|reward| (reward.id, reward)).collect::<BTreeMap<_, _>>();
        sandbox.firstpromoter.add_all(self.commissions);
        sandbox.merchant.lock().effects = self.effects;
    }

    /// Reads what [`World::save`] wrote.
    pub fn load(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Writes the whole file, or nothing.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension("json.new");
        std::fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(draft, path)
    }
}

/// Fills the sandbox: of 14 commissions the handler delivered three and missed six, one to five in each unit and to
/// both parties; the other five must be left alone.
pub fn small_world(sandbox: &Sandbox) {
    let firstpromoter = &sandbox.firstpromoter;
    firstpromoter.lock().rewards.clear();
    firstpromoter.add_reward(9, "500 points per sale", true, "points", 500);
    firstpromoter.add_reward(10, "50 credits for the friend", false, "credits", 50);
    firstpromoter.add_reward(11, "A free month for the friend", false, "free_months", 1);
    firstpromoter.add_reward(12, "15.00 off for the friend", false, "mon_discount", 1500);
    firstpromoter.add_reward(13, "20 per cent off for partners", true, "discount_per", 20);
    firstpromoter.add_reward(14, "30 per cent of each sale", true, "cash", 1470);

    let pat = |c: Commission| c.promoter(501, "pat@ellis.example", "Pat Ellis");
    let noor = |c: Commission| c.promoter(502, "noor@haddad.example", "Noor Haddad");
    let jonas = |c: Commission| c.promoter(503, "jonas@weber.example", "Jonas Weber");
    let mia = |c: Commission| c.referral(9001, "mia@chen.example", Some("lumen_1841"));
    let tom = |c: Commission| c.referral(9002, "tom@okafor.example", Some("lumen_1852"));
    let lea = |c: Commission| c.referral(9003, "lea@moreau.example", None);
    let spring = |c: Commission| c.campaign(17, "Spring");
    let friends = |c: Commission| c.campaign(18, "Bring a friend");

    firstpromoter.add_all([
        // The handler was up: delivered and marked.
        approved(pat(mia(spring(commission(88901)))), 96).reward(9, "500 points per sale"),
        approved(pat(mia(friends(commission(88902).credits(50)))), 96).reward(10, "50 credits for the friend"),
        approved(noor(tom(friends(commission(88903).free_months(1)))), 72).reward(11, "A free month for the friend"),
        // The handler was down.
        approved(pat(tom(spring(commission(88904)))), 26).reward(9, "500 points per sale"),
        approved(pat(tom(friends(commission(88905).credits(50)))), 26).reward(10, "50 credits for the friend"),
        approved(noor(lea(friends(commission(88906).free_months(1)))), 25).reward(11, "A free month for the friend"),
        approved(noor(lea(friends(commission(88907).mon_discount(1500)))), 22).reward(12, "15.00 off for the friend"),
        approved(jonas(mia(spring(commission(88908).discount_per(20)))), 20).reward(13, "20 per cent off for partners"),
        approved(jonas(spring(commission(88909).points(250))), 19).custom(),
        // Not makegood's, or not yet.
        approved(pat(lea(spring(commission(88910)))), 0).reward(9, "500 points per sale"),
        approved(jonas(tom(spring(commission(88911)))), 23)
            .reward(9, "500 points per sale")
            .suspected("same_ip_suspicion"),
        approved(noor(mia(spring(commission(88912).cash(1470)))), 24).reward(14, "30 per cent of each sale"),
        born(noor(tom(spring(commission(88913)))), 2).reward(9, "500 points per sale"),
        born(jonas(lea(friends(commission(88914).credits(50)))), 30)
            .reward(10, "50 credits for the friend")
            .denied(&now().to_rfc3339()),
    ]);
    for id in [88901, 88902, 88903] {
        sandbox.handler_delivers(id);
    }
}

fn born(mut commission: Commission, hours_ago: i64) -> Commission {
    commission.created_at = Some(now() - TimeDelta::hours(hours_ago));
    commission
}

/// Approved this long ago (0: just now), created a week before.
fn approved(commission: Commission, hours_ago: i64) -> Commission {
    born(commission, hours_ago + 168).approved_at(now() - TimeDelta::hours(hours_ago))
}
