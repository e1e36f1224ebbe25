//! FirstPromoter fails at every place where a pass asks it something. Nothing is concluded from the failure, nothing is
//! delivered before a good confirmation, a delivered reward stays delivered, and the next pass goes on from there.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    sandbox::{
        Endpoint, Fault, Moment, Sandbox, always, commission, cut_short, dropped, empty, flood, half, hang, honest,
        once, page, redirect, status,
    },
    world::{LONG_AGO, PATIENCE, Ran, World, given},
};

const ID: i64 = 88901;

/// No pass here may take longer, whatever FirstPromoter does. (A pass waits 7 s after a 429, twice at most; the rest is for a
/// busy machine.)
const BOUND: Duration = Duration::from_secs(30);

/// One way to fail.
struct Failing {
    name: &'static str,
    fault: Fault,
    /// How often the same request is sent before the pass gives up.
    asked: u64,
    /// What the error must say: what happened, and what to do about it.
    says: [&'static str; 2],
    /// The request was refused; another may still work.
    only_refused: bool,
    /// The request had its effect all the same.
    takes_effect: bool,
}

fn trouble(name: &'static str, fault: Fault, asked: u64, says: [&'static str; 2]) -> Failing {
    let takes_effect = fault.takes_effect;
    Failing { name, fault, asked, says, only_refused: false, takes_effect }
}

fn refused(name: &'static str, fault: Fault, says: [&'static str; 2]) -> Failing {
    Failing { only_refused: true, ..trouble(name, fault, 1, says) }
}

fn troubles() -> Vec<Failing> {
    let elsewhere = "http://127.0.0.1:9/api/v2/company/commissions";
    vec![
        trouble("401", status(401), 1, ["not accepted (401)", "check firstpromoter.api_key"]),
        trouble("403", status(403), 1, ["(403): Sandbox says 403", "check the key's permissions"]),
        refused("404", status(404), ["refused with 404: Sandbox says 404", "check firstpromoter.base_url"]),
        refused("422", status(422), ["refused with 422: Sandbox says 422", "ask FirstPromoter's support"]),
        trouble("429", status(429), 4, ["too many requests (429)", "the next pass tries again"]),
        trouble("429 now", status(429).retry_after(0), 4, ["too many requests (429)", "the next pass tries again"]),
        trouble(
            "429 in an hour",
            status(429).retry_after(3600),
            1,
            ["asks to wait 3600 s", "the next pass tries again"],
        ),
        trouble("500", status(500), 4, ["could not answer (500): Sandbox says 500", "the next pass tries again"]),
        trouble(
            "503 in an hour",
            status(503).retry_after(3600),
            1,
            ["asks to wait 3600 s", "the next pass tries again"],
        ),
        trouble("502 in HTML", page(502, "Bad Gateway"), 4, ["could not answer (502)", "the next pass tries again"]),
        trouble(
            "200 in HTML",
            page(200, "Welcome"),
            1,
            ["unreadable answer (200, text/html", "check firstpromoter.base_url"],
        ),
        trouble("empty body", empty(200), 1, ["(200) is empty", "check firstpromoter.base_url"]),
        trouble("half the JSON", half(), 1, ["unreadable answer (200", "check firstpromoter.base_url"]),
        trouble("cut off in the body", cut_short(), 4, ["no answer from 127.0.0.1", "the next pass tries again"]),
        trouble("50 MB", flood(50), 1, ["longer than 8 MiB", "check firstpromoter.base_url"]),
        trouble("connection dropped", dropped(), 4, ["no answer from 127.0.0.1", "the next pass tries again"]),
        trouble("hang", hang(), 2, ["no answer from 127.0.0.1", "the next pass tries again"]),
        trouble(
            "redirect",
            redirect(302, elsewhere),
            1,
            ["redirect (302) to 127.0.0.1", "check firstpromoter.base_url"],
        ),
    ]
}

/// The point at which a pass over one missed reward meets the failure.
#[derive(Clone, Copy)]
enum Place {
    Listing,
    Rewards,
    Confirm,
    Mark,
    Batch,
    ReadBack,
}

impl Place {
    fn strike(self, sandbox: &Sandbox, fault: Fault) {
        let mut state = sandbox.firstpromoter.lock();
        match self {
            Self::Listing => state.faults.listing = always(fault),
            Self::Rewards => state.faults.rewards = always(fault),
            Self::Confirm => state.faults.by_ids = always(fault),
            Self::Mark => state.faults.mark = always(fault),
            Self::Batch => {
                // Each call becomes a batch that is worked on when somebody polls it.
                state.switches.batch_threshold = 0;
                state.switches.batch_polls = 0;
                state.faults.batch = always(fault);
            }
            Self::ReadBack => state.faults.by_ids = honest(2).then_always(fault),
        }
    }

