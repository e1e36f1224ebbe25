//! The decisions, compared with the manual.

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;

use super::{open::NEITHER, *};
use crate::{
    config::{RecipientPolicy, Retry, Route, TargetKind, TargetSettings},
    domain::{
        Amount, Campaign, CommissionId, CommissionStatus, DeliveryKey, Promoter, RecipientKind, Reference, Referral,
        RewardRef, Unit, upstream_timestamp_text,
    },
    firstpromoter::RewardRule,
    ledger::{Attempted, DeliveredBy, Drift, Given, Marking, Tried},
};

mod manual;
mod owed;
mod properties;
mod table;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The time of all these tests.
fn now() -> Timestamp {
    at("2026-01-01T12:00:00Z")
}

fn in_minutes(minutes: i64) -> Timestamp {
    now() + TimeDelta::minutes(minutes)
}

fn promoter() -> Promoter {
    Promoter { id: 3, email: Some("p@example.com".to_owned()), name: Some("Pat".to_owned()) }
}

fn referral() -> Referral {
    Referral { id: 4, email: Some("r@example.com".to_owned()), uid: Some("cus_4".to_owned()) }
}

/// 500 points for the promoter by rule 9, approved an hour ago, without any obstacle.
fn commission() -> Commission {
    Commission {
        id: CommissionId(7),
        status: CommissionStatus::Approved,
        unit: Unit::Points,
        amount: Amount::Whole(500),
        is_custom: false,
        is_self_referral: false,
        fraud_suspicion: None,
        promoter: Reference::To(promoter()),
        referral: Reference::To(referral()),
        campaign: Some(Campaign { id: 17, name: None }),
        reward: Reference::To(RewardRef { id: 9, name: None }),
        created_at: Some(at("2025-12-31T00:00:00Z")),
        status_updated_at: Some(in_minutes(-60)),
    }
}

/// What the ledger records of [`commission`].
fn recorded() -> Facts {
    Facts {
        unit: Some(Unit::Points),
        amount: Some(500),
        recipient: Some(RecipientKind::Promoter),
        promoter: Some(promoter()),
        referral: Some(referral()),
        campaign: Some(Campaign { id: 17, name: None }),
        reward: Some(RewardRef { id: 9, name: None }),
        approved_at: Some(in_minutes(-60)),
        created_at: Some(at("2025-12-31T00:00:00Z")),
    }
}

/// The row of [`commission`], seen an hour ago and never tried.
pub(crate) fn reward(state: RewardState) -> Reward {
    let given = || Given { by: DeliveredBy::Makegood, at: Some(in_minutes(-50)), receipt: None };
    let place = Attempted { target: "app".to_owned(), fingerprint: None };
    let tried = if state == RewardState::Delivering { Tried::InDoubt(place) } else { Tried::Never };
    Reward {
        id: CommissionId(7),
        key: DeliveryKey::new("12345", CommissionId(7)),
        facts: recorded(),
        state: match state {
            RewardState::Waiting => State::Waiting { until: in_minutes(-45), why: Wait::Grace, last_error: None },
            RewardState::Delivering => State::Delivering,
            RewardState::Held => State::Held { reason: HoldReason::Fuse, detail: None, until: None },
            RewardState::Delivered => State::Delivered { given: given(), marking: Marking::default() },
            RewardState::Fulfilled => State::Fulfilled { given: given(), at: in_minutes(-40), drift: None },
            RewardState::Cancelled => State::Cancelled,
            RewardState::Reversed => State::Reversed { receipt: None, drift: None },
            RewardState::Dismissed => State::Dismissed,
        },
        since: in_minutes(-60),
        first_seen_at: in_minutes(-60),
        owed_since: in_minutes(-60),
        attempts: 0,
        failures: 0,
        first_attempt_at: None,
        tried,
    }
}

fn held(reason: HoldReason) -> Reward {
    Reward { state: State::Held { reason, detail: None, until: None }, ..reward(RewardState::Held) }
}

/// The same with another end of its wait, of its backoff, or of its time without marking.
fn until(at: Timestamp, mut row: Reward) -> Reward {
    match &mut row.state {
        State::Waiting { until, .. } => *until = at,
        State::Held { until, .. } => *until = Some(at),
        State::Delivered { marking, .. } => marking.not_before = Some(at),
        State::Delivering | State::Fulfilled { .. } | State::Cancelled | State::Reversed { .. } | State::Dismissed => {}
    }
    row
}

