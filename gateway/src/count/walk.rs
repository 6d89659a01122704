//! One folder and all below it, whoever is changing it meanwhile.
//!
//! Each step goes down by one name, from a descriptor of the folder above: a link in a name's place is not entered but counted
//! as the entry that it is, and so is what is mounted there. Never is anything opened that is no folder. openat2(2) could say no
//! more, and a service with `RestrictSUIDSGID=` may not call it. Descriptors and memory are bounded, however deep and wide it is:
//! what exceeds the bounds is left out, and the sum says that it is not whole.

use std::{
    collections::HashSet,
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat},
};

use crate::sys::entry::{Entry, look};

/// Entries between two looks at the clock.
const GLANCE: u64 = 256;
/// Bytes that whatever has an inode counts at the least. Empty files and links take up no block; but a disk has so many inodes
/// and no more, and each of them is time that a count takes.
const LEAST: u64 = 4096;

/// How far a count may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// It ends by then.
    pub(super) until: Instant,
    /// Folders that are open at once.
    pub(super) open: usize,
    /// Bytes of names that wait for their turn, or lead to where it is.
    pub(super) names: usize,
    /// Files with several names that are remembered. Of one more, each name counts as its part.
    pub(super) links: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { until: Instant::now(), open: 128, names: 32 << 20, links: 1 << 19 }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Allocated bytes, of each file and folder [`LEAST`] at the least; a file with several names counts once.
    pub(super) bytes: u64,
    /// Names.
    pub(super) entries: u64,
    /// Nothing was left out.
    pub(super) whole: bool,
    /// Something was left out because it is closed to us.
    pub(super) closed: bool,
}

impl Sum {
    /// Of a folder that is not there.
    pub(super) const fn nothing() -> Self {
        Self { bytes: 0, entries: 0, whole: true, closed: false }
    }

    fn leave_out(&mut self, why: io::ErrorKind) {
        self.whole = false;
        self.closed |= why == io::ErrorKind::PermissionDenied;
    }
}

/// Counts the folder `name` below `above`.
///
/// # Errors
/// There is no such folder, or it cannot be opened. What cannot be opened below it is left out.
pub(super) fn sum(above: BorrowedFd<'_>, name: &str, bounds: &Bounds) -> io::Result<Sum> {
    let name = CString::new(name)?;
    // It may well be a file system of its own: that is the operator's doing.
    let root = enter(above, &name)?;
    let Entry { mount, file, .. } = look(root.as_fd())?;
    let mut walk = Walk { bounds, mount, sum: Sum::nothing(), linked: HashSet::new(), names: 0, line: Vec::new() };
    walk.add(&fstat(&root)?);
    walk.go(root, file)?;
    Ok(walk.sum)
}

struct Walk<'a> {
    bounds: &'a Bounds,
    /// Where all of it is: what is mounted inside is not part of it.
    mount: u64,
    sum: Sum,
    /// Device and inode of files with several names.
    linked: HashSet<(u64, u64)>,
    /// Bytes of all names in `line`.
    names: usize,
    /// From the root down to the folder that is being looked at.
    line: Vec<Level>,
}

/// A folder on the way down.
struct Level {
    /// In the folder above.
    name: CString,
    /// Which it was: another one under the same name is not gone on with.
    id: (u64, u64),
    /// Closed while too many below it are open.
    folder: Option<OwnedFd>,
    /// Names of folders in it that were not entered yet, each ended by NUL.
    waiting: Vec<u8>,
}

