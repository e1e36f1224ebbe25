//! Given a world, when a pass, then the ledger and the deliveries: the words that scenarios are written in.
//!
//! A [`World`] is a sandbox over HTTP, a folder with a configuration and (after the first pass) a real ledger file, and
//! the real binary. Commands run as children in an environment of their own; every wait is bounded.
//!
//! ```text
//! let world = given([commission(88901).points(500).approved(LONG_AGO)]);
//! world.once().exits(0);
//! assert_eq!(world.state_of(88901), "fulfilled");
//! world.then_nothing_more_happens();
//! ```
//!
//! Guarantees: the ledger is only ever read here, but for [`World::forge`]. Assumptions: no command leaves a child that
//! keeps its stdout or stderr open.

#![allow(dead_code, reason = "each scenario uses its part of the vocabulary")]

use std::{
    collections::BTreeMap,
    fmt,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, types::ValueRef};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::sandbox::{Commission, Sandbox};

/// Longer than any command here takes; a scenario that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// An approval whose grace period is long over.
pub(crate) const LONG_AGO: &str = "2025-01-19T10:30:00Z";

/// A sandbox, a configuration, a ledger, and the real binary.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    folder: TempDir,
    /// Appended to the sandbox's own configuration: targets, routes.
    extra_toml: String,
    /// Whether the secrets stand in the configuration file.
    secrets_in_file: bool,
    /// Configuration and whatever else the child is to see.
    env: BTreeMap<String, String>,
}

/// A world in which FirstPromoter has these commissions, and no pass has run yet.
pub(crate) fn given(commissions: impl IntoIterator<Item = Commission>) -> World {
    let world = World {
        sandbox: Sandbox::start(),
        folder: tempfile::tempdir().expect("a temporary folder"),
        extra_toml: String::new(),
        secrets_in_file: true,
        env: BTreeMap::new(),
    };
    world.sandbox.firstpromoter.add_all(commissions);
    world
}

/// What the world is like.
impl World {
    /// Sets a key of the configuration (`policy.grace`) for all commands from now on.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> &mut Self {
        self.env.insert(variable(key), value.to_owned());
        self
    }

    /// The key is as the file says again.
    pub(crate) fn unset(&mut self, key: &str) -> &mut Self {
        self.env.remove(&variable(key));
        self
    }

    /// Sets any other environment variable for all commands from now on (`RUST_LOG`, `CREDENTIALS_DIRECTORY`).
    pub(crate) fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Replaces what stands in the configuration after the sandbox's own part: more targets, `[[routes]]`.
    pub(crate) fn toml(&mut self, extra: &str) -> &mut Self {
        extra.clone_into(&mut self.extra_toml);
        self
    }

    /// The configuration file holds no secret any more.
    pub(crate) fn without_secrets(&mut self) -> &mut Self {
        self.secrets_in_file = false;
        self
    }

    /// Failed attempts may be repeated by the very next pass.
    pub(crate) fn without_backoff(&mut self) -> &mut Self {
        self.set("policy.retry.first", "0s")
    }

    /// A path in the world's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the world's folder; its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file in the temporary folder");
        path
    }

    /// A script that can be started by its name.
    ///
    /// A process of its own writes it. Suppose this one did: a child that another test starts at this moment would have the file
    /// open for writing, and nobody can start such a file ("Text file busy").
    pub(crate) fn program(&self, name: &str, content: &str) -> PathBuf {
        let path = self.file(&format!("{name}.text"), content);
        run_to_its_end(Command::new("cp").arg(path).arg(self.path(name)));
        run_to_its_end(Command::new("chmod").arg("755").arg(self.path(name)));
        self.path(name)
    }

    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.path("ledger.db")
    }
}

/// When something runs.
impl World {
    /// `makegood --config ... ARGS`, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let own = self.sandbox.config_toml(&self.ledger_path());
        let is_secret = |line: &&str| ["api_key", "secret", "bearer"].iter().any(|key| line.starts_with(key));
        let own: Vec<&str> = own.lines().filter(|line| self.secrets_in_file || !is_secret(line)).collect();
        let toml = format!(
            "{}
{}",
            own.join(
                "
"
            ),
            self.extra_toml
        );
        let config = self.path("makegood.toml");
        // Only what differs is written: another command may be reading it now.
        if std::fs::read_to_string(&config).unwrap_or_default() != toml {
            self.file("makegood.toml", &toml);
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_makegood"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .envs(&self.env)
            .current_dir(self.folder.path())
            .arg("--config")
            .arg(config)
            .args(args);
        command
    }

