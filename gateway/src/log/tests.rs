//! The role over a real link, with real pipes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs::{self, File},
    io::{PipeWriter, Write},
    os::fd::AsFd,
    path::Path,
};

use super::*;
use crate::{
    model::TenantName,
    sys::{
        journal::tests::{Journald, value},
        packet,
    },
};

type RoleLink = Link<ToLog, FromLog>;

/// Runs the role and `play`, the master's side, until the master has hung up and the role has ended.
async fn with_role(folder: &Path, play: impl AsyncFnOnce(&RoleLink)) {
    with_journaled_role(folder, None, play).await;
}

/// The same, with a journal.
async fn with_journaled_role(folder: &Path, journal: Option<Rc<Journal>>, play: impl AsyncFnOnce(&RoleLink)) {
    let (ours, theirs) = packet::pair().unwrap();
    let (master, role) = (RoleLink::new(ours).unwrap(), MasterLink::new(theirs).unwrap());
    let hello = ToLog::Hello { protocol: PROTOCOL, file_bytes: 1 << 20, files: 2 };
    let master = async {
        master.send(&hello, &[File::open(folder).unwrap().as_fd()]).await.unwrap();
        assert_eq!(master.recv().await.unwrap().unwrap().0, FromLog::Hello { protocol: PROTOCOL });
        assert_eq!(master.recv().await.unwrap().unwrap().0, FromLog::Ready);
        play(&master).await;
        drop(master);
    };
    let role = async { serve(&role, journal).await.unwrap() };
    LocalSet::new().run_until(async { tokio::join!(master, role) }).await;
}

async fn open(master: &RoleLink, message: ToLog) -> PipeWriter {
    let (reader, writer) = io::pipe().unwrap();
    master.send(&message, &[reader.as_fd()]).await.unwrap();
    writer
}

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

/// What was written, without the stamps, which are checked.
fn lines(folder: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    let unstamped = |line: &str| {
        let (stamp, line) = line.split_once(' ').unwrap();
        assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{stamp}");
        stamp.parse::<jiff::Timestamp>().unwrap();
        line.to_owned()
    };
    text.lines().map(unstamped).collect()
}

#[tokio::test]
async fn what_is_in_the_pipes_is_written_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    with_role(dir.path(), async |master| {
        let mut acme = open(master, ToLog::Tenant { tenant: acme() }).await;
        let mut globex = open(master, ToLog::Tenant { tenant: "globex".parse().unwrap() }).await;
        let mut access = open(master, ToLog::Access).await;
        acme.write_all(b"starting\nlisten").unwrap();
        globex.write_all(b"\x1b[31mred\n").unwrap();
        access.write_all(b"{\"status\":200}\n").unwrap();
        acme.write_all(b"ing\nlast words").unwrap();
        // The writers stay open, as a worker that lives on would hold them.
        std::mem::forget((acme, globex, access));
    })
    .await;
    assert_eq!(lines(dir.path(), "acme.log"), ["starting", "listening", "last words"]);
    assert_eq!(lines(dir.path(), "globex.log"), ["\\x1b[31mred"]);
    assert_eq!(fs::read_to_string(dir.path().join("access.log")).unwrap(), "{\"status\":200}\n");
}

#[tokio::test]
async fn a_closed_tenant_is_written_to_its_end_and_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    with_role(dir.path(), async |master| {
        let mut first = open(master, ToLog::Tenant { tenant: acme() }).await;
        first.write_all(b"first life\n").unwrap();
        master.send(&ToLog::Close { tenant: acme() }, &[]).await.unwrap();
        let mut second = open(master, ToLog::Tenant { tenant: acme() }).await;
        second.write_all(b"second life\n").unwrap();
        master.send(&ToLog::Close { tenant: "nobody".parse().unwrap() }, &[]).await.unwrap();
        std::mem::forget((first, second));
    })
    .await;
    assert_eq!(lines(dir.path(), "acme.log"), ["first life", "second life"]);
}

