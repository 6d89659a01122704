//! Deploys under load: nothing is lost, whatever the strategy; what fails leaves the old generation serving.

use std::fs;

use harness::{
    Landlord, Setup,
    client::{ClientError, Ending},
    eventually, process,
    traffic::{Kind, Load, Report, Traffic},
};
use serde_json::Value;

/// Deploys in a row.
const DEPLOYS: u64 = 20;

/// Visitors of every kind: quick ones, slow ones and uploads.
fn crowds(landlord: &Landlord, tenant: &str) -> Vec<Traffic> {
    let loads = [
        Load::new(Kind::KeepAlive, 50),
        Load::new(Kind::NewConnection, 20),
        Load::new(Kind::Http2, 50),
        Load::slow(Kind::KeepAlive, 10, 150),
        Load::slow(Kind::Http2, 10, 150),
        Load::uploads(Kind::KeepAlive, 10, 200_000),
        Load::uploads(Kind::Http2, 10, 200_000),
    ];
    loads.into_iter().map(|load| Traffic::start(landlord.site(tenant), load)).collect()
}

#[allow(clippy::print_stdout, reason = "the figures are what these tests are read for")]
fn conclude(what: &str, crowds: Vec<Traffic>, least: u64) -> Vec<Report> {
    let reports: Vec<Report> = crowds.into_iter().map(Traffic::stop).collect();
    for report in &reports {
        println!("{what}: {report}");
    }
    for report in &reports {
        report.assert_none_lost(least);
    }
    reports
}