    /// The requests of a pass besides the failing ones: two pages, the rules, both ways, the mark, the batch. After a failure
    /// of marking it reads back all the same, both ways.
    fn other_requests(self) -> u64 {
        match self {
            Self::Listing => 0,
            Self::Rewards => 2,
            Self::Confirm => 3,
            Self::ReadBack => 6,
            Self::Mark => 7,
            Self::Batch => 8,
        }
    }
}

/// Runs a scenario with all kinds of failure at once: the passes wait more than they work.
fn each(scenario: impl Fn(Failing) + Sync) {
    thread::scope(|scope| {
        for trouble in troubles() {
            let scenario = &scenario;
            let thread = thread::Builder::new().name(trouble.name.to_owned());
            thread.spawn_scoped(scope, move || scenario(trouble)).unwrap();
        }
    });
}

/// A pass over one missed reward that meets the failure.
fn pass_with(place: Place, trouble: &Failing) -> (World, Ran) {
    let mut world = given([commission(ID).approved(LONG_AGO)]);
    if trouble.name == "hang" {
        world.set("firstpromoter.timeout", "2s");
    }
    place.strike(&world.sandbox, trouble.fault.clone());
    let begun = Instant::now();
    let ran = world.once();
    assert!(begun.elapsed() < BOUND, "{:?}: {ran}", begun.elapsed());
    let pass = world.last_pass();
    assert_eq!((&pass["error"], &pass["error_kind"]), (&ran.json["error"], &ran.json["error_kind"]), "{ran}");
    assert!(pass["finished"].is_string(), "{pass}");
    assert_eq!(pass["api_requests"], ran.json["api_requests"], "{ran}");
    let expected = match (place, trouble.name) {
        // FirstPromoter asked to be left alone, so nothing is confirmed and nothing is read back.
        (Place::Rewards, "429 in an hour" | "503 in an hour") => place.other_requests(),
        (Place::Mark | Place::Batch, "429 in an hour" | "503 in an hour") => place.other_requests() - 2,
        // A hold is confirmed as well.
        (Place::Rewards, _) => place.other_requests() + 2,
        _ => place.other_requests(),
    };
    assert_eq!(ran.count("api_requests"), expected + trouble.asked, "{ran}");
    assert_eq!(ran.count("api_requests"), world.sandbox.firstpromoter.requests(), "every request counts: {ran}");
    (world, ran)
}

#[track_caller]
fn explains(text: &str, trouble: &Failing) {
    for words in trouble.says {
        assert!(text.contains(words), "{words:?} is not said in: {text}");
    }
}

/// FirstPromoter works again: the next pass finishes the job, with at most one delivery in all.
fn then_it_heals(world: &World) {
    drop(std::mem::take(&mut world.sandbox.firstpromoter.lock().faults));
    let ran = world.once().exits(0);
    assert_eq!(world.state_of(ID), "fulfilled", "{ran}");
    assert_eq!(world.sandbox.merchant.requests(), 1, "one request for one reward: {ran}");
    assert_eq!(world.reward(ID)["delivered_by"], "makegood");
    world.then_nothing_more_happens().exits(0);
}

/// Before the confirmation nothing is known, so nothing is done.
fn nothing_is_done(place: Place) {
    each(|trouble| {
        let (world, ran) = pass_with(place, &trouble);
        let ran = ran.exits(1);
        explains(ran.error(), &trouble);
        assert_eq!((ran.count("delivered"), world.sandbox.merchant.requests()), (0, 0), "{ran}");
        assert_eq!(world.sandbox.firstpromoter.writes(), 0, "{ran}");
        assert_eq!(world.state_of(ID), "none", "nothing is concluded: {ran}");
        then_it_heals(&world);
    });
}

/// After the delivery the reward stays delivered, whatever happens to the marking.
fn delivered_stays_delivered(place: Place) {
    each(|trouble| {
        let (world, ran) = pass_with(place, &trouble);
        let refusal_of_a_mark = trouble.only_refused && !matches!(place, Place::ReadBack);
        // An empty answer to marking is no failure: reading back decides.
        let wordless = trouble.name == "empty body" && !matches!(place, Place::ReadBack);
        let ran = ran.exits(i32::from(!refusal_of_a_mark && !wordless));
        assert_eq!((ran.count("delivered"), world.sandbox.merchant.requests()), (1, 1), "{ran}");
        let reads_back = !matches!(place, Place::ReadBack) && trouble.takes_effect;
        let reward = world.reward(ID);
        if reads_back {
            assert_eq!(reward["state"], "fulfilled", "it was marked, and reads back so: {ran}");
        } else {
            assert_eq!((&reward["state"], &reward["mark_attempts"]), (&json!("delivered"), &json!(1)), "{ran}");
            assert!(reward["delivered_at"].is_string() && reward["receipt"] == "r-1", "{reward}");
            let words = reward["mark_error"].as_str().unwrap();
            assert!(
                words.contains(trouble.says[0])
                    || trouble.only_refused && words.contains("Sandbox says")
                    || wordless && words.contains("reads back as unfulfilled"),
                "{words}"
            );
        }
        if refusal_of_a_mark || wordless {
            assert_eq!(ran.error(), "", "such a mark is the reward's trouble, not the pass's");
        } else {
            explains(ran.error(), &trouble);
        }
        then_it_heals(&world);
    });
}

