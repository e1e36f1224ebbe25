//! The simulator's tests.
#[path = "mod.rs"]
mod sim;

use sim::{sabotage::Sabotage, story::Scratch};

#[test]
fn worlds() {
    let scratch = Scratch::new();
    for seed in 0..50 {
        let verdict = scratch.run(seed, Sabotage::None, false);
        assert!(verdict.violations.is_empty(), "{seed}: {:#?}", verdict.violations);
    }
}
