//! What a generation holds for its whole life: its settings, its port, its socket, and the process of the present attempt.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    path::PathBuf,
};

use tokio::sync::mpsc;

use super::{
    child::Child,
    copies, enclosure,
    event::{Event, Who},
    fleet::LeaseMemory,
    folder::ROOMS,
    groups::Groups,
    plan,
    ports::Ports,
    roles::RoleKind,
    shim::{self, GROUP_FD, REPORT_FD, SOCKET_FD},
    vault::{self, Vault},
};
use crate::{
    machine::Now,
    model::{BackendAddress, Digest, Gateway, GenerationId, Listen, Tenant},
    sys,
    wire::{Estate, Job, Plan, ProcessLimits},
};

/// A generation's holdings.
pub(super) struct Lease {
    pub(super) generation: GenerationId,
    pub(super) spec: Tenant,
    /// Of `spec`.
    pub(super) digest: Digest,
    place: plan::Place,
    /// Listening (`inherit`, `unix`), or bound only to keep others away between attempts (`port`).
    socket: Option<OwnedFd>,
    pub(super) identity: Option<(u32, u32)>,
    /// When its newest process was started, and its number.
    pub(super) begun: Now,
    attempt: u32,
    pub(super) child: Option<Child>,
    pub(super) task: Option<Child>,
}

/// Who must wait for what is being started.
pub(super) struct Starter<'a> {
    pub(super) gateway: &'a Gateway,
    /// The entry in the environment of whatever is started in this house.
    pub(super) house: &'a str,
    pub(super) output: &'a OwnedFd,
    /// Whom tenants are that have no user of their own, where landlord is root.
    pub(super) shared: Option<(u32, u32)>,
    pub(super) events: &'a mpsc::UnboundedSender<Event>,
    /// By which a process enters its control group, where there is one.
    pub(super) group: Option<OwnedFd>,
    pub(super) limits: ProcessLimits,
}

impl Starter<'_> {
    /// The group's entrance, for one more process.
    pub(super) fn entrance(&self) -> Result<Option<(OwnedFd, i32)>, String> {
        let copy = |group: &OwnedFd| group.try_clone().map(|copy| (copy, GROUP_FD));
        self.group.as_ref().map(copy).transpose().map_err(|e| format!("its control group: {e}"))
    }
}

impl Lease {
    /// Takes a port, or a socket's path, for a new generation.
    ///
    /// # Errors
    /// A sentence for a person: no port is free, or the socket cannot be made.
    pub(super) fn open(
        generation: GenerationId,
        (spec, digest): (&Tenant, &Digest),
        identity: Option<(u32, u32)>,
        gateway: &Gateway,
        ports: &mut Ports,
    ) -> Result<Self, String> {
        let no_port = || {
            let (first, last) = (gateway.ports.first, gateway.ports.last);
            format!("no port between {first} and {last} is free: widen [ports] in landlord.toml")
        };
        let (place, socket) = match spec.app.listen {
            Listen::Inherit => {
                let (port, socket) = ports.take(sys::listen::worker_tcp).ok_or_else(no_port)?;
                (plan::Place::Port(port), socket)
            }
            Listen::Port => {
                // One with nothing on it first: killed workers leave connections that wait for a minute on theirs.
                let taken = ports.take(sys::listen::reserve_tcp);
                let taken = taken.or_else(|| ports.take(sys::listen::reserve_lingering_tcp));
                let (port, socket) = taken.ok_or_else(no_port)?;
                (plan::Place::Port(port), socket)
            }
            Listen::Unix => {
                let path = gateway.run.join("workers").join(format!("{}-{generation}.sock", spec.name));
                let proxy = RoleKind::Proxy.identity().map_or_else(|| sys::identity::own().0, |(uid, _)| uid);
                let socket = sys::listen::worker_unix(&path, proxy).map_err(|e| format!("{}: {e}", path.display()))?;
                (plan::Place::Unix(path), socket)
            }
        };
        let (spec, digest) = (spec.clone(), digest.clone());
        let (socket, begun, attempt) = (Some(socket), Now::default(), 0);
        Ok(Self { generation, spec, digest, place, socket, identity, begun, attempt, child: None, task: None })
    }

    /// What a generation of a life before needs for its copy to be put back: no port, and no place.
    pub(super) fn of_copies(
        generation: GenerationId,
        (spec, digest): (&Tenant, &Digest),
        identity: Option<(u32, u32)>,
    ) -> Self {
        let (spec, digest, place) = (spec.clone(), digest.clone(), plan::Place::Unix(PathBuf::new()));
        let (begun, attempt) = (Now::default(), 0);
        Self { generation, spec, digest, place, socket: None, identity, begun, attempt, child: None, task: None }
    }

