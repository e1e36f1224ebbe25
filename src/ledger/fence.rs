//! Limits what a planted ledger can do: it cannot run code that is not ours, keep a reader for ever, or fill the memory.
//!
//! Guarantees: before anything else is read from a ledger, its schema is compared object by object with the schema of its
//! version. No view, trigger or table of somebody else's is ever run. Functions in a schema are not trusted (`trusted_schema`
//! off), and nobody can write to the schema itself (defensive mode). No query takes more than a bounded number of steps, and no
//! value has more than [`LENGTH_MAX`] bytes.
//!
//! Assumptions: SQLite itself may have bugs that a hostile file can use. The limits are far beyond any ledger of makegood's: a
//! query reads a few columns of some million rows.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rusqlite::{Connection, config::DbConfig, limits::Limit};

/// The longest text, blob or row. The longest that makegood itself passes in is a list of ids.
const LENGTH_MAX: i32 = 64 * 1024 * 1024;
/// How many steps of SQLite's machine run between two checks.
const STEPS_A_LOOK: i32 = 1_000_000;
/// This takes minutes on a slow machine.
const LOOKS_MAX: u64 = 10_000;
/// More objects than any version has.
const OBJECTS_MAX: i64 = 500;

/// How long the present query has run, in checks.
#[derive(Debug, Clone, Default)]
pub(super) struct Patience(Arc<AtomicU64>);

impl Patience {
    /// Starts the count for another query.
    pub(super) fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Sets the limits. Call it before any query.
pub(super) fn put_around(conn: &mut Connection) -> rusqlite::Result<Patience> {
    put_with(conn, STEPS_A_LOOK, LOOKS_MAX)
}

fn put_with(conn: &mut Connection, steps_a_look: i32, looks_max: u64) -> rusqlite::Result<Patience> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, LENGTH_MAX)?;
    let patience = Patience::default();
    let looks = Arc::clone(&patience.0);
    conn.progress_handler(steps_a_look, Some(move || looks.fetch_add(1, Ordering::Relaxed) >= looks_max))?;
    Ok(patience)
}

/// A table, an index, a view or a trigger: its type, name and text.
pub(super) type Object = (String, String, String);

/// All objects of a database that a statement made, in order.
pub(super) fn schema(conn: &Connection) -> rusqlite::Result<Vec<Object>> {
    // SQLite makes some itself: the numbers of AUTOINCREMENT, and the results of ANALYZE. Indexes of constraints have no text.
    conn.prepare(
        "SELECT type, name, sql FROM sqlite_schema \
         WHERE name NOT IN ('sqlite_sequence', 'sqlite_stat1', 'sqlite_stat4') AND NOT (type = 'index' AND sql IS NULL) \
         ORDER BY type, name LIMIT ?1",
    )?
    .query_map([OBJECTS_MAX], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<String>>(2)?.unwrap_or_default())))?
    .collect()
}

/// The first difference, in words.
pub(super) fn difference(found: &[Object], known: &[Object]) -> Option<String> {
    let named = |(kind, name, _): &Object| {
        let name: String = name.chars().filter(|it| !it.is_control()).take(60).collect();
        format!("{} {name:?}", if kind.len() < 10 { kind } else { "object" })
    };
    let same = |one: &Object, other: &Object| one.0 == other.0 && one.1 == other.1;
    let odd = found.iter().find_map(|object| match known.iter().find(|known| same(known, object)) {
        None => Some(format!("holds the {}, which makegood does not know", named(object))),
        Some(known) if known.2 != object.2 => Some(format!("holds another {} than makegood makes", named(object))),
        Some(_) => None,
    });
    odd.or_else(|| {
        let missing = known.iter().find(|known| !found.iter().any(|object| same(known, object)))?;
        Some(format!("lacks the {}", named(missing)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_query_is_ended_and_the_next_one_has_its_own_limit() {
        let mut conn = Connection::open_in_memory().unwrap();
        let patience = put_with(&mut conn, 1000, 10).unwrap();
        let count = |to: u64| {
            patience.begin();
            let sql =
                format!("WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {to}) SELECT count(*) FROM n");
            conn.query_row(&sql, [], |row| row.get::<_, i64>(0))
        };
        assert!(count(100).is_ok());
        let endless = count(u64::from(u32::MAX)).unwrap_err();
        assert_eq!(endless.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
        assert!(count(100).is_ok());
    }

    #[test]
    fn a_value_that_is_too_long_is_not_read_into_memory() {
        let mut conn = Connection::open_in_memory().unwrap();
        put_around(&mut conn).unwrap();
        let blob = |size: i64| conn.query_row("SELECT zeroblob(?1)", [size], |row| row.get::<_, Vec<u8>>(0));
        assert!(blob(1000).is_ok());
        let error = blob(900_000_000).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::TooBig));
    }

    #[test]
    fn every_difference_of_a_schema_is_found_and_named() {
        let of = |sql: &str| {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(sql).unwrap();
            schema(&conn).unwrap()
        };
        let known = of("CREATE TABLE a (x UNIQUE); CREATE VIEW v AS SELECT x FROM a");
        assert_eq!(difference(&known, &known), None);
        for (sql, words) in [
            ("CREATE TABLE a (x UNIQUE); CREATE VIEW v AS SELECT 1 FROM a", "another view \"v\""),
            ("CREATE TABLE a (x UNIQUE)", "lacks the view \"v\""),
            (
                "CREATE TABLE a (x UNIQUE); CREATE VIEW v AS SELECT x FROM a; CREATE INDEX i ON a (x)",
                "the index \"i\", which",
            ),
            ("", "lacks the table \"a\""),
        ] {
            let found = difference(&of(sql), &known).unwrap();
            assert!(found.contains(words), "{found}");
        }
    }
}
