//! A /proc in which a process finds itself and what it has started, and nobody else.

use std::io;

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Whether the processes of others are hidden in our /proc from whoever may not trace them (`hidepid=`, proc(5)).
///
/// # Errors
/// There is no /proc.
pub fn hides_others() -> io::Result<bool> {
    Ok(found()?.contains(&Found::Hiding))
}

/// Whether [`hide_others`] can be done by us.
pub fn may_hide_others() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    set & (1 << CAP_SYS_ADMIN) != 0 && found().is_ok_and(|found| !found.contains(&Found::Below))
}

/// Gives this process, and all that it will ever start, a /proc of its own that hides the processes of others; mounts that
/// come later are still seen. Needs CAP_SYS_ADMIN: `PermissionDenied` without. Where a /proc has other mounts in it (lxcfs
/// has), it is left as it is: `Unsupported`.
pub fn hide_others() -> io::Result<()> {
    const NONE: Option<&str> = None;
    let found = found()?;
    if found.contains(&Found::Hiding) {
        return Ok(());
    }
    if found.contains(&Found::Below) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // "ptraceable" and not "invisible", which shows all to the group root.
    Ok(mount(Some("proc"), "/proc", Some("proc"), flags, Some("hidepid=ptraceable"))?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// /proc itself, hiding others.
    Hiding,
    /// Something that lies over a part of /proc.
    Below,
}

fn found() -> io::Result<Vec<Found>> {
    Ok(std::fs::read_to_string("/proc/self/mountinfo")?.lines().filter_map(parse).collect())
}

/// A line of /proc/self/mountinfo.
fn parse(line: &str) -> Option<Found> {
    let place = line.split(' ').nth(4)?;
    let (kind, options) = {
        let mut after = line.split_once(" - ")?.1.split(' ');
        (after.next()?, after.nth(1).unwrap_or_default())
    };
    if place == "/proc" && kind == "proc" {
        let hidden = ["invisible", "ptraceable", "2", "4"];
        let hides =
            options.split(',').filter_map(|option| option.strip_prefix("hidepid=")).any(|how| hidden.contains(&how));
        return hides.then_some(Found::Hiding);
    }
    // A trap for whoever looks there first, and no part of what processes read of themselves.
    (place.starts_with("/proc/") && place != "/proc/sys/fs/binfmt_misc").then_some(Found::Below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_proc() {
        for (line, expected) in [
            ("22 27 0:21 / /proc rw,relatime - proc proc rw", None),
            ("22 27 0:21 / /proc rw,nosuid shared:4 - proc proc rw,hidepid=invisible", Some(Found::Hiding)),
            ("22 27 0:21 / /proc rw - proc proc rw,gid=3,hidepid=2", Some(Found::Hiding)),
            ("22 27 0:21 / /proc rw - proc proc rw,hidepid=noaccess", None),
            ("88 22 0:50 / /proc/meminfo rw - fuse.lxcfs lxcfs rw", Some(Found::Below)),
            ("31 22 0:28 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw", None),
            ("25 27 0:23 / /dev rw - devtmpfs udev rw", None),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }
}
