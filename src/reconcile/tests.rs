//! Whole passes over a FirstPromoter and a target in memory, and a real ledger file.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use tempfile::TempDir;

mod statements;

use super::*;
use crate::{
    config::{
        FirstPromoterSettings, LedgerSettings, Policy, RecipientPolicy, Retry, Route, Schedule, TargetKind,
        TargetSettings,
    },
    delivery::Delivery,
    domain::{Amount, Commission, CommissionStatus, Promoter, Reference, Referral, RewardRef, Unit},
    failure::Outcome,
    firstpromoter::{
        Batch, BatchStatus, CommissionQuery,
        pace::{Admission, Pacer},
    },
    ledger::FailureKind,
};

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

/// It is noon, until somebody moves it.
struct Noon(Cell<chrono::TimeDelta>);

thread_local! {
    /// What a look at the clock takes: no two are at the same time.
    static A_LOOK_TAKES: Cell<chrono::TimeDelta> = const { Cell::new(chrono::TimeDelta::zero()) };
}

thread_local! {
    /// A shell in which somebody holds the ledger's write lock.
    static LOCKING: RefCell<Option<rusqlite::Connection>> = const { RefCell::new(None) };
    /// What waiting for it took.
    static WAITED: Cell<chrono::TimeDelta> = const { Cell::new(chrono::TimeDelta::zero()) };
}

/// In place of waiting for the lock: 14 s later it is free.
fn wait_for_the_lock(_: i32) -> bool {
    WAITED.set(WAITED.get() + chrono::TimeDelta::seconds(14));
    LOCKING.take().is_some()
}

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        self.0.set(self.0.get() + A_LOOK_TAKES.get());
        now() + self.0.get() + WAITED.get()
    }

    async fn sleep(&self, _: Duration) {}
}

/// 500 points to the promoter by rule 9, approved the day before.
fn commission(id: i64) -> Commission {
    Commission {
        id: CommissionId(id),
        status: CommissionStatus::Approved,
        unit: Unit::Points,
        amount: Amount::Whole(500),
        is_custom: false,
        is_self_referral: false,
        fraud_suspicion: None,
        promoter: Reference::To(Promoter { id: 3, email: None, name: None }),
        referral: Reference::To(Referral { id: 4, email: None, uid: None }),
        campaign: None,
        reward: Reference::To(RewardRef { id: 9, name: None }),
        created_at: None,
        status_updated_at: Some(now() - chrono::TimeDelta::days(1)),
    }
}

/// FirstPromoter and the merchant's endpoint.
#[derive(Default)]
struct Outside {
    /// Each with whether it is fulfilled.
    commissions: RefCell<BTreeMap<CommissionId, (Commission, bool)>>,
    /// Who receives the rewards of rule 9.
    rule: Cell<Option<bool>>,
    requests: Cell<u64>,
    /// After this many requests somebody marks everything as fulfilled.
    fulfilled_after: Cell<Option<u64>>,
    rules_asked: Cell<u64>,
    /// `yes` answers nothing, and `no` everything.
    upside_down: Cell<bool>,
    /// That ends after so many requests.
    heals_after: Cell<Option<u64>>,
    delivered: RefCell<Vec<CommissionId>>,
    /// How long each delivery takes.
    delivery_takes: Cell<chrono::TimeDelta>,
    /// How long each answer about commissions takes.
    answer_takes: Cell<chrono::TimeDelta>,
    /// That is over after so many requests.
    quick_after: Cell<Option<u64>>,
    /// When each commission was asked for last, under `yes` and under `no`.
    asked_at: RefCell<BTreeMap<(CommissionId, bool), Timestamp>>,
    /// How many requests a minute may leave, if there is a ceiling.
    pace: RefCell<Option<(u32, Pacer)>>,
    /// The target's answer; none: it is delivered.
    answer: RefCell<Option<Outcome>>,
    /// Happens at FirstPromoter during each delivery.
    meanwhile: RefCell<Option<fn(&mut Commission)>>,
    clock: Noon,
}

impl Default for Noon {
    fn default() -> Self {
        Self(Cell::new(chrono::TimeDelta::zero()))
    }
}

impl Outside {
    fn asked(&self) {
        while !self.passes_after_a_wait(|pacer, now_ms| Some(pacer.admit(now_ms))).unwrap() {}
        self.requests.set(self.requests.get() + 1);
    }

