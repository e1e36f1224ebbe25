//! Claims: ours, a webhook handler's, and the times that programs in other languages write.

use super::*;

/// The claim on commission 1, if any.
fn claim(world: &World) -> String {
    world.one("SELECT owner || ' ' || expires_at FROM claims WHERE commission_id = 1")
}

/// A handler's claim on commission 1.
fn handler_claims(world: &World, expires_at: &str) {
    world.elsewhere(&format!("INSERT INTO claims VALUES (1, 'handler', '2026-01-01T11:00:00Z', '{expires_at}')"));
}

/// What handlers may write as the end of a claim, and whether that is after noon (UTC) of the first of January 2026.
const ENDS: [(&str, bool); 14] = [
    ("2026-01-01T12:00:00.001Z", true),
    ("2026-01-01T12:00:00.000Z", false),
    ("2026-01-01T11:59:59.999Z", false),
    ("2026-01-01T12:00:01Z", true),
    ("2026-01-01T12:10Z", true),
    ("2026-01-01 12:10:00", true),
    ("2026-01-01 11:50:00", false),
    ("2025-01-01 10:00:00", false),
    ("2026-01-01T14:10:00+02:00", true),
    ("2026-01-01T13:50:00+02:00", false),
    ("2026-01-01T07:10:00-05:00", true),
    ("2026-01-01 06:50:00.123456-05:00", false),
    ("2026-01-01", false),
    ("9999-12-31T23:59:59Z", true),
];

#[test]
fn a_live_claim_of_somebody_elses_is_seen_however_its_end_is_written() {
    for (end, live) in ENDS {
        let world = World::new();
        handler_claims(&world, end);
        let claims = world.ledger.claims_of_others(at(0)).unwrap();
        assert_eq!(claims.contains_key(&id(1)), live, "{end}");
        assert!(claims.values().all(|until| *until > at(0)), "{end}: {claims:?}");
    }
    let world = World::new();
    handler_claims(&world, "2026-01-01T14:10:00.25+02:00");
    let until = at(10) + chrono::TimeDelta::milliseconds(250);
    assert_eq!(world.ledger.claims_of_others(at(0)).unwrap()[&id(1)], until);
}

#[test]
fn a_live_claim_of_somebody_elses_is_respected_and_an_expired_one_taken_over() {
    for (end, live) in ENDS {
        let world = World::new();
        let row = world.waiting(1);
        handler_claims(&world, end);
        let before = world.dump();
        let begun = world.change(|it| it.begin(&row, "app", at(2)));
        if live {
            assert_eq!(begun, Begun::Taken, "{end}");
            assert_eq!(world.dump(), before, "{end}");
        } else {
            assert_eq!(begun, Begun::Attempt(1), "{end}");
            assert_eq!(claim(&world), format!("makegood {}", timestamp_text(at(2))), "{end}");
        }
    }
}

#[test]
fn a_claim_of_our_own_is_no_obstacle_and_renewed() {
    let world = World::new();
    world.begin(&world.waiting(1));
    let row = world.row(1);
    assert!(world.ledger.claims_of_others(at(0)).unwrap().is_empty());
    assert_eq!(world.change_at(1, |it| it.begin(&row, "app", at(9))), Begun::Attempt(2));
    assert_eq!(claim(&world), format!("makegood {}", timestamp_text(at(9))));
}

#[test]
fn a_claim_that_a_handler_took_over_from_us_is_not_released_by_us() {
    let world = World::new();
    let attempt = world.begin(&world.waiting(1));
    world.elsewhere("UPDATE claims SET owner = 'handler', expires_at = '2026-01-01T12:30:00Z'");
    world.finish(1, attempt, &unknown(), &Aftermath::Retry(at(3)));
    assert_eq!(claim(&world), "handler 2026-01-01T12:30:00Z");
    let row = world.row(1);
    assert_eq!(world.change_at(3, |it| it.begin(&row, "app", at(5))), Begun::Taken);
    assert_eq!(world.change_at(30, |it| it.begin(&row, "app", at(32))), Begun::Attempt(2));
}

#[test]
fn a_commission_that_no_pass_has_seen_may_be_claimed() {
    let world = World::new();
    handler_claims(&world, "2026-01-01T12:10:00Z");
    assert_eq!(world.ledger.claims_of_others(at(0)).unwrap()[&id(1)], at(10));
    world.waiting(1);
    assert_eq!(world.ledger.claims_of_others(at(10)).unwrap().len(), 0);
}

#[test]
fn only_one_of_two_handlers_gets_a_claim_and_none_while_we_have_it() {
    // The manual's one INSERT, as a handler would write it.
    let take = "INSERT INTO claims (commission_id, owner, claimed_at, expires_at) VALUES (1, ?1, ?2, ?3) \
                ON CONFLICT (commission_id) DO UPDATE SET owner = excluded.owner, claimed_at = excluded.claimed_at, \
                expires_at = excluded.expires_at WHERE julianday(claims.expires_at) <= julianday(excluded.claimed_at)";
    let world = World::new();
    let shell = world.place.shell();
    let takes = |owner: &str, from: i64, to: i64| {
        shell.execute(take, (owner, timestamp_text(at(from)), timestamp_text(at(to)))).unwrap() == 1
    };
    assert!(takes("a", 0, 10));
    assert!(!takes("b", 5, 15));
    assert!(takes("b", 10, 20));
    let row = world.waiting(1);
    assert_eq!(world.change_at(20, |it| it.begin(&row, "app", at(22))), Begun::Attempt(1));
    assert!(!takes("a", 21, 31));
    assert!(takes("a", 22, 32), "the claim of a process that died ends by itself");
}

