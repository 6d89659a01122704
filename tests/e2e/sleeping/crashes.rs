//! `kill -9` of the master under systemd: who sleeps sleeps on, who is falling asleep or waking does so all the same.

use harness::{
    eventually,
    machine::{Install, Service, Version},
};

use super::{SHORT, crowds::come_and_go};

fn crash(service: &Service) {
    let before = service.pid();
    service.machine().run(&["kill", "-KILL", &before.to_string()]).expect(0);
    eventually("another master", || Some(service.pid()).filter(|pid| *pid != before && *pid != 0));
    service.machine().wait_property("landlord", "ActiveState", "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_killed_wakes_nobody_and_loses_nobody() {
    let slowly = format!("{SHORT}[env]\nSTART_DELAY_MS = \"700\"\n");
    let setup = Install::new(Version::V257).tenant("acme", &slowly);
    let service = (0..4).fold(setup, |setup, number| setup.tenant(&format!("company-{number}"), SHORT)).start();
    let acme = service.wait_state("acme", "running");
    service.wait_state("acme", "sleeping");
    assert_eq!(service.machine().property("landlord@acme", "ActiveState"), "active", "one that sleeps is wanted");
    // Asleep.
    crash(&service);
    let entry = service.entry("acme");
    assert_eq!((entry.state.as_str(), entry.pid), ("sleeping", None));
    // Waking: the crash comes while the visitor is held and the worker starts.
    let site = service.site("acme");
    let visitor = tokio::spawn(async move { site.get("/id/held").await.expect("an answer") });
    eventually("it wakes", || (service.entry("acme").state == "starting").then_some(()));
    crash(&service);
    let answer = visitor.await.expect("no visitor panics");
    assert_eq!((answer.status, answer.text().as_str()), (200, "held"));
    // Unless it sleeps again by now.
    let now = service.entry("acme").generation;
    assert!(now.is_none_or(|now| now > acme.generation.unwrap_or_default()), "{now:?} after {:?}", acme.generation);
    // Falling asleep, waking, and all that is between.
    let visitors: Vec<_> =
        (0..4).map(|number| tokio::spawn(come_and_go(service.site(&format!("company-{number}")), number, 4))).collect();
    for _ in 0..4 {
        tokio::task::block_in_place(|| crash(&service));
    }
    for visitor in visitors {
        visitor.await.expect("nobody is lost");
    }
    service.wait_state("acme", "sleeping");
    service.stop();
}
