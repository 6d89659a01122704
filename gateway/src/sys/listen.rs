//! Listening sockets: the public ones, one per core, and the workers' own.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::chown,
    },
    path::Path,
};

use nix::sys::socket::{SockFlag, SockType};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{diag, node, proc};

/// Connections that the kernel queues for a public socket; `net.core.somaxconn` may lower it.
const PUBLIC_BACKLOG: i32 = 4096;
/// Connections that the kernel queues for a worker, over its restarts too.
const WORKER_BACKLOG: i32 = 1024;

/// Why a public address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has it.
    #[error("{addr} is taken by {}", holder.as_ref().map_or_else(|| "a process of another user".into(), Holder::to_string))]
    AddrInUse {
        /// Which.
        addr: SocketAddr,
        /// Who has it, where we may see that.
        holder: Option<Holder>,
    },
    /// Ports below `net.ipv4.ip_unprivileged_port_start` are root's.
    #[error("{addr} needs root or CAP_NET_BIND_SERVICE: start landlord as a service, or choose a port from 1024")]
    NotPermitted {
        /// Which.
        addr: SocketAddr,
    },
    /// No interface has this address.
    #[error("{addr} is no address of this machine")]
    NotAvailable {
        /// Which.
        addr: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {addr}: {source}")]
    Io {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// The process behind a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its pid.
    pub pid: u32,
    /// Its command line, fit to be shown.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.command)
    }
}

/// One listening socket per core on a public address; close-on-exec, nonblocking. `[::]` takes IPv4 too, and is
/// `0.0.0.0` where the machine has no IPv6. With port 0 all share the port that the first was given.
///
/// # Errors
/// `AddrInUse` also when the holder is another landlord, whose sockets would otherwise let us join their group and take
/// half of its connections.
pub fn public(addr: SocketAddr, cores: u32) -> Result<Vec<OwnedFd>, ListenError> {
    public_with(addr, cores, |domain| Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP)))
}

/// The address that a TCP socket listens on; `None`: it is no such socket.
pub fn listening_on(socket: impl AsFd) -> Option<SocketAddr> {
    let socket = SockRef::from(&socket);
    let stream = socket.r#type().ok()? == Type::STREAM && socket.is_listener().ok()?;
    if stream { socket.local_addr().ok()?.as_socket() } else { None }
}

/// Whether a socket on `local` is what [`public`] would have given for `wanted`.
pub fn is_meant(wanted: SocketAddr, local: SocketAddr) -> bool {
    let v4_any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port()));
    local == wanted || (is_v6_any(wanted) && local == v4_any)
}

/// Another descriptor of a socket that no one waits in from now on; close-on-exec.
pub fn nonblocking(socket: impl AsFd) -> io::Result<OwnedFd> {
    let copy = socket.as_fd().try_clone_to_owned()?;
    super::readiness::set_nonblocking(&copy)?;
    Ok(copy)
}

/// Whether [`public`] would get this address now. Binds it for a moment and never listens.
///
/// # Errors
/// As [`public`].
pub fn may_listen(addr: SocketAddr) -> Result<(), ListenError> {
    let open = |domain| Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP));
    match bound(addr, false, open) {
        Err(error) if is_v6_any(addr) && has_no_v6(&error) => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port()));
            bound(v4, false, open).map(drop).map_err(|error| explain(v4, error))
        }
        bound => bound.map(drop).map_err(|error| explain(addr, error)),
    }
}

/// A listening socket of a worker on `127.0.0.1:port`; blocking, as the systemd protocol has it; close-on-exec.
pub fn worker_tcp(port: u16) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(WORKER_BACKLOG)?;
    Ok(socket.into())
}

/// Keeps `127.0.0.1:port` from others without listening, for a worker that will bind it itself; close-on-exec.
///
/// # Errors
/// `AddrInUse` also while ended connections wait there for their time (TIME_WAIT, a minute).
pub fn reserve_tcp(port: u16) -> io::Result<OwnedFd> {
    reserved(port, false)
}

