//! Reads the ledger as an outside reader does: over its own connection, in plain SQL, as `src/manual/ledger.md` describes.
//!
//! The auditor, the webhook handler and the operators use it. It uses nothing of `makegood::ledger`.

use std::{cell::RefCell, collections::BTreeMap, fmt::Write, path::Path};

use makegood::domain::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, types::ValueRef};

/// A row of `rewards`.
#[derive(Debug, Clone)]
pub struct Reward {
    pub id: i64,
    pub state: String,
    pub unit: Option<String>,
    pub amount: Option<i64>,
    pub recipient: Option<String>,
    pub promoter: Option<i64>,
    pub referral: Option<i64>,
    pub target: Option<String>,
    pub key: String,
    pub attempts: i64,
    pub uncertain: bool,
    pub hold_reason: Option<String>,
    pub delivered_by: Option<String>,
    pub delivered_at: Option<Timestamp>,
    pub fulfilled_at: Option<Timestamp>,
    pub drift: Option<String>,
}

/// A row of `attempts`.
#[derive(Debug)]
pub struct Attempt {
    pub id: i64,
    pub number: i64,
    pub outcome: Option<String>,
}

/// A row of `journal`.
#[derive(Debug)]
pub struct Entry {
    pub id: i64,
    pub at: Timestamp,
    pub from: Option<String>,
    pub to: String,
}

/// A row of the view `attention`.
#[derive(Debug)]
pub struct Attention {
    pub id: i64,
    pub reason: Option<String>,
    pub what_to_do: Option<String>,
}

pub struct Witness {
    pub conn: RefCell<Connection>,
}

impl Witness {
    pub fn open(path: &Path) -> Self {
        Self { conn: RefCell::new(connect(path)) }
    }

    /// Opens the ledger again, because another file lies there now.
    pub fn replace(&self, replace: impl FnOnce(), path: &Path) {
        let nowhere = Connection::open_in_memory().expect("a database in memory");
        drop(self.conn.replace(nowhere));
        replace();
        *self.conn.borrow_mut() = connect(path);
    }

    /// Whether the intent to deliver this commission to this target is on disk.
    pub fn intends(&self, id: i64, target: &str) -> bool {
        let sql = "SELECT count(*) FROM rewards JOIN attempts ON attempts.commission_id = rewards.commission_id \
                   AND attempt = attempts.attempt AND attempts.attempt = rewards.attempts \
                   WHERE rewards.commission_id = ?1 AND state = 'delivering' AND rewards.target = ?2 AND attempts.target = ?2 \
                   AND outcome IS NULL";
        let rows: Vec<i64> = self.query(sql, &[&id, &target], |row| row.get(0));
        rows == [1]
    }

    /// The number of attempts of this commission, including one under way.
    pub fn attempt(&self, id: i64) -> i64 {
        let sql = "SELECT attempts FROM rewards WHERE commission_id = ?1";
        self.query(sql, &[&id], |row| row.get(0)).pop().unwrap_or_default()
    }

    /// The latest ids that FirstPromoter confirmed; first those that it was not seen to contradict.
    pub fn canaries(&self) -> Vec<i64> {
        let sql = "SELECT commission_id FROM rewards WHERE state = 'fulfilled' \
                   ORDER BY drift IS NOT NULL, fulfilled_at DESC LIMIT 3";
        self.query(sql, &[], |row| row.get(0))
    }

    pub fn rewards(&self) -> BTreeMap<i64, Reward> {
        let rows = self.query("SELECT * FROM rewards ORDER BY commission_id", &[], |row| {
            Ok(Reward {
                id: row.get("commission_id")?,
                state: row.get("state")?,
                unit: row.get("unit")?,
                amount: row.get("amount")?,
                recipient: row.get("recipient")?,
                promoter: row.get("promoter_id")?,
                referral: row.get("referral_id")?,
                target: row.get("target")?,
                key: row.get("key")?,
                attempts: row.get("attempts")?,
                uncertain: row.get("uncertain")?,
                hold_reason: row.get("hold_reason")?,
                delivered_by: row.get("delivered_by")?,
                delivered_at: time(row, "delivered_at")?,
                fulfilled_at: time(row, "fulfilled_at")?,
                drift: row.get("drift")?,
            })
        });
        rows.into_iter().map(|row| (row.id, row)).collect()
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.query("SELECT commission_id, attempt, outcome FROM attempts ORDER BY id", &[], |row| {
            Ok(Attempt { id: row.get(0)?, number: row.get(1)?, outcome: row.get(2)? })
        })
    }

