//! The log lines of the connection side: each kind at most ten times a second, then counted.

use std::{
    net::IpAddr,
    sync::{
        LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::proxy::exchange::Refusal;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Lets through `most` lines in every period, and counts the others.
struct Limit {
    most: u32,
    period: u64,
    current: AtomicU64,
    said: AtomicU32,
    unsaid: AtomicU64,
}

impl Limit {
    const fn new(most: u32, period_seconds: u64) -> Self {
        Self {
            most,
            period: period_seconds,
            current: AtomicU64::new(u64::MAX),
            said: AtomicU32::new(0),
            unsaid: AtomicU64::new(0),
        }
    }

    /// `Some(how many were left out since)`: say it.
    fn may_say(&self) -> Option<u64> {
        let now = START.elapsed().as_secs() / self.period;
        if self.current.swap(now, Ordering::Relaxed) != now {
            self.said.store(0, Ordering::Relaxed);
        }
        if self.said.fetch_add(1, Ordering::Relaxed) < self.most {
            Some(self.unsaid.swap(0, Ordering::Relaxed))
        } else {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// A request was refused before it reached any worker.
pub(super) fn reject(client: IpAddr, refusal: Refusal) {
    static LIMIT: Limit = Limit::new(10, 1);
    if let Some(unsaid) = LIMIT.may_say() {
        tracing::info!(reason = refusal.reason, status = refusal.status.as_u16(), %client, unsaid, "reject");
    }
}

/// A client was too slow: phase is handshake, head, body or write.
pub(super) fn slow(phase: &'static str, after: Duration) {
    static LIMIT: Limit = Limit::new(10, 1);
    if let Some(unsaid) = LIMIT.may_say() {
        tracing::info!(phase, after = after.as_secs_f64(), unsaid, "slow");
    }
}

/// A client sent too many frames of one kind.
pub(super) fn flood(client: IpAddr, kind: &'static str, frames: u64) {
    static LIMIT: Limit = Limit::new(10, 1);
    if let Some(unsaid) = LIMIT.may_say() {
        tracing::info!(kind, frames, %client, unsaid, "flood");
    }
}

/// Accepting fails for want of descriptors or memory.
pub(super) fn accept_paused(error: &std::io::Error) {
    static LIMIT: Limit = Limit::new(1, 10);
    if let Some(unsaid) = LIMIT.may_say() {
        tracing::warn!(%error, unsaid, "accept paused");
    }
}

/// A connection was not let in: too many of one address, in total, or of one address to one tenant.
pub(super) fn crowded(client: IpAddr, whose: &'static str) {
    static LIMIT: Limit = Limit::new(10, 1);
    if let Some(unsaid) = LIMIT.may_say() {
        tracing::info!(kind = "connections", %client, whose, unsaid, "flood");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_line_of_a_period_is_counted() {
        let limit = Limit::new(10, 1_000_000);
        for _ in 0..10 {
            assert_eq!(limit.may_say(), Some(0));
        }
        assert_eq!(limit.may_say(), None);
        assert_eq!(limit.may_say(), None);
        limit.current.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(limit.may_say(), Some(2));
    }
}
