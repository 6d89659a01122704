//! The roles at work: started, told everything, listened to.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use super::{
    event::Who,
    house::House,
    roles::{Facts, RoleKind, from_log, from_proxy},
};
use crate::{
    machine::{
        tenant,
        worker::{Action, Event as Fact, Phase, Worker},
    },
    model::{GenerationId, ProbeOutcome, TenantName},
    sys::{self, process::Exit},
    wire::{FromLog, FromProxy, PROTOCOL, ToLog, ToProxy},
};

/// Two counts missed.
const SILENCE: Duration = Duration::from_secs(21);

impl House {
    pub(super) fn role_worker(&mut self, kind: RoleKind) -> &mut Worker {
        match kind {
            RoleKind::Log => &mut self.log.worker,
            RoleKind::Proxy => &mut self.proxy.role.worker,
        }
    }

    /// A proxy that lives and says nothing, not even its counts, hangs: it is ended, and another one takes its place.
    pub(super) fn listen_for_silence(&mut self) {
        let silent = |at: Instant| at.elapsed() > SILENCE;
        if self.proxy.facts.heard.is_some_and(silent) {
            self.proxy.facts.heard = None;
            let attempt = self.proxy.role.worker.view().attempt;
            let reason = format!("it has said nothing for {} s", SILENCE.as_secs());
            self.role_fact(RoleKind::Proxy, Fact::Unhealthy { attempt, reason });
        }
    }

    /// Tells a role's machine a fact and does what it says.
    pub(super) fn role_fact(&mut self, kind: RoleKind, fact: Fact) {
        let now = self.now();
        let actions = self.role_worker(kind).on(fact, now);
        self.act_for_role(kind, actions);
    }

