//! What a hijacked or broken worker answers.

use super::case::join;

/// Answers that are no HTTP/1.1 answer to the request: the visitor gets a 502.
pub fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let ok = |lines: &[u8]| join(&[b"HTTP/1.1 200 OK\r\n", lines, b"\r\nhello"]);
    vec![
        ("nothing", Vec::new()),
        ("garbage", b"garbage\r\n\r\n".to_vec()),
        ("binary", vec![0xff; 300]),
        ("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"<html>hello</html>".to_vec()),
        ("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        ("a version in small letters", b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        ("a status of letters", b"HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        ("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        ("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        ("a status below 100", b"HTTP/1.1 042 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        ("a field without a colon", ok(b"nonsense\r\nContent-Length: 5\r\n")),
        ("a NUL in a value", ok(b"X: a\0b\r\nContent-Length: 5\r\n")),
        ("a bare CR in a value", ok(b"X: a\rb\r\nContent-Length: 5\r\n")),
        ("a space in a name", ok(b"X Y: a\r\nContent-Length: 5\r\n")),
        ("a length below nothing", ok(b"Content-Length: -5\r\n")),
        ("a length with a plus", ok(b"Content-Length: +5\r\n")),
        ("a length of words", ok(b"Content-Length: five\r\n")),
        ("a length of 2^64 + 5", ok(b"Content-Length: 18446744073709551621\r\n")),
        ("two lengths", ok(b"Content-Length: 5\r\nContent-Length: 6\r\n")),
        ("a list of lengths", ok(b"Content-Length: 5, 6\r\n")),
        ("a length beside chunks", join(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])),
        ("chunked twice", join(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])),
        ("chunked in two lines", join(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])),
        ("gzip, chunked", join(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])),
        ("identity", ok(b"Transfer-Encoding: identity\r\n")),
        ("xchunked", join(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])),
        ("101 that nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec()),
        ("101 to something else", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: Upgrade\r\n\r\n".to_vec()),
        ("an interim answer alone", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec()),
    ]
}

/// Answers that begin well and break off or go wrong: the visitor must never take them for whole.
pub fn truncated() -> Vec<(&'static str, Vec<u8>)> {
    let chunked = |body: &[u8]| join(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body]);
    vec![
        ("a body shorter than its length", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello".to_vec()),
        ("no body for a length", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".to_vec()),
        ("no chunk at all", chunked(b"")),
        ("no last chunk", chunked(b"5\r\nhello\r\n")),
        ("half a chunk", chunked(b"ff\r\nhello")),
        ("half a size", chunked(b"5\r\nhello\r\n1")),
        ("a size that is no number", chunked(b"5\r\nhello\r\nxyz\r\n")),
        ("a size of 2^64 + 5", chunked(b"5\r\nhello\r\n10000000000000005\r\nhello\r\n0\r\n\r\n")),
        ("a chunk without its CRLF", chunked(b"5\r\nhelloXX0\r\n\r\n")),
        ("a last chunk without its end", chunked(b"5\r\nhello\r\n0\r\n")),
    ]
}

/// More bytes than one answer, by method of the request: the visitor gets one answer, and the next request its own.
pub fn surplus() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    vec![
        ("two answers", "GET", join(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", evil])),
        (
            "two answers in chunks",
            "GET",
            join(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", evil]),
        ),
        ("a body after HEAD", "HEAD", join(&[b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n", evil])),
        ("an answer after 204", "GET", join(&[b"HTTP/1.1 204 No Content\r\n\r\n", evil])),
        ("an answer after 304", "GET", join(&[b"HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n", evil])),
        ("an answer after nothing", "GET", join(&[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", evil])),
        ("garbage behind", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\0\0\0\0garbage\r\n\r\n".to_vec()),
    ]
}
