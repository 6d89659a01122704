//! Becoming another program in place: same pid, same children, and the descriptors that are to live on (execve(2)).
//!
//! What is handed over is a list of named descriptors in a sealed memory file, whose number is told on the command line.
//! Its format outlives versions: names are only ever added.

use std::{
    collections::BTreeMap,
    ffi::{CString, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
};
use serde::{Deserialize, Serialize};

use super::{fd, memfd};

/// A list of this many bytes has room for a hundred thousand descriptors.
const CAP: usize = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Handover {
    descriptors: BTreeMap<String, RawFd>,
}

/// Becomes `program`, with `args` and the number of the handover's descriptor after them; gives why not.
///
/// Signals are blocked on the way, so that none finds a program without handlers: the new one unblocks them
/// ([`super::signals::unblock`]) when it has its own. Of this process's descriptors it has `descriptors` and the standard
/// streams. On failure all is as it was.
pub fn become_program(
    program: &File,
    args: Vec<OsString>,
    descriptors: &BTreeMap<String, BorrowedFd<'_>>,
) -> io::Error {
    match prepare(program, args, descriptors) {
        Err(error) => error,
        Ok(prepared) => prepared.execute(),
    }
}

/// The descriptors that [`become_program`] handed over under this number, by name. Each is close-on-exec again.
///
/// # Errors
/// This is no handover. Single descriptors that are not open are left out.
pub fn take(number: RawFd) -> io::Result<BTreeMap<String, OwnedFd>> {
    let bytes = memfd::read(fd::inherited(number)?, CAP)?;
    let handover: Handover = serde_json::from_slice(&bytes)?;
    let taken = handover.descriptors.into_iter();
    Ok(taken.filter_map(|(name, number)| Some((name, fd::inherited(number).ok()?))).collect())
}

/// All that the call needs, and what is undone when it fails.
struct Prepared {
    path: CString,
    argv: Vec<CString>,
    kept: Vec<RawFd>,
    mask: SigSet,
    /// Held open for the call.
    _open: (OwnedFd, OwnedFd),
}

fn prepare(
    program: &File,
    args: Vec<OsString>,
    descriptors: &BTreeMap<String, BorrowedFd<'_>>,
) -> io::Result<Prepared> {
    let list = Handover { descriptors: descriptors.iter().map(|(name, fd)| (name.clone(), fd.as_raw_fd())).collect() };
    let sealed = memfd::seal("handover", &serde_json::to_vec(&list)?)?;
    // The path is resolved before descriptors are closed.
    let program = program.as_fd().try_clone_to_owned()?;
    let path = CString::new(format!("/proc/self/fd/{}", program.as_raw_fd()))?;
    let number = sealed.as_raw_fd().to_string().into();
    let argv = [OsString::from("landlord")].into_iter().chain(args).chain([number]);
    let argv = argv.map(|arg| CString::new(arg.into_vec())).collect::<Result<_, _>>()?;
    let kept = list.descriptors.into_values().chain([sealed.as_raw_fd()]).collect();
    let mut mask = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut mask))?;
    Ok(Prepared { path, argv, kept, mask, _open: (program, sealed) })
}

impl Prepared {
    fn execute(self) -> io::Error {
        let error = match self.kept.iter().try_for_each(|number| fd::keep_at_exec(*number)) {
            Ok(()) => self.exec(),
            Err(error) => error,
        };
        for number in &self.kept {
            // SAFETY: the caller holds it open for this call; only a flag is set.
            let held = unsafe { BorrowedFd::borrow_raw(*number) };
            // What is closed already leaks nowhere.
            let _ = fcntl(held, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
        // It was blocked by the same call with the same set.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None);
        error
    }

    fn exec(&self) -> io::Error {
        // Everything else that is open closes at exec, be it ours or a library's.
        match nix::unistd::execv(&self.path, &self.argv) {
            Ok(never) => match never {},
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::process::CommandExt,
        process::Command,
    };

    use super::*;

    /// What a child prints that becomes `program` before it would have become something else.
    fn after(program: &'static str, args: &'static [&'static str]) -> (String, bool) {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"from before\n").unwrap();
        drop(writer);
        let mut command = Command::new("/bin/false");
        let become_it = move || {
            let kept = BTreeMap::from([("pipe".to_owned(), reader.as_fd())]);
            let args = args.iter().map(OsString::from).collect();
            Err(become_program(&File::open(program)?, args, &kept))
        };
        // SAFETY: the tests' other threads hold no lock of ours; the allocator is safe after fork in glibc.
        unsafe { command.pre_exec(become_it) };
        match command.output() {
            Ok(output) => (String::from_utf8(output.stdout).unwrap(), true),
            Err(error) => (error.to_string(), false),
        }
    }

    #[test]
    fn the_next_program_has_what_was_handed_over_and_no_signal_gets_lost() {
        let script = r#"cat /proc/self/fd/$0; grep ^SigBlk /proc/self/status; tr -d ' ' <&"$(sed 's/.*"pipe":\([0-9]*\).*/\1/' /proc/self/fd/$0)""#;
        let (text, became) = after("/bin/bash", {
            let args: &'static [&'static str] =
                Box::leak(Box::new(["-c", Box::leak(script.to_owned().into_boxed_str())]));
            args
        });
        assert!(became, "{text}");
        assert!(text.starts_with(r#"{"descriptors":{"pipe":"#), "{text}");
        assert!(text.ends_with("frombefore\n"), "{text}");
        let blocked = text.lines().find_map(|line| line.split("SigBlk:\t").nth(1)).unwrap();
        let term = 1 << (libc::SIGTERM - 1);
        assert_ne!(u64::from_str_radix(blocked, 16).unwrap() & term, 0, "{text}");
    }

    #[test]
    fn what_cannot_be_executed_leaves_all_as_it_was() {
        let (reader, _writer) = io::pipe().unwrap();
        let kept = BTreeMap::from([("pipe".to_owned(), reader.as_fd())]);
        let mask = SigSet::thread_get_mask().unwrap();
        let error = become_program(&File::open("/etc/passwd").unwrap(), Vec::new(), &kept);
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
        let flags = FdFlag::from_bits_retain(fcntl(&reader, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }

    #[test]
    fn what_was_handed_over_is_taken_by_name() {
        let (reader, writer) = io::pipe().unwrap();
        let (number, closed) = (reader.as_raw_fd(), 100_000);
        let list = Handover { descriptors: BTreeMap::from([("a".into(), number), ("gone".into(), closed)]) };
        let sealed = memfd::seal("handover", &serde_json::to_vec(&list).unwrap()).unwrap();
        // Given away, as exec would.
        std::mem::forget(reader);
        let taken = take(std::os::fd::IntoRawFd::into_raw_fd(sealed)).unwrap();
        assert_eq!(taken.keys().collect::<Vec<_>>(), ["a"]);
        drop(writer);
        let mut rest = String::new();
        File::from(taken.into_values().next().unwrap()).read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}
