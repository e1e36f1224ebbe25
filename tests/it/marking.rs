//! FirstPromoter does not mark a delivered reward. The reward stays `delivered`, a later pass marks it, `attention` shows it
//! after three passes that could not, then marking is tried less often, and it is never delivered again.

use serde_json::{Value, json};

use crate::{
    sandbox::{BatchEnd, Commission, Endpoint, always, half, instant, never, once, status},
    targets::{owed, the_time_has_come},
    world::{Ran, World, given},
};

/// What the ledger says about marking: state, failures in a row, FirstPromoter's words.
fn marking_of(world: &World, id: i64) -> (String, u64, String) {
    let reward = world.reward(id);
    let words = reward["mark_error"].as_str().unwrap_or_default().to_owned();
    (world.state_of(id), reward["mark_attempts"].as_u64().unwrap(), words)
}

fn marks(world: &World) -> u64 {
    world.sandbox.firstpromoter.requests_to(Endpoint::Mark)
}

/// Three passes that cannot mark this reward, for the reason in these words.
#[track_caller]
fn three_passes_cannot_mark(world: &World, id: i64, words: &str) -> Ran {
    for pass in 1..=3 {
        let ran = world.once().exits(if pass < 3 { 0 } else { 3 });
        assert_eq!(ran.error(), "", "a reward that cannot be marked is no failed pass");
        let (state, failures, said) = marking_of(world, id);
        assert_eq!((state.as_str(), failures), ("delivered", pass), "{ran}");
        assert!(said.contains(words), "{words:?} is not said in {said:?}");
        assert_eq!(world.attention().contains_key(&id), pass == 3, "after pass {pass}: {ran}");
    }
    let ran = world.once().exits(3);
    let line = ran.line(id);
    assert_eq!((&line["reason"], &line["needs_attention"]), (&json!("not_marked"), &json!(true)), "{ran}");
    assert!(line["detail"].as_str().unwrap().contains(words), "{line}");
    ran
}

/// FirstPromoter marks again: the next due pass marks it, without a second delivery.
#[track_caller]
fn then_it_is_marked(world: &World, ids: impl IntoIterator<Item = i64>) {
    the_time_has_come(world);
    let ran = world.once().exits(0);
    for id in ids {
        assert_eq!(marking_of(world, id), ("fulfilled".to_owned(), 0, String::new()), "{ran}");
        assert_eq!(world.sandbox.merchant.bodies_of(id).len(), 1, "delivered once: {ran}");
        assert_eq!(world.reward(id)["delivered_by"], "makegood");
    }
    assert!(world.attention().is_empty(), "{ran}");
    world.then_nothing_more_happens().exits(0);
}

/// Milliseconds from the newest pass to the next time that marking is tried.
fn next_mark_ms(world: &World, id: i64) -> i64 {
    let [next, pass] = [&world.reward(id)["next_attempt_at"], &world.last_pass()["started"]]
        .map(|time| instant(time.as_str().unwrap()));
    (next - pass).num_milliseconds()
}

#[test]
fn a_marking_without_effect_is_shown_after_three_passes_and_then_repeated_less_often() {
    let world = given([owed(1)]);
    world.sandbox.firstpromoter.lock().switches.mark_lies = true;
    let ran =
        three_passes_cannot_mark(&world, 1, "answered as done, and the commission still reads back as unfulfilled");
    assert_eq!(marks(&world), 3, "beyond the third not in every pass: {ran}");
    let words = world.run(&["once"]).exits(3).stdout;
    assert!(words.contains("not_marked: mark_fulfilled was answered as done"), "{words}");
    assert!(words.contains("-> The recipient has it"), "{words}");

    the_time_has_come(&world);
    world.once().exits(3);
    assert_eq!((marks(&world), marking_of(&world, 1).1), (4, 4));
    let wait = next_mark_ms(&world, 1);
    assert!((240_000..270_000).contains(&wait), "a minute, then four: {wait}");
    world.then_nothing_more_happens().exits(3);

    world.sandbox.firstpromoter.lock().switches.mark_lies = false;
    then_it_is_marked(&world, [1]);
}

