//! A worker's whole tree is ended and reaped, and nobody else's. A process of its own, because it adopts orphans.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::HashSet,
    ffi::OsStr,
    io::{self, BufRead, BufReader},
    os::fd::AsFd,
};

use landlord::sys::{
    process::{Pidfd, become_subreaper, kill_tree, reap_strangers},
    spawn::{Child, Program, Spawn, spawn},
};

/// Forks a child, a grandchild in a session of its own whose parent ends at once, and another that also overwrites its
/// environment but keeps its session; each tells its pid on a line, and ends when this test does at the latest.
const WORKER: &str = r#"
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def tell(): os.write(1, b"%d\n" % os.getpid())
def child(run):
    if os.fork() == 0:
        run()
        tell()
        os.read(3, 1)
def stray():
    if os.fork(): os._exit(0)
    os.setsid()
    child(lambda: None)
def nameless():
    if os.fork(): os._exit(0)
    os.execve(sys.executable, [sys.executable, "-c",
        "import os; os.write(1, b'%d\\n' % os.getpid()); os.read(3, 1)"], {})
child(lambda: None)
child(stray)
child(nameless)
tell()
os.read(3, 1)
"#;

fn worker(tenant: &str, hold: &io::PipeReader, pids: usize) -> (Child, HashSet<u32>) {
    let (reader, writer) = io::pipe().unwrap();
    let child = spawn(Spawn {
        program: Program::Path("/usr/bin/python3".into()),
        args: vec!["-c".into(), WORKER.into()],
        env: vec![("LANDLORD_TREE".into(), tenant.into())],
        fds: vec![(hold.try_clone().unwrap().into(), 3)],
        stdin_null: true,
        stdout: Some(writer.into()),
        stderr: None,
        dir: None,
        die_with_parent: false,
    })
    .unwrap();
    let lines = BufReader::new(reader).lines().take(pids);
    (child, lines.map(|line| line.unwrap().parse().unwrap()).collect())
}

/// Whether it runs: it is there and no zombie.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[tokio::test]
async fn a_tree_is_ended_whole_and_the_neighbours_live() {
    become_subreaper().unwrap();
    let (hold, _until_the_end) = io::pipe().unwrap();
    let (acme, acme_pids) = worker("acme-1", &hold, 5);
    let (globex, globex_pids) = worker("globex-1", &hold, 5);
    let known = HashSet::from([acme.pid, globex.pid]);
    assert!(acme_pids.contains(&acme.pid) && acme_pids.len() == 5);

    assert_eq!(kill_tree(Some(acme.pidfd.as_fd()), OsStr::new("LANDLORD_TREE=acme-1")).unwrap(), 5);
    assert!(acme_pids.iter().all(|pid| !alive(*pid)));
    assert!(globex_pids.iter().all(|pid| alive(*pid)));

    // The known child's status is left to it; every adopted orphan is reaped.
    reap_strangers(&known).unwrap();
    let left: Vec<_> = acme_pids.iter().filter(|pid| std::fs::exists(format!("/proc/{pid}")).unwrap()).collect();
    assert_eq!(left, [&acme.pid]);
    let exit = Pidfd::new(acme.pidfd).unwrap().exited().await.unwrap();
    assert_eq!(exit.to_string(), "killed by SIGKILL");

    // A root that died and was reaped: its strays are found by their mark alone.
    let root = Pidfd::new(globex.pidfd).unwrap();
    root.signal(9).unwrap();
    root.exited().await.unwrap();
    let killed = kill_tree(Some(root.as_fd()), OsStr::new("LANDLORD_TREE=globex-1")).unwrap();
    assert_eq!(killed, 3, "the child, the stray and its child");
    assert_eq!(kill_tree(Some(root.as_fd()), OsStr::new("LANDLORD_TREE=globex-1")).unwrap(), 0);
    let nameless: Vec<_> = globex_pids.iter().filter(|pid| alive(**pid)).collect();
    assert_eq!(nameless.len(), 1, "who overwrote its environment can be told only while its root is there");
}
