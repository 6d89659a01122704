//! `landlord env`: a tenant's secrets are set without being seen, reach its worker whole, and are found nowhere else.

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Stdio,
};

use harness::{Landlord, Ran, Setup, process};
use serde_json::Value;

/// Two companies, each a user of its own where that can be, within the walls that everybody has.
fn house() -> Landlord {
    let setup = Setup::new().default_users().sandbox("").env("LANDLORD_LOG", "trace");
    let mut landlord = setup.tenant("acme", "").tenant("beta", "").prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    landlord.start_again();
    for tenant in ["acme", "beta"] {
        landlord.wait_state(tenant, "running");
    }
    landlord
}

/// `landlord ARGS` with this on its standard input.
fn fed(landlord: &Landlord, args: &[&str], input: &str) -> Ran {
    let mut command = landlord.command(args);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("landlord can be started");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

async fn environment(landlord: &Landlord, tenant: &str) -> Value {
    let answer = landlord.site(tenant).get("/env").await.expect("an answer");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Every file below `folder`, but for what is in `own`, that has `needle` in it.
fn having(folder: &Path, own: &Path, needle: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() && entry.path() != own => having(&entry.path(), own, needle),
        Ok(kind) if kind.is_file() && contains(&entry.path(), needle) => vec![entry.path()],
        _ => Vec::new(),
    });
    found.collect()
}

fn contains(file: &Path, needle: &str) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle.as_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_its_workers_and_found_nowhere_else() {
    let landlord = house();
    let (piped, from_file) = ("canary-one $'\"#\\ ü", "-----BEGIN canary-two-----\nline\n-----END-----");
    let mut said = String::new();
    said += &fed(&landlord, &["env", "acme", "set", "BOAST=1", "PIPED"], &format!("{piped}\n")).expect(0).said();
    let file = landlord.dir().join("key.pem");
    fs::write(&file, format!("{from_file}\n")).expect("written");
    let path = file.to_str().expect("a path");
    let ran = landlord.landlord(&["env", "acme", "set", "FROM_FILE", "--file", path]).expect(0);
    assert!(ran.stdout.starts_with("acme: 1 setting written; generation "), "{}", ran.said());
    assert!(ran.stdout.ends_with(" serves\n"), "{}", ran.said());
    said += &ran.said();
    fs::remove_file(&file).expect("removed");

    let has = environment(&landlord, "acme").await;
    assert_eq!((has["PIPED"].as_str(), has["FROM_FILE"].as_str()), (Some(piped), Some(from_file)));
    assert!(environment(&landlord, "beta").await["PIPED"].is_null());
    let dotenv = landlord.folder("acme").join(".env").metadata().expect("a .env");
    assert_eq!(dotenv.permissions().mode() & 0o7777, 0o600);
    assert_eq!(dotenv.uid(), landlord.folder("acme").metadata().expect("a folder").uid());

    // Where things go wrong, more is said.
    let broken = fed(&landlord, &["env", "acme", "set", "EXIT_AT_START=3", "LAST"], "canary-three").expect(1);
    assert!(broken.stderr.contains("acme: 2 settings written; generation "), "{}", broken.said());
    said += &broken.said();
    assert_eq!(landlord.site("acme").get("/env").await.expect("the old one serves").status, 200);
    said += &landlord.landlord(&["env", "acme", "unset", "EXIT_AT_START", "NOPE"]).expect(0).said();
    said += &landlord.landlord(&["env", "acme", "set", "PORT=canary-four"]).expect(2).said();
    said += &landlord.landlord(&["env", "acme", "set", "canary five"]).expect(2).said();
    harness::eventually("its worker's log is there", || (landlord.landlord(&["logs", "acme"]).code == 0).then_some(()));
    for args in
        [&["env", "acme", "list"][..], &["env", "acme", "list", "--json"], &["status", "--json"], &["logs", "acme"]]
    {
        said += &landlord.landlord(args).expect(0).said();
    }
    let revealed = landlord.landlord(&["env", "acme", "list", "--json", "--reveal"]).expect(0);
    let revealed: Value = serde_json::from_str(&revealed.stdout).expect("JSON");
    let names: Vec<_> = revealed.as_array().expect("an array").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["BOAST", "PIPED", "FROM_FILE", "LAST"]);
    assert_eq!((&revealed[1]["value"], &revealed[3]["value"]), (&piped.into(), &"canary-three".into()));

    said += &landlord.out().text();
    said += &landlord.err().text();
    assert!(said.contains("its .env was edited"), "the log is there to be searched");
    assert!(!said.contains("canary"), "{}", said.lines().find(|line| line.contains("canary")).unwrap_or_default());
    assert_eq!(having(landlord.dir(), &landlord.folder("acme"), "canary"), Vec::<PathBuf>::new());
    assert_eq!(having(&landlord.folder("acme"), Path::new(""), "canary"), [landlord.folder("acme").join(".env")]);

    let worker = landlord.wait_state("acme", "running").pid.expect("a pid");
    let environ = |pid: u32| PathBuf::from(format!("/proc/{pid}/environ"));
    assert!(contains(&environ(worker), "canary-three"), "it would be found");
    for pid in process::descendants(landlord.pid()).into_iter().chain([landlord.pid()]).filter(|pid| *pid != worker) {
        assert!(!contains(&environ(pid), "canary"), "{:?}", process::command_line(pid));
        assert!(!process::command_line(pid).join(" ").contains("canary"), "{pid}");
    }
    let open = fs::read_dir(format!("/proc/{worker}/fd")).expect("its descriptors").flatten();
    let open: Vec<_> = open.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
    assert!(!open.iter().any(|target| target.to_string_lossy().contains("memfd")), "{open:?}");
    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).expect("its limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit of core dumps");
    // 1, where we may: neither a file nor a program that collects them, and a process' environment with them.
    assert!(matches!(core.split_whitespace().nth(4), Some("0" | "1")), "{core}");
    assert!(!nix::unistd::geteuid().is_root() || core.split_whitespace().nth(4) == Some("1"), "{core}");
}

