//! A house that holds only so many: who was not used for the longest makes room.

use harness::{Entry, Landlord, Setup};

use super::ask;

/// Visits these again and again, until they run and nobody else does.
async fn settle_on(landlord: &Landlord, names: &[&str]) {
    harness::eventually_async(format!("only {names:?} run"), async || {
        for name in names {
            ask(landlord, name, "again").await;
        }
        only(&landlord.status(), names).then_some(())
    })
    .await;
}

fn only(fleet: &[Entry], names: &[&str]) -> bool {
    fleet.iter().all(|entry| entry.state == if names.contains(&entry.name.as_str()) { "running" } else { "sleeping" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_quiet_makes_room_and_a_visitor_never_waits_for_it_in_vain() {
    let setup = Setup::new().keys("max_running = 2").tables("[defaults.sleep]\nafter = \"1h\"\n");
    let landlord = setup.tenant("a", "").tenant("b", "").tenant("c", "").start();
    // Everybody is seen to run once, by turns.
    let (mut watch, mut seen) = (landlord.watch(), std::collections::BTreeSet::new());
    watch.until("all three have run", |fleet| {
        seen.extend(fleet.iter().filter(|entry| entry.state == "running").map(|entry| entry.name.clone()));
        seen.len() == 3
    });
    drop(watch);
    settle_on(&landlord, &["a", "b"]).await;
    settle_on(&landlord, &["a", "c"]).await;

    // Nobody makes room who is in use: the house gives way, for as long as it must.
    let mut sockets = Vec::new();
    for name in ["a", "c"] {
        sockets.push(landlord.site(name).websocket("/ws").await.expect("an upgrade"));
    }
    settle_on(&landlord, &["a", "c"]).await;
    let mut watch = landlord.watch();
    ask(&landlord, "b", "one-too-many").await;
    watch.until("all three run", |fleet| fleet.iter().all(|entry| entry.state == "running"));
    watch.until("the one that nobody uses has gone", |fleet| only(fleet, &["a", "c"]));
    for mut socket in sockets {
        socket.send("still there?").await.expect("a tunnel");
        assert_eq!(socket.text().await.expect("a tunnel"), "still there?");
    }
}
