//! What comes beside a message, and why the proxy cannot go on without it.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use crate::{
    model::{BackendAddress, RouteTable},
    sys::memfd,
    wire::{LinkError, PROTOCOL},
};

/// A route table or a set of certificates is at most this long.
const MEMFD: usize = 256 * 1024 * 1024;

/// Why the proxy cannot go on. It ends; its supervisor starts another.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The link broke.
    #[error("the link to the master: {0}")]
    Link(#[from] LinkError),
    /// The master speaks other messages.
    #[error("the master speaks protocol {0}, this proxy {PROTOCOL}")]
    Protocol(u32),
    /// A message came without what belongs to it, or out of order.
    #[error("the master sent {0}")]
    Order(&'static str),
    /// A table or certificates could not be read.
    #[error("cannot read {what}: {why}")]
    Unreadable {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// A core could not be started or died.
    #[error("core: {0}")]
    Core(String),
}

/// Relative paths of unix sockets become paths through the descriptor of their folder: the folders above it may be closed
/// to the proxy's user, and a path of 108 bytes or more could not be connected to.
pub(crate) fn find_sockets(table: &mut RouteTable, folder: &OwnedFd) {
    let folder = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    for backend in table.tenants.iter_mut().flat_map(|tenant| &mut tenant.backends) {
        if let BackendAddress::Unix(path) = &mut backend.address {
            *path = folder.join(&*path);
        }
    }
}

pub(crate) fn one(fds: Vec<OwnedFd>, without: &'static str) -> Result<OwnedFd, ControlError> {
    fds.into_iter().next().ok_or(ControlError::Order(without))
}

pub(crate) fn sealed<T: serde::de::DeserializeOwned>(fds: Vec<OwnedFd>, what: &'static str) -> Result<T, ControlError> {
    let fd = one(fds, "a message without its memfd")?;
    let bytes = memfd::read(fd, MEMFD).map_err(|why| ControlError::Unreadable { what, why: why.to_string() })?;
    // The message is not shown: it may quote a key.
    serde_json::from_slice(&bytes)
        .map_err(|why| ControlError::Unreadable { what, why: format!("line {} column {}", why.line(), why.column()) })
}
