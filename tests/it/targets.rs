//! The manual's table of answers, row by row, at an endpoint that deduplicates and at one that does not: the state that each
//! leaves, the time of the next attempt, and that the reward takes effect once.

use std::{collections::BTreeMap, net::TcpListener};

use serde_json::{Value, json};

use crate::{
    harm::{Harm, harmed},
    sandbox::{
        Commission, Fault, Merchant, Sandbox, Timestamp, always, commission, delayed, dropped, empty, half, hang,
        instant, never, once, page, redirect, status, text,
    },
    world::{LONG_AGO, PATIENCE, World, given},
};

/// The meaning of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Means {
    /// Taken.
    Delivered,
    /// Certainly not taken. Tried again after this many seconds.
    NotDelivered(u64),
    /// Unknown. Tried again after this many seconds where the endpoint deduplicates.
    Unknown(u64),
    /// No, for good.
    Refused,
}

impl Means {
    fn outcome(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NotDelivered(_) => "not_delivered",
            Self::Unknown(_) => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// With the default `retry.first`, and `retry.max` at ten minutes.
fn answers() -> Vec<(&'static str, Fault, Means)> {
    use Means::{Delivered, NotDelivered, Refused, Unknown};
    let mut answers = vec![
        ("200 with a receipt", Fault::default(), Delivered),
        ("201 and text that is no JSON", text(201, "OK then"), Delivered),
        ("200 and half a receipt", half(), Delivered),
        ("204", empty(204), Delivered),
        ("200 in HTML", page(200, "Thank you"), Delivered),
        ("429", status(429), NotDelivered(60)),
        ("429 for less than our own wait", status(429).retry_after(5), NotDelivered(60)),
        ("429 for longer than retry.max", status(429).retry_after(7200), NotDelivered(7200)),
        ("429 for a month", status(429).retry_after(2_592_000), NotDelivered(86_400)),
        ("429 for nobody knows how long", status(429).header("retry-after", "soon"), NotDelivered(60)),
        ("503 for longer than retry.max", status(503).retry_after(1800), Unknown(1800)),
        ("409 for longer than our own wait", status(409).retry_after(61), Unknown(61)),
        ("502 in HTML", page(502, "Bad Gateway"), Unknown(60)),
        ("no answer", hang(), Unknown(60)),
        ("connection dropped", dropped(), Unknown(60)),
        ("reply lost", dropped().after_effect(), Unknown(60)),
        ("401", status(401), Refused),
        ("413 with Retry-After", status(413).retry_after(7200), Refused),
    ];
    let unknown = [("408", 408), ("409", 409), ("425", 425), ("500", 500), ("503", 503), ("599", 599)];
    answers.extend(unknown.map(|(name, code)| (name, status(code), Unknown(60))));
    let refused = [("400", 400), ("403", 403), ("404", 404), ("410", 410), ("422", 422), ("300", 300), ("304", 304)];
    answers.extend(refused.map(|(name, code)| (name, empty(code), Refused)));
    // Mixed, because a target that fails many times in a row is paused.
    let (well, ill): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(_, _, means)| matches!(means, Delivered | Refused));
    let mut well = well.into_iter();
    let mut mixed = Vec::new();
    for two in ill.chunks(2) {
        mixed.extend(two.iter().cloned().chain(well.next()));
    }
    mixed.extend(well);
    mixed
}

pub(crate) fn owed(id: i64) -> Commission {
    commission(id).approved(LONG_AGO)
}

/// Lets the written waits end.
pub(crate) fn the_time_has_come(world: &World) {
    world.forge("UPDATE rewards SET next_attempt_at = '2025-01-20T00:00:00.000Z' WHERE next_attempt_at IS NOT NULL");
}

fn at(time: &Value) -> Timestamp {
    instant(time.as_str().unwrap_or_else(|| panic!("{time} is no time")))
}

/// How long after its latest attempt the reward is tried again, in milliseconds.
fn wait_ms(world: &World, id: i64) -> i64 {
    let attempt = world.attempts(id).pop().expect("it was attempted");
    (at(&world.reward(id)["next_attempt_at"]) - at(&attempt["finished_at"])).num_milliseconds()
}

/// One pass in which the reward with the number of each answer meets that answer.
fn a_pass_with_every_answer(idempotent: bool) -> (World, BTreeMap<i64, (&'static str, Means)>) {
    // A delivered one goes after each, so that the refusals in a row never count as the target's.
    let answers: BTreeMap<i64, _> = (1..).step_by(2).zip(answers()).collect();
    let mut world = given(answers.keys().flat_map(|id| [*id, id + 1]).map(owed));
    world.set("policy.retry.max", "10m").set("targets.app.timeout", "3s").set("targets.app.concurrency", "1");
    world.set("targets.app.idempotent", &idempotent.to_string());
    let mut merchant = world.sandbox.merchant.lock();
    merchant.deduplicates = idempotent;
    merchant.faults_of = answers.iter().map(|(id, (_, fault, _))| (*id, always(fault.clone()))).collect();
    drop(merchant);
    (world, answers.into_iter().map(|(id, (name, _, means))| (id, (name, means))).collect())
}

/// The state and hold reason in which an answer leaves a reward.
fn left_in(means: Means, idempotent: bool) -> (&'static str, &'static str) {
    match means {
        Means::Delivered => ("fulfilled", "none"),
        Means::NotDelivered(_) => ("waiting", "none"),
        Means::Unknown(_) if idempotent => ("waiting", "none"),
        Means::Unknown(_) => ("held", "outcome_unknown"),
        Means::Refused => ("held", "refused_by_target"),
    }
}

fn every_answer_has_its_meaning(idempotent: bool) {
    let (world, answers) = a_pass_with_every_answer(idempotent);
    let ran = world.once().exits(3);
    let failures = answers.values().filter(|(_, means)| *means != Means::Delivered).count() as u64;
    assert_eq!((ran.error(), ran.count("failed")), ("", failures), "{ran}");
    for (id, (name, means)) in &answers {
        let (state, reason) = left_in(*means, idempotent);
        let reward = world.reward(*id);
        assert_eq!(
            (world.state_of(*id).as_str(), world.hold_reason(*id).as_str()),
            (state, reason),
            "{name}: {reward}"
        );
        let attempts = world.attempts(*id);
        let [attempt] = attempts.as_slice() else { panic!("{name}: one attempt a pass, not {attempts:?}") };
        assert_eq!(
            (&attempt["attempt"], &attempt["target"], &reward["attempts"]),
            (&json!(1), &json!("app"), &json!(1))
        );
        assert_eq!(attempt["outcome"], means.outcome(), "{name}: {attempt}");
        assert_eq!(world.sandbox.merchant.bodies_of(*id).len(), 1, "{name}: one request an attempt");
        match means {
            Means::NotDelivered(seconds) | Means::Unknown(seconds) if state == "waiting" => {
                assert_eq!(wait_ms(&world, *id), 1_000 * i64::try_from(*seconds).unwrap(), "{name}: {reward}");
            }
            Means::Delivered | Means::NotDelivered(_) | Means::Unknown(_) | Means::Refused => {
                assert_eq!(reward["next_attempt_at"], Value::Null, "{name}: {reward}");
            }
        }
        if *means == Means::Delivered {
            assert_eq!(reward["last_error"], Value::Null, "{name}");
        } else {
            assert_eq!(reward["last_error"], attempt["detail"], "{name}");
            let detail = attempt["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("http://127.0.0.1:") && !detail.contains("/rewards"), "{name}: {detail}");
        }
    }
    assert_eq!(world.attention().len() as u64, ran.count("held"), "what is held needs a person: {ran}");

    // Before its time nothing happens. Then the endpoint works, and the time comes.
    world.then_nothing_more_happens().exits(3);
    world.sandbox.merchant.lock().faults_of.clear();
    the_time_has_come(&world);
    let ran = world.once();
    for (id, (name, means)) in &answers {
        let again = left_in(*means, idempotent).0 == "waiting";
        let requests: Vec<_> = world.sandbox.merchant.bodies_of(*id);
        assert_eq!(requests.len(), if again { 2 } else { 1 }, "{name}: {ran}");
        assert!(requests.iter().all(|body| *body == requests[0] && body["key"] == world.sandbox.key(*id)), "{name}");
        let takes_effect = again || matches!(*name, "200 with a receipt" | "200 and half a receipt" | "reply lost");
        let effects = world.sandbox.merchant.effects_of(*id);
        assert_eq!(effects.len(), usize::from(takes_effect), "{name}: {ran}");
        if again {
            let reward = world.reward(*id);
            assert_eq!((&reward["state"], &reward["attempts"]), (&json!("fulfilled"), &json!(2)), "{name}");
            assert_eq!(reward["receipt"], effects[0].receipt, "{name}: {reward}");
            assert_eq!((&reward["failures"], &reward["last_error"]), (&json!(0), &Value::Null), "{name}: {reward}");
        }
    }
    assert_eq!(world.sandbox.merchant.rejections(), Vec::<String>::new());
    world.then_nothing_more_happens().exits(3);
}

#[test]
fn every_answer_has_its_meaning_at_an_endpoint_that_deduplicates() {
    every_answer_has_its_meaning(true);
}

#[test]
fn every_answer_has_its_meaning_at_an_endpoint_that_does_not_deduplicate() {
    every_answer_has_its_meaning(false);
}

#[test]
fn a_receipt_is_kept_where_there_is_one_that_can_be_read() {
    let receipts = [
        (r#"{"receipt":"abc-1"}"#, json!("abc-1")),
        (r#"{"receipt":12345678901234567890123}"#, json!("12345678901234567890123")),
        (r#"{"receipt":"a\nb\u001b[31m"}"#, json!("a b [31m")),
        (r#"{"receipt":""}"#, Value::Null),
        (r#"{"receipt":null}"#, Value::Null),
        (r#"{"receipt":{"id":1}}"#, Value::Null),
        (r#"["abc"]"#, Value::Null),
        ("receipt: abc", Value::Null),
        ("", Value::Null),
    ];
    let world = given((1..).zip(&receipts).map(|(id, _)| owed(id)));
    world.sandbox.merchant.lock().faults_of =
        (1..).zip(&receipts).map(|(id, (body, _))| (id, always(text(200, body)))).collect();
    world.once().exits(0);
    for (id, (body, receipt)) in (1..).zip(receipts) {
        assert_eq!(world.reward(id)["receipt"], receipt, "{body}");
        assert_eq!(world.state_of(id), "fulfilled");
    }
}

#[test]
fn a_refusal_is_kept_in_its_first_five_hundred_characters_and_without_our_secrets() {
    let world = given([owed(1), owed(2)]);
    let echo = format!("bad token {}, bad signature {}", crate::sandbox::BEARER, crate::sandbox::SIGNING_SECRET);
    world.sandbox.merchant.lock().faults_of =
        [(1, always(text(422, &format!("{}END", "é".repeat(500))))), (2, always(text(403, &echo)))].into();
    let ran = world.once().exits(3);
    let words = |id: i64| world.reward(id)["last_error"].as_str().unwrap().to_owned();
    assert!(words(1).ends_with(&"é".repeat(400)) && !words(1).contains("END"), "{}", words(1));
    assert_eq!(words(1).matches('é').count(), 500, "{}", words(1));
    assert!(words(2).contains("bad token [redacted], bad signature [redacted]"), "{}", words(2));
    assert!(ran.line(1)["detail"].as_str().unwrap().contains("answered 422"), "{ran}");
}

#[test]
fn waits_grow_by_the_factor_up_to_the_longest_and_begin_anew_after_a_success() {
    let mut world = given([owed(1)]);
    world.set("policy.retry.first", "10s").set("policy.retry.factor", "3").set("policy.retry.max", "1m");
    world.sandbox.merchant.lock().faults = always(status(503));
    for (attempt, seconds) in [(1, 10), (2, 30), (3, 60), (4, 60)] {
        let ran = world.once().exits(0);
        assert_eq!(wait_ms(&world, 1), seconds * 1_000, "attempt {attempt}: {ran}");
        assert_eq!(world.reward(1)["attempts"], attempt);
        world.then_nothing_more_happens().exits(0);
        the_time_has_come(&world);
    }
    // A target may ask for more than the longest wait.
    world.sandbox.merchant.lock().faults = always(status(503).retry_after(90));
    world.once().exits(0);
    assert_eq!(wait_ms(&world, 1), 90_000);
    world.sandbox.merchant.lock().faults = never();
    the_time_has_come(&world);
    world.once().exits(0);
    assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.effects_of(1).len()), ("fulfilled", 1));
    let outcomes: Vec<_> = world.attempts(1).iter().map(|attempt| attempt["outcome"].clone()).collect();
    assert_eq!(outcomes, ["unknown", "unknown", "unknown", "unknown", "unknown", "delivered"]);
}

#[test]
fn a_reward_that_nobody_takes_for_too_long_is_given_up_and_shown() {
    for (idempotent, fault) in [(true, status(503)), (true, status(429)), (false, status(429))] {
        let mut world = given([owed(1)]);
        world.set("policy.retry.give_up_after", "0s").set("targets.app.idempotent", &idempotent.to_string());
        world.sandbox.merchant.lock().faults = always(fault);
        let ran = world.once().exits(3);
        assert_eq!(world.hold_reason(1), "gave_up", "{ran}");
        assert_eq!(world.attention(), [(1, "gave_up".to_owned())].into());
        let what_to_do = world.query("SELECT what_to_do FROM attention")[0]["what_to_do"].clone();
        assert!(what_to_do.as_str().unwrap().contains("makegood resolve 1 --retry"), "{what_to_do}");
        // Only a person moves it, even when the target works again.
        world.sandbox.merchant.lock().faults = never();
        world.then_nothing_more_happens().exits(3);
    }
}

#[test]
fn nobody_listens_where_the_endpoint_should_be() {
    for idempotent in [true, false] {
        let mut world = given([owed(1)]);
        world.set("targets.app.idempotent", &idempotent.to_string());
        world.sandbox.merchant_goes_down();
        let ran = world.once().exits(0);
        let reward = world.reward(1);
        assert_eq!((&reward["state"], &reward["uncertain"]), (&json!("waiting"), &json!(0)), "{ran}");
        assert_eq!((&world.attempts(1)[0]["outcome"], wait_ms(&world, 1)), (&json!("not_delivered"), 60_000));
        let words = reward["last_error"].as_str().unwrap();
        assert!(words.starts_with("no connection to http://127.0.0.1:") && words.contains("refused"), "{words}");
        world.sandbox.everybody_comes_back();
        the_time_has_come(&world);
        world.once().exits(0);
        assert_eq!((world.state_of(1).as_str(), world.sandbox.merchant.requests()), ("fulfilled", 1));
        world.then_nothing_more_happens().exits(0);
    }
}

#[test]
fn a_name_that_does_not_resolve_and_a_handshake_that_fails_are_certainly_not_delivered() {
    let mut world = given([owed(1), owed(2).credits(50).reward(10, "50 credits")]);
    let plain = world.sandbox.merchant_url().replace("http://", "https://");
    world.toml(&format!(
        "[targets.nowhere]\ntype = \"http\"\nurl = \"https://merchant.invalid/rewards\"\ntimeout = \"6s\"\nidempotent = false\n\
         [targets.plain]\ntype = \"http\"\nurl = \"{plain}\"\nidempotent = false\n\
         [[routes]]\nunit = \"points\"\ntarget = \"nowhere\"\n[[routes]]\ntarget = \"plain\"\n"
    ));
    let ran = world.once().exits(0);
    for (id, place) in [(1, "https://merchant.invalid:443"), (2, plain.trim_end_matches("/rewards"))] {
        let reward = world.reward(id);
        assert_eq!((&reward["state"], &reward["uncertain"]), (&json!("waiting"), &json!(0)), "{ran}");
        assert_eq!((&world.attempts(id)[0]["outcome"], wait_ms(&world, id)), (&json!("not_delivered"), 60_000));
        let words = reward["last_error"].as_str().unwrap();
        assert!(words.starts_with(&format!("no connection to {place}, nothing was sent: ")), "{words}");
    }
    assert_eq!(world.sandbox.merchant.requests(), 0);
}

#[test]
fn a_redirect_is_a_refusal_and_is_not_followed() {
    let world = given([owed(1)]);
    let elsewhere = Sandbox::start();
    world.sandbox.merchant.lock().faults = once(redirect(307, &elsewhere.merchant_url()));
    let ran = world.once().exits(3);
    assert_eq!((world.hold_reason(1).as_str(), elsewhere.requests()), ("refused_by_target", 0), "{ran}");
    assert_eq!(world.sandbox.merchant.requests(), 1, "{ran}");
}

#[test]
fn a_proxy_of_the_environment_does_not_stand_between_us_and_this_machine() {
    let mut world = given([owed(1)]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        // The discard port: nobody listens there.
        world.env(name, "http://127.0.0.1:9");
    }
    world.once().exits(0);
    assert_eq!(world.state_of(1), "fulfilled");
}

/// A second target at the same merchant, for credits.
fn with_a_target_for_credits(world: &mut World, settings: &str) {
    let toml = format!(
        "[targets.credits]\ntype = \"http\"\nurl = \"{}\"\nsecret = \"{}\"\nbearer = \"{}\"\n{settings}\n\
         [[routes]]\nunit = \"credits\"\ntarget = \"credits\"\n[[routes]]\ntarget = \"app\"\n",
        world.sandbox.merchant_url(),
        crate::sandbox::SIGNING_SECRET,
        crate::sandbox::BEARER
    );
    world.toml(&toml);
}

#[test]
fn a_target_that_hangs_does_not_hold_up_another() {
    let credits = |id| owed(id).credits(50).reward(10, "50 credits");
    let mut world = given((1..=2).map(credits).chain((11..=18).map(owed)));
    with_a_target_for_credits(&mut world, "concurrency = 1\ntimeout = \"4s\"");
    world.sandbox.merchant.lock().faults_of = (1..=2).map(|id| (id, always(hang()))).collect();
    let pass = world.start(&["once", "--json"]);
    // All of the one have arrived while the first of the other still hangs. Which of the two is handled first is chance.
    let hanging = |merchant: &Merchant| (1..=2).map(|id| merchant.bodies_of(id).len()).sum::<usize>();
    let both = |sandbox: &Sandbox| {
        let arrived = sandbox.merchant.lock().effects.len();
        arrived == 8 && hanging(&sandbox.merchant) > 0
    };
    assert!(world.sandbox.wait_until(PATIENCE, both));
    assert_eq!(hanging(&world.sandbox.merchant), 1, "the second hung delivery began before the other target was done");
    let ran = pass.wait().exits(0);
    assert_eq!((ran.count("delivered"), ran.count("fulfilled"), ran.count("failed")), (8, 8, 2), "{ran}");
    assert!((1..=2).all(|id| world.state_of(id) == "waiting"), "{ran}");
    assert!((11..=18).all(|id| world.attempts(id)[0]["target"] == "app"));

    world.sandbox.merchant.lock().faults_of.clear();
    the_time_has_come(&world);
    world.once().exits(0);
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 11, 12, 13, 14, 15, 16, 17, 18]);
    world.then_nothing_more_happens().exits(0);
}

#[test]
fn a_target_gets_as_many_at_a_time_as_it_is_configured_for() {
    for (concurrency, expected) in [("1", 1), ("3", 3)] {
        let mut world = given((1..=6).map(owed));
        world.set("targets.app.concurrency", concurrency);
        world.sandbox.merchant.lock().faults = always(delayed(std::time::Duration::from_millis(300)));
        world.once().exits(0);
        assert_eq!(world.sandbox.merchant.concurrency_reached(), expected);
    }
}

#[test]
fn a_delivery_that_may_have_taken_effect_never_goes_to_another_target() {
    let mut world = given([owed(1), owed(2)]);
    world.sandbox.merchant.lock().faults_of = [(1, once(dropped().after_effect())), (2, once(status(429)))].into();
    world.once().exits(0);
    // Meanwhile somebody routes everything elsewhere.
    with_a_target_for_credits(&mut world, "[[routes]]\nunit = \"points\"\ntarget = \"credits\"");
    the_time_has_come(&world);
    let ran = world.once().exits(0);
    let targets = |id| world.attempts(id).iter().map(|attempt| attempt["target"].clone()).collect::<Vec<_>>();
    assert_eq!(targets(1), ["app", "app"], "it may have taken effect at app: {ran}");
    assert_eq!(targets(2), ["app", "credits"], "it certainly did not: {ran}");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2]);
}

/// Each intent waits half a second for the disk: when the last of fourteen is there, the first answer is, too, and its time is over.
#[test]
fn a_slow_disk_costs_no_answer_its_timeout() {
    let mut world = given((1..=14).map(owed));
    world.set("targets.app.concurrency", "14").set("targets.app.timeout", "5s");
    let (ran, _) = harmed(&world, Harm::SlowSyncs(500), &["once", "--json"]);
    assert_eq!((ran.count("delivered"), ran.count("failed")), (14, 0), "{ran}");
    assert!((1..=14).all(|id| world.state_of(id) == "fulfilled" && world.attempts(id).len() == 1), "{ran}");
    assert_eq!(world.sandbox.merchant.requests(), 14);
}

/// Hosts that say otherwise would send the key there, in clear.
#[test]
fn localhost_is_this_machine_by_address_whatever_its_hosts_say() {
    let mut world = given([owed(1)]);
    let (api, merchant) = (world.sandbox.base_url(), world.sandbox.merchant_url());
    let port = |url: &str| url.split(['/', ':']).find_map(|part| part.parse::<u16>().ok()).unwrap();
    let elsewhere = [port(&api), port(&merchant)].map(|port| TcpListener::bind(("127.0.0.9", port)).unwrap());
    world.set("firstpromoter.base_url", &api.replace("127.0.0.1", "localhost"));
    world.set("targets.app.url", &merchant.replace("127.0.0.1", "localhost"));
    let (ran, _) = harmed(&world, Harm::LocalhostIsElsewhere, &["once", "--json"]);
    for listener in &elsewhere {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "somebody came here: {ran}");
    }
    assert_eq!(world.state_of(1), "fulfilled", "{ran}");
    let (check, _) = harmed(&world, Harm::LocalhostIsElsewhere, &["check", "--json"]);
    assert!(elsewhere.iter().all(|listener| listener.accept().is_err()), "{check}");
}
