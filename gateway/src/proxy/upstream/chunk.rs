//! Where a chunked body ends (RFC 9112 §7.1), held to its grammar byte by byte; data is skipped by count.

/// Bytes of one line of extensions or of all trailers.
const MAX_LINE: u32 = 16 * 1024;

/// A place inside a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// In the size: its value and how many digits there were.
    Size(u64, u8),
    /// In an extension: bytes so far, and the size before it.
    Extension(u64, u32),
    /// Behind the CR of a size line.
    SizeEnd(u64),
    /// In data: bytes left.
    Data(u64),
    /// Behind data.
    DataCr,
    /// Behind the CR behind data.
    DataLf,
    /// At the beginning of a trailer line: bytes of trailers so far.
    Line(u32),
    /// In a trailer line.
    Trailer(u32),
    /// Behind the CR of a trailer line.
    TrailerLf(u32),
    /// Behind the CR of the last, empty line.
    EndLf,
    /// Behind the body.
    End,
}

impl Chunked {
    /// Before the first size.
    pub(crate) const START: Self = Self::Size(0, 0);

    /// Reads on. How many of `bytes` belong to the body; fewer than all only at its end.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::End {
            if let Self::Data(left) = *self {
                let taken = left.min((bytes.len() - at) as u64);
                at += taken as usize;
                *self = if left == taken { Self::DataCr } else { Self::Data(left - taken) };
            } else {
                *self = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(self, b: u8) -> Result<Self, &'static str> {
        Ok(match (self, b) {
            (Self::Size(_, 16..), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => return Err("chunk size too large"),
            (Self::Size(n, d), b'0'..=b'9') => Self::Size(n << 4 | u64::from(b - b'0'), d + 1),
            (Self::Size(n, d), b'a'..=b'f') => Self::Size(n << 4 | u64::from(b - b'a' + 10), d + 1),
            (Self::Size(n, d), b'A'..=b'F') => Self::Size(n << 4 | u64::from(b - b'A' + 10), d + 1),
            (Self::Size(n, 1..), b'\r') => Self::SizeEnd(n),
            (Self::Size(n, 1..), b';' | b' ' | b'\t') => Self::Extension(n, 1),
            (Self::Extension(n, _), b'\r') => Self::SizeEnd(n),
            (Self::Extension(_, MAX_LINE..), _) => return Err("chunk extension too long"),
            (Self::Extension(n, length), b'\t' | b' '..=b'~' | 0x80..) => Self::Extension(n, length + 1),
            (Self::SizeEnd(0), b'\n') => Self::Line(0),
            (Self::SizeEnd(n), b'\n') => Self::Data(n),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::Line(_), b'\r') => Self::EndLf,
            (Self::Trailer(n), b'\r') => Self::TrailerLf(n),
            (Self::Line(MAX_LINE..) | Self::Trailer(MAX_LINE..), _) => return Err("trailers too long"),
            (Self::Line(n) | Self::Trailer(n), b'\t' | b' '..=b'~' | 0x80..) => Self::Trailer(n + 1),
            (Self::TrailerLf(n), b'\n') => Self::Line(n),
            (Self::EndLf, b'\n') => Self::End,
            _ => return Err("odd chunk"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[&str] = &[
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "00a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\nX: y\r\nZ: a\r\n\r\n",
        "0\r\n\r\n",
    ];

    #[test]
    fn the_end_is_where_the_grammar_says_however_it_is_cut() {
        for good in GOOD {
            let bytes = format!("{good}HTTP/1.1 200 OK\r\n\r\n").into_bytes();
            for step in 1..=bytes.len() {
                let (mut state, mut seen) = (Chunked::START, 0);
                for piece in bytes.chunks(step) {
                    seen += state.advance(piece).unwrap_or(usize::MAX / 2);
                }
                assert_eq!((state, seen), (Chunked::End, good.len()), "{good:?} by {step}");
            }
        }
    }

    #[test]
    fn odd_chunks() {
        for bad in [
            "\r\n",
            ";a\r\n",
            "g\r\n",
            "0x5\r\nhello\r\n",
            "+5\r\n",
            "5\nhello\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "11111111111111111\r\n",
            "5;a\0\r\nhello\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\n\rX",
        ] {
            assert!(Chunked::START.clone().advance(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let long = format!("5;{}\r\n", "a".repeat(20_000));
        assert!(Chunked::START.clone().advance(long.as_bytes()).is_err());
    }
}
