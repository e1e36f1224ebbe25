//! How fast we may ask FirstPromoter: a ceiling of our own, which a 429 halves and which recovers slowly.
//!
//! The documented limit is 400 requests a minute for an account. An integrator met 429 at about 100 to 130. `Retry-After` is
//! undocumented and sometimes there. So the pacer starts at the configured ceiling and learns.
//!
//! Guarantees: at most the configured ceiling in *any* 60 seconds, including the first minute (a token bucket would let nearly
//! twice as many through there). Requests below the ceiling are not spaced, so that a small pass is as fast as the network. At
//! most 601 counters in memory, whatever the ceiling.
//!
//! Assumptions: one process asks for the account. It notices another one only by the 429s.

use std::{collections::VecDeque, time::Duration};

use crate::domain::Timestamp;

/// The width of a counter. A counter holds several requests, so that memory does not grow with the ceiling.
const BUCKET_MS: u64 = 100;

/// How many counters may hold a request of the last 60 seconds: 600, and the one that the window's start falls into.
const BUCKETS: u64 = 60_000 / BUCKET_MS + 1;

/// After this long without a 429 the ceiling grows by a tenth of the configured one.
const RECOVERY_MS: u64 = 60_000;

/// Whether a request may leave now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes, and it has been counted.
    Go,
    /// The last 60 seconds are full: ask again after this many milliseconds.
    Full(u64),
    /// FirstPromoter asked us to stay away for this many milliseconds more.
    Blocked(u64),
}

/// Counts requests against the ceiling. Pure: the caller gives the time, in milliseconds since any fixed moment. A time earlier
/// than the last one counts as the last one.
#[derive(Debug)]
pub struct Pacer {
    configured: u32,
    /// The ceiling right after the last 429, and when that was.
    limited: Option<(u32, u64)>,
    blocked_until_ms: u64,
    last_ms: u64,
    /// Bucket number and requests in it, oldest first.
    sent: VecDeque<(u64, u32)>,
    in_window: u64,
}

impl Pacer {
    /// A pacer for at most `per_minute` requests in any 60 seconds; zero is taken for one.
    pub fn new(per_minute: u32) -> Self {
        Self {
            configured: per_minute.max(1),
            limited: None,
            blocked_until_ms: 0,
            last_ms: 0,
            sent: VecDeque::new(),
            in_window: 0,
        }
    }

    /// Asks to send one request at `now_ms`.
    pub fn admit(&mut self, now_ms: u64) -> Admission {
        let now_ms = self.advance(now_ms);
        if now_ms < self.blocked_until_ms {
            return Admission::Blocked(self.blocked_until_ms - now_ms);
        }
        let ceiling = u64::from(self.ceiling(now_ms));
        if self.in_window >= ceiling {
            return Admission::Full(self.until_below(ceiling).saturating_sub(now_ms).max(1));
        }
        let bucket = now_ms / BUCKET_MS;
        match self.sent.back_mut() {
            Some((last, count)) if *last == bucket => *count += 1,
            Some(_) | None => self.sent.push_back((bucket, 1)),
        }
        self.in_window += 1;
        Admission::Go
    }

    /// Whether this many requests may leave at `now_ms`; counts none of them. `None` where the present ceiling never lets so
    /// many leave within a minute.
    pub fn room_for(&mut self, requests: u32, now_ms: u64) -> Option<Admission> {
        let now_ms = self.advance(now_ms);
        let most_before = u64::from(self.ceiling(now_ms)).checked_sub(u64::from(requests))?;
        Some(if now_ms < self.blocked_until_ms {
            Admission::Blocked(self.blocked_until_ms - now_ms)
        } else if self.in_window > most_before {
            Admission::Full(self.until_below(most_before + 1).saturating_sub(now_ms).max(1))
        } else {
            Admission::Go
        })
    }

    /// FirstPromoter answered 429: halves the ceiling, and lets nothing leave before `retry_after`.
    pub fn limited(&mut self, now_ms: u64, retry_after: Option<Duration>) {
        let now_ms = self.advance(now_ms);
        self.limited = Some(((self.ceiling(now_ms) / 2).max(1), now_ms));
        self.block(now_ms, retry_after.unwrap_or_default());
    }

