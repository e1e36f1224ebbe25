use std::{
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::sync::oneshot;

use super::*;
use crate::{
    config::TargetSecrets,
    delivery::{
        Deliver,
        tests::{command_kind, sample, targets},
    },
    manual::{Topic, markdown::plain, words as manual},
};

/// One attempt with this program.
async fn run(argv: &[&str], timeout_ms: u64, delivery: &Delivery) -> Outcome {
    let kind = command_kind(argv);
    let targets = targets(kind, Duration::from_millis(timeout_ms), TargetSecrets::default()).unwrap();
    targets.deliver("app", delivery).await
}

/// One attempt with this shell script, with a timeout that is never reached by accident.
async fn script(text: &str) -> Outcome {
    run(&["/bin/sh", "-c", text], 60_000, &sample()).await
}

fn delivered(receipt: &str) -> Outcome {
    Outcome::Delivered { receipt: Some(receipt.to_owned()).filter(|text| !text.is_empty()) }
}

fn unknown(outcome: Outcome) -> String {
    let Outcome::Unknown { detail, retry_after: None } = outcome else { panic!("not unknown: {outcome:?}") };
    detail
}

/// Watches the processes that have a fifo open for writing: tells when the first has written a line, and when all are dead.
struct Witness {
    fifo: PathBuf,
    started: oneshot::Receiver<()>,
    ended: oneshot::Receiver<()>,
}

impl Witness {
    fn new(folder: &Path) -> Self {
        let fifo = folder.join("witness");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let ((tell_start, started), (tell_end, ended)) = (oneshot::channel(), oneshot::channel());
        let path = fifo.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(std::fs::File::open(path).unwrap());
            reader.read_line(&mut String::new()).unwrap();
            tell_start.send(()).unwrap();
            reader.read_to_end(&mut Vec::new()).unwrap();
            tell_end.send(()).unwrap();
        });
        Self { fifo, started, ended }
    }

    async fn all_dead(self) {
        timeout(Duration::from_secs(20), self.ended).await.expect("something lives on").unwrap();
    }
}

/// A shell that hangs with a child of its own, both with the witness's fifo open.
const FAMILY: &str = r#"exec 3>"$1"; sleep 1000 & echo started >&3; wait"#;

