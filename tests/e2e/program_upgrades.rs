//! landlord becomes another program while it runs: same pid, same workers, nothing lost; and one that cannot follow changes
//! nothing.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{
    Landlord, Setup,
    binaries::program,
    eventually, process,
    traffic::{Kind, Load, Report, Traffic},
};
use nix::sys::signal::Signal;

/// Another file with the same program in it, and the bundled worker beside it.
fn another(folder: &Path, name: &str) -> PathBuf {
    let folder = folder.join(name);
    fs::create_dir(&folder).expect("a folder");
    let copy = folder.join("landlord");
    fs::copy(program("landlord"), &copy).expect("a copy");
    symlink(program("landlord-worker"), folder.join("landlord-worker")).expect("a link");
    copy
}

/// The file that the master runs.
#[track_caller]
fn runs(landlord: &Landlord) -> PathBuf {
    fs::read_link(format!("/proc/{}/exe", landlord.pid())).expect("a process")
}

/// Of a moment like `2026-11-21T09:30:00.125Z`.
#[track_caller]
fn second_of_day(moment: &str) -> f64 {
    let (_, time) = moment.trim_end_matches('Z').split_once('T').expect("a date and a time");
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"))
}

fn offer(landlord: &Landlord, program: &Path) -> harness::Ran {
    landlord.landlord(&["upgrade".as_ref(), "--binary".as_ref(), program.as_os_str()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "the figures are what this test is read for")]
async fn another_program_goes_on_with_the_same_workers_and_nothing_is_lost() {
    let mut landlord = Setup::new().tenant("acme", "").tenant("beta", "").start();
    let before = (landlord.wait_state("acme", "running"), landlord.wait_state("beta", "running"));
    let master = landlord.pid();
    let loads = [
        Load::new(Kind::KeepAlive, 40),
        Load::new(Kind::NewConnection, 30),
        Load::new(Kind::Http2, 40),
        Load::slow(Kind::KeepAlive, 10, 150),
        Load::uploads(Kind::Http2, 5, 200_000),
    ];
    let crowds: Vec<Traffic> = loads.into_iter().map(|load| Traffic::start(landlord.site("acme"), load)).collect();
    for name in ["second", "third", "fourth"] {
        Traffic::wait_all_answered(&crowds, 10);
        let program = another(landlord.dir(), name);
        let ran = offer(&landlord, &program).expect(0);
        assert!(ran.stdout.contains("runs; a new proxy serves, pid "), "{}", ran.said());
        assert_eq!(runs(&landlord), program);
        // Its roles are of the new program, too.
        let newest = ran.new_proxy();
        eventually("the new proxy runs the new program", || {
            (fs::read_link(format!("/proc/{newest}/exe")).ok()? == program).then_some(())
        });
    }
    Traffic::wait_all_answered(&crowds, 10);
    let reports: Vec<Report> = crowds.into_iter().map(Traffic::stop).collect();
    for report in &reports {
        println!("3 programs: {report}");
    }
    reports.iter().for_each(|report| report.assert_none_lost(30));
    assert_eq!(landlord.pid(), master);
    let after = (landlord.entry("acme"), landlord.entry("beta"));
    for (then, now) in [(&before.0, &after.0), (&before.1, &after.1)] {
        assert_eq!((then.pid, then.port, then.generation, 0), (now.pid, now.port, now.generation, now.restarts));
        // It is told by two clocks, which are read one after the other, and there may be a midnight between them.
        let apart = (second_of_day(&then.since) - second_of_day(&now.since)).rem_euclid(86_400.0);
        assert!(apart.min(86_400.0 - apart) < 1.0, "for as long as before: {} and {}", then.since, now.since);
    }

    // It is a landlord like any other: a worker that dies is seen, reaped and started again, files are followed.
    let acme = after.0.pid.expect("a pid");
    assert!(process::signal(acme, Signal::SIGKILL));
    landlord.wait_entry("acme", "another worker", |entry| entry.state == "running" && entry.pid != Some(acme));
    assert!(process::zombies(master).is_empty());
    landlord.drop_tenant("gamma", "");
    landlord.wait_state("gamma", "running");
    landlord.landlord(&["restart", "beta"]).expect(0);
    assert!(landlord.stop().success());
    landlord.wait_nobody_left();
}

#[test]
fn a_program_that_cannot_follow_changes_nothing_and_says_why() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let (proxies, own) = (landlord.proxies(), runs(&landlord));
    let script = landlord.dir().join("script");
    fs::write(&script, "no program at all").expect("a file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    for (program, why) in [
        (Path::new("/bin/true"), "the offered program is no landlord"),
        (Path::new("/bin/false"), "the new program cannot go on from here: exit status 1"),
        (&script, "the offered program cannot be started"),
        (Path::new("/etc/passwd"), "the offered program cannot be started"),
    ] {
        let ran = offer(&landlord, program).expect(1);
        assert!(ran.said().contains("nothing has changed") && ran.said().contains(why), "{}", ran.said());
    }
    offer(&landlord, Path::new("/nowhere/landlord")).expect(1);
    // It waits for ever where a file should be.
    let generation = landlord.state().join("generation");
    let whole = fs::read(&generation).expect("the next number");
    fs::remove_file(&generation).expect("removed");
    nix::unistd::mkfifo(&generation, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let ran = offer(&landlord, &another(landlord.dir(), "silent")).expect(1);
    assert!(ran.said().contains("the new program has said nothing for 10 s"), "{}", ran.said());
    fs::remove_file(&generation).and_then(|()| fs::write(&generation, whole)).expect("put back");
    // What the running one has written down is more than the new one understands.
    let fleet = landlord.state().join("run/fleet/acme.json");
    let whole = fs::read(&fleet).expect("what is remembered of acme");
    fs::write(&fleet, &whole[..whole.len() / 2]).expect("torn");
    let ran = offer(&landlord, &another(landlord.dir(), "second")).expect(1);
    assert!(ran.said().contains("does not understand what is remembered of 1 tenant"), "{}", ran.said());
    assert!(
        !landlord
            .state()
            .join("run")
            .read_dir()
            .expect("a folder")
            .flatten()
            .any(|entry| { entry.file_name().to_string_lossy().starts_with("preflight") })
    );

    let after = landlord.entry("acme");
    assert_eq!((after.pid, after.restarts), (before.pid, 0));
    assert_eq!((landlord.proxies(), runs(&landlord)), (proxies, own));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_follows_a_program_that_was_replaced_and_settings_in_force_go_along() {
    let setup = Setup::new().tenant("acme", "");
    let landlord = setup.start();
    landlord.wait_state("acme", "running");
    let program = another(landlord.dir(), "installed");
    offer(&landlord, &program).expect(0);
    // As a package manager does: another file under the same name.
    let next = program.with_extension("new");
    fs::copy(&program, &next).expect("a copy");
    fs::rename(&next, &program).expect("replaced");
    eventually("the old one has no name any more", || runs(&landlord).to_str()?.ends_with(" (deleted)").then_some(()));
    // A file that is wrong now does not keep the next program from going on by what is in force.
    let config = landlord.config();
    let whole = fs::read_to_string(&config).expect("settings");
    fs::write(&config, "zone = 7").expect("written");
    let crowd = Traffic::start(landlord.site("acme"), Load::new(Kind::NewConnection, 50));
    crowd.wait_answered(10);
    assert!(process::signal(landlord.pid(), Signal::SIGHUP));
    eventually("the new file runs", || (runs(&landlord) == program).then_some(()));
    crowd.wait_answered(20);
    crowd.stop().assert_none_lost(30);
    fs::write(&config, whole).expect("written");
    landlord.landlord(&["reload"]).expect(0);
    assert_eq!(landlord.entry("acme").state, "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_in_the_middle_of_deploys_waits_for_them_and_ends_none() {
    let landlord = Setup::new().tenant("acme", "[deploy]\nstrategy = \"hold\"\n").tenant("beta", "").start();
    let (acme, beta) = (landlord.wait_state("acme", "running"), landlord.wait_state("beta", "running"));
    let crowds: Vec<Traffic> =
        ["acme", "beta"].map(|name| Traffic::start(landlord.site(name), Load::new(Kind::KeepAlive, 30))).into();
    Traffic::wait_all_answered(&crowds, 5);
    let orders: Vec<_> =
        ["acme", "beta"].map(|name| process::spawn(landlord.command(&["restart", name])).expect("an order")).into();
    offer(&landlord, &another(landlord.dir(), "second")).expect(0);
    for mut order in orders {
        let ended = process::wait(&mut order, Duration::from_secs(60)).expect("an end");
        assert!(ended.success());
    }
    Traffic::wait_all_answered(&crowds, 10);
    for report in crowds.into_iter().map(Traffic::stop) {
        report.assert_none_lost(10);
    }
    for (name, before) in [("acme", acme), ("beta", beta)] {
        let after = landlord.wait_state(name, "running");
        assert_eq!((after.generation > before.generation, after.restarts), (true, 0), "{name}");
    }
}

/// A program that answers as a test wants it to: a shell, for which `preflight` and `run` are scripts in the folder that the
/// master was started in.
fn shell(landlord: &Landlord, preflight: &str) -> PathBuf {
    fs::write(landlord.dir().join("preflight"), preflight).expect("a script");
    fs::write(landlord.dir().join("run"), "echo became >> became\n").expect("a script");
    let copy = landlord.dir().join("sh");
    fs::copy("/bin/sh", &copy).expect("a copy");
    copy
}

#[test]
fn a_landlord_that_is_told_to_stop_becomes_nobody_else() {
    let mut landlord = Setup::new()
        .scripted("stop_timeout = \"3s\"\n")
        .tenant("acme", "app = \"scripted\"\n[env]\nIGNORE_TERM = \"1\"\n")
        .start();
    landlord.wait_state("acme", "running");
    let said = "while ! test -e said; do /bin/sleep 0.02; done\necho landlord can go on from here\n";
    let program = shell(&landlord, &format!(": > looks\n{said}"));
    let mut command = landlord.command(&["upgrade".as_ref(), "--binary".as_ref(), program.as_os_str()]);
    command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let asker = process::spawn(command).expect("an order");
    eventually("it looks", || landlord.dir().join("looks").exists().then_some(()));
    assert!(process::signal(landlord.pid(), Signal::SIGTERM));
    landlord.err().wait_line("that it stops", 0, |line| line.contains("stopping"));
    fs::write(landlord.dir().join("said"), "").expect("a file");
    let answered = asker.wait_with_output().expect("an end");
    let words = String::from_utf8_lossy(&answered.stderr).into_owned() + &String::from_utf8_lossy(&answered.stdout);
    assert!(words.contains("nothing has changed: landlord is stopping"), "{words}");
    assert!(landlord.wait_exit().success());
    assert!(!landlord.dir().join("became").exists());
    landlord.wait_nobody_left();
}

#[test]
fn what_a_strange_program_leaves_running_is_not_waited_for() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let program = shell(&landlord, "/bin/sleep 120 &\necho $! > left\necho I would rather not\nexit 1\n");
    let ran = offer(&landlord, &program).expect(1);
    assert!(ran.said().contains("cannot go on from here: I would rather not"), "{}", ran.said());
    let left: u32 = fs::read_to_string(landlord.dir().join("left")).expect("a pid").trim().parse().expect("a number");
    assert!(process::alive(left), "its output is still open");
    assert_eq!(landlord.entry("acme").pid, before.pid);
    assert!(process::signal(left, Signal::SIGKILL));
}

/// The open descriptors of a process: number and what is behind it.
fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    let named = entries.flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let kind = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
        Some((number, kind.split(':').next().unwrap_or_default().to_owned()))
    });
    let mut all: Vec<_> = named.collect();
    all.sort();
    all
}

