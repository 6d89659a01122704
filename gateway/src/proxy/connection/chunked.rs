//! Is a chunked body unambiguous? (RFC 9112 §7.1, read strictly.)

/// Bytes of chunk extensions in one message.
const EXTENSIONS: u32 = 16 * 1024;
/// Bytes of trailer fields in one message.
const TRAILERS: u32 = 8 * 1024;
/// Trailer fields in one message.
const TRAILER_FIELDS: u32 = 100;

use super::head::{is_token, is_value};

/// Where in a chunked body we are. Fed with every byte once, in whatever pieces they come.
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    state: State,
    size: u64,
    extensions: u32,
    trailers: u32,
    fields: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { digits: u8 },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Done,
}

/// The body is not what chunked coding allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Chunked {
    /// At the first byte of the body.
    pub(super) fn new() -> Self {
        Self { state: State::Size { digits: 0 }, size: 0, extensions: 0, trailers: 0, fields: 0 }
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many of `bytes` are this body's and good. Fewer than all: the body has ended there, or the next call, with
    /// the bytes that are left, says that it is broken.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let run = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.size -= run as u64;
                at += run;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            match self.step(bytes[at]) {
                Ok(next) => self.state = next,
                Err(Broken) if at > 0 => return Ok(at),
                Err(Broken) => return Err(Broken),
            }
            at += 1;
        }
        Ok(at)
    }

    /// The state after one byte; nothing but counters has changed when it is broken.
    fn step(&mut self, byte: u8) -> Result<State, Broken> {
        Ok(match (self.state, byte) {
            (State::Size { digits }, _) if digits < 16 && byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).ok_or(Broken)?;
                self.size = self.size << 4 | u64::from(digit);
                State::Size { digits: digits + 1 }
            }
            // Sizes that do not fit 63 bits wrap in somebody's arithmetic.
            (State::Size { digits: 1.. }, b'\r' | b';') if self.size > i64::MAX as u64 => return Err(Broken),
            (State::Size { digits: 1.. } | State::Extension, b'\r') => State::SizeLf,
            (State::Size { digits: 1.. }, b';') => State::Extension,
            (State::Extension, _) if is_value(byte) && self.extensions < EXTENSIONS => {
                self.extensions += 1;
                State::Extension
            }
            (State::SizeLf, b'\n') if self.size == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0 },
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (State::TrailerStart, _) if is_name(byte) && self.fields < TRAILER_FIELDS => {
                self.fields += 1;
                self.trailer(State::TrailerName)?
            }
            (State::TrailerName, b':') => self.trailer(State::TrailerValue)?,
            (State::TrailerName, _) if is_name(byte) => self.trailer(State::TrailerName)?,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is_value(byte) => self.trailer(State::TrailerValue)?,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            _ => return Err(Broken),
        })
    }

    fn trailer(&mut self, next: State) -> Result<State, Broken> {
        self.trailers += 1;
        if self.trailers > TRAILERS { Err(Broken) } else { Ok(next) }
    }
}

fn is_name(byte: u8) -> bool {
    is_token(byte) && byte != b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes of a body are good, and how it ended.
    fn verdict(body: &[u8]) -> (usize, Result<bool, Broken>) {
        let mut chunked = Chunked::new();
        let mut good = 0;
        while good < body.len() && !chunked.is_done() {
            match chunked.advance(&body[good..]) {
                Ok(n) => good += n,
                Err(broken) => return (good, Err(broken)),
            }
        }
        (good, Ok(chunked.is_done()))
    }

    #[test]
    fn good_bodies() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A;a=b;c=\"d\"\r\n0123456789\r\n00\r\n\r\n",
            "1\r\nx\r\n0\r\nX-Sum: 5\r\nY:\r\n\r\n",
        ] {
            assert_eq!(verdict(body.as_bytes()), (body.len(), Ok(true)), "{body:?}");
        }
        assert_eq!(verdict(b"0\r\n\r\nGET"), (5, Ok(true)), "what follows is not the body's");
        assert_eq!(verdict(b"5\r\nhel"), (6, Ok(false)));
    }

    #[test]
    fn bad_bodies() {
        let long_extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(EXTENSIONS as usize + 1));
        let spread_extensions = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "e".repeat(1024)).repeat(17));
        let long_trailer = format!("0\r\nX: {}\r\n\r\n", "t".repeat(TRAILERS as usize));
        let many_trailers = format!("0\r\n{}\r\n", "X:\r\n".repeat(101));
        for body in [
            "\r\n",
            ";\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1 ;a\r\n",
            "1\n",
            "1\rx",
            "g\r\n",
            "11111111111111111\r\n",
            "ffffffffffffffff\r\n",
            "8000000000000000\r\n",
            "1;\n",
            "1;a\0\r\n",
            "1;a\rb",
            "1\r\nx\n",
            "1\r\nxy",
            "1\r\nx\r0",
            "1\r\nx\r\n\r\n",
            "0\r\n\n",
            "0\r\n\rx",
            "0\r\nX\r\n",
            "0\r\n: x\r\n",
            "0\r\n X: y\r\n",
            "0\r\nX : y\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX: y\r\n Z: f\r\n",
            "0\r\nX_Y: z\r\n",
            "0\r\nX: \0\r\n",
            "0\r\nX: a\rb\r\n",
            "1_0\r\n",
            "1,2\r\n",
            "0\n\n",
            "5\r\nhelloo\r\n",
            &long_extension,
            &spread_extensions,
            &long_trailer,
            &many_trailers,
        ] {
            let (_, end) = verdict(body.as_bytes());
            assert_eq!(end, Err(Broken), "{:?}", &body[..body.len().min(60)]);
        }
    }
}
