use super::*;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn sent(fields: &[(&str, &str)]) -> HeaderMap {
    with("192.0.2.7:5000", fields, false)
}

fn with(client: &str, fields: &[(&str, &str)], websocket: bool) -> HeaderMap {
    let facts = Facts {
        client: client.parse().unwrap(),
        name: &HeaderValue::from_static("acme.localhost"),
        host: &HeaderValue::from_static("acme.localhost:8443"),
        port: 8443,
        request_id: &HeaderValue::from_static("id1"),
        tenant: "acme",
        websocket,
        length: None,
        chunked: false,
    };
    request(&map(fields), &facts)
}

fn all<'a>(map: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    map.get_all(name).iter().map(|v| v.to_str().unwrap()).collect()
}

#[test]
fn ours_are_there_once_whatever_the_client_sent() {
    let out = sent(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "7.7.7.7"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-anything", "1"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-request-id", "mine"),
        ("x-tenant-id", "other"),
        ("x-landlord-secret", "1"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x_tenant_id", "other"),
        ("host", "evil.example"),
        ("connection", "x-forwarded-for, x-tenant-id, host, forwarded, close"),
    ]);
    assert_eq!(all(&out, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(all(&out, "x-forwarded-proto"), ["https"]);
    assert_eq!(all(&out, "x-forwarded-host"), ["acme.localhost:8443"]);
    assert_eq!(all(&out, "x-forwarded-port"), ["8443"]);
    assert_eq!(all(&out, "forwarded"), ["for=192.0.2.7;host=\"acme.localhost:8443\";proto=https"]);
    assert_eq!(all(&out, "x-request-id"), ["id1"]);
    assert_eq!(all(&out, "x-tenant-id"), ["acme"]);
    assert_eq!(all(&out, "host"), ["acme.localhost"]);
    assert_eq!(out.len(), 8, "{out:?}");
}

#[test]
fn ipv6_is_bracketed_and_quoted() {
    let out = with("[2001:db8::1]:5000", &[], false);
    assert_eq!(all(&out, "x-forwarded-for"), ["2001:db8::1"]);
    assert!(all(&out, "forwarded")[0].starts_with("for=\"[2001:db8::1]\";"));
}

#[test]
fn hop_by_hop_fields_end_here() {
    let out = sent(&[
        ("connection", "keep-alive, x-mine"),
        ("connection", "X-Other"),
        ("x-mine", "1"),
        ("x-other", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "secret"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("expect", "100-continue"),
        ("content-length", "5"),
        ("trailer", "x-sum"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("accept", "*/*"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]);
    for gone in ["connection", "x-mine", "x-other", "keep-alive", "te", "upgrade", "expect", "content-length"] {
        assert!(!out.contains_key(gone), "{gone}");
    }
    assert_eq!(all(&out, "cookie"), ["a=1; b=2"]);
    assert_eq!(all(&out, "trailer"), ["x-sum"]);
    assert_eq!(all(&out, "accept"), ["*/*"]);
    assert!(out.contains_key("traceparent"));
    assert_eq!(out.len(), 8 + 4, "{out:?}");
}

#[test]
fn a_body_of_unknown_length_is_chunked_whatever_the_method() {
    let facts = Facts {
        client: "192.0.2.7:5000".parse().unwrap(),
        name: &HeaderValue::from_static("acme.localhost"),
        host: &HeaderValue::from_static("acme.localhost"),
        port: 443,
        request_id: &HeaderValue::from_static("id1"),
        tenant: "acme",
        websocket: false,
        length: None,
        chunked: true,
    };
    let client = map(&[("transfer-encoding", "chunked"), ("connection", "transfer-encoding")]);
    assert_eq!(all(&request(&client, &facts), "transfer-encoding"), ["chunked"]);
    assert!(!request(&client, &Facts { chunked: false, ..facts }).contains_key("transfer-encoding"));
}

#[test]
fn te_trailers_is_told_only_when_asked() {
    let out = sent(&[("te", "gzip;q=0.5, trailers")]);
    assert_eq!((all(&out, "te"), all(&out, "connection")), (vec!["trailers"], vec!["te"]));
}

#[test]
fn a_websocket_handshake_keeps_its_upgrade_alone() {
    let fields = [("upgrade", "websocket, h2c"), ("connection", "keep-alive, Upgrade"), ("sec-websocket-key", "k")];
    let out = with("192.0.2.7:5000", &fields, true);
    assert_eq!((all(&out, "upgrade"), all(&out, "connection")), (vec!["websocket"], vec!["upgrade"]));
    assert!(out.contains_key("sec-websocket-key"));
}

#[test]
fn answers_lose_hop_by_hop_and_gain_the_request_id() {
    let worker = map(&[
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("proxy-authenticate", "x"),
        ("x-request-id", "theirs"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("server", "gunicorn"),
    ]);
    let out = response(&worker, &HeaderValue::from_static("id1"), false);
    assert_eq!(all(&out, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(all(&out, "server"), ["gunicorn"]);
    assert_eq!(all(&out, "x-request-id"), ["id1"]);
    assert_eq!(out.len(), 4, "{out:?}");
}

#[test]
fn forbidden_trailers_are_dropped() {
    let out = trailers(map(&[
        ("x-sum", "1"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("set-cookie", "a"),
        ("authorization", "a"),
        ("x-forwarded-for", "a"),
        ("x_sum", "1"),
        ("host", "a"),
    ]));
    assert_eq!(out.len(), 1);
    assert!(out.contains_key("x-sum"));
}
