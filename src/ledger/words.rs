//! The words of the ledger's columns: states, reasons to hold and to wait, who delivered.

use std::fmt;

use serde::{Serialize, Serializer};

/// Declares an enum whose variants are words in the ledger.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// All words, in the manual's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in the ledger.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads the word in the ledger.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> { serializer.serialize_str(self.as_str()) }
        }
    };
}

pub(super) use words;

words! {
    /// The state of a reward (`rewards.state`).
    RewardState {
        /// Owed; not before `next_attempt_at`.
        Waiting = "waiting",
        /// The intent is on disk; an attempt may be in flight or was cut off.
        Delivering = "delivering",
        /// The recipient has it; FirstPromoter has not confirmed yet.
        Delivered = "delivered",
        /// FirstPromoter, read back, says fulfilled.
        Fulfilled = "fulfilled",
        /// makegood does not decide alone.
        Held = "held",
        /// No longer approved upstream, and was never delivered.
        Cancelled = "cancelled",
        /// It was delivered, and a person reversed it.
        Reversed = "reversed",
        /// A person decided against delivery.
        Dismissed = "dismissed",
    }
}

impl RewardState {
    /// Whether something may still have to happen: where a listing lacks such a reward, that means something.
    pub fn is_open(self) -> bool {
        match self {
            Self::Waiting | Self::Delivering | Self::Delivered | Self::Held => true,
            Self::Fulfilled | Self::Cancelled | Self::Reversed | Self::Dismissed => false,
        }
    }

    /// Whether it is never owed again. A cancelled reward is owed again when it is approved again.
    pub fn is_over(self) -> bool {
        match self {
            Self::Fulfilled | Self::Reversed | Self::Dismissed => true,
            Self::Waiting | Self::Delivering | Self::Delivered | Self::Held | Self::Cancelled => false,
        }
    }
}

words! {
    /// Why a reward is held (`rewards.hold_reason`).
    HoldReason {
        /// Approved before `policy.deliver_from`.
        Backlog = "backlog",
        /// FirstPromoter suspects fraud.
        FraudSuspicion = "fraud_suspicion",
        /// Promoter and referral look like one person.
        SelfReferral = "self_referral",
        /// More than `policy.max_amount`.
        OverLimit = "over_limit",
        /// One pass wanted too many.
        Fuse = "fuse",
        /// Not a positive whole number.
        BadAmount = "bad_amount",
        /// A unit that this version does not know.
        UnknownUnit = "unknown_unit",
        /// No target is configured for it.
        NoRoute = "no_route",
        /// The party that should receive it is missing.
        NoRecipient = "no_recipient",
        /// It is unknown who receives it.
        RecipientUnknown = "recipient_unknown",
        /// FirstPromoter says something about it that this version cannot read.
        Unreadable = "unreadable",
        /// The target said no.
        RefusedByTarget = "refused_by_target",
        /// It may or may not have taken effect.
        OutcomeUnknown = "outcome_unknown",
        /// Attempts failed for too long.
        GaveUp = "gave_up",
        /// Changed upstream after an attempt whose outcome is unknown.
        Changed = "changed",
    }
}

impl HoldReason {
    /// Whether policy made the hold: then every pass judges it again. An attempt or a change made the others, and only a
    /// person's `resolve` moves them.
    pub fn is_policy(self) -> bool {
        match self {
            Self::Backlog
            | Self::FraudSuspicion
            | Self::SelfReferral
            | Self::OverLimit
            | Self::Fuse
            | Self::BadAmount
            | Self::UnknownUnit
            | Self::NoRoute
            | Self::NoRecipient
            | Self::RecipientUnknown
            | Self::Unreadable => true,
            Self::RefusedByTarget | Self::OutcomeUnknown | Self::GaveUp | Self::Changed => false,
        }
    }
}

words! {
    /// Why a reward waits (`rewards.wait_reason`).
    WaitReason {
        /// Nothing: it is due.
        Due = "due",
        /// The webhook handler has its chance.
        Grace = "grace",
        /// An attempt failed.
        Backoff = "backoff",
        /// Somebody else holds a claim.
        Claimed = "claimed",
        /// The last attempts at a target failed.
        Target = "target",
    }
}

words! {
    /// The outcome of an attempt (`attempts.outcome`): the word of [`Outcome`](crate::failure::Outcome).
    OutcomeWord {
        /// The target took it.
        Delivered = "delivered",
        /// It certainly did not take effect.
        NotDelivered = "not_delivered",
        /// It may have taken effect.
        Unknown = "unknown",
        /// The target said no.
        Refused = "refused",
    }
}

words! {
    /// How FirstPromoter contradicts a settled reward (`rewards.drift`).
    Drift {
        /// FirstPromoter lists a reward as unfulfilled that the ledger calls fulfilled.
        UnfulfilledUpstream = "unfulfilled_upstream",
        /// FirstPromoter calls a reward fulfilled that a person reversed.
        FulfilledAfterReversal = "fulfilled_after_reversal",
    }
}

impl Drift {
    /// Whether the ledger calls such a reward fulfilled: FirstPromoter said so once and contradicts it now. Only these can be
    /// canaries.
    pub fn was_fulfilled(self) -> bool {
        match self {
            Self::UnfulfilledUpstream => true,
            Self::FulfilledAfterReversal => false,
        }
    }

    /// For the journal.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::UnfulfilledUpstream => "FirstPromoter lists it as unfulfilled",
            Self::FulfilledAfterReversal => "FirstPromoter says fulfilled, after a person reversed it",
        }
    }

    /// For the journal.
    pub fn over_in_words(self) -> &'static str {
        match self {
            Self::UnfulfilledUpstream => "drift is over: FirstPromoter says fulfilled",
            Self::FulfilledAfterReversal => "drift is over: FirstPromoter no longer says fulfilled",
        }
    }
}

words! {
    /// Why a ledger may have forgotten deliveries (`may_have_forgotten.why`).
    Forgot {
        /// It was stamped as a copy.
        Copy = "copy",
        /// It lacks the entry that its mark names.
        Behind = "behind",
        /// It knows deliveries, and had no mark that could be read.
        NoMark = "no_mark",
    }
}

words! {
    /// Who delivered (`rewards.delivered_by`).
    DeliveredBy {
        /// This program.
        Makegood = "makegood",
        /// The webhook handler, or a person at FirstPromoter.
        Outside = "outside",
        /// An operator who said so.
        Operator = "operator",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_itself() {
        for state in RewardState::ALL {
            assert_eq!(RewardState::from_word(state.as_str()), Some(*state));
        }
        for reason in HoldReason::ALL {
            assert_eq!(HoldReason::from_word(reason.as_str()), Some(*reason));
        }
        for reason in WaitReason::ALL {
            assert_eq!(WaitReason::from_word(reason.as_str()), Some(*reason));
        }
        for drift in Drift::ALL {
            assert_eq!(Drift::from_word(drift.as_str()), Some(*drift));
        }
        assert_eq!(RewardState::from_word("lost"), None);
    }

    #[test]
    fn eleven_holds_are_made_by_policy() {
        let policy: Vec<_> =
            HoldReason::ALL.iter().filter(|reason| reason.is_policy()).map(|reason| reason.as_str()).collect();
        assert_eq!(
            policy,
            [
                "backlog",
                "fraud_suspicion",
                "self_referral",
                "over_limit",
                "fuse",
                "bad_amount",
                "unknown_unit",
                "no_route",
                "no_recipient",
                "recipient_unknown",
                "unreadable"
            ]
        );
    }
}
