//! What one company may have of the gateway: requests a second, requests at once, connections of one address.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use harness::{
    Landlord, Setup,
    client::{Raw, Response},
    eventually_async,
    hostile::door::Door,
    traffic::{Kind, Load, Traffic},
};
use tokio::{sync::broadcast, task::JoinSet};

/// Tokens a second, and as many at once.
const RATE: u64 = 20;

/// One company with these limits, running, and an unlimited neighbour.
fn house(limits: &str) -> Landlord {
    let landlord = Setup::new().tenant("acme", &format!("[limits]\n{limits}")).tenant("beta", "").start();
    for name in ["acme", "beta"] {
        landlord.wait_state(name, "running");
    }
    landlord
}

fn from(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, last))
}

/// An HTTP/1.1 connection to acme from one address of the loopback.
async fn visitor(landlord: &Landlord, last: u8) -> Raw {
    let door = Door::new(landlord.https(), &landlord.ca()).expect("the house's CA");
    let opened = door.open(&landlord.host("acme"), door.config(&["http/1.1"]), from(last)).await;
    Raw::over(opened.expect("a connection"))
}

async fn ask(landlord: &Landlord, visitor: &mut Raw, path: &str) {
    visitor.send(landlord.site("acme").message("GET", path, &[], b"")).await.expect("it is sent");
}

