//! Unix sockets as nodes of the file system: made with their final mode from the first moment, stale ones replaced.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::sys::{
    socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr},
    stat::{Mode, fchmod},
};

/// Longest path of a `sockaddr_un`, without its final NUL.
const SUN_PATH: usize = 107;

/// A listening socket of `kind` at `path`. A socket that nobody listens on is replaced; a live one is `AddrInUse`, and
/// anything that is not a socket is `AlreadyExists` and left alone.
pub(super) fn listen(path: &Path, kind: SockType, mode: u32, backlog: i32, flags: SockFlag) -> io::Result<OwnedFd> {
    clear_stale(path, kind)?;
    let socket = socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC | flags, None)?;
    // Linux gives the node the mode of the socket's own inode, so there is no moment at which it is more open; the
    // umask can only have taken bits away, which the second step gives back.
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    let short = Short::of(path)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(short.path.as_path())?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket::listen(&socket, Backlog::new(backlog)?)?;
    Ok(socket)
}

/// A connection to the socket at `path`.
pub(super) fn connect(path: &Path, kind: SockType, flags: SockFlag) -> io::Result<OwnedFd> {
    let socket = socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC | flags, None)?;
    let short = Short::of(path)?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(short.path.as_path())?)?;
    Ok(socket)
}

fn clear_stale(path: &Path, kind: SockType) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(other) => return Err(other),
    };
    if !there.file_type().is_socket() {
        let text = format!("{} is there and is no socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match connect(path, kind, SockFlag::SOCK_NONBLOCK) {
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // A full queue is a live listener too.
        Ok(_) => Err(in_use(path)),
        Err(busy) if busy.kind() == io::ErrorKind::WouldBlock => Err(in_use(path)),
        Err(other) => Err(other),
    }
}

fn in_use(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, format!("somebody listens on {}", path.display()))
}

/// A name for `path` that fits a `sockaddr_un`: itself, or one through a descriptor of its folder.
struct Short {
    path: PathBuf,
    _folder: Option<fs::File>,
}

impl Short {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= SUN_PATH {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        let folder = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(parent)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }
}
