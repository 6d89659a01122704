//! Starting a child that has exactly what it is given: descriptors, environment, and default signals.

use std::{
    ffi::{CString, OsString},
    fs::File,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::PathBuf,
    ptr,
    sync::{Arc, OnceLock},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
};

use super::{process, signals};

/// What is executed.
#[derive(Clone, Debug)]
pub enum Program {
    /// The very file that we were started from, even when another one has taken its name since.
    ThisBinary,
    /// This file, whatever it is called by now.
    Opened(Arc<File>),
    /// A path; `PATH` is not searched.
    Path(PathBuf),
}

/// A child to be started. It gets a session and process group of its own (a terminal's Ctrl-C reaches only us), default
/// signal dispositions, nothing blocked, and no descriptor that is not named here.
#[derive(Debug)]
pub struct Spawn {
    /// What.
    pub program: Program,
    /// Its arguments after argv\[0\].
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Descriptors and the numbers that they get in the child, from 3 on.
    pub fds: Vec<(OwnedFd, i32)>,
    /// Standard input is `/dev/null` instead of ours.
    pub stdin_null: bool,
    /// Standard output; `None`: ours.
    pub stdout: Option<OwnedFd>,
    /// Standard error; `None`: ours.
    pub stderr: Option<OwnedFd>,
    /// Its working directory; `None`: ours.
    pub dir: Option<PathBuf>,
    /// It is killed when the thread that calls [`spawn`] ends. A change of uid in the child clears this.
    pub die_with_parent: bool,
}

/// A started child. It must be reaped: see [`process::Pidfd`].
#[derive(Debug)]
pub struct Child {
    /// Its pid.
    pub pid: u32,
    /// The descriptor that stands for it; close-on-exec.
    pub pidfd: OwnedFd,
}

static THIS_BINARY: OnceLock<File> = OnceLock::new();

/// Holds the file that we were started from, for [`Program::ThisBinary`]. To be called first thing in `main`.
pub fn init() -> io::Result<()> {
    this_binary().map(drop)
}

/// The file that has the name now under which we were started, where that is another one: it was replaced.
pub fn newer_binary() -> Option<File> {
    let path = std::fs::read_link("/proc/self/exe").ok()?.into_os_string().into_vec();
    // The kernel says so after the name of a file that has none any more (proc_pid_exe(5)).
    let path = path.strip_suffix(b" (deleted)").unwrap_or(&path);
    let file = File::open(std::ffi::OsStr::from_bytes(path)).ok()?;
    is_this_binary(std::os::fd::AsFd::as_fd(&file)).is_ok_and(|same| !same).then_some(file)
}

/// Whether an open file is the very one that [`Program::ThisBinary`] starts: the same inode, whatever it is called.
pub fn is_this_binary(file: BorrowedFd<'_>) -> io::Result<bool> {
    let (offered, ours) = (nix::sys::stat::fstat(file)?, nix::sys::stat::fstat(this_binary()?)?);
    Ok((offered.st_dev, offered.st_ino) == (ours.st_dev, ours.st_ino))
}

/// A pipe, (read, write); both ends close-on-exec and blocking.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?)
}

