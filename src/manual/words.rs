//! The manual's words against the code: neither has one that the other lacks.
//!
//! `config` checks the configuration's keys, `delivery` the headers and answers, and `tests/it/operator_output.rs` the JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use chrono::DateTime;
use clap::CommandFactory;
use rusqlite::Connection;

use super::{
    Topic,
    markdown::{self, Block, Span, Style, plain},
};
use crate::{
    cli::Cli,
    commands::Exit,
    failure::Outcome,
    ledger::{HoldReason, Ledger, RewardState},
    reconcile::Trigger,
};

/// The blocks below a heading, up to the next one.
fn section(topic: Topic, heading: &str) -> Vec<Block> {
    let blocks = markdown::read(topic.text());
    let is_heading = |block: &&Block| matches!(block, Block::Heading(..));
    let mut rest =
        blocks.iter().skip_while(|block| !matches!(block, Block::Heading(_, text) if plain(text) == heading));
    assert!(rest.next().is_some(), "{} has no section {heading:?}", topic.as_str());
    rest.take_while(|block| !is_heading(block)).cloned().collect()
}

/// The rows of the table in a section whose first column has this head.
pub(crate) fn rows(topic: Topic, heading: &str, column: &str) -> Vec<Vec<Vec<Span>>> {
    let blocks = section(topic, heading);
    let table = blocks.into_iter().find_map(|block| match block {
        Block::Table(head, rows) if plain(&head[0]) == column => Some(rows),
        Block::Table(..) | Block::Heading(..) | Block::Paragraph(_) | Block::Item(..) | Block::Code(..) => None,
    });
    table.unwrap_or_else(|| panic!("{}, {heading:?} has no table of {column:?}", topic.as_str()))
}

/// The words of the program in a text.
pub(crate) fn code(text: &[Span]) -> Vec<String> {
    text.iter().filter(|span| span.style == Style::Code).map(|span| span.text.clone()).collect()
}

/// The words of the program in the first column of a table.
pub(crate) fn words(topic: Topic, heading: &str, column: &str) -> Vec<String> {
    rows(topic, heading, column).iter().flat_map(|row| code(&row[0])).collect()
}

fn set<T: ToString>(words: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    words.into_iter().map(|word| word.to_string()).collect()
}

