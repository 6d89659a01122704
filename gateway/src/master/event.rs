//! What reaches the master's loop.

use std::os::fd::OwnedFd;

use super::{control::Replies, roles::Post};
use crate::{
    model::{GenerationId, TenantName},
    sys::{cgroup::Watch, process::Exit},
    wire::{ControlRequest, Counted, FromAcme, FromLog, FromProxy},
};

/// One thing that happened. Only the loop changes state; whoever waits for something sends one of these.
#[derive(Debug)]
pub(super) enum Event {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP.
    Reload,
    /// SIGCHLD: a stray may have been re-parented to us and ended.
    Child,
    /// A child ended and was reaped.
    Exited {
        /// Which.
        who: Who,
        /// Its attempt.
        attempt: u32,
        /// How.
        exit: Exit,
        /// What its shim had to say, if it never became the worker.
        report: Option<String>,
    },
    /// A fact from a proxy: its number, its attempt.
    Proxy(u32, u32, FromProxy),
    /// A fact from the log role.
    Log(u32, FromLog),
    /// A fact from the acme role, with what it sent along.
    Acme(u32, FromAcme, Vec<OwnedFd>),
    /// What the counter of this number found; `None`: it has ended.
    Counted(u32, Option<Counted>),
    /// A role's link closed or broke, of this attempt.
    LinkLost(Post, u32),
    /// The kernel has counted something in a tenant's control group.
    Pressed(Watch),
    /// A client of the operator socket has its answer, or has gone.
    ClientLeft,
    /// Whether a tenant's user was refused on this port of loopback, where we listened.
    Knocked {
        /// Free again.
        port: u16,
        /// Or nothing could be found out.
        refused: std::io::Result<bool>,
    },
    /// An operator asks, and has sent these along.
    Control(ControlRequest, Vec<OwnedFd>, Replies),
}

/// A child.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// One of our own.
    Role(Post),
    /// A tenant's worker.
    Worker(TenantName, GenerationId),
    /// A tenant's migration.
    Migration(TenantName, GenerationId),
    /// The copy before a migration.
    Snapshot(TenantName, GenerationId),
    /// The copy back.
    Restore(TenantName, GenerationId),
    /// Who looks at or edits a tenant's `.env`.
    Dotenv(TenantName),
    /// What an earlier life had under way, and what is of no use any more.
    Nobody,
    /// An order to the tenants' units.
    Units,
    /// An nft that loads or removes the rules of loopback.
    Firewall,
    /// The program that is offered looks at what it would go on from.
    Preflight,
}
