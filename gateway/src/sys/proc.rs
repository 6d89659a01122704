//! What `/proc` says about processes.

use std::{fs, io};

/// A process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) session: u32,
    /// Clock ticks after boot.
    pub(super) started: u64,
    /// Ended, waiting to be reaped: nothing is left to signal.
    pub(super) zombie: bool,
}

/// Every process that can be seen.
pub(super) fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

impl Process {
    /// What no other process ever has: the pid and when it began.
    pub(super) fn id(&self) -> (u32, u64) {
        (self.pid, self.started)
    }

    /// `None`: there is no such process any more.
    pub(super) fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// proc_pid_stat(5). The name, in parentheses, may hold anything: what follows the last one counts.
    fn parse(pid: u32, stat: &[u8]) -> Option<Self> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Field 3 of the manual page is fields[0].
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            pid,
            zombie: matches!(*fields.first()?, "Z" | "X"),
            parent: u32::try_from(number(4)?).ok()?,
            session: u32::try_from(number(6)?).unwrap_or_default(),
            started: number(22)?,
        })
    }
}

/// Whether the environment that this process was started with has an entry `NAME=value` that is `wanted`.
pub(super) fn has_entry(pid: u32, wanted: impl Fn(&[u8]) -> bool) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| environ.split(|byte| *byte == 0).any(wanted))
}

/// Its command line for a person: arguments joined by spaces, control characters escaped, cut at 200 bytes.
pub(super) fn command(pid: u32) -> Option<String> {
    let mut line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    if line.is_empty() {
        line = fs::read(format!("/proc/{pid}/comm")).ok()?;
    }
    while line.last().is_some_and(|byte| matches!(byte, 0 | b'\n')) {
        line.pop();
    }
    line.truncate(200);
    let text = String::from_utf8_lossy(&line).replace('\0', " ");
    Some(text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect())
}

/// Our children, zombies included, whichever of our threads made or adopted them.
pub(super) fn children() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task")?.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(line) => children.extend(line.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            // A thread that just ended, or a kernel without CONFIG_PROC_CHILDREN.
            Err(_) => return Ok(pids().into_iter().filter(|pid| parent(*pid) == Some(own)).collect()),
        }
    }
    Ok(children)
}

fn parent(pid: u32) -> Option<u32> {
    Process::read(pid).map(|process| process.parent)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields() {
        let stat = b"7 (a) Z 1 1 1) S 42 7 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99887 1 2 3";
        let process = Process::parse(7, stat).unwrap();
        assert_eq!((process.parent, process.session, process.started), (42, 9, 99_887));
        assert!(!process.zombie);
        assert_eq!(Process::parse(7, b"7 (a) S 42"), None);
        assert_eq!(Process::parse(7, b""), None);
    }

    #[test]
    fn we_see_ourselves() {
        let own = std::process::id();
        assert!(pids().contains(&own));
        assert!(Process::read(own).unwrap().started > 0);
        assert!(command(own).unwrap().contains("landlord"));
        assert_eq!(Process::read(u32::MAX), None);
    }
}