    /// Whether the pace lets it through; if not, its wait is over now. None where it never does.
    fn passes_after_a_wait(&self, ask: impl Fn(&mut Pacer, u64) -> Option<Admission>) -> Option<bool> {
        let mut pace = self.pace.borrow_mut();
        let Some((_, pacer)) = &mut *pace else { return Some(true) };
        match ask(pacer, u64::try_from(self.clock.0.get().num_milliseconds()).unwrap())? {
            Admission::Go => Some(true),
            Admission::Full(ms) | Admission::Blocked(ms) => {
                self.clock.0.set(self.clock.0.get() + chrono::TimeDelta::milliseconds(ms.cast_signed()));
                Some(false)
            }
        }
    }

    fn put(&self, commission: Commission) {
        self.commissions.borrow_mut().insert(commission.id, (commission, false));
    }
}

impl Api for Outside {
    async fn commissions(&self, query: &CommissionQuery) -> Result<Vec<Commission>, ApiError> {
        self.asked();
        if self.heals_after.get().is_some_and(|requests| self.requests.get() > requests) {
            self.upside_down.set(false);
        }
        let wanted = |(it, fulfilled): &&(Commission, bool)| {
            (query.ids.is_empty() || query.ids.contains(&it.id))
                && query.fulfilled.is_none_or(|wanted| wanted == (*fulfilled && !self.upside_down.get()))
                && (!query.approved_only || it.approved_now())
        };
        let rows: Vec<_> = self.commissions.borrow().values().filter(wanted).map(|(it, _)| it.clone()).collect();
        let asked_at = self.clock.now();
        let asked = query.ids.iter().filter_map(|id| query.fulfilled.map(|yes| ((*id, yes), asked_at)));
        self.asked_at.borrow_mut().extend(asked);
        if self.quick_after.get().is_some_and(|requests| self.requests.get() > requests) {
            self.answer_takes.set(chrono::TimeDelta::zero());
        }
        self.clock.0.set(self.clock.0.get() + self.answer_takes.get());
        if self.fulfilled_after.get() == Some(self.requests.get()) {
            self.commissions.borrow_mut().values_mut().for_each(|(_, fulfilled)| *fulfilled = true);
        }
        Ok(if query.page == 1 { rows } else { Vec::new() })
    }

    async fn mark_fulfilled(&self, ids: &[CommissionId]) -> Result<Batch, ApiError> {
        self.asked();
        for id in ids {
            self.commissions.borrow_mut().get_mut(id).unwrap().1 = true;
        }
        Ok(Batch { id: None, status: BatchStatus::Completed, failed_count: 0, errors: String::new() })
    }

    async fn mark_unfulfilled(&self, _: &[CommissionId]) -> Result<Batch, ApiError> {
        unreachable!("no pass takes a mark back")
    }

    async fn batch(&self, _: i64) -> Result<Batch, ApiError> {
        unreachable!("every batch is completed at once")
    }

    async fn rewards(&self) -> Result<Vec<RewardRule>, ApiError> {
        self.asked();
        self.rules_asked.set(self.rules_asked.get() + 1);
        Ok(vec![RewardRule { id: 9, name: None, is_promoter_reward: self.rule.get() }])
    }

    async fn wait_for_room(&self, requests: u32) -> bool {
        loop {
            match self.passes_after_a_wait(|pacer, now_ms| pacer.room_for(requests, now_ms)) {
                None => return false,
                Some(true) => return true,
                Some(false) => {}
            }
        }
    }

    fn requests(&self) -> u64 {
        self.requests.get()
    }
}

impl Deliver for Outside {
    async fn deliver(&self, target: &str, delivery: &Delivery) -> Outcome {
        assert_eq!(target, "app");
        for yes in [true, false] {
            let asked_at = self.asked_at.borrow()[&(delivery.commission_id, yes)];
            let age = (self.clock.now() - asked_at).num_milliseconds();
            // The proof of the filter may be older where the pace does not let two questions leave within a minute.
            let slow = self.pace.borrow().as_ref().is_some_and(|(per_minute, _)| *per_minute < 4);
            let valid_ms = if yes && slow { 180_000 } else { 60_000 };
            assert!((0..=valid_ms).contains(&age), "{} is delivered on an answer {age} ms old", delivery.commission_id);
        }
        self.delivered.borrow_mut().push(delivery.commission_id);
        self.clock.0.set(self.clock.0.get() + self.delivery_takes.get());
        if let Some(change) = *self.meanwhile.borrow() {
            self.commissions.borrow_mut().values_mut().for_each(|(commission, _)| change(commission));
        }
        self.answer.borrow().clone().unwrap_or(Outcome::Delivered { receipt: None })
    }
}

