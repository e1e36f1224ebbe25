//! Every state of the ledger times every observation of FirstPromoter. The expected decisions are written from the manual, not
//! from the code.

use super::*;

/// One of each, in the order of the table's columns.
pub(super) fn observations() -> [Observation; 5] {
    let all = [
        Observation::Listed(Box::new(commission())),
        Observation::Fulfilled,
        Observation::NotApproved("denied".to_owned()),
        Observation::Gone,
        Observation::Unclear,
    ];
    for (index, observation) in all.iter().enumerate() {
        // Exhaustive: an observation that the table does not have does not compile.
        let column = match observation {
            Observation::Listed(_) => 0,
            Observation::Fulfilled => 1,
            Observation::NotApproved(_) => 2,
            Observation::Gone => 3,
            Observation::Unclear => 4,
        };
        assert_eq!(index, column);
    }
    all
}

type Row = (&'static str, Option<Reward>, [&'static str; 5]);

pub(super) fn waiting(target: &str, minutes: i64) -> Reward {
    tried(reward(RewardState::Waiting), target, in_minutes(minutes))
}

pub(super) fn delivered(failures: u32, error: Option<&str>, next: Option<i64>) -> Reward {
    let tried = Tried::At(Attempted { target: "app".to_owned(), fingerprint: None });
    let row = Reward { tried, attempts: 1, ..not_marked(failures, error) };
    next.map(in_minutes).map_or(row.clone(), |next| until(next, row))
}

/// Rewards that nobody delivered for certain: owed, on their way, or interrupted.
fn undelivered() -> Vec<Row> {
    let unknown = "hold outcome_unknown";
    let certain = ["deliver app", "adopt", "cancel", "cancel", "nothing"];
    let backing_off = ["wait for backoff", "adopt", "cancel", "cancel", "nothing"];
    let repeatable = ["deliver app", "adopt", unknown, unknown, "nothing"];
    let elsewhere = ["deliver spare", "adopt", unknown, unknown, "nothing"];
    let later = ["wait for backoff", "adopt", unknown, unknown, "nothing"];
    let once_only = [unknown, "adopt", unknown, unknown, "nothing"];
    let resumed = ["resume app", "adopt", unknown, unknown, "nothing"];
    let resumed_elsewhere = ["resume spare", "adopt", unknown, unknown, "nothing"];
    // "At the start of a pass every `delivering` row is resolved", whatever FirstPromoter says of it.
    let cut_off = [unknown, "adopt", unknown, unknown, unknown];
    vec![
        ("unknown to the ledger", None, ["deliver app", "nothing", "nothing", "nothing", "nothing"]),
        ("waiting, never tried", Some(reward(RewardState::Waiting)), certain),
        ("waiting, failed, due", Some(waiting("app", -1)), certain),
        ("waiting, failed, not due", Some(waiting("app", 4)), backing_off),
        ("waiting, failed at a target that is gone, due", Some(waiting("gone", -1)), certain),
        ("waiting, uncertain, due", Some(uncertain(waiting("app", -1))), repeatable),
        ("waiting, uncertain, not due", Some(uncertain(waiting("app", 4))), later),
        ("waiting, uncertain, at a target that the routes left", Some(uncertain(waiting("spare", -1))), elsewhere),
        (
            "waiting, uncertain, at a target that does not deduplicate",
            Some(uncertain(waiting("script", -1))),
            once_only,
        ),
        ("waiting, uncertain, at a target that is gone", Some(uncertain(waiting("gone", -1))), once_only),
        ("delivering at a target that deduplicates", Some(delivering_at("app")), resumed),
        ("delivering at one that the routes left", Some(delivering_at("spare")), resumed_elsewhere),
        ("delivering at one that does not deduplicate", Some(delivering_at("script")), cut_off),
        ("delivering at one that is gone", Some(delivering_at("gone")), cut_off),
        (
            "cancelled",
            Some(reward(RewardState::Cancelled)),
            ["deliver app", "nothing", "nothing", "nothing", "nothing"],
        ),
    ]
}

