//! The counts that triggers keep, against a recount of all rows.

use std::collections::BTreeMap;

use super::*;

/// Adds everything up anew, as versions before 0.2 did after each start.
#[track_caller]
pub(super) fn counts_are_what_a_recount_gives(world: &World) {
    let counted = world.ledger.counted().unwrap();
    let pairs = |sql: &str| {
        let mut statement = world.ledger.conn.prepare(sql).unwrap();
        let rows =
            statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get::<_, i64>(2)?.unsigned_abs())));
        rows.unwrap().map(Result::unwrap).collect::<BTreeMap<(String, String), u64>>()
    };
    let attempts = "SELECT coalesce(unit, ''), outcome, count(*) FROM attempts JOIN rewards USING (commission_id) \
                    WHERE outcome IS NOT NULL GROUP BY 1, 2";
    assert_eq!(counted.deliveries, pairs(attempts));
    let mut passes = pairs(
        "SELECT iif(error IS NULL, '', coalesce(error_kind, 'unknown')), '', count(*) FROM passes \
         WHERE finished IS NOT NULL GROUP BY 1",
    );
    let completed = passes.remove(&(String::new(), String::new())).unwrap_or_default();
    let failed = passes.into_iter().map(|((kind, _), count)| (kind, count)).collect();
    assert_eq!((counted.passes_completed, counted.passes_failed), (completed, failed));
    let requests = world.one("SELECT coalesce(sum(api_requests), 0) FROM passes WHERE finished IS NOT NULL");
    assert_eq!(counted.api_requests.to_string(), requests);
    let mut waits = WaitTimes::default();
    let sql = "SELECT approved_at, delivered_at FROM journal JOIN rewards USING (commission_id) WHERE to_state = 'delivered' \
               AND from_state = 'delivering' AND delivered_by = 'makegood' AND approved_at IS NOT NULL";
    let mut statement = world.ledger.conn.prepare(sql).unwrap();
    let times = statement.query_map([], |row| Ok([row.get::<_, String>(0)?, row.get(1)?])).unwrap();
    for [approved, delivered] in times.map(|row| row.unwrap().map(|at| at.parse::<Timestamp>().unwrap())) {
        let seconds = (delivered - approved).as_seconds_f64().max(0.0);
        waits.buckets[WaitTimes::BOUNDS_S.partition_point(|bound| f64::from(*bound) < seconds)] += 1;
        waits.sum_s += seconds;
    }
    assert_eq!(counted.waits.buckets, waits.buckets);
    assert!((counted.waits.sum_s - waits.sum_s).abs() < 0.001, "{} {}", counted.waits.sum_s, waits.sum_s);
    let states = world.ledger.states().unwrap();
    let recounted = pairs("SELECT state, '', count(*) FROM rewards GROUP BY state");
    assert_eq!(states, recounted.into_iter().map(|((state, _), count)| (state, count)).collect());
    let last =
        "SELECT id || ' ' || at FROM journal WHERE to_state IN ('delivering', 'delivered') ORDER BY id DESC LIMIT 1";
    assert_eq!(world.one("SELECT journal || ' ' || at FROM last_delivery"), world.one(last));
}

#[test]
fn the_counts_are_those_of_a_recount_after_everything_that_can_happen() {
    let world = World::new();
    counts_are_what_a_recount_gives(&world);
    for (number, state) in (1..).zip(RewardState::ALL) {
        world.in_state(number, *state);
        counts_are_what_a_recount_gives(&world);
    }
    let outcomes = [
        (delivered(), Aftermath::Delivered),
        (not_delivered(), Aftermath::Retry(at(5))),
        (unknown(), Aftermath::Retry(at(5))),
        (refused(), Aftermath::Hold(HoldReason::RefusedByTarget)),
    ];
    for (number, (outcome, after)) in (20..).zip(&outcomes) {
        let attempt = world.begin(&world.waiting(number));
        world.finish(number, attempt, outcome, after);
        counts_are_what_a_recount_gives(&world);
    }
    // Cut off, then again.
    let cut_off = world.in_state(30, RewardState::Delivering);
    let again = world.begin(&cut_off);
    world.finish(30, again, &delivered(), &Aftermath::Delivered);
    let failure = PassFailure { kind: FailureKind::Unavailable, text: "no answer".to_owned() };
    for failure in [None, Some(&failure), None] {
        let pass = world.ledger.begin_pass("schedule", "poll", at(0)).unwrap();
        let counts = Counts { api_requests: 3, ..Counts::default() };
        world.ledger.finish_pass(pass, &counts, failure, at(1)).unwrap();
    }
    world.ledger.begin_pass("schedule", "poll", at(2)).unwrap();
    world.ledger.begin_pass("schedule", "poll", at(3)).unwrap();
    counts_are_what_a_recount_gives(&world);
    let counted = world.ledger.counted().unwrap();
    assert_eq!((counted.api_requests, counted.passes_completed, counted.passes_failed["abandoned"]), (9, 2, 1));
}

/// A minute after approval is the first bucket's last wait; an unknown approval, or one that was later, is no wait.
#[test]
fn waits_fall_into_their_buckets() {
    for (approved, bucket) in [
        ("2026-01-01T12:00:00Z", 0),
        ("2026-01-01T11:59:59.999Z", 1),
        ("2025-12-25T12:00:59Z", 10),
        ("2026-01-02T00:00:00Z", 0),
    ] {
        let world = World::new();
        world.waiting(1);
        world.elsewhere(&format!("UPDATE rewards SET approved_at = '{approved}'"));
        let attempt = world.begin(&world.row(1));
        world.finish(1, attempt, &delivered(), &Aftermath::Delivered);
        let waits = world.ledger.counted().unwrap().waits;
        assert_eq!((waits.buckets[bucket], waits.buckets.iter().sum::<u64>()), (1, 1), "{approved}: {waits:?}");
        counts_are_what_a_recount_gives(&world);
    }
}
