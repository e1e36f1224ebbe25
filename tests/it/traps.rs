//! Every trap of FirstPromoter's listing, over HTTP: each reward is delivered once, or nothing is, and the pass says why.

use serde_json::{Value, json};

use crate::{
    sandbox::{Commission, Endpoint, IgnoredFilters, commission},
    world::{LONG_AGO, Ran, World, given},
};

fn owed(id: i64) -> Commission {
    commission(id).approved(LONG_AGO)
}

/// All of these are delivered once and marked, in one pass.
#[track_caller]
fn each_is_delivered_once(world: &World, ids: impl IntoIterator<Item = i64>) {
    let ran = world.once().exits(0);
    let ids: Vec<i64> = ids.into_iter().collect();
    assert_eq!(world.sandbox.merchant.rewarded_ids(), ids, "{ran}");
    assert_eq!(world.sandbox.merchant.requests(), ids.len(), "{ran}");
    assert_eq!(world.sandbox.firstpromoter.fulfilled_ids(), ids, "{ran}");
    world.then_nothing_more_happens().exits(0);
}

/// The pass fails before any delivery and any mark; what it says.
#[track_caller]
fn nothing_is_delivered(world: &World) -> Ran {
    let ran = world.once().exits(1);
    assert_eq!((world.sandbox.merchant.requests(), world.sandbox.firstpromoter.writes()), (0, 0), "{ran}");
    assert_eq!(world.last_pass()["error"], ran.json["error"], "{ran}");
    assert_eq!(world.last_pass()["error_kind"], ran.json["error_kind"], "{ran}");
    assert!(ran.error().len() > 40, "an explanation: {ran}");
    ran
}

#[test]
fn a_wrapped_array_reads_as_a_bare_one() {
    let world = given((1..=25).map(owed));
    world.sandbox.firstpromoter.lock().switches.wrapped = true;
    each_is_delivered_once(&world, 1..=25);
}

#[test]
fn flat_rows_are_delivered_with_what_they_tell() {
    let world = given([owed(1), owed(2).credits(50).reward(10, "50 credits for the friend")]);
    world.sandbox.firstpromoter.lock().switches.flat = true;
    each_is_delivered_once(&world, [1, 2]);
    let body = &world.sandbox.merchant.bodies_of(1)[0];
    assert_eq!(body["recipient"], json!({ "kind": "promoter", "id": 12345, "email": null, "name": null, "uid": null }));
    assert_eq!(body["campaign"], json!({ "id": 17, "name": null }));
    assert_eq!(world.sandbox.merchant.bodies_of(2)[0]["recipient"]["kind"], "referral");
}

#[test]
fn a_server_that_ignores_page_is_an_error_and_nothing_is_delivered() {
    for count in [1, 20, 101] {
        let world = given((1..=count).map(owed));
        world.sandbox.firstpromoter.lock().switches.page_ignored = true;
        let ran = nothing_is_delivered(&world);
        assert!(ran.error().contains("`page`"), "{count}: {ran}");
        world.sandbox.firstpromoter.lock().switches.page_ignored = false;
        world.once_with(&["--max-deliveries", "150"]).exits(0);
        assert_eq!(world.sandbox.merchant.rewarded_ids().len(), usize::try_from(count).unwrap());
        world.then_nothing_more_happens().exits(0);
    }
}

#[test]
fn a_server_that_ignores_per_page_is_read_to_its_end() {
    for count in [20, 45] {
        let world = given((1..=count).map(owed));
        world.sandbox.firstpromoter.lock().switches.per_page_ignored = true;
        each_is_delivered_once(&world, 1..=count);
    }
}

#[test]
fn a_server_that_caps_per_page_at_10_is_read_to_its_end() {
    for count in [9, 10, 23] {
        capped_at(10, count);
    }
}

#[test]
fn a_server_that_caps_per_page_at_10_hides_nothing_behind_what_is_held() {
    let world = given((1..=10).map(|id| owed(id).suspected("ad_source")));
    world.sandbox.firstpromoter.lock().switches.per_page_cap = Some(10);
    world.once().exits(3);
    // Oldest first: the ten that are held fill the first page.
    world.sandbox.firstpromoter.add(owed(11).created("2025-12-01T00:00:00Z"));
    world.once().exits(3);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [11]);
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn a_server_that_caps_per_page_at_25_is_read_to_its_end() {
    capped_at(25, 53);
}

