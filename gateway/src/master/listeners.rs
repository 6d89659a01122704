//! The public listeners: handed down where somebody has them for us, bound where not.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    aftermath,
    vault::{self, Vault},
};
use crate::{
    model::Gateway,
    sys::{self, listen::ListenError},
    wire::ListenerKind,
};

/// A socket for each configured address and core, with its core. None that is handed down and wanted is ever closed: it may
/// have connections in its queue.
///
/// # Errors
/// An address cannot be bound.
pub(super) fn open(
    gateway: &Gateway,
    cores: u32,
    vault: &mut Vault,
) -> Result<Vec<(ListenerKind, u32, OwnedFd)>, ListenError> {
    let mut inherited: Vec<(String, SocketAddr, OwnedFd)> = Vec::new();
    let mut strange = Vec::new();
    for (name, fd) in vault.take_listeners() {
        match sys::listen::listening_on(&fd) {
            Some(addr) => inherited.push((name, addr, fd)),
            None => strange.push(name),
        }
    }
    let https = gateway.listen.https.iter().map(|addr| (ListenerKind::Https, *addr));
    let http = gateway.listen.http.iter().map(|addr| (ListenerKind::Http, *addr));
    let mut listeners = Vec::new();
    for (kind, addr) in https.chain(http) {
        let (ours, others): (Vec<_>, Vec<_>) =
            inherited.into_iter().partition(|(_, local, _)| sys::listen::is_meant(addr, *local));
        inherited = others;
        if ours.is_empty() {
            for (core, socket) in (0..).zip(aftermath::bind(&gateway.run, || sys::listen::public(addr, cores))?) {
                vault.keep(vault::listener(kind, addr, core), &socket);
                listeners.push((kind, core, socket));
            }
            continue;
        }
        tracing::info!(%addr, sockets = ours.len(), "goes on with the sockets that are there");
        for ((name, _, fd), place) in ours.iter().zip(0..).filter(|((name, ..), _)| !vault::is_ours(name)) {
            tracing::debug!(name, "a socket of the service manager's");
            vault.hold(vault::listener(kind, addr, place), fd);
        }
        listeners.extend(share(kind, addr, cores, ours.into_iter().map(|(_, _, fd)| fd).collect())?);
    }
    for (name, addr, fd) in inherited {
        tracing::warn!(name, %addr, "a socket that was handed down is closed: [listen] does not name its address");
        drop(fd);
        vault.forget(&name);
    }
    for name in strange {
        tracing::warn!(name, "a descriptor that was handed down is closed: it is no listening socket");
        vault.forget(&name);
    }
    Ok(listeners)
}

/// Every socket has a core that accepts from it, and every core a socket: the same one where there are fewer.
fn share(
    kind: ListenerKind,
    addr: SocketAddr,
    cores: u32,
    sockets: Vec<OwnedFd>,
) -> Result<Vec<(ListenerKind, u32, OwnedFd)>, ListenError> {
    let cores = usize::try_from(cores.max(1)).unwrap_or(1);
    let places = cores.max(sockets.len());
    let shared = (0..places).map(|place| {
        let socket = sockets[place % sockets.len()].as_fd();
        let copy = sys::listen::nonblocking(socket).map_err(|source| ListenError::Io { addr, source })?;
        Ok((kind, u32::try_from(place % cores).unwrap_or_default(), copy))
    });
    shared.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn gateway(port: u16) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("landlord.toml");
        std::fs::write(&file, format!("[listen]\nhttps = [\"127.0.0.1:{port}\"]\nhttp = []\n")).unwrap();
        crate::config::gateway::load(Some(&file)).unwrap()
    }

    fn names(listeners: &[(ListenerKind, u32, OwnedFd)]) -> Vec<(u32, SocketAddr)> {
        listeners.iter().map(|(_, core, fd)| (*core, sys::listen::listening_on(fd).unwrap())).collect()
    }

    #[test]
    fn what_is_handed_down_is_used_and_its_queue_kept() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let waiting = std::net::TcpStream::connect(addr).unwrap();
        let inherited =
            vec![("landlord.socket".into(), socket.into()), ("landlord.socket".into(), OwnedFd::from(other))];
        let listeners = open(&gateway(addr.port()), 2, &mut Vault::new(inherited)).unwrap();
        assert_eq!(names(&listeners), [(0, addr), (1, addr)], "one socket for both cores, and not the other one");
        let accepted = std::net::TcpListener::from(listeners.into_iter().next().unwrap().2).accept().unwrap();
        assert_eq!(accepted.1, waiting.local_addr().unwrap());
    }

    #[test]
    fn with_fewer_cores_than_sockets_none_is_left_alone() {
        let sockets = sys::listen::public("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let addr = sys::listen::listening_on(&sockets[0]).unwrap();
        let named = |(core, fd)| (vault::listener(ListenerKind::Https, addr, core), fd);
        let mut vault = Vault::new((0..).zip(sockets).map(named).collect());
        assert!(!vault.has_past());
        let listeners = open(&gateway(addr.port()), 2, &mut vault).unwrap();
        assert_eq!(names(&listeners), [(0, addr), (1, addr), (0, addr)]);
    }
}