/// The same, and FirstPromoter contradicts it.
fn drifting(drift: Drift, mut row: Reward) -> Reward {
    match &mut row.state {
        State::Fulfilled { drift: known, .. } | State::Reversed { drift: known, .. } => *known = Some(drift),
        State::Waiting { .. }
        | State::Delivering
        | State::Held { .. }
        | State::Delivered { .. }
        | State::Cancelled
        | State::Dismissed => {}
    }
    row
}

/// Delivered, and not marked so often.
fn not_marked(failures: u32, error: Option<&str>) -> Reward {
    let given = Given { by: DeliveredBy::Makegood, at: Some(in_minutes(-50)), receipt: None };
    let marking = Marking { failures, error: error.map(str::to_owned), not_before: None };
    Reward { state: State::Delivered { given, marking }, ..reward(RewardState::Delivered) }
}

/// Of a target at this place.
fn at_place(place: &str, idempotent: bool) -> Fingerprint {
    let kind = TargetKind::Http {
        url: format!("https://{place}.example.com/").parse().unwrap(),
        ca_file: None,
        concurrency: 4,
    };
    Fingerprint::of(&TargetSettings { timeout: Duration::from_secs(20), idempotent, kind })
}

/// Two failed attempts at `target`, the next one due at `next`.
fn tried(base: Reward, target: &str, next: Timestamp) -> Reward {
    let mut row = until(next, base);
    if let State::Waiting { why, .. } = &mut row.state {
        *why = Wait::Backoff;
    }
    let tried = Tried::At(Attempted { target: target.to_owned(), fingerprint: None });
    Reward { tried, attempts: 2, failures: 2, first_attempt_at: Some(in_minutes(-30)), ..row }
}

/// One of the attempts may have taken effect.
fn uncertain(base: Reward) -> Reward {
    let tried = match base.tried {
        Tried::At(place) | Tried::InDoubt(place) => Tried::InDoubt(place),
        Tried::Never => panic!("nothing was tried"),
    };
    Reward { tried, ..base }
}

fn delivering_at(target: &str) -> Reward {
    let tried = Tried::InDoubt(Attempted { target: target.to_owned(), fingerprint: None });
    let base = reward(RewardState::Delivering);
    Reward { tried, attempts: 1, first_attempt_at: Some(in_minutes(-5)), ..base }
}

fn route(target: &str) -> Route {
    Route { unit: None, recipient: None, campaign: None, target: target.to_owned() }
}

/// Everything that a decision depends on: the manual's defaults, and three targets; everything goes to `app`.
#[derive(Debug)]
struct World {
    policy: Policy,
    targets: BTreeMap<String, Fingerprint>,
    rules: Rules,
    claimed_until: Option<Timestamp>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self {
            policy: Policy {
                grace: Duration::from_mins(15),
                units: Unit::NON_MONETARY.to_vec(),
                campaigns: Vec::new(),
                deliver_from: at("1970-01-01T00:00:00Z"),
                recipient: RecipientPolicy::Auto,
                hold_fraud_suspicion: true,
                hold_self_referral: true,
                max_deliveries_per_pass: 100,
                max_amount: BTreeMap::from([(Unit::Points, 100_000)]),
                retry: Retry {
                    first: Duration::from_mins(1),
                    factor: 4.0,
                    max: Duration::from_hours(6),
                    give_up_after: Duration::from_hours(168),
                },
                routes: vec![route("app")],
            },
            targets: BTreeMap::from([
                ("app".to_owned(), at_place("app", true)),
                ("spare".to_owned(), at_place("spare", true)),
                ("script".to_owned(), at_place("script", false)),
            ]),
            rules: Rules { known: BTreeMap::from([(9, Some(RecipientKind::Promoter))]), ..Rules::default() },
            claimed_until: None,
            now: now(),
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self::new();
        change(&mut world);
        world
    }

    fn cx(&self) -> Context<'_> {
        Context { policy: &self.policy, targets: &self.targets, rules: &self.rules, now: self.now }
    }

    fn decide(&self, observed: &Observation, reward: Option<&Reward>) -> Step {
        decide(observed, Entry { reward, claimed_until: self.claimed_until }, self.cx())
    }

    /// A commission that FirstPromoter lists, and the ledger knows as `reward` or not at all.
    fn listed(&self, commission: Commission, reward: Option<&Reward>) -> Step {
        self.decide(&Observation::Listed(Box::new(commission)), reward)
    }

    /// The same, and in short: see [`said`].
    fn says(&self, commission: Commission, reward: Option<&Reward>) -> String {
        said(&self.listed(commission, reward))
    }
}