/// [`reserve_tcp`] of a port that nobody listens on, although ended connections may wait there: a worker gets it if it
/// says SO_REUSEADDR, as the servers of every common language do. So does anybody else, which is why this comes second.
pub fn reserve_lingering_tcp(port: u16) -> io::Result<OwnedFd> {
    reserved(port, true)
}

fn reserved(port: u16, reuse: bool) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(reuse)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket.into())
}

/// A listening unix socket of a worker at `path`, which only `owner` (and root) may connect to: the worker itself is
/// handed the descriptor and needs no path. Blocking, close-on-exec. A stale one is replaced.
pub fn worker_unix(path: &Path, owner: u32) -> io::Result<OwnedFd> {
    let socket = node::listen(path, SockType::Stream, 0o600, WORKER_BACKLOG, SockFlag::empty())?;
    if owner != nix::unistd::geteuid().as_raw() {
        chown(path, Some(owner), None)?;
    }
    Ok(socket)
}

/// The process that listens where a connection to (or a socket on) `addr` would meet it, if we may see that.
pub fn holder(addr: SocketAddr) -> Option<Holder> {
    let all = diag::listening().ok()?;
    let listening = diag::receiver(&all, addr).or_else(|| {
        // A wildcard of ours is blocked by any address on that port.
        let any = addr.ip().is_unspecified();
        all.iter().copied().find(|listening| any && listening.local.port() == addr.port())
    })?;
    let pid = diag::owner_of(listening.inode)?;
    Some(Holder { pid, command: proc::command(pid)? })
}

/// The effective user that made the socket which receives connections to `addr`; `None`: nobody listens there.
pub fn listener_uid(addr: SocketAddr) -> io::Result<Option<u32>> {
    Ok(diag::receiver(&diag::listening()?, addr).map(|listening| listening.uid))
}

fn public_with(
    addr: SocketAddr,
    cores: u32,
    open: impl Fn(Domain) -> io::Result<Socket>,
) -> Result<Vec<OwnedFd>, ListenError> {
    let (addr, probe) = match bound(addr, false, &open) {
        Err(error) if is_v6_any(addr) && has_no_v6(&error) => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port()));
            (v4, bound(v4, false, &open))
        }
        probe => (addr, probe),
    };
    // Held to the end of this line only: it must be gone before the group of REUSEPORT sockets can begin.
    drop(probe.map_err(|error| explain(addr, error))?);

    let mut sockets = Vec::new();
    let mut shared = addr;
    for _ in 0..cores.max(1) {
        let socket = bound(shared, true, &open).map_err(|error| explain(shared, error))?;
        let local = socket.local_addr().map_err(|error| explain(shared, error))?;
        shared.set_port(local.as_socket().map_or(shared.port(), |local| local.port()));
        sockets.push(socket);
    }
    // All are bound before the first listens: a connection is hashed over the group as it is at that moment.
    for socket in &sockets {
        socket.listen(PUBLIC_BACKLOG).map_err(|error| explain(shared, error))?;
    }
    Ok(sockets.into_iter().map(OwnedFd::from).collect())
}

fn bound(addr: SocketAddr, share: bool, open: impl Fn(Domain) -> io::Result<Socket>) -> io::Result<Socket> {
    let socket = open(Domain::for_address(addr))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!is_v6_any(addr))?;
    }
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn is_v6_any(addr: SocketAddr) -> bool {
    matches!(addr.ip(), IpAddr::V6(ip) if ip.is_unspecified())
}

fn has_no_v6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

