//! `makegood run`: the service.

use super::{Exit, Failure, Outside};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    ledger::Ledger,
    service::Service,
};

pub(super) async fn run(cli: &Cli) -> Result<Exit, Failure> {
    let Outside { settings, api, targets } = Outside::open(cli)?;
    let ledger = Ledger::open(&settings.ledger.path, &settings.firstpromoter.account_id, SystemClock.now())?;
    Service { settings, api, targets, ledger, clock: SystemClock }.run().await?;
    Ok(Exit::Done)
}
