//! Whole messages with file descriptors beside them: one end of a SOCK_SEQPACKET pair, or of the control socket.

use std::{
    io,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
    ptr,
};

use nix::sys::socket::{
    self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, getsockopt, sockopt::PeerCredentials,
};
use tokio::io::unix::AsyncFd;

use super::{
    node,
    readiness::{Interest, set_nonblocking, watch},
};

/// Most bytes of one message.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most descriptors beside one message.
pub const MAX_FDS: usize = 16;
/// Most descriptors that the kernel lets one message carry (`SCM_MAX_FD`): room for all of them, so that an
/// ill-mannered peer's surplus reaches us, and is closed, instead of being cut off half way.
const KERNEL_MAX_FDS: usize = 253;
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// One end of a connection that keeps messages whole. Both directions are cancel safe: a message is sent or received
/// whole or not at all.
#[derive(Debug)]
pub struct Packet {
    socket: AsyncFd<OwnedFd>,
}

/// The process at the other end, as the kernel saw it when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// Two connected ends, close-on-exec; each becomes a [`Packet`] in its own process.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Listens at `path`, whose node has `mode` from its first moment. A socket left by a dead process is replaced; one that
/// somebody listens on is `AddrInUse`.
pub fn listen(path: &Path, mode: u32) -> io::Result<PacketListener> {
    let socket = node::listen(path, SockType::SeqPacket, mode, 128, SockFlag::SOCK_NONBLOCK)?;
    Ok(PacketListener { socket: watch(socket, BOTH)? })
}

/// Goes on listening on what [`listen`] made in an earlier life. Needs a tokio runtime.
pub fn listen_on(socket: OwnedFd) -> io::Result<PacketListener> {
    set_nonblocking(&socket)?;
    Ok(PacketListener { socket: watch(socket, BOTH)? })
}

/// Connects to a [`listen`]ing process. `NotFound` and `ConnectionRefused` both mean: nobody is there.
pub fn connect(path: &Path) -> io::Result<Packet> {
    Packet::new(node::connect(path, SockType::SeqPacket, SockFlag::empty())?)
}

