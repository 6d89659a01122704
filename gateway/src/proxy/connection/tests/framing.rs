//! What the guard lets pass, over a corpus of ways to be ambiguous.

use super::super::guard::{Framer, Step};
use crate::model::HttpLimits;

mod any;

/// How the guard left off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// At the end of a message, or in want of more.
    Open,
    Refused(u16),
    Broken,
}

/// What passed: heads and body bytes in order; how many heads; and the end. Fed in pieces of these sizes, over and over.
fn read(input: &[u8], pieces: &[usize]) -> (Vec<u8>, Vec<usize>, End) {
    let limits = HttpLimits::default();
    let mut framer = Framer::new();
    let (mut held, mut passed, mut heads) = (Vec::new(), Vec::new(), Vec::new());
    let (mut at, mut sizes) = (0, pieces.iter().copied().cycle());
    while at < input.len() {
        let piece = sizes.next().unwrap().clamp(1, input.len() - at);
        held.extend_from_slice(&input[at..at + piece]);
        at += piece;
        while !held.is_empty() {
            match framer.step(&held, &limits) {
                Step::More => break,
                Step::Head(length, _) => {
                    heads.push(length);
                    passed.extend(held.drain(..length));
                }
                Step::Body(length) => passed.extend(held.drain(..length)),
                Step::Refuse(refusal) => return (passed, heads, End::Refused(refusal.status.as_u16())),
                Step::Break => return (passed, heads, End::Broken),
            }
        }
    }
    (passed, heads, End::Open)
}

fn whole(input: &[u8]) -> (Vec<u8>, Vec<usize>, End) {
    let verdict = read(input, &[usize::MAX]);
    assert_eq!(verdict, read(input, &[1]), "cut into bytes: {:?}", String::from_utf8_lossy(input));
    verdict
}

fn refused(input: impl AsRef<[u8]>, statuses: &[u16]) {
    let input = input.as_ref();
    let (passed, _, end) = whole(input);
    let shown = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
    assert!(matches!(end, End::Refused(status) if statuses.contains(&status)), "{end:?} for {shown:?}");
    assert!(passed.is_empty(), "{shown:?}");
}

fn passes(input: impl AsRef<[u8]>, heads: usize) {
    let input = input.as_ref();
    let verdict = whole(input);
    let shown = String::from_utf8_lossy(&input[..input.len().min(200)]);
    assert_eq!((&verdict.0[..], verdict.1.len(), verdict.2), (input, heads, End::Open), "{shown:?}");
}

