//! `makegood run`: the service.

use super::{Exit, Failure, Outside};
use crate::{
    cli::Cli,
    clock::{Clock, SystemClock},
    ledger::Ledger,
    notice::Notice,
    service::Service,
};

pub(super) async fn run(cli: &Cli) -> Result<Exit, Failure> {
    let Outside { settings, api, targets, addresses } = Outside::open(cli)?;
    let notice =
        Notice::new(&settings.firstpromoter.account_id, &settings.notice, &addresses).map_err(Failure::usage)?;
    let ledger = Ledger::open(&settings.ledger.path, &settings.firstpromoter.account_id, SystemClock.now())?;
    Service { settings, api, targets, ledger, notice, clock: SystemClock }.run().await?;
    Ok(Exit::Done)
}
