//! The invariants that must hold when everything is at rest, and how a world comes to rest, with the help of a person.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::world::{Ran, World};

/// The file in which a `command` target's script, or a handler, keeps its effects: a line each, the key first.
pub(crate) const EFFECTS: &str = "effects";

/// How often each commission took effect: at the merchant's endpoint, and in the file [`EFFECTS`].
pub(crate) fn effects(world: &World) -> BTreeMap<i64, usize> {
    let mut count = BTreeMap::new();
    let file = fs::read_to_string(world.path(EFFECTS)).unwrap_or_default();
    let written = file.lines().map(|line| {
        let key = line.split_whitespace().next().unwrap_or_default();
        key.rsplit('-').next().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{line:?} names no commission"))
    });
    for id in world.sandbox.merchant.rewarded_ids().into_iter().chain(written) {
        *count.entry(id).or_default() += 1;
    }
    count
}

fn effect_of(world: &World, id: i64) -> usize {
    effects(world).get(&id).copied().unwrap_or_default()
}

/// Runs passes until everything left open needs a person. After each pass, `person` acts.
pub(crate) fn run_to_rest(world: &World, person: impl Fn(&World)) {
    for _ in 0..8 {
        let ran = world.once();
        assert!(ran.error().is_empty() && [0, 3].contains(&ran.exit), "a pass in peace does not complete: {ran}");
        person(world);
        consistent(world);
        let open = "SELECT commission_id FROM rewards WHERE state IN ('waiting', 'delivering', 'delivered')";
        if world.query(open).is_empty() {
            return;
        }
    }
    panic!("eight passes did not come to rest: {:#?}", world.query("SELECT * FROM rewards WHERE state <> 'fulfilled'"));
}

/// A person who looks in the target for each reward held as `outcome_unknown`, and decides by what is there.
pub(crate) fn person_who_looks(world: &World) {
    for (id, reason) in world.attention() {
        assert_eq!(reason, "outcome_unknown", "{id} needs a person for another reason: {}", world.reward(id));
        let decision = if effect_of(world, id) == 1 { "--delivered" } else { "--retry" };
        world.run(&["resolve", &id.to_string(), decision, "--reason", "looked in the target"]).exits(0);
    }
}

/// A person who does nothing.
pub(crate) fn nobody(_: &World) {}

/// In any state of the world: the ledger is sound, its journal explains every state, and nothing took effect twice or without
/// an intent in the ledger.
pub(crate) fn consistent(world: &World) {
    assert_eq!(world.query("PRAGMA integrity_check")[0]["integrity_check"], "ok");
    journal_tells_all(world);
    for (id, times) in effects(world) {
        assert_eq!(times, 1, "{id} took effect {times} times: {:#?}", world.journal(id));
        let reward = world.reward(id);
        let known = !reward["delivered_by"].is_null() || !world.attempts(id).is_empty();
        assert!(known, "{id} took effect behind the ledger's back: {reward}");
    }
    let mut bodies = BTreeMap::<i64, Value>::new();
    for body in world.sandbox.merchant.bodies() {
        let id = body["commission_id"].as_i64().expect("an id");
        assert_eq!(*bodies.entry(id).or_insert_with(|| body.clone()), body, "every attempt says the same");
    }
    assert_eq!(world.sandbox.merchant.rejections(), Vec::<String>::new());
}

/// The entries are numbered without a gap. Each begins in the state where the one before ended, and the last is the present
/// state.
fn journal_tells_all(world: &World) {
    let journal = world.query("SELECT * FROM journal ORDER BY id");
    let mut now = BTreeMap::<i64, Value>::new();
    for (entry, id) in journal.iter().zip(1..) {
        assert_eq!(entry["id"], id, "the journal has a gap");
        let before = now.insert(entry["commission_id"].as_i64().expect("an id"), entry["to_state"].clone());
        assert_eq!(entry["from_state"], before.unwrap_or_default(), "{entry} does not go on from the one before");
    }
    let states: BTreeMap<i64, Value> = world
        .query("SELECT commission_id, state FROM rewards")
        .into_iter()
        .map(|row| (row["commission_id"].as_i64().expect("an id"), row["state"].clone()))
        .collect();
    assert_eq!(now, states, "the journal replays to the states");
}

/// At rest: [`consistent`]; each of these is fulfilled with one effect, or is in `attention` with one at most; no attempt and
/// no pass is open; and one more pass changes nothing.
pub(crate) fn at_rest(world: &World, ids: &[i64]) -> Ran {
    consistent(world);
    let attention = world.attention();
    for &id in ids {
        let state = world.state_of(id);
        match state.as_str() {
            "fulfilled" => {
                assert_eq!(effect_of(world, id), 1, "{id} is called fulfilled: {:#?}", world.journal(id));
                assert!(world.sandbox.firstpromoter.is_fulfilled(id), "{id} is not fulfilled at FirstPromoter");
            }
            _ => assert!(attention.contains_key(&id), "{id} is {state}, and nobody is asked"),
        }
    }
    let open = "SELECT commission_id, attempt FROM attempts WHERE outcome IS NULL";
    assert_eq!(world.query(open), Vec::<Value>::new(), "attempts without an end");
    let counted = "SELECT commission_id FROM rewards r WHERE attempts <> (SELECT count(*) FROM attempts a \
                   WHERE a.commission_id = r.commission_id)";
    assert_eq!(world.query(counted), Vec::<Value>::new(), "attempts that are not written down");
    assert_eq!(
        world.query("SELECT id FROM passes WHERE finished IS NULL"),
        Vec::<Value>::new(),
        "passes without an end"
    );
    world.then_nothing_more_happens()
}
