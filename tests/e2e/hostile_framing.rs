//! HTTP/1.1 that is framed wrongly, byte for byte, and what must become of it.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use harness::hostile::{
    case::{get, join, try_all},
    chunks, encodings,
    h1::End,
    heads, lengths,
    stage::Stage,
    witness::{Seen, What},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

// ---- Framing ----

#[tokio::test]
async fn a_length_beside_chunks_is_refused() {
    let stage = Stage::start("");
    try_all(&stage, &lengths::beside_chunked(&stage.host)).await;
    assert!(stage.landlord.logs().contains("framing"), "the log names the reason");
}

#[tokio::test]
async fn only_chunked_is_a_transfer_encoding() {
    let stage = Stage::start("");
    try_all(&stage, &encodings::legal(&stage.host)).await;
    try_all(&stage, &encodings::odd(&stage.host)).await;
    let framings: Vec<Seen> = stage.witness.all().into_iter().filter(|seen| seen.target() == "/echo").collect();
    assert!(!framings.is_empty());
    for seen in framings {
        let (codings, lengths) = (seen.fields("transfer-encoding"), seen.fields("content-length"));
        assert!(
            codings == ["chunked"] && lengths.is_empty() || codings.is_empty() && lengths == ["5"],
            "{}",
            seen.head
        );
    }
    try_all(&stage, &encodings::obfuscated(&stage.host)).await;
    try_all(&stage, &encodings::twins(&stage.host)).await;
    try_all(&stage, &encodings::in_old_version(&stage.host)).await;
}

#[tokio::test]
async fn a_length_is_digits_and_one() {
    let stage = Stage::start("");
    try_all(&stage, &lengths::bad(&stage.host)).await;
    try_all(&stage, &lengths::same(&stage.host)).await;
    try_all(&stage, &lengths::bodies_of_any_method(&stage.host)).await;
}

#[tokio::test]
async fn chunks_are_read_strictly() {
    let stage = Stage::start("");
    try_all(&stage, &chunks::legal(&stage.host)).await;
    try_all(&stage, &chunks::broken(&stage.host)).await;
    try_all(&stage, &chunks::swollen_trailers(&stage.host)).await;
}

#[tokio::test]
async fn trailers_never_carry_framing_routing_or_trust() {
    let stage = Stage::start("");
    for (number, trailer) in chunks::FORBIDDEN_TRAILERS.iter().enumerate() {
        let target = format!("/echo?{number}");
        let name = trailer.split(':').next().expect("a name").to_ascii_lowercase();
        let body = format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n");
        let mut client = stage.h1().await;
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n{body}", stage.host);
        let status = client.ask(request.as_bytes()).await.map(|reply| reply.status);
        assert!(matches!(status, Ok(200 | 400)), "{trailer}: {status:?}");
        for seen in stage.witness.all().into_iter().filter(|seen| seen.target() == target) {
            assert_eq!(seen.what == What::Whole, status == Ok(200), "{trailer}: {seen:?}");
            assert!(!seen.trailers.to_ascii_lowercase().contains(&name), "{trailer} reached the worker: {seen:?}");
            assert!(
                !seen.head.contains("evil") && !seen.head.contains("6.6.6.6"),
                "{trailer} became a field: {seen:?}"
            );
        }
    }
}

#[tokio::test]
async fn fields_hold_no_controls_folds_or_loose_line_ends() {
    let stage = Stage::start("");
    try_all(&stage, &heads::controls(&stage.host)).await;
}

#[tokio::test]
async fn request_lines_are_read_strictly_and_nothing_else_is_spoken() {
    let stage = Stage::start("");
    try_all(&stage, &heads::lines(&stage.host)).await;
}

#[tokio::test]
async fn heads_are_bounded() {
    let stage = Stage::start("");
    stage.sing().await.expect("a first request");
    let before = harness::hostile::process::resident(stage.proxy()).expect("resident memory");
    try_all(&stage, &heads::oversize(&stage.host)).await;
    let after = harness::hostile::process::resident(stage.proxy()).expect("resident memory");
    assert!(after < before + (16 << 20), "resident memory grew from {before} to {after}");
}

#[tokio::test]
async fn a_head_without_end_is_answered_before_it_ends() {
    let stage = Stage::start("");
    let mark = stage.witness.mark();
    let mut client = stage.h1().await;
    let began = Instant::now();
    client
        .send_much(&join(&[format!("GET / HTTP/1.1\r\nHost: {}\r\n", stage.host).as_bytes(), &vec![b'x'; 8 << 20]]))
        .await;
    let reply = client.reply("GET").await.expect("an answer");
    assert_eq!(reply.status, 431);
    assert_ne!(client.end().await, End::Open);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(stage.witness.since(mark), []);
}

// ---- Clear text on the TLS port, TLS on nothing ----

#[tokio::test]
async fn what_is_no_tls_is_hung_up_on() {
    let stage = Stage::start("");
    let mark = stage.witness.mark();
    for bytes in [
        get(&stage.host, b""),
        join(&[b"PROXY TCP4 6.6.6.6 7.7.7.7 80 80\r\n", &get(&stage.host, b"")]),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0; 1000],
        vec![0x16; 1000],
    ] {
        let mut tcp = stage.door.tcp(Ipv4Addr::LOCALHOST.into()).await.expect("a connection");
        tcp.write_all(&bytes).await.expect("sent");
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), tcp.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "still open after {:?}", bytes.escape_ascii().to_string());
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("200 OK") && !answer.contains("hello"), "{answer}");
    }
    assert_eq!(stage.witness.since(mark), []);
    stage.sing().await.expect("then a good request");
}
