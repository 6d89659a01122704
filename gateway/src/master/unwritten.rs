//! What of ours could not be written, while it cannot: said once a minute for each file, and shown in `landlord status` until
//! it is written after all. Memory is right meanwhile, and whoever is served is served on.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

/// Between two lines about one file.
const AGAIN: Duration = Duration::from_secs(60);
/// Files that a sentence names.
const NAMED: usize = 3;

/// The list; every writer has a copy of the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Unwritten(Rc<RefCell<List>>);

#[derive(Debug, Default)]
struct List {
    files: BTreeMap<PathBuf, Trouble>,
    /// A disk was found to be full since somebody asked.
    fresh: bool,
}

#[derive(Debug)]
struct Trouble {
    reason: String,
    full: bool,
    said: Instant,
}

impl Unwritten {
    /// `path` could not be written. `meaning`: what that means, for a person.
    pub(super) fn failed(&self, path: &Path, error: &io::Error, meaning: &str) {
        let list = &mut *self.0.borrow_mut();
        let full = is_full(error);
        list.fresh |= full;
        let said = list.files.get(path).map(|before| before.said).filter(|said| said.elapsed() < AGAIN);
        if said.is_none() {
            tracing::error!(path = %path.display(), event = "unwritten", %error, meaning, "disk");
        }
        let trouble = Trouble { reason: error.to_string(), full, said: said.unwrap_or_else(Instant::now) };
        list.files.insert(path.to_owned(), trouble);
    }

    /// `path` is written, or is not to be any more.
    pub(super) fn written(&self, path: &Path) {
        if self.0.borrow_mut().files.remove(path).is_some() {
            tracing::info!(path = %path.display(), event = "written", "disk");
        }
    }

    /// Whether something waits for room.
    pub(super) fn waits_for_room(&self) -> bool {
        self.0.borrow().files.values().any(|trouble| trouble.full)
    }

    /// Whether a disk was found to be full since this was asked last.
    pub(super) fn take_fresh(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().fresh)
    }

    /// A sentence for a person; `None`: all is written.
    pub(super) fn sentence(&self) -> Option<String> {
        let list = self.0.borrow();
        let (first, trouble) = list.files.iter().next()?;
        let others = list.files.keys().skip(1).take(NAMED - 1).map(|path| path.display().to_string());
        let mut names: Vec<String> = [first.display().to_string()].into_iter().chain(others).collect();
        match list.files.len().saturating_sub(NAMED) {
            0 => {}
            more => names.push(format!("and {more} more")),
        }
        let reason = &trouble.reason;
        Some(format!("what changed is not on disk, and is lost if landlord ends now: {}: {reason}", names.join(", ")))
    }
}

/// Whether it failed for lack of room: the disk's, or what is ours of it.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn it_is_listed_until_it_is_written() {
        let list = Unwritten::default();
        let copy = list.clone();
        assert_eq!((list.sentence(), list.take_fresh()), (None, false));
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        for nth in 0..5 {
            copy.failed(Path::new(&format!("/state/{nth}")), &full(), "lost");
        }
        copy.failed(Path::new("/state/0"), &io::Error::from_raw_os_error(libc::EACCES), "lost");
        assert!(list.take_fresh() && !list.take_fresh() && list.waits_for_room());
        let sentence = list.sentence().unwrap();
        assert!(sentence.contains("/state/0, /state/1, /state/2, and 2 more: Permission denied"), "{sentence}");
        for nth in 1..5 {
            list.written(Path::new(&format!("/state/{nth}")));
        }
        assert!(!list.waits_for_room(), "what is left is another trouble");
        list.written(Path::new("/state/0"));
        assert_eq!(copy.sentence(), None);
        copy.failed(Path::new("/x"), &io::Error::from_raw_os_error(libc::EDQUOT), "lost");
        assert!(list.take_fresh());
    }
}
