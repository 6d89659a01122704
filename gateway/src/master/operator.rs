//! What operators ask for, and what they are answered.

use std::os::fd::OwnedFd;

use super::{control::Replies, files::on_one_line, house::House};
use crate::{
    config,
    machine::tenant,
    model::{TenantName, TlsProvider},
    wire::{CertificateEntry, ControlRequest},
};

impl House {
    pub(super) fn on_control(&mut self, request: ControlRequest, fds: Vec<OwnedFd>, replies: Replies) {
        match request {
            ControlRequest::Status { tenant } => {
                self.tell_status(tenant.as_ref(), &replies);
            }
            ControlRequest::Watch { tenant } => {
                if self.tell_status(tenant.as_ref(), &replies) {
                    self.watchers.push((tenant, replies));
                }
            }
            ControlRequest::Start { tenant } => self.set_stopped(&tenant, false, replies),
            ControlRequest::Stop { tenant } => self.set_stopped(&tenant, true, replies),
            ControlRequest::UnitStart { tenant } => self.start_unit(&tenant, replies),
            ControlRequest::UnitStop { tenant } => self.stop_unit(&tenant, replies),
            ControlRequest::Restart { tenant } => self.restart(&tenant, replies),
            ControlRequest::Reload { accept_removals } => {
                let outcome = self.reload(accept_removals);
                match outcome {
                    Ok(message) => replies.done(true, message),
                    Err(message) => replies.done(false, message),
                }
            }
            ControlRequest::Env { tenant } => self.edit_dotenv(tenant, fds, replies),
            ControlRequest::Certificates => replies.certificates(self.certificate_entries()),
            ControlRequest::Renew { name } => self.renew(&name, replies),
            ControlRequest::TryCertificates { names, directory } => self.try_certificates(&names, directory, replies),
            ControlRequest::Upgrade => self.upgrade(fds.into_iter().next(), Some(replies)),
        }
    }

    /// Every certificate that is served, or ought to be.
    fn certificate_entries(&self) -> Vec<CertificateEntry> {
        if self.gateway.tls == TlsProvider::Acme {
            return self.acme_entries();
        }
        let present = self.seats.iter().filter(|(_, seat)| !seat.removed);
        let tenants = present.flat_map(|(name, seat)| seat.spec.hosts.iter().map(move |host| (host, name))).collect();
        self.certificates.entries(&tenants)
    }

    /// An operator's word is kept before it is carried out: it holds across a restart of landlord.
    pub(super) fn set_stopped(&mut self, name: &TenantName, stopped: bool, replies: Replies) {
        let Some(seat) = self.seats.get_mut(name).filter(|seat| !seat.removed) else {
            return replies.done(false, self.unknown(name));
        };
        let before = std::mem::replace(&mut seat.stopped, stopped);
        // Who is told to stop, or to start, has no reason to sleep any more.
        let slept = seat.asleep && !stopped && !before && !seat.spec.suspended;
        seat.asleep &= slept;
        let mut record = self.records.of(name);
        record.stopped = stopped;
        self.records.remember(name, record);
        if seat.spec.suspended {
            let file = format!("`suspended = true` in {name}.toml");
            return if stopped {
                replies.done(true, format!("{name} is suspended by its file; it stays stopped when {file} goes, too"))
            } else {
                replies.done(false, format!("{name} is suspended by its file: remove {file} to start it"))
            };
        }
        if slept {
            return self.wake_for(name, replies);
        }
        let state = seat.machine.view().state;
        let there = if stopped {
            // What is in flight may still be ending: `stop` is answered when nothing is left.
            matches!(state, tenant::State::Stopped | tenant::State::Suspended) && seat.leases.is_empty()
        } else {
            matches!(state, tenant::State::Running)
        };
        if before == stopped && there {
            let word = if stopped { "stopped" } else { "running" };
            return replies.done(true, format!("{name} is {word} already"));
        }
        if stopped || before {
            self.ask(name, replies);
            self.wish(name);
        } else if seat.machine.busy() {
            // It is on its way already: beginning anew would only make it later.
            seat.askers.push(replies);
        } else {
            // It is wanted and not there: in backoff, failed or starting. Try now.
            self.deploy(name, replies);
        }
    }

