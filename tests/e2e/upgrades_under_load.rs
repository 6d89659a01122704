//! Twenty upgrades in a row under load, and connections that stand in the kernel's queue while nobody accepts: every
//! request is counted, and every one is answered.

use std::time::{Duration, Instant};

use harness::{
    Landlord, Setup,
    client::Site,
    eventually, process,
    traffic::{Kind, Load, Report, Traffic},
};
use nix::sys::signal::Signal;
use tokio::{net::TcpStream, task::JoinSet};

const UPGRADES: usize = 20;
/// What a proxy keeps an idle connection for in these tests. Visitors use theirs again within half of it.
const IDLE: Duration = Duration::from_secs(6);
/// New connections of the crowd that has most of them, within half of [`IDLE`].
const RESTED: u64 = RATE as u64 * IDLE.as_secs() / 2;
const RATE: u32 = 25;
const QUEUED: usize = 20;

fn setup() -> Setup {
    Setup::new().tables(&format!("[http]\nidle_timeout = \"{}s\"", IDLE.as_secs())).tenant("acme", "")
}

#[track_caller]
fn the_proxy(landlord: &Landlord) -> u32 {
    let [proxy] = landlord.proxies()[..] else { panic!("one proxy: {:?}", landlord.proxies()) };
    proxy
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what this test is read for")]
fn twenty_upgrades_in_a_row_lose_no_request() {
    let landlord = setup().tenant("beta", "").start();
    let before = [landlord.wait_state("acme", "running"), landlord.wait_state("beta", "running")];
    let loads = [
        ("acme", Load::new(Kind::NewConnection, RATE)),
        ("acme", Load::new(Kind::KeepAlive, 25).resting(IDLE / 2)),
        ("acme", Load::new(Kind::Http2, 10).resting(IDLE / 2)),
        ("acme", Load::new(Kind::Http2, 50)),
        ("acme", Load::uploads(Kind::Http2, 5, 200_000)),
        ("acme", Load::slow(Kind::KeepAlive, 10, 150).resting(IDLE / 4)),
        ("beta", Load::uploads(Kind::KeepAlive, 5, 200_000).resting(IDLE / 4)),
        ("beta", Load::new(Kind::KeepAlive, 25).resting(IDLE / 2)),
    ];
    let crowds: Vec<Traffic> =
        loads.into_iter().map(|(name, load)| Traffic::start(landlord.site(name), load)).collect();
    // For as long as the longest rest, so that some who rest were let in by the very first proxy.
    crowds[0].wait_answered(RESTED);
    let began = Instant::now();
    let mut seen = vec![the_proxy(&landlord)];
    for _ in 0..UPGRADES {
        let newest = landlord.landlord(&["upgrade"]).expect(0).new_proxy();
        assert!(!seen.contains(&newest), "{newest} is none of {seen:?}");
        seen.push(newest);
    }
    let took = began.elapsed();
    // And some who rest now come back to a proxy that was retired meanwhile.
    crowds[0].wait_answered(RESTED);
    let reports: Vec<Report> = crowds.into_iter().map(Traffic::stop).collect();
    for report in &reports {
        println!("{UPGRADES} upgrades: {report}");
    }
    let sent: u64 = reports.iter().map(|report| report.sent).sum();
    let lost: u64 = reports.iter().map(Report::lost).sum();
    let worst = reports.iter().map(|report| report.quantile(1.0)).max().unwrap_or_default();
    println!("{UPGRADES} upgrades in {took:.1?}: {sent} requests, {lost} lost, worst latency {worst:.1?}");
    reports.iter().for_each(|report| report.assert_none_lost(10));
    for before in before {
        let now = landlord.entry(&before.name);
        assert_eq!((now.pid, now.restarts), (before.pid, 0), "{}", before.name);
    }
    eventually("the older ones end with their last connection", || (landlord.proxies().len() == 1).then_some(()));
}

/// Stops a proxy where it is; nobody accepts from here on.
#[track_caller]
fn freeze(proxy: u32) {
    assert!(process::signal(proxy, Signal::SIGSTOP));
    eventually("every thread of it has stopped", || {
        let threads = std::fs::read_dir(format!("/proc/{proxy}/task")).expect("it lives");
        let stopped = |path: &std::path::Path| {
            let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        threads.flatten().all(|thread| stopped(&thread.path())).then_some(())
    });
}

/// Connections that are in the kernel's queue now.
async fn queue(site: &Site) -> Vec<TcpStream> {
    let mut queued = Vec::new();
    for _ in 0..QUEUED {
        queued.push(site.connect().await.expect("the kernel answers"));
    }
    queued
}

/// Has each ask for something of its own, and hold the answer to it.
fn ask_all(site: &Site, queued: Vec<TcpStream>) -> JoinSet<()> {
    let mut asked = JoinSet::new();
    for (number, stream) in queued.into_iter().enumerate() {
        let site = site.clone();
        asked.spawn(async move {
            let mut raw = site.h1_over(stream).await.expect("a handshake");
            let id = format!("queued-{number}");
            raw.send(site.message("GET", &format!("/id/{id}"), &[("Connection", "close")], b"")).await.expect("sent");
            let answer = raw.response().await.expect("an answer");
            assert_eq!((answer.status, answer.text()), (200, id));
        });
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "the figures are what this test is read for")]
async fn who_stands_in_the_queue_of_a_proxy_that_hangs_is_served_by_the_next() {
    let landlord = setup().start();
    landlord.wait_state("acme", "running");
    let site = landlord.site("acme");
    let hung = the_proxy(&landlord);
    freeze(hung);
    let asked = ask_all(&site, queue(&site).await);
    let began = Instant::now();
    landlord.landlord(&["upgrade"]).expect(0);
    assert_eq!(asked.join_all().await.len(), QUEUED);
    println!(
        "{QUEUED} in the queue of a proxy that hangs: all answered {:.1?} after the upgrade began",
        began.elapsed()
    );

    // It wakes to find that its time is over, while more come than one proxy takes at once.
    let crowd = Traffic::start(site, Load::new(Kind::NewConnection, 50));
    crowd.wait_answered(5);
    assert!(process::signal(hung, Signal::SIGCONT));
    eventually("it ends, and the new one stays", || {
        let left = landlord.proxies();
        (left.len() == 1 && !left.contains(&hung)).then_some(())
    });
    crowd.wait_answered(5);
    crowd.stop().assert_none_lost(10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "the figures are what this test is read for")]
async fn who_stands_in_the_queue_of_a_killed_proxy_is_served_by_the_one_that_comes_back() {
    let landlord = setup().start();
    landlord.wait_state("acme", "running");
    let site = landlord.site("acme");
    let killed = the_proxy(&landlord);
    freeze(killed);
    let asked = ask_all(&site, queue(&site).await);
    let began = Instant::now();
    assert!(process::signal(killed, Signal::SIGKILL));
    assert_eq!(asked.join_all().await.len(), QUEUED);
    println!("{QUEUED} in the queue of a killed proxy: all answered {:.1?} after its death", began.elapsed());
    assert_ne!(the_proxy(&landlord), killed);
}
