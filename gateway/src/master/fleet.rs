//! What the next life needs to go on from here: small files below `<run>`, each replaced whole before what it tells of is
//! done. Memory, not a record: a reboot forgets it, and so does a stop.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    plan::Place,
    state_file::{self, Found, Lasting},
    unwritten::Unwritten,
};
use crate::{
    machine::{Now, tenant, worker},
    model::{Digest, GenerationId, Tenant, TenantName},
    sys::{self, files::Signature, process::Name},
};

/// The format of the files.
const VERSION: u32 = 1;

/// Of the house itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HouseMemory {
    /// Of the messages that the roles understand.
    pub(super) protocol: u32,
    /// RFC 3339.
    pub(super) since: String,
    /// The newest table that may have been told.
    pub(super) epoch: u64,
    pub(super) log: RoleMemory,
    /// The acme role's process, which is not gone on with.
    #[serde(default)]
    pub(super) acme: Option<Name>,
    pub(super) proxies: ProxiesMemory,
}

/// Of the proxies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ProxiesMemory {
    pub(super) newest: ProxyMemory,
    pub(super) next: Option<ProxyMemory>,
    pub(super) older: Vec<ProxyMemory>,
    /// The newest number given.
    pub(super) last: u32,
}

/// Of one proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ProxyMemory {
    pub(super) number: u32,
    /// It was told to accept.
    pub(super) started: bool,
    pub(super) role: RoleMemory,
}

impl HouseMemory {
    /// Whether the roles that run understand messages of this protocol.
    pub(super) fn speaks(&self, protocol: u32) -> bool {
        self.protocol == protocol
    }
}

/// Of one role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RoleMemory {
    pub(super) worker: worker::Memory,
    pub(super) process: Option<Name>,
}

/// Of one tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TenantMemory {
    pub(super) machine: tenant::Memory,
    pub(super) spec: Tenant,
    pub(super) digest: Digest,
    pub(super) dotenv: Option<Signature>,
    pub(super) newest_dotenv: Option<Signature>,
    /// It is put to sleep.
    #[serde(default)]
    pub(super) asleep: bool,
    pub(super) removed: bool,
    pub(super) identity: Option<(u32, u32)>,
    pub(super) leases: Vec<LeaseMemory>,
}

/// Of what a generation holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LeaseMemory {
    pub(super) generation: GenerationId,
    pub(super) spec: Tenant,
    pub(super) digest: Digest,
    pub(super) place: Place,
    pub(super) identity: Option<(u32, u32)>,
    pub(super) begun: Now,
    /// The attempt and its process.
    pub(super) process: Option<(u32, Name)>,
    /// A migration or a copy.
    pub(super) task: Option<Name>,
}

impl LeaseMemory {
    /// What is let go of when it cannot be taken over: its sockets' name, the marker of its processes, its port.
    pub(super) fn claims(&self) -> (GenerationId, String, Option<u16>) {
        let port = match self.place {
            Place::Port(port) => Some(port),
            Place::Unix(_) => None,
        };
        (self.generation, marker(self.generation), port)
    }
}

/// The line in the environment of each of a generation's processes that tells them from any other's.
pub(super) fn marker(generation: GenerationId) -> String {
    format!("LANDLORD_GENERATION={generation}")
}

/// The files.
#[derive(Debug)]
pub(super) struct Fleet {
    house: PathBuf,
    folder: PathBuf,
    /// What was written last, so that nothing is written twice.
    written: BTreeMap<PathBuf, Vec<u8>>,
    /// Something could not be written.
    behind: bool,
    unwritten: Unwritten,
}

