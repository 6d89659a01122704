//! A folder changes hands: root gives it, with all that is in it, from one user to another, while somebody who owned it may
//! be renaming, linking and swapping below it.
//!
//! Nothing is reached by a path that could be bent: every name is looked up below the descriptor of the folder it is in
//! (openat2(2), no symlinks, no other file system), is opened as a mere name (O_PATH: no FIFO waits, no device notices), is
//! looked at through that descriptor, and is given away through it.

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
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::{FileStat, Mode, SFlag, fstat},
    unistd::{Gid, Uid, fchownat},
};

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
    let found = fstat(&top)?;
    if found.st_uid == uid {
        return Ok(Handed::default());
    }
    let mut walk = Walk { from: found.st_uid, uid, gid, names: HashMap::new(), handed: Handed::default() };
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
        let listing = openat2(folder, ".", how(OFlag::O_RDONLY | OFlag::O_DIRECTORY))?;
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
            match openat2(folder, name.as_c_str(), how(OFlag::O_PATH)) {
                Ok(entry) => self.entry(&entry, &path, depth)?,
                // It went meanwhile, or is something else by now.
                Err(Errno::ENOENT | Errno::ELOOP) => {}
                Err(Errno::EXDEV) => self.leave(path),
                Err(error) => return Err(about(&path, error)),
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &OwnedFd, path: &Path, depth: usize) -> io::Result<()> {
        let found = fstat(entry)?;
        let theirs = found.st_uid == self.from;
        match SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) {
            // Given already, it may hold what was not, if it was given by somebody else.
            SFlag::S_IFDIR if theirs || found.st_uid == self.uid => self.inside(entry.as_fd(), path, depth + 1)?,
            SFlag::S_IFBLK | SFlag::S_IFCHR if theirs => {
                self.leave(path.to_owned());
                return Ok(());
            }
            SFlag::S_IFREG if theirs && found.st_nlink > 1 && !self.is_last_name(&found, path) => return Ok(()),
            _ => {}
        }
        if theirs {
            give(entry.as_fd(), (self.uid, self.gid)).map_err(|error| about(path, error))?;
            self.handed.given += 1;
        }
        Ok(())
    }

    /// A file of which a name is elsewhere may be anybody's: it is given away once all its names were met in here.
    fn is_last_name(&mut self, found: &FileStat, path: &Path) -> bool {
        let all = || (path.to_owned(), found.st_nlink);
        let (_, missing) = self.names.entry((found.st_dev, found.st_ino)).or_insert_with(all);
        *missing = missing.saturating_sub(1);
        *missing == 0
    }

    fn leave(&mut self, path: PathBuf) {
        self.handed.left += 1;
        self.handed.example.get_or_insert(path);
    }
}

fn how(flags: OFlag) -> OpenHow {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    OpenHow::new().flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(resolve)
}

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
