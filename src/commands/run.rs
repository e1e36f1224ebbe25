//! `makegood run`: the service.

use std::collections::BTreeSet;

use super::{Exit, Failure, Outside, open_to_write};
use crate::{
    cli::Cli,
    clock::SystemClock,
    notice::Wires,
    reconcile::in_full,
    service::{Parts, Service},
};

pub(super) async fn run(cli: &Cli) -> Result<Exit, Failure> {
    let (parts, _) = parts(cli)?;
    let settings = &parts.settings;
    let ledger = open_to_write(settings)?;
    let again = cli.clone();
    let at_start: BTreeSet<String> = settings.targets.keys().cloned().collect();
    let reload = Box::new(move || parts_again(&again, &at_start));
    Box::pin(Service { parts, reload, ledger, clock: SystemClock }.run()).await?;
    Ok(Exit::Done)
}

type SystemParts = Parts<crate::firstpromoter::Client<SystemClock>, crate::delivery::Targets<SystemClock>>;

/// The parts, and the targets for which a credential could be missing.
fn parts(cli: &Cli) -> Result<(SystemParts, Vec<String>), Failure> {
    let Outside { settings, api, targets, addresses, unproved } = Outside::open(cli)?;
    let wires = Wires::new(&settings.notice, &addresses).map_err(Failure::usage)?;
    Ok((Parts { settings, api, targets, wires }, unproved))
}

/// Suppose somebody adds a target and its signing secret, and reloads. systemd gave the credentials at the start, so this process
/// does not see the secret, and would send unsigned requests. The endpoint would refuse them, and each reward would be held.
fn parts_again(cli: &Cli, at_start: &BTreeSet<String>) -> Result<SystemParts, String> {
    let (parts, unproved) = parts(cli).map_err(|failure| in_full(failure.error.as_ref()))?;
    match unproved.iter().find(|name| !at_start.contains(*name)) {
        None => Ok(parts),
        Some(new) => Err(format!(
            "the target {new} is new, and this process has neither a secret nor a bearer for it; a credential that was added after \
             the start is there after `systemctl restart makegood`"
        )),
    }
}
