//! The disk that holds our state: looked at now and then, and at once when something could not be written.

use std::path::Path;

use super::{super::unwritten, Storage, ballast};
use crate::{
    machine::{
        quota::Quota,
        room::{Action, Look, Room},
    },
    master::house::House,
    model::{Gateway, TenantName},
    sys,
};

impl Storage {
    /// Looks at the disk first of all: on a full one, the ballast makes room for what an opening house has to write.
    pub(in crate::master) fn open(gateway: &Gateway) -> Self {
        let mut storage = Self {
            quota: Quota::default(),
            counter: None,
            number: 0,
            known: Default::default(),
            ran: Default::default(),
            unprepared: Default::default(),
            unsaid: Default::default(),
            unseen: Default::default(),
            room: Room::default(),
            waiting: Default::default(),
            unwritten: Default::default(),
        };
        storage.look_at_disk(gateway, false);
        // Tenants with users of their own pass through it. Where it cannot be made, each file says so when its turn comes.
        let passage = if gateway.users.is_some() { 0o711 } else { 0o700 };
        let folder = super::file::folder(&gateway.state);
        if let Err(error) = sys::files::make_private_dir(&folder, passage) {
            storage.unwritten.failed(&folder, &error, "tenants are not told how full their storage is");
        }
        storage
    }

    /// `refused`: something has just met a full disk.
    fn look_at_disk(&mut self, gateway: &Gateway, refused: bool) {
        let (state, bytes) = (gateway.state.as_path(), gateway.ballast);
        // What cannot be asked, as on a file system that is away, cannot be acted on.
        let Ok(space) = sys::machine::space(state) else { return };
        let look = Look {
            free: space.free_bytes,
            all: space.bytes,
            free_inodes: Some(space.free_inodes).filter(|_| space.inodes > 0),
            held: ballast::size(state).is_some(),
            refused: refused || self.unwritten.waits_for_room(),
        };
        for action in self.room.on(look, bytes) {
            match action {
                Action::Full => tracing::error!(path = %state.display(), event = "full", free = look.free, "disk"),
                Action::Roomy => tracing::info!(path = %state.display(), event = "ok", free = look.free, "disk"),
                Action::Release => match ballast::release(state) {
                    Ok(()) => tracing::warn!(path = %ballast::path(state).display(), event = "ballast_freed", "disk"),
                    Err(error) => {
                        tracing::error!(path = %ballast::path(state).display(), event = "ballast_stays", %error, "disk");
                    }
                },
                Action::Reserve => self.grow_ballast(state, bytes),
            }
        }
        // Where it had to be written, there is more of it at each look.
        if !self.room.is_full() && ballast::size(state).is_some_and(|size| Some(size) < bytes) {
            self.grow_ballast(state, bytes);
        }
    }

    fn grow_ballast(&mut self, state: &Path, bytes: Option<u64>) {
        let Some(bytes) = bytes else { return };
        let path = ballast::path(state);
        match ballast::reserve(state, bytes) {
            Ok(()) => {
                self.unwritten.written(&path);
                if ballast::size(state) >= Some(bytes) {
                    tracing::info!(path = %path.display(), event = "ballast_made", bytes, "disk");
                }
            }
            // A disk that has no room for it is no disk that is full.
            Err(error) if unwritten::is_full(&error) => {}
            Err(error) => self.unwritten.failed(&path, &error, "no space is kept for when the disk is full"),
        }
    }
}

impl House {
    /// Looks at the disk, lets go of the ballast or makes it, and writes what could not be written before.
    pub(in crate::master) fn look_at_disk(&mut self) {
        self.storage.look_at_disk(&self.gateway, false);
        // What fails again is looked at again at the next look, not in a circle.
        self.records.write_again();
        self.numbers.write_again();
        if self.fleet.is_behind() {
            let names: Vec<_> = self.seats.keys().cloned().collect();
            for name in names {
                self.keep(&name);
            }
            self.keep_house();
        }
        let _ = self.storage.unwritten.take_fresh();
        self.note_disk();
    }

    /// At the end of a round: whether something met a full disk in it.
    pub(in crate::master) fn heed_full_disk(&mut self) {
        if self.storage.unwritten.take_fresh() {
            self.look_at_disk();
        }
    }

    /// Whether a tenant has to wait outside: it is new here, and there is no room for anybody new.
    pub(in crate::master) fn must_wait(&mut self, name: &TenantName, folder: &Path) -> bool {
        let is_known = folder.symlink_metadata().is_ok();
        if is_known || !self.storage.room.is_full() {
            return false;
        }
        if self.storage.waiting.insert(name.clone()) {
            tracing::error!(tenant = %name, path = %folder.display(), event = "waits", "disk");
        }
        self.note_disk();
        true
    }

    /// A new tenant's folder could not be made; whether that is for lack of room.
    pub(in crate::master) fn lacked_room(&mut self, name: &TenantName, folder: &Path, error: &std::io::Error) -> bool {
        if !unwritten::is_full(error) {
            return false;
        }
        self.storage.look_at_disk(&self.gateway, true);
        self.must_wait(name, folder)
    }

    /// Who waits for room, and why.
    pub(in crate::master) fn who_waits(&self) -> impl Iterator<Item = (&TenantName, String)> {
        let why = format!("waits for room: the disk of {} is full", self.gateway.state.display());
        self.storage.waiting.iter().map(move |name| (name, why.clone()))
    }

    /// Whether somebody waits, for whom the files should be looked at again.
    pub(in crate::master) fn somebody_waits(&self) -> bool {
        !self.storage.waiting.is_empty()
    }

    /// Those who wait no more: they are let in, or not wanted any more.
    pub(in crate::master) fn dismiss_waiting(&mut self, wanted: impl Fn(&TenantName) -> bool) {
        let seats = &self.seats;
        let before = self.storage.waiting.len();
        self.storage.waiting.retain(|name| wanted(name) && !seats.contains_key(name));
        self.untold |= before != self.storage.waiting.len();
        self.note_disk();
    }

    /// The sentence in `landlord status`, as long as it is true.
    fn note_disk(&mut self) {
        let full = self.storage.room.is_full().then(|| {
            let state = self.gateway.state.display();
            let mut sentence =
                format!("the disk of {state} is full: whoever is served is served on, and nobody new is let in");
            if !self.storage.waiting.is_empty() {
                let names: Vec<_> = self.storage.waiting.iter().map(TenantName::as_str).collect();
                sentence.push_str(&format!(" ({} wait for room)", names.join(", ")));
            }
            sentence
        });
        for (key, sentence) in [("disk", full), ("unwritten", self.storage.unwritten.sentence())] {
            if self.notices.get(key) != sentence.as_ref() {
                self.untold = true;
                match sentence {
                    Some(sentence) => drop(self.notices.insert(key, sentence)),
                    None => drop(self.notices.remove(key)),
                }
            }
        }
    }
}
