//! Tenants at work: what their machines decide is carried out here, and what comes of it is told back.

use std::collections::VecDeque;

use super::{
    house::House,
    lease::{Lease, Starter},
    seat::{Seat, migration},
};
use crate::{
    machine::{
        tenant::{self, Action, Task, Wish},
        worker,
    },
    model::{GenerationId, TenantName},
    sys,
    wire::ToLog,
};

impl House {
    /// Tells a tenant's machine an event and does what it says. Nobody else is touched.
    pub(super) fn on_tenant(&mut self, name: &TenantName, event: tenant::Event) {
        let now = self.now();
        let Some(seat) = self.seats.get_mut(name) else { return };
        // Nobody asks for sleep: who waits here for one that sleeps waits for its waking.
        let sleep = Wish::Stop { reason: tenant::StopReason::Sleep };
        let request = match &event {
            tenant::Event::Want(wish) => *wish != sleep,
            event => matches!(event, tenant::Event::Deploy),
        };
        // The first thing a new request settles is the one under way: its askers are answered before the new ones count.
        let supersedes = request && seat.machine.busy();
        if request && !supersedes {
            seat.askers.append(&mut seat.new_askers);
        }
        let numbers = &mut self.numbers;
        let actions = seat.machine.on(event, now, &mut || numbers.next());
        self.untold = true;
        self.sleepers.stirred = true;
        seat.visited &= seat.machine.state() != tenant::State::Running;
        // Before anything of it is done: whoever goes on from here must know what may have been done.
        let memory = seat.memory();
        self.fleet.keep(name, &memory);
        self.records.note_migration(name, memory.machine.torn());
        let acts = !actions.is_empty();
        for action in actions {
            self.act_for_tenant(name, action);
        }
        if acts {
            self.keep(name);
        }
        let Some(seat) = self.seats.get_mut(name) else { return };
        if request {
            seat.askers.append(&mut seat.new_askers);
        }
        if !seat.machine.busy() && !seat.askers.is_empty() {
            // What was asked for was so already.
            let view = seat.machine.view();
            let ok = match view.state {
                tenant::State::Running | tenant::State::Stopped => true,
                tenant::State::Suspended => seat.stopped,
                _ => false,
            };
            let word = format!("{:?}", view.state).to_lowercase();
            self.answer(name, ok, &format!("{name} is {word}"));
        }
    }

    fn act_for_tenant(&mut self, name: &TenantName, action: Action) {
        match action {
            Action::Open { generation } => {
                let event = match self.open_lease(name, generation) {
                    Ok(()) => tenant::Event::Opened { generation },
                    Err(reason) => tenant::Event::OpenFailed { generation, reason },
                };
                self.tell_tenant(name, event);
            }
            Action::Worker { generation, action } => self.act_for_worker(name, generation, action),
            Action::Run { generation, task } => {
                if let Err(reason) = self.start_task(name, generation, task) {
                    let result = Err(reason);
                    self.tell_tenant(name, tenant::Event::TaskDone { generation, task, result });
                }
            }
            Action::Close { generation } => {
                let lease = self.seats.get_mut(name).and_then(|seat| seat.leases.remove(&generation));
                self.proxies.accord.forget(generation);
                if let Some(lease) = lease {
                    self.groups.close(name, generation);
                    lease.close(&mut self.ports, &mut self.vault);
                }
            }
            Action::Publish => self.unpublished = true,
            Action::Log { generation, event, reason, next } => {
                let pid = generation.and_then(|generation| Some(self.lease(name, generation)?.child.as_ref()?.pid));
                let generation = generation.map(|generation| generation.0);
                let next_ms = next.map(|next| u64::try_from(next.as_millis()).unwrap_or(u64::MAX));
                match event {
                    "failed" => tracing::error!(tenant = %name, generation, pid, event, reason, next_ms, "worker"),
                    "exit" | "oom" | "unhealthy" | "rolled_back" => {
                        tracing::warn!(tenant = %name, generation, pid, event, reason, next_ms, "worker");
                    }
                    _ => tracing::info!(tenant = %name, generation, pid, event, reason, next_ms, "worker"),
                }
                if !reason.is_empty() {
                    self.progress(name, &reason);
                }
            }
            Action::Settled { ok, message } => {
                if ok {
                    tracing::info!(tenant = %name, "{message}");
                } else if !self.farewell.has_begun() {
                    tracing::warn!(tenant = %name, "{message}");
                }
                self.answer(name, ok, &message);
            }
            // A file that came back meanwhile has a wish on its way.
            Action::Gone if self.seats.get(name).is_some_and(|seat| !seat.removed) => {}
            Action::Gone => self.forget(name),
        }
    }