/// [`commission`] with a change.
fn but(change: impl FnOnce(&mut Commission)) -> Commission {
    let mut commission = commission();
    change(&mut commission);
    commission
}

/// A step in short, as the tables below write it.
fn said(step: &Step) -> String {
    if let Some((_, why)) = waits(step) {
        let why = match why {
            Wait::Due => "nothing",
            Wait::Grace => "grace",
            Wait::Backoff => "backoff",
            Wait::Claimed => "claim",
            Wait::Target(_) => "target",
        };
        return format!("wait for {why}");
    }
    if let Some((reason, _)) = holds(step) {
        return format!("hold {reason}");
    }
    match step {
        Step::Leave(Why::MarkedLater(_)) => "wait for marking".to_owned(),
        Step::Leave(_) => "nothing".to_owned(),
        Step::Deliver { target, resume: false, .. } => format!("deliver {target}"),
        Step::Deliver { target, resume: true, .. } => format!("resume {target}"),
        Step::Mark => "mark".to_owned(),
        Step::Write(Transition::NotMarked { .. }) => "cannot mark".to_owned(),
        Step::Write(Transition::Fulfil { .. }) => "adopt".to_owned(),
        Step::Write(Transition::Cancel { .. }) => "cancel".to_owned(),
        Step::Write(Transition::Drift(_)) => "drift".to_owned(),
        Step::Write(Transition::DriftOver(_)) => "drift over".to_owned(),
        Step::Write(Transition::Wait { .. } | Transition::Hold { .. }) => unreachable!("said above"),
    }
}

/// Until when it waits, and why, whether or not the ledger has that.
fn waits(step: &Step) -> Option<(Timestamp, Wait)> {
    match step {
        Step::Leave(Why::Waits(until, why)) | Step::Write(Transition::Wait { until, why }) => {
            Some((*until, why.clone()))
        }
        Step::Leave(_) | Step::Write(_) | Step::Deliver { .. } | Step::Mark => None,
    }
}

/// Why it is held, whether or not the ledger has that.
fn holds(step: &Step) -> Option<(HoldReason, &str)> {
    match step {
        Step::Leave(Why::Held(reason, detail)) | Step::Write(Transition::Hold { reason, detail }) => {
            Some((*reason, detail))
        }
        Step::Leave(_) | Step::Write(_) | Step::Deliver { .. } | Step::Mark => None,
    }
}

/// A commission for which a plan has this step.
fn item(step: Step, reward: Option<Reward>) -> Item {
    Item { step, facts: Facts::default(), reward, listed: true }
}

fn deliver(target: &str) -> Step {
    Step::Deliver { target: target.to_owned(), resume: false, first: None }
}

/// To be delivered: by turns never tried, and cut off.
fn wanted(count: usize) -> Vec<Item> {
    let resume = || Step::Deliver { target: "app".to_owned(), resume: true, first: None };
    let one = |n: usize| match n % 2 {
        0 => item(deliver("app"), Some(reward(RewardState::Waiting))),
        _ => item(resume(), Some(delivering_at("app"))),
    };
    (0..count).map(one).collect()
}

fn steps(items: &[Item]) -> Vec<Step> {
    items.iter().map(|item| item.step.clone()).collect()
}

#[test]
fn exactly_as_many_deliveries_as_the_fuse_allows_are_fine() {
    let mut items = wanted(3);
    assert_eq!(fuse(items.iter_mut(), 3, now()), None);
    assert_eq!(steps(&items), steps(&wanted(3)));
    assert_eq!(fuse(std::iter::empty(), 0, now()), None, "nothing wanted, nothing asked");
}

#[test]
fn one_more_than_the_fuse_allows_holds_them_all_those_cut_off_included_and_nothing_else() {
    let others = [
        item(Step::Mark, Some(reward(RewardState::Delivered))),
        item(Step::Write(Transition::Fulfil { why: "so it is" }), Some(reward(RewardState::Waiting))),
        item(Step::Leave(Why::Waits(now(), Wait::Grace)), Some(reward(RewardState::Waiting))),
        item(Step::Leave(Why::Fulfilled), Some(reward(RewardState::Fulfilled))),
        item(Step::Leave(Why::Held(HoldReason::NoRoute, "none".to_owned())), Some(held(HoldReason::NoRoute))),
    ];
    let mut items = [wanted(4), others.to_vec()].concat();
    assert_eq!(fuse(items.iter_mut(), 3, now()), Some(4));
    for item in &items[..4] {
        let Step::Write(Transition::Hold { reason: HoldReason::Fuse, detail }) = &item.step else {
            panic!("{:?} is delivered", item.step)
        };
        assert!(detail.contains('4') && detail.contains('3'), "{detail}");
    }
    assert_eq!(steps(&items[4..]), steps(&others));
}

