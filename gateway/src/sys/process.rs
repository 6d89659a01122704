//! Processes by pidfd: how they end, how they are told to, and the duties of whoever adopts orphans.

use std::{
    collections::HashSet,
    fmt, fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};
use tokio::io::unix::AsyncFd;

use super::{
    proc,
    readiness::{Interest, watch},
    signals,
};
pub use super::{signals::by_name as signal_by_name, tree::kill_tree};

/// A child, by a descriptor that can never come to mean another process.
#[derive(Debug)]
pub struct Pidfd {
    fd: AsyncFd<OwnedFd>,
}

/// How a process ended: one of both is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// What it returned.
    pub code: Option<i32>,
    /// What killed it.
    pub signal: Option<i32>,
}

impl Pidfd {
    /// Takes over what [`super::spawn::spawn`] gave. Needs a tokio runtime.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { fd: watch(fd, Interest::READABLE)? })
    }

    /// Waits for its end and reaps it. Cancel safe; once it has returned, further calls are `ECHILD`.
    pub async fn exited(&self) -> io::Result<Exit> {
        loop {
            let mut ready = self.fd.readable().await?;
            if let Some(exit) = reap(self.as_fd())? {
                return Ok(exit);
            }
            ready.clear_ready();
        }
    }

    /// Sends a signal. A process that has gone needs none: that is no error.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        send_signal(self.as_fd(), signal)
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}

impl Exit {
    /// Whether it returned 0.
    pub fn success(self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit status {code}"),
            (None, Some(signal)) => write!(f, "killed by {}", signals::name(signal)),
            (None, None) => f.write_str("ended"),
        }
    }
}

/// Orphans below us become our children instead of init's.
pub fn become_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Reaps every child that has ended and is not `known`: orphans that we adopted. The known ones keep their status for
/// their [`Pidfd`]. Gives the pids. To be called after each SIGCHLD, and rarely anyway.
pub fn reap_strangers(known: &HashSet<u32>) -> io::Result<Vec<u32>> {
    let mut reaped = Vec::new();
    for pid in proc::children()? {
        // A pid cannot come to mean another child in between: only we reap, and nobody else.
        if !known.contains(&pid) && matches!(wait(libc::P_PID, pid), Ok(Some(_))) {
            reaped.push(pid);
        }
    }
    Ok(reaped)
}

/// We are killed when the *thread* that started us ends. A change of uid clears it: to be called after. Ours having
/// already ended is not noticed here: compare `getppid` before and after.
pub fn die_with_parent() -> io::Result<()> {
    Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Our parent's pid.
pub fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

/// As many descriptors as we are allowed, and gives their number.
pub fn raise_nofile_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// The name that `ps -o comm` shows, cut at 15 bytes: a role is executed through a descriptor, whose number would be it.
pub fn set_name(name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    Ok(prctl::set_name(&name)?)
}

/// A descriptor of a process that may be no child of ours; close-on-exec.
pub(super) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: pidfd_open takes two integers and gives a new descriptor (always close-on-exec) or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: just given to us, owned by nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The pid behind a pidfd; `None` once it has been reaped, when its number may mean another process.
pub(super) fn pid_of(pidfd: BorrowedFd<'_>) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

pub(super) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open, and a null siginfo is allowed.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if sent == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        gone if gone.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

/// `None`: it lives.
pub(super) fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    wait(libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs())
}

// nix's own refuses a death by a real-time signal, which it has no name for, after having reaped it.
fn wait(kind: libc::idtype_t, id: u32) -> io::Result<Option<Exit>> {
    // SAFETY: all zero is a valid siginfo_t; si_pid 0 will mean that nothing was reaped.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: info outlives the call.
    while unsafe { libc::waitid(kind, id, &raw mut info, libc::WEXITED | libc::WNOHANG) } != 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: waitid filled in the fields of a SIGCHLD, or left the zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let exit = match info.si_code {
        libc::CLD_EXITED => Exit { code: Some(status), signal: None },
        _ => Exit { code: None, signal: Some(status) },
    };
    Ok((pid != 0).then_some(exit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// The child's input stays open for as long as the child is held.
    fn shell(script: &str) -> (Child, Pidfd) {
        let child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let pidfd = Pidfd::new(open(child.id()).unwrap()).unwrap();
        (child, pidfd)
    }

    #[tokio::test]
    async fn an_end_is_told_once_with_its_cause() {
        let (child, pidfd) = shell("exit 3");
        assert_eq!(pid_of(pidfd.as_fd()), Some(child.id()));
        let exit = pidfd.exited().await.unwrap();
        assert_eq!((exit.code, exit.success(), exit.to_string().as_str()), (Some(3), false, "exit status 3"));
        assert_eq!(pidfd.exited().await.unwrap_err().raw_os_error(), Some(libc::ECHILD));
        assert_eq!(pid_of(pidfd.as_fd()), None);
        pidfd.signal(libc::SIGTERM).unwrap();

        let (_child, pidfd) = shell("read line");
        pidfd.signal(libc::SIGKILL).unwrap();
        assert_eq!(pidfd.exited().await.unwrap().to_string(), "killed by SIGKILL");
        let (_child, pidfd) = shell("kill -40 $$");
        assert_eq!(pidfd.exited().await.unwrap().to_string(), "killed by signal 40");
    }

    #[tokio::test]
    async fn waiting_does_not_reap_the_living() {
        let (mut child, pidfd) = shell("read line");
        assert_eq!(reap(pidfd.as_fd()).unwrap(), None);
        io::Write::write_all(&mut child.stdin.take().unwrap(), b"go on\n").unwrap();
        assert!(pidfd.exited().await.unwrap().success());
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let limit = raise_nofile_limit().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (limit, limit));
    }
}
