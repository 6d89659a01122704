//! A control group for each tenant, below the unit's own, on real systemds: whatever a worker does to get away, it is found there.
//! The machine's kernel divides nothing here; what limits do is in `systemd_limits`.

use std::fs;

use harness::{
    eventually,
    machine::{Install, SCRIPTED, Service, Version},
};

/// Starts what no look at `/proc` finds: in a session of its own, without parent, and with nothing in its environment.
fn fugitive() -> String {
    let script = format!("env -i /usr/bin/setsid --fork /usr/bin/env -i /bin/sleep 6001; exec {SCRIPTED}");
    format!(
        "[apps.fugitive]\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n"
    )
}

/// Paths of the unit's groups, its own left out.
fn groups(service: &Service) -> Vec<String> {
    let unit = format!("/sys/fs/cgroup{}", service.machine().property("landlord", "ControlGroup"));
    let found = service.machine().run(&["find", &unit, "-mindepth", "1", "-type", "d", "-printf", "%P\\n"]).expect(0);
    let mut groups: Vec<String> = found.stdout.lines().map(str::to_owned).filter(|path| path != ".control").collect();
    groups.sort();
    groups
}

/// The group of a process of the machine, below the unit's.
fn place(service: &Service, pid: u32) -> String {
    let text = service.machine().shell(&format!("cat /proc/{pid}/cgroup")).expect(0).stdout;
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).expect("a line of the unified hierarchy");
    path.rsplit_once("landlord.service")
        .map(|(_, below)| below.trim_matches('/').to_owned())
        .expect("a path of the unit")
}

