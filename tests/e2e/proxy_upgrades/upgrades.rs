//! The one that is asked for, and the one that fails.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "the figures are what this test is read for")]
async fn upgrades_under_load_lose_nothing_and_touch_nobody_else() {
    let landlord = Setup::new().tenant("acme", "").tenant("beta", "").start();
    let (acme, beta) = (landlord.wait_state("acme", "running"), landlord.wait_state("beta", "running"));
    let mut proxy = the_proxy(&landlord);
    let master = landlord.pid();
    let loads = [
        Load::new(Kind::KeepAlive, 50),
        Load::new(Kind::NewConnection, 30),
        Load::new(Kind::Http2, 50),
        Load::slow(Kind::KeepAlive, 10, 150),
        Load::uploads(Kind::Http2, 10, 200_000),
    ];
    let crowds: Vec<Traffic> = loads.into_iter().map(|load| Traffic::start(landlord.site("acme"), load)).collect();
    for _ in 0..3 {
        Traffic::wait_all_answered(&crowds, 10);
        let ran = landlord.landlord(&["upgrade"]).expect(0);
        assert!(ran.stdout.contains("a new proxy serves, pid "), "{}", ran.said());
        let newest = ran.new_proxy();
        assert_ne!(newest, proxy);
        assert!(ran.stdout.contains(&newest.to_string()), "{}", ran.said());
        proxy = newest;
    }
    Traffic::wait_all_answered(&crowds, 10);
    let reports: Vec<Report> = crowds.into_iter().map(Traffic::stop).collect();
    for report in &reports {
        println!("3 upgrades: {report}");
    }
    reports.iter().for_each(|report| report.assert_none_lost(30));
    let (then, now) = (landlord.entry("acme"), landlord.entry("beta"));
    assert_eq!((then.pid, then.restarts, now.pid, now.restarts), (acme.pid, 0, beta.pid, 0));
    assert_eq!(landlord.pid(), master);
    eventually("the older ones end with their last connection", || (landlord.proxies() == [proxy]).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_proxy_that_dies_or_is_silent_changes_nothing() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let mut proxy = the_proxy(&landlord);
    let crowd = Traffic::start(landlord.site("acme"), Load::new(Kind::KeepAlive, 30));
    crowd.wait_answered(5);

    let began = Instant::now();
    let (mut upgrade, silent) = upgrade_to_a_stopped_one(&landlord, &mut proxy);
    // While one is on its way and silent, deploys go on.
    landlord.landlord(&["restart", "acme"]).expect(0);
    assert!(upgrade.try_wait().expect("a child of ours").is_none(), "the deploy did not wait for it");
    let (code, said) = end_of(upgrade);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nothing has changed") && said.contains("10 s"), "{said}");
    assert!(began.elapsed() >= Duration::from_secs(10));
    assert!(!process::alive(silent));
    eventually("it is ended", || (landlord.proxies() == [proxy]).then_some(()));

    let (upgrade, killed) = upgrade_to_a_stopped_one(&landlord, &mut proxy);
    assert!(process::signal(killed, Signal::SIGKILL));
    let (code, said) = end_of(upgrade);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nothing has changed") && said.contains("SIGKILL"), "{said}");
    assert_eq!(the_proxy(&landlord), proxy);

    crowd.wait_answered(5);
    crowd.stop().assert_none_lost(100);
    assert_eq!(landlord.entry("acme").restarts, before.restarts);
    landlord.landlord(&["upgrade"]).expect(0);
    eventually("another one serves", || matches!(landlord.proxies()[..], [other] if other != proxy).then_some(()));
}

/// Whoever asks while a proxy is on its way is followed by another one; whoever asks while landlord stops is refused.
#[test]
fn upgrades_asked_for_at_once_are_done_together() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let mut proxy = the_proxy(&landlord);
    let (first, next) = upgrade_to_a_stopped_one(&landlord, &mut proxy);
    let others: Vec<Child> = (0..3).map(|_| begin_upgrade(&landlord)).collect();
    assert!(process::signal(next, Signal::SIGKILL));
    let (code, said) = end_of(first);
    assert_eq!(code, 1, "{said}");
    for other in others {
        let (code, said) = end_of(other);
        assert_eq!(code, 0, "{said}");
    }
    eventually("one proxy is left", || matches!(landlord.proxies()[..], [other] if other != proxy).then_some(()));
}

#[test]
fn sighup_and_changed_http_settings_replace_the_proxy() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let first = the_proxy(&landlord);
    process::signal(landlord.pid(), Signal::SIGHUP);
    let second = newcomer(&landlord, &[first]);
    eventually("it has taken over", || (landlord.proxies() == [second]).then_some(()));
    assert_eq!(landlord.entry("acme").pid, before.pid);
    // A reload alone does not replace it.
    landlord.landlord(&["reload"]).expect(0);
    assert_eq!(the_proxy(&landlord), second);
    landlord.edit_config("[ports]", "[http]\nidle_timeout = \"7s\"\n[ports]");
    landlord.landlord(&["reload"]).expect(0);
    let third = newcomer(&landlord, &[first, second]);
    eventually("it has taken over", || (landlord.proxies() == [third]).then_some(()));
}
