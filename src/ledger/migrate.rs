//! Brings a ledger to the current schema.
//!
//! Guarantees:
//! - All pending migrations are one transaction: wherever the process is killed, a ledger has the old schema or the new one.
//! - A migration may make a table anew. Foreign keys are off meanwhile, and are checked before the commit.
//! - First, a copy of the old ledger is made beside it (`ledger.db.before-N`, N the new schema), under the same write lock, so
//!   that nothing is written between the copy and the migration.
//! - No ledger is migrated while a pass runs on it. A process of an earlier version that has it open finds out before its next
//!   pass ([`Ledger::require_in_place`]).
//! - A ledger from an earlier version gets the same schema as a new one: both go through every migration, and views and guards
//!   are made anew after the last.

use std::{fs, path::PathBuf, sync::OnceLock, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{
    APPLICATION_ID, Ledger, LedgerError,
    fence::{Object, schema},
    files, lock, with_suffix,
};
use crate::domain::Timestamp;

/// Each brings `user_version` from its index to the next.
pub(super) const MIGRATIONS: [&str; 6] = [
    include_str!("migrations/0001-initial.sql"),
    include_str!("migrations/0002-alerts.sql"),
    include_str!("migrations/0003-rewards-rebuilt.sql"),
    include_str!("migrations/0004-kinds-of-failures.sql"),
    include_str!("migrations/0005-why-a-reward-waits.sql"),
    include_str!("migrations/0006-fast-at-any-size.sql"),
];
/// Not part of any migration: they are made after the tables, and are always the current ones. If you change one of these files
/// together with a new migration, keep a copy of it for the version before ([`views_and_guards`]).
const VIEWS: &str = include_str!("migrations/views.sql");
const GUARDS: &str = include_str!("migrations/guards.sql");
const COUNTS: &str = include_str!("migrations/counts.sql");
const CURRENT: [&str; 3] = [VIEWS, GUARDS, COUNTS];

/// The schema that this program reads and writes.
pub(super) fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The views, guards and counts of a version; none where its migrations contain them.
fn views_and_guards(version: i64) -> Option<[&'static str; 3]> {
    match version {
        ..=2 => None,
        3 => Some([include_str!("migrations/0003-views.sql"), GUARDS, ""]),
        4 | 5 => Some([include_str!("migrations/0005-views.sql"), GUARDS, ""]),
        _ => Some(CURRENT),
    }
}

/// The objects of a ledger of this version. Older versions have them as they were released, views and guards included.
pub(super) fn known_schema(version: i64) -> rusqlite::Result<Vec<Object>> {
    static CURRENT: OnceLock<Vec<Object>> = OnceLock::new();
    let current = version == known_version();
    if let (true, Some(known)) = (current, CURRENT.get()) {
        return Ok(known.clone());
    }
    let conn = Connection::open_in_memory()?;
    conn.pragma_update(None, "foreign_keys", false)?;
    if current {
        bring_up(&conn, 0, &MIGRATIONS)?;
        let known = schema(&conn)?;
        return Ok(CURRENT.get_or_init(|| known).clone());
    }
    let until = usize::try_from(version).unwrap_or_default().min(MIGRATIONS.len());
    let migrations = &MIGRATIONS[..until];
    if let Some(of_its_time) = views_and_guards(version) {
        make_tables(&conn, 0, migrations)?;
        make_anew(&conn, of_its_time)?;
    } else {
        migrations.iter().try_for_each(|sql| conn.execute_batch(sql))?;
    }
    schema(&conn)
}

impl Ledger {
    /// Brings the ledger to the current schema if it has an older one. `pause` waits for as long as it is told.
    ///
    /// Suppose the service still runs the version before an update, and is in the middle of a delivery. A handler's `makegood
    /// claim` of the new version must not change the schema now: the service could not write the outcome. So it waits for the
    /// pass to end.
    pub(super) fn migrate(&self, now: Timestamp, pause: impl Fn(Duration)) -> Result<(), LedgerError> {
        let found = self.version()?;
        if found == known_version() {
            return Ok(());
        }
        let _no_pass_runs = match found {
            0 => None,
            _ => Some(
                lock::acquire_to_migrate(&self.path, now, pause)
                    .map_err(|source| LedgerError::NotMigrated { path: self.path.clone(), source })?,
            ),
        };
        // SQLite ignores this inside a transaction. With foreign keys on, a table that others refer to could not be dropped.
        self.run(|conn| conn.pragma_update(None, "foreign_keys", false))?;
        let migrated = self.migrate_with(&MIGRATIONS);
        let guarded_again = self.run(|conn| conn.pragma_update(None, "foreign_keys", true));
        migrated.and(guarded_again)
    }

    /// Call it with foreign keys off.
    pub(super) fn migrate_with(&self, migrations: &[&str]) -> Result<(), LedgerError> {
        let explain = |source| self.explain(source);
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate).map_err(explain)?;
        // Reads again under the lock: another process may have migrated in the meantime.
        let from: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(explain)?;
        let to = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        if from >= to {
            return Ok(());
        }
        let kept = if from > 0 && self.file.is_some() { Some(self.keep_as_it_was(to)?) } else { None };
        let migrated = bring_up(&tx, from, migrations).map_err(explain).and_then(|orphans| match orphans {
            None => tx.commit().map_err(explain),
            Some(table) => Err(LedgerError::Orphans { path: self.path.clone(), table }),
        });
        match (&migrated, kept) {
            (Ok(()), Some(kept)) => tracing::warn!(
                "the ledger {} was brought from schema {from} to {to}; as it was, it lies at {}: remove that when all is well",
                self.path.display(),
                kept.display()
            ),
            // The migration failed and the next start tries again: copies must not pile up.
            (Err(_), Some(kept)) => drop(fs::remove_file(kept)),
            (Ok(()) | Err(_), None) => {}
        }
        migrated
    }

    /// Copies the ledger beside itself under a free name.
    fn keep_as_it_was(&self, to: i64) -> Result<PathBuf, LedgerError> {
        // SQLite copies nothing through a connection that holds the write lock.
        let as_it_is = Self::open_uri(&self.path, "mode=rw")?;
        let mut name = with_suffix(&self.path, &format!(".before-{to}"));
        let mut further = 1;
        loop {
            match as_it_is.back_up_to(&name, |path| files::create(path, files::FILE_MODE)) {
                Ok(_) => return Ok(name),
                // It is from an earlier try, or from an older ledger that was put back. Either way it may be somebody's only
                // copy.
                Err(LedgerError::Exists { .. }) => {
                    further += 1;
                    name = with_suffix(&self.path, &format!(".before-{to}.{further}"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Runs the migrations from `from` on. Returns a table with a row that refers to a missing one, if there is any.
fn bring_up(tx: &Connection, from: i64, migrations: &[&str]) -> rusqlite::Result<Option<String>> {
    make_tables(tx, from, migrations)?;
    make_anew(tx, CURRENT)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", i64::try_from(migrations.len()).unwrap_or(i64::MAX))?;
    let mut check = tx.prepare("PRAGMA foreign_key_check")?;
    let mut orphans = check.query([])?;
    orphans.next()?.map(|row| row.get("table")).transpose()
}

fn make_tables(tx: &Connection, from: i64, migrations: &[&str]) -> rusqlite::Result<()> {
    let pending = usize::try_from(from).unwrap_or(usize::MAX);
    for sql in migrations.iter().skip(pending) {
        // Views may name tables that a migration drops, and SQLite renames no table while a view refers to a missing one.
        drop_views_and_guards(tx)?;
        tx.execute_batch(sql)?;
    }
    Ok(())
}

fn make_anew(tx: &Connection, views_and_guards: [&str; 3]) -> rusqlite::Result<()> {
    drop_views_and_guards(tx)?;
    views_and_guards.iter().try_for_each(|sql| tx.execute_batch(sql))
}

fn drop_views_and_guards(tx: &Connection) -> rusqlite::Result<()> {
    let found: Vec<(String, String)> = tx
        .prepare("SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'trigger')")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (kind, name) in found {
        tx.execute_batch(&format!("DROP {kind} \"{}\"", name.replace('"', "\"\"")))?;
    }
    Ok(())
}
