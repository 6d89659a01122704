//! HTTP from end to end: both versions, both directions, streaming, and what the gateway adds, drops and refuses.

use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{
    Landlord, Setup,
    client::{Alpn, Ending, Http2, Raw, Response, Site, send_body},
    process,
    websocket::{Frame, Opcode},
};
use serde_json::Value;

/// A gateway with one company on the scripted worker, and its site.
fn open() -> (Landlord, Site) {
    open_with(Setup::new(), "")
}

fn open_with(setup: Setup, toml: &str) -> (Landlord, Site) {
    let landlord = setup.tenant("acme", toml).start();
    landlord.wait_state("acme", "running");
    let site = landlord.site("acme");
    (landlord, site)
}

/// The values of a field as the worker received them.
fn received(answer: &Response, name: &str) -> Vec<String> {
    let seen: Value = answer.json();
    let fields = seen["fields"].as_array().expect("fields");
    fields
        .iter()
        .filter(|pair| pair[0].as_str().is_some_and(|field| field.eq_ignore_ascii_case(name)))
        .map(|pair| pair[1].as_str().expect("a value").to_owned())
        .collect()
}

async fn seen(site: &Site) -> Value {
    site.get("/seen").await.expect("counts").json()
}

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
async fn uploads_stream_both_ways_unbuffered() {
    let (_landlord, site) = open();
    let mut raw = site.h1().await.expect("a connection");
    raw.send(site.message("POST", "/echo", &[("Transfer-Encoding", "chunked")], b"")).await.expect("sent");
    let mut head = None;
    for piece in ["one", "two", "three"] {
        raw.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await.expect("sent");
        if head.is_none() {
            head = Some(raw.head().await.expect("an answer before the upload's end"));
        }
        assert_eq!(raw.chunk().await.expect("echoed").expect("no end"), piece.as_bytes());
    }
    raw.send("0\r\n\r\n").await.expect("sent");
    assert_eq!(raw.chunk().await.expect("the last chunk"), None);

    let h2 = site.h2().await.expect("h2");
    let request = h2.request("POST", "/echo").body(()).expect("a request");
    let (pending, mut upload) = h2.open(request, false).await.expect("opened");
    send_body(&mut upload, Bytes::from_static(b"one"), false).await.expect("sent");
    let mut answer = pending.head().await.expect("an answer before the upload's end");
    assert_eq!(answer.data().await.expect("echoed").expect("no end"), "one");
    send_body(&mut upload, Bytes::from_static(b"two"), true).await.expect("sent");
    assert_eq!(answer.whole().await.expect("the rest").text(), "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_in_both_directions() {
    let (_landlord, site) = open();
    let sum = [("x-sum".to_owned(), "4".to_owned())];
    let lower = |answer: Response| -> Vec<(String, String)> {
        answer.trailers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
    };
    let answer = site.request("GET", "/trailers", &[("TE", "trailers")], b"").await.expect("an answer");
    assert_eq!(lower(answer), sum);
    let h2 = site.h2().await.expect("h2");
    assert_eq!(lower(h2.get("/trailers").await.expect("an answer")), sum);

    let mut raw = site.h1().await.expect("a connection");
    let fields = [("Transfer-Encoding", "chunked"), ("Trailer", "X-Check")];
    raw.send(site.message("POST", "/headers", &fields, b"")).await.expect("sent");
    raw.send("2\r\nab\r\n0\r\nX-Check: 7\r\n\r\n").await.expect("sent");
    let seen: Value = raw.response().await.expect("an answer").json();
    assert_eq!(seen["body_bytes"], 2);
    let trailers = seen["trailers"].to_string().to_ascii_lowercase();
    assert!(trailers.contains("x-check"), "{seen}");
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

/// Two gigabytes, or as many as come within the time that a test may take.
const HUGE: u64 = 2 << 30;
const ENOUGH: Duration = Duration::from_secs(20);
/// What a proxy's memory may grow by, however large a body is.
const ROOM: u64 = 32 << 20;

fn proxy_memory(landlord: &Landlord) -> u64 {
    landlord.proxies().into_iter().filter_map(process::resident).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_of_gigabytes_in_constant_memory() {
    let (landlord, site) = open();
    let mut raw = site.h1().await.expect("a connection");
    let before = proxy_memory(&landlord);
    raw.send(site.message("GET", &format!("/bytes/{HUGE}"), &[], b"")).await.expect("sent");
    assert_eq!(raw.head().await.expect("a head").field("content-length"), Some(HUGE.to_string().as_str()));
    let (start, mut got, step) = (Instant::now(), 0, 64 << 20);
    while got < HUGE && start.elapsed() < ENOUGH {
        raw.skip(step).await.expect("more");
        got += step;
        let grown = proxy_memory(&landlord).saturating_sub(before);
        assert!(grown < ROOM, "{grown} bytes more after {got}");
    }
    assert!(got >= 128 << 20, "only {got} bytes in {ENOUGH:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_gigabytes_in_constant_memory() {
    let (landlord, site) = open();
    let mut raw = site.h1().await.expect("a connection");
    let before = proxy_memory(&landlord);
    raw.send(site.message("POST", "/headers", &[("Transfer-Encoding", "chunked")], b"")).await.expect("sent");
    let piece = vec![b'u'; 1 << 20];
    let (start, mut sent) = (Instant::now(), 0u64);
    while sent < HUGE && start.elapsed() < ENOUGH {
        raw.send(format!("{:x}\r\n", piece.len())).await.expect("sent");
        raw.send(&piece).await.expect("sent");
        raw.send("\r\n").await.expect("sent");
        sent += piece.len() as u64;
        let grown = proxy_memory(&landlord).saturating_sub(before);
        assert!(grown < ROOM, "{grown} bytes more after {sent}");
    }
    raw.send("0\r\n\r\n").await.expect("sent");
    let seen: Value = raw.response().await.expect("an answer").json();
    assert_eq!(seen["body_bytes"], sent);
    assert!(sent >= 128 << 20, "only {sent} bytes in {ENOUGH:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_stands_still_holds_up_the_worker_not_the_memory() {
    let (landlord, site) = open();
    let before = proxy_memory(&landlord);
    let h2 = site.h2().await.expect("h2");
    let request = h2.request("GET", &format!("/bytes/{}", 1u64 << 30)).body(()).expect("a request");
    // Its window is never given back.
    let standing = h2.open(request, true).await.expect("opened").0.head().await.expect("a head");
    let mut raw = site.h1().await.expect("a connection");
    raw.send(site.message("GET", &format!("/bytes/{}", 1u64 << 30), &[], b"")).await.expect("sent");
    raw.head().await.expect("a head");
    // Meanwhile others are served, over the same connection too.
    for n in 0..20 {
        assert_eq!(h2.get(&format!("/id/{n}")).await.expect("an answer").text(), n.to_string());
    }
    let grown = proxy_memory(&landlord).saturating_sub(before);
    assert!(grown < ROOM, "{grown} bytes more");
    drop((standing, raw));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clear_text_is_redirected_to_the_configured_name() {
    let (landlord, site) = open();
    let port = landlord.https().port();
    for (target, host, location) in [
        ("/a/b?c=d&e", "acme.apps.test".to_owned(), "/a/b?c=d&e"),
        ("/", format!("ACME.apps.test:{}", landlord.http().port()), "/"),
        ("/x", "acme.apps.test.".to_owned(), "/x"),
        ("http://acme.apps.test/abs?q", "acme.apps.test".to_owned(), "/abs?q"),
    ] {
        let mut raw = landlord.plain().await.expect("a connection");
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect("sent");
        let answer = raw.response().await.expect("an answer");
        assert_eq!(answer.status, 308, "{host} {target}");
        assert_eq!(answer.field("location"), Some(format!("https://{}:{port}{location}", site.host()).as_str()));
    }
    for host in ["evil.example", "apps.test", "nobody.apps.test"] {
        let mut raw = landlord.plain().await.expect("a connection");
        raw.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect("sent");
        let answer = raw.response().await.expect("an answer");
        assert_eq!((answer.status, answer.field("location")), (404, None), "{host}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_in() {
    let (landlord, site) = open();
    let spoofed = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-For", "7.7.7.7"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Tenant-ID", "beta"),
        ("X-Request-Id", "mine"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Connection", "X-Hop, X-Tenant-ID"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic x"),
        ("X-Keep", "kept"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
    ];
    let by_h1 = site.request("GET", "/headers", &spoofed, b"").await.expect("an answer");
    let h2 = site.h2().await.expect("h2");
    let request = spoofed
        .iter()
        .filter(|(name, _)| !matches!(*name, "Connection" | "Keep-Alive" | "X-Hop"))
        .fold(h2.request("GET", "/headers"), |request, (name, value)| request.header(*name, *value));
    let by_h2 = h2.send(request.body(()).expect("a request"), Bytes::new()).await.expect("an answer");

    let authority = format!("{}:{}", site.host(), landlord.https().port());
    for answer in [by_h1, by_h2] {
        let version = answer.head.version.clone();
        let one = |name: &str| {
            let values = received(&answer, name);
            assert_eq!(values.len(), 1, "{version}: one line of {name}: {values:?}");
            values[0].clone()
        };
        assert_eq!(one("x-forwarded-for"), "127.0.0.1", "{version}");
        assert_eq!(one("x-forwarded-proto"), "https");
        assert!([site.host(), authority.as_str()].contains(&one("x-forwarded-host").as_str()));
        assert!(one("forwarded").contains("127.0.0.1"));
        assert_eq!(one("x-tenant-id"), "acme");
        assert_ne!(one("x-request-id"), "mine");
        assert_eq!(one("traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert!([site.host(), authority.as_str()].contains(&one("host").as_str()));
        assert_eq!(one("x-keep"), "kept");
        assert_eq!(received(&answer, "cookie").join("; "), "a=1; b=2");
        for gone in ["x-hop", "keep-alive", "proxy-authorization"] {
            assert!(received(&answer, gone).is_empty(), "{version}: {gone}");
        }
        assert!(received(&answer, "x-real-ip").iter().all(|ip| ip == "127.0.0.1"));
        assert!(received(&answer, "x-forwarded-prefix").iter().all(|prefix| prefix != "/evil"));
        let text = answer.text();
        assert!(!text.contains("6.6.6.6") && !text.contains("evil"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_out() {
    let (_landlord, site) = open();
    let h2 = site.h2().await.expect("h2");
    for answer in [site.get("/shout").await.expect("an answer"), h2.get("/shout").await.expect("an answer")] {
        assert_eq!(answer.field("x-keep-me"), Some("1"));
        for gone in ["x-drop-me", "keep-alive", "proxy-connection"] {
            assert_eq!(answer.field(gone), None, "{gone}");
        }
        let cookies: Vec<&str> = answer
            .head
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_serves_the_host_it_was_opened_for() {
    let landlord = Setup::new().tenant("acme", "domains = [\"portal.acme.example\"]\n").tenant("beta", "").start();
    landlord.wait_state("acme", "running");
    landlord.wait_state("beta", "running");
    let (acme, beta) = (landlord.site("acme"), landlord.site("beta"));

    for other in ["beta.apps.test", "portal.acme.example", "nobody.apps.test", "evil.example"] {
        let mut raw = acme.h1().await.expect("a connection");
        raw.send(acme.message("GET", "/id/1", &[], b"")).await.expect("sent");
        assert_eq!(raw.response().await.expect("an answer").text(), "1");
        raw.send(format!("GET /id/2 HTTP/1.1\r\nHost: {other}\r\n\r\n")).await.expect("sent");
        assert_eq!(raw.response().await.expect("an answer").status, 421, "h1, second request: {other}");

        let h2 = acme.h2().await.expect("h2");
        assert_eq!(h2.get("/id/1").await.expect("an answer").text(), "1");
        let request = http::Request::get(format!("https://{other}/id/2")).body(()).expect("a request");
        assert_eq!(h2.send(request, Bytes::new()).await.expect("an answer").status, 421, "h2: {other}");
        assert_eq!(h2.get("/id/3").await.expect("the others go on").text(), "3");
    }
    assert_eq!(seen(&beta).await["heads"], 0, "nothing of it at the neighbour's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_host_sees_nobodys_page() {
    let (landlord, _site) = open();
    for host in ["nobody.apps.test", "apps.test", "evil.example", "x.acme.apps.test"] {
        let error = landlord.site_at(host).get("/").await.expect_err("no certificate for it");
        assert!(error.to_string().starts_with("no TLS"), "{host}: {error}");
        let mut raw = landlord.plain().await.expect("a connection");
        raw.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect("sent");
        let answer = raw.response().await.expect("an answer");
        assert_eq!(answer.status, 404);
        assert!(!answer.text().contains("acme"), "no word of who lives here: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_hosts_are_redirected_to_the_canonical_one() {
    let toml = "domains = [\"portal.acme.example\", \"www.acme.example\"]\ncanonical = \"portal.acme.example\"\n";
    let (landlord, site) = open_with(Setup::new(), toml);
    let port = landlord.https().port();
    assert_eq!(landlord.entry("acme").url, format!("https://portal.acme.example:{port}"));
    for site in [site, landlord.site_at("www.acme.example")] {
        let answer = site.get("/a?b=c").await.expect("an answer");
        assert_eq!(answer.status, 308);
        assert_eq!(answer.field("location"), Some(format!("https://portal.acme.example:{port}/a?b=c").as_str()));
        let h2 = site.h2().await.expect("h2");
        assert_eq!(h2.get("/a").await.expect("an answer").status, 308);
    }
    let portal = landlord.site_at("portal.acme.example");
    assert_eq!(portal.get("/id/x").await.expect("an answer").text(), "x");
    let mut raw = landlord.plain().await.expect("a connection");
    raw.send("GET /z HTTP/1.1\r\nHost: www.acme.example\r\n\r\n").await.expect("sent");
    let location = format!("https://portal.acme.example:{port}/z");
    assert_eq!(raw.response().await.expect("an answer").field("location"), Some(location.as_str()), "in one step");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_the_limit_is_413() {
    let (_landlord, site) = open_with(Setup::new(), "[limits]\nbody = \"64KiB\"\n");
    let fits = vec![b'x'; 64 << 10];
    let over = vec![b'x'; (64 << 10) + 1];
    let seen: Value = site.request("POST", "/headers", &[], &fits).await.expect("an answer").json();
    assert_eq!(seen["body_bytes"], 64 << 10);
    assert_eq!(site.request("POST", "/headers", &[], &over).await.expect("an answer").status, 413);

    let mut raw = site.h1().await.expect("a connection");
    raw.send(site.message("POST", "/headers", &[("Transfer-Encoding", "chunked")], b"")).await.expect("sent");
    raw.send([format!("{:x}\r\n", over.len()).as_bytes(), &over, b"\r\n0\r\n\r\n"].concat()).await.expect("sent");
    assert_eq!(raw.response().await.expect("an answer").status, 413, "without a length too");

    let h2 = site.h2().await.expect("h2");
    let request = h2.request("POST", "/headers").header("content-length", over.len()).body(()).expect("a request");
    let pending = h2.open(request, false).await.expect("opened").0;
    assert_eq!(pending.head().await.expect("an answer").status, 413);
    assert_eq!(h2.get("/id/x").await.expect("the connection goes on").text(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_one_line_of_the_access_log() {
    let (landlord, site) = open();
    let answer = site.get("/status/404?page=log").await.expect("an answer");
    assert_eq!(answer.status, 404);
    let id = answer.field("x-request-id").map(str::to_owned);
    let line = harness::eventually("a line of the access log", || {
        let log = std::fs::read_to_string(landlord.state().join("logs/access.log")).ok()?;
        log.lines().find(|line| line.contains("acme") && line.contains("404")).map(str::to_owned)
    });
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["tenant"], "acme");
    assert_eq!(line["status"], 404);
    assert_eq!(line["method"], "GET");
    if let Some(id) = id {
        assert!(line.to_string().contains(&id), "{line}");
    }
}
