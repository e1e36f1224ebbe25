//! Part of the plan, and pure: a step in the words of `makegood plan`.

use std::fmt;

use super::{Step, Why};
use crate::{
    domain::timestamp_text,
    ledger::{Drift, Transition},
};

impl Step {
    /// The manual's word (`plan --json`, `decision`).
    pub fn word(&self) -> &'static str {
        match self {
            Self::Leave(Why::Waits(..) | Why::MarkedLater(_)) | Self::Write(Transition::Wait { .. }) => "wait",
            Self::Leave(Why::Held(..)) | Self::Write(Transition::Hold { .. }) => "hold",
            Self::Write(Transition::Cancel { .. }) => "cancel",
            Self::Write(Transition::Fulfil { .. }) => "adopt",
            Self::Deliver { resume: false, .. } => "deliver",
            Self::Deliver { resume: true, .. } => "resume",
            Self::Mark => "mark",
            Self::Leave(
                Why::OutOfScope
                | Why::NotOwed
                | Why::ForAPerson
                | Why::Neither
                | Why::CannotMark
                | Why::Fulfilled
                | Why::Cancelled
                | Why::DecidedByAPerson
                | Why::FulfilledMeanwhile
                | Why::NotApprovedJustNow
                | Why::NeitherJustNow,
            )
            | Self::Write(Transition::NotMarked { .. } | Transition::Drift(_) | Transition::DriftOver(_)) => "nothing",
        }
    }
}

/// Why this is done, or why nothing is.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leave(why) => why.fmt(f),
            Self::Write(Transition::Wait { until, why }) => {
                write!(f, "not before {}: {}", timestamp_text(*until), why.in_words())
            }
            Self::Write(Transition::Hold { reason, detail }) => write!(f, "{reason}: {detail}"),
            Self::Write(Transition::Cancel { why }) => f.write_str(why),
            Self::Write(Transition::Fulfil { why }) => f.write_str(why),
            Self::Write(Transition::NotMarked { why, .. }) => write!(f, "delivered, and cannot be marked: {why}"),
            Self::Write(Transition::Drift(drift)) => f.write_str(match drift {
                Drift::UnfulfilledUpstream => "fulfilled according to the ledger, and listed as unfulfilled",
                Drift::FulfilledAfterReversal => "reversed by a person, and FirstPromoter says fulfilled",
            }),
            Self::Write(Transition::DriftOver(drift)) => f.write_str(match drift {
                Drift::UnfulfilledUpstream => "FirstPromoter says fulfilled again",
                Drift::FulfilledAfterReversal => "reversed by a person, and FirstPromoter no longer says fulfilled",
            }),
            Self::Deliver { resume: false, .. } => f.write_str("owed, and not delivered"),
            Self::Deliver { resume: true, .. } => f.write_str("an attempt was cut off; the same key again"),
            Self::Mark => f.write_str("delivered, and not marked fulfilled yet"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waits(until, why) => {
                return write!(f, "not before {}: {}", timestamp_text(*until), why.in_words());
            }
            Self::MarkedLater(until) => {
                let until = timestamp_text(*until);
                return write!(f, "not before {until}: delivered; FirstPromoter would not mark it, asked again later");
            }
            Self::Held(reason, detail) => return write!(f, "{reason}: {detail}"),
            Self::OutOfScope => "out of scope",
            Self::NotOwed => "not owed",
            Self::ForAPerson => "held until a person resolves it",
            Self::Neither => super::open::NEITHER,
            Self::CannotMark => "delivered; FirstPromoter cannot mark it",
            Self::Fulfilled => "fulfilled",
            Self::Cancelled => "cancelled",
            Self::DecidedByAPerson => "a person decided",
            Self::FulfilledMeanwhile => "fulfilled meanwhile, by somebody else",
            Self::NotApprovedJustNow => "no longer approved just now; the next pass decides",
            Self::NeitherJustNow => "neither fulfilled nor unfulfilled just now; the next pass asks again",
        })
    }
}