fn settings() -> Settings {
    let route = Route { unit: None, recipient: None, campaign: None, target: "app".to_owned() };
    let policy = Policy {
        grace: Duration::from_mins(15),
        units: Unit::NON_MONETARY.to_vec(),
        campaigns: Vec::new(),
        deliver_from: Timestamp::UNIX_EPOCH,
        recipient: RecipientPolicy::Auto,
        hold_fraud_suspicion: true,
        hold_self_referral: true,
        max_deliveries_per_pass: 100,
        max_amount: BTreeMap::new(),
        retry: Retry {
            first: Duration::from_mins(1),
            factor: 4.0,
            max: Duration::from_hours(6),
            give_up_after: Duration::from_hours(168),
        },
        routes: vec![route],
    };
    let kind = TargetKind::Command { argv: vec!["/bin/true".to_owned()], env: BTreeMap::new(), pass_env: Vec::new() };
    let app = TargetSettings { timeout: Duration::from_secs(20), idempotent: true, kind };
    Settings {
        firstpromoter: FirstPromoterSettings {
            account_id: "12345".to_owned(),
            base_url: "https://api.example.com/company".parse().unwrap(),
            requests_per_minute: 300,
            timeout: Duration::from_secs(30),
        },
        schedule: Schedule { poll: "0 */5 * * * *".to_owned(), on_start: true },
        ledger: LedgerSettings { path: "ledger.db".into(), keep_empty_passes: Duration::from_hours(24 * 400) },
        policy,
        targets: BTreeMap::from([("app".to_owned(), app)]),
        notice: crate::config::NoticeSettings::default(),
        log: crate::config::LogSettings::default(),
    }
}

struct World {
    folder: TempDir,
    outside: Outside,
    ledger: Ledger,
    settings: Settings,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db"), "12345", now()).unwrap();
        let outside = Outside::default();
        outside.rule.set(Some(true));
        Self { folder, outside, ledger, settings: settings() }
    }

    /// The first of them before the others.
    async fn with_nine_fulfilled() -> Self {
        let world = Self::new();
        for some in [1..=1, 2..=9] {
            some.for_each(|id| world.outside.put(commission(id)));
            world.pass().await;
        }
        world
    }

    async fn try_pass(&self, only: &[i64]) -> Result<Report, LedgerError> {
        let pass = Pass {
            api: &self.outside,
            targets: &self.outside,
            ledger: &self.ledger,
            writer: &Writer::here(&self.ledger, || self.outside.clock.now()),
            clock: &self.outside.clock,
            settings: &self.settings,
            stop: &CancellationToken::new(),
            progress: &|_| (),
        };
        let only = only.iter().copied().map(CommissionId).collect();
        pass.run(&Order { trigger: Trigger::Command, only, max_deliveries: None }).await
    }

    /// Finds out that the filter does not work, and does not deliver.
    async fn finds_out_and_does_not_deliver(&self, only: &[i64], id: i64) {
        let report = self.try_pass(only).await.unwrap();
        assert!(
            report
                .error
                .as_ref()
                .is_some_and(|it| it.kind == FailureKind::UntrustedAnswer && it.text.contains("filters[fulfilled]")),
            "{report:?}"
        );
        assert!(!self.outside.delivered.borrow().contains(&CommissionId(id)), "{report:?}");
    }

    async fn pass(&self) -> Report {
        let report = self.try_pass(&[]).await.unwrap();
        assert_eq!(report.error, None);
        report
    }

    fn shell(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("ledger.db")).unwrap()
    }

    fn state(&self, id: i64) -> String {
        let sql = "SELECT coalesce(hold_reason, state) FROM rewards WHERE commission_id = ?1";
        self.shell().query_row(sql, [id], |row| row.get(0)).unwrap()
    }

    /// Entries in the journal, and attempts.
    fn writes(&self) -> i64 {
        self.shell()
            .query_row(
                "SELECT sum(n) FROM (SELECT count(*) AS n FROM journal UNION ALL SELECT count(*) FROM attempts)",
                [],
                |row| row.get(0),
            )
            .unwrap()
    }
}

