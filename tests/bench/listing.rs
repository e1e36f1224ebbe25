//! Long listings: of rows that are out of scope, and of rows that are held.

use anyhow::ensure;

use crate::{
    Bench,
    child::Ran,
    pages::{Pages, TEMPLATE_ID},
    place::{LONG_AGO, Place, median, whole},
    sandbox::commission,
    table::{Measured, Unit, at_most, no_goal},
};

const FEW: usize = 10_000;
const MANY: usize = 1_000_000;
const HELD: usize = 100_000;
/// More than that is not "the same".
const THE_SAME: f64 = 1.1;
/// A terminal has so many lines.
const SCREEN: f64 = 50.0;

/// Cash, and points of a campaign that is not configured, in turn.
fn out_of_scope(bench: &Bench, rows: usize) -> anyhow::Result<(Place, Pages)> {
    let row = commission(TEMPLATE_ID).approved(LONG_AGO);
    let pages = Pages::start(rows, &[row.clone().cash(4900), row.campaign(99, "Autumn")])?;
    let mut place = Place::new(&bench.makegood)?;
    place.set("firstpromoter.base_url", &pages.base_url()).set("firstpromoter.requests_per_minute", &1_000_000);
    place.set("policy.campaigns", &17);
    Ok((place, pages))
}

fn pass(place: &Place, rows: usize) -> anyhow::Result<Ran> {
    let ran = place.once(&[])?;
    ensure!(ran.count("listed")? == rows as u64, "not all of {rows} rows were listed");
    Ok(ran)
}

pub(crate) fn rows_out_of_scope(bench: &Bench) -> anyhow::Result<Measured> {
    let rows = if bench.quick { MANY / 10 } else { MANY };
    let (place, pages) = out_of_scope(bench, rows)?;
    let (mut ours, mut downloads, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if bench.quick { 1 } else { 3 } {
        let ran = pass(&place, rows)?;
        ours.push(ran.wall);
        cpu.push(ran.cpu);
        let before = pages.requests();
        downloads.push(place.ran(place.own(&["as-download", pages.base_url()])?)?.wall);
        ensure!(pages.requests() - before == rows as u64 / 100 + 1, "the download read another number of pages");
        bench.peak_of_a_million.set(ran.peak_mb).ok();
    }
    let (ours, download) = (median(ours), median(downloads));
    let a_row = median(cpu) / whole(rows as u64)? * 1e6;
    let figures = vec![
        at_most("CPU a row", a_row, Unit::Micros, 5.0),
        at_most("against a download", ours / download, Unit::Times, 2.0),
    ];
    Ok(Measured::Figures(figures, format!("{rows} rows: {ours:.2} s, downloading the same pages {download:.2} s")))
}

pub(crate) fn memory(bench: &Bench) -> anyhow::Result<Measured> {
    let peak = |rows| -> anyhow::Result<f64> {
        let (place, _pages) = out_of_scope(bench, rows)?;
        // The second pass: making the ledger takes memory, too.
        pass(&place, rows)?;
        Ok(pass(&place, rows)?.peak_mb)
    };
    let few = peak(FEW)?;
    let many = match bench.peak_of_a_million.get() {
        Some(peak) if !bench.quick => *peak,
        Some(_) | None => peak(if bench.quick { MANY / 10 } else { MANY })?,
    };
    let figures = vec![
        no_goal("10,000 listed", few, Unit::Megabytes),
        at_most("1,000,000 listed", many, Unit::Megabytes, few * THE_SAME),
    ];
    Ok(Measured::Figures(figures, "the most that was ever resident (VmHWM)".to_owned()))
}

pub(crate) fn held(bench: &Bench) -> anyhow::Result<Measured> {
    let rows = if bench.quick { HELD / 10 } else { HELD };
    let row = commission(TEMPLATE_ID).approved(LONG_AGO).suspected("ad_source");
    let pages = Pages::start(rows, &[row])?;
    let mut place = Place::new(&bench.makegood)?;
    place.set("firstpromoter.base_url", &pages.base_url()).set("firstpromoter.requests_per_minute", &1_000_000);
    let first = place.once(&[])?;
    // Whatever the first one left to do.
    place.once(&[])?;
    let before = pages.requests();
    // For a person: what is printed is measured, too.
    let idle = place.run(&["--quiet", "once"])?;
    ensure!(pages.requests() - before <= rows as u64 / 100 + 3, "the pass was not idle");
    let lines = whole(idle.stdout.lines().count() as u64)?;
    let figures = vec![
        at_most("seconds", idle.wall, Unit::Seconds, 2.0),
        at_most("memory", idle.peak_mb, Unit::Megabytes, 100.0),
        at_most("printed", lines, Unit::Lines, SCREEN),
    ];
    Ok(Measured::Figures(figures, format!("{rows} held; the pass that found them: {:.2} s", first.wall)))
}