#[tokio::test]
async fn the_body_comes_on_stdin_and_the_rest_in_the_environment() {
    let echo = r#"echo "$MAKEGOOD_KEY|$MAKEGOOD_COMMISSION_ID|$MAKEGOOD_UNIT|$MAKEGOOD_AMOUNT|$MAKEGOOD_RECIPIENT_KIND|$MAKEGOOD_RECIPIENT_EMAIL""#;
    assert_eq!(script(echo).await, delivered("fp-12345-88901|88901|points|500|promoter|p@example.com"));
    let mut nameless = sample();
    nameless.recipient.email = None;
    let set = ["/bin/sh", "-c", r#"echo "<${MAKEGOOD_RECIPIENT_EMAIL-unset}>""#];
    assert_eq!(run(&set, 60_000, &nameless).await, delivered("<>"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stdin");
    let copy =
        ["/bin/sh", "-c", r#"read -r line && echo "$line" > "$1" && ! read -r more"#, "sh", file.to_str().unwrap()];
    assert_eq!(run(&copy, 60_000, &sample()).await, delivered(""));
    let body: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(body, serde_json::to_value(sample()).unwrap());
}

#[tokio::test]
async fn arguments_reach_the_program_without_a_shell() {
    assert_eq!(run(&["echo", "$HOME;", "a  b"], 60_000, &sample()).await, delivered("$HOME; a  b"));
}

#[tokio::test]
async fn exit_0_is_delivered_with_the_first_line_as_receipt() {
    assert_eq!(script("echo ' grant-17 '; echo more").await, delivered("grant-17"));
    assert_eq!(script("exit 0").await, delivered(""));
    assert_eq!(script("echo; echo second").await, delivered(""), "only the first line is the receipt");
    assert_eq!(script("yes ä | tr -d '\\n' | head -c 4000").await, delivered(&"ä".repeat(500)));
    assert_eq!(script("printf 'a\\033[2Jb'").await, delivered("a [2Jb"));
}

#[tokio::test]
async fn exit_75_is_certainly_not_delivered() {
    let Outcome::NotDelivered { detail, retry_after: None } = script("echo database is down >&2; exit 75").await else {
        panic!("not not-delivered");
    };
    assert!(detail.ends_with("(exit 75): database is down"), "{detail}");
}

#[tokio::test]
async fn any_other_exit_is_a_refusal_in_the_commands_own_words() {
    for (text, said) in [
        ("echo out; echo no such account >&2; exit 1", "/bin/sh exited with 1: no such account"),
        ("echo out; exit 2", "/bin/sh exited with 2: out"),
        ("exit 127", "/bin/sh exited with 127: it said nothing"),
    ] {
        assert_eq!(script(text).await, Outcome::Refused { detail: said.to_owned() });
    }
}

#[tokio::test]
async fn an_exit_with_which_a_shell_reports_a_signal_is_unknown() {
    for code in [128, 137, 143, 255] {
        let detail = unknown(script(&format!("echo so far >&2; exit {code}")).await);
        assert_eq!(detail, format!("/bin/sh exited with {code}: so far"));
    }
}

#[tokio::test]
async fn killed_by_a_signal_is_unknown() {
    let detail = unknown(script("kill -9 $$").await);
    assert!(detail.contains("signal 9"), "{detail}");
}

#[tokio::test]
async fn a_timeout_kills_the_whole_process_group_and_the_outcome_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let witness = Witness::new(folder.path());
    // Long enough for a shell to start on a busy machine. The witness knows whether it did.
    let outcome = run(&["/bin/sh", "-c", FAMILY, "sh", witness.fifo.to_str().unwrap()], 2_000, &sample()).await;
    let detail = unknown(outcome);
    assert!(detail.contains("timeout of 2s"), "{detail}");
    witness.all_dead().await;
}

#[tokio::test]
async fn dropping_an_attempt_kills_the_whole_process_group() {
    let folder = tempfile::tempdir().unwrap();
    let mut witness = Witness::new(folder.path());
    let fifo = witness.fifo.clone();
    let (argv, delivery) = (["/bin/sh", "-c", FAMILY, "sh", fifo.to_str().unwrap()], sample());
    select! {
        outcome = run(&argv, 60_000, &delivery) => panic!("ended by itself: {outcome:?}"),
        started = &mut witness.started => started.unwrap(),
    }
    witness.all_dead().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_certainly_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    for program in ["/nonexistent/grant-reward", plain.to_str().unwrap(), folder.path().to_str().unwrap()] {
        let Outcome::NotDelivered { detail, retry_after: None } = run(&[program], 60_000, &sample()).await else {
            panic!("{program} was started");
        };
        assert!(detail.starts_with(program) && detail.contains("os error"), "{detail}");
    }
    let error = CommandTarget::new("app", &[], &BTreeMap::new(), &[], Duration::from_secs(1)).unwrap_err();
    assert!(error.to_string().contains("targets.app.argv"), "{error}");
}

#[tokio::test]
async fn an_email_that_fits_no_environment_variable_is_certainly_not_delivered() {
    let mut odd = sample();
    odd.recipient.email = Some("a\0b".to_owned());
    assert_eq!(run(&["/bin/true"], 60_000, &odd).await.as_str(), "not_delivered");
}

#[tokio::test]
async fn a_body_larger_than_a_pipe_may_be_ignored_or_read() {
    let mut large = sample();
    large.promoter.as_mut().unwrap().name = Some("x".repeat(1024 * 1024));
    assert_eq!(run(&["/bin/sh", "-c", "exit 0"], 60_000, &large).await, delivered(""));
    let length = serde_json::to_vec(&large).unwrap().len() + 1;
    assert_eq!(run(&["wc", "-c"], 60_000, &large).await, delivered(&length.to_string()));
}

#[tokio::test]
async fn a_flood_on_both_streams_neither_blocks_nor_fills_the_memory() {
    let flood = "yes error | head -c 3000000 >&2; yes out | head -c 3000000; exit 3";
    let Outcome::Refused { detail } = script(flood).await else { panic!("not refused") };
    assert!(detail.contains("error error") && detail.chars().count() < 600, "{detail}");

    let (mut kept, mut source) = (Vec::new(), std::io::Cursor::new(vec![b'x'; 3_000_000]));
    listen(&mut source, &mut kept).await;
    assert_eq!((kept.len(), source.position()), (READ_MAX_BYTES, 3_000_000));
}

#[tokio::test]
async fn a_process_left_behind_with_open_streams_does_not_delay_us() {
    // They would hold the streams open for longer than any test runs. A process in the group is killed; nobody waits for one
    // that left it.
    assert_eq!(script("sleep 100000 & echo grant-17; exit 0").await, delivered("grant-17"));
    let left = "setsid sh -c 'echo $$; exec sleep 100000' & read -r _; wait_for_nothing=1; sleep 0.2; exit 0";
    let Outcome::Delivered { receipt: Some(pid) } = script(left).await else { panic!("not delivered") };
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it outlived the command");
}

#[tokio::test]
async fn every_exit_code_means_what_the_table_in_the_manual_says() {
    let rows = manual::rows(Topic::Delivery, "What an exit code means", "how it ends");
    let row = |words: &str| rows.iter().find(|row| plain(&row[0]).starts_with(words));
    let word = |row: Option<&Vec<Vec<_>>>| manual::code(&row.unwrap()[1]).remove(0);
    for code in [0, 1, 2, 69, 74, 75, 76, 80, 126, 127, 128, 129, 143, 255] {
        let exact = rows.iter().find(|row| plain(&row[0]) == format!("exit {code}"));
        let class = row("128 and above").filter(|_| code >= 128);
        let told = word(exact.or(class).or_else(|| row("any other exit")));
        assert_eq!(script(&format!("exit {code}")).await.as_str(), told, "{code}");
    }
    assert_eq!(script("kill -9 $$").await.as_str(), word(row("killed by a signal")));
}
