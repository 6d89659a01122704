//! Disk space: how much of it each tenant takes up, and what is done when none is left.

mod ballast;
mod counter;
mod disk;
mod file;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{house::House, unwritten::Unwritten};
use crate::{
    machine::{
        Now,
        quota::{Action, Event, Quota},
        room::Room,
    },
    model::{Fill, Storage as Figures, TenantName},
    wire::{Counted, Wall},
};
use counter::Counter;

pub(super) use file::path;

/// A counter that is silent for so long hangs: on a file system that is away, say.
const SILENCE: Duration = Duration::from_secs(60);

/// Why not all of a tenant's folder is counted: as root, its counter may look everywhere.
const CLOSED: &str = "some of its folders are closed to landlord, and what is in them does not count";

/// What it means that a tenant's file cannot be written.
const UNTOLD: &str = "the tenant is not told how full its storage is";

/// What is known of disk space.
#[derive(Debug)]
pub(super) struct Storage {
    quota: Quota,
    counter: Option<Counter>,
    /// The number of the newest.
    number: u32,
    /// Tenants that the quota knows.
    known: BTreeSet<TenantName>,
    /// Those that were started since the last look.
    ran: BTreeSet<TenantName>,
    /// Those who have no file.
    unprepared: BTreeSet<TenantName>,
    /// Those whose file does not say what is known.
    unsaid: BTreeSet<TenantName>,
    /// Those whose folder cannot be looked into, or not everywhere, and why.
    unseen: BTreeMap<TenantName, String>,
    room: Room,
    /// New tenants that wait until there is room.
    waiting: BTreeSet<TenantName>,
    /// What of ours could not be written.
    pub(super) unwritten: Unwritten,
}

impl Storage {
    /// Something of the tenant was started.
    pub(super) fn note_start(&mut self, name: &TenantName) {
        self.ran.insert(name.clone());
    }

    /// What is known of a tenant.
    pub(super) fn of(&self, name: &TenantName) -> Option<Figures> {
        self.quota.storage(name)
    }

    /// Nothing is counted any more.
    pub(super) fn close(&mut self) {
        if let Some(counter) = self.counter.take() {
            counter.child.signal(libc::SIGKILL);
        }
    }

    /// The counter's pid: it is a child whose end is awaited.
    pub(super) fn child(&self) -> Option<&super::child::Child> {
        self.counter.as_ref().map(|counter| &counter.child)
    }

    /// What keeps tenants apart here.
    pub(super) fn wall(&self) -> Wall {
        let unseen = self.unseen.iter().next();
        let note = unseen.map_or_else(
            || {
                "each tenant's folder is counted; one that reaches its `limits.storage` gets no more uploads (507), and its \
                 worker is told"
                    .to_owned()
            },
            |(name, error)| format!("not all of the folder of {name} is counted: {error}"),
        );
        Wall { name: "storage".into(), holds: unseen.is_none(), note }
    }
}

impl House {
    /// Who is here, who may write, and what the disk has: a cheap look, taken now and then.
    pub(super) fn look_at_storage(&mut self) {
        self.look_at_disk();
        let gone: Vec<_> = self.storage.known.iter().filter(|name| !self.seats.contains_key(*name)).cloned().collect();
        for tenant in gone {
            self.storage.known.remove(&tenant);
            self.storage.unsaid.remove(&tenant);
            self.storage.unprepared.remove(&tenant);
            self.storage.unseen.remove(&tenant);
            self.storage.unwritten.written(&path(&self.gateway.state, &tenant));
            self.tell_quota(Event::Gone { tenant });
        }
        let names: Vec<_> = self.seats.keys().cloned().collect();
        for name in &names {
            self.greet_storage(name);
        }
        self.storage.ran.clear();
        for name in std::mem::take(&mut self.storage.unprepared) {
            self.prepare_storage_file(&name);
        }
        for name in std::mem::take(&mut self.storage.unsaid) {
            self.say_storage(&name);
        }
    }

    /// The quota gets to know a tenant, or sees it again. Its file is there from now on.
    pub(super) fn greet_storage(&mut self, name: &TenantName) {
        let Some(seat) = self.seats.get(name) else { return };
        let limit = seat.spec.limits.storage;
        let alive = seat.leases.values().any(|lease| lease.child.is_some() || lease.task.is_some());
        let runs = alive || self.storage.ran.contains(name);
        let is_new = self.storage.known.insert(name.clone());
        self.tell_quota(Event::Seen { tenant: name.clone(), limit, runs });
        if is_new {
            self.prepare_storage_file(name);
        }
    }

