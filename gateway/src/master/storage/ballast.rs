//! The ballast: a file that takes up space until somebody needs it more.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

/// Bytes that are written at once where space cannot be reserved by itself: the loop is not to wait for more.
const SLICE: usize = 4 << 20;

/// Where it is.
pub(super) fn path(state: &Path) -> PathBuf {
    state.join("ballast")
}

/// Its bytes; `None`: it is not there.
pub(super) fn size(state: &Path) -> Option<u64> {
    path(state).symlink_metadata().ok().map(|found| found.len())
}

/// Makes it, or a part of it where that takes longer: it is as large as it is to be when [`size`] says so.
///
/// # Errors
/// There is no room after all, and then there is no ballast.
pub(super) fn reserve(state: &Path, bytes: u64) -> io::Result<()> {
    let path = path(state);
    let made = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .and_then(|mut file| take_up(&mut file, bytes));
    if made.is_err() {
        // Half of one would be of no use, and where it is not there, there is nothing to remove.
        let _ = std::fs::remove_file(&path);
    }
    made
}

fn take_up(file: &mut File, bytes: u64) -> io::Result<()> {
    let whole = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    match fallocate(&*file, FallocateFlags::empty(), 0, whole) {
        Ok(()) => Ok(()),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => write_slice(file, bytes),
        Err(error) => Err(error.into()),
    }
}

/// Random bytes: others some file systems would store as next to nothing.
fn write_slice(file: &mut File, bytes: u64) -> io::Result<()> {
    let left = bytes.saturating_sub(file.metadata()?.len());
    let mut slice = vec![0; usize::try_from(left).unwrap_or(SLICE).min(SLICE)];
    aws_lc_rs::rand::fill(&mut slice).map_err(|_| io::Error::other("no random bytes"))?;
    file.write_all(&slice)
}

/// Gives its space back.
pub(super) fn release(state: &Path) -> io::Result<()> {
    match std::fs::remove_file(path(state)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn it_really_takes_up_what_it_says() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(size(temp.path()), None);
        reserve(temp.path(), 8 << 20).unwrap();
        assert_eq!(size(temp.path()), Some(8 << 20));
        let found = path(temp.path()).metadata().unwrap();
        assert!(found.blocks() * 512 >= 8 << 20, "{}", found.blocks());
        assert_eq!(found.mode() & 0o777, 0o600);
        release(temp.path()).unwrap();
        release(temp.path()).unwrap();
        assert_eq!(size(temp.path()), None);

        reserve(temp.path(), 1 << 60).unwrap_err();
        assert_eq!(size(temp.path()), None, "nothing is left of one that has no room");
        symlink(temp.path().join("elsewhere"), path(temp.path())).unwrap();
        reserve(temp.path(), 4096).unwrap_err();
        assert!(!temp.path().join("elsewhere").exists());
    }

    #[test]
    fn where_it_must_be_written_it_grows_slice_by_slice() {
        let temp = tempfile::tempdir().unwrap();
        let mut file = File::options().append(true).create(true).open(path(temp.path())).unwrap();
        let bytes = SLICE as u64 + 1000;
        for expected in [SLICE as u64, bytes, bytes] {
            write_slice(&mut file, bytes).unwrap();
            assert_eq!(size(temp.path()), Some(expected));
        }
    }
}
