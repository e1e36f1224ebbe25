//! Which entries are logged, in which form, and which never are.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::{debug, error, info, info_span, trace};

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The output while `speak` runs.
fn heard(verbosity: Verbosity, wish: Option<&str>, speak: impl FnOnce()) -> String {
    heard_as(|sink| human(sink, false, false), filter(verbosity, wish).0, |_| speak())
}

/// The same, in any look; `speak` gets the handle.
fn heard_as(output: impl FnOnce(Writer) -> Output, filter: EnvFilter, speak: impl FnOnce(&Handle)) -> String {
    let sink = Sink::default();
    let (subscriber, handle) = stack(filter, output(Writer(sink.clone())));
    tracing::subscriber::with_default(subscriber, || speak(&handle));
    String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
}

struct Writer(Sink);

impl MakeWriter<'_> for Writer {
    type Writer = Sink;

    fn make_writer(&self) -> Sink {
        self.0.clone()
    }
}

fn chatter() {
    error!(target: "makegood::reconcile", "an error of ours");
    info!(target: "makegood::reconcile", "an info of ours");
    debug!(target: "makegood", "a debug of ours");
    trace!(target: "makegood", "a trace of ours");
    info!(target: "tokio_cron_scheduler::job", "the scheduler chats");
    warn!(target: "hyper::proto::h1", "the wire warns");
    debug!(target: "hyper::proto::h1", "the wire chats: authorization: Bearer abc");
    trace!(target: "h2", "the wire chats: authorization: Bearer abc");
    trace!(target: "reqwest::connect", "the wire chats: authorization: Bearer abc");
    trace!(target: "rustls::conn", "the wire chats: authorization: Bearer abc");
    trace!(target: "hyperion", "a crate of another name");
}

#[test]
fn each_verbosity_lets_through_its_own_levels() {
    let lines = |verbosity| {
        let text = heard(verbosity, None, chatter);
        assert!(!text.contains("chat"), "{text}");
        assert!(text.contains("the wire warns"), "{text}");
        text.matches("of ours").count()
    };
    assert_eq!(lines(Verbosity::Quiet), 1);
    assert_eq!(lines(Verbosity::Normal), 2);
    assert_eq!(lines(Verbosity::Verbose), 3);
    assert_eq!(lines(Verbosity::VeryVerbose), 4);
}

#[test]
fn rust_log_replaces_the_levels_but_never_opens_the_wire() {
    for wish in ["trace", "hyper=trace,h2=trace,reqwest=trace,rustls=debug,hyperion=trace,makegood=trace"] {
        let text = heard(Verbosity::Quiet, Some(wish), chatter);
        assert!(text.contains("a trace of ours") && text.contains("a crate of another name"), "{text}");
        assert!(!text.contains("Bearer"), "{text}");
    }
    assert!(heard(Verbosity::Normal, Some("trace"), chatter).contains("the scheduler chats"));
}

#[test]
fn an_unreadable_rust_log_is_reported_and_ignored() {
    let (_, unread) = filter(Verbosity::Normal, Some("makegood=loud"));
    assert!(unread.is_some());
    assert!(heard(Verbosity::Normal, Some("makegood=loud"), chatter).contains("an info of ours"));
}

#[test]
fn beside_a_terminal_an_event_is_one_line_without_escape_sequences() {
    let text = heard(Verbosity::Normal, None, || info!(commission.id = 7, "delivered"));
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("commission.id=7") && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn flags_become_a_verbosity_and_quiet_wins() {
    assert_eq!(Verbosity::from_flags(true, 2), Verbosity::Quiet);
    assert_eq!(Verbosity::from_flags(false, 0), Verbosity::Normal);
    assert_eq!(Verbosity::from_flags(false, 1), Verbosity::Verbose);
    assert_eq!(Verbosity::from_flags(false, 9), Verbosity::VeryVerbose);
}

#[test]
fn only_a_service_without_flags_takes_its_level_from_the_configuration() {
    assert_eq!(Verbosity::default(), Verbosity::Configured);
    assert_eq!(Verbosity::Configured.level(), LogLevel::default());
}

#[test]
fn the_level_can_be_changed_while_it_runs_and_the_wire_stays_shut() {
    let text = heard_as(
        |sink| human(sink, false, false),
        filter(Verbosity::Configured, None).0,
        |handle| {
            debug!("before");
            assert!(handle.set_level(LogLevel::Trace));
            chatter();
            assert!(handle.set_level(LogLevel::Error));
            warn!("after");
        },
    );
    assert!(text.contains("a trace of ours") && !text.contains("Bearer"), "{text}");
    assert!(!text.contains("before") && !text.contains("after"), "{text}");
}

#[test]
fn levels_from_the_command_line_go_before_the_configuration() {
    let text = heard_as(
        |sink| human(sink, false, false),
        filter(Verbosity::Quiet, None).0,
        |handle| {
            let handle = Handle { configurable: false, ..handle.clone() };
            assert!(!handle.set_level(LogLevel::Trace));
            info!("said");
        },
    );
    assert_eq!(text, "");
}

#[test]
fn as_json_an_event_is_one_object_with_its_fields_and_those_of_its_spans() {
    let text = heard_as(json, filter(Verbosity::Normal, None).0, |_| {
        let _pass = info_span!("pass", pass.id = 4).entered();
        info!(commission.id = 7, "delivered \"it\"\nin two lines");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    let entry: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(entry["message"], "delivered \"it\" in two lines", "an entry is one line in every look");
    assert_eq!((&entry["level"], &entry["commission.id"]), (&"INFO".into(), &7.into()), "{entry}");
    assert_eq!(entry["spans"][0]["pass.id"], 4, "{entry}");
}

#[test]
fn the_wire_is_shut_in_json_too() {
    let text = heard_as(json, filter(Verbosity::VeryVerbose, Some("trace")).0, |_| chatter());
    assert!(text.contains("a trace of ours") && !text.contains("Bearer"), "{text}");
}

#[test]
fn stderr_is_the_journal_only_if_it_is_the_very_file_that_systemd_names() {
    assert!(is_stream("8:1234", 8, 1234));
    for said in ["", "8", "8:", ":1234", "8:1235", "9:1234", "8:1234:1", "a:b"] {
        assert!(!is_stream(said, 8, 1234), "{said:?}");
    }
}

#[test]
fn no_look_shows_what_a_terminal_would_obey_and_numbers_stay_numbers() {
    let hostile = "x\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\nFORGED";
    let speak = |_: &Handle| {
        let _pass = info_span!("pass", name = hostile, failures = 3).entered();
        info!(text = hostile, shown = %hostile, debugged = ?hostile, commission.id = 7, "it said {hostile}");
    };
    let levels = || filter(Verbosity::Normal, None).0;
    for text in [heard_as(|sink| human(sink, false, false), levels(), speak), heard_as(json, levels(), speak)] {
        assert_eq!(text.lines().count(), 1, "{text:?}");
        let acts = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202e}' | '\u{2028}'));
        assert!(!text.contains(acts) && text.contains("FORGED"), "{text:?}");
    }
    let entry: serde_json::Value = serde_json::from_str(&heard_as(json, levels(), speak)).unwrap();
    assert_eq!((&entry["commission.id"], &entry["spans"][0]["failures"]), (&7.into(), &3.into()), "{entry}");
}
