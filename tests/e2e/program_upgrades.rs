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
        let newest = *landlord.proxies().last().expect("a proxy");
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
        assert_eq!(then.since, now.since, "for as long as before");
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