#[tokio::test]
async fn an_owed_reward_is_delivered_marked_and_then_left_alone() {
    let world = World::new();
    (1..=3).for_each(|id| world.outside.put(commission(id)));
    let report = world.pass().await;
    assert_eq!((report.counts.missing, report.counts.delivered, report.counts.fulfilled), (3, 3, 3));
    assert_eq!(world.state(2), "fulfilled");
    let (writes, requests) = (world.writes(), world.outside.requests());
    let report = world.pass().await;
    assert!(report.rewards.is_empty());
    assert_eq!(world.writes(), writes);
    assert_eq!(world.outside.requests(), requests + 1);
    assert_eq!(world.outside.delivered.borrow().len(), 3);
}

/// Suppose the answer is 50 s old, and a script holds the write lock for 14 s just when the intent is to be written.
#[tokio::test]
async fn an_answer_that_grew_old_while_the_ledger_was_locked_is_asked_for_again() {
    let mut world = World::new();
    world.ledger.on_busy(wait_for_the_lock).unwrap();
    (1..=2).for_each(|id| world.outside.put(commission(id)));
    world.outside.delivery_takes.set(chrono::TimeDelta::seconds(50));
    let lock_before_the_second = |progress| {
        if matches!(progress, Progress::Delivering(1, _)) {
            let shell = world.shell();
            shell.execute_batch("BEGIN IMMEDIATE").unwrap();
            LOCKING.set(Some(shell));
        }
    };
    let pass = Pass {
        api: &world.outside,
        targets: &world.outside,
        ledger: &world.ledger,
        writer: &Writer::here(&world.ledger, || world.outside.clock.now()),
        clock: &world.outside.clock,
        settings: &world.settings,
        stop: &CancellationToken::new(),
        progress: &lock_before_the_second,
    };
    let report = pass.run(&Order::poll(Trigger::Command)).await.unwrap();
    assert_eq!((report.error, report.counts.delivered), (None, 2));
    assert_eq!(WAITED.get().num_seconds(), 14, "the lock was met");
}

/// An attempt has one end: the wait counts from it, and the attempt's row names it.
#[tokio::test]
async fn a_wait_counts_from_the_end_of_the_attempt_however_long_its_writing_takes() {
    let world = World::new();
    world.outside.put(commission(1));
    world.outside.answer.replace(Some(Outcome::NotDelivered { detail: "down".to_owned(), retry_after: None }));
    A_LOOK_TAKES.set(chrono::TimeDelta::milliseconds(1));
    world.pass().await;
    let times = "SELECT next_attempt_at, finished_at FROM rewards JOIN attempts USING (commission_id)";
    let [next, end] = world
        .shell()
        .query_row(times, [], |row| Ok([row.get::<_, String>(0)?, row.get(1)?]))
        .unwrap()
        .map(|time| time.parse::<Timestamp>().unwrap());
    assert_eq!((next - end).num_milliseconds(), 60_000);
}

/// The intent waits for the disk on another thread. What came meanwhile counts: a signal, or that the answer is too old now.
#[tokio::test]
async fn what_came_while_the_intent_was_written_keeps_the_request_back() {
    for stopped in [true, false] {
        let world = World::new();
        world.outside.put(commission(1));
        let stop = CancellationToken::new();
        let while_it_is_written = || {
            let began_at = world.outside.clock.now();
            if stopped {
                stop.cancel();
            } else {
                world.outside.clock.0.set(chrono::TimeDelta::seconds(61));
            }
            began_at
        };
        let pass = Pass {
            api: &world.outside,
            targets: &world.outside,
            ledger: &world.ledger,
            writer: &Writer::here(&world.ledger, while_it_is_written),
            clock: &world.outside.clock,
            settings: &world.settings,
            stop: &stop,
            progress: &|_| (),
        };
        let report = pass.run(&Order::poll(Trigger::Command)).await.unwrap();
        assert_eq!((report.counts.delivered, report.counts.failed), (0, 0), "{report:?}");
        assert!(world.outside.delivered.borrow().is_empty(), "{report:?}");
        assert_eq!(world.state(1), "waiting", "it certainly did not take effect");
        let report = world.try_pass(&[]).await.unwrap();
        assert_eq!(report.counts.delivered, 1, "the next pass delivers it: {report:?}");
    }
}

