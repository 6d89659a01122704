//! What a name in a folder is, asked of its descriptor, so that nobody can swap it between the look and what follows.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::sys::stat::SFlag;

/// What is open, be it by name only (O_PATH).
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The uid that it belongs to.
    pub owner: u32,
    /// Of its mode, what it is.
    pub kind: SFlag,
    /// How many names it has.
    pub names: u64,
    /// Device and inode.
    pub file: (u64, u64),
    /// The mount that it is on: a folder of the same file system may be mounted inside another.
    pub mount: u64,
}

/// statx(2) of what is open.
///
/// # Errors
/// `Unsupported` where the kernel cannot tell mounts apart (before 5.8).
pub fn look(entry: BorrowedFd<'_>) -> io::Result<Entry> {
    let mask = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path is an empty C string, and `found` has room for what is written to it.
    let done = unsafe { libc::statx(entry.as_raw_fd(), c"".as_ptr(), flags, mask, found.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeroes are a value of it, and the call succeeded.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & libc::STATX_MNT_ID == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Entry {
        owner: found.stx_uid,
        kind: SFlag::from_bits_truncate(u32::from(found.stx_mode) & SFlag::S_IFMT.bits()),
        names: u64::from(found.stx_nlink),
        file: (u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor), found.stx_ino),
        mount: found.stx_mnt_id,
    })
}
