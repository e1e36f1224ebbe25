//! Reads what FirstPromoter says now, matches it with the ledger, and plans it, page by page.
//!
//! Guarantees: memory follows what is owed or open, not what was listed, and has a bound ([`ROOM`]). Open ledger rows that a
//! complete listing does not contain are asked about by id before anything is decided about them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::{Order, Pass, PassError, Plan, Progress, confirm::CANDIDATES};
use crate::{
    clock::Clock,
    config::{Policy, RecipientPolicy},
    delivery::{Deliver, Fingerprint},
    domain::{Commission, CommissionId, CommissionStatus, Timestamp, Unit},
    firstpromoter::{
        Api, Truth, listing,
        truth::{Answers, Canaries},
    },
    ledger::Reward,
    plan::{self, Context, Entry, Item, Observation, Rules, Step},
};

/// Suppose a batch is under way when a person reverses a reward, and takes effect afterwards: FirstPromoter then calls the
/// reversed reward fulfilled. A pass watches for this so long.
const REVERSED_WATCHED: chrono::TimeDelta = chrono::TimeDelta::days(1);

/// What was observed of one commission, before it is planned.
struct Observed {
    observation: Observation,
    reward: Option<Reward>,
    /// Set for settled rewards, which depend on nothing that is still to be read.
    step: Option<Step>,
}