#[test]
fn a_reward_marked_by_hand_is_seen_at_once() {
    let world = given([owed(1)]);
    world.sandbox.firstpromoter.lock().switches.mark_lies = true;
    three_passes_cannot_mark(&world, 1, "reads back as unfulfilled");
    world.sandbox.firstpromoter.fulfil(1);
    // Not before its time, and without a request to mark.
    let ran = world.once().exits(0);
    assert_eq!((marking_of(&world, 1).0.as_str(), marks(&world)), ("fulfilled", 3), "{ran}");
    assert_eq!(world.reward(1)["delivered_by"], "makegood", "we delivered it, whoever marked it");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_commission_that_cannot_be_marked_does_not_stop_the_others() {
    let world = given([owed(1), owed(2), owed(3)]);
    world.sandbox.firstpromoter.lock().switches.mark_fails = [2].into();
    three_passes_cannot_mark(&world, 2, "Commission could not be updated");
    assert!([1, 3].iter().all(|id| world.state_of(*id) == "fulfilled"));
    assert_eq!(world.attention(), [(2, "not_marked".to_owned())].into());
    world.sandbox.firstpromoter.lock().switches.mark_fails.clear();
    then_it_is_marked(&world, [1, 2, 3]);
}

#[test]
fn a_call_refused_whole_because_of_one_bad_id_is_made_in_halves() {
    let world = given([owed(1), owed(2).without_payout(), owed(3), owed(4)]);
    world.sandbox.firstpromoter.lock().switches.mark_all_or_nothing = true;
    let ran = world.once().exits(0);
    assert_eq!((ran.count("delivered"), ran.count("fulfilled")), (4, 3), "{ran}");
    // 1234, 12, 1, 2, 34
    assert_eq!(marks(&world), 5, "{ran}");
    let (state, failures, words) = marking_of(&world, 2);
    assert_eq!((state.as_str(), failures), ("delivered", 1));
    assert_eq!(words, "refused with 422: Commission has no payout (invalid_record)");
    world.sandbox.firstpromoter.change(2, |commission| commission.has_payout = true);
    then_it_is_marked(&world, 1..=4);
}

#[test]
fn a_commission_without_a_payout_record_is_shown_in_firstpromoters_words() {
    let world = given([owed(1).without_payout()]);
    three_passes_cannot_mark(&world, 1, "Commission has no payout");
    world.sandbox.firstpromoter.change(1, |commission| commission.has_payout = true);
    then_it_is_marked(&world, [1]);
}

/// A world in which every call becomes a batch, even a small one.
fn batches(end: BatchEnd) -> World {
    let world = given([owed(1)]);
    let mut state = world.sandbox.firstpromoter.lock();
    (state.switches.batch_threshold, state.switches.batch_polls, state.switches.batch_end) = (0, 0, end);
    drop(state);
    world
}

#[test]
fn a_batch_that_does_nothing_is_reported_and_asked_for_again() {
    for (end, words) in [
        (BatchEnd::Fails, "the batch was stopped before its end (batch 8): no reason given"),
        (BatchEnd::Stops, "the batch was stopped before its end (batch 8): no reason given"),
        (BatchEnd::Vanishes, "batch 8 could not be asked for (404): Record not found"),
    ] {
        let world = batches(end);
        let ran = world.once().exits(0);
        let (state, failures, said) = marking_of(&world, 1);
        assert_eq!((state.as_str(), failures), ("delivered", 1), "{end:?}: {ran}");
        assert!(said.starts_with(words), "{end:?}: {said}");
        world.sandbox.firstpromoter.lock().switches.batch_end = BatchEnd::Completes;
        then_it_is_marked(&world, [1]);
    }
}

#[test]
fn three_failed_batches_are_shown() {
    let world = batches(BatchEnd::Fails);
    three_passes_cannot_mark(&world, 1, "the batch was stopped before its end");
    world.sandbox.firstpromoter.lock().switches.batch_end = BatchEnd::Completes;
    then_it_is_marked(&world, [1]);
}

#[test]
fn a_batch_that_vanishes_after_its_work_is_believed_when_it_reads_back() {
    let world = batches(BatchEnd::VanishesDone);
    // The sandbox works on it at the first poll, and answers 404.
    let ran = world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), ran.count("fulfilled")), ("fulfilled", 1), "{ran}");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_batch_is_waited_for_whatever_status_announces_it() {
    for announced in [200, 202] {
        let world = batches(BatchEnd::Completes);
        let mut state = world.sandbox.firstpromoter.lock();
        (state.switches.batch_status, state.switches.batch_polls) = (announced, 1);
        drop(state);
        let ran = world.once().exits(0);
        assert_eq!(world.sandbox.firstpromoter.requests_to(Endpoint::Batch), 2, "{announced}: {ran}");
        assert_eq!(world.state_of(1), "fulfilled", "{announced}: {ran}");
    }
}

