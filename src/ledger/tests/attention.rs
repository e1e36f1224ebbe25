//! The view `attention` in short.

use std::collections::BTreeSet;

use super::*;

fn ids(rows: &[Attention]) -> Vec<i64> {
    rows.iter().map(|it| it.commission_id.0).collect()
}

#[test]
fn up_to_twenty_with_one_reason_are_shown_one_by_one() {
    let world = World::new();
    for number in 1..=20 {
        world.held(number, HoldReason::Backlog);
        world.held(100 + number, HoldReason::BadAmount);
    }
    let short = world.ledger.attention_in_short(&BTreeSet::new()).unwrap();
    assert_eq!((short.count, short.groups.len()), (40, 0));
    assert_eq!(short.rows, world.ledger.attention().unwrap());
    assert_eq!(world.ledger.needs_attention().unwrap(), 40);
}

#[test]
fn of_more_with_one_reason_three_are_shown_and_the_others_counted() {
    let world = World::new();
    for number in 1..=30 {
        world.held(number, HoldReason::Backlog);
    }
    for number in 101..=103 {
        world.held(number, HoldReason::BadAmount);
    }
    world.elsewhere("UPDATE rewards SET state_since = '2025-12-31T00:00:00Z' WHERE commission_id IN (7, 9)");
    let short = world.ledger.attention_in_short(&[id(8), id(101), id(4711)].into()).unwrap();
    assert_eq!((short.count, ids(&short.rows)), (33, vec![101, 102, 103]));
    let [group] = &short.groups[..] else { panic!("{short:?}") };
    assert_eq!((group.reason.as_str(), group.state.as_str(), group.count), ("backlog", "held", 30));
    assert_eq!(ids(&group.examples), [7, 9, 1], "the longest standing");
    assert_eq!(short.grouped, [id(8)].into());
}

/// Another target is another person's to repair.
#[test]
fn rewards_at_different_targets_are_not_in_one_group() {
    let world = World::new();
    for number in 1..=42 {
        world.held(number, HoldReason::RefusedByTarget);
    }
    world.elsewhere("UPDATE rewards SET target = iif(commission_id % 2, 'app', 'shop')");
    let short = world.ledger.attention_in_short(&BTreeSet::new()).unwrap();
    let groups = short.groups.iter().map(|group| (group.target.as_deref().unwrap(), group.count));
    assert_eq!(groups.collect::<Vec<_>>(), [("app", 21), ("shop", 21)]);
}

#[test]
fn the_rows_of_some_commissions_are_those_of_the_view() {
    let world = World::new();
    (1..=5).for_each(|number| drop(world.held(number, HoldReason::Fuse)));
    world.waiting(6);
    let all = world.ledger.attention().unwrap();
    assert_eq!(world.ledger.attention_of(&[id(2), id(4), id(6), id(7)]).unwrap(), [all[1].clone(), all[3].clone()]);
}