fn explain(addr: SocketAddr, source: io::Error) -> ListenError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::AddrInUse { addr, holder: holder(addr) },
        io::ErrorKind::PermissionDenied => ListenError::NotPermitted { addr },
        io::ErrorKind::AddrNotAvailable => ListenError::NotAvailable { addr },
        _ => ListenError::Io { addr, source },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        fs,
        net::{Ipv6Addr, TcpListener, TcpStream},
        os::{
            fd::AsFd,
            unix::{fs::PermissionsExt, net::UnixStream},
        },
    };

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    fn address(fd: &OwnedFd) -> SocketAddr {
        TcpListener::from(fd.try_clone().unwrap()).local_addr().unwrap()
    }

    fn nonblocking(fd: impl AsFd) -> bool {
        fcntl(fd, FcntlArg::F_GETFL).unwrap() & OFlag::O_NONBLOCK.bits() != 0
    }

    #[test]
    fn the_cores_share_one_port_and_a_second_landlord_is_told_who_has_it() {
        let sockets = public("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let addr = address(&sockets[0]);
        assert_eq!(sockets.len(), 3);
        assert!(sockets.iter().all(|socket| address(socket) == addr && nonblocking(socket)));
        TcpStream::connect(addr).unwrap();

        let Err(ListenError::AddrInUse { holder: Some(holder), .. }) = public(addr, 1) else {
            panic!("the port was given twice, or its holder not found")
        };
        assert_eq!(holder.pid, std::process::id());
        assert!(holder.command.contains("landlord"), "{}", holder.command);
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port()));
        let Err(error @ ListenError::AddrInUse { .. }) = public(any, 1) else { panic!("0.0.0.0 was given too") };
        assert!(error.to_string().contains(&format!("is taken by pid {}", std::process::id())), "{error}");

        drop(sockets);
        public(addr, 2).unwrap();
    }

    #[test]
    fn v6_any_takes_v4_too_and_falls_back_to_it() {
        let sockets = public("[::]:0".parse().unwrap(), 1).unwrap();
        let port = address(&sockets[0]).port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if address(&sockets[0]).is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }

        let no_v6 = |domain| {
            if domain == Domain::IPV6 {
                return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
            }
            Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
        };
        let sockets = public_with("[::]:0".parse().unwrap(), 2, no_v6).unwrap();
        assert_eq!(address(&sockets[1]).ip(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let exact = public_with("[::1]:0".parse().unwrap(), 1, no_v6);
        assert!(matches!(exact, Err(ListenError::Io { .. })), "an address that was named is never replaced");
    }

    #[test]
    fn a_foreign_address_is_named() {
        let error = public("192.0.2.1:0".parse().unwrap(), 1).unwrap_err();
        assert!(matches!(error, ListenError::NotAvailable { .. }), "{error}");
    }

    #[test]
    fn a_workers_port_is_loopback_blocking_and_its_owner_known() {
        // A port of the kernel's choice, free once its probe is closed.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let socket = worker_tcp(port).unwrap();
        let addr = address(&socket);
        assert_eq!(addr, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        assert!(!nonblocking(&socket));
        assert_eq!(worker_tcp(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        TcpStream::connect(addr).unwrap();

        assert_eq!(listener_uid(addr).unwrap(), Some(nix::unistd::geteuid().as_raw()));
        drop(socket);
        assert_eq!(listener_uid(addr).unwrap(), None);
        assert_eq!(holder(addr), None);
    }

    #[test]
    fn ended_connections_keep_no_worker_from_a_port_and_listeners_do() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listener = worker_tcp(port).unwrap();
        assert_eq!(reserve_lingering_tcp(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let listener = TcpListener::from(listener);
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Who ends a connection first is who keeps its port for a while.
        drop((listener.accept().unwrap(), listener));
        drop(client);
        assert_eq!(reserve_tcp(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let held = reserve_lingering_tcp(port).unwrap();
        assert_eq!(reserve_tcp(port).unwrap_err().kind(), io::ErrorKind::AddrInUse, "it is kept from others");
        drop(held);
        TcpListener::bind(("127.0.0.1", port)).expect("a worker binds it as any server does");
    }

    #[test]
    fn a_workers_unix_socket_is_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acme.sock");
        let owner = nix::unistd::geteuid().as_raw();
        drop(worker_unix(&path, owner).unwrap());
        let _socket = worker_unix(&path, owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
    }
}
