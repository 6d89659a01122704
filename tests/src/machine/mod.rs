//! A throw-away machine with a real systemd: what a unit promises, only PID 1 can keep.
//!
//! systemd-nspawn boots it on an overlay of which nothing is written to disk. It shares this machine's network, so that
//! a test's own visitors reach what listens there on loopback, on ports that are the test's ([`crate::ports`]). Nothing
//! outlives the value: the container's first process is killed, with it all others, and their cgroup is removed.

mod boot;
mod cgroup;
mod layers;
mod service;
mod vm;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

pub use service::{Install, SCRIPTED, Service, units};
pub use vm::Vm;

use crate::{Output, PATIENCE, Ran, eventually, process};
use cgroup::Cgroup;

/// A command in a machine that takes longer hangs.
const LONGEST: &str = "90";

/// Which systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// That of Debian 12, which this machine has: its own root, seen through an overlay, with all its tools.
    V252,
    /// That of Debian 13: a small root of its own under `target/roots/trixie`, made by `scripts/test`.
    V257,
}

impl Version {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V252, Self::V257];
}

/// What is to be in a machine before it boots.
#[derive(Debug)]
pub struct Plan {
    version: Version,
    layer: TempDir,
    binds: Vec<(PathBuf, PathBuf)>,
    private_network: bool,
}

impl Plan {
    /// A machine with systemd alone.
    pub fn new(version: Version) -> Self {
        let layer = tempfile::Builder::new().prefix("machine-").tempdir_in(layers::scratch()).expect("a folder");
        Self { version, layer, binds: Vec::new(), private_network: false }
    }

    /// A file in it, with every folder on the way.
    #[must_use]
    pub fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = layers::below(self.layer.path(), path);
        fs::write(path, text).expect("a file of the machine is written");
        self
    }

    /// A program in it, under this path.
    #[must_use]
    pub fn program(self, path: &str, program: &Path) -> Self {
        layers::place(program, &layers::below(self.layer.path(), path));
        self
    }

    /// A folder of this machine that is seen, and written to, at this path: what it holds outlives the machine.
    #[must_use]
    pub fn bind(mut self, outside: &Path, inside: &str) -> Self {
        self.binds.push((outside.to_owned(), inside.into()));
        self
    }

    /// A network of its own, with nothing but loopback: ports 80 and 443 are free there. Nobody outside reaches it.
    #[must_use]
    pub fn private_network(mut self) -> Self {
        self.private_network = true;
        self
    }

    /// Boots it, and waits until all that belongs to a basic system is up.
    ///
    /// # Panics
    /// When a tool is missing, or it does not boot.
    #[track_caller]
    pub fn boot(self) -> Machine {
        boot::boot(self)
    }
}

/// A booted machine. Dropped, it is gone with all that ran in it.
#[derive(Debug)]
pub struct Machine {
    version: Version,
    /// systemd-nspawn.
    child: Child,
    console: Output,
    /// Its first process, as this machine numbers it.
    leader: u32,
    cgroup: Cgroup,
    // Last: nothing uses them any more.
    _layer: TempDir,
    _root: TempDir,
}

impl Machine {
    /// A machine with systemd alone.
    #[track_caller]
    pub fn boot(version: Version) -> Self {
        Plan::new(version).boot()
    }

    /// Its systemd.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its first process, as this machine numbers it.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// Runs a command in it to its end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Ran {
        let output = self.command(words).output().expect("nsenter can be started");
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// [`Machine::run`] of a shell's text.
    #[track_caller]
    pub fn shell(&self, text: &str) -> Ran {
        self.run(&["sh", "-c", text])
    }

