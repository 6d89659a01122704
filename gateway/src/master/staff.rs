//! The roles at work: started, told everything, listened to.

use super::{
    event::{Event, Who},
    house::House,
    roles::Post,
};
use crate::{
    machine::{
        succession, tenant,
        worker::{Action, Event as Fact, Phase, Worker},
    },
    model::{GenerationId, TenantName},
    sys::{self, process::Exit},
    wire::{FromLog, PROTOCOL, ToLog},
};

impl House {
    /// The machine behind a post; `None`: an older proxy has none any more, it ends when it ends.
    pub(super) fn role_worker(&mut self, post: Post) -> Option<&mut Worker> {
        match post {
            Post::Log => Some(&mut self.log.worker),
            Post::Proxy(number) if self.proxies.older.iter().any(|older| older.number == number) => None,
            Post::Proxy(number) => Some(&mut self.proxies.get_mut(number)?.role.worker),
            Post::Acme => Some(&mut self.issuing.as_mut()?.role.worker),
        }
    }

    /// Tells a role's machine a fact and does what it says.
    pub(super) fn role_fact(&mut self, post: Post, fact: Fact) {
        let now = self.now();
        let actions = self.role_worker(post).map(|worker| worker.on(fact, now)).unwrap_or_default();
        // Before anything of it is done: whoever goes on from here must know what may have been done.
        self.keep_house();
        self.act_for_role(post, actions);
    }

    fn act_for_role(&mut self, post: Post, actions: Vec<Action>) {
        let kind = post.kind();
        for action in actions {
            let on_trial = matches!(post, Post::Proxy(number) if self.proxies.is_next(number));
            match action {
                Action::Spawn { attempt } => {
                    let fact = match self.start_role(post, attempt) {
                        Ok(pid) => {
                            self.groups.take_in(pid);
                            Fact::Spawned { pid }
                        }
                        Err(error) => {
                            // What lives and was not told everything would be a second one beside the next.
                            if let Some(child) = self.role_child(post) {
                                child.signal(libc::SIGKILL);
                            }
                            Fact::SpawnFailed { reason: error.to_string() }
                        }
                    };
                    self.role_fact(post, fact);
                }
                // The end of its link is a role's stop signal: it also comes when the master has gone.
                Action::Stop => match post {
                    Post::Log => self.log.hang_up(&mut self.vault),
                    Post::Acme => {
                        if let Some(issuing) = &mut self.issuing {
                            issuing.role.hang_up(&mut self.vault);
                        }
                    }
                    Post::Proxy(number) => {
                        if let Some(proxy) = self.proxies.get_mut(number) {
                            proxy.role.hang_up(&mut self.vault);
                            // A next one has had its time, and nobody was let in to it.
                            if on_trial {
                                proxy.kill();
                            }
                        }
                    }
                },
                Action::Kill => match self.role_child(post) {
                    // Its end is told when it is reaped.
                    Some(child) => child.signal(libc::SIGKILL),
                    None => {
                        if let Some(attempt) = self.role_worker(post).map(|worker| worker.view().attempt) {
                            self.role_fact(post, Fact::TreeGone { attempt });
                        }
                    }
                },
                Action::Ready if on_trial => self.on_succession(succession::Event::Ready),
                Action::Stopped if on_trial => self.on_next_stopped(),
                Action::NotReady { .. } | Action::Failed { .. } if on_trial => {}
                Action::Ready => {
                    self.notices.remove(kind.verb());
                    self.untold = true;
                }
                Action::NotReady { reason } | Action::Failed { reason } if post == Post::Acme => {
                    tracing::error!(role = kind.verb(), reason, "a role is down");
                    let sentence = format!("certificates are not renewed while the acme role is down: {reason}");
                    self.notices.insert(kind.verb(), sentence);
                    self.untold = true;
                }
                Action::NotReady { reason } | Action::Failed { reason } => {
                    tracing::error!(role = kind.verb(), reason, "a role is down");
                    self.notices.insert(kind.verb(), format!("the {} is down: {reason}", kind.verb()));
                    self.untold = true;
                }
                Action::Stopped if post == Post::Acme => self.on_acme_stopped(),
                Action::Stopped => {}
                Action::Log { event, reason, next } => {
                    let next_ms = next.map(|next| next.as_millis() as u64);
                    tracing::info!(role = kind.verb(), event, reason, next_ms);
                }
            }
        }
    }

    fn role_child(&self, post: Post) -> Option<&super::child::Child> {
        match post {
            Post::Log => self.log.child.as_ref(),
            Post::Proxy(number) => self.proxies.get(number)?.role.child.as_ref(),
            Post::Acme => self.issuing.as_ref()?.role.child.as_ref(),
        }
    }

    fn start_role(&mut self, post: Post, attempt: u32) -> std::io::Result<u32> {
        match post {
            Post::Log => {
                let pid = self.log.spawn::<FromLog>(attempt, &mut self.vault, &self.events, heard_log)?;
                self.tell_log()?;
                Ok(pid)
            }
            Post::Proxy(number) => self.start_proxy(number, attempt),
            Post::Acme => self.start_acme(attempt),
        }
    }

