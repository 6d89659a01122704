//! Spellings of `Transfer-Encoding` that some parser somewhere reads as `chunked` and another one does not.

use super::case::{BAD_CODING, Case, Expect, join, post, smuggled};

/// Whole field lines, each with its line end. None of them may reach a worker.
const OBFUSCATED: &[&[u8]] = &[
    b"Transfer-Encoding: \0chunked\r\n",
    b"Transfer-Encoding: chunked\0\r\n",
    b"Transfer-Encoding: chun\0ked\r\n",
    b"Transfer-Encoding\0: chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: chunked\x0b\r\n",
    b"Transfer-Encoding:\x0cchunked\r\n",
    b"Transfer-Encoding: chunked\x0c\r\n",
    b"Transfer-Encoding: \x01chunked\r\n",
    b"Transfer-Encoding: \x7fchunked\r\n",
    b"Transfer-Encoding: \xa0chunked\r\n",
    b"Transfer-Encoding: \xc2\xa0chunked\r\n",
    b"Transfer-Encoding: chunked\xa0\r\n",
    b"Transfer-Encoding: chun\xe2\x84\xaaed\r\n",
    b"Transfer-Encoding: chunked\xff\r\n",
    b"Transfer-Encoding\xad: chunked\r\n",
    b"Transfer\xe2\x80\x90Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding\t: chunked\r\n",
    b"Transfer-Encoding\x0b: chunked\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b"\tTransfer-Encoding: chunked\r\n",
    b"X: y\r\n Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"Transfer-Encoding:\r\n\tchunked\r\n",
    b"Transfer-Encoding: chunked\r\n \r\n",
    b"Transfer-Encoding: chun\r\n ked\r\n",
    b"Transfer-Encoding:\n chunked\r\n",
    b"Transfer-Encoding:\nchunked\r\n",
    b"Transfer-Encoding: chunked\n",
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\n",
    b"X: y\r\rTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\r\n",
    b"Transfer-Encoding: \rchunked\r\n",
    b"Transfer-Encoding: chun\rked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding: chunked,chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n",
    b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity, chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, gzip\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Transfer-Encoding: cow\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: x-chunked\r\n",
    b"Transfer-Encoding: chunkedx\r\n",
    b"Transfer-Encoding: chunk\r\n",
    b"Transfer-Encoding: chu nked\r\n",
    b"Transfer-Encoding: chunked chunked\r\n",
    b"Transfer-Encoding: \"chunked\"\r\n",
    b"Transfer-Encoding: 'chunked'\r\n",
    b"Transfer-Encoding: chunked,\r\n",
    b"Transfer-Encoding: ,chunked\r\n",
    b"Transfer-Encoding: ,\r\n",
    b"Transfer-Encoding: chunked;q=1\r\n",
    b"Transfer-Encoding: chunked;\r\n",
    b"Transfer-Encoding: chunked; foo=\"bar\"\r\n",
    b"Transfer-Encoding: \r\n",
    b"Transfer-Encoding:\r\n",
    b"Transfer-Encoding: : chunked\r\n",
    b"Transfer-Encoding chunked\r\n",
    b"Transfer-Encoding=chunked\r\n",
    b"Transfer Encoding: chunked\r\n",
    b": chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: \\x63hunked\r\n",
    b"Transfer-Encoding: chunked#\r\n",
    b"Transfer-Encoding: chunked(comment)\r\n",
];

/// Field lines that RFC 9112 lets a client write: they must work.
const LEGAL: &[&[u8]] = &[
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding: chunked\r\n",
    b"TRANSFER-ENCODING: CHUNKED\r\n",
    b"tRaNsFeR-eNcOdInG: ChUnKeD\r\n",
    b"Transfer-Encoding:chunked\r\n",
];

/// Whitespace that the RFC lets a client write and no client does: one meaning, or none.
const ODD: &[&[u8]] = &[
    b"Transfer-Encoding:  chunked\r\n",
    b"Transfer-Encoding: chunked \r\n",
    b"Transfer-Encoding:\tchunked\r\n",
    b"Transfer-Encoding:  \t chunked\r\n",
    b"Transfer-Encoding: chunked\t\r\n",
    b"Transfer-Encoding: chunked \t\r\n",
];

/// Every obfuscated spelling alone, and beside a Content-Length, each with a request hidden behind it.
pub fn obfuscated(host: &str) -> Vec<Case> {
    let hidden = smuggled(host);
    let chunked_end = join(&[b"0\r\n\r\n", &hidden]);
    let beside = format!("Content-Length: {}\r\n", chunked_end.len()).into_bytes();
    OBFUSCATED
        .iter()
        .flat_map(|line| {
            let name = line.escape_ascii();
            [
                Case::bad(format!("{name} alone"), post(host, line, &chunked_end)),
                Case::bad(format!("{name} after CL"), post(host, &join(&[&beside, line]), &chunked_end)),
                Case::bad(format!("{name} before CL"), post(host, &join(&[line, &beside]), &chunked_end)),
            ]
        })
        .map(|case| case.expecting(Expect::Refused(BAD_CODING)))
        .collect()
}

/// Every legal spelling.
pub fn legal(host: &str) -> Vec<Case> {
    let body = b"5\r\nhello\r\n0\r\n\r\n";
    LEGAL.iter().map(|line| Case::good(line.escape_ascii().to_string(), post(host, line, body), b"hello")).collect()
}

/// Every odd spelling.
pub fn odd(host: &str) -> Vec<Case> {
    let body = b"5\r\nhello\r\n0\r\n\r\n";
    ODD.iter()
        .map(|line| {
            Case::bad(line.escape_ascii().to_string(), post(host, line, body))
                .expecting(Expect::Either(BAD_CODING, b"hello".to_vec()))
        })
        .collect()
}

/// An underscore twin is no Transfer-Encoding: refused, or dropped, and then the request has no body.
pub fn twins(host: &str) -> Vec<Case> {
    let body = join(&[b"0\r\n\r\n", &smuggled(host)]);
    [b"Transfer_Encoding: chunked\r\n".as_slice(), b"Content-Length: 5\r\ntransfer_encoding: chunked\r\n"]
        .iter()
        .map(|lines| {
            let kept: &[u8] = if lines.starts_with(b"Content") { b"0\r\n\r\n" } else { b"" };
            let rest = if kept.is_empty() { &b""[..] } else { &body[..5] };
            Case::bad(lines.escape_ascii().to_string(), post(host, lines, rest))
                .expecting(Expect::Either(BAD_CODING, kept.to_vec()))
        })
        .collect()
}

/// HTTP/1.0 has no transfer codings (RFC 9112 §6.1).
pub fn in_old_version(host: &str) -> Vec<Case> {
    let bytes = join(&[
        format!("POST /echo HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").as_bytes(),
        &smuggled(host),
    ]);
    vec![Case::bad("chunked in HTTP/1.0", bytes).expecting(Expect::Refused(BAD_CODING))]
}