    pub(super) fn act_for_role(&mut self, kind: RoleKind, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Spawn { attempt } => {
                    let fact = match self.start_role(kind, attempt) {
                        Ok(pid) => Fact::Spawned { pid },
                        Err(error) => {
                            // What lives and was not told everything would be a second one beside the next.
                            if let Some(child) = self.role_child(kind) {
                                child.signal(libc::SIGKILL);
                            }
                            Fact::SpawnFailed { reason: error.to_string() }
                        }
                    };
                    self.role_fact(kind, fact);
                }
                // The end of its link is a role's stop signal: it also comes when the master has gone.
                Action::Stop => match kind {
                    RoleKind::Log => self.log.hang_up(),
                    RoleKind::Proxy => self.proxy.role.hang_up(),
                },
                Action::Kill => match self.role_child(kind) {
                    // Its end is told when it is reaped.
                    Some(child) => child.signal(libc::SIGKILL),
                    None => {
                        let attempt = self.role_worker(kind).view().attempt;
                        self.role_fact(kind, Fact::TreeGone { attempt });
                    }
                },
                Action::Ready => {
                    self.notices.remove(kind.verb());
                    self.untold = true;
                }
                Action::NotReady { reason } | Action::Failed { reason } => {
                    tracing::error!(role = kind.verb(), reason, "a role is down");
                    self.notices.insert(kind.verb(), format!("the {} is down: {reason}", kind.verb()));
                    self.untold = true;
                }
                Action::Stopped => {}
                Action::Log { event, reason, next } => {
                    let next_ms = next.map(|next| next.as_millis() as u64);
                    tracing::info!(role = kind.verb(), event, reason, next_ms);
                }
            }
        }
    }

    fn role_child(&self, kind: RoleKind) -> Option<&super::child::Child> {
        match kind {
            RoleKind::Log => self.log.child.as_ref(),
            RoleKind::Proxy => self.proxy.role.child.as_ref(),
        }
    }

    fn start_role(&mut self, kind: RoleKind, attempt: u32) -> std::io::Result<u32> {
        match kind {
            RoleKind::Log => {
                let pid = self.log.spawn::<FromLog>(attempt, &self.events, from_log)?;
                let folder = std::fs::File::open(self.gateway.state.join("logs"))?;
                let hello = ToLog::Hello {
                    protocol: PROTOCOL,
                    file_bytes: self.gateway.log_file_bytes,
                    files: self.gateway.log_files,
                };
                self.log.send(hello, vec![folder.into()]);
                self.log.send(ToLog::Access, vec![self.access.0.try_clone()?]);
                for (name, seat) in &self.seats {
                    self.log.send(ToLog::Tenant { tenant: name.clone() }, vec![seat.output.0.try_clone()?]);
                }
                Ok(pid)
            }
            RoleKind::Proxy => {
                self.proxy.facts = Facts::default();
                let pid = self.proxy.role.spawn::<FromProxy>(attempt, &self.events, from_proxy)?;
                let tell = |message, fds: Vec<OwnedFd>| self.proxy.role.send(message, fds);
                tell(ToProxy::Hello { protocol: PROTOCOL }, Vec::new());
                let configure = ToProxy::Configure {
                    cores: self.cores,
                    http: self.gateway.http.clone(),
                    https_port: self.https_port(),
                };
                let sockets = std::fs::File::open(self.gateway.run.join("workers"))?;
                tell(configure, vec![self.access.1.try_clone()?, sockets.into()]);
                for (kind, core, socket) in &self.listeners {
                    tell(ToProxy::Listener { kind: *kind, core: *core }, vec![socket.try_clone()?]);
                }
                self.tell_certificates();
                self.tell_routes()?;
                self.proxy.role.send(ToProxy::Start, Vec::new());
                Ok(pid)
            }
        }
    }

    /// The port that public URLs name.
    pub(super) fn https_port(&self) -> u16 {
        self.gateway.listen.https.first().map_or(443, std::net::SocketAddr::port)
    }

    pub(super) fn on_exit(&mut self, who: Who, attempt: u32, exit: Exit, report: Option<String>) {
        // The shim's own words say more than its exit status.
        let reason = report.unwrap_or_else(|| exit.to_string());
        match who {
            Who::Role(kind) => {
                if self.role_worker(kind).view().attempt != attempt {
                    return;
                }
                match kind {
                    RoleKind::Log => self.log.child = None,
                    RoleKind::Proxy => {
                        self.proxy.role.child = None;
                        self.proxy.facts = Facts::default();
                    }
                }
                self.role_fact(kind, Fact::Exited { attempt, reason });
                if self.role_worker(kind).phase() == Phase::Killing {
                    // The kill was ordered while it lived, and it was the whole tree.
                    self.role_fact(kind, Fact::TreeGone { attempt });
                }
            }
            Who::Units => self.units.ended(exit),
            Who::Worker(name, generation) => self.on_worker_exit(&name, generation, attempt, reason),
            Who::Migration(name, generation) => {
                self.on_task(name, generation, tenant::Task::Migrate, exit, &reason);
            }
            Who::Snapshot(name, generation) => {
                self.on_task(name, generation, tenant::Task::Snapshot, exit, &reason);
            }
            Who::Restore(name, generation) => {
                self.on_task(name, generation, tenant::Task::Restore, exit, &reason);
            }
        }
    }

    fn on_task(&mut self, name: TenantName, generation: GenerationId, task: tenant::Task, exit: Exit, reason: &str) {
        if let Some(lease) = self.seats.get_mut(&name).and_then(|seat| seat.leases.get_mut(&generation)) {
            lease.task = None;
            lease.kill();
        }
        let done = exit.code == Some(0);
        if done && task == tenant::Task::Migrate {
            self.remember_migration(&name, generation);
        }
        let result = if done { Ok(()) } else { Err(reason.to_owned()) };
        self.inbox.push_back((name, tenant::Event::TaskDone { generation, task, result }));
    }

    pub(super) fn on_proxy(&mut self, attempt: u32, fact: FromProxy) {
        if attempt != self.proxy.role.worker.view().attempt {
            return;
        }
        self.proxy.facts.heard = Some(Instant::now());
        match fact {
            FromProxy::Hello { protocol, .. } if protocol != PROTOCOL => {
                tracing::error!(protocol, "the proxy speaks another protocol");
            }
            FromProxy::Hello { .. } | FromProxy::Counters { .. } => {}
            FromProxy::Ready => {
                self.proxy.facts.ready = true;
                self.role_fact(RoleKind::Proxy, Fact::Healthy { attempt });
            }
            FromProxy::Applied { epoch } => {
                self.proxy.facts.applied = epoch;
                self.on_applied();
            }
            FromProxy::Idle { generation } => {
                if let Some(name) = self.tenant_of(generation) {
                    self.inbox.push_back((name, tenant::Event::Idle { generation }));
                }
            }
            FromProxy::Waiting { tenant } => {
                // A company with a visitor at the door starts before the others.
                let (first, rest): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(|(name, ..)| *name == tenant);
                self.queue.extend(first.into_iter().chain(rest));
                self.inbox.push_back((tenant, tenant::Event::Waiting));
            }
            FromProxy::Probe { generation, attempt, outcome } => {
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
        }
    }

    fn tenant_of(&self, generation: GenerationId) -> Option<TenantName> {
        let mut seats = self.seats.iter();
        seats.find(|(_, seat)| seat.leases.contains_key(&generation)).map(|(name, _)| name.clone())
    }

    pub(super) fn on_log(&mut self, attempt: u32, fact: FromLog) {
        match fact {
            FromLog::Hello { protocol } if protocol != PROTOCOL => {
                tracing::error!(protocol, "the log role speaks another protocol");
            }
            FromLog::Hello { .. } => {}
            FromLog::Ready => self.role_fact(RoleKind::Log, Fact::Healthy { attempt }),
            FromLog::Dropped { tenant, bytes } => {
                tracing::warn!(%tenant, bytes, "lines of a worker were dropped: it writes faster than 1 MB/s, or the disk is full");
            }
        }
    }

    /// A role whose link broke but which lives is of no use: it is ended, and comes back.
    pub(super) fn on_link_lost(&mut self, kind: RoleKind, attempt: u32) {
        if self.role_worker(kind).view().attempt == attempt
            && !self.farewell.has_begun()
            && let Some(child) = self.role_child(kind)
        {
            child.signal(libc::SIGKILL);
        }
    }

    /// Strays of workers that were re-parented to us have ended: their status is nobody's, but they must be reaped.
    pub(super) fn reap_strangers(&self) {
        let leases = self.seats.values().flat_map(|seat| seat.leases.values());
        let workers = leases.flat_map(|lease| lease.child.iter().chain(&lease.task));
        let roles = [self.log.child.as_ref(), self.proxy.role.child.as_ref()].into_iter().flatten();
        let known = workers.chain(roles).chain(self.units.child()).map(|child| child.pid).collect();
        if let Err(error) = sys::process::reap_strangers(&known) {
            tracing::error!(%error, "strays cannot be reaped");
        }
    }
}
