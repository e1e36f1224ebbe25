//! `makegood run`: the service.

use super::{Exit, Failure, Outside, open_to_write};
use crate::{
    cli::Cli,
    clock::SystemClock,
    notice::Wires,
    reconcile::in_full,
    service::{Parts, Service},
};

pub(super) async fn run(cli: &Cli) -> Result<Exit, Failure> {
    let parts = parts(cli)?;
    let settings = &parts.settings;
    let ledger = open_to_write(settings)?;
    let again = cli.clone();
    let reload = Box::new(move || parts_again(&again));
    Box::pin(Service { parts, reload, ledger, clock: SystemClock }.run()).await?;
    Ok(Exit::Done)
}

type SystemParts = Parts<crate::firstpromoter::Client<SystemClock>, crate::delivery::Targets<SystemClock>>;

fn parts(cli: &Cli) -> Result<SystemParts, Failure> {
    let Outside { settings, api, targets, addresses } = Outside::open(cli)?;
    let wires = Wires::new(&settings.notice, &addresses).map_err(Failure::usage)?;
    Ok(Parts { settings, api, targets, wires })
}

fn parts_again(cli: &Cli) -> Result<SystemParts, String> {
    parts(cli).map_err(|failure| in_full(failure.error.as_ref()))
}