    /// Tells the log role all that it is to read. It goes on with what it reads already.
    pub(super) fn tell_log(&self) -> std::io::Result<()> {
        let folder = std::fs::File::open(self.gateway.state.join("logs"))?;
        let (file_bytes, files) = (self.gateway.log_file_bytes, self.gateway.log_files);
        self.log.send(ToLog::Hello { protocol: PROTOCOL, file_bytes, files }, vec![folder.into()]);
        self.log.send(ToLog::Access, vec![self.access.0.try_clone()?]);
        for (name, seat) in &self.seats {
            self.log.send(ToLog::Tenant { tenant: name.clone() }, vec![seat.output.0.try_clone()?]);
        }
        Ok(())
    }

    /// The port that public URLs name.
    pub(super) fn https_port(&self) -> u16 {
        self.gateway.listen.https.first().map_or(443, std::net::SocketAddr::port)
    }

    pub(super) fn on_exit(&mut self, who: Who, attempt: u32, exit: Exit, report: Option<String>) {
        // The shim's own words say more than its exit status.
        let said = report.clone();
        let reason = report.unwrap_or_else(|| exit.to_string());
        match who {
            Who::Role(post) => {
                let machine = self.role_worker(post).map(|worker| worker.view().attempt);
                if machine.is_some_and(|newest| newest != attempt) {
                    return;
                }
                match post {
                    Post::Log => {
                        self.log.child = None;
                        self.log.hang_up(&mut self.vault);
                    }
                    Post::Proxy(number) => self.on_proxy_exit(number, attempt, &exit),
                    Post::Acme => self.on_acme_exit(),
                }
                self.role_fact(post, Fact::Exited { attempt, reason });
                if self.role_worker(post).is_some_and(|worker| worker.phase() == Phase::Killing) {
                    // The kill was ordered while it lived, and it was the whole tree.
                    self.role_fact(post, Fact::TreeGone { attempt });
                }
            }
            Who::Units => self.units.ended(exit),
            Who::Firewall => self.on_nft(exit, said),
            Who::Preflight => self.on_preflight(attempt, exit, said),
            Who::Worker(name, generation) => {
                let end = self.end_of(&name, exit, reason);
                self.on_worker_exit(&name, generation, attempt, end);
            }
            Who::Dotenv(name) => self.on_edit_exit(&name, attempt, exit, said),
            Who::Migration(name, generation) => self.on_task(name, generation, tenant::Task::Migrate, exit, reason),
            Who::Snapshot(name, generation) => self.on_task(name, generation, tenant::Task::Snapshot, exit, reason),
            Who::Restore(name, generation) => self.on_task(name, generation, tenant::Task::Restore, exit, reason),
            Who::Nobody => {}
        }
    }

    fn on_task(&mut self, name: TenantName, generation: GenerationId, task: tenant::Task, exit: Exit, reason: String) {
        let end = self.end_of(&name, exit, reason);
        if let Some(seat) = self.seats.get_mut(&name) {
            if let Some(lease) = seat.leases.get_mut(&generation) {
                lease.task = None;
                lease.kill(&self.groups);
            }
            if seat.machine.plan(generation).is_none() {
                // It was there for its copy only.
                seat.leases.remove(&generation);
            }
        }
        let done = exit.code == Some(0);
        if done && task == tenant::Task::Migrate {
            self.remember_migration(&name, generation);
        }
        let result = if done { Ok(()) } else { Err(end.into_reason()) };
        self.inbox.push_back((name, tenant::Event::TaskDone { generation, task, result }));
    }

    pub(super) fn on_log(&mut self, attempt: u32, fact: FromLog) {
        match fact {
            FromLog::Hello { protocol } if protocol != PROTOCOL => {
                tracing::error!(protocol, "the log role speaks another protocol");
            }
            FromLog::Hello { .. } => {}
            FromLog::Ready => self.role_fact(Post::Log, Fact::Healthy { attempt }),
            FromLog::Dropped { tenant, bytes } => {
                tracing::warn!(%tenant, bytes, "lines of a worker were dropped: it writes faster than 1 MB/s, or the disk is full");
            }
        }
    }

    /// A role whose link broke but which lives is of no use: it is ended, and comes back. An older proxy may be ending just now,
    /// as it should; one that goes on without its link is found out by the next table.
    pub(super) fn on_link_lost(&mut self, post: Post, attempt: u32) {
        if self.role_worker(post).is_some_and(|worker| worker.view().attempt == attempt)
            && !self.farewell.has_begun()
            && let Some(child) = self.role_child(post)
        {
            child.signal(libc::SIGKILL);
        }
    }

    /// Strays of workers that were re-parented to us have ended: their status is nobody's, but they must be reaped.
    pub(super) fn reap_strangers(&self) {
        let leases = self.seats.values().flat_map(|seat| seat.leases.values());
        let workers = leases.flat_map(|lease| lease.child.iter().chain(&lease.task));
        let proxies = self.proxies.all().filter_map(|proxy| proxy.role.child.as_ref());
        let roles =
            proxies.chain(&self.log.child).chain(self.units.child()).chain(self.firewall.child()).chain(self.scout());
        let roles = roles.chain(self.storage.child()).chain(self.edits.children());
        let roles = roles.chain(self.role_child(Post::Acme));
        let known = workers.chain(roles).map(|child| child.pid).collect();
        if let Err(error) = sys::process::reap_strangers(&known) {
            tracing::error!(%error, "strays cannot be reaped");
        }
    }
}

/// As the loop hears it.
pub(super) fn heard_log(attempt: u32, fact: FromLog, _: Vec<std::os::fd::OwnedFd>) -> Event {
    Event::Log(attempt, fact)
}
