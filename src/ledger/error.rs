//! Everything that can go wrong with the ledger. Each message says what to do.

use std::path::PathBuf;

use thiserror::Error;

use super::{Forgot, LockError, RewardState};
use crate::domain::CommissionId;

/// Why the ledger could not be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// There is no ledger, and this command does not create one.
    #[error(
        "there is no ledger at {path}: no pass has run yet, or `ledger.path` points elsewhere. \
         `makegood once` or `makegood run` creates it"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The folder does not exist. It is not created, because an unmounted disk looks the same.
    #[error(
        "the folder of the ledger {path} does not exist. If it lies on a disk of its own, mount it; otherwise create the \
         folder. It is not created by itself: a new, empty ledger in the wrong place forgets every delivery"
    )]
    NoFolder {
        /// The ledger's path.
        path: PathBuf,
    },
    /// This user may not even look into its folder.
    #[error(
        "this user may not look at the ledger {path}: do it as a user of its folder's group (`adduser YOU makegood`, then log in \
         again, where the package made the folder) or as root; if this is the service, give the folder to its user"
    )]
    Forbidden {
        /// The ledger's path.
        path: PathBuf,
    },
    /// A link leads to it that neither root nor its owner made.
    #[error(
        "the ledger {path} is reached through the link {link}, which uid {uid} made; only links of root and of the ledger's owner (uid \
         {owner}) are followed. Set `ledger.path` to the file itself, or find out who made the link, and remove it"
    )]
    Link {
        /// The path as it was given.
        path: PathBuf,
        /// The link.
        link: PathBuf,
        /// Who made it.
        uid: u32,
        /// Who owns the ledger that it leads to, or the folder where it would be made.
        owner: u32,
    },
    /// Root could not become the owner of a folder.
    #[error(
        "root works in the folder {folder} as its owner, uid {uid}, and could not become that user: run it as that user \
         (`sudo -u '#{uid}' makegood ...`), or give the folder to root"
    )]
    CannotBecome {
        /// The folder.
        folder: PathBuf,
        /// Its owner.
        uid: u32,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be opened, made or written, apart from SQLite's own errors.
    #[error(
        "cannot {doing} {path}: check that the path is right, that this user may write there, and that the disk has room"
    )]
    File {
        /// What was tried, for example `create`.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The place for the copy is taken.
    #[error("{path} exists already and is not overwritten: name another file, or remove it")]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// It belongs to another account.
    #[error(
        "the ledger {path} belongs to account {found}, and the configuration names account {wanted}. \
         Give each account a ledger of its own (`ledger.path`), or correct `firstpromoter.account_id`"
    )]
    OtherAccount {
        /// Which ledger.
        path: PathBuf,
        /// The account that it is bound to.
        found: String,
        /// The account in the configuration.
        wanted: String,
    },
    /// A later version wrote it.
    #[error(
        "the ledger {path} has schema version {found}, and this makegood knows versions up to {known}. \
         Run the newer makegood that wrote it; if that is installed here and this is the service: `systemctl restart makegood`"
    )]
    Newer {
        /// Which ledger.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// An SQLite file that is not ours.
    #[error("{path} is an SQLite database, but not a makegood ledger. Point `ledger.path` at a file of its own")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Somebody changed its schema.
    #[error(
        "the ledger {path} {what}. Nothing is read from it, nor delivered. If you made that, take it out again (a copy of the \
         ledger is the place for views and indexes of your own); else keep the file, find out who wrote to it, and restore the latest backup"
    )]
    Altered {
        /// Which ledger.
        path: PathBuf,
        /// The first difference: `holds the view "x", which makegood does not know`.
        what: String,
    },
    /// A query takes too long, or a value is larger than any of ours.
    #[error(
        "the ledger {path} holds something that is larger, or takes longer to read, than anything that makegood writes. Nothing is \
         delivered. Keep the file, find out who wrote to it, and restore the latest backup"
    )]
    Unbounded {
        /// Which ledger.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// It has the schema of an earlier makegood, and a pass runs on it.
    #[error(
        "the ledger {path} has the schema of an earlier makegood, and is brought up to date only while no pass runs on it: an earlier \
         makegood could not write its outcomes into a newer ledger. If the service was not restarted since the update: \
         `systemctl restart makegood`"
    )]
    NotMigrated {
        /// Which ledger.
        path: PathBuf,
        /// Who holds the pass.
        #[source]
        source: LockError,
    },
    /// It is to be replaced, but somebody has it open.
    #[error(
        "the ledger {path} is open in another program, most often the service: `systemctl stop makegood`, then try again \
         (`fuser {path}` shows who has it open). Nothing is changed"
    )]
    InUse {
        /// Which ledger.
        path: PathBuf,
    },
    /// It was restored from an old backup, or begun anew in place of another.
    #[error(
        "the ledger {path} is behind its mark: it ends at journal entry {ledger}, and had come to entry {mark} of {mark_at}, which it does not have. It was restored \
         from an old backup, or removed, and may have forgotten deliveries. Nothing is delivered. Put the latest copy back; or look at \
         what is at stake and accept it as it is: `makegood ledger accept`"
    )]
    Behind {
        /// Which ledger.
        path: PathBuf,
        /// Where it ends.
        ledger: i64,
        /// How far it had come.
        mark: i64,
        /// When it was there; RFC 3339 UTC.
        mark_at: String,
    },
    /// It lacks its mark: the mark was left behind, or is gone.
    #[error(
        "the ledger {path} knows deliveries, and its mark ({mark}) is not beside it: it was moved or restored without it, and may have \
         forgotten deliveries. Nothing is delivered. Look at what is at stake and accept it as it is: `makegood ledger accept`"
    )]
    NoMark {
        /// Which ledger.
        path: PathBuf,
        /// Where the mark should lie.
        mark: PathBuf,
    },
    /// Its stamp says that it may have forgotten deliveries.
    #[error(
        "the ledger {path} {}. It may have forgotten deliveries, and nothing is delivered. Put the latest ledger with its mark in its \
         place; or look at what is at stake and accept it as it is: `makegood ledger accept`",
        said(*.why, .ends_at)
    )]
    Stamped {
        /// Which ledger.
        path: PathBuf,
        /// How that was found out.
        why: Forgot,
        /// The time of its last journal entry then; RFC 3339 UTC.
        ends_at: String,
    },
    /// Another file is in its place now.
    #[error(
        "the ledger {path} was replaced while it was open: what would be recorded now would go to the file that is gone. \
         Nothing is delivered. Restart makegood, so that it opens the one that is there"
    )]
    Replaced {
        /// Where it should lie.
        path: PathBuf,
    },
    /// An earlier version wrote it, and this command only reads.
    #[error(
        "the ledger {path} has schema version {found}, and is to be brought to {known} first: the next pass does that"
    )]
    Older {
        /// Which ledger.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The version that this program reads.
        known: i64,
    },
    /// Rows refer to rows that do not exist. No version of makegood writes that.
    #[error(
        "the ledger {path} is left at its earlier schema: its table {table} refers to rows that it does not hold, which no version of \
         makegood writes. Nothing is delivered. Restore the latest backup"
    )]
    Orphans {
        /// Which ledger.
        path: PathBuf,
        /// The table with such a row.
        table: String,
    },
    /// The mark beside the ledger is not what makegood writes.
    #[error(
        "the mark {path} beside the ledger cannot be understood, so it cannot be told whether the ledger is an old copy. Nothing is \
         delivered. Restore the mark, or look at what is at stake and accept the ledger as it is: `makegood ledger accept`"
    )]
    BadMark {
        /// The mark's file.
        path: PathBuf,
    },
    /// Somebody held a write lock for too long.
    #[error(
        "the ledger {path} stayed locked by another program for {waited_s} s: most often a `sqlite3` shell or a script with an open \
         write transaction. End it (`fuser {path}` shows who has it open) and try again"
    )]
    Locked {
        /// Which ledger.
        path: PathBuf,
        /// How long makegood waited.
        waited_s: u64,
    },
    /// The file is damaged.
    #[error(
        "the ledger {path} is damaged, or not an SQLite file. Nothing is delivered from a damaged ledger. Keep the file, and restore \
         the latest backup; see `makegood help operation`"
    )]
    Damaged {
        /// Which ledger.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// No space left, or a quota.
    #[error(
        "the ledger {path} cannot grow: the disk is full, or a quota is reached. Make room; nothing is delivered until then"
    )]
    Full {
        /// Which ledger.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// No right to write, a read-only file system, or no room for a file beside the ledger. SQLite does not say which.
    #[error(
        "the ledger {path} cannot be written: give this user the right to write the file and its folder, on a disk that is mounted \
         read-write and has room. Nothing is delivered until then"
    )]
    ReadOnly {
        /// Which ledger.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// The disk failed, or had no room where SQLite cannot tell (an `fsync`).
    #[error(
        "the disk failed the ledger {path}: see that it has room, and what the system's log (`dmesg`) says of it. Nothing is delivered \
         until it works again"
    )]
    Disk {
        /// Which ledger.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// Any other error of SQLite's.
    #[error("the ledger {path} could not be used")]
    Sqlite {
        /// Which ledger.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// A row holds a value that its CHECKs should have refused.
    #[error(
        "the ledger {path} holds {value:?} as {column}, which no version of makegood writes. Restore the latest backup"
    )]
    Nonsense {
        /// Which ledger.
        path: PathBuf,
        /// Which column.
        column: &'static str,
        /// What stands there.
        value: String,
    },
    /// The outcome of an attempt could not be written. The caller must start nothing more.
    #[error(
        "what became of an attempt to deliver commission {id} could not be written to the ledger: it is `{outcome}`{}. Nothing more is \
         started; the ledger has it as `delivering`, as after a crash{}",
        receipt.as_ref().map(|receipt| format!(", receipt {receipt}")).unwrap_or_default(),
        if *outcome == "delivered" { format!(". Once the ledger can be written, tell it: makegood record {id}") } else { String::new() }
    )]
    Unwritten {
        /// Which commission.
        id: CommissionId,
        /// The word in `attempts.outcome`.
        outcome: &'static str,
        /// What the target calls it.
        receipt: Option<String>,
        /// Why not.
        #[source]
        source: Box<LedgerError>,
    },
    /// Several changes were written together, and all failed for one reason.
    #[error(transparent)]
    Shared(std::sync::Arc<Self>),
    /// A panic ended the thread that writes.
    #[error(
        "the thread that writes the ledger {path} ended before it answered: look for its panic in the log, and report it"
    )]
    WriterEnded {
        /// The ledger's path.
        path: PathBuf,
    },
    /// The row moved since it was read: somebody recorded, resolved or took it in the meantime.
    #[error("commission {id} is {found} in the ledger, not {expected}: somebody else moved it meanwhile")]
    Moved {
        /// Which commission.
        id: CommissionId,
        /// What the caller had read.
        expected: RewardState,
        /// What is there; `missing` where there is no row.
        found: String,
    },
}

/// What a ledger's stamp says.
fn said(why: Forgot, ends_at: &str) -> String {
    match why {
        Forgot::Copy => {
            format!(
                "is a copy (`makegood ledger backup`) that ends at {ends_at}: what was delivered since is not in it"
            )
        }
        Forgot::Behind => {
            format!("was found behind its mark when it ended at {ends_at}, and nobody has accepted it since")
        }
        Forgot::NoMark => {
            format!("was found without a readable mark when it ended at {ends_at}, and nobody has accepted it since")
        }
    }
}