impl<A: Api, D: Deliver, C: Clock> Pass<'_, A, D, C> {
    /// Reads everything, then plans.
    pub(super) async fn observe(
        &self,
        order: &Order,
        targets: &BTreeMap<String, Fingerprint>,
    ) -> Result<Plan, PassError> {
        let now = self.clock.now();
        let claims = self.ledger.claims_of_others(now)?;
        let mut plan = Plan { now, ..Plan::default() };
        let observed = if order.only.is_empty() {
            self.observe_all(&mut plan, targets, now).await?
        } else {
            self.observe_only(&order.only, &mut plan).await?
        };
        // Suppose FirstPromoter put the listing off for a minute. Somebody approved a reward meanwhile: its grace period must not
        // count from before.
        let now = self.clock.now();
        plan.now = now;
        plan.claims = claims;
        plan.rules = self.rules(&observed, &mut plan).await?;
        let cx = Context { policy: &self.settings.policy, targets, rules: &plan.rules, now };
        for (id, Observed { observation, reward, step }) in observed {
            let entry = Entry { reward: reward.as_ref(), claimed_until: plan.claims.get(&id).copied() };
            let step = step.unwrap_or_else(|| plan::decide(&observation, entry, cx));
            let (facts, listed) = match &observation {
                Observation::Listed(commission) => (plan::facts(commission, cx.policy, cx.rules), true),
                Observation::Fulfilled | Observation::NotApproved(_) | Observation::Gone | Observation::Unclear => {
                    (reward.as_ref().map(|reward| reward.facts.clone()).unwrap_or_default(), false)
                }
            };
            plan.items.insert(id, Item { step, facts, reward, listed });
        }
        Ok(plan)
    }

    /// Reads the whole listing, and the open ledger rows that it does not contain.
    async fn observe_all(
        &self,
        plan: &mut Plan,
        targets: &BTreeMap<String, Fingerprint>,
        now: Timestamp,
    ) -> Result<BTreeMap<CommissionId, Observed>, PassError> {
        let mut open = self.ledger.open_ids()?;
        open.extend(self.ledger.reversed_since(now - REVERSED_WATCHED)?);
        let rules = Rules { known: self.ledger.reward_rules(now)?, ..Rules::default() };
        let cx = Context { policy: &self.settings.policy, targets, rules: &rules, now };
        let mut observed = BTreeMap::new();
        let mut failure = None;
        let over = CancellationToken::new();
        let (mut rows_so_far, mut room) = (0, ROOM);
        let listing = listing::unfulfilled(self.api, |rows| {
            rows_so_far += rows.len() as u64;
            (self.progress)(Progress::Listed(rows_so_far));
            if let Err(error) = self.take_page(rows, &mut open, &mut observed, &mut room, cx) {
                failure.get_or_insert(error);
                over.cancel();
            }
        });
        let listed = tokio::select! {
            // The listing first: it has sent its next request by the time a page is taken.
            biased;
            () = over.cancelled() => None,
            listed = self.unless_stopped(listing) => Some(listed),
        };
        if let Some(error) = failure {
            return Err(error);
        }
        let listed = listed.unwrap_or(Err(PassError::Stopped))?;
        plan.listed = listed.rows;
        plan.longest_page = listed.longest_page;
        let mut vanished: Vec<CommissionId> = open.into_iter().collect();
        vanished.sort_unstable();
        let listed: BTreeSet<CommissionId> = observed.keys().copied().collect();
        observed.extend(self.ask(&vanished, &listed).await?.into_iter().filter(|(_, it)| it.reward.is_some()));
        Ok(observed)
    }

    /// Keeps the rows that are in scope, or open in the ledger.
    fn take_page(
        &self,
        rows: Vec<Commission>,
        open: &mut HashSet<CommissionId>,
        observed: &mut BTreeMap<CommissionId, Observed>,
        room: &mut usize,
        cx: Context<'_>,
    ) -> Result<(), PassError> {
        let ours: Vec<Commission> =
            rows.into_iter().filter(|row| open.contains(&row.id) || plan::in_scope(row, cx.policy)).collect();
        let ids: Vec<CommissionId> = ours.iter().map(|row| row.id).collect();
        let mut rewards = if ids.is_empty() { HashMap::new() } else { self.ledger.rewards(&ids)? };
        for commission in ours {
            let id = commission.id;
            open.remove(&id);
            let reward = rewards.remove(&id);
            let observation = Observation::Listed(Box::new(commission));
            let over = reward.as_ref().filter(|reward| reward.state.word().is_over());
            let step =
                over.map(|over| plan::decide(&observation, Entry { reward: Some(over), claimed_until: None }, cx));
            if !matches!(step, Some(Step::Leave(_))) {
                *room = room.checked_sub(size(&observation)).ok_or(PassError::TooMany)?;
                observed.insert(id, Observed { observation, reward, step });
            }
        }
        Ok(())
    }

    /// Reads only these, in any state, and notes those that neither FirstPromoter nor the ledger knows.
    async fn observe_only(
        &self,
        ids: &[CommissionId],
        plan: &mut Plan,
    ) -> Result<BTreeMap<CommissionId, Observed>, PassError> {
        let mut observed = self.ask(ids, &BTreeSet::new()).await?;
        plan.listed = observed.values().filter(|it| matches!(it.observation, Observation::Listed(_))).count() as u64;
        observed.retain(|id, it| {
            let nobody_knows = it.reward.is_none() && it.observation == Observation::Gone;
            if nobody_knows {
                plan.unknown_ids.push(*id);
            }
            !nobody_knows
        });
        Ok(observed)
    }

    /// Asks about single commissions both ways, and without a filter for those in neither answer. `listed`: those that were
    /// just listed as unfulfilled.
    async fn ask(
        &self,
        ids: &[CommissionId],
        listed: &BTreeSet<CommissionId>,
    ) -> Result<BTreeMap<CommissionId, Observed>, PassError> {
        let ids: Vec<CommissionId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        // A person may have marked some of the latest as unfulfilled. They were just listed, and prove nothing.
        let fulfilled = self.ledger.canaries(CANDIDATES)?.into_iter().filter(|id| !listed.contains(id)).collect();
        let canaries = Canaries { fulfilled, unfulfilled: listed.iter().copied().collect() };
        let truth = Truth::new(self.api, self.clock, canaries);
        let Answers { unfulfilled, fulfilled, .. } = self.unless_stopped(truth.either(&ids)).await?;
        let answered: HashSet<CommissionId> = unfulfilled.keys().copied().chain(fulfilled.iter().copied()).collect();
        let neither: Vec<CommissionId> = ids.iter().copied().filter(|id| !answered.contains(id)).collect();
        let rest = if neither.is_empty() {
            Vec::new()
        } else {
            self.unless_stopped(listing::by_ids(self.api, &neither)).await?
        };
        // The server may have cut the answer under `yes`. This question is read until all of them have come, or to its end.
        let unclear: Vec<CommissionId> =
            rest.iter().filter(|row| neither_way(row) == Observation::Unclear).map(|row| row.id).collect();
        let (cut_off, trouble) = self.unless_stopped(truth.read_back(&unclear).map(Ok::<_, PassError>)).await?;
        if let Some(error) = trouble {
            return Err(error.into());
        }
        let mut observations: HashMap<CommissionId, Observation> =
            fulfilled.into_iter().map(|id| (id, Observation::Fulfilled)).collect();
        observations.extend(unfulfilled.into_iter().map(|(id, row)| (id, open_or_not(row))));
        observations.extend(rest.into_iter().map(|row| (row.id, neither_way(&row))));
        observations.extend(cut_off.into_iter().map(|id| (id, Observation::Fulfilled)));
        let mut rewards = self.ledger.rewards(&ids)?;
        Ok(ids
            .into_iter()
            .map(|id| {
                let observation = observations.remove(&id).unwrap_or(Observation::Gone);
                (id, Observed { observation, reward: rewards.remove(&id), step: None })
            })
            .collect())
    }

    /// The reward rules. Asks for them only where a commission needs a rule that is unknown or was not read for a day; then the
    /// answer counts for every rule. A failure does not fail the pass: rewards that need a rule are held, and all others go on.
    async fn rules(&self, observed: &BTreeMap<CommissionId, Observed>, plan: &mut Plan) -> Result<Rules, PassError> {
        let mut rules = Rules { known: self.ledger.reward_rules(plan.now)?, ..Rules::default() };
        let asks = self.settings.policy.recipient == RecipientPolicy::Auto;
        if !asks || !observed.values().any(|it| needs_rule(it, &rules, &self.settings.policy)) {
            return Ok(rules);
        }
        match self.unless_stopped(self.api.rewards()).await {
            Ok(fresh) => {
                rules.known.extend(fresh.iter().map(|rule| (rule.id, plan::recipient_of(rule))));
                plan.fresh_rules = fresh;
            }
            Err(PassError::Api(error)) => {
                rules.passing = !matches!(error.status(), Some(403 | 404));
                rules.refused = Some(super::in_full(&error));
            }
            Err(error) => return Err(error),
        }
        Ok(rules)
    }
}

