//! A whole machine, emulated, for what only a kernel of its own has: controllers of cgroup v2, where this machine's are bound to
//! cgroup v1, or are another's. QEMU computes every instruction, so it is slow: one boot does all, and tells of it on the serial
//! line, a line a fact; what the facts mean is judged outside.
//!
//! Its root is that of Debian 13, unpacked into its memory, with a layer of the test's own; its kernel is Debian's for clouds.
//! `scripts/test` makes both. There is no network but loopback, and nothing is left when it is off.
//!
//! Where time is measured in it, its clock can be made to count its instructions ([`Vm::paced`]): what else computes on this
//! machine is then in no figure, because it does not exist in there.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::layers;
use crate::{Output, binaries, process};

/// From power on to power off, on a machine that computes eight other things.
const LONGEST: Duration = Duration::from_secs(240);
/// Its first unit, in the place of all that a machine usually starts. What it starts follows.
const UNIT: &str = "[Unit]\nDefaultDependencies=no\n\
    [Service]\nType=oneshot\nExecStopPost=/usr/bin/systemctl poweroff -ff\n\
    StandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\n";
/// Two processors, as fast as this machine's.
const FAST: [&str; 6] = ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"];
/// One, of which each instruction takes 2 ns (`shift=1`); where it has nothing to do, the next moment at which it has comes at once
/// (`sleep=off`).
const PACED: [&str; 8] = ["-accel", "tcg", "-cpu", "max", "-smp", "1", "-icount", "shift=1,sleep=off"];
/// Neither devices nor journals: each costs a second, and nothing here needs them.
const UNNEEDED: [&str; 28] = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "run-lock.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "ldconfig.service",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup-dev-early.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
];

/// What would look for disks, consoles and keys, each in a process of its own.
const GENERATORS: [&str; 11] = [
    "debug",
    "fstab",
    "getty",
    "gpt-auto",
    "hibernate-resume",
    "rc-local",
    "run",
    "ssh",
    "system-update",
    "sysv",
    "tpm2",
];

/// What is to be in it.
#[derive(Debug)]
pub struct Vm {
    layer: TempDir,
    processors: &'static [&'static str],
    longest: Duration,
}

impl Vm {
    /// A machine that runs this Python program and is switched off after it.
    pub fn new(inside: &str) -> Self {
        Self::running("ExecStart=/usr/bin/python3 -u /inside.py\n").file("/inside.py", inside)
    }

    /// A machine that runs what these lines of a `[Service]` say, and is switched off after it.
    pub fn running(service: &str) -> Self {
        let layer = tempfile::Builder::new().prefix("vm-").tempdir_in(layers::scratch()).expect("a folder");
        let vm = Self { layer, processors: &FAST, longest: LONGEST };
        let vm = vm.file("/etc/systemd/system/inside.service", UNIT.to_owned() + service);
        let units = UNNEEDED.map(|unit| format!("/etc/systemd/system/{unit}"));
        let generators = GENERATORS.map(|name| format!("/etc/systemd/system-generators/systemd-{name}-generator"));
        for path in units.iter().chain(&generators) {
            symlink("/dev/null", layers::below(vm.layer.path(), path)).expect("a unit is masked");
        }
        vm
    }

    /// One processor, whose time is the count of its instructions: 2 ns each, however long they take to emulate. What is
    /// measured in there is of that machine alone. It need not be off before `longest` of this machine's time has passed.
    #[must_use]
    pub fn paced(mut self, longest: Duration) -> Self {
        (self.processors, self.longest) = (&PACED, longest);
        self
    }

    /// A file in it, with every folder on the way.
    #[must_use]
    pub fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = layers::below(self.layer.path(), path);
        fs::write(path, text).expect("a file of the machine is written");
        self
    }

    /// A program in it, without its symbols: they are most of it, and all of it lies in memory.
    #[must_use]
    pub fn program(self, path: &str, program: &Path) -> Self {
        let path = layers::below(self.layer.path(), path);
        run(Command::new("strip").arg("-o").arg(&path).arg(program), "strip", "binutils");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program may be executed");
        self
    }

    /// Switches it on, and gives all that was said on its serial line.
    ///
    /// # Panics
    /// When something is missing, or it is not off in time.
    #[track_caller]
    pub fn run(self) -> String {
        self.run_heard(|_| {})
    }

    /// The same, with each line as it is said.
    ///
    /// # Panics
    /// As [`Vm::run`].
    #[track_caller]
    pub fn run_heard(self, mut hear: impl FnMut(&str)) -> String {
        let made = binaries::target().join("vm");
        let (kernel, base) = (made.join("vmlinuz"), made.join("base.cpio"));
        for part in [&kernel, &base] {
            assert!(part.exists(), "{} is missing: run scripts/test, which makes it", part.display());
        }
        let ram = self.ram(&base).expect("what the machine has in its memory is written");
        let mut command = process::leashed(Path::new("qemu-system-x86_64"));
        command.args(self.processors).args(["-m", "1024"]);
        command.args(["-nographic", "-no-reboot", "-nic", "none", "-kernel"]).arg(&kernel).arg("-initrd").arg(&ram);
        let words = "console=ttyS0 rdinit=/lib/systemd/systemd systemd.unit=inside.service systemd.show_status=0 quiet panic=-1 mitigations=off";
        command.args(["-append", words]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process::spawn(command).expect("setpriv is in util-linux");
        let console = Output::follow(child.stdout.take().expect("stdout is piped"));
        let errors = Output::follow(child.stderr.take().expect("stderr is piped"));
        let until = Instant::now() + self.longest;
        let mut heard = 0;
        while let Some((place, line)) =
            console.next_line(heard, until.saturating_duration_since(Instant::now()), |_| true)
        {
            hear(line.trim_end_matches('\r'));
            heard = place + 1;
        }
        let ended = process::wait(&mut child, until.saturating_duration_since(Instant::now()));
        if ended.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let said = format!("{}\n{}", console.text(), errors.text());
        let off = ended.is_some_and(|status| status.success());
        assert!(off, "the machine is not off ({ended:?}; Debian package qemu-system-x86 has it): {said}");
        said
    }

    /// The base and the layer, one after the other: the kernel unpacks both, and the later file wins.
    fn ram(&self, base: &Path) -> io::Result<std::path::PathBuf> {
        let ram = self.layer.path().with_extension("cpio");
        let script =
            "cat \"$1\" > \"$2\" && cd \"$3\" && find . | cpio --create --format=newc --quiet --owner=0:0 >> \"$2\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "ram"]).args([base, &ram, self.layer.path()]);
        run(&mut command, "cpio", "cpio");
        File::open(&ram)?;
        Ok(ram)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // What was never written needs no removing.
        let _ = fs::remove_file(self.layer.path().with_extension("cpio"));
    }
}

#[track_caller]
fn run(command: &mut Command, tool: &str, package: &str) {
    let done = command.status().is_ok_and(|status| status.success());
    assert!(done, "{tool} fails or is missing: run scripts/test, which installs it (Debian package {package})");
}
