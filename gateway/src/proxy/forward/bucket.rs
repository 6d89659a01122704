//! A tenant's token bucket: requests a second over all cores, as one atomic that they share (GCRA, by `governor`).

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::Rate;

/// What nobody reaches; above it `governor`'s nanoseconds would round to nothing.
const MOST_PER_SECOND: u32 = 1_000_000;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// One tenant's tokens. It outlives tables for as long as its rate is the same.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Empty {
    /// Until there is a token again, in whole seconds; at least 1.
    pub retry_after: u32,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(rate.per_second.min(MOST_PER_SECOND)));
        let limiter = RateLimiter::direct(quota.allow_burst(at_least_one(rate.burst)));
        Self { rate, limiter: limiter.with_middleware() }
    }

    /// The one after `before`, at another rate: it holds what that held, and never more than it can hold. Whoever changes
    /// a rate in the middle of a flood must not let another burst of it in.
    pub fn after(before: &Self, rate: Rate) -> Self {
        let new = Self::new(rate);
        // The token that looking costs is given back: the old bucket is not asked any more.
        let left = before.limiter.check().map_or(0, |seen| seen.remaining_burst_capacity().saturating_add(1));
        if let Some(missing) = NonZeroU32::new(rate.burst.saturating_sub(left)) {
            // It is full and holds as many.
            let _taken = new.limiter.check_n(missing);
        }
        new
    }

    /// What it was made with.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// One token.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&self) -> Result<(), Empty> {
        match self.limiter.check() {
            Ok(_) => Ok(()),
            Err(until) => Err(Empty { retry_after: seconds(until.wait_time_from(DefaultClock::default().now())) }),
        }
    }

    /// Says on a refusal what the rate is (draft-ietf-httpapi-ratelimit-headers-10). Not on other answers: what is left
    /// is left for all visitors together, so that it would tell each of them only how busy the others are.
    pub fn explain(&self, empty: Empty, headers: &mut HeaderMap) {
        let Rate { per_second, burst } = self.rate;
        // In so many seconds an empty one fills. A small burst does not make its rate any less.
        let window = burst.div_ceil(per_second.max(1)).max(1);
        let policy = format!("\"requests\";q={};w={window}", u64::from(per_second.max(1)) * u64::from(window));
        let now = format!("\"requests\";r=0;t={}", empty.retry_after);
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, now)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Rounded up, so that who waits for so long does not come in vain.
fn seconds(wait: Duration) -> u32 {
    let whole = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
    whole.saturating_add(u32::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate { per_second, burst }
    }

    /// Takes until it is empty. At one token a second or less, no token comes back meanwhile.
    fn drained(bucket: &Bucket) -> u32 {
        (0..).find(|_| bucket.take().is_err()).unwrap()
    }

    #[test]
    fn it_holds_a_burst_and_says_when_to_come_again() {
        let bucket = Bucket::new(rate(1, 5));
        assert_eq!(drained(&bucket), 5);
        let empty = bucket.take().unwrap_err();
        assert_eq!(empty.retry_after, 1);
        let mut headers = HeaderMap::new();
        bucket.explain(empty, &mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"requests\";q=5;w=5");
        assert_eq!(headers["ratelimit"], "\"requests\";r=0;t=1");
        for (rate, policy) in [
            (rate(10, 20), "\"requests\";q=20;w=2"),
            (rate(100, 1), "\"requests\";q=100;w=1"),
            (rate(3, 5), "\"requests\";q=6;w=2"),
            (rate(u32::MAX, 1), "\"requests\";q=4294967295;w=1"),
        ] {
            Bucket::new(rate).explain(empty, &mut headers);
            assert_eq!(headers["ratelimit-policy"], policy);
        }
        assert_eq!(seconds(Duration::from_millis(3001)), 4);
        assert_eq!(seconds(Duration::from_millis(3000)), 3);
        assert_eq!(seconds(Duration::ZERO), 1);
    }

    #[test]
    fn a_changed_rate_is_no_gift() {
        let full = Bucket::new(rate(1, 5));
        assert_eq!(drained(&Bucket::after(&full, rate(1, 3))), 3, "what a smaller one can hold");
        let part = Bucket::new(rate(1, 5));
        part.take().unwrap();
        part.take().unwrap();
        assert_eq!(drained(&Bucket::after(&part, rate(1, 50))), 3, "what was left");
        let empty = Bucket::new(rate(1, 5));
        drained(&empty);
        assert_eq!(drained(&Bucket::after(&empty, rate(1, 50))), 0);
    }

    #[test]
    fn tokens_come_back_and_absurd_rates_are_no_panic() {
        let bucket = Bucket::new(rate(1000, 1));
        bucket.take().unwrap();
        while bucket.take().is_err() {
            std::thread::yield_now();
        }
        for absurd in [rate(u32::MAX, u32::MAX), rate(0, 0), rate(1, u32::MAX), rate(u32::MAX, 1)] {
            let bucket = Bucket::new(absurd);
            assert_eq!(bucket.take(), Ok(()));
            assert_eq!(Bucket::after(&bucket, absurd).rate(), absurd);
        }
    }

    #[test]
    fn all_cores_take_from_the_same_tokens() {
        let (bucket, got) = (Arc::new(Bucket::new(rate(1, 1000))), Arc::new(AtomicU32::new(0)));
        let began = std::time::Instant::now();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (bucket, got) = (Arc::clone(&bucket), Arc::clone(&got));
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        got.fetch_add(u32::from(bucket.take().is_ok()), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let back = began.elapsed().as_secs() as u32 + 1;
        let got = got.load(Ordering::Relaxed);
        assert!((1000..=1000 + back).contains(&got), "{got}");
    }
}
