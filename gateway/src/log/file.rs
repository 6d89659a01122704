//! A file that is appended to and rotated: `acme.log`, `acme.log.1`, `acme.log.2` …, oldest last.

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    rc::Rc,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};

/// Where files are and how large and many they may become.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// The folder, below which every file is opened.
    pub(super) folder: Rc<OwnedFd>,
    /// Bytes after which a file is rotated.
    pub(super) bytes: u64,
    /// Rotated files kept beside the live one.
    pub(super) files: u32,
}

/// One log.
#[derive(Debug)]
pub(super) struct LogFile {
    bounds: Bounds,
    name: String,
    live: Option<File>,
}

impl LogFile {
    /// Nothing is opened before there is something to write.
    pub(super) fn new(bounds: Bounds, name: String) -> Self {
        Self { bounds, name, live: None }
    }

    /// Appends all of `bytes`, or nothing: on a full disk no torn line is left.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut file, size) = self.ready_for(bytes.len() as u64)?;
        let written = file.write_all(bytes);
        if written.is_err() {
            // Where even this fails, a torn line it is.
            let _ = file.set_len(size);
        }
        written
    }

    /// The live file with its size, rotated first if `more` bytes would not fit.
    fn ready_for(&mut self, more: u64) -> io::Result<(&File, u64)> {
        if let Some(file) = &self.live {
            let metadata = file.metadata()?;
            // Removed by hand: who did that wants a new one.
            let is_gone = metadata.nlink() == 0;
            let is_full = metadata.len() > 0 && metadata.len() + more > self.bounds.bytes;
            if is_full && !is_gone {
                self.rotate()?;
            }
            if is_full || is_gone {
                self.live = None;
            }
        } else if let Ok(file) = self.open()
            && let Ok(metadata) = file.metadata()
            && metadata.len() > 0
            && metadata.len() + more > self.bounds.bytes
        {
            // Left full by an earlier life.
            self.rotate()?;
        }
        let file = match self.live.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let size = file.metadata()?.len();
        Ok((self.live.insert(file), size))
    }

    fn open(&self) -> io::Result<File> {
        let flags = OFlag::O_WRONLY
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let file = File::from(openat(&*self.bounds.folder, self.name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no regular file", self.name)));
        }
        Ok(file)
    }

    /// Moves every file one number up; the last is written over.
    fn rotate(&self) -> io::Result<()> {
        let folder = &*self.bounds.folder;
        let numbered = |number: u32| match number {
            0 => self.name.clone(),
            number => format!("{}.{number}", self.name),
        };
        if self.bounds.files == 0 {
            return Ok(unlinkat(folder, self.name.as_str(), UnlinkatFlags::NoRemoveDir)?);
        }
        for number in (0..self.bounds.files).rev() {
            match renameat(folder, numbered(number).as_str(), folder, numbered(number + 1).as_str()) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        collections::BTreeMap,
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
    };

    use super::*;

    fn bounds(folder: &Path, bytes: u64, files: u32) -> Bounds {
        Bounds { folder: Rc::new(File::open(folder).unwrap().into()), bytes, files }
    }

    fn contents(folder: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
            .collect()
    }

    fn expected(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn rotation_keeps_sizes_and_numbers_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(bounds(dir.path(), 8, 2), "acme.log".into());
        for line in ["1234\n", "56\n", "78\n", "a line that is too long\n", "b\n", "c\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        assert_eq!(
            contents(dir.path()),
            expected(&[("acme.log", "b\nc\n"), ("acme.log.1", "a line that is too long\n"), ("acme.log.2", "78\n")])
        );
        assert_eq!(fs::metadata(dir.path().join("acme.log")).unwrap().permissions().mode() & 0o777, 0o600);

        // Another life goes on where the first ended, and notices a file that is full.
        let mut file = LogFile::new(bounds(dir.path(), 8, 2), "acme.log".into());
        file.append(b"d\n").unwrap();
        drop(file);
        let mut file = LogFile::new(bounds(dir.path(), 8, 2), "acme.log".into());
        file.append(b"efg\n").unwrap();
        assert_eq!(contents(dir.path())["acme.log.1"], "b\nc\nd\n");
    }

    #[test]
    fn none_kept_means_none_beside() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(bounds(dir.path(), 4, 0), "acme.log".into());
        file.append(b"123\n").unwrap();
        file.append(b"456\n").unwrap();
        assert_eq!(contents(dir.path()), expected(&[("acme.log", "456\n")]));
    }

    #[test]
    fn a_removed_file_is_made_again_and_a_symlink_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(bounds(dir.path(), 100, 1), "acme.log".into());
        file.append(b"1\n").unwrap();
        fs::remove_file(dir.path().join("acme.log")).unwrap();
        file.append(b"2\n").unwrap();
        assert_eq!(contents(dir.path()), expected(&[("acme.log", "2\n")]));

        let other = dir.path().join("other");
        fs::write(&other, "").unwrap();
        symlink(&other, dir.path().join("globex.log")).unwrap();
        LogFile::new(bounds(dir.path(), 100, 1), "globex.log".into()).append(b"x").unwrap_err();
        assert_eq!(fs::read(&other).unwrap(), b"");
        nix::unistd::mkfifo(&dir.path().join("fifo.log"), Mode::S_IRWXU).unwrap();
        LogFile::new(bounds(dir.path(), 100, 1), "fifo.log".into()).append(b"x").unwrap_err();
    }

    #[test]
    fn a_full_disk_is_an_error_and_is_over_when_it_is() {
        // /dev/full is no regular file, so the device stands in for the folder's disk at the point of writing.
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(bounds(dir.path(), 100, 1), "acme.log".into());
        file.append(b"before\n").unwrap();
        file.live = Some(File::options().write(true).open("/dev/full").unwrap());
        assert_eq!(file.append(b"lost\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.live = None;
        file.append(b"after\n").unwrap();
        assert_eq!(contents(dir.path()), expected(&[("acme.log", "before\nafter\n")]));
    }
}