fn with_fields(fields: &[u8]) -> Vec<u8> {
    [b"POST / HTTP/1.1\r\nHost: a.test\r\n", fields, b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"]
        .concat()
}

#[test]
fn good_requests_pass_one_after_the_other() {
    passes("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 1);
    passes("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", 1);
    passes(
        "GET /a?b=c&d[]=%20 HTTP/1.1\r\nhOsT:a.test\r\nX:\r\nY: \t z\t \r\nÜ".split('Ü').next().unwrap().to_owned()
            + "\r\n",
        1,
    );
    passes("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", 1);
    passes("GET https://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", 1);
    passes("M-SEARCH / HTTP/1.1\r\nHost: a.test\r\n\r\n", 1);
    passes(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        2,
    );
    passes("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 2);
    passes(with_fields(b"Transfer-Encoding: chunked\r\n"), 2);
    passes(with_fields(b"tRANSFER-eNCODING:CHUNKED\r\n"), 2);
    passes([&b"GET / HTTP/1.1\r\nHost: a.test\r\nX: \xfc\x80\r\n\r\n"[..]].concat(), 1);
}

#[test]
fn both_lengths() {
    for fields in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 6\r\n",
    ] {
        refused(with_fields(fields.as_bytes()), &[400, 501]);
    }
}

#[test]
fn spellings_of_transfer_encoding() {
    let values: [&[u8]; 37] = [
        b" chunked ",
        b"\tchunked",
        b" \tchunked",
        b"  chunked",
        b" chunked\t",
        b" chunked,",
        b" ,chunked",
        b" chunked;",
        b" chunked; q=1",
        b" \"chunked\"",
        b" 'chunked'",
        b" chunked, chunked",
        b" chunked,identity",
        b" identity, chunked",
        b" gzip, chunked",
        b" chunked, gzip",
        b" identity",
        b" gzip",
        b" x",
        b"",
        b" ",
        b" chunkedx",
        b" xchunked",
        b" chunke",
        b" chun ked",
        b" chunked\0",
        b"\0chunked",
        b" \x0bchunked",
        b" chunked\x0b",
        b" \x0cchunked",
        b" \xa0chunked",
        b" chunked\xa0",
        b" chun\xe2\x84\xaaed",
        b" \xef\xbb\xbfchunked",
        b" chunked\x7f",
        b" (x)chunked",
        b" chunked chunked",
    ];
    for value in values {
        refused(with_fields(&[b"Transfer-Encoding:", value, b"\r\n"].concat()), &[400, 501]);
    }
    let lines: [&[u8]; 22] = [
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding\t: chunked\r\n",
        b" Transfer-Encoding: chunked\r\n",
        b"\tTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer-Encoding:\n chunked\r\n",
        b"Transfer-Encoding\r\n: chunked\r\n",
        b"Transfer-Encoding: chunked\n",
        b"Transfer-Encoding: chunked\r",
        b"Transfer-Encoding: chunked\rX: y\r\n",
        b"X: y\rTransfer-Encoding: chunked\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\n",
        b"X: y\r\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer_Encoding: chunked\r\n",
        b"Transfer Encoding: chunked\r\n",
        b"Transfer-Encoding\0: chunked\r\n",
        b"\0Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding\x0b: chunked\r\n",
        b"Transfer-Encoding\xa0: chunked\r\n",
    ];
    for line in lines {
        refused(with_fields(line), &[400, 501]);
    }
    refused("POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]);
}

#[test]
fn spellings_of_content_length() {
    let values: [&str; 31] = [
        "",
        " ",
        " +5",
        " -5",
        " -0",
        " 0x5",
        " 5 ",
        "\t5",
        "  5",
        " 5\t",
        " 5,5",
        " 5, 5",
        " 5,6",
        " 5;",
        " 5.0",
        " 5e0",
        " 05",
        " 00",
        " five",
        " \"5\"",
        " 5 5",
        " 5\u{b}",
        " 5\0",
        " ٥",
        " 5_0",
        " 9223372036854775808",
        " 18446744073709551615",
        " 18446744073709551621",
        " 99999999999999999999",
        " 1e3",
        " 5\u{a0}",
    ];
    for value in values {
        refused(with_fields(format!("Content-Length:{value}\r\n").as_bytes()), &[400]);
    }
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length : 5\r\n",
        "Content_Length: 5\r\n",
        "Content-Length: 5\r\n\tX\r\n",
    ] {
        refused(with_fields(lines.as_bytes()), &[400]);
    }
    passes("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9223372036854775807\r\n\r\n", 1);
}

#[test]
fn request_lines() {
    let get = |line: &str| format!("{line}\r\nHost: a.test\r\n\r\n");
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.1.1",
        "GET / HTTP/11",
        "GET / HTTP/ 1.1",
        "G@T / HTTP/1.1",
        "GET x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /ü HTTP/1.1",
        "GET /#f HTTP/1.1",
        "GET \\ HTTP/1.1",
        "GET /a\\b HTTP/1.1",
        "GET ftp://a.test/ HTTP/1.1",
        "GET http:// HTTP/1.1",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2",
        "\r\nGET / HTTP/1.1",
        "GET / HTTP/1.1\n",
        "GET /\0 HTTP/1.1",
        "GET / HTTP/1.1\0",
        "(GET) / HTTP/1.1",
        "GET a.test:443 HTTP/1.1",
    ] {
        refused(get(line), &[400]);
    }
    for line in ["GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9", "GET / HTTP/3.0", "PRI * HTTP/2.0"] {
        refused(get(line), &[505]);
    }
    for line in ["CONNECT a.test:443 HTTP/1.1", "TRACE / HTTP/1.1"] {
        refused(get(line), &[405]);
    }
    refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[400]);
    refused("GET /\r\n\r\n", &[400]);
}

#[test]
fn fields() {
    for field in [
        "X",
        "X y",
        ": x",
        "X : y",
        "X\t: y",
        " X: y",
        "X: a\0b",
        "X: a\rb",
        "X: a\nb",
        "X\u{7f}: y",
        "X(: y",
        "X_Y: z",
        "X: a\u{8}b",
        "X: \u{7f}",
        "Ü: x",
        "X: y\r\n folded",
        "X: y\r\n\tfolded",
    ] {
        refused(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{field}\r\n\r\n"), &[400]);
    }
    for host in ["", "Host: a.test\r\nHost: a.test\r\n", "Host: a.test\r\nhost: b.test\r\n", "Host : a.test\r\n"] {
        refused(format!("GET / HTTP/1.1\r\n{host}\r\n"), &[400]);
        refused(format!("GET / HTTP/1.0\r\n{host}\r\n"), &[400]);
    }
}

#[test]
fn sizes() {
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    passes(head(&"X: y\r\n".repeat(99)), 1);
    refused(head(&"X: y\r\n".repeat(100)), &[431]);
    passes(head(&format!("X: {}\r\n", "y".repeat(32_000))), 1);
    refused(head(&format!("X: {}\r\n", "y".repeat(33_000))), &[431]);
    refused(head(&"y".repeat(1_000_000)), &[431]);
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "u".repeat(length - 1));
    passes(target(8192), 1);
    refused(target(8193), &[414]);
    refused(target(1_000_000), &[414]);
}

#[test]
fn broken_chunks_never_look_whole() {
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "x\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "0\r\nX_Y: z\r\n\r\n",
        "ffffffffffffffff1\r\n",
        "0\n\n",
    ] {
        let (passed, heads, end) = whole(format!("{head}{body}").as_bytes());
        assert_eq!((heads.len(), end), (1, End::Broken), "{body:?}");
        assert!(!passed.ends_with(b"0\r\n\r\n"), "{body:?}");
    }
    let (_, heads, end) = whole(format!("{head}0\r\n\r\nGARBAGE\r\n\r\n").as_bytes());
    assert_eq!((heads.len(), end), (1, End::Refused(400)));
}
