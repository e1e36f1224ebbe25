use super::*;
use crate::{
    domain::CommissionStatus,
    firstpromoter::script::{Filter, QuickClock, Upstream, broken, ids},
};

const ALL: [Filter; 4] = [Filter::Honoured, Filter::Ignored, Filter::Inverted, Filter::Nothing];

/// 1 to `unfulfilled` are unfulfilled; 501 to 500 + `fulfilled` are fulfilled.
fn upstream(unfulfilled: i64, fulfilled: i64) -> Upstream {
    let mut upstream = Upstream::of(unfulfilled);
    upstream.fulfilled = ids(501..=500 + fulfilled);
    upstream.rows.extend(Upstream::of(500 + fulfilled).rows.split_off(500));
    upstream
}

fn canaries(fulfilled: impl IntoIterator<Item = i64>, unfulfilled: impl IntoIterator<Item = i64>) -> Canaries {
    Canaries { fulfilled: ids(fulfilled), unfulfilled: ids(unfulfilled) }
}

/// Whether this filter could make anybody believe something wrong.
fn lies(yes: Filter, no: Filter) -> bool {
    (yes, no) != (Filter::Honoured, Filter::Honoured)
}

#[tokio::test]
async fn no_wrong_filter_makes_a_fulfilled_commission_unfulfilled_where_a_canary_is_known() {
    for (yes, no) in ALL.into_iter().flat_map(|yes| ALL.map(|no| (yes, no))) {
        let upstream = Upstream { yes, no, ..upstream(2, 5) };
        let clock = QuickClock::new();
        let truth = Truth::new(&upstream, &clock, canaries([501, 502], []));
        // 505 was fulfilled after the listing.
        let answers = truth.still_unfulfilled(&ids([1, 2, 505])).await;
        let wrong = answers.as_ref().is_ok_and(|answers| answers.unfulfilled.contains_key(&CommissionId(505)));
        assert!(!wrong, "yes {yes:?}, no {no:?}: {answers:?}");
        if !lies(yes, no) {
            let answers = answers.unwrap();
            assert_eq!(answers.unfulfilled.keys().copied().collect::<Vec<_>>(), ids([1, 2]));
            assert_eq!(answers.fulfilled, HashSet::from([CommissionId(505)]));
        }
    }
}

#[tokio::test]
async fn no_wrong_filter_makes_an_unfulfilled_commission_fulfilled_where_canaries_of_both_kinds_are_known() {
    for (yes, no) in ALL.into_iter().flat_map(|yes| ALL.map(|no| (yes, no))) {
        let upstream = Upstream { yes, no, ..upstream(4, 5) };
        let clock = QuickClock::new();
        let truth = Truth::new(&upstream, &clock, canaries([501, 502], [3, 4]));
        // 1 was not marked, whatever was asked of FirstPromoter; 505 was.
        let (read_back, error) = truth.read_back(&ids([1, 505])).await;
        assert!(!read_back.contains(&CommissionId(1)), "yes {yes:?}, no {no:?}: {read_back:?}, {error:?}");
        let either = truth.either(&ids([1, 505])).await;
        let wrong = either.as_ref().is_ok_and(|answers| answers.fulfilled.contains(&CommissionId(1)));
        assert!(!wrong, "yes {yes:?}, no {no:?}: {either:?}");
        if !lies(yes, no) {
            assert_eq!((read_back, error), (HashSet::from([CommissionId(505)]), None));
        }
    }
}

#[tokio::test]
async fn a_filter_that_is_ignored_from_the_marking_on_is_found_out_without_any_canary() {
    let upstream = Upstream { yes: Filter::Ignored, no: Filter::Ignored, ..upstream(3, 0) };
    let clock = QuickClock::new();
    let truth = Truth::new(&upstream, &clock, Canaries::default());
    let (read_back, error) = truth.read_back(&ids([1, 2, 3])).await;
    assert_eq!((read_back, error), (HashSet::new(), Some(TruthError::BothWays(CommissionId(1)))));
}