#[tokio::test]
async fn a_flood_never_blocks_its_writer_and_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    with_role(dir.path(), async |master| {
        let mut acme = open(master, ToLog::Tenant { tenant: acme() }).await;
        let flood = std::thread::spawn(move || {
            let line = [vec![b'x'; 999], vec![b'\n']].concat();
            (0..5000).for_each(|_| acme.write_all(&line).unwrap());
        });
        let (message, _) = master.recv().await.unwrap().unwrap();
        let FromLog::Dropped { tenant, bytes } = message else { panic!("{message:?}") };
        assert_eq!(tenant, self::acme());
        assert!((1..=4_000_000).contains(&bytes), "{bytes}");
        flood.join().unwrap();
    })
    .await;
    let lines = [lines(dir.path(), "acme.log.1"), lines(dir.path(), "acme.log")].concat();
    assert!(lines.iter().filter(|line| line.starts_with('x')).count() >= 1000);
    assert!(lines.iter().any(|line| line.starts_with("landlord: ") && line.ends_with(" bytes dropped")));
}

#[tokio::test]
async fn strange_messages_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    with_role(dir.path(), async |master| {
        let mut pipe = open(master, ToLog::Tenant { tenant: acme() }).await;
        // A pipe is missing; a folder is no pipe.
        master.send(&ToLog::Tenant { tenant: acme() }, &[]).await.unwrap();
        let folder = File::open(dir.path()).unwrap();
        master.send(&ToLog::Tenant { tenant: "globex".parse().unwrap() }, &[folder.as_fd()]).await.unwrap();
        pipe.write_all(b"still here\n").unwrap();
    })
    .await;
    assert_eq!(lines(dir.path(), "acme.log"), ["still here"]);
}

#[tokio::test]
async fn the_journal_gets_what_the_files_get_but_no_access_line() {
    let dir = tempfile::tempdir().unwrap();
    let sockets = tempfile::tempdir().unwrap();
    let path = sockets.path().join("socket");
    let journald = Journald::at(&path);
    with_journaled_role(dir.path(), Some(Journal::new(Writer::to(path))), async |master| {
        let mut acme = open(master, ToLog::Tenant { tenant: acme() }).await;
        let mut access = open(master, ToLog::Access).await;
        acme.write_all(b"<4>careful\n\xff\0\nlast words").unwrap();
        access.write_all(b"{\"status\":200}\n").unwrap();
        std::mem::forget((acme, access));
    })
    .await;
    assert_eq!(fs::read(dir.path().join("acme.log")).unwrap().iter().filter(|byte| **byte == b'\n').count(), 3);
    let told: Vec<_> = journald.waiting();
    let told: Vec<_> =
        told.iter().map(|it| (value(it, "TENANT"), value(it, "PRIORITY"), value(it, "MESSAGE"))).collect();
    let acme: &[u8] = b"acme";
    assert_eq!(told, [(acme, &b"4"[..], &b"careful"[..]), (acme, b"6", b"\xff\0"), (acme, b"6", b"last words")]);
}

#[tokio::test]
async fn a_flood_is_cut_before_the_journal_and_told_in_both() {
    let dir = tempfile::tempdir().unwrap();
    let sockets = tempfile::tempdir().unwrap();
    let path = sockets.path().join("socket");
    let journald = std::cell::RefCell::new((Journald::at(&path), Vec::new()));
    with_journaled_role(dir.path(), Some(Journal::new(Writer::to(path))), async |master| {
        let mut acme = open(master, ToLog::Tenant { tenant: acme() }).await;
        let flood = std::thread::spawn(move || {
            let line = [vec![b'x'; 9_999], vec![b'\n']].concat();
            (0..2000).for_each(|_| acme.write_all(&line).unwrap());
        });
        // A journald that reads to the end: the share of the rate is what cuts the flood, and nothing else.
        let mut told = false;
        while !told || !flood.is_finished() {
            tokio::select! {
                message = master.recv() => {
                    let message = message.unwrap().unwrap().0;
                    assert!(matches!(message, FromLog::Dropped { .. }), "{message:?}");
                    told = true;
                }
                () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
            }
            let (journald, seen) = &mut *journald.borrow_mut();
            seen.extend(journald.waiting());
        }
        flood.join().unwrap();
    })
    .await;
    let (journald, mut seen) = journald.into_inner();
    seen.extend(journald.waiting());
    // How much it was depends on the machine's speed, and so does whether the file was rotated.
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let text: Vec<String> = files.flat_map(|file| lines(dir.path(), &file)).collect();
    let written = text.iter().filter(|line| line.starts_with('x')).count();
    let journaled = seen.iter().filter(|it| value(it, "MESSAGE").starts_with(b"x")).count();
    assert_eq!(journaled, written, "the same lines");
    assert!((100..2000).contains(&written), "{written}");
    assert!(seen.iter().any(|it| value(it, "MESSAGE").ends_with(b" bytes dropped") && value(it, "PRIORITY") == b"4"));
}
