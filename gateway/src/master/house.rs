//! The house: everything the master knows and owns.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    os::fd::OwnedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    becoming::{self, Becoming},
    certificates::{CaError, Certificates},
    control,
    edits::Edits,
    event::Event,
    farewell::Farewell,
    firewall::Firewall,
    fleet::{Fleet, HouseMemory},
    groups::Groups,
    issuing::Issuing,
    ports::Ports,
    proxies::Proxies,
    records::{Numbers, Records},
    roles::Log,
    seat::Seat,
    service::Service,
    sleeping::Sleepers,
    storage::Storage,
    units::Units,
    users::Users,
    vault::{self, Vault},
    watch::Watch,
};
use crate::{
    machine::{Now, backoff::Pace, succession::Succession, tenant, worker::Settings},
    model::{Gateway, GenerationId, Rejection, TenantName},
    sys::{
        self,
        files::{Lock, LockError, Signature},
        listen::ListenError,
    },
    wire::{ListenerKind, PROTOCOL, Status},
};

/// Told to whoever runs the master in the foreground.
pub type Announce = Box<dyn FnMut(&Gateway, &Status)>;

/// Why the house cannot be opened. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder or file of ours.
    #[error("{path}: {1}", path = .0.display())]
    State(PathBuf, std::io::Error),
    /// Another landlord has the state.
    #[error("{path}: {1}", path = .0.display())]
    Lock(PathBuf, LockError),
    /// A public socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The local CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Something of the system: a pipe, a runtime, a signal handler.
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
}

/// Everything the master knows and owns.
pub(super) struct House {
    pub(super) gateway: Gateway,
    /// The origin of [`Now`]: when the machine was booted, so that the next life counts on.
    pub(super) booted: Instant,
    pub(super) since: jiff::Timestamp,
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// Who tenants are.
    pub(super) users: Users,
    pub(super) seats: BTreeMap<TenantName, Seat>,
    pub(super) records: Records,
    pub(super) numbers: Numbers,
    pub(super) ports: Ports,
    pub(super) certificates: Certificates,
    /// What the next life needs to go on from here.
    pub(super) fleet: Fleet,
    /// The descriptors that it needs.
    pub(super) vault: Vault,
    /// `NAME=value` in the environment of all that is started for tenants of this state, on this machine.
    pub(super) mark: String,
    pub(super) groups: Groups,
    pub(super) listeners: Vec<(ListenerKind, u32, OwnedFd)>,
    pub(super) cores: u32,
    pub(super) proxies: Proxies,
    pub(super) succession: Succession<Option<control::Replies>>,
    pub(super) log: Log,
    /// Certificates from an authority; `None`: they are from elsewhere.
    pub(super) issuing: Option<Issuing>,
    /// The access log's pipe: (read, write).
    pub(super) access: (OwnedFd, OwnedFd),
    pub(super) epoch: u64,
    /// A tenant's route changed since the last table.
    pub(super) unpublished: bool,
    /// The set of hosts changed since the last certificates.
    pub(super) uncertified: bool,
    /// Settings that a proxy has from its start changed since the newest was started.
    pub(super) outdated: bool,
    /// Operators' edits of `.env` files.
    pub(super) edits: Edits,
    /// Of the operator socket.
    pub(super) clients: control::Clients,
    /// Another program that is to follow this one.
    pub(super) becoming: Option<Becoming>,
    /// This program has followed another one in place.
    pub(super) became: bool,
    pub(super) rejected: Vec<Rejection>,
    /// Sentences about tenants that could not be let in, so that each is logged once.
    pub(super) outside: BTreeSet<String>,
    /// Whether the tenants folder was read since the start.
    pub(super) looked: bool,
    /// What landlord.toml looked like when it was read last.
    pub(super) gateway_signature: Option<Signature>,
    /// Sentences about the house itself, by what they are about.
    pub(super) notices: BTreeMap<&'static str, String>,
    pub(super) watch: Watch,
    pub(super) watchers: Vec<(Option<TenantName>, control::Replies)>,
    /// What a change means for those who watch was not told yet.
    pub(super) untold: bool,
    /// Facts about tenants that wait to be carried to their machines.
    pub(super) inbox: VecDeque<(TenantName, tenant::Event)>,
    /// Workers that may start when others have: a thundering herd helps nobody.
    pub(super) queue: VecDeque<(TenantName, GenerationId, u32)>,
    pub(super) sleepers: Sleepers,
    pub(super) announce: Option<Announce>,
    pub(super) farewell: Farewell,
    /// Who started us, where that is a service manager.
    pub(super) service: Service,
    pub(super) units: Units,
    /// How full the disk is, and by whom.
    pub(super) storage: Storage,
    /// What keeps tenants from each other's ports.
    pub(super) firewall: Firewall,
    /// Nobody else has the state.
    pub(super) _lock: Lock,
}

