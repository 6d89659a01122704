//! HTTP/2 that is malformed or misdirected, frame by frame.

use harness::hostile::{
    frames::{H2, Verdict, block, data, get_block, headers, literal},
    h2_cases::{self, H2Case},
    stage::Stage,
    witness::{Seen, What},
};

/// Tries every case on a connection of its own.
async fn try_all(stage: &Stage, cases: Vec<H2Case>) {
    assert!(!cases.is_empty(), "a table without rows proves nothing");
    let mut wrong = Vec::new();
    for case in cases {
        let (mark, other_mark) = (stage.witness.mark(), stage.other_witness.mark());
        let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
        // A peer that hangs up in the middle is heard below.
        let _hung_up = client.write(&case.frames).await;
        let verdict = client.verdict(1).await;
        let well = match verdict {
            Verdict::Status(400, _) | Verdict::Reset(_) | Verdict::Goaway(_) | Verdict::Closed => true,
            Verdict::Status(status, _) => case.statuses.contains(&status),
            Verdict::Silence => false,
        };
        if !well {
            wrong.push(format!("{}: {verdict:?}", case.name));
        }
        if let Err(why) = stage.sing().await {
            wrong.push(format!("{}: {why}", case.name));
        }
        let seen = stage.witness.since(mark);
        let served = verdict == Verdict::Status(200, true) && seen.len() == 1;
        if !served && seen.iter().any(|seen| seen.what != What::Broken)
            || !stage.other_witness.since(other_mark).is_empty()
        {
            wrong.push(format!("{}: reached a worker: {seen:?}", case.name));
        }
        let told = |seen: &Seen| format!("{}{}", seen.head, seen.trailers);
        if seen.iter().any(|seen| ["evil", "smuggled", ":status"].iter().any(|bad| told(seen).contains(bad))) {
            wrong.push(format!("{}: evil reached the worker: {seen:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn data_is_as_long_as_was_said_or_nothing() {
    let stage = Stage::start("");
    try_all(&stage, h2_cases::lengths(&stage.host)).await;
}

#[tokio::test]
async fn fields_that_have_no_place_are_refused() {
    let stage = Stage::start("");
    try_all(&stage, h2_cases::fields(&stage.host)).await;
    try_all(&stage, h2_cases::trailers(&stage.host)).await;
}

#[tokio::test]
async fn pseudo_header_fields_are_there_once_and_well_formed() {
    let stage = Stage::start("");
    try_all(&stage, h2_cases::pseudo(&stage.host)).await;
    try_all(&stage, h2_cases::authorities(&stage.host)).await;
}

#[tokio::test]
async fn header_lists_are_bounded() {
    let stage = Stage::start("");
    try_all(&stage, h2_cases::oversize(&stage.host)).await;
}

#[tokio::test]
async fn another_hosts_stream_is_misdirected_and_the_first_goes_on() {
    let stage = Stage::start("");
    let (mark, other_mark) = (stage.witness.mark(), stage.other_witness.mark());
    let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
    let upload = block(&[
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", stage.host.as_bytes()),
        (b":path", b"/echo"),
    ]);
    let first = [headers(1, &upload, false), data(1, b"hel", false)].concat();
    client.write(&first).await.expect("the first stream's beginning");
    client.write(&headers(3, &get_block(&stage.other, "/other"), true)).await.expect("the second stream");
    assert!(matches!(client.verdict(3).await, Verdict::Status(421, _)));
    client.write(&headers(5, &get_block("evil.example", "/other"), true)).await.expect("the third stream");
    assert!(matches!(client.verdict(5).await, Verdict::Status(421, _)));
    client.write(&data(1, b"lo", true)).await.expect("the first stream's end");
    assert_eq!(client.verdict_and_body(1).await, (Verdict::Status(200, true), b"hello".to_vec()));
    assert_eq!(stage.witness.whole_since(mark).len(), 1);
    assert_eq!(stage.other_witness.since(other_mark), []);
}

#[tokio::test]
async fn what_a_client_claims_about_itself_is_dropped() {
    let stage = Stage::start("");
    let mark = stage.witness.mark();
    let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
    let mut fields = get_block(&stage.host.to_uppercase(), "/echo");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "evil"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-tenant-id", "evil"),
        ("x-request-id", "evil"),
        ("x-landlord-evil", "1"),
    ] {
        fields.extend(literal(name.as_bytes(), value.as_bytes()));
    }
    client.write(&headers(1, &fields, true)).await.expect("the request");
    assert_eq!(client.verdict(1).await, Verdict::Status(200, true));
    let seen = &stage.witness.since(mark)[0];
    assert_eq!(seen.fields("x-forwarded-for"), ["127.0.0.1"], "{}", seen.head);
    assert_eq!(seen.fields("x-tenant-id"), ["acme"], "{}", seen.head);
    assert!(matches!(seen.fields("host")[..], [host] if stage.is_configured(host)), "{}", seen.head);
    assert!(!seen.head.contains("evil") && !seen.head.contains("6.6.6.6"), "{}", seen.head);
}

#[tokio::test]
async fn a_truncated_answer_is_a_reset_stream() {
    let stage = Stage::start("");
    for (name, answer) in harness::hostile::answers::truncated() {
        let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
        let path = format!("/raw/{}", harness::hostile::worker::hex(&answer));
        client.write(&headers(1, &get_block(&stage.host, &path), true)).await.expect("the request");
        let verdict = client.verdict(1).await;
        let well = matches!(verdict, Verdict::Status(502, true) | Verdict::Status(_, false) | Verdict::Reset(_));
        assert!(well, "{name}: {verdict:?}");
        // Only this stream is hurt.
        client.write(&headers(3, &get_block(&stage.host, "/canary"), true)).await.expect("another request");
        assert_eq!(client.verdict(3).await, Verdict::Status(200, true), "{name}");
    }
}
