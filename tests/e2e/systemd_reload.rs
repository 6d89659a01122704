//! `systemctl reload landlord` on real systemds: it waits for what it began, and no visitor notices.

use harness::{
    machine::{Install, Service, Version},
    traffic::{Kind, Load, Report, Traffic},
};

/// The pid of the newest proxy, as `landlord status` has it.
fn proxy(service: &Service) -> u32 {
    let serving = |pid: &u32| {
        // One that has ended meanwhile has none.
        let name = std::fs::read_to_string(service.machine().path(&format!("/proc/{pid}/cmdline"))).unwrap_or_default();
        name.split('\0').nth(1) == Some("proxy")
    };
    service.machine().processes("landlord").into_iter().filter(serving).max().expect("a proxy")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_waits_and_loses_nothing() {
    for version in Version::ALL {
        let service = Install::new(version).tenant("acme", "").start();
        let worker = service.wait_state("acme", "running");
        let (master, machine) = (service.pid(), service.machine());
        let crowds: Vec<Traffic> =
            Kind::ALL.into_iter().map(|kind| Traffic::start(service.site("acme"), Load::new(kind, 30))).collect();
        Traffic::wait_all_answered(&crowds, 6);
        let mut last = proxy(&service);
        for number in 0..3 {
            machine.systemctl(&["reload", "landlord"]).expect(0);
            let now = proxy(&service);
            assert_ne!(now, last, "{version:?}: another proxy serves when reload {number} is done");
            assert_eq!(machine.property("landlord", "ActiveState"), "active");
            last = now;
            Traffic::wait_all_answered(&crowds, 6);
        }
        let reports: Vec<Report> = crowds.into_iter().map(Traffic::stop).collect();
        reports.iter().for_each(|report| report.assert_none_lost(15));
        let after = service.entry("acme");
        assert_eq!((service.pid(), after.pid, after.restarts), (master, worker.pid, 0), "{version:?}");
        assert_eq!(machine.property("landlord", "NRestarts"), "0");
    }
}

#[test]
fn a_tenant_file_that_is_there_before_a_reload_is_known_after_it() {
    for version in Version::ALL {
        let service = Install::new(version).start();
        for number in 0..3 {
            let name = format!("acme{number}");
            service.drop_tenant(&name, "");
            service.machine().systemctl(&["reload", "landlord"]).expect(0);
            // No waiting here: the file was read before systemctl was told that the reload is done.
            assert!(!service.entry(&name).state.is_empty(), "{version:?}");
        }
    }
}

/// systemctl has no failed reload of this type, so whoever asked for it must find elsewhere what was not done.
#[test]
fn a_reload_that_was_no_upgrade_is_told_and_costs_nothing() {
    let service = Install::new(Version::V257).tenant("acme", "").start();
    let before = service.wait_state("acme", "running");
    let (master, machine) = (service.pid(), service.machine());
    let name = || machine.read(&format!("/proc/{master}/comm"));
    machine.shell("cp --preserve /usr/bin/landlord /root/landlord && printf x >>/root/landlord").expect(0);
    machine.write("/usr/bin/landlord", "no program");
    machine.systemctl(&["reload", "landlord"]).expect(0);
    let told = machine.run(&["/root/landlord", "status"]).expect(0).stdout;
    assert!(told.contains("the reload was no upgrade"), "{told}");
    assert!(machine.journal("landlord").contains("stays the program that it was"));

    machine.run(&["mv", "/root/landlord", "/usr/bin/landlord"]).expect(0);
    machine.systemctl(&["reload", "landlord"]).expect(0);
    let told = service.landlord(&["status"]).expect(0).stdout;
    assert!(!told.contains("the reload was no upgrade"), "{told}");
    assert!(machine.journal("landlord").contains("another program runs now"));
    assert_eq!(name(), "landlord\n", "and not the number of the descriptor that was executed");

    let settings = machine.read("/etc/landlord/landlord.toml");
    machine.write("/etc/landlord/landlord.toml", settings.replace("\"apps.test\"", "\"other.test\""));
    machine.systemctl(&["reload", "landlord"]).expect(0);
    let told = service.landlord(&["status"]).expect(0).stdout;
    assert!(told.contains("for the next start of landlord: zone\n"), "what was changed, and nothing else: {told}");

    machine.write("/etc/landlord/landlord.toml", "zoone = 1\n");
    machine.systemctl(&["reload", "landlord"]).expect(0);
    let wrong = machine.journal("landlord").matches("landlord.toml is wrong").count();
    assert_eq!(wrong, 1, "once, however often the file is read");
    assert_eq!((service.pid(), service.entry("acme").pid), (master, before.pid));
}