#[test]
fn a_listing_that_lags_behind_the_mark_costs_a_pass_and_no_second_delivery() {
    let world = given([owed(1)]);
    world.sandbox.firstpromoter.lock().switches.replica_lag = 1;
    let ran = world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), ran.count("fulfilled")), ("delivered", 0), "{ran}");
    let ran = world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), ran.count("fulfilled")), ("fulfilled", 1), "{ran}");
    assert_eq!((marks(&world), world.sandbox.merchant.requests()), (1, 1), "{ran}");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn passes_that_fail_to_mark_are_counted_too() {
    let world = given([owed(1)]);
    world.sandbox.firstpromoter.lock().faults.mark = always(status(401));
    for pass in 1..=3 {
        let ran = world.once().exits(1);
        assert_eq!(marking_of(&world, 1).1, pass, "{ran}");
    }
    assert_eq!(world.attention(), [(1, "not_marked".to_owned())].into());
    world.sandbox.firstpromoter.lock().faults.mark = never();
    then_it_is_marked(&world, [1]);
}

#[test]
fn a_marking_that_took_effect_behind_an_unreadable_answer_is_fulfilled_although_the_pass_failed() {
    let world = given([owed(1), owed(2)]);
    world.sandbox.firstpromoter.lock().faults.mark = once(half());
    let ran = world.once().exits(1);
    assert_eq!((ran.count("delivered"), ran.count("fulfilled")), (2, 2), "{ran}");
    assert_eq!([1, 2].map(|id| world.state_of(id)), ["fulfilled", "fulfilled"]);
    world.then_nothing_more_happens().exits(0);
}

/// Delivered, not marked, and then this happens to it at FirstPromoter.
fn after_delivery(happens: impl Fn(&World), words: &str) {
    let world = given([owed(1)]);
    world.sandbox.firstpromoter.lock().faults.mark = once(status(422));
    world.once().exits(0);
    happens(&world);
    for (pass, exit) in [(2, 0), (3, 3)] {
        let ran = world.once().exits(exit);
        let (state, failures, said) = marking_of(&world, 1);
        assert_eq!((state.as_str(), failures, said.as_str()), ("delivered", pass, words), "{ran}");
    }
    assert_eq!((marks(&world), world.sandbox.merchant.requests()), (1, 1), "what cannot be marked is not asked for");
    assert_eq!(world.attention(), [(1, "not_marked".to_owned())].into());
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn a_reward_denied_after_its_delivery_stays_delivered_and_is_shown() {
    let words = "FirstPromoter calls it denied now, and marks only approved ones";
    after_delivery(|world| world.sandbox.firstpromoter.deny(1), words);
}

#[test]
fn a_reward_deleted_after_its_delivery_stays_delivered_and_is_shown() {
    after_delivery(|world| world.sandbox.firstpromoter.delete(1), "FirstPromoter does not have it any more");
}

#[test]
fn a_reward_that_changes_after_its_delivery_is_marked_and_not_delivered_again() {
    let world = given([owed(1)]);
    world.sandbox.firstpromoter.lock().faults.mark = once(status(422));
    world.once().exits(0);
    world.sandbox.firstpromoter.change(1, |commission: &mut Commission| commission.amount = 9_000);
    let ran = world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), &world.reward(1)["amount"]), ("fulfilled", &json!(500)), "{ran}");
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "points"), 500);
    assert_eq!(world.reward(1)["next_attempt_at"], Value::Null);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_filter_ignored_from_the_marking_on_makes_nothing_fulfilled() {
    for rewards in [1, 30] {
        let world = given((1..=rewards).map(|id| owed(id).without_payout()));
        let mut state = world.sandbox.firstpromoter.lock();
        (state.switches.mark_all_or_nothing, state.switches.batch_polls) = (true, 0);
        drop(state);
        // FirstPromoter refuses to mark, and from then on answers every question with everything.
        world.sandbox.firstpromoter.after(Endpoint::Mark, 1, |firstpromoter| {
            firstpromoter.lock().switches.ignored_filters.fulfilled = true;
        });
        let ran = world.once().exits(1);
        assert!(ran.error().contains("filters[fulfilled]"), "{ran}");
        assert_eq!((ran.count("delivered"), ran.count("fulfilled")), (rewards.unsigned_abs(), 0), "{ran}");
        assert_eq!(marking_of(&world, 1).0, "delivered", "{ran}");
        let mut state = world.sandbox.firstpromoter.lock();
        state.switches.ignored_filters.fulfilled = false;
        drop(state);
        (1..=rewards).for_each(|id| world.sandbox.firstpromoter.change(id, |commission| commission.has_payout = true));
        then_it_is_marked(&world, 1..=rewards);
    }
}

