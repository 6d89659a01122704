//! Descriptors in the runtime's hands: waiting for a pipe, a socket or a pidfd without a thread.

use std::{io, os::fd::OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
pub use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for events on `fd` from now on. Needs a tokio runtime; the descriptor should be nonblocking.
///
/// # Errors
/// `PermissionDenied` for what has no readiness: regular files and folders.
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, is never exchanged by us (nobody gets the AsyncFd mutably before it is moved out), and
    // names the same open file until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Makes every further call on this open file return instead of waiting; for all who share the open file.
pub fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