impl Packet {
    /// Takes over one end. Needs a tokio runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&socket)?;
        Ok(Self { socket: watch(socket, BOTH)? })
    }

    /// Sends one message, when there is room for it.
    ///
    /// # Errors
    /// `BrokenPipe` when the peer has gone; `InvalidInput` for an empty message (it would read as the end), one of more
    /// than [`MAX_BYTES`] or with more than [`MAX_FDS`] descriptors.
    pub async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.is_empty() || bytes.len() > MAX_BYTES || fds.len() > MAX_FDS {
            let text = format!("no message of {} bytes and {} descriptors can be sent", bytes.len(), fds.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        loop {
            let mut ready = self.socket.writable().await?;
            match ready.try_io(|socket| send_now(socket.as_fd(), bytes, fds)) {
                Ok(Err(reset)) if reset.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }

    /// The next message, or `None` when the peer has gone. The descriptors are close-on-exec.
    ///
    /// # Errors
    /// `InvalidData` for a message beyond the limits or whose descriptors could not all be taken (too many open files);
    /// it is lost, and the next one can be received.
    pub async fn recv(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| recv_now(socket.as_fd())) {
                Ok(Err(reset)) if reset.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> io::Result<Peer> {
        let credentials = getsockopt(self.socket.get_ref(), PeerCredentials)?;
        Ok(Peer { pid: credentials.pid().unsigned_abs(), uid: credentials.uid(), gid: credentials.gid() })
    }
}

impl AsFd for Packet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

/// The control socket, waiting for clients.
#[derive(Debug)]
pub struct PacketListener {
    socket: AsyncFd<OwnedFd>,
}

impl PacketListener {
    /// The next client.
    pub async fn accept(&self) -> io::Result<Packet> {
        loop {
            let mut ready = self.socket.readable().await?;
            let accepted = ready.try_io(|socket| {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let fd = socket::accept4(socket.as_raw_fd(), flags)?;
                // SAFETY: accept4 just gave us this descriptor, and nobody else knows of it.
                Ok(unsafe { OwnedFd::from_raw_fd(fd) })
            });
            match accepted {
                Ok(Err(gone)) if gone.kind() == io::ErrorKind::ConnectionAborted => {}
                Ok(socket) => return Packet::new(socket?),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsFd for PacketListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

fn send_now(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    socket::sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?;
    Ok(())
}

fn recv_now(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_BYTES];
    let mut control = vec![0_u64; nix::cmsg_space!([RawFd; KERNEL_MAX_FDS]).capacity().div_ceil(8)];
    let mut slices = [IoSliceMut::new(&mut bytes)];
    // SAFETY: all zero is a valid msghdr: null pointers and zero lengths.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // IoSliceMut is guaranteed to have the layout of an iovec.
    header.msg_iov = slices.as_mut_ptr().cast();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control[..]);
    // SAFETY: header points to one iovec and to a control buffer of the length it says, both of which outlive the call.
    let got =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    // Own them before anything can fail: a refused message must leave nothing open.
    let fds = take_fds(&header);
    if got == 0 {
        return Ok(None);
    }
    if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 || fds.len() > MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message beyond the limits was dropped"));
    }
    bytes.truncate(got.unsigned_abs());
    bytes.shrink_to_fit();
    Ok(Some((bytes, fds)))
}

/// Takes ownership of every descriptor that came with a message.
fn take_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled the control buffer and its length; the CMSG macros walk within that length, and data is
    // read unaligned. Each SCM_RIGHTS descriptor was made for us by recvmsg and is owned by nobody else.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            if (*at).cmsg_level == libc::SOL_SOCKET && (*at).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(at).cast::<RawFd>();
                #[allow(clippy::unnecessary_cast, reason = "cmsg_len is no usize on every libc")]
                let length = ((*at).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for index in 0..length / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(ptr::read_unaligned(data.add(index))));
                }
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    fds
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        os::unix::fs::PermissionsExt,
    };

    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    fn ends() -> (Packet, Packet) {
        let (a, b) = pair().unwrap();
        (Packet::new(a).unwrap(), Packet::new(b).unwrap())
    }

    #[tokio::test]
    async fn messages_stay_whole_and_carry_descriptors() {
        let (a, b) = ends();
        let (mut reader, mut writer) = io::pipe().unwrap();
        a.send(b"one", &[reader.as_fd(), writer.as_fd()]).await.unwrap();
        a.send(&vec![7; MAX_BYTES], &[]).await.unwrap();

        let (bytes, mut fds) = b.recv().await.unwrap().unwrap();
        assert_eq!((bytes.as_slice(), fds.len()), (&b"one"[..], 2));
        for fd in &fds {
            let flags = fcntl(fd, FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        }
        let mut their_writer = fs::File::from(fds.pop().unwrap());
        their_writer.write_all(b"through").unwrap();
        let mut seen = [0; 7];
        reader.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"through");
        writer.flush().unwrap();

        assert_eq!(b.recv().await.unwrap().unwrap().0.len(), MAX_BYTES);
    }

    #[tokio::test]
    async fn the_end_of_the_peer_is_an_end_and_not_an_error() {
        let (a, b) = ends();
        a.send(b"last", &[]).await.unwrap();
        drop(a);
        assert_eq!(b.recv().await.unwrap().unwrap().0, b"last");
        assert!(b.recv().await.unwrap().is_none());
        assert_eq!(b.send(b"x", &[]).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);

        // With unread messages the kernel says ECONNRESET.
        let (a, b) = ends();
        b.send(b"never read", &[]).await.unwrap();
        drop(a);
        assert!(b.recv().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_beyond_the_limits_is_refused_and_leaves_nothing_open() {
        let (a, b) = ends();
        assert_eq!(a.send(b"", &[]).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let long = vec![0; MAX_BYTES + 1];
        assert_eq!(a.send(&long, &[]).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let (reader, writer) = io::pipe().unwrap();
        let many = [writer.as_fd(); MAX_FDS + 1];
        assert_eq!(a.send(b"x", &many).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);

        // A peer that keeps no rules.
        send_now(a.as_fd(), b"x", &many).unwrap();
        drop(writer);
        assert_eq!(b.recv().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        // No writer is left anywhere, so the pipe is at its end.
        assert_eq!((&reader).read(&mut [0]).unwrap(), 0);
        send_now(a.as_fd(), &long, &[]).unwrap();
        assert_eq!(b.recv().await.unwrap_err().kind(), io::ErrorKind::InvalidData);

        a.send(b"goes on", &[]).await.unwrap();
        assert_eq!(b.recv().await.unwrap().unwrap().0, b"goes on");
    }

    #[tokio::test]
    async fn a_full_queue_waits_for_room() {
        let (a, b) = ends();
        let message = vec![1; 60_000];
        let count = 40;
        let send = async {
            for _ in 0..count {
                a.send(&message, &[]).await.unwrap();
            }
        };
        let receive = async {
            for _ in 0..count {
                assert_eq!(b.recv().await.unwrap().unwrap().0.len(), message.len());
            }
        };
        tokio::join!(send, receive);
    }

    #[tokio::test]
    async fn the_control_socket_is_private_names_its_peer_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than a sockaddr_un, as a state folder deep in a home can be.
        let deep = dir.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("control.sock");

        let first = listen(&path, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listen(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let listener = listen(&path, 0o600).unwrap();

        let client = connect(&path).unwrap();
        let server = listener.accept().await.unwrap();
        let peer = server.peer().unwrap();
        assert_eq!((peer.pid, peer.uid), (std::process::id(), nix::unistd::geteuid().as_raw()));
        client.send(b"status", &[]).await.unwrap();
        assert_eq!(server.recv().await.unwrap().unwrap().0, b"status");

        drop(listener);
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file of somebody's").unwrap();
        assert_eq!(listen(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
