//! Request lines, fields, sizes and hosts that a strict parser refuses.

use super::case::{BAD, Case, Expect, get, join, smuggled};

/// Refused with 400, or with 505 where the version is at fault, or with 405 where the method is.
const LINE: &[u16] = &[400, 405, 501, 505];

/// Heads with bytes that have no place in them.
pub fn controls(host: &str) -> Vec<Case> {
    let lines: &[&[u8]] = &[
        b"X: a\0b\r\n",
        b"X\0: ab\r\n",
        b"\0X: ab\r\n",
        b"X: a\rb\r\n",
        b"X: a\r\r\n",
        b"X: a\n",
        b"X: a\n\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\r\n folded\r\n",
        b"X: a\r\n\tfolded\r\n",
        b" X: first line folded\r\n",
        b"X : a\r\n",
        b"X\t: a\r\n",
        b"X Y: a\r\n",
        b"X\x0b: a\r\n",
        b"X: a\x01b\r\n",
        b"X: a\x08b\r\n",
        b"X: a\x0bb\r\n",
        b"X: a\x1b[31m\r\n",
        b"X: a\x7fb\r\n",
        b": no name\r\n",
        b"no colon\r\n",
        b"X(y): a\r\n",
        b"X@y: a\r\n",
        b"X,y: a\r\n",
        b"X/y: a\r\n",
        b"\"X\": a\r\n",
        b"X\xc3\xa9: a\r\n",
        b"\xef\xbb\xbfX: a\r\n",
    ];
    let hidden = smuggled(host);
    lines
        .iter()
        .map(|line| Case::bad(line.escape_ascii().to_string(), join(&[&get(host, line), &hidden])))
        .chain([
            Case::bad("all lines end in LF", format!("GET /echo HTTP/1.1\nHost: {host}\n\n").into_bytes()),
            Case::bad("the request line ends in LF", format!("GET /echo HTTP/1.1\nHost: {host}\r\n\r\n").into_bytes()),
            Case::bad(
                "the head ends in LF",
                join(&[format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n\n").as_bytes(), &hidden]),
            ),
            Case::bad("all lines end in CR", format!("GET /echo HTTP/1.1\rHost: {host}\r\r\r\n\r\n").into_bytes()),
        ])
        .collect()
}

/// Request lines that are none, versions that are not spoken, methods that are not offered, other protocols.
pub fn lines(host: &str) -> Vec<Case> {
    let rest = join(&[format!("\r\nHost: {host}\r\n\r\n").as_bytes(), &smuggled(host)]);
    let lines: &[&[u8]] = &[
        b"GET /echo HTTP/2.0",
        b"GET /echo HTTP/3.0",
        b"GET /echo HTTP/0.9",
        b"GET /echo HTTP/1.2",
        b"GET /echo HTTP/1.10",
        b"GET /echo HTTP/01.1",
        b"GET /echo HTTP/1",
        b"GET /echo HTTP/11",
        b"GET /echo HTTP/1,1",
        b"GET /echo http/1.1",
        b"GET /echo HTTPS/1.1",
        b"GET /echo HTTP /1.1",
        b"GET /echo HTTP/1.1 ",
        b"GET /echo HTTP/1.1 x",
        b"GET /echo",
        b"GET  /echo HTTP/1.1",
        b"GET /echo  HTTP/1.1",
        b" GET /echo HTTP/1.1",
        b"GET\t/echo\tHTTP/1.1",
        b"GET\x0b/echo HTTP/1.1",
        b"GET /ec ho HTTP/1.1",
        b"GET /ec\tho HTTP/1.1",
        b"GET /ec\0ho HTTP/1.1",
        b"GET /ec\rho HTTP/1.1",
        b"GET /ec\x7fho HTTP/1.1",
        b"GET HTTP/1.1",
        b"GET  HTTP/1.1",
        b"/echo HTTP/1.1",
        b"G@T /echo HTTP/1.1",
        b"GE\0T /echo HTTP/1.1",
        b"G\xc3\x89T /echo HTTP/1.1",
        b"\"GET\" /echo HTTP/1.1",
        b"GET echo HTTP/1.1",
        b"GET @evil.example/ HTTP/1.1",
        b"GET :80/ HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT evil.example:443 HTTP/1.1",
        b"CONNECT / HTTP/1.1",
        b"CONNECT http://evil.example/ HTTP/1.1",
        b"TRACE /echo HTTP/1.1",
        b"TRACE * HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"PROXY TCP4 6.6.6.6 7.7.7.7 80 80",
        b"HTTP/1.1 200 OK",
    ];
    lines
        .iter()
        .map(|line| Case::bad(line.escape_ascii().to_string(), join(&[line, &rest])).expecting(Expect::Refused(LINE)))
        .chain(other_protocols(host))
        .collect()
}

/// What is no HTTP/1.1 at all, inside TLS that promised it.
fn other_protocols(host: &str) -> Vec<Case> {
    let request = get(host, b"");
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("HTTP/0.9", join(&[b"GET /echo\r\n", &smuggled(host)])),
        ("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("a PROXY v1 preamble", join(&[b"PROXY TCP4 6.6.6.6 7.7.7.7 80 80\r\n", &request])),
        (
            "a PROXY v2 preamble",
            join(&[b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x06\x06\x06\x06\x07\x07\x07\x07\0\x50\0\x50", &request]),
        ),
        ("TLS in TLS", join(&[b"\x16\x03\x01\0\x05\x01\0\0\x01\0\r\n\r\n", &request])),
        ("an SSH greeting", join(&[b"SSH-2.0-evil\r\n\r\n", &request])),
        ("nothing but NUL", vec![0; 4096]),
        ("nothing but 0xff", vec![0xff; 4096]),
    ];
    rows.into_iter().map(|(name, bytes)| Case::bad(name, bytes).expecting(Expect::Closed(LINE))).collect()
}

/// Heads beyond a bound.
pub fn oversize(host: &str) -> Vec<Case> {
    let fields =
        |count: usize| (0..count).flat_map(|number| format!("X-{number}: y\r\n").into_bytes()).collect::<Vec<u8>>();
    let uri =
        |length: usize| format!("GET /echo?{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(length - 6)).into_bytes();
    let value = |length: usize| format!("X: {}\r\n", "y".repeat(length)).into_bytes();
    let kilobytes = |count: usize| {
        (0..count).flat_map(|number| format!("X-{number}: {}\r\n", "y".repeat(1024)).into_bytes()).collect::<Vec<u8>>()
    };
    let large = |name: &str, lines: &[u8]| Case::bad(name, get(host, lines)).expecting(Expect::Refused(&[431]));
    vec![
        large("101 fields with Host", &fields(100)),
        large("5,000 fields", &fields(5000)),
        large("a head of 33 KiB in one field", &value(33 * 1024)),
        large("a head of 1 MB in one field", &value(1 << 20)),
        large("a head of 33 KiB in many fields", &kilobytes(33)),
        large("a name of 40 KiB", &join(&[&vec![b'x'; 40 * 1024], b": y\r\n"])),
        Case::bad("a target of 9 KiB", uri(9 * 1024)).expecting(Expect::Refused(&[414])),
        Case::bad("a target of 1 MB", uri(1 << 20)).expecting(Expect::Refused(&[414, 431])),
        Case::bad("a method of 40 KiB", format!("{} / HTTP/1.1\r\n", "M".repeat(40 * 1024)).into_bytes())
            .expecting(Expect::Refused(&[400, 414, 431, 501])),
        Case::good("100 fields with Host", get(host, &fields(99)), b""),
        Case::good("a head of 30 KiB", get(host, &value(30 * 1024)), b""),
        Case::good("a target of 8,000 bytes", uri(8000), b""),
    ]
}

/// Requests without exactly one well-formed authority.
pub fn authorities(host: &str) -> Vec<Case> {
    let request = |lines: &str| join(&[format!("GET /echo HTTP/1.1\r\n{lines}\r\n").as_bytes(), &smuggled(host)]);
    let bad = |name: &str, lines: &str| Case::bad(name, request(lines));
    let mut cases = vec![
        bad("no Host", ""),
        bad("no Host but another name", &format!("Hast: {host}\r\n")),
        bad("Host twice, the same", &format!("Host: {host}\r\nHost: {host}\r\n")),
        bad("Host twice, other second", &format!("Host: {host}\r\nHost: evil.example\r\n")),
        bad("Host twice, other first", &format!("Host: evil.example\r\nHost: {host}\r\n")),
        bad("Host twice, other case", &format!("Host: {host}\r\nhOST: {host}\r\n")),
        Case::bad("HTTP/1.0 without Host", b"GET /echo HTTP/1.0\r\n\r\n".to_vec()),
    ];
    for value in [
        "".to_owned(),
        " ".into(),
        format!("u@{host}"),
        format!("u:p@{host}"),
        format!("{host}@evil.example"),
        format!("{host}:"),
        format!("{host}:http"),
        format!("{host}:99999"),
        format!("{host}:-1"),
        format!("{host}:+443"),
        format!("{host}:443:443"),
        format!("{host}:443x"),
        format!("{host}, evil.example"),
        format!("{host} evil.example"),
        format!("{host}/"),
        format!("{host}/evil"),
        format!("{host}?"),
        format!("{host}#"),
        format!("{host}\\evil"),
        format!("http://{host}"),
        format!("{host}.."),
        format!(".{host}"),
        format!("-{host}"),
        format!("%61{}", &host[1..]),
        format!("{host}%00.evil.example"),
        "a..b".into(),
        "127.0.0.1".into(),
        "[::1]".into(),
        "[::1".into(),
        "*".into(),
        format!("{}.{host}", "a".repeat(64)),
        "x".repeat(300),
    ] {
        cases.push(
            bad(&format!("Host: {value}"), &format!("Host: {value}\r\n")).expecting(Expect::Refused(&[400, 421])),
        );
    }
    for target in [
        format!("http://u@{host}/echo"),
        format!("http://{host}:99999/echo"),
        "http:///echo".into(),
        "http:/echo".into(),
        "//evil.example/echo".into(),
        "ftp://x/echo".into(),
        "file:///etc/passwd".into(),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        let case = Case::bad(format!("GET {target}"), bytes);
        // `//evil.example/echo` is a path in origin form: it may go to the host of the Host field, and nowhere else.
        cases.push(if target.starts_with("//") {
            case.expecting(Expect::Either(BAD, Vec::new()))
        } else {
            case.expecting(Expect::Refused(&[400, 421]))
        });
    }
    cases
}

/// Well-formed authorities that are not the connection's own.
pub fn strangers(host: &str, other: &str) -> Vec<Case> {
    let misdirected = |name: String, bytes: Vec<u8>| Case::bad(name, bytes).expecting(Expect::Elsewhere(&[421]));
    [other, "evil.example", "localhost", "console.localhost"]
        .iter()
        .flat_map(|stranger| {
            let post = format!("POST /echo HTTP/1.1\r\nHost: {stranger}\r\nContent-Length: 5\r\n\r\nhello");
            let absolute = format!("GET https://{stranger}/echo HTTP/1.1\r\nHost: {host}\r\n\r\n");
            [
                misdirected(format!("Host: {stranger}"), get(stranger, b"")),
                misdirected(format!("Host: {stranger}:443"), get(&format!("{stranger}:443"), b"")),
                misdirected(format!("POST to {stranger}"), post.into_bytes()),
                Case::bad(format!("absolute form for {stranger}"), absolute.into_bytes())
                    .expecting(Expect::Elsewhere(&[400, 421])),
            ]
        })
        .collect()
}

/// Spellings of the connection's own authority: all of them are it.
pub fn same_host(host: &str) -> Vec<Case> {
    let upper = host.to_uppercase();
    [host.to_owned(), upper.clone(), format!("{host}."), format!("{host}:443"), format!("{upper}:8443")]
        .iter()
        .map(|spelling| Case::good(format!("Host: {spelling}"), get(spelling, b""), b""))
        .chain([
            Case::good(
                "absolute form",
                format!("GET https://{upper}/echo HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes(),
                b"",
            ),
            Case::bad(
                "absolute form beside another Host",
                format!("GET https://{host}/echo HTTP/1.1\r\nHost: evil.example\r\n\r\n").into_bytes(),
            )
            .expecting(Expect::Either(&[400, 421], Vec::new())),
        ])
        .collect()
}
