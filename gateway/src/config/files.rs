//! Reading a file that somebody else may have put there: never a symlink, never blocking, never more than a cap.

use std::{
    fs::{File, FileType, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// Nothing is there (any more).
    #[error("there is no such file")]
    NotFound,
    /// Something else than a file: `a symlink`, `a folder`, `a FIFO`, `a socket`, `a device`.
    #[error("this is {0}: put a regular file here")]
    NotRegular(&'static str),
    /// More bytes than the cap.
    #[error("this file is larger than {} KiB: it is not read", .0 / 1024)]
    TooLarge(u64),
    /// Somebody else than root could have written it.
    #[error("landlord runs as root, and this file {0}")]
    NotRoots(String),
    /// The kernel refused.
    #[error("this file cannot be read: {0}")]
    Unreadable(io::Error),
}

/// Whether a symlink is followed, and who must own the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trust {
    /// Follow a symlink, as for a file that the operator named.
    pub(super) follow: bool,
    /// Only a file of this uid that nobody else can write.
    pub(super) owner: Option<u32>,
}

/// The bytes of the regular file at `path`.
pub(super) fn read(path: &Path, cap: u64, trust: Trust) -> Result<Vec<u8>, ReadError> {
    // Looked at before it is opened: opening alone can have effects on a device.
    let before = if trust.follow { path.metadata() } else { path.symlink_metadata() }.map_err(refused)?;
    regular(&before)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | if trust.follow { 0 } else { libc::O_NOFOLLOW };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(refused)?;
    let found = file.metadata().map_err(refused)?;
    regular(&found)?;
    if let Some(owner) = trust.owner {
        owned_by(&found, owner)?;
    }
    capped(file, cap)
}

fn regular(found: &Metadata) -> Result<(), ReadError> {
    match kind(found.file_type()) {
        None => Ok(()),
        Some(kind) => Err(ReadError::NotRegular(kind)),
    }
}

fn kind(found: FileType) -> Option<&'static str> {
    if found.is_file() {
        None
    } else if found.is_symlink() {
        Some("a symlink")
    } else if found.is_dir() {
        Some("a folder")
    } else if found.is_fifo() {
        Some("a FIFO")
    } else if found.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

fn owned_by(found: &Metadata, owner: u32) -> Result<(), ReadError> {
    if found.uid() != owner {
        return Err(ReadError::NotRoots(format!(
            "belongs to uid {}, not to root: run `chown root` on it",
            found.uid()
        )));
    }
    if found.mode() & 0o022 != 0 {
        return Err(ReadError::NotRoots("can be written by others: run `chmod go-w` on it".to_owned()));
    }
    Ok(())
}

fn capped(file: File, cap: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    file.take(cap + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > cap { Err(ReadError::TooLarge(cap)) } else { Ok(bytes) }
}

fn refused(error: io::Error) -> ReadError {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) => ReadError::NotFound,
        (_, Some(libc::ELOOP)) => ReadError::NotRegular("a symlink"),
        (_, Some(libc::ENXIO)) => ReadError::NotRegular("a socket"),
        _ => ReadError::Unreadable(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_regular_files_within_the_cap() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "12345").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let error = |name: &str| read(&at(name), 5, Trust::default()).unwrap_err().to_string();
        assert_eq!(read(&at("file"), 5, Trust::default()).unwrap(), b"12345");
        assert_eq!(error("folder"), "this is a folder: put a regular file here");
        assert_eq!(error("link"), "this is a symlink: put a regular file here");
        assert_eq!(error("fifo"), "this is a FIFO: put a regular file here");
        assert_eq!(error("socket"), "this is a socket: put a regular file here");
        assert_eq!(error("none"), "there is no such file");
        assert!(matches!(read(&at("file"), 4, Trust::default()), Err(ReadError::TooLarge(4))));
        assert!(matches!(read(Path::new("/dev/zero"), 4, Trust::default()), Err(ReadError::NotRegular("a device"))));
        assert_eq!(read(&at("link"), 5, Trust { follow: true, owner: None }).unwrap(), b"12345");
    }

    #[test]
    fn only_the_owners_own_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let me = nix::unistd::geteuid().as_raw();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let by = |owner| read(&path, 5, Trust { follow: false, owner: Some(owner) });
        mode(0o644);
        assert!(by(me).is_ok());
        assert!(by(me + 1).unwrap_err().to_string().contains("chown root"));
        mode(0o664);
        assert!(by(me).unwrap_err().to_string().contains("chmod go-w"));
        mode(0o646);
        assert!(by(me).unwrap_err().to_string().contains("chmod go-w"));
    }
}
