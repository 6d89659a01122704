//! landlord@NAME on real systemds: systemctl acts on one tenant, shows it, and is believed like any operator.

use harness::{
    Entry, eventually,
    machine::{Install, Service, Version},
};

const UNIT: &str = "landlord@acme";

fn wait_unit(service: &Service, name: &str, state: &str) {
    service.machine().wait_property(&format!("landlord@{name}"), "ActiveState", state);
}

/// Two tenants that run, and their units are up.
fn two(version: Version) -> (Service, Entry, Entry) {
    let service = Install::new(version).tenant("acme", "").tenant("beta", "").start();
    let (acme, beta) = (service.wait_state("acme", "running"), service.wait_state("beta", "running"));
    wait_unit(&service, "acme", "active");
    wait_unit(&service, "beta", "active");
    (service, acme, beta)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemctl_acts_on_one_tenant_and_is_remembered() {
    for version in Version::ALL {
        let (service, first, beta) = two(version);
        let machine = service.machine();
        let systemctl = |args: &[&str]| machine.systemctl(args).expect(0);

        systemctl(&["stop", UNIT]);
        let stopped = service.entry("acme");
        assert_eq!((stopped.state.as_str(), stopped.pid), ("stopped", None), "{version:?}: done when it says so");
        assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");
        assert_eq!(service.site("acme").get("/").await.expect("a page").status, 503);

        // Remembered: landlord comes back, beta comes back, acme does not.
        systemctl(&["restart", "landlord"]);
        service.wait_state("beta", "running");
        assert_eq!(service.entry("acme").state, "stopped", "{version:?}");
        wait_unit(&service, "beta", "active");
        assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");

        systemctl(&["start", UNIT]);
        let second = service.entry("acme");
        assert_eq!(second.state, "running", "{version:?}: it serves when systemctl is back");
        assert_eq!(service.site("acme").get("/id/x").await.expect("an answer").text(), "x");
        systemctl(&["restart", UNIT]);
        let third = service.entry("acme");
        assert_eq!(third.state, "running");
        assert!(third.generation > second.generation && second.generation > first.generation);
        assert_eq!(machine.property(UNIT, "ActiveState"), "active");
        let now = service.entry("beta");
        assert_ne!(now.pid, beta.pid, "landlord was restarted once");
        assert_eq!(now.restarts, 0);

        let shown = machine.systemctl(&["status", "--no-pager", "--full", UNIT]).expect(0).stdout;
        let pid = format!("pid {}", third.pid.expect("a pid"));
        let url = format!("https://acme.apps.test:{}", service.ports().https());
        assert!(shown.contains("active (exited)") && shown.contains(&pid) && shown.contains(&url), "{shown}");
    }
}

#[test]
fn the_unit_follows_what_landlord_is_told() {
    for version in Version::ALL {
        let (service, ..) = two(version);
        service.landlord(&["stop", "acme"]).expect(0);
        wait_unit(&service, "acme", "inactive");
        // At once again, and many times: the unit's own words come late, and must not undo an operator's.
        for _ in 0..5 {
            service.landlord(&["start", "acme"]).expect(0);
            service.landlord(&["stop", "acme"]).expect(0);
        }
        service.landlord(&["start", "acme"]).expect(0);
        wait_unit(&service, "acme", "active");
        assert_eq!(service.entry("acme").state, "running", "{version:?}");

        service.drop_tenant("gamma", "");
        service.wait_state("gamma", "running");
        wait_unit(&service, "gamma", "active");
        service.drop_tenant("gamma", "suspended = true\n");
        wait_unit(&service, "gamma", "inactive");
        assert_ne!(service.machine().systemctl(&["start", "landlord@gamma"]).code, 0, "its file says so");
        service.remove_tenant("acme");
        wait_unit(&service, "acme", "inactive");
        assert_eq!(service.machine().property("landlord@beta", "ActiveState"), "active");
    }
}

#[test]
fn a_stop_of_landlord_is_no_wish_about_a_tenant() {
    for version in Version::ALL {
        let (service, ..) = two(version);
        let machine = service.machine();
        // Together with the tenants' units, as a shutdown may.
        machine.systemctl(&["stop", "landlord", UNIT, "landlord@beta"]).expect(0);
        assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");
        machine.systemctl(&["start", "landlord"]).expect(0);
        service.wait_state("acme", "running");
        wait_unit(&service, "acme", "active");

        // The unit alone, while landlord is not there to be asked.
        machine.systemctl(&["stop", "landlord"]).expect(0);
        machine.systemctl(&["stop", UNIT]).expect(0);
        assert_ne!(machine.systemctl(&["start", UNIT]).code, 0, "{version:?}: nobody is there to start it");
        machine.systemctl(&["start", "landlord"]).expect(0);
        service.wait_state("acme", "running");
        service.wait_state("beta", "running");
        wait_unit(&service, "acme", "active");
    }
}

#[test]
fn a_landlord_that_crashes_while_a_tenant_is_being_stopped_comes_back() {
    for version in Version::ALL {
        let (service, _, beta) = two(version);
        let (machine, master) = (service.machine(), service.pid().to_string());
        machine.run(&["kill", "-STOP", &master]).expect(0);
        machine.systemctl(&["stop", "--no-block", UNIT]).expect(0);
        wait_unit(&service, "acme", "deactivating");
        machine.run(&["kill", "-KILL", &master]).expect(0);
        machine.wait_property("landlord", "NRestarts", "1");
        machine.wait_property("landlord", "ActiveState", "active");
        assert_eq!(service.wait_state("beta", "running").pid, beta.pid, "{version:?}");
        // Told again, it is done.
        machine.systemctl(&["start", UNIT]).expect(0);
        machine.systemctl(&["stop", UNIT]).expect(0);
        assert_eq!(service.wait_state("acme", "stopped").pid, None, "{version:?}");
    }
}

#[test]
fn a_shutdown_is_no_wish_about_a_tenant() {
    for version in Version::ALL {
        let state = tempfile::tempdir().expect("a folder");
        let boot = || {
            let machine = Install::new(version).tenant("acme", "").tenant("beta", "");
            machine.plan(|plan| plan.bind(state.path(), "/var/lib/landlord")).start()
        };
        let service = boot();
        service.wait_state("acme", "running");
        service.wait_state("beta", "running");
        wait_unit(&service, "beta", "active");
        service.machine().systemctl(&["stop", "landlord@beta"]).expect(0);
        service.into_machine().power_off();
        let service = boot();
        service.wait_state("acme", "running");
        assert_eq!(service.entry("beta").state, "stopped", "{version:?}: this was an operator's word");
    }
}

#[test]
fn a_tenant_that_cannot_start_is_a_failed_unit_until_it_can() {
    for version in Version::ALL {
        let crash = "/var/lib/landlord/crash";
        let tenant = format!("[env]\nCRASH_FILE = {crash:?}\n[health]\nstart_timeout = \"1s\"\n");
        let service = Install::new(version).tenant("acme", &tenant).start();
        service.wait_state("acme", "running");
        wait_unit(&service, "acme", "active");
        let machine = service.machine();
        machine.systemctl(&["stop", UNIT]).expect(0);
        machine.write(crash, "");
        assert_ne!(machine.systemctl(&["start", UNIT]).code, 0, "{version:?}");
        assert_eq!(machine.property(UNIT, "ActiveState"), "failed");
        machine.shell(&format!("rm {crash}")).expect(0);
        machine.systemctl(&["start", UNIT]).expect(0);
        assert_eq!(service.entry("acme").state, "running", "{version:?}");
        eventually("and its unit says so", || (machine.property(UNIT, "ActiveState") == "active").then_some(()));
    }
}
