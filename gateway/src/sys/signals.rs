//! Signals by name, and what a process does on them.

use std::{io, os::unix::process::CommandExt, str::FromStr};

pub use nix::sys::signal::Signal;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, sigaction, sigprocmask};

/// The number of a signal by its name: `SIGTERM`, or `TERM`.
pub fn by_name(name: &str) -> Option<i32> {
    let signal = Signal::from_str(name).or_else(|_| Signal::from_str(&format!("SIG{name}")));
    signal.ok().map(|signal| signal as i32)
}

/// The name of a signal by its number: `SIGKILL`, or `signal 34` for one without a name.
pub fn name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

/// These signals do nothing from now on, in this process and what it executes.
pub fn ignore(signals: &[Signal]) -> io::Result<()> {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in signals {
        // SAFETY: ignoring installs no handler, so nothing of ours runs in signal context.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(())
}

/// Every signal does what it does by default, and none is blocked: masks and ignored signals outlive exec, and a worker
/// that cannot be told to stop would be the result.
pub fn reset() -> io::Result<()> {
    reset_dispositions();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// As [`reset_dispositions`] for a program to be: what we ignore, it would ignore, too, and could not even be told to stop by
/// what has started it.
pub fn default_in(command: &mut std::process::Command) {
    let reset = || {
        reset_dispositions();
        Ok(())
    };
    // SAFETY: between fork and exec nothing runs but system calls, which are async-signal-safe.
    unsafe { command.pre_exec(reset) };
}

/// Holds signals back in the thread that calls, and in those that it starts from then on. Those that come wait, also across
/// exec, for [`unblock`].
pub fn block() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    Ok(())
}

/// Lets in what was blocked while this process became another program ([`super::reexec`]).
pub fn unblock() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Async-signal-safe. SIGKILL and SIGSTOP refuse: they know only the default.
pub(super) fn reset_dispositions() {
    /// The kernel's `struct sigaction`, all zero: SIG_DFL, no flags, no mask.
    const DEFAULT: [u64; 4] = [0; 4];
    for number in 1..=64 {
        // The C library's own call leaves out the two signals that it keeps for itself, which whoever started us may
        // have left ignored.
        // SAFETY: the default action is no code of ours; the struct is as large as the kernel reads on 64-bit machines,
        // with the set's size that it wants.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, DEFAULT.as_ptr(), 0, 8) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(by_name("SIGTERM"), Some(libc::SIGTERM));
        assert_eq!(by_name("QUIT"), Some(libc::SIGQUIT));
        assert_eq!(by_name("SIGNONSENSE"), None);
        assert_eq!(by_name(""), None);
        assert_eq!(name(libc::SIGKILL), "SIGKILL");
        assert_eq!(name(40), "signal 40");
    }
}
