//! A second life: what an earlier one has left is taken over, and nobody else notices. After a crash and after an upgrade it
//! is the same.

use std::collections::HashSet;

use super::{
    child::Child,
    event::{Event, Who},
    fleet::{HouseMemory, LeaseMemory, RoleMemory, TenantMemory},
    house::{House, role_settings},
    lease::Lease,
    proxies::Proxies,
    roles::Post,
    seat::Seat,
    vault,
};
use crate::{
    machine::{
        tenant,
        worker::{self, Phase, Worker},
    },
    model::TenantName,
    sys::{self, process::Name},
    wire::{PROTOCOL, ToProxy},
};

/// Told of a process that did not live to see us.
const GONE: &str = "it ended while landlord was away";

impl House {
    /// Goes on where an earlier life has ended: adopts its roles and workers, ends what it had begun and not written down,
    /// and then looks at the files.
    pub(super) fn resume(&mut self) {
        self.announce = None;
        let house = self.fleet.house();
        let mut roles = Vec::new();
        if let Some(HouseMemory { since, epoch, log, acme, proxies, .. }) = house {
            self.since = since.parse().unwrap_or(self.since);
            self.epoch = epoch;
            roles.extend(self.adopt_log(log));
            self.end_acme(acme);
            let newest = proxies.newest.role.clone();
            let others: Vec<_> =
                proxies.next.iter().chain(&proxies.older).map(|one| (one.number, one.role.clone())).collect();
            self.proxies = Proxies::recall(proxies, self.now());
            let number = self.proxies.newest.number;
            roles.extend(self.adopt_proxy(number, newest));
            for (number, role) in others {
                // Nobody keeps it up: there is nothing to be told.
                let _ = self.adopt_proxy(number, role);
            }
            self.proxies.older.retain(|one| one.role.child.is_some());
        }
        let mut recalled = Vec::new();
        let mut given_up = HashSet::new();
        for (name, memory) in self.fleet.tenants() {
            let held: Vec<_> = memory.leases.iter().map(LeaseMemory::claims).collect();
            match self.recall_seat(&name, memory) {
                Ok(()) => recalled.push(name),
                Err(reason) => {
                    tracing::error!(tenant = %name, reason, "its worker cannot be taken over: it is started anew");
                    // Let in anew by its file: nothing of its past may stay.
                    self.fleet.forget(&name);
                    self.vault.forget(&vault::log(&name));
                    for (generation, marker, port) in held {
                        self.vault.forget(&vault::socket(&name, generation));
                        given_up.insert(marker.into_bytes());
                        if let Some(port) = port {
                            self.ports.release(port);
                        }
                    }
                }
            }
        }
        self.vault.forget_untaken();
        self.end_strays(given_up);
        if self.log.child.is_some()
            && let Err(error) = self.tell_log()
        {
            tracing::error!(%error, "the log role cannot be told what it reads");
        }
        tracing::info!(
            tenants = recalled.len(),
            workers = self.workers().count(),
            proxy = self.proxies.newest.role.child.as_ref().map(|child| child.pid),
            draining = self.proxies.older.len(),
            "goes on where it was interrupted"
        );

        (self.unpublished, self.uncertified) = (true, true);
        self.look();
        for name in recalled {
            self.wish(&name);
        }
        self.suit_acme();
        self.tell_machines();
        for (post, fact) in roles {
            self.role_fact(post, fact);
        }
        // Those that were never started, or of which nothing is known.
        for post in [Post::Log, Post::Proxy(self.proxies.newest.number)] {
            if self.role_worker(post).is_some_and(|worker| worker.phase() == Phase::Stopped) {
                self.role_fact(post, worker::Event::Start);
            }
        }
        self.count_draining();
    }

