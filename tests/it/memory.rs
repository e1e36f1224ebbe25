//! Memory follows the backlog, not what is listed.

use std::sync::{Arc, OnceLock};

use crate::{
    sandbox::{Endpoint, commission},
    world::{LONG_AGO, given},
};

const RESIDENT_MAX_KB: u64 = 40_000;

#[test]
fn listing_two_hundred_thousand_rows_that_are_not_ours_stays_small() {
    let mut world = given((1..=5).map(|id| commission(id).approved(LONG_AGO)));
    world.set("policy.campaigns", "17").set("firstpromoter.requests_per_minute", "1000000");
    world.sandbox.firstpromoter.lock().rate_limit = None;
    world.sandbox.firstpromoter.lock().switches.also_listed = 199_995;

    // The high-water mark is read while makegood waits for the answer to its mark: all has been listed and delivered.
    let (pid, resident_kb) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
    let (asked, told) = (Arc::clone(&pid), Arc::clone(&resident_kb));
    world.sandbox.firstpromoter.after(Endpoint::Mark, 1, move |_| {
        told.set(high_water_kb(*asked.wait())).ok();
    });
    let running = world.start(&["once", "--json"]);
    pid.set(running.pid()).unwrap();
    let ran = running.wait().exits(0);

    assert_eq!((ran.count("listed"), ran.count("delivered"), ran.count("fulfilled")), (200_000, 5, 5), "{ran}");
    assert_eq!(world.sandbox.merchant.rewarded_ids(), [1, 2, 3, 4, 5]);
    assert_eq!(world.query("SELECT count(*) AS n FROM rewards")[0]["n"], 5);
    let resident_kb = *resident_kb.get().expect("the mark was asked for");
    assert!((1_000..RESIDENT_MAX_KB).contains(&resident_kb), "{resident_kb} kB were resident at most");
}

/// `VmHWM` of a process: the most that was ever resident.
fn high_water_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
