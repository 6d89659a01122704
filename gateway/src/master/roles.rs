//! The helper processes, proxy, log and acme: under the same supervision as any worker.

use std::os::fd::{AsFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::{
    event::{Event, Who},
    fleet::RoleMemory,
    vault::{self, Vault},
};
use crate::{
    machine::worker::Worker,
    sys::{
        self,
        process::Name,
        spawn::{Program, Spawn},
    },
    wire::{Link, ToAcme, ToLog},
};

/// The proxy's uid and gid where landlord is root: whom the rules of loopback let through to workers.
pub const PROXY_UID: u32 = 69_998;

/// Which helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RoleKind {
    /// Faces the internet.
    Proxy,
    /// Reads every worker's output.
    Log,
    /// Asks for certificates.
    Acme,
}

impl RoleKind {
    /// The hidden verb.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Log => "log",
            Self::Acme => "acme",
        }
    }

    /// No tenant is ever one of these, whatever `[users]` says.
    pub(super) const UIDS: std::ops::RangeInclusive<u32> = 69_997..=69_999;

    /// Uid and gid of the role where landlord is root: outside systemd's and subuid's ranges.
    /// `None`: landlord is not root, and everybody is whoever started it.
    pub(super) fn identity(self) -> Option<(u32, u32)> {
        sys::identity::is_root().then_some(match self {
            Self::Proxy => (PROXY_UID, PROXY_UID),
            Self::Log => (69_999, 69_999),
            Self::Acme => (69_997, 69_997),
        })
    }
}

/// A place that a role process fills, over its restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Post {
    /// The log role's.
    Log,
    /// A proxy's, by its number: there may be several.
    Proxy(u32),
    /// The acme role's.
    Acme,
}

impl Post {
    pub(super) fn kind(self) -> RoleKind {
        match self {
            Self::Log => RoleKind::Log,
            Self::Proxy(_) => RoleKind::Proxy,
            Self::Acme => RoleKind::Acme,
        }
    }

    /// Whether the next life goes on with its process, over the same link. The acme role's link ends with the life that made
    /// it, and so does the role: it keeps nothing, and what was kept for it is told to the next one.
    fn outlives_us(self) -> bool {
        self != Self::Acme
    }
}

/// One role: its supervision, its process, and the way to it.
pub(super) struct Role<Out> {
    post: Post,
    pub(super) worker: Worker,
    pub(super) child: Option<super::child::Child>,
    outbox: Option<mpsc::UnboundedSender<(Out, Vec<OwnedFd>)>>,
    reader: Option<tokio::task::JoinHandle<()>>,
}

