//! What this machine gives, asked without changing anything.

use std::{io, path::Path};

use nix::sys::{
    resource::{Resource, getrlimit},
    statvfs::{FsFlags, statvfs},
};

/// A file system at one moment, for whoever is not root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Inodes in all; 0 where the file system makes them as it needs them.
    pub inodes: u64,
    /// Inodes that can still be made.
    pub free_inodes: u64,
    /// Nothing can be written.
    pub read_only: bool,
}

/// What the kernel says of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Something sets it by better ones.
    Synchronized,
    /// It runs by itself.
    Free,
}

/// The version of Landlock (landlock_create_ruleset(2)); an error where the kernel has none, or was told to.
pub fn landlock_abi() -> io::Result<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION`
    const VERSION: u32 = 1;
    // SAFETY: with this flag the kernel takes no attributes, makes nothing, and gives a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    u32::try_from(abi).map_err(|_| io::Error::last_os_error())
}

/// Bytes of memory that this machine has; `None`: `/proc/meminfo` does not say.
pub fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))?;
    Some(kib.trim().parse::<u64>().ok()?.saturating_mul(1024))
}

/// Whether processes can be held by descriptors (pidfd_open(2)).
pub fn has_pidfd() -> bool {
    // SAFETY: takes integers only, and gives a new descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0_u32) };
    let Ok(fd) = i32::try_from(fd) else { return false };
    if fd < 0 {
        return false;
    }
    // SAFETY: it was just made, for us alone.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
    true
}

/// Whether random bytes come at once (getrandom(2)); early after boot some machines have none yet.
pub fn has_randomness() -> bool {
    let mut byte = [0_u8; 1];
    // SAFETY: one byte is written to a buffer of one byte.
    unsafe { libc::getrandom(byte.as_mut_ptr().cast(), byte.len(), libc::GRND_NONBLOCK) == 1 }
}

/// Whether sealed memory files can be made (memfd_create(2)).
pub fn memory_file() -> io::Result<()> {
    super::memfd::seal("landlord-doctor", b"x").map(drop)
}

/// How the clock is kept (adjtimex(2)).
pub fn clock() -> io::Result<Clock> {
    // SAFETY: all of the structure are integers, for which zero is a value; `modes` 0 means that nothing is set.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is ours and of the kernel's size.
    match unsafe { libc::adjtimex(&raw mut asked) } {
        -1 => Err(io::Error::last_os_error()),
        libc::TIME_ERROR => Ok(Clock::Free),
        _ => Ok(Clock::Synchronized),
    }
}

/// Descriptors that we may have, now and at most.
pub fn nofile() -> io::Result<(u64, u64)> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?)
}

/// The file system that `path` is on.
pub fn space(path: &Path) -> io::Result<Space> {
    let told = statvfs(path)?;
    let unit = told.fragment_size();
    Ok(Space {
        bytes: told.blocks().saturating_mul(unit),
        free_bytes: told.blocks_available().saturating_mul(unit),
        inodes: told.files(),
        free_inodes: told.files_available(),
        read_only: told.flags().contains(FsFlags::ST_RDONLY),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn this_machine_answers() {
        assert!(has_pidfd() && has_randomness());
        memory_file().unwrap();
        clock().unwrap();
        let (soft, hard) = nofile().unwrap();
        assert!(0 < soft && soft <= hard);
        let space = space(Path::new("/proc/self/cwd")).unwrap();
        assert!(space.free_bytes <= space.bytes && space.free_inodes <= space.inodes);
        assert!(super::space(Path::new("/proc")).is_ok());
        assert!(super::space(Path::new("/no such folder")).is_err());
    }
}
