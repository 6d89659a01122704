//! The house: everything the master knows and owns, and the loop that it lives in.

use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::OwnedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    aftermath,
    becoming::{self, Becoming},
    certificates::{CaError, LocalCa},
    control,
    event::Event,
    farewell::Farewell,
    fleet::{Fleet, HouseMemory},
    listeners,
    ports::Ports,
    proxies::Proxies,
    records::{Numbers, Records},
    roles::{Log, Post, Role, RoleKind},
    seat::Seat,
    service::Service,
    signals,
    units::Units,
    vault::{self, Vault},
    watch::{Look, Watch},
};
use crate::{
    machine::{
        Now,
        backoff::Pace,
        succession::Succession,
        tenant,
        worker::{self, Settings, Worker},
    },
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
    pub(super) seats: BTreeMap<TenantName, Seat>,
    pub(super) records: Records,
    pub(super) numbers: Numbers,
    pub(super) ports: Ports,
    pub(super) ca: LocalCa,
    /// What the next life needs to go on from here.
    pub(super) fleet: Fleet,
    /// The descriptors that it needs.
    pub(super) vault: Vault,
    /// `NAME=value` in the environment of all that is started for tenants of this state, on this machine.
    pub(super) mark: String,
    pub(super) listeners: Vec<(ListenerKind, u32, OwnedFd)>,
    pub(super) cores: u32,
    pub(super) proxies: Proxies,
    pub(super) succession: Succession<Option<control::Replies>>,
    pub(super) log: Log,
    /// The access log's pipe: (read, write).
    pub(super) access: (OwnedFd, OwnedFd),
    pub(super) epoch: u64,
    /// A tenant's route changed since the last table.
    pub(super) unpublished: bool,
    /// The set of hosts changed since the last certificates.
    pub(super) uncertified: bool,
    /// Settings that a proxy has from its start changed since the newest was started.
    pub(super) outdated: bool,
    /// Of the operator socket.
    pub(super) clients: control::Clients,
    /// Another program that is to follow this one.
    pub(super) becoming: Option<Becoming>,
    /// This program has followed another one in place.
    pub(super) became: bool,
    pub(super) rejected: Vec<Rejection>,
    /// The last sentence about a tenant that could not be let in, so that it is logged once.
    pub(super) outside: Option<String>,
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
    pub(super) announce: Option<Announce>,
    pub(super) farewell: Farewell,
    /// Who started us, where that is a service manager.
    pub(super) service: Service,
    pub(super) units: Units,
    _lock: Lock,
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
        let house = House::open(gateway, announce, Vault::new(inherited), events);
        // Blocked since before this program was executed in the place of another.
        sys::signals::unblock().map_err(|e| OpenError::System("signals", e))?;
        let mut house = house.inspect_err(|error| {
            if spare.contains_key(vault::PREVIOUS) {
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
    fn open(
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
        let passage = if gateway.users.is_some() { 0o711 } else { 0o700 };
        let state = made(gateway.state.clone(), passage)?;
        let path = state.join("lock");
        let lock = aftermath::lock(&path).map_err(|e| OpenError::Lock(path.clone(), e))?;
        let mark = mark(&path).map_err(|e| OpenError::State(path, e))?;
        made(state.join("tenants"), passage)?;
        made(state.join("backups"), 0o700)?;
        let certificates = made(state.join("certs"), 0o700)?;
        let logs = made(state.join("logs"), 0o700)?;
        if let Some((uid, gid)) = RoleKind::Log.identity() {
            std::os::unix::fs::lchown(&logs, Some(uid), Some(gid)).map_err(|e| OpenError::State(logs, e))?;
        }
        made(gateway.run.clone(), 0o711)?;
        made(gateway.run.join("workers"), 0o711)?;
        let fleet = Fleet::open(&gateway.run).map_err(|e| OpenError::State(gateway.run.join("fleet"), e))?;
        let folder = made(state.join("records"), 0o700)?;
        let mut records = Records::open(folder.clone()).map_err(|e| OpenError::State(folder, e))?;
        if let Some(range) = gateway.users.filter(|_| sys::identity::is_root()) {
            records.adopt(&state.join("tenants"), range);
        }

        let numbers = Numbers::open(state.join("generation"), records.all().is_empty());
        if sys::identity::is_root() && gateway.users.is_none() {
            tracing::warn!("workers run as root: a [users] in landlord.toml gives each tenant a user of its own");
        }
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        let listeners = listeners::open(&gateway, cores, &mut vault)?;
        let ca = LocalCa::open(&certificates)?;
        let socket = gateway.run.join("control.sock");
        let operators = control::open(&socket, &mut vault).map_err(|e| OpenError::State(socket, e))?;
        let clients = control::Clients::default();
        tokio::task::spawn_local(control::serve(operators, events.clone(), clients.clone()));
        signals::subscribe(&events).map_err(|e| OpenError::System("signals", e))?;
        let watch = Watch::new(&gateway.tenants, gateway.file.as_deref());
        let access = vault.access().map_err(|e| OpenError::System("the access log's pipe", e))?;
        let uptime = sys::clock::monotonic().map_err(|e| OpenError::System("the clock", e))?;
        let service = Service::new();
        // The settings of an earlier life may be older than the file is now.
        let file = gateway.file.as_deref().filter(|_| !vault.has_past());
        let gateway_signature = file.and_then(|file| sys::files::signature(file).ok().flatten());
        Ok(Self {
            booted: Instant::now().checked_sub(uptime).unwrap_or_else(Instant::now),
            since: jiff::Timestamp::now(),
            events,
            seats: BTreeMap::new(),
            records,
            numbers,
            ports: Ports::new(&gateway),
            ca,
            fleet,
            vault,
            mark,
            listeners,
            cores,
            proxies: Proxies::new(),
            succession: Succession::default(),
            log: Role::new(Post::Log, Worker::new(log_settings())),
            access,
            epoch: 0,
            unpublished: true,
            uncertified: true,
            outdated: false,
            clients,
            becoming: None,
            became: false,
            rejected: Vec::new(),
            outside: None,
            looked: false,
            gateway_signature,
            notices: BTreeMap::new(),
            watch,
            watchers: Vec::new(),
            untold: false,
            inbox: VecDeque::new(),
            queue: VecDeque::new(),
            announce: Some(announce),
            farewell: Farewell::default(),
            units: Units::new(service.is_managed()),
            service,
            gateway,
            _lock: lock,
        })
    }

    /// Time as the machines count it.
    pub(super) fn now(&self) -> Now {
        Now(self.booted.elapsed())
    }

    async fn live(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) -> Result<(), OpenError> {
        self.keep_settings();
        if self.vault.has_past() {
            let inheritance = self.inherit();
            self.resume();
            if let Some(inheritance) = inheritance {
                self.conclude(inheritance);
            }
        } else {
            self.open_shop();
        }
        loop {
            self.settle();
            self.report();
            if self.farewell.is_over() {
                return Ok(());
            }
            let deadline = self.deadline();
            tokio::select! {
                event = events.recv() => {
                    if let Some(event) = event {
                        self.on(event);
                    }
                    // What else is here already is taken in the same round, so that it is published once.
                    while let Ok(event) = events.try_recv() {
                        self.on(event);
                    }
                }
                look = self.watch.changed(), if !self.farewell.has_begun() => match look {
                    Look::Files => self.look(),
                    Look::Slow => self.look_slowly(),
                },
                () = tokio::time::sleep(deadline) => {
                    // What has arrived is heard before anybody is called late: it may be we who did not get to run.
                    tokio::task::yield_now().await;
                    while let Ok(event) = events.try_recv() {
                        self.on(event);
                    }
                    self.on_time();
                }
            }
        }
    }

    /// What the files say first: a proxy that knew nobody yet would turn away who waits in the queues of a restart.
    fn open_shop(&mut self) {
        self.clear_up();
        self.role_fact(Post::Log, worker::Event::Start);
        self.look();
        self.tell_machines();
        self.role_fact(Post::Proxy(self.proxies.newest.number), worker::Event::Start);
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
            proxies: self.proxies.memory(),
        });
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Terminate => self.say_farewell(),
            Event::Reload => {
                self.begin_reload();
                // What is wrong with the files is told by `status`; the proxy is another one all the same.
                let _ = self.reload(false);
                self.upgrade(None, None);
            }
            Event::Child => self.reap_strangers(),
            Event::Exited { who, attempt, exit, report } => self.on_exit(who, attempt, exit, report),
            Event::Proxy(number, attempt, fact) => self.on_proxy(number, attempt, fact),
            Event::Log(attempt, fact) => self.on_log(attempt, fact),
            Event::LinkLost(post, attempt) => self.on_link_lost(post, attempt),
            // Who waits for them to leave looks at the end of each round.
            Event::ClientLeft => {}
            Event::Control(request, fds, replies) => self.on_control(request, fds, replies),
        }
    }

    /// Carries on until nothing is left to be done now, then tells the proxy and those who watch.
    fn settle(&mut self) {
        loop {
            self.tell_machines();
            self.start_queued();
            if std::mem::take(&mut self.outdated) {
                self.replace_proxy(None);
            }
            self.publish();
            let stepped = self.proceed_with_farewell();
            if self.inbox.is_empty() && !stepped {
                break;
            }
        }
        self.units.follow(&self.events);
        // Messages to the roles leave when this round is over: what they tell is written down before.
        if !self.farewell.is_over() {
            self.keep_house();
            self.proceed_with_becoming();
        }
        self.tell_watchers();
        self.announce_once();
    }

    fn on_time(&mut self) {
        let now = self.now();
        let due = |deadline: Option<Now>| deadline.is_some_and(|at| at <= now);
        let proxies = self.proxies.supervised().map(|proxy| Post::Proxy(proxy.number));
        for post in std::iter::once(Post::Log).chain(proxies).collect::<Vec<_>>() {
            if due(self.role_worker(post).and_then(|worker| worker.deadline())) {
                self.role_fact(post, worker::Event::Timer);
            }
        }
        self.end_overdue();
        for (name, seat) in &self.seats {
            if due(seat.machine.deadline()) {
                self.inbox.push_back((name.clone(), tenant::Event::Timer));
            }
        }
    }

    /// Until something must be done although nothing happens.
    fn deadline(&self) -> Duration {
        let machines = self.seats.values().filter_map(|seat| seat.machine.deadline());
        let proxies = self.proxies.supervised().filter_map(|proxy| proxy.role.worker.deadline());
        let proxies = proxies.chain(self.proxies.overdue().map(|(at, _)| at));
        let house =
            [self.log.worker.deadline(), self.farewell.deadline(), self.service.deadline(), self.becoming_deadline()];
        let house = house.into_iter().flatten();
        // While others wait for their turn, a slow start frees a place by growing old.
        let now = self.now();
        let waited_for = self.seats.values().filter(|_| !self.queue.is_empty()).filter_map(|seat| seat.slow_at(now));
        let first = machines.chain(proxies).chain(house).chain(waited_for).min();
        first.map_or(Duration::from_secs(3600), |at| at.since(now))
    }
}

/// What tells this state's processes from those of any other on this machine. A state that is copied is another one.
fn mark(lock: &std::path::Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(lock)?;
    Ok(format!("LANDLORD_HOUSE={}-{}", file.dev(), file.ino()))
}

pub(super) fn log_settings() -> Settings {
    Settings {
        start_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(10),
        failures: 1,
        seed: 0,
        exits_are_final: false,
        pace: Pace::ROLE,
    }
}
