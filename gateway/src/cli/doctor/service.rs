//! systemd: whether it is there, how new it is, whether landlord runs under it.

use std::{path::Path, process::Command};

use super::{Finding, Level, Subject, find_program, kernel::own_group, read};

/// Where units are, the administrator's before a package's.
const UNITS: [&str; 4] =
    ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

pub(super) fn examine(subject: &Subject, findings: &mut Vec<Finding>) {
    let booted = Path::new("/run/systemd/system").is_dir();
    let told = find_program("systemctl").and_then(|systemctl| Command::new(systemctl).arg("--version").output().ok());
    let version = told.and_then(|output| version(&String::from_utf8_lossy(&output.stdout)));
    findings.push(systemd(booted, version));
    let file = UNITS.iter().map(|folder| Path::new(folder).join("landlord.service")).find(|file| file.exists());
    findings.push(match &file {
        Some(file) => Finding::ok("units", file.display().to_string(), "systemctl start landlord starts it"),
        None if booted => {
            Finding::ok("units", "no landlord.service", "nobody starts landlord at boot, or after a crash")
                .but(Level::Note, "scripts/install")
        }
        None => Finding::ok("units", "no landlord.service", "none is needed without systemd").noted(),
    });
    let running = subject.running.as_ref().ok();
    let group = running.and_then(|status| own_group(&read(&format!("/proc/{}/cgroup", status.gateway.pid))?));
    findings.extend(group.map(|group| supervised(&group)));
}

fn systemd(booted: bool, version: Option<u32>) -> Finding {
    let name = "systemd";
    match (booted, version) {
        (true, Some(version)) if version >= 253 => Finding::ok(
            name,
            format!("version {version}"),
            "everything: reload that waits by itself, the store of descriptors",
        ),
        (true, Some(version)) if version >= 252 => Finding::ok(
            name,
            format!("version {version}"),
            "the unit's Type=notify-reload needs 253: here a reload is a command that waits, with the same effect",
        ),
        (true, Some(version)) => {
            Finding::ok(name, format!("version {version}"), "landlord.service is tested with 252 and later")
                .but(Level::Warning, "a newer systemd: that of Debian 12 is 252")
        }
        (true, None) => Finding::ok(name, "it runs, and does not tell its version", "").noted(),
        (false, _) => Finding::ok(
            name,
            "it is not what this machine was booted with",
            "landlord runs in the foreground; when it ends, its workers end, and nobody starts it again",
        )
        .but(Level::Note, "a machine that systemd boots, and landlord.service"),
    }
}

/// Whether systemd runs landlord's service, is about to, or holds its sockets for it.
pub(super) fn is_wanted() -> bool {
    let Some(systemctl) = find_program("systemctl") else { return false };
    let asked = Command::new(systemctl).args(["is-active", "landlord.service", "landlord.socket"]).output();
    let said = asked.map(|asked| String::from_utf8_lossy(&asked.stdout).into_owned()).unwrap_or_default();
    said.lines().any(|state| matches!(state, "active" | "activating" | "reloading"))
}

/// `group`: the control group of the landlord that runs.
fn supervised(group: &str) -> Finding {
    let unit = group.split('/').rev().find(|part| part.ends_with(".service"));
    match unit {
        Some(unit) if unit.starts_with("landlord") => {
            Finding::ok("supervision", unit, "when landlord crashes, its workers go on and it is started again")
        }
        _ => {
            Finding::ok("supervision", format!("landlord runs in {group}"), "not as a service: nobody starts it again")
                .but(Level::Note, "systemctl enable --now landlord")
        }
    }
}

/// The number on the first line of `systemctl --version`: `systemd 257 (257.9-1~deb13u1)`.
fn version(text: &str) -> Option<u32> {
    let rest = text.lines().next()?.strip_prefix("systemd ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("systemd 257 (257.9-1~deb13u1)\n+PAM +AUDIT"), Some(257));
        assert_eq!(version("systemd 258~rc1 (x)"), Some(258));
        assert_eq!([version(""), version("systemd"), version("elogind 252")], [None; 3]);
        let level = |version| systemd(true, Some(version)).level;
        assert_eq!([level(257), level(252), level(247)], [Level::Ok, Level::Ok, Level::Warning]);
        assert_eq!(systemd(false, Some(257)).level, Level::Note);
    }

    #[test]
    fn a_service_is_told_from_a_shell() {
        assert_eq!(supervised("/system.slice/landlord.service/master").level, Level::Ok);
        assert_eq!(supervised("/user.slice/user-1000.slice/session-2.scope").level, Level::Note);
        assert_eq!(supervised("/user.slice/user@1000.service/app.slice/x.scope").level, Level::Note);
    }
}
