//! A raw HTTP/2 client: frames are written by hand, right or wrong, and what comes back is taken apart (RFC 9113, RFC 7541).

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    door::{Door, Tls},
    h1::PATIENCE,
};

/// What a client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 §6).
#[allow(missing_docs, reason = "the names are the RFC's")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// END_STREAM, and ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// END_HEADERS.
pub const END_HEADERS: u8 = 4;
/// ENHANCE_YOUR_CALM (RFC 9113 §7).
pub const CALM: u32 = 0xb;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// As they came.
    pub flags: u8,
    /// 0: the connection.
    pub stream: u32,
    /// What follows the nine octets.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Takes the first frame out of these bytes, if it is there whole.
    pub fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let head = bytes.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        if bytes.len() < 9 + length {
            return None;
        }
        let payload = bytes[9..9 + length].to_vec();
        bytes.drain(..9 + length);
        Some(Self { kind, flags, stream, payload })
    }

    /// The last stream and the code of a GOAWAY.
    pub fn goaway(&self) -> Option<(u32, u32)> {
        (self.kind == kind::GOAWAY && self.payload.len() >= 8).then(|| (self.number(0) & 0x7fff_ffff, self.number(4)))
    }

    /// The code of a RST_STREAM.
    pub fn reset(&self) -> Option<u32> {
        (self.kind == kind::RST_STREAM && self.payload.len() >= 4).then(|| self.number(0))
    }

    /// The `:status` of a HEADERS frame. The peer was told to use no dynamic table.
    pub fn status(&self) -> Option<u16> {
        if self.kind != kind::HEADERS {
            return None;
        }
        // Table size updates may come first (RFC 7541 §6.3).
        let block = &self.payload[self.payload.iter().take_while(|byte| **byte & 0xe0 == 0x20).count()..];
        match *block.first()? {
            indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500].get(usize::from(indexed - 0x88)).copied(),
            // `:status` by its index 8, without indexing, never indexed, or with incremental indexing.
            0x08 | 0x18 | 0x48 => digits(block.get(1..)?),
            _ => None,
        }
    }

    fn number(&self, at: usize) -> u32 {
        self.payload[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
    }
}

/// Three digits, plain or in HPACK's Huffman code.
fn digits(bytes: &[u8]) -> Option<u16> {
    let length = usize::from(bytes.first()? & 0x7f);
    let text = bytes.get(1..1 + length)?;
    if bytes[0] & 0x80 == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let bits: Vec<u8> = text.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let value = |from: usize, count: usize| {
        Some(bits.get(from..from + count)?.iter().fold(0u16, |v, bit| v << 1 | u16::from(*bit)))
    };
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        // 0, 1 and 2 have five bits, 3 to 9 six (RFC 7541, appendix B).
        let (digit, width) = match value(at, 5)? {
            short @ 0..=2 => (short, 5),
            _ => (value(at, 6)?.checked_sub(0b01_1001)? + 3, 6),
        };
        (at, number) = (at + width, number * 10 + digit);
    }
    Some(number)
}

/// A frame of any kind, as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field, literal, without indexing, new name, no Huffman: any bytes at all (RFC 7541 §6.2.2).
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        integer(&mut block, 7, 0, text.len());
        block.extend_from_slice(text);
    }
    block
}

/// The same, into the dynamic table (RFC 7541 §6.2.1).
pub fn indexed_literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = literal(name, value);
    block[0] = 0x40;
    block
}

fn integer(block: &mut Vec<u8>, prefix: u32, pattern: u8, mut number: usize) {
    let most = (1 << prefix) - 1;
    if number < most {
        block.push(pattern | number as u8);
        return;
    }
    block.push(pattern | most as u8);
    number -= most;
    while number >= 128 {
        block.push(number as u8 | 0x80);
        number >>= 7;
    }
    block.push(number as u8);
}

/// A header block of these fields.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// The header block of a plain GET.
pub fn get_block(host: &str, path: &str) -> Vec<u8> {
    block(&[
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", host.as_bytes()),
        (b":path", path.as_bytes()),
    ])
}

/// HEADERS that end the block, and the stream too where asked.
pub fn headers(stream: u32, block: &[u8], end_stream: bool) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | u8::from(end_stream), stream, block)
}

/// DATA.
pub fn data(stream: u32, bytes: &[u8], end_stream: bool) -> Vec<u8> {
    frame(kind::DATA, u8::from(end_stream), stream, bytes)
}

/// RST_STREAM(CANCEL).
pub fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

/// SETTINGS of these values.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        values.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat()).collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// WINDOW_UPDATE.
pub fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// How a stream was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A final status; and whether the stream ended cleanly.
    Status(u16, bool),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, or 0 and the end.
    Goaway(u32),
    /// The connection ended.
    Closed,
    /// Nothing in time.
    Silence,
}