    /// Lets nothing leave before `duration` is over.
    pub fn block(&mut self, now_ms: u64, duration: Duration) {
        let now_ms = self.advance(now_ms);
        let until = now_ms.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self.blocked_until_ms = self.blocked_until_ms.max(until);
    }

    /// The ceiling at `now_ms`, in requests a minute.
    pub fn ceiling(&self, now_ms: u64) -> u32 {
        let Some((base, at)) = self.limited else { return self.configured };
        let steps = u32::try_from(now_ms.saturating_sub(at) / RECOVERY_MS).unwrap_or(u32::MAX);
        let gained = (self.configured / 10).max(1).saturating_mul(steps);
        base.saturating_add(gained).min(self.configured)
    }

    /// Moves the window's end to `now_ms` and forgets the requests that left it.
    fn advance(&mut self, now_ms: u64) -> u64 {
        self.last_ms = self.last_ms.max(now_ms);
        let bucket = self.last_ms / BUCKET_MS;
        while let Some((oldest, count)) = self.sent.front() {
            if oldest + BUCKETS > bucket {
                break;
            }
            self.in_window -= u64::from(*count);
            self.sent.pop_front();
        }
        self.last_ms
    }

    /// When enough old requests have left the window for one more.
    fn until_below(&self, ceiling: u64) -> u64 {
        let mut left = self.in_window;
        for (bucket, count) in &self.sent {
            left -= u64::from(*count);
            if left < ceiling {
                return (bucket + BUCKETS) * BUCKET_MS;
            }
        }
        self.last_ms
    }
}

/// Milliseconds that only grow, made from a wall clock that may be set back.
///
/// A step back counts as no time. A step forward counts as time passed: at worst, one minute's requests leave early,
/// and FirstPromoter answers 429.
#[derive(Debug, Default)]
pub struct Ticks {
    wall_ms: Option<i64>,
    now_ms: u64,
}

impl Ticks {
    /// The milliseconds at the wall clock's `now`.
    pub fn read(&mut self, now: Timestamp) -> u64 {
        let wall_ms = now.timestamp_millis();
        let passed = wall_ms.saturating_sub(self.wall_ms.unwrap_or(wall_ms));
        self.wall_ms = Some(wall_ms);
        self.now_ms = self.now_ms.saturating_add(u64::try_from(passed).unwrap_or(0));
        self.now_ms
    }

