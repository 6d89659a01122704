//! The listening socket: handed over as file descriptor 3 (the systemd protocol), or bound by ourselves.

use std::{fmt, io, net::SocketAddr, os::unix::net::UnixListener as StdUnixListener};

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A socket that is being listened on.
#[derive(Debug)]
pub(crate) enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// What we were given is no listening stream socket.
    #[error("LISTEN_FDS is set, but file descriptor 3 cannot be used: {0}")]
    Inherited(io::Error),
    /// Somebody else has the port.
    #[error("{0} is taken by another process: stop it, or choose another port with PORT=8001")]
    Taken(SocketAddr),
    /// Any other reason.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, io::Error),
}

impl Listener {
    /// The socket that was handed over, else one bound to `address`. Needs a running reactor.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, SocketError> {
        if let Some(inherited) = Self::inherited().map_err(SocketError::Inherited)? {
            return Ok(inherited);
        }
        let bound = std::net::TcpListener::bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => SocketError::Taken(address),
            _ => SocketError::Bind(address, error),
        })?;
        Self::tcp(bound).map_err(|error| SocketError::Bind(address, error))
    }

    fn inherited() -> io::Result<Option<Self>> {
        let mut handed = ListenFd::from_env();
        if handed.len() == 0 {
            return Ok(None);
        }
        match handed.take_tcp_listener(0) {
            Ok(Some(listener)) => Self::tcp(listener).map(Some),
            Ok(None) => Ok(None),
            // Not TCP: the second try tells what it is, if not that either.
            Err(_) => match handed.take_unix_listener(0)? {
                Some(listener) => Self::unix(listener).map(Some),
                None => Ok(None),
            },
        }
    }

    fn tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    fn unix(listener: StdUnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::Unix)
    }

    /// Waits for a connection.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    /// Takes every connection that is in the accept queue now, and lets go of the socket.
    ///
    /// A socket of our own closes with this, and what its queue holds is reset: hence the emptying.
    /// A socket that was handed over lives on in whoever gave it, and what comes later waits there for the next worker.
    pub(crate) fn drain(self) -> Vec<Stream> {
        match self {
            Self::Tcp(listener) => listener.into_std().map(|listener| {
                let queued = queue(|| listener.accept()).into_iter();
                let awake = queued.filter_map(|(stream, _)| stream.set_nonblocking(true).ok().map(|()| stream));
                awake.filter_map(|stream| TcpStream::from_std(stream).ok().map(Stream::tcp)).collect()
            }),
            Self::Unix(listener) => listener.into_std().map(|listener| {
                let queued = queue(|| listener.accept()).into_iter();
                let awake = queued.filter_map(|(stream, _)| stream.set_nonblocking(true).ok().map(|()| stream));
                awake.filter_map(|stream| UnixStream::from_std(stream).ok().map(Stream::Unix)).collect()
            }),
        }
        .unwrap_or_default()
    }
}

/// All that a non-blocking `accept` has to give.
fn queue<T>(mut accept: impl FnMut() -> io::Result<T>) -> Vec<T> {
    let mut taken = Vec::new();
    loop {
        match accept() {
            Ok(one) => taken.push(one),
            // One client left again; the next one is still there.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(_) => return taken,
        }
    }
}

impl Stream {
    fn tcp(stream: TcpStream) -> Self {
        // Without it, the last packet of an answer waits for an acknowledgement. A socket that refuses it still serves.
        let _ = stream.set_nodelay(true);
        Self::Tcp(stream)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "http://{address}"),
                Err(_) => f.write_str("an unknown address"),
            },
            Self::Unix(listener) => match listener.local_addr().ok().as_ref().and_then(|a| a.as_pathname()) {
                Some(path) => write!(f, "unix:{}", path.display()),
                None => f.write_str("a unix socket"),
            },
        }
    }
}
