//! Is a request head unambiguous? (RFC 9112 §2–§6, read strictly.)
//!
//! What passes here means the same to every reader: one space, CRLF, one Host, one way to say how long the body is.

use http::{StatusCode, Uri};

use crate::{model::HttpLimits, proxy::exchange::Refusal};

/// How the body after a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// `Content-Length`, greater than 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
}

/// What the guard must know of a head that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// How its body is delimited.
    pub(super) framing: Framing,
    /// It asks for an upgrade: what comes after it is not HTTP if that is granted.
    pub(super) upgrade: bool,
}

/// A refusal because of the message's syntax.
pub(super) const FRAMING: Refusal = refusal(StatusCode::BAD_REQUEST, "framing");
/// A refusal because the head is too large.
pub(super) const OVERSIZE: Refusal = refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "oversize");
/// A refusal because the target is too long.
pub(super) const LONG_TARGET: Refusal = refusal(StatusCode::URI_TOO_LONG, "oversize");
/// A refusal of a method that no tenant is ever asked.
pub(super) const METHOD: Refusal = refusal(StatusCode::METHOD_NOT_ALLOWED, "method");
/// A refusal because there is not exactly one authority.
pub(super) const HOST: Refusal = refusal(StatusCode::BAD_REQUEST, "host");
/// A refusal of a version that is not spoken here.
pub(super) const VERSION: Refusal = refusal(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "framing");

pub(super) const fn refusal(status: StatusCode, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

/// Looks for the end of a head, byte by byte, wherever the reads happen to cut it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    at: usize,
    newlines: bool,
    first_line: Option<usize>,
}

impl Scan {
    /// `Some(length)` of the head once `bytes`, which begin with it, have all of it.
    /// A byte that can be in no head is refused as soon as it is there.
    pub(super) fn find_end(&mut self, bytes: &[u8], limits: &HttpLimits) -> Result<Option<usize>, Refusal> {
        let most = limits.header_bytes as usize;
        while let Some(&byte) = bytes.get(self.at) {
            if self.at >= most {
                return Err(if self.first_line.is_none() { LONG_TARGET } else { OVERSIZE });
            }
            let after_cr = self.at > 0 && bytes[self.at - 1] == b'\r';
            match byte {
                b'\n' if !after_cr => return Err(FRAMING),
                b'\n' => {
                    if self.newlines {
                        return Ok(Some(self.at + 1));
                    }
                    self.newlines = true;
                    self.first_line.get_or_insert(self.at);
                }
                _ if after_cr => return Err(FRAMING),
                b'\r' => {}
                0 => return Err(FRAMING),
                _ if self.at == 0 && !is_token(byte) => return Err(FRAMING),
                _ => self.newlines = false,
            }
            self.at += 1;
        }
        Ok(None)
    }
}

/// Holds a whole head, its last empty line included, to the grammar.
pub(super) fn check(head: &[u8], limits: &HttpLimits) -> Result<Head, Refusal> {
    let mut lines = head.strip_suffix(b"\r\n\r\n").ok_or(FRAMING)?.split(|&b| b == b'\n');
    // Every LF has its CR: the scan saw to it. Only the last line has lost it to `strip_suffix`.
    let mut line = || lines.next().map(|line| line.strip_suffix(b"\r").unwrap_or(line));

    let modern = check_request_line(line().ok_or(FRAMING)?, limits)?;
    let mut fields = Fields { modern, ..Fields::default() };
    let mut count = 0;
    while let Some(field) = line() {
        count += 1;
        if count > limits.header_count {
            return Err(OVERSIZE);
        }
        fields.add(field)?;
    }
    fields.head()
}

/// Whether the version is 1.1.
fn check_request_line(line: &[u8], limits: &HttpLimits) -> Result<bool, Refusal> {
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(FRAMING);
    };
    if method.is_empty() || method.len() > 64 || !method.iter().copied().all(is_token) {
        return Err(FRAMING);
    }
    let modern = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(VERSION);
        }
        _ => return Err(FRAMING),
    };
    if method == b"CONNECT" || method == b"TRACE" {
        return Err(METHOD);
    }
    if target.len() > limits.uri_bytes as usize {
        return Err(LONG_TARGET);
    }
    let absolute = target.len() > 8 && {
        let scheme = target[..8].to_ascii_lowercase();
        scheme.starts_with(b"http://") || scheme == b"https://"
    };
    let asterisk = target == b"*" && method == b"OPTIONS";
    if !(target.starts_with(b"/") || asterisk || absolute) {
        return Err(FRAMING);
    }
    // A fragment is never sent (RFC 9110 §7.1); a backslash is a slash to some readers.
    if !target.iter().all(|&b| b.is_ascii_graphic() && b != b'#' && b != b'\\') || Uri::try_from(target).is_err() {
        return Err(FRAMING);
    }
    Ok(modern)
}

/// What has been seen of the fields that decide where a message goes and where it ends.
#[derive(Default)]
struct Fields {
    modern: bool,
    hosts: u32,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Fields {
    fn add(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let colon = line.iter().position(|&b| b == b':').ok_or(FRAMING)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // An underscore becomes a hyphen in CGI-like readers: a twin of a field that we set or drop.
        if name.is_empty() || !name.iter().all(|&b| is_token(b) && b != b'_') || !value.iter().all(|&b| is_value(b)) {
            return Err(FRAMING);
        }
        // Field names are told apart by length first: nearly all are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = plain_number(bare(value)).ok_or(FRAMING)?;
                if self.length.replace(length).is_some() || self.chunked {
                    return Err(FRAMING);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let chunked = bare(value).eq_ignore_ascii_case(b"chunked");
                if !chunked || !self.modern || self.chunked || self.length.is_some() {
                    return Err(FRAMING);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn head(&self) -> Result<Head, Refusal> {
        if self.hosts != 1 {
            return Err(HOST);
        }
        let framing = match self.length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
        };
        Ok(Head { framing, upgrade: self.upgrade && self.modern })
    }
}

/// The value after the one space that everybody writes. More whitespace than that is obfuscation in a framing field.
fn bare(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

/// Plain digits without leading zeros, at most 2^63 - 1.
fn plain_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    let mut number: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    i64::try_from(number).is_ok().then_some(number)
}

/// RFC 9110 §5.6.2
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// RFC 9110 §5.5: visible, space, tab, and obs-text.
pub(super) fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};