/// Starts a child; returns once it has executed its program.
///
/// # Errors
/// The child's own when it failed on the way (`NotFound`, `PermissionDenied`); it is then reaped already.
pub fn spawn(spawn: Spawn) -> io::Result<Child> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let targets_end = spawn.fds.iter().map(|(_, target)| *target + 1).max().unwrap_or(3).max(3);
    if spawn.fds.iter().any(|(_, target)| *target < 3) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "descriptors are given from number 3 on"));
    }
    // Everything that the child needs is first moved above every target, so that no dup2 closes what is still to be
    // used, the pipe for its error included.
    let above = |fd: &dyn AsRawFd| duplicate_from(fd.as_raw_fd(), targets_end);
    let (error_read, low) = io::pipe()?;
    let error_write = above(&low)?;
    // The child's copy must be the last one, or its exec would not be seen.
    drop(low);
    let null = above(&null)?;
    let fds = spawn.fds.iter().map(|(fd, target)| Ok((above(fd)?, *target))).collect::<io::Result<Vec<_>>>()?;
    let outputs = [(&spawn.stdout, 1), (&spawn.stderr, 2)];
    let outputs = outputs.iter().filter_map(|(fd, target)| fd.as_ref().map(|fd| Ok((above(fd)?, *target))));
    let outputs = outputs.collect::<io::Result<Vec<_>>>()?;

    let (program, held) = match &spawn.program {
        Program::ThisBinary => {
            let held = above(this_binary()?)?;
            (c_string(format!("/proc/self/fd/{}", held.as_raw_fd()).into())?, Some(held))
        }
        Program::Opened(file) => {
            let held = above(&**file)?;
            (c_string(format!("/proc/self/fd/{}", held.as_raw_fd()).into())?, Some(held))
        }
        Program::Path(path) => (c_string(path.clone().into())?, None),
    };
    let name = match &spawn.program {
        Program::ThisBinary | Program::Opened(_) => c"landlord".to_owned(),
        Program::Path(_) => program.clone(),
    };
    let args = spawn.args.into_iter().map(c_string).collect::<io::Result<Vec<_>>>()?;
    let env = spawn.env.into_iter().map(|(name, value)| c_string(entry(name, value)));
    let env = env.collect::<io::Result<Vec<_>>>()?;
    let dir = spawn.dir.map(|dir| c_string(dir.into())).transpose()?;

    let mut maps: Vec<(RawFd, RawFd)> = Vec::new();
    if spawn.stdin_null {
        maps.push((null.as_raw_fd(), 0));
    }
    maps.extend(outputs.iter().chain(&fds).map(|(fd, target)| (fd.as_raw_fd(), *target)));
    let argv: Vec<_> =
        [name.as_ptr()].into_iter().chain(args.iter().map(|arg| arg.as_ptr())).chain([ptr::null()]).collect();
    let envp: Vec<_> = env.iter().map(|entry| entry.as_ptr()).chain([ptr::null()]).collect();
    let plan = Plan {
        program: program.as_ptr(),
        argv: &argv,
        envp: &envp,
        dir: dir.as_ref().map(|dir| dir.as_ptr()),
        maps: &maps,
        parent: spawn.die_with_parent.then(std::process::id),
        error: error_write.as_raw_fd(),
    };

    // From before the fork until the dispositions are default, no handler of ours may run in the child: it would write
    // into the pipes of our runtime.
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: the child calls only async-signal-safe functions on what was prepared above, and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        plan.become_it();
    }
    let failed = io::Error::last_os_error();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    let pid = u32::try_from(pid).map_err(|_| failed)?;
    drop((error_write, held));
    let pidfd = process::open(pid)?;
    match child_error(error_read) {
        None => Ok(Child { pid, pidfd }),
        Some(error) => {
            await_reaped(&pidfd)?;
            Err(error)
        }
    }
}

/// All that the child needs, ready before the fork: after it nothing may allocate.
struct Plan<'a> {
    program: *const libc::c_char,
    argv: &'a [*const libc::c_char],
    envp: &'a [*const libc::c_char],
    dir: Option<*const libc::c_char>,
    maps: &'a [(RawFd, RawFd)],
    parent: Option<u32>,
    error: RawFd,
}

impl Plan<'_> {
    fn become_it(&self) -> ! {
        let error = self.attempt();
        let code = error.to_ne_bytes();
        // SAFETY: write and _exit are async-signal-safe; the bytes outlive the call.
        unsafe {
            libc::write(self.error, code.as_ptr().cast(), code.len());
            libc::_exit(127)
        }
    }

    /// Gives the error number of what failed; does not return otherwise.
    fn attempt(&self) -> i32 {
        let errno = || nix::errno::Errno::last_raw();
        signals::reset_dispositions();
        // SAFETY: only async-signal-safe calls, on pointers and descriptors that the parent prepared and the fork copied.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) != 0 || libc::setsid() < 0 {
                return errno();
            }
            if let Some(parent) = self.parent {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) != 0 {
                    return errno();
                }
                // It may have ended before we asked.
                if libc::getppid().unsigned_abs() != parent {
                    return libc::ESRCH;
                }
            }
            // Those without the call (before Linux 5.11) rely on every descriptor being close-on-exec anyway.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            for (from, to) in self.maps {
                if libc::dup2(*from, *to) < 0 {
                    return errno();
                }
            }
            if let Some(dir) = self.dir
                && libc::chdir(dir) != 0
            {
                return errno();
            }
            libc::execve(self.program, self.argv.as_ptr(), self.envp.as_ptr());
        }
        errno()
    }
}

/// The very file that we were started from.
pub fn this_binary() -> io::Result<&'static File> {
    if THIS_BINARY.get().is_none() {
        let file = File::open("/proc/self/exe")?;
        // Where another thread was first, its file is the same.
        let _ = THIS_BINARY.set(file);
    }
    THIS_BINARY.get().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn duplicate_from(fd: RawFd, first: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller holds fd open for this call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(first))?;
    // SAFETY: just made for us, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn entry(name: OsString, value: OsString) -> OsString {
    let mut entry = name;
    entry.push("=");
    entry.push(value);
    entry
}

fn c_string(text: OsString) -> io::Result<CString> {
    CString::new(text.into_vec()).map_err(|error| {
        let text = OsString::from_vec(error.into_vec());
        let text = format!("{:?} holds a NUL", String::from_utf8_lossy(text.as_bytes()));
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

/// What the child wrote before it gave up; `None`: the pipe was closed by its exec.
fn child_error(mut pipe: io::PipeReader) -> Option<io::Error> {
    let mut code = [0; 4];
    io::Read::read_exact(&mut pipe, &mut code).ok()?;
    Some(io::Error::from_raw_os_error(i32::from_ne_bytes(code)))
}

fn await_reaped(pidfd: &OwnedFd) -> io::Result<()> {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use std::os::fd::AsFd;
    waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