async fn mark(landlord: &Landlord, tenant: &str) -> String {
    let answer = landlord.site(tenant).get("/generation").await.expect("an answer");
    answer.json::<Value>()["mark"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_restarts_by_overlap_lose_nothing() {
    let landlord = Setup::new().tenant("acme", "[deploy]\nstrategy = \"overlap\"\n").tenant("beta", "").start();
    let (before, beta) = (landlord.wait_state("acme", "running"), landlord.wait_state("beta", "running"));
    let crowds = crowds(&landlord, "acme");
    for _ in 0..DEPLOYS {
        Traffic::wait_all_answered(&crowds, 6);
        landlord.landlord(&["restart", "acme"]).expect(0);
    }
    Traffic::wait_all_answered(&crowds, 6);
    let reports = conclude("overlap, 20 deploys", crowds, 50);
    let workers: std::collections::BTreeSet<&String> =
        reports.iter().flat_map(|report| report.workers.keys()).collect();
    assert_eq!(workers.len() as u64, DEPLOYS + 1, "every generation has served");
    let after = landlord.wait_state("acme", "running");
    assert!(after.generation >= before.generation.map(|number| number + DEPLOYS));
    assert_eq!(landlord.entry("beta").pid, beta.pid);
    eventually("the old ones are gone", || (process::naming(&landlord.folder("acme")).len() == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_restarts_by_hold_lose_nothing() {
    let landlord = Setup::new().tenant("acme", "[deploy]\nstrategy = \"hold\"\n").start();
    landlord.wait_state("acme", "running");
    let crowds = crowds(&landlord, "acme");
    for _ in 0..DEPLOYS {
        Traffic::wait_all_answered(&crowds, 6);
        landlord.landlord(&["restart", "acme"]).expect(0);
    }
    Traffic::wait_all_answered(&crowds, 6);
    conclude("hold, 20 deploys", crowds, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edited_files_and_reloads_lose_nothing() {
    let landlord = Setup::new().tenant("acme", "").start();
    let mut generation = landlord.wait_state("acme", "running").generation;
    let crowds = crowds(&landlord, "acme");
    for number in 0..5 {
        Traffic::wait_all_answered(&crowds, 6);
        landlord.drop_tenant("acme", format!("[env]\nMARK = \"{number}\"\n"));
        let after = landlord.wait_entry("acme", "redeployed", |e| e.state == "running" && e.generation > generation);
        generation = after.generation;
        landlord.landlord(&["reload"]).expect(0);
        assert_eq!(mark(&landlord, "acme").await, number.to_string());
    }
    conclude("edits and reloads", crowds, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_generation_that_fails_leaves_the_old_one_serving() {
    for (strategy, wrong, why) in [
        ("overlap", "EXIT_AT_START = \"3\"", "exit status 3"),
        ("overlap", "UNHEALTHY = \"1\"", "500"),
        ("hold", "EXIT_AT_START = \"3\"", "exit status 3"),
    ] {
        let deploy = format!("[deploy]\nstrategy = {strategy:?}\n[health]\nstart_timeout = \"1s\"\n");
        let landlord = Setup::new().tenant("acme", &format!("{deploy}[env]\nMARK = \"old\"\n")).start();
        let before = landlord.wait_state("acme", "running");
        let crowd = Traffic::start(landlord.site("acme"), Load::new(Kind::KeepAlive, 30));
        crowd.wait_answered(5);
        landlord.drop_tenant("acme", format!("{deploy}[env]\nMARK = \"new\"\n{wrong}\n"));
        let after = landlord.wait_entry("acme", "it says why", |e| e.state == "running" && e.reason.contains(why));
        if strategy == "overlap" {
            assert_eq!(after.pid, before.pid, "the old one was never touched");
        }
        assert_eq!(mark(&landlord, "acme").await, "old", "{strategy}");
        crowd.wait_answered(5);
        let report = crowd.stop();
        report.assert_none_lost(10);

        landlord.drop_tenant("acme", format!("{deploy}[env]\nMARK = \"newest\"\n"));
        landlord.wait_entry("acme", "mended", |e| e.state == "running" && e.reason.is_empty());
        harness::eventually_async("the mended one serves", async || {
            (mark(&landlord, "acme").await == "newest").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_generation_is_probed_where_it_answers() {
    let text = |mark: &str, path: &str| {
        format!("[health]\npath = {path:?}\ninterval = \"100ms\"\nstart_timeout = \"2s\"\n[env]\nMARK = {mark:?}\n")
    };
    let landlord = Setup::new().tenant("acme", &text("old", "/healthz")).start();
    let before = landlord.wait_state("acme", "running");
    landlord.drop_tenant("acme", text("new", "/status/500"));
    let after =
        landlord.wait_entry("acme", "it says why", |e| e.state == "running" && e.reason.contains("not healthy"));
    assert_eq!((after.pid, after.restarts), (before.pid, before.restarts), "the old one was never touched");
    assert_eq!(mark(&landlord, "acme").await, "old");
}

#[test]
fn a_restart_that_fails_says_so_to_the_operator() {
    let landlord = Setup::new().prepare();
    let crash = landlord.dir().join("crash");
    landlord.drop_tenant("acme", format!("[env]\nCRASH_FILE = {crash:?}\n[health]\nstart_timeout = \"1s\"\n"));
    let mut landlord = landlord;
    landlord.start_again();
    let before = landlord.wait_state("acme", "running");
    fs::write(&crash, "").expect("written");
    let ran = landlord.landlord(&["restart", "acme"]).expect(1);
    assert!(ran.said().contains("exit status 1"), "{}", ran.said());
    let after = landlord.entry("acme");
    assert_eq!((after.state.as_str(), after.pid), ("running", before.pid));
    fs::remove_file(&crash).expect("removed");
    landlord.landlord(&["restart", "acme"]).expect(0);
    assert_ne!(landlord.entry("acme").pid, before.pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_downloads_and_websockets_go_on_across_a_deploy() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let site = landlord.site("acme");
    let mut download = site.h1().await.expect("a connection");
    download.send(site.message("GET", "/drip/20", &[], b"")).await.expect("sent");
    assert_eq!(download.head().await.expect("it has begun").status, 200);
    let h2 = site.h2().await.expect("h2");
    let request = h2.request("GET", "/drip/20").body(()).expect("a request");
    let streamed = h2.open(request, true).await.expect("opened").0.head().await.expect("it has begun");
    let mut socket = site.websocket("/ws").await.expect("an upgrade");
    socket.send("before").await.expect("sent");
    assert_eq!(socket.text().await.expect("echoed"), "before");

    landlord.drop_tenant("acme", "[env]\nMARK = \"new\"\n");
    landlord.wait_entry("acme", "the new one serves", |e| e.state == "running" && e.generation > before.generation);
    assert_eq!(mark(&landlord, "acme").await, "new");
    socket.send("after").await.expect("sent");
    assert_eq!(socket.text().await.expect("echoed by the old one"), "after");
    let mut lines = 0;
    while download.chunk().await.expect("the download goes on").is_some() {
        lines += 1;
    }
    assert_eq!(lines, 20);
    assert_eq!(streamed.whole().await.expect("this one too").text().lines().count(), 20);
    drop(socket);
    eventually("nothing holds the old one any more", || (!process::alive(before.pid.expect("a pid"))).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outstays_its_deadline_is_cut() {
    let landlord =
        Setup::new().tenant("acme", "[deploy]\ndrain_timeout = \"1s\"\nupgrade_timeout = \"500ms\"\n").start();
    let before = landlord.wait_state("acme", "running");
    let site = landlord.site("acme");
    let mut download = site.h1().await.expect("a connection");
    download.send(site.message("GET", "/drip/100000", &[], b"")).await.expect("sent");
    assert_eq!(download.head().await.expect("it has begun").status, 200);
    let mut socket = site.websocket("/ws").await.expect("an upgrade");
    socket.send("x").await.expect("sent");
    assert_eq!(socket.text().await.expect("echoed"), "x");

    landlord.landlord(&["restart", "acme"]).expect(0);
    let (_, ending) = socket.raw().rest().await.expect("an end");
    assert!(matches!(ending, Ending::Clean | Ending::Truncated | Ending::Broken));
    let cut = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a body that was cut must not look complete"),
            Err(error) => break error,
        }
    };
    assert!(matches!(cut, ClientError::Ended(..) | ClientError::Io(_)), "{cut}");
    eventually("the old one is gone", || (!process::alive(before.pid.expect("a pid"))).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_app_redeploys_its_tenants_and_no_others() {
    let landlord = Setup::new()
        .tables(&format!(
            "[apps.other]\ncommand = [{:?}]\nhealth = \"/healthz\"\nenv = {{ MARK = \"app-1\" }}\n",
            harness::binaries::program("scripted")
        ))
        .tenant("acme", "app = \"other\"\n")
        .tenant("apex", "app = \"other\"\n[env]\nMARK = \"own\"\n")
        .tenant("beta", "")
        .start();
    let beta = landlord.wait_state("beta", "running");
    let acme = landlord.wait_state("acme", "running");
    let apex = landlord.wait_state("apex", "running");
    assert_eq!((mark(&landlord, "acme").await, mark(&landlord, "apex").await), ("app-1".into(), "own".into()));
    let crowd = Traffic::start(landlord.site("acme"), Load::new(Kind::Http2, 30));

    landlord.edit_config("app-1", "app-2");
    landlord.landlord(&["reload"]).expect(0);
    landlord.wait_entry("acme", "redeployed", |e| e.state == "running" && e.generation > acme.generation);
    assert_eq!(mark(&landlord, "acme").await, "app-2");
    crowd.wait_answered(5);
    crowd.stop().assert_none_lost(5);

    landlord.edit_config("listen = \"inherit\"\n", "listen = \"inherit\"\nversion = \"2\"\n");
    landlord.landlord(&["reload"]).expect(0);
    landlord
        .wait_entry("beta", "a new version is a deploy", |e| e.state == "running" && e.generation > beta.generation);
    assert!(landlord.entry("apex").generation >= apex.generation);
}

/// An app whose migration tells whether a worker was alive beside it.
fn migrating(version: &str) -> String {
    let program = harness::binaries::program("scripted");
    let worker = format!("echo $$ > pid; echo start >> journal; exec {}", program.display());
    let migration = "if [ -e fail ]; then echo no such column; exit 4; fi; \
                     if [ -e pid ] && kill -0 $(cat pid) 2>/dev/null; \
                     then echo beside a worker >> journal; else echo migrate >> journal; fi";
    format!(
        "command = [\"sh\", \"-c\", {worker:?}]\nmigrate = [\"sh\", \"-c\", {migration:?}]\n\
         listen = \"inherit\"\nhealth = \"/healthz\"\nversion = {version:?}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_with_a_migration_holds_stops_migrates_and_starts() {
    let landlord = Setup::new().scripted(&migrating("v1")).tenant("acme", "").start();
    let mut entry = landlord.wait_state("acme", "running");
    let journal = || fs::read_to_string(landlord.folder("acme").join("journal")).unwrap_or_default();
    assert_eq!(journal(), "migrate\nstart\n", "the first start migrates too");

    let crowds = crowds(&landlord, "acme");
    Traffic::wait_all_answered(&crowds, 6);
    landlord.edit_config("\"v1\"", "\"v2\"");
    landlord.landlord(&["reload"]).expect(0);
    entry = landlord.wait_entry("acme", "the new version", |e| e.state == "running" && e.generation > entry.generation);
    assert_eq!(journal(), "migrate\nstart\nmigrate\nstart\n", "never beside a live worker");
    Traffic::wait_all_answered(&crowds, 6);
    let reports: Vec<Report> = crowds.into_iter().map(Traffic::stop).collect();
    reports.iter().for_each(|report| report.assert_none_lost(10));

    // A restart of the same version is an overlap, and migrates nothing.
    landlord.landlord(&["restart", "acme"]).expect(0);
    assert_eq!(journal(), "migrate\nstart\nmigrate\nstart\nstart\n");

    // A migration that fails: the old version serves again, and its own words are shown.
    fs::write(landlord.folder("acme").join("fail"), "").expect("written");
    let before = landlord.entry("acme");
    landlord.edit_config("\"v2\"", "\"v3\"");
    landlord.landlord(&["reload"]);
    let failed = landlord.wait_entry("acme", "it says why", |e| e.state == "running" && !e.reason.is_empty());
    assert!(failed.reason.contains("exit status 4"), "{}", failed.reason);
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    assert!(before.generation > entry.generation);
}
