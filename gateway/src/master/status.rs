//! `landlord status`: what each tenant is doing, in words that scripts rely on.

use super::{control::Replies, files::on_one_line, house::House, issuing, seat::Seat};
use crate::{
    machine::{Now, tenant},
    model::TenantName,
    wire::{Started, Status, StatusEntry, TenantState},
};

impl House {
    /// The picture, of one tenant or of all.
    pub(super) fn status(&self, only: Option<&TenantName>) -> Status {
        let wanted = |name: &str| only.is_none_or(|only| only.as_str() == name);
        let seats = self.seats.iter().filter(|(name, _)| wanted(name.as_str()));
        let mut tenants: Vec<StatusEntry> = seats.map(|(_, seat)| self.entry(seat)).collect();
        // A wrong file without last good settings is a tenant too, as far as its author is concerned.
        for rejection in &self.rejected {
            let stem =
                rejection.place.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            if wanted(&stem) && !tenants.iter().any(|entry| entry.name == stem) {
                tenants.push(rejected_entry(stem, on_one_line(rejection), self.since.to_string()));
            }
        }
        for (name, why) in self.who_waits().filter(|(name, _)| wanted(name.as_str())) {
            let entry = rejected_entry(name.to_string(), why, self.since.to_string());
            tenants.push(StatusEntry { state: TenantState::Starting, ..entry });
        }
        tenants.sort_by(|a, b| a.name.cmp(&b.name));
        Status {
            tenants,
            rejected: self.rejected.clone(),
            notices: self.notices.values().cloned().chain(self.certificate_alarms()).collect(),
            gateway: Started {
                pid: std::process::id(),
                proxy_pid: self.proxies.newest.role.child.as_ref().map(|child| child.pid),
                draining: self.proxies.draining(),
                version: env!("CARGO_PKG_VERSION").into(),
                zone: self.gateway.zone.to_string(),
                since: self.since.to_string(),
                walls: self.walls(),
            },
        }
    }

    fn entry(&self, seat: &Seat) -> StatusEntry {
        let view = seat.machine.view();
        let lease = view.generation.and_then(|generation| seat.leases.get(&generation));
        let mut reason = view.reason.clone();
        if matches!(view.state, tenant::State::Backoff | tenant::State::Failed) {
            reason.push_str(&format!("; see `landlord logs {}`", seat.spec.name));
        }
        let dotenv = seat
            .wrong_dotenv
            .as_ref()
            .map(|wrong| format!("its .env is wrong, the worker goes on with the one before: {wrong}"));
        let domains = self.domains(seat);
        let missing: Vec<String> = issuing::missing(&domains).collect();
        let storage = self.storage.of(&seat.spec.name);
        let filled = storage.and_then(|storage| storage.sentence());
        for also in seat.rejection.iter().chain(&dotenv).chain(&missing).chain(&filled) {
            if !reason.is_empty() {
                reason.push_str("; ");
            }
            reason.push_str(also);
        }
        StatusEntry {
            name: seat.spec.name.to_string(),
            state: state(view.state),
            reason,
            hosts: seat.spec.hosts.iter().map(ToString::to_string).collect(),
            url: seat.spec.url(self.https_port()),
            app: seat.spec.app.name.to_string(),
            environment: seat.spec.environment.0.clone(),
            port: lease.and_then(super::lease::Lease::port),
            pid: view.pid,
            generation: view.generation.map(|generation| generation.0),
            restarts: view.restarts,
            uptime_s: view.ready_since.map_or(0, |since| self.now().0.saturating_sub(since.0).as_secs()),
            since: self.wall_clock(view.since),
            domains,
            storage,
        }
    }

    fn wall_clock(&self, at: Now) -> String {
        let ago = jiff::SignedDuration::try_from(self.now().0.saturating_sub(at.0)).unwrap_or_default();
        let then = jiff::Timestamp::now().checked_sub(ago).unwrap_or_else(|_| jiff::Timestamp::now());
        then.round(jiff::Unit::Millisecond).unwrap_or(then).to_string()
    }

    /// Tells those who watch, once for all that changed in this round.
    pub(super) fn tell_watchers(&mut self) {
        if !std::mem::take(&mut self.untold) || self.watchers.is_empty() {
            return;
        }
        let told: Vec<_> = self.watchers.drain(..).collect();
        self.watchers = told.into_iter().filter(|(only, replies)| self.tell_status(only.as_ref(), replies)).collect();
    }

    /// Whether the client is still there.
    pub(super) fn tell_status(&self, only: Option<&TenantName>, replies: &Replies) -> bool {
        replies.status(self.status(only))
    }

    /// The table of the quick start, when every tenant has reached something worth telling.
    pub(super) fn announce_once(&mut self) {
        if self.announce.is_none() || !self.proxies.newest.facts.ready || self.farewell.has_begun() {
            return;
        }
        for seat in self.seats.values_mut() {
            seat.settled |= !matches!(seat.machine.view().state, tenant::State::Starting | tenant::State::Holding);
        }
        if self.seats.values().all(|seat| seat.settled)
            && self.proxies.accord.applied() >= Some(self.epoch)
            && let Some(mut announce) = self.announce.take()
        {
            announce(&self.gateway, &self.status(None));
        }
    }
}

fn state(state: tenant::State) -> TenantState {
    match state {
        tenant::State::Starting => TenantState::Starting,
        tenant::State::Running => TenantState::Running,
        tenant::State::Holding => TenantState::Holding,
        tenant::State::Sleeping => TenantState::Sleeping,
        tenant::State::Backoff => TenantState::Backoff,
        tenant::State::Failed => TenantState::Failed,
        tenant::State::Suspended => TenantState::Suspended,
        tenant::State::Stopped => TenantState::Stopped,
        tenant::State::Removed => TenantState::Removed,
    }
}

fn rejected_entry(name: String, reason: String, since: String) -> StatusEntry {
    StatusEntry {
        name,
        state: TenantState::Rejected,
        reason,
        hosts: Vec::new(),
        url: String::new(),
        app: String::new(),
        environment: String::new(),
        port: None,
        pid: None,
        generation: None,
        restarts: 0,
        uptime_s: 0,
        since,
        domains: Vec::new(),
        storage: None,
    }
}
