//! What is remembered of each tenant across restarts: one small file each, so that a bad one hurts its own tenant only.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    state_file::{self, Found, Lasting},
    unwritten::Unwritten,
    users::owners,
};
use crate::model::{Digest, GenerationId, Host, Tenant, TenantName, UserRange};

mod numbers;

pub(super) use numbers::Numbers;

/// The format of the files. Version 1 had no sum and knew of no migration under way; it is read still.
const VERSION: u32 = 2;

/// What is remembered of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// `landlord stop` was the last word.
    pub(super) stopped: bool,
    /// Its uid, once it has one; never given to another tenant.
    pub(super) uid: Option<u32>,
    /// The hosts it owns: they stay its own when another file claims them.
    pub(super) hosts: Vec<Host>,
    /// The settings in force, for when its file is wrong at the next start.
    pub(super) last_good: Option<(Tenant, Digest)>,
    /// The migration that its database has seen: command and version of the app.
    #[serde(default)]
    pub(super) migrated: Option<Digest>,
    /// A migration was begun after the snapshot that is kept under this number, and neither came to a good end nor was put
    /// back: nothing may be started on the data before it is.
    #[serde(default)]
    pub(super) migrating: Option<GenerationId>,
    /// Whether its file was there when last looked: one that is gone keeps its data, uid and record, and gives up its hosts.
    pub(super) present: bool,
}

/// All records, mirrored in memory.
pub(super) struct Records {
    folder: PathBuf,
    all: BTreeMap<TenantName, Record>,
    /// Those that are not on disk as they are here.
    behind: BTreeSet<TenantName>,
    unwritten: Unwritten,
}

impl Records {
    /// Reads every record below `folder`. A bad file is put aside with a loud line; the others go on.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn open(folder: PathBuf) -> std::io::Result<Self> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            if name.starts_with('.') && name.ends_with(".tmp") {
                // A life before ended while it wrote this.
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(file = %path.display(), %error, "a half written file cannot be removed");
                }
            }
            let Some(Ok(name)) = name.strip_suffix(".json").map(str::parse::<TenantName>) else { continue };
            if let Found::Good(record) = state_file::read_any(&path, understand) {
                all.insert(name, record);
            }
        }
        Ok(Self { folder, all, behind: BTreeSet::new(), unwritten: Unwritten::default() })
    }

    /// What cannot be written is told there.
    pub(super) fn telling(self, unwritten: &Unwritten) -> Self {
        Self { unwritten: unwritten.clone(), ..self }
    }

    /// A folder whose record was lost still tells whose it is by its uid: the tenant gets it back, and nobody else ever.
    /// Tenants cannot give a folder away, and only root can make one below `tenants` and `backups`. A uid that two records
    /// have, as after one was copied, stays its whose folder it is.
    pub(super) fn adopt(&mut self, state: &Path, range: UserRange) {
        let owners = owners(state);
        let owns = |uid: u32, name: &TenantName| {
            owners.iter().any(|(owner, of)| (*owner, of.as_str()) == (uid, name.as_str()))
        };
        let mut holders: BTreeMap<u32, Vec<TenantName>> = BTreeMap::new();
        for (name, record) in &self.all {
            record.uid.into_iter().for_each(|uid| holders.entry(uid).or_default().push(name.clone()));
        }
        for (uid, names) in &holders {
            let keeper = names.iter().find(|name| owns(*uid, name)).or(names.first());
            for name in names.iter().filter(|name| Some(*name) != keeper) {
                tracing::error!(tenant = %name, uid, "another tenant has the same uid: this one gets a new one");
                let record = Record { uid: None, ..self.of(name) };
                self.remember(name, record);
            }
        }
        let mut taken: BTreeSet<u32> = holders.into_keys().collect();
        for (uid, name) in &owners {
            let Ok(name) = name.parse::<TenantName>() else { continue };
            let record = self.of(&name);
            if record.uid.is_none() && (range.first..=range.last).contains(uid) && taken.insert(*uid) {
                self.remember(&name, Record { uid: Some(*uid), ..record });
            }
        }
    }

    /// What is remembered of `name`.
    pub(super) fn of(&self, name: &TenantName) -> Record {
        self.all.get(name).cloned().unwrap_or_default()
    }

    /// Every record.
    pub(super) fn all(&self) -> &BTreeMap<TenantName, Record> {
        &self.all
    }

    /// Remembers `record`; nothing is written when nothing changed. A full disk is told and survived: memory is right.
    pub(super) fn remember(&mut self, name: &TenantName, record: Record) {
        if self.all.get(name) == Some(&record) {
            return;
        }
        self.all.insert(name.clone(), record);
        self.write(name);
    }

    /// Writes what could not be written before.
    pub(super) fn write_again(&mut self) {
        for name in std::mem::take(&mut self.behind) {
            self.write(&name);
        }
    }

    fn write(&mut self, name: &TenantName) {
        let Some(record) = self.all.get(name) else { return };
        let path = self.path(name);
        match state_file::write(&path, VERSION, record, Lasting::ForEver) {
            Ok(()) => {
                self.behind.remove(name);
                self.unwritten.written(&path);
            }
            Err(error) => {
                self.behind.insert(name.clone());
                self.unwritten.failed(&path, &error, "what changed for this tenant is not on disk");
            }
        }
    }

    /// Gives `name` a uid for good: it is on disk when this returns.
    ///
    /// # Errors
    /// It cannot be written down, and nothing has changed.
    pub(super) fn note_uid(&mut self, name: &TenantName, uid: u32) -> std::io::Result<()> {
        let record = Record { uid: Some(uid), ..self.of(name) };
        state_file::write(&self.path(name), VERSION, &record, Lasting::ForEver)?;
        self.all.insert(name.clone(), record);
        Ok(())
    }

    fn path(&self, name: &TenantName) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// Notes the snapshot that has to be put back if we go no further; `None`: none has to.
    pub(super) fn note_migration(&mut self, name: &TenantName, migrating: Option<GenerationId>) {
        if self.all.get(name).is_some_and(|record| record.migrating != migrating) {
            let before = self.of(name);
            // Meanwhile nobody knows what the database has seen.
            let migrated = before.migrated.clone().filter(|_| migrating.is_none());
            let record = Record { migrating, migrated, ..before };
            self.remember(name, record);
        }
    }

    /// Which present tenant owns which host.
    pub(super) fn owners(&self) -> BTreeMap<Host, TenantName> {
        let present = self.all.iter().filter(|(_, record)| record.present);
        present.flat_map(|(name, record)| record.hosts.iter().map(|host| (host.clone(), name.clone()))).collect()
    }
}

fn understand(version: u32, record: &str) -> Result<Record, String> {
    match version {
        1 | VERSION => state_file::parse(record),
        other => Err(state_file::unknown(other, VERSION)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
