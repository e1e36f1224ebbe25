//! The main job, end to end: what is missing is delivered as the contract says, marked, and read back.

use crate::{
    sandbox::commission,
    world::{LONG_AGO, given},
};

#[test]
fn a_missed_reward_is_delivered_marked_and_read_back() {
    let world = given([commission(88901).approved(LONG_AGO)]);
    let ran = world.once().exits(0);
    assert_eq!((ran.count("delivered"), ran.count("fulfilled")), (1, 1), "{ran}");
    assert_eq!(world.way_of(88901), ["waiting", "delivering", "delivered", "fulfilled"]);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [88901]);
    assert!(world.sandbox.firstpromoter.is_fulfilled(88901));
    world.then_nothing_more_happens().exits(0);
}