#[test]
fn a_server_that_caps_per_page_at_50_is_read_to_its_end() {
    capped_at(50, 103);
}

#[track_caller]
fn capped_at(cap: usize, count: i64) {
    let mut world = given((1..=count).map(owed));
    world.set("policy.max_deliveries_per_pass", "200");
    world.sandbox.firstpromoter.lock().switches.per_page_cap = Some(cap);
    each_is_delivered_once(&world, 1..=count);
}

#[test]
fn an_ignored_status_filter_lets_only_the_approved_through() {
    let world =
        given([commission(1), commission(2).denied(LONG_AGO), owed(3), commission(4).odd("status", json!("new"))]);
    world.sandbox.firstpromoter.lock().switches.ignored_filters.status = true;
    world.once().exits(3);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [3]);
    // A status that nobody knows may mean approved: a person looks.
    assert_eq!((world.state_of(4), world.hold_reason(4)), ("held".to_owned(), "unreadable".to_owned()));
    assert_eq!(world.query("SELECT commission_id FROM rewards").len(), 2);
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn an_ignored_fulfilled_filter_delivers_nothing_and_says_so() {
    let ignored = IgnoredFilters { fulfilled: true, ..IgnoredFilters::default() };
    for ignored in [ignored, IgnoredFilters { status: true, ..ignored }] {
        let world = given((1..=3).map(owed).chain((4..=30).map(|id| owed(id).fulfilled())));
        world.sandbox.firstpromoter.lock().switches.ignored_filters = ignored;
        let ran = nothing_is_delivered(&world);
        assert!(ran.error().contains("filters[fulfilled]"), "{ran}");
        world.sandbox.firstpromoter.lock().switches.ignored_filters = IgnoredFilters::default();
        world.once().exits(0);
        assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3]);
        world.then_nothing_more_happens().exits(0);
    }
}

#[test]
fn ignored_ids_deliver_nothing_and_the_pass_says_so() {
    let ignored = IgnoredFilters { ids: true, ..IgnoredFilters::default() };
    for ignored in [ignored, IgnoredFilters { all: true, ..ignored }] {
        let world = given([owed(1), commission(2), owed(3).fulfilled(), owed(4).cash(5)]);
        world.sandbox.firstpromoter.lock().switches.ignored_filters = ignored;
        let ran = nothing_is_delivered(&world);
        assert!(["`ids[]`", "filters[fulfilled]"].iter().any(|filter| ran.error().contains(filter)), "{ran}");
        world.sandbox.firstpromoter.lock().switches.ignored_filters = IgnoredFilters::default();
        world.once().exits(0);
        assert_eq!(world.sandbox.merchant.rewarded_ids(), [1]);
        world.then_nothing_more_happens().exits(0);
    }
}

