//! Part of the plan, and pure: who receives a commission, and what the ledger records of it.

use std::collections::BTreeMap;

use crate::{
    config::{Policy, RecipientPolicy},
    domain::{Commission, RecipientKind},
    firstpromoter::RewardRule,
    ledger::Facts,
};

/// Who receives the rewards of each rule (`GET /rewards`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// By `reward.id`; null where FirstPromoter did not say.
    pub known: BTreeMap<i64, Option<RecipientKind>>,
    /// Why the rules could not be read this time, if so.
    pub refused: Option<String>,
    /// The rules may be readable next time. Until then an unknown rule may say anything.
    pub passing: bool,
}

/// Who receives a commission, as far as the policy and the rules say. A missing field decides nothing.
pub fn recipient(commission: &Commission, policy: &Policy, rules: &Rules) -> Option<RecipientKind> {
    match policy.recipient {
        RecipientPolicy::Always(kind) => Some(kind),
        RecipientPolicy::Auto => {
            let by_rule = commission.reward.known().and_then(|reward| rules.known.get(&reward.id).copied().flatten());
            let by_hand = (commission.is_custom && commission.reward.is_null()).then_some(RecipientKind::Promoter);
            let may_be_known_later = rules.passing && commission.reward.known().is_some();
            let only_one = commission.promoter.is_null() && !may_be_known_later;
            let only_one = only_one.then_some(RecipientKind::Referral);
            by_rule.or(by_hand).or(only_one)
        }
    }
}

/// Who receives the rewards of one rule.
pub fn recipient_of(rule: &RewardRule) -> Option<RecipientKind> {
    rule.is_promoter_reward.map(|promoter| if promoter { RecipientKind::Promoter } else { RecipientKind::Referral })
}

/// What the ledger records of a commission.
pub fn facts(commission: &Commission, policy: &Policy, rules: &Rules) -> Facts {
    Facts {
        unit: Some(commission.unit.clone()),
        amount: commission.amount.whole(),
        recipient: recipient(commission, policy, rules),
        promoter: commission.promoter.known().cloned(),
        referral: commission.referral.known().cloned(),
        campaign: commission.campaign.clone(),
        reward: commission.reward.known().cloned(),
        approved_at: commission.approved_at(),
        created_at: commission.created_at,
    }
}
