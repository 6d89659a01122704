//! `landlord doctor`: for root and for nobody, with and without settings and a running landlord, changing nothing.

use std::{collections::BTreeMap, fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path, process::Command};

use harness::{
    Landlord, Setup, binaries,
    machine::{Install, Version},
    process,
};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Finding {
    name: String,
    level: String,
    found: String,
    means: String,
    remedy: Option<String>,
}

type Findings = BTreeMap<String, Finding>;

/// Its exit code and what it found; every finding is held to the form.
#[track_caller]
fn examine(mut command: Command) -> (i32, Findings) {
    let output = command.args(["doctor", "--json"]).env_remove("LANDLORD_CONFIG").output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found: Vec<Finding> = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error} in {:?}; {said}", String::from_utf8_lossy(&output.stdout));
    });
    assert_eq!(said, "", "it complains about nothing: all is in its findings");
    for finding in &found {
        assert!(["ok", "note", "warning", "problem"].contains(&finding.level.as_str()), "{finding:?}");
        assert!(!finding.found.is_empty(), "{finding:?}");
        let mended = finding.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty());
        assert!(mended || ["ok", "note"].contains(&finding.level.as_str()), "a way out: {finding:?}");
        assert!(!finding.means.is_empty() || finding.level == "note", "{finding:?}");
    }
    let code = output.status.code().expect("it exits");
    let problems = found.iter().filter(|finding| finding.level == "problem").count();
    assert_eq!(code, i32::from(problems > 0), "{found:#?}");
    let count = found.len();
    let by_name: Findings = found.into_iter().map(|finding| (finding.name.clone(), finding)).collect();
    assert_eq!(by_name.len(), count, "each name once");
    (code, by_name)
}

/// `landlord --config FILE`, with so many descriptors.
fn with_settings(landlord: &Landlord, descriptors: Option<u32>) -> Command {
    let mut command = process::leashed_with(&binaries::program("landlord"), descriptors);
    command.arg("--config").arg(landlord.config()).current_dir(landlord.dir());
    command
}

/// Every path below `dir`.
fn tree(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            all.extend(tree(&entry));
        }
        all.push(entry);
    }
    all.sort();
    all
}

#[test]
fn it_needs_no_settings_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = process::leashed(&binaries::program("landlord"));
    command.current_dir(dir.path());
    let (_, findings) = examine(command);
    let expected =
        ["kernel", "systemd", "cgroup", "landlock", "seccomp", "user_namespaces", "pidfd", "worker_ports", "nofile"];
    let more = ["clock", "random", "state", "logs", "run", "memory", "memfd", "users", "hidepid", "core_pattern"];
    for name in expected.iter().chain(&more).chain(&["nftables", "landlord", "units", "settings", "app"]) {
        assert!(findings.contains_key(*name), "no {name} in {:?}", findings.keys());
    }
    assert!(findings.keys().any(|name| name.starts_with("listen ")));
    assert_eq!(findings["pidfd"].level, "ok");
    assert_eq!(tree(dir.path()), Vec::<std::path::PathBuf>::new(), "it changes nothing");
}

#[test]
fn a_taken_port_is_named_with_its_process() {
    let landlord = Setup::new().prepare();
    let before = tree(landlord.dir());
    let name = format!("listen {}", landlord.https());
    let (_, findings) = examine(with_settings(&landlord, None));
    assert_eq!(findings[&name].level, "ok", "{:?}", findings[&name]);

    let taken = TcpListener::bind(landlord.https()).expect("a port of the test's own");
    let (code, findings) = examine(with_settings(&landlord, None));
    let finding = &findings[&name];
    assert_eq!((code, finding.level.as_str()), (1, "problem"));
    assert!(finding.found.contains(&format!("pid {} ", std::process::id())), "{finding:?}");
    assert!(finding.found.contains("doctor"), "its command line: {finding:?}");
    assert!(finding.remedy.as_ref().is_some_and(|it| it.contains(&std::process::id().to_string())), "{finding:?}");
    drop(taken);
    assert_eq!(tree(landlord.dir()), before, "it changes nothing");
}

#[test]
fn too_few_descriptors_are_noticed() {
    let landlord = Setup::new().tables("[http]\nconnections = 1000\n").prepare();
    let nofile = |most| examine(with_settings(&landlord, Some(most))).1.remove("nofile").expect("a finding");
    assert_eq!(nofile(4096).level, "ok");
    let few = nofile(1024);
    assert_eq!(few.level, "warning", "{few:?}");
    assert!(few.means.contains("2064") && few.means.contains("480"), "{few:?}");
    assert!(few.remedy.is_some_and(|remedy| remedy.contains("LimitNOFILE=2064")));
    assert_eq!(nofile(128).level, "problem");
}