#[test]
fn nothing_is_done_when_the_listing_fails() {
    nothing_is_done(Place::Listing);
}

#[test]
fn nothing_is_delivered_when_the_confirmation_fails() {
    nothing_is_done(Place::Confirm);
}

#[test]
fn a_delivered_reward_stays_delivered_when_marking_fails() {
    delivered_stays_delivered(Place::Mark);
}

#[test]
fn a_delivered_reward_stays_delivered_when_the_batch_cannot_be_polled() {
    delivered_stays_delivered(Place::Batch);
}

#[test]
fn a_delivered_reward_stays_delivered_when_reading_back_fails() {
    delivered_stays_delivered(Place::ReadBack);
}

#[test]
fn without_the_rules_a_reward_that_needs_one_is_held_and_says_why() {
    each(|trouble| {
        let (world, ran) = pass_with(Place::Rewards, &trouble);
        assert_eq!((ran.count("delivered"), world.sandbox.merchant.requests()), (0, 0), "{ran}");
        if matches!(trouble.name, "429 in an hour" | "503 in an hour") {
            // No further question is possible, so nothing is concluded.
            let ran = ran.exits(1);
            assert!(ran.error().contains("asked to stay away"), "{ran}");
            assert_eq!(world.state_of(ID), "none");
        } else {
            let ran = ran.exits(3);
            assert_eq!(ran.error(), "");
            assert_eq!(world.attention(), [(ID, "recipient_unknown".to_owned())].into(), "{ran}");
            explains(ran.line(ID)["detail"].as_str().unwrap(), &trouble);
        }
        then_it_heals(&world);
    });
}

#[test]
fn a_confirmation_that_answers_one_way_only_does_not_count() {
    let world = given([commission(ID).approved(LONG_AGO)]);
    world.sandbox.firstpromoter.lock().faults.by_ids = honest(1).then_always(status(401));
    let ran = world.once().exits(1);
    assert_eq!((world.sandbox.merchant.requests(), world.state_of(ID)), (0, "none".to_owned()), "{ran}");
    then_it_heals(&world);
}