    fn deploy(&mut self, name: &TenantName, replies: Replies) {
        if let Some(wrong) = self.seats.get(name).and_then(|seat| seat.wrong_dotenv.as_ref()) {
            let message = format!("{name} is left as it is, because its .env is wrong: {wrong}");
            return replies.done(false, message);
        }
        // The strategy depends on what serves now, so the wish is told anew, before anybody waits for anything.
        if let Some(wish) = self.wanted(name) {
            self.on_tenant(name, tenant::Event::Want(wish));
        }
        self.ask(name, replies);
        self.tell_tenant(name, tenant::Event::Deploy);
    }

    fn restart(&mut self, name: &TenantName, replies: Replies) {
        let Some(seat) = self.seats.get(name).filter(|seat| !seat.removed) else {
            return replies.done(false, self.unknown(name));
        };
        if seat.spec.suspended {
            return replies.done(false, format!("{name} is suspended by its file: there is nothing to restart"));
        }
        if seat.stopped || seat.asleep {
            return self.set_stopped(name, false, replies);
        }
        self.deploy(name, replies);
    }

    fn ask(&mut self, name: &TenantName, replies: Replies) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.new_askers.push(replies);
        }
    }

    /// Everybody who waits for this tenant is told how it ended.
    pub(super) fn answer(&mut self, name: &TenantName, ok: bool, message: &str) {
        let Some(seat) = self.seats.get_mut(name) else { return };
        for asker in seat.askers.drain(..) {
            asker.done(ok, message);
        }
    }

    /// A step on the way, for those who wait.
    pub(super) fn progress(&mut self, name: &TenantName, line: &str) {
        let Some(seat) = self.seats.get(name) else { return };
        for asker in &seat.askers {
            asker.progress(line);
        }
    }

    /// Reads landlord.toml and tenants.d again. A wrong landlord.toml changes nothing.
    pub(super) fn reload(&mut self, accept_removals: bool) -> Result<String, String> {
        self.reload_gateway()?;
        self.look_again(accept_removals);
        self.ask_storage();
        self.knock();
        let (tenants, wrong) = (self.seats.len(), self.rejected.len());
        match self.notices.get("tenants").or_else(|| self.notices.get("removals")) {
            Some(held_back) => Err(held_back.clone()),
            None if self.notices.contains_key("landlord.toml") => Ok(self.notices["landlord.toml"].clone()),
            None if wrong > 0 => Ok(format!("{tenants} tenants; {wrong} wrong files, see `landlord status`")),
            None => Ok(format!("{tenants} tenant{}, all files are right", if tenants == 1 { "" } else { "s" })),
        }
    }

    pub(super) fn reload_gateway(&mut self) -> Result<(), String> {
        let Some(file) = self.gateway.file.clone() else { return Ok(()) };
        match config::gateway::load(Some(&file)) {
            Ok(read) => {
                self.take_settings(read);
                Ok(())
            }
            Err(rejections) => {
                let all: Vec<String> = rejections.iter().map(on_one_line).collect();
                let message = format!("landlord.toml is wrong, the settings in force stay: {}", all.join("; "));
                // Once for each fault, however often it is read.
                if self.notices.insert("landlord.toml", message.clone()).as_ref() != Some(&message) {
                    tracing::error!("{message}");
                }
                self.untold = true;
                Err(message)
            }
        }
    }

    pub(super) fn unknown(&self, name: &TenantName) -> String {
        if self.seats.contains_key(name) {
            return format!("{name} was removed: its file is gone, and what is in flight ends");
        }
        let names = self.seats.keys().map(TenantName::as_str);
        let near = names.map(|known| (strsim::damerau_levenshtein(known, name.as_str()), known)).min();
        match near {
            Some((distance, known)) if distance <= 2 => format!("there is no tenant {name} (did you mean {known}?)"),
            _ => format!("there is no tenant {name}: `landlord status` lists all"),
        }
    }
}
