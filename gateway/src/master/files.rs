//! What the files say becomes what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use super::{house::House, records::Record, seat::Seat};
use crate::{
    config::{self, tenants::FolderError},
    machine::reconcile::{Fleet, FleetEntry, Plan, Step, reconcile},
    model::{Catalog, Digest, Rejection, Tenant, TenantName},
    sys,
    wire::ToLog,
};

impl House {
    /// Something changed in the files, or may have.
    pub(super) fn look(&mut self) {
        if self.gateway_file_changed() {
            // What is wrong with it is kept as a notice and told by `status`; the settings in force stay.
            let _ = self.reload_gateway();
        }
        self.look_again(false);
        self.look_at_dotenvs();
        self.look_at_certificates();
        self.look_at_storage();
    }

    /// Files of certificates that changed, and leaves that grow old.
    pub(super) fn look_at_certificates(&mut self) {
        self.uncertified |= self.certificates.look();
        for folder in self.certificates.folders() {
            self.watch.add(&folder);
        }
        self.note_certificates();
    }

    /// What needs no event of the file system to be seen: a missed one, and the passing of months.
    pub(super) fn look_slowly(&mut self) {
        let changed = self.gateway_file_changed();
        if changed {
            let _ = self.reload_gateway();
        }
        self.look_at_storage();
        if changed || self.notices.contains_key("outside") || self.users.refused || self.somebody_waits() {
            self.look_again(false);
        }
        self.look_at_dotenvs();
        self.look_at_certificates();
        self.listen_for_silence();
        self.look_at_loopback();
    }

    fn gateway_file_changed(&mut self) -> bool {
        let Some(file) = &self.gateway.file else { return false };
        let now = sys::files::signature(file).ok().flatten();
        let before = std::mem::replace(&mut self.gateway_signature, now);
        // One that is gone for a moment and comes back has changed twice.
        before != self.gateway_signature
    }

    /// Reads every tenant file and takes the steps that lead there.
    pub(super) fn look_again(&mut self, accept_removals: bool) {
        self.users.look_anew(&self.gateway);
        let mut catalog = match config::tenants::read(&self.gateway, &self.records.owners()) {
            Ok(catalog) => catalog,
            Err(error @ (FolderError::Missing(_) | FolderError::NotFolder(_) | FolderError::Unreadable(..))) => {
                let sentence = format!("{error}: nobody is removed, every tenant keeps its last good settings");
                if self.notices.insert("tenants", sentence.clone()).is_none() {
                    tracing::error!("{sentence}");
                }
                self.seat_last_good(&Catalog::default());
                self.untold = true;
                return;
            }
        };
        if self.notices.remove("tenants").is_some() {
            tracing::info!("the tenants folder is back");
            self.untold = true;
        }
        self.untold |= self.notices.remove("outside").is_some();
        self.vet(&mut catalog);
        self.note_rejections(&catalog);
        self.seat_last_good(&catalog);
        let fleet = self.fleet();
        let plan = reconcile(&catalog, &fleet, accept_removals);
        match plan.held_back {
            Some(sentence) => {
                if self.notices.insert("removals", sentence.clone()).is_none() {
                    tracing::error!("{sentence}");
                }
                self.untold = true;
            }
            None => self.untold |= self.notices.remove("removals").is_some(),
        }
        for step in plan.steps {
            match step {
                Step::Add(name) | Step::Change(name) | Step::Reroute(name) => {
                    if let Some((spec, digest)) = catalog.accepted.get(&name) {
                        self.take(spec.clone(), digest.clone());
                    }
                }
                Step::Remove(name) => self.remove(&name),
            }
        }
        self.dismiss_waiting(|name| catalog.accepted.contains_key(name));
    }

    fn fleet(&self) -> Fleet {
        let entry =
            |seat: &Seat| FleetEntry { tenant: seat.spec.clone(), digest: seat.digest.clone(), stopped: seat.stopped };
        let there = self.seats.iter().filter(|(_, seat)| !seat.removed);
        there.map(|(name, seat)| (name.clone(), entry(seat))).collect()
    }

    /// The fleet as it was when landlord ran last.
    fn remembered(&self) -> Fleet {
        let present = self.records.all().iter().filter(|(_, record)| record.present);
        let entry = |record: &Record| {
            let (tenant, digest) = record.last_good.clone()?;
            Some(FleetEntry { tenant, digest, stopped: record.stopped })
        };
        present.filter_map(|(name, record)| Some((name.clone(), entry(record)?))).collect()
    }

