//! `makegood reverse`: takes a delivery back, at FirstPromoter and in the ledger.

use serde_json::json;

use super::{Exit, Failure, Outside, open_to_write, operator, print, print_json, text};
use crate::{
    cli::Cli,
    clock::SystemClock,
    domain::CommissionId,
    ledger::{Ledger, RewardState, acquire_pass_lock},
    reconcile::reverse::{self, Reversal},
};

pub(super) async fn reverse(cli: &Cli, id: CommissionId, reason: &str) -> Result<Exit, Failure> {
    let outside = Outside::open(cli)?;
    let path = &outside.settings.ledger.path;
    // Fails where there is no ledger. `reverse` creates none, because an empty one has nothing to reverse.
    drop(Ledger::open_read_only(path)?);
    let ledger = open_to_write(&outside.settings)?;
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
    let words = match reversal {
        Reversal::Done(was) => format!(
            "reversed (was {was}); FirstPromoter, read back, says unfulfilled. makegood never delivers it again. What the recipient \
             got is still theirs: take it back in your own system."
        ),
        Reversal::Already => format!("reversed already; nothing changed (`makegood show {id}`)."),
    };
    print(&text::wrapped(&format!("Commission {id}: {words}"), 0))?;
    Ok(Exit::Done)
}