impl Fleet {
    /// The files below `run`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn open(run: &Path) -> std::io::Result<Self> {
        let folder = run.join("fleet");
        sys::files::make_private_dir(&folder, 0o700)?;
        let (written, unwritten) = (BTreeMap::new(), Unwritten::default());
        Ok(Self { house: run.join("fleet.json"), folder, written, behind: false, unwritten })
    }

    /// What cannot be written is told there.
    pub(super) fn telling(self, unwritten: &Unwritten) -> Self {
        Self { unwritten: unwritten.clone(), ..self }
    }

    /// Whether all is to be kept again, for some of it could not be; asked once.
    pub(super) fn is_behind(&mut self) -> bool {
        std::mem::take(&mut self.behind)
    }

    /// What is remembered of the house; `None`: nothing, or nothing that can be used.
    pub(super) fn house(&self) -> Option<HouseMemory> {
        read(&self.house)
    }

    /// What is remembered of each tenant. A bad file is put aside: its tenant is started anew, and no other.
    pub(super) fn tenants(&self) -> BTreeMap<TenantName, TenantMemory> {
        let found = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let named = found.filter_map(|entry| {
            let name = entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok()?;
            Some((name, entry.path()))
        });
        named.filter_map(|(name, path)| Some((name, read(&path)?))).collect()
    }

    /// Remembers the house.
    pub(super) fn keep_house(&mut self, memory: &HouseMemory) {
        self.write(self.house.clone(), memory);
    }

    /// Remembers a tenant.
    pub(super) fn keep(&mut self, name: &TenantName, memory: &TenantMemory) {
        self.write(self.path(name), memory);
    }

    /// Nothing of a tenant is left.
    pub(super) fn forget(&mut self, name: &TenantName) {
        let path = self.path(name);
        self.written.remove(&path);
        self.unwritten.written(&path);
        remove(&path);
    }

    /// Nothing of anybody is left.
    pub(super) fn clear(&mut self) {
        self.written.clear();
        remove(&self.house);
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            // Also what a life that was cut short had half written.
            if entry.path().extension().is_some_and(|extension| extension == "json" || extension == "tmp") {
                remove(&entry.path());
            }
        }
    }

    fn path(&self, name: &TenantName) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    fn write<T: Serialize>(&mut self, path: PathBuf, memory: &T) {
        let written = serde_json::to_vec(memory).map_err(std::io::Error::from).and_then(|words| {
            if self.written.get(&path) == Some(&words) {
                return Ok(());
            }
            state_file::write(&path, VERSION, memory, Lasting::UntilBoot)?;
            self.written.insert(path.clone(), words);
            Ok(())
        });
        match written {
            Ok(()) => self.unwritten.written(&path),
            Err(error) => {
                // A full disk stops nobody: only a crash now would cost a restart of what changed.
                self.written.remove(&path);
                self.behind = true;
                self.unwritten.failed(&path, &error, "a crash of landlord now would not be made good");
            }
        }
    }
}

/// A file that is there and cannot be believed is put aside, with a loud line.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    match state_file::read(path, VERSION) {
        Found::Good(memory) => Some(memory),
        Found::Missing | Found::PutAside(_) => None,
    }
}

/// What is gone already needs no removing.
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "a stale file stays");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::machine::worker::Settings;

    fn memory(epoch: u64) -> HouseMemory {
        let settings = Settings {
            start_timeout: std::time::Duration::from_secs(1),
            stop_timeout: std::time::Duration::from_secs(1),
            failures: 1,
            seed: 1,
            exits_are_final: false,
            pace: crate::machine::backoff::Pace::ROLE,
        };
        let log = RoleMemory { worker: worker::Worker::new(settings).memory(), process: None };
        let newest = ProxyMemory { number: 1, started: true, role: log.clone() };
        let proxies = ProxiesMemory { newest, next: None, older: Vec::new(), last: 1 };
        HouseMemory { protocol: 1, since: "2026-01-01T00:00:00Z".into(), epoch, proxies, log, acme: None }
    }

    #[test]
    fn what_was_written_is_read_and_whatever_is_damaged_is_put_aside() {
        let temp = tempfile::tempdir().unwrap();
        let mut fleet = Fleet::open(temp.path()).unwrap();
        assert!(fleet.house().is_none());
        fleet.keep_house(&memory(7));
        assert_eq!(fleet.house().unwrap().epoch, 7);
        let file = temp.path().join("fleet.json");
        let whole = std::fs::read(&file).unwrap();
        let before = sys::files::signature(&file).unwrap();
        fleet.keep_house(&memory(7));
        assert_eq!(sys::files::signature(&file).unwrap(), before, "nothing changed, nothing is written");

        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(fleet.house().is_none(), "cut at {length}");
            assert!(!file.exists(), "put aside");
        }
        std::fs::write(&file, String::from_utf8(whole).unwrap().replace("\"epoch\":7", "\"epoch\":6")).unwrap();
        assert!(fleet.house().is_none(), "flipped");
        fleet.keep_house(&memory(8));
        fleet.clear();
        assert!(!file.exists());
    }
}
