//! Booting: an overlay in a mount namespace of its own, systemd-nspawn on it, and the wait for its first process.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{Machine, Plan, cgroup::Cgroup, layers};
use crate::{Output, eventually, process};

/// `$ROOT` becomes the overlay, and the test's layer is what was written to it first: as a second layer below it would lie
/// within the first, where that is this machine's root. The control groups are entered before, so that systemd finds itself in them. Of all this
/// nothing is left when the last process of the mount namespace ends.
const SCRIPT: &str = r#"
set -eu
for entrance in $ENTRANCES; do echo $$ >"$entrance"; done
mount -t tmpfs tmpfs "$ROOT"
mkdir "$ROOT/upper" "$ROOT/work" "$ROOT/root"
cp -a "$LAYER/." "$ROOT/upper"
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$ROOT/upper,workdir=$ROOT/work" "$ROOT/root"
exec systemd-nspawn --quiet --register=no --keep-unit --boot --console=pipe --directory="$ROOT/root" "$@"
"#;

#[track_caller]
pub(super) fn boot(plan: Plan) -> Machine {
    let Plan { version, layer, binds, private_network } = plan;
    let base = layers::base(version);
    need_tools();
    let root = tempfile::tempdir().expect("a temporary folder");
    let cgroup = Cgroup::new();
    let entrances: Vec<String> = cgroup.entrances().iter().map(|path| path.display().to_string()).collect();

    let mut command = process::leashed(Path::new("unshare"));
    command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "boot"]);
    command.arg(format!("--machine={}", cgroup.name()));
    for (outside, inside) in &binds {
        command.arg(format!("--bind={}:{}", outside.display(), inside.display()));
    }
    if private_network {
        command.arg("--private-network");
    }
    // A container's own filter would keep Landlock and others from whatever systemd starts.
    command.arg("--system-call-filter=@known");
    // Not what else is enabled on this machine: databases, web servers.
    command.arg("systemd.unit=basic.target");
    command
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .env("ENTRANCES", entrances.join(" "))
        .env("ROOT", root.path())
        .env("LAYER", layer.path())
        .env("LOWER", base)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = process::spawn(command).expect("unshare is in util-linux");
    let console = Output::follow(child.stdout.take().expect("stdout is piped"));
    let errors = Output::follow(child.stderr.take().expect("stderr is piped"));

    let leader = eventually("systemd is up", || {
        if let Some(status) = child.try_wait().expect("a child of ours can be waited for") {
            panic!("systemd-nspawn ended with {status}:\n{}\n{}", console.text(), errors.text());
        }
        let leader = cgroup.leader()?;
        fs::metadata(format!("/proc/{leader}/root/run/systemd/private")).is_ok().then_some(leader)
    });
    let machine = Machine { version, child, console, leader, cgroup, _layer: layer, _root: root };
    let state = machine.systemctl(&["is-system-running", "--wait"]);
    // "degraded" when a unit of the machine's own cannot run in a container; that is none of ours.
    let up = ["running", "degraded"].contains(&state.stdout.trim());
    assert!(up, "the machine is {:?}: {}", state.stdout.trim(), state.stderr);
    machine
}

/// # Panics
/// When a tool is missing, with how to get all of them.
#[track_caller]
fn need_tools() {
    for (tool, package) in [("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux"), ("dbus-daemon", "dbus")]
    {
        let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", tool]).stdout(Stdio::null()).status();
        let there = found.is_ok_and(|status| status.success());
        assert!(there, "{tool} is missing: run scripts/test, which installs it (Debian package {package})");
    }
}
