//! Heartbeats, alerts and metrics of a service: what a monitor, a chat room and `node_exporter` get, and that none of them
//! delays the service.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    sandbox::{Script, always, commission, now, status},
    service::{Service, eventually, on_demand},
    targets::owed,
    world::{World, given},
};

/// Part of the path of each address: a secret that nothing may show.
const TOKEN: &str = "7b0c4e-monitor-token-d9f2";

/// A server that receives the service's calls.
struct Listener {
    address: SocketAddr,
    state: Arc<Mutex<Heard>>,
}

struct Heard {
    /// `METHOD PATH`, and the body.
    requests: Vec<(String, String)>,
    /// Its answer; none: it never answers.
    status: Option<u16>,
}

impl Listener {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(Heard { requests: Vec::new(), status: Some(200) }));
        let heard = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let heard = Arc::clone(&heard);
                thread::spawn(move || answer(&stream.unwrap(), &heard));
            }
        });
        Self { address, state }
    }

    fn url(&self) -> String {
        format!("http://{}/{TOKEN}", self.address)
    }

    fn answers(&self, status: Option<u16>) {
        self.state.lock().unwrap().status = status;
    }

    /// `METHOD PATH` without the token, and the body.
    fn heard(&self) -> Vec<(String, String)> {
        let requests = self.state.lock().unwrap().requests.clone();
        requests.into_iter().map(|(line, body)| (line.replace(&format!("/{TOKEN}"), ""), body)).collect()
    }

    fn lines(&self) -> Vec<String> {
        self.heard().into_iter().map(|(line, _)| line).collect()
    }

    /// The posts, as JSON.
    fn posts(&self) -> Vec<Value> {
        self.heard().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
    }

    fn texts(&self) -> Vec<String> {
        self.posts().iter().map(|post| post["text"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn eventually_has(&self, count: usize) {
        eventually(&format!("{count} requests come"), || self.heard().len() >= count);
        assert_eq!(self.heard().len(), count, "{:#?}", self.heard());
    }
}

/// One request a connection.
fn answer(stream: &TcpStream, heard: &Mutex<Heard>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if let Some((_, value)) = header.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            length = value.trim().parse().unwrap();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let status = {
        let mut heard = heard.lock().unwrap();
        let line = first.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        heard.requests.push((line, String::from_utf8(body).unwrap()));
        heard.status
    };
    match status {
        Some(status) => {
            drop((&*stream).write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes()));
        }
        // Until the other end closes the connection.
        None => drop(reader.read_to_end(&mut Vec::new())),
    }
}

fn with_heartbeat(world: &mut World) -> Listener {
    let listener = Listener::start();
    world.set("heartbeat.url", &listener.url());
    listener
}

fn with_alert(world: &mut World) -> Listener {
    let listener = Listener::start();
    world.set("alert.url", &listener.url());
    listener
}

/// FirstPromoter refuses everything, or works again.
fn firstpromoter_refuses(world: &World, refuses: bool) {
    world.sandbox.firstpromoter.lock().faults.any = if refuses { always(status(403)) } else { Script::default() };
}

#[test]
fn a_monitor_hears_before_and_after_each_pass_and_why_one_did_not_complete() {
    let mut world = on_demand([1]);
    let monitor = with_heartbeat(&mut world);
    world.set("heartbeat.url", &format!("{}?create=1", monitor.url()));
    let service = Service::start(&world);
    service.pass(&world);
    monitor.eventually_has(2);
    firstpromoter_refuses(&world, true);
    service.pass(&world);
    monitor.eventually_has(4);
    assert_eq!(monitor.lines(), ["GET /start?create=1", "GET ?create=1", "GET /start?create=1", "POST /fail?create=1"]);
    let why = monitor.heard().pop().unwrap().1;
    assert!(why.contains("(403)") && why.contains("check the key's permissions"), "{why}");
    service.stops();
    assert_eq!(monitor.lines().len(), 4, "a stop is no news");
}

#[test]
fn a_reward_that_newly_needs_a_person_is_alerted_once_also_over_a_restart_and_its_end_too() {
    let mut world = on_demand([1, 2]);
    let room = with_alert(&mut world);
    world.sandbox.merchant.lock().faults_of.insert(1, always(status(400)));
    let service = Service::start(&world);
    service.pass(&world);
    room.eventually_has(1);
    let post = room.posts().pop().unwrap();
    let text = post["text"].as_str().unwrap();
    assert!(
        text.contains("1 reward newly needs a person") && text.contains("commission 1, 500 points: refused_by_target"),
        "{text}"
    );
    assert!(text.contains("`makegood resolve 1 --retry`"), "{text}");
    assert_eq!(post["makegood"]["event"], "alert");
    assert_eq!(post["makegood"]["attention"][0]["commission_id"], 1);
    assert!(!post.to_string().contains("example.com"), "a chat room is not the ledger: {post}");
    service.pass(&world);
    service.stops();

    let service = Service::start(&world);
    service.pass(&world);
    world.sandbox.firstpromoter.add(owed(3));
    world.sandbox.merchant.lock().faults_of.insert(3, always(status(400)));
    service.pass(&world);
    room.eventually_has(2);
    assert_eq!(
        room.posts()[1]["makegood"]["attention"].as_array().unwrap().len(),
        1,
        "only what is new: {:#?}",
        room.posts()
    );
    world.run(&["resolve", "1", "--dismiss"]);
    service.pass(&world);
    world.run(&["resolve", "3", "--dismiss"]);
    service.pass(&world);
    room.eventually_has(3);
    assert_eq!(room.texts()[2], "makegood, account 12345: all clear: no reward needs a person any more");
    assert_eq!(room.posts()[2]["makegood"]["event"], "all_clear");
    service.pass(&world);
    service.stops();
    let service = Service::start(&world);
    service.pass(&world);
    service.stops();
    assert_eq!(room.heard().len(), 3, "{:#?}", room.texts());
}

#[test]
fn an_alert_that_did_not_come_through_is_sent_after_the_next_pass() {
    let mut world = on_demand([1]);
    let room = with_alert(&mut world);
    room.answers(Some(500));
    world.sandbox.merchant.lock().faults_of.insert(1, always(status(400)));
    let service = Service::start(&world);
    for sent in 1..=3 {
        service.pass(&world);
        room.eventually_has(sent);
    }
    room.answers(Some(200));
    service.pass(&world);
    room.eventually_has(4);
    service.pass(&world);
    let log = service.stops();
    assert_eq!(room.heard().len(), 4, "{log}");
    assert_eq!(log.matches("alert.url cannot be reached: it answered 500").count(), 1, "{log}");
    assert_eq!(log.matches("alert.url can be reached again, after 3 failures").count(), 1, "{log}");
}

#[test]
fn passes_that_keep_failing_are_alerted_after_an_hour_and_their_end_too() {
    let mut world = on_demand([]);
    let room = with_alert(&mut world);
    let service = Service::start(&world);
    service.pass(&world);
    firstpromoter_refuses(&world, true);
    service.pass(&world);
    service.pass(&world);
    assert_eq!(room.heard().len(), 0, "not yet");
    service.stops();
    // The first of them was two hours ago.
    world.forge("UPDATE passes SET started = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-2 hours') WHERE id = 2");
    let service = Service::start(&world);
    service.pass(&world);
    room.eventually_has(1);
    let text = room.texts().pop().unwrap();
    assert!(text.contains("passes have not completed since 2") && text.contains("(403)"), "{text}");
    assert!(!text.contains("late") && room.posts()[0]["makegood"]["failing"]["late"] == false, "{text}");
    service.pass(&world);
    firstpromoter_refuses(&world, false);
    service.pass(&world);
    room.eventually_has(2);
    assert_eq!(room.texts()[1], "makegood, account 12345: all clear: passes complete again");
    service.pass(&world);
    service.stops();
    assert_eq!(room.heard().len(), 2, "{:#?}", room.texts());
}

#[test]
fn passes_that_are_late_by_the_schedule_are_called_late_in_alert_and_metrics() {
    let mut world = on_demand([]);
    let (room, path) = (with_alert(&mut world), world.path("makegood.prom"));
    world.set("alert.failing_for", "0s").set("metrics.textfile", path.to_str().unwrap());
    let late = || fs::read_to_string(&path).unwrap().contains("makegood_passes_late{account=\"12345\"} 1\n");
    world.once().exits(0);
    assert!(!late());
    firstpromoter_refuses(&world, true);
    world.once().exits(1);
    assert!(!late());
    // The schedule asks for a pass each New Year.
    world.forge("UPDATE passes SET started = '2020-06-01T00:00:00.000Z', finished = '2020-06-01T00:00:01.000Z'");
    let service = Service::start(&world);
    service.pass(&world);
    room.eventually_has(1);
    assert!(late());
    let text = room.texts().pop().unwrap();
    assert!(text.contains("they are late: 3 that schedule.poll asked for have come and gone"), "{text}");
    assert_eq!(room.posts()[0]["makegood"]["failing"]["late"], true);
    firstpromoter_refuses(&world, false);
    service.pass(&world);
    room.eventually_has(2);
    service.stops();
    assert!(!late());
}

#[test]
fn a_ledger_that_cannot_be_written_is_alerted_too() {
    let mut world = on_demand([]);
    let room = with_alert(&mut world);
    world.set("alert.failing_for", "0s");
    let service = Service::start(&world);
    service.pass(&world);
    // As from an old backup: the pass fails before it begins.
    fs::rename(world.ledger_path(), world.path("aside.db")).unwrap();
    service.ring();
    room.eventually_has(1);
    let text = room.texts().pop().unwrap();
    assert!(text.contains("passes have not completed since 2"), "{text}");
    fs::rename(world.path("aside.db"), world.ledger_path()).unwrap();
    service.pass(&world);
    room.eventually_has(2);
    assert!(room.texts()[1].contains("passes complete again"), "{:#?}", room.texts());
}

#[test]
fn a_handler_that_leaves_most_to_makegood_is_alerted() {
    let recently = now() - Duration::from_mins(40);
    let mut world = on_demand([]);
    let room = with_alert(&mut world);
    // Rewards that were approved long ago say nothing about the handler.
    world.sandbox.firstpromoter.add_all((1..=4).map(|id| commission(id).approved_at(recently)));
    world.sandbox.firstpromoter.add_all((11..=15).map(owed));
    let service = Service::start(&world);
    service.pass(&world);
    service.pass(&world);
    assert_eq!(room.heard().len(), 0, "{:#?}", room.texts());
    world.sandbox.firstpromoter.add(commission(5).approved_at(recently));
    service.pass(&world);
    room.eventually_has(1);
    assert!(room.texts()[0].contains("seems broken: makegood had to deliver 5 of 5 rewards"), "{:#?}", room.texts());
    assert_eq!(room.posts()[0]["makegood"]["handler"], json!({ "caught": 5, "of": 5, "within_s": 86_400 }));
    service.pass(&world);
    // A day later.
    world.forge("UPDATE rewards SET approved_at = '2025-01-19T10:30:00Z'");
    service.pass(&world);
    room.eventually_has(2);
    assert_eq!(room.texts()[1], "makegood, account 12345: all clear: the webhook handler seems to work again");
    service.stops();
}

#[test]
fn a_monitor_or_room_that_does_not_answer_delays_neither_passes_nor_the_stop() {
    let mut world = on_demand([1, 2]);
    let (monitor, room) = (with_heartbeat(&mut world), with_alert(&mut world));
    world.set("heartbeat.timeout", "300ms").set("alert.timeout", "300ms");
    world.sandbox.merchant.lock().faults_of.insert(1, always(status(400)));
    monitor.answers(None);
    room.answers(None);
    let service = Service::start(&world);
    for _ in 0..3 {
        assert_eq!(service.pass(&world)["error"], Value::Null);
    }
    assert_eq!(world.state_of(2), "fulfilled");
    let log = service.stops();
    assert_eq!(log.matches("heartbeat.url cannot be reached").count(), 1, "{log}");
    assert_eq!(log.matches("alert.url cannot be reached").count(), 1, "{log}");

    world.set("heartbeat.timeout", "1m").set("alert.timeout", "1m");
    let service = Service::start(&world);
    service.pass(&world);
    eventually("the alert is under way", || room.heard().len() == 4);
    let begun = Instant::now();
    service.stops();
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn passes_go_on_where_nothing_listens_for_heartbeats_and_alerts() {
    let mut world = on_demand([1]);
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    world.set("heartbeat.url", &format!("http://{nobody}/{TOKEN}"));
    world.set("metrics.textfile", "/nowhere/makegood.prom");
    let service = Service::start(&world);
    for _ in 0..3 {
        assert_eq!(service.pass(&world)["error"], Value::Null);
    }
    let log = service.stops();
    assert_eq!(log.matches(" WARN ").count(), 2, "{log}");
    assert!(log.contains("Connection refused") && log.contains("/nowhere/makegood.prom cannot be written"), "{log}");
    assert_eq!(log.matches("ERROR").count(), 0, "{log}");
}

#[test]
fn once_writes_metrics_and_neither_pings_nor_alerts() {
    let mut world = given([owed(1), owed(2).credits(50)]);
    let (monitor, room) = (with_heartbeat(&mut world), with_alert(&mut world));
    let path = world.path("makegood.prom");
    world.set("metrics.textfile", path.to_str().unwrap());
    world.sandbox.merchant.lock().faults_of.insert(1, always(status(400)));
    let requests = world.once().exits(3).count("api_requests");
    assert_eq!((monitor.heard().len(), room.heard().len()), (0, 0));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    for line in [
        "makegood_owed_rewards{account=\"12345\",unit=\"points\"} 0".to_owned(),
        "makegood_attention_rewards{account=\"12345\",reason=\"refused_by_target\"} 1".to_owned(),
        "makegood_deliveries_total{account=\"12345\",unit=\"points\",outcome=\"refused\"} 1".to_owned(),
        "makegood_deliveries_total{account=\"12345\",unit=\"credits\",outcome=\"delivered\"} 1".to_owned(),
        "makegood_passes_total{account=\"12345\",result=\"completed\"} 1".to_owned(),
        format!("makegood_api_requests_total{{account=\"12345\"}} {requests}"),
        "makegood_reward_wait_seconds_count{account=\"12345\"} 1".to_owned(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    let done = |text: &str| {
        let line =
            text.lines().find(|line| line.starts_with("makegood_last_completed_pass_timestamp_seconds")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()
    };
    assert!((now().timestamp() - done(&text)).abs() < 60, "{text}");
    firstpromoter_refuses(&world, true);
    world.once().exits(1);
    let after = fs::read_to_string(&path).unwrap();
    assert!(after.contains("result=\"failed\"} 1\n") && done(&after) == done(&text), "{after}");
}

#[test]
fn metrics_that_cannot_be_written_change_no_exit_code() {
    let mut world = given([owed(1)]);
    world.set("metrics.textfile", "/nowhere/makegood.prom");
    let ran = world.once().exits(0);
    assert!(ran.stderr.contains("metrics.textfile /nowhere/makegood.prom cannot be written"), "{ran}");
}

#[test]
fn no_address_is_shown_at_any_level_and_as_json_every_line_is_an_object() {
    let mut world = on_demand([1]);
    let (monitor, room) = (with_heartbeat(&mut world), with_alert(&mut world));
    world.env("RUST_LOG", "trace").set("log.format", "json");
    world.sandbox.merchant.lock().faults_of.insert(1, always(status(400)));
    let service = Service::start(&world);
    for code in [200, 500, 302] {
        monitor.answers(Some(code));
        room.answers(Some(code));
        service.pass(&world);
    }
    firstpromoter_refuses(&world, true);
    service.pass(&world);
    eventually("the failure is told", || monitor.lines().iter().any(|line| line == "POST /fail"));
    let log = service.stops();
    assert!(!log.contains(TOKEN) && !log.contains(&monitor.address.to_string()), "{log}");
    let entries: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    assert!(entries.iter().any(|entry| entry["spans"][0]["pass.id"] == 1 && entry["level"] == "INFO"), "{log}");
    let ledger: Vec<u8> = world.ledger_files().into_values().flatten().collect();
    assert!(!String::from_utf8_lossy(&ledger).contains(TOKEN));
    assert!(monitor.heard().iter().all(|(_, body)| !body.contains(crate::sandbox::API_KEY)));
}

#[test]
fn an_address_and_a_level_can_be_changed_by_a_reload() {
    let mut world = on_demand([1]);
    world.sandbox.merchant.lock().faults_of.insert(1, always(status(400)));
    let room = Listener::start();
    let file = world.file("alert_url", "http://127.0.0.1:9/nobody");
    world.set("alert.url_file", file.to_str().unwrap());
    let service = Service::start(&world);
    service.pass(&world);
    eventually("nobody is found there", || service.said("alert.url cannot be reached"));
    world.file("alert_url", &room.url());
    world.toml("[log]\nlevel = \"debug\"\n");
    world.command(&["status"]); // writes the configuration
    service.signal("HUP");
    eventually("it is reloaded", || service.said("reloaded: log.level: info -> debug"));
    assert_eq!(service.count("DEBUG"), 0);
    service.pass(&world);
    room.eventually_has(1);
    world.sandbox.firstpromoter.lock().faults.listing = crate::sandbox::once(status(500));
    service.pass(&world);
    eventually("what is tried again is said at debug", || service.said("DEBUG"));
    service.stops();
}
