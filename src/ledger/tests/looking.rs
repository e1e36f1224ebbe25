//! Reads of a person, a monitoring system and the next pass.

use chrono::TimeDelta;
use serde_json::{Map, Value};

use super::{
    super::{journal::objects, queries::RULES_AGE_MAX},
    *,
};
use crate::firstpromoter::RewardRule;

/// The columns that the manual promises.
const REWARDS: &str = "state state_since unit amount recipient promoter_id promoter_email promoter_name referral_id \
    referral_email referral_uid campaign_id campaign_name reward_id reward_name approved_at created_at first_seen_at target \
    key attempts next_attempt_at last_error receipt delivered_at delivered_by fulfilled_at hold_reason drift commission_id \
    mark_attempts mark_error wait_reason wait_target";
const ATTEMPTS: &str = "id commission_id attempt target started_at finished_at outcome detail pass_id";
const JOURNAL: &str = "id commission_id at from_state to_state reason actor pass_id";
const PASSES: &str =
    "trigger kind started finished listed missing delivered fulfilled held failed api_requests error error_kind";
const CLAIMS: &str = "commission_id owner claimed_at expires_at";

fn has(object: &Map<String, Value>, columns: &str) {
    for column in columns.split_whitespace() {
        assert!(object.contains_key(column), "{column} is missing");
    }
}

