//! The route table as a core reads it: an immutable snapshot, host → tenant → backend, swapped whole.
//!
//! Gates, places for held requests, seats and token buckets outlive a table: a generation that two tables name has one
//! gate.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};
use http::HeaderValue;
use tokio::sync::{Notify, watch};

use super::forward::{bucket::Bucket, gate::Gate, headers::strict_transport_security, hold::Held, seats::Seats};
use crate::model::{self, BackendAddress, BackendRoute, GenerationId, Host, Rate};

/// One generation of a tenant, as requests reach it. Shared by every table that names it.
#[derive(Debug)]
pub struct Backend {
    /// Which generation.
    pub generation: GenerationId,
    /// Whose.
    pub tenant: Arc<str>,
    /// Where it listens.
    pub address: BackendAddress,
    /// Counts what is in flight and keeps new requests out once it is closed.
    pub gate: Gate,
}

/// One tenant as requests meet it.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub name: Arc<str>,
    /// For pages.
    pub company: Arc<str>,
    /// Requests to its other hosts go here.
    pub canonical: Option<Host>,
    /// What to do with its requests.
    pub serving: Serving,
    /// How long a request may be held.
    pub hold_timeout: Duration,
    /// The places for held requests.
    pub held: Arc<Held>,
    /// Bytes of one request body; more is 413.
    pub body: Option<u64>,
    /// What `Strict-Transport-Security` says, made once; `None`: what its worker says.
    pub hsts: Option<HeaderValue>,
    /// Its tokens, where it has a rate.
    pub bucket: Option<Arc<Bucket>>,
    /// Its seats, where the number of its requests in flight is bounded, or was.
    pub seats: Option<Arc<Seats>>,
    /// Connections of one address to it; `None`: as for the whole house.
    pub connections: Option<u32>,
    /// Its storage is used up.
    pub full: bool,
    /// Nobody's using it is told to the master.
    pub sleeps: bool,
}

/// What to do with the requests of a tenant.
#[derive(Clone, Debug)]
pub enum Serving {
    /// Forward to this one.
    Serve(Arc<Backend>),
    /// Keep waiting.
    Hold,
    /// 503 with `Retry-After`, seconds.
    Failed {
        /// Seconds until the next attempt.
        retry_after: u32,
    },
    /// 503, suspended.
    Suspended,
    /// 503, stopped by an operator.
    Stopped,
}

/// One whole picture.
#[derive(Debug, Default)]
pub struct Table {
    /// Which.
    pub epoch: u64,
    hosts: HashMap<Host, u32>,
    /// Whether any tenant has HSTS: where none has, no answer looks for it.
    hsts: bool,
    tenants: Vec<Tenant>,
    backends: HashMap<GenerationId, (Arc<Backend>, BackendRoute)>,
}

impl Table {
    /// Whose host this is.
    pub fn tenant(&self, host: &Host) -> Option<&Tenant> {
        self.hosts.get(host).and_then(|&index| self.tenants.get(index as usize))
    }

    /// What `Strict-Transport-Security` says on this host.
    pub fn hsts(&self, host: &Host) -> Option<HeaderValue> {
        if self.hsts { self.tenant(host)?.hsts.clone() } else { None }
    }

    /// Every generation it names, with what the master said of it.
    pub fn backends(&self) -> impl Iterator<Item = &(Arc<Backend>, BackendRoute)> {
        self.backends.values()
    }

    /// How long a request, or a tunnel (`upgraded`), of this generation may go on once it is to end.
    pub fn timeout(&self, generation: GenerationId, upgraded: bool) -> Option<Duration> {
        let (_, route) = self.backends.get(&generation)?;
        Some(if upgraded { route.upgrade_timeout } else { route.drain_timeout })
    }

    /// The tenants whose visitors wait for the master to do something.
    pub fn waiting(&self) -> impl Iterator<Item = &Tenant> {
        self.tenants.iter().filter(|tenant| matches!(tenant.serving, Serving::Hold) && tenant.held.waiting() > 0)
    }

    /// What serves a tenant that may be put to sleep, and the places of its visitors who wait.
    pub fn sleepers(&self) -> impl Iterator<Item = (&Arc<Backend>, &Arc<Held>)> {
        self.tenants.iter().filter(|tenant| tenant.sleeps).filter_map(|tenant| match &tenant.serving {
            Serving::Serve(backend) => Some((backend, &tenant.held)),
            _ => None,
        })
    }

    /// Whether it names this generation.
    pub fn names(&self, generation: GenerationId) -> bool {
        self.backends.contains_key(&generation)
    }