#[test]
fn of_many_edits_at_once_none_is_lost() {
    let landlord = house();
    landlord.landlord(&["env", "acme", "set", "FIRST=1"]).expect(0);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let landlord = &landlord;
            scope.spawn(move || landlord.landlord(&["env", "acme", "set", &format!("K{number}=v{number}")]).expect(0));
        }
    });
    let text = fs::read_to_string(landlord.folder("acme").join(".env")).expect("a .env");
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(lines, ["FIRST=1", "K0=v0", "K1=v1", "K2=v2", "K3=v3", "K4=v4", "K5=v5"]);
}

#[test]
fn what_cannot_be_edited_is_left_alone_and_said() {
    let mut landlord = house();
    let dotenv = landlord.folder("acme").join(".env");
    landlord.landlord(&["stop", "acme"]).expect(0);
    let ran = landlord.landlord(&["env", "acme", "set", "A=1"]).expect(0);
    assert_eq!(ran.stdout, "acme: 1 setting written; it is in force when the tenant is started\n");
    assert!(ran.stderr.contains("others can see KEY=VALUE"), "{}", ran.stderr);
    let ran = landlord.landlord(&["env", "acme", "set", "A=1"]).expect(0);
    assert_eq!(ran.stdout, "acme: nothing to write, all of it is there already\n");

    fs::remove_file(&dotenv).expect("removed");
    let elsewhere = landlord.folder("beta").join(".env");
    symlink(&elsewhere, &dotenv).expect("a symlink");
    let ran = landlord.landlord(&["env", "acme", "set", "A=2"]).expect(1);
    assert!(ran.stderr.contains("nothing was changed: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("it is a symlink, not a regular file"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(&elsewhere).expect("a neighbour's"), "");

    let ran = landlord.landlord(&["env", "acmee", "list"]).expect(1);
    assert!(ran.stderr.contains("did you mean acme?"), "{}", ran.stderr);
    landlord.stop();
    let ran = landlord.landlord(&["env", "acme", "list"]).expect(69);
    assert!(ran.stderr.contains("landlord is not running") && ran.stderr.contains("landlord run"), "{}", ran.stderr);
}
