//! The kind of each error of a pass. Each kind of error has one exhaustive match, so a new error needs a kind before it
//! compiles.

use super::{PassError, in_full};
use crate::{
    firstpromoter::{ApiError, ListingError},
    foreign,
    ledger::{FailureKind, PassFailure},
};

impl PassError {
    /// The kind, for decisions.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Listing(error) => of_listing(error),
            Self::Api(error) => of_api(error),
            Self::FilterBroken(_) => FailureKind::UntrustedAnswer,
            Self::OldAnswers { .. } => FailureKind::Unavailable,
            Self::Ledger(error) => error.kind(),
            Self::TooMany => FailureKind::TooMany,
            Self::Stopped => FailureKind::Stopped,
            Self::NoSuchCommission(_) => FailureKind::NoSuchCommission,
        }
    }

    /// The form that is kept: the kind, and the text with its error chain.
    pub fn failure(&self) -> PassFailure {
        PassFailure { kind: self.kind(), text: foreign::stored(&in_full(self)) }
    }
}

fn of_listing(error: &ListingError) -> FailureKind {
    match error {
        ListingError::Api(error) => of_api(error),
        ListingError::PageIgnored { .. } | ListingError::FilterIgnored { .. } => FailureKind::UntrustedAnswer,
        ListingError::TooManyPages => FailureKind::TooMany,
    }
}

fn of_api(error: &ApiError) -> FailureKind {
    match error {
        ApiError::Transient { .. } => FailureKind::Unavailable,
        ApiError::Rejected { .. } => FailureKind::Refused,
        ApiError::Fatal { status: Some(401 | 403), .. } => FailureKind::RejectedKey,
        ApiError::Fatal { status: Some(_) | None, .. } => FailureKind::UnreadableAnswer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::CommissionId, ledger::LedgerError};

    fn kind(error: impl Into<PassError>) -> FailureKind {
        error.into().kind()
    }

    fn fatal(status: Option<u16>) -> ApiError {
        // In words that tell nothing: the status does.
        ApiError::Fatal { what: "GET /commissions".to_owned(), status, detail: "no".to_owned() }
    }

    #[test]
    fn the_kind_of_a_failure_comes_from_its_type_and_not_from_its_words() {
        let transient =
            ApiError::Transient { what: "GET".to_owned(), detail: "401, the API key was refused".to_owned() };
        let rejected = ApiError::Rejected { what: "GET".to_owned(), status: 404, detail: "401".to_owned() };
        assert_eq!(kind(transient.clone()), FailureKind::Unavailable);
        assert_eq!(kind(ListingError::Api(transient)), FailureKind::Unavailable);
        assert_eq!(kind(rejected), FailureKind::Refused);
        for (status, expected) in [
            (Some(401), FailureKind::RejectedKey),
            (Some(403), FailureKind::RejectedKey),
            (Some(302), FailureKind::UnreadableAnswer),
            (None, FailureKind::UnreadableAnswer),
        ] {
            assert_eq!(kind(fatal(status)), expected, "{status:?}");
            assert_eq!(kind(ListingError::Api(fatal(status))), expected, "{status:?}, within a listing");
        }
        assert_eq!(kind(ListingError::PageIgnored { page: 2 }), FailureKind::UntrustedAnswer);
        assert_eq!(kind(ListingError::FilterIgnored { unasked: CommissionId(7) }), FailureKind::UntrustedAnswer);
        assert_eq!(kind(ListingError::TooManyPages), FailureKind::TooMany);
        assert_eq!(kind(LedgerError::Locked { path: "x".into(), waited_s: 15 }), FailureKind::LedgerLocked);
        assert_eq!(kind(LedgerError::BadMark { path: "x".into() }), FailureKind::MayHaveForgotten);
        assert_eq!(PassError::Stopped.kind(), FailureKind::Stopped);
    }
}