    /// The snapshot of `told`; what outlives tables is taken over from `before` where it is the same thing.
    fn build(told: model::RouteTable, before: &Table, cores: usize, idle: &Arc<Notify>) -> Table {
        let before_tenants: HashMap<&str, &Tenant> = before.tenants.iter().map(|t| (&*t.name, t)).collect();
        let mut table = Table { epoch: told.epoch, ..Table::default() };
        for tenant in told.tenants {
            let name: Arc<str> = Arc::from(tenant.name.as_str());
            for route in tenant.backends {
                let kept = before.backends.get(&route.generation).map(|(backend, _)| backend);
                let backend = match kept.filter(|b| b.address == route.address && b.tenant == name) {
                    Some(backend) => Arc::clone(backend),
                    None => Arc::new(Backend {
                        generation: route.generation,
                        tenant: Arc::clone(&name),
                        address: route.address.clone(),
                        gate: Gate::new(cores, route.open, Arc::clone(idle)),
                    }),
                };
                table.backends.insert(route.generation, (backend, route));
            }
            let serving = match tenant.serving {
                model::Serving::Serve { generation } => match table.backends.get(&generation) {
                    Some((backend, _)) if backend.tenant == name => Serving::Serve(Arc::clone(backend)),
                    // A table that names no such backend is not complete: wait for the next one.
                    _ => Serving::Hold,
                },
                model::Serving::Hold => Serving::Hold,
                model::Serving::Failed { retry_after } => Serving::Failed { retry_after },
                model::Serving::Suspended => Serving::Suspended,
                model::Serving::Stopped => Serving::Stopped,
            };
            let known = before_tenants.get(&*name).copied();
            let held = known.map_or_else(|| Arc::new(Held::default()), |known| Arc::clone(&known.held));
            held.limit.store(tenant.held_requests, Ordering::Relaxed);
            // Also as a hold begins: one that met the table before that of its serving may have said so since.
            if !(matches!(serving, Serving::Hold) && known.is_some_and(|known| matches!(known.serving, Serving::Hold)))
            {
                held.told.store(false, Ordering::Release);
            }
            let index = table.tenants.len() as u32;
            for host in tenant.hosts {
                // No two tenants share a host; if a table should say so all the same, the first keeps it.
                table.hosts.entry(host).or_insert(index);
            }
            table.hsts |= tenant.hsts.is_some();
            table.tenants.push(Tenant {
                name,
                company: Arc::from(tenant.company),
                canonical: tenant.canonical,
                serving,
                hold_timeout: tenant.hold_timeout,
                held,
                body: tenant.body,
                hsts: tenant.hsts.map(strict_transport_security),
                bucket: bucket(tenant.rate, known),
                seats: seats(tenant.concurrent, tenant.queued, known),
                connections: tenant.connections_per_address,
                full: tenant.full,
                sleeps: tenant.sleeps,
            });
        }
        table
    }
}

fn bucket(rate: Option<Rate>, known: Option<&Tenant>) -> Option<Arc<Bucket>> {
    let rate = rate?;
    Some(match known.and_then(|known| known.bucket.as_ref()) {
        Some(bucket) if bucket.rate() == rate => Arc::clone(bucket),
        Some(bucket) => Arc::new(Bucket::after(bucket, rate)),
        None => Arc::new(Bucket::new(rate)),
    })
}

/// Seats that were there once stay, whether there is a limit or not: what is in flight is counted by them.
fn seats(limit: Option<u32>, queued: u32, known: Option<&Tenant>) -> Option<Arc<Seats>> {
    let seats = match known.and_then(|known| known.seats.as_ref()) {
        Some(seats) => Arc::clone(seats),
        None => limit.map(|_| Arc::default())?,
    };
    seats.set(limit, queued);
    Some(seats)
}

/// The one snapshot of the process and the news of its changes.
#[derive(Clone, Debug)]
pub struct Routes {
    current: Arc<ArcSwap<Table>>,
    epoch: watch::Sender<u64>,
    cores: usize,
    /// Told when a closed gate may have become idle.
    idle: Arc<Notify>,
}

impl Routes {
    /// No table yet: no host is known.
    pub fn new(cores: usize) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(Table::default())),
            epoch: watch::Sender::new(0),
            cores,
            idle: Arc::new(Notify::new()),
        }
    }

    /// Makes `told` the picture that every load sees from now on.
    ///
    /// Gates open before the table is seen and close after it: a request that finds its gate closed is sure to find a
    /// newer table, and one that got in by the old table is counted by the gate that is now closed.
    pub fn apply(&self, told: model::RouteTable) -> Arc<Table> {
        let before = self.current.load_full();
        let table = Arc::new(Table::build(told, &before, self.cores, &self.idle));
        for (backend, route) in table.backends() {
            if route.open {
                backend.gate.open();
            }
        }
        self.current.store(Arc::clone(&table));
        for (backend, route) in table.backends() {
            if !route.open {
                backend.gate.close();
            }
        }
        for (backend, _) in before.backends() {
            if !table.names(backend.generation) {
                backend.gate.close();
                backend.gate.cut_all();
            }
        }
        self.epoch.send_replace(table.epoch);
        table
    }

    /// The newest table.
    pub fn current(&self) -> Arc<Table> {
        self.current.load_full()
    }

    /// Told when a closed gate may have become idle.
    pub fn idle(&self) -> &Arc<Notify> {
        &self.idle
    }

    /// A core's own view.
    pub fn reader(&self) -> Reader {
        Reader { cache: RefCell::new(Cache::new(Arc::clone(&self.current))), epoch: self.epoch.subscribe() }
    }
}

/// One core's view of the routes: a load is one atomic read and touches no shared counter.
#[derive(Debug)]
pub struct Reader {
    cache: RefCell<Cache<Arc<ArcSwap<Table>>, Arc<Table>>>,
    epoch: watch::Receiver<u64>,
}

impl Reader {
    /// What `look` sees in the newest table. `look` must not call back into this reader.
    pub fn with<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(self.cache.borrow_mut().load())
    }

    /// Ends when a table newer than `epoch` is there.
    pub async fn newer(&self, epoch: u64) {
        // The sender lives in `Routes`, which outlives every core: an error can only come at the process' very end.
        if self.epoch.clone().wait_for(|&now| now > epoch).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
