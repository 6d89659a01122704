//! A process that may look into every folder and do nothing else.

use std::io;

use nix::{
    sys::prctl,
    unistd::{self, Gid, Uid},
};

use super::identity;

/// `CAP_DAC_READ_SEARCH`, capabilities(7): to read and to pass through folders that are closed to us.
const DAC_READ_SEARCH: u32 = 1 << 2;

/// Becomes `uid:gid` for good, in no other group, with `CAP_DAC_READ_SEARCH` as its only capability, and with nothing that it
/// could gain by executing a program. For a process with one thread. On an error it must end: it may be half way.
pub fn become_searcher(uid: u32, gid: u32) -> io::Result<()> {
    let (tie, parent) = (prctl::get_pdeathsig()?, unistd::getppid());
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    // Both ask for capabilities that are gone afterwards.
    identity::empty_bounding_set()?;
    prctl::set_keepcaps(true)?;
    unistd::setgroups(&[])?;
    unistd::setresgid(group, group, group)?;
    unistd::setresuid(user, user, user)?;
    hold_only(DAC_READ_SEARCH)?;
    prctl::set_keepcaps(false)?;
    identity::no_new_privs()?;
    // The change of uid has cut it (PR_SET_PDEATHSIG(2const)).
    if let Some(signal) = tie {
        prctl::set_pdeathsig(signal)?;
        if unistd::getppid() != parent {
            return Err(io::Error::new(io::ErrorKind::NotFound, "whoever started this process has gone"));
        }
    }
    Ok(())
}

/// Steps back behind everybody who wants the processor (nice(2)) or the disk (ioprio_set(2), the idle class).
pub fn give_way() -> io::Result<()> {
    /// `IOPRIO_WHO_PROCESS`
    const PROCESS: libc::c_int = 1;
    /// `IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT`
    const IDLE: libc::c_int = 3 << 13;
    // SAFETY: takes integers only.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes integers only.
    if unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, IDLE) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn hold_only(capabilities: u32) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`, then pid 0: ourselves.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    let header = HEADER;
    // Effective, permitted, inheritable; then the same of the higher half.
    let sets = [capabilities, capabilities, 0, 0, 0, 0_u32];
    // SAFETY: version 3 reads a header of two words and two times three words of sets.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