#[test]
fn the_running_landlord_is_recognized() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let (_, findings) = examine(with_settings(&landlord, None));
    let running = &findings["landlord"];
    assert_eq!(running.level, "ok", "{running:?}");
    assert!(running.found.contains(&format!("pid {}", landlord.pid())), "{running:?}");
    for addr in [landlord.https(), landlord.http()] {
        let finding = &findings[&format!("listen {addr}")];
        assert!(["ok", "note"].contains(&finding.level.as_str()), "its own ports are no problem: {finding:?}");
    }
    assert!(findings["nofile"].found.contains("the running landlord"), "{:?}", findings["nofile"]);
    assert!(findings.contains_key("supervision"));
}

#[test]
fn a_broken_file_is_a_problem_and_hides_nothing_else() {
    let landlord = Setup::new().keys("stat = \"x\"").prepare();
    let (code, findings) = examine(with_settings(&landlord, None));
    assert_eq!((code, findings["settings"].level.as_str()), (1, "problem"));
    assert!(findings["settings"].found.contains("stat"), "{:?}", findings["settings"]);
    assert!(findings.contains_key(&format!("listen {}", landlord.https())));
    fs::write(landlord.config(), "[[[").expect("landlord.toml is written");
    let (code, findings) = examine(with_settings(&landlord, None));
    assert_eq!((code, findings["settings"].level.as_str()), (1, "problem"));
    assert!(findings.contains_key("kernel"));
}

/// Whoever is not root gets the same list, with what root alone may do told as such.
#[test]
fn nobody_may_ask_too() {
    assert!(nix::unistd::geteuid().is_root(), "this test becomes nobody, which root alone may");
    let landlord = Setup::new().default_users().prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    // Where everybody can execute it: a checkout may lie in a closed home.
    let program = landlord.dir().join("landlord");
    fs::copy(binaries::program("landlord"), &program).expect("landlord is copied");
    landlord.edit_config("[listen]", "[users]\nfirst = 71000\nlast = 71099\n[listen]");
    let taken = TcpListener::bind(landlord.https()).expect("a port of the test's own");
    let mut command = process::leashed(Path::new("setpriv"));
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
    command.arg("--config").arg(landlord.config()).current_dir(landlord.dir());
    let (code, findings) = examine(command);
    assert_eq!(code, 1);
    assert!(findings["users"].found.starts_with("not root"), "{:?}", findings["users"]);
    let finding = &findings[&format!("listen {}", landlord.https())];
    assert_eq!(finding.level, "problem");
    assert!(finding.found.contains("a process of another user"), "{finding:?}");
    assert!(finding.remedy.as_ref().is_some_and(|remedy| remedy.starts_with("sudo ss")), "{finding:?}");
    drop(taken);
}

#[test]
fn people_get_a_list_without_colours_in_a_pipe() {
    let landlord = Setup::new().prepare();
    let output = with_settings(&landlord, Some(128)).arg("doctor").output().expect("it can be started");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert!(!text.contains('\x1b'), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let summary = lines.last().expect("a summary");
    assert!(summary.contains(" problem") && summary.ends_with(" ok"), "{summary}");
    let first = |mark: &str| lines.iter().position(|line| line.trim_start().starts_with(mark)).expect("a line");
    assert!(first("ok ") < first("problem "), "what matters most is last:\n{text}");
}

#[test]
fn a_service_is_found_to_be_one() {
    for (version, number) in [(Version::V252, "version 252"), (Version::V257, "version 257")] {
        let service = Install::new(version).start();
        let (_, findings) = examine(service.machine().command(&["landlord"]));
        let is_in = |findings: &Findings, name: &str, level: &str, found: &str| {
            let finding = &findings[name];
            assert!(finding.level == level && finding.found.contains(found), "{finding:?}");
        };
        let is = |name: &str, level: &str, found: &str| is_in(&findings, name, level, found);
        is("systemd", "ok", number);
        is("units", "ok", "/usr/lib/systemd/system/landlord.service");
        is("supervision", "ok", "landlord.service");
        is("settings", "ok", "/etc/landlord/landlord.toml");
        is("users", "ok", "[users] 70000 to 79999");
        is("landlord", "ok", "runs as pid");
        // What the unit has, and not the shell that asks.
        is("hidepid", "ok", "invisible");
        // Machines like these have no controllers in version 2.
        is("cgroup", "note", "/landlord.service");
        // systemd has the sockets in its store as well; that is nobody to be ended.
        let mine = format!("listen {}", service.https());
        is(&mine, "ok", "");

        // Now systemd alone has them, for a landlord that is to be started again and does not come back yet.
        let machine = service.machine();
        let hold = "mkdir -p /run/systemd/system/landlord.service.d && printf '[Service]\\nRestartSec=60s\\n' \
                    >/run/systemd/system/landlord.service.d/hold.conf && systemctl daemon-reload";
        machine.shell(hold).expect(0);
        machine.shell("kill -KILL $(pgrep -f '[l]andlord proxy') $(systemctl show -P MainPID landlord)").expect(0);
        machine.wait_property("landlord", "SubState", "auto-restart");
        let (_, findings) = examine(machine.command(&["landlord"]));
        is_in(&findings, &mine, "ok", "systemd keeps");
        // Its control socket is in the store as well: whoever asks is heard by nobody.
        is_in(&findings, "landlord", "problem", "has not answered");
    }
}
