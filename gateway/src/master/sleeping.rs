//! Who sleeps: `machine::sleep` decides, and it is carried out here. A tenant that sleeps is wanted all the same; it has no
//! worker, no port and no generation, and its visitors are held until it has.

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    control::Replies,
    house::House,
    lease::Lease,
    seat::{Seat, migration},
    state_file::{self, Found, Lasting},
    unwritten::Unwritten,
};
use crate::{
    machine::{
        Now,
        accord::Accord,
        sleep::{self, Decision, Guest, Place},
        tenant,
    },
    model::{GenerationId, TenantName},
    wire::ToProxy,
};

const VERSION: u32 = 1;

/// What is remembered of sleep: who slept when landlord last ran, and when to look again.
#[derive(Debug)]
pub(super) struct Sleepers {
    path: PathBuf,
    /// As the file says, which may be seconds behind: one that sleeps on is woken by its next visitor, and one that does not
    /// falls asleep again.
    written: BTreeSet<TenantName>,
    /// Something that decides it may have changed.
    pub(super) stirred: bool,
    /// When to look although nothing has.
    pub(super) again: Option<Now>,
}

impl Sleepers {
    /// Those of the life before.
    pub(super) fn open(path: PathBuf) -> Self {
        let written = match state_file::read(&path, VERSION) {
            Found::Good(names) => names,
            Found::Missing | Found::PutAside(_) => BTreeSet::new(),
        };
        Self { path, written, stirred: true, again: None }
    }

    fn keep(&mut self, names: BTreeSet<TenantName>, unwritten: &Unwritten) {
        if names != self.written {
            if let Err(error) = state_file::write(&self.path, VERSION, &names, Lasting::ForEver) {
                return unwritten.failed(&self.path, &error, "a restart of landlord now would not know who sleeps");
            }
            self.written = names;
        }
        unwritten.written(&self.path);
    }
}

impl House {
    /// Puts to sleep who is not used, and wakes who is called.
    pub(super) fn look_at_sleepers(&mut self) {
        if !std::mem::take(&mut self.sleepers.stirred) || self.farewell.has_begun() {
            return;
        }
        let (now, accord) = (self.now(), &self.proxies.accord);
        let max = self.gateway.max_running.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        let mut house: Vec<_> = self
            .seats
            .iter_mut()
            .map(|(name, seat)| {
                let guest = guest(seat, accord);
                (name, guest, &mut seat.sleeper)
            })
            .collect();
        let outlook = sleep::look(&mut house, max, now);
        self.sleepers.again = outlook.again;
        let decisions: Vec<_> = outlook.decisions.into_iter().map(|(name, it)| (name.clone(), it)).collect();
        for (name, decision) in decisions {
            match decision {
                Decision::Ask(generation) => self.ask_sleep(&name, generation),
                Decision::Sleep => self.set_asleep(&name, true),
                Decision::Wake => self.set_asleep(&name, false),
            }
        }
    }