#[tokio::test]
async fn an_id_that_nobody_knows_is_an_error_and_the_others_are_done() {
    let world = World::new();
    world.outside.put(commission(5));
    let report = world.try_pass(&[5, 6]).await.unwrap();
    let error = report.error.unwrap();
    assert!(error.kind == FailureKind::NoSuchCommission && error.text.contains("no commission 6"), "{error:?}");
    assert_eq!(world.state(5), "fulfilled");
}

#[tokio::test]
async fn an_id_given_twice_is_one() {
    let world = World::new();
    world.outside.put(commission(5));
    let report = world.try_pass(&[5, 5]).await.unwrap();
    assert_eq!(report.error, None);
    assert_eq!((report.counts.delivered, world.state(5).as_str()), (1, "fulfilled"));
}

#[tokio::test]
async fn a_rule_that_did_not_say_who_receives_is_asked_for_again() {
    let world = World::new();
    world.outside.rule.set(None);
    world.outside.put(commission(1));
    world.pass().await;
    assert_eq!(world.state(1), "recipient_unknown");
    world.outside.rule.set(Some(false));
    world.pass().await;
    assert_eq!(world.state(1), "fulfilled", "a hold made by policy goes when its cause goes");
    world.outside.put(commission(2));
    world.pass().await;
    assert_eq!(world.outside.rules_asked.get(), 2, "what is known is not asked for");
}

#[tokio::test]
async fn a_reward_that_is_already_held_does_not_count_as_newly_held() {
    let world = World::new();
    world.outside.put(Commission { is_self_referral: true, ..commission(1) });
    assert_eq!(world.pass().await.counts.held, 1);
    let promoter = Promoter { id: 3, email: None, name: Some("Pat".to_owned()) };
    world.outside.put(Commission { is_self_referral: true, promoter: Reference::To(promoter), ..commission(1) });
    let report = world.pass().await;
    assert_eq!((report.counts.held, report.needs_attention), (0, 1));
}

#[tokio::test]
async fn a_listing_that_would_need_too_much_memory_ends_the_pass_and_nothing_of_it_is_done() {
    let world = World::new();
    // Each is kept twice: 300 MB, where a pass keeps 256 MiB.
    let name = "x".repeat(50_000_000);
    for id in 1..=3 {
        let promoter = Promoter { id: 3, email: None, name: Some(name.clone()) };
        world.outside.put(Commission { promoter: Reference::To(promoter), ..commission(id) });
    }
    let report = world.try_pass(&[]).await.unwrap();
    let error = report.error.unwrap();
    assert!(error.text.contains("would need too much memory; nothing is delivered"), "{error:?}");
    assert_eq!((world.outside.delivered.borrow().len(), world.writes()), (0, 0));
}

#[tokio::test]
async fn a_pass_that_cannot_be_reported_is_still_closed() {
    let world = World::new();
    world.shell().execute_batch("DROP VIEW attention").unwrap();
    assert!(world.try_pass(&[]).await.is_err());
    let finished: Option<String> =
        world.shell().query_row("SELECT finished FROM passes", [], |row| row.get(0)).unwrap();
    assert_eq!(finished.as_deref(), Some("2026-01-01T12:00:00.000Z"));
}

#[tokio::test]
async fn somebody_who_fulfils_between_any_two_of_our_questions_makes_no_pass_fail() {
    for after in 1..=7 {
        let world = World::new();
        world.outside.put(commission(1));
        world.outside.put(Commission { is_self_referral: true, ..commission(2) });
        world.outside.fulfilled_after.set(Some(after));
        let first = world.try_pass(&[]).await.unwrap();
        assert_eq!(first.error, None, "fulfilled after {after} requests");
        world.pass().await;
        let open = world.ledger.open_ids().unwrap();
        let fulfilled = world.outside.commissions.borrow().values().all(|(_, fulfilled)| *fulfilled);
        assert!(!fulfilled || open.is_empty(), "fulfilled after {after} requests: {open:?}");
    }
}

#[tokio::test]
async fn a_late_reward_that_policy_forbids_by_then_is_not_delivered() {
    let world = World::new();
    (1..=3).for_each(|id| world.outside.put(commission(id)));
    world.outside.delivery_takes.set(chrono::TimeDelta::seconds(61));
    *world.outside.meanwhile.borrow_mut() = Some(|it| it.fraud_suspicion = Some("same_ip_suspicion".to_owned()));
    world.pass().await;
    assert_eq!(*world.outside.delivered.borrow(), [CommissionId(1)]);
    world.pass().await;
    assert_eq!(world.state(3), "fraud_suspicion");
}