fn ids(world: &World, sql: &str) -> Vec<i64> {
    let mut statement = world.ledger.conn.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_dossier_has_every_documented_column() {
    let world = World::new();
    assert_eq!(world.ledger.dossier(id(1)).unwrap(), None);
    world.in_state(1, RewardState::Fulfilled);
    world.waiting(2);
    let dossier = world.ledger.dossier(id(1)).unwrap().unwrap();
    has(&dossier.columns, REWARDS);
    assert_eq!(dossier.reward, world.row(1));
    assert_eq!((dossier.attempts.len(), dossier.journal.len()), (1, 4));
    let json = serde_json::to_value(&dossier).unwrap();
    for (rows, columns) in [(&json["attempts"], ATTEMPTS), (&json["journal"], JOURNAL)] {
        rows.as_array().unwrap().iter().for_each(|row| has(row.as_object().unwrap(), columns));
    }
    assert_eq!(dossier.columns["amount"], 500);
    assert_eq!(dossier.columns["promoter_email"], "p@example.com");
    assert_eq!(dossier.columns["drift"], Value::Null);
    let both = world.ledger.rewards(&[id(2), id(1), id(3)]).unwrap();
    assert_eq!(both.into_keys().collect::<std::collections::BTreeSet<_>>(), [id(1), id(2)].into());
}

#[test]
fn the_history_as_json_has_every_column_with_its_value_in_alphabetical_order() {
    let world = World::new();
    world.in_state(1, RewardState::Delivered);
    world.in_state(2, RewardState::Delivering);
    for number in [1, 2] {
        let dossier = world.ledger.dossier(id(number)).unwrap().unwrap();
        // The keys of `objects` are sorted.
        let rows = |table| {
            let sql = format!("SELECT * FROM {table} WHERE commission_id = {number} ORDER BY id");
            serde_json::to_string(&world.ledger.run(|conn| objects(conn, &sql, &[])).unwrap()).unwrap()
        };
        assert_eq!(serde_json::to_string(&dossier.attempts).unwrap(), rows("attempts"));
        assert_eq!(serde_json::to_string(&dossier.journal).unwrap(), rows("journal"));
    }
}

#[test]
fn the_words_of_outcomes_are_those_that_attempts_write() {
    let detail = String::new;
    let outcomes = [
        delivered(),
        Outcome::NotDelivered { detail: detail(), retry_after: None },
        Outcome::Unknown { detail: detail(), retry_after: None },
        Outcome::Refused { detail: detail() },
    ];
    let words: Vec<&str> = outcomes.iter().map(Outcome::as_str).collect();
    assert_eq!(words, OutcomeWord::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>());
}

#[test]
fn the_tables_have_the_documented_columns_and_are_strict() {
    let world = World::new();
    for (table, columns) in
        [("rewards", REWARDS), ("attempts", ATTEMPTS), ("journal", JOURNAL), ("passes", PASSES), ("claims", CLAIMS)]
    {
        for column in columns.split_whitespace() {
            let sql = format!("SELECT count(*) FROM pragma_table_info('{table}') WHERE name = '{column}'");
            assert_eq!(world.one(&sql), "1", "{table}.{column}");
        }
    }
    assert_eq!(
        world.one(
            "SELECT count(*) FROM pragma_table_list WHERE type = 'table' AND schema = 'main' AND NOT strict \
                          AND name NOT LIKE 'sqlite_%'"
        ),
        "0"
    );
}

#[test]
fn every_hold_stands_in_attention_with_what_to_do() {
    let world = World::new();
    for (number, reason) in (1..).zip(HoldReason::ALL) {
        world.held(number, *reason);
    }
    let attention = world.ledger.attention().unwrap();
    assert_eq!(attention.len(), HoldReason::ALL.len());
    for (row, reason) in attention.iter().zip(HoldReason::ALL) {
        assert_eq!((row.reason.as_str(), row.state.as_str()), (reason.as_str(), "held"));
        assert!(row.what_to_do.len() > 40, "{reason}: {}", row.what_to_do);
        assert_eq!(row.what_to_do.contains(&format!("resolve {}", row.commission_id)), !reason.is_policy(), "{reason}");
        assert_eq!(row.detail.as_deref(), Some("because"));
        assert_eq!(
            (row.unit.as_deref(), row.amount, row.since.as_str()),
            (Some("points"), Some(500), "2026-01-01T12:00:00.000Z")
        );
        assert_eq!(row.recipient_email.as_deref(), Some("p@example.com"));
        let unknown = *reason == HoldReason::OutcomeUnknown;
        assert_eq!(row.what_to_do.contains(world.row(row.commission_id.0).key.as_str()), unknown, "{reason}");
    }
}

#[test]
fn wherever_an_attempt_may_have_taken_effect_that_is_said_first() {
    for reason in HoldReason::ALL {
        let world = World::new();
        world.held(1, *reason);
        world.elsewhere("UPDATE rewards SET uncertain = 1, target = 'app'");
        let row = &world.ledger.attention().unwrap()[0];
        let first = row.what_to_do.split(['.', ':']).next().unwrap_or_default().to_lowercase();
        assert!(first.contains("may") && first.contains("have taken effect"), "{reason}: {}", row.what_to_do);
        assert!(row.what_to_do.contains(world.row(1).key.as_str()), "{reason}: {}", row.what_to_do);
    }
}

#[test]
fn a_reward_that_could_not_be_marked_stands_in_attention_from_the_third_time() {
    let world = World::new();
    let row = world.in_state(1, RewardState::Delivered);
    for count in 1..=3 {
        assert!(world.ledger.attention().unwrap().is_empty(), "{count}");
        world.change(|it| it.apply(&row, &not_marked("422: no payout", None)));
    }
    let attention = world.ledger.attention().unwrap().remove(0);
    assert_eq!((attention.state.as_str(), attention.reason.as_str()), ("delivered", "not_marked"));
    assert_eq!(attention.detail.as_deref(), Some("422: no payout"));
    assert!(attention.what_to_do.contains("Mark it fulfilled"), "{}", attention.what_to_do);
}

#[test]
fn a_drift_stands_in_attention_until_it_is_over() {
    let world = World::new();
    let row = world.in_state(1, RewardState::Fulfilled);
    world.change(|it| it.apply(&row, &Transition::Drift(Drift::UnfulfilledUpstream)));
    let attention = world.ledger.attention().unwrap().remove(0);
    assert_eq!((attention.state.as_str(), attention.reason.as_str()), ("fulfilled", "unfulfilled_upstream"));
    assert!(attention.what_to_do.contains("twice"), "{}", attention.what_to_do);
    world.change(|it| it.apply(&row, &Transition::DriftOver(Drift::UnfulfilledUpstream)));
    assert!(world.ledger.attention().unwrap().is_empty());
}

#[test]
fn nothing_else_stands_in_attention() {
    let world = World::new();
    for (number, state) in (1..).zip(RewardState::ALL.iter().filter(|state| **state != RewardState::Held)) {
        world.in_state(number, *state);
    }
    assert!(world.ledger.attention().unwrap().is_empty());
}

#[test]
fn attention_is_sorted_by_how_long_it_stands() {
    let world = World::new();
    let second = world.waiting(1);
    let first = world.waiting(2);
    world.change_at(1, |it| it.apply(&first, &hold(HoldReason::Fuse, "why")));
    world.change_at(2, |it| it.apply(&second, &hold(HoldReason::Fuse, "why")));
    let order: Vec<i64> = world.ledger.attention().unwrap().iter().map(|it| it.commission_id.0).collect();
    assert_eq!(order, [2, 1]);
}

#[test]
fn owed_has_waiting_and_delivering_rewards_in_the_order_of_time() {
    let world = World::new();
    assert_eq!(world.ledger.next_owed().unwrap(), None);
    for (number, state) in (1..).zip(RewardState::ALL) {
        world.in_state(number, *state);
    }
    let row = world.waiting(20);
    world.change(|it| it.apply(&row, &wait(at(5))));
    assert_eq!(ids(&world, "SELECT commission_id FROM owed"), [2, 20, 1]);
    assert_eq!(world.ledger.next_owed().unwrap(), Some((id(20), timestamp_text(at(5)))));
    assert_eq!(world.one("SELECT recipient_email FROM owed WHERE commission_id = 1"), "p@example.com");
    world.elsewhere("UPDATE rewards SET recipient = 'referral' WHERE commission_id = 1");
    assert_eq!(world.one("SELECT recipient_email FROM owed WHERE commission_id = 1"), "r@example.com");
}

#[test]
fn totals_count_and_add_by_unit_and_state() {
    let world = World::new();
    (1..=3).for_each(|number| drop(world.waiting(number)));
    world.held(4, HoldReason::Fuse);
    world.elsewhere("UPDATE rewards SET unit = 'credits', amount = 7 WHERE commission_id = 3");
    assert_eq!(
        world.table("totals"),
        "totals\ncredits|waiting|Integer(1)|Integer(7)\npoints|held|Integer(1)|Integer(500)\n\
         points|waiting|Integer(2)|Integer(1000)\n"
    );
    let states = world.ledger.states().unwrap();
    assert_eq!(Vec::from_iter(states), [("held".to_owned(), 1), ("waiting".to_owned(), 3)]);
}

#[test]
fn the_timeline_tells_the_story_in_order() {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.finish(1, attempt, &not_delivered(), &Aftermath::Retry(at(3)));
    let row = world.row(1);
    world.change_at(3, |it| it.begin(&row, "app", at(9)));
    world.waiting(2);
    let timeline = world.ledger.timeline(id(1)).unwrap();
    let story: Vec<_> = timeline.iter().map(|(_, what, detail)| (what.as_str(), detail.as_str())).collect();
    assert_eq!(
        story,
        [
            ("waiting", "first seen; owed, not before 2026-01-01T12:15:00.000Z (makegood)"),
            ("waiting -> delivering", "attempt 1 at app (makegood)"),
            ("attempt 1 at app", "not_delivered: refused connection"),
            ("delivering -> waiting", "attempt 1: not_delivered: refused connection (makegood)"),
            ("attempt 2 at app", "cut off, or in flight"),
            ("waiting -> delivering", "attempt 2 at app (makegood)"),
        ]
    );
    assert!(timeline.is_sorted_by_key(|(at, ..)| at.clone()));
}

#[test]
fn a_pass_leaves_its_numbers_or_its_error() {
    let world = World::new();
    assert_eq!(world.ledger.last_pass().unwrap(), None);
    let pass = world.ledger.begin_pass("schedule", "poll", at(0)).unwrap();
    let open = world.ledger.last_pass().unwrap().unwrap();
    has(&open, PASSES);
    assert_eq!((&open["pass_id"], &open["finished"], &open["error"]), (&Value::from(pass), &Value::Null, &Value::Null));
    let counts =
        Counts { listed: 1, missing: 2, delivered: 3, fulfilled: 4, held: 5, failed: 6, api_requests: u64::MAX };
    let refused = PassFailure { kind: FailureKind::RejectedKey, text: "no".to_owned() };
    world.ledger.finish_pass(pass, &counts, Some(&refused), at(1)).unwrap();
    let done = world.ledger.last_pass().unwrap().unwrap();
    let expected = serde_json::json!({
        "pass_id": pass, "trigger": "schedule", "kind": "poll", "started": "2026-01-01T12:00:00.000Z",
        "finished": "2026-01-01T12:01:00.000Z", "listed": 1, "missing": 2, "delivered": 3, "fulfilled": 4, "held": 5,
        "failed": 6, "api_requests": i64::MAX, "error": "no", "error_kind": "rejected_key"
    });
    assert_eq!(Value::Object(done), expected);
}

#[test]
fn a_pass_whose_process_died_is_closed_by_the_next_one_and_no_other() {
    let world = World::new();
    let done = world.ledger.begin_pass("start", "poll", at(0)).unwrap();
    world.ledger.finish_pass(done, &Counts::default(), None, at(1)).unwrap();
    let dead = world.ledger.begin_pass("schedule", "poll", at(2)).unwrap();
    let next = world.ledger.begin_pass("signal", "poll", at(3)).unwrap();
    assert!(done < dead && dead < next);
    let of = |pass: PassId| {
        world.one(&format!("SELECT coalesce(finished, '') || ' ' || coalesce(error_kind || ': ' || error, '') FROM passes WHERE id = {pass}"))
    };
    assert_eq!(of(done), "2026-01-01T12:01:00.000Z ");
    assert_eq!(of(dead), "2026-01-01T12:03:00.000Z abandoned: abandoned: its process ended before it did");
    assert_eq!(of(next), " ");
}

#[test]
fn open_ids_are_open_or_drifted_rewards() {
    let world = World::new();
    for (number, state) in (1..).zip(RewardState::ALL) {
        world.in_state(number, *state);
    }
    let drifted = world.in_state(20, RewardState::Fulfilled);
    world.change(|it| it.apply(&drifted, &Transition::Drift(Drift::UnfulfilledUpstream)));
    let open: std::collections::BTreeSet<_> = world.ledger.open_ids().unwrap().into_iter().map(|id| id.0).collect();
    // Waiting, delivering, delivered, held.
    assert_eq!(Vec::from_iter(open), [1, 2, 3, 5, 20]);
    let named: Vec<i64> = (1..).zip(RewardState::ALL).filter(|(_, state)| state.is_open()).map(|(it, _)| it).collect();
    assert_eq!(named, [1, 2, 3, 5], "the word and the query mean the same");
}

#[test]
fn canaries_are_the_latest_that_firstpromoter_confirmed_and_does_not_contradict() {
    let world = World::new();
    world.in_state(1, RewardState::Delivered);
    for number in 2..=5 {
        let row = world.in_state(number, RewardState::Delivered);
        world.change_at(number, |it| it.apply(&row, &fulfil("read back")));
    }
    let row = world.row(5);
    world.change(|it| it.apply(&row, &Transition::Drift(Drift::UnfulfilledUpstream)));
    assert_eq!(world.ledger.canaries(2).unwrap(), [id(4), id(3)]);
    assert_eq!(world.ledger.canaries(9).unwrap(), [id(4), id(3), id(2)]);
    assert_eq!(world.ledger.drifted(9).unwrap(), [id(5)]);
    let row = world.in_state(6, RewardState::Reversed);
    world.change(|it| it.apply(&row, &Transition::Drift(Drift::FulfilledAfterReversal)));
    assert_eq!(world.ledger.drifted(9).unwrap(), [id(5)], "the ledger does not call a reversed one fulfilled");
}

#[test]
fn the_rules_of_rewards_are_remembered_and_replaced() {
    let world = World::new();
    let rule = |id, is_promoter_reward| RewardRule { id, name: None, is_promoter_reward };
    let said = [rule(9, Some(true)), rule(10, Some(false)), rule(11, None)];
    world.ledger.remember_reward_rules(&said, at(0)).unwrap();
    world.ledger.remember_reward_rules(&[rule(9, Some(false)), rule(12, None)], at(1)).unwrap();
    let rules = Vec::from_iter(world.ledger.reward_rules(at(1)).unwrap());
    let referral = Some(RecipientKind::Referral);
    assert_eq!(rules, [(9, referral), (10, referral), (11, None), (12, None)]);
}

#[test]
fn the_rules_of_rewards_are_believed_for_a_day_from_when_they_were_read() {
    let world = World::new();
    let rule = |id| RewardRule { id, name: None, is_promoter_reward: Some(true) };
    let known = |now| world.ledger.reward_rules(now).unwrap().into_keys().collect::<Vec<_>>();
    let read = at(0);
    world.ledger.remember_reward_rules(&[rule(9)], read).unwrap();
    let day = RULES_AGE_MAX;
    let moment = TimeDelta::milliseconds(1);
    assert_eq!((known(read), known(read + day - moment)), (vec![9], vec![9]));
    assert_eq!((known(read + day), known(read - moment)), (vec![], vec![]), "too old, or of a clock that was ahead");
    world.ledger.remember_reward_rules(&[rule(9)], read + day).unwrap();
    assert_eq!(known(read + day + moment), [9], "the same answer again is young again");
    world.ledger.remember_reward_rules(&[rule(9)], read).unwrap();
    assert_eq!(known(read), [9], "also where the clock was set back");
}

#[test]
fn rewards_are_read_by_id_in_any_number() {
    let world = World::new();
    (1..=300).for_each(|number| drop(world.waiting(number)));
    let all: Vec<_> = (1..=500).map(id).collect();
    let rows = world.ledger.rewards(&all).unwrap();
    assert_eq!(rows.len(), 300);
    assert!(rows.iter().all(|(id, row)| *id == row.id));
    assert!(world.ledger.rewards(&[]).unwrap().is_empty());
}

#[test]
fn a_person_is_found_by_the_email_of_either_party_taken_literally_but_for_the_case_of_ascii() {
    let world = World::new();
    world.waiting(1);
    world.waiting(2);
    world.waiting(3);
    world.elsewhere("UPDATE rewards SET promoter_email = 'JÖRG@Example.com', approved_at = '2026-01-02T00:00:00Z' WHERE commission_id = 2");
    assert_eq!(world.ledger.ids_of("JÖRG@example.COM").unwrap(), [id(2)]);
    world.elsewhere("UPDATE rewards SET referral_email = 'kim@example.com' WHERE commission_id = 2");
    assert_eq!(world.ledger.ids_of("KIM@example.com").unwrap(), [id(2)]);
    assert_eq!(world.ledger.ids_of("\u{212a}im@example.com").unwrap(), [], "a Kelvin sign is no K");
    world.elsewhere("UPDATE rewards SET referral_email = 'r@example.com' WHERE commission_id = 2");
    assert_eq!(world.ledger.ids_of("P@EXAMPLE.COM").unwrap(), [id(3), id(1)]);
    assert_eq!(world.ledger.ids_of("r@example.com").unwrap(), [id(2), id(3), id(1)], "the latest approved first");
    assert_eq!(world.ledger.ids_of("nobody@example.com").unwrap(), []);
}

#[test]
fn a_claim_is_shown_while_it_lives() {
    let world = World::new();
    world.ledger.claim(id(1), "webhook", at(0), at(10)).unwrap();
    let claim = world.ledger.live_claim(id(1), at(9)).unwrap().unwrap();
    assert_eq!((claim.owner.as_str(), claim.expires_at.as_str()), ("webhook", "2026-01-01T12:10:00.000Z"));
    assert_eq!(world.ledger.live_claim(id(1), at(10)).unwrap(), None);
    assert_eq!(world.ledger.live_claim(id(2), at(0)).unwrap(), None);
}