impl<Out: Serialize + 'static> Role<Out> {
    pub(super) fn new(post: Post, worker: Worker) -> Self {
        Self { post, worker, child: None, outbox: None, reader: None }
    }

    /// Starts the process with one end of a fresh link, and two tasks that move messages.
    ///
    /// # Errors
    /// The link or the process cannot be made.
    pub(super) fn spawn<In>(
        &mut self,
        attempt: u32,
        vault: &mut Vault,
        events: &mpsc::UnboundedSender<Event>,
        wrap: impl Fn(u32, In, Vec<OwnedFd>) -> Event + 'static,
    ) -> std::io::Result<u32>
    where
        In: DeserializeOwned + 'static,
    {
        let (post, kind) = (self.post, self.post.kind());
        let (ours, theirs) = sys::packet::pair()?;
        if post.outlives_us() {
            vault.keep(vault::link(post, attempt), &ours);
        }
        let mut args: Vec<std::ffi::OsString> = vec![kind.verb().into(), "--link".into(), "3".into()];
        if let Some((uid, gid)) = kind.identity() {
            args.extend(["--uid".into(), uid.to_string().into(), "--gid".into(), gid.to_string().into()]);
        }
        // A role's environment is empty, so it cannot find this out by itself.
        if sys::journal::has_stderr() {
            args.push("--journal".into());
        }
        let log_filter = std::env::var_os("LANDLORD_LOG").map(|filter| ("LANDLORD_LOG".into(), filter));
        let spawned = sys::spawn::spawn(Spawn {
            program: Program::ThisBinary,
            args,
            env: log_filter.into_iter().collect(),
            fds: vec![(theirs, 3)],
            stdin_null: true,
            stdout: None,
            stderr: None,
            dir: None,
            die_with_parent: !sys::unit::is_ours(),
        });
        let child = spawned.inspect_err(|_| vault.forget(&vault::link(post, attempt)))?;
        let pid = child.pid;
        self.child = Some(super::child::Child::watch(child, Who::Role(post), attempt, None, events.clone())?);
        self.connect(ours, attempt, events, wrap)?;
        Ok(pid)
    }

    /// Goes on with a process and a link of an earlier life. Whether both are there; one that cannot be talked to is ended.
    ///
    /// # Errors
    /// They cannot be watched.
    pub(super) fn adopt<In>(
        &mut self,
        name: Option<Name>,
        vault: &mut Vault,
        events: &mpsc::UnboundedSender<Event>,
        wrap: impl Fn(u32, In, Vec<OwnedFd>) -> Event + 'static,
    ) -> std::io::Result<bool>
    where
        In: DeserializeOwned + 'static,
    {
        let attempt = self.worker.view().attempt;
        let link = vault.take(&vault::link(self.post, attempt));
        let Some(name) = name else { return Ok(false) };
        let who = Who::Role(self.post);
        self.child = super::child::Child::adopt(name, who, attempt, events.clone())?;
        match (&self.child, link) {
            (Some(_), Some(link)) => self.connect(link, attempt, events, wrap).map(|()| true),
            (Some(child), None) => {
                child.signal(libc::SIGKILL);
                Ok(false)
            }
            (None, _) => Ok(false),
        }
    }

    /// Two tasks move messages over our end of a link.
    fn connect<In>(
        &mut self,
        ours: OwnedFd,
        attempt: u32,
        events: &mpsc::UnboundedSender<Event>,
        wrap: impl Fn(u32, In, Vec<OwnedFd>) -> Event + 'static,
    ) -> std::io::Result<()>
    where
        In: DeserializeOwned + 'static,
    {
        let (post, kind) = (self.post, self.post.kind());
        let link = std::rc::Rc::new(Link::<Out, In>::new(ours)?);
        let (outbox, mut letters) = mpsc::unbounded_channel::<(Out, Vec<OwnedFd>)>();
        self.outbox = Some(outbox);
        let (tell, reader) = (events.clone(), link.clone());
        self.reader = Some(tokio::task::spawn_local(async move {
            loop {
                match reader.recv().await {
                    Ok(Some((message, fds))) => drop(tell.send(wrap(attempt, message, fds))),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(role = kind.verb(), %error, "a message that is none of ours");
                        break;
                    }
                }
            }
            let _ = tell.send(Event::LinkLost(post, attempt));
        }));
        tokio::task::spawn_local(async move {
            while let Some((message, fds)) = letters.recv().await {
                let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                if let Err(error) = link.send(&message, &borrowed).await {
                    tracing::debug!(role = kind.verb(), %error, "a message did not reach a role that is ending");
                    break;
                }
            }
        });
        Ok(())
    }

    /// What the next life needs of it.
    pub(super) fn memory(&self) -> RoleMemory {
        RoleMemory { worker: self.worker.memory(), process: self.child.as_ref().map(|child| child.name) }
    }

    /// Sends in order; to a role that is not there, nothing: it is told all when it starts.
    pub(super) fn send(&self, message: Out, fds: Vec<OwnedFd>) {
        if let Some(outbox) = &self.outbox {
            let _ = outbox.send((message, fds));
        }
    }

    /// Closes the link, the end that is kept for the next life too: for the log role, the request to finish.
    pub(super) fn hang_up(&mut self, vault: &mut Vault) {
        vault.forget(&vault::link(self.post, self.worker.view().attempt));
        self.outbox = None;
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }
}

/// The log role.
pub(super) type Log = Role<ToLog>;
/// The acme role.
pub(super) type Acme = Role<ToAcme>;