    fn act_for_worker(&mut self, name: &TenantName, generation: GenerationId, action: worker::Action) {
        match action {
            worker::Action::Spawn { attempt } => {
                // A company with a visitor at the door starts before those that have none.
                let visited = |name: &TenantName| self.seats.get(name).is_some_and(|seat| seat.visited);
                let behind = self.queue.iter().position(|(other, ..)| visited(name) && !visited(other));
                let at = behind.unwrap_or(self.queue.len());
                self.queue.insert(at, (name.clone(), generation, attempt));
            }
            worker::Action::Stop => {
                let Some(lease) = self.lease(name, generation) else { return };
                let signal = sys::process::signal_by_name(&lease.spec.app.stop_signal).unwrap_or(libc::SIGTERM);
                if let Some(child) = &lease.child {
                    child.signal(signal);
                }
            }
            worker::Action::Kill => {
                let Some(lease) = self.lease(name, generation) else { return };
                lease.kill(&self.groups);
                if lease.child.is_none() {
                    self.tree_gone(name, generation);
                }
                // Else its end is told when it is reaped, and that of the rest with it.
            }
            // What else a worker's machine says, its tenant's machine has acted on.
            _ => {}
        }
    }

    /// Starts what waits its turn, at most twice the cores at once; a start is over when it is healthy, has ended, or is so
    /// slow that the others need not wait for it.
    pub(super) fn start_queued(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        // What is not wanted any more has nothing to wait for.
        let seats = &self.seats;
        let (wanted, unwanted): (VecDeque<_>, VecDeque<_>) = self
            .queue
            .drain(..)
            .partition(|(name, generation, _)| seats.get(name).is_some_and(|seat| seat.machine.wants_up(*generation)));
        self.queue = wanted;
        for (name, generation, _) in unwanted {
            let event = worker::Event::SpawnFailed { reason: "it is not wanted any more".into() };
            self.inbox.push_back((name, tenant::Event::Worker { generation, event }));
        }
        let limit = usize::try_from(self.cores).unwrap_or(1) * 2;
        let now = self.now();
        let mut starting = self.seats.values().map(|seat| seat.starting(now)).sum::<usize>();
        while starting < limit {
            let Some((name, generation, attempt)) = self.queue.pop_front() else { return };
            let Some(seat) = self.seats.get_mut(&name) else { continue };
            let Some(lease) = seat.leases.get_mut(&generation) else { continue };
            starting += 1;
            let started = self.groups.enter(&seat.spec, generation).and_then(|group| {
                let starter = Starter {
                    gateway: &self.gateway,
                    house: &self.mark,
                    output: &seat.output.1,
                    shared: self.users.shared,
                    events: &self.events,
                    group,
                    limits: self.groups.process_limits(&seat.spec, seat.identity),
                };
                lease.start(attempt, &starter)
            });
            let event = match started {
                Ok(pid) => {
                    tracing::info!(tenant = %name, generation = generation.0, pid, attempt, event = "start", "worker");
                    lease.begun = now;
                    self.storage.note_start(&name);
                    worker::Event::Spawned { pid }
                }
                Err(reason) => worker::Event::SpawnFailed { reason },
            };
            self.fleet.keep(&name, &seat.memory());
            self.inbox.push_back((name, tenant::Event::Worker { generation, event }));
        }
    }

    pub(super) fn tree_gone(&mut self, name: &TenantName, generation: GenerationId) {
        let attempt = self.seats.get(name).and_then(|seat| seat.machine.worker(generation)).map(|view| view.attempt);
        if let Some(attempt) = attempt {
            let event = worker::Event::TreeGone { attempt };
            self.tell_tenant(name, tenant::Event::Worker { generation, event });
        }
    }

    pub(super) fn worker_phase(&self, name: &TenantName, generation: GenerationId) -> Option<worker::Phase> {
        self.seats.get(name)?.machine.worker(generation).map(|view| view.phase)
    }

    fn start_task(&mut self, name: &TenantName, generation: GenerationId, task: Task) -> Result<(), String> {
        if task == Task::Restore {
            let mut record = self.records.of(name);
            record.migrated = None;
            self.records.remember(name, record);
        }
        let seat = self.seats.get_mut(name).ok_or("the tenant is gone")?;
        let gone = || "the generation is gone".to_owned();
        let starter = Starter {
            gateway: &self.gateway,
            house: &self.mark,
            output: &seat.output.1,
            shared: self.users.shared,
            events: &self.events,
            group: self.groups.enter(&seat.spec, generation)?,
            limits: self.groups.process_limits(&seat.spec, seat.identity),
        };
        match task {
            Task::Migrate => seat.leases.get_mut(&generation).ok_or_else(gone)?.migrate(&starter),
            Task::Snapshot => seat.leases.get_mut(&generation).ok_or_else(gone)?.snapshot(&starter),
            Task::Restore => {
                // Its generation may be of a life before: a copy needs no port.
                let copies = || Lease::of_copies(generation, (&seat.spec, &seat.digest), seat.identity);
                seat.leases.entry(generation).or_insert_with(copies).restore(&starter)
            }
        }
    }