/// Every source file but tests, by its path below `src`.
fn sources() -> BTreeMap<String, String> {
    fn read(folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                read(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs")
                && !path.ends_with("tests.rs")
                && !path.ends_with("manual/words.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                // Tests are at the end of a file.
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
                found.insert(path.display().to_string(), code);
            }
        }
    }
    let mut found = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// The text between `before` and the first character that fits no name, for every `before` in the sources.
fn named_after(before: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = |rest: &str| rest.split(|c| !is_name(c)).next().unwrap_or_default().to_owned();
    let all = sources().into_values().flat_map(|text| text.split(before).skip(1).map(name).collect::<Vec<_>>());
    all.filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_state_is_in_the_table_and_in_the_diagram() {
    let states: Vec<&str> = RewardState::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(words(Topic::Ledger, "States", "state"), states);
    let diagram = section(Topic::Ledger, "States").into_iter().find_map(|block| match block {
        Block::Code(_, text) => Some(text),
        Block::Heading(..) | Block::Paragraph(_) | Block::Item(..) | Block::Table(..) => None,
    });
    let diagram = diagram.unwrap();
    assert!(states.iter().all(|state| diagram.contains(state)), "{diagram}");
    assert!(diagram.lines().all(|line| line.chars().count() <= 76), "it fits a terminal");
    let decided: BTreeSet<String> = words(Topic::Decisions, "What the ledger has", "state").into_iter().collect();
    assert_eq!(decided, set(&states), "every state has its row of decisions");
}

#[test]
fn every_hold_reason_is_explained_and_so_is_who_makes_it() {
    let rows = rows(Topic::Ledger, "Why a reward is held", "reason");
    let told: Vec<(String, bool)> =
        rows.iter().map(|row| (code(&row[0]).remove(0), plain(&row[1]) == "policy")).collect();
    let known: Vec<(String, bool)> =
        HoldReason::ALL.iter().map(|reason| (reason.to_string(), reason.is_policy())).collect();
    assert_eq!(told, known);
    let all_code: BTreeSet<String> = markdown::read(Topic::Decisions.text())
        .iter()
        .flat_map(|block| match block {
            Block::Heading(_, text) | Block::Paragraph(text) | Block::Item(_, text) => code(text),
            Block::Table(_, rows) => rows.iter().flatten().flat_map(|cell| code(cell)).collect(),
            Block::Code(..) => Vec::new(),
        })
        .collect();
    for reason in HoldReason::ALL {
        assert!(all_code.contains(reason.as_str()), "`decisions` does not say when {reason} is made");
    }
}

/// A ledger as this version makes it.
fn schema() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    drop(Ledger::open(&path, "12345", DateTime::UNIX_EPOCH).unwrap());
    (folder, Connection::open(path).unwrap())
}

fn column(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn columns(conn: &Connection, table: &str) -> Vec<String> {
    column(conn, &format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"))
}

/// The words that a CHECK lets into a column.
fn checked(conn: &Connection, table: &str, name: &str) -> BTreeSet<String> {
    let sql = column(conn, &format!("SELECT sql FROM sqlite_master WHERE name = '{table}'")).remove(0);
    let list = sql.split_once(&format!("CHECK ({name} IN")).unwrap_or_else(|| panic!("{table}.{name}: {sql}")).1;
    let list = list.split(')').next().unwrap();
    set(list.split('\'').skip(1).step_by(2))
}

#[test]
fn every_column_of_every_table_is_there_and_no_other() {
    let (_folder, conn) = schema();
    let mut documented = BTreeSet::new();
    for block in markdown::read(Topic::Ledger.text()) {
        let Block::Heading(2, heading) = block else { continue };
        let heading = plain(&heading);
        let Some(table) = heading.strip_prefix("Table ") else { continue };
        assert_eq!(set(words(Topic::Ledger, &heading, "column")), set(columns(&conn, table)), "{table}");
        documented.insert(table.to_owned());
    }
    let own = section(Topic::Ledger, "Views").into_iter().find_map(|block| match block {
        Block::Paragraph(text) if plain(&text).starts_with("The other tables") => Some(code(&text)),
        Block::Paragraph(_) | Block::Heading(..) | Block::Item(..) | Block::Code(..) | Block::Table(..) => None,
    });
    documented.extend(own.unwrap());
    let tables = column(&conn, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    assert_eq!(documented, set(tables));
}

#[test]
fn every_view_is_there_with_its_columns() {
    let (_folder, conn) = schema();
    let told: BTreeMap<String, Vec<String>> =
        rows(Topic::Ledger, "Views", "view").iter().map(|row| (code(&row[0]).remove(0), code(&row[1]))).collect();
    let views = column(&conn, "SELECT name FROM sqlite_master WHERE type = 'view'");
    let known: BTreeMap<String, Vec<String>> = views.iter().map(|view| (view.clone(), columns(&conn, view))).collect();
    assert_eq!(told, known);
}

#[test]
fn every_word_that_a_column_may_hold_is_explained() {
    let (_folder, conn) = schema();
    let told = |heading: &str, column: &str| set(words(Topic::Ledger, heading, column));
    assert_eq!(told("States", "state"), checked(&conn, "rewards", "state"));
    assert_eq!(told("Why a reward is held", "reason"), checked(&conn, "rewards", "hold_reason"));
    assert_eq!(told("Why a reward waits", "why"), checked(&conn, "rewards", "wait_reason"));
    assert_eq!(told("Drift", "drift"), checked(&conn, "rewards", "drift"));
    assert_eq!(told("Table rewards", "delivered_by"), checked(&conn, "rewards", "delivered_by"));
    assert_eq!(told("Table attempts", "outcome"), checked(&conn, "attempts", "outcome"));
    assert_eq!(told("Why a pass did not complete", "kind"), checked(&conn, "passes", "error_kind"));
    let triggers = [Trigger::Start, Trigger::Schedule, Trigger::Signal, Trigger::Command];
    let passes = rows(Topic::Ledger, "Table passes", "column");
    let trigger = passes.iter().find(|row| plain(&row[0]) == "trigger").unwrap();
    assert_eq!(code(&trigger[1]), triggers.map(Trigger::as_str));
}

#[test]
fn every_outcome_has_its_row_of_what_follows() {
    let detail = String::new;
    let outcomes = [
        Outcome::Delivered { receipt: None },
        Outcome::NotDelivered { detail: detail(), retry_after: None },
        Outcome::Unknown { detail: detail(), retry_after: None },
        Outcome::Refused { detail: detail() },
    ];
    let known: Vec<&str> = outcomes
        .iter()
        .inspect(|outcome| match outcome {
            // A new one belongs into the list above.
            Outcome::Delivered { .. }
            | Outcome::NotDelivered { .. }
            | Outcome::Unknown { .. }
            | Outcome::Refused { .. } => {}
        })
        .map(Outcome::as_str)
        .collect();
    assert_eq!(words(Topic::Decisions, "After an attempt", "outcome"), known);
}

#[test]
fn every_exit_code_is_explained() {
    let exits = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Attention, Exit::Busy];
    for exit in exits {
        match exit {
            // A new one belongs into the list above.
            Exit::Done | Exit::Failed | Exit::Usage | Exit::Attention | Exit::Busy => {}
        }
    }
    let codes: Vec<String> = exits.iter().map(|exit| (*exit as u8).to_string()).collect();
    assert_eq!(words(Topic::Operation, "Exit status", "code"), codes);
}

#[test]
fn every_signal_that_is_listened_for_is_explained() {
    let name = |kind: &str| match kind {
        "user_defined1" => "SIGUSR1",
        "user_defined2" => "SIGUSR2",
        "hangup" => "SIGHUP",
        "terminate" => "SIGTERM",
        "interrupt" => "SIGINT",
        // Its default is what is wanted, whatever makegood was started with.
        "child" => "SIGCHLD",
        other => panic!("SignalKind::{other}: name it here"),
    };
    let known: BTreeSet<String> =
        named_after("SignalKind::").iter().map(|kind| name(kind).to_owned()).filter(|name| name != "SIGCHLD").collect();
    assert_eq!(set(words(Topic::Operation, "Signals", "signal")), known);
}

#[test]
fn every_command_is_in_the_table_and_every_option_that_it_names_exists() {
    let command = Cli::command();
    let shown = |command: &&clap::Command| !command.is_hide_set();
    let mut known = BTreeSet::new();
    for one in command.get_subcommands().filter(shown) {
        let below: Vec<_> = one.get_subcommands().filter(shown).collect();
        if below.is_empty() {
            known.insert(one.get_name().to_owned());
        }
        known.extend(below.iter().map(|it| format!("{} {}", one.get_name(), it.get_name())));
    }
    let mut told = BTreeSet::new();
    for row in rows(Topic::Operation, "Commands", "command") {
        let line = code(&row[0]).remove(0);
        let name = line.split(' ').skip(1).take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
        let name: Vec<&str> = name.collect();
        let found = name.iter().try_fold(&command, |at, word| at.find_subcommand(word));
        let found = found.unwrap_or_else(|| panic!("there is no `{line}`"));
        let options = [code(&row[0]), code(&row[1])].concat();
        for option in options.iter().flat_map(|text| text.split([' ', '='])).filter_map(|word| word.strip_prefix("--"))
        {
            let has = |at: &clap::Command| at.get_arguments().any(|arg| arg.get_long() == Some(option));
            assert!(has(found) || has(&command), "`{line}` has no --{option}");
        }
        told.insert(name.join(" "));
    }
    assert_eq!(told, known);
}

#[test]
fn every_environment_variable_that_is_read_is_explained() {
    let told = set(words(Topic::Operation, "Environment", "variable"));
    let mut read = named_after("env::var(\"");
    read.extend(named_after("env::var_os(\""));
    read.extend(named_after("env = \""));
    for name in &read {
        assert!(told.contains(name), "{name} is read, and not explained");
    }
    let sources: String = sources().into_values().collect();
    // Read by systemd's, clap's or reqwest's own code, or named by a constant.
    let elsewhere =
        ["MAKEGOOD_SECTION__KEY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "HTTP_PROXY", "NO_PROXY"];
    for name in told.iter().filter(|name| !elsewhere.contains(&name.as_str())) {
        assert!(sources.contains(&format!("\"{name}\"")), "{name} is explained, and nothing reads it");
    }
}

#[test]
fn every_metric_is_explained() {
    let told = words(Topic::Operation, "Being noticed", "series");
    let told: BTreeSet<String> = told.iter().map(|series| series.split('{').next().unwrap().to_owned()).collect();
    let known: BTreeSet<String> = named_after("\"makegood_")
        .into_iter()
        .map(|name| format!("makegood_{name}"))
        .map(|name| {
            ["_bucket", "_sum", "_count"].iter().fold(name, |name, part| name.trim_end_matches(part).to_owned())
        })
        .filter(|name| name != "makegood_")
        .collect();
    assert_eq!(told, known);
}

#[test]
fn the_table_of_commands_names_every_topic() {
    let row =
        rows(Topic::Operation, "Commands", "command").into_iter().find(|row| plain(&row[0]) == "makegood help TOPIC");
    assert_eq!(code(&row.unwrap()[1]), Topic::ALL.map(Topic::as_str));
}

#[test]
fn every_variable_that_a_command_gets_is_explained() {
    let told = set(words(Topic::Delivery, "To a command target", "variable"));
    let sources = sources();
    let command: String =
        sources.iter().filter(|(path, _)| path.contains("delivery/command")).map(|(_, text)| text.as_str()).collect();
    let name = |rest: &str| format!("MAKEGOOD_{}", rest.split('"').next().unwrap_or_default());
    let given: BTreeSet<String> =
        command.split("(\"MAKEGOOD_").skip(1).map(name).filter(|it| it != "MAKEGOOD_").collect();
    assert!(!given.is_empty());
    assert_eq!(told.iter().filter(|name| name.starts_with("MAKEGOOD_")).cloned().collect::<BTreeSet<_>>(), given);
    for name in &told {
        assert!(command.contains(&format!("\"{name}\"")), "{name} is explained, and not given");
    }
}
