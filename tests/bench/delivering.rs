//! Whole passes that deliver, against the script; and their syncs.

use std::{fs, time::Duration};

use anyhow::ensure;

use crate::{
    Bench,
    child::{SYNCS, calls_in, under_strace},
    place::{LONG_AGO, Place, median, whole},
    sandbox::{always, commission, delayed},
    table::{Measured, Unit, at_least, at_most},
};

/// Owed in a whole pass.
const OWED: i64 = 1_000;
/// Owed where syncs are counted.
const COUNTED: i64 = 200;
const TARGET_TAKES: Duration = Duration::from_millis(5);
/// `strace` lets a sync end 2 ms late. Calls of other threads go on meanwhile.
const SLOW_DISK: [&str; 5] =
    ["-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-einject=fsync,fdatasync:delay_exit=2000"];

/// How a contest is held.
#[derive(Clone, Copy)]
struct Rules {
    target_takes: Duration,
    concurrency: Option<u32>,
    slow_disk: bool,
}

fn place(bench: &Bench, rules: Rules, owed: i64) -> anyhow::Result<Place> {
    let mut place = Place::new(&bench.makegood)?;
    place.sandbox.firstpromoter.add_all((1..=owed).map(|id| commission(id).approved(LONG_AGO)));
    place.sandbox.merchant.lock().faults = always(delayed(rules.target_takes));
    if let Some(concurrency) = rules.concurrency {
        place.set("targets.app.concurrency", &concurrency);
    }
    Ok(place)
}

/// Both deliver the same, each in a world of its own, in turn; how many times as fast makegood is.
fn contest(bench: &Bench, rules: Rules, goal: f64) -> anyhow::Result<Measured> {
    if rules.slow_disk && !bench.strace {
        return Ok(Measured::Skipped("strace is not installed, or may not trace: it makes the syncs slow".to_owned()));
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..if bench.quick { 1 } else { 3 } {
        for (is_ours, times) in [(true, &mut ours), (false, &mut theirs)] {
            let place = place(bench, rules, OWED)?;
            let (base_url, target) = (place.sandbox.base_url(), place.sandbox.merchant_url());
            let command = if is_ours {
                place.command(&["--quiet", "once", "--json", "--max-deliveries", &OWED.to_string()])
            } else {
                let file = place.path("script.db").display().to_string();
                place.own(&["as-script", &base_url, &target, &file])?
            };
            let command = if rules.slow_disk { under_strace(&command, &SLOW_DISK) } else { command };
            let ran = place.ran(command)?;
            let fulfilled = place.sandbox.firstpromoter.fulfilled_ids().len();
            ensure!(i64::try_from(fulfilled)? == OWED, "only {fulfilled} of {OWED} are fulfilled: {}", ran.stdout);
            ensure!(place.sandbox.merchant.effects_by_key().len() == fulfilled, "another number was delivered");
            times.push(ran.wall);
        }
    }
    let note = format!("{:.2} s, the script {:.2} s", median(ours.clone()), median(theirs.clone()));
    let ratio = median(theirs) / median(ours);
    Ok(Measured::Figures(vec![at_least("times as fast", ratio, Unit::Times, goal)], note))
}

pub(crate) fn at_once(bench: &Bench) -> anyhow::Result<Measured> {
    contest(bench, Rules { target_takes: Duration::ZERO, concurrency: None, slow_disk: false }, 1.5)
}

pub(crate) fn slow_target(bench: &Bench) -> anyhow::Result<Measured> {
    contest(bench, Rules { target_takes: TARGET_TAKES, concurrency: Some(16), slow_disk: false }, 3.0)
}

pub(crate) fn slow_target_and_disk(bench: &Bench) -> anyhow::Result<Measured> {
    contest(bench, Rules { target_takes: TARGET_TAKES, concurrency: Some(16), slow_disk: true }, 3.0)
}

pub(crate) fn syncs(bench: &Bench) -> anyhow::Result<Measured> {
    if !bench.strace {
        return Ok(Measured::Skipped("strace is not installed, or may not trace: it counts the syncs".to_owned()));
    }
    let mut figures = Vec::new();
    for (concurrency, goal) in [(1, 2.1), (16, 0.5)] {
        let rules = Rules { target_takes: TARGET_TAKES, concurrency: Some(concurrency), slow_disk: false };
        let place = place(bench, rules, COUNTED)?;
        // The ledger is there: making it takes syncs, too.
        place.run(&["--quiet", "once", "--json", "--max-deliveries", "0"]).ok();
        let summary = place.path("syncs").display().to_string();
        let command = place.command(&["--quiet", "once", "--json", "--max-deliveries", &COUNTED.to_string()]);
        let ran = place.ran(under_strace(&command, &["-c", "-o", &summary, "-e", &format!("trace={SYNCS}")]))?;
        let delivered = ran.count("delivered")?;
        ensure!(i64::try_from(delivered)? == COUNTED, "only {delivered} of {COUNTED} were delivered");
        let counted = calls_in(&fs::read_to_string(&summary)?);
        ensure!(counted > 0.0, "strace counted no sync");
        figures.push(at_most(&format!("concurrency {concurrency}"), counted / whole(delivered)?, Unit::Syncs, goal));
    }
    Ok(Measured::Figures(figures, format!("all of a pass with {COUNTED} owed, the target at 5 ms")))
}
