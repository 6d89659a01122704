//! Visitors who come just when their company falls asleep, and a proxy that is replaced meanwhile.

use std::time::Duration;

use harness::{Entry, Setup, client::Site};

use super::{SHORT, ask, wait_asleep};

/// Companies at once, and how often each is left alone for about as long as it takes to fall asleep.
const COMPANIES: u32 = 6;
const PAUSES: u32 = 6;

/// Comes again and again after a pause in which its company may have fallen asleep, be asleep, or be just about to, each
/// time at another instant; each time with three requests, on connections that are kept.
pub(super) async fn come_and_go(site: Site, company: u32, pauses: u32) {
    let mut kept = site.h1().await.expect("a connection");
    for round in 0..pauses {
        let pause = 980 + (company * pauses + round) * 11 % 300;
        tokio::time::sleep(Duration::from_millis(pause.into())).await;
        for number in 0..3 {
            let id = format!("{company}-{round}-{number}");
            if kept.is_over() {
                // A retired proxy ends it between two requests, as it may.
                kept = site.h1().await.expect("a connection");
            }
            kept.send(site.message("GET", &format!("/id/{id}"), &[], b"")).await.expect("it is sent");
            let answer = kept.response().await.expect("an answer");
            assert_eq!((answer.status, answer.text()), (200, id));
            if answer.field("connection").is_some_and(|value| value.contains("close")) {
                kept = site.h1().await.expect("a connection");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_who_comes_as_it_falls_asleep_or_wakes() {
    let name = |number: u32| format!("company-{number}");
    let setup = (0..COMPANIES).fold(Setup::new(), |setup, number| {
        // Some take turns by `hold`, some do not.
        let deploy = if number % 2 == 0 { "[deploy]\nstrategy = \"hold\"\n" } else { "" };
        setup.tenant(&name(number), &format!("{SHORT}{deploy}"))
    });
    let landlord = setup.start();
    // Where the machine is slow, the first ones sleep before the last one runs.
    let up = |entry: &Entry| ["running", "sleeping"].contains(&entry.state.as_str());
    let before: Vec<_> = (0..COMPANIES).map(|number| landlord.wait_entry(&name(number), "it has run", up)).collect();
    let visitors: Vec<_> =
        (0..COMPANIES).map(|number| tokio::spawn(come_and_go(landlord.site(&name(number)), number, PAUSES))).collect();
    for _ in 0..3 {
        tokio::task::block_in_place(|| landlord.landlord(&["upgrade"])).expect(0);
    }
    for visitor in visitors {
        visitor.await.expect("nobody is lost");
    }
    let now: Vec<_> = (0..COMPANIES).map(|number| landlord.entry(&name(number))).collect();
    let woken = before.iter().zip(&now).filter(|(before, now)| before.generation != now.generation).count();
    assert!(woken > 0, "nobody ever slept: {now:?}");
    assert!(now.iter().all(|entry| entry.restarts == 0), "{now:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_replaced_over_a_sleeping_company_and_a_waking_one() {
    let slowly = format!("{SHORT}[env]\nSTART_DELAY_MS = \"300\"\n");
    let landlord = Setup::new().tenant("acme", &slowly).start();
    landlord.wait_state("acme", "running");
    wait_asleep(&landlord, "acme");
    tokio::task::block_in_place(|| landlord.landlord(&["upgrade"])).expect(0);
    assert_eq!(landlord.entry("acme").state, "sleeping", "a new proxy wakes nobody");
    ask(&landlord, "acme", "woken").await;
    wait_asleep(&landlord, "acme");
    let site = landlord.site("acme");
    let waking = tokio::spawn(async move { site.get("/id/waking").await.expect("an answer") });
    landlord.wait_entry("acme", "waking", |entry| entry.state == "starting");
    tokio::task::block_in_place(|| landlord.landlord(&["upgrade"])).expect(0);
    let answer = waking.await.expect("no visitor panics");
    assert_eq!((answer.status, answer.text().as_str()), (200, "waking"));
    wait_asleep(&landlord, "acme");
}