/// What a thread holds back.
fn blocked(pid: u32) -> Vec<(u32, u64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let masks = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("status")).ok()?;
        let mask = text.lines().find_map(|line| line.strip_prefix("SigBlk:"))?;
        Some((task.file_name().to_str()?.parse().ok()?, u64::from_str_radix(mask.trim(), 16).ok()?))
    });
    masks.collect()
}

/// Signals reach the master's own thread only, or one that is taken while it becomes another program would be lost.
#[track_caller]
fn hears(pid: u32) {
    let term = 1 << (Signal::SIGTERM as u32 - 1);
    for (thread, mask) in blocked(pid) {
        assert_eq!(mask & term == 0, thread == pid, "thread {thread} of {pid}: {mask:x}");
    }
}

#[test]
fn who_is_started_by_the_next_program_has_what_it_is_given_and_dies_with_it() {
    let mut landlord = Setup::new().tenant("acme", "app = \"scripted\"\n").start();
    let before = landlord.wait_state("acme", "running").pid.expect("a pid");
    let master = landlord.pid();
    hears(master);
    let expected = descriptors(before);
    let roles = |landlord: &Landlord| {
        let mut roles: Vec<_> = process::descendants(master)
            .into_iter()
            .filter(|pid| process::command_line(*pid).get(1).is_some_and(|verb| verb == "log" || verb == "proxy"))
            .collect();
        roles.sort_unstable();
        assert!(roles.contains(landlord.proxies().last().expect("a proxy")));
        roles
    };
    for (turn, name) in ["second", "third"].into_iter().enumerate() {
        offer(&landlord, &another(landlord.dir(), name)).expect(0);
        hears(master);
        landlord.drop_tenant(name, "app = \"scripted\"\n");
        let worker = landlord.wait_state(name, "running").pid.expect("a pid");
        let fresh = descriptors(worker);
        let numbers = |all: &[(u32, String)]| all.iter().filter(|(fd, _)| *fd <= 3).cloned().collect::<Vec<_>>();
        assert_eq!(numbers(&fresh), numbers(&expected), "turn {turn}");
        let inherited = |all: &[(u32, String)]| all.iter().filter(|(_, kind)| kind == "pipe").count();
        assert_eq!(inherited(&fresh), inherited(&expected), "{fresh:?}");
        assert!(fresh.len() <= expected.len() + 2, "{fresh:?} instead of {expected:?}");
        for pid in roles(&landlord).into_iter().chain([worker]) {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
            assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
        }
    }
    let all = process::descendants(master);
    assert!(all.len() >= 5, "{all:?}");
    landlord.kill();
    for pid in all {
        eventually("it has died with the master", || (!process::alive(pid)).then_some(()));
    }
}

