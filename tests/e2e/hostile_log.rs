//! What the log says of hostile clients: every kind by its name, and never more lines than anybody reads.

use std::time::{Duration, Instant};

use harness::hostile::{
    case::{get, post},
    flood::pour,
    frames::{H2, block, frame, get_block, headers, kind},
    stage::Stage,
};

/// Lines of this message so far.
fn lines(stage: &Stage, message: &str) -> Vec<serde_json::Value> {
    let (out, err) = (stage.landlord.out().text(), stage.landlord.err().text());
    out.lines()
        .chain(err.lines())
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["message"] == message)
        .collect()
}

/// Waits until a line of this message has this value in this field.
async fn wait(stage: &Stage, message: &str, field: &str, value: &str) -> serde_json::Value {
    let looking = async {
        loop {
            if let Some(line) = lines(stage, message).into_iter().find(|line| line[field] == value) {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(10), looking).await;
    found.unwrap_or_else(|_| panic!("no {message} with {field} {value}:\n{:#?}", lines(stage, message)))
}

#[tokio::test]
async fn every_refusal_has_its_reason() {
    let stage = Stage::start("");
    let host = &stage.host;
    for (reason, status, bytes) in [
        ("framing", 400, post(host, b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n")),
        ("host", 400, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("method", 405, format!("TRACE / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()),
        ("oversize", 431, get(host, "X: y\r\n".repeat(200).as_bytes())),
        ("sni_mismatch", 421, get(&stage.other, b"")),
    ] {
        let reply = stage.h1().await.ask(&bytes).await.expect("an answer");
        assert_eq!(reply.status, status, "{reason}");
        let line = wait(&stage, "reject", "reason", reason).await;
        assert_eq!(line["status"], status, "{line}");
    }
}

#[tokio::test]
async fn every_slow_phase_has_its_line() {
    let stage = Stage::start(
        "handshake_timeout = \"1s\"\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\nwrite_timeout = \"1s\"",
    );
    let _silent = stage.door.tcp(std::net::Ipv4Addr::LOCALHOST.into()).await.expect("a connection");
    let mut head = stage.h1().await;
    head.send(b"GET / HTTP/1.1\r\n").await;
    let mut body = stage.h1().await;
    body.send(&post(&stage.host, b"Content-Length: 100\r\n", b"hello")).await;
    let mut deaf = stage.h1().await;
    deaf.send(format!("GET /big/100000000 HTTP/1.1\r\nHost: {}\r\n\r\n", stage.host).as_bytes()).await;
    for phase in ["handshake", "head", "body", "write"] {
        wait(&stage, "slow", "phase", phase).await;
    }
}

#[tokio::test]
async fn a_flood_has_its_line() {
    let stage = Stage::start("");
    let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
    pour(&mut client, (0..100).map(|_| frame(kind::PING, 0, 0, &[7; 8]).repeat(100)), Duration::from_secs(1)).await;
    let line = wait(&stage, "flood", "kind", "ping").await;
    assert!(line["frames"].as_u64().is_some_and(|frames| frames > 0), "{line}");
}

#[tokio::test]
async fn refusals_without_number_are_counted_and_not_written() {
    let stage = Stage::start("");
    let began = Instant::now();
    for _ in 0..300 {
        // The client's own words are nothing for a terminal.
        let bytes = b"GET /\x1b[31m\x07 HTTP/1.1\r\nHost: \x1b]0;evil\x07\r\n\r\n";
        assert_eq!(stage.h1().await.ask(bytes).await.expect("an answer").status, 400);
    }
    let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
    for number in 0..100 {
        let fields = block(&[(b"x_y", b"z")]);
        let bad = headers(number * 2 + 1, &[get_block(&stage.host, "/"), fields].concat(), true);
        client.write(&bad).await.expect("a request");
        client.verdict(number * 2 + 1).await;
    }
    let seconds = began.elapsed().as_secs() as usize + 2;
    let written = lines(&stage, "reject").len();
    // Ten a second.
    let most = 10 * seconds;
    assert!((1..=most).contains(&written), "{written} lines in {seconds} s");
    assert!(!stage.landlord.err().text().contains('\x1b') && !stage.landlord.out().text().contains('\x1b'));
}
