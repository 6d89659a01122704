//! One control group, by its folder.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// How long killed processes may take to end before they are left to the kernel (a dead disk holds them).
const PATIENCE: Duration = Duration::from_secs(2);

/// A control group; it need not be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// The one whose folder is `path`.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The one of that name in it.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self { path: self.path.join(name) }
    }

    /// Names of those in it.
    pub fn children(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes it, if it is not there. Its parent must be.
    ///
    /// # Errors
    /// Of mkdir(2): `EROFS` where the hierarchy may not be written to, `EAGAIN` beyond `cgroup.max.descendants`.
    pub fn make(&self) -> io::Result<()> {
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes it, if nobody lives in it.
    ///
    /// # Errors
    /// `EBUSY`: somebody does.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What a process writes "0" to in order to enter it; close-on-exec.
    ///
    /// # Errors
    /// It is not there, or not ours.
    pub fn entrance(&self) -> io::Result<OwnedFd> {
        Ok(File::options().write(true).open(self.path.join("cgroup.procs"))?.into())
    }

    /// Moves a process into it, all its threads with it.
    ///
    /// # Errors
    /// `ESRCH`: it is gone.
    pub fn enter(&self, pid: u32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Who lives in it, those below not included.
    ///
    /// # Errors
    /// It is not there.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        Ok(self.read("cgroup.procs")?.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// One of its files, whole.
    ///
    /// # Errors
    /// It is not there: nor may the controller be that it belongs to.
    pub fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.path.join(file))
    }

    /// The number after `key` in one of its files; `None`: there is none.
    pub fn number(&self, file: &str, key: &str) -> Option<u64> {
        find(&self.read(file).ok()?, key)
    }

    /// Writes one of its files. Never makes one: what is no control group stays as it is.
    ///
    /// # Errors
    /// As [`Group::read`], and what the kernel has against the value.
    pub fn write(&self, file: &str, value: &str) -> io::Result<()> {
        io::Write::write_all(&mut File::options().write(true).open(self.path.join(file))?, value.as_bytes())
    }

    /// Kills (SIGKILL) everybody in it and below, however fast they fork, and waits until they have ended. Gives whether anybody
    /// was there. Blocks for some milliseconds.
    ///
    /// # Errors
    /// `NotFound`: there is no such group, or this kernel (before Linux 5.14) cannot. `TimedOut`: some do not end.
    pub fn kill(&self) -> io::Result<bool> {
        let mut events = File::open(self.path.join("cgroup.events"))?;
        if !populated(&mut events)? {
            return Ok(false);
        }
        self.write("cgroup.kill", "1")?;
        let until = Instant::now() + PATIENCE;
        while populated(&mut events)? {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            // The kernel says so when the file has changed since it was read last.
            match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "some processes do not end on SIGKILL")),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

fn populated(events: &mut File) -> io::Result<bool> {
    let mut text = String::new();
    events.rewind()?;
    events.read_to_string(&mut text)?;
    Ok(find(&text, "populated") == Some(1))
}

/// Of a flat keyed file: lines of a key, a blank and a value.
fn find(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_whole_key() {
        let events = "low 0\nhigh 3\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!((find(events, "oom"), find(events, "oom_kill"), find(events, "max")), (Some(2), Some(1), Some(12)));
        assert_eq!((find(events, "kill"), find("", "max"), find("max", "max")), (None, None, None));
    }

    #[test]
    fn a_file_that_no_kernel_has_made_is_not_made() {
        let temp = tempfile::tempdir().unwrap();
        let group = Group::at(temp.path().join("t-acme"));
        group.make().unwrap();
        group.make().unwrap();
        assert_eq!(group.write("memory.max", "1").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(group.kill().unwrap_err().kind(), io::ErrorKind::NotFound);
        group.child("g1").make().unwrap();
        assert_eq!(group.children(), ["g1"]);
        group.remove().unwrap_err();
        group.child("g1").remove().unwrap();
        group.remove().unwrap();
        group.remove().unwrap();
        assert!(!group.exists());
    }
}
