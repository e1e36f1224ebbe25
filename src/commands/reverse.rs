//! `makegood reverse`: take back what was delivered, at FirstPromoter and in the ledger.

use serde_json::json;

use super::{Exit, Failure, Outside, operator, print, print_json};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    domain::CommissionId,
    ledger::{Ledger, RewardState, acquire_pass_lock},
    reconcile::reverse::{self, Reversal},
};

pub(super) async fn reverse(cli: &Cli, id: CommissionId, reason: &str) -> Result<Exit, Failure> {
    let outside = Outside::open(cli)?;
    let path = &outside.settings.ledger.path;
    // Not created here: there is nothing to reverse in an empty one.
    drop(Ledger::open_read_only(path)?);
    let ledger = Ledger::open(path, &outside.settings.firstpromoter.account_id, SystemClock.now())?;
    let _pass_lock = acquire_pass_lock(path, "reverse", &SystemClock).await?;
    let actor = operator();
    let reversal = reverse::reverse(&outside.api, &ledger, &SystemClock, id, &actor, reason).await?;
    if cli.json {
        let was = match reversal {
            Reversal::Done(state) => state,
            Reversal::Already => RewardState::Reversed,
        };
        let document = json!({
            "commission_id": id, "state": RewardState::Reversed, "was": was, "changed": reversal != Reversal::Already,
            "actor": actor, "reason": reason,
        });
        print_json(&document)?;
        return Ok(Exit::Done);
    }
    print(&match reversal {
        Reversal::Done(was) => format!(
            "Commission {id}: reversed (was {was}); FirstPromoter, read back, says unfulfilled.\n\
             makegood never delivers it again. What the recipient got is still theirs: take it back in your own system.\n"
        ),
        Reversal::Already => format!("Commission {id}: reversed already; nothing changed (`makegood show {id}`).\n"),
    })?;
    Ok(Exit::Done)
}
