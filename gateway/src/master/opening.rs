//! Opening the house: its folders, its lock and its sockets, before anything is started.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    time::Instant,
};

use tokio::sync::mpsc;

use super::{
    aftermath,
    certificates::Certificates,
    control,
    edits::Edits,
    event::Event,
    farewell::Farewell,
    firewall::Firewall,
    fleet::Fleet,
    groups::Groups,
    house::{Announce, House, OpenError, role_settings},
    listeners,
    ports::Ports,
    proxies::Proxies,
    records::{Numbers, Records},
    roles::{Post, Role, RoleKind},
    service::Service,
    signals,
    sleeping::Sleepers,
    storage::Storage,
    units::Units,
    users::Users,
    vault::Vault,
    watch::Watch,
};
use crate::{
    machine::{succession::Succession, worker::Worker},
    model::Gateway,
    sys,
};

impl House {
    /// Opens it. Nothing is started.
    ///
    /// # Errors
    /// A port is taken, the state is another's, a folder cannot be made.
    pub(super) fn open(
        gateway: Gateway,
        announce: Announce,
        mut vault: Vault,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Self, OpenError> {
        sys::spawn::init().map_err(|e| OpenError::System("/proc/self/exe", e))?;
        sys::process::become_subreaper().map_err(|e| OpenError::System("becoming the subreaper", e))?;
        sys::process::raise_nofile_limit().map_err(|e| OpenError::System("the limit of descriptors", e))?;
        let made = |path: PathBuf, mode| {
            sys::files::make_private_dir(&path, mode).map_err(|e| OpenError::State(path.clone(), e))?;
            Ok::<_, OpenError>(path)
        };
        // Tenants with uids of their own must be able to pass through to their folders, and see nothing on the way.
        let passage = if sys::identity::is_root() { 0o711 } else { 0o700 };
        let state = made(gateway.state.clone(), passage)?;
        let path = state.join("lock");
        let lock = aftermath::lock(&path).map_err(|e| OpenError::Lock(path.clone(), e))?;
        let mark = mark(&path).map_err(|e| OpenError::State(path, e))?;
        let storage = Storage::open(&gateway);
        made(state.join("tenants"), passage)?;
        made(state.join("backups"), 0o700)?;
        made(state.join("certs"), 0o700)?;
        let logs = made(state.join("logs"), 0o700)?;
        if let Some((uid, gid)) = RoleKind::Log.identity() {
            std::os::unix::fs::lchown(&logs, Some(uid), Some(gid)).map_err(|e| OpenError::State(logs, e))?;
        }
        made(gateway.run.clone(), 0o711)?;
        made(gateway.run.join("workers"), 0o711)?;
        let fleet = Fleet::open(&gateway.run).map_err(|e| OpenError::State(gateway.run.join("fleet"), e))?;
        let fleet = fleet.telling(&storage.unwritten);
        let folder = made(state.join("records"), 0o700)?;
        let records = Records::open(folder.clone()).map_err(|e| OpenError::State(folder, e))?;
        let mut records = records.telling(&storage.unwritten);
        if let Some(range) = gateway.users.filter(|_| sys::identity::is_root()) {
            records.adopt(&state, range);
        }
        let users = Users::of(&gateway, sys::identity::is_root());
        let notice = users.notice(&gateway);

        let numbers = Numbers::open(state.join("generation"), records.all().is_empty()).telling(&storage.unwritten);
        if let Some(notice) = &notice {
            tracing::warn!("{notice}");
        } else if sys::identity::is_root() && gateway.users.is_none() {
            tracing::warn!(
                "workers run as root, without any privilege: without users = \"none\" each has a user of its own"
            );
        }
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        let listeners = listeners::open(&gateway, cores, &mut vault)?;
        let certificates = Certificates::open(&gateway)?;
        let socket = gateway.run.join("control.sock");
        let operators = control::open(&socket, &mut vault).map_err(|e| OpenError::State(socket, e))?;
        let clients = control::Clients::default();
        tokio::task::spawn_local(control::serve(operators, events.clone(), clients.clone()));
        signals::subscribe(&events).map_err(|e| OpenError::System("signals", e))?;
        let groups = Groups::open();
        groups.listen(events.clone());
        let watch = Watch::new(&gateway.tenants, gateway.file.as_deref());
        let access = vault.access().map_err(|e| OpenError::System("the access log's pipe", e))?;
        let uptime = sys::clock::monotonic().map_err(|e| OpenError::System("the clock", e))?;
        let service = Service::new();
        // The settings of an earlier life may be older than the file is now.
        let resumed = vault.has_past();
        let file = gateway.file.as_deref().filter(|_| !resumed);
        let gateway_signature = file.and_then(|file| sys::files::signature(file).ok().flatten());
        let firewall = Firewall::open(&gateway, users.range(), resumed);
        Ok(Self {
            booted: Instant::now().checked_sub(uptime).unwrap_or_else(Instant::now),
            since: jiff::Timestamp::now(),
            events,
            users,
            seats: BTreeMap::new(),
            records,
            numbers,
            ports: Ports::new(&gateway),
            certificates,
            fleet,
            vault,
            mark,
            groups,
            listeners,
            cores,
            proxies: Proxies::new(),
            succession: Succession::default(),
            log: Role::new(Post::Log, Worker::new(role_settings())),
            issuing: None,
            access,
            epoch: 0,
            unpublished: true,
            uncertified: true,
            outdated: false,
            edits: Edits::default(),
            clients,
            becoming: None,
            became: false,
            rejected: Vec::new(),
            outside: BTreeSet::new(),
            looked: false,
            gateway_signature,
            notices: notice.map(|notice| ("users", notice)).into_iter().collect(),
            watch,
            watchers: Vec::new(),
            untold: false,
            inbox: VecDeque::new(),
            queue: VecDeque::new(),
            sleepers: Sleepers::open(state.join("sleepers.json")),
            announce: Some(announce),
            farewell: Farewell::default(),
            units: Units::new(service.is_managed()),
            storage,
            service,
            firewall,
            gateway,
            _lock: lock,
        })
    }
}

/// What tells this state's processes from those of any other on this machine. A state that is copied is another one.
fn mark(lock: &std::path::Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(lock)?;
    Ok(format!("LANDLORD_HOUSE={}-{}", file.dev(), file.ino()))
}