impl Walk<'_> {
    fn go(&mut self, root: OwnedFd, id: (u64, u64)) -> io::Result<()> {
        self.line.push(Level { name: c"".to_owned(), id, folder: Some(root), waiting: Vec::new() });
        self.list()?;
        while let Some(level) = self.line.last_mut() {
            let Some(name) = take_last(&mut level.waiting) else {
                self.up();
                continue;
            };
            self.names -= name.count_bytes() + 1;
            if self.is_over() {
                self.sum.whole = false;
                return Ok(());
            }
            // What has moved or been closed meanwhile is left out: what is true of it, the next count finds.
            if let Err(error) = self.reopen() {
                self.sum.leave_out(error.kind());
                self.up();
            } else if let Err(error) = self.down(name) {
                self.sum.leave_out(error.kind());
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.bounds.until
    }

    /// Enters a folder of the last level, and lists it.
    fn down(&mut self, name: CString) -> io::Result<()> {
        let Some(here) = self.line.last().and_then(|level| level.folder.as_ref()) else { return Ok(()) };
        let folder = match enter(here.as_fd(), &name) {
            Ok(folder) => folder,
            // Gone, or no folder any more.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Entry { mount, file: id, .. } = look(folder.as_fd())?;
        if mount != self.mount {
            return Ok(());
        }
        self.names += name.count_bytes() + 1;
        self.line.push(Level { name, id, folder: Some(folder), waiting: Vec::new() });
        if self.line.len() > self.bounds.open {
            let first = self.line.len() - self.bounds.open;
            // The root stays: everything is reached from it.
            if let Some(level) = self.line.get_mut(first).filter(|_| first > 0) {
                level.folder = None;
            }
        }
        let listed = self.list();
        if listed.is_err() {
            self.up();
        }
        listed
    }

    fn up(&mut self) {
        if let Some(left) = self.line.pop() {
            self.names -= if self.line.is_empty() { 0 } else { left.name.count_bytes() + 1 };
            self.names -= left.waiting.len();
        }
    }

    /// Adds every entry of the last level, and notes its folders.
    fn list(&mut self) -> io::Result<()> {
        let Some(level) = self.line.last() else { return Ok(()) };
        let Some(folder) = &level.folder else { return Ok(()) };
        // A descriptor with a position of its own: this one is for going on from.
        let mut listing = Dir::from_fd(enter(folder.as_fd(), c".")?)?;
        let mut waiting = Vec::new();
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.sum.entries.is_multiple_of(GLANCE) && self.is_over() {
                self.sum.whole = false;
                break;
            }
            let stat = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT) {
                Ok(stat) => stat,
                // Removed since it was listed.
                Err(Errno::ENOENT) => continue,
                Err(error) => {
                    self.sum.leave_out(io::Error::from(error).kind());
                    continue;
                }
            };
            add(&mut self.sum, &mut self.linked, self.bounds, &stat);
            if is_folder(&stat) {
                let length = name.count_bytes() + 1;
                if self.names + waiting.len() + length > self.bounds.names {
                    self.sum.whole = false;
                } else {
                    waiting.extend_from_slice(name.to_bytes_with_nul());
                }
            }
        }
        self.names += waiting.len();
        if let Some(level) = self.line.last_mut() {
            level.waiting = waiting;
        }
        Ok(())
    }

    fn add(&mut self, stat: &FileStat) {
        add(&mut self.sum, &mut self.linked, self.bounds, stat);
    }

    /// Opens the last level again, and as many above it as may be open, where they were closed on the way down.
    fn reopen(&mut self) -> io::Result<()> {
        let last = self.line.len() - 1;
        if self.line[last].folder.is_some() {
            return Ok(());
        }
        let root = self.line[0].folder.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut here = root.try_clone()?;
        let first = last.saturating_sub(self.bounds.open / 2).max(1);
        for at in 1..=last {
            if (at as u64).is_multiple_of(GLANCE) && self.is_over() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let level = &mut self.line[at];
            here = enter(here.as_fd(), &level.name)?;
            // Only those that stay open are looked at: whoever has moved the ones above has moved these along, or they differ.
            if at >= first {
                if look(here.as_fd())?.file != level.id {
                    return Err(io::ErrorKind::NotFound.into());
                }
                level.folder = Some(here.try_clone()?);
            }
        }
        Ok(())
    }
}

/// The folder of that one name in `above`, open for listing; no symlink.
fn enter(above: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    openat(above, name, flags, Mode::empty())
}

fn add(sum: &mut Sum, linked: &mut HashSet<(u64, u64)>, bounds: &Bounds, stat: &FileStat) {
    sum.entries += 1;
    // stat(2): of 512 bytes, whatever the file system's own blocks have.
    let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512).max(LEAST);
    let links = stat.st_nlink;
    let bytes = if is_folder(stat) || links < 2 {
        bytes
    } else if linked.contains(&id(stat)) {
        0
    } else if linked.len() < bounds.links {
        linked.insert(id(stat));
        bytes
    } else {
        bytes / links
    };
    sum.bytes = sum.bytes.saturating_add(bytes);
}

fn is_folder(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}

fn id(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// The last of NUL-ended names.
fn take_last(names: &mut Vec<u8>) -> Option<CString> {
    let end = names.len().checked_sub(1)?;
    let start = names[..end].iter().rposition(|byte| *byte == 0).map_or(0, |at| at + 1);
    let name = names.split_off(start);
    CString::from_vec_with_nul(name).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
