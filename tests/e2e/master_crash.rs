//! `kill -9` of the master under systemd: visitors and workers do not notice, and the next one goes on where it ended.

use std::collections::BTreeMap;

use harness::{
    eventually,
    machine::{Install, Service, Version},
    traffic::{Kind, Load, Traffic},
};

/// Every process of the unit but the master, with its command.
fn staff(service: &Service) -> BTreeMap<u32, String> {
    let master = service.pid();
    let processes = service.machine().processes("landlord").into_iter().filter(|pid| *pid != master);
    let named = processes.filter_map(|pid| {
        let line = std::fs::read_to_string(service.machine().path(&format!("/proc/{pid}/cmdline"))).ok()?;
        Some((pid, line.replace('\0', " ")))
    });
    named.filter(|(_, line)| !line.is_empty() && !line.contains("systemctl")).collect()
}

/// Kills the master and waits for the next one.
fn crash(service: &Service) -> u32 {
    let before = service.pid();
    service.machine().run(&["kill", "-KILL", &before.to_string()]).expect(0);
    let after = eventually("another master", || Some(service.pid()).filter(|pid| *pid != before && *pid != 0));
    service.machine().wait_property("landlord", "ActiveState", "active");
    after
}

fn crowds(service: &Service, tenants: &[&str]) -> Vec<Traffic> {
    let pairs = tenants.iter().flat_map(|tenant| Kind::ALL.into_iter().map(move |kind| (tenant, kind)));
    pairs.map(|(tenant, kind)| Traffic::start(service.site(tenant), Load::new(kind, 20))).collect()
}

#[allow(clippy::print_stdout, reason = "the figures are what this test is read for")]
fn none_lost(what: &str, crowds: Vec<Traffic>) {
    for report in crowds.into_iter().map(Traffic::stop) {
        println!("{what}: {report}");
        report.assert_none_lost(50);
    }
}

/// The scripted worker that binds its port itself, and beside it a child that counts aloud for as long as it lives.
const COUNTING: &str = "[apps.counting]\nlisten = \"port\"\nhealth = \"/healthz\"\ncommand = [\"/bin/sh\", \"-c\", \
    \"n=0; while :; do n=$((n+1)); echo $n > tmp/n && echo beat $n.; sleep 0.02; done & exec /usr/lib/landlord-tests/scripted\"]\n";

/// A migration that takes its time, and counts how often it was begun and ended.
const MIGRATING: &str = "[apps.migrating]\nlisten = \"inherit\"\nhealth = \"/healthz\"\nversion = \"1\"\n\
    command = [\"/usr/lib/landlord-tests/scripted\"]\nmigrate = [\"/bin/sh\", \"-c\", \
    \"echo begun >> instance/steps; test ! -e files/slowly || sleep 3; echo ended >> instance/steps\"]\n";

