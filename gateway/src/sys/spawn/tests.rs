use std::{
    io::{Read, Write},
    os::fd::AsFd,
};

use nix::sys::signal::Signal;

use super::*;
use crate::sys::process::{Exit, Pidfd};

fn shell(script: &str) -> Spawn {
    Spawn {
        program: Program::Path("/bin/sh".into()),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        fds: Vec::new(),
        stdin_null: true,
        stdout: None,
        stderr: None,
        dir: None,
        die_with_parent: false,
    }
}

/// Runs it to its end: what it printed, and how it ended.
async fn output(mut wanted: Spawn) -> (String, Exit) {
    let (mut reader, writer) = io::pipe().unwrap();
    wanted.stdout = Some(writer.into());
    let child = spawn(wanted).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (text, Pidfd::new(child.pidfd).unwrap().exited().await.unwrap())
}

#[tokio::test]
async fn the_child_has_what_it_was_given_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    // Inheritable on purpose, as a careless library would leave it.
    let leaky = tempfile::tempfile().unwrap();
    fcntl(&leaky, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let mut wanted = shell("pwd; env | grep -v ^_= | sort; ls /proc/$$/fd; exit 7");
    wanted.dir = Some(dir.path().to_owned());
    wanted.env.push(("TENANT".into(), "acme".into()));
    let (text, exit) = output(wanted).await;
    let mut lines = text.lines();
    assert_eq!(lines.next().unwrap(), dir.path().to_str().unwrap());
    assert_eq!(lines.next().unwrap(), "PATH=/usr/bin:/bin");
    assert!(lines.next().unwrap().starts_with("PWD="));
    assert_eq!(lines.next().unwrap(), "TENANT=acme");
    assert_eq!(lines.collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!(exit.code, Some(7));
    drop(leaky);
}

#[tokio::test]
async fn descriptors_arrive_at_their_numbers_even_when_these_overlap() {
    let numbered = |text: &str| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        file
    };
    let (first, second): (OwnedFd, OwnedFd) = (numbered("first").into(), numbered("second").into());
    // Each goes to the other's number; one number in between, one far above.
    let (one, two) = (first.as_raw_fd(), second.as_raw_fd());
    let far = two.max(one) + 20;
    let mut wanted = shell(&format!("cat <&{two}; cat <&{one}; cat <&{far}"));
    wanted.fds = vec![(first, two), (second, one), (numbered(" far").into(), far)];
    // dash takes one digit in a redirection.
    wanted.program = Program::Path("/bin/bash".into());
    assert_eq!(output(wanted).await.0, "firstsecond far");
}

#[tokio::test]
async fn signals_are_as_new_and_the_session_its_own() {
    signals::ignore(&[Signal::SIGPIPE, Signal::SIGUSR2]).unwrap();
    // grep looks at itself, who inherits both: the shell blocks signals for the moment of its own vfork.
    let (text, _) = output(shell("grep -E '^Sig(Blk|Ign)' /proc/self/status; ps -o sid=,pgid= -p $$; echo $$")).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(&lines[..2], ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]);
    let ids: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(ids, [lines[3], lines[3]]);
}

#[tokio::test]
async fn this_binary_is_the_one_that_runs() {
    init().unwrap();
    let mut wanted = shell("");
    wanted.program = Program::ThisBinary;
    wanted.args = vec!["--list".into(), "this_binary_is_the_one".into()];
    let (text, exit) = output(wanted).await;
    assert!(exit.success());
    assert!(text.contains("this_binary_is_the_one_that_runs: test"), "{text}");
}

#[test]
fn this_binary_is_known_by_its_inode() {
    let ours = File::open("/proc/self/exe").unwrap();
    assert!(is_this_binary(ours.as_fd()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("landlord");
    std::fs::copy("/proc/self/exe", &copy).unwrap();
    assert!(!is_this_binary(File::open(copy).unwrap().as_fd()).unwrap(), "the same bytes are another program");
}

#[test]
fn what_cannot_start_says_why_and_leaves_no_zombie() {
    let mut wanted = shell("");
    wanted.program = Program::Path("/nowhere/at/all".into());
    assert_eq!(spawn(wanted).unwrap_err().kind(), io::ErrorKind::NotFound);
    let mut wanted = shell("");
    wanted.dir = Some("/nowhere".into());
    assert_eq!(spawn(wanted).unwrap_err().kind(), io::ErrorKind::NotFound);
    let mut wanted = shell("");
    wanted.program = Program::Path("/etc/passwd".into());
    assert_eq!(spawn(wanted).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    let mut wanted = shell("");
    wanted.args.push("a\0b".into());
    assert_eq!(spawn(wanted).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let mut wanted = shell("");
    wanted.fds.push((tempfile::tempfile().unwrap().into(), 2));
    assert_eq!(spawn(wanted).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn it_dies_with_the_thread_that_started_it() {
    let (reader, writer) = io::pipe().unwrap();
    let mut wanted = shell("exec cat");
    wanted.die_with_parent = true;
    wanted.stdin_null = false;
    // Its input never ends while we hold the other side, so only the signal can end it.
    wanted.fds.push((reader.into(), 3));
    wanted.args[1] = "exec cat <&3".into();
    let child = std::thread::spawn(move || spawn(wanted).unwrap()).join().unwrap();
    let exit = Pidfd::new(child.pidfd).unwrap().exited().await.unwrap();
    assert_eq!(exit.to_string(), "killed by SIGKILL");
    drop(writer);
}
