//! The control thread: the link to the master, the closing of gates, probes, and the access log's writer.
//!
//! It applies what the master tells and reports facts. Requests never wait for it.

mod facts;

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc},
    time::{self, Interval},
};

use super::{
    access::{self, Record, Writer},
    cores::{Cores, Listener, Setup},
    forward::forwarder::Report,
    outbox::Outbox,
    parcel::{ControlError, find_sockets, one, sealed},
    probe::{Finding, Probes},
    quiet::Quiet,
    routes::{Routes, Table},
};
use crate::{
    model::{CertificateSet, GenerationId, RouteTable},
    wire::{Answers, FromProxy, Link, LinkError, PROTOCOL, ToProxy},
};

/// Deadlines of closed gates and the log's backlog are looked at this often.
const TICK: Duration = Duration::from_millis(100);
const COUNTERS: Duration = Duration::from_secs(10);
/// Who waits still is told again so often: no word that was lost, or came at the wrong moment, keeps a company asleep.
const REMINDER: Duration = Duration::from_secs(1);
/// An operator looks at how many are left.
const RETIRED_COUNTERS: Duration = Duration::from_secs(1);
/// The log role gets so long to make room for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// What is in flight may take so long when the master has gone.
const ORPHANED: Duration = Duration::from_secs(2);

/// The proxy's end of its link.
pub(crate) type ToMaster = Link<FromProxy, ToProxy>;