#[tokio::test]
async fn a_late_reward_that_is_still_owed_is_delivered_after_another_question() {
    let world = World::new();
    (1..=3).for_each(|id| world.outside.put(commission(id)));
    world.outside.delivery_takes.set(chrono::TimeDelta::seconds(61));
    assert_eq!(world.pass().await.counts.fulfilled, 3);
}

/// Suppose the listing takes two minutes, and somebody approves a reward before the answer: it was not found before.
#[tokio::test]
async fn a_reward_is_found_when_the_listing_has_been_read() {
    let mut world = World::new();
    world.settings.policy.grace = Duration::from_mins(3);
    world.outside.put(Commission { status_updated_at: None, ..commission(1) });
    world.outside.answer_takes.set(chrono::TimeDelta::minutes(2));
    world.pass().await;
    assert_eq!(world.state(1), "waiting");
    let found: String = world.shell().query_row("SELECT owed_since FROM rewards", [], |row| row.get(0)).unwrap();
    assert!(found.parse::<Timestamp>().unwrap() >= now() + chrono::TimeDelta::minutes(2), "{found}");
}

#[tokio::test]
async fn an_answer_that_took_long_is_an_old_one() {
    // The second question, under `no`, is answered, and the answer comes after 75 seconds.
    let world = World::new();
    (1..=3).for_each(|id| world.outside.put(commission(id)));
    world.outside.answer_takes.set(chrono::TimeDelta::seconds(75));
    world.outside.quick_after.set(Some(5));
    world.outside.fulfilled_after.set(Some(5));
    let report = world.pass().await;
    assert_eq!((report.counts.delivered, world.outside.delivered.borrow().len()), (0, 0));
    assert_eq!(world.outside.requests(), 7, "listing 2, rules 1, and the same chunk twice");
}

#[tokio::test]
async fn each_chunk_is_asked_about_just_ahead_of_its_deliveries() {
    let mut world = World::new();
    world.settings.policy.max_deliveries_per_pass = 1_000;
    (1..=300).for_each(|id| world.outside.put(commission(id)));
    world.outside.answer_takes.set(chrono::TimeDelta::seconds(15));
    assert_eq!(world.pass().await.counts.fulfilled, 300);
}

#[tokio::test]
async fn only_late_rewards_are_asked_about_again() {
    let mut world = World::new();
    world.settings.policy.max_deliveries_per_pass = 1_000;
    (1..=250).for_each(|id| world.outside.put(commission(id)));
    world.outside.delivery_takes.set(chrono::TimeDelta::seconds(1));
    let report = world.pass().await;
    assert_eq!(report.counts.fulfilled, 250);
    // Listing 2, rules 1, sixty-one deliveries to an answer: 5 times both ways. Marking 3, reading back 3 times both ways.
    assert_eq!(report.counts.api_requests, 2 + 1 + 10 + 3 + 6);
}

#[tokio::test]
async fn answers_that_are_always_too_old_end_the_pass_with_a_reason() {
    let world = World::new();
    world.outside.put(commission(1));
    world.outside.answer_takes.set(chrono::TimeDelta::seconds(31));
    let report = world.try_pass(&[]).await.unwrap();
    let error = report.error.unwrap();
    assert_eq!(error.kind, FailureKind::Unavailable);
    assert!(error.text.contains("1 rewards wait") && error.text.contains("requests_per_minute"), "{error}");
    assert_eq!((world.outside.requests(), world.state(1).as_str()), (2 + 1 + 6, "waiting"));
    world.outside.answer_takes.set(chrono::TimeDelta::zero());
    assert_eq!(world.pass().await.counts.fulfilled, 1);
}

#[tokio::test]
async fn every_pace_that_may_be_configured_delivers() {
    for per_minute in 1..=5 {
        for count in if per_minute == 1 { &[1, 17, 100][..] } else { &[1, 2] } {
            let (count, world) = (*count, World::new());
            *world.outside.pace.borrow_mut() = Some((per_minute, Pacer::new(per_minute)));
            let case = format!("{count} at {per_minute} a minute");
            // The first without a canary, later with some, one of which is gone.
            for round in 0..3 {
                (1..=count).for_each(|id| world.outside.put(commission(1000 * round + id)));
                let held = commission(1000 * round + 500);
                world.outside.put(Commission { is_self_referral: true, ..held });
                let report = world.try_pass(&[]).await.unwrap();
                assert_eq!((report.error, report.counts.fulfilled), (None, count.unsigned_abs()), "{case}, {round}");
                world.outside.commissions.borrow_mut().remove(&CommissionId(1000 * round + count));
                world.outside.clock.0.set(world.outside.clock.0.get() + chrono::TimeDelta::minutes(5));
            }
        }
    }
}

