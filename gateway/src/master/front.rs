//! The proxies at work: told everything, listened to, and what follows from the end of one.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use super::{house::House, proxies::Facts, roles::Post};
use crate::{
    machine::{
        succession, tenant,
        worker::{Event as Fact, Phase},
    },
    model::{GenerationId, ProbeOutcome, TenantName},
    sys::process::Exit,
    wire::{FromProxy, PROTOCOL, ToProxy},
};

use super::event::Event;

/// Two counts missed.
const SILENCE: Duration = Duration::from_secs(21);

impl House {
    /// Starts a proxy and tells it all. The newest is told to accept at once; a next one when it has shown that it follows: until
    /// then nobody waits for it, and one that hangs holds no deploy up.
    pub(super) fn start_proxy(&mut self, number: u32, attempt: u32) -> std::io::Result<u32> {
        let certificates = self.sealed_certificates();
        let routes = self.routes()?;
        let (now, newest, https_port) = (self.now(), self.proxies.is_newest(number), self.https_port());
        let Some(proxy) = self.proxies.get_mut(number) else {
            return Err(std::io::Error::other("there is no such proxy"));
        };
        proxy.facts = Facts { started: newest, ..Facts::default() };
        let wrap = move |attempt, fact, _| Event::Proxy(number, attempt, fact);
        let pid = proxy.role.spawn::<FromProxy>(attempt, &mut self.vault, &self.events, wrap)?;
        if newest {
            self.proxies.accord.join(number, self.epoch, 0, now);
            self.proxies.alone = None;
        }
        let Some(proxy) = self.proxies.get(number) else { return Ok(pid) };
        let tell = |message, fds: Vec<OwnedFd>| proxy.role.send(message, fds);
        tell(ToProxy::Hello { protocol: PROTOCOL }, Vec::new());
        let configure = ToProxy::Configure { cores: self.cores, http: self.gateway.http.clone(), https_port };
        let sockets = std::fs::File::open(self.gateway.run.join("workers"))?;
        tell(configure, vec![self.access.1.try_clone()?, sockets.into()]);
        for (kind, core, socket) in &self.listeners {
            tell(ToProxy::Listener { kind: *kind, core: *core }, vec![socket.try_clone()?]);
        }
        match certificates {
            Ok(sealed) => tell(ToProxy::Certificates, vec![sealed]),
            Err(error) => tracing::error!(%error, "the certificates cannot be told"),
        }
        match self.all_answers() {
            Some(Ok((serial, sealed))) => tell(ToProxy::Answers { serial }, vec![sealed]),
            Some(Err(error)) => tracing::error!(%error, "the answers to the authority cannot be told"),
            None => {}
        }
        tell(ToProxy::Routes { epoch: self.epoch }, vec![routes]);
        if newest {
            tell(ToProxy::Start, Vec::new());
        }
        Ok(pid)
    }

    /// A fact that a proxy tells.
    pub(super) fn on_proxy(&mut self, number: u32, attempt: u32, fact: FromProxy) {
        let newest = self.proxies.is_newest(number);
        let Some(proxy) = self.proxies.get_mut(number).filter(|it| it.role.worker.view().attempt == attempt) else {
            return;
        };
        proxy.facts.heard = Some(Instant::now());
        if !proxy.facts.greeted && !matches!(fact, FromProxy::Hello { .. }) {
            return;
        }
        match fact {
            FromProxy::Hello { protocol, .. } if protocol != PROTOCOL => {
                tracing::error!(protocol, "the proxy speaks another protocol");
            }
            FromProxy::Hello { .. } => proxy.facts.greeted = true,
            FromProxy::Counters { connections, .. } => {
                let before = proxy.facts.connections.replace(connections);
                if before != Some(connections) && !newest {
                    self.tell_what_is_waited_for();
                }
            }
            FromProxy::Ready => {
                proxy.facts.ready = true;
                self.role_fact(Post::Proxy(number), Fact::Healthy { attempt });
            }
            FromProxy::Applied { epoch } => {
                let started = proxy.facts.started;
                if started {
                    self.proxies.accord.on_applied(number, epoch);
                    self.on_applied();
                } else {
                    self.let_accept(number, epoch);
                }
            }
            FromProxy::Quiet { generation, for_ms } => self.on_quiet(number, generation, for_ms),
            FromProxy::Busy { generation } => self.on_busy(number, generation),
            FromProxy::MaySleep { generation, veto } => self.on_may_sleep(generation, veto),
            FromProxy::Answering { serial } => proxy.facts.answering = serial,
            FromProxy::Idle { generation } => {
                if self.proxies.accord.on_idle(number, generation) {
                    self.on_idle(generation);
                }
            }
            FromProxy::Waiting { tenant } => self.on_visitor(number, &tenant),
            FromProxy::Probe { generation, attempt, outcome } => {
                // One judge at a time, or a failure would count twice. That a worker is well is as true from the next one.
                let counts = newest || self.proxies.is_next(number) && outcome == ProbeOutcome::Healthy;
                if counts {
                    self.on_probe(generation, attempt, outcome);
                }
            }
        }
    }

