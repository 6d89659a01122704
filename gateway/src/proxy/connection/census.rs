//! How many connections there are, of whom, over all cores; who is let in.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::model::HttpLimits;

/// Descriptors that are kept free for workers' connections, logs and links.
pub(super) const RESERVE: u64 = 64;

/// Counts of connections, shared by all cores. Locked at accept and at close only.
#[derive(Debug)]
pub struct Census {
    total: AtomicU32,
    rejects: AtomicU64,
    most: u32,
    most_per_address: u32,
    hasher: RandomState,
    addresses: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
    /// The number a descriptor must stay below for [`RESERVE`] of them to be free.
    pub(super) descriptors: u64,
}

const SHARDS: usize = 16;

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// This address has as many as one address may have.
    Address,
    /// All clients together have as many as there may be.
    Total,
}

impl Census {
    /// Nobody yet.
    pub fn new(limits: &HttpLimits) -> Arc<Self> {
        let descriptors = descriptor_limit().saturating_sub(RESERVE).max(16);
        Arc::new(Self {
            total: AtomicU32::new(0),
            rejects: AtomicU64::new(0),
            most: limits.connections.max(1),
            most_per_address: limits.connections_per_address.max(1),
            hasher: RandomState::new(),
            addresses: Default::default(),
            descriptors,
        })
    }

    /// Open client connections.
    pub fn connections(&self) -> u64 {
        self.total.load(Ordering::Relaxed).into()
    }

    /// Requests refused by the guard or at admission since the start.
    pub fn rejects(&self) -> u64 {
        self.rejects.load(Ordering::Relaxed)
    }

    pub(super) fn count_reject(&self) {
        self.rejects.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets one connection of this address in, for as long as the place is kept.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = who(address);
        let mut shard = self.shard(address).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.get(&address).copied().unwrap_or(0) >= self.most_per_address {
            return Err(Full::Address);
        }
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Total);
        }
        *shard.entry(address).or_insert(0) += 1;
        drop(shard);
        Ok(Place { census: Arc::clone(self), address })
    }

    fn shard(&self, address: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        &self.addresses[self.hasher.hash_one(address) as usize % SHARDS]
    }
}

/// One connection's place in the census, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    census: Arc<Census>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shard = self.census.shard(self.address).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shard.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.address);
            }
        }
        drop(shard);
        self.census.total.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whom an address stands for: one subscriber has a whole IPv6 /64.
pub(crate) fn who(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

fn descriptor_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn caps_by_address_and_in_total() {
        let census = Census::new(&HttpLimits { connections: 3, connections_per_address: 2, ..HttpLimits::default() });
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::ffff".parse().unwrap();
        let b: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let first = census.enter(a).unwrap();
        let _second = census.enter(neighbour).unwrap();
        assert_eq!(census.enter(a).unwrap_err(), Full::Address);
        let _third = census.enter(b).unwrap();
        assert_eq!(census.enter("192.0.2.2".parse().unwrap()).unwrap_err(), Full::Total);
        drop(first);
        let again = census.enter(b).unwrap();
        assert_eq!(again.address, "192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(census.connections(), 3);
    }
}
