//! Which host is served, and where others are sent.

use super::*;

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