    /// The next proxy follows: it may accept, and counts from now on. A newer table may be on its way to it; it reads that one
    /// before this `Start`, so it never routes by what others have left behind.
    fn let_accept(&mut self, number: u32, applied: u64) {
        let now = self.now();
        self.proxies.accord.join(number, self.epoch, applied, now);
        self.proxies.alone = None;
        if let Some(proxy) = self.proxies.get_mut(number) {
            proxy.facts.started = true;
            proxy.role.send(ToProxy::Start, Vec::new());
        }
    }

    fn on_idle(&mut self, generation: GenerationId) {
        if let Some(name) = self.tenant_of(generation) {
            self.inbox.push_back((name, tenant::Event::Idle { generation }));
        }
    }

    fn on_probe(&mut self, generation: GenerationId, attempt: u32, outcome: ProbeOutcome) {
        let Some(name) = self.tenant_of(generation) else { return };
        // Looked at before it is routed to; a look at every socket of the machine is too dear for each probe.
        let starting = self.worker_phase(&name, generation) == Some(Phase::Starting);
        let lease = self.seats.get(&name).and_then(|seat| seat.leases.get(&generation));
        let theirs = lease.filter(|_| starting).map_or(Ok(()), super::lease::Lease::check_listener);
        let event = match (outcome, theirs) {
            (ProbeOutcome::Healthy, Ok(())) => Fact::Healthy { attempt },
            (ProbeOutcome::Healthy, Err(reason)) | (ProbeOutcome::Unhealthy(reason), _) => {
                Fact::Unhealthy { attempt, reason }
            }
        };
        self.inbox.push_back((name, tenant::Event::Worker { generation, event }));
    }

    fn tenant_of(&self, generation: GenerationId) -> Option<TenantName> {
        let mut seats = self.seats.iter();
        seats.find(|(_, seat)| seat.leases.contains_key(&generation)).map(|(name, _)| name.clone())
    }

    /// A proxy's process has ended: it routes no more, and who waited for it need not wait longer.
    pub(super) fn on_proxy_exit(&mut self, number: u32, attempt: u32, exit: &Exit) {
        let Some(proxy) = self.proxies.get_mut(number) else { return };
        let pid = proxy.role.child.take().map(|child| child.pid);
        proxy.facts = Facts::default();
        proxy.role.hang_up(&mut self.vault);
        self.proxies.accord.leave(number);
        self.sleepers.stirred = true;
        if !self.proxies.accord.is_empty() {
            self.on_applied();
            for generation in self.proxies.accord.all_idle() {
                self.on_idle(generation);
            }
        }
        self.untold = true;
        let before = self.proxies.older.len();
        self.proxies.older.retain(|proxy| proxy.number != number);
        if self.proxies.older.len() < before {
            tracing::info!(pid, attempt, %exit, left = before - 1, "an older proxy has ended");
            self.count_draining();
        }
    }

    /// Nothing is left of the next proxy, which never took over.
    pub(super) fn on_next_stopped(&mut self) {
        if let Some(next) = self.proxies.next.take() {
            let why = next.role.worker.view().reason;
            let reason =
                format!("the new proxy did not take over: {why}; its last words, if any, are in landlord's log");
            self.on_succession(succession::Event::Ended { reason });
        }
    }

    /// A proxy that lives and says nothing, not even its counts, hangs: the newest is ended and comes back, an older one is ended.
    pub(super) fn listen_for_silence(&mut self) {
        let silent = |facts: &Facts| facts.heard.is_some_and(|at| at.elapsed() > SILENCE);
        let reason = format!("it has said nothing for {} s", SILENCE.as_secs());
        let newest = &mut self.proxies.newest;
        if silent(&newest.facts) {
            newest.facts.heard = None;
            let (number, attempt) = (newest.number, newest.role.worker.view().attempt);
            self.role_fact(Post::Proxy(number), Fact::Unhealthy { attempt, reason: reason.clone() });
        }
        for older in &mut self.proxies.older {
            if silent(&older.facts) && !older.facts.condemned {
                older.condemn(&reason);
            }
        }
    }

    /// An older proxy that does not follow what it is told would hold every deploy up.
    pub(super) fn end_overdue(&mut self) {
        let now = self.now();
        let overdue: Vec<u32> = self.proxies.overdue().filter(|(at, _)| *at <= now).map(|(_, number)| number).collect();
        for number in overdue {
            if let Some(proxy) = self.proxies.get_mut(number) {
                proxy.condemn("it does not apply what it was told");
            }
        }
    }
}