    fn prepare_storage_file(&mut self, name: &TenantName) {
        let Some(seat) = self.seats.get(name) else { return };
        let (state, limit) = (&self.gateway.state, seat.spec.limits.storage);
        match file::prepare(state, name, seat.identity, limit) {
            Ok(used) => {
                self.storage.unwritten.written(&path(state, name));
                if let Some(used) = used {
                    self.tell_quota(Event::Remembered { tenant: name.clone(), used });
                }
            }
            Err(error) => {
                self.storage.unwritten.failed(&path(state, name), &error, UNTOLD);
                self.storage.unprepared.insert(name.clone());
            }
        }
    }

    /// An operator has tidied up, or changed a limit, and wants to see what came of it.
    pub(super) fn ask_storage(&mut self) {
        self.look_at_storage();
        self.tell_quota(Event::Asked);
    }

    /// One line of a counter, or its end.
    pub(super) fn on_counted(&mut self, number: u32, counted: Option<Counted>) {
        let now = self.now();
        let Some(counter) = self.storage.counter.as_mut().filter(|counter| counter.number == number) else { return };
        counter.heard = now;
        let Some(Counted { tenant, used, entries, whole, closed, took_us, error }) = counted else {
            let hung = counter.hung;
            self.storage.counter = None;
            return self.tell_quota(Event::Ended { hung });
        };
        let is_unknown = error.is_some();
        match error.or_else(|| closed.then(|| CLOSED.to_owned())) {
            Some(error) => {
                if self.storage.unseen.insert(tenant.clone(), error.clone()).as_ref() != Some(&error) {
                    tracing::warn!(%tenant, event = "uncounted", error, "disk");
                }
            }
            None => drop(self.storage.unseen.remove(&tenant)),
        }
        if is_unknown {
            return;
        }
        tracing::debug!(%tenant, used, entries, whole, took_us, event = "counted", "disk");
        self.tell_quota(Event::Counted { tenant, used, whole, took: Duration::from_micros(took_us) });
    }

    /// Ends a counter that hangs, and starts one when it is time.
    pub(super) fn on_storage_time(&mut self) {
        let now = self.now();
        if let Some(counter) = &mut self.storage.counter
            && now.since(counter.heard) >= SILENCE
            && !counter.hung
        {
            tracing::error!(event = "hung", "disk");
            counter.hung = true;
            // Its end is told when its pipe ends.
            counter.child.signal(libc::SIGKILL);
        }
        if !self.farewell.has_begun() && self.storage.quota.deadline().is_some_and(|at| at <= now) {
            self.tell_quota(Event::Timer);
        }
    }

    /// When to be called for that.
    pub(super) fn storage_deadline(&self) -> Option<Now> {
        if self.farewell.has_begun() {
            return None;
        }
        let silence = self.storage.counter.as_ref().filter(|counter| !counter.hung);
        self.storage.quota.deadline().into_iter().chain(silence.map(|counter| counter.heard + SILENCE)).min()
    }

    fn tell_quota(&mut self, event: Event) {
        let now = self.now();
        for action in self.storage.quota.on(event, now) {
            match action {
                Action::Count(_) if self.farewell.has_begun() => {}
                Action::Count(names) => self.start_counter(names),
                Action::Tell { tenant, storage, before } => {
                    if let Some(before) = before {
                        tell_of(&tenant, before, storage);
                    }
                    if let Some(seat) = self.seats.get_mut(&tenant)
                        && std::mem::replace(&mut seat.full, storage.state == Fill::Full) != seat.full
                    {
                        self.unpublished = true;
                    }
                    self.untold = true;
                    self.say_storage(&tenant);
                }
            }
        }
    }

    fn start_counter(&mut self, names: Vec<TenantName>) {
        self.storage.number += 1;
        let (number, now) = (self.storage.number, self.now());
        match Counter::start(number, names, (&self.gateway, &self.mark), &self.events, now) {
            Ok(counter) => self.storage.counter = Some(counter),
            Err(error) => {
                tracing::error!(%error, event = "uncounted", "disk");
                self.tell_quota(Event::Ended { hung: false });
            }
        }
    }

    /// Says in a tenant's file what is known. One that cannot be written is written at a later look.
    fn say_storage(&mut self, name: &TenantName) {
        let (Some(seat), Some(storage)) = (self.seats.get(name), self.storage.of(name)) else { return };
        let state = &self.gateway.state;
        match file::write(state, name, seat.identity, &storage) {
            Ok(()) => self.storage.unwritten.written(&path(state, name)),
            Err(error) => {
                self.storage.unwritten.failed(&path(state, name), &error, UNTOLD);
                self.storage.unsaid.insert(name.clone());
            }
        }
    }
}

fn tell_of(tenant: &TenantName, before: Fill, storage: Figures) {
    let Figures { used, limit, state } = storage;
    let event = match state {
        Fill::Ok => "ok",
        Fill::Warn => "warn",
        Fill::Full => "full",
    };
    if state > before {
        tracing::warn!(%tenant, event, used, limit, "disk");
    } else {
        tracing::info!(%tenant, event, used, limit, "disk");
    }
}
