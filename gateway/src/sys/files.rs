//! Files written whole or not at all, and files of doubtful origin read without harm.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
};
use serde::{Deserialize, Serialize};

pub use super::lock::{Lock, LockError, lock};

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing has this name.
    #[error("there is no such file")]
    NotFound,
    /// It is not a file of bytes.
    #[error("it is {kind}, not a regular file")]
    NotRegular {
        /// `a symlink`, `a folder`, `a FIFO`, `a socket`, `a device`
        kind: &'static str,
    },
    /// Others may have had their hands on it.
    #[error("{why}")]
    NotPrivate {
        /// A sentence: its owner, or its mode.
        why: String,
    },
    /// It is larger than what was allowed.
    #[error("it has {size} bytes; at most {cap} are read")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most that was allowed, in bytes.
        cap: u64,
    },
    /// It may not be read, or reading failed.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] io::Error),
}

/// What changes when a file does: compared, never interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Which file: a rename over it gives another.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds.
    pub mtime_ns: i128,
    /// Last change of content or attributes (`chmod` included), nanoseconds.
    pub ctime_ns: i128,
}

/// Replaces `path` by a file of these bytes with exactly `mode`: whoever looks, even after a power cut, sees the old file
/// or the new one. On an error (a full disk) the old one stays and nothing is left behind.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = replace(path, bytes, (mode, None), true)?;
    File::open(folder)?.sync_all()
}

/// Replaces `path` as [`write_atomic`] does, for what need not outlive a power cut.
pub fn write_swiftly(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace(path, bytes, (mode, None), false).map(drop)
}

/// As [`write_swiftly`], with `group` as its group, which is to read it.
pub fn write_swiftly_for(path: &Path, bytes: &[u8], group: u32) -> io::Result<()> {
    replace(path, bytes, (0o640, Some(group)), false).map(drop)
}

/// The folder in which it did so.
fn replace<'a>(path: &'a Path, bytes: &[u8], (mode, group): (u32, Option<u32>), lasting: bool) -> io::Result<&'a Path> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let temporary = folder.join(temporary);

    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode & 0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&temporary)?;
        file.write_all(bytes)?;
        if group.is_some() {
            fchown(&file, None, group)?;
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        if lasting {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    };
    if let Err(error) = write() {
        // Ours alone by its name; where it was never made, there is nothing to remove.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(folder)
}

/// Gives `path`, whatever it is, a name that nothing has: itself with `.bad-SECONDS` and, where that is taken, a number.
pub fn put_aside(path: &Path, seconds: i64) -> io::Result<PathBuf> {
    for nth in 0_u32.. {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".bad-{seconds}"));
        if nth > 0 {
            aside.push(format!("-{nth}"));
        }
        match renameat2(AT_FDCWD, path, AT_FDCWD, Path::new(&aside), RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => return Ok(aside.into()),
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// All of a regular file of at most `cap` bytes. Never follows a symlink in the last place, never blocks, and never
/// opens what would notice (a FIFO's writer, a device).
pub fn read_regular(path: &Path, cap: u64) -> Result<Vec<u8>, ReadError> {
    read(path, cap, |_| Ok(()))
}

/// Closes a regular file to group and others (mode 0600) where it was open to them. Whether it was; never follows a symlink.
///
/// # Errors
/// There is no such file, it is none, or it is not ours to close.
pub fn make_private_file(path: &Path) -> Result<bool, ReadError> {
    let (name, metadata) = named(path)?;
    if metadata.mode() & 0o7077 == 0 {
        return Ok(false);
    }
    // Through the descriptor: what has the name by now may be another file.
    let file = format!("/proc/self/fd/{}", name.as_raw_fd());
    fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(ReadError::Unreadable)?;
    Ok(true)
}

/// As [`read_regular`], of a file that belongs to us.
pub fn read_own(path: &Path, cap: u64) -> Result<Vec<u8>, ReadError> {
    read(path, cap, |metadata| match (metadata.uid(), nix::unistd::geteuid().as_raw()) {
        (owner, own) if owner == own => Ok(()),
        (owner, own) => Err(ReadError::NotPrivate { why: format!("it belongs to uid {owner}, not to {own}") }),
    })
}

/// As [`read_regular`], of a file that nobody else may have written or read: ours, and closed to group and others.
pub fn read_private(path: &Path, cap: u64) -> Result<Vec<u8>, ReadError> {
    read(path, cap, |metadata| {
        let (owner, mode, own) = (metadata.uid(), metadata.mode() & 0o7777, nix::unistd::geteuid().as_raw());
        match (owner == own, mode & 0o7077 == 0) {
            (true, true) => Ok(()),
            (false, _) => Err(ReadError::NotPrivate { why: format!("it belongs to uid {owner}, not to {own}") }),
            (true, false) => Err(ReadError::NotPrivate { why: format!("its mode is {mode:04o}, not 0600") }),
        }
    })
}

/// The bytes of a regular file of ours, or of root's, that nobody else may write; and its mode, for others may read it.
///
/// # Errors
/// As [`read_private`].
pub fn read_guarded(path: &Path, cap: u64) -> Result<(Vec<u8>, u32), ReadError> {
    let mut found = 0;
    let bytes = read(path, cap, |metadata| {
        let (owner, mode, own) = (metadata.uid(), metadata.mode() & 0o7777, nix::unistd::geteuid().as_raw());
        found = mode;
        match (owner == own || owner == 0, mode & 0o7022 == 0) {
            (true, true) => Ok(()),
            (false, _) => Err(ReadError::NotPrivate { why: format!("it belongs to uid {owner}, not to {own}") }),
            (true, false) => Err(ReadError::NotPrivate { why: format!("its mode is {mode:04o}: others may write it") }),
        }
    })?;
    Ok((bytes, found))
}

fn read(path: &Path, cap: u64, check: impl FnOnce(&Metadata) -> Result<(), ReadError>) -> Result<Vec<u8>, ReadError> {
    let (name, metadata) = named(path)?;
    check(&metadata)?;
    if metadata.len() > cap {
        return Err(ReadError::TooLarge { size: metadata.len(), cap });
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", name.as_raw_fd()))
        .map_err(ReadError::Unreadable)?;
    let mut bytes = Vec::new();
    file.take(cap.saturating_add(1)).read_to_end(&mut bytes).map_err(ReadError::Unreadable)?;
    // It may have grown while it was read.
    match bytes.len() as u64 {
        size if size > cap => Err(ReadError::TooLarge { size, cap }),
        _ => Ok(bytes),
    }
}

/// A regular file by its name only: this has no effect on it, and holds it for all that follows.
fn named(path: &Path) -> Result<(File, Metadata), ReadError> {
    let name =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path).map_err(|error| {
            match error.kind() {
                io::ErrorKind::NotFound => ReadError::NotFound,
                _ => ReadError::Unreadable(error),
            }
        })?;
    let metadata = name.metadata().map_err(ReadError::Unreadable)?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        let kind = match kind {
            _ if kind.is_symlink() => "a symlink",
            _ if kind.is_dir() => "a folder",
            _ if kind.is_fifo() => "a FIFO",
            _ if kind.is_socket() => "a socket",
            _ => "a device",
        };
        return Err(ReadError::NotRegular { kind });
    }
    Ok((name, metadata))
}

/// The signature of what has this name (a symlink's own); `None`: nothing has.
pub fn signature(path: &Path) -> io::Result<Option<Signature>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Signature::from(&metadata)))
}

