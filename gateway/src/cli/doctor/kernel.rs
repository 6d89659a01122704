//! The kernel, and what landlord and its workers may do with it.

use super::{Finding, Level, Subject, read};
use crate::sys::machine;

pub(super) fn examine(subject: &Subject, findings: &mut Vec<Finding>) {
    findings.push(version(&read("/proc/sys/kernel/osrelease").unwrap_or_default()));
    findings.push(pidfd());
    findings.push(user_namespaces());
    findings.push(hidepid(&subject.of_process("mounts")));
    findings.push(core_pattern(&read("/proc/sys/kernel/core_pattern").unwrap_or_default()));
}

/// Memory files are of 3.17, pidfds that can be waited for of 5.4, CLOSE_RANGE_CLOEXEC of 5.11; nothing older is tested.
fn version(release: &str) -> Finding {
    let finding = |means| Finding::ok("kernel", format!("Linux {release}"), means);
    match numbers(release) {
        Some(version) if version >= (5, 11) => finding("has all that landlord needs"),
        Some(_) => finding(
            "landlord needs 5.11 or newer: it holds processes by descriptors, and closes what is not a worker's",
        )
        .but(Level::Problem, "a newer kernel: that of Debian 12 is 6.1"),
        None => finding("its version cannot be read: landlord needs 5.11 or newer").but(Level::Warning, "uname -r"),
    }
}

/// Major and minor.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn pidfd() -> Finding {
    if machine::has_pidfd() {
        return Finding::ok(
            "pidfd",
            "processes can be held by descriptors",
            "a reused pid is never signalled by mistake",
        );
    }
    Finding::ok("pidfd", "pidfd_open is refused", "landlord cannot start anything")
        .but(Level::Problem, "allow pidfd_open in the seccomp profile of the container or unit around it")
}

/// The path in the unified hierarchy: the line `0::PATH` of /proc/self/cgroup.
pub(super) fn own_group(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

fn user_namespaces() -> Finding {
    let most = read("/proc/sys/user/max_user_namespaces").and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let closed = |path| read(path).as_deref() == Some("0");
    let restricted = read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1");
    let name = "user_namespaces";
    if most > 0 && !restricted && !closed("/proc/sys/kernel/unprivileged_userns_clone") {
        return Finding::ok(name, "users may make them", "workers that sandbox themselves (headless browsers) can");
    }
    Finding::ok(
        name,
        "only root may make them",
        "landlord needs none; a worker that sandboxes itself (a headless browser) cannot",
    )
    .but(
        Level::Note,
        "if an app needs them: sysctl user.max_user_namespaces=10000 kernel.apparmor_restrict_unprivileged_userns=0",
    )
}

/// Whether tenants see each other's processes.
fn hidepid(mounts: &str) -> Finding {
    let name = "hidepid";
    let mut options = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        (fields.nth(1)? == "/proc").then(|| fields.nth(1))?
    });
    let hidden =
        options.next_back().and_then(|options| options.split(',').find_map(|option| option.strip_prefix("hidepid=")));
    match hidden {
        Some("0" | "off") | None => Finding::ok(
            name,
            "every user sees all processes",
            "a tenant's code sees the command lines of the others; secrets belong in .env, which it does not see",
        )
        .but(Level::Note, "mount -o remount,hidepid=invisible /proc"),
        Some(value) => Finding::ok(name, format!("hidepid={value}"), "tenants see their own processes only"),
    }
}

fn core_pattern(pattern: &str) -> Finding {
    Finding::ok(
        "core_pattern",
        if pattern.is_empty() { "not to be read" } else { pattern },
        "neither landlord's roles nor workers leave core dumps: they would hold keys and customers' data",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(numbers("6.18.0-rc1+"), Some((6, 18)));
        assert_eq!(numbers("5.10"), Some((5, 10)));
        assert_eq!(numbers("6"), None);
        assert_eq!(numbers(""), None);
        let level = |release| version(release).level;
        assert_eq!([level("6.1.0-13-amd64"), level("5.11.1"), level("5.10.0"), level("4.19"), level("?")], {
            [Level::Ok, Level::Ok, Level::Problem, Level::Problem, Level::Warning]
        });
    }

    #[test]
    fn the_unified_group_is_found_among_the_old_ones() {
        let hybrid = "12:pids:/x\n1:name=systemd:/y\n0::/system.slice/landlord.service\n";
        assert_eq!(own_group(hybrid).as_deref(), Some("/system.slice/landlord.service"));
        assert_eq!(own_group("1:name=systemd:/y\n"), None);
        assert_eq!(own_group(""), None);
    }

    #[test]
    fn the_last_mount_of_proc_counts() {
        let line = |options: &str| format!("proc /proc proc {options} 0 0\n");
        let level = |mounts: &str| hidepid(mounts).level;
        assert_eq!(level(&line("rw,nosuid,hidepid=invisible")), Level::Ok);
        assert_eq!(level(&line("rw,hidepid=2")), Level::Ok);
        assert_eq!(level(&line("rw,hidepid=off")), Level::Note);
        assert_eq!(level(&format!("{}{}", line("rw,hidepid=2"), line("rw"))), Level::Note);
        assert_eq!(level("tmpfs /tmp tmpfs hidepid=2 0 0\n"), Level::Note);
    }
}
