//! How long to wait before the next attempt, and when to call a thing failed.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::Now;

/// How fast attempts follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Whether the first restart comes without any delay.
    pub eager: bool,
    /// The delay that is doubled, before jitter.
    pub base: Duration,
    /// The longest delay, jitter included.
    pub longest: Duration,
    /// This many failed starts within [`Pace::WINDOW`] are a crash loop. `None`: never give up.
    pub limit: Option<usize>,
}

impl Pace {
    /// A tenant's worker: 100 ms doubling to 30 s, given up after five failed starts in a minute.
    pub const TENANT: Self =
        Self { eager: false, base: Duration::from_millis(100), longest: Duration::from_secs(30), limit: Some(5) };

    /// A role without which nobody is served: back at once, then 100 ms doubling to 1 s, never given up.
    pub const ROLE: Self =
        Self { eager: true, base: Duration::from_millis(100), longest: Duration::from_secs(1), limit: None };

    /// The window in which failed starts are counted.
    pub const WINDOW: Duration = Duration::from_secs(60);

    /// This long healthy, and all earlier trouble is forgotten.
    pub const STABLE: Duration = Duration::from_secs(60);

    /// Between attempts of what was given up.
    pub const RARE: Duration = Duration::from_secs(300);
}

/// What follows a bad end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Until the next attempt.
    pub delay: Duration,
    /// It is a crash loop: attempts are rare now.
    pub given_up: bool,
}

/// Counts bad ends and judges them.
#[derive(Clone, Debug)]
pub struct Backoff {
    pace: Pace,
    random: SplitMix64,
    trouble: Trouble,
}

/// The bad ends that are not forgotten yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    doublings: u32,
    started: bool,
    ends: VecDeque<Now>,
    given_up: bool,
}

impl Backoff {
    /// Nothing bad has happened yet. The seed decides the jitter.
    pub fn new(pace: Pace, seed: u64) -> Self {
        Self::recall(pace, seed, Trouble::default())
    }

    /// Goes on where another one was; see [`Backoff::trouble`].
    pub fn recall(pace: Pace, seed: u64, trouble: Trouble) -> Self {
        Self { pace, random: SplitMix64::new(seed), trouble }
    }

    /// What is to be remembered of it.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// An attempt ended badly at `now`, after having been healthy for `healthy` (`None`: it never was).
    pub fn failed(&mut self, healthy: Option<Duration>, now: Now) -> Verdict {
        if healthy.is_some_and(|healthy| healthy >= Pace::STABLE) {
            self.reset();
        }
        // Only failed *starts* make a crash loop: a worker that was healthy and fell is brought back, ever more slowly.
        if healthy.is_none() {
            self.trouble.ends.push_back(now);
        }
        while self.trouble.ends.front().is_some_and(|end| now.since(*end) > Pace::WINDOW) {
            self.trouble.ends.pop_front();
        }
        if self.pace.limit.is_some_and(|limit| self.trouble.ends.len() >= limit) {
            self.trouble.given_up = true;
        }
        if self.trouble.given_up {
            return Verdict { delay: self.jittered(Pace::RARE), given_up: true };
        }
        if self.pace.eager && !self.trouble.started {
            self.trouble.started = true;
            return Verdict { delay: Duration::ZERO, given_up: false };
        }
        let plain = self.pace.base.saturating_mul(1 << self.trouble.doublings.min(20)).min(self.pace.longest);
        if plain < self.pace.longest {
            self.trouble.doublings += 1;
        }
        Verdict { delay: self.jittered(plain).min(self.pace.longest), given_up: false }
    }

    /// Whether attempts are rare now. Stays so until an attempt has been healthy for [`Pace::STABLE`] or `reset`.
    pub fn given_up(&self) -> bool {
        self.trouble.given_up
    }

    /// Forgets all trouble.
    pub fn reset(&mut self) {
        self.trouble = Trouble::default();
    }

    /// Between 80 % and 120 %, so that what fell together does not rise together.
    fn jittered(&mut self, plain: Duration) -> Duration {
        let thousandths = 800 + u32::try_from(self.random.below(401)).unwrap_or(200);
        plain.saturating_mul(thousandths) / 1000
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, good enough for jitter and simulations; never for secrets.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound` (0 for a bound of 0). The bias of a small bound is beyond notice.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.draw() % bound }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Now {
        Now(Duration::from_millis(millis))
    }

    #[test]
    fn doubles_from_100_ms_to_30_s_within_the_jitter() {
        let mut backoff = Backoff::new(Pace::TENANT, 7);
        for nth in 0..20_u32 {
            // Far enough apart that it is no crash loop.
            let verdict = backoff.failed(None, at(u64::from(nth) * 40_000));
            let plain = Duration::from_millis(100 << nth.min(9)).min(Duration::from_secs(30));
            assert!(!verdict.given_up);
            assert!(verdict.delay >= plain * 8 / 10 && verdict.delay <= plain * 12 / 10, "{nth}: {:?}", verdict.delay);
        }
    }

    #[test]
    fn five_failed_starts_in_a_minute_are_a_crash_loop_until_a_minute_of_health() {
        let mut backoff = Backoff::new(Pace::TENANT, 1);
        for second in [0, 10, 20, 30] {
            assert!(!backoff.failed(None, at(second * 1000)).given_up);
        }
        assert!(!backoff.failed(Some(Duration::ZERO), at(40_000)).given_up, "it had started");
        let fifth = backoff.failed(None, at(59_000));
        assert!(fifth.given_up && fifth.delay >= Duration::from_secs(240) && fifth.delay <= Duration::from_secs(360));
        assert!(backoff.failed(Some(Duration::from_secs(59)), at(400_000)).given_up, "59 s of health is not enough");
        let after = backoff.failed(Some(Duration::from_secs(60)), at(800_000));
        assert!(!after.given_up && after.delay <= Duration::from_millis(120));
    }

    #[test]
    fn bad_ends_spread_over_more_than_a_minute_are_none() {
        let mut backoff = Backoff::new(Pace::TENANT, 1);
        for nth in 0..50 {
            assert!(!backoff.failed(None, at(nth * 15_100)).given_up);
        }
    }

    #[test]
    fn a_role_is_back_at_once_and_never_given_up() {
        let mut backoff = Backoff::new(Pace::ROLE, 1);
        assert_eq!(backoff.failed(None, at(0)).delay, Duration::ZERO);
        for nth in 0..100 {
            let verdict = backoff.failed(None, at(nth));
            assert!(!verdict.given_up && !verdict.delay.is_zero() && verdict.delay <= Duration::from_secs(1));
        }
        assert_eq!(backoff.failed(Some(Duration::from_secs(61)), at(70_000)).delay, Duration::ZERO);
    }

    proptest! {
        #[test]
        fn delays_stay_in_bounds(seed: u64, gaps in prop::collection::vec((0_u64..100_000, prop::option::of(0_u64..90)), 1..60)) {
            let (mut backoff, mut now) = (Backoff::new(Pace::TENANT, seed), 0);
            for (gap, healthy) in gaps {
                now += gap;
                let verdict = backoff.failed(healthy.map(Duration::from_secs), at(now));
                prop_assert_eq!(verdict.given_up, backoff.given_up());
                let longest = if verdict.given_up { Duration::from_secs(360) } else { Duration::from_secs(30) };
                prop_assert!(verdict.delay >= Duration::from_millis(80) && verdict.delay <= longest);
            }
        }
    }
}
