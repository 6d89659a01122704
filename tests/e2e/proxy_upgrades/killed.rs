//! A proxy that is killed is back, and its visitors wait meanwhile.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_newest_is_back_beside_those_that_drain() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let mut held = open_socket(&landlord).await;
    landlord.landlord(&["upgrade"]).expect(0);
    let [old, newest] = landlord.proxies()[..] else { panic!("two proxies: {:?}", landlord.proxies()) };
    process::signal(newest, Signal::SIGKILL);
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    echo(&mut held, "still there").await;
    let now = landlord.proxies();
    assert!(now.contains(&old) && !now.contains(&newest), "{now:?}");
    landlord.landlord(&["restart", "acme"]).expect(0);
    assert_eq!(landlord.entry("acme").restarts, before.restarts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "the figures are what this test is read for")]
async fn a_killed_proxy_is_back_in_under_200_ms() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let (mut best, mut quickest_start) = (Duration::MAX, Duration::MAX);
    // A machine with other work may be slow once, and again.
    for _ in 0..20 {
        // One that crashes again and again is brought back ever more slowly: each of these crashes is the first of its proxy.
        let asked = Instant::now();
        landlord.landlord(&["upgrade"]).expect(0);
        quickest_start = quickest_start.min(asked.elapsed());
        eventually("one proxy is left", || (landlord.proxies().len() == 1).then_some(()));
        let proxy = the_proxy(&landlord);
        let killed = Instant::now();
        process::signal(proxy, Signal::SIGKILL);
        assert_eq!(landlord.site("acme").get("/id/y").await.expect("an answer").text(), "y");
        best = best.min(killed.elapsed());
        if best < Duration::from_millis(200) {
            break;
        }
    }
    println!(
        "a killed proxy: a new visitor has an answer after {best:?}; one started by hand takes {quickest_start:?}"
    );
    // A machine that takes longer to start any proxy is no fault of who notices that one is missing.
    assert!(best < Duration::from_millis(200).max(quickest_start * 2), "{best:?} at best");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_proxy_visitors_wait_in_the_kernels_queue() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let proxy = the_proxy(&landlord);
    // The master brings no other one while it is stopped.
    assert!(process::signal(landlord.pid(), Signal::SIGSTOP));
    assert!(process::signal(proxy, Signal::SIGKILL));
    eventually("nobody accepts", || (!process::alive(proxy)).then_some(()));
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut visitor = landlord.plain().await.expect("connected by the kernel");
        visitor.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", landlord.host("acme"))).await.expect("sent");
        waiting.push(visitor);
    }
    assert!(process::signal(landlord.pid(), Signal::SIGCONT));
    for mut visitor in waiting {
        assert_eq!(visitor.response().await.expect("an answer").status, 308);
    }
}
