//! Requests for hosts that are not the connection's, and claims that only the gateway may make.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use harness::hostile::{
    case::{self, Case, get, post, smuggled, try_all},
    door::Tls,
    h1::{H1, NoReply},
    heads,
    stage::Stage,
    witness::Seen,
};
use rustls::{
    NamedGroup,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    },
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

// ---- Hosts ----

#[tokio::test]
async fn exactly_one_well_formed_authority() {
    let stage = Stage::start("");
    try_all(&stage, &heads::authorities(&stage.host)).await;
}

#[tokio::test]
async fn another_hosts_request_is_misdirected_here() {
    let stage = Stage::start("");
    let mark = stage.other_witness.mark();
    try_all(&stage, &heads::strangers(&stage.host, &stage.other)).await;
    assert_eq!(stage.other_witness.since(mark), [], "nothing at the other tenant's worker either");
}

#[tokio::test]
async fn the_second_request_is_held_to_the_same_host() {
    let stage = Stage::start("");
    let (mark, other_mark) = (stage.witness.mark(), stage.other_witness.mark());
    let mut client = stage.h1().await;
    assert_eq!(client.ask(&get(&stage.host, b"")).await.expect("the first answer").status, 200);
    let second = post(
        &stage.other,
        format!("Content-Length: {}\r\n", smuggled(&stage.host).len()).as_bytes(),
        &smuggled(&stage.host),
    );
    assert_eq!(client.ask(&second).await.expect("the second answer").status, 421);
    // Served on, or closed: never taken for the next request's beginning.
    client.send(&get(&stage.host, b"")).await;
    match client.reply("GET").await {
        Ok(reply) => assert_eq!(reply.status, 200),
        Err(why) => assert!(matches!(why, NoReply::Ended(..)), "{why}"),
    }
    assert!(stage.witness.since(mark).iter().all(|seen| seen.target() == "/echo"));
    assert_eq!(stage.other_witness.since(other_mark), []);
}

#[tokio::test]
async fn every_spelling_of_the_host_is_the_configured_name_at_the_worker() {
    let stage = Stage::start("");
    let mark = stage.witness.mark();
    try_all(&stage, &heads::same_host(&stage.host)).await;
    let seen = stage.witness.since(mark);
    assert!(!seen.is_empty());
    for seen in seen {
        assert!(matches!(seen.fields("host")[..], [host] if stage.is_configured(host)), "{}", seen.head);
        assert_eq!(seen.target(), "/echo", "origin form only");
    }
}

#[tokio::test]
async fn an_unknown_name_gets_an_alert_and_no_certificate() {
    let stage = Stage::start("");
    for name in ["evil.example", "nobody.apps.test", "apps.test", "a.b.acme.apps.test", "xacme.apps.test", "127.0.0.1"]
    {
        let (shown, outcome) = stage.door.peek(name).await;
        assert!(!shown, "{name}: a certificate was shown");
        let why = outcome.err().unwrap_or_else(|| panic!("{name}: the handshake went through"));
        let alert = why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        assert!(matches!(alert, Some(rustls::Error::AlertReceived(_))), "{name}: {why:?}");
    }
    let (shown, outcome) = stage.door.peek(&stage.host).await;
    assert!(shown && outcome.is_ok(), "the known name shows its own");
}

/// Offers whatever ticket it was given last, under any name.
#[derive(Debug)]
struct Forgetful(ClientSessionMemoryCache);

fn one_name() -> ServerName<'static> {
    ServerName::try_from("one.name").expect("a name")
}

impl ClientSessionStore for Forgetful {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(one_name(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&one_name())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(one_name(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&one_name())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one_name());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one_name(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one_name())
    }
}