    /// Starts it and goes on.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args))
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.start(args).wait()
    }

    /// `makegood once --json`
    pub(crate) fn once(&self) -> Ran {
        self.run(&["once", "--json"])
    }

    /// `makegood once --json` and these.
    pub(crate) fn once_with(&self, args: &[&str]) -> Ran {
        self.run(&[&["once", "--json"], args].concat())
    }

    /// `makegood plan --json`
    pub(crate) fn plan(&self) -> Ran {
        self.run(&["plan", "--json"])
    }

    /// `makegood status --json`
    pub(crate) fn status(&self) -> Ran {
        self.run(&["status", "--json"])
    }

    /// `makegood show ID --json`
    pub(crate) fn show(&self, id: i64) -> Ran {
        self.run(&["show", &id.to_string(), "--json"])
    }

    /// One more pass: nothing is delivered, marked or written but the row in `passes`; its report.
    pub(crate) fn then_nothing_more_happens(&self) -> Ran {
        let (ledger, passes) = (self.dump(), self.passes().len());
        let (deliveries, writes) = (self.sandbox.merchant.requests(), self.sandbox.firstpromoter.writes());
        let ran = self.once();
        assert_eq!(ran.error(), "", "the pass after the last: {ran}");
        assert_eq!(self.sandbox.merchant.requests(), deliveries, "one more pass delivered: {ran}");
        assert_eq!(self.sandbox.firstpromoter.writes(), writes, "one more pass marked: {ran}");
        assert_eq!(self.passes().len(), passes + 1, "one pass, one row: {ran}");
        for (table, rows) in self.dump() {
            let before = &ledger[&table];
            let changed: Vec<_> = rows.iter().filter(|row| !before.contains(row)).collect();
            assert!(
                changed.is_empty() && rows.len() == before.len(),
                "one more pass changed {table}: {changed:#?} {ran}"
            );
        }
        ran
    }
}

