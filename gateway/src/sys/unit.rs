//! Whether a service manager runs us as a unit, and which processes are that unit's.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs, io,
    os::fd::OwnedFd,
    sync::OnceLock,
};

use super::{proc, proc::Process, process, tree};

/// Whether systemd runs us as a unit. Then what we started outlives a crash of ours, and the unit's cgroup says what is
/// ours. A terminal may well lie in a unit, and hands the one variable down to what is typed there; it has no socket to
/// notify.
pub fn is_ours() -> bool {
    static OURS: OnceLock<bool> = OnceLock::new();
    *OURS.get_or_init(|| env::var_os("NOTIFY_SOCKET").is_some() && env::var_os("INVOCATION_ID").is_some())
}

/// A unit, by its cgroup; what is in a cgroup below it is the unit's too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Of `/proc/PID/cgroup`: empty for the unified hierarchy, `name=systemd` where there is none.
    hierarchy: String,
    path: String,
}

impl Unit {
    /// Our own; `None` where we are no unit.
    pub(super) fn own() -> Option<Self> {
        static OWN: OnceLock<Option<Unit>> = OnceLock::new();
        OWN.get_or_init(|| if is_ours() { Self::of_this_process() } else { None }).clone()
    }

    pub(super) fn of_this_process() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/cgroup").ok()?)
    }

    /// Its path in the unified hierarchy; `None` where it is known in another one only.
    pub(super) fn unified_path(self) -> Option<String> {
        self.hierarchy.is_empty().then_some(self.path)
    }

    /// Where exactly we are in the unified hierarchy: the unit's own path, or one below it.
    pub(super) fn own_path() -> Option<String> {
        path_in(&fs::read_to_string("/proc/self/cgroup").ok()?, "").map(str::to_owned)
    }

    /// cgroups(7). The unit is the last part of the path with a unit's name: delegated parts follow.
    fn parse(text: &str) -> Option<Self> {
        let found = |hierarchy: &str| {
            let path = path_in(text, hierarchy)?;
            let parts: Vec<&str> = path.split('/').collect();
            let last = parts.iter().rposition(|part| part.ends_with(".service") || part.ends_with(".scope"))?;
            Some(Self { hierarchy: hierarchy.to_owned(), path: parts[..=last].join("/") })
        };
        found("").or_else(|| found("name=systemd"))
    }

    /// Whether the process with this number is in it now.
    pub(super) fn holds(&self, pid: u32) -> bool {
        self.place(pid).is_some()
    }

    /// Where in it that process is: nothing for the unit's own group, else `/` and the path below. `None`: not in it.
    fn place(&self, pid: u32) -> Option<String> {
        self.place_in(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?).map(str::to_owned)
    }

    fn place_in<'a>(&self, text: &'a str) -> Option<&'a str> {
        let below = path_in(text, &self.hierarchy)?.strip_prefix(&self.path)?;
        // `.control` is where systemd runs the unit's own commands, such as its reload.
        (below.is_empty() || (below.starts_with('/') && !below.starts_with("/.control"))).then_some(below)
    }
}

fn path_in<'a>(text: &'a str, hierarchy: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        (controllers == hierarchy).then_some(path)
    })
}

/// Kills every process of our unit but ourselves and those that `spared` names with all that belongs to them: what descends
/// from them, what is in their session, what was started with one of these entries `NAME=value` in its environment, and what
/// lives in one of these groups below the unit's. Gives how many there were; blocks until they have ended. Where we are no unit,
/// nothing happens.
///
/// # Errors
/// As [`process::kill_tree`].
pub fn kill_others(spared: &[u32], entries: &[String], groups: &HashSet<String>) -> io::Result<usize> {
    let Some(unit) = Unit::own() else { return Ok(0) };
    let strange =
        |one: &Process| unit.place(one.pid).is_some_and(|place| !groups.contains(place.trim_start_matches('/')));
    tree::kill_all(|| {
        let all = processes();
        all.values().filter(|one| strange(one) && !is_spared(one, &all, spared, entries)).copied().collect()
    })
}

/// Kills every process of the unit that runs this command but the command itself: the end of a unit that was stopped.
///
/// # Errors
/// As [`process::kill_tree`].
pub fn sweep() -> io::Result<usize> {
    let Some(unit) = Unit::of_this_process() else { return Ok(0) };
    let own = std::process::id();
    tree::kill_all(|| {
        let all = processes();
        let living = all.values().filter(|one| !one.zombie && one.pid != own);
        // Whoever started this command (a shell of the unit file's) waits for it.
        living.filter(|one| unit.holds(one.pid) && !is_ancestor(one.pid, own, &all)).copied().collect()
    })
}

/// Kills every process that was started with this entry `NAME=value` in its environment, and that we may look at; ourselves
/// and those whom we descend from excepted.
///
/// # Errors
/// As [`process::kill_tree`].
pub fn kill_marked(entry: &str) -> io::Result<usize> {
    let own = std::process::id();
    tree::kill_all(|| {
        let all = processes();
        let living = all.values().filter(|one| !one.zombie && one.pid != own && !is_ancestor(one.pid, own, &all));
        living.filter(|one| proc::has_entry(one.pid, |held| held == entry.as_bytes())).copied().collect()
    })
}

