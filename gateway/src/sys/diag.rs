//! Who listens: the kernel's own list of listening TCP sockets (sock_diag(7)), and the process that holds one.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};

/// A listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listening {
    /// Where; v4-mapped addresses unmapped.
    pub(super) local: SocketAddr,
    /// The effective user of the process that made the socket.
    pub(super) uid: u32,
    /// Its inode, as `/proc/PID/fd` shows it.
    pub(super) inode: u32,
}

/// `struct nlmsghdr`.
const NLMSG_HEADER: usize = 16;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// `struct inet_diag_msg`.
const ANSWER: usize = 72;
/// The state TCP_LISTEN, as a bit of `idiag_states`.
const LISTEN: u32 = 1 << 10;

/// Every listening TCP socket of this network namespace.
pub(super) fn listening() -> io::Result<Vec<Listening>> {
    let socket =
        socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        dump(&socket, family, &mut all)?;
    }
    Ok(all)
}

/// The socket among `all` that would receive a connection to `addr`: the exact address before the wildcards.
pub(super) fn receiver(all: &[Listening], addr: SocketAddr) -> Option<Listening> {
    let wanted = addr.ip().to_canonical();
    let rank = |listening: &Listening| match listening.local.ip() {
        exact if exact == wanted => Some(0),
        IpAddr::V4(any) if any.is_unspecified() && wanted.is_ipv4() => Some(1),
        IpAddr::V6(any) if any.is_unspecified() => Some(2),
        _ => None,
    };
    all.iter()
        .filter(|listening| listening.local.port() == addr.port())
        .filter_map(|listening| rank(listening).map(|rank| (rank, *listening)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, listening)| listening)
}

/// The process that has the socket with this inode open, if we may see it. Slow: looks through every process.
pub(super) fn owner_of(inode: u32) -> Option<u32> {
    let link = format!("socket:[{inode}]");
    super::proc::pids().into_iter().find(|pid| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link.as_str()))
    })
}

fn dump(socket: &OwnedFd, family: i32, all: &mut Vec<Listening>) -> io::Result<()> {
    let mut message = Vec::with_capacity(NLMSG_HEADER + REQUEST);
    let kind = 20_u16; // SOCK_DIAG_BY_FAMILY
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unwrap_or_default();
    message.extend_from_slice(&u32::try_from(NLMSG_HEADER + REQUEST).unwrap_or_default().to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence, port
    message.extend_from_slice(&[u8::try_from(family).unwrap_or_default(), libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend_from_slice(&LISTEN.to_ne_bytes());
    message.resize(NLMSG_HEADER + REQUEST, 0);
    socket::sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;

    let mut buffer = vec![0; 64 * 1024];
    loop {
        let got = socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..got];
        while let Some(length) = u32_at(rest, 0).map(|length| length as usize) {
            if length < NLMSG_HEADER || length > rest.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let body = &rest[NLMSG_HEADER..length];
            match i32::from(u16::from_ne_bytes([rest[4], rest[5]])) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => {
                    let code = u32_at(body, 0).unwrap_or_default().cast_signed();
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => all.extend(answer(body)),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// One `inet_diag_msg`: family, state, timer, retrans; ports and addresses in network order; then counters, uid, inode.
fn answer(body: &[u8]) -> Option<Listening> {
    if body.len() < ANSWER {
        return None;
    }
    let port = u16::from_be_bytes([body[4], body[5]]);
    let address: [u8; 16] = body[8..24].try_into().ok()?;
    let ip = if i32::from(body[0]) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::new(address[0], address[1], address[2], address[3]))
    } else {
        IpAddr::V6(Ipv6Addr::from(address))
    };
    let local = SocketAddr::new(ip.to_canonical(), port);
    Some(Listening { local, uid: u32_at(body, 64)?, inode: u32_at(body, 68)? })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(local: &str, uid: u32) -> Listening {
        Listening { local: local.parse().expect("an address"), uid, inode: 0 }
    }

    #[test]
    fn the_most_exact_listener_receives() {
        let all = [at("[::]:80", 3), at("0.0.0.0:80", 2), at("127.0.0.1:80", 1), at("127.0.0.1:81", 9)];
        let uid = |all: &[Listening], addr: &str| {
            receiver(all, addr.parse().expect("an address")).map(|listening| listening.uid)
        };
        assert_eq!(uid(&all, "127.0.0.1:80"), Some(1));
        assert_eq!(uid(&all, "127.0.0.2:80"), Some(2));
        assert_eq!(uid(&all, "[::1]:80"), Some(3));
        assert_eq!(uid(&all[..1], "127.0.0.1:80"), Some(3));
        assert_eq!(uid(&all[1..], "[::1]:80"), None);
        assert_eq!(uid(&all, "127.0.0.1:82"), None);
    }
}
