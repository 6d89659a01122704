//! One proxy follows another: nothing is lost, what fails changes nothing, and nobody who drains is cut or holds others up.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use harness::{
    Landlord, Setup,
    client::WebSocket,
    eventually, process,
    traffic::{Kind, Load, Report, Traffic},
};
use nix::sys::signal::Signal;

/// So many may drain beside the newest.
const MOST_DRAINING: usize = 4;

#[track_caller]
fn the_proxy(landlord: &Landlord) -> u32 {
    let [proxy] = landlord.proxies()[..] else { panic!("one proxy: {:?}", landlord.proxies()) };
    proxy
}

/// The proxy that is none of these.
#[track_caller]
fn newcomer(landlord: &Landlord, known: &[u32]) -> u32 {
    eventually("a new proxy is started", || landlord.proxies().into_iter().find(|pid| !known.contains(pid)))
}

/// `landlord upgrade`, under way.
#[track_caller]
fn begin_upgrade(landlord: &Landlord) -> Child {
    let mut command = landlord.command(&["upgrade"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process::spawn(command).expect("landlord can be started")
}

/// How it ended: its exit code and all that it said.
#[track_caller]
fn end_of(child: Child) -> (i32, String) {
    let ended = child.wait_with_output().expect("a child of ours can be waited for");
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

async fn open_socket(landlord: &Landlord) -> WebSocket {
    let mut socket = landlord.site("acme").websocket("/ws").await.expect("an upgrade");
    echo(&mut socket, "opened").await;
    socket
}

async fn echo(socket: &mut WebSocket, text: &str) {
    socket.send(text).await.expect("sent");
    assert_eq!(socket.text().await.expect("echoed"), text);
}

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
        let newest = *landlord.proxies().last().expect("a proxy");
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
    let proxy = the_proxy(&landlord);
    let crowd = Traffic::start(landlord.site("acme"), Load::new(Kind::KeepAlive, 30));
    crowd.wait_answered(5);

    let began = Instant::now();
    let upgrade = begin_upgrade(&landlord);
    let silent = newcomer(&landlord, &[proxy]);
    assert!(process::signal(silent, Signal::SIGSTOP));
    // Whoever accepts already when it is stopped has become the newest; then this is another test than it is meant to be.
    // While one is on its way and silent, deploys go on.
    landlord.landlord(&["restart", "acme"]).expect(0);
    let (code, said) = end_of(upgrade);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nothing has changed") && said.contains("10 s"), "{said}");
    assert!(began.elapsed() >= Duration::from_secs(10));
    eventually("it is ended", || (landlord.proxies() == [proxy]).then_some(()));

    let upgrade = begin_upgrade(&landlord);
    let killed = newcomer(&landlord, &[proxy, silent]);
    process::signal(killed, Signal::SIGKILL);
    let (code, said) = end_of(upgrade);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nothing has changed") && said.contains("SIGKILL"), "{said}");
    assert_eq!(the_proxy(&landlord), proxy);

    crowd.wait_answered(5);
    crowd.stop().assert_none_lost(100);
    assert_eq!(landlord.entry("acme").restarts, before.restarts);
    landlord.landlord(&["upgrade"]).expect(0);
    assert!(!landlord.proxies().contains(&killed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_drain_at_most_and_the_next_upgrade_waits_and_cuts_nobody() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let mut sockets = Vec::new();
    for _ in 0..MOST_DRAINING {
        sockets.push(open_socket(&landlord).await);
        landlord.landlord(&["upgrade"]).expect(0);
    }
    sockets.push(open_socket(&landlord).await);
    let full = landlord.proxies();
    assert_eq!(full.len(), MOST_DRAINING + 1);
    let shown = landlord.landlord(&["status"]).expect(0).stdout;
    assert!(shown.contains("4 older proxies end their last"), "{shown}");

    let mut waiting = begin_upgrade(&landlord);
    let progress = harness::Output::follow(waiting.stderr.take().expect("stderr is piped"));
    eventually("it says what it waits for", || {
        progress.text().contains("4 older proxies end their last").then_some(())
    });
    assert!(waiting.try_wait().expect("a child of ours").is_none(), "it waits");
    for (number, socket) in sockets.iter_mut().enumerate() {
        echo(socket, &format!("still {number}")).await;
    }
    assert_eq!(landlord.proxies(), full, "nobody is cut and nobody is started");

    drop(sockets.remove(1));
    let (code, said) = end_of(waiting);
    assert_eq!(code, 0, "{said}");
    assert!(!landlord.proxies().contains(&full[1]), "whose last connection ended has ended");
    for (number, socket) in sockets.iter_mut().enumerate() {
        echo(socket, &format!("and still {number}")).await;
    }
    drop(sockets);
    eventually("the newest is left", || (landlord.proxies().len() == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_proxy_that_hangs_is_ended_and_deploys_go_on() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let old = the_proxy(&landlord);
    let _held = open_socket(&landlord).await;
    landlord.landlord(&["upgrade"]).expect(0);
    assert!(process::signal(old, Signal::SIGSTOP));
    let crowd = Traffic::start(landlord.site("acme"), Load::new(Kind::NewConnection, 30));
    crowd.wait_answered(5);

    let told = Instant::now();
    let before = landlord.entry("acme");
    let deploy = thread::scope(|scope| {
        let deploy = scope.spawn(|| landlord.landlord(&["restart", "acme"]));
        eventually("it is ended", || (!process::alive(old)).then_some(()));
        assert!(told.elapsed() >= Duration::from_secs(2), "after {:?}", told.elapsed());
        deploy.join().expect("no panic")
    });
    deploy.expect(0);
    assert!(landlord.entry("acme").generation > before.generation);
    assert!(landlord.err().text().contains("an older proxy is ended"), "it is logged");
    crowd.wait_answered(5);
    crowd.stop().assert_none_lost(10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_waits_for_what_an_older_proxy_has_in_flight() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running").pid.expect("a pid");
    let site = landlord.site("acme");
    let mut download = site.h1().await.expect("a connection");
    download.send(site.message("GET", "/drip/40", &[], b"")).await.expect("sent");
    assert_eq!(download.head().await.expect("it has begun").status, 200);

    landlord.landlord(&["upgrade"]).expect(0);
    assert_eq!(landlord.proxies().len(), 2);
    // The newest proxy has nothing in flight for the old generation, and says so; the older one has.
    landlord.landlord(&["restart", "acme"]).expect(0);
    landlord.landlord(&["upgrade"]).expect(0);
    let mut lines = 0;
    while let Some(_line) = download.chunk().await.expect("the download goes on") {
        lines += 1;
        if lines == 10 {
            assert!(process::alive(before), "its worker waits for it");
        }
    }
    assert_eq!(lines, 40);
    drop(download);
    eventually("nothing holds the old generation any more", || (!process::alive(before)).then_some(()));
    eventually("nor the older proxies", || (landlord.proxies().len() == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_older_proxy_frees_whoever_waits_for_it() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running").pid.expect("a pid");
    let old = the_proxy(&landlord);
    let _held = open_socket(&landlord).await;
    landlord.landlord(&["upgrade"]).expect(0);
    landlord.landlord(&["restart", "acme"]).expect(0);
    assert!(process::alive(before), "the WebSocket is still its own");
    process::signal(old, Signal::SIGKILL);
    eventually("its worker is let go", || (!process::alive(before)).then_some(()));
    assert_eq!(landlord.proxies().len(), 1);
}

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
async fn a_killed_proxy_is_back_while_visitors_wait_in_the_queue() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let mut worst = Duration::ZERO;
    for _ in 0..3 {
        let proxy = the_proxy(&landlord);
        assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
        let killed = Instant::now();
        process::signal(proxy, Signal::SIGKILL);
        assert_eq!(landlord.site("acme").get("/id/y").await.expect("an answer").text(), "y");
        worst = worst.max(killed.elapsed());
        // A crash a minute is brought back at once; this is about one, so its memory is made to be short.
        landlord.landlord(&["upgrade"]).expect(0);
        eventually("one proxy is left", || (landlord.proxies().len() == 1).then_some(()));
    }
    println!("a killed proxy: an answer after at most {worst:?}");
    assert!(worst < Duration::from_secs(5), "{worst:?}");
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
    landlord.edit_config("[ports]", "[http]\nclient_idle_timeout = \"7s\"\n[ports]");
    landlord.landlord(&["reload"]).expect(0);
    let third = newcomer(&landlord, &[first, second]);
    eventually("it has taken over", || (landlord.proxies() == [third]).then_some(()));
}

#[test]
fn what_cannot_be_become_is_refused() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let proxy = the_proxy(&landlord);
    landlord.landlord(&["upgrade", "--binary", "/nowhere/landlord"]).expect(1);
    let ran = landlord.landlord(&["upgrade", "--binary", "/bin/true"]).expect(1);
    assert!(ran.stderr.contains("another program"), "{}", ran.said());
    assert_eq!(the_proxy(&landlord), proxy);
}