/// The process with this number and this beginning, if it still lives; never another that has its number now.
///
/// # Errors
/// Descriptors are used up.
pub fn reopen(pid: u32, started: u64) -> io::Result<Option<OwnedFd>> {
    let pidfd = match process::open(pid) {
        Ok(pidfd) => pidfd,
        Err(gone) if matches!(gone.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => return Ok(None),
        Err(error) => return Err(error),
    };
    // What the descriptor means is fixed by now: the beginning says whether it is the one that is meant.
    let same = Process::read(pid).is_some_and(|now| now.started == started && !now.zombie);
    Ok(same.then_some(pidfd))
}

/// Whether the process with this number is one that we have started, or one of its own, or lives in one of the groups below our
/// unit whose names begin with `prefix`. Of one that has gone, or is hidden from us, it may be, and is said to be.
/// 0 is how the kernel calls who is outside our pid namespace, and those are never ours.
pub fn may_be_below_us(pid: u32, prefix: &str) -> bool {
    let lives_there = |place: String| place.trim_start_matches('/').starts_with(prefix);
    if Unit::own().and_then(|unit| unit.place(pid)).is_some_and(lives_there) {
        return true;
    }
    // A parent that ends meanwhile leaves its children to another: they are looked at anew.
    (0..4).find_map(|_| descends_from_us(pid)).unwrap_or(true)
}

/// `None`: somebody of the line was not there any more.
fn descends_from_us(pid: u32) -> Option<bool> {
    let own = std::process::id();
    let mut at = pid;
    // Longer than any line that is not made to be long.
    for _ in 0..4096 {
        if at == 0 {
            return Some(false);
        }
        at = Process::read(at)?.parent;
        if at == own {
            return Some(true);
        }
    }
    Some(true)
}

fn processes() -> BTreeMap<u32, Process> {
    proc::pids().into_iter().filter_map(|pid| Some((pid, Process::read(pid)?))).collect()
}

fn is_spared(one: &Process, all: &BTreeMap<u32, Process>, spared: &[u32], entries: &[String]) -> bool {
    let own = std::process::id();
    let near = |pid: u32| pid == own || spared.contains(&pid);
    let theirs = |one: &Process| near(one.pid) || spared.contains(&one.session);
    one.zombie
        || theirs(one)
        || is_ancestor(one.pid, own, all)
        || proc::has_entry(one.pid, |held| entries.iter().any(|entry| held == entry.as_bytes()))
        || lineage(one.parent, all).any(|ancestor| theirs(&ancestor))
}

fn is_ancestor(pid: u32, of: u32, all: &BTreeMap<u32, Process>) -> bool {
    lineage(of, all).any(|one| one.pid == pid)
}

/// A process, its parent, and so on upward.
fn lineage(pid: u32, all: &BTreeMap<u32, Process>) -> impl Iterator<Item = Process> {
    // Pids that were read at different moments could in theory form a ring.
    std::iter::successors(all.get(&pid).copied(), |one| all.get(&one.parent).copied()).take(all.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_found_in_each_kind_of_hierarchy() {
        let unified = Unit::parse("0::/system.slice/landlord.service/master\n").unwrap();
        assert_eq!(unified.path, "/system.slice/landlord.service");
        let hybrid = "12:pids:/x\n1:name=systemd:/system.slice/landlord.service\n0::/\n";
        let old = Unit::parse(hybrid).unwrap();
        assert_eq!((old.hierarchy.as_str(), old.path.as_str()), ("name=systemd", "/system.slice/landlord.service"));
        assert_eq!(Unit::parse("0::/user.slice\n"), None);
        assert_eq!(Unit::parse(""), None);

        for (text, inside) in [
            ("0::/system.slice/landlord.service", true),
            ("0::/system.slice/landlord.service/t-acme", true),
            ("0::/system.slice/landlord.service/.control", false),
            ("0::/system.slice/landlord.service2", false),
            ("0::/system.slice", false),
            ("1:name=systemd:/system.slice/landlord.service", false),
        ] {
            assert_eq!(unified.place_in(text).is_some(), inside, "{text}");
        }
    }

    #[test]
    fn a_number_that_was_used_again_is_another_process() {
        let own = Process::read(std::process::id()).unwrap();
        assert!(reopen(own.pid, own.started).unwrap().is_some());
        assert!(reopen(own.pid, own.started - 1).unwrap().is_none(), "it began at another time");
        assert!(reopen(u32::MAX >> 1, own.started).unwrap().is_none());
    }

    #[test]
    fn our_children_and_theirs_are_below_us_and_nobody_else() {
        use std::{
            io::{BufRead, BufReader},
            process::{Command, Stdio},
        };
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "sleep 600 & echo $!; read word"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grandchild = line.trim().parse().unwrap();
        assert!(may_be_below_us(shell.id(), "t-") && may_be_below_us(grandchild, "t-"));
        assert!(!may_be_below_us(std::process::id(), "t-") && !may_be_below_us(0, "t-"));
        assert!(!may_be_below_us(std::os::unix::process::parent_id(), "t-"));
        assert!(may_be_below_us(u32::MAX >> 1, "t-"), "nobody can say who that was");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(grandchild as i32), nix::sys::signal::SIGKILL).unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn outside_a_unit_nobody_is_killed_by_cgroup() {
        assert!(!is_ours(), "tests are no unit");
        assert_eq!(kill_others(&[], &[], &HashSet::new()).unwrap(), 0);
    }
}