    /// Remembers which files are wrong, says so once, and shows it at the tenants that keep their last good settings.
    fn note_rejections(&mut self, catalog: &Catalog) {
        for rejection in &catalog.rejected {
            if !self.rejected.contains(rejection) {
                let place = &rejection.place;
                let kept = rejection.tenant.as_ref().is_some_and(|name| self.seats.contains_key(name));
                let action = if kept { "kept_previous" } else { "ignored" };
                let (file, error) = (place.file.display(), &rejection.error);
                let (hint, text) = (&rejection.hint, &place.text);
                tracing::warn!(%file, line = place.line, column = place.column, error, hint, text, action, "config");
            }
        }
        self.untold |= self.rejected != catalog.rejected;
        self.rejected.clone_from(&catalog.rejected);
        let mut wrong: BTreeMap<&TenantName, Vec<String>> = BTreeMap::new();
        for rejection in &catalog.rejected {
            if let Some(name) = &rejection.tenant {
                wrong.entry(name).or_default().push(on_one_line(rejection));
            }
        }
        for (name, seat) in &mut self.seats {
            seat.rejection = wrong
                .get(name)
                .map(|all| format!("the file is wrong, the last good settings stay in force: {}", all.join("; ")));
        }
    }

    /// At a start, a tenant whose file is wrong (or whose folder is away) gets the settings that were in force last.
    fn seat_last_good(&mut self, catalog: &Catalog) {
        if self.looked {
            return;
        }
        let away = self.notices.contains_key("tenants");
        self.looked = !away;
        let wrong: BTreeSet<_> = catalog.rejected.iter().filter_map(|rejection| rejection.tenant.clone()).collect();
        // Files that went while landlord was down are judged like any others: too many at once are a mishap.
        let plan = if away { Plan::default() } else { reconcile(catalog, &self.remembered(), false) };
        let held_back = plan.held_back.is_some();
        for step in plan.steps {
            if let Step::Remove(name) = step {
                let record = Record { present: false, ..self.records.of(&name) };
                self.records.remember(&name, record);
            }
        }
        let kept = |name: &TenantName| wrong.contains(name) || held_back && !catalog.accepted.contains_key(name);
        let remembered = self
            .records
            .all()
            .iter()
            .filter(|(name, record)| record.present && !self.seats.contains_key(*name) && (away || kept(name)));
        let last_good: Vec<_> = remembered.filter_map(|(_, record)| record.last_good.clone()).collect();
        for (spec, digest) in last_good {
            tracing::warn!(tenant = %spec.name, "starts with the settings that were in force last");
            self.take(spec, digest);
        }
        self.note_rejections(catalog);
    }

    /// Lets a tenant in, or gives it new settings.
    fn take(&mut self, spec: Tenant, digest: Digest) {
        let name = spec.name.clone();
        let folder = super::plan::folder(&self.gateway, &spec);
        if !self.seats.contains_key(&name) && self.must_wait(&name, &folder) {
            return;
        }
        let identity = match self.identify(&spec) {
            Ok(identity) => identity,
            Err(sentence) => return self.note_outside(sentence),
        };
        let mut record = self.records.of(&name);
        if !self.seats.contains_key(&name) {
            match Seat::new(spec.clone(), digest.clone(), identity) {
                Ok(mut seat) => {
                    if let Err(error) = super::folder::prepare(&folder, identity) {
                        if self.lacked_room(&name, &folder, &error) {
                            return;
                        }
                        // Tried again, and told, when it is to be started.
                        tracing::error!(tenant = %name, %error, "its folder cannot be made");
                    }
                    seat.stopped = record.stopped;
                    // A life before has not ended its migration, nor put back what it did.
                    if let Some(torn) = record.migrating {
                        seat.mend(torn);
                    }
                    self.vault.keep(super::vault::log(&name), &seat.output.0);
                    match seat.output.0.try_clone() {
                        Ok(output) => self.log.send(ToLog::Tenant { tenant: name.clone() }, vec![output]),
                        Err(error) => tracing::error!(tenant = %name, %error, "its log cannot be read"),
                    }
                    self.seats.insert(name.clone(), seat);
                    self.seat_asleep(&name);
                    self.greet_storage(&name);
                    self.certify_at_once();
                    tracing::info!(tenant = %name, action = "added", "config");
                }
                Err(error) => return self.note_outside(format!("{name} cannot be let in: {error}")),
            }
        } else if let Some(seat) = self.seats.get_mut(&name) {
            let moved = seat.spec.hosts != spec.hosts;
            (seat.spec, seat.digest) = (spec.clone(), digest.clone());
            seat.identity = identity;
            seat.removed = false;
            if moved {
                self.certify_at_once();
            }
            tracing::info!(tenant = %name, action = "changed", "config");
        }
        record.present = true;
        record.hosts.clone_from(&spec.hosts);
        record.last_good = Some((spec, digest));
        let dotenv = self.dotenv_signature(&name);
        if let Some(seat) = self.seats.get_mut(&name) {
            // One that changed since is looked at by itself: see `look_at_dotenvs`.
            if seat.newest_dotenv.is_none() {
                seat.newest_dotenv.clone_from(&dotenv);
                seat.dotenv = dotenv;
            }
        }
        self.unpublished = true;
        self.records.remember(&name, record);
        self.reconsider_sleep(&name);
        self.keep(&name);
        self.wish(&name);
    }

