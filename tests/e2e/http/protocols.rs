//! Both versions, and what is more than a request and its answer.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_are_agreed_on_by_alpn() {
    let (_landlord, site) = open();
    for (offered, agreed) in [
        (Alpn::Both, Some(&b"h2"[..])),
        (Alpn::Http2, Some(b"h2")),
        (Alpn::Http1, Some(b"http/1.1")),
        (Alpn::None, None),
    ] {
        let stream = site.tls(offered).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
        if agreed != Some(b"h2") {
            let mut raw = Raw::over(stream);
            raw.send(site.message("GET", "/id/1", &[], b"")).await.expect("sent");
            assert_eq!(raw.response().await.expect("an answer").text(), "1");
        }
    }
    let h2 = site.h2().await.expect("h2");
    let answers = futures(&h2, 20).await;
    assert_eq!(answers, (0..20).map(|n| n.to_string()).collect::<Vec<_>>(), "many at once, each its own");
}

async fn futures(h2: &Http2, count: usize) -> Vec<String> {
    let tasks: Vec<_> = (0..count)
        .map(|n| {
            let h2 = h2.clone();
            tokio::spawn(async move { h2.get(&format!("/id/{n}")).await.expect("an answer").text() })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("it does not panic"));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_connections_and_pipelining() {
    let (_landlord, site) = open();
    let mut raw = site.h1().await.expect("a connection");
    for n in 0..5 {
        raw.send(site.message("GET", &format!("/id/{n}"), &[], b"")).await.expect("sent");
        assert_eq!(raw.response().await.expect("an answer").text(), n.to_string());
    }
    let both = [site.message("POST", "/id/one", &[], b"body"), site.message("GET", "/id/two", &[], b"")].concat();
    raw.send(both).await.expect("sent");
    assert_eq!(raw.response().await.expect("first").text(), "one");
    assert_eq!(raw.response().await.expect("second").text(), "two");
    raw.send(site.message("GET", "/id/last", &[("Connection", "close")], b"")).await.expect("sent");
    let last = raw.response().await.expect("last");
    assert!(last.head.lists("connection", "close"));
    assert_eq!(raw.rest().await.expect("an end"), (Vec::new(), Ending::Clean));

    let mut raw = site.h1().await.expect("a connection");
    raw.send(format!("GET /id/old HTTP/1.0\r\nHost: {}\r\n\r\n", site.host())).await.expect("sent");
    let (bytes, ending) = raw.rest().await.expect("HTTP/1.0 ends with the connection");
    assert_eq!(ending, Ending::Clean);
    assert!(String::from_utf8_lossy(&bytes).ends_with("\r\n\r\nold"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets() {
    let (_landlord, site) = open();
    let mut socket = site.websocket("/ws").await.expect("an upgrade");
    for length in [1, 125, 126, 70_000] {
        let payload = vec![b'w'; length];
        socket.send_frame(&Frame { opcode: Opcode::Binary, payload: payload.clone() }).await.expect("sent");
        assert_eq!(socket.receive().await.expect("echoed").payload, payload);
    }
    socket.send_frame(&Frame { opcode: Opcode::Ping, payload: b"p".to_vec() }).await.expect("sent");
    assert_eq!(socket.receive().await.expect("a pong").opcode, Opcode::Pong);
    socket.send_frame(&Frame { opcode: Opcode::Close, payload: Vec::new() }).await.expect("sent");
    assert_eq!(socket.receive().await.expect("a close").opcode, Opcode::Close);
    assert_ne!(socket.raw().rest().await.expect("an end").1, Ending::Broken);

    // Refused by the worker: an answer like any other.
    let error = site.websocket("/id/none").await.expect_err("no upgrade there");
    assert!(error.to_string().contains("status: 200"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_sent_events_come_as_they_are_sent() {
    let (_landlord, site) = open();
    // The source never ends: whoever buffers it never shows a thing.
    let mut raw = site.h1().await.expect("a connection");
    raw.send(site.message("GET", "/events", &[], b"")).await.expect("sent");
    assert_eq!(raw.head().await.expect("a head").field("content-type"), Some("text/event-stream"));
    for n in 0..3 {
        let event = raw.chunk().await.expect("an event").expect("no end");
        assert_eq!(String::from_utf8_lossy(&event), format!("data: {n}\n\n"));
    }
    let h2 = site.h2().await.expect("h2");
    let request = h2.request("GET", "/events").body(()).expect("a request");
    let mut stream = h2.open(request, true).await.expect("opened").0.head().await.expect("a head");
    for n in 0..3 {
        let event = stream.data().await.expect("an event").expect("no end");
        assert_eq!(event, format!("data: {n}\n\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expect_100_continue() {
    let (_landlord, site) = open();
    let mut raw = site.h1().await.expect("a connection");
    let head =
        format!("POST /headers HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", site.host());
    raw.send(&head).await.expect("sent");
    assert_eq!(raw.head().await.expect("an interim answer").status, 100);
    raw.send("body").await.expect("sent");
    let seen: Value = raw.response().await.expect("an answer").json();
    assert_eq!(seen["body_bytes"], 4);

    // A worker that says no before the body: the body is neither asked for nor taken for a request.
    let mut raw = site.h1().await.expect("a connection");
    raw.send(head.replace("/headers", "/early").replace("Content-Length: 4", "Content-Length: 5000000"))
        .await
        .expect("sent");
    let status = loop {
        let head = raw.head().await.expect("an answer");
        if head.status != 100 {
            break head.status;
        }
    };
    assert_eq!(status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_body() {
    let (_landlord, site) = open();
    let mut raw = site.h1().await.expect("a connection");
    for (method, path, status) in [
        ("HEAD", "/bytes/12345", 200),
        ("GET", "/status/204", 204),
        ("GET", "/status/304", 304),
        ("HEAD", "/status/404", 404),
        ("DELETE", "/status/204", 204),
    ] {
        raw.send(site.message(method, path, &[], b"")).await.expect("sent");
        let answer = raw.response_to(method).await.expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{method} {path}");
        if path == "/bytes/12345" {
            assert_eq!(answer.field("content-length"), Some("12345"), "a HEAD tells the length");
        }
        assert_eq!(answer.field("transfer-encoding"), None);
    }
    // The next answer begins where the last one ended.
    raw.send(site.message("GET", "/id/end", &[], b"")).await.expect("sent");
    assert_eq!(raw.response().await.expect("an answer").text(), "end");

    let h2 = site.h2().await.expect("h2");
    let request = h2.request("HEAD", "/bytes/12345").body(()).expect("a request");
    let answer = h2.send(request, Bytes::new()).await.expect("an answer");
    assert_eq!((answer.status, answer.field("content-length"), answer.body.len()), (200, Some("12345"), 0));
    assert_eq!(h2.get("/status/204").await.expect("an answer").status, 204);
    assert_eq!(h2.get("/status/304").await.expect("an answer").status, 304);
}
