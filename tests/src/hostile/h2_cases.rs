//! HTTP/2 requests that must never become an HTTP/1.1 request (RFC 9113 §8).

use super::frames::{block, data, frame, headers, kind};

/// Frames of one stream.
#[derive(Clone, Debug)]
pub struct H2Case {
    /// For the failure's message.
    pub name: String,
    /// Sent on stream 1.
    pub frames: Vec<u8>,
    /// Besides RST_STREAM, GOAWAY and 400: statuses that will do. With 200 the request may reach the worker, but not what is wrong with it.
    pub statuses: &'static [u16],
}

type Field<'a> = (&'a [u8], &'a [u8]);

/// The fields of a good request.
fn plain(host: &str) -> Vec<Field<'_>> {
    vec![(b":method", b"POST"), (b":scheme", b"https"), (b":authority", host.as_bytes()), (b":path", b"/echo")]
}

fn case(name: impl Into<String>, fields: &[Field<'_>], body: &[u8]) -> H2Case {
    let frames = if body.is_empty() {
        headers(1, &block(fields), true)
    } else {
        [headers(1, &block(fields), false), data(1, body, true)].concat()
    };
    H2Case { name: name.into(), frames, statuses: &[] }
}

/// Lengths that lie about the DATA frames.
pub fn lengths(host: &str) -> Vec<H2Case> {
    let hidden = super::case::smuggled(host);
    let rows: Vec<(&[&[u8]], &[u8])> = vec![
        (&[b"5"], b"hel"),
        (&[b"5"], b"hello!"),
        (&[b"0"], &hidden),
        (&[b"5"], &hidden),
        (&[b"5"], b""),
        (&[b"5", b"6"], b"hello"),
        (&[b"6", b"5"], b"hello"),
        (&[b"+5"], b"hello"),
        (&[b"-5"], b"hello"),
        (&[b"0x5"], b"hello"),
        (&[b"5,6"], b"hello"),
        (&[b"five"], b"hello"),
        (&[b""], b"hello"),
        (&[b"5 5"], b"hello"),
        (&[b"5\0"], b"hello"),
        (&[b"18446744073709551621"], b"hello"),
        (&[b"9223372036854775808"], b"hello"),
    ];
    rows.iter()
        .map(|(values, body)| {
            let mut fields = plain(host);
            fields.extend(values.iter().map(|value| (b"content-length".as_slice(), *value)));
            let shown: Vec<String> = values.iter().map(|value| value.escape_ascii().to_string()).collect();
            case(format!("content-length {shown:?} for {} bytes", body.len()), &fields, body)
        })
        .collect()
}

/// Fields that have no place in HTTP/2, or anywhere.
pub fn fields(host: &str) -> Vec<H2Case> {
    let rows: &[Field<'_>] = &[
        (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b"identity"),
        (b"connection", b"close"),
        (b"connection", b"keep-alive"),
        (b"connection", b"x-forwarded-for"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"keep-alive"),
        (b"upgrade", b"websocket"),
        (b"upgrade", b"h2c"),
        (b"te", b"gzip"),
        (b"te", b"trailers, deflate"),
        (b"x", b"a\r\nx-evil: 1"),
        (b"x", b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"x", b"a\nx-evil: 1"),
        (b"x", b"a\rx-evil: 1"),
        (b"x", b"a\0b"),
        (b"x", b"\0"),
        (b"x", b"a\x01b"),
        (b"x", b"a\x7fb"),
        (b"x\r\nx-evil: 1", b"a"),
        (b"x\nx-evil", b"a"),
        (b"x\0", b"a"),
        (b"x: evil", b"a"),
        (b"x:", b"a"),
        (b"x y", b"a"),
        (b"x ", b"a"),
        (b" x", b"a"),
        (b"", b"a"),
        (b"X", b"a"),
        (b"Content-Length", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"x\xc3\xa9", b"a"),
        (b"x(y)", b"a"),
        (b":status", b"200"),
        (b":protocol", b"websocket"),
        (b":evil", b"a"),
        (b":", b"a"),
        (b":method", b"GET"),
        (b":path", b"/smuggled"),
        (b":authority", b"evil.example"),
        (b":scheme", b"http"),
    ];
    rows.iter()
        .map(|(name, value)| {
            // A second `content-length` must not be what is found at fault.
            let mut fields = plain(host);
            fields.push((name, value));
            case(format!("{}: {}", name.escape_ascii(), value.escape_ascii()), &fields, b"hello")
        })
        .collect()
}

/// Pseudo-header fields that are missing, twice, late or bad.
pub fn pseudo(host: &str) -> Vec<H2Case> {
    let mut cases: Vec<H2Case> = (0..4)
        .map(|missing| {
            let mut fields = plain(host);
            let (name, _) = fields.remove(missing);
            let mut case = case(format!("without {}", name.escape_ascii()), &fields, b"");
            // Without :authority there is no Host either, and so no authority.
            case.statuses = &[421];
            case
        })
        .collect();
    let mut late = plain(host);
    late.insert(2, (b"x", b"a"));
    cases.push(case("a pseudo-header field after a regular one", &late, b""));
    let values: &[(usize, &[u8])] = &[
        (0, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET"),
        (0, b"GE T"),
        (0, b""),
        (0, b"G\0T"),
        (0, b"CONNECT"),
        (0, b"TRACE"),
        (1, b""),
        (1, b"https\r\nx-evil: 1"),
        (1, b"https://evil.example/?"),
        (2, b""),
        (2, b"a@b"),
        (2, b"evil.example\r\nx-evil: 1"),
        (2, b"a b"),
        (2, b"a\0b"),
        (2, b"a:99999"),
        (2, b"a:b"),
        (2, b"a/b"),
        (2, b"a, b"),
        (2, b"[::1"),
        (3, b""),
        (3, b"echo"),
        (3, b"*"),
        (3, b"http://evil.example/"),
        (3, b"/echo HTTP/1.1\r\nx-evil: 1\r\n\r\nGET /smuggled"),
        (3, b"/ec ho"),
        (3, b"/ec\nho"),
        (3, b"/ec\rho"),
        (3, b"/ec\0ho"),
        (3, b"/ec\tho"),
        (3, b"/ec\x7fho"),
    ];
    for (at, value) in values {
        let mut fields = plain(host);
        fields[*at].1 = value;
        let name = format!("{} of {}", fields[*at].0.escape_ascii(), value.escape_ascii());
        let mut case = case(name, &fields, b"");
        case.statuses = match at {
            0 => &[405, 501],
            // No worker is ever told of it.
            1 if value.is_empty() => &[200],
            2 => &[421],
            _ => &[],
        };
        cases.push(case);
    }
    cases
}

/// Host beside :authority, and alone.
pub fn authorities(host: &str) -> Vec<H2Case> {
    let mut differs = plain(host);
    differs.push((b"host", b"evil.example"));
    let mut twice = plain(host);
    twice.extend([(b"host".as_slice(), host.as_bytes()), (b"host", b"evil.example")]);
    let mut alone = plain(host);
    alone.remove(2);
    alone.push((b"host", b"evil.example"));
    let mut cases = vec![
        case("another host", &differs, b""),
        case("two hosts", &twice, b""),
        case("another host alone", &alone, b""),
    ];
    cases.iter_mut().for_each(|case| case.statuses = &[421]);
    cases
}

/// More than a head may hold.
pub fn oversize(host: &str) -> Vec<H2Case> {
    let numbered: Vec<Vec<u8>> = (0..101).map(|number| format!("x-{number}").into_bytes()).collect();
    let mut many = plain(host);
    many.extend(numbered.iter().map(|name| (name.as_slice(), b"y".as_slice())));
    let long = vec![b'y'; 12 * 1024];
    let mut large = plain(host);
    large.extend([(b"x-1".as_slice(), long.as_slice()), (b"x-2", &long), (b"x-3", &long)]);
    let path = [b"/echo?", "x".repeat(9 * 1024).as_bytes()].concat();
    let mut target = plain(host);
    target[3].1 = &path;
    [("101 fields", many), ("36 KiB of fields", large), ("a target of 9 KiB", target)]
        .into_iter()
        .map(|(name, fields)| {
            let block = block(&fields);
            let (first, rest) = block.split_at(block.len().min(16_000));
            let mut frames = frame(kind::HEADERS, 1 | if rest.is_empty() { 4 } else { 0 }, 1, first);
            let pieces: Vec<&[u8]> = rest.chunks(16_000).collect();
            for (at, piece) in pieces.iter().enumerate() {
                let last = at + 1 == pieces.len();
                frames.extend(frame(kind::CONTINUATION, if last { 4 } else { 0 }, 1, piece));
            }
            H2Case { name: name.into(), frames, statuses: &[414, 431] }
        })
        .collect()
}

/// Trailers with what has no place in them.
pub fn trailers(host: &str) -> Vec<H2Case> {
    let rows: &[Field<'_>] = &[
        (b":path", b"/smuggled"),
        (b":status", b"200"),
        (b"x", b"a\r\nx-evil: 1"),
        (b"x", b"a\0b"),
        (b"X", b"a"),
        (b"x y", b"a"),
        (b"connection", b"close"),
    ];
    rows.iter()
        .map(|(name, value)| H2Case {
            name: format!("trailer {}: {}", name.escape_ascii(), value.escape_ascii()),
            frames: [
                headers(1, &block(&plain(host)), false),
                data(1, b"hello", false),
                headers(1, &block(&[(name, value)]), true),
            ]
            .concat(),
            // `h2` drops pseudo-header fields of trailers by itself.
            statuses: if name.starts_with(b":") { &[200] } else { &[] },
        })
        .collect()
}