#[test]
fn a_canary_shows_that_a_server_answers_yes_with_nothing_and_no_with_everything() {
    let world = given([owed(1), owed(2)]);
    world.once().exits(0);
    let before = (world.sandbox.merchant.requests(), world.sandbox.firstpromoter.writes());
    world.sandbox.firstpromoter.add(owed(3));
    world.sandbox.firstpromoter.lock().switches.fulfilled_yes_is_nothing_no_is_everything = true;
    let ran = world.once().exits(1);
    assert_eq!((world.sandbox.merchant.requests(), world.sandbox.firstpromoter.writes()), before, "{ran}");
    assert!(ran.error().contains("filters[fulfilled]") && ran.error().contains("nothing is delivered"), "{ran}");
    world.sandbox.firstpromoter.lock().switches.fulfilled_yes_is_nothing_no_is_everything = false;
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3]);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn an_unknown_unit_is_held_and_not_guessed() {
    let odd = [json!("euros"), json!(""), json!(7), json!(["points"]), json!({ "unit": "points" }), Value::Null];
    let world = given((1..).zip(odd).map(|(id, unit)| owed(id).odd("unit", unit)));
    let ran = world.once().exits(3);
    for id in 1..=6 {
        assert_eq!((world.state_of(id), world.hold_reason(id)), ("held".to_owned(), "unknown_unit".to_owned()), "{id}");
        assert_eq!(ran.line(id)["reason"], "unknown_unit", "{ran}");
    }
    assert_eq!(world.sandbox.merchant.requests(), 0);
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn an_odd_amount_is_held_and_the_other_rows_are_delivered() {
    let texts = ["-1", "0", "1e400", "1e2", "499.5", "true", "[500]", "{}", "9223372036854775808"];
    let odd = (1..).zip(texts).map(|(id, text)| owed(id).odd_text("amount", text));
    let text = owed(19).odd("amount", json!("500"));
    let missing = owed(20).odd("amount", Value::Null);
    let null = owed(21).odd_text("amount", "null");
    let whole = owed(30).odd_text("amount", "500.0");
    let world = given(odd.chain([text, missing, null, whole, owed(31)]));
    world.once().exits(3);
    for id in (1..=9).chain(19..=21) {
        assert_eq!((world.state_of(id), world.hold_reason(id)), ("held".to_owned(), "bad_amount".to_owned()), "{id}");
        assert_eq!(world.reward(id)["amount"], Value::Null);
    }
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [30, 31]);
    assert_eq!(world.sandbox.merchant.balance("promoter", 12345, "points"), 1000);
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn unknown_fields_and_unknown_enum_values_do_not_break_a_listing() {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let world = given([
        owed(1).odd("payout_state", json!("new")).odd("deep", deep),
        owed(2).odd("commission_type", json!("gift")),
        owed(3).odd("status", json!("rejected_by_moon")),
        owed(4).odd("fraud_check", json!("a_new_suspicion")),
        owed(5).odd("created_at", json!("yesterday")).odd("status_updated_at", json!(5)),
        owed(6).odd("metadata", json!([])).odd("tier", json!("gold")),
    ]);
    world.once().exits(3);
    assert_eq!(world.hold_reason(4), "fraud_suspicion");
    assert_eq!(world.hold_reason(3), "unreadable");
    assert_eq!(world.state_of(5), "waiting", "no approval known");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 6]);
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn nulls_everywhere_end_in_a_hold_or_a_delivery_and_never_in_a_broken_pass() {
    let fields = [
        "metadata",
        "is_self_referral",
        "commission_type",
        "sale_amount",
        "event_id",
        "plan_id",
        "tier",
        "fraud_check",
        "is_paid",
        "created_at",
        "status_updated_at",
        "promoter_campaign",
        "referral",
        "reward",
        "split_details",
    ];
    let bare = fields.iter().fold(owed(1), |row, field| row.odd_text(field, "null"));
    let world = given([bare, owed(2)]);
    world.once().exits(3);
    assert_eq!((world.state_of(1), world.state_of(2)), ("held".to_owned(), "fulfilled".to_owned()));
    assert_eq!(world.hold_reason(1), "no_recipient", "neither party is named");
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn a_row_without_an_id_makes_the_listing_unreadable() {
    for id in ["null", "0", "-5", "true", "1.5", "{}"] {
        let world = given([owed(1).odd_text("id", id), owed(2)]);
        let ran = nothing_is_delivered(&world);
        assert!(ran.error().contains("unreadable answer") && !ran.error().contains("not valid JSON"), "{id}: {ran}");
    }
}

#[test]
fn a_row_that_comes_twice_is_delivered_once() {
    let world = given((1..=130).map(owed));
    world.sandbox.firstpromoter.after(Endpoint::Listing, 1, |firstpromoter| {
        // A row older than all others is approved between two pages, and shifts them: the last of page 1 comes again.
        firstpromoter.add(owed(500).created("2024-01-01T00:00:00Z"));
    });
    world.once_with(&["--max-deliveries", "200"]).exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), (1..=130).collect::<Vec<_>>(), "the new one shifted itself out");
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.effects_of(500).len(), 1);
    assert_eq!(world.sandbox.merchant.requests(), 131);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn rows_that_a_shifting_page_skips_are_caught_by_the_next_pass() {
    let mut world = given((1..=150).map(owed));
    world.set("policy.max_deliveries_per_pass", "200");
    world.sandbox.firstpromoter.after(Endpoint::Listing, 1, |firstpromoter| {
        (1..=30).for_each(|id| firstpromoter.fulfil(id));
    });
    world.once().exits(0);
    let delivered = world.sandbox.merchant.rewarded_ids();
    assert_eq!(delivered, (31..=100).chain(131..=150).collect::<Vec<_>>(), "fulfilled meanwhile, and skipped");
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), (31..=150).collect::<Vec<_>>());
    assert_eq!(world.sandbox.merchant.requests(), 120);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn open_rows_that_a_shifting_page_skips_are_not_taken_for_gone() {
    let mut world = given((1..=150).map(|id| owed(id).suspected("ad_source")));
    world.once().exits(3);
    world.sandbox.firstpromoter.after(Endpoint::Listing, 1, |firstpromoter| {
        (1..=30).for_each(|id| firstpromoter.fulfil(id));
    });
    world.once().exits(3);
    let count = |state: &str| world.query(&format!("SELECT 1 FROM rewards WHERE state = '{state}'")).len();
    assert_eq!((count("held"), count("cancelled")), (150, 0), "what was skipped was asked for by id");
    world.set("policy.hold_fraud_suspicion", "false").set("policy.max_deliveries_per_pass", "200");
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), (31..=150).collect::<Vec<_>>());
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_reward_that_the_handler_marks_between_the_two_questions_is_no_broken_filter() {
    let world = given([owed(1), owed(2)]);
    world.sandbox.handler_delivers_without_marking(1);
    world.sandbox.firstpromoter.after(Endpoint::ByIds, 1, |firstpromoter| firstpromoter.fulfil(1));
    world.once().exits(0);
    assert_eq!((world.state_of(1), world.state_of(2)), ("none".to_owned(), "fulfilled".to_owned()));
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2]);
    assert_eq!(world.sandbox.merchant.requests(), 1);
    world.then_nothing_more_happens().exits(0);

    // The same for a row that is open in the ledger and vanishes.
    let world = given([commission(3).approved_at(crate::sandbox::now()), owed(4).suspected("ad_source")]);
    world.once().exits(3);
    world.sandbox.firstpromoter.deny(3);
    world.sandbox.firstpromoter.after(Endpoint::ByIds, 1, |firstpromoter| {
        firstpromoter.approve(3);
        firstpromoter.fulfil(3);
    });
    world.once().exits(3);
    assert_eq!(world.state_of(3), "fulfilled", "in neither answer, so it is read back in the same pass");
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn a_reward_that_a_lagging_replica_still_shows_as_unfulfilled_is_not_delivered_again() {
    for lag in 1..=6 {
        let mut world = given([owed(1), owed(2)]);
        world.without_backoff();
        world.sandbox.firstpromoter.lock().switches.replica_lag = lag;
        // Long enough for the replicas to catch up, and for drift to be seen and to be over.
        for _ in 0..8 {
            let ran = world.once();
            assert_eq!(ran.error(), "", "{ran}");
        }
        world.then_nothing_more_happens().exits(0);
        assert_eq!([world.state_of(1), world.state_of(2)], ["fulfilled", "fulfilled"], "lag {lag}");
        assert_eq!(world.sandbox.merchant.requests(), 2, "lag {lag}");
    }
}

#[test]
fn a_reward_that_the_handler_delivered_behind_a_lagging_replica_takes_effect_once() {
    for lag in 1..=6 {
        let mut world = given([owed(1)]);
        world.without_backoff();
        world.sandbox.firstpromoter.lock().switches.replica_lag = lag;
        world.sandbox.handler_delivers(1);
        for _ in 0..6 {
            world.once();
        }
        assert_eq!(world.sandbox.merchant.effects_of(1).len(), 1, "the key is the same: lag {lag}");
        assert!(["none", "fulfilled"].contains(&world.state_of(1).as_str()), "{lag}: {}", world.reward(1));
        world.then_nothing_more_happens().exits(0);
    }
}

#[test]
fn cash_in_the_listing_is_never_touched() {
    let world = given([owed(1).cash(4900), owed(2)]);
    world.sandbox.firstpromoter.lock().switches.cash_in_fulfilled_listing = true;
    each_is_delivered_once(&world, [2]);
    assert_eq!(world.state_of(1), "none");
}
