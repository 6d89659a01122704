//! Answers that no honest worker gives: `/bad/KIND`.

/// The bytes of a bad answer, after which the connection is closed.
pub(crate) fn answer(kind: &str) -> &'static [u8] {
    match kind {
        "short-length" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "short-chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        "short-chunk" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nonly this",
        "bad-chunk" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nonly this\r\n0\r\n\r\n",
        "gzip-chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "identity" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
        "both" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "two-lengths" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "bad-length" => b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "unasked-101" => {
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfree bytes"
        }
        "garbage" => b"\x16\x03\x01 this is no HTTP at all\r\n\r\n",
        "no-status" => b"HTTP/1.1 OK\r\n\r\n",
        "bad-field" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A b: c\r\n\r\nok",
        "nul-field" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\0c\r\n\r\nok",
        "two-answers" => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
        }
        // "nothing": the connection is closed without a word.
        _ => b"",
    }
}
