//! The kernel, and what landlord and its workers may do with it.

use std::path::Path;

use super::{Finding, Level, Subject, find_program, read};
use crate::sys::machine;

pub(super) fn examine(subject: &Subject, findings: &mut Vec<Finding>) {
    findings.push(version(&read("/proc/sys/kernel/osrelease").unwrap_or_default()));
    findings.push(pidfd());
    findings.push(cgroup(&subject.of_process("cgroup")));
    findings.push(landlock());
    findings.push(seccomp(read("/proc/sys/kernel/seccomp/actions_avail").as_deref()));
    findings.push(user_namespaces());
    findings.push(hidepid(&subject.of_process("mounts")));
    findings.push(core_pattern(&read("/proc/sys/kernel/core_pattern").unwrap_or_default()));
    findings.push(firewall());
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

/// `groups`: what /proc/PID/cgroup says.
fn cgroup(groups: &str) -> Finding {
    let (name, root) = ("cgroup", Path::new("/sys/fs/cgroup"));
    let own = own_group(groups).unwrap_or_default();
    let unified = root.join("cgroup.controllers").exists();
    if !unified {
        let hybrid = if root.join("unified").exists() {
            "version 1, with an empty version 2 beside it"
        } else {
            "none of version 2"
        };
        return Finding::ok(
            name,
            hybrid,
            "systemd counts workers, and cannot limit their memory, processor or tasks one by one",
        )
        .but(Level::Note, "boot with systemd.unified_cgroup_hierarchy=1");
    }
    let group = root.join(own.trim_start_matches('/'));
    let controllers = std::fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    let controllers =
        if controllers.trim().is_empty() { "no controllers".to_owned() } else { controllers.trim().to_owned() };
    let delegated = nix::unistd::access(&group.join("cgroup.procs"), nix::unistd::AccessFlags::W_OK).is_ok();
    let found = format!("version 2, {own}: {controllers}");
    if delegated {
        return Finding::ok(name, found, "groups can be made below this one");
    }
    Finding::ok(name, found, "no groups can be made below this one; workers stay in landlord's own")
        .but(Level::Note, "run it as the service, whose unit has Delegate=yes")
}

/// The path in the unified hierarchy: the line `0::PATH` of /proc/self/cgroup.
pub(super) fn own_group(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

fn landlock() -> Finding {
    let means =
        "this version of landlord keeps tenants apart by users and file modes, and leaves Landlock to the workers";
    match machine::landlock_abi() {
        Ok(abi) => Finding::ok("landlock", format!("ABI {abi}"), means),
        Err(error) => Finding::ok("landlock", format!("none: {error}"), means)
            .but(Level::Note, "add landlock to lsm= on the kernel's command line"),
    }
}

fn seccomp(actions: Option<&str>) -> Finding {
    match actions {
        Some(_) => Finding::ok(
            "seccomp",
            "filters can be set",
            "systemd's SystemCallFilter= of the unit holds for landlord and for all workers",
        ),
        None => Finding::ok("seccomp", "none", "system calls are not filtered, whatever the unit says")
            .but(Level::Note, "a kernel with CONFIG_SECCOMP_FILTER"),
    }
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

fn firewall() -> Finding {
    match find_program("nft") {
        Some(path) => {
            Finding::ok("nftables", path.display().to_string(), "landlord sets no rules; the machine's own hold")
        }
        None => Finding::ok("nftables", "no nft", "landlord sets no rules and needs none").noted(),
    }
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