/// Opens the house, runs it until it is told to stop, and leaves no process behind. `inherited`: what an earlier life has
/// left for this one, by name, and sockets of the service manager's; whence they come makes no difference.
///
/// # Errors
/// It cannot be opened: a port is taken, the state is another's, a folder cannot be made.
pub fn run(gateway: Gateway, announce: Announce, inherited: Vec<(String, OwnedFd)>) -> Result<(), OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| OpenError::System("the event loop", e))?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (events, mut inbox) = mpsc::unbounded_channel();
        let spare = duplicates(&inherited);
        // Blocked already since before this program was executed in the place of another; otherwise for the threads that
        // libraries start meanwhile: a signal that one of those took while we become another program would be lost.
        sys::signals::block().map_err(|e| OpenError::System("signals", e))?;
        let house = House::open(gateway, announce, Vault::new(inherited), events);
        sys::signals::unblock().map_err(|e| OpenError::System("signals", e))?;
        let mut house = house.inspect_err(|error| {
            // Once only: two programs that can both not go on would take turns for ever.
            if spare.contains_key(vault::PREVIOUS) && !spare.contains_key(vault::REFUSAL) {
                let failure = becoming::return_to_previous(spare, &error.to_string());
                tracing::error!(error = %failure, "there is no way back to the program before");
            }
        })?;
        house.live(&mut inbox).await
    })
}

/// Another one of each, in case that this program cannot go on.
fn duplicates(inherited: &[(String, OwnedFd)]) -> BTreeMap<String, OwnedFd> {
    if inherited.iter().all(|(name, _)| name != vault::PREVIOUS) {
        return BTreeMap::new();
    }
    inherited.iter().filter_map(|(name, fd)| Some((name.clone(), fd.try_clone().ok()?))).collect()
}

impl House {
    /// Time as the machines count it.
    pub(super) fn now(&self) -> Now {
        Now(self.booted.elapsed())
    }

    /// Carries every fact that waits to its tenant's machine.
    pub(super) fn tell_machines(&mut self) {
        while let Some((name, event)) = self.inbox.pop_front() {
            self.on_tenant(&name, event);
        }
    }

    /// The settings in force, for whoever follows.
    pub(super) fn sealed_settings(&self) -> std::io::Result<OwnedFd> {
        sys::memfd::seal("settings", &serde_json::to_vec(&self.gateway)?)
    }

    /// Keeps them for the next life, which must not depend on what the file says by then.
    pub(super) fn keep_settings(&mut self) {
        match self.sealed_settings() {
            Ok(sealed) => {
                self.vault.forget(vault::SETTINGS);
                self.vault.keep(vault::SETTINGS.into(), sealed);
            }
            Err(error) => tracing::error!(%error, "a crash of landlord now would read landlord.toml anew"),
        }
    }

    /// Remembers the house for the next life.
    pub(super) fn keep_house(&mut self) {
        self.fleet.keep_house(&HouseMemory {
            protocol: PROTOCOL,
            since: self.since.to_string(),
            epoch: self.epoch,
            log: self.log.memory(),
            acme: self.issuing.as_ref().and_then(|issuing| Some(issuing.role.child.as_ref()?.name)),
            proxies: self.proxies.memory(),
        });
    }
}

pub(super) fn role_settings() -> Settings {
    Settings {
        start_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(10),
        failures: 1,
        seed: 0,
        exits_are_final: false,
        pace: Pace::ROLE,
    }
}
