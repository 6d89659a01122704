//! What keeps tenants apart, wall by wall: what this machine gives, what stands in for the rest, and how to get it. Without root
//! the list is the same, and says what is not enforced.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use super::{Finding, Level, Subject, kernel::own_group};
use crate::{
    model::{Gateway, PortRange},
    sys::{firewall, identity, machine},
    wire::Wall,
};

/// Of Landlock, by the version that brought it (landlock(7)).
const LANDLOCK: [(u32, &str); 5] = [
    (1, "files"),
    (3, "truncation"),
    (4, "TCP ports to bind and connect to"),
    (5, "device controls"),
    (6, "signals and abstract sockets"),
];

pub(super) fn examine(subject: &Subject, findings: &mut Vec<Finding>) {
    findings.push(landlock(machine::landlock_abi()));
    findings.push(seccomp(super::read("/proc/sys/kernel/seccomp/actions_avail").as_deref()));
    findings.push(cgroup(&subject.of_process("cgroup")));
    findings.extend(subject.gateway.as_ref().map(reachable));
    findings.extend(subject.gateway.as_ref().map(|gateway| loopback(gateway, identity::is_root(), &knock(gateway))));
    findings.push(nftables(firewall::program().map(|path| path.display().to_string())));
    let running = subject.running.as_ref().ok();
    findings.extend(running.into_iter().flat_map(|status| &status.gateway.walls).map(told));
}

/// What the landlord that runs says itself.
fn told(wall: &Wall) -> Finding {
    let name = format!("wall {}", wall.name);
    if wall.holds {
        return Finding::ok(&name, "it holds", wall.note.clone());
    }
    Finding::ok(&name, "it does not hold", wall.note.clone()).noted()
}

/// `abi`: what the kernel has. It needs no privilege, so that it holds without root, too.
fn landlock(abi: std::io::Result<u32>) -> Finding {
    let name = "landlock";
    let abi = match abi {
        Ok(abi) => abi,
        Err(error) => {
            return Finding::ok(
                name,
                format!("none: {error}"),
                "a worker reads what its user may read: users and file modes alone keep tenants apart",
            )
            .but(Level::Warning, "add landlock to lsm= on the kernel's command line");
        }
    };
    let join = |has: bool| {
        let names: Vec<&str> = LANDLOCK.iter().filter(|(since, _)| (*since <= abi) == has).map(|(_, it)| *it).collect();
        names.join(", ")
    };
    let (has, lacks) = (join(true), join(false));
    if lacks.is_empty() {
        return Finding::ok(name, format!("ABI {abi}"), format!("the kernel can bound all that is asked: {has}"));
    }
    Finding::ok(name, format!("ABI {abi}"), format!("the kernel can bound {has}; not {lacks}"))
        .but(Level::Note, "a newer kernel: 6.12 has all of it")
}

fn seccomp(actions: Option<&str>) -> Finding {
    match actions {
        Some(_) => {
            Finding::ok("seccomp", "filters can be set", "system calls that no worker needs can be refused, by whoever")
        }
        None => Finding::ok("seccomp", "none", "system calls are not filtered, whatever the unit says")
            .but(Level::Note, "a kernel with CONFIG_SECCOMP_FILTER"),
    }
}

/// `groups`: what /proc/PID/cgroup says.
fn cgroup(groups: &str) -> Finding {
    let (name, root) = ("cgroup", Path::new("/sys/fs/cgroup"));
    let own = own_group(groups).unwrap_or_default();
    let without = "rlimits of each process stand in: a tenant with many processes may use more than its share";
    if !root.join("cgroup.controllers").exists() {
        let hybrid = match root.join("unified").exists() {
            true => "version 1, with an empty version 2 beside it",
            false => "none of version 2",
        };
        return Finding::ok(name, hybrid, without).but(Level::Note, "boot with systemd.unified_cgroup_hierarchy=1");
    }
    let group = root.join(own.trim_start_matches('/'));
    let text = std::fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    let writable = nix::unistd::access(&group.join("cgroup.procs"), nix::unistd::AccessFlags::W_OK).is_ok();
    // root may write to any group; landlord divides none that is not a service's.
    let delegated = writable && is_of_service(&own);
    controllers(&own, &text, delegated, without)
}

/// Whether the last part of a group's path with a unit's name is a service's.
fn is_of_service(group: &str) -> bool {
    let unit = group.rsplit('/').find(|part| part.ends_with(".service") || part.ends_with(".scope"));
    unit.is_some_and(|unit| unit.ends_with(".service"))
}