#[test]
fn who_starts_waits_or_has_failed_goes_on_where_it_was() {
    let slow = "app = \"scripted\"\n[env]\nSTART_DELAY_MS = \"1500\"\n";
    let mut landlord = Setup::new()
        .scripted("")
        .tenant("acme", "app = \"scripted\"\n")
        .tenant("broken", "app = \"scripted\"\n[env]\nEXIT_AT_START = \"7\"\n")
        .tenant("off", "app = \"scripted\"\n")
        .start();
    let acme = landlord.wait_state("acme", "running");
    landlord.landlord(&["stop", "off"]).expect(0);
    landlord.wait_entry("broken", "some ends", |entry| entry.restarts >= 2);
    // More than may start at once, and each takes a while: the rest has a turn that has not come.
    let names: Vec<String> = (0..12).map(|number| format!("slow{number}")).collect();
    names.iter().for_each(|name| landlord.drop_tenant(name, slow));
    eventually("some start", || (landlord.status().len() == 15).then_some(()));
    offer(&landlord, &another(landlord.dir(), "second")).expect(0);
    let program = another(landlord.dir(), "third");
    offer(&landlord, &program).expect(0);
    assert_eq!(runs(&landlord), program);
    for name in &names {
        let entry = landlord.wait_state(name, "running");
        assert_eq!(entry.restarts, 0, "{name}");
    }
    let now = landlord.entry("acme");
    assert_eq!((now.pid, now.restarts), (acme.pid, 0));
    assert_eq!(landlord.entry("off").state, "stopped");
    let before = landlord.entry("broken").restarts;
    assert!(before >= 2, "what was counted is not forgotten");
    // One process for each that runs, and none twice.
    let workers = process::descendants(landlord.pid())
        .into_iter()
        .filter(|pid| process::command_line(*pid).first().is_some_and(|word| word.contains("scripted")))
        .count();
    assert!((13..=14).contains(&workers), "{workers} workers");
    assert!(landlord.stop().success());
    landlord.wait_nobody_left();
}