    /// The first life, or one after a clean end: nothing of an earlier one may live, and nothing of it counts.
    pub(super) fn clear_up(&mut self) {
        self.vault.forget_untaken();
        self.end_strays(HashSet::new());
        match sys::unit::kill_marked(&self.mark) {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "processes of an earlier life were left, and are ended"),
            Err(error) => tracing::error!(%error, "some processes of an earlier life cannot be ended"),
        }
        self.fleet.clear();
    }

    /// Gives the fact that its machine does not know yet: it may start another, and is told when all is in place.
    fn adopt_log(&mut self, memory: RoleMemory) -> Option<(Post, worker::Event)> {
        let known = (memory.worker.attempt(), memory.worker.spawning(), memory.worker.pid().is_some());
        self.log.worker = Worker::recall(role_settings(), memory.worker, self.now());
        match self.log.adopt(memory.process, &mut self.vault, &self.events, super::staff::heard_log) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("the log role is not there any more"),
            Err(error) => tracing::error!(%error, "the log role cannot be taken over"),
        }
        let pid = self.log.child.as_ref().map(|child| child.pid);
        Some((Post::Log, news(known, pid)?))
    }

    /// It keeps nothing, and its link has ended with the life before: another one goes on with its orders.
    fn end_acme(&self, name: Option<Name>) {
        let Some(name) = name else { return };
        match Child::adopt(name, Who::Nobody, 0, self.events.clone()) {
            Ok(Some(child)) => child.signal(libc::SIGKILL),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the acme role of the life before cannot be ended"),
        }
    }

    /// As the log role. Both ends say Hello after every resume; then the proxy says again all that may have been lost.
    fn adopt_proxy(&mut self, number: u32, memory: RoleMemory) -> Option<(Post, worker::Event)> {
        let known = (memory.worker.attempt(), memory.worker.spawning(), memory.worker.pid().is_some());
        let (newest, epoch, now) = (self.proxies.is_newest(number), self.epoch, self.now());
        let proxy = self.proxies.get_mut(number)?;
        let wrap = move |attempt, fact, _| Event::Proxy(number, attempt, fact);
        match proxy.role.adopt(memory.process, &mut self.vault, &self.events, wrap) {
            Ok(true) => {
                proxy.role.send(ToProxy::Hello { protocol: PROTOCOL }, Vec::new());
                if !newest && proxy.facts.started {
                    proxy.role.send(ToProxy::Retire, Vec::new());
                } else if !newest {
                    // Nobody was let in to it.
                    proxy.kill();
                }
                // So that the next table is told at once: whatever was told before, it is newer.
                self.proxies.accord.join(number, epoch, epoch, now);
            }
            Ok(false) => tracing::warn!(number, "a proxy is not there any more"),
            Err(error) => tracing::error!(number, %error, "a proxy cannot be taken over"),
        }
        let pid = self.proxies.get(number)?.role.child.as_ref().map(|child| child.pid);
        Some((Post::Proxy(number), news(known, pid)?))
    }

    /// Puts a tenant back in its seat, with what its generations held, and tells its machine what happened meanwhile.
    fn recall_seat(&mut self, name: &TenantName, memory: TenantMemory) -> Result<(), String> {
        let said = |what: &str, error: std::io::Error| format!("{what}: {error}");
        let read = self.vault.take(&vault::log(name)).ok_or("its log's pipe is gone")?;
        let write = sys::fdstore::write_end(&read).map_err(|e| said("its log's pipe", e))?;
        let (machine, now) = (memory.machine.clone(), self.now());
        let mut held = memory.leases.clone();
        let mut seat = Seat::recall(memory, (read, write), now);
        seat.stopped = self.records.of(name).stopped;
        let mut news = Vec::new();
        let mut unopened = Vec::new();
        for (generation, one) in machine.generations() {
            // A full disk may have kept it from being reserved.
            self.numbers.note_use(generation);
            let Some(at) = held.iter().position(|lease| lease.generation == generation) else {
                if one.opening() {
                    unopened.push(generation);
                    continue;
                }
                return Err(format!("what generation {generation} held is not known"));
            };
            let socket = self.vault.take(&vault::socket(name, generation));
            let lease = Lease::recall(held.swap_remove(at), socket, &mut self.ports, &self.events)?;
            self.watch.add(&super::plan::folder(&self.gateway, &lease.spec));
            if one.opening() {
                news.push(tenant::Event::Opened { generation });
            }
            let worker = one.worker();
            let pid = lease.child.as_ref().map(|child| child.pid);
            let event = self::news((worker.attempt(), worker.spawning(), worker.pid().is_some()), pid);
            news.extend(event.map(|event| tenant::Event::Worker { generation, event }));
            seat.leases.insert(generation, lease);
        }
        // A generation that was closed before its holdings were.
        for lease in held {
            let socket = self.vault.take(&vault::socket(name, lease.generation));
            if let Ok(lease) = Lease::recall(lease, socket, &mut self.ports, &self.events) {
                lease.kill(&self.groups);
                lease.close(&mut self.ports, &mut self.vault);
            }
        }
        self.seats.insert(name.clone(), seat);
        for generation in unopened {
            news.push(match self.open_lease(name, generation) {
                Ok(()) => tenant::Event::Opened { generation },
                Err(reason) => tenant::Event::OpenFailed { generation, reason },
            });
        }
        self.inbox.extend(news.into_iter().map(|event| (name.clone(), event)));
        Ok(())
    }

    /// Ends whatever an earlier life has started and did not live to write down, and the commands that it had begun: what is
    /// no adopted role's, no adopted worker's, and of neither's making.
    fn end_strays(&mut self, given_up: HashSet<Vec<u8>>) {
        let proxies = self.proxies.all().filter_map(|proxy| proxy.role.child.as_ref());
        let roles = self.log.child.iter().chain(proxies);
        let workers = self.workers().filter_map(|lease| lease.child.as_ref());
        let spared: Vec<u32> = roles.chain(workers).map(|child| child.pid).collect();
        let marks: Vec<String> = self.workers().map(Lease::marker).collect();
        // Whoever is in a worker's control group is of its making, however hard it has tried to look like a stranger.
        let held = self.workers().map(|lease| (lease.spec.name.clone(), lease.generation)).collect();
        let groups = self.groups.clear(&held);
        match sys::unit::kill_others(&spared, &marks, &groups) {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "processes that nobody answers for are ended"),
            Err(error) => tracing::error!(%error, "some processes that nobody answers for cannot be ended"),
        }
        // Where no unit says what is ours, our own children are.
        let mut ended: HashSet<Vec<u8>> = given_up;
        for lease in self.seats.values_mut().flat_map(|seat| seat.leases.values_mut()) {
            if lease.child.is_none() {
                ended.insert(lease.marker().into_bytes());
            }
            // It is ended, and nobody waits for its answer.
            lease.task = None;
        }
        match sys::process::kill_trees(&ended) {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "processes of workers that have ended are ended"),
            Err(error) => tracing::error!(%error, "some processes of workers that have ended cannot be ended"),
        }
    }

    /// What holds a worker that lives.
    fn workers(&self) -> impl Iterator<Item = &Lease> {
        self.seats.values().flat_map(|seat| seat.leases.values()).filter(|lease| lease.child.is_some())
    }
}

/// What a machine has to be told about the process that it remembers, or waits for.
fn news((attempt, spawning, remembered): (u32, bool, bool), found: Option<u32>) -> Option<worker::Event> {
    match (spawning, remembered, found) {
        (true, _, Some(pid)) => Some(worker::Event::Spawned { pid }),
        (true, _, None) => Some(worker::Event::SpawnFailed { reason: GONE.into() }),
        (false, true, None) => Some(worker::Event::Exited { attempt, reason: GONE.into() }),
        (false, _, _) => None,
    }
}