    /// A right file whose tenant has no place: told, and tried again at the slow look.
    fn note_outside(&mut self, sentence: String) {
        if self.outside.insert(sentence.clone()) {
            tracing::error!("{sentence}");
        }
        self.notices.insert("outside", sentence);
        self.untold = true;
    }

    /// Its file is gone: refuse, drain, stop; the data stays.
    fn remove(&mut self, name: &TenantName) {
        let Some(seat) = self.seats.get_mut(name) else { return };
        tracing::info!(tenant = %name, action = "removed", "config");
        seat.removed = true;
        let mut record = self.records.of(name);
        record.present = false;
        self.records.remember(name, record);
        // Its hosts may be another's from now on.
        self.unpublished = true;
        self.wish(name);
    }

    /// A changed `.env` is a deploy of its tenant, and of nobody else.
    pub(super) fn look_at_dotenvs(&mut self) {
        let names: Vec<_> = self.seats.keys().cloned().collect();
        for name in names {
            self.look_at_dotenv(&name);
        }
    }

    /// Whether that of one tenant has changed, and a deploy is wished for.
    pub(super) fn look_at_dotenv(&mut self, name: &TenantName) -> bool {
        let now = self.dotenv_signature(name);
        let shared = self.users.shared;
        let Some(seat) = self.seats.get_mut(name) else { return false };
        let are_we = seat.identity.or(shared).is_none_or(|(uid, _)| uid == sys::identity::own().0);
        // Closed to others, or given to another user, it says what it said.
        let same = match (&seat.newest_dotenv, &now) {
            (Some(before), Some(now)) => before.is_of_the_same_content(now),
            (before, now) => before == now,
        };
        if same || seat.removed {
            return false;
        }
        seat.newest_dotenv.clone_from(&now);
        // A tenant that is another user reads its own: what is wrong with it then shows when a generation starts.
        let file = super::plan::folder(&self.gateway, &seat.spec).join(".env");
        let wrong = if are_we { config::dotenv::check(&file) } else { None };
        seat.wrong_dotenv = wrong.as_ref().map(on_one_line);
        self.untold = true;
        match &seat.wrong_dotenv {
            Some(error) => {
                tracing::warn!(tenant = %name, error, action = "kept_previous", "config");
                false
            }
            None => {
                seat.dotenv = now;
                tracing::info!(tenant = %name, "its .env changed");
                self.wish(name);
                true
            }
        }
    }

    /// From outside: what a tenant can write is never opened here.
    pub(super) fn dotenv_signature(&self, name: &TenantName) -> Option<sys::files::Signature> {
        let seat = self.seats.get(name)?;
        sys::files::signature(&super::plan::folder(&self.gateway, &seat.spec).join(".env")).ok().flatten()
    }
}

/// A rejection as part of a sentence: place, error, hint, and the line itself.
pub(super) fn on_one_line(rejection: &Rejection) -> String {
    let text = rejection.to_string();
    let first = text.lines().next().unwrap_or_default();
    match &rejection.place.text {
        Some(line) => format!("{first}, in the line `{}`", line.trim()),
        None => first.to_owned(),
    }
}