/// The answer to a handler that asks for commission 1 at noon, for ten minutes.
fn asks(world: &World) -> Claimed {
    world.ledger.claim(id(1), "handler", at(0), at(10)).unwrap()
}

#[test]
fn an_unseen_commission_can_be_claimed_and_claimed_again_by_its_owner() {
    let world = World::new();
    assert_eq!(asks(&world), Claimed::Taken);
    assert_eq!(claim(&world), "handler 2026-01-01T12:10:00.000Z");
    assert_eq!(world.ledger.claim(id(1), "handler", at(1), at(11)).unwrap(), Claimed::Taken);
    assert_eq!(claim(&world), "handler 2026-01-01T12:11:00.000Z");
    let other = world.ledger.claim(id(1), "another", at(2), at(12)).unwrap();
    let expires_at = "2026-01-01T12:11:00.000Z".to_owned();
    assert_eq!(other, Claimed::ByOther { owner: "handler".to_owned(), expires_at });
    assert_eq!(world.ledger.claim(id(1), "another", at(11), at(21)).unwrap(), Claimed::Taken);
}

#[test]
fn a_delivered_or_decided_reward_cannot_be_claimed_and_the_reason_is_told() {
    for state in [RewardState::Delivered, RewardState::Fulfilled, RewardState::Reversed] {
        let world = World::new();
        world.in_state(1, state);
        assert_eq!(asks(&world), Claimed::Delivered(state));
    }
    for (state, words) in [
        (RewardState::Dismissed, "a person decided against delivery"),
        (RewardState::Delivering, "makegood is delivering it, or was cut off while it did"),
    ] {
        let world = World::new();
        world.in_state(1, state);
        let before = world.dump();
        assert_eq!(asks(&world), Claimed::NotNow(words.to_owned()));
        assert_eq!(world.dump(), before);
    }
}

#[test]
fn a_waiting_policy_held_or_cancelled_reward_can_be_claimed_unless_an_attempt_may_have_taken_effect() {
    for state in [RewardState::Waiting, RewardState::Held, RewardState::Cancelled] {
        let world = World::new();
        world.in_state(1, state);
        assert_eq!(asks(&world), Claimed::Taken, "{state:?}");
    }
    let uncertain = |after: &Aftermath| {
        let world = World::new();
        let attempt = world.begin(&world.waiting(1));
        world.finish(1, attempt, &unknown(), after);
        asks(&world)
    };
    let words = "an attempt of makegood's may have taken effect";
    assert_eq!(uncertain(&Aftermath::Retry(at(5))), Claimed::NotNow(words.to_owned()));
    let held = uncertain(&Aftermath::Hold(HoldReason::OutcomeUnknown));
    assert_eq!(held, Claimed::NotNow(format!("{words}, held as outcome_unknown")));
}

#[test]
fn a_claim_taken_by_a_clock_that_was_ahead_lasts_as_long_as_it_was_asked_for_from_now() {
    let days = 10 * 24 * 60;
    let taken = |from: i64, until: i64| {
        let world = World::new();
        let [from, until] = [from, until].map(|minutes| timestamp_text(at(minutes)));
        world.elsewhere(&format!("INSERT INTO claims VALUES (1, 'handler', '{from}', '{until}')"));
        world
    };
    let until = |world: &World| world.ledger.claims_of_others(at(0)).unwrap().remove(&id(1));
    let ahead = taken(days, days + 10);
    assert!(until(&ahead).is_some_and(|until| until <= at(7 * 24 * 60)), "also where nothing may be written");
    assert_eq!(ahead.ledger.shorten_claims(at(0)).unwrap(), 1);
    assert_eq!(claim(&ahead), format!("handler {}", timestamp_text(at(10))));
    assert_eq!(ahead.ledger.shorten_claims(at(5)).unwrap(), 0, "it counts down");
    let endless = taken(-5, days);
    assert_eq!(endless.ledger.shorten_claims(at(0)).unwrap(), 1);
    assert_eq!(until(&endless), Some(at(7 * 24 * 60 - 5)));
    for (from, to) in [(-5, 10), (0, 7 * 24 * 60), (-10, -1), (days, -1)] {
        let fine = taken(from, to);
        let before = claim(&fine);
        assert_eq!((fine.ledger.shorten_claims(at(0)).unwrap(), claim(&fine)), (0, before), "{from} to {to}");
    }
}

/// Found while the clock was ahead, then held by the fuse, and the clock was set back: the grace period counts down once from
/// now.
#[test]
fn a_reward_found_by_a_clock_that_was_ahead_counts_as_found_now() {
    let world = World::new();
    let (waits, held, delivered) = (1, 2, 3);
    world.waiting(waits);
    world.held(held, HoldReason::Fuse);
    world.in_state(delivered, RewardState::Delivered);
    let days = timestamp_text(at(10 * 24 * 60));
    world.elsewhere(&format!("UPDATE rewards SET owed_since = '{days}'"));
    assert_eq!(world.ledger.found_by_now(at(0)).unwrap(), 2);
    assert_eq!([waits, held].map(|number| world.row(number).owed_since), [at(0); 2]);
    assert_eq!(world.column(delivered, "owed_since"), days, "it is owed no more");
    assert_eq!(world.ledger.found_by_now(at(5)).unwrap(), 0, "it counts down");
    assert_eq!(world.row(held).owed_since, at(0));
}