/// One connection.
pub struct H2 {
    /// The connection itself, for what frames cannot say.
    pub tls: Tls,
    inbox: Vec<u8>,
    /// How long to wait for a frame.
    pub patience: Duration,
}

impl H2 {
    /// Preface and SETTINGS: no dynamic table for the answers, no push, and these.
    pub async fn open(door: &Door, name: &str, more: &[(u16, u32)]) -> io::Result<Self> {
        let mut this = Self { tls: door.h2(name).await?, inbox: Vec::new(), patience: PATIENCE };
        let values: Vec<(u16, u32)> = [(1, 0), (2, 0)].iter().chain(more).copied().collect();
        this.write(&[PREFACE, &settings(&values)].concat()).await?;
        Ok(this)
    }

    /// Writes these bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(self.patience, async {
            self.tls.write_all(bytes).await?;
            self.tls.flush().await
        })
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// The next frame; `None` when the connection has ended or patience has.
    pub async fn frame(&mut self) -> Result<Frame, Verdict> {
        loop {
            if let Some(frame) = Frame::take(&mut self.inbox) {
                return Ok(frame);
            }
            let mut buffer = vec![0; 32 * 1024];
            match timeout(self.patience, self.tls.read(&mut buffer)).await {
                Err(_) => return Err(Verdict::Silence),
                Ok(Ok(0) | Err(_)) => return Err(Verdict::Closed),
                Ok(Ok(count)) => self.inbox.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// What becomes of this stream. Settings are acknowledged on the way, and windows kept open.
    pub async fn verdict(&mut self, stream: u32) -> Verdict {
        self.verdict_and_body(stream).await.0
    }

    /// What becomes of this stream, and its body.
    pub async fn verdict_and_body(&mut self, stream: u32) -> (Verdict, Vec<u8>) {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let frame = match self.frame().await {
                Ok(frame) => frame,
                Err(Verdict::Closed) if status.is_some() => return (Verdict::Status(status.unwrap_or(0), false), body),
                Err(why) => return (why, body),
            };
            if frame.kind == kind::SETTINGS && frame.flags & 1 == 0 {
                // A peer that has gone shows in the next read.
                let _gone = self.write(&crate::hostile::frames::frame(kind::SETTINGS, 1, 0, b"")).await;
            }
            if let Some((_, code)) = frame.goaway()
                && code != 0
            {
                return (Verdict::Goaway(code), body);
            }
            if frame.stream != stream {
                continue;
            }
            if let Some(code) = frame.reset() {
                return (status.map_or(Verdict::Reset(code), |status| Verdict::Status(status, false)), body);
            }
            match frame.kind {
                kind::HEADERS => status = status.or(frame.status().filter(|status| *status >= 200)),
                kind::DATA => {
                    body.extend_from_slice(&frame.payload);
                    if !frame.payload.is_empty() {
                        let more = frame.payload.len() as u32;
                        let _gone = self.write(&[window(0, more), window(stream, more)].concat()).await;
                    }
                }
                _ => {}
            }
            if matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.flags & END_STREAM != 0 {
                return (Verdict::Status(status.unwrap_or(0), true), body);
            }
        }
    }

    /// Sends PING and waits until it has come back: all that was sent before has been read. The frames that came meanwhile.
    pub async fn settle(&mut self, mark: u64) -> Result<Vec<Frame>, Verdict> {
        self.write(&frame(kind::PING, 0, 0, &mark.to_be_bytes())).await.map_err(|_| Verdict::Closed)?;
        let mut others = Vec::new();
        loop {
            let frame = self.frame().await?;
            if let Some((_, code)) = frame.goaway() {
                return Err(Verdict::Goaway(code));
            }
            if frame.kind == kind::PING && frame.payload == mark.to_be_bytes() {
                return Ok(others);
            }
            others.push(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_from_every_encoding() {
        let status =
            |payload: &[u8]| Frame { kind: kind::HEADERS, flags: 4, stream: 1, payload: payload.to_vec() }.status();
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(b"\x48\x03421"), Some(421));
        // RFC 7541 C.6.1: 302 is 6402 in Huffman's code.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
    }

    #[test]
    fn long_integers_are_written_as_the_rfc_says() {
        let mut block = Vec::new();
        integer(&mut block, 5, 0, 1337);
        assert_eq!(block, [31, 154, 10]);
    }

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        let mut bytes = data(3, b"abc", true);
        let last = bytes.pop().expect("bytes");
        assert_eq!(Frame::take(&mut bytes), None);
        bytes.push(last);
        let taken = Frame::take(&mut bytes).expect("whole");
        assert_eq!((taken.kind, taken.flags, taken.stream, taken.payload), (kind::DATA, 1, 3, b"abc".to_vec()));
        assert!(bytes.is_empty());
    }
}