    fn set_asleep(&mut self, name: &TenantName, asleep: bool) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.asleep = asleep;
            self.wish(name);
        }
    }

    /// The newest proxy asks its worker. Nothing is lost with a proxy that ends over it: it is asked again.
    fn ask_sleep(&self, name: &TenantName, generation: GenerationId) {
        let lease = self.seats.get(name).and_then(|seat| seat.leases.get(&generation));
        if let Some(path) = lease.and_then(|lease| lease.spec.app.sleep.clone()) {
            self.proxies.newest.role.send(ToProxy::AskSleep { generation, path }, Vec::new());
        }
    }

    /// Nobody uses a generation over this proxy.
    pub(super) fn on_quiet(&mut self, proxy: u32, generation: GenerationId, for_ms: u64) {
        let since = Now(self.now().0.saturating_sub(std::time::Duration::from_millis(for_ms)));
        self.proxies.accord.on_quiet(proxy, generation, since);
        self.sleepers.stirred = true;
    }

    /// Somebody does.
    pub(super) fn on_busy(&mut self, proxy: u32, generation: GenerationId) {
        self.proxies.accord.on_busy(proxy, generation);
        self.sleepers.stirred = true;
    }

    /// What a worker says that was asked whether it may sleep.
    pub(super) fn on_may_sleep(&mut self, generation: GenerationId, veto: bool) {
        let now = self.now();
        let seat = self.seats.values_mut().find(|seat| seat.leases.contains_key(&generation));
        if let Some(seat) = seat {
            seat.sleeper.answered(generation, veto, seat.spec.sleep.after, now);
            if veto {
                tracing::info!(tenant = %seat.spec.name, generation = generation.0, "it has something to do and stays awake");
            }
        }
        self.sleepers.stirred = true;
    }

    /// A visitor waits at this proxy's door, or waits still: the company is woken if it sleeps, and starts before the others in any case.
    pub(super) fn on_visitor(&mut self, proxy: u32, name: &TenantName) {
        let Some(seat) = self.seats.get_mut(name) else { return };
        let first = !std::mem::replace(&mut seat.visited, true);
        // What was said of it was said before this one came: it does not sleep by it, whatever happens first.
        for generation in seat.leases.keys() {
            self.proxies.accord.on_busy(proxy, *generation);
        }
        // Said again, it changes nothing: what of it was queued since has come in front already.
        if first {
            let (its, rest): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(|(other, ..)| other == name);
            self.queue.extend(its.into_iter().chain(rest));
        }
        self.call(name, true);
    }

    /// One that sleeps is to wake; `urgent`: somebody waits for it.
    pub(super) fn call(&mut self, name: &TenantName, urgent: bool) {
        let now = self.now();
        if let Some(seat) = self.seats.get_mut(name).filter(|seat| seat.asleep) {
            seat.sleeper.call(urgent, now);
            self.sleepers.stirred = true;
        }
    }

    /// An operator wants one that sleeps up.
    pub(super) fn wake_for(&mut self, name: &TenantName, replies: Replies) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.new_askers.push(replies);
        }
        self.call(name, true);
    }

    /// Whether a tenant that comes to its seat sleeps on, or waits for room: what slept when landlord last ran does, and in
    /// a house that holds only so many everybody comes in by turns.
    pub(super) fn seat_asleep(&mut self, name: &TenantName) {
        let slept = self.sleepers.written.contains(name);
        let Some(seat) = self.seats.get_mut(name).filter(|seat| seat.spec.sleep.after.is_some()) else { return };
        seat.asleep = slept || self.gateway.max_running.is_some();
        if !slept {
            self.call(name, false);
        }
    }

    /// Settings, or whether it is to run, have changed. Most of it is for when it wakes; what cannot wait for a visitor does
    /// not: one that sleeps no more, and a migration, which no visitor is to wait for.
    pub(super) fn reconsider_sleep(&mut self, name: &TenantName) {
        let Some(seat) = self.seats.get_mut(name) else { return };
        let app = &seat.spec.app;
        let migrates = app.migrate.is_some() && self.records.of(name).migrated.as_ref() != Some(&migration(app));
        // One that is called comes in by its turn, and migrates then; but nobody makes room for one that never leaves.
        if seat.asleep && (seat.spec.sleep.after.is_none() || migrates && !seat.sleeper.is_called()) {
            seat.asleep = false;
        }
        self.sleepers.stirred = true;
    }

    /// Writes down who sleeps, for the next start of landlord. Not at each word: a thousand may fall asleep at once.
    pub(super) fn keep_sleepers(&mut self) {
        // One that is called has never slept, or does not any more.
        let asleep = self.seats.iter().filter(|(_, seat)| seat.asleep && !seat.sleeper.is_called());
        let names = asleep.map(|(name, _)| name.clone()).collect();
        if self.looked {
            self.sleepers.keep(names, &self.storage.unwritten);
        }
    }
}

/// What a tenant is doing.
fn guest(seat: &Seat, accord: &Accord) -> Guest {
    let lives = seat.leases.values().any(|lease: &Lease| lease.child.is_some());
    let serves = seat.machine.current().filter(|_| !seat.machine.busy());
    let place = match (seat.machine.state(), serves) {
        _ if seat.removed || seat.stopped || seat.spec.suspended => {
            if lives {
                Place::Leaving
            } else {
                Place::Away
            }
        }
        _ if seat.asleep => {
            if lives {
                Place::Leaving
            } else {
                Place::Asleep
            }
        }
        (tenant::State::Running, Some(generation)) => {
            Place::Serving { generation, quiet: accord.quiet_since(generation) }
        }
        _ => Place::Coming,
    };
    let asks = serves.and_then(|generation| seat.leases.get(&generation)).is_some_and(|it| it.spec.app.sleep.is_some());
    Guest { after: seat.spec.sleep.after, asks, place }
}