/// How much of what is owed or open a pass keeps, in bytes: some 300,000 rewards with texts of ordinary length. A server whose
/// list never ends must not fill the machine's memory.
const ROOM: usize = 256 * 1024 * 1024;

/// Roughly the memory for one commission, with its plan and its ledger row.
fn size(observation: &Observation) -> usize {
    const ALONE: usize = 800;
    let Observation::Listed(commission) = observation else { return ALONE };
    let promoter = commission.promoter.known().map(|it| [it.email.as_deref(), it.name.as_deref()]);
    let referral = commission.referral.known().map(|it| [it.email.as_deref(), it.uid.as_deref()]);
    let campaign = commission.campaign.as_ref().and_then(|it| it.name.as_deref());
    let reward = commission.reward.known().and_then(|it| it.name.as_deref());
    let parties = [promoter, referral].into_iter().flatten().flatten().flatten();
    // Once as received, and once as recorded.
    ALONE + 2 * parties.chain(campaign).chain(reward).map(str::len).sum::<usize>()
}

/// Whether its recipient depends on a rule that is unknown, or does not say.
fn needs_rule(it: &Observed, rules: &Rules, policy: &Policy) -> bool {
    let Observation::Listed(commission) = &it.observation else { return false };
    let open = it.reward.as_ref().is_none_or(|reward| !reward.state.word().is_over());
    let unknown =
        commission.reward.known().is_some_and(|reward| rules.known.get(&reward.id).copied().flatten().is_none());
    open && unknown && plan::in_scope(commission, policy)
}

fn open_or_not(row: Commission) -> Observation {
    match row.status {
        // An unknown status says neither that it is owed nor that it is not. It is held, not cancelled.
        CommissionStatus::Approved | CommissionStatus::Unknown(_) => Observation::Listed(Box::new(row)),
        CommissionStatus::Pending | CommissionStatus::Denied => {
            Observation::NotApproved(row.status.as_str().to_owned())
        }
    }
}

fn neither_way(row: &Commission) -> Observation {
    match (&row.status, &row.unit) {
        // FirstPromoter itself pays a commission that became money.
        (CommissionStatus::Approved, Unit::Cash) => Observation::NotApproved("cash".to_owned()),
        (CommissionStatus::Approved | CommissionStatus::Unknown(_), _) => Observation::Unclear,
        (CommissionStatus::Pending | CommissionStatus::Denied, _) => {
            Observation::NotApproved(row.status.as_str().to_owned())
        }
    }
}