    /// What an earlier life has held, with the socket that it left; its processes are adopted where they live.
    ///
    /// # Errors
    /// A sentence for a person: its socket is gone, or a process cannot be watched.
    pub(super) fn recall(
        memory: LeaseMemory,
        socket: Option<OwnedFd>,
        ports: &mut Ports,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Result<Self, String> {
        let LeaseMemory { generation, spec, digest, place, identity, begun, process, task } = memory;
        let adopt = |name, who, attempt| {
            Child::adopt(name, who, attempt, events.clone()).map_err(|e| format!("its process cannot be watched: {e}"))
        };
        let (attempt, child) = match process {
            Some((attempt, name)) => (attempt, adopt(name, Who::Worker(spec.name.clone(), generation), attempt)?),
            None => (0, None),
        };
        let task = match task {
            // Whatever it was, it is ended, and its end means nothing any more.
            Some(name) => adopt(name, Who::Nobody, 0)?,
            None => None,
        };
        let socket = match (plan::hands_socket(&spec.app), &place) {
            (true, _) => Some(socket.ok_or("its socket is gone")?),
            (false, plan::Place::Port(port)) if child.is_none() => keep(*port),
            (false, _) => None,
        };
        if let plan::Place::Port(port) = place {
            ports.keep(port);
        }
        Ok(Self { generation, spec, digest, place, socket, identity, begun, attempt, child, task })
    }

    /// What the next life needs of it.
    pub(super) fn memory(&self) -> LeaseMemory {
        LeaseMemory {
            generation: self.generation,
            spec: self.spec.clone(),
            digest: self.digest.clone(),
            place: self.place.clone(),
            identity: self.identity,
            begun: self.begun,
            process: self.child.as_ref().map(|child| (self.attempt, child.name)),
            task: self.task.as_ref().map(|task| task.name),
        }
    }

    /// The socket that must outlive us: the one that its workers are handed.
    pub(super) fn lasting_socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref().filter(|_| plan::hands_socket(&self.spec.app))
    }

