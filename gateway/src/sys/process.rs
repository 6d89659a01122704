//! Processes by pidfd: how they end, how they are told to, and the duties of whoever adopts orphans.

use std::{
    collections::HashSet,
    fmt, fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use super::{
    proc,
    readiness::{Interest, watch},
    signals,
};
pub use super::{
    signals::by_name as signal_by_name,
    tree::{kill_tree, kill_trees},
    unit::reopen,
};

/// How long whoever adopted an orphan may take to reap it before its cause of death is given up.
const REAPED_WITHIN: Duration = Duration::from_millis(100);

/// A process by what no other ever has: its number, and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// Its pid.
    pub pid: u32,
    /// Clock ticks after boot: field 22 of `/proc/PID/stat`.
    pub started: u64,
}

impl Name {
    /// The name of a process that was just started. One that has gone already gets a name that fits nobody.
    pub fn of(pid: u32) -> Self {
        Self { pid, started: proc::Process::read(pid).map_or(0, |process| process.started) }
    }
}

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

    /// As [`Pidfd::exited`], also for a process that is no child of ours: how that one ended is told where the kernel does
    /// (Linux 6.15), which is after its own parent has reaped it.
    pub async fn ended(&self) -> io::Result<Exit> {
        loop {
            let mut ready = self.fd.readable().await?;
            match reap(self.as_fd()) {
                Ok(Some(exit)) => return Ok(exit),
                Ok(None) => ready.clear_ready(),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
                Err(error) => return Err(error),
            }
        }
        let told = async {
            loop {
                let mut ready = self.fd.readable().await.ok()?;
                ready.clear_ready();
                if let Some(exit) = info(self.as_fd()).transpose() {
                    return exit.ok();
                }
            }
        };
        let told = tokio::time::timeout(REAPED_WITHIN, told).await;
        Ok(told.ok().flatten().unwrap_or(Exit { code: None, signal: None }))
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

/// Whether there is a process of this number that has not ended.
pub fn exists(pid: u32) -> bool {
    proc::Process::read(pid).is_some_and(|process| !process.zombie)
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

/// Nobody but root looks into our memory, traces us or opens what is in our `/proc/PID`, of the same user or not, and a crash
/// leaves no core (PR_SET_DUMPABLE(2const)).
pub fn hide_memory() -> io::Result<()> {
    Ok(prctl::set_dumpable(false)?)
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

/// How a process that is no child of ours ended; `None`: its parent has not reaped it yet.
///
/// # Errors
/// This kernel does not tell.
fn info(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    /// `struct pidfd_info` of linux/pidfd.h, its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    /// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`
    const GET_INFO: u64 = (3 << 30) | ((size_of::<Info>() as u64) << 16) | (0xff << 8) | 11;
    /// `PIDFD_INFO_EXIT`
    const EXIT: u64 = 1 << 3;
    let mut info = Info { mask: EXIT, ..Info::default() };
    // SAFETY: the call fills at most as many bytes as its number says, which is the size of what it is given.
    #[allow(clippy::unnecessary_cast, reason = "the type of the number differs between C libraries")]
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let status = info.exit_code;
    Ok((info.mask & EXIT != 0).then(|| match libc::WIFSIGNALED(status) {
        true => Exit { code: None, signal: Some(libc::WTERMSIG(status)) },
        false => Exit { code: Some(libc::WEXITSTATUS(status)), signal: None },
    }))
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

    #[tokio::test]
    async fn the_end_of_a_strangers_child_is_seen_too() {
        let (reader, writer) = io::pipe().unwrap();
        // A child's child: its parent reaps it, and we may not.
        let script = "exec 3<&0; sh -c 'echo $$; read line; exit 5' <&3 & wait $!";
        let mut parent = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(writer).spawn().unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(reader), &mut line).unwrap();
        let name = Name::of(line.trim().parse().unwrap());
        let pidfd = Pidfd::new(reopen(name.pid, name.started).unwrap().unwrap()).unwrap();
        io::Write::write_all(&mut parent.stdin.take().unwrap(), b"go on\n").unwrap();
        let exit = pidfd.ended().await.unwrap();
        assert!([Some(5), None].contains(&exit.code) && exit.signal.is_none(), "{exit:?}");
        parent.wait().unwrap();
        assert!(reopen(name.pid, name.started).unwrap().is_none());
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let limit = raise_nofile_limit().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (limit, limit));
    }
}