#[tokio::test]
async fn a_ticket_of_one_host_is_worth_nothing_at_another() {
    let stage = Stage::start("");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut config = stage.door.config_of(&["http/1.1"], version);
        config.resumption = Resumption::store(Arc::new(Forgetful(ClientSessionMemoryCache::new(8))));
        let open = async |name: &str| -> Tls {
            stage.door.open(name, config.clone(), Ipv4Addr::LOCALHOST.into()).await.expect("a handshake")
        };
        let resumed = |client: &H1| client.tls().get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);

        let mut first = H1::over(open(&stage.host).await);
        first.ask(&get(&stage.host, b"")).await.expect("an answer, and tickets with it");
        let mut again = H1::over(open(&stage.host).await);
        let ours = again.ask(&get(&stage.host, b"")).await.expect("an answer");
        assert_eq!(ours.status, 200);

        let (mark, other_mark) = (stage.witness.mark(), stage.other_witness.mark());
        let mut stranger = H1::over(open(&stage.other).await);
        let was_resumed = resumed(&stranger);
        let reply = stranger.ask(&get(&stage.other, b"")).await.expect("an answer");
        assert!(
            reply.status == 421 || (reply.status == 200 && !was_resumed),
            "{version:?}: resumed {was_resumed}, {}",
            reply.status
        );
        let mut stranger = H1::over(open(&stage.other).await);
        let reply = stranger.ask(&get(&stage.host, b"")).await.expect("an answer");
        assert_eq!(reply.status, 421, "{version:?}");
        assert_eq!(stage.witness.since(mark), []);
        assert!(stage.other_witness.since(other_mark).len() <= 1);
    }
}

// ---- The clear-text port ----

