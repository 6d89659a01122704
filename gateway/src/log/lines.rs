//! A stream of bytes as lines that a terminal can show.

/// Bytes of the longest line; what is longer goes on in the next one, so that nothing is lost.
pub(super) const LINE_CAP: usize = 16 * 1024;

/// Puts lines together over reads.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Gives every line that `bytes` completes, without its newline.
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (mut body, ended) = match piece.strip_suffix(b"\n") {
                Some(body) => (body, true),
                None => (piece, false),
            };
            while self.partial.len() + body.len() > LINE_CAP {
                let (now, later) = body.split_at(LINE_CAP - self.partial.len());
                self.partial.extend_from_slice(now);
                let cut = character_end(&self.partial);
                line(&self.partial[..cut]);
                self.partial.drain(..cut);
                body = later;
            }
            if !ended {
                self.partial.extend_from_slice(body);
            } else if self.partial.is_empty() {
                line(body);
            } else {
                self.partial.extend_from_slice(body);
                line(&self.partial);
                self.partial.clear();
            }
        }
    }

    /// A line that has begun and not ended.
    pub(super) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Takes that line as it is.
    pub(super) fn take_partial(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }
}

/// Where to cut so that no UTF-8 sequence at the end is torn; bytes that are no UTF-8 are cut anywhere.
fn character_end(bytes: &[u8]) -> usize {
    let length = bytes.len();
    for back in 1..=length.min(3) {
        let needs = match bytes[length - back] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return length,
        };
        return if needs > back { length - back } else { length };
    }
    length
}

/// Appends `line` with `stamp` before it. Control characters, those of Latin-1 in UTF-8 included, are shown and not
/// obeyed: a log must not be able to rewrite the screen of who reads it. A tab and what is no UTF-8 stay as they are.
pub(super) fn write(out: &mut Vec<u8>, stamp: &str, line: &[u8]) {
    out.extend_from_slice(stamp.as_bytes());
    out.push(b' ');
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut rest = line;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..=8 | 10..=31 | 127 | 0xc2)) {
        out.extend_from_slice(&rest[..at]);
        match (rest[at], rest.get(at + 1)) {
            (0xc2, Some(second @ 0x80..=0x9f)) => {
                out.extend_from_slice(format!("\\u{{{second:x}}}").as_bytes());
                rest = &rest[at + 2..];
                continue;
            }
            (0xc2, _) => out.push(0xc2),
            (control, _) => out.extend_from_slice(format!("\\x{control:02x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(reads: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for read in reads {
            lines.push(read, |line| seen.push(line.to_vec()));
        }
        (seen, lines.take_partial())
    }

    fn written(line: &[u8]) -> String {
        let mut out = Vec::new();
        write(&mut out, "T", line);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn lines_are_put_together_over_reads() {
        let (seen, rest) = lines(&[b"one\ntw", b"o", b"\n\nfour"]);
        assert_eq!(seen, [&b"one"[..], b"two", b""]);
        assert_eq!(rest, b"four");
        assert_eq!(lines(&[]).0.len(), 0);
    }

    #[test]
    fn a_long_line_is_cut_and_no_byte_lost() {
        let long = vec![b'x'; LINE_CAP];
        let (seen, rest) = lines(&[&long, b"\n"]);
        assert_eq!((seen.len(), seen[0].len(), rest.len()), (1, LINE_CAP, 0));
        let (seen, rest) = lines(&[&long, &long, b"yz\nnext\n"]);
        assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [LINE_CAP, LINE_CAP, 2, 4]);
        assert!(rest.is_empty());
        let (seen, _) = lines(&[&[long.as_slice(), &long, b"y\n"].concat()]);
        assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [LINE_CAP, LINE_CAP, 1]);
    }

    #[test]
    fn a_character_is_not_torn_by_the_cut() {
        for character in ["é", "€", "🏠"] {
            for shift in 0..character.len() {
                let text = ["x".repeat(shift), character.repeat(LINE_CAP)].concat();
                let (seen, rest) = lines(&[text.as_bytes()]);
                assert!(seen.iter().all(|line| std::str::from_utf8(line).is_ok()), "{character} {shift}");
                assert_eq!([seen.concat(), rest].concat(), text.as_bytes());
            }
        }
        // Bytes that are no UTF-8 are cut at the cap.
        assert_eq!(lines(&[&vec![0x80; LINE_CAP + 5]]).0[0].len(), LINE_CAP);
    }

    #[test]
    fn a_terminal_is_safe() {
        assert_eq!(written(b"a\tb"), "T a\tb\n");
        assert_eq!(written(b"\x1b[2Jgone\x07"), "T \\x1b[2Jgone\\x07\n");
        assert_eq!(written(b"windows\r"), "T windows\n");
        assert_eq!(written(b"50%\r100%"), "T 50%\\x0d100%\n");
        assert_eq!(written("csi \u{9b}2J caf\u{e9} \u{a0}".as_bytes()), "T csi \\u{9b}2J caf\u{e9} \u{a0}\n");
        assert_eq!(written(b"\x7f\x00"), "T \\x7f\\x00\n");
        let mut raw = Vec::new();
        write(&mut raw, "T", b"\xff\xfe \xc2");
        assert_eq!(raw, b"T \xff\xfe \xc2\n");
    }
}
