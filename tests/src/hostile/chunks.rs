//! Abuse of the chunked coding (RFC 9112 §7.1), after a head that is all right.

use super::case::{BAD, Case, Expect, join, post, smuggled};

/// Bodies that break the coding: 400, and never a complete request at the worker.
pub fn broken(host: &str) -> Vec<Case> {
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("a size that is no number", b"g\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size with a plus", b"+5\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size below nothing", b"-5\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("no size", b"\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("an extension without a size", b";a=b\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a space before the size", b" 5\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size in two words", b"5 5\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size with an underscore", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n".to_vec()),
        ("a size with a NUL", b"5\0\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size in wide digits", b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size of 2^64", b"10000000000000000\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size of 2^64 + 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size of 17 f", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size in LF", b"5\nhello\r\n0\r\n\r\n".to_vec()),
        ("a size in CR", b"5\rhello\r\n0\r\n\r\n".to_vec()),
        ("a size in CR CR LF", b"5\r\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("data that ends in LF", b"5\r\nhello\n0\r\n\r\n".to_vec()),
        ("data that ends in CR", b"5\r\nhello\r0\r\n\r\n".to_vec()),
        ("data without its CRLF", b"5\r\nhello0\r\n\r\n".to_vec()),
        ("data longer than its size", b"5\r\nhelloworld\r\n0\r\n\r\n".to_vec()),
        ("data with other bytes for its CRLF", b"5\r\nhelloXX0\r\n\r\n".to_vec()),
        ("an extension that ends in LF", b"5;a\nhello\r\n0\r\n\r\n".to_vec()),
        ("an extension with a bare CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("an extension with a NUL", b"5;a\0b\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("the last chunk in LF", b"5\r\nhello\r\n0\n\r\n".to_vec()),
        ("the end in LF", b"5\r\nhello\r\n0\r\n\n".to_vec()),
        ("the end in CR and more", b"5\r\nhello\r\n0\r\n\rX".to_vec()),
        ("a trailer in LF", b"5\r\nhello\r\n0\r\nX: y\n\r\n".to_vec()),
        ("a trailer with a space before the colon", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n".to_vec()),
        ("a folded trailer", b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n".to_vec()),
        ("a trailer without a colon", b"5\r\nhello\r\n0\r\nXy\r\n\r\n".to_vec()),
        ("a trailer with a NUL", b"5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n".to_vec()),
        ("a request for a trailer", b"5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("17 KiB of extensions in one line", join(&[b"5;", &[b'a'; 17 * 1024], b"\r\nhello\r\n0\r\n\r\n"])),
        (
            "17 KiB of extensions in many lines",
            join(&[&[b"1;aaaaaaaaaaaaaaa\r\nx\r\n".as_slice(); 1200].concat(), b"0\r\n\r\n"]),
        ),
        ("1 MB of extensions", join(&[b"5;", &vec![b'a'; 1 << 20], b"\r\nhello\r\n0\r\n\r\n"])),
        (
            "a size with a thousand zeros before it and more",
            join(&[&vec![b'0'; 64 * 1024], b"5\r\nhello\r\n0\r\n\r\n"]),
        ),
    ];
    let hidden = smuggled(host);
    rows.into_iter()
        .map(|(name, body)| Case::bad(name, post(host, b"Transfer-Encoding: chunked\r\n", &join(&[&body, &hidden]))))
        .collect()
}

/// Trailers out of bounds: refused one way or another.
pub fn swollen_trailers(host: &str) -> Vec<Case> {
    let many: Vec<u8> = (0..5000).flat_map(|number| format!("x-{number}: y\r\n").into_bytes()).collect();
    let long = join(&[b"x: ", &vec![b'y'; 256 * 1024], b"\r\n"]);
    [("5,000 trailers", many), ("256 KiB of one trailer", long)]
        .into_iter()
        .map(|(name, trailers)| {
            let body = join(&[b"5\r\nhello\r\n0\r\n", &trailers, b"\r\n", &smuggled(host)]);
            Case::bad(name, post(host, b"Transfer-Encoding: chunked\r\n", &body))
                .expecting(Expect::Refused(&[400, 431]))
        })
        .collect()
}

/// Bodies that the coding allows, or that many allow: one meaning, and nothing of the clothing reaches the worker.
pub fn legal(host: &str) -> Vec<Case> {
    let te = b"Transfer-Encoding: chunked\r\n";
    let good = |name: &str, body: &[u8]| Case::good(name, post(host, te, body), b"hello");
    vec![
        good("one chunk", b"5\r\nhello\r\n0\r\n\r\n"),
        good("small chunks", b"1\r\nh\r\n2\r\nel\r\n2\r\nlo\r\n0\r\n\r\n"),
        good("leading zeros", b"0005\r\nhello\r\n000\r\n\r\n"),
        good("an extension", b"5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n"),
        good("a trailer", b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n"),
        Case::good(
            "hex of both cases",
            post(host, te, b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
            b"01234567890123456789",
        ),
        good("a space after the size", b"5 \r\nhello\r\n0\r\n\r\n").expecting(Expect::Either(BAD, b"hello".to_vec())),
        good("a space before the extension", b"5 ;a\r\nhello\r\n0\r\n\r\n")
            .expecting(Expect::Either(BAD, b"hello".to_vec())),
    ]
}

/// Trailer fields that decide framing, routing or trust: they never reach the worker, whether the request does or not.
pub const FORBIDDEN_TRAILERS: &[&str] = &[
    "Transfer-Encoding: chunked",
    "Content-Length: 5",
    "Host: evil.example",
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: http",
    "Forwarded: for=6.6.6.6",
    "X-Real-IP: 6.6.6.6",
    "X-Tenant-ID: evil",
    "X_Tenant_ID: evil",
    "X-Request-Id: evil",
    "Authorization: Basic evil",
    "Cookie: evil=1",
    "Connection: close",
    "Upgrade: websocket",
    "X-Landlord-Evil: 1",
    "Content-Encoding: gzip",
    "Trailer: X",
];
