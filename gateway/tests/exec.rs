//! The exec shim as the master starts it: a plan in a sealed memfd, a socket at 3, a pipe for its report.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
};

use landlord::{
    sys::{
        identity::is_root,
        memfd,
        process::{Exit, Pidfd},
        spawn::{Program, Spawn, spawn},
    },
    wire::{Estate, Job, Plan, ProcessLimits},
};

struct Said {
    stdout: String,
    report: String,
    exit: Exit,
}

fn plan(dir: &Path, script: &str) -> Plan {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Plan {
        argv: ["sh", "-c", script].map(String::from).to_vec(),
        dir: dir.to_owned(),
        rooms: Vec::new(),
        env: BTreeMap::from([pair("TENANT", "acme"), pair("PATH", "/usr/bin:/bin")]),
        extra: BTreeMap::from([pair("SECRET", "file"), pair("MODE", "file")]),
        dotenv: Some(dir.join(".env")),
        listen_fds: false,
        job: Job::Exec,
        estate: Estate::default(),
        identity: None,
        group: None,
        limits: ProcessLimits::default(),
        sandbox: None,
        report: 5,
        die_with_parent: true,
        path: "/usr/bin:/bin".into(),
    }
}

async fn run(plan: &Plan) -> Said {
    let (mut stdout, theirs) = io::pipe().unwrap();
    let (mut report, report_end) = io::pipe().unwrap();
    let sealed = memfd::seal("plan", &serde_json::to_vec(plan).unwrap()).unwrap();
    let socket: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
    let child = spawn(Spawn {
        program: Program::Path(env!("CARGO_BIN_EXE_landlord").into()),
        args: ["exec", "--plan", "4"].map(Into::into).to_vec(),
        env: Vec::new(),
        fds: vec![(socket, 3), (sealed, 4), (report_end.into(), 5)],
        stdin_null: true,
        stdout: Some(theirs.into()),
        stderr: Some(fs::File::create("/dev/null").unwrap().into()),
        dir: None,
        die_with_parent: true,
    })
    .unwrap();
    let (mut out, mut why) = (String::new(), String::new());
    stdout.read_to_string(&mut out).unwrap();
    report.read_to_string(&mut why).unwrap();
    Said { stdout: out, report: why, exit: Pidfd::new(child.pidfd).unwrap().exited().await.unwrap() }
}

#[tokio::test]
async fn a_worker_has_its_folder_its_settings_and_nothing_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".env"), "export SECRET='dotenv'\n").unwrap();
    let script = "pwd; umask; ulimit -c; echo $SECRET $MODE $TENANT; ls /proc/$$/fd; exit 4";
    let rooms = vec!["files".into(), "files/uploads".into()];
    let said = run(&Plan { rooms, ..plan(dir.path(), script) }).await;
    assert!(dir.path().join("files/uploads").is_dir(), "missing rooms are made");
    let expected = [dir.path().to_str().unwrap(), "0077", "0", "dotenv file acme", "0", "1", "2"];
    assert_eq!(said.stdout.lines().collect::<Vec<_>>(), expected);
    assert_eq!((said.exit.code, said.report.as_str()), (Some(4), ""));
}

#[tokio::test]
async fn its_socket_is_3_and_announced_with_its_own_pid() {
    let dir = tempfile::tempdir().unwrap();
    let script = "ls /proc/$$/fd; echo $LISTEN_FDS $LISTEN_FDNAMES; test $LISTEN_PID = $$";
    let said = run(&Plan { listen_fds: true, ..plan(dir.path(), script) }).await;
    assert_eq!(said.stdout.lines().collect::<Vec<_>>(), ["0", "1", "2", "3", "1 landlord"]);
    assert!(said.exit.success(), "{}", said.exit);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let good = plan(dir.path(), "exit 0");
    let why = async |plan: Plan| {
        let said = run(&plan).await;
        assert!(said.report.starts_with("landlord: ") && said.report.ends_with('\n'), "{}", said.report);
        assert_eq!(said.report.lines().count(), 1, "{}", said.report);
        (said.exit.code.unwrap(), said.report)
    };
    let (code, report) = why(Plan { argv: vec!["no-such-thing".into()], ..good.clone() }).await;
    assert!(code == 127 && report.contains("no-such-thing: command not found") && report.contains("/usr/bin:/bin"));

    let (code, report) = why(Plan { dir: dir.path().join("gone"), ..good.clone() }).await;
    assert!(code == 126 && report.contains("/gone: No such file"), "{code} {report}");

    fs::write(dir.path().join("plain"), "text").unwrap();
    let (code, report) = why(Plan { argv: vec!["./plain".into()], ..good.clone() }).await;
    assert!(code == 126 && report.contains("./plain is not executable"), "{code} {report}");

    fs::write(dir.path().join(".env"), "GOOD=1\nnot a line\n").unwrap();
    let (code, report) = why(good.clone()).await;
    assert!(code == 78 && report.contains(".env:2"), "{code} {report}");

    fs::remove_file(dir.path().join(".env")).unwrap();
    nix::unistd::mkfifo(&dir.path().join(".env"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (code, report) = why(good.clone()).await;
    assert!(code == 78 && report.contains("a FIFO"), "{code} {report}");
}

#[tokio::test]
async fn as_root_it_becomes_the_tenant_for_good() {
    if !is_root() {
        return;
    }
    let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let script = "id -u; id -g; id -G; grep -E '^(Cap|NoNewPrivs)' /proc/$$/status";
    let said = run(&Plan { identity: Some((70_001, 70_002)), ..plan(dir.path(), script) }).await;
    let none = "0000000000000000";
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| format!("{set}:\t{none}"));
    let expected = [vec!["70001".into(), "70002".into(), "70002".into()], sets.to_vec(), vec!["NoNewPrivs:\t1".into()]];
    assert_eq!(said.stdout.lines().collect::<Vec<_>>(), expected.concat(), "{}", said.report);

    // A folder that only root may pass.
    let closed = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
    fs::write(closed.path().join("app"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(closed.path().join("app"), Permissions::from_mode(0o755)).unwrap();
    let app = closed.path().join("app").display().to_string();
    let said = run(&Plan { identity: Some((70_001, 70_002)), argv: vec![app.clone()], ..plan(dir.path(), "") }).await;
    let expected =
        format!("landlord: uid 70001 cannot reach {app}, because {} is closed to it", closed.path().display());
    assert!(said.report.starts_with(&expected), "{}", said.report);
    assert_eq!(said.exit.code, Some(126));
}

#[tokio::test]
async fn without_a_plan_it_is_a_wrong_use() {
    let said =
        std::process::Command::new(env!("CARGO_BIN_EXE_landlord")).args(["exec", "--plan", "9"]).output().unwrap();
    assert_eq!(said.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&said.stderr).contains("started by landlord itself"));
}