/// How many processes have this in their command line.
fn sleepers(service: &Service) -> usize {
    let all = service.machine().run(&["ps", "-eo", "args"]).expect(0).stdout;
    all.lines().filter(|line| line.contains("/bin/sleep 6001")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_with_all_that_it_has_started_even_after_a_crash_of_the_master() {
    for version in Version::ALL {
        let install = Install::new(version).tables(&fugitive());
        let service = install.tenant("acme", "app = \"fugitive\"\n").tenant("calm", "").start();
        let machine = service.machine();
        let acme = service.wait_state("acme", "running");
        let calm = service.wait_state("calm", "running");
        let leaf = |tenant: &str, generation: Option<u64>| format!("t-{tenant}/g{}", generation.expect("a generation"));
        let leaves = [leaf("acme", acme.generation), leaf("calm", calm.generation)];

        // 254 and later put the master into a group themselves, and it moves there by itself under 252.
        let home = if version == Version::V252 { "main" } else { "master" };
        assert_eq!(place(&service, service.pid()), home, "{version:?}");
        assert_eq!(place(&service, acme.pid.expect("a pid")), leaves[0], "{version:?}");
        let wanted = [home, "roles", "t-acme", &leaves[0], "t-calm", &leaves[1]];
        assert_eq!(groups(&service), wanted, "{version:?}");
        assert_eq!(machine.processes("landlord").len(), 6, "{version:?}: master, proxy, log, two workers, a fugitive");
        assert_eq!(sleepers(&service), 1, "{version:?}");

        // What the unit forbids keeps nobody from counting, nor the tenant from reading what was counted.
        let storage = eventually("its folder is counted", || service.entry("acme").storage);
        assert_eq!(storage.state, "ok", "{version:?}");
        let told =
            machine.shell("stat -c '%U %a' /var/lib/landlord/signals/acme /var/lib/landlord/signals/acme/storage.json");
        assert_eq!(told.expect(0).stdout, "root 750\nroot 640\n", "{version:?}");

        // The next master finds everybody where they were, the fugitive as well, and takes none of them for a stranger.
        let master = service.pid();
        machine.run(&["kill", "-KILL", &master.to_string()]).expect(0);
        machine.wait_property("landlord", "NRestarts", "1");
        machine.wait_property("landlord", "ActiveState", "active");
        assert_ne!(service.pid(), master);
        assert_eq!(place(&service, service.pid()), home, "{version:?}");
        assert_eq!(service.wait_state("acme", "running").pid, acme.pid, "{version:?}: it goes on");
        assert_eq!(service.site("acme").get("/id/x").await.expect("an answer").text(), "x");
        assert_eq!((sleepers(&service), groups(&service)), (1, wanted.map(str::to_owned).to_vec()), "{version:?}");

        service.landlord(&["stop", "acme"]).expect(0);
        assert_eq!(sleepers(&service), 0, "{version:?}: it has stopped, and nothing of it is left");
        assert_eq!(groups(&service), [home, "roles", "t-acme", "t-calm", &leaves[1]], "{version:?}");
        service.remove_tenant("acme");
        eventually("its group goes with its file", || {
            (groups(&service) == [home, "roles", "t-calm", &leaves[1]]).then_some(())
        });
        assert_eq!(service.entry("calm").pid, calm.pid, "{version:?}");

        let unit = format!("/sys/fs/cgroup{}", machine.property("landlord", "ControlGroup"));
        service.stop();
        assert!(fs::metadata(machine.path(&unit)).is_err(), "{version:?}: {unit} is left");
        machine.systemctl(&["start", "landlord"]).expect(0);
        service.wait_state("calm", "running");
    }
}

#[test]
fn what_an_older_landlord_has_started_stays_until_it_is_replaced() {
    for version in Version::ALL {
        // As a unit of before: the groups are read-only, and everybody is in the unit's own.
        let closed = "[Service]\nReadWritePaths=\nDelegateSubgroup=\n";
        let service = Install::new(version).tenant("acme", "").drop_in("landlord.service", closed).start();
        let machine = service.machine();
        let before = service.wait_state("acme", "running");
        assert_eq!(
            (groups(&service), place(&service, before.pid.expect("a pid"))),
            (Vec::new(), String::new()),
            "{version:?}"
        );

        fs::remove_file(machine.path("/etc/systemd/system/landlord.service.d/test.conf")).expect("a drop-in");
        machine.systemctl(&["daemon-reload"]).expect(0);
        machine.run(&["kill", "-KILL", &service.pid().to_string()]).expect(0);
        machine.wait_property("landlord", "NRestarts", "1");
        machine.wait_property("landlord", "ActiveState", "active");
        let home = if version == Version::V252 { "main" } else { "master" };
        let after = service.wait_state("acme", "running");
        // The limits of before were the process's own, and those of now are a group's where the kernel divides; here it does not.
        assert_eq!(
            (after.pid, place(&service, before.pid.expect("a pid")).as_str()),
            (before.pid, home),
            "{version:?}"
        );
        assert_eq!(place(&service, service.pid()), home, "{version:?}");

        machine.run(&["kill", "-KILL", &before.pid.expect("a pid").to_string()]).expect(0);
        let next = eventually("the next one", || {
            Some(service.entry("acme")).filter(|e| e.state == "running" && e.pid != before.pid)
        });
        let place = place(&service, next.pid.expect("a pid"));
        assert_eq!(place, format!("t-acme/g{}", next.generation.expect("a generation")), "{version:?}");
    }
}

#[test]
fn what_no_group_limits_here_each_process_is_limited_in_by_itself() {
    let limits = |memory: &str| format!("limits = {{ memory = {memory:?}, nice = 5, processes = 99 }}\n");
    let service = Install::new(Version::V257).tenant("acme", &limits("1G")).start();
    let machine = service.machine();
    let before = service.wait_state("acme", "running");
    let rows = |pid: u32| {
        let text = machine.read(&format!("/proc/{pid}/limits"));
        let row = |name: &str| text.lines().find(|line| line.starts_with(name)).expect("a row").to_owned();
        [row("Max data size"), row("Max processes"), row("Max core file size")]
            .map(|row| row.split_whitespace().rev().nth(1).expect("the hard limit").to_owned())
    };
    let pid = before.pid.expect("a pid");
    assert_eq!(rows(pid), ["1073741824", "99", "1"]);
    assert_eq!(machine.read(&format!("/proc/{pid}/oom_score_adj")).trim(), "300");
    assert_eq!(machine.run(&["ps", "-o", "nice=", "-p", &pid.to_string()]).expect(0).stdout.trim(), "5");

    // A process has these from its start: a change needs another one.
    service.drop_tenant("acme", limits("2G"));
    let fleet = service.watch().until("the next generation serves", |fleet| {
        fleet.iter().any(|entry| entry.state == "running" && entry.generation > before.generation)
    });
    assert_eq!(rows(fleet[0].pid.expect("a pid"))[0], "2147483648");
}
