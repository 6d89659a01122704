//! Where things are kept: disk and memory.

use std::path::Path;

use super::{Finding, Level, Subject, read};
use crate::{
    cli::out,
    config::size,
    model::{Fill, Gateway},
    sys::machine::{self, Space},
    wire::StatusEntry,
};

const GIB: u64 = 1 << 30;

pub(super) fn examine(subject: &Subject, findings: &mut Vec<Finding>) {
    if let Some(gateway) = &subject.gateway {
        let folders = [
            ("state", gateway.state.clone(), GIB),
            ("logs", gateway.state.join("logs"), GIB),
            // Sockets and small files.
            ("run", gateway.run.clone(), GIB / 1024),
        ];
        for (name, folder, least) in folders {
            let told = existing(&folder).and_then(machine::space);
            findings.push(match told {
                Ok(space) => disk(name, &folder, space, least),
                Err(error) => {
                    Finding::ok(name, format!("{}: {error}", folder.display()), "its disk cannot be looked at")
                        .but(Level::Warning, "sudo landlord doctor")
                }
            });
        }
    }
    findings.extend(subject.gateway.as_ref().map(ballast));
    findings.extend(subject.running.as_ref().ok().map(|status| quotas(&status.tenants)));
    findings.extend(read("/proc/meminfo").as_deref().and_then(memory));
    findings.push(match machine::memory_file() {
        Ok(()) => {
            Finding::ok("memfd", "sealed memory files can be made", "tables and certificates reach the proxy in them")
        }
        Err(error) => Finding::ok("memfd", error.to_string(), "landlord does not start")
            .but(Level::Problem, "allow memfd_create, and free some memory"),
    });
}