#[test]
fn a_fuse_of_zero_always_asks_and_what_it_holds_already_is_not_held_again() {
    let anew = Some(Transition::Wait { until: now(), why: Wait::Due });
    for (row, writes) in [(None, true), (Some(held(HoldReason::Fuse)), false), (Some(held(HoldReason::Backlog)), true)]
    {
        let step = Step::Deliver { target: "app".to_owned(), resume: false, first: anew.clone() };
        let mut items = [item(step, row)];
        assert_eq!(fuse(items.iter_mut(), 0, now()), Some(1));
        assert_eq!(said(&items[0].step), "hold fuse");
        assert_eq!(items[0].step.transition().is_some(), writes);
    }
}

/// Each of the changes that the manual names: amount, unit and recipient.
fn changes() -> Vec<(&'static str, Commission)> {
    vec![
        ("amount 500 -> 501", but(|it| it.amount = Amount::Whole(501))),
        ("unit points -> credits", but(|it| it.unit = Unit::Credits)),
        ("recipient promoter -> referral", but(|it| it.reward = Reference::To(RewardRef { id: 10, name: None }))),
        ("recipient's id 3 -> 30", but(|it| it.promoter = Reference::To(Promoter { id: 30, ..promoter() }))),
    ]
}

fn world_with_a_rule_for_referrals() -> World {
    World::with(|it| {
        it.rules.known.insert(10, Some(RecipientKind::Referral));
    })
}

#[test]
fn a_change_before_any_attempt_or_after_failed_ones_is_just_decided_again() {
    let world = world_with_a_rule_for_referrals();
    for (change, commission) in changes() {
        for row in
            [reward(RewardState::Waiting), tried(reward(RewardState::Waiting), "app", now()), held(HoldReason::Fuse)]
        {
            assert_eq!(world.says(commission.clone(), Some(&row)), "deliver app", "{change}");
        }
    }
    let too_much = but(|it| it.amount = Amount::Whole(100_001));
    assert_eq!(world.says(too_much, Some(&reward(RewardState::Waiting))), "hold over_limit");
}

#[test]
fn a_change_while_an_outcome_is_unknown_asks_for_a_person_and_says_what_changed() {
    let world = world_with_a_rule_for_referrals();
    for (change, commission) in changes() {
        for row in [
            delivering_at("app"),
            uncertain(tried(reward(RewardState::Waiting), "app", now())),
            uncertain(tried(held(HoldReason::FraudSuspicion), "app", now())),
        ] {
            let decision = world.listed(commission.clone(), Some(&row));
            assert_eq!(holds(&decision), Some((HoldReason::Changed, change)), "{row:?}");
        }
    }
}

#[test]
fn a_reward_that_loses_its_amount_while_its_outcome_is_unknown_has_changed() {
    let world = world_with_a_rule_for_referrals();
    for (odd, change) in [
        ("0", "amount 500 -> 0"),
        ("-5", "amount 500 -> -5"),
        ("12.5", "amount 500 -> 12.5"),
        ("", "amount 500 -> missing"),
    ] {
        let odd = but(|it| it.amount = Amount::Odd(odd.to_owned()));
        for row in [delivering_at("app"), uncertain(tried(reward(RewardState::Waiting), "app", now()))] {
            let decision = world.listed(odd.clone(), Some(&row));
            assert_eq!(holds(&decision), Some((HoldReason::Changed, change)), "{row:?}");
        }
        assert_eq!(world.says(odd, Some(&reward(RewardState::Waiting))), "hold bad_amount");
    }
    let both = but(|it| (it.amount, it.unit) = (Amount::Odd("0".to_owned()), Unit::Credits));
    let decision = world.listed(both, Some(&delivering_at("app")));
    assert_eq!(holds(&decision), Some((HoldReason::Changed, "amount 500 -> 0, unit points -> credits")));
}

