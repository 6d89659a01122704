//! Sealed memory files: a message of any size that its sender can no longer change.

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

/// What makes a memory file immutable, its seals included.
const SEALS: SealFlag =
    SealFlag::F_SEAL_WRITE.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

/// A memory file that holds `bytes` for ever; close-on-exec. `name` shows in `/proc/PID/fd`.
pub fn seal(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = empty(name)?;
    fill(fd.try_clone()?, bytes)?;
    Ok(fd)
}

/// A memory file for somebody else to [`fill`]; close-on-exec.
pub fn empty(name: &str) -> io::Result<OwnedFd> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?)
}

/// Writes `bytes` into a memory file that is [`empty`], and seals it.
pub fn fill(fd: OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(())
}

/// What a sealed memory file holds, from its beginning whatever its offset.
///
/// # Errors
/// `InvalidData` when it is no memory file, is not sealed against every change, or holds more than `cap` bytes.
pub fn read(fd: OwnedFd, cap: usize) -> io::Result<Vec<u8>> {
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).map_err(|_| wrong("this is no memory file".into()))?;
    if !SealFlag::from_bits_retain(seals).contains(SEALS) {
        return Err(wrong("the memory file is not sealed".into()));
    }
    let file = File::from(fd);
    let size = file.metadata()?.len();
    let length = usize::try_from(size).ok().filter(|length| *length <= cap);
    let Some(length) = length else {
        return Err(wrong(format!("the memory file holds {size} bytes, more than {cap}")));
    };
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_and_cannot_be_changed() {
        let fd = seal("routes", b"a table").unwrap();
        let copy = File::from(fd.try_clone().unwrap());
        assert!(copy.write_at(b"x", 0).is_err());
        assert!(copy.set_len(1).is_err());
        assert_eq!(read(fd, 7).unwrap(), b"a table");
    }

    #[test]
    fn unsealed_oversize_and_foreign_files_are_refused() {
        let refused = |fd: OwnedFd, cap| read(fd, cap).unwrap_err().kind();
        assert_eq!(refused(seal("x", b"12345678").unwrap(), 7), io::ErrorKind::InvalidData);

        let open = memfd_create("x", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        File::from(open.try_clone().unwrap()).write_all(b"1").unwrap();
        assert_eq!(refused(open.try_clone().unwrap(), 7), io::ErrorKind::InvalidData);
        fcntl(&open, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK)).unwrap();
        assert_eq!(refused(open, 7), io::ErrorKind::InvalidData);

        assert_eq!(refused(tempfile::tempfile().unwrap().into(), 7), io::ErrorKind::InvalidData);
        assert_eq!(refused(io::pipe().unwrap().0.into(), 7), io::ErrorKind::InvalidData);
    }
}
