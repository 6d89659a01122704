//! The grammar of `.env`, read from beginning to end.

use std::ops::Range;

use super::{RESERVED, is_key};

/// What is wrong, before it knows its file.
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) column: Option<u32>,
    pub(super) key: Option<String>,
    pub(super) error: String,
}

/// One setting, and where in the text it is made.
pub(super) struct Assignment {
    pub(super) key: String,
    pub(super) value: String,
    /// Its lines, whole, the end of the last one included.
    pub(super) lines: Range<usize>,
    /// The value as it is written, quotes included.
    pub(super) written: Range<usize>,
}

/// A place in the text.
pub(super) struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    line: u32,
    /// The text from the current line's first character on.
    line_start: &'a str,
}

impl<'a> Reader<'a> {
    /// At the beginning of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { whole: text, rest: text, line: 1, line_start: text }
    }

    /// The next assignment, or `None` at the end.
    pub(super) fn assignment(&mut self) -> Result<Option<Assignment>, Fault> {
        loop {
            self.skip_blanks();
            match self.rest.as_bytes().first() {
                None => return Ok(None),
                Some(b'\n' | b'\r') => self.advance(1),
                Some(b'#') => self.advance(self.line_end()),
                Some(_) => break,
            }
        }
        let begin = self.whole.len() - self.line_start.len();
        if let Some(after) = self.rest.strip_prefix("export").filter(|after| after.starts_with([' ', '\t'])) {
            // `export = 1` sets a key of that name.
            if !after.trim_start_matches([' ', '\t']).starts_with('=') {
                self.advance("export".len());
                self.skip_blanks();
            }
        }
        let line = &self.rest[..self.line_end()];
        let Some(equals) = line.find('=') else {
            return Err(self.fault(None, "this line has no `=`: write KEY=value, or # before a comment"));
        };
        let key = line[..equals].trim_end_matches([' ', '\t']);
        if !is_key(key) {
            return Err(self.fault(
                None,
                "the name before `=` is not one: use letters, digits and _ (and quote a value that spans lines)",
            ));
        }
        if RESERVED.contains(&key) {
            return Err(self.fault(Some(key), &format!("{key} is set by landlord itself: remove this line")));
        }
        self.advance(equals + 1);
        self.skip_blanks();
        let from = self.offset();
        let (value, length) = match self.rest.as_bytes().first() {
            Some(b'"') => self.quoted(key, '"')?,
            Some(b'\'') => self.quoted(key, '\'')?,
            _ => self.bare(),
        };
        if value.contains('\0') {
            return Err(
                self.fault(Some(key), &format!("the value of {key} has a NUL byte, which no environment can hold"))
            );
        }
        let end = self.offset();
        let line_end = ["\r\n", "\n"].into_iter().find(|line_end| self.rest.starts_with(line_end)).unwrap_or_default();
        let lines = begin..end + line_end.len();
        Ok(Some(Assignment { key: key.to_owned(), value, lines, written: from..from + length }))
    }

    /// A value without quotes, and its bytes: to the end of the line or to a comment.
    fn bare(&mut self) -> (String, usize) {
        let line = &self.rest[..self.line_end()];
        // White space before the value is skipped already: `KEY= # nothing` is empty, `KEY=#123456` is a colour.
        let after_blank = self.line_start[..self.line_start.len() - self.rest.len()].ends_with([' ', '\t']);
        let comment = line
            .char_indices()
            .find(|&(at, c)| c == '#' && if at == 0 { after_blank } else { line[..at].ends_with([' ', '\t']) })
            .map_or(line.len(), |(at, _)| at);
        let value = line[..comment].trim_end().to_owned();
        self.advance(line.len());
        let length = value.len();
        (value, length)
    }

    /// A value in quotes, which may span lines, and its bytes with them. Line ends become `\n`.
    fn quoted(&mut self, key: &str, quote: char) -> Result<(String, usize), Fault> {
        let open = self.fault(Some(key), &format!("the quote that opens the value of {key} is never closed"));
        let opening_line = self.line;
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        let close = loop {
            let Some((at, c)) = chars.next() else { return Err(open) };
            match c {
                c if c == quote => break at,
                '\r' if chars.peek().is_some_and(|(_, next)| *next == '\n') => {}
                '\\' if quote == '"' => {
                    let plain = match chars.peek().map(|(_, next)| *next) {
                        Some('n') => Some('\n'),
                        Some('t') => Some('\t'),
                        Some('r') => Some('\r'),
                        Some(same @ ('\\' | '"' | '$')) => Some(same),
                        _ => None,
                    };
                    if plain.is_some() {
                        chars.next();
                    }
                    value.push(plain.unwrap_or('\\'));
                }
                c => value.push(c),
            }
        };
        self.advance(close + 1);
        self.skip_blanks();
        let tail = &self.rest[..self.line_end()];
        if !(tail.is_empty() || tail.starts_with('#')) {
            let shown = (self.line == opening_line).then_some(key);
            return Err(self.fault(shown, &format!("there is text after the closing quote of {key}")));
        }
        self.advance(tail.len());
        Ok((value, close + 1))
    }

    fn offset(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Bytes to the end of the line, `\r\n` not included.
    fn line_end(&self) -> usize {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        if self.rest[..end].ends_with('\r') { end - 1 } else { end }
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        for (at, _) in passed.match_indices('\n') {
            self.line += 1;
            self.line_start = &self.rest[at + 1..];
        }
        self.rest = rest;
    }

    fn fault(&self, key: Option<&str>, error: &str) -> Fault {
        let before = &self.line_start[..self.line_start.len() - self.rest.len()];
        // The line that is shown has no value in it, so only a column at its start would point at what is meant.
        let column = key.is_none().then(|| before.chars().count() as u32 + 1).filter(|column| *column == 1);
        Fault { line: self.line, column, key: key.map(str::to_owned), error: error.to_owned() }
    }
}
