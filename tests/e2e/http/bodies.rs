//! Bodies: streamed in both directions, of any length, in constant memory.

use super::*;

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
