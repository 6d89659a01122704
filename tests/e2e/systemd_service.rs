//! landlord.service on real systemds: active when it serves, watched, sandboxed, and ended as promised.

use std::{collections::BTreeMap, thread};

use harness::{
    eventually,
    machine::{Install, Service, Version, units},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_active_when_the_proxy_serves_and_waits_for_no_worker() {
    for version in Version::ALL {
        let slow = "[env]\nSTART_DELAY_MS = \"600000\"\n[health]\nstart_timeout = \"10m\"\n";
        let service = Install::new(version).tenant("acme", "").tenant("slow", slow).start();
        // The visitor may come before acme's worker is there, and is held until then.
        let answer = service.site("acme").get("/id/x").await.expect("an answer");
        assert_eq!(answer.text(), "x", "{version:?}");
        assert_eq!(service.entry("slow").state, "starting");

        let machine = service.machine();
        let journal = machine.journal("landlord");
        let line = |what: &str, wanted: &dyn Fn(&str) -> bool| {
            journal.lines().position(wanted).unwrap_or_else(|| panic!("{what} is not in the journal:\n{journal}"))
        };
        let serves = line("the proxy's readiness", &|line| line.contains("proxy") && line.contains("ready"));
        let active = line("the unit's", &|line| line.starts_with("Started landlord.service"));
        assert!(serves < active, "{version:?}: active before it served:\n{journal}");
        eventually("systemctl tells how many are served", || {
            (machine.property("landlord", "StatusText") == "serving 1 of 2 tenants").then_some(())
        });
        service.remove_tenant("slow");
        eventually("and when that changes", || {
            (machine.property("landlord", "StatusText") == "serving 1 of 1 tenant").then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_who_is_there_and_leaves_no_process() {
    for version in Version::ALL {
        let service = Install::new(version)
            .tables("[apps.stubborn]\ncommand = [\"/usr/lib/landlord-tests/scripted\"]\nlisten = \"inherit\"\nhealth = \"/healthz\"\nstop_timeout = \"4s\"\n")
            .tenant("acme", "")
            .tenant("stubborn", "app = \"stubborn\"\n[env]\nIGNORE_TERM = \"1\"\nGRANDCHILD = \"1\"\n")
            // The unit's own timeout is shorter than what this stop takes: the master asks for the time that it needs.
            .drop_in("landlord.service", "[Service]\nTimeoutStopSec=2s\n")
            .start();
        service.wait_state("acme", "running");
        service.wait_state("stubborn", "running");
        let machine = service.machine();
        let group = machine.property("landlord", "ControlGroup");
        assert!(machine.processes("landlord").len() >= 6, "master, log, proxy, two workers and a grandchild");

        let site = service.site("acme");
        let mut visitor = site.h1().await.expect("a connection");
        visitor.send(site.message("GET", "/slow/1000", &[], b"")).await.expect("sent");
        eventually("the worker has the request", || {
            let log = service.landlord(&["status", "--json"]).expect(0);
            log.stdout.contains("running").then_some(())
        });
        let stopping = thread::scope(|scope| {
            let stop = scope.spawn(|| machine.systemctl(&["stop", "landlord"]));
            let answer = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async { visitor.response().await.expect("an answer") })
            });
            assert_eq!(answer.status, 200, "{version:?}");
            stop.join().expect("systemctl does not panic")
        });
        stopping.expect(0);
        assert_eq!(machine.property("landlord", "ActiveState"), "inactive", "{version:?}");
        assert_eq!(machine.property("landlord", "Result"), "success", "not by a timeout, not by a signal");
        let held = machine.shell(&format!("find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} +"));
        assert_eq!(held.stdout, "", "{version:?}: the unit's cgroup is not empty");
        let all = machine.run(&["ps", "-eo", "args"]).expect(0).stdout;
        let left: Vec<&str> = all
            .lines()
            .filter(|line| ["landlord", "scripted", "sleep"].iter().any(|ours| line.contains(ours)))
            .collect();
        assert!(left.is_empty(), "{version:?}: processes are left: {left:?}");
        assert!(!machine.path("/run/landlord").exists());
        assert!(machine.path("/var/lib/landlord/tenants/acme").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hangs_is_started_again_and_one_that_idles_is_not() {
    for version in Version::ALL {
        let service =
            Install::new(version).tenant("acme", "").drop_in("landlord.service", "[Service]\nWatchdogSec=2s\n").start();
        service.wait_state("acme", "running");
        let machine = service.machine();
        // Nothing happens in the house, and its loop still says that it goes round.
        let sign = || machine.property("landlord", "WatchdogTimestampMonotonic");
        let mut last = sign();
        for number in 1..=4 {
            last = eventually(format_args!("sign of life {number}"), || Some(sign()).filter(|now| *now != last));
        }
        assert_eq!(machine.property("landlord", "NRestarts"), "0", "{version:?}");

        let hung = service.pid();
        machine.run(&["kill", "-STOP", &hung.to_string()]).expect(0);
        machine.wait_property("landlord", "NRestarts", "1");
        machine.wait_property("landlord", "ActiveState", "active");
        assert_ne!(service.pid(), hung);
        assert!(machine.journal("landlord").contains("Watchdog timeout"));
        service.wait_state("acme", "running");
        assert_eq!(service.site("acme").get("/id/x").await.expect("an answer").text(), "x", "{version:?}");
    }
}

/// The capability sets of capabilities(7) as the kernel shows them, and whether more can be gained.
fn privileges(service: &Service, pid: u32) -> BTreeMap<String, String> {
    let status = service.machine().read(&format!("/proc/{pid}/status"));
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    let wanted = fields.filter(|(name, _)| name.starts_with("Cap") || *name == "NoNewPrivs");
    wanted.map(|(name, value)| (name.to_owned(), value.trim().trim_start_matches('0').to_owned())).collect()
}

#[test]
fn the_master_has_few_capabilities_and_everybody_else_none() {
    for version in Version::ALL {
        let service = Install::new(version).tenant("acme", "").start();
        let worker = service.wait_state("acme", "running").pid.expect("a pid");
        let machine = service.machine();
        let master = service.pid();
        // CHOWN 0, DAC_OVERRIDE 1, DAC_READ_SEARCH 2, FOWNER 3, KILL 5, SETGID 6, SETUID 7, SETPCAP 8, NET_BIND_SERVICE 10,
        // SYS_PTRACE 19.
        assert_eq!(privileges(&service, master)["CapBnd"], "805ef", "{version:?}");
        let mut others = machine.processes("landlord");
        others.retain(|pid| *pid != master);
        assert!(others.contains(&worker) && others.len() >= 3, "log, proxy, worker: {others:?}");
        for pid in others {
            let name = machine.read(&format!("/proc/{pid}/cmdline")).replace('\0', " ");
            if name.starts_with("/usr/bin/systemctl") {
                continue;
            }
            let has = privileges(&service, pid);
            assert_eq!(has.get("NoNewPrivs").map(String::as_str), Some("1"), "{version:?}: {name}");
            assert!(has.iter().all(|(set, value)| !set.starts_with("Cap") || value.is_empty()), "{name}: {has:?}");
        }
    }
}

#[test]
fn the_units_are_right_and_little_is_exposed() {
    for version in Version::ALL {
        let service = Install::new(version).boot();
        let machine = service.machine();
        for (name, _) in units().into_iter().filter(|(name, _)| !name.ends_with(".conf")) {
            let instance = name.replace("@.", "@acme.");
            let ran = machine.run(&["systemd-analyze", "verify", "--man=no", "--recursive-errors=one", &instance]);
            assert_eq!((ran.code, ran.said().as_str()), (0, ""), "{version:?}: {name}");
        }
        // The installed unit with its drop-ins, as systemd reads it. In tenths: 4.0.
        let judge = ["systemd-analyze", "security", "--offline=yes", "--threshold=40", "landlord.service"];
        let ran = machine.run(&judge);
        let verdict = ran.stdout.lines().last().unwrap_or_default().to_owned();
        assert_eq!(ran.code, 0, "{version:?}: {verdict}");
        assert!(verdict.contains("Overall exposure level"), "{version:?}: {}", ran.said());
    }
}

#[test]
fn every_directive_that_costs_exposure_is_explained_in_the_unit() {
    let unit = units().into_iter().find(|(name, _)| name == "landlord.service").expect("the unit").1;
    let service = Install::new(Version::V257).boot();
    let ran =
        service.machine().run(&["systemd-analyze", "security", "--offline=yes", "--json=short", "landlord.service"]);
    let table: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).expect("a JSON table");
    assert!(table.len() > 60, "{}", ran.said());
    for row in table.iter().filter(|row| row["exposure"].as_str().is_some_and(|exposure| exposure != "0.0")) {
        let name = row["name"].as_str().expect("a name");
        // `User=/DynamicUser=`, `RestrictNamespaces=~user`, `CapabilityBoundingSet=~CAP_KILL`
        let directive = name.split(['=', '/']).next().expect("a word");
        assert!(unit.contains(&format!("{directive}=")), "{name} is open, and the unit does not say why");
    }
}
