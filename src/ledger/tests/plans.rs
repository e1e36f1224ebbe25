//! How SQLite carries statements out: none that a pass, `status` or the metrics runs may read a whole table that grows for ever.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use rusqlite::{
    config::DbConfig,
    trace::{TraceEvent, TraceEventCodes},
};

use super::*;

/// They grow for ever.
const HISTORY: [&str; 4] = ["rewards", "journal", "attempts", "passes"];
/// Indexes of what is open. Reading one whole costs as much as the backlog.
const OF_THE_BACKLOG: [&str; 7] = [
    "rewards_owed",
    "rewards_attention",
    "rewards_open",
    "rewards_drift",
    "rewards_found",
    "passes_open",
    "attempts_open",
];
/// An index that grows for ever, read from one end, as far as `LIMIT` says.
const FROM_THE_END: [(&str, &str); 1] = [("rewards_fulfilled", "LIMIT :limit")];

/// The statements that a connection ran.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statements(Arc<Mutex<BTreeSet<String>>>);

impl Statements {
    /// Panics where one of them reads a whole table of history. Returns how many there are.
    #[track_caller]
    pub(crate) fn assert_none_reads_history(&self, path: &std::path::Path) -> usize {
        let shell = Connection::open(path).unwrap();
        // The statements of triggers, too.
        shell.set_db_config(DbConfig::SQLITE_DBCONFIG_TRIGGER_EQP, true).unwrap();
        let statements = self.0.lock().unwrap();
        for sql in statements.iter() {
            // Nothing refers to what is removed, and no foreign key is looked at meanwhile (`passes.rs`).
            shell.pragma_update(None, "foreign_keys", !sql.starts_with("DELETE FROM passes")).unwrap();
            let scans: Vec<String> = plan(&shell, sql).into_iter().filter(|step| reads_history(step, sql)).collect();
            assert!(scans.is_empty(), "{sql}\nreads all history: {scans:#?}");
        }
        statements.len()
    }
}

impl Ledger {
    /// Collects every statement from now on.
    pub(crate) fn collect_statements(&mut self) -> Statements {
        let statements = Statements::default();
        let seen = statements.clone();
        let see = move |event: TraceEvent<'_>| {
            if let TraceEvent::Stmt(_, sql) = event
                && let Some("SELECT" | "WITH" | "INSERT" | "UPDATE" | "DELETE") = sql.split_whitespace().next()
            {
                seen.0.lock().unwrap().insert(sql.to_owned());
            }
        };
        self.conn.0.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(see)).unwrap();
        statements
    }
}

fn plan(shell: &Connection, sql: &str) -> Vec<String> {
    let mut statement =
        shell.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let (mut steps, mut rows) = (Vec::new(), statement.raw_query());
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get("detail").unwrap());
    }
    steps
}

fn reads_history(step: &str, sql: &str) -> bool {
    let mut words = step.split_whitespace();
    let scans = words.next() == Some("SCAN") && words.next().is_some_and(|table| HISTORY.contains(&table));
    let index = step.split_once("INDEX ").and_then(|(_, rest)| rest.split_whitespace().next());
    let is_bounded = |name: &str| {
        OF_THE_BACKLOG.contains(&name)
            || FROM_THE_END.iter().any(|(index, limit)| *index == name && sql.contains(limit))
    };
    scans && !index.is_some_and(is_bounded)
}

#[test]
fn a_statement_that_reads_a_whole_table_is_recognised() {
    let world = World::new();
    let shell = world.place.shell();
    let reads = |sql: &str| plan(&shell, sql).iter().any(|step| reads_history(step, sql));
    for sql in [
        "SELECT count(*) FROM rewards",
        "SELECT 1 FROM rewards WHERE state = 'fulfilled' ORDER BY fulfilled_at",
        "SELECT EXISTS (SELECT 1 FROM rewards WHERE state IN ('waiting', 'delivering') AND unit = 'points')",
        "SELECT id FROM journal WHERE to_state = 'delivered' ORDER BY id DESC LIMIT 1",
        "UPDATE attempts SET detail = NULL WHERE outcome = 'refused'",
        "SELECT * FROM totals",
    ] {
        assert_eq!(reads(sql), !sql.contains("'waiting'"), "{sql}");
    }
    for sql in ["SELECT * FROM owed", "SELECT * FROM attention", "SELECT * FROM last_pass", "SELECT * FROM targets"] {
        assert!(!reads(sql), "{sql}");
    }
    assert!(!reads("SELECT * FROM timeline WHERE commission_id = 1"));
    assert!(!reads("SELECT * FROM attention WHERE commission_id = 1"));
}

/// What `status`, `show`, an alert and the metrics ask.
#[test]
fn no_look_at_the_ledger_reads_all_history() {
    let mut world = World::new();
    for (number, state) in (1..).zip(RewardState::ALL) {
        world.in_state(number, *state);
    }
    passes::many_empty(&world, 120);
    let statements = world.ledger.collect_statements();
    assert_eq!(world.ledger.remove_empty_passes(Duration::ZERO, at(9_000)).unwrap(), 119);
    let ledger = &world.ledger;
    drop((
        ledger.states(),
        ledger.attention(),
        ledger.last_pass(),
        ledger.next_owed(),
        ledger.health(),
        ledger.streak(),
    ));
    drop((ledger.bound_at(), ledger.account_id(), ledger.require_not_behind(), ledger.standing(), ledger.counted()));
    drop((
        ledger.ids_of("p@example.com"),
        ledger.dossier(id(1)),
        ledger.timeline(id(1)),
        ledger.live_claim(id(1), at(0)),
    ));
    drop((
        ledger.alerts(),
        ledger.caught(Duration::from_hours(24), at(0)),
        ledger.remember_alerts(&["x".to_owned()].into(), at(0)),
    ));
    let many = statements.assert_none_reads_history(&world.place.path());
    assert!(many > 20, "{many} statements");
}