impl Signature {
    /// Whether only attributes (owner, mode) may have changed between the two.
    pub fn is_of_the_same_content(&self, other: &Self) -> bool {
        (self.ino, self.size, self.mtime_ns) == (other.ino, other.size, other.mtime_ns)
    }
}

impl From<&Metadata> for Signature {
    fn from(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            ino: metadata.ino(),
            size: metadata.len(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Makes the folder and its parents where they are missing, and gives it exactly `mode`; new parents get `mode` less
/// what the umask takes. What is there and no folder, a symlink included, is an error.
pub fn make_private_dir(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    let folder = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    if folder.metadata()?.mode() & 0o7777 != mode {
        folder.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_atomic(&path, b"old and long", 0o644).unwrap();
        let before = signature(&path).unwrap().unwrap();
        write_atomic(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_ne!(signature(&path).unwrap().unwrap(), before);

        // A folder in its place cannot be renamed over.
        let taken = dir.path().join("taken");
        fs::create_dir_all(taken.join("child")).unwrap();
        write_atomic(&taken, b"x", 0o600).unwrap_err();
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn only_regular_files_are_read_and_none_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let kind = |name: &str| match read_regular(&at(name), 10) {
            Err(ReadError::NotRegular { kind }) => kind,
            other => panic!("{name}: {other:?}"),
        };
        fs::write(at("file"), "0123456789").unwrap();
        assert_eq!(read_regular(&at("file"), 10).unwrap(), b"0123456789");
        assert!(matches!(read_regular(&at("file"), 9), Err(ReadError::TooLarge { size: 10, cap: 9 })));
        assert!(matches!(read_regular(&at("none"), 10), Err(ReadError::NotFound)));

        symlink(at("file"), at("link")).unwrap();
        assert_eq!(kind("link"), "a symlink");
        fs::create_dir(at("folder")).unwrap();
        assert_eq!(kind("folder"), "a folder");
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(kind("fifo"), "a FIFO");
        let _listener = UnixListener::bind(at("socket")).unwrap();
        assert_eq!(kind("socket"), "a socket");
        assert!(matches!(read_regular(Path::new("/dev/zero"), 10), Err(ReadError::NotRegular { kind: "a device" })));
        // Says size 0 and has more: only the count while reading knows.
        assert!(matches!(read_regular(Path::new("/proc/self/stat"), 10), Err(ReadError::TooLarge { .. })));
    }

    #[test]
    fn an_unreadable_file_is_told_from_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        // In no folder: even root gets an error that is not "missing".
        fs::write(dir.path().join("file"), "x").unwrap();
        let below = dir.path().join("file/below");
        assert!(matches!(read_regular(&below, 10), Err(ReadError::Unreadable(_))));
        if !nix::unistd::geteuid().is_root() {
            fs::set_permissions(dir.path().join("file"), Permissions::from_mode(0o000)).unwrap();
            assert!(matches!(read_regular(&dir.path().join("file"), 10), Err(ReadError::Unreadable(_))));
        }
    }

    #[test]
    fn a_signature_sees_rename_content_and_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acme.toml");
        assert_eq!(signature(&path).unwrap(), None);
        fs::write(&path, "a").unwrap();
        let first = signature(&path).unwrap().unwrap();
        assert_eq!(signature(&path).unwrap(), Some(first));
        fs::write(&path, "ab").unwrap();
        let grown = signature(&path).unwrap().unwrap();
        assert_ne!(grown, first);
        fs::write(dir.path().join("new"), "ab").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_ne!(signature(&path).unwrap().unwrap().ino, grown.ino);
    }

    #[test]
    fn a_private_folder_has_its_mode_and_is_no_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        make_private_dir(&path, 0o700).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        make_private_dir(&path, 0o700).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);

        symlink(&path, dir.path().join("link")).unwrap();
        make_private_dir(&dir.path().join("link"), 0o700).unwrap_err();
        fs::write(dir.path().join("file"), "").unwrap();
        make_private_dir(&dir.path().join("file"), 0o700).unwrap_err();
    }
}
