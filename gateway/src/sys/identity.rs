//! Who we are, and becoming less.

use std::io;

use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
    },
    unistd::{self, Gid, Uid},
};

use super::{
    process,
    signals::{self, Signal},
};

/// What a process may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Open files; never above what we have ourselves. `None`: as we have.
    pub nofile: Option<u64>,
    /// Bytes of private memory that it may write to, for each process by itself (`RLIMIT_DATA`).
    pub data: Option<u64>,
    /// Processes and threads of its user, wherever they are (`RLIMIT_NPROC`).
    pub processes: Option<u64>,
}

/// Whether we may become others.
pub fn is_root() -> bool {
    unistd::geteuid().is_root()
}

/// Our effective user and group.
pub fn own() -> (u32, u32) {
    (unistd::geteuid().as_raw(), unistd::getegid().as_raw())
}

/// Becomes `uid:gid` for good: no other group, every capability set empty, and no set-uid program gives any of it back.
/// For a process with one thread. On an error the process must end: it may be half way.
pub fn drop_to(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let (tie, parent) = (prctl::get_pdeathsig()?, unistd::getppid());
    // The bounding set first: emptying it needs a capability that the change of uid takes away.
    empty_bounding_set()?;
    unistd::setgroups(&[])?;
    unistd::setresgid(gid, gid, gid)?;
    unistd::setresuid(uid, uid, uid)?;
    // The change of uid has emptied permitted, effective and ambient, but not the inheritable set.
    empty_own_sets()?;
    no_new_privs()?;
    let (users, groups) = (unistd::getresuid()?, unistd::getresgid()?);
    let all_users = [users.real, users.effective, users.saved].iter().all(|held| *held == uid);
    let all_groups = [groups.real, groups.effective, groups.saved].iter().all(|held| *held == gid);
    if !all_users || !all_groups {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the change of user did not take"));
    }
    // The change of uid has cut the tie to whoever started us (PR_SET_PDEATHSIG(2const)). A proxy that outlived its master
    // would forward to ports that the next master has given to other tenants.
    if let Some(signal) = tie {
        prctl::set_pdeathsig(signal)?;
        if unistd::getppid() != parent {
            return Err(io::Error::new(io::ErrorKind::NotFound, "whoever started this process has gone"));
        }
    }
    Ok(())
}

/// What a role does before it looks at anything, where its master alone ends it, by closing its link: a signal meant for all of
/// a terminal or a service is not its affair. As `identity` (uid, gid), if one is given; no core dumps, for what it keeps in
/// memory is nobody's. For a process with one thread. On an error the process must end.
pub fn settle_in(identity: Option<(u32, u32)>) -> io::Result<()> {
    signals::ignore(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGPIPE])?;
    process::raise_nofile_limit()?;
    set_limits(Limits::default())?;
    match identity {
        Some((uid, gid)) => drop_to(uid, gid),
        None => no_new_privs(),
    }
}

/// No program that we execute gains privileges, set-uid or not.
pub fn no_new_privs() -> io::Result<()> {
    Ok(prctl::set_no_new_privs()?)
}

/// No core dumps (they would hold keys and customers' data), and `limits`.
pub fn set_limits(limits: Limits) -> io::Result<()> {
    // Not 0: with that, the kernel writes no file but goes on to tell a program that collects them, and systemd-coredump puts
    // the environment, secrets and all, into the journal. 1 byte is too little for a file, and the kernel's own sign for not
    // telling that program either (do_coredump).
    let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, most.min(1), most.min(1))?;
    let wanted = [
        (Resource::RLIMIT_NOFILE, limits.nofile),
        (Resource::RLIMIT_DATA, limits.data),
        (Resource::RLIMIT_NPROC, limits.processes),
    ];
    for (resource, wanted) in wanted {
        if let Some(wanted) = wanted {
            let (_, hard) = getrlimit(resource)?;
            let given = wanted.min(hard);
            setrlimit(resource, given, given)?;
        }
    }
    Ok(())
}

/// Adds to our nice value (setpriority(2)): the more, the more the processor is left to others. Above 19 is 19.
pub fn be_nice(more: u32) -> io::Result<()> {
    if more == 0 {
        return Ok(());
    }
    let more = i32::try_from(more).unwrap_or(i32::MAX);
    // SAFETY: getpriority and setpriority take integers only. -1 may also be a value, which an error is told from by errno;
    // a process cannot fail to read its own.
    let ours = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    // SAFETY: as above.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, ours.saturating_add(more).min(19)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(super) fn empty_bounding_set() -> io::Result<()> {
    for capability in 0..64_u64 {
        // SAFETY: PR_CAPBSET_DROP takes integers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0_u64, 0_u64, 0_u64) } != 0 {
            let error = io::Error::last_os_error();
            // Past the last capability of this kernel.
            if error.raw_os_error() == Some(libc::EINVAL) {
                return Ok(());
            }
            return Err(error);
        }
    }
    Ok(())
}

fn empty_own_sets() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`, then pid 0: ourselves.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    let header = HEADER;
    let sets = [0_u32; 6];
    // SAFETY: version 3 reads a header of two words and two times three words of sets.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
