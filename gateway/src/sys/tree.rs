//! The whole of a process tree, those included that tried to leave it.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    proc::{self, Process},
    process,
    unit::Unit,
};

/// How long killed processes may take to end before they are left to the kernel (a dead disk holds them).
const PATIENCE: Duration = Duration::from_secs(2);

/// Kills (SIGKILL) every process of one tree and waits for their ends; gives how many there were.
///
/// Of the tree are, among our own descendants and the processes of our systemd unit (those whom an earlier life of ours
/// started descend from us no more): `root` (not yet reaped) with all below it and in its session, and every
/// process that was started with `marker`, an entry `NAME=value` of its environment which must be this tree's alone,
/// with all below it. So a grandchild that double-forked into a session of its own and was re-parented to us is found,
/// unless it also overwrote its environment before its parent ended: only a cgroup would hold that one.
///
/// No wrong process is ever signalled: each is opened by pidfd first, then seen to be the same one that was chosen, and
/// signalled through the pidfd. Ended children of ours are left to be reaped. Blocks for some milliseconds.
///
/// # Errors
/// `TimedOut` when some are left after two seconds; `PermissionDenied` when some are another user's (set-uid programs),
/// after all others have been killed.
pub fn kill_tree(root: Option<BorrowedFd<'_>>, marker: &OsStr) -> io::Result<usize> {
    kill_all(|| members(root.and_then(process::pid_of), |pid| proc::has_entry(pid, |entry| entry == marker.as_bytes())))
}

/// As [`kill_tree`], for many trees without a root at once, each by its marker: one look at all processes is dear enough.
///
/// # Errors
/// As [`kill_tree`].
pub fn kill_trees(markers: &HashSet<Vec<u8>>) -> io::Result<usize> {
    if markers.is_empty() {
        return Ok(0);
    }
    kill_all(|| members(None, |pid| proc::has_entry(pid, |entry| markers.contains(entry))))
}

/// Kills whomever `chosen` names, and asks it again until it names nobody; see [`kill_tree`].
pub(super) fn kill_all(mut chosen: impl FnMut() -> Vec<Process>) -> io::Result<usize> {
    let until = Instant::now() + PATIENCE;
    let mut count = 0;
    loop {
        let held = hold(&mut chosen, until)?;
        if held.is_empty() {
            return Ok(count);
        }
        for pidfd in &held {
            process::send_signal(pidfd.as_fd(), libc::SIGKILL)?;
        }
        for pidfd in &held {
            await_end(pidfd, until)?;
        }
        count += held.len();
    }
}

/// Stops (SIGSTOP) every living member, over and over until a look finds no new one: what is stopped cannot fork, and
/// whose parent lives is still known by it.
fn hold(chosen: &mut impl FnMut() -> Vec<Process>, until: Instant) -> io::Result<Vec<OwnedFd>> {
    let mut held = BTreeMap::new();
    let mut refused = HashSet::new();
    while Instant::now() < until {
        let mut fresh = chosen();
        fresh.retain(|member| !held.contains_key(&member.id()) && !refused.contains(&member.id()));
        if fresh.is_empty() {
            break;
        }
        for member in fresh {
            let Some(pidfd) = open_same(member) else { continue };
            match process::send_signal(pidfd.as_fd(), libc::SIGSTOP) {
                Ok(()) => drop(held.insert(member.id(), pidfd)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => drop(refused.insert(member.id())),
                Err(error) => return Err(error),
            }
        }
    }
    if held.is_empty() && !refused.is_empty() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(held.into_values().collect())
}

/// A descriptor of exactly this process; `None`: it is no more, or no longer what was chosen.
fn open_same(chosen: Process) -> Option<OwnedFd> {
    let pidfd = process::open(chosen.pid).ok()?;
    // What the pidfd means is now fixed. The same start says that it is the one that was judged; the same parent, that
    // it was not judged by a stranger who got its late parent's pid.
    let now = Process::read(chosen.pid)?;
    (now.id() == chosen.id() && now.parent == chosen.parent && !now.zombie).then_some(pidfd)
}

/// The living members of the tree.
fn members(root: Option<u32>, has_marker: impl Fn(u32) -> bool) -> Vec<Process> {
    let all: BTreeMap<u32, Process> =
        proc::pids().into_iter().filter_map(|pid| Some((pid, Process::read(pid)?))).collect();
    let own = std::process::id();
    let mut verdicts = BTreeMap::from([(own, false)]);
    for pid in all.keys() {
        judge(*pid, &all, root, &has_marker, own, &mut verdicts);
    }
    all.into_values().filter(|process| !process.zombie && verdicts.get(&process.pid) == Some(&true)).collect()
}

/// Settles `pid` and every ancestor of it: of the tree is what is marked itself, or has such a parent.
fn judge(
    pid: u32,
    all: &BTreeMap<u32, Process>,
    root: Option<u32>,
    has_marker: impl Fn(u32) -> bool,
    own: u32,
    verdicts: &mut BTreeMap<u32, bool>,
) {
    let mut line = Vec::new();
    let mut at = pid;
    while !verdicts.contains_key(&at) {
        let Some(process) = all.get(&at) else { break };
        // Pids that were read at different moments could in theory form a ring.
        if line.len() > all.len() {
            break;
        }
        line.push(*process);
        at = process.parent;
    }
    // Whoever neither descends from us nor is of our unit is none of ours, whatever it says.
    let descends = at == own || ancestry_is_ours(at, all, own);
    let unit = Unit::own();
    let mut inherited = verdicts.get(&at).copied().unwrap_or(false);
    for process in line.into_iter().rev() {
        let marked = || {
            Some(process.pid) == root
                || root.is_some_and(|root| process.session == root)
                || (!process.zombie && has_marker(process.pid))
        };
        let ours = descends || unit.as_ref().is_some_and(|unit| unit.holds(process.pid));
        inherited = ours && (inherited || marked());
        verdicts.insert(process.pid, inherited);
    }
}

fn ancestry_is_ours(mut pid: u32, all: &BTreeMap<u32, Process>, own: u32) -> bool {
    for _ in 0..all.len() {
        if pid == own {
            return true;
        }
        let Some(process) = all.get(&pid) else { return false };
        pid = process.parent;
    }
    false
}

fn await_end(pidfd: &OwnedFd, until: Instant) -> io::Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "some processes do not end on SIGKILL")),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    #[test]
    fn many_trees_are_ended_by_one_look_and_no_other() {
        let marked = |number: &str| {
            let marker = format!("LANDLORD_TEST_TREE={}-{number}", std::process::id());
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "sleep 600; :"]).env_clear().env("PATH", "/usr/bin:/bin");
            let (name, value) = marker.split_once('=').unwrap();
            (command.env(name, value).spawn().unwrap(), marker.into_bytes())
        };
        let (mut one, mut two, mut other) = (marked("1"), marked("2"), marked("3"));
        assert_eq!(kill_trees(&HashSet::new()).unwrap(), 0);
        let killed = kill_trees(&HashSet::from([one.1, two.1])).unwrap();
        assert!((2..=4).contains(&killed), "two shells, and what they have started: {killed}");
        for child in [&mut one.0, &mut two.0] {
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
        assert!(other.0.try_wait().unwrap().is_none());
        assert!(kill_trees(&HashSet::from([other.1])).unwrap() > 0);
        other.0.wait().unwrap();
    }
}