#[tokio::test]
async fn a_person_who_changed_some_canaries_is_told_from_a_filter_that_does_not_work() {
    let clock = QuickClock::new();
    let known = || canaries([1, 2, 3, 501, 502], []);
    let honest = upstream(9, 5);
    let answers = Truth::new(&honest, &clock, known()).still_unfulfilled(&ids([9])).await.unwrap();
    assert_eq!(answers.unfulfilled.keys().copied().collect::<Vec<_>>(), ids([9]));
    // Now the last two are gone: nothing tells the two cases apart.
    let gone = upstream(9, 0);
    let answers = Truth::new(&gone, &clock, known()).still_unfulfilled(&ids([9])).await;
    assert_eq!(answers, Err(TruthError::SilentCanary(CommissionId(1))));
}

#[tokio::test]
async fn a_canary_of_an_unknown_status_under_no_is_as_silent_as_an_approved_one() {
    let mut turned = Upstream { yes: Filter::Nothing, no: Filter::Ignored, ..upstream(9, 5) };
    for row in turned.rows.iter_mut().filter(|row| row.id == CommissionId(501)) {
        row.status = CommissionStatus::from_wire("on_hold");
    }
    let clock = QuickClock::new();
    let answers = Truth::new(&turned, &clock, canaries([501], [])).still_unfulfilled(&ids([9, 505])).await;
    assert_eq!(answers, Err(TruthError::SilentCanary(CommissionId(501))));
}

#[tokio::test]
async fn an_unfulfilled_canary_that_a_short_page_cut_off_does_not_vouch_for_it() {
    // Nothing was marked, and `yes` answers with everything, five rows a page: 8 and 9 are on the second one.
    let cut = Upstream { yes: Filter::Ignored, cap: 5, fulfilled: ids(4..=6), ..Upstream::of(9) };
    let clock = QuickClock::new();
    let read_back = Truth::new(&cut, &clock, canaries(4..=6, 8..=9)).read_back(&ids(1..=3)).await;
    assert_eq!(read_back, (HashSet::new(), Some(TruthError::BothWays(CommissionId(1)))));
}

#[tokio::test]
async fn unfulfilled_canaries_do_not_vouch_for_more_than_the_longest_page_seen() {
    // Nothing was marked, `yes` answers with everything, and the pages end exactly before 8 and 9.
    let cut = Upstream { yes: Filter::Ignored, cap: 5, fulfilled: ids(5..=7), ..Upstream::of(9) };
    let rows = cut.rows.iter().filter(|row| !(3..=4).contains(&row.id.0)).cloned().collect();
    let cut = Upstream { rows, ..cut };
    let clock = QuickClock::new();
    let truth = Truth::new(&cut, &clock, canaries(5..=7, 8..=9)).having_seen_a_page_of(5);
    let read_back = truth.read_back(&ids(1..=2)).await;
    assert_eq!(read_back, (HashSet::new(), Some(TruthError::BothWays(CommissionId(1)))));
}

#[tokio::test]
async fn what_became_money_is_not_fulfilled_because_it_comes_back_under_yes() {
    // `yes` is ignored, and `no` never lists money.
    let mut upstream = Upstream { yes: Filter::Ignored, no: Filter::Nothing, ..upstream(1, 0) };
    upstream.rows[0].unit = Unit::Cash;
    let clock = QuickClock::new();
    let truth = Truth::new(&upstream, &clock, Canaries::default());
    assert_eq!(truth.read_back(&ids([1])).await, (HashSet::new(), None));
    assert_eq!(truth.either(&ids([1])).await.unwrap().fulfilled, HashSet::new());
}

