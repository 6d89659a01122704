//! The control thread: the link to the master, the closing of gates, probes, and the access log's writer.
//!
//! It applies what the master tells and reports facts. Requests never wait for it.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc},
    time,
};

use super::{
    access::{self, Record, Writer},
    cores::{Cores, Listener, Setup},
    forward::forwarder::Report,
    probe::{Finding, Probes},
    routes::{Routes, Table},
};
use crate::{
    model::{BackendAddress, CertificateSet, GenerationId, RouteTable},
    sys::memfd,
    wire::{FromProxy, Link, LinkError, PROTOCOL, ToProxy},
};

/// A route table or a set of certificates is at most this long.
const MEMFD: usize = 256 * 1024 * 1024;
/// Deadlines of closed gates and the log's backlog are looked at this often.
const TICK: Duration = Duration::from_millis(100);
const COUNTERS: Duration = Duration::from_secs(10);
/// What is in flight may take so long when the master has gone.
const ORPHANED: Duration = Duration::from_secs(2);

/// Why the proxy cannot go on. It ends; its supervisor starts another.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The link broke.
    #[error("the link to the master: {0}")]
    Link(#[from] LinkError),
    /// The master speaks other messages.
    #[error("the master speaks protocol {0}, this proxy {PROTOCOL}")]
    Protocol(u32),
    /// A message came without what belongs to it, or out of order.
    #[error("the master sent {0}")]
    Order(&'static str),
    /// A table or certificates could not be read.
    #[error("cannot read {what}: {why}")]
    Unreadable {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// A core could not be started or died.
    #[error("core: {0}")]
    Core(String),
}

type ToMaster = Link<FromProxy, ToProxy>;

/// All that the control thread knows.
struct Control {
    link: ToMaster,
    /// Since `Configure`.
    house: Option<House>,
    closed: HashMap<GenerationId, Instant>,
    idle_told: HashSet<GenerationId>,
    probes: Probes,
    reports: mpsc::UnboundedSender<Report>,
    records: mpsc::Sender<Vec<Record>>,
    start: bool,
    certified: bool,
    routed: bool,
}

struct House {
    setup: Setup,
    routes: Routes,
    /// Workers' unix sockets are below this folder.
    sockets: OwnedFd,
    writer: Writer,
    cores: Cores,
    listeners: Vec<Listener>,
}

/// Serves until the master says `Drain` or has gone.
pub(crate) async fn run(link: OwnedFd) -> Result<ExitCode, ControlError> {
    let link = ToMaster::new(link).map_err(LinkError::Io)?;
    link.send(&FromProxy::Hello { protocol: PROTOCOL, epoch: 0 }, &[]).await?;
    let (reports, mut reported) = mpsc::unbounded_channel();
    let (found, mut findings) = mpsc::unbounded_channel();
    let (records, mut batches) = access::channel();
    let mut control = Control {
        link,
        house: None,
        closed: HashMap::new(),
        idle_told: HashSet::new(),
        probes: Probes::new(found),
        reports,
        records,
        start: false,
        certified: false,
        routed: false,
    };
    let mut tick = time::interval(TICK);
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut gone = false;
    let mut counters = time::interval_at(time::Instant::now() + COUNTERS, COUNTERS);
    loop {
        let idle = control.house.as_ref().map(|house| Arc::clone(house.routes.idle()));
        tokio::select! {
            received = control.link.recv(), if !gone => match received {
                Ok(Some((message, fds))) => control.told(message, fds).await?,
                // The master has gone. Under systemd it keeps its end in the fd store; on a laptop it is all over.
                Ok(None) => {
                    gone = true;
                    if !control.orphaned() {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                // The link itself is sound, and a newer message is no reason to drop visitors.
                Err(LinkError::Malformed(why)) => tracing::error!(%why, "the master sent what is no message"),
                Err(error) => return Err(error.into()),
            },
            () = notified(idle) => control.tell_idle(false).await?,
            Some(Report::Waiting(tenant)) = reported.recv() => {
                if let Ok(tenant) = tenant.parse() {
                    control.tell(FromProxy::Waiting { tenant }).await?;
                }
            }
            Some(Finding { generation, attempt, outcome }) = findings.recv() => {
                control.tell(FromProxy::Probe { generation, attempt, outcome }).await?;
            }
            Some(batch) = batches.recv() => control.write(&batch),
            _ = tick.tick() => control.tick(),
            _ = counters.tick() => control.count().await?,
            event = event(control.house.as_mut()) => match event {
                Event::Ready => control.tell(FromProxy::Ready).await?,
                Event::Ended => {
                    while let Ok(batch) = batches.try_recv() {
                        control.write(&batch);
                    }
                    return Ok(ExitCode::SUCCESS);
                }
                Event::Died(why) => return Err(ControlError::Core(why)),
            },
        }
    }
}

/// What the cores have to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// All accept.
    Ready,
    /// All have ended because they were told to.
    Ended,
    /// One ended without being told to.
    Died(String),
}

async fn notified(news: Option<Arc<Notify>>) {
    match news {
        Some(news) => news.notified().await,
        None => std::future::pending().await,
    }
}

async fn event(house: Option<&mut House>) -> Event {
    match house {
        Some(house) => house.cores.event().await,
        None => std::future::pending().await,
    }
}

impl Control {
    async fn tell(&mut self, message: FromProxy) -> Result<(), ControlError> {
        match self.link.send(&message, &[]).await {
            // Its going is seen by `recv`, which is where the draining begins.
            Err(LinkError::Gone) => Ok(()),
            sent => Ok(sent?),
        }
    }

    async fn told(&mut self, message: ToProxy, fds: Vec<OwnedFd>) -> Result<(), ControlError> {
        match message {
            ToProxy::Hello { protocol: PROTOCOL } => {}
            ToProxy::Hello { protocol } => return Err(ControlError::Protocol(protocol)),
            ToProxy::Configure { .. } if self.house.is_some() => {
                return Err(ControlError::Order("Configure twice"));
            }
            ToProxy::Configure { cores, http, https_port } => {
                let mut fds = fds.into_iter();
                let pipe = fds.next().ok_or(ControlError::Order("Configure without the log's pipe"))?;
                let sockets = fds.next().ok_or(ControlError::Order("Configure without the workers' folder"))?;
                let unreadable =
                    |why: std::io::Error| ControlError::Unreadable { what: "the pipe", why: why.to_string() };
                let writer = Writer::new(pipe).map_err(unreadable)?;
                let cores = cores.max(1) as usize;
                let routes = Routes::new(cores);
                let setup = Setup { cores, http, https_port };
                let cores = Cores::new(&setup).map_err(ControlError::Core)?;
                self.house = Some(House { setup, routes, sockets, writer, cores, listeners: Vec::new() });
            }
            ToProxy::Listener { kind, core } => {
                let socket = one(fds, "a Listener without its socket")?;
                self.house()?.listeners.push(Listener { kind, core: core as usize, socket });
            }
            ToProxy::Start => {
                self.start = true;
                self.start_when_complete()?;
            }
            ToProxy::Certificates => {
                let set: CertificateSet = sealed(fds, "certificates")?;
                self.house()?.cores.certify(&set);
                self.certified = true;
                self.start_when_complete()?;
            }
            ToProxy::Routes { epoch } => {
                let mut table: RouteTable = sealed(fds, "a route table")?;
                let house = self.house()?;
                find_sockets(&mut table, &house.sockets);
                let table = house.routes.apply(table);
                self.routed = true;
                self.watch_gates(&table);
                self.probes.apply(&table);
                // The store is what every core loads from: no request routes by an older table from here on, and one
                // that was between its look and its gate is counted by the gate or finds it closed.
                self.tell(FromProxy::Applied { epoch }).await?;
                self.start_when_complete()?;
                self.tell_idle(true).await?;
            }
            ToProxy::Retire => self.drain(Duration::from_secs(3600))?,
            ToProxy::Drain { deadline_ms } => self.drain(Duration::from_millis(deadline_ms))?,
        }
        Ok(())
    }

    fn house(&mut self) -> Result<&mut House, ControlError> {
        self.house.as_mut().ok_or(ControlError::Order("something before Configure"))
    }

    fn start_when_complete(&mut self) -> Result<(), ControlError> {
        if !(self.start && self.certified && self.routed) {
            return Ok(());
        }
        self.start = false;
        let (reports, records) = (self.reports.clone(), self.records.clone());
        let house = self.house()?;
        let listeners = std::mem::take(&mut house.listeners);
        house
            .cores
            .start(&house.setup, &house.routes, listeners, &reports, &records)
            .map_err(|error| ControlError::Core(error.to_string()))
    }

    fn drain(&mut self, within: Duration) -> Result<(), ControlError> {
        self.house()?.cores.drain(Instant::now() + within);
        Ok(())
    }

    /// Ends soon; `false`: nothing was begun, so at once.
    fn orphaned(&self) -> bool {
        if let Some(house) = &self.house {
            house.cores.drain(Instant::now() + ORPHANED);
        }
        self.house.is_some()
    }

    /// Remembers since when each gate is closed.
    fn watch_gates(&mut self, table: &Arc<Table>) {
        let now = Instant::now();
        let before = std::mem::take(&mut self.closed);
        for (backend, route) in table.backends() {
            if !route.open {
                self.closed.insert(route.generation, before.get(&route.generation).copied().unwrap_or(now));
            }
            debug_assert_eq!(backend.generation, route.generation);
        }
        let closed = &self.closed;
        self.idle_told.retain(|generation| closed.contains_key(generation));
    }

    /// Tells which closed gates are idle; `again`: also those that were told before.
    async fn tell_idle(&mut self, again: bool) -> Result<(), ControlError> {
        let Some(house) = &self.house else { return Ok(()) };
        let table = house.routes.current();
        let idle: Vec<GenerationId> = table
            .backends()
            .filter(|(backend, route)| !route.open && backend.gate.is_idle())
            .map(|(backend, _)| backend.generation)
            .filter(|generation| again || !self.idle_told.contains(generation))
            .collect();
        for generation in idle {
            self.idle_told.insert(generation);
            self.tell(FromProxy::Idle { generation }).await?;
        }
        Ok(())
    }

    fn write(&mut self, batch: &[Record]) {
        if let Some(house) = &mut self.house {
            house.writer.write(batch);
        }
    }

    fn tick(&mut self) {
        let Some(house) = &mut self.house else { return };
        house.writer.add_dropped(house.cores.lost_records());
        house.writer.drain();
        for (backend, route) in house.routes.current().backends() {
            let Some(closed) = self.closed.get(&route.generation).map(Instant::elapsed) else { continue };
            if closed >= route.drain_timeout {
                backend.gate.cut(false);
            }
            if closed >= route.upgrade_timeout {
                backend.gate.cut(true);
            }
        }
    }

    async fn count(&mut self) -> Result<(), ControlError> {
        let Some(house) = &self.house else { return Ok(()) };
        let (connections, requests, rejects) = house.cores.counts();
        self.tell(FromProxy::Counters { connections, requests, rejects }).await
    }
}

/// Relative paths of unix sockets become paths through the descriptor of their folder: the folders above it may be closed
/// to the proxy's user, and a path of 108 bytes or more could not be connected to.
fn find_sockets(table: &mut RouteTable, folder: &OwnedFd) {
    let folder = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    for backend in table.tenants.iter_mut().flat_map(|tenant| &mut tenant.backends) {
        if let BackendAddress::Unix(path) = &mut backend.address {
            *path = folder.join(&*path);
        }
    }
}

fn one(fds: Vec<OwnedFd>, without: &'static str) -> Result<OwnedFd, ControlError> {
    fds.into_iter().next().ok_or(ControlError::Order(without))
}

fn sealed<T: serde::de::DeserializeOwned>(fds: Vec<OwnedFd>, what: &'static str) -> Result<T, ControlError> {
    let fd = one(fds, "a message without its memfd")?;
    let bytes = memfd::read(fd, MEMFD).map_err(|why| ControlError::Unreadable { what, why: why.to_string() })?;
    // The message is not shown: it may quote a key.
    serde_json::from_slice(&bytes)
        .map_err(|why| ControlError::Unreadable { what, why: format!("line {} column {}", why.line(), why.column()) })
}
