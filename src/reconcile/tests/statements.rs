//! A pass costs as much as what is open or new, however long the history is.

use super::*;

/// Every kind of pass, over rewards in every state that a pass meets.
#[tokio::test]
async fn no_statement_of_a_pass_reads_all_history() {
    let mut world = World::with_nine_fulfilled().await;
    let statements = world.ledger.collect_statements();
    world.pass().await;
    // A drift, one that was cut off, an attempt that fails, a hold, one in its grace period, one that vanishes, one that is reversed.
    world.outside.commissions.borrow_mut().get_mut(&CommissionId(3)).unwrap().1 = false;
    let reverse = "UPDATE rewards SET state = 'reversed' WHERE commission_id = 4";
    world.shell().execute_batch(reverse).unwrap();
    for failure in [
        Outcome::NotDelivered { detail: "down".to_owned(), retry_after: None },
        Outcome::Unknown { detail: "no answer".to_owned(), retry_after: None },
        Outcome::Refused { detail: "no such user".to_owned() },
    ] {
        world.outside.answer.replace(Some(failure));
        let next = 10 + i64::try_from(world.outside.commissions.borrow().len()).unwrap();
        world.outside.put(commission(next));
        world.pass().await;
        world.outside.clock.0.set(world.outside.clock.0.get() + chrono::TimeDelta::hours(1));
    }
    world.outside.answer.take();
    world.outside.put(Commission { is_self_referral: true, ..commission(40) });
    world.outside.put(Commission { status_updated_at: Some(now() + chrono::TimeDelta::hours(3)), ..commission(41) });
    world.outside.put(commission(42));
    world.pass().await;
    world.outside.commissions.borrow_mut().remove(&CommissionId(41));
    world.pass().await;
    world.try_pass(&[42, 40]).await.unwrap();
    let many = statements.assert_none_reads_history(&world.folder.path().join("ledger.db"));
    assert!(many > 30, "{many} statements");
}