/// Rewards that wait for a person, or for the end of a cause.
fn all_held() -> Vec<Row> {
    use HoldReason::{
        Backlog, BadAmount, Changed, FraudSuspicion, Fuse, GaveUp, NoRecipient, NoRoute, OutcomeUnknown, OverLimit,
        RecipientUnknown, RefusedByTarget, SelfReferral, UnknownUnit, Unreadable,
    };
    let unknown = "hold outcome_unknown";
    let mut rows = Vec::new();
    // Made by policy, which has no objection any more.
    for reason in [
        Backlog,
        FraudSuspicion,
        SelfReferral,
        OverLimit,
        Fuse,
        BadAmount,
        UnknownUnit,
        NoRoute,
        NoRecipient,
        RecipientUnknown,
        Unreadable,
    ] {
        rows.push(("held by policy", Some(held(reason)), ["deliver app", "adopt", "cancel", "cancel", "nothing"]));
    }
    // Made by an attempt: only a person lets it be delivered. Who else settles it settles it: it is open, and
    // fulfilled, or denied and certainly never delivered.
    for reason in [RefusedByTarget, GaveUp] {
        let row = tried(held(reason), "app", in_minutes(-1));
        let by_attempt = ["nothing", "adopt", "cancel", "cancel", "nothing"];
        rows.push(("held by an attempt, certainly not delivered", Some(row.clone()), by_attempt));
        let by_attempt = ["nothing", "adopt", unknown, unknown, "nothing"];
        rows.push(("held by an attempt, uncertain", Some(uncertain(row)), by_attempt));
    }
    let outcome_unknown = ["nothing", "adopt", "nothing", "nothing", "nothing"];
    rows.extend([
        (
            "held by policy, uncertain",
            Some(uncertain(tried(held(FraudSuspicion), "app", in_minutes(-1)))),
            ["deliver app", "adopt", unknown, unknown, "nothing"],
        ),
        (
            "held by policy, uncertain, at a target that does not deduplicate",
            Some(uncertain(tried(held(FraudSuspicion), "script", in_minutes(-1)))),
            [unknown, "adopt", unknown, unknown, "nothing"],
        ),
        (
            "held, outcome unknown, at a target that deduplicates",
            Some(uncertain(tried(held(OutcomeUnknown), "app", in_minutes(-1)))),
            outcome_unknown,
        ),
        (
            "held, outcome unknown, at one that does not",
            Some(uncertain(tried(held(OutcomeUnknown), "script", in_minutes(-1)))),
            outcome_unknown,
        ),
        (
            "held, changed",
            Some(uncertain(tried(held(Changed), "app", in_minutes(-1)))),
            ["nothing", "adopt", unknown, unknown, "nothing"],
        ),
    ]);
    rows
}

/// Rewards that somebody delivered or decided: none is ever delivered again.
fn settled() -> Vec<Row> {
    let denied = "FirstPromoter calls it denied now, and marks only approved ones";
    let gone = "FirstPromoter does not have it any more";
    let no = "cannot mark";
    let mark = ["mark", "adopt", no, no, no];
    let drifted = drifting(Drift::UnfulfilledUpstream, reward(RewardState::Fulfilled));
    let after_all = drifting(Drift::FulfilledAfterReversal, reward(RewardState::Reversed));
    vec![
        ("delivered", Some(delivered(0, None, None)), mark),
        ("delivered, not marked twice", Some(delivered(2, Some("no"), None)), mark),
        ("delivered, not marked, due", Some(delivered(3, Some("no"), Some(0))), mark),
        (
            "delivered, not marked, not due",
            Some(delivered(3, Some("no"), Some(4))),
            ["wait for marking", "adopt", no, no, no],
        ),
        (
            "delivered, and denied for long",
            Some(delivered(3, Some(denied), None)),
            ["mark", "adopt", "nothing", no, no],
        ),
        ("delivered, and gone for long", Some(delivered(9, Some(gone), None)), ["mark", "adopt", no, "nothing", no]),
        ("fulfilled", Some(reward(RewardState::Fulfilled)), ["drift", "nothing", "nothing", "nothing", "nothing"]),
        ("fulfilled, with drift", Some(drifted), ["nothing", "drift over", "drift over", "drift over", "nothing"]),
        ("reversed", Some(reward(RewardState::Reversed)), ["nothing", "drift", "nothing", "nothing", "nothing"]),
        ("reversed, with drift", Some(after_all), ["drift over", "nothing", "drift over", "drift over", "nothing"]),
        ("dismissed", Some(reward(RewardState::Dismissed)), ["nothing"; 5]),
        ("dismissed, uncertain", Some(uncertain(tried(reward(RewardState::Dismissed), "app", now()))), ["nothing"; 5]),
    ]
}

#[test]
fn every_state_of_the_ledger_times_every_observation_has_its_decision() {
    let world = World::new();
    let mut wrong = Vec::new();
    for (given, row, expected) in [undelivered(), all_held(), settled()].concat() {
        for (observed, expected) in observations().iter().zip(expected) {
            let decided = said(&world.decide(observed, row.as_ref()));
            if decided != expected {
                let reason = row.as_ref().and_then(held_for).map(|reason| format!(" ({reason})"));
                let reason = reason.unwrap_or_default();
                wrong.push(format!("{given}{reason}, {observed:?}: {decided}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_every_state_and_every_reason_to_hold() {
    let kind = |row: &Reward| (row.state.word(), held_for(row));
    let rows = [undelivered(), all_held(), settled()].concat();
    let there: BTreeSet<_> = rows.iter().map(|(_, row, _)| row.as_ref().map(kind)).collect();
    let mut wanted = BTreeSet::from([None]);
    for state in RewardState::ALL {
        match state {
            RewardState::Held => wanted.extend(HoldReason::ALL.iter().map(|reason| Some((*state, Some(*reason))))),
            RewardState::Waiting
            | RewardState::Delivering
            | RewardState::Delivered
            | RewardState::Fulfilled
            | RewardState::Cancelled
            | RewardState::Reversed
            | RewardState::Dismissed => {
                wanted.insert(Some((*state, None)));
            }
        }
    }
    assert_eq!(there, wanted);
    assert_eq!(wanted.len(), 1 + 7 + 15);
}

pub(super) fn held_for(row: &Reward) -> Option<HoldReason> {
    match row.state {
        State::Held { reason, .. } => Some(reason),
        State::Waiting { .. }
        | State::Delivering
        | State::Delivered { .. }
        | State::Fulfilled { .. }
        | State::Cancelled
        | State::Reversed { .. }
        | State::Dismissed => None,
    }
}