#[tokio::test]
async fn each_question_takes_as_few_requests_as_prove_it() {
    // to be asked about, fulfilled canaries, unfulfilled canaries, requests
    for (count, fulfilled, unfulfilled, requests) in
        [(1, 0, 0, 2), (1, 5, 0, 2), (97, 5, 2, 2), (100, 5, 0, 2), (101, 5, 0, 4), (250, 5, 0, 6)]
    {
        let upstream = upstream(400, 5);
        let clock = QuickClock::new();
        let known = canaries(501..501 + fulfilled, 399..399 + unfulfilled);
        let truth = Truth::new(&upstream, &clock, known);
        let answers = truth.still_unfulfilled(&ids(1..=count)).await.unwrap();
        let case = format!("{count} with {fulfilled} and {unfulfilled} canaries");
        assert_eq!(
            (answers.unfulfilled.len() as u64, upstream.calls.get()),
            (count.unsigned_abs(), requests),
            "{case}"
        );
    }
    for (count, fulfilled, unfulfilled, requests) in [
        (1, 0, 0, 2),
        (1, 5, 0, 2),
        (1, 5, 1, 1),
        (16, 5, 2, 1),
        (17, 5, 2, 2),
        (97, 5, 0, 2),
        (97, 5, 2, 2),
        (100, 5, 0, 3),
        (100, 5, 2, 2),
    ] {
        let mut upstream = upstream(400, 5);
        upstream.fulfilled.extend(ids(1..=count));
        let clock = QuickClock::new();
        let known = canaries(501..501 + fulfilled, 399..399 + unfulfilled);
        let truth = Truth::new(&upstream, &clock, known).having_seen_a_page_of(100);
        let (read_back, error) = truth.read_back(&ids(1..=count)).await;
        let case = format!("{count} read back with {fulfilled} and {unfulfilled} canaries");
        assert_eq!(
            (read_back.len() as u64, error, upstream.calls.get()),
            (count.unsigned_abs(), None, requests),
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_server_that_caps_its_pages_is_read_on() {
    for cap in [1, 3, 10, 25] {
        let upstream = Upstream { cap, ..upstream(40, 5) };
        let clock = QuickClock::new();
        let truth = Truth::new(&upstream, &clock, canaries([501, 502, 503], []));
        let answers = truth.still_unfulfilled(&ids(1..=40)).await.unwrap();
        assert_eq!((answers.unfulfilled.len(), answers.fulfilled.len()), (40, 0), "{cap}");
        let mut upstream = Upstream { cap, ..upstream };
        upstream.fulfilled.extend(ids(1..=30));
        let truth = Truth::new(&upstream, &clock, canaries([501, 502, 503], []));
        assert_eq!(truth.read_back(&ids(1..=40)).await.0.len(), 30, "{cap}");
    }
}

#[tokio::test]
async fn what_was_read_back_before_a_failure_is_kept() {
    let mut upstream = upstream(150, 0);
    upstream.fulfilled = ids(1..=150);
    // The first hundred are read back in one page of `yes` and one of `no`; then `yes` needs a second page.
    upstream.broken_after = 2;
    let clock = QuickClock::new();
    let (read_back, error) = Truth::new(&upstream, &clock, Canaries::default()).read_back(&ids(1..=150)).await;
    assert_eq!((read_back.len(), error), (100, Some(TruthError::Listing(ListingError::Api(broken())))));
}

#[tokio::test]
async fn an_answer_is_as_old_as_its_oldest_question() {
    let upstream = upstream(150, 5);
    let clock = QuickClock::new();
    let before = clock.now();
    upstream.takes_seconds.set(20);
    *upstream.clock.borrow_mut() = Some(clock.clone());
    let answers = Truth::new(&upstream, &clock, canaries([501], [])).still_unfulfilled(&ids(1..=150)).await.unwrap();
    assert_eq!((answers.asked_at, (clock.now() - before).num_seconds()), (before, 80));
}

#[tokio::test]
async fn at_a_slow_pace_an_answer_is_as_old_as_its_question_under_no_unless_its_proof_is_too_old() {
    for (takes_seconds, age_seconds) in [(20, 20), (61, 61), (150, 150), (151, 302)] {
        let upstream = Upstream { per_minute: 1, ..upstream(3, 5) };
        let clock = QuickClock::new();
        upstream.takes_seconds.set(takes_seconds);
        *upstream.clock.borrow_mut() = Some(clock.clone());
        let answers = Truth::new(&upstream, &clock, canaries([501], [])).still_unfulfilled(&ids([1])).await.unwrap();
        assert_eq!((clock.now() - answers.asked_at).num_seconds(), age_seconds, "each answer takes {takes_seconds} s");
    }
}