#[test]
fn a_change_outside_the_content_of_a_delivery_is_no_change() {
    let world = World::new();
    let renamed = but(|it| {
        it.promoter = Reference::To(Promoter { name: Some("Patricia".to_owned()), ..promoter() });
        it.referral = Reference::To(Referral { id: 40, ..referral() });
        it.status_updated_at = Some(in_minutes(-50));
    });
    let row = uncertain(tried(reward(RewardState::Waiting), "app", now()));
    assert_eq!(world.says(renamed.clone(), Some(&row)), "deliver app");
    assert_eq!(world.says(renamed, Some(&delivering_at("app"))), "resume app");
}

#[test]
fn a_reward_withdrawn_while_its_outcome_is_unknown_needs_a_person_and_names_the_target() {
    let world = World::new();
    for row in [delivering_at("script"), uncertain(tried(reward(RewardState::Waiting), "script", in_minutes(4)))] {
        for observed in [Observation::NotApproved("denied".to_owned()), Observation::Gone] {
            let step = world.decide(&observed, Some(&row));
            let Some((HoldReason::OutcomeUnknown, why)) = holds(&step) else { panic!("{observed:?} of {row:?}") };
            assert!(why.contains("script"), "{why}");
        }
    }
}

#[test]
fn why_it_cannot_be_marked_is_said_three_times_and_again_when_the_reason_changes() {
    let world = World::new();
    let denied = Observation::NotApproved("denied".to_owned());
    let step = world.decide(&denied, Some(&reward(RewardState::Delivered)));
    let Step::Write(Transition::NotMarked { why, next: None }) = step else { panic!() };
    assert!(why.contains("denied"), "{why}");
    let row = |failures| not_marked(failures, Some(&why));
    assert_eq!(said(&world.decide(&denied, Some(&row(2)))), "cannot mark");
    assert_eq!(said(&world.decide(&denied, Some(&row(3)))), "nothing");
    assert_eq!(said(&world.decide(&Observation::Gone, Some(&row(3)))), "cannot mark");
    assert_eq!(said(&world.decide(&Observation::Unclear, Some(&row(3)))), "cannot mark");
}

#[test]
fn the_ledger_records_what_firstpromoter_says() {
    let world = World::new();
    assert_eq!(facts(&commission(), &world.policy, &world.rules), recorded());
    let odd = but(|it| it.amount = Amount::Odd("1.5".to_owned()));
    assert_eq!(facts(&odd, &world.policy, &world.rules).amount, None);
    let text = upstream_timestamp_text(recorded().approved_at.unwrap());
    assert_eq!(text, "2026-01-01T11:00:00Z");
}

#[test]
fn a_rule_of_the_api_names_its_recipient() {
    let rule = |is_promoter_reward| RewardRule { id: 9, name: None, is_promoter_reward };
    assert_eq!(recipient_of(&rule(Some(true))), Some(RecipientKind::Promoter));
    assert_eq!(recipient_of(&rule(Some(false))), Some(RecipientKind::Referral));
    assert_eq!(recipient_of(&rule(None)), None);
}

#[test]
fn each_wait_says_in_its_own_words_what_it_waits_for() {
    let all = [Wait::Due, Wait::Grace, Wait::Backoff, Wait::Claimed, Wait::Target("app".to_owned())];
    let words: std::collections::BTreeSet<&str> = all.iter().map(Wait::in_words).collect();
    assert!(words.len() == all.len() && words.iter().all(|words| words.len() > 10), "{words:?}");
    assert!(Wait::Grace.in_words().starts_with("grace"), "programs look for it in `plan --json`");
}

#[test]
fn a_reward_in_neither_answer_for_more_than_a_day_needs_a_person() {
    let world = World::new();
    let waiting = |minutes: i64| {
        let waiting = until(in_minutes(-minutes), reward(RewardState::Waiting));
        Reward { owed_since: in_minutes(-9_000), ..waiting }
    };
    let since = |minutes: i64| Reward { owed_since: in_minutes(-minutes), ..delivering_at("app") };
    let day = 24 * 60;
    for (row, reason) in [(waiting as fn(i64) -> Reward, HoldReason::Changed), (since, HoldReason::OutcomeUnknown)] {
        for early in [0, day - 1, day] {
            let decision = world.decide(&Observation::Unclear, Some(&row(early)));
            assert_eq!(decision, Step::Leave(Why::Neither), "{early} minutes");
        }
        for late in [day + 1, 5 * day] {
            let decision = world.decide(&Observation::Unclear, Some(&row(late)));
            assert_eq!(holds(&decision), Some((reason, NEITHER)), "{late} minutes");
        }
    }
    // Asking again would not help where the target does not deduplicate.
    assert_eq!(said(&world.decide(&Observation::Unclear, Some(&delivering_at("script")))), "hold outcome_unknown");
}

