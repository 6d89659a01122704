//! System calls that are no web worker's. Perl makes them: every Debian has it, and its `syscall` is as good as any.

use std::{fs, process::Command};

use nix::libc;

use super::{Attack, refused};

/// A system call of plain numbers.
pub(super) fn call(number: libc::c_long, arguments: &[&str]) -> Result<String, String> {
    let arguments = arguments.join(", ");
    perl(&format!("my $r = syscall({number}, {arguments}); die $!+0 if $r < 0; print $r"))
}

/// A program that dies of an error's number, or prints how it succeeded.
pub(super) fn perl(program: &str) -> Result<String, String> {
    let output = Command::new("perl").args(["-e", program]).output().map_err(|error| refused(&error))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = text(&output.stderr);
    let number = said.split(' ').next().and_then(|word| word.parse().ok());
    Err(number
        .map_or_else(|| format!("{} {said}", output.status), |number| nix::errno::Errno::from_raw(number).to_string()))
}

pub(super) fn attacks() -> Vec<Attack> {
    const CALLS: &[&str] = &["syscalls"];
    const RIGHTS: &[&str] = &["users", "syscalls"];
    const ALWAYS: &[&str] = &[];
    let plain = |name: &'static str, walls, number, arguments: &'static [&'static str]| {
        Attack::new(name, walls, move |_| call(number, arguments))
    };
    vec![
        plain("mount", RIGHTS, libc::SYS_mount, &["my $a = 'none'", "my $b = 'tmp'", "my $c = 'tmpfs'", "0", "0"]),
        plain("new-user-namespace", CALLS, libc::SYS_unshare, &["0x10000000"]),
        plain("new-mount-namespace", RIGHTS, libc::SYS_unshare, &["0x20000"]),
        plain("bpf", RIGHTS, libc::SYS_bpf, &["5", "my $a = \"\\0\" x 128", "128"]),
        plain("keyring", CALLS, libc::SYS_keyctl, &["0", "-2", "1"]),
        plain("add-key", CALLS, libc::SYS_add_key, &["my $a = 'user'", "my $b = 'x'", "my $c = 'y'", "1", "-4"]),
        plain(
            "perf",
            CALLS,
            libc::SYS_perf_event_open,
            &["my $a = pack('LLQ', 1, 112, 0) . (\"\\0\" x 96)", "0", "-1", "-1", "0"],
        ),
        plain("module", RIGHTS, libc::SYS_init_module, &["my $a = 'x'", "1", "my $b = ''"]),
        plain("kexec", RIGHTS, libc::SYS_kexec_load, &["0", "0", "0", "0"]),
        plain("io-uring", CALLS, libc::SYS_io_uring_setup, &["1", "my $a = \"\\0\" x 120"]),
        plain("userfaultfd", CALLS, libc::SYS_userfaultfd, &["1"]),
        plain("chroot", RIGHTS, libc::SYS_chroot, &["my $a = '.'"]),
        plain("device", RIGHTS, libc::SYS_mknod, &["my $a = 'tmp/disk'", "0x6180", "0x800"]),
        plain("swapoff", RIGHTS, libc::SYS_swapoff, &["my $a = '/nothing'"]),
        plain("become-root", RIGHTS, libc::SYS_setuid, &["0"]),
        Attack::new("spare-me-from-oom", ALWAYS, |_| {
            fs::write("/proc/self/oom_score_adj", "-500")
                .map(|()| "lowered".to_owned())
                .map_err(|error| refused(&error))
        }),
        Attack::new("raise-limit-of-files", ALWAYS, |_| raise(7, 1 << 20)),
        Attack::new("dump-core", ALWAYS, |_| raise(4, 1 << 20)),
        Attack::new("setuid-program", ALWAYS, |_| {
            let output = Command::new("su").args(["root", "-c", "id -u"]).output().map_err(|error| refused(&error))?;
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if output.status.success() { Ok("became root".to_owned()) } else { Err(said) }
        }),
    ]
}

/// Its own hard limit of this resource.
fn raise(resource: u32, to: u64) -> Result<String, String> {
    perl(&format!(
        "my $l = pack('QQ', {to}, {to}); die $!+0 if syscall({}, 0, {resource}, $l, 0) < 0; print 'raised'",
        libc::SYS_prlimit64
    ))
}