#[tokio::test]
async fn clear_text_redirects_known_hosts_and_serves_nothing() {
    let stage = Stage::start("");
    let mark = stage.witness.mark();
    let host = &stage.host;
    let rows: Vec<(String, &[u16])> = vec![
        (format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[308]),
        (format!("GET /a?b=c HTTP/1.1\r\nHost: {}:8080\r\n\r\n", host.to_uppercase()), &[308]),
        (format!("POST /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"), &[308]),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(), &[404]),
        ("GET / HTTP/1.1\r\nHost: nobody.apps.test\r\n\r\n".into(), &[404]),
        ("GET / HTTP/1.1\r\n\r\n".into(), &[400]),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n"), &[400]),
        (format!("GET / HTTP/1.1\r\nHost: u@{host}\r\n\r\n"), &[400]),
        (format!("GET / HTTP/1.1\r\nHost: {host}:99999\r\n\r\n"), &[400]),
        (format!("GET http://evil.example/ HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[400, 404, 421]),
        (format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[400, 405]),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            &[400],
        ),
        (format!("GET / HTTP/1.1\nHost: {host}\n\n"), &[400]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[400, 405, 505]),
        (
            format!("GET /.well-known/acme-challenge/../../etc/passwd HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            &[308, 400, 404],
        ),
    ];
    for (request, statuses) in rows {
        let mut tcp = tokio::net::TcpStream::connect(stage.landlord.http()).await.expect("a connection");
        tcp.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = vec![0; 4096];
        let count =
            tokio::time::timeout(Duration::from_secs(10), tcp.read(&mut answer)).await.expect("in time").expect("read");
        let answer = String::from_utf8_lossy(&answer[..count]);
        let status: u16 = answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        assert!(statuses.contains(&status), "{request:?}: {answer}");
        if let Some(location) = harness::hostile::h1::fields(&answer, "location").first() {
            assert!(location.starts_with(&format!("https://{host}")), "{location}");
            assert!(!location.contains("evil"), "{location}");
        }
    }
    assert_eq!(stage.witness.since(mark), []);
}

// ---- Trust ----

#[tokio::test]
async fn what_a_client_claims_about_itself_is_dropped() {
    let stage = Stage::start("");
    let claims = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nx-forwarded-proto: http\r\nX-Forwarded-Host: evil.example\r\n\
                  X-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 666\r\nX-Forwarded-Evil: evil\r\nForwarded: for=6.6.6.6;host=evil.example\r\n\
                  X-Real-IP: 6.6.6.6\r\nX-Request-Id: evil\r\nX-Tenant-ID: evil\r\nX-Tenant-Id: evil\r\nX-Landlord-Evil: evil\r\n";
    let mark = stage.witness.mark();
    let mut client = stage.h1().await;
    assert_eq!(client.ask(&get(&stage.host, claims.as_bytes())).await.expect("an answer").status, 200);
    let seen = stage.witness.since(mark);
    assert_ours(&stage, &seen[0]);
    let head = seen[0].head.to_lowercase();
    for word in ["evil", "6.6.6.6", "7.7.7.7", "666"] {
        assert!(!head.contains(word), "{word} in {head}");
    }
    assert!(!head.contains("x-landlord"), "{head}");

    // Twins with underscores: refused, or dropped.
    for twin in
        ["X_Forwarded_For: 6.6.6.6", "X_Tenant_ID: evil", "X-Tenant_ID: evil", "HTTP_HOST: evil", "X_Request_Id: evil"]
    {
        let mark = stage.witness.mark();
        let mut client = stage.h1().await;
        let reply = client.ask(&get(&stage.host, format!("{twin}\r\n").as_bytes())).await.expect("an answer");
        assert!(matches!(reply.status, 200 | 400), "{twin}: {}", reply.status);
        for seen in stage.witness.since(mark) {
            assert_ours(&stage, &seen);
            assert!(!seen.head.contains("evil") && !seen.head.contains("6.6.6.6"), "{twin}: {}", seen.head);
        }
    }
}

fn assert_ours(stage: &Stage, seen: &Seen) {
    assert_eq!(seen.fields("x-forwarded-for"), ["127.0.0.1"], "{}", seen.head);
    assert_eq!(seen.fields("x-forwarded-proto"), ["https"], "{}", seen.head);
    assert_eq!(seen.fields("x-forwarded-host").len(), 1, "{}", seen.head);
    assert!(seen.fields("x-forwarded-host")[0].starts_with(&stage.host), "{}", seen.head);
    assert_eq!(seen.fields("x-tenant-id"), ["acme"], "{}", seen.head);
    assert_eq!(seen.fields("x-request-id").len(), 1, "{}", seen.head);
    assert!(seen.fields("forwarded").len() <= 1, "{}", seen.head);
    assert!(matches!(seen.fields("host")[..], [host] if stage.is_configured(host)), "{}", seen.head);
}

#[tokio::test]
async fn connection_options_remove_the_clients_fields_and_never_ours() {
    let stage = Stage::start("");
    let ours = "Host, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Tenant-ID, X-Request-Id, Forwarded";
    let rows = [
        format!("Connection: X-Custom, {ours}\r\nX-Custom: 1\r\n"),
        format!("Connection: close, x-custom\r\nConnection: {ours}\r\nX-Custom: 1\r\n"),
        format!("Connection: ,, X-Custom ,,{ours},\r\nX-Custom: 1\r\nX-Custom: 2\r\n"),
        "Connection: keep-alive\r\nKeep-Alive: timeout=99\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n".into(),
        "Proxy-Authorization: Basic x\r\nProxy-Connection: close\r\n".into(),
    ];
    for lines in rows {
        let mark = stage.witness.mark();
        let mut client = stage.h1().await;
        assert_eq!(client.ask(&get(&stage.host, lines.as_bytes())).await.expect("an answer").status, 200, "{lines}");
        let seen = stage.witness.since(mark);
        assert_ours(&stage, &seen[0]);
        for name in ["x-custom", "keep-alive", "proxy-connection"] {
            assert_eq!(seen[0].fields(name), [""; 0], "{}", seen[0].head);
        }
        assert!(!seen[0].fields("te").contains(&"gzip"), "{}", seen[0].head);
    }
    // The framing survives being named.
    let cases = [
        post(&stage.host, b"Connection: Content-Length\r\nContent-Length: 5\r\n", b"hello"),
        post(
            &stage.host,
            b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
        ),
    ]
    .map(|bytes| {
        Case::good(bytes.escape_ascii().to_string(), bytes, b"hello")
            .expecting(case::Expect::Either(case::BAD, b"hello".to_vec()))
    });
    try_all(&stage, &cases).await;
}