/// Then the ledger.
impl World {
    /// The ledger, read-only.
    pub(crate) fn ledger(&self) -> Connection {
        let ledger = Connection::open_with_flags(self.ledger_path(), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("a pass has made a ledger");
        ledger.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        ledger
    }

    /// Rows of the ledger as JSON objects.
    pub(crate) fn query(&self, sql: &str) -> Vec<Value> {
        rows(&self.ledger(), sql)
    }

    /// Writes to the ledger past makegood, for what no clean pass leaves behind.
    pub(crate) fn forge(&self, sql: &str) {
        let ledger = Connection::open(self.ledger_path()).expect("the ledger");
        ledger.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        ledger.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The row of `rewards`; null where there is none.
    pub(crate) fn reward(&self, id: i64) -> Value {
        self.query(&format!("SELECT * FROM rewards WHERE commission_id = {id}")).pop().unwrap_or_default()
    }

    /// Its state; `none` where the ledger does not know it.
    pub(crate) fn state_of(&self, id: i64) -> String {
        self.reward(id)["state"].as_str().unwrap_or("none").to_owned()
    }

    /// Why it is held; `none` where it is not.
    pub(crate) fn hold_reason(&self, id: i64) -> String {
        self.reward(id)["hold_reason"].as_str().unwrap_or("none").to_owned()
    }

    /// The rows of `passes`, oldest first.
    pub(crate) fn passes(&self) -> Vec<Value> {
        self.query("SELECT * FROM passes ORDER BY id")
    }

    /// The newest row of `passes`.
    pub(crate) fn last_pass(&self) -> Value {
        self.passes().pop().expect("a pass has run")
    }

    /// Its rows of `journal`, oldest first.
    pub(crate) fn journal(&self, id: i64) -> Vec<Value> {
        self.query(&format!("SELECT * FROM journal WHERE commission_id = {id} ORDER BY id"))
    }

    /// The states that it went through, in order.
    pub(crate) fn way_of(&self, id: i64) -> Vec<String> {
        self.journal(id).iter().map(|row| row["to_state"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Its rows of `attempts`, oldest first.
    pub(crate) fn attempts(&self, id: i64) -> Vec<Value> {
        self.query(&format!("SELECT * FROM attempts WHERE commission_id = {id} ORDER BY id"))
    }

    /// The view `attention`: by commission, the reason.
    pub(crate) fn attention(&self) -> BTreeMap<i64, String> {
        let rows = self.query("SELECT commission_id, reason FROM attention");
        rows.iter()
            .map(|row| {
                (
                    row["commission_id"].as_i64().unwrap_or_default(),
                    row["reason"].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect()
    }

    /// All tables but `passes`, row by row.
    pub(crate) fn dump(&self) -> BTreeMap<String, Vec<Value>> {
        let ledger = self.ledger();
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN ('passes', 'counts')";
        rows(&ledger, tables)
            .iter()
            .filter_map(|row| row["name"].as_str())
            .map(|table| (table.to_owned(), rows(&ledger, &format!("SELECT * FROM {table} ORDER BY 1"))))
            .collect()
    }

    /// The files in the world's folder that begin with the ledger's name, with their content.
    pub(crate) fn ledger_files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.folder.path()).expect("the temporary folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let named = paths.map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path));
        // By another process: closing a database's file here would take the locks of this process' connections away.
        let content = |path: PathBuf| Command::new("cat").arg(path).output().expect("cat").stdout;
        named.filter(|(name, _)| name.starts_with("ledger.db")).map(|(name, path)| (name, content(path))).collect()
    }
}

fn rows(ledger: &Connection, sql: &str) -> Vec<Value> {
    let mut statement = ledger.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let found = statement.query_map([], |row| {
        names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let value = match row.get_ref(index)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => number.into(),
                    ValueRef::Real(number) => number.into(),
                    ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into(),
                };
                Ok((name.clone(), value))
            })
            .collect::<rusqlite::Result<Map<_, _>>>()
    });
    found.and_then(|rows| rows.map(|row| row.map(Value::Object)).collect()).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

fn variable(key: &str) -> String {
    format!("MAKEGOOD_{}", key.replace('.', "__").to_uppercase())
}

/// A command under way; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = read_to_end(child.stdout.take().expect("piped"));
        let stderr = read_to_end(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and its end is waited for.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("ours to kill");
        self.child.wait().expect("ours to wait for");
    }

    /// Sends a signal by name (`USR1`, `TERM`).
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill").success(), "signal {name}");
    }

    /// Waits for its end, which both pipes being closed announces.
    pub(crate) fn wait(self) -> Ran {
        self.wait_while_it_goes_on(|| 0)
    }

    /// Waits for its end for as long as `progress` changes now and then, however slow this machine is.
    pub(crate) fn wait_while_it_goes_on(mut self, progress: impl Fn() -> u64) -> Ran {
        let mut seen = progress();
        let stdout = loop {
            match self.stdout.recv_timeout(PATIENCE) {
                Err(RecvTimeoutError::Timeout) if progress() != seen => seen = progress(),
                ended => break ended,
            }
        };
        let ended = stdout.and_then(|out| Ok((out, self.stderr.recv_timeout(PATIENCE)?)));
        let Ok((stdout, stderr)) = ended else {
            self.kill();
            let stderr = self.stderr.recv_timeout(PATIENCE).unwrap_or_default();
            panic!("the command had not ended after {PATIENCE:?}; its stderr: {stderr}");
        };
        let status = self.child.wait().expect("ours to wait for");
        Ran::new(status, stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read_to_end(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        sender.send(String::from_utf8_lossy(&bytes).into_owned()).ok();
    });
    receiver
}

/// What a command left behind.
pub(crate) struct Ran {
    /// The exit code; -1 where a signal ended it.
    pub(crate) exit: i32,
    /// stdout as JSON; null where it is none.
    pub(crate) json: Value,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn new(status: ExitStatus, stdout: String, stderr: String) -> Self {
        let json = serde_json::from_str(&stdout).unwrap_or_default();
        Self { exit: status.code().unwrap_or(-1), json, stdout, stderr }
    }

    /// It must have ended with this code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.exit, code, "{self}");
        self
    }

    /// A number of the report; panics where there is none.
    #[track_caller]
    pub(crate) fn count(&self, field: &str) -> u64 {
        self.json[field].as_u64().unwrap_or_else(|| panic!("no number {field}: {self}"))
    }

    /// The report's `error`; empty where it is null.
    pub(crate) fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }

    /// The report's line about one commission, from `rewards` or `decisions`; null where there is none.
    pub(crate) fn line(&self, id: i64) -> Value {
        let lines = ["rewards", "decisions"].iter().filter_map(|list| self.json[list].as_array()).flatten();
        lines.into_iter().find(|line| line["commission_id"] == id).cloned().unwrap_or_default()
    }

    /// The ids that the report has lines about, in order.
    pub(crate) fn ids(&self) -> Vec<i64> {
        let lines = ["rewards", "decisions"].iter().filter_map(|list| self.json[list].as_array()).flatten();
        lines.filter_map(|line| line["commission_id"].as_i64()).collect()
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}\n--- stderr\n{}", self.exit, self.stdout, self.stderr)
    }
}

/// Copies a program so that it can be started at once, as [`World::program`] tells.
pub(crate) fn copy_program(from: &str, to: &Path) {
    run_to_its_end(Command::new("cp").arg(from).arg(to));
}

#[track_caller]
fn run_to_its_end(command: &mut Command) {
    let ended = command.status().expect("a program of coreutils");
    assert!(ended.success(), "{command:?}: {ended}");
}
