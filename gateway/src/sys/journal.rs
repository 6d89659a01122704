//! systemd's journal, by its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>): one datagram an entry.
//!
//! Nothing here ever waits: whoever asked to write is a role with better things to do than to wait for a log.

use std::{
    env, io,
    io::IoSlice,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, sendmsg},
};

use super::memfd;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Bytes of the longest field name that journald accepts.
const NAME_CAP: usize = 64;

/// Whether our stderr goes to the journal: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)). The variable alone
/// says nothing, since it is inherited by what writes elsewhere.
pub fn has_stderr() -> bool {
    let stderr = io::stderr();
    let named = env::var("JOURNAL_STREAM").ok().and_then(|stream| parse_stream(&stream));
    let Ok(file) = stderr.as_fd().try_clone_to_owned().map(std::fs::File::from) else { return false };
    named.is_some_and(|named| file.metadata().is_ok_and(|it| (it.dev(), it.ino()) == named))
}

/// `DEVICE:INODE`, both decimal.
fn parse_stream(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// An entry to be: fields in the journal's export form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    bytes: Vec<u8>,
}

impl Entry {
    /// No field yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field with any bytes as its value. Its name is made one that journald takes: capitals, digits and `_`, not
    /// beginning with a digit or with the `_` of trusted fields, 64 bytes at most. A name with nothing left adds nothing.
    pub fn field(&mut self, name: &str, value: &[u8]) {
        let begin = self.bytes.len();
        let plain =
            name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { b'_' });
        let begun = plain.skip_while(|byte| !byte.is_ascii_uppercase());
        self.bytes.extend(begun.take(NAME_CAP));
        if self.bytes.len() == begin {
            return;
        }
        if value.contains(&b'\n') {
            // A newline ends a simple value, so the length goes before this one.
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }

    /// The same, with `field` added.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.field(name, value);
        self
    }

    /// What is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why an entry was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// journald reads more slowly than is written: [`Writer::socket`] becomes writable when it has gone on.
    #[error("the journal has no room now")]
    Full,
    /// Nobody listens, now. The next attempt connects anew.
    #[error("the journal is gone: {0}")]
    Gone(#[source] io::Error),
    /// It will never be taken.
    #[error("the journal does not take this: {0}")]
    Never(#[source] io::Error),
}

/// The way to journald. Connected, because only then does the kernel tell when a full queue has room again.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::to(PathBuf::from(SOCKET))
    }
}

impl Writer {
    /// Nothing is connected before there is something to send.
    pub fn to(path: PathBuf) -> Self {
        Self { path, socket: None }
    }

    /// Hands one entry over, whole or not at all; never waits.
    ///
    /// # Errors
    /// A [`Refusal`]: the entry is still the caller's, to be tried again or counted.
    pub fn send(&mut self, entry: &[u8]) -> Result<(), Refusal> {
        // A journald that was replaced by another leaves us connected to nobody: once anew, at once.
        match self.send_once(entry) {
            Err(Refusal::Gone(_)) => self.send_once(entry),
            done => done,
        }
    }

    /// What becomes writable after [`Refusal::Full`].
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    fn send_once(&mut self, entry: &[u8]) -> Result<(), Refusal> {
        let sent = match self.connected() {
            Ok(socket) => match socket.send(entry) {
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => send_memory(socket, entry),
                sent => sent.map(drop),
            },
            Err(error) => Err(error),
        };
        sent.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR) => Refusal::Full,
            Some(
                Errno::ECONNREFUSED
                | Errno::ECONNRESET
                | Errno::ENOTCONN
                | Errno::EDESTADDRREQ
                | Errno::EPIPE
                | Errno::ENOENT
                | Errno::EACCES,
            ) => {
                self.socket = None;
                Refusal::Gone(error)
            }
            _ => Refusal::Never(error),
        })
    }

    fn connected(&mut self) -> io::Result<&UnixDatagram> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(&self.path)?;
                socket
            }
        };
        Ok(self.socket.insert(socket))
    }
}

/// What is too long for a datagram goes in a memory file that its sender can no longer change, alone in an empty one.
fn send_memory(socket: &UnixDatagram, entry: &[u8]) -> io::Result<()> {
    let memory = memfd::seal("landlord-journal", entry)?;
    let fds = [memory.as_raw_fd()];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&[])], &[ControlMessage::ScmRights(&fds)], flags, None)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests;