fn controllers(own: &str, text: &str, delegated: bool, without: &str) -> Finding {
    let there: Vec<&str> = text.split_whitespace().collect();
    let lacking: Vec<&str> = ["memory", "cpu", "pids", "io"].into_iter().filter(|it| !there.contains(it)).collect();
    let found =
        format!("version 2, {own}: {}", if there.is_empty() { "no controllers".into() } else { there.join(" ") });
    if !delegated {
        return Finding::ok("cgroup", found, format!("no groups can be made below this one; {without}"))
            .but(Level::Note, "run it as the service, whose unit has Delegate=yes");
    }
    if lacking.is_empty() {
        return Finding::ok("cgroup", found, "groups can be made below this one, with limits of their own");
    }
    Finding::ok(
        "cgroup",
        found,
        format!("groups can be made below this one; without {}: {without}", lacking.join(", ")),
    )
    .noted()
}

/// Tenants of their own uid must be able to pass through to their folders.
fn reachable(gateway: &Gateway) -> Finding {
    use std::os::unix::fs::PermissionsExt;
    let above = gateway.state.ancestors().skip(1);
    let shut = above.filter_map(|folder| Some((folder, std::fs::metadata(folder).ok()?.permissions().mode())));
    match shut.filter(|(_, mode)| mode & 0o001 == 0).last() {
        None => Finding::ok("state_path", "others can pass to the state folder", "tenants' users reach their folders"),
        Some((folder, _)) => Finding::ok(
            "state_path",
            format!("{} is closed to others", folder.display()),
            "users of tenants cannot reach their folders: below it, tenants cannot be users of their own",
        )
        .but(Level::Note, "another `state` in landlord.toml, such as /var/lib/landlord"),
    }
}

/// Whether a stranger is refused on a free port of the range; `None`: that cannot be tried here.
fn knock(gateway: &Gateway) -> Option<bool> {
    let PortRange { first, last } = gateway.ports;
    let stranger = identity::is_root().then(|| gateway.users.map_or(65_534, |users| users.last));
    let (port, listener) =
        (first..=last).rev().find_map(|port| Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(firewall::knock(listener.into(), port, stranger)).ok()
}

fn loopback(gateway: &Gateway, root: bool, refused: &Option<bool>) -> Finding {
    let (name, PortRange { first, last }) = ("loopback", gateway.ports);
    let range = format!("ports {first} to {last}");
    match (root, gateway.users.is_some(), refused) {
        (.., None) => {
            Finding::ok(name, format!("{range} cannot be tried"), "whether tenants reach each other there is not known")
                .noted()
        }
        (true, _, Some(true)) => {
            Finding::ok(name, format!("{range} refuse strangers"), "only root and the gateway reach workers")
        }
        (false, _, Some(true)) => Finding::ok(
            name,
            format!("{range} refuse this user"),
            "a landlord that this user starts cannot reach its own workers; that of root can",
        )
        .but(Level::Note, "other [ports] for this one, or sudo landlord firewall --remove"),
        (true, true, Some(false)) => Finding::ok(
            name,
            format!("{range} are open to every user of this machine"),
            "tenants reach each other's workers past the gateway; those with listen = \"unix\" are safe",
        )
        .but(Level::Warning, "landlord firewall, which landlord.service does before it starts"),
        (_, _, Some(false)) => Finding::ok(
            name,
            format!("{range} are open to every user of this machine"),
            "tenants that are one user cannot be told apart by any rule: they reach each other's workers",
        )
        .but(Level::Note, "run it as root with [users] in landlord.toml"),
    }
}

fn nftables(path: Option<String>) -> Finding {
    match path {
        Some(path) => Finding::ok("nftables", path, "landlord firewall can load the rules of loopback"),
        None => Finding::ok("nftables", "no nft", "nothing keeps tenants from each other's ports on loopback")
            .but(Level::Note, "apt-get install nftables"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_of_landlock_has_its_words() {
        let all = landlock(Ok(7));
        assert!(all.level == Level::Ok && all.means.contains("abstract sockets"), "{all:?}");
        let first = landlock(Ok(1));
        assert!(first.level == Level::Note && first.means.contains("not truncation, TCP"), "{first:?}");
        assert!(landlock(Ok(3)).means.contains("bound files, truncation; not TCP"));
        assert_eq!(landlock(Err(std::io::ErrorKind::Unsupported.into())).level, Level::Warning);
    }

    #[test]
    fn what_lacks_of_control_groups_is_told() {
        let level = |text, delegated| controllers("/x", text, delegated, "").level;
        assert_eq!(level("cpu io memory pids", true), Level::Ok);
        assert_eq!(level("cpu memory pids", true), Level::Note);
        assert_eq!(level("cpu io memory pids", false), Level::Note);
        assert!(controllers("/x", "cpu", true, "").means.contains("without memory, pids, io"));
        for (group, service) in [
            ("/system.slice/landlord.service/master", true),
            ("/user.slice/user-0.slice/session-1.scope", false),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.scope", false),
            ("/", false),
        ] {
            assert_eq!(is_of_service(group), service, "{group}");
        }
    }
}
