//! A log that goes on: what is appended to it, across rotation, told by the kernel (inotify).

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::tail;

/// A log that is being followed.
pub(super) struct Follower {
    live: PathBuf,
    inotify: Inotify,
    current: Option<(File, WatchDescriptor)>,
}

impl Follower {
    /// Follows the log `live` from where `file`, which was opened under that name, stands now.
    pub(super) fn new(live: &Path, file: Option<File>) -> io::Result<Self> {
        let folder = live.parent().ok_or(io::ErrorKind::NotFound)?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(folder, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR)?;
        let mut follower = Self { live: live.to_owned(), inotify, current: None };
        if let Some(file) = file {
            follower.watch(file)?;
        }
        Ok(follower)
    }

    /// Waits for what is appended next, and gives it to `tell`.
    pub(super) fn wait(&mut self, tell: &mut impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            match self.inotify.read_events() {
                Ok(_) => return self.catch_up(tell),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives all that was appended so far to `tell`, oldest first.
    pub(super) fn catch_up(&mut self, tell: &mut impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let known = match &mut self.current {
                Some((file, _)) => {
                    drain(file, tell)?;
                    Some(tail::id(&file.metadata()?))
                }
                None => None,
            };
            match self.live.metadata() {
                Ok(found) if known == Some(tail::id(&found)) => return Ok(()),
                Ok(_) => {}
                // In the middle of a rotation: the folder's next event brings the new file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
            // The old file was still written to until its name was taken away.
            if let Some((file, watch)) = &mut self.current {
                drain(file, tell)?;
                // Gone already if the file is.
                let _ = self.inotify.rm_watch(*watch);
            }
            self.advance(known, tell)?;
        }
    }

    /// Goes on to the live file, by way of all that came between it and the file `known`.
    fn advance(&mut self, known: Option<(u64, u64)>, tell: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut newer = Vec::new();
        for file in tail::files(&self.live)? {
            // Who waited for a log's first line did not ask for what was before; whose file is gone missed all that is there.
            if Some(tail::id(&file.metadata()?)) == known {
                break;
            }
            newer.push(file);
            if known.is_none() {
                break;
            }
        }
        let mut newer = newer.into_iter();
        let live = newer.next();
        for mut file in newer.rev() {
            drain(&mut file, tell)?;
        }
        match live {
            Some(live) => self.watch(live),
            None => Ok(()),
        }
    }

    fn watch(&mut self, file: File) -> io::Result<()> {
        // By the descriptor, not by the name, which may be another file's by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let watch = self.inotify.add_watch(path.as_str(), AddWatchFlags::IN_MODIFY)?;
        self.current = Some((file, watch));
        Ok(())
    }
}

/// Reads on to the end of `file`.
fn drain(file: &mut File, tell: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut block = vec![0; 64 * 1024];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(size) => tell(&block[..size]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` was told.
    fn expect(follower: &mut Follower, text: &str) {
        let mut told = Vec::new();
        while told.len() < text.len() {
            follower.wait(&mut |bytes| told.extend_from_slice(bytes)).unwrap();
        }
        assert_eq!(String::from_utf8(told).unwrap(), text);
    }

    #[test]
    fn every_line_once_across_rotations() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let live = at("a.log");
        let rotate = || {
            let _ = fs::rename(at("a.log.1"), at("a.log.2"));
            fs::rename(&live, at("a.log.1")).unwrap();
        };
        let mut follower = Follower::new(&live, None).unwrap();
        append(&live, "1\n");
        expect(&mut follower, "1\n");
        append(&live, "2\n");
        expect(&mut follower, "2\n");
        // One rotation, then two at once, between which a whole file came and went.
        append(&live, "3\n");
        rotate();
        append(&live, "4\n");
        expect(&mut follower, "3\n4\n");
        rotate();
        append(&live, "5\n");
        rotate();
        append(&live, "6\n");
        expect(&mut follower, "5\n6\n");
    }

    #[test]
    fn begins_where_the_file_stands() {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("a.log");
        append(&live, "old\n");
        let mut files = tail::files(&live).unwrap();
        tail::last_lines(&mut files, 0, |_| true).unwrap();
        let mut follower = Follower::new(&live, files.into_iter().next()).unwrap();
        append(&live, "new\n");
        expect(&mut follower, "new\n");
    }
}
