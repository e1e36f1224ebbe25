//! The columns `fingerprint`: the target of an attempt, so that a later configuration can be compared with it.

use std::collections::BTreeMap;

use rusqlite::named_params;

use super::{Change, Ledger, LedgerError};
use crate::{delivery::Fingerprint, domain::CommissionId};

impl Ledger {
    /// Gives a fingerprint to the attempts of 0.1, which kept none: that of the target that has their name now, or one that
    /// differs from every target where none has the name. Runs once, at the first command that may write; attempts of this
    /// version always have one.
    pub fn adopt_fingerprints(&self, targets: &BTreeMap<String, Fingerprint>) -> Result<(), LedgerError> {
        // The first attempt shows it for all, because they are adopted in one transaction.
        let lacks =
            "SELECT coalesce((SELECT fingerprint IS NULL FROM attempts WHERE id = (SELECT min(id) FROM attempts)), 0)";
        if !self.run(|conn| conn.query_row(lacks, [], |row| row.get::<_, bool>(0)))? {
            return Ok(());
        }
        self.write(|tx| {
            for table in ["rewards", "attempts"] {
                let adopt = format!(
                    "UPDATE {table} SET fingerprint = :fingerprint \
                     WHERE fingerprint IS NULL AND target IS NOT NULL AND (:target IS NULL OR target = :target)"
                );
                let mut adopt = tx.prepare(&adopt)?;
                for (target, fingerprint) in targets {
                    adopt.execute(named_params! {":target": target, ":fingerprint": fingerprint.as_str()})?;
                }
                let nobody = Fingerprint::unknown();
                adopt.execute(named_params! {":target": None::<String>, ":fingerprint": nobody.as_str()})?;
            }
            Ok(())
        })
    }
}

impl Change<'_> {
    /// Records the target of an attempt, in the transaction of [`Change::begin`].
    pub fn note_fingerprint(
        &self,
        id: CommissionId,
        attempt: u32,
        fingerprint: &Fingerprint,
    ) -> Result<(), LedgerError> {
        let fingerprint = fingerprint.as_str();
        self.sql(
            "UPDATE rewards SET fingerprint = :fingerprint WHERE commission_id = :id",
            named_params! {":id": id.0, ":fingerprint": fingerprint},
        )?;
        self.sql(
            "UPDATE attempts SET fingerprint = :fingerprint WHERE commission_id = :id AND attempt = :attempt",
            named_params! {":id": id.0, ":attempt": attempt, ":fingerprint": fingerprint},
        )?;
        Ok(())
    }
}
