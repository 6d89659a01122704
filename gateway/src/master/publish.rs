//! The route table and the certificates, told whole whenever something in them changed.

use std::{collections::BTreeSet, os::fd::OwnedFd};

use super::house::House;
use crate::{
    machine::tenant,
    model::{Host, RouteTable, TenantRoute},
    sys,
    wire::ToProxy,
};

impl House {
    /// Tells the proxies what changed since they were last told. A table waits until the one before it is applied: what changed
    /// in between is one step then, and a proxy that is slow (or stopped) finds no heap of tables before it. Certificates
    /// come after the routes, so that a host whose handshake succeeds is a host that is known.
    pub(super) fn publish(&mut self) {
        let applied = self.proxies.accord.applied();
        if self.unpublished && applied.is_none_or(|applied| applied >= self.epoch) {
            self.unpublished = false;
            self.epoch += 1;
            self.keep_house();
            for seat in self.seats.values_mut() {
                let revision = seat.machine.revision();
                if seat.told.last().is_none_or(|(_, told)| *told != revision) {
                    seat.told.push((self.epoch, revision));
                }
            }
            self.tell_routes();
        }
        self.tell_answers();
        self.tell_answering();
        if self.uncertified && !self.unpublished && self.may_certify() {
            self.uncertified = false;
            self.tell_certificates();
        }
        if applied.is_none() && self.proxies.alone != Some(self.epoch) {
            self.carry_on_without_proxy();
        }
    }

    /// With no proxy alive that accepts or ever did, nobody routes by an older table and nothing is in flight: whoever waits for that (a stop, a
    /// deploy) need not wait for a proxy to come back. The next one is told the whole table first of all.
    fn carry_on_without_proxy(&mut self) {
        self.proxies.alone = Some(self.epoch);
        self.on_applied();
        for (name, seat) in &self.seats {
            let idle = seat.leases.keys().map(|generation| tenant::Event::Idle { generation: *generation });
            self.inbox.extend(idle.map(|event| (name.clone(), event)));
        }
    }

    /// Tells every proxy the certificates.
    fn tell_certificates(&mut self) {
        match self.sealed_certificates() {
            Ok(sealed) => self.tell_all(&ToProxy::Certificates, &sealed),
            Err(error) => tracing::error!(%error, "the certificates cannot be told"),
        }
        self.certified();
    }

    /// Tells every proxy the whole table.
    fn tell_routes(&mut self) {
        match self.routes() {
            Ok(sealed) => {
                self.tell_all(&ToProxy::Routes { epoch: self.epoch }, &sealed);
                let now = self.now();
                self.proxies.accord.told(self.epoch, now);
            }
            Err(error) => tracing::error!(%error, "the routes cannot be told"),
        }
    }

    fn tell_all(&self, message: &ToProxy, sealed: &OwnedFd) {
        for proxy in self.proxies.all() {
            match sealed.try_clone() {
                Ok(copy) => proxy.role.send(message.clone(), vec![copy]),
                Err(error) => tracing::error!(%error, "a proxy cannot be told"),
            }
        }
    }

    /// Certificates for every host; new leaves are minted here.
    pub(super) fn sealed_certificates(&mut self) -> std::io::Result<OwnedFd> {
        if let Some(told) = self.issued() {
            return sys::memfd::seal("certificates", &told);
        }
        let hosts = self.seats.values().flat_map(|seat| &seat.spec.hosts);
        let set = self.certificates.cover(hosts).map_err(std::io::Error::other)?;
        self.note_certificates();
        sys::memfd::seal("certificates", &serde_json::to_vec(&set)?)
    }

    /// Says what is wrong with certificates, as long as it is.
    pub(super) fn note_certificates(&mut self) {
        let now = self.certificates.notice();
        if now.as_ref() != self.notices.get("certificates") {
            self.untold = true;
            match now {
                Some(sentence) => drop(self.notices.insert("certificates", sentence)),
                None => drop(self.notices.remove("certificates")),
            }
        }
    }

    /// The whole table.
    pub(super) fn routes(&self) -> std::io::Result<OwnedFd> {
        let mut tenants: Vec<TenantRoute> = self.seats.values().map(|seat| seat.route(&self.gateway)).collect();
        // A file that was renamed leaves a tenant that only ends what is in flight: its hosts are the new one's already.
        let present = self.seats.values().filter(|seat| !seat.removed);
        let owned: BTreeSet<&Host> = present.flat_map(|seat| &seat.spec.hosts).collect();
        for (seat, route) in self.seats.values().zip(&mut tenants).filter(|(seat, _)| seat.removed) {
            route.hosts.retain(|host| !owned.contains(host));
            route.canonical = seat.spec.canonical.clone().filter(|host| !owned.contains(host));
        }
        let table = RouteTable { epoch: self.epoch, tenants };
        sys::memfd::seal("routes", &serde_json::to_vec(&table)?)
    }

    /// Every core of every proxy routes by some epoch now: tenants learn which revision of theirs that was.
    pub(super) fn on_applied(&mut self) {
        let applied = self.proxies.accord.applied().unwrap_or(self.epoch);
        for (name, seat) in &mut self.seats {
            // Epoch 0 stands for what the tenant was told before.
            let newest = seat.told.iter().rev().find(|(epoch, _)| *epoch <= applied);
            if let Some((_, revision)) = newest.copied().filter(|(epoch, _)| *epoch > 0) {
                // The last one told stays, so that an unchanged revision is not told again.
                let last = seat.told.last().copied();
                seat.told.retain(|(epoch, _)| *epoch > applied);
                if seat.told.is_empty() {
                    seat.told.extend(last.map(|(_, revision)| (0, revision)));
                }
                self.inbox.push_back((name.clone(), tenant::Event::Applied { revision }));
            }
        }
    }
}
