//! What the gateway adds to heads and drops from them, and the line that it writes of each request.

use super::*;

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
