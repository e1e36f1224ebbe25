//! Feeds mutated text to everything that reads what others wrote: FirstPromoter's answers, `Retry-After`, the
//! configuration. Looks for panics, and for what must hold of whatever was read.
//!
//! `cargo run --release --example fuzz -- --seconds 600 [--seed S]`
//!
//! Mutations start from real answers (the vendor's shapes, webhook samples, errors) and from the shipped configuration;
//! every input that reads as something new in kind (another number of rows, another error) joins the corpus. One thread a
//! core; on a panic the input is written to the temporary folder, and its path and seed are printed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own, for a person")]
#![allow(clippy::expect_used, reason = "what cannot go on should stop the run")]

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use makegood::{
    config,
    domain::{Amount, Timestamp},
    failure::{RETRY_AFTER_MAX, retry_after},
    firstpromoter::wire,
};

#[derive(Parser)]
struct Args {
    /// How long
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Where the random numbers begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const SEEDS: [&str; 12] = [
    r#"[{"id":88901,"status":"approved","unit":"points","amount":500,"commission_type":"sale","is_self_referral":false,"fraud_check":null,"created_at":"2025-01-18T09:00:00.000Z","status_updated_at":"2025-01-19T10:30:00Z","promoter_campaign":{"id":1,"campaign_id":17,"promoter_id":12345,"promoter":{"id":12345,"email":"p@example.com","name":"Pat"},"campaign":{"id":17,"name":"Spring"}},"referral":{"id":55678,"email":"user@example.com","uid":"u"},"reward":{"id":9,"name":"500 points"}}]"#,
    r#"{"data":[{"id":"7","status":"denied","unit":"store_credit","amount":12.5,"promoter_id":3,"referral_id":4,"campaign_id":5,"fraud_check":"same_ip_suspicion"}],"meta":{"total":1}}"#,
    r#"{"id":8,"status":"in_progress","total":5,"selected_total":5,"processed_count":0,"failed_count":1,"processing_errors":["no payout"]}"#,
    r#"[{"id":9,"name":"500 points per sale","is_promoter_reward":true},{"id":10,"name":null,"is_promoter_reward":null}]"#,
    r#"{"message":"Invalid parameters","code":"invalid","errors":{"ids":["is too long"]}}"#,
    "<html><body><h1>502 Bad Gateway</h1></body></html>",
    "120",
    "Thu, 01 Jan 2026 12:01:30 GMT",
    "[]",
    "",
    include_str!("../../config/makegood.toml"),
    include_str!("../../config/sandbox.toml"),
];

const TOKENS: [&str; 24] = [
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "9223372036854775808",
    "500.0",
    "\"\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"id\"",
    "\"data\"",
    "\\ud800",
    "\u{feff}",
    "\n",
    "=",
    "'''",
    "#",
    "\"9999-12-31T23:59:60Z\"",
    "\u{0}",
];

/// Random numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n.max(1) as u64)).unwrap_or(0)
    }
}

fn mutate(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut text = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(text.len() + 1);
        let to = (at + dice.below(40)).min(text.len());
        match dice.below(7) {
            0 => drop(text.drain(at..to)),
            1 => drop(text.splice(at..at, TOKENS[dice.below(TOKENS.len())].bytes())),
            2 => drop(text.splice(at..to, TOKENS[dice.below(TOKENS.len())].bytes())),
            3 if at < text.len() => text[at] = u8::try_from(dice.below(256)).unwrap_or(0),
            4 => {
                let part = text[at..to].to_vec();
                drop(text.splice(at..at, part));
            }
            5 => {
                let other = &corpus[dice.below(corpus.len())];
                let (from, end) = (dice.below(other.len() + 1), other.len());
                drop(text.splice(at..to, other[from..end].iter().copied().take(400)));
            }
            _ => text.extend(std::iter::repeat_n(b"[{\"0 "[dice.below(5)], dice.below(300))),
        }
    }
    text.truncate(100_000);
    text
}

/// Reads the input in every way; returns what kind of thing it was.
fn read(bytes: &[u8], scratch: &Path, with_config: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    let commissions = wire::commissions(&text).map(|rows| {
        for row in &rows {
            assert!(row.id.0 > 0, "an id is positive");
            assert!(!matches!(row.amount, Amount::Whole(n) if n <= 0), "an amount is positive");
        }
        rows.len().min(8)
    });
    let rewards = wire::rewards(&text).map(|rows| rows.len().min(8));
    let batch = wire::batch(&text).map(|batch| batch.status);
    let wait = retry_after(&text, Timestamp::UNIX_EPOCH);
    assert!(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX), "no wait is longer than a day");
    let mut kind = format!("{:?} {:?} {:?} {:?}", commissions.ok(), rewards.ok(), batch.ok(), wait.is_some());
    if with_config {
        std::fs::write(scratch, bytes).expect("the temporary folder can be written");
        let env = [("MAKEGOOD_POLICY__UNITS".to_owned(), text.chars().take(50).collect())];
        let problems = config::load(scratch, &env).map_or_else(|error| error.to_string().lines().count(), |_| 0);
        kind = format!("{kind} {problems}");
    }
    kind
}

fn work(seed: u64, until: Instant, runs: &AtomicU64, found: &AtomicU64) {
    let mut dice = Dice(seed);
    let mut corpus: Vec<Vec<u8>> = SEEDS.iter().map(|text| text.as_bytes().to_vec()).collect();
    let mut kinds = HashSet::new();
    let scratch = std::env::temp_dir().join(format!("makegood-fuzz-{}-{seed}.toml", std::process::id()));
    while Instant::now() < until {
        let input = mutate(&mut dice, &corpus);
        // The configuration goes through a file, which is slow: not every time.
        let with_config = dice.below(20) == 0;
        if let Ok(kind) = catch_unwind(AssertUnwindSafe(|| read(&input, &scratch, with_config))) {
            if corpus.len() < 5_000 && kinds.insert(kind) {
                corpus.push(input);
            }
        } else {
            let n = found.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("makegood-fuzz-found-{seed}-{n}"));
            std::fs::write(&path, &input).expect("the temporary folder can be written");
            eprintln!("PANIC, seed {seed}: the input is in {}", path.display());
        }
        runs.fetch_add(1, Ordering::Relaxed);
    }
    let _gone_already = std::fs::remove_file(scratch);
}

fn main() {
    let args = Args::parse();
    let until = Instant::now() + Duration::from_secs(args.seconds);
    let (runs, found) = (AtomicU64::new(0), AtomicU64::new(0));
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    thread::scope(|scope| {
        for core in 0..cores {
            let (runs, found) = (&runs, &found);
            scope.spawn(move || work(args.seed.wrapping_add(core), until, runs, found));
        }
    });
    let (runs, found) = (runs.into_inner(), found.into_inner());
    println!("{runs} inputs in {} s from seed {}: {found} panics", args.seconds, args.seed);
    std::process::exit(i32::from(found > 0));
}