#[test]
fn eleven_commissions_that_cannot_be_marked_do_not_stop_ten_good_ones() {
    // The bad ones have the lower ids, or are spread among the others.
    for bad in [(1..=11).collect::<Vec<i64>>(), (1..=21).filter(|id| id % 2 == 1).collect()] {
        let row = |id| if bad.contains(&id) { owed(id).without_payout() } else { owed(id) };
        let world = given((1..=21).map(row));
        world.sandbox.firstpromoter.lock().switches.mark_all_or_nothing = true;
        for _ in 0..4 {
            assert_eq!(world.once().error(), "");
            the_time_has_come(&world);
        }
        for id in 1..=21 {
            let (state, failures, _) = marking_of(&world, id);
            let expected = if bad.contains(&id) { "delivered" } else { "fulfilled" };
            assert_eq!(state, expected, "{id} of {bad:?}");
            assert_eq!(failures > 0, bad.contains(&id), "{id}: what was not asked for has not failed");
        }
        // New rewards do not wait for those that are known to spoil a call.
        world.sandbox.firstpromoter.add(owed(22));
        world.once();
        assert_eq!(marking_of(&world, 22), ("fulfilled".to_owned(), 0, String::new()));
    }
}

#[test]
fn an_answer_to_marking_without_a_word_is_settled_by_what_reads_back() {
    let empty = |status: u16| crate::sandbox::empty(status).after_effect();
    let json = |body: &str| crate::sandbox::text(200, body).after_effect();
    let batch = r#"[{"id":8,"status":"completed","failed_count":0}]"#;
    for answer in
        [empty(200), empty(204), json("null"), json("[]"), json(batch), json("true"), json(r#"{"data":null}"#)]
    {
        let world = given([owed(1)]);
        world.sandbox.firstpromoter.lock().faults.mark = once(answer.clone());
        let ran = world.once().exits(0);
        assert_eq!((world.state_of(1).as_str(), ran.error()), ("fulfilled", ""), "{answer:?}: {ran}");
        world.then_nothing_more_happens().exits(0);
        // A call without an effect is a failed marking, and not a failed pass.
        let world = given([owed(1)]);
        let mut without = answer;
        without.takes_effect = false;
        world.sandbox.firstpromoter.lock().faults.mark = once(without);
        let ran = world.once().exits(0);
        assert_eq!((world.state_of(1).as_str(), marking_of(&world, 1).1), ("delivered", 1), "{ran}");
        then_it_is_marked(&world, [1]);
    }
}

#[test]
fn a_delivered_reward_of_unknown_status_is_marked_or_needs_a_person() {
    let world = given([owed(1)]);
    world.sandbox.firstpromoter.lock().faults.mark = always(status(422));
    world.once().exits(0);
    world.sandbox.firstpromoter.change(1, |it| *it = it.clone().odd("status", json!("rejected_by_moon")));
    world.once().exits(0);
    let ran = world.once().exits(3);
    assert_eq!(marking_of(&world, 1).1, 3, "{ran}");
    assert_eq!(world.attention().into_values().collect::<Vec<_>>(), ["not_marked"]);
    world.sandbox.firstpromoter.lock().faults.mark = never();
    the_time_has_come(&world);
    world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("fulfilled", 1));
    world.then_nothing_more_happens().exits(0);
}