    /// Where the proxy finds it.
    pub(super) fn address(&self) -> BackendAddress {
        match &self.place {
            plan::Place::Port(port) => BackendAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))),
            plan::Place::Unix(path) => BackendAddress::Unix(path.file_name().map(PathBuf::from).unwrap_or_default()),
        }
    }

    /// Its port, where it has one.
    pub(super) fn port(&self) -> Option<u16> {
        match self.place {
            plan::Place::Port(port) => Some(port),
            plan::Place::Unix(_) => None,
        }
    }

    /// The line in the environment of each of its processes that tells them from any other generation's.
    pub(super) fn marker(&self) -> String {
        super::fleet::marker(self.generation)
    }

    /// Starts the worker. Its socket stays ours too; one that it binds itself is released right before.
    ///
    /// # Errors
    /// A sentence for a person.
    pub(super) fn start(&mut self, attempt: u32, starter: &Starter<'_>) -> Result<u32, String> {
        let hands = plan::hands_socket(&self.spec.app);
        let socket = if hands {
            let ours = self.socket.as_ref().ok_or("its socket is gone")?;
            Some(ours.try_clone().map_err(|e| format!("its socket cannot be shared: {e}"))?)
        } else {
            self.socket = None;
            None
        };
        let who = Who::Worker(self.spec.name.clone(), self.generation);
        let command = self.spec.app.command.clone();
        let child = self.shim(&command, socket, who, attempt, starter)?;
        let pid = child.pid;
        (self.attempt, self.child) = (attempt, Some(child));
        Ok(pid)
    }

    /// Runs the app's `migrate` command as the tenant, in its folder.
    ///
    /// # Errors
    /// A sentence for a person.
    pub(super) fn migrate(&mut self, starter: &Starter<'_>) -> Result<(), String> {
        let command = self.spec.app.migrate.clone().ok_or("the app has no migrate command")?;
        let who = Who::Migration(self.spec.name.clone(), self.generation);
        self.task = Some(self.shim(&command, None, who, 0, starter)?);
        Ok(())
    }

    /// By what its processes are found again, whatever becomes of their parents: which generation's, and which house's.
    pub(super) fn marks(&self, house: &str) -> [(String, String); 2] {
        let house = house.split_once('=').unwrap_or_default();
        [("LANDLORD_GENERATION".into(), self.generation.to_string()), (house.0.into(), house.1.into())]
    }

    fn shim(
        &self,
        command: &[String],
        socket: Option<OwnedFd>,
        who: Who,
        attempt: u32,
        starter: &Starter<'_>,
    ) -> Result<Child, String> {
        let gateway = starter.gateway;
        let mut env = plan::environment(gateway, &self.spec, &self.place);
        env.extend(self.marks(starter.house));
        let folder = plan::folder(gateway, &self.spec);
        let plan = Plan {
            argv: plan::argv(gateway, &self.spec.app, command, &env),
            path: env.get("PATH").cloned().unwrap_or_default(),
            dotenv: Some(folder.join(".env")),
            dir: folder,
            rooms: ROOMS.iter().map(PathBuf::from).collect(),
            env,
            extra: self.spec.env.clone(),
            listen_fds: socket.is_some(),
            job: Job::Exec,
            identity: self.identity.or(starter.shared),
            estate: self.estate(gateway),
            group: starter.group.is_some().then_some(GROUP_FD),
            limits: starter.limits,
            sandbox: enclosure::walls(gateway, &self.spec, &self.place),
            report: REPORT_FD,
            die_with_parent: !sys::unit::is_ours(),
        };
        self.spawn(&plan, socket, who, attempt, starter)
    }

    /// What is the tenant's, whoever's it was before.
    pub(super) fn estate(&self, gateway: &Gateway) -> Estate {
        let folders = vec![plan::folder(gateway, &self.spec), copies::folder(&gateway.state, &self.spec)];
        Estate { folders, closed: false }
    }

    /// Becomes the tenant in a child, and does what `plan` says.
    ///
    /// # Errors
    /// A sentence for a person.
    pub(super) fn spawn(
        &self,
        plan: &Plan,
        socket: Option<OwnedFd>,
        who: Who,
        attempt: u32,
        starter: &Starter<'_>,
    ) -> Result<Child, String> {
        let output = || starter.output.try_clone().map_err(|e| format!("its log: {e}"));
        let mut fds: Vec<_> = socket.map(|socket| (socket, SOCKET_FD)).into_iter().collect();
        fds.extend(starter.entrance()?);
        shim::start(plan, fds, [output()?, output()?], (who, attempt), starter.events)
    }

    /// Its process has ended: a port that the worker bound itself is kept from others until the next attempt.
    pub(super) fn ended(&mut self) {
        self.child = None;
        if let (None, Listen::Port, Some(port)) = (&self.socket, self.spec.app.listen, self.port()) {
            self.socket = keep(port);
        }
    }

    /// Ends every process of this generation; those it can see are gone when this returns. In a control group it sees all.
    pub(super) fn kill(&self, groups: &Groups) {
        let (tenant, generation) = (&self.spec.name, self.generation.0);
        let root = self.child.as_ref().or(self.task.as_ref());
        let inside = root.is_none_or(|child| groups.holds(tenant, self.generation, child.pid));
        let ended = match groups.kill(tenant, self.generation) {
            Some(ended) if inside => ended.map(usize::from),
            // There is none; or it has not got there yet; or only an edit of `.env` has, beside a worker of an older landlord's.
            held => {
                let tree = sys::process::kill_tree(root.map(Child::handle), self.marker().as_ref());
                held.unwrap_or(Ok(false)).and(tree)
            }
        };
        match ended {
            Ok(0) => {}
            Ok(_) => tracing::debug!(%tenant, generation, "processes ended"),
            Err(error) => tracing::error!(%tenant, generation, %error, "some of its processes cannot be ended"),
        }
    }

    /// Whether what listens on its port is its own worker's: a neighbour may have been quicker. `Err` names the holder.
    pub(super) fn check_listener(&self) -> Result<(), String> {
        let (Listen::Port, Some((uid, _)), Some(port)) = (self.spec.app.listen, self.identity, self.port()) else {
            return Ok(());
        };
        match sys::listen::listener_uid(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(Some(holder)) if holder != uid => {
                Err(format!("port {port} is held by uid {holder}, not by the worker's {uid}"))
            }
            _ => Ok(()),
        }
    }

    /// Gives the port and the socket's file back.
    pub(super) fn close(self, ports: &mut Ports, vault: &mut Vault) {
        vault.forget(&vault::socket(&self.spec.name, self.generation));
        match &self.place {
            plan::Place::Port(port) => ports.release(*port),
            plan::Place::Unix(path) => {
                // One that is gone already needs no removing.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Keeps a port between two attempts, as well as its old connections let us: best effort, the next one binds it anyway.
fn keep(port: u16) -> Option<OwnedFd> {
    sys::listen::reserve_tcp(port).or_else(|_| sys::listen::reserve_lingering_tcp(port)).ok()
}
