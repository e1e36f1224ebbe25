//! The kinds of failure that end a pass: the words of `passes.error_kind`.
//!
//! A text says what happened, and contains details that differ each time: a page, a port, an id. So no decision uses the text.
//! The kind decides whether a failure is the same as in the pass before, who gets an alert, and how a command exits.
//!
//! Guarantees: every error of the ledger has one kind. The match names all errors, so a new error needs a kind before it
//! compiles.

use std::{fmt, path::Path};

use rusqlite::ErrorCode;
use serde::{Serialize, Serializer};

use super::{Forgot, LedgerError, LockError, row::Odd, words::words};

words! {
    /// The kind of failure that ended a pass (`passes.error_kind`).
    FailureKind {
        /// A signal to stop. Nothing is wrong.
        Stopped = "stopped",
        /// Its process ended before it did; the next pass writes this.
        Abandoned = "abandoned",
        /// Another process holds the pass, or works with the ledger.
        Busy = "busy",
        /// FirstPromoter gave no answer, or none in time: network, timeout, 429, 5xx.
        Unavailable = "unavailable",
        /// FirstPromoter does not accept the API key, or forbids this to it: 401, 403.
        RejectedKey = "rejected_key",
        /// FirstPromoter refused a request for another reason: 404, 422.
        Refused = "refused",
        /// An answer could not be read: a redirect, an empty one, no JSON, too large.
        UnreadableAnswer = "unreadable_answer",
        /// Answers contradict one another, or ignore the question.
        UntrustedAnswer = "untrusted_answer",
        /// More is listed, owed or open than one pass can have.
        TooMany = "too_many",
        /// A person asked for a commission that FirstPromoter does not have.
        NoSuchCommission = "no_such_commission",
        /// Another program holds a write lock on the ledger.
        LedgerLocked = "ledger_locked",
        /// The ledger, or a file beside it, cannot be written: no room, no right, a disk that fails.
        LedgerDisk = "ledger_disk",
        /// The ledger may have forgotten deliveries; a person decides.
        MayHaveForgotten = "may_have_forgotten",
        /// The ledger is damaged, or not an SQLite file.
        LedgerDamaged = "ledger_damaged",
        /// The ledger cannot be used for another reason: missing, altered, of another account or version.
        Ledger = "ledger",
        /// What became of an attempt could not be written to the ledger.
        Unwritten = "unwritten",
    }
}

/// Why a pass did not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassFailure {
    /// The kind, for decisions.
    pub kind: FailureKind,
    /// The text, for people: what happened, where, and what to do.
    pub text: String,
}

impl PassFailure {
    /// Serialises into the fields `error` and `error_kind` of the object around it; both null where there is no failure.
    pub fn beside<S: Serializer>(failure: &Option<Self>, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            error: Option<&'a str>,
            error_kind: Option<FailureKind>,
        }
        let failure = failure.as_ref();
        Fields { error: failure.map(|it| it.text.as_str()), error_kind: failure.map(|it| it.kind) }
            .serialize(serializer)
    }
}

impl fmt::Display for PassFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl LedgerError {
    /// Why the ledger may have forgotten deliveries, if this failure says so. A person can accept it with `makegood ledger
    /// accept`.
    pub fn forgot(&self) -> Option<Forgot> {
        match self {
            Self::Behind { .. } => Some(Forgot::Behind),
            Self::BadMark { .. } | Self::NoMark { .. } => Some(Forgot::NoMark),
            Self::Stamped { why, .. } => Some(*why),
            Self::Shared(error) => error.forgot(),
            Self::Missing { .. }
            | Self::NoFolder { .. }
            | Self::Link { .. }
            | Self::CannotBecome { .. }
            | Self::Altered { .. }
            | Self::Unbounded { .. }
            | Self::InUse { .. }
            | Self::NotMigrated { .. }
            | Self::Forbidden { .. }
            | Self::File { .. }
            | Self::Exists { .. }
            | Self::OtherAccount { .. }
            | Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Replaced { .. }
            | Self::Older { .. }
            | Self::Orphans { .. }
            | Self::Locked { .. }
            | Self::Damaged { .. }
            | Self::Full { .. }
            | Self::ReadOnly { .. }
            | Self::Disk { .. }
            | Self::Sqlite { .. }
            | Self::Nonsense { .. }
            | Self::Unwritten { .. }
            | Self::WriterEnded { .. }
            | Self::Moved { .. } => None,
        }
    }

    /// Whether somebody else holds the lock, and will end at some time.
    pub(crate) fn is_lock(&self) -> bool {
        self.kind() == FailureKind::LedgerLocked
    }

    /// Whether the disk refused it just now.
    pub(crate) fn is_disk(&self) -> bool {
        self.kind() == FailureKind::LedgerDisk
    }

    /// The error for SQLite's error; `path` is the ledger's.
    pub(super) fn from_sqlite(path: &Path, waited_s: u64, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        if let rusqlite::Error::FromSqlConversionFailure(_, _, cause) = &source
            && let Some(Odd { column, value }) = cause.downcast_ref()
        {
            return Self::Nonsense { path, column, value: value.clone() };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path, waited_s },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, source },
            Some(ErrorCode::DiskFull) => Self::Full { path, source },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Self::ReadOnly { path, source }
            }
            Some(ErrorCode::SystemIoFailure) => Self::Disk { path, source },
            Some(ErrorCode::OperationInterrupted | ErrorCode::TooBig) => Self::Unbounded { path, source },
            Some(_) | None => Self::Sqlite { path, source },
        }
    }

    /// The kind of failure.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::InUse { .. } => FailureKind::Busy,
            Self::Locked { .. } => FailureKind::LedgerLocked,
            Self::File { .. } | Self::Full { .. } | Self::ReadOnly { .. } | Self::Disk { .. } => {
                FailureKind::LedgerDisk
            }
            Self::Behind { .. } | Self::NoMark { .. } | Self::BadMark { .. } | Self::Stamped { .. } => {
                FailureKind::MayHaveForgotten
            }
            Self::Damaged { .. } => FailureKind::LedgerDamaged,
            Self::Unwritten { .. } => FailureKind::Unwritten,
            Self::Shared(error) => error.kind(),
            Self::NotMigrated { source, .. } => source.kind(),
            Self::Missing { .. }
            | Self::NoFolder { .. }
            | Self::Forbidden { .. }
            | Self::Link { .. }
            | Self::CannotBecome { .. }
            | Self::Exists { .. }
            | Self::OtherAccount { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Foreign { .. }
            | Self::Altered { .. }
            | Self::Unbounded { .. }
            | Self::Replaced { .. }
            | Self::Orphans { .. }
            | Self::Sqlite { .. }
            | Self::Nonsense { .. }
            | Self::WriterEnded { .. }
            | Self::Moved { .. } => FailureKind::Ledger,
        }
    }
}

impl LockError {
    /// The kind of failure.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Busy { .. } => FailureKind::Busy,
            Self::File { .. } => FailureKind::LedgerDisk,
        }
    }
}