    /// A command in it as root, ready to be started by the test itself; ended after a while that nothing needs.
    pub fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", LONGEST, "nsenter", "--target", &self.leader.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]).args(words);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LANG", "C.UTF-8").env("SYSTEMD_COLORS", "0").current_dir("/").stdin(Stdio::null());
        command
    }

    /// `systemctl ARGS`.
    #[track_caller]
    pub fn systemctl(&self, args: &[&str]) -> Ran {
        self.run(&[&["systemctl"], args].concat())
    }

    /// A property of a unit, as `systemctl show` has it.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, unit]).expect(0).stdout.trim().to_owned()
    }

    /// Waits until a property of a unit is `value`.
    #[track_caller]
    pub fn wait_property(&self, unit: &str, name: &str, value: &str) {
        eventually(format_args!("{unit} has {name}={value}"), || (self.property(unit, name) == value).then_some(()));
    }

    /// What the journal has of a unit, messages alone.
    #[track_caller]
    pub fn journal(&self, unit: &str) -> String {
        self.run(&["journalctl", "--no-pager", "--output=cat", "--unit", unit]).stdout
    }

    /// A process of this machine, as the test's own machine numbers it.
    pub fn outside(&self, pid: u32) -> Option<u32> {
        let within = |outer: &u32| {
            let status = fs::read_to_string(format!("/proc/{outer}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            numbers.split_whitespace().last() == Some(pid.to_string().as_str())
        };
        self.cgroup.processes().into_iter().find(within)
    }

    /// Every process of a unit's cgroup, as the machine itself numbers them.
    #[track_caller]
    pub fn processes(&self, unit: &str) -> Vec<u32> {
        let group = self.property(unit, "ControlGroup");
        if group.is_empty() {
            return Vec::new();
        }
        let found = self.shell(&format!("find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} + 2>/dev/null"));
        found.stdout.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Every process of a control group of it, as the test's own machine numbers them.
    pub fn seen_outside(&self, group: &str) -> Vec<u32> {
        self.cgroup.within(group)
    }

    /// Where one of its files is seen from outside. Of a symbolic link in it, the end is this machine's: name real paths.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.leader)).join(path.trim_start_matches('/'))
    }

    /// The text of one of its files.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path} in the machine: {error}"))
    }

    /// Writes one of its files, whole at once, in a folder that is there.
    #[track_caller]
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let to = self.path(path);
        let name = to.file_name().expect("a file's path").to_string_lossy();
        let beside = to.with_file_name(format!(".{name}.tmp"));
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, &to)).expect("a file of the machine is written");
    }

    /// Shuts it down as an operator does, and waits for its end: every unit is stopped in its order.
    #[track_caller]
    pub fn power_off(mut self) {
        self.systemctl(&["poweroff"]);
        let ended = process::wait(&mut self.child, PATIENCE + PATIENCE);
        assert!(ended.is_some(), "the machine does not shut down:\n{}", self.console.text());
    }

    /// What a failing test shows.
    fn story(&self) -> String {
        let journal = self.run(&["journalctl", "--no-pager", "--output=short-monotonic", "--lines=150"]);
        format!("---- console ----\n{}\n---- journal ----\n{}", self.console.text(), journal.said())
    }
}

impl Drop for Machine {
    #[allow(clippy::print_stderr, reason = "a failing test shows all that was said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story());
        }
        // With the first process of its namespace every other one is killed, by the kernel.
        process::signal(self.leader, Signal::SIGKILL);
        if process::wait(&mut self.child, Duration::from_secs(10)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_boots_runs_commands_and_leaves_nothing() {
        for (version, number) in [(Version::V252, "systemd 252"), (Version::V257, "systemd 257")] {
            let machine = Plan::new(version).file("/etc/greeting", "hello").boot();
            assert!(machine.run(&["systemctl", "--version"]).expect(0).stdout.starts_with(number));
            assert_eq!(machine.shell("cat /etc/greeting; exit 7").expect(7).stdout, "hello");
            machine.write("/etc/greeting", "hello again");
            assert_eq!(machine.read("/etc/greeting"), "hello again");
            assert!(!Path::new("/etc/greeting").exists(), "this machine's own root is not touched");

            machine.systemctl(&["start", "systemd-journald"]).expect(0);
            let daemon: u32 = machine.property("systemd-journald", "MainPID").parse().expect("a number");
            assert_eq!(machine.processes("systemd-journald"), [daemon]);
            let daemon = machine.outside(daemon).expect("it is one of ours");
            assert!(process::alive(daemon));
            let group = machine.cgroup.name().to_owned();
            drop(machine);
            assert!(!process::alive(daemon));
            let left =
                ["unified", "systemd", "."].iter().any(|at| Path::new("/sys/fs/cgroup").join(at).join(&group).exists());
            assert!(!left, "{group} is left");
        }
    }
}