#[test]
fn whoever_waits_longer_than_an_upgrade_may_is_told_that_it_goes_on() {
    let landlord = Setup::new().scripted("").tenant("acme", "app = \"scripted\"\n").start();
    let before = landlord.wait_state("acme", "running");
    landlord.drop_tenant(
        "acme",
        "app = \"scripted\"\n[health]\nstart_timeout = \"2m\"\n[env]\nSTART_DELAY_MS = \"600000\"\n",
    );
    landlord.err().wait_line("a start of the next one", 0, |line| {
        line.contains("\"generation\":2") && line.contains("\"event\":\"start\"")
    });
    let mut watch = landlord.watch();
    let mut command = landlord.command(&["restart", "acme"]);
    command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let asker = process::spawn(command).expect("an order");
    let program = another(landlord.dir(), "second");
    offer(&landlord, &program).expect(0);
    assert_eq!(runs(&landlord), program);
    let answered = asker.wait_with_output().expect("an end");
    let words = String::from_utf8_lossy(&answered.stderr).into_owned() + &String::from_utf8_lossy(&answered.stdout);
    assert!(words.contains("becomes another program, which goes on with it"), "{words}");
    assert_eq!(answered.status.code(), Some(1));
    let now = landlord.entry("acme");
    assert_eq!((now.pid, now.restarts), (before.pid, 0), "the one before serves on");
    // Whoever only watches goes on watching.
    landlord.drop_tenant("late", "app = \"scripted\"\n");
    watch.until("late is seen", |fleet| fleet.iter().any(|entry| entry.name == "late" && entry.state == "running"));
}
