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
