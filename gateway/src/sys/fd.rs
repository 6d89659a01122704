//! Descriptors by number, most of them handed down by a parent.

use std::{
    io,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// Takes over the descriptor with this number; it is close-on-exec from now on.
///
/// # Errors
/// `EBADF`: there is none.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "0, 1 and 2 are the standard streams"));
    }
    // SAFETY: only looked at by fcntl, which tells a closed number by EBADF.
    let looked_at = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(looked_at, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and it is ours alone: the parent gave this number to us, and nothing else here knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Another descriptor of what this number names, close-on-exec.
///
/// # Errors
/// `EBADF`: it names nothing; `EMFILE`: there are no more.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only looked at by fcntl, which tells a closed number by EBADF.
    let looked_at = unsafe { BorrowedFd::borrow_raw(number) };
    let twin = fcntl(looked_at, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: it was just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(twin) })
}

/// Closes every descriptor from `first` on at the next exec.
pub fn close_at_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: sets a flag; no memory is passed.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What is not there yet is an error from now on (`WouldBlock`), and not waited for.
pub fn never_wait(fd: impl std::os::fd::AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Keeps the descriptor with this number open across exec.
pub fn keep_at_exec(number: RawFd) -> io::Result<()> {
    // SAFETY: only looked at by fcntl, which tells a closed number by EBADF.
    let looked_at = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(looked_at, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
