use super::*;
use crate::firstpromoter::script::{QuickClock, Upstream, batch, broken, ids, rejected};

async fn mark_all(upstream: &Upstream, count: i64) -> (Marking, Vec<u128>) {
    let clock = QuickClock::new();
    let marking = mark(upstream, &clock, &ids(1..=count), &[]).await;
    (marking, clock.sleeps_ms())
}

/// All of these were asked for, and FirstPromoter complained about none.
fn without_a_word(count: i64) -> Marking {
    Marking { asked: ids(1..=count).into_iter().collect(), ..Marking::default() }
}

#[tokio::test]
async fn few_commissions_go_in_small_calls_and_many_in_large_ones() {
    for (count, calls) in [
        (0, vec![]),
        (1, vec![1]),
        (5, vec![5]),
        (6, vec![5, 1]),
        (15, vec![5, 5, 5]),
        (16, vec![16]),
        (100, vec![100]),
        (230, vec![100, 100, 30]),
    ] {
        let upstream = Upstream::of(0);
        let (marking, _) = mark_all(&upstream, count).await;
        assert_eq!(marking, without_a_word(count), "{count}");
        assert_eq!(*upstream.marked.borrow(), calls, "{count}");
    }
}

#[tokio::test]
async fn a_batch_is_asked_for_until_it_ends() {
    let upstream = Upstream::of(0);
    upstream.marks.borrow_mut().push_back(Ok(batch(BatchStatus::Running)));
    let running = Batch { id: None, ..batch(BatchStatus::Running) };
    upstream.batches.borrow_mut().extend([Ok(running), Ok(batch(BatchStatus::Completed))]);
    let (marking, sleeps) = mark_all(&upstream, 100).await;
    assert_eq!((marking, sleeps), (without_a_word(100), vec![500, 1_000]));
}

#[tokio::test]
async fn a_batch_that_does_not_end_is_waited_for_two_minutes() {
    let upstream = Upstream::of(0);
    upstream.marks.borrow_mut().push_back(Ok(batch(BatchStatus::Running)));
    let (marking, sleeps) = mark_all(&upstream, 20).await;
    assert_eq!(marking.complaints.len(), 20);
    assert!(marking.complaints[&CommissionId(1)].contains("batch 8 had not ended"));
    let waited: u128 = sleeps.iter().sum();
    assert!((120_000..130_000).contains(&waited), "{waited}");
    assert!(sleeps.iter().all(|ms| *ms <= 10_000));
}

#[tokio::test]
async fn failures_within_a_batch_are_complaints_about_all_of_it() {
    for (answer, words) in [
        (Batch { failed_count: 2, errors: "no payout".to_owned(), ..batch(BatchStatus::Completed) }, "no payout"),
        (
            Batch { failed_count: 1, ..batch(BatchStatus::Completed) },
            "1 of the batch failed (batch 8): no reason given",
        ),
        (batch(BatchStatus::Ended), "stopped before its end"),
        (Batch { id: None, ..batch(BatchStatus::Running) }, "without telling its id"),
    ] {
        let upstream = Upstream::of(0);
        upstream.marks.borrow_mut().push_back(Ok(answer));
        let complaints = mark_all(&upstream, 3).await.0.complaints;
        assert_eq!(complaints.len(), 3, "{words}");
        assert!(complaints.values().all(|said| said.contains(words)), "{complaints:?}");
    }
}

#[tokio::test]
async fn one_bad_id_does_not_keep_ninety_nine_from_being_marked() {
    let upstream = Upstream { poison: ids([37]), ..Upstream::of(0) };
    let complaints = mark_all(&upstream, 100).await.0.complaints;
    assert_eq!(complaints.keys().copied().collect::<Vec<_>>(), ids([37]));
    assert!(complaints[&CommissionId(37)].contains("Invalid ids"), "{complaints:?}");
}

#[tokio::test]
async fn refusals_are_bounded_and_a_commission_not_asked_for_has_not_failed() {
    let upstream = Upstream { poison: ids(1..=100), ..Upstream::of(0) };
    let marking = mark_all(&upstream, 100).await.0;
    assert_eq!(upstream.calls.get(), 20);
    // A few were refused down to the single one.
    assert_eq!(marking.asked, marking.complaints.keys().copied().collect());
    assert!((5..20).contains(&marking.asked.len()), "{}", marking.asked.len());
    assert!(marking.complaints.values().all(|words| words.contains("422")));
}

#[tokio::test]
async fn commissions_that_failed_before_go_last_and_in_calls_of_their_own() {
    let upstream = Upstream { poison: ids(1..=30), ..Upstream::of(0) };
    let marking = mark(&upstream, &QuickClock::new(), &ids(31..=60), &ids(1..=30)).await;
    assert_eq!(upstream.marked.borrow()[..2], [30, 30]);
    assert!(ids(31..=60).iter().all(|id| marking.asked.contains(id) && !marking.complaints.contains_key(id)));
    // The other way round: those that never failed use up no more than their own refusals.
    let upstream = Upstream { poison: ids(31..=90), ..Upstream::of(0) };
    let marking = mark(&upstream, &QuickClock::new(), &ids(31..=90), &ids(1..=30)).await;
    assert!(ids(1..=30).iter().all(|id| marking.asked.contains(id) && !marking.complaints.contains_key(id)));
}

#[tokio::test]
async fn marking_keeps_the_callers_order() {
    let upstream = Upstream { poison: ids([1]), ..Upstream::of(0) };
    let marking = mark(&upstream, &QuickClock::new(), &ids([9, 1, 5, 9]), &[]).await;
    assert_eq!(*upstream.marked.borrow(), [3, 1, 2, 1, 1]);
    assert_eq!(marking.asked.len(), 3);
}

#[tokio::test]
async fn a_failure_that_stops_everything_leaves_the_rest_unasked() {
    let upstream = Upstream::of(0);
    upstream.marks.borrow_mut().push_back(Err(broken()));
    let marking = mark_all(&upstream, 12).await.0;
    assert_eq!((marking.failure, marking.asked), (Some(broken()), ids(1..=5).into_iter().collect()));
    assert_eq!(upstream.calls.get(), 1, "the other calls are left to the next pass");

    let upstream = Upstream::of(0);
    upstream.marks.borrow_mut().push_back(Ok(batch(BatchStatus::Running)));
    upstream.batches.borrow_mut().push_back(Err(broken()));
    let marking = mark_all(&upstream, 50).await.0;
    assert_eq!((marking.failure, marking.asked.len()), (Some(broken()), 50));
}

#[tokio::test]
async fn a_batch_that_is_not_found_is_a_complaint() {
    let upstream = Upstream::of(0);
    upstream.marks.borrow_mut().push_back(Ok(batch(BatchStatus::Running)));
    upstream.batches.borrow_mut().push_back(Err(rejected(404)));
    assert_eq!(mark_all(&upstream, 20).await.0.complaints.len(), 20);
}

#[tokio::test]
async fn taking_the_mark_back_asks_for_that_and_nothing_else() {
    let upstream = Upstream::of(0);
    upstream.marks.borrow_mut().push_back(Err(rejected(422)));
    let marking = unmark(&upstream, &QuickClock::new(), &ids([7])).await;
    assert!(marking.complaints[&CommissionId(7)].contains("422"), "{marking:?}");
    assert_eq!((&*upstream.marked.borrow(), &*upstream.unmarked.borrow()), (&vec![1], &vec![1]));
}
