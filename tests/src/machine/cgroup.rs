//! A control group of a machine's own, in each hierarchy that systemd needs to see.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{process, wait::within};

/// Of all machines' names; the test's pid and a number follow.
const PREFIX: &str = "landlord-test-";

/// Where systemd's processes are put. Dropped, it is removed: by then nothing may live in it.
#[derive(Debug)]
pub(super) struct Cgroup {
    name: String,
    dirs: Vec<PathBuf>,
}

impl Cgroup {
    /// # Panics
    /// When this is not root, or no control groups are mounted.
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let hierarchies = hierarchies();
        hierarchies.iter().for_each(|hierarchy| sweep(hierarchy));
        let dirs: Vec<PathBuf> = hierarchies.iter().map(|hierarchy| hierarchy.join(&name)).collect();
        for dir in &dirs {
            fs::create_dir(dir).unwrap_or_else(|e| panic!("{}: {e}: these tests boot systemd as root", dir.display()));
        }
        Self { name, dirs }
    }

    /// The machine's name, too.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where a process is put into it, one file a hierarchy.
    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| dir.join("cgroup.procs")).collect()
    }

    /// The first process that the machine's systemd put into its place: itself.
    pub(super) fn leader(&self) -> Option<u32> {
        let text = fs::read_to_string(self.dirs[0].join("payload/init.scope/cgroup.procs")).ok()?;
        text.lines().next()?.parse().ok()
    }

    /// Every process in it.
    pub(super) fn processes(&self) -> Vec<u32> {
        processes(&self.dirs[0])
    }

    /// Every process in a group that the machine's systemd has made.
    pub(super) fn within(&self, group: &str) -> Vec<u32> {
        processes(&self.dirs[0].join("payload").join(group))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // The kernel lets go of the last process a moment after its end.
            let gone = within(std::time::Duration::from_secs(10), || remove(dir).is_ok().then_some(()));
            assert!(gone.is_some() || std::thread::panicking(), "{} is not empty", dir.display());
        }
    }
}

fn processes(dir: &Path) -> Vec<u32> {
    let mut all = Vec::new();
    walk(dir, &mut |dir| {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        all.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    });
    all
}

/// With the old layout of control groups, systemd's own and the unified one; else the only one that there is.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    ["unified", "systemd"].map(|name| root.join(name)).to_vec()
}

/// What a test left that was killed itself.
fn sweep(hierarchy: &Path) {
    let Ok(entries) = fs::read_dir(hierarchy) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
        if owner.is_some_and(|pid| !process::alive(pid)) {
            let _ = remove(&entry.path());
        }
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    walk(dir, &mut |dir| drop(fs::remove_dir(dir)));
    if dir.exists() { Err(io::ErrorKind::DirectoryNotEmpty.into()) } else { Ok(()) }
}

/// Those within first.
fn walk(dir: &Path, visit: &mut impl FnMut(&Path)) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        walk(&entry.path(), visit);
    }
    visit(dir);
}
