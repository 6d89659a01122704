//! A token bucket: how much of a flood is kept.

use std::time::Duration;

const SECOND: u128 = 1_000_000_000;

/// Lets `rate` units a second through, and as many at once after a second of rest.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: u64,
    /// Units times nanoseconds, so that no fraction is ever lost.
    level: u128,
    filled: Duration,
}

impl Bucket {
    /// A full one. `now` is monotonic, from any origin.
    pub(super) fn new(rate: u64, now: Duration) -> Self {
        Self { rate, level: u128::from(rate) * SECOND, filled: now }
    }

    /// Takes `units`, or nothing when there are too few.
    pub(super) fn take(&mut self, units: usize, now: Duration) -> bool {
        let elapsed = now.saturating_sub(self.filled).as_nanos();
        let full = u128::from(self.rate) * SECOND;
        self.level = elapsed.saturating_mul(u128::from(self.rate)).saturating_add(self.level).min(full);
        self.filled = self.filled.max(now);
        let wanted = units as u128 * SECOND;
        let enough = wanted <= self.level;
        if enough {
            self.level -= wanted;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_at_once_and_then_the_rate() {
        let at = Duration::from_millis;
        let mut bucket = Bucket::new(1000, at(5000));
        assert!(bucket.take(600, at(5000)) && bucket.take(400, at(5000)));
        assert!(!bucket.take(1, at(5000)));
        assert!(!bucket.take(11, at(5010)) && bucket.take(10, at(5010)));
        // Rest fills it up to one second's worth and no more; a clock that goes back does not.
        assert!(!bucket.take(1001, at(99_000)) && bucket.take(1000, at(99_000)));
        assert!(!bucket.take(1, at(0)));
        assert!(!bucket.take(1, at(99_000)));
    }

    #[test]
    fn small_steps_add_up() {
        let mut bucket = Bucket::new(1_000_000, Duration::ZERO);
        assert!(bucket.take(1_000_000, Duration::ZERO));
        let taken = (1..=1_000_000_u64).filter(|step| bucket.take(1, Duration::from_nanos(step * 500))).count();
        assert_eq!(taken, 500_000);
    }
}
