//! landlord.service on real systemds: ready when it serves, sandboxed, ended as promised.

use harness::machine::{Install, Version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_and_serves() {
    for version in Version::ALL {
        let service =
            Install::new(version).tenant("acme", "").boot();
        let ran = service.machine().systemctl(&["start", "landlord"]);
        println!("{version:?} {ran:?} {}", service.machine().journal("landlord"));
        let entry = service.wait_state("acme", "running");
        println!("{entry:?}");
        let answer = service.site("acme").get("/id/x").await.expect("an answer");
        assert_eq!(answer.text(), "x");
        println!("{}", service.machine().systemctl(&["status", "landlord"]).stdout);
    }
}