/// The folder, or the nearest one above that is there: landlord makes the rest.
fn existing(folder: &Path) -> std::io::Result<&Path> {
    folder.ancestors().find(|above| above.exists()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// A file system with fewer than `least` bytes free, or than a twentieth of it all, is about to be full.
fn disk(name: &str, folder: &Path, space: Space, least: u64) -> Finding {
    let percent = |free: u64, all: u64| free.saturating_mul(100).checked_div(all).unwrap_or(100);
    let (bytes, inodes) = (percent(space.free_bytes, space.bytes), percent(space.free_inodes, space.inodes));
    let found = format!(
        "{}: {} free of {} ({bytes} %), {inodes} % of inodes free",
        folder.display(),
        size(space.free_bytes),
        size(space.bytes)
    );
    let full = "when it is full, lines of logs are dropped and counted, and no tenant can be let in";
    if space.read_only {
        return Finding::ok(
            name,
            format!("{}: read-only", folder.display()),
            "landlord cannot keep anything, and does not start",
        )
        .but(Level::Problem, format!("mount -o remount,rw …, or another `{name}` in landlord.toml"));
    }
    if space.free_bytes == 0 || (space.inodes > 0 && space.free_inodes == 0) {
        return Finding::ok(name, found, full)
            .but(Level::Problem, "free some space: du -xh --max-depth=2 shows where it went");
    }
    if space.free_bytes < least || bytes < 5 || inodes < 5 {
        return Finding::ok(name, found, full)
            .but(Level::Warning, "free some space: du -xh --max-depth=2 shows where it went");
    }
    Finding::ok(name, found, "room enough")
}

/// What is left of memory, from /proc/meminfo.
fn memory(text: &str) -> Option<Finding> {
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    let (all, free) = (kib("MemTotal")?.saturating_mul(1024), kib("MemAvailable")?.saturating_mul(1024));
    let swap = kib("SwapTotal").unwrap_or(0).saturating_mul(1024);
    let found = format!("{} available of {}, {} of swap", size(free), size(all), size(swap));
    Some(if free < all / 20 {
        Finding::ok("memory", found, "the kernel may end a worker at any moment; landlord starts it again")
            .but(Level::Warning, "fewer tenants, `[defaults.sleep]` in landlord.toml, or more memory")
    } else {
        Finding::ok("memory", found, "room enough")
    })
}

/// Whether space is kept for when the disk is full.
fn ballast(gateway: &Gateway) -> Finding {
    let Some(bytes) = gateway.ballast else {
        return Finding::ok(
            "ballast",
            "[disk] ballast = \"none\"",
            "on a full disk landlord serves on, and can write nothing down",
        );
    };
    let path = gateway.state.join("ballast");
    match path.symlink_metadata() {
        Ok(found) => Finding::ok(
            "ballast",
            format!("{}: {}", path.display(), size(found.len())),
            "is let go of when the disk is full, so that landlord can go on writing down what it does",
        ),
        Err(_) => Finding::ok(
            "ballast",
            format!("{}: not there", path.display()),
            format!("{} are kept back as soon as four times as much is free", size(bytes)),
        )
        .but(Level::Note, "free some space: du -xh --max-depth=2 shows where it went"),
    }
}

/// Who has a limit, and who is near it.
fn quotas(tenants: &[StatusEntry]) -> Finding {
    let bounded = tenants.iter().filter(|entry| entry.storage.is_some_and(|storage| storage.limit.is_some())).count();
    let near: Vec<_> = tenants.iter().filter(|entry| entry.storage.is_some_and(|it| it.state != Fill::Ok)).collect();
    let found = format!("{bounded} of {} tenants have a limits.storage", tenants.len());
    let effect =
        "folders are counted; one that reaches its limit gets no more uploads, but no kernel stops its own writing";
    if near.is_empty() {
        return Finding::ok("quotas", found, effect);
    }
    let names: Vec<_> = near.iter().map(|entry| out::harmless(&entry.name)).collect();
    Finding::ok("quotas", format!("{found}; near it or over it: {}", names.join(", ")), effect)
        .but(Level::Warning, "raise limits.storage in their files, or have them tidy up: landlord status NAME")
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    size::Rounded(bytes).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_told() {
        let space = |free_bytes, free_inodes| Space {
            bytes: 100 * GIB,
            free_bytes,
            inodes: 1000,
            free_inodes,
            read_only: false,
        };
        let level = |space| disk("state", Path::new("/x"), space, GIB).level;
        assert_eq!(level(space(50 * GIB, 500)), Level::Ok);
        assert_eq!(level(space(4 * GIB, 500)), Level::Warning);
        assert_eq!(level(space(50 * GIB, 49)), Level::Warning);
        assert_eq!(level(space(0, 500)), Level::Problem);
        assert_eq!(level(space(50 * GIB, 0)), Level::Problem);
        assert_eq!(level(Space { read_only: true, ..space(50 * GIB, 500) }), Level::Problem);
        // A small disk, half empty; and a file system that makes inodes as it needs them.
        let small = Space { bytes: GIB, free_bytes: GIB / 2, ..space(0, 500) };
        assert_eq!(level(small), Level::Warning);
        assert_eq!(level(Space { inodes: 0, free_inodes: 0, ..space(50 * GIB, 0) }), Level::Ok);
    }

    #[test]
    fn memory_is_read_from_its_lines() {
        let text = |free: u64| {
            format!("MemTotal:       1000000 kB\nMemFree: 1 kB\nMemAvailable: {free} kB\nSwapTotal: 0 kB\n")
        };
        assert_eq!(memory(&text(500_000)).unwrap().level, Level::Ok);
        assert_eq!(memory(&text(10_000)).unwrap().level, Level::Warning);
        assert_eq!(memory("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_ballast_that_is_away_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("landlord.toml");
        std::fs::write(&file, "").unwrap();
        let mut gateway = crate::config::gateway::load(Some(&file)).unwrap();
        gateway.state = temp.path().to_owned();
        assert_eq!(ballast(&gateway).level, Level::Note);
        std::fs::write(temp.path().join("ballast"), "x").unwrap();
        assert_eq!(ballast(&gateway).level, Level::Ok);
        gateway.ballast = None;
        assert!(ballast(&gateway).found.contains("none"));
    }
}
