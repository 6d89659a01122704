//! Upgrades, early answers and hijacked workers: what an answer must never become.

use harness::hostile::{
    answers,
    case::{get, join, post, smuggled},
    h1::{End, H1, NoReply},
    stage::Stage,
    witness::{Seen, What},
    worker::hex,
};

// ---- Upgrades ----

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn upgrade(path: &str, host: &str, lines: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n").into_bytes()
}

#[tokio::test]
async fn a_tunnel_opens_after_101_and_only_then() {
    let stage = Stage::start("");
    let mut client = stage.h1().await;
    let reply = client.ask(&upgrade("/ws", &stage.host, WEBSOCKET)).await.expect("an answer");
    assert_eq!((reply.status, reply.fields("sec-websocket-accept")), (101, vec!["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]));
    client.send(b"\x81\x05hello").await;
    client.more().await.expect("the echo");
    assert_eq!(client.left(), b"\x81\x05hello");

    // Not 101: what the client says next is no tunnel's.
    let evil =
        join(&[format!("GET /smuggled HTTP/1.1\r\nHost: {}\r\nX-Tenant-ID: evil\r\n\r\n", stage.other).as_bytes()]);
    for bytes in [b"\x81\x05hello\r\n\r\n".to_vec(), evil] {
        for path in ["/echo", &format!("/raw/{}", hex(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"))] {
            let mark = stage.witness.mark();
            let mut client = stage.h1().await;
            let reply = client.ask(&upgrade(path, &stage.host, WEBSOCKET)).await.expect("an answer");
            assert!(matches!(reply.status, 200 | 426), "{}", reply.status);
            client.send(&bytes).await;
            match client.reply("GET").await {
                Ok(reply) => assert!(matches!(reply.status, 400 | 421), "{}", reply.status),
                Err(why) => assert!(matches!(why, NoReply::Ended(..)), "{why}"),
            }
            let seen = stage.witness.since(mark);
            assert!(seen.len() == 1 && seen[0].target() == path, "{seen:?}");
        }
    }
}

#[tokio::test]
async fn no_other_upgrade_reaches_a_worker() {
    let stage = Stage::start("");
    let rows = [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: evil\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Upgrade: websocket\r\n",
        "Connection: keep-alive\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ];
    for lines in rows {
        let mark = stage.witness.mark();
        let mut client = stage.h1().await;
        let reply = client.ask(&upgrade("/ws", &stage.host, lines)).await.expect("an answer");
        assert!(matches!(reply.status, 200 | 400 | 426), "{lines:?}: {}", reply.status);
        for seen in stage.witness.since(mark) {
            assert_eq!(seen.fields("upgrade"), [""; 0], "{lines:?}: {}", seen.head);
            assert_eq!(seen.fields("http2-settings"), [""; 0], "{lines:?}: {}", seen.head);
        }
    }
    // A body and an upgrade together never open a tunnel.
    let mark = stage.witness.mark();
    let mut client = stage.h1().await;
    let bytes = format!("POST /ws HTTP/1.1\r\nHost: {}\r\n{WEBSOCKET}Content-Length: 5\r\n\r\nhello", stage.host);
    let reply = client.ask(bytes.as_bytes()).await.expect("an answer");
    assert!(matches!(reply.status, 200 | 400 | 405 | 426), "{}", reply.status);
    assert!(stage.witness.since(mark).iter().all(|seen| seen.what != What::Tunnel));
}

// ---- Early answers ----

#[tokio::test]
async fn an_unread_body_is_never_the_next_request() {
    let stage = Stage::start("");
    let hidden = smuggled(&stage.host);
    for (count, expect) in [(1, false), (1, true), (100, false), (100, true), (20_000, false)] {
        let mark = stage.witness.mark();
        let body = hidden.repeat(count);
        let lines =
            format!("Content-Length: {}\r\n{}", body.len(), if expect { "Expect: 100-continue\r\n" } else { "" });
        let head = format!("POST /early HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", stage.host);
        let mut client = stage.h1().await;
        client.send(head.as_bytes()).await;
        let reply = client.reply("POST").await.expect("the early answer");
        assert_eq!(reply.status, 413);
        client.send_much(&body).await;
        // Either the body is read to its end and the next request is answered, or the connection is closed.
        client.send(&get(&stage.host, b"")).await;
        match client.reply("GET").await {
            Ok(reply) => assert_eq!((reply.status, reply.body.as_slice()), (200, b"".as_slice())),
            Err(why) => assert!(matches!(why, NoReply::Ended(..)), "{why}"),
        }
        stage.sing().await.expect("then a good request");
        let seen = stage.witness.since(mark);
        assert!(seen.iter().all(|seen| seen.target() != "/smuggled" && seen.what != What::Garbage), "{seen:?}");
        let early: Vec<_> = seen.iter().filter(|seen| seen.target() == "/early" && seen.what == What::Broken).collect();
        for broken in early {
            assert!(
                stage.witness.all().iter().rfind(|seen| seen.connection == broken.connection) == Some(broken),
                "a connection whose request broke off is not used again"
            );
        }
    }
}

#[tokio::test]
async fn expectations_are_met_or_refused() {
    let stage = Stage::start("");
    let mut client = stage.h1().await;
    client
        .send(
            format!("POST /echo HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", stage.host)
                .as_bytes(),
        )
        .await;
    assert_eq!(client.any_reply("POST").await.expect("leave to go on").status, 100);
    client.send(b"hello").await;
    let reply = client.reply("POST").await.expect("the answer");
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
    let mut client = stage.h1().await;
    let reply = client
        .ask(&post(&stage.host, b"Content-Length: 5\r\nExpect: 200-evil\r\n", b"hello"))
        .await
        .expect("an answer");
    assert!(matches!(reply.status, 200 | 400 | 417), "{}", reply.status);
}

// ---- Bad workers ----

fn raw(method: &str, host: &str, answer: &[u8]) -> Vec<u8> {
    format!("{method} /raw/{} HTTP/1.1\r\nHost: {host}\r\n\r\n", hex(answer)).into_bytes()
}

#[tokio::test]
async fn a_malformed_answer_is_a_502() {
    let stage = Stage::start("");
    let mut wrong = Vec::new();
    for (name, answer) in answers::malformed() {
        let mut client = stage.h1().await;
        match client.ask(&raw("GET", &stage.host, &answer)).await {
            Ok(reply) if reply.status == 502 && !reply.text().contains("hello") => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
        if let Err(why) = stage.sing().await {
            wrong.push(format!("{name}: {why}"));
        }
    }
    let mut client = stage.h1().await;
    match client.ask(&get(&stage.host, b"").to_vec().replace(b"/echo", b"/bighead")).await {
        Ok(reply) if reply.status == 502 => {}
        other => wrong.push(format!("a head of 20 MB: {other:?}")),
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

trait Replace {
    fn replace(self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl Replace for Vec<u8> {
    fn replace(self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = harness::hostile::h1::find(&self, from).expect("the text is there");
        [&self[..at], to, &self[at + from.len()..]].concat()
    }
}

#[tokio::test]
async fn a_truncated_answer_never_ends_cleanly() {
    let stage = Stage::start("");
    let mut wrong = Vec::new();
    for (name, answer) in answers::truncated() {
        let mut client = stage.h1().await;
        match client.ask(&raw("GET", &stage.host, &answer)).await {
            Ok(reply) if reply.status == 502 => {}
            Ok(reply) if !reply.whole => {
                if client.end().await == End::Open {
                    wrong.push(format!("{name}: the connection stays open"));
                }
            }
            Err(NoReply::Ended(..)) => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
        if let Err(why) = stage.sing().await {
            wrong.push(format!("{name}: {why}"));
        }
    }
    // A body that only the connection's end delimits has no more than that to tell its end by.
    let mut client = stage.h1().await;
    let reply = client.ask(&raw("GET", &stage.host, b"HTTP/1.1 200 OK\r\n\r\nhello")).await.expect("an answer");
    assert_eq!((reply.status, reply.text().as_str(), reply.whole), (200, "hello", true));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn one_answer_per_request() {
    let stage = Stage::start("");
    for (name, method, answer) in answers::surplus() {
        for keep in ["raw", "rawkeep"] {
            let mut client = stage.h1().await;
            let request = format!("{method} /{keep}/{} HTTP/1.1\r\nHost: {}\r\n\r\n", hex(&answer), stage.host);
            let reply = client.ask(request.as_bytes()).await.unwrap_or_else(|why| panic!("{name}: {why}"));
            assert!(!reply.text().contains("evil"), "{name}: {reply:?}");
            // On this connection or on new ones: every request gets its own answer.
            client.send(&post(&stage.host, b"Content-Length: 3\r\n", b"own")).await;
            match client.reply("POST").await {
                Ok(reply) => assert_eq!((reply.status, reply.text().as_str()), (200, "own"), "{name}"),
                Err(why) => assert!(matches!(why, NoReply::Ended(..)), "{name}: {why}"),
            }
            for number in 0..8 {
                let body = format!("own {number}");
                let request =
                    post(&stage.host, format!("Content-Length: {}\r\n", body.len()).as_bytes(), body.as_bytes());
                let reply = stage.h1().await.ask(&request).await.unwrap_or_else(|why| panic!("{name}: {why}"));
                assert_eq!((reply.status, reply.text()), (200, body), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_workers_hop_by_hop_fields_end_here() {
    let stage = Stage::start("");
    let answer = b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: close\r\nUpgrade: evil\r\nX-Stays: 1\r\nContent-Length: 5\r\n\r\nhello";
    let mut client = stage.h1().await;
    let reply = client.ask(&raw("GET", &stage.host, answer)).await.expect("an answer");
    assert_eq!((reply.status, reply.fields("x-stays")), (200, vec!["1"]));
    for name in ["x-hop", "proxy-connection", "upgrade"] {
        assert_eq!(reply.fields(name), [""; 0], "{}", reply.head);
    }
    assert!(!reply.head.contains("timeout=9"), "{}", reply.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_its_own_requests() {
    let stage = Stage::start("");
    let mut tasks = Vec::new();
    for number in 0..24 {
        let host = if number % 2 == 0 { stage.host.clone() } else { stage.other.clone() };
        let door = stage.door.clone();
        tasks.push(tokio::spawn(async move {
            let mut client = H1::open(&door, &host).await.expect("a handshake");
            for turn in 0..40 {
                let body = format!("{host} {number} {turn} secret");
                let lines = format!("Cookie: session={number}\r\nContent-Length: {}\r\n", body.len());
                let reply = client.ask(&post(&host, lines.as_bytes(), body.as_bytes())).await.expect("an answer");
                assert_eq!((reply.status, reply.text()), (200, body));
            }
        }));
    }
    for task in tasks {
        task.await.expect("every client got its own answers");
    }
    let names = |seen: Vec<Seen>| {
        seen.iter()
            .flat_map(|seen| seen.fields("x-tenant-id").into_iter().map(String::from).collect::<Vec<_>>())
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(stage.witness.since(0)), ["acme".to_owned()].into());
    assert_eq!(names(stage.other_witness.since(0)), ["beta".to_owned()].into());
}
