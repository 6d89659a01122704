//! What a worker's response head must be (RFC 9112 §4-6), stricter than hyper: CRLF only, one framing, nothing odd.

/// A response head, terminator included, is at most this long.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none, or this many bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// By the end of the connection.
    UntilClose,
    /// The connection is a tunnel from here on.
    Tunnel,
}

/// What was asked, as far as it decides how the answer is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// HEAD: no body, whatever the head says.
    pub(crate) head: bool,
    /// A WebSocket handshake: 101 is an answer.
    pub(crate) upgrade: bool,
}

/// A head that was found well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// 100-999
    pub(crate) status: u16,
    /// How its body ends.
    pub(crate) framing: Framing,
}

/// The length of the head that `bytes` begin with, terminator included.
pub(crate) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3);
    bytes.get(start..)?.windows(4).position(|w| w == b"\r\n\r\n").map(|at| start + at + 4)
}

/// Judges a whole head, terminator included. The error is for the log.
pub(crate) fn check(head: &[u8], asked: Asked) -> Result<Head, &'static str> {
    let Some(head) = head.strip_suffix(b"\r\n\r\n") else { return Err("head without an end") };
    let mut lines = Lines(Some(head));
    let (minor, status) = status_line(lines.next().unwrap_or_default())?;
    let (mut length, mut chunked, mut websocket) = (None, false, false);
    for line in lines {
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.is_some() {
                return Err("two Content-Length");
            }
            length = Some(number(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked {
                return Err("two Transfer-Encoding");
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("odd Transfer-Encoding");
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            websocket = value.eq_ignore_ascii_case(b"websocket");
        }
    }
    if chunked && length.is_some() {
        return Err("Content-Length beside Transfer-Encoding");
    }
    if chunked && minor == 0 {
        return Err("Transfer-Encoding in HTTP/1.0");
    }
    if status < 200 && (chunked || length.is_some_and(|length| length > 0)) {
        return Err("an interim answer with a body");
    }
    if status == 204 && (chunked || length.is_some_and(|length| length > 0)) {
        return Err("204 with a body");
    }
    let framing = match status {
        101 if asked.upgrade && websocket => Framing::Tunnel,
        101 => return Err("101 that was not asked for"),
        100..200 | 204 | 304 => Framing::Length(0),
        _ if asked.head => Framing::Length(0),
        _ if chunked => Framing::Chunked,
        _ => length.map_or(Framing::UntilClose, Framing::Length),
    };
    Ok(Head { status, framing })
}

/// `HTTP/1.x SP 3DIGIT [SP reason]`
fn status_line(line: &[u8]) -> Result<(u8, u16), &'static str> {
    let minor = match line.get(..9) {
        Some(b"HTTP/1.1 ") => 1,
        Some(b"HTTP/1.0 ") => 0,
        _ => return Err("odd status line"),
    };
    let digits = line.get(9..12).filter(|d| d.iter().all(u8::is_ascii_digit)).ok_or("odd status")?;
    let status = digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
    if status < 100 {
        return Err("odd status");
    }
    match line.get(12..) {
        None | Some([]) => Ok((minor, status)),
        Some([b' ', reason @ ..]) if reason.iter().all(|&b| is_text(b)) => Ok((minor, status)),
        _ => Err("odd status line"),
    }
}

/// `token ":" OWS value OWS`
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let colon = line.iter().position(|&b| b == b':').ok_or("a field without a colon")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
        return Err("odd field name");
    }
    if !line[colon + 1..].iter().all(|&b| is_text(b)) {
        return Err("a control character in a field");
    }
    Ok((name, value))
}

/// Plain digits that fit hyper's own length type.
fn number(value: &[u8]) -> Result<u64, &'static str> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err("odd Content-Length");
    }
    let number = value.iter().fold(0_u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    if number > u64::MAX / 2 { Err("odd Content-Length") } else { Ok(number) }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// VCHAR, obs-text, space and tab: so no bare CR, LF or NUL.
fn is_text(b: u8) -> bool {
    b == b'\t' || (b >= b' ' && b != 0x7f)
}

/// Lines between CRLFs. A bare CR or LF stays in its line, where it is an error.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        match rest.windows(2).position(|w| w == b"\r\n") {
            Some(at) => {
                self.0 = Some(&rest[at + 2..]);
                Some(&rest[..at])
            }
            None => {
                self.0 = None;
                Some(rest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(head: &str) -> Result<Framing, &'static str> {
        check(head.as_bytes(), Asked::default()).map(|head| head.framing)
    }

    #[test]
    fn good_heads() {
        for (head, framing) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
            ("HTTP/1.1 200\r\ncontent-length:5  \r\n\r\n", Framing::Length(5)),
            ("HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
            ("HTTP/1.0 200 OK\r\nX: caf\u{e9}\r\n\r\n", Framing::UntilClose),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", Framing::Length(0)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::Length(0)),
            ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", Framing::Length(0)),
            ("HTTP/1.1 500 Oh\r\nUpgrade: h2c\r\nA:\r\n\r\n", Framing::UntilClose),
        ] {
            assert_eq!(judge(head), Ok(framing), "{head:?}");
        }
        let asked = Asked { head: true, upgrade: false };
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(check(head, asked).map(|h| h.framing), Ok(Framing::Length(0)));
    }

    #[test]
    fn odd_heads() {
        for head in [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 099 Odd\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "http/1.1 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\nX: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: y\nZ: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: y\rZ: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: empty\r\n\r\n",
        ] {
            assert!(judge(head).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_tunnel_only_for_the_websocket_that_was_asked_for() {
        let asked = Asked { head: false, upgrade: true };
        let good = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n";
        assert_eq!(check(good, asked).map(|h| h.framing), Ok(Framing::Tunnel));
        for bad in ["HTTP/1.1 101 x\r\nUpgrade: h2c\r\n\r\n", "HTTP/1.1 101 x\r\n\r\n"] {
            assert!(check(bad.as_bytes(), asked).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_end_is_found_across_reads() {
        let bytes = b"HTTP/1.1 200 OK\r\n\r\nbody\r\n\r\n";
        assert_eq!(end(bytes, 0), Some(19));
        for from in 0..19 {
            assert_eq!(end(&bytes[..from], 0), None);
            assert_eq!(end(bytes, from), Some(19), "{from}");
        }
    }
}