/// All that the control thread knows.
struct Control {
    link: ToMaster,
    outbox: Outbox,
    counters: Interval,
    reminded: Instant,
    /// A master has said its Hello: another one is a resumed master's, which knows nothing.
    greeted: bool,
    /// Every core does.
    accepting: bool,
    retired: bool,
    /// Since `Configure`.
    house: Option<House>,
    closed: HashMap<GenerationId, Instant>,
    idle_told: HashSet<GenerationId>,
    probes: Probes,
    quiet: Quiet,
    reports: mpsc::UnboundedSender<Report>,
    records: mpsc::Sender<Vec<Record>>,
    start: bool,
    certified: bool,
    routed: bool,
    /// The newest telling by which challenges are answered.
    answering: Option<u64>,
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
    let (reports, mut reported) = mpsc::unbounded_channel();
    let (found, mut findings) = mpsc::unbounded_channel();
    let (asked, mut vetoes) = mpsc::unbounded_channel();
    let (records, mut batches) = access::channel();
    let mut control = Control {
        link,
        outbox: Outbox::default(),
        counters: every(COUNTERS),
        reminded: Instant::now(),
        greeted: false,
        accepting: false,
        retired: false,
        house: None,
        closed: HashMap::new(),
        idle_told: HashSet::new(),
        probes: Probes::new(found, asked),
        quiet: Quiet::default(),
        reports,
        records,
        start: false,
        certified: false,
        routed: false,
        answering: None,
    };
    control.tell(FromProxy::Hello { protocol: PROTOCOL, epoch: 0 });
    let mut tick = every(TICK);
    let mut gone = false;
    loop {
        let idle = control.house.as_ref().map(|house| Arc::clone(house.routes.idle()));
        tokio::select! {
            received = control.link.recv(), if !gone => match received {
                Ok(Some((message, fds))) => control.told(message, fds)?,
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
            sent = control.outbox.send(&control.link), if !gone && !control.outbox.is_empty() => sent?,
            () = notified(idle) => control.tell_idle(false),
            Some(Report::Waiting(tenant)) = reported.recv() => {
                if let Ok(tenant) = tenant.parse() {
                    control.tell(FromProxy::Waiting { tenant });
                }
            }
            Some(finding) = findings.recv() => control.found(finding),
            Some(answer) = vetoes.recv() => control.tell(answer),
            Some(batch) = batches.recv() => control.write(&batch),
            _ = tick.tick() => control.tick(),
            _ = control.counters.tick() => control.count(),
            event = event(control.house.as_mut()) => match event {
                Event::Ready => {
                    control.accepting = true;
                    control.tell(FromProxy::Ready);
                }
                Event::Ended => {
                    while let Ok(batch) = batches.try_recv() {
                        control.write(&batch);
                    }
                    control.write_last().await;
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
    /// Never waits: the master may be away while its end of the link is kept for the next one.
    fn tell(&mut self, fact: FromProxy) {
        self.outbox.push(fact);
    }

    fn tell_each(&mut self, facts: Vec<FromProxy>) {
        facts.into_iter().for_each(|fact| self.tell(fact));
    }

    fn told(&mut self, message: ToProxy, fds: Vec<OwnedFd>) -> Result<(), ControlError> {
        match message {
            ToProxy::Hello { protocol: PROTOCOL } if !self.greeted => self.greeted = true,
            ToProxy::Hello { protocol } if !self.greeted => return Err(ControlError::Protocol(protocol)),
            // Whether it goes on with this proxy is for a resumed master to say: here are its visitors.
            ToProxy::Hello { protocol } => self.tell_all(protocol == PROTOCOL),
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
            ToProxy::Answers { serial } => {
                let answers: Answers = sealed(fds, "answers")?;
                self.house()?.cores.challenge(answers);
                self.answering = Some(serial);
                self.tell(FromProxy::Answering { serial });
            }
            ToProxy::Routes { epoch } => {
                let mut table: RouteTable = sealed(fds, "a route table")?;
                let house = self.house()?;
                find_sockets(&mut table, &house.sockets);
                let table = house.routes.apply(table);
                self.routed = true;
                self.watch_gates(&table);
                if !self.retired {
                    self.probes.apply(&table);
                }
                // The store is what every core loads from: no request routes by an older table from here on, and one
                // that was between its look and its gate is counted by the gate or finds it closed.
                self.tell(FromProxy::Applied { epoch });
                let news = self.quiet.apply(&table, Instant::now());
                self.tell_each(news);
                self.start_when_complete()?;
                self.tell_idle(true);
            }
            ToProxy::AskSleep { generation, path } => self.probes.ask_sleep(generation, path),
            ToProxy::Retire => self.retire()?,
            ToProxy::Drain { deadline_ms } => self.drain(Duration::from_millis(deadline_ms))?,
        }
        Ok(())
    }

    fn house(&mut self) -> Result<&mut House, ControlError> {
        self.house.as_mut().ok_or(ControlError::Order("something before Configure"))
    }

    fn start_when_complete(&mut self) -> Result<(), ControlError> {
        let leaves = self.house.as_ref().is_some_and(|house| house.cores.leaves());
        if leaves || !(self.start && self.certified && self.routed) {
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

    /// The newest proxy accepts and probes from now on; this one sees its connections off.
    fn retire(&mut self) -> Result<(), ControlError> {
        self.house()?.cores.retire();
        self.retired = true;
        self.probes.end();
        self.count();
        self.counters = every(RETIRED_COUNTERS);
        Ok(())
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

    fn found(&mut self, finding: Finding) {
        if self.probes.note(&finding) {
            self.tell(finding.into());
        }
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
        let now = Instant::now();
        let news = self.quiet.look(&house.routes.current(), now);
        self.tell_each(news);
        if now.saturating_duration_since(self.reminded) >= REMINDER {
            self.reminded = now;
            self.tell_waiting();
        }
    }

    /// The log's pipe may be full at the very end.
    async fn write_last(&mut self) {
        let Some(house) = &mut self.house else { return };
        house.writer.add_dropped(house.cores.lost_records());
        let mut tick = every(TICK);
        let written = async {
            house.writer.drain();
            while !house.writer.is_empty() {
                tick.tick().await;
                house.writer.drain();
            }
        };
        if time::timeout(LAST_LINES, written).await.is_err() {
            tracing::warn!("the last lines of the access log are lost: nobody reads them");
        }
    }
}

/// First after one period.
fn every(period: Duration) -> Interval {
    let mut interval = time::interval_at(time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    interval
}