#[test]
fn a_failure_that_passes_costs_a_request_and_nothing_else() {
    let world = given([commission(ID).approved(LONG_AGO)]);
    {
        let mut state = world.sandbox.firstpromoter.lock();
        (state.switches.batch_threshold, state.switches.batch_polls) = (0, 0);
        state.faults.listing = once(status(500));
        state.faults.rewards = once(page(503, "Maintenance"));
        state.faults.by_ids = once(dropped());
        state.faults.mark = once(dropped().after_effect());
        state.faults.batch = once(status(429).retry_after(0));
    }
    let ran = world.once().exits(0);
    assert_eq!((ran.error(), world.state_of(ID)), ("", "fulfilled".to_owned()), "{ran}");
    assert_eq!(ran.count("api_requests"), 9 + 5, "{ran}");
    assert_eq!(world.sandbox.merchant.requests(), 1, "{ran}");
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_short_retry_after_is_waited_for_within_the_pass() {
    let world = given([commission(ID).approved(LONG_AGO)]);
    world.sandbox.firstpromoter.lock().faults.listing = once(status(429).retry_after(2));
    let begun = Instant::now();
    let ran = world.once().exits(0);
    assert!(begun.elapsed() >= Duration::from_secs(2), "FirstPromoter was not left alone: {:?}", begun.elapsed());
    assert_eq!((ran.count("api_requests"), ran.count("fulfilled")), (9, 1), "{ran}");
}

#[test]
fn a_redirect_is_not_followed_not_even_within_the_host() {
    for place in [Place::Listing, Place::Confirm, Place::Mark] {
        let world = given([commission(ID).approved(LONG_AGO)]);
        let elsewhere = Sandbox::start();
        for location in [format!("{}/commissions", elsewhere.base_url()), format!("{}/", world.sandbox.base_url())] {
            place.strike(&world.sandbox, redirect(307, &location));
            let ran = world.once().exits(1);
            assert!(ran.error().contains("not followed, because the API key would go along"), "{ran}");
            assert_eq!(ran.count("api_requests"), world.last_pass()["api_requests"].as_u64().unwrap());
        }
        assert_eq!(elsewhere.requests(), 0, "the token went along");
        let places: Vec<_> = world.sandbox.firstpromoter.lock().log.iter().map(|ask| ask.path.clone()).collect();
        assert!(places.iter().all(|path| !path.ends_with('/')), "a redirect was followed: {places:?}");
        then_it_heals(&world);
    }
}

/// Stops the world at its `nth` request, takes FirstPromoter down there, and lets the pass find out.
fn goes_down_at(nth: u64) -> (World, Ran) {
    let mut world = given([commission(ID).approved(LONG_AGO)]);
    world.sandbox.gate.stop_at(nth, Moment::BeforeEffect);
    let pass = world.start(&["once", "--json"]);
    assert!(world.sandbox.gate.wait_until_stopped(PATIENCE));
    world.sandbox.firstpromoter_goes_down();
    world.sandbox.gate.open();
    let ran = pass.wait().exits(1);
    assert!(ran.error().contains("check the network and firstpromoter.base_url"), "{ran}");
    assert_eq!(world.last_pass()["error"], ran.json["error"]);
    world.sandbox.everybody_comes_back();
    (world, ran)
}

#[test]
fn nobody_listens_where_firstpromoter_should_be() {
    let mut world = given([commission(ID).approved(LONG_AGO)]);
    world.sandbox.firstpromoter_goes_down();
    let ran = world.once().exits(1);
    assert!(ran.error().contains("Connection refused"), "{ran}");
    assert_eq!((ran.count("api_requests"), world.sandbox.firstpromoter.requests()), (4, 0), "{ran}");
    world.sandbox.everybody_comes_back();
    then_it_heals(&world);
}

#[test]
fn firstpromoter_goes_down_before_the_confirmation() {
    let (world, ran) = goes_down_at(4);
    assert_eq!((world.sandbox.merchant.requests(), world.state_of(ID)), (0, "none".to_owned()), "{ran}");
    then_it_heals(&world);
}

#[test]
fn firstpromoter_goes_down_before_the_mark() {
    let (world, ran) = goes_down_at(7);
    assert_eq!((world.sandbox.merchant.requests(), world.state_of(ID)), (1, "delivered".to_owned()), "{ran}");
    then_it_heals(&world);
}

#[test]
fn firstpromoter_goes_down_before_the_reading_back() {
    let (world, ran) = goes_down_at(8);
    assert_eq!((world.sandbox.merchant.requests(), world.state_of(ID)), (1, "delivered".to_owned()), "{ran}");
    assert!(world.sandbox.firstpromoter.is_fulfilled(ID), "the mark was done: {ran}");
    then_it_heals(&world);
}

#[test]
fn with_a_recipient_in_the_policy_the_rules_are_not_even_asked_for() {
    let mut world = given([commission(ID).approved(LONG_AGO)]);
    world.set("policy.recipient", "promoter");
    Place::Rewards.strike(&world.sandbox, status(403));
    world.once().exits(0);
    assert_eq!(
        (world.state_of(ID).as_str(), world.sandbox.firstpromoter.requests_to(Endpoint::Rewards)),
        ("fulfilled", 0)
    );
    world.then_nothing_more_happens();
}

#[test]
fn a_plan_that_cannot_be_made_says_why_and_leaves_no_ledger() {
    let world = given([commission(ID).approved(LONG_AGO)]);
    Place::Confirm.strike(&world.sandbox, status(401));
    let ran = world.plan().exits(1);
    assert!(ran.error().contains("check firstpromoter.api_key"), "{ran}");
    assert_eq!((ran.count("api_requests"), ran.json["decisions"].as_array().unwrap().len()), (4, 0), "{ran}");
    assert!(!world.ledger_path().exists());
    assert_eq!((world.sandbox.firstpromoter.writes(), world.sandbox.merchant.requests()), (0, 0));
}

#[test]
fn a_report_for_a_person_says_that_the_pass_did_not_complete() {
    let world = given([commission(ID).approved(LONG_AGO)]);
    Place::Mark.strike(&world.sandbox, status(401));
    let ran = world.run(&["once"]).exits(1);
    let words = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("The pass did not complete: POST /commissions/mark_fulfilled for commission 88901"),
        "{ran}"
    );
    assert!(words.contains("delivered 1, fulfilled 0") && words.contains("check firstpromoter.api_key"), "{ran}");
}
