//! landlord.socket on real systemds: the first visitor starts landlord, and a restart refuses nobody.

use std::{process::Stdio, thread};

use harness::machine::{Install, Machine, Service, Version};

const CA: &str = "/var/lib/landlord/certs/local-ca.pem";

/// A visit of acme on 443 from within: the answer's status, `000` when there is none.
fn visit(machine: &Machine, trust: &[&str]) -> String {
    let curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "60"];
    let to = ["--resolve", "acme.apps.test:443:127.0.0.1", "https://acme.apps.test/id/x"];
    machine.run(&[&curl[..], trust, &to[..]].concat()).stdout
}

/// Sockets that listen on 443.
fn listening(service: &Service) -> usize {
    let shown = service.machine().run(&["ss", "--no-header", "--listening", "--tcp", "--numeric", "sport = :443"]);
    shown.expect(0).stdout.lines().count()
}

#[test]
fn the_first_visitor_starts_landlord_and_a_restart_refuses_nobody() {
    for version in Version::ALL {
        let service = Install::new(version).tenant("acme", "").plan(|plan| plan.private_network()).own_ports().boot();
        let machine = service.machine();
        machine.systemctl(&["start", "landlord.socket"]).expect(0);
        assert_eq!(machine.property("landlord", "ActiveState"), "inactive", "{version:?}");
        // The CA is made at the start that this very visit brings about.
        assert_eq!(visit(machine, &["--insecure"]), "200", "{version:?}");
        assert_eq!(machine.property("landlord", "ActiveState"), "active");
        assert_eq!(listening(&service), 1, "{version:?}: systemd's socket, and no other beside it");

        let before = service.pid();
        let codes: Vec<String> = thread::scope(|scope| {
            let mut restart = machine.command(&["systemctl", "restart", "landlord"]);
            let mut restart = restart.stdout(Stdio::null()).spawn().expect("nsenter can be started");
            let visitors: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..5).map(|_| visit(machine, &["--cacert", CA])).collect::<Vec<_>>()))
                .collect();
            let codes = visitors.into_iter().flat_map(|visitor| visitor.join().expect("a visitor's end")).collect();
            assert!(restart.wait().expect("its end").success());
            codes
        });
        assert_ne!(service.pid(), before);
        assert_eq!(codes, vec!["200"; 20], "{version:?}");
        assert_eq!(listening(&service), 1, "{version:?}");
    }
}