#[test]
fn only_rewards_for_a_target_in_trouble_wait_until_its_time() {
    let until = in_minutes(7);
    let closed = BTreeMap::from([("app".to_owned(), until)]);
    let resume = Step::Deliver { target: "app".to_owned(), resume: true, first: None };
    let mut items = [
        item(deliver("app"), Some(reward(RewardState::Waiting))),
        item(deliver("app"), None),
        item(resume, Some(delivering_at("app"))),
        item(deliver("script"), Some(reward(RewardState::Waiting))),
        item(Step::Mark, Some(reward(RewardState::Delivered))),
    ];
    spare(items.iter_mut(), &closed, now());
    let why = || Wait::Target("app".to_owned());
    let waits = Step::Write(Transition::Wait { until, why: why() });
    let cut_off = Step::Leave(Why::Waits(until, why()));
    assert_eq!(steps(&items), [waits.clone(), waits, cut_off, deliver("script"), Step::Mark]);
    // The ledger has that time already: nothing is written in each pass.
    let state = State::Waiting { until, why: why(), last_error: None };
    let mut again = [item(deliver("app"), Some(Reward { state, ..reward(RewardState::Waiting) }))];
    spare(again.iter_mut(), &closed, now());
    assert_eq!(steps(&again), [Step::Leave(Why::Waits(until, why()))]);
}

#[test]
fn policy_holds_an_interrupted_delivery_like_a_waiting_reward() {
    let strict = World::with(|it| {
        it.policy.max_amount = BTreeMap::from([(Unit::Points, 499)]);
    });
    let units = World::with(|it| it.policy.units = vec![Unit::Credits]);
    let suspected = || but(|it| it.fraud_suspicion = Some("ad_source".to_owned()));
    for row in [delivering_at("app"), uncertain(tried(reward(RewardState::Waiting), "app", in_minutes(-1)))] {
        assert_eq!(World::new().says(suspected(), Some(&row)), "hold fraud_suspicion");
        assert_eq!(strict.says(commission(), Some(&row)), "hold over_limit");
        assert_eq!(units.says(commission(), Some(&row)), "hold no_route");
    }
    // The routes do not matter for either, because it may have taken effect.
    let routed = World::with(|it| it.policy.routes = vec![route("spare")]);
    assert_eq!(routed.says(commission(), Some(&delivering_at("app"))), "resume app");
}

#[test]
fn an_attempt_in_doubt_is_repeated_only_at_the_same_target_and_else_says_what_changed() {
    let world = World::new();
    let went_to = |mut row: Reward, then: Fingerprint| {
        match &mut row.tried {
            Tried::At(place) | Tried::InDoubt(place) => place.fingerprint = Some(then),
            Tried::Never => unreachable!("both were tried"),
        }
        row
    };
    for row in [delivering_at("app"), uncertain(tried(reward(RewardState::Waiting), "app", in_minutes(-1)))] {
        let same = went_to(row.clone(), at_place("app", true));
        assert!(["deliver app", "resume app"].contains(&world.says(commission(), Some(&same)).as_str()));
        for (then, words) in [
            (at_place("app", false), "whether it deduplicates by key: no -> yes"),
            (at_place("elsewhere", true), "its address: https://elsewhere.example.com -> https://app.example.com"),
            (Fingerprint::unknown(), "its type: unknown -> http"),
        ] {
            for observed in [Observation::Listed(Box::new(commission())), Observation::Unclear] {
                let row = went_to(row.clone(), then.clone());
                if observed == Observation::Unclear && row.state != State::Delivering {
                    continue;
                }
                let step = world.decide(&observed, Some(&row));
                let Some((HoldReason::OutcomeUnknown, why)) = holds(&step) else { panic!("{observed:?} of {row:?}") };
                assert!(why.contains(words), "{why}");
            }
        }
    }
    let certain = went_to(tried(reward(RewardState::Waiting), "app", in_minutes(-1)), at_place("app", false));
    assert_eq!(world.says(commission(), Some(&certain)), "deliver app", "no effect there: it may go anywhere");
}