/// A refusal says what the rate is and when to come again.
#[track_caller]
fn assert_explained(refusal: &Response) {
    assert_eq!(refusal.status, 429, "{refusal:?}");
    assert_eq!(refusal.field("ratelimit-policy"), Some(format!("\"requests\";q={RATE};w=1").as_str()));
    assert_eq!(refusal.field("ratelimit"), Some("\"requests\";r=0;t=1"));
    assert_eq!(refusal.field("retry-after"), Some("1"));
    assert_eq!(refusal.field("cache-control"), Some("no-store"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_company_gets_its_rate_and_its_neighbour_loses_nothing() {
    let landlord = house(&format!("requests_per_second = {RATE}\nburst = {RATE}\n"));
    let began = Instant::now();
    let neighbour = Traffic::start(landlord.site("beta"), Load::new(Kind::KeepAlive, 30));
    let flood: Vec<Traffic> = [(Kind::KeepAlive, 100), (Kind::Http2, 80), (Kind::NewConnection, 20)]
        .into_iter()
        .map(|(kind, rate)| Traffic::start(landlord.site("acme"), Load::new(kind, rate)))
        .collect();
    // Ten times its share for as long as this takes, whatever the machine makes of it.
    neighbour.wait_answered(60);

    // In the middle of it, by both protocols, a refusal that explains itself.
    let (mut h1, h2) = (landlord.site("acme").h1().await.expect("h1"), landlord.site("acme").h2().await.expect("h2"));
    let by_h1 = async {
        loop {
            ask(&landlord, &mut h1, "/").await;
            let answer = h1.response().await.expect("an answer");
            if answer.status != 200 {
                break answer;
            }
        }
    };
    let by_h2 = async {
        loop {
            let answer = h2.get("/").await.expect("an answer");
            if answer.status != 200 {
                break answer;
            }
        }
    };
    let (by_h1, by_h2) = tokio::join!(by_h1, by_h2);
    assert_explained(&by_h1);
    assert_explained(&by_h2);

    let mut answered = 0;
    for report in flood.into_iter().map(Traffic::stop) {
        answered += report.ok;
        let refused = report.statuses.get(&429).copied().unwrap_or_default();
        assert_eq!(report.ok + refused, report.sent, "an answer or a refusal, and nothing else: {report}");
        assert!(refused > 0, "{report}");
    }
    // Its bucket was full at the beginning, and RATE a second came back. The explained ones above took some, too.
    let most = RATE + (began.elapsed().as_secs_f64() * RATE as f64).ceil() as u64;
    assert!((RATE..=most).contains(&answered), "{answered} of at most {most}");
    neighbour.stop().assert_none_lost(60);
    wait_logged(&landlord, "\"status\":429", 2).await;
    wait_logged(&landlord, "\"reject\":\"rate\"", 2).await;
}

/// A request that its worker has for as long as we like: the one byte of its body is still to come.
async fn begin(landlord: &Landlord, visitor: &mut Raw) {
    let head = landlord.site("acme").message("POST", "/echo", &[("Content-Length", "1")], b"");
    visitor.send(head).await.expect("it is sent");
}

/// The byte, and the answer's status.
async fn finish(visitor: &mut Raw) -> u16 {
    visitor.send(b"x").await.expect("it is sent");
    visitor.response().await.expect("an answer").status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_at_once_and_in_line_and_turns_by_address() {
    let landlord = house("concurrent_requests = 2\nqueued_requests = 4\n");
    let mut crowd = JoinSet::new();
    let (go, _) = broadcast::channel::<()>(1);
    for _ in 0..9 {
        let (mut visitor, mut go) = (visitor(&landlord, 1).await, go.subscribe());
        begin(&landlord, &mut visitor).await;
        crowd.spawn(async move {
            // Who is at work hears the beginning of an answer at once, who is in line hears nothing.
            let head = tokio::select! {
                head = visitor.head() => Some(head.expect("a head")),
                _ = go.recv() => None,
            };
            match head {
                Some(head) if head.status == 429 => {
                    assert_eq!(head.field("retry-after"), Some("1"), "{head:?}");
                    429
                }
                Some(head) => {
                    go.recv().await.expect("the word to go on");
                    visitor.send(b"x").await.expect("it is sent");
                    visitor.body(&head, "POST").await.expect("its end");
                    head.status
                }
                None => finish(&mut visitor).await,
            }
        });
    }
    // Two are at work, four wait, three are too many, in whatever order they came.
    for _ in 0..3 {
        assert_eq!(crowd.join_next().await.expect("one of nine").expect("no panic"), 429);
    }
    // Somebody from elsewhere is let in line all the same, in place of the newest of them.
    let mut other = visitor(&landlord, 2).await;
    begin(&landlord, &mut other).await;
    assert_eq!(crowd.join_next().await.expect("one of six").expect("no panic"), 429);
    go.send(()).expect("they wait");
    assert_eq!(finish(&mut other).await, 200);
    assert_eq!(crowd.join_all().await, [200; 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_and_a_visitor_who_leaves_keep_nobody_out() {
    let landlord = house("concurrent_requests = 1\nqueued_requests = 1\n");
    let mut socket = landlord.site("acme").websocket("/ws").await.expect("a WebSocket");
    assert_eq!(landlord.site("acme").get("/").await.expect("an answer").status, 200, "a tunnel is no request");
    let (mut working, mut one, mut two) =
        (visitor(&landlord, 1).await, visitor(&landlord, 1).await, visitor(&landlord, 1).await);
    begin(&landlord, &mut working).await;
    let head = working.head().await.expect("an answer that begins with the first byte of its request");
    // One of these two is in line, the other one is too many. Then both leave.
    begin(&landlord, &mut one).await;
    begin(&landlord, &mut two).await;
    let first = tokio::select! {
        answer = one.response() => answer,
        answer = two.response() => answer,
    };
    assert_eq!(first.expect("an answer").status, 429);
    drop((one, two));
    wait_logged(&landlord, "\"status\":499", 1).await;
    let mut next = visitor(&landlord, 1).await;
    begin(&landlord, &mut next).await;
    let mut late = visitor(&landlord, 1).await;
    begin(&landlord, &mut late).await;
    let refused = tokio::select! {
        answer = next.response() => answer,
        answer = late.response() => answer,
    };
    assert_eq!(refused.expect("an answer").status, 429, "there was room for one");
    working.send(b"x").await.expect("it is sent");
    assert_eq!(working.body(&head, "POST").await.expect("its end").0, b"x");
    socket.send("still here").await.expect("it is sent");
    assert_eq!(socket.text().await.expect("an echo"), "still here");
}

/// Until the access log has so many lines with this.
async fn wait_logged(landlord: &Landlord, what: &str, least: usize) {
    let log = landlord.state().join("logs/access.log");
    eventually_async(format!("{least} lines with {what} in the access log"), async || {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        (lines.lines().filter(|line| line.contains(what)).count() >= least).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections_and_the_idle_one_makes_room() {
    let landlord = house("connections_per_address = 2\n");
    let mut all = Vec::new();
    for _ in 0..8 {
        let mut visitor = visitor(&landlord, 1).await;
        ask(&landlord, &mut visitor, "/").await;
        assert_eq!(visitor.response().await.expect("an answer").status, 200);
        all.push(visitor);
    }
    // Whichever cores they came to: two are left.
    let mut open = 0;
    for visitor in &mut all[..6] {
        visitor.rest().await.expect("its end");
    }
    for visitor in &mut all[6..] {
        open += u32::from(!visitor.is_over());
    }
    assert_eq!(open, 2);
    let mut elsewhere = visitor(&landlord, 2).await;
    ask(&landlord, &mut elsewhere, "/").await;
    assert_eq!(elsewhere.response().await.expect("an answer").status, 200);
    assert!(all[6..].iter_mut().all(|visitor| !visitor.is_over()), "another address' is another's");
    assert_eq!(landlord.site("beta").get("/").await.expect("an answer").status, 200);
}
