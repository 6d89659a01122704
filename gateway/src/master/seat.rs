//! One tenant in the house: its settings in force, its machine, its generations' holdings, its log.

use std::{collections::BTreeMap, os::fd::OwnedFd, time::Duration};

use super::{control::Replies, fleet::TenantMemory, lease::Lease};
use crate::{
    machine::{self, Now, worker::Phase},
    model::{
        App, BackendRoute, Digest, Gateway, GenerationId, Limits, Probe, Rate, Strategy, Tenant, TenantName,
        TenantRoute,
    },
    sys::{self, files::Signature},
    wire::ProcessLimits,
};

/// A worker that is not healthy by then keeps nobody else from starting: many that hang must not shut the house.
const SLOW_START: Duration = Duration::from_secs(5);

/// A tenant's place at the table.
pub(super) struct Seat {
    /// The settings in force.
    pub(super) spec: Tenant,
    /// Of the settings in force, `.env` not included.
    pub(super) digest: Digest,
    /// What its `.env` looked like from outside when last looked.
    pub(super) dotenv: Option<Signature>,
    /// The same of the newest one, in force or not.
    pub(super) newest_dotenv: Option<Signature>,
    /// What is wrong with the newest one, where it may be read: the one in force stays.
    pub(super) wrong_dotenv: Option<String>,
    pub(super) machine: machine::tenant::Tenant,
    pub(super) leases: BTreeMap<GenerationId, Lease>,
    /// Its workers' stdout and stderr: (read, write). Both stay open here, so that neither a worker nor the log role can
    /// take the other down.
    pub(super) output: (OwnedFd, OwnedFd),
    /// What is wrong with its file, while it is wrong.
    pub(super) rejection: Option<String>,
    /// An operator's word.
    pub(super) stopped: bool,
    /// It is put to sleep: wanted, and not running until somebody comes.
    pub(super) asleep: bool,
    pub(super) sleeper: machine::sleep::Sleeper,
    /// A visitor waits for it to start.
    pub(super) visited: bool,
    /// Its file is gone; it is being stopped.
    pub(super) removed: bool,
    pub(super) identity: Option<(u32, u32)>,
    /// Its storage is used up: the gateway takes no more uploads for it.
    pub(super) full: bool,
    /// Epochs that told a revision of its route: (epoch, revision).
    pub(super) told: Vec<(u64, u64)>,
    /// Whether it waits for a first sign of life: counted for the table of the quick start.
    pub(super) settled: bool,
    /// Who waits for the request under way.
    pub(super) askers: Vec<Replies>,
    /// Who waits for the request that is about to be told.
    pub(super) new_askers: Vec<Replies>,
}

impl Seat {
    /// A seat for `spec`, nothing running yet.
    ///
    /// # Errors
    /// No pipe can be made: descriptors are used up.
    pub(super) fn new(spec: Tenant, digest: Digest, identity: Option<(u32, u32)>) -> std::io::Result<Self> {
        let machine = machine::tenant::Tenant::new(spec.name.clone(), seed(&spec.name));
        Ok(Self::over(machine, sys::spawn::pipe()?, (spec, digest), identity))
    }

    /// The seat of an earlier life, but for what its generations held and whether it is stopped.
    pub(super) fn recall(memory: TenantMemory, output: (OwnedFd, OwnedFd), now: Now) -> Self {
        let TenantMemory { machine, spec, digest, dotenv, newest_dotenv, asleep, removed, identity, leases: _ } =
            memory;
        let machine = machine::tenant::Tenant::recall(spec.name.clone(), seed(&spec.name), machine, now);
        let seat = Self::over(machine, output, (spec, digest), identity);
        Self { dotenv, newest_dotenv, asleep, removed, ..seat }
    }

    /// What the next life needs of it.
    pub(super) fn memory(&self) -> TenantMemory {
        TenantMemory {
            machine: self.machine.memory(),
            spec: self.spec.clone(),
            digest: self.digest.clone(),
            dotenv: self.dotenv,
            newest_dotenv: self.newest_dotenv,
            asleep: self.asleep,
            removed: self.removed,
            identity: self.identity,
            // One that is there for its copy only holds nothing.
            leases: self.generations().map(Lease::memory).collect(),
        }
    }

    fn generations(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().filter(|lease| self.machine.plan(lease.generation).is_some())
    }

    /// A migration of its was cut short, and nothing of it lives: the snapshot that was kept under this generation is put
    /// back before anything is started.
    pub(super) fn mend(&mut self, torn: GenerationId) {
        let name = self.spec.name.clone();
        self.machine = machine::tenant::Tenant::interrupted(name, seed(&self.spec.name), torn);
    }

    fn over(
        machine: machine::tenant::Tenant,
        output: (OwnedFd, OwnedFd),
        (spec, digest): (Tenant, Digest),
        identity: Option<(u32, u32)>,
    ) -> Self {
        Self {
            machine,
            output,
            spec,
            digest,
            dotenv: None,
            newest_dotenv: None,
            wrong_dotenv: None,
            leases: BTreeMap::new(),
            rejection: None,
            stopped: false,
            asleep: false,
            sleeper: machine::sleep::Sleeper::default(),
            visited: false,
            removed: false,
            identity,
            full: false,
            told: Vec::new(),
            settled: false,
            askers: Vec::new(),
            new_askers: Vec::new(),
        }
    }

