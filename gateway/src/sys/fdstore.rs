//! Descriptors that outlive us: kept by systemd for the next life (sd_notify(3), `FDSTORE=1`), and handed down at a start
//! (sd_listen_fds(3)).

use std::{
    env, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use sd_notify::NotifyState;

use super::fd;

/// Descriptors in one message: `SCM_MAX_FD` of the kernel.
const AT_ONCE: usize = 253;

/// Keeps duplicates of these under `name` until they are [`remove`]d or the unit is stopped; the same one twice is kept
/// once. Where nobody manages us, nothing happens.
///
/// # Errors
/// `InvalidInput`: `name` holds what is not allowed, a colon for instance.
pub fn store(name: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    check(name)?;
    for some in fds.chunks(AT_ONCE) {
        // FDPOLL=0: a pipe or a link whose other end has gone is ours to remove, not systemd's.
        let message = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
        sd_notify::notify_with_fds(&message, some)?;
    }
    Ok(())
}

/// Forgets whatever is kept under `name`.
///
/// # Errors
/// As [`store`].
pub fn remove(name: &str) -> io::Result<()> {
    check(name)?;
    sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)])
}

/// What we were started with, each with its name: what was [`store`]d, and the sockets of socket units. Close-on-exec. To be
/// called once, first of all, before there is another thread: it takes the variables away, so that nobody below us takes
/// the descriptors for its own.
///
/// # Errors
/// The variables and the descriptors do not fit each other.
pub fn take_inherited() -> io::Result<Vec<(String, OwnedFd)>> {
    let named = sd_notify::listen_fds_with_names()?;
    let taken = named.map(|(number, name)| Ok((name, fd::inherited(number)?))).collect();
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
        // SAFETY: there is no other thread yet, as the caller promises.
        unsafe { env::remove_var(name) };
    }
    taken
}

/// Opens a pipe's other end: the write end of one whose read end is `read`.
///
/// # Errors
/// It is no pipe, or `/proc` is not there.
pub fn write_end(read: impl AsFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", read.as_fd().as_raw_fd());
    // With a read end open, ours, this does not wait.
    Ok(std::fs::OpenOptions::new().write(true).open(path)?.into())
}

fn check(name: &str) -> io::Result<()> {
    let fits = (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if fits { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name"))) }
}
