//! SIGKILL at random moments of the first pass and of a later one. The next passes recover by themselves, and every reward is
//! there once. `crash.rs` enumerates the known points; this covers those that nobody thought of.
//!
//! A few by default. For more: `MAKEGOOD_KILLS=2000 cargo test --test it kills:: -- --nocapture`; for other moments:
//! `MAKEGOOD_KILLS_SEED=N`.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    audit::{effects, nobody, run_to_rest},
    sandbox::commission,
    world::{LONG_AGO, World, given},
};

const BY_DEFAULT: u64 = 6;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// `SplitMix64`: only the moment of a kill is random here.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut it = *state;
    it = (it ^ (it >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    it ^ (it >> 31)
}

fn world() -> World {
    let world = given([1, 2, 3].map(|id| commission(id).approved(LONG_AGO)));
    world.sandbox.firstpromoter.lock().rate_limit = None;
    world
}

/// Kills passes at moments within the length of an undisturbed one. `prepare` makes the world before each.
fn killed_at_random(what: &str, prepare: impl Fn() -> World, ids: &[i64]) {
    let kills = number("MAKEGOOD_KILLS", BY_DEFAULT);
    let mut state = number("MAKEGOOD_KILLS_SEED", 8);
    let unharmed = prepare();
    let began = Instant::now();
    unharmed.once().exits(0);
    let length = u64::try_from(began.elapsed().as_micros()).unwrap();
    let mut cut_off = 0;
    for nth in 1..=kills {
        let world = prepare();
        let after = Duration::from_micros(random(&mut state) % length);
        let mut once = world.start(&["once", "--json"]);
        // A random moment, on purpose: it must not matter what the process is doing.
        thread::sleep(after);
        once.kill();
        cut_off += u64::from(!once.wait().stdout.contains("pass_id"));
        run_to_rest(&world, nobody);
        let wanted = ids.iter().map(|id| (*id, 1)).collect();
        assert_eq!(effects(&world), wanted, "{what}, kill {nth}, after {after:?}");
        assert_eq!(world.sandbox.firstpromoter.fulfilled_ids(), ids, "{what}, kill {nth}, after {after:?}");
        if nth % 100 == 0 {
            eprintln!("{what}: {nth} killed, {cut_off} of them before they had ended, none wedged");
        }
    }
    eprintln!("{what}: {kills} killed, {cut_off} of them before they had ended, none wedged");
    assert!(kills < 20 || cut_off > kills / 4, "{cut_off} of {kills}");
}

#[test]
fn nothing_is_wedged_after_kills_at_random_moments_of_the_first_pass() {
    killed_at_random("the very first pass", world, &[1, 2, 3]);
}

#[test]
fn nothing_is_wedged_after_kills_at_random_moments_of_a_later_pass() {
    let later = || {
        let world = world();
        world.once().exits(0);
        world.sandbox.firstpromoter.add_all([4, 5].map(|id| commission(id).approved(LONG_AGO)));
        world
    };
    killed_at_random("a later pass", later, &[1, 2, 3, 4, 5]);
}
