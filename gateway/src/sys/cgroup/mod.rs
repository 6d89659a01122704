//! Control groups, cgroup v2 (cgroups(7), the kernel's `admin-guide/cgroup-v2`): where ours may be made, and what one can do.
//!
//! Groups are made only below the unit that a service manager has delegated to us. Nobody else's is ever touched.

mod alarm;
mod group;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use alarm::{Alarm, Watch};
pub use group::Group;

use super::unit::{self, Unit};

/// Where the one hierarchy is mounted: alone, or beside those of cgroup v1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// The master's own, where the service manager starts it in there (`DelegateSubgroup=`, systemd 254).
const GIVEN: &str = "master";
/// The master's own, where it had to move there itself.
const MADE: &str = "main";
/// Looks at a group that new processes may still be forked in; each look finds fewer.
const LOOKS: usize = 100;

/// Why no groups can be made.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// Nobody has delegated anything to us.
    #[error("no control groups: run landlord as its service, whose unit has Delegate=yes")]
    NoUnit,
    /// Only cgroup v1 is there.
    #[error("there is no cgroup v2 in /sys/fs/cgroup")]
    NoHierarchy,
    /// The kernel, or the unit's own sandbox, does not let us.
    #[error("{path}: {1}", path = .0.display())]
    Closed(PathBuf, io::Error),
}

/// What the kernel can divide among our groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    /// `memory.max`, `memory.high`, `memory.events`
    pub memory: bool,
    /// `cpu.max`, `cpu.weight`
    pub cpu: bool,
    /// `pids.max`
    pub pids: bool,
    /// `io.weight`
    pub io: bool,
}

impl Controllers {
    fn of(names: &str) -> Self {
        let has = |wanted: &str| names.split_whitespace().any(|name| name == wanted);
        Self { memory: has("memory"), cpu: has("cpu"), pids: has("pids"), io: has("io") }
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [(self.memory, "memory"), (self.cpu, "cpu"), (self.pids, "pids"), (self.io, "io")];
        all.into_iter().filter_map(|(there, name)| there.then_some(name))
    }
}

/// Takes the unit's group into our hands: whatever lives in the group itself, ourselves included, moves into one below it, and
/// then every controller that there is divides among those. What lives in one below already, as after a crash, stays there.
/// Gives the unit's group, and what is divided.
///
/// # Errors
/// Nothing was delegated, or nothing can be made there.
pub fn settle() -> Result<(Group, Controllers), GroupError> {
    let unit = unit().ok_or(if unit::is_ours() { GroupError::NoHierarchy } else { GroupError::NoUnit })?;
    let own = Unit::own_path().unwrap_or_default();
    let given = Path::new(&own).file_name().is_some_and(|name| name == GIVEN);
    let home = unit.child(if given { GIVEN } else { MADE });
    let closed = |error| GroupError::Closed(home.path().to_owned(), error);
    home.make().map_err(closed)?;
    // One that was there already says nothing of what we may do.
    home.entrance().map_err(closed)?;
    gather(&unit, &home).map_err(closed)?;
    if given {
        // Of a time before the service manager knew that one. It stays for as long as anybody lives in there.
        let _ = unit.child(MADE).remove();
    }
    Ok((unit.clone(), divide(&unit)))
}

/// Makes the unit's group one again that a process may be started in, after a master that was killed: a service manager that
/// knows no `DelegateSubgroup=` starts the next one there, and the kernel allows that only where nothing is divided (the rule
/// against internal processes). Limits are written anew by the next master; what was used until then is not counted again.
pub fn reset() {
    let Some(unit) = unit() else { return };
    if unit.child(MADE).exists() {
        unite(&unit);
    }
}

/// After a stop: nobody lives there any more, and nothing of ours is left.
pub fn clear() {
    let Some(unit) = unit() else { return };
    for name in unit.children().into_iter().filter(|name| !name.starts_with('.')) {
        let group = unit.child(&name);
        group.children().iter().for_each(|leaf| drop(group.child(leaf).remove()));
        let _ = group.remove();
    }
    unite(&unit);
}

fn unit() -> Option<Group> {
    let path = Unit::of_this_process()?.unified_path()?;
    let mount = MOUNTS.into_iter().map(Path::new).find(|mount| mount.join("cgroup.controllers").exists())?;
    Some(Group::at(mount.join(path.trim_start_matches('/'))))
}

fn gather(from: &Group, into: &Group) -> io::Result<()> {
    for _ in 0..LOOKS {
        let found = from.processes()?;
        if found.is_empty() {
            return Ok(());
        }
        for pid in found {
            match into.enter(pid) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                _ => {}
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "processes are started there without end"))
}

/// What is really divided afterwards: a controller may be there and yet refuse.
fn divide(unit: &Group) -> Controllers {
    for name in Controllers::of(&unit.read("cgroup.controllers").unwrap_or_default()).names() {
        if let Err(error) = unit.write("cgroup.subtree_control", &format!("+{name}")) {
            tracing::warn!(controller = name, %error, "the kernel does not divide it among tenants");
        }
    }
    Controllers::of(&unit.read("cgroup.subtree_control").unwrap_or_default())
}

fn unite(unit: &Group) {
    let divided = unit.read("cgroup.subtree_control").unwrap_or_default();
    for name in divided.split_whitespace() {
        let _ = unit.write("cgroup.subtree_control", &format!("-{name}"));
    }
}
