//! Workers that die, hang, loop, never start and leave children behind: their own tenant is all that notices, and hardly that.

use std::{fs, time::Duration};

use harness::{
    Landlord, Setup, eventually, process,
    traffic::{Kind, Load, Traffic},
    wait::within,
};
use nix::sys::signal::Signal;

/// Health checks at a pace for tests.
const QUICK: &str = "[health]\ninterval = \"200ms\"\ntimeout = \"500ms\"\nfailures = 3\n";

/// The scripted worker, with little time to end by itself.
const IMPATIENT: &str = "listen = \"inherit\"\nhealth = \"/healthz\"\nstop_timeout = \"500ms\"\n";

fn marked(mark: &str) -> String {
    format!("[env]\nMARK = {mark:?}\n")
}

/// The processes of the tenant's that run this program.
fn running(landlord: &Landlord, program: &str) -> Vec<u32> {
    process::naming(landlord.dir())
        .into_iter()
        .filter(|(_, command)| command.split(' ').next().is_some_and(|first| first.ends_with(program)))
        .map(|(pid, _)| pid)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "the figures are what this test is read for")]
async fn a_killed_worker_costs_what_was_in_flight_and_nothing_else() {
    let landlord = Setup::new().tenant("acme", "").tenant("beta", "").start();
    landlord.wait_state("beta", "running");
    let mut worker = landlord.wait_state("acme", "running");
    let crowds: Vec<Traffic> =
        Kind::ALL.into_iter().map(|kind| Traffic::start(landlord.site("acme"), Load::new(kind, 30))).collect();
    let neighbour = Traffic::start(landlord.site("beta"), Load::new(Kind::KeepAlive, 30));

    // One fewer than makes a crash loop.
    const KILLS: u32 = 4;
    for _ in 0..KILLS {
        Traffic::wait_all_answered(&crowds, 10);
        let pid = worker.pid.expect("a worker that runs");
        assert!(process::signal(pid, Signal::SIGKILL));
        worker = landlord.wait_entry("acme", "another worker", |e| e.state == "running" && e.pid != Some(pid));
    }
    Traffic::wait_all_answered(&crowds, 10);
    assert_eq!(worker.restarts, KILLS);

    for report in crowds.into_iter().map(Traffic::stop) {
        println!("{KILLS} kills: {report}");
        assert!(report.errors.is_empty(), "{report}");
        assert!(report.statuses.keys().all(|status| *status == 502), "held, not refused: {report}");
        // An answer takes well under a millisecond: hardly any can be in flight at the moment of a kill.
        assert!(report.lost() <= u64::from(KILLS) * 2, "{report}");
    }
    neighbour.stop().assert_none_lost(50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_on_a_path_is_one_502() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let site = landlord.site("acme");
    assert_eq!(site.get("/crash").await.expect("an answer").status, 502);
    // Whatever is asked while it is down waits for it.
    assert_eq!(site.get("/id/next").await.expect("an answer").text(), "next");
    let after = landlord.wait_entry("acme", "up again", |e| e.state == "running" && e.pid != before.pid);
    assert_eq!(after.generation, before.generation, "a restart is an attempt of the same generation");
    assert_eq!(after.port, before.port, "on the same socket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_becomes_a_page_with_retry_after() {
    let landlord = Setup::new()
        .tenant("acme", "company = \"Acme Corp\"\n[env]\nEXIT_AT_START = \"3\"\n")
        .tenant("beta", "")
        .start();
    let beta = landlord.wait_state("beta", "running");
    let failed = landlord.wait_state("acme", "failed");
    assert!(failed.reason.contains("exit status 3"), "why: {}", failed.reason);
    assert_eq!(failed.pid, None);

    let page = landlord.site("acme").get("/").await.expect("a page");
    assert_eq!(page.status, 503);
    let after: u32 = page.field("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((1..=300).contains(&after), "{after}");
    assert!(page.field("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    assert!(page.text().contains("Acme Corp"), "a page that a visitor can read: {}", page.text());
    assert_eq!(page.field("cache-control"), Some("no-store"), "nobody keeps it");

    landlord.drop_tenant("acme", "company = \"Acme Corp\"\n");
    landlord.wait_state("acme", "running");
    assert_eq!(landlord.site("acme").get("/").await.expect("a page").status, 200);
    assert_eq!(landlord.entry("beta").pid, beta.pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_tenant_can_be_started_by_hand() {
    let landlord = Setup::new().prepare();
    let crash = landlord.dir().join("crash");
    fs::write(&crash, "").expect("written");
    landlord.drop_tenant("acme", format!("[env]\nCRASH_FILE = {crash:?}\n"));
    let mut landlord = landlord;
    landlord.start_again();
    landlord.wait_state("acme", "failed");
    fs::remove_file(&crash).expect("removed");
    landlord.landlord(&["start", "acme"]).expect(0);
    assert_eq!(landlord.entry("acme").state, "running");
    assert_eq!(landlord.site("acme").get("/").await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_start_is_waited_for() {
    let landlord = Setup::new().start();
    let mut watch = landlord.watch();
    landlord.drop_tenant("acme", "[env]\nSTART_DELAY_MS = \"1500\"\n");
    watch.until("acme is known", |fleet| fleet.iter().any(|e| e.name == "acme" && e.state == "starting"));
    // Its certificate and its route are there before its worker is.
    let site = landlord.site("acme");
    let first = harness::eventually_async("the host is served", async || site.h1().await.ok()).await;
    drop(first);
    let (one, two) = (site.h2().await.expect("h2"), site.h1().await.expect("h1"));
    let mut two = two;
    two.send(site.message("GET", "/id/h1", &[], b"")).await.expect("sent");
    assert_eq!(landlord.entry("acme").state, "starting", "both are asked while it starts");
    assert_eq!(one.get("/id/h2").await.expect("an answer").text(), "h2");
    assert_eq!(two.response().await.expect("an answer").text(), "h1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_long_a_wait_ends_in_a_page() {
    let landlord = Setup::new()
        .tenant(
            "acme",
            "[env]\nSTART_DELAY_MS = \"60000\"\n[deploy]\nhold_timeout = \"500ms\"\n[limits]\nheld_requests = 2\n",
        )
        .start();
    landlord.wait_state("acme", "starting");
    let site = landlord.site("acme");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut raw = harness::eventually_async("the host is served", async || site.h1().await.ok()).await;
        raw.send(site.message("GET", "/", &[], b"")).await.expect("sent");
        held.push(raw);
    }
    for mut raw in held {
        let page = raw.response().await.expect("a page");
        assert_eq!(page.status, 503);
        assert!(page.field("retry-after").is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_wait_at_once() {
    let waiting = "[deploy]\nhold_timeout = \"60s\"\n[limits]\nheld_requests = 2\n";
    let landlord = Setup::new().tenant("acme", &format!("{waiting}[env]\nSTART_DELAY_MS = \"60000\"\n")).start();
    landlord.wait_state("acme", "starting");
    let site = landlord.site("acme");
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..3 {
        let mut raw = harness::eventually_async("the host is served", async || site.h1().await.ok()).await;
        raw.send(site.message("GET", &format!("/id/{number}"), &[], b"")).await.expect("sent");
        asked.spawn(async move { raw.response().await.expect("an answer").status });
    }
    assert_eq!(asked.join_next().await.expect("one of them").expect("no panic"), 503, "one too many");
    landlord.drop_tenant("acme", waiting);
    assert_eq!(asked.join_all().await, [200, 200], "the others have waited for the worker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_worker_is_restarted() {
    let landlord = Setup::new().scripted(IMPATIENT).prepare();
    let hang = landlord.dir().join("hang");
    landlord.drop_tenant("acme", format!("{QUICK}[env]\nHANG_FILE = {hang:?}\n"));
    landlord.drop_tenant("beta", QUICK);
    let mut landlord = landlord;
    landlord.start_again();
    let beta = landlord.wait_state("beta", "running");
    let before = landlord.wait_state("acme", "running");

    let mut watch = landlord.watch();
    fs::write(&hang, "").expect("written");
    let seen = watch.until("it is found out", |fleet| {
        fleet.iter().any(|e| e.name == "acme" && (e.state != "running" || e.pid != before.pid))
    });
    assert!(!seen.is_empty());
    fs::remove_file(&hang).expect("removed");
    let after = landlord.wait_entry("acme", "another worker", |e| e.state == "running" && e.pid != before.pid);
    assert!(after.restarts > before.restarts);
    eventually("the hung one is gone", || (!process::alive(before.pid.expect("a pid"))).then_some(()));
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    assert_eq!(landlord.entry("beta").pid, beta.pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_never_healthy_fails_and_says_why() {
    let landlord = Setup::new()
        .tenant("acme", "[env]\nUNHEALTHY = \"1\"\n[health]\nstart_timeout = \"500ms\"\n")
        .tenant("ghost", "app = \"ghost\"\n")
        .tables("[apps.ghost]\ncommand = [\"no-such-program-anywhere\"]\n")
        .start();
    let failed = landlord.wait_state("acme", "failed");
    assert!(failed.reason.contains("500"), "the probe's own words: {}", failed.reason);
    assert_eq!(landlord.site("acme").get("/").await.expect("a page").status, 503);

    let ghost = landlord.wait_state("ghost", "failed");
    assert!(ghost.reason.contains("no-such-program-anywhere"), "{}", ghost.reason);
}

#[test]
fn starts_that_hang_keep_nobody_else_from_starting_or_stopping() {
    // More than may start at once, and each would take its place for half a minute.
    let places = std::thread::available_parallelism().map_or(1, usize::from) * 2;
    let hanging = "[env]\nSTART_DELAY_MS = \"600000\"\n";
    let setup = (0..places.max(4) + 1).fold(Setup::new(), |setup, n| setup.tenant(&format!("hangs{n}"), hanging));
    let landlord = setup.start();
    let begun = std::time::Instant::now();
    landlord.drop_tenant("queued", hanging);
    landlord.wait_state("queued", "starting");
    landlord.landlord(&["stop", "queued"]).expect(0);
    landlord.drop_tenant("acme", "");
    landlord.wait_state("acme", "running");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_worker_is_ended_with_all_its_children() {
    let landlord =
        Setup::new().scripted(IMPATIENT).tenant("acme", "[env]\nGRANDCHILD = \"1\"\nIGNORE_TERM = \"1\"\n").start();
    let first = landlord.wait_state("acme", "running");
    let grandchild = eventually("a grandchild in a session of its own", || running(&landlord, "sleep").pop());

    process::signal(first.pid.expect("a pid"), Signal::SIGKILL);
    let second = landlord.wait_entry("acme", "up again", |e| e.state == "running" && e.pid != first.pid);
    assert!(!process::alive(grandchild), "the old tree has ended before the new one starts");
    let grandchild = eventually("the new one's grandchild", || running(&landlord, "sleep").pop());

    landlord.landlord(&["stop", "acme"]).expect(0);
    assert!(!process::alive(second.pid.expect("a pid")), "SIGTERM was ignored, SIGKILL was not");
    assert!(!process::alive(grandchild));
    eventually("no zombies", || process::zombies(landlord.pid()).is_empty().then_some(()));
}

/// What was said while it was suspended counts when it is not any more, and was answered so.
#[test]
fn a_suspended_company_can_be_stopped_for_later() {
    let landlord = Setup::new().tenant("acme", "suspended = true\n").start();
    landlord.wait_state("acme", "suspended");
    assert!(landlord.landlord(&["stop", "acme"]).expect(0).said().contains("stays stopped"));
    landlord.drop_tenant("acme", "");
    landlord.wait_state("acme", "stopped");
    landlord.drop_tenant("acme", "suspended = true\n");
    landlord.wait_state("acme", "suspended");
    assert!(landlord.landlord(&["start", "acme"]).expect(1).said().contains("suspended = true"));
    landlord.drop_tenant("acme", "");
    landlord.wait_state("acme", "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_outlives_the_gateway() {
    let mut landlord = Setup::new().tenant("acme", "company = \"Acme Corp\"\n").tenant("beta", "").start();
    landlord.wait_state("acme", "running");
    landlord.landlord(&["stop", "acme"]).expect(0);
    let stopped = landlord.entry("acme");
    assert_eq!((stopped.state.as_str(), stopped.pid), ("stopped", None));
    let page = landlord.site("acme").get("/").await.expect("a page");
    assert_eq!(page.status, 503);
    assert!(page.text().contains("Acme Corp"), "{}", page.text());

    landlord.stop();
    landlord.start_again();
    landlord.wait_state("beta", "running");
    assert_eq!(landlord.entry("acme").state, "stopped");
    assert!(running(&landlord, "scripted").len() == 1, "beta's only");

    landlord.landlord(&["start", "acme"]).expect(0);
    assert_eq!(landlord.site("acme").get("/id/back").await.expect("an answer").text(), "back");
    landlord.stop();
    landlord.start_again();
    landlord.wait_state("acme", "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_leaves_no_orphans_and_comes_back() {
    let mut landlord = Setup::new()
        .scripted(IMPATIENT)
        .tenant("acme", &marked("1"))
        .tenant("beta", "[env]\nIGNORE_TERM = \"1\"\n")
        .start();
    landlord.wait_state("acme", "running");
    landlord.wait_state("beta", "running");
    landlord.kill();
    landlord.wait_nobody_left();
    landlord.start_again();
    landlord.wait_state("acme", "running");
    landlord.wait_state("beta", "running");
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    assert_eq!(running(&landlord, "scripted").len(), 2);
}

/// Its parent has ended with the gateway, it has a session of its own, and no service manager says whose it is.
#[test]
fn what_outlives_a_killed_gateway_is_ended_by_the_next_one() {
    let mut landlord = Setup::new().scripted(IMPATIENT).tenant("acme", "[env]\nGRANDCHILD = \"1\"\n").start();
    landlord.wait_state("acme", "running");
    let old = eventually("a grandchild in a session of its own", || running(&landlord, "sleep").pop());
    landlord.kill();
    assert!(process::alive(old), "nothing ties its life to anybody's");
    landlord.start_again();
    landlord.wait_state("acme", "running");
    assert!(!process::alive(old));
    eventually("the new one's grandchild", || (running(&landlord, "sleep").len() == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_proxy_is_replaced_and_workers_never_notice() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let [proxy] = landlord.proxies()[..] else { panic!("one proxy: {:?}", landlord.proxies()) };
    process::signal(proxy, Signal::SIGKILL);
    // The listening sockets are the master's: a visitor who comes now waits in the kernel's queue.
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    let after = landlord.entry("acme");
    assert_eq!((after.pid, after.restarts), (before.pid, 0));
    assert_ne!(landlord.proxies(), [proxy]);
}

/// A proxy that is stopped in its tracks says nothing any more, not even how many it serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_hangs_is_replaced_and_workers_never_notice() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let [proxy] = landlord.proxies()[..] else { panic!("one proxy: {:?}", landlord.proxies()) };
    process::signal(proxy, Signal::SIGSTOP);
    // Two missed counts, then the time that it is given to follow the end of its link.
    let gone = within(Duration::from_secs(120), || (!process::alive(proxy)).then_some(()));
    gone.expect("the proxy that hangs is ended");
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    assert_eq!(landlord.entry("acme").pid, before.pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_log_role_is_replaced_and_workers_never_notice() {
    let landlord = Setup::new().tenant("acme", "[env]\nBOAST = \"one\"\n").start();
    let before = landlord.wait_state("acme", "running");
    let log = process::descendants(landlord.pid())
        .into_iter()
        .find(|pid| process::command_line(*pid).get(1).is_some_and(|verb| verb == "log"))
        .expect("a log role");
    process::signal(log, Signal::SIGKILL);
    eventually("another log role", || {
        process::descendants(landlord.pid())
            .into_iter()
            .find(|pid| *pid != log && process::command_line(*pid).get(1).is_some_and(|verb| verb == "log"))
    });
    assert_eq!(landlord.entry("acme").pid, before.pid);
    landlord.drop_tenant("acme", "[env]\nBOAST = \"two\"\n");
    landlord.wait_entry("acme", "redeployed", |e| e.state == "running" && e.generation > before.generation);
    eventually("its output is written down", || {
        let log = fs::read_to_string(landlord.state().join("logs/acme.log")).unwrap_or_default();
        (log.contains("out: two") && log.contains("err: two")).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_answers_too_late_is_a_504() {
    let landlord =
        Setup::new().scripted(IMPATIENT).tables("[http]\nresponse_timeout = \"1s\"\n").tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let answer = landlord.site("acme").get("/hang").await.expect("an answer");
    assert_eq!(answer.status, 504);
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    assert_eq!(landlord.entry("acme").pid, before.pid, "one slow answer is no reason to restart");
}

#[test]
fn many_exits_leave_no_zombie() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    for _ in 0..10 {
        landlord.landlord(&["restart", "acme"]).expect(0);
    }
    eventually("no zombies", || process::zombies(landlord.pid()).is_empty().then_some(()));
    eventually("one worker", || (running(&landlord, "scripted").len() == 1).then_some(()));
    assert!(Duration::from_secs(landlord.entry("acme").uptime_s) < harness::PATIENCE);
}
