use super::*;
use crate::firstpromoter::script::{Upstream, approved, broken, ids};

/// A listing, the rows that it handed out, and how many requests it took.
async fn list(upstream: &Upstream) -> (Result<Listed, ListingError>, usize, u64) {
    let mut seen = 0;
    let listed = unfulfilled(upstream, |rows| seen += rows.len()).await;
    (listed, seen, upstream.calls.get())
}

#[tokio::test]
async fn every_listing_is_read_to_its_end_in_as_few_requests_as_prove_it() {
    // rows, the server's cap, requests
    for (rows, cap, requests) in [
        (0, 100, 1),
        (5, 100, 2),
        (19, 100, 2),
        (20, 100, 2),
        (99, 100, 2),
        (100, 100, 2),
        (101, 100, 2),
        (199, 100, 2),
        (200, 100, 3),
        (10, 10, 2),
        (11, 10, 3),
        (20, 20, 2),
        (45, 20, 4),
        (110, 50, 4),
        (25, 10, 4),
        (5_000, 100_000, 2),
    ] {
        let upstream = Upstream { cap, ..Upstream::of(rows) };
        let (listed, seen, calls) = list(&upstream).await;
        let case = format!("{rows} rows, {cap} to a page");
        let expected = Listed {
            rows: rows.unsigned_abs(),
            pages: requests,
            longest_page: rows.unsigned_abs().min(cap as u64),
            off_filter: 0,
        };
        assert_eq!(listed, Ok(expected), "{case}");
        assert_eq!((seen, calls), (usize::try_from(rows).unwrap(), requests), "{case}");
    }
}

#[tokio::test]
async fn an_ignored_page_parameter_is_an_error_and_not_an_endless_list() {
    for rows in [100, 40, 5] {
        let upstream = Upstream { ignores_page: true, ..Upstream::of(rows) };
        let (listed, _, calls) = list(&upstream).await;
        assert_eq!(listed, Err(ListingError::PageIgnored { page: 2 }), "{rows} rows");
        assert_eq!(calls, 2, "{rows} rows");
    }
}

#[tokio::test]
async fn an_empty_listing_is_fine_although_page_is_ignored() {
    let upstream = Upstream { ignores_page: true, ..Upstream::of(0) };
    assert!(list(&upstream).await.0.is_ok());
}

#[tokio::test]
async fn rows_that_do_not_match_what_was_asked_are_counted_and_dropped() {
    let mut upstream = Upstream::of(4);
    upstream.rows[0].status = CommissionStatus::Pending;
    upstream.rows[2].status = CommissionStatus::Unknown("frozen".to_owned());
    let (listed, seen, _) = list(&upstream).await;
    assert_eq!((listed.unwrap(), seen), (Listed { rows: 4, pages: 2, longest_page: 4, off_filter: 1 }, 3));
}

#[tokio::test]
async fn a_listing_cut_off_in_the_middle_concludes_nothing() {
    let upstream = Upstream { broken_page: 3, ..Upstream::of(450) };
    let (listed, seen, calls) = list(&upstream).await;
    assert_eq!((listed, seen, calls), (Err(ListingError::Api(broken())), 200, 3));
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let upstream = Upstream { endless: true, ..Upstream::of(0) };
    let (listed, _, calls) = list(&upstream).await;
    assert_eq!((listed, calls), (Err(ListingError::TooManyPages), 20_000));
}

#[tokio::test]
async fn single_commissions_are_asked_for_a_hundred_at_a_time() {
    // known commissions, asked for, rows, requests
    for (known, asked, rows, requests) in [
        (100, 100, 100, 1),
        (101, 101, 101, 2),
        (0, 3, 0, 1),
        (3, 3, 3, 1),
        (3, 4, 3, 2),
        (30, 40, 30, 2),
        (250, 0, 0, 0),
    ] {
        let upstream = Upstream::of(known);
        let found = by_ids(&upstream, &ids(1..=asked)).await.unwrap();
        assert_eq!((found.len(), upstream.calls.get()), (rows, requests), "{asked} of {known}");
    }
}

#[tokio::test]
async fn an_answer_about_single_commissions_is_read_on_until_the_expected_ones_have_come() {
    // known commissions, the server's cap, expected, wanted, rows, requests
    for (known, cap, expected, wanted, rows, requests) in [
        (3, 100, 0, 9, 3, 1),
        (3, 100, 3, 9, 3, 1),
        (3, 100, 4, 9, 3, 2),
        (9, 100, 9, 9, 9, 1),
        (30, 10, 3, 30, 10, 1),
        (30, 10, 30, 30, 30, 3),
        (30, 10, 31, 31, 30, 4),
        (30, 20, 3, 40, 30, 3),
        (105, 100, 100, 100, 100, 1),
        (105, 100, 100, 105, 105, 2),
    ] {
        let upstream = Upstream { cap, ..Upstream::of(known) };
        let (asked, wanted, expected) = (ids(1..=105), ids(1..=wanted), ids(1..=expected));
        let question = Ids { asked: &asked, wanted: &wanted, expected: &expected, fulfilled: Some(false) };
        let found = ask_for(&upstream, question).await.unwrap();
        let case = format!("{} of {known}, {cap} a page, {} expected", wanted.len(), expected.len());
        assert_eq!((found.len(), upstream.calls.get()), (rows, requests), "{case}");
    }
}

#[tokio::test]
async fn an_id_asked_for_twice_is_asked_for_once() {
    let upstream = Upstream::of(3);
    let found = by_ids(&upstream, &ids([2, 1, 2, 2])).await.unwrap();
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), ids([1, 2]));
    assert_eq!(upstream.calls.get(), 1);
}

#[tokio::test]
async fn capped_pages_of_single_commissions_are_read_on() {
    let upstream = Upstream { cap: 25, ..Upstream::of(100) };
    assert_eq!(by_ids(&upstream, &ids(1..=100)).await.unwrap().len(), 100);
    assert_eq!(upstream.calls.get(), 4);
}

#[tokio::test]
async fn a_row_that_was_not_asked_for_shows_that_the_filter_is_ignored() {
    let upstream = Upstream { ignores_ids: true, ..Upstream::of(3) };
    let found = by_ids(&upstream, &ids([1, 3])).await;
    assert_eq!(found, Err(ListingError::FilterIgnored { unasked: CommissionId(2) }));
}

#[tokio::test]
async fn an_ignored_page_is_an_error_for_single_commissions_only_where_paging_may_have_cut() {
    let short = Upstream { ignores_page: true, ..Upstream::of(3) };
    assert_eq!(by_ids(&short, &ids(1..=4)).await.unwrap().len(), 3);
    let long = Upstream { ignores_page: true, ..Upstream::of(30) };
    assert_eq!(by_ids(&long, &ids(1..=40)).await, Err(ListingError::PageIgnored { page: 2 }));
}

#[tokio::test]
async fn duplicates_across_pages_are_passed_on() {
    let mut upstream = Upstream { cap: 100, ..Upstream::of(100) };
    upstream.rows.push(approved(100));
    let (listed, seen, _) = list(&upstream).await;
    assert_eq!((listed.unwrap().rows, seen), (101, 101));
}
