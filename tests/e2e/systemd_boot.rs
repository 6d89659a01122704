//! A boot with many companies: landlord is up when it serves, and its tenants follow at their own pace.

use std::time::{Duration, Instant};

use harness::{
    Entry, eventually,
    machine::{Install, Service, Version},
};

/// The bundled worker on a socket that it is handed.
const BOARD: &str = "[apps.board]\ncommand = [\"landlord-worker\", \"serve\"]\n\
                     migrate = [\"landlord-worker\", \"migrate\"]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n";

/// A machine with so many tenants; landlord is not started. The network is its own, for ports enough, and for 443 itself.
fn house(count: usize, tenant: &str) -> Service {
    let mut install = Install::new(Version::V257).tables(BOARD).plan(|plan| plan.private_network()).own_ports();
    for number in 0..count {
        install = install.tenant(&format!("t{number:03}"), tenant);
    }
    install.boot()
}

fn running(fleet: &[Entry]) -> usize {
    fleet.iter().filter(|entry| entry.state == "running").count()
}

#[test]
fn it_is_up_before_its_tenants_who_start_a_few_at_a_time_and_a_visitor_goes_first() {
    let count = 30;
    let service = house(count, "[env]\nSTART_DELAY_MS = \"500\"\n");
    let machine = service.machine();
    machine.systemctl(&["start", "landlord"]).expect(0);
    let early = running(&service.fleet());
    assert!(early < count, "systemd was told before all of them ran");

    // The last in line has a visitor at its door.
    let last = format!("t{:03}", count - 1);
    let (url, to) = (format!("https://{last}.apps.test/id/me"), format!("{last}.apps.test:443:127.0.0.1"));
    let ca = "/var/lib/landlord/certs/local-ca.pem";
    let answer = machine.run(&["curl", "--silent", "--show-error", "--cacert", ca, "--resolve", &to, &url]).expect(0);
    assert_eq!(answer.stdout, "me");
    let then = running(&service.fleet());
    assert!(then < count, "the last one did not go before others: {then} of {count} ran");

    // Twice the cores at once, and each takes half a second.
    let cores = std::thread::available_parallelism().expect("a number").get();
    let mut watch = service.watch();
    let fleet = watch.until("all run", |fleet| {
        let starting = fleet.iter().filter(|entry| entry.state == "starting" && entry.pid.is_some()).count();
        assert!(starting <= 2 * cores, "{starting} start at once");
        fleet.len() == count && running(fleet) == count
    });
    assert!(fleet.iter().all(|entry| entry.restarts == 0));
    eventually("every tenant has its unit", || {
        let units = machine.systemctl(&["list-units", "--no-legend", "--state=active", "landlord@*"]).stdout;
        (units.lines().count() == count).then_some(())
    });
    machine.wait_property("landlord", "StatusText", &format!("serving {count} of {count} tenants"));
}

#[test]
#[allow(clippy::print_stdout, reason = "figures")]
fn many_bundled_workers_come_up() {
    // 200 for a figure to write down; fewer say the same in less time.
    let count = std::env::var("LANDLORD_TEST_TENANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let service = house(count, "app = \"board\"\n");
    let begun = Instant::now();
    service.machine().systemctl(&["start", "landlord"]).expect(0);
    let up = begun.elapsed();
    let early = running(&service.fleet());
    let patience = Duration::from_secs(30 + count as u64);
    let all = service.watch().within(patience, |fleet| fleet.len() == count && running(fleet) == count);
    let fleet = all.unwrap_or_else(|last| panic!("{} of {count} run: {last:#?}", running(&last)));
    println!("{count} tenants: up after {up:?}, {early} of them running by then; all after {:?}", begun.elapsed());
    assert!(fleet.iter().all(|entry| entry.restarts == 0 && entry.reason.is_empty()), "{fleet:#?}");
}
