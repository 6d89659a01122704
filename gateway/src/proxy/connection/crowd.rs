//! Connections of one address to one tenant, over all cores, where the tenant has a limit of its own.
//!
//! Counted from the ClientHello on, which names the tenant, until the socket is closed: before any key is computed for one
//! that is too many. A tenant without such a limit is not looked up here.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::watch::{Verdict, Watch};

const SHARDS: usize = 16;

/// Whose connections to whom.
type Pair = (Arc<str>, IpAddr);

/// All connections to tenants with a limit. Locked at the handshake and at the close only.
#[derive(Debug)]
pub(super) struct Crowd {
    hasher: RandomState,
    shards: [Mutex<HashMap<Pair, Vec<Member>>>; SHARDS],
    next: AtomicU64,
}

/// One connection, the one that came first first.
#[derive(Debug)]
struct Member {
    number: u64,
    watch: Weak<Watch>,
}

/// One connection's presence, ended when dropped.
#[derive(Debug)]
pub(super) struct Presence {
    crowd: Arc<Crowd>,
    pair: Pair,
    number: u64,
}

impl Crowd {
    /// Nobody yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { hasher: RandomState::new(), shards: Default::default(), next: AtomicU64::new(0) })
    }

    /// Lets a connection in as one of its address' `most`, if need be in place of the one among these that has been idle
    /// for longest, on whichever core: its close is asked for. `None`: all of them are at work.
    pub(super) fn enter(self: &Arc<Self>, tenant: &Arc<str>, most: u32, watch: &Arc<Watch>) -> Option<Presence> {
        let pair = (Arc::clone(tenant), watch.client());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Dropped after the lock: the last of a connection may be what its task was waiting for.
        let (mut looked_at, mut ended) = (Vec::new(), Vec::new());
        let mut shard = self.shard(&pair).lock().unwrap_or_else(PoisonError::into_inner);
        let members = shard.entry(pair.clone()).or_default();
        while members.len() >= most.max(1) as usize {
            match idle_for_longest(members, &mut looked_at) {
                Some(at) => ended.push(members.remove(at)),
                None => break,
            }
        }
        let enters = members.len() < most.max(1) as usize;
        if enters {
            members.push(Member { number, watch: Arc::downgrade(watch) });
        }
        drop(shard);
        for watch in ended.iter().filter_map(|member| member.watch.upgrade()) {
            watch.judge(Verdict::Cut);
        }
        enters.then(|| Presence { crowd: Arc::clone(self), pair, number })
    }

    fn shard(&self, pair: &Pair) -> &Mutex<HashMap<Pair, Vec<Member>>> {
        &self.shards[self.hasher.hash_one(pair) as usize % SHARDS]
    }

    #[cfg(test)]
    fn count(&self, tenant: &str, address: IpAddr) -> usize {
        let pair = (Arc::from(tenant), address);
        self.shard(&pair).lock().unwrap_or_else(PoisonError::into_inner).get(&pair).map_or(0, Vec::len)
    }
}

/// Which one nobody asks anything of, since the earliest.
fn idle_for_longest(members: &[Member], looked_at: &mut Vec<Arc<Watch>>) -> Option<usize> {
    let mut found: Option<(u64, usize)> = None;
    for (at, member) in members.iter().enumerate() {
        // It has just ended by itself, and will say so as soon as the lock is free: a place that nobody has.
        let Some(watch) = member.watch.upgrade() else { return Some(at) };
        if watch.is_idle() && found.is_none_or(|(since, _)| watch.since() < since) {
            found = Some((watch.since(), at));
        }
        looked_at.push(watch);
    }
    found.map(|(_, at)| at)
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut shard = self.crowd.shard(&self.pair).lock().unwrap_or_else(PoisonError::into_inner);
        let Some(members) = shard.get_mut(&self.pair) else { return };
        // Not there if another has taken its place.
        members.retain(|member| member.number != self.number);
        if members.is_empty() {
            shard.remove(&self.pair);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{super::watch::Phase, *};

    fn connection(address: [u8; 4], phase: Phase) -> Arc<Watch> {
        let watch = Watch::new(address.into());
        watch.set_phase(phase);
        watch
    }

    const A: [u8; 4] = [192, 0, 2, 1];
    const B: [u8; 4] = [192, 0, 2, 2];

    #[test]
    fn each_address_has_so_many_at_each_tenant() {
        let crowd = Crowd::new();
        let (acme, beta): (Arc<str>, Arc<str>) = ("acme".into(), "beta".into());
        let busy = || connection(A, Phase::Busy);
        let (one, two) = (busy(), busy());
        let (first, _second) = (crowd.enter(&acme, 2, &one).unwrap(), crowd.enter(&acme, 2, &two).unwrap());
        assert!(crowd.enter(&acme, 2, &busy()).is_none());
        assert!(crowd.enter(&beta, 2, &busy()).is_some(), "another tenant's");
        assert!(crowd.enter(&acme, 2, &connection(B, Phase::Busy)).is_some(), "another address'");
        drop(first);
        assert!(crowd.enter(&acme, 2, &busy()).is_some());
        assert_eq!((crowd.count("acme", A.into()), crowd.count("beta", A.into())), (1, 0), "and nobody is left behind");
    }

    #[test]
    fn the_one_that_was_idle_for_longest_makes_room() {
        let crowd = Crowd::new();
        let acme: Arc<str> = "acme".into();
        let all = [Phase::Busy, Phase::Idle, Phase::Idle, Phase::Busy].map(|phase| connection(A, phase));
        all[1].set_since(300);
        all[2].set_since(200);
        let places: Vec<_> = all.iter().map(|watch| crowd.enter(&acme, 4, watch).unwrap()).collect();
        let newcomer = connection(A, Phase::Handshake);
        let place = crowd.enter(&acme, 4, &newcomer).unwrap();
        assert_eq!(all.each_ref().map(|watch| watch.verdict() == Verdict::Cut), [false, false, true, false]);
        assert_eq!(crowd.count("acme", A.into()), 4);
        drop(places);
        assert_eq!(crowd.count("acme", A.into()), 1, "who had to go takes nobody's place along");
        drop(place);
        assert_eq!(crowd.count("acme", A.into()), 0);
    }

    #[test]
    fn a_lower_limit_is_met_by_idle_ones_and_a_stream_keeps_its_connection() {
        let crowd = Crowd::new();
        let acme: Arc<str> = "acme".into();
        let all = [Phase::Idle, Phase::Idle, Phase::Idle].map(|phase| connection(A, phase));
        all[0].add_stream();
        let _places: Vec<_> = all.iter().map(|watch| crowd.enter(&acme, 3, watch).unwrap()).collect();
        let newcomer = connection(A, Phase::Handshake);
        let _place = crowd.enter(&acme, 2, &newcomer).unwrap();
        assert_eq!(all.each_ref().map(|watch| watch.verdict() == Verdict::Cut), [false, true, true]);
        assert_eq!(crowd.count("acme", A.into()), 2);
    }
}
