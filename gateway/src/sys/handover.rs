//! A folder changes hands: root gives it, with all that is in it, from one user to another, while somebody who owned it may
//! be renaming, linking and swapping below it.
//!
//! Nothing is reached by a path that could be bent: every name is looked up in the descriptor of the folder it is in, is one
//! component and no symlink, is opened as a mere name (O_PATH: no FIFO waits, no device notices), is looked at through that
//! descriptor, what is mounted there is left alone, and it is given away through it. openat2(2) could say no more, and a
//! service with `RestrictSUIDSGID=` may not call it.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat},
    sys::stat::{Mode, SFlag},
    unistd::{Gid, Uid, fchownat},
};

use super::entry::{Entry, look};

/// Folders in folders; each takes two descriptors.
const DEEPEST: usize = 256;

/// What became of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Entries that belong to the new owner now.
    pub given: u64,
    /// Entries of the old owner that were left alone: another name of theirs is somewhere else, or they are devices, or
    /// another file system.
    pub left: u64,
    /// One of those.
    pub example: Option<PathBuf>,
}

/// Gives `folder`, and what is in it and belongs to the same user, to `(uid, gid)`; the folder itself last, so that one that
/// was broken off in the middle is begun again. What belongs to anybody else stays theirs. One that has its owner already
/// costs a look.
///
/// # Errors
/// Something cannot be looked at or given away, or folders are too deep in each other; what was given stays given.
pub fn hand_over(folder: &Path, (uid, gid): (u32, u32)) -> io::Result<Handed> {
    let top = open(folder, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let Entry { owner: from, mount, .. } = look(top.as_fd())?;
    if from == uid {
        return Ok(Handed::default());
    }
    let mut walk = Walk { from, mount, uid, gid, names: HashMap::new(), handed: Handed::default() };
    walk.inside(top.as_fd(), folder, 0)?;
    for (path, missing) in walk.names.into_values() {
        if missing > 0 {
            walk.handed.left += 1;
            walk.handed.example.get_or_insert(path);
        }
    }
    give(top.as_fd(), (uid, gid))?;
    walk.handed.given += 1;
    Ok(walk.handed)
}

struct Walk {
    from: u32,
    mount: u64,
    uid: u32,
    gid: u32,
    /// Files with several names, by device and inode: one of the names, and how many were not met.
    names: HashMap<(u64, u64), (PathBuf, u64)>,
    handed: Handed,
}

impl Walk {
    /// All that is in a folder, known by name only.
    fn inside(&mut self, folder: BorrowedFd<'_>, path: &Path, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!("{} is more than {DEEPEST} folders deep", path.display())));
        }
        // By the descriptor, so that it is the folder that was looked at.
        let listing = openat(folder, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | BY_NAME, Mode::empty())?;
        let mut listing = Dir::from_fd(listing)?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let name = entry?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        drop(listing);
        for name in names {
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            match openat(folder, name.as_c_str(), OFlag::O_PATH | BY_NAME, Mode::empty()) {
                Ok(entry) => self.entry(&entry, &path, depth)?,
                // It went meanwhile.
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(about(&path, error)),
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &OwnedFd, path: &Path, depth: usize) -> io::Result<()> {
        let found = look(entry.as_fd())?;
        let theirs = found.owner == self.from;
        if theirs && (found.mount != self.mount || matches!(found.kind, SFlag::S_IFBLK | SFlag::S_IFCHR)) {
            self.handed.left += 1;
            self.handed.example.get_or_insert_with(|| path.to_owned());
            return Ok(());
        }
        match found.kind {
            // Given already, it may hold what was not, if it was given by somebody else.
            SFlag::S_IFDIR if (theirs || found.owner == self.uid) && found.mount == self.mount => {
                self.inside(entry.as_fd(), path, depth + 1)?;
            }
            SFlag::S_IFREG if theirs && found.names > 1 && !self.is_last_name(&found, path) => return Ok(()),
            _ => {}
        }
        if theirs {
            give(entry.as_fd(), (self.uid, self.gid)).map_err(|error| about(path, error))?;
            self.handed.given += 1;
        }
        Ok(())
    }

    /// A file of which a name is elsewhere may be anybody's: it is given away once all its names were met in here.
    fn is_last_name(&mut self, found: &Entry, path: &Path) -> bool {
        let all = || (path.to_owned(), found.names);
        let (_, missing) = self.names.entry(found.file).or_insert_with(all);
        *missing = missing.saturating_sub(1);
        *missing == 0
    }
}

/// No symlink is followed; with O_PATH it is opened itself.
const BY_NAME: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC);

/// The kernel takes set-uid bits and file capabilities away with it.
fn give(entry: BorrowedFd<'_>, (uid, gid): (u32, u32)) -> Result<(), Errno> {
    let flags = AtFlags::AT_EMPTY_PATH | AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(entry, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)
}

fn about(path: &Path, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[path = "handover/tests.rs"]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
