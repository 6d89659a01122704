//! A company that nobody uses sleeps: no worker, no port. Its next visitor is held while it wakes, and never turned away.

mod crashes;
mod crowds;
mod room;

use std::fs;

use harness::{Entry, Landlord, Setup, client::Response, eventually, process};
use serde_json::Value;

/// The shortest that there is.
const SHORT: &str = "[sleep]\nafter = \"1s\"\n";

/// It sleeps, and nothing of it is left.
#[track_caller]
fn wait_asleep(landlord: &Landlord, name: &str) -> Entry {
    landlord.wait_entry(name, "asleep and gone", |entry| {
        entry.state == "sleeping" && entry.pid.is_none() && entry.port.is_none() && entry.generation.is_none()
    })
}

async fn ask(landlord: &Landlord, tenant: &str, id: &str) -> Response {
    let answer = landlord.site(tenant).get(&format!("/id/{id}")).await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, id), "{tenant}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_company_sleeps_and_wakes_for_whoever_comes() {
    let landlord = Setup::new().tenant("acme", SHORT).tenant("beta", "").start();
    let (before, beta) = (landlord.wait_state("acme", "running"), landlord.wait_state("beta", "running"));
    let asleep = wait_asleep(&landlord, "acme");
    assert_eq!(asleep.reason, "idle; the next request starts it");
    assert!(!process::alive(before.pid.expect("a pid")));
    ask(&landlord, "acme", "first").await;
    let awake = landlord.wait_state("acme", "running");
    assert_eq!(awake.generation, before.generation.map(|number| number + 2), "beta's is between them");
    assert_eq!(awake.restarts, 0);

    // With a body, which is kept while the worker starts.
    wait_asleep(&landlord, "acme");
    let body = vec![b'x'; 200_000];
    let answer = landlord.site("acme").request("POST", "/echo", &[], &body).await.expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (200, body.len()));
    assert_eq!(landlord.entry("beta").pid, beta.pid, "who has no [sleep] never does");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_visitors_at_once_wake_it_once() {
    let slowly = format!("{SHORT}[env]\nSTART_DELAY_MS = \"200\"\n");
    let landlord = Setup::new().tenant("acme", &slowly).start();
    let before = landlord.wait_state("acme", "running");
    wait_asleep(&landlord, "acme");
    let visitors: Vec<_> = (0..50)
        .map(|number| {
            let site = landlord.site("acme");
            tokio::spawn(async move { site.get(&format!("/id/{number}")).await.expect("an answer") })
        })
        .collect();
    let mut workers = std::collections::BTreeSet::new();
    for visitor in visitors {
        let answer = visitor.await.expect("no visitor panics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        workers.insert(answer.field("x-worker-pid").map(str::to_owned));
    }
    assert_eq!(workers.len(), 1, "{workers:?}");
    assert_eq!(landlord.entry("acme").generation, before.generation.map(|number| number + 1), "one start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_and_what_has_something_to_do_keeps_it_awake() {
    let asks = "listen = \"inherit\"\nhealth = \"/healthz\"\nsleep = \"/may-sleep\"\n";
    let landlord =
        Setup::new().scripted(asks).tenant("acme", SHORT).tenant("beta", SHORT).tenant("busy", SHORT).start();
    let acme = landlord.wait_state("acme", "running");
    let mut socket = landlord.site("acme").websocket("/ws").await.expect("an upgrade");
    let busy = landlord.wait_state("busy", "running");
    fs::write(landlord.folder("busy").join("stay-awake"), "").expect("its folder is there");
    // Twice as long as they would need, as another one shows.
    for _ in 0..2 {
        ask(&landlord, "beta", "again").await;
        wait_asleep(&landlord, "beta");
    }
    assert_eq!(landlord.entry("acme").pid, acme.pid);
    socket.send("still there?").await.expect("a tunnel");
    assert_eq!(socket.text().await.expect("a tunnel"), "still there?");
    eventually("a veto is told", || landlord.logs().contains("it has something to do and stays awake").then_some(()));
    assert_eq!(landlord.entry("busy").pid, busy.pid);
    drop(socket);
    wait_asleep(&landlord, "acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_files_and_restarts_of_landlord_find_it_asleep() {
    let mut landlord = Setup::new().tenant("acme", SHORT).tenant("beta", SHORT).start();
    landlord.wait_state("acme", "running");
    wait_asleep(&landlord, "acme");
    wait_asleep(&landlord, "beta");
    // What changes is for when it wakes.
    landlord.drop_tenant("acme", format!("{SHORT}[env]\nMARK = \"new\"\n"));
    landlord.landlord(&["reload"]).expect(0);
    wait_asleep(&landlord, "acme");

    landlord.stop();
    landlord.start_again();
    for name in ["acme", "beta"] {
        let entry = landlord.wait_entry(name, "let in", |entry| entry.state != "starting");
        assert_eq!((entry.state.as_str(), entry.generation), ("sleeping", None), "{name} slept on");
    }
    let answer = landlord.site("acme").get("/generation").await.expect("an answer");
    assert_eq!((answer.status, answer.json::<Value>()["mark"].as_str()), (200, Some("new")));

    for verb in ["start", "restart"] {
        wait_asleep(&landlord, "beta");
        landlord.landlord(&[verb, "beta"]).expect(0);
        assert_eq!(landlord.entry("beta").state, "running", "{verb} wakes it");
    }
    wait_asleep(&landlord, "beta");
    landlord.landlord(&["stop", "beta"]).expect(0);
    assert_eq!(landlord.entry("beta").state, "stopped");
    assert_eq!(landlord.site("beta").get("/").await.expect("a page").status, 503, "nobody wakes it");
    landlord.landlord(&["start", "beta"]).expect(0);

    // One that is to sleep no more starts.
    wait_asleep(&landlord, "beta");
    landlord.drop_tenant("beta", "");
    landlord.wait_state("beta", "running");
}
