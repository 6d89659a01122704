//! The proxy role: TLS, routing, forwarding, health probes. No privilege, no files.
//!
//! One thread per core, each with a runtime, listeners and upstream connections of its own; they share nothing on a
//! request's way but an immutable snapshot. `connection` (accept, handshake, framing, admission) hands each request to
//! `forward` (route, gate or hold, worker, answer).

pub(crate) mod access;
pub mod connection;
pub(crate) mod control;
pub(crate) mod cores;
pub mod exchange;
pub mod forward;
pub(crate) mod line;
pub(crate) mod outbox;
pub mod pages;
pub(crate) mod parcel;
pub(crate) mod probe;
pub(crate) mod quiet;
pub mod routes;
#[cfg(test)]
mod tests;
pub(crate) mod upstream;

use std::{os::fd::OwnedFd, process::ExitCode};

use tokio::{runtime::Builder, task::LocalSet};

use crate::sys::{identity, process};

/// The role's own main: becomes `identity` (uid, gid) for good when it is root, then serves what the master tells on
/// `link` until it is drained or the master has gone. Call it before any other thread is started.
pub fn main(link: OwnedFd, identity: Option<(u32, u32)>) -> ExitCode {
    match prepare(identity).and_then(|()| Builder::new_current_thread().enable_all().build()) {
        Ok(runtime) => LocalSet::new().block_on(&runtime, async {
            control::run(link).await.unwrap_or_else(|error| {
                tracing::error!(%error, "the proxy ends");
                ExitCode::FAILURE
            })
        }),
        Err(error) => {
            tracing::error!(%error, "the proxy cannot start");
            ExitCode::FAILURE
        }
    }
}

fn prepare(identity: Option<(u32, u32)>) -> std::io::Result<()> {
    process::raise_nofile_limit()?;
    if let Some((uid, gid)) = identity
        && identity::is_root()
    {
        identity::drop_to(uid, gid)?;
    }
    identity::no_new_privs()?;
    // Keys are in this memory: no core dumps.
    identity::set_limits(identity::Limits::default())
}
