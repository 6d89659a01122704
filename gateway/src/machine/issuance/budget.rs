//! Let's Encrypt's published limits, with something in reserve, held for every authority: who stays within the strictest one
//! is locked out of none. What was used up is written down before it is used.

use jiff::{SignedDuration, Timestamp};

use super::{
    Ledger,
    span::{DAY, HOUR, MINUTE, WEEK, later},
};

/// New orders that an account may place at once.
const ORDERS: i32 = 300;
/// One comes back after this long.
const ORDER_EVERY: SignedDuration = SignedDuration::from_secs(36);
/// Renewals in a minute.
const RENEWALS: usize = 10;
/// Certificates of one set of names in a week; the authority allows 5.
const SET: usize = 3;
/// The same when the one there is about to expire, or has.
const SET_EMERGENCY: usize = 5;
/// First certificates of one registered domain in a week; the authority allows 50.
const DOMAIN: usize = 45;
/// Failed validations of a name in an hour; the authority allows 5.
const FAILURES: usize = 4;
/// Orders under way at once.
pub(super) const AT_ONCE: usize = 8;

impl Ledger {
    /// When a new order may be placed next; `None`: now.
    pub(super) fn orders_full(&self, now: Timestamp) -> Option<Timestamp> {
        // The bucket as one moment, at which it is full again (GCRA, as the authority's own).
        let free = later(self.orders?, -(ORDER_EVERY * (ORDERS - 1)));
        (free > now).then(|| free.min(later(now, ORDER_EVERY * ORDERS)))
    }

    /// When the next renewal may go; `None`: now.
    pub(super) fn renewals_full(&self, now: Timestamp) -> Option<Timestamp> {
        full(&self.renewals, RENEWALS, MINUTE, now)
    }

    /// When this set of names may have its next certificate; `None`: now.
    pub(super) fn set_full(
        &self,
        stem: &str,
        life: Option<SignedDuration>,
        urgent: bool,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let limit = if urgent { SET_EMERGENCY } else { SET };
        full(self.sets.get(stem)?, limit, set_window(life), now)
    }

    /// When this registered domain may have its next first certificate; `None`: now.
    pub(super) fn domain_full(&self, domain: &str, now: Timestamp) -> Option<Timestamp> {
        full(self.domains.get(domain)?, DOMAIN, WEEK, now)
    }

    /// An order is about to be placed that counts.
    pub(super) fn order(&mut self, now: Timestamp) {
        let longest = later(now, ORDER_EVERY * ORDERS);
        self.orders = Some(later(self.orders.map_or(now, |full| full.clamp(now, longest)), ORDER_EVERY));
    }

    /// Drops what counts no more. A moment that is yet to come is one of a clock that was set: it is now.
    ///
    /// It goes over every name of the house, and nothing of it changes an answer: whoever asks looks at the time by itself.
    pub(super) fn prune(&mut self, now: Timestamp) {
        for moments in self.sets.values_mut().chain(self.domains.values_mut()) {
            keep(moments, WEEK, now);
        }
        self.sets.retain(|_, moments| !moments.is_empty());
        self.domains.retain(|_, moments| !moments.is_empty());
        self.domain_waits.retain(|_, wait| wait.end(now).is_some());
        self.prune_house(now);
    }

    /// The same for what the house has one of: little enough for every event.
    pub(super) fn prune_house(&mut self, now: Timestamp) {
        keep(&mut self.renewals, MINUTE, now);
        self.orders = self.orders.filter(|full| *full > now);
        for wait in [&mut self.limited, &mut self.stopped] {
            *wait = wait.filter(|wait| wait.end(now).is_some());
        }
    }
}

/// In which time certificates of one set count. No authority that issues for less than a day has a limit by the week.
fn set_window(life: Option<SignedDuration>) -> SignedDuration {
    life.filter(|life| *life < DAY).unwrap_or(WEEK)
}

/// When an order of so many names may fail its validations next; `None`: now. The apex and its wildcard are one name to the
/// authority, and both may fail.
pub(super) fn failures_full(tries: &[Timestamp], names: usize, now: Timestamp) -> Option<Timestamp> {
    full(tries, (FAILURES / names.max(1)).max(1), HOUR, now)
}

/// Drops what is older than the window.
pub(super) fn keep(moments: &mut Vec<Timestamp>, window: SignedDuration, now: Timestamp) {
    moments.iter_mut().for_each(|moment| *moment = (*moment).min(now));
    moments.retain(|moment| now.duration_since(*moment) < window);
}

/// When fewer than `limit` of these moments are within the window; `None`: now.
fn full(moments: &[Timestamp], limit: usize, window: SignedDuration, now: Timestamp) -> Option<Timestamp> {
    let mut ends: Vec<_> = moments.iter().map(|moment| later((*moment).min(now), window)).collect();
    ends.retain(|end| *end > now);
    ends.sort_unstable();
    (ends.len() >= limit).then(|| ends[ends.len() - limit])
}
