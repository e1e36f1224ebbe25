//! Memory follows the backlog, not the listing.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    sandbox::{Endpoint, commission},
    world::{LONG_AGO, given},
};

const ROWS: usize = 50_000;
/// A page has a hundred rows: by then everything that is needed once is in memory.
const EARLY_PAGE: u64 = 20;
/// A row that is kept takes at least this much: 48,000 rows take 12 MB.
const KEPT_ROW_BYTES: usize = 256;

#[test]
fn listing_fifty_thousand_rows_that_are_not_ours_takes_no_more_than_the_first_two_thousand() {
    let mut world = given((1..=5).map(|id| commission(id).approved(LONG_AGO)));
    world.set("policy.campaigns", "17").set("firstpromoter.requests_per_minute", "1000000");
    world.sandbox.firstpromoter.lock().rate_limit = None;
    world.sandbox.firstpromoter.lock().switches.also_listed = ROWS - 5;

    // The high-water mark is read while makegood waits for an answer: to an early page, and to its mark, when all has been listed
    // and delivered.
    let pid = Arc::new(OnceLock::new());
    let [early, late] = [0, 0].map(AtomicU64::new).map(Arc::new);
    for (endpoint, nth, told) in [(Endpoint::Listing, EARLY_PAGE, &early), (Endpoint::Mark, 1, &late)] {
        let (pid, told) = (Arc::clone(&pid), Arc::clone(told));
        world.sandbox.firstpromoter.after(endpoint, nth, move |_| {
            told.store(high_water_kb(*pid.wait()), Ordering::Relaxed);
        });
    }
    let running = world.start(&["once", "--json"]);
    pid.set(running.pid()).unwrap();
    let ran = running.wait_while_it_goes_on(|| world.sandbox.requests()).exits(0);

    assert_eq!((ran.count("listed"), ran.count("delivered"), ran.count("fulfilled")), (ROWS as u64, 5, 5), "{ran}");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3, 4, 5]);
    assert_eq!(world.query("SELECT count(*) AS n FROM rewards")[0]["n"], 5);
    let [early, late] = [early, late].map(|told| told.load(Ordering::Relaxed));
    assert!(early > 1_000, "{early} kB were resident at most by page {EARLY_PAGE}");
    let grown = late.saturating_sub(early);
    assert!(grown * 1024 < (ROWS * KEPT_ROW_BYTES / 2) as u64, "it grew from {early} kB to {late} kB");
}

/// `VmHWM` of a process: the most that was ever resident.
fn high_water_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
