//! Bad Content-Lengths, and Content-Length beside Transfer-Encoding.

use super::case::{BAD, Case, Expect, join, post, smuggled};

/// Whole field lines: each must be refused.
const BAD_LENGTHS: &[&[u8]] = &[
    b"Content-Length: +5\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: -0\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 0x10\r\n",
    b"Content-Length: 0b1\r\n",
    b"Content-Length: 5.0\r\n",
    b"Content-Length: 5e0\r\n",
    b"Content-Length: 5_0\r\n",
    b"Content-Length: 5 0\r\n",
    b"Content-Length: 5,6\r\n",
    b"Content-Length: 6, 5\r\n",
    b"Content-Length: 5,\r\n",
    b"Content-Length: ,5\r\n",
    b"Content-Length: 5;\r\n",
    b"Content-Length: \"5\"\r\n",
    b"Content-Length: five\r\n",
    b"Content-Length: 5a\r\n",
    b"Content-Length: NaN\r\n",
    b"Content-Length:\r\n",
    b"Content-Length: \t \r\n",
    b"Content-Length: 9223372036854775808\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: 18446744073709551621\r\n",
    b"Content-Length: 99999999999999999999999999999999999999\r\n",
    b"Content-Length: \x005\r\n",
    b"Content-Length: 5\0\r\n",
    b"Content-Length: \x0b5\r\n",
    b"Content-Length: 5\x0c\r\n",
    b"Content-Length: \xa05\r\n",
    b"Content-Length: \xef\xbc\x95\r\n",
    b"Content-Length: \xd9\xa5\r\n",
    b"Content-Length : 5\r\n",
    b" Content-Length: 5\r\n",
    b"Content-Length:\r\n 5\r\n",
    b"Content-Length: 5\r\n 0\r\n",
    b"Content-Length:\n5\r\n",
    b"Content-Length: 5\r\r\n",
    b"X: y\nContent-Length: 5\r\n",
    b"X: y\rContent-Length: 5\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: 6\r\nContent-Length: 5\r\n",
    b"Content-Length: 0\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\ncontent-length: 05x\r\n",
    b"Content-Length: 5\r\nContent-Length:\r\n",
];

/// Identical values: they may be merged, or refused (RFC 9110 §8.6).
const SAME_LENGTHS: &[&[u8]] = &[
    b"Content-Length: 5\r\nContent-Length: 5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 5,5\r\n",
    b"Content-Length: 0000000000000000000000000000000005\r\n",
    b"Content-Length: 05\r\n",
];

/// Every bad length, with a request hidden behind the five bytes that it seems to promise.
pub fn bad(host: &str) -> Vec<Case> {
    let rest = join(&[b"hello", &smuggled(host)]);
    BAD_LENGTHS.iter().map(|line| Case::bad(line.escape_ascii().to_string(), post(host, line, &rest))).collect()
}

/// Identical duplicates and leading zeros: one meaning or none.
pub fn same(host: &str) -> Vec<Case> {
    SAME_LENGTHS
        .iter()
        .map(|line| {
            Case::bad(line.escape_ascii().to_string(), post(host, line, b"hello"))
                .expecting(Expect::Either(BAD, b"hello".to_vec()))
        })
        .collect()
}

/// A Content-Length and a Transfer-Encoding in one request, in both orders, with bodies for both readings.
pub fn beside_chunked(host: &str) -> Vec<Case> {
    let hidden = smuggled(host);
    let te = b"Transfer-Encoding: chunked\r\n".as_slice();
    let chunk = format!("{:x}\r\n", hidden.len()).into_bytes();
    let rows: Vec<(&str, usize, Vec<u8>)> = vec![
        ("CL.TE: the length covers all, the chunks end early", hidden.len() + 5, join(&[b"0\r\n\r\n", &hidden])),
        ("TE.CL: the chunks cover all, the length ends early", chunk.len(), join(&[&chunk, &hidden, b"\r\n0\r\n\r\n"])),
        ("CL.0: a length of nothing", 0, join(&[b"0\r\n\r\n", &hidden])),
        ("TE.0: chunks that a length of nothing hides", 0, join(&[&chunk, &hidden, b"\r\n0\r\n\r\n"])),
        ("both say the same", 15, b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("the length is of the body inside", 5, b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
    ];
    rows.into_iter()
        .flat_map(|(name, length, rest)| {
            let cl = format!("Content-Length: {length}\r\n").into_bytes();
            [
                Case::bad(format!("{name}, CL first"), post(host, &join(&[&cl, te]), &rest)),
                Case::bad(format!("{name}, TE first"), post(host, &join(&[te, &cl]), &rest)),
            ]
        })
        .collect()
}

/// Methods that seldom have a body, with one: its bytes are a body, and never the next request.
pub fn bodies_of_any_method(host: &str) -> Vec<Case> {
    let hidden = smuggled(host);
    ["GET", "DELETE", "OPTIONS", "PUT", "PATCH"]
        .iter()
        .flat_map(|method| {
            let start = format!("{method} /echo HTTP/1.1\r\nHost: {host}\r\n");
            let counted = join(&[format!("{start}Content-Length: {}\r\n\r\n", hidden.len()).as_bytes(), &hidden]);
            let chunked = join(&[
                format!("{start}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", hidden.len()).as_bytes(),
                &hidden,
                b"\r\n0\r\n\r\n",
            ]);
            [
                Case::good(format!("{method} with a length"), counted, &hidden),
                Case::good(format!("{method} with chunks"), chunked, &hidden),
            ]
        })
        .collect()
}
