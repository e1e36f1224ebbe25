//! A ledger with much history: a million rewards that are fulfilled, 525,000 passes.
//!
//! makegood itself makes the ledger, with one reward. SQL then copies the rows of that reward, of its attempt, of its journal and of
//! its pass, with other ids, times and people, under all of the ledger's own guards. So the rows are as this version writes them.
//! A quarter of the rewards, and the last 20,000, were delivered by a handler: they have no attempt.

use std::fs;

use anyhow::{Context, ensure};
use makegood::domain::Timestamp;
use rusqlite::Connection;

use crate::{
    Bench,
    place::{LONG_AGO, Place, median},
    sandbox::commission,
    table::{Measured, Unit, at_most},
};

const REWARDS: i64 = 1_000_000;
const PASSES: i64 = 525_000;
/// The sandbox knows so many of the last ones as fulfilled.
const REMEMBERED: i64 = 500;

/// A place with such a ledger; `size` of it is divided by ten where it must be quick.
pub(crate) struct History {
    place: Place,
    rewards: i64,
    made_in: f64,
}

impl History {
    pub(crate) fn make(bench: &Bench) -> anyhow::Result<Self> {
        let shrink = if bench.quick { 10 } else { 1 };
        let (rewards, passes) = (REWARDS / shrink, PASSES / shrink);
        let place = Place::new(&bench.makegood)?;
        place.sandbox.firstpromoter.add(commission(1).approved(LONG_AGO));
        ensure!(place.once(&[])?.count("fulfilled")? == 1, "the first reward is fulfilled");
        let begun = std::time::Instant::now();
        fill(&place, rewards, passes).context("the history could not be made")?;
        let made_in = begun.elapsed().as_secs_f64();
        let last = rewards - REMEMBERED + 1..=rewards;
        place.sandbox.firstpromoter.add_all(last.map(|id| commission(id).approved(LONG_AGO).fulfilled()));
        // The mark catches up with the history once.
        place.once(&[])?;
        Ok(Self { place, rewards, made_in })
    }

    fn note(&self) -> String {
        format!("{} rewards, made in {:.0} s", self.rewards, self.made_in)
    }
}

fn fill(place: &Place, rewards: i64, passes: i64) -> anyhow::Result<()> {
    let conn = Connection::open(place.ledger())?;
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY; BEGIN;",
    )?;
    let outside = format!("(i % 4 = 3 OR i > {})", rewards - rewards / 50);
    let n = |from: i64, to: i64| {
        format!("WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})")
    };
    let at = |minutes: &str| format!("strftime('%Y-%m-%dT%H:%M:%fZ', 1704067200 + 60 * ({minutes}), 'unixepoch')");
    let (found, ended) = (at("i"), at("i + 1"));
    let pass = format!("1 + i * {} / {rewards}", passes - 1);
    let by_us = |column: &str, other: &str| format!("iif({outside}, {other}, t.{column})");

    let started = format!("strftime('%Y-%m-%dT%H:%M:%fZ', 1704067200 + 60 * i * {rewards} / {passes}, 'unixepoch')");
    let idle = "iif(i % 4 = 0, 1, 0)";
    copy(
        &conn,
        "passes",
        &n(2, passes),
        "",
        &[
            ("id", "i"),
            ("started", &started),
            ("finished", &started),
            ("listed", "i % 4"),
            ("missing", idle),
            ("delivered", idle),
            ("fulfilled", idle),
            ("api_requests", "1 + i % 6"),
        ],
    )?;
    copy(
        &conn,
        "rewards",
        &n(2, rewards),
        "",
        &[
            ("commission_id", "i"),
            ("key", "substr(t.key, 1, length(t.key) - 1) || i"),
            ("state_since", &ended),
            ("promoter_id", "10000 + i % 20000"),
            ("promoter_email", "printf('promoter%05d@example.com', i % 20000)"),
            ("promoter_name", "printf('Promoter %d', i % 20000)"),
            ("referral_id", "100000 + i"),
            ("referral_email", "printf('customer%07d@example.com', i)"),
            ("referral_uid", "printf('user_%d', i)"),
            ("approved_at", &found),
            ("created_at", &found),
            ("first_seen_at", &found),
            ("owed_since", &found),
            ("first_attempt_at", &by_us("first_attempt_at", "NULL").replace("t.first_attempt_at", &ended)),
            ("target", &by_us("target", "NULL")),
            ("fingerprint", &by_us("fingerprint", "NULL")),
            ("attempts", &by_us("attempts", "0")),
            ("receipt", &by_us("receipt", "NULL")),
            ("delivered_at", &ended),
            ("delivered_by", &by_us("delivered_by", "'outside'")),
            ("fulfilled_at", &ended),
        ],
    )?;
    copy(
        &conn,
        "attempts",
        &n(2, rewards),
        &format!("NOT {outside}"),
        &[("id", "NULL"), ("commission_id", "i"), ("started_at", &ended), ("finished_at", &ended), ("pass_id", &pass)],
    )?;
    let moved = format!("NOT ({outside} AND t.to_state IN ('delivering', 'delivered'))");
    copy(
        &conn,
        "journal",
        &n(2, rewards),
        &moved,
        &[
            ("id", "NULL"),
            ("commission_id", "i"),
            ("at", &ended),
            ("from_state", &format!("iif({outside} AND t.to_state = 'fulfilled', 'waiting', t.from_state)")),
            ("pass_id", &pass),
        ],
    )?;
    conn.execute_batch("COMMIT; PRAGMA locking_mode = NORMAL; PRAGMA journal_mode = WAL;")?;
    let many: i64 = conn.query_row("SELECT count(*) FROM rewards WHERE state = 'fulfilled'", [], |row| row.get(0))?;
    ensure!(many == rewards, "the ledger has {many} fulfilled rewards");
    Ok(())
}