    /// What the machine is to aim at, given what serves now. `limits`: what its processes are limited by themselves.
    pub(super) fn plan(&self, limits: &ProcessLimits) -> machine::tenant::RolloutPlan {
        let serving = self.machine.current().and_then(|generation| self.leases.get(&generation));
        let (app, deploy) = (&self.spec.app, &self.spec.deploy);
        let changed = |old: &Lease| {
            let old = &old.spec.app;
            (&old.name, &old.command, &old.version) != (&app.name, &app.command, &app.version)
        };
        let migrates = app.migrate.is_some() && serving.is_some_and(changed);
        let chosen = deploy.strategy.unwrap_or(if migrates { Strategy::Hold } else { Strategy::Overlap });
        // Its files are given to another user, and that while nobody uses them.
        let moves = serving.is_some_and(|lease| lease.identity != self.identity);
        let strategy = if moves { Strategy::Hold } else { chosen };
        machine::tenant::RolloutPlan {
            digest: self.whole_digest(limits),
            strategy,
            // A restart of the same command has nothing to migrate, and `overlap` never does.
            migrate: serving.map_or(app.migrate.is_some(), |_| migrates && chosen == Strategy::Hold),
            drain_timeout: deploy.drain_timeout,
            upgrade_timeout: deploy.upgrade_timeout,
            hold_timeout: deploy.hold_timeout,
            start_timeout: self.spec.health.start_timeout,
            stop_timeout: app.stop_timeout,
            failures: self.spec.health.failures,
        }
    }

    /// How many of its workers live, were not healthy yet, and are not slow.
    pub(super) fn starting(&self, now: Now) -> usize {
        self.starts().filter(|since| now.since(*since) < SLOW_START).count()
    }

    /// When the first of those counts no more.
    pub(super) fn slow_at(&self, now: Now) -> Option<Now> {
        self.starts().map(|since| since + SLOW_START).filter(|at| *at > now).min()
    }

    fn starts(&self) -> impl Iterator<Item = Now> {
        let starts = self.leases.values().filter(|lease| {
            let worker = self.machine.worker(lease.generation);
            worker.is_some_and(|view| view.phase == Phase::Starting && view.pid.is_some())
        });
        starts.map(|lease| lease.begun)
    }

    /// Settings, `.env`, and limits that no control group has, together: what a generation is one rollout of.
    fn whole_digest(&self, limits: &ProcessLimits) -> Digest {
        let mut digest = self.digest.to_string();
        if let Some(signature) = &self.dotenv {
            digest = format!("{digest}+{signature:?}");
        }
        // A process has these from its start; those of a control group are written while it runs.
        if let ProcessLimits { memory, processes, .. } = limits
            && (memory, processes) != (&None, &None)
        {
            digest = format!("{digest}+{memory:?}+{processes:?}");
        }
        Digest(digest)
    }

    /// Its line in the route table.
    pub(super) fn route(&self, gateway: &Gateway) -> TenantRoute {
        let route = self.machine.route();
        let backends = route.backends.iter().filter_map(|backend| {
            let lease = self.leases.get(&backend.generation)?;
            // What is on its way out answers where it always did, not where its successor will.
            let spec = if lease.digest == self.digest { &self.spec } else { &lease.spec };
            let health = &spec.health;
            let probe = backend.probe.map(|probing| Probe {
                path: health.path.clone().or_else(|| spec.app.health.clone()),
                host: self.spec.hosts[0].clone(),
                interval: health.interval,
                timeout: health.timeout,
                starting: probing.starting,
                attempt: probing.attempt,
            });
            Some(BackendRoute {
                generation: backend.generation,
                address: lease.address(),
                open: backend.open,
                drain_timeout: self.spec.deploy.drain_timeout,
                upgrade_timeout: self.spec.deploy.upgrade_timeout,
                probe,
            })
        });
        TenantRoute {
            name: self.spec.name.clone(),
            company: self.spec.company.clone(),
            environment: self.spec.environment.clone(),
            hosts: self.spec.hosts.clone(),
            canonical: self.spec.canonical.clone(),
            serving: route.serving.clone(),
            backends: backends.collect(),
            hold_timeout: self.spec.deploy.hold_timeout,
            held_requests: self.spec.limits.held_requests,
            body: self.spec.limits.body.or(gateway.limits.body),
            hsts: self.spec.hsts,
            rate: rate(&self.spec.limits),
            concurrent: self.spec.limits.concurrent_requests,
            queued: self.spec.limits.queued_requests,
            connections_per_address: self.spec.limits.connections_per_address,
            full: self.full,
            sleeps: self.spec.sleep.after.is_some(),
        }
    }
}

/// Its token bucket: what nobody sets holds two seconds' worth.
fn rate(limits: &Limits) -> Option<Rate> {
    let per_second = limits.requests_per_second?;
    Some(Rate { per_second, burst: limits.burst.unwrap_or(per_second.saturating_mul(2)) })
}

/// Of a tenant's jitter: FNV-1a of its name.
fn seed(name: &TenantName) -> u64 {
    let bytes = name.as_str().bytes();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// What an app's migration is one run of.
pub(super) fn migration(app: &App) -> Digest {
    Digest(format!("{} {:?} {:?} {:?}", app.name, app.version, app.command, app.migrate))
}
