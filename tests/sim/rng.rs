//! The random numbers of a world, all from one seed.
//!
//! `SplitMix64` (Steele, Lea, Flood 2014). Its eight lines will give the same numbers in ten years, so that a seed in a
//! regression test keeps its meaning. No crate promises that.

use std::cell::Cell;

pub struct Rng(Cell<u64>);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n - 1`. The bias of the remainder does not matter here.
    pub fn below(&self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap_or_default()
    }

    /// Both ends included.
    pub fn between(&self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low).saturating_add(1);
        low.saturating_add_unsigned(self.next() % span)
    }

    /// True in this many of a thousand calls.
    pub fn chance(&self, per_mille: u32) -> bool {
        self.next() % 1000 < u64::from(per_mille)
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn pick_mut<'a, T>(&self, from: &'a mut [T]) -> &'a mut T {
        let index = self.below(from.len());
        &mut from[index]
    }

    /// From 0 to `high`. Every order of magnitude is equally likely, so most numbers are small.
    pub fn skewed(&self, high: i64) -> i64 {
        let bits = 64 - high.max(1).leading_zeros();
        let top = 1_i64 << self.between(0, i64::from(bits) - 1);
        self.between(0, top.saturating_mul(2).min(high))
    }
}
