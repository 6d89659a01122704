//! Other processes: what /proc tells of them, and what can be done to them.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Attack, calls::call, refused, told};

const WHOM: [&str; 3] = ["neighbour", "master", "proxy"];
const EITHER: &[&str] = &["users", "files"];
const ANY: &[&str] = &["users", "files", "syscalls"];

pub(super) fn attacks() -> Vec<Attack> {
    WHOM.into_iter().flat_map(of).collect()
}

fn of(whom: &'static str) -> Vec<Attack> {
    let read = |file: &'static str| {
        Attack::new(format!("{file}-of-{whom}"), EITHER, move |victims| {
            let path = format!("/proc/{}/{file}", told(victims, whom)?);
            match file {
                "cwd" | "root" => fs::read_dir(&path).map(|_| "entered".to_owned()),
                // How many there are is no secret; what they are is.
                "fd" => fs::read_link(format!("{path}/2")).map(|_| "seen".to_owned()),
                "mem" => fs::File::open(&path).map(|_| "opened".to_owned()),
                _ => fs::read(&path).map(|bytes| format!("{} bytes", bytes.len())),
            }
            .map_err(|error| refused(&error))
        })
    };
    let mut all: Vec<Attack> = ["environ", "mem", "cwd", "root", "fd", "maps"].map(read).into();
    all.push(Attack::new(format!("signal-to-{whom}"), EITHER, move |victims| {
        let pid: i32 = told(victims, whom)?.parse().map_err(|_| "no pid".to_owned())?;
        kill(Pid::from_raw(pid), Signal::SIGCONT).map(|()| "sent".to_owned()).map_err(|error| error.to_string())
    }));
    // PTRACE_SEIZE stops nobody.
    all.push(Attack::new(format!("trace-{whom}"), ANY, move |victims| {
        call(nix::libc::SYS_ptrace, &["0x4206", told(victims, whom)?, "0", "0"])
    }));
    all.push(Attack::new(format!("handle-of-{whom}"), EITHER, move |victims| {
        let pid = told(victims, whom)?;
        let (open, send) = (nix::libc::SYS_pidfd_open, nix::libc::SYS_pidfd_send_signal);
        super::calls::perl(&format!(
            "my $p = syscall({open}, {pid}, 0); die $!+0 if $p < 0; die $!+0 if syscall({send}, $p, 18, 0, 0) < 0; print 'sent'"
        ))
    }));
    if whom == "neighbour" {
        // Of one user, the kernel lets each renice the other, and no other wall has a word for it.
        all.push(Attack::new("renice-neighbour", &["users"], move |victims| {
            call(nix::libc::SYS_setpriority, &["0", told(victims, whom)?, "19"])
        }));
        all.push(Attack::new("limit-neighbour", &["users", "syscalls"], move |victims| {
            super::calls::perl(&format!(
                "my $l = pack('QQ', 0, 0); die $!+0 if syscall({}, {}, 4, $l, 0) < 0; print 'limited'",
                nix::libc::SYS_prlimit64,
                told(victims, whom)?
            ))
        }));
    }
    all
}
