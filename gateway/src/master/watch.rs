//! When to look at the files again. Events of the file system are hints; a slow look that compares signatures runs anyway.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{sync::mpsc, time::Instant};

/// Quiet needed before the files are read: editors save in several steps.
const SETTLE: Duration = Duration::from_millis(100);
/// A folder that is never quiet is read all the same.
const AT_LATEST: Duration = Duration::from_millis(500);
/// The slow look, for a missed event, an overflow, or a folder that came back.
const SLOW: Duration = Duration::from_secs(2);

/// How files of certificates end; nobody else's do in a folder that is watched.
const CERTIFICATES: [&str; 4] = ["pem", "crt", "cer", "key"];

/// Watches `tenants.d`, `landlord.toml`, every tenant's `.env`, and the folder of certificates from elsewhere.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    tenants: PathBuf,
    watched: BTreeMap<PathBuf, u64>,
    hints: mpsc::UnboundedReceiver<()>,
    seen: Option<Signature>,
    debounce: Option<(Instant, Instant)>,
    slow: Instant,
}

/// What a folder's listing looks like from outside: each name with inode, size and times.
type Signature = Option<BTreeMap<OsString, (u64, u64, i64, i64)>>;

impl Watch {
    /// Starts to watch. Without inotify (its limit is reached) the slow look does all, and that is told.
    pub(super) fn new(tenants: &Path, config: Option<&Path>) -> Self {
        let (tell, hints) = mpsc::unbounded_channel();
        let (folder, file) = (tenants.to_path_buf(), config.map(Path::to_path_buf));
        let relevant = move |path: &Path| {
            path.starts_with(&folder)
                || path.file_name().is_some_and(|n| n == ".env")
                || path.extension().is_some_and(|e| CERTIFICATES.iter().any(|ending| e == *ending))
                || file.as_deref() == Some(path)
        };
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let hint = match event {
                Ok(event) if event.kind.is_access() => close_after_write(&event),
                Ok(event) => event.need_rescan() || event.paths.iter().any(|path| relevant(path)),
                Err(_) => true,
            };
            if hint {
                // The receiver is gone only when landlord ends.
                let _ = tell.send(());
            }
        });
        let watcher =
            made.inspect_err(|error| tracing::warn!(%error, "no file events: changes are seen within 2 s")).ok();
        let mut watch = Self {
            watcher,
            tenants: tenants.to_path_buf(),
            watched: BTreeMap::new(),
            hints,
            seen: None,
            debounce: None,
            slow: Instant::now() + SLOW,
        };
        watch.add(tenants);
        if let Some(folder) = config.and_then(Path::parent) {
            watch.add(folder);
        }
        watch
    }

    /// Watches one more folder (a tenant's, for its `.env`).
    pub(super) fn add(&mut self, folder: &Path) {
        let Ok(inode) = std::fs::metadata(folder).map(|m| m.ino()) else { return };
        if self.watched.get(folder) == Some(&inode) {
            return;
        }
        if let Some(watcher) = &mut self.watcher {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder.to_path_buf(), inode)),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "not watched: changes are seen within 2 s")
                }
            }
        }
    }

    /// Stops watching a folder.
    pub(super) fn remove(&mut self, folder: &Path) {
        if let (Some(watcher), Some(_)) = (&mut self.watcher, self.watched.remove(folder)) {
            // One that is gone already is not watched any more.
            let _ = watcher.unwatch(folder);
        }
    }

    /// Waits until the files should be looked at: after a hint and quiet, or when the slow look finds a difference, or when
    /// it is time for the caller's own slow look at tenants' `.env` (`Look::Slow`). Cancel-safe.
    pub(super) async fn changed(&mut self) -> Look {
        loop {
            let settle = self.debounce.map(|(quiet, latest)| quiet.min(latest));
            tokio::select! {
                hint = self.hints.recv(), if !self.hints.is_closed() => {
                    if hint.is_some() {
                        let now = Instant::now();
                        let latest = self.debounce.map_or(now + AT_LATEST, |(_, latest)| latest);
                        self.debounce = Some((now + SETTLE, latest));
                    }
                }
                () = tokio::time::sleep_until(settle.unwrap_or(self.slow)), if settle.is_some() => {
                    self.debounce = None;
                    self.seen = Some(signature(&self.tenants));
                    return Look::Files;
                }
                () = tokio::time::sleep_until(self.slow), if settle.is_none() => {
                    self.slow = Instant::now() + SLOW;
                    let folder = self.tenants.clone();
                    self.add(&folder);
                    let now = signature(&self.tenants);
                    if self.seen.as_ref() != Some(&now) {
                        self.seen = Some(now);
                        return Look::Files;
                    }
                    return Look::Slow;
                }
            }
        }
    }
}

/// Why to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Something changed, or may have.
    Files,
    /// Nothing is known to have changed: a cheap look is enough.
    Slow,
}

/// Opening and reading are no change; closing after a write is the best hint of all.
fn close_after_write(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

fn signature(folder: &Path) -> Signature {
    let entries = std::fs::read_dir(folder).ok()?;
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let found = entry.metadata().ok()?;
        let ctime = found.ctime() * 1_000_000_000 + found.ctime_nsec();
        Some((entry.file_name(), (found.ino(), found.size(), found.mtime_nsec() + found.mtime(), ctime)))
    };
    Some(entries.filter_map(of).collect())
}