/// A filter is turned upside down after `gone` happened to all canaries but the one that was fulfilled first.
async fn the_last_canary_speaks(gone: fn(&mut (Commission, bool))) {
    let world = World::with_nine_fulfilled().await;
    for id in &world.ledger.canaries(9).unwrap()[..8] {
        gone(world.outside.commissions.borrow_mut().get_mut(id).unwrap());
    }
    world.outside.put(commission(10));
    world.outside.upside_down.set(true);
    // Also where no listing shows it.
    for only in [&[][..], &[10]] {
        world.finds_out_and_does_not_deliver(only, 10).await;
    }
    world.outside.upside_down.set(false);
    assert_eq!(world.pass().await.counts.fulfilled, 1);
}

#[tokio::test]
async fn canaries_that_are_gone_prove_nothing_and_others_detect_a_filter_turned_upside_down() {
    the_last_canary_speaks(|(commission, _)| commission.id = CommissionId(commission.id.0 + 1000)).await;
}

#[tokio::test]
async fn canaries_that_were_denied_or_became_money_prove_nothing_either() {
    the_last_canary_speaks(|(commission, _)| commission.status = CommissionStatus::Denied).await;
    the_last_canary_speaks(|(commission, _)| commission.unit = Unit::Cash).await;
}

#[tokio::test]
async fn a_canary_that_was_seen_unfulfilled_before_is_used_last() {
    let world = World::new();
    (1..=2).for_each(|id| world.outside.put(commission(id)));
    world.pass().await;
    world.outside.commissions.borrow_mut().get_mut(&CommissionId(1)).unwrap().1 = false;
    world.pass().await;
    assert_eq!(world.ledger.drifted(9).unwrap(), [CommissionId(1)], "somebody marked it unfulfilled");
    world.outside.commissions.borrow_mut().remove(&CommissionId(2));
    world.outside.put(commission(3));
    world.outside.upside_down.set(true);
    world.finds_out_and_does_not_deliver(&[], 3).await;
}

#[tokio::test]
async fn a_person_who_changed_the_latest_ones_stops_nothing_while_another_proves_the_filter() {
    let world = World::with_nine_fulfilled().await;
    for id in &world.ledger.canaries(9).unwrap()[..8] {
        world.outside.commissions.borrow_mut().get_mut(id).unwrap().1 = false;
    }
    world.outside.put(commission(10));
    let report = world.try_pass(&[10]).await.unwrap();
    assert_eq!((report.error, report.counts.fulfilled), (None, 1));
}

#[tokio::test]
async fn old_rewards_that_all_seem_unfulfilled_stop_deliveries_where_the_latest_prove_nothing() {
    let world = World::new();
    (1..=100).for_each(|id| world.outside.put(commission(id)));
    world.pass().await;
    for id in world.ledger.canaries(90).unwrap() {
        world.outside.commissions.borrow_mut().get_mut(&id).unwrap().0.status = CommissionStatus::Denied;
    }
    world.outside.put(commission(101));
    world.outside.upside_down.set(true);
    world.finds_out_and_does_not_deliver(&[], 101).await;
}

#[tokio::test]
async fn a_filter_that_heals_between_any_two_of_our_questions_is_not_proved_for_those_before() {
    for after in 0..12 {
        let world = World::new();
        (1..=6).for_each(|id| world.outside.put(commission(id)));
        world.pass().await;
        for id in &world.ledger.canaries(9).unwrap()[..3] {
            world.outside.commissions.borrow_mut().remove(id);
        }
        // Delivered and marked by somebody else, and unknown to the ledger.
        world.outside.put(commission(50));
        world.outside.commissions.borrow_mut().get_mut(&CommissionId(50)).unwrap().1 = true;
        world.outside.put(commission(51));
        world.outside.upside_down.set(true);
        world.outside.heals_after.set(Some(world.outside.requests() + after));
        let report = world.try_pass(&[50, 51]).await.unwrap();
        let delivered = world.outside.delivered.borrow();
        assert!(!delivered.contains(&CommissionId(50)), "healed after {after} requests: {report:?}");
    }
}