/// The numbers that a tenant of that app has said, as they are in its log.
fn beats(service: &Service, name: &str) -> Vec<u64> {
    let said = service.landlord(&["logs", name, "-n", "100000"]).expect(0).stdout;
    let beat = |line: &str| line.split_once("beat ")?.1.strip_suffix('.')?.parse().ok();
    said.lines().filter_map(beat).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_crashes_lose_no_request_no_worker_and_no_word() {
    for version in Version::ALL {
        let service = Install::new(version)
            .tables(COUNTING)
            .tenant("acme", "")
            .tenant("beta", "app = \"counting\"\n")
            .tenant("idle", "suspended = true\n")
            .start();
        let workers = ["acme", "beta"].map(|name| service.wait_state(name, "running"));
        let staff_before = staff(&service);
        assert!(staff_before.len() >= 4, "log, proxy and two workers: {staff_before:?}");
        let crowds = crowds(&service, &["acme", "beta"]);
        Traffic::wait_all_answered(&crowds, 20);
        for number in 1..=5 {
            crash(&service);
            // Nothing is waited for: whoever asks is answered by what was taken over.
            for before in &workers {
                let now = service.entry(&before.name);
                let same = (before.pid, before.generation, before.port, before.restarts);
                assert_eq!((now.pid, now.generation, now.port, now.restarts), same, "{version:?}, crash {number}");
                assert_eq!(now.state, "running");
            }
            assert_eq!(service.entry("idle").state, "suspended");
            Traffic::wait_all_answered(&crowds, 10);
        }
        let lasting = |staff: BTreeMap<u32, String>| {
            staff.into_iter().filter(|(_, line)| !line.starts_with("sleep")).collect::<BTreeMap<_, _>>()
        };
        let before = lasting(staff_before);
        // A shell that is about to become a `sleep` still has its own name.
        eventually("the very same processes, and no other", || (lasting(staff(&service)) == before).then_some(()));

        // The new master is as good as the old one: it lets in, deploys, and notices the end of a worker that it adopted.
        service.drop_tenant("late", "");
        service.wait_state("late", "running");
        service.landlord(&["restart", "acme"]).expect(0);
        assert_ne!(service.entry("acme").pid, workers[0].pid);
        Traffic::wait_all_answered(&crowds, 10);
        none_lost(&format!("{version:?}, five crashes and a deploy"), crowds);

        let before = beats(&service, "beta").len();
        let heard = eventually("an adopted worker's words are in its log", || {
            Some(beats(&service, "beta")).filter(|heard| heard.len() > before)
        });
        let wrong = heard.iter().zip(1..).find(|(said, expected)| **said != *expected);
        assert_eq!(wrong, None, "{version:?}: a word was lost, torn or told twice");

        let beta = service.entry("beta").pid.expect("a pid");
        service.machine().run(&["kill", "-KILL", &beta.to_string()]).expect(0);
        eventually("the end of an adopted worker is noticed", || {
            Some(service.entry("beta")).filter(|now| now.state == "running" && now.pid != Some(beta))
        });
        service.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_of_a_deploy_loses_nothing() {
    let service = Install::new(Version::V257)
        .tables(MIGRATING)
        .tenant("acme", "")
        .tenant("beta", "app = \"migrating\"\n")
        .start();
    let before = service.wait_state("acme", "running");
    service.wait_state("beta", "running");
    let crowds = crowds(&service, &["acme", "beta"]);
    Traffic::wait_all_answered(&crowds, 20);

    // By overlap: the new worker takes a while, and the crash comes while it does.
    service.drop_tenant("acme", "[env]\nSTART_DELAY_MS = \"700\"\n");
    eventually("two generations", || {
        let workers = staff(&service).into_values().filter(|line| line.contains("scripted")).count();
        (workers == 3).then_some(())
    });
    crash(&service);
    let after = eventually("the new generation serves", || {
        Some(service.entry("acme")).filter(|now| now.state == "running" && now.generation != before.generation)
    });
    assert_eq!(after.restarts, 0);

    // By hold: the crash comes while the data is being migrated, which is undone and done again.
    let machine = service.machine();
    let folder = "/var/lib/landlord/tenants/beta";
    machine.shell(&format!("touch {folder}/files/slowly")).expect(0);
    let steps = || machine.read(&format!("{folder}/instance/steps"));
    assert_eq!(steps(), "begun\nended\n", "once, before the first start");
    let config = machine.read("/etc/landlord/landlord.toml").replace("version = \"1\"", "version = \"2\"");
    machine.write("/etc/landlord/landlord.toml", config);
    eventually("the migration has begun", || (steps() == "begun\nended\nbegun\n").then_some(()));
    crash(&service);
    let beta = eventually("the migrated generation serves", || {
        Some(service.entry("beta")).filter(|now| now.state == "running" && steps().matches("ended").count() == 2)
    });
    assert_eq!(steps(), "begun\nended\nbegun\nended\n", "what was half done was put back first");
    assert_eq!(beta.restarts, 0);
    Traffic::wait_all_answered(&crowds, 10);
    none_lost("a crash in the middle of each kind of deploy", crowds);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_over_is_ended_and_started_anew() {
    let service = Install::new(Version::V257).tenant("acme", "").tenant("beta", "").tenant("gone", "").start();
    let machine = service.machine();
    let pid = |name: &str| service.wait_state(name, "running").pid.expect("a pid");
    let (acme, beta, gone) = (pid("acme"), pid("beta"), pid("gone"));
    let alive = |pid: u32| machine.path(&format!("/proc/{pid}/cmdline")).exists();
    let crowd = Traffic::start(service.site("beta"), Load::new(Kind::KeepAlive, 30));
    crowd.wait_answered(10);

    // A worker whose number is another's now: what is written says that it began at another time. Without a sum, as if an
    // older landlord had written it.
    let file = "/run/landlord/fleet/acme.json";
    let mut memory: serde_json::Value = serde_json::from_str(&machine.read(file)).expect("JSON");
    memory.as_object_mut().expect("an object").remove("sum").expect("a sum");
    let process = memory.pointer_mut("/record/leases/0/process/1/started").expect("when it began");
    *process = serde_json::json!(7);
    machine.shell(&format!("cp -p {file} {file}.next")).expect(0);
    std::fs::write(machine.path(&format!("{file}.next")), memory.to_string()).expect("written");
    machine.shell(&format!("mv {file}.next {file}")).expect(0);
    // One that ends while nobody looks, and a process that nobody answers for.
    let group = machine.property("landlord", "ControlGroup");
    let join = format!("echo \\$\\$ > /sys/fs/cgroup{group}/cgroup.procs; exec sleep 600");
    machine.shell(&format!("setsid --fork sh -c \"{join}\" </dev/null >/dev/null 2>&1")).expect(0);
    eventually("the stray has joined", || {
        staff(&service).values().any(|line| line.contains("sleep 600")).then_some(())
    });
    let master = service.pid();
    machine.run(&["kill", "-KILL", &gone.to_string(), &master.to_string()]).expect(0);
    eventually("another master", || Some(service.pid()).filter(|pid| *pid != master && *pid != 0));
    for (name, old) in [("acme", acme), ("gone", gone)] {
        eventually(format_args!("{name} has another worker"), || {
            Some(service.entry(name)).filter(|now| now.state == "running" && now.pid != Some(old))
        });
        assert!(!alive(old), "{name}: two workers on one database");
    }
    assert_eq!(service.entry("beta").pid, Some(beta));
    assert!(!staff(&service).values().any(|line| line.contains("sleep 600")), "the stray has ended");

    // A file that cannot be read hurts its own tenant only.
    let whole = machine.read(file);
    std::fs::write(machine.path(file), &whole[..whole.len() / 2]).expect("written");
    let acme = pid("acme");
    crash(&service);
    eventually("acme is started anew", || {
        Some(service.entry("acme")).filter(|now| now.state == "running" && now.pid != Some(acme))
    });
    assert!(!alive(acme));
    let aside = machine.shell("ls /run/landlord/fleet").expect(0).stdout;
    assert!(aside.contains("acme.json.bad-"), "{aside}");

    // The proxy and the log role together with the master: new visitors wait for the next one.
    let roles = staff(&service).into_iter().filter(|(_, line)| line.contains("--link")).map(|(pid, _)| pid.to_string());
    let kill: Vec<String> =
        ["kill".into(), "-KILL".into()].into_iter().chain(roles).chain([service.pid().to_string()]).collect();
    crowd.wait_answered(50);
    crowd.stop().assert_none_lost(50);
    machine.run(&kill).expect(0);
    assert_eq!(service.site("beta").get("/id/x").await.expect("an answer").text(), "x");
    assert_eq!(service.wait_state("beta", "running").pid, Some(beta));
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_refuses_nobody() {
    let service = Install::new(Version::V257).tenant("acme", "").start();
    let mut before = service.wait_state("acme", "running").pid;
    let crowd = Traffic::start(service.site("acme"), Load::new(Kind::NewConnection, 30));
    crowd.wait_answered(20);
    for _ in 0..3 {
        service.machine().systemctl(&["restart", "landlord"]).expect(0);
        // Whoever comes in between waits in the queue of a socket that was never closed.
        crowd.wait_answered(20);
        let after = service.wait_state("acme", "running").pid;
        assert_ne!(after, before, "a restart is an end and a beginning");
        before = after;
    }
    none_lost("three times systemctl restart", vec![crowd]);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_cannot_stop_leaves_nobody_behind() {
    for version in Version::ALL {
        let service = Install::new(version)
            .tenant("acme", "[env]\nGRANDCHILD = \"1\"\nIGNORE_TERM = \"1\"\n")
            .drop_in("landlord.service", "[Service]\nKillSignal=SIGWINCH\nTimeoutStopSec=1s\n")
            .start();
        service.wait_state("acme", "running");
        let machine = service.machine();
        let group = machine.property("landlord", "ControlGroup");
        assert!(staff(&service).len() >= 4, "log, proxy, a worker and its grandchild");
        // The signal that it is sent means nothing to it: it is killed, and then what it had started.
        machine.systemctl(&["stop", "landlord"]);
        assert_eq!(machine.property("landlord", "Result"), "timeout", "{version:?}");
        let left = machine.shell(&format!("find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} +"));
        assert_eq!(left.stdout, "", "{version:?}: processes are left");
        machine.systemctl(&["start", "landlord"]).expect(0);
        assert_eq!(service.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    }
}

/// Twenty instants, each a little after something was begun: xorshift, from a seed that a failing run prints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "a seed that nobody sees repeats nothing")]
async fn a_crash_at_any_instant_comes_to_what_the_files_say() {
    const CRASHES: u32 = 20;
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let mut state: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) << 17 | 1);
    println!("SEED={state}");
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let service = Install::new(Version::V257).tenant("steady", "").tenant("t0", "").start();
    let steady = service.wait_state("steady", "running");
    let crowd = Traffic::start(service.site("steady"), Load::new(Kind::KeepAlive, 30));
    let mut wanted = BTreeMap::from([(0, 0)]);
    for number in 1..=CRASHES {
        let tenant = random(5);
        wanted.insert(tenant, number);
        service.drop_tenant(&format!("t{tenant}"), format!("[env]\nMARK = \"{number}\"\n"));
        // The files are read 100 ms after the last change; a deploy takes about as long.
        tokio::time::sleep(std::time::Duration::from_millis(random(400))).await;
        let master = service.pid();
        if master != 0 {
            service.machine().run(&["kill", "-KILL", &master.to_string()]);
        }
    }
    service.machine().wait_property("landlord", "ActiveState", "active");
    for (tenant, mark) in &wanted {
        let name = format!("t{tenant}");
        eventually(format_args!("{name} is what its file says"), || {
            (service.entry(&name).state == "running").then_some(())
        });
        let site = service.site(&name);
        harness::eventually_async(format_args!("{name} serves mark {mark}"), async || {
            let told = site.get("/generation").await.ok()?.text();
            (*mark == 0 || told.contains(&format!("\"{mark}\""))).then_some(())
        })
        .await;
    }
    let now = service.entry("steady");
    assert_eq!((now.pid, now.restarts), (steady.pid, 0));
    crowd.stop().assert_none_lost(50);
    eventually("one worker a tenant, a log role and a proxy, and nobody else", || {
        let staff = staff(&service);
        let workers = staff.values().filter(|line| line.contains("scripted")).count();
        (workers == wanted.len() + 1 && staff.len() == workers + 2).then_some(())
    });
    service.stop();
}