    pub fn journal(&self) -> Vec<Entry> {
        self.query("SELECT commission_id, at, from_state, to_state FROM journal ORDER BY id", &[], |row| {
            let at = time(row, "at")?.unwrap_or_default();
            Ok(Entry { id: row.get(0)?, at, from: row.get(2)?, to: row.get(3)? })
        })
    }

    pub fn attention(&self) -> Vec<Attention> {
        self.query("SELECT commission_id, reason, what_to_do FROM attention", &[], |row| {
            Ok(Attention { id: row.get(0)?, reason: row.get(1)?, what_to_do: row.get(2)? })
        })
    }

    pub fn passes_without_end(&self) -> Vec<i64> {
        self.query("SELECT id FROM passes WHERE finished IS NULL", &[], |row| row.get(0))
    }

    /// When the passes ended, in order.
    pub fn passes_finished(&self) -> Vec<Timestamp> {
        let finished = |row: &Row<'_>| Ok(time(row, "finished")?.unwrap_or_default());
        self.query("SELECT finished FROM passes WHERE finished IS NOT NULL ORDER BY finished", &[], finished)
    }

    /// The error of the last pass, if it had one.
    pub fn last_error(&self) -> Option<String> {
        self.query("SELECT error FROM last_pass", &[], |row| row.get(0)).pop().flatten()
    }

    /// Everything but `passes`, as text.
    pub fn dump(&self) -> String {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('passes', 'counts') AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let tables: Vec<String> = self.query(sql, &[], |row| row.get(0));
        let mut dump = String::new();
        for table in tables {
            let _infallible = writeln!(dump, "{table}");
            for row in self.query(&format!("SELECT * FROM {table}"), &[], line) {
                let _infallible = writeln!(dump, "  {row}");
            }
        }
        dump
    }

    pub fn query<T>(
        &self,
        sql: &str,
        params: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let conn = self.conn.borrow();
        let mut statement = conn.prepare_cached(sql).expect("sound SQL");
        let rows = statement.query_map(params, read).expect("a query that runs");
        rows.collect::<Result<_, _>>().expect("rows that can be read")
    }

    pub fn execute(&self, sql: &str, params: &[&dyn ToSql]) -> usize {
        self.conn.borrow().prepare_cached(sql).and_then(|mut it| it.execute(params)).expect("a statement that runs")
    }

    /// Several statements as one transaction.
    pub fn transaction<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> T {
        self.try_transaction(work).expect("statements that run")
    }

    /// The same, for statements that the ledger may refuse.
    pub fn try_transaction<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let mut conn = self.conn.borrow_mut();
        let tx =
            conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).expect("the ledger is not locked");
        let done = work(&tx)?;
        tx.commit().expect("a commit that succeeds");
        Ok(done)
    }
}

fn connect(path: &Path) -> Connection {
    let conn = Connection::open(path).expect("the ledger can be opened");
    // As makegood does; nothing has to survive a power cut here.
    conn.pragma_update(None, "foreign_keys", true).expect("a pragma");
    conn.pragma_update(None, "synchronous", "OFF").expect("a pragma");
    conn.set_prepared_statement_cache_capacity(64);
    conn
}

/// The only row, if there is one.
pub fn row<T>(
    conn: &Connection,
    sql: &str,
    params: &[&dyn ToSql],
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    conn.prepare_cached(sql)?.query_row(params, read).optional()
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.map(|text| text.parse().expect("RFC 3339")))
}

fn line(row: &Row<'_>) -> rusqlite::Result<String> {
    let columns = row.as_ref().column_count();
    let mut line = String::new();
    for index in 0..columns {
        let separator = if index == 0 { "" } else { "|" };
        let _infallible = match row.get_ref(index)? {
            ValueRef::Null => write!(line, "{separator}"),
            ValueRef::Integer(number) => write!(line, "{separator}{number}"),
            ValueRef::Real(number) => write!(line, "{separator}{number}"),
            ValueRef::Text(text) | ValueRef::Blob(text) => write!(line, "{separator}{}", String::from_utf8_lossy(text)),
        };
    }
    Ok(line)
}
