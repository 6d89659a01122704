//! What is remembered of each tenant across restarts: one small file each, so that a bad one hurts its own tenant only.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    model::{Digest, GenerationId, Host, Tenant, TenantName, UserRange},
    sys,
};

/// The format of the files.
const VERSION: u32 = 1;
/// Generation numbers are reserved in blocks, so that a new generation costs no write to disk.
const BLOCK: u64 = 1 << 16;

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
    /// Whether its file was there when last looked: one that is gone keeps its data, uid and record, and gives up its hosts.
    pub(super) present: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    record: Record,
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
            let Some(name) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".json")) else {
                continue;
            };
            let Ok(name) = name.parse::<TenantName>() else { continue };
            match read(&path) {
                Ok(record) => drop(all.insert(name, record)),
                Err(error) => {
                    let aside = path.with_extension(format!("json.bad-{}", jiff::Timestamp::now().as_second()));
                    tracing::error!(tenant = %name, file = %path.display(), error, "a bad state file is put aside");
                    if let Err(error) = std::fs::rename(&path, &aside) {
                        tracing::error!(file = %path.display(), %error, "it cannot be put aside");
                    }
                }
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
        let file = File { version: VERSION, record: record.clone() };
        self.all.insert(name.clone(), record);
        let path = self.folder.join(format!("{name}.json"));
        let written = serde_json::to_vec(&file)
            .map_err(std::io::Error::from)
            .and_then(|bytes| sys::files::write_atomic(&path, &bytes, 0o600));
        if let Err(error) = written {
            tracing::error!(file = %path.display(), %error, "what changed is not on disk");
        }
    }

    /// Which present tenant owns which host.
    pub(super) fn owners(&self) -> BTreeMap<Host, TenantName> {
        let present = self.all.iter().filter(|(_, record)| record.present);
        present.flat_map(|(name, record)| record.hosts.iter().map(|host| (host.clone(), name.clone()))).collect()
    }
}

fn read(path: &Path) -> Result<Record, String> {
    let bytes = sys::files::read_regular(path, 1 << 20).map_err(|e| e.to_string())?;
    let file: File = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if file.version != VERSION {
        return Err(format!("its version is {}, this landlord knows {VERSION}", file.version));
    }
    Ok(file.record)
}

/// Numbers for generations, never used twice in the life of a state folder.
pub(super) struct Numbers {
    file: PathBuf,
    next: u64,
    reserved: u64,
}

impl Numbers {
    /// Goes on above every number that an earlier life may have used; `first_life`: there was none.
    pub(super) fn open(file: PathBuf, first_life: bool) -> Self {
        let text = sys::files::read_regular(&file, 64).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        // A lost or torn file: the clock in seconds is above any number that blocks could have reached.
        let fallback = || {
            if first_life && !file.exists() {
                1
            } else {
                u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(1)
            }
        };
        let next = text.and_then(|t| t.trim().parse().ok()).unwrap_or_else(fallback);
        Self { file, next, reserved: next }
    }

    /// The next number.
    pub(super) fn next(&mut self) -> GenerationId {
        if self.next >= self.reserved {
            self.reserved = self.next + BLOCK;
            let text = format!("{}\n", self.reserved);
            if let Err(error) = sys::files::write_atomic(&self.file, text.as_bytes(), 0o600) {
                tracing::error!(file = %self.file.display(), %error, "generation numbers are not reserved on disk");
            }
        }
        self.next += 1;
        GenerationId(self.next - 1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_lost_record_does_not_lose_the_uid() {
        let temp = tempfile::tempdir().unwrap();
        let (folder, tenants) = (temp.path().join("records"), temp.path().join("tenants"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(tenants.join("acme")).unwrap();
        let uid = tenants.metadata().unwrap().uid();
        let acme: TenantName = "acme".parse().unwrap();
        std::fs::write(folder.join("acme.json"), "torn").unwrap();

        let mut records = Records::open(folder.clone()).unwrap();
        records.adopt(&tenants, UserRange { first: uid + 1, last: uid + 9 });
        assert_eq!(records.of(&acme).uid, None, "not a tenant's uid");
        records.adopt(&tenants, UserRange { first: uid, last: uid + 9 });
        assert_eq!(records.of(&acme).uid, Some(uid));
        assert_eq!(Records::open(folder).unwrap().of(&acme).uid, Some(uid), "kept on disk");
    }
}