/// Copies the rows of a table once for each number, with these columns changed.
fn copy(conn: &Connection, table: &str, numbers: &str, only: &str, changed: &[(&str, &str)]) -> anyhow::Result<()> {
    conn.execute_batch(&format!("CREATE TEMP TABLE t AS SELECT * FROM main.{table} ORDER BY rowid"))?;
    let columns: Vec<String> = conn
        .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let value = |column: &String| {
        let new = changed.iter().find(|(name, _)| name == column).map(|(_, value)| (*value).to_owned());
        new.unwrap_or_else(|| format!("t.{column}"))
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    let only = if only.is_empty() { String::new() } else { format!("WHERE {only}") };
    conn.execute_batch(&format!(
        "{numbers} INSERT INTO main.{table} ({}) SELECT {} FROM n CROSS JOIN temp.t AS t {only}; DROP TABLE temp.t;",
        columns.join(", "),
        values.join(", ")
    ))?;
    Ok(())
}

pub(crate) fn idle(bench: &Bench) -> anyhow::Result<Measured> {
    let history = bench.history()?;
    let (mut walls, mut reads, mut requests) = (Vec::new(), 0.0, 0);
    for _ in 0..3 {
        let ran = history.place.once(&[])?;
        walls.push(ran.wall);
        (reads, requests) = (ran.reads, ran.count("api_requests")?);
    }
    ensure!(requests == 1, "{requests} requests");
    let figures =
        vec![at_most("seconds", median(walls), Unit::Seconds, 0.1), at_most("reads", reads, Unit::Reads, 1_000.0)];
    Ok(Measured::Figures(figures, history.note()))
}

pub(crate) fn looking(bench: &Bench) -> anyhow::Result<Measured> {
    let history = bench.history()?;
    let (id, email) = ((history.rewards / 2).to_string(), "promoter12345@example.com");
    let mut figures = Vec::new();
    for (name, args) in
        [("status", vec!["status"]), ("show ID", vec!["show", &id]), ("show EMAIL", vec!["show", email])]
    {
        let mut walls = Vec::new();
        for _ in 0..5 {
            walls.push(history.place.run(&args)?.wall);
        }
        figures.push(at_most(name, median(walls), Unit::Seconds, 0.03));
    }
    Ok(Measured::Figures(figures, "status, show ID, show EMAIL".to_owned()))
}

pub(crate) fn delivering(bench: &Bench) -> anyhow::Result<Measured> {
    let history = bench.history()?;
    let (mut walls, mut reads) = (Vec::new(), 0.0);
    for _ in 0..3 {
        let id = bench.next_id();
        history.place.sandbox.firstpromoter.add(commission(id).approved(LONG_AGO));
        let ran = history.place.once(&[])?;
        ensure!(ran.count("fulfilled")? == 1, "one reward is delivered and fulfilled: {}", ran.stdout);
        walls.push(ran.wall);
        reads = ran.reads;
    }
    let each: Vec<String> = walls.iter().map(|wall| format!("{wall:.2} s")).collect();
    let note = format!("one after another: {}; {reads} reads", each.join(", "));
    Ok(Measured::Figures(vec![at_most("seconds", median(walls), Unit::Seconds, 0.3)], note))
}

pub(crate) fn metrics(bench: &Bench) -> anyhow::Result<Measured> {
    let mut place = bench.history()?;
    let place = &mut place.place;
    let file = place.path("makegood.prom");
    place.set("metrics.textfile", &file.display());
    let mut took = Vec::new();
    for _ in 0..3 {
        place.once(&[])?;
        let written: Timestamp = fs::metadata(&file)?.modified()?.into();
        let conn = Connection::open(place.ledger())?;
        let finished: String = conn.query_row("SELECT finished FROM last_pass", [], |row| row.get(0))?;
        let finished: Timestamp = finished.parse()?;
        took.push((written - finished).as_seconds_f64());
    }
    place.unset("metrics.textfile");
    let note = "from the end of the pass in the ledger to the file; a process's first".to_owned();
    Ok(Measured::Figures(vec![at_most("seconds", median(took), Unit::Seconds, 0.2)], note))
}