    /// Counts a sleep of `slept_ms`, begun at `since_ms`, in full, whatever the wall clock did.
    pub fn slept(&mut self, since_ms: u64, slept_ms: u64) {
        self.now_ms = self.now_ms.max(since_ms.saturating_add(slept_ms));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_small_pass_is_not_spaced() {
        let mut pacer = Pacer::new(300);
        for _ in 0..300 {
            assert_eq!(pacer.admit(0), Admission::Go);
        }
        assert!(matches!(pacer.admit(0), Admission::Full(_)), "no burst beyond the ceiling in the first minute");
    }

    #[test]
    fn a_full_window_opens_when_its_oldest_bucket_leaves() {
        let mut pacer = Pacer::new(1);
        assert_eq!(pacer.admit(0), Admission::Go);
        assert_eq!(pacer.admit(50), Admission::Full(60_050));
        assert_eq!(pacer.admit(60_099), Admission::Full(1));
        assert_eq!(pacer.admit(60_100), Admission::Go);
    }

    #[test]
    fn a_429_halves_and_a_tenth_comes_back_each_quiet_minute() {
        let mut pacer = Pacer::new(300);
        pacer.limited(0, None);
        assert_eq!(pacer.ceiling(0), 150);
        assert_eq!(pacer.ceiling(59_999), 150);
        assert_eq!(pacer.ceiling(60_000), 180);
        assert_eq!(pacer.ceiling(5 * 60_000), 300);
        assert_eq!(pacer.ceiling(50 * 60_000), 300, "never above the configured ceiling");
        pacer.limited(60_000, None);
        assert_eq!(pacer.ceiling(60_000), 90);
    }

    #[test]
    fn the_ceiling_never_falls_below_one_and_comes_back_from_there() {
        let mut pacer = Pacer::new(3);
        for _ in 0..10 {
            pacer.limited(0, None);
        }
        assert_eq!(pacer.ceiling(0), 1);
        assert_eq!(pacer.ceiling(120_000), 3);
    }

    #[test]
    fn retry_after_blocks_everything_until_then() {
        let mut pacer = Pacer::new(300);
        pacer.limited(1_000, Some(Duration::from_secs(7)));
        assert_eq!(pacer.admit(1_000), Admission::Blocked(7_000));
        assert_eq!(pacer.admit(7_999), Admission::Blocked(1));
        assert_eq!(pacer.admit(8_000), Admission::Go);
    }

    #[test]
    fn room_for_several_is_there_when_all_of_them_may_leave() {
        let mut pacer = Pacer::new(4);
        assert_eq!(pacer.room_for(5, 0), None, "never so many in a minute");
        assert_eq!(pacer.room_for(4, 0), Some(Admission::Go));
        for now in [0, 10_000] {
            assert_eq!(pacer.admit(now), Admission::Go);
        }
        assert_eq!(pacer.room_for(2, 10_000), Some(Admission::Go));
        assert_eq!(pacer.room_for(3, 10_000), Some(Admission::Full(50_100)), "when the first one is forgotten");
        assert_eq!(pacer.room_for(4, 10_000), Some(Admission::Full(60_100)), "when both are");
        assert_eq!(pacer.room_for(4, 70_100), Some(Admission::Go));
        pacer.limited(70_100, Some(Duration::from_secs(7)));
        assert_eq!(pacer.room_for(2, 70_100), Some(Admission::Blocked(7_000)));
        assert_eq!(pacer.room_for(3, 70_100), None, "half of four");
    }

    #[test]
    fn a_million_a_minute_takes_no_more_memory_than_six_hundred_buckets() {
        let mut pacer = Pacer::new(1_000_000);
        for ms in 0..200_000 {
            pacer.admit(ms);
        }
        assert!(pacer.sent.len() <= 601, "{}", pacer.sent.len());
    }

    #[test]
    fn ticks_grow_although_the_wall_clock_is_set_back() {
        let mut ticks = Ticks::default();
        assert_eq!(ticks.read(at("2026-01-01T12:00:00Z")), 0);
        assert_eq!(ticks.read(at("2026-01-01T12:00:01Z")), 1_000);
        assert_eq!(ticks.read(at("2026-01-01T11:00:00Z")), 1_000);
        assert_eq!(ticks.read(at("2026-01-01T11:00:02Z")), 3_000);
        ticks.slept(3_000, 500);
        assert_eq!(ticks.read(at("2026-01-01T11:00:02Z")), 3_500);
    }

    proptest! {
        #[test]
        fn no_sixty_seconds_hold_more_than_the_ceiling(
            ceiling in 1_u32..40,
            steps in prop::collection::vec((0_u64..4_000, 0_u8..20), 1..400),
        ) {
            let mut pacer = Pacer::new(ceiling);
            let mut now = 0;
            let mut gone = Vec::new();
            for (advance, event) in steps {
                now += advance;
                if event == 0 {
                    pacer.limited(now, None);
                }
                match pacer.admit(now) {
                    Admission::Go => gone.push(now),
                    Admission::Full(wait) if event == 1 => {
                        now += wait;
                        prop_assert_eq!(pacer.admit(now), Admission::Go, "the wait told is enough");
                        gone.push(now);
                    }
                    Admission::Full(wait) => prop_assert!(wait <= 60_100),
                    Admission::Blocked(_) => prop_assert!(false, "nobody asked us to stay away"),
                }
            }
            for pair in gone.windows(ceiling as usize + 1) {
                prop_assert!(pair[pair.len() - 1] - pair[0] >= 60_000, "{:?}", pair);
            }
        }
    }
}