    pub(super) fn open_lease(&mut self, name: &TenantName, generation: GenerationId) -> Result<(), String> {
        let seat = self.seats.get_mut(name).ok_or("the tenant is gone")?;
        let folder = super::plan::folder(&self.gateway, &seat.spec);
        super::folder::prepare(&folder, seat.identity).map_err(|e| e.to_string())?;
        self.watch.add(&folder);
        let lease = Lease::open(generation, (&seat.spec, &seat.digest), seat.identity, &self.gateway, &mut self.ports)?;
        if let Some(socket) = lease.lasting_socket() {
            self.vault.keep(super::vault::socket(name, generation), socket);
        }
        seat.leases.insert(generation, lease);
        Ok(())
    }

    /// Remembers what a tenant is and has for the next life.
    pub(super) fn keep(&mut self, name: &TenantName) {
        if let Some(seat) = self.seats.get(name) {
            self.fleet.keep(name, &seat.memory());
        }
    }

    pub(super) fn lease(&self, name: &TenantName, generation: GenerationId) -> Option<&Lease> {
        self.seats.get(name)?.leases.get(&generation)
    }

    /// Events about one tenant are carried in order, after what is being done now.
    pub(super) fn tell_tenant(&mut self, name: &TenantName, event: tenant::Event) {
        self.inbox.push_back((name.clone(), event));
    }

    /// Says anew what is wanted of a tenant: its settings, an operator's word, or the end of the house.
    pub(super) fn wish(&mut self, name: &TenantName) {
        if let Some(seat) = self.seats.get(name) {
            self.groups.limit(&seat.spec);
        }
        if let Some(wish) = self.wanted(name) {
            if !self.farewell.has_begun() {
                self.units
                    .want(name, matches!(wish, Wish::Run { .. } | Wish::Stop { reason: tenant::StopReason::Sleep }));
            }
            self.tell_tenant(name, tenant::Event::Want(wish));
        }
    }

    /// What is wanted of a tenant now.
    pub(super) fn wanted(&self, name: &TenantName) -> Option<Wish> {
        let seat = self.seats.get(name)?;
        Some(if self.farewell.has_begun() {
            Wish::Stop { reason: tenant::StopReason::Operator }
        } else if seat.removed {
            Wish::Stop { reason: tenant::StopReason::Removed }
        } else if seat.spec.suspended {
            Wish::Stop { reason: tenant::StopReason::Suspended }
        } else if seat.stopped {
            Wish::Stop { reason: tenant::StopReason::Operator }
        } else if seat.asleep {
            Wish::Stop { reason: tenant::StopReason::Sleep }
        } else {
            Wish::Run { plan: self.plan_for(seat) }
        })
    }

    fn plan_for(&self, seat: &Seat) -> tenant::RolloutPlan {
        let mut plan = seat.plan(&self.groups.process_limits(&seat.spec, seat.identity));
        // A database that this very command has migrated needs it no second time at a restart of landlord.
        let first = seat.machine.current().is_none() && seat.machine.torn().is_none();
        if first && self.records.of(&seat.spec.name).migrated.as_ref() == Some(&migration(&seat.spec.app)) {
            plan.migrate = false;
        }
        plan
    }

    pub(super) fn remember_migration(&mut self, name: &TenantName, generation: GenerationId) {
        // The settings in force may be newer than those under which it ran.
        if let Some(lease) = self.lease(name, generation) {
            let mut record = self.records.of(name);
            record.migrated = Some(migration(&lease.spec.app));
            self.records.remember(name, record);
        }
    }

    /// The tenant's file is gone and nothing of it runs: its data, record and log stay.
    fn forget(&mut self, name: &TenantName) {
        if let Some(seat) = self.seats.remove(name) {
            self.watch.remove(&super::plan::folder(&self.gateway, &seat.spec));
            self.log.send(ToLog::Close { tenant: name.clone() }, Vec::new());
            self.vault.forget(&super::vault::log(name));
            self.fleet.forget(name);
            self.groups.forget(name);
            for asker in seat.askers.into_iter().chain(seat.new_askers) {
                asker.done(false, format!("{name} was removed: its file is gone"));
            }
        }
        self.unpublished = true;
        self.uncertified = true;
        self.untold = true;
    }
}
