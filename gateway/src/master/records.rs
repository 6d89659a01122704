//! What is remembered of each tenant across restarts: one small file each, so that a bad one hurts its own tenant only.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::state_file::{self, Found, Lasting};
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
        Ok(Self { folder, all })
    }

    /// A folder whose record was lost still tells whose it is by its uid: the tenant gets it back, and nobody else ever.
    /// Tenants cannot give a folder away, and only root can make one below `tenants`.
    pub(super) fn adopt(&mut self, tenants: &Path, range: UserRange) {
        let taken: BTreeSet<u32> = self.all.values().filter_map(|record| record.uid).collect();
        for entry in std::fs::read_dir(tenants).into_iter().flatten().flatten() {
            let name = entry.file_name().to_str().and_then(|name| name.parse::<TenantName>().ok());
            let (Some(name), Ok(found)) = (name, entry.metadata()) else { continue };
            let (record, uid) = (self.of(&name), found.uid());
            if record.uid.is_none() && (range.first..=range.last).contains(&uid) && !taken.contains(&uid) {
                self.remember(&name, Record { uid: Some(uid), ..record });
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
        let path = self.folder.join(format!("{name}.json"));
        if let Err(error) = state_file::write(&path, VERSION, &record, Lasting::ForEver) {
            tracing::error!(file = %path.display(), %error, "what changed is not on disk");
        }
        self.all.insert(name.clone(), record);
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
