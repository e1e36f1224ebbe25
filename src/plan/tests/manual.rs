//! The manual's table (`decisions`, "What the ledger has"), made by the code: every state times every observation. `table` has
//! the expected decisions, written from the promise.

use super::{
    table::{delivered, observations, waiting},
    *,
};
use crate::manual::Topic;

/// Rows of each state, in the variants that matter. The label names the state as the ledger does.
fn kinds() -> Vec<(&'static str, Option<Reward>)> {
    let long_ago = |row: Reward| Reward { owed_since: in_minutes(-9_000), first_attempt_at: None, ..row };
    let due_long_ago = until(in_minutes(-1_441), reward(RewardState::Waiting));
    let drifting = |state, drift| drifting(drift, reward(state));
    let refused = |reason| tried(held(reason), "app", in_minutes(-1));
    vec![
        ("not in the ledger", None),
        ("`waiting`", Some(reward(RewardState::Waiting))),
        ("`waiting`, the backoff is not over", Some(waiting("app", 4))),
        ("`waiting`, due for more than a day", Some(long_ago(due_long_ago))),
        ("`waiting`, an attempt may have taken effect", Some(uncertain(waiting("app", -1)))),
        ("`waiting`, the same, at a target that does not deduplicate", Some(uncertain(waiting("script", -1)))),
        ("`delivering`", Some(delivering_at("app"))),
        ("`delivering` for more than a day", Some(long_ago(delivering_at("app")))),
        ("`delivering` at a target that does not deduplicate", Some(delivering_at("script"))),
        ("`held` by policy", Some(held(HoldReason::FraudSuspicion))),
        (
            "`held` by policy, an attempt may have taken effect",
            Some(uncertain(tried(held(HoldReason::FraudSuspicion), "app", in_minutes(-1)))),
        ),
        ("`held` by an attempt that took no effect", Some(refused(HoldReason::RefusedByTarget))),
        ("`held` by an attempt or a change, one may have taken effect", Some(uncertain(refused(HoldReason::Changed)))),
        ("`held`, the outcome is unknown", Some(uncertain(refused(HoldReason::OutcomeUnknown)))),
        ("`delivered`", Some(delivered(0, None, None))),
        ("`delivered`, not marked three times", Some(delivered(3, Some("no"), Some(4)))),
        ("`fulfilled`", Some(reward(RewardState::Fulfilled))),
        ("`fulfilled`, with drift", Some(drifting(RewardState::Fulfilled, Drift::UnfulfilledUpstream))),
        ("`cancelled`", Some(reward(RewardState::Cancelled))),
        ("`reversed`", Some(reward(RewardState::Reversed))),
        ("`reversed`, with drift", Some(drifting(RewardState::Reversed, Drift::FulfilledAfterReversal))),
        ("`dismissed`", Some(reward(RewardState::Dismissed))),
    ]
}

/// The heads of the columns, in the order of [`observations`].
const HEADS: [&str; 5] = ["listed", "fulfilled", "not approved", "gone", "unclear"];

fn cell(step: &Step) -> String {
    let word = step.word();
    match step {
        Step::Leave(Why::Held(reason, _)) | Step::Write(Transition::Hold { reason, .. }) => {
            format!("`{word}`: `{reason}`")
        }
        Step::Write(Transition::Drift(drift)) => format!("`{word}`; drift `{drift}`"),
        Step::Write(Transition::DriftOver(_)) => format!("`{word}`; the drift is over"),
        Step::Write(Transition::NotMarked { .. }) => format!("`{word}`; it cannot be marked"),
        Step::Leave(_) | Step::Write(_) | Step::Deliver { .. } | Step::Mark => format!("`{word}`"),
    }
}

fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn table() -> String {
    let world = World::new();
    let mut table = line(["state"].into_iter().chain(HEADS)) + &line(["---"; 1 + HEADS.len()]);
    for (label, row) in kinds() {
        let cells = observations().map(|observed| cell(&world.decide(&observed, row.as_ref())));
        table += &line([label].into_iter().chain(cells.iter().map(String::as_str)));
    }
    table
}

#[test]
fn the_manual_shows_the_table_that_the_code_makes() {
    let table = table();
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("decisions", table);
    });
    assert!(
        Topic::Decisions.text().contains(&table),
        "src/manual/decisions.md shows another table: put that of src/plan/tests/snapshots/decisions.snap there"
    );
}

#[test]
fn the_table_of_the_manual_has_every_state_under_its_name() {
    let kinds = kinds();
    for state in RewardState::ALL {
        let theirs: Vec<_> =
            kinds.iter().filter(|(_, row)| row.as_ref().map(|row| row.state.word()) == Some(*state)).collect();
        assert!(!theirs.is_empty(), "{state}");
        assert!(theirs.iter().all(|(label, _)| label.starts_with(&format!("`{state}`"))), "{theirs:?}");
    }
}

#[test]
fn every_decision_of_the_table_is_explained_above_it() {
    let explained = crate::manual::words::words(Topic::Decisions, "What the ledger has", "decision");
    let world = World::new();
    let steps = kinds()
        .into_iter()
        .flat_map(|(_, row)| observations().map(|observed| world.decide(&observed, row.as_ref()).word().to_owned()));
    let made: BTreeSet<String> = steps.collect();
    assert_eq!(made, explained.into_iter().collect());
}
