//! seccomp(2): system calls that no web worker needs, and that have been the way out of many a sandbox.
//!
//! A list of what is refused, not of what is allowed: workers are programs of any kind, and a call that the next version of
//! their runtime makes must not be their end. What is refused is EPERM, as it is for any user without privileges, so that
//! programs that try go on without.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};

/// For privileges of the machine's operator, or for looking into other processes.
const REFUSED: &[i64] = &[
    // Mounting, and the same in its newer calls.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_setns,
    // The kernel itself.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_syslog,
    libc::SYS_reboot,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    // Keys of the kernel's keyrings, which know no containers.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The clock and the machine's name.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Files by number instead of by path: no Landlock rule is asked.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Its workers make system calls that no filter sees, and its history is one of holes. Libraries that know it fall back to
    // epoll, as they do in the containers that refuse it too.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// What only this processor's kernel has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] =
    &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS__sysctl];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// New namespaces: each is a second look at parts of the kernel that are else for root.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Not in libc for every target: of unshare(2) only, in clone(2) the bit means a signal.
const CLONE_NEWTIME: libc::c_int = 0x80;

/// Puts characters into a terminal's input, as if they were typed. The same number on all our processors.
const TIOCSTI: u64 = 0x5412;
/// Does so on the console, by its clipboard.
const TIOCLINUX: u64 = 0x541C;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// The kernel has no seccomp filters, or refuses this one.
    #[error("the kernel takes no filter of system calls: {0}")]
    Kernel(#[source] io::Error),
    /// There is no filter for this processor.
    #[error("no filter of system calls can be made: {0}")]
    Made(String),
}

/// Whether the kernel can refuse system calls by a filter.
pub fn is_there() -> bool {
    /// `SECCOMP_GET_ACTION_AVAIL`
    const ACTION_AVAILABLE: libc::c_uint = 2;
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: it reads one u32, which lives on.
    unsafe { libc::syscall(libc::SYS_seccomp, ACTION_AVAILABLE, 0_u32, &raw const action) == 0 }
}

/// From now on this process and all that it will ever start are refused what is in the list; with `namespaces` they may make
/// user namespaces, and what they need in one. Nothing undoes it. For a process with one thread, after no_new_privs.
pub fn filter(namespaces: bool) -> Result<(), Wrong> {
    let install = |program: &BpfProgram| match apply_filter(program) {
        Ok(()) => Ok(()),
        Err(Error::Prctl(error) | Error::Seccomp(error)) => Err(Wrong::Kernel(error)),
        Err(other) => Err(Wrong::Made(other.to_string())),
    };
    install(&refusals(namespaces)?)?;
    // Its arguments lie in memory, where no filter looks: without it, glibc takes clone, whose flags can be seen.
    if namespaces { Ok(()) } else { install(&missing(libc::SYS_clone3)?) }
}

fn refusals(namespaces: bool) -> Result<BpfProgram, Wrong> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    // Typing into the terminal of whoever started landlord.
    rules.insert(libc::SYS_ioctl, vec![rule(1, SeccompCmpOp::Eq, TIOCSTI)?, rule(1, SeccompCmpOp::Eq, TIOCLINUX)?]);
    // The limits of others: where tenants are one user, the kernel lets each take its neighbours' files and memory away.
    rules.insert(libc::SYS_prlimit64, vec![limits_of_others()?]);
    if !namespaces {
        let with = |flag: libc::c_int| rule(0, SeccompCmpOp::MaskedEq(flag as u64), flag as u64);
        let clone = NAMESPACES.into_iter().map(with).collect::<Result<Vec<_>, _>>()?;
        let unshare = NAMESPACES.into_iter().chain([CLONE_NEWTIME]).map(with).collect::<Result<Vec<_>, _>>()?;
        rules.insert(libc::SYS_clone, clone);
        rules.insert(libc::SYS_unshare, unshare);
        rules.insert(libc::SYS_chroot, Vec::new());
    }
    compile(rules, libc::EPERM)
}

fn missing(call: i64) -> Result<BpfProgram, Wrong> {
    compile(BTreeMap::from([(call, Vec::new())]), libc::ENOSYS)
}

/// prlimit(2) with another pid than 0, ourselves, and with new limits to be set.
fn limits_of_others() -> Result<SeccompRule, Wrong> {
    let made = |error: seccompiler::BackendError| Wrong::Made(error.to_string());
    let pid = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0).map_err(made)?;
    let new = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0).map_err(made)?;
    SeccompRule::new(vec![pid, new]).map_err(made)
}

/// All arguments that are looked at are ints.
fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Wrong> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(|error| Wrong::Made(error.to_string()))
}

/// Calls of another processor's numbering (32 bit on a 64 bit kernel) end the process: their numbers mean other calls.
fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<BpfProgram, Wrong> {
    let made = |error: seccompiler::BackendError| Wrong::Made(error.to_string());
    let here = TargetArch::try_from(std::env::consts::ARCH).map_err(made)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), here);
    let mut program: BpfProgram = filter.and_then(TryInto::try_into).map_err(made)?;
    // Behind the check of the processor, which is three instructions long. Jumps are relative, so that nothing else moves.
    program.splice(3..3, no_x32());
    Ok(program)
}

/// x32, the third numbering on x86_64: the same calls with bit 30 set, past any list of numbers.
fn no_x32() -> Vec<sock_filter> {
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const X32: u32 = 0x4000_0000;
    vec![
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: 0 },
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: X32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32 },
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_made_and_within_the_kernels_bounds() {
        for namespaces in [false, true] {
            let program = refusals(namespaces).unwrap();
            assert!(program.len() > 3 * REFUSED.len() && program.len() < 4096, "{}", program.len());
        }
        assert!(is_there());
    }
}
