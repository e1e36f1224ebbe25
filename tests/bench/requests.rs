//! Requests to FirstPromoter, as the sandbox counts them. They depend on no machine.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    Bench,
    place::{LONG_AGO, Place},
    sandbox::{Commission, commission},
    table::{Measured, Unit, at_most},
};

const SLOW_BATCH: Duration = Duration::from_secs(3);
/// Ids above all that are owed.
const ABOVE: i64 = 9_000_000;

fn owed(id: i64) -> Commission {
    commission(id).approved(LONG_AGO)
}

/// A world with canaries of both kinds, below and above what will be owed: ten that were fulfilled, ten that are held.
fn with_canaries(bench: &Bench) -> anyhow::Result<Place> {
    let place = Place::new(&bench.makegood)?;
    let firstpromoter = &place.sandbox.firstpromoter;
    firstpromoter.add_all((1..=5).chain(ABOVE + 1..=ABOVE + 5).map(owed));
    let held = (11..=15).chain(ABOVE + 11..=ABOVE + 15);
    firstpromoter.add_all(held.map(|id| owed(id).suspected("ad_source")));
    ensure!(place.once(&[])?.count("fulfilled")? == 10, "the canaries are fulfilled");
    Ok(place)
}

pub(crate) fn idle(bench: &Bench) -> anyhow::Result<Measured> {
    let place = Place::new(&bench.makegood)?;
    let first = place.requests_of_a_pass(&[])?;
    place.sandbox.firstpromoter.add_all((1..=100).map(owed));
    place.once(&[])?;
    let then = place.requests_of_a_pass(&[])?;
    let figures = [("no history", first), ("after 100 rewards", then)];
    let figures = figures.map(|(name, value)| at_most(name, value, Unit::Requests, 1.0)).into();
    Ok(Measured::Figures(figures, "without history, and after 100 rewards; history-idle has a million".to_owned()))
}

pub(crate) fn idle_standing(bench: &Bench) -> anyhow::Result<Measured> {
    let mut figures = Vec::new();
    for rows in [20, 60, 100, 150] {
        let place = Place::new(&bench.makegood)?;
        place.sandbox.firstpromoter.add_all((1..=rows).map(|id| owed(id).suspected("ad_source")));
        place.once(&[])?;
        place.once(&[])?;
        figures.push(at_most(&rows.to_string(), place.requests_of_a_pass(&[])?, Unit::Requests, 2.0));
    }
    Ok(Measured::Figures(figures, "20/60/100/150 held rows, the third pass".to_owned()))
}

/// A pass with so many owed.
fn delivering(place: &Place, many: i64) -> anyhow::Result<f64> {
    let ids = 1_000..1_000 + many;
    let firstpromoter = &place.sandbox.firstpromoter;
    firstpromoter.add_all(ids.clone().map(owed));
    let requests = place.requests_of_a_pass(&["--max-deliveries", &many.to_string()])?;
    let fulfilled = firstpromoter.fulfilled_ids().into_iter().filter(|id| ids.contains(id)).count();
    ensure!(i64::try_from(fulfilled)? == many, "only {fulfilled} of {many} are fulfilled");
    Ok(requests)
}

pub(crate) fn owed_rewards(bench: &Bench) -> anyhow::Result<Measured> {
    let mut figures = Vec::new();
    let goals = [(1, 5.0), (5, 5.0), (20, 5.0), (100, 6.0), (500, 22.0), (2_000, 80.0)];
    for (many, goal) in goals {
        figures.push(at_most(&many.to_string(), delivering(&with_canaries(bench)?, many)?, Unit::Requests, goal));
    }
    Ok(Measured::Figures(figures, "batches end at once".to_owned()))
}

pub(crate) fn slow_batches(bench: &Bench) -> anyhow::Result<Measured> {
    let mut figures = Vec::new();
    for (many, goal) in [(100, 8.0), (500, 36.0)] {
        let place = with_canaries(bench)?;
        place.sandbox.firstpromoter.lock().switches.batch_takes = Some(SLOW_BATCH);
        figures.push(at_most(&many.to_string(), delivering(&place, many)?, Unit::Requests, goal));
    }
    Ok(Measured::Figures(figures, String::new()))
}

pub(crate) fn first_pass(bench: &Bench) -> anyhow::Result<Measured> {
    let at_once = delivering(&Place::new(&bench.makegood)?, 100)?;
    let place = Place::new(&bench.makegood)?;
    place.sandbox.firstpromoter.lock().switches.batch_takes = Some(SLOW_BATCH);
    let slow = delivering(&place, 100)?;
    let figures = vec![at_most("100", at_once, Unit::Requests, 8.0)];
    Ok(Measured::Figures(figures, format!("with a batch that takes 3 s: {slow}")))
}
