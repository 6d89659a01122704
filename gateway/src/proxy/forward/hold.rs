//! Places for requests that wait for their tenant: bounded in number over all cores, each given back on drop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// The places of one tenant. It outlives tables.
#[derive(Debug, Default)]
pub struct Held {
    count: AtomicU32,
    /// How many may wait at once.
    pub limit: AtomicU32,
    /// Whether the master has been told that somebody waits, since the tenant was last not held.
    pub told: AtomicBool,
}

impl Held {
    /// A place, unless all are taken.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let limit = self.limit.load(Ordering::Relaxed);
        self.count
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| (count < limit).then_some(count + 1))
            .ok()
            .map(|_| Place(Arc::clone(self)))
    }

    /// How many wait now.
    pub fn waiting(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }
}

/// One request's place; dropping it (answered, expired, client gone) frees it.
#[derive(Debug)]
pub struct Place(Arc<Held>);

impl Place {
    /// Whether this is the first to wait since the tenant was last served: it is to be told.
    pub fn first(&self) -> bool {
        !self.0.told.swap(true, Ordering::AcqRel)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let held = Arc::new(Held::default());
        assert!(held.take().is_none(), "no limit told yet: no place");
        held.limit.store(2, Ordering::Relaxed);
        let (one, two) = (held.take(), held.take());
        assert!(one.is_some() && two.is_some());
        assert!(held.take().is_none());
        drop(one);
        assert_eq!(held.waiting(), 1);
        let three = held.take();
        assert!(three.as_ref().is_some_and(Place::first));
        assert!(two.is_some_and(|place| !place.first()));
    }
}
