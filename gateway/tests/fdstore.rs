//! What is kept by the service manager, and what is handed down by it: the protocol, against real sockets. Each test runs
//! itself as another process, because all of it goes by the environment.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{IoSliceMut, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixDatagram,
    },
    process::Command,
};

use landlord::sys::fdstore;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// This very test in a process of its own, by way of a shell that knows its pid.
fn again(test: &str, settings: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("{settings} exec \"$0\" --exact {test} --nocapture");
    command.args(["-c", &script]).arg(std::env::current_exe().unwrap()).env("AGAIN", "1");
    command
}

fn is_again() -> bool {
    std::env::var_os("AGAIN").is_some()
}

#[test]
fn descriptors_go_to_the_service_manager_with_their_name() {
    if is_again() {
        let (read, write) = std::io::pipe().unwrap();
        fdstore::store("ll-log-acme", &[read.as_fd(), write.as_fd()]).unwrap();
        fdstore::remove("ll-log-acme").unwrap();
        fdstore::store("ll:log", &[]).unwrap_err();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut command = again("descriptors_go_to_the_service_manager_with_their_name", "");
    assert!(command.env("NOTIFY_SOCKET", &path).status().unwrap().success());

    let received = || {
        let (mut bytes, mut space) = ([0; 512], nix::cmsg_space!([i32; 8]));
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message =
            recvmsg::<()>(manager.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_DONTWAIT).unwrap();
        let fds = message.cmsgs().unwrap().map(|one| match one {
            ControlMessageOwned::ScmRights(fds) => fds.len(),
            other => panic!("{other:?}"),
        });
        let (fds, length) = (fds.sum::<usize>(), message.bytes);
        (String::from_utf8_lossy(&bytes[..length]).into_owned(), fds)
    };
    assert_eq!(received(), ("FDSTORE=1\nFDNAME=ll-log-acme\nFDPOLL=0\n".into(), 2));
    assert_eq!(received(), ("FDSTOREREMOVE=1\nFDNAME=ll-log-acme\n".into(), 0));
}

#[test]
fn without_a_service_manager_nothing_happens() {
    let (read, _write) = std::io::pipe().unwrap();
    fdstore::store("ll-log-acme", &[read.as_fd()]).unwrap();
    fdstore::remove("ll-log-acme").unwrap();
}

#[test]
fn what_is_handed_down_has_its_name_and_stays_with_us() {
    if is_again() {
        let mut taken = fdstore::take_inherited().unwrap();
        let names: Vec<_> = taken.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ll-log-acme", "landlord.socket"]);
        assert!(["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"].iter().all(|name| std::env::var_os(name).is_none()));
        assert!(fdstore::take_inherited().unwrap().is_empty(), "once");
        for (_, fd) in &taken {
            let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        }
        // The pipe's other end is found through the one that was kept.
        let (_, read) = taken.remove(0);
        std::fs::File::from(fdstore::write_end(&read).unwrap()).write_all(b"through").unwrap();
        let mut seen = [0; 7];
        std::fs::File::from(read).read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"through");
        return;
    }
    // A pipe of the shell's own: its read end is 3. In place of a socket, a file.
    let settings = "LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=ll-log-acme:landlord.socket";
    let settings = format!("mkfifo \"$PIPE\"; exec 3<>\"$PIPE\" 4</dev/null; {settings}");
    let dir = tempfile::tempdir().unwrap();
    let mut command = again("what_is_handed_down_has_its_name_and_stays_with_us", &settings);
    assert!(command.env("PIPE", dir.path().join("pipe")).status().unwrap().success());
}
