//! `.env`: a tenant's secrets, in the grammar that most readers of such files share.
//!
//! `KEY=value` or `export KEY=value`, one a line; `#` begins a comment at the start of a line or after white space.
//! Values: bare (trimmed, backslashes literal), `'…'` (literal), `"…"` (with `\n \t \r \\ \" \$`; any other backslash stays
//! as it is); quoted ones may span lines. `$NAME` and `` `command` `` are never expanded. The last of two equal keys wins.
//!
//! An error shows the key at most: a value may be a secret, and errors reach logs.

use std::{collections::HashMap, path::Path};

use super::files::{self, ReadError, Trust};
use crate::model::{Place, Rejection};

/// Bytes of one file.
const FILE_CAP: u64 = 1024 * 1024;

/// Names that landlord itself sets for a worker: an error in `.env` and in `[env]`, never an override.
///
/// `DATABASE_URL` is in the contract but not here: landlord gives a default, and a tenant may point its worker at another
/// database.
pub const RESERVED: &[&str] = &[
    "APP_DIR",
    "BRANDING",
    "ENVIRONMENT",
    "FEATURES",
    "HOME",
    "HOST",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MAX_USERS",
    "PATH",
    "PORT",
    "TENANT",
    "TENANT_DIR",
    "TENANT_URL",
    "TMPDIR",
    "TZ",
    "USER",
];

/// Reads `text`, the content of `file`; the keys in the order of their first mention.
///
/// # Errors
/// The first line that is none of the grammar's, or sets a name of [`RESERVED`]. The rejection names no tenant and shows no
/// value.
#[allow(clippy::result_large_err, reason = "read once a start")]
pub fn parse(file: &Path, text: &[u8]) -> Result<Vec<(String, String)>, Rejection> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let reject = |fault: Fault| Rejection {
        tenant: None,
        place: Place {
            file: file.to_owned(),
            line: Some(fault.line),
            column: fault.column,
            text: Some(match fault.key {
                Some(key) => format!("{key}=…"),
                None => "…".to_owned(),
            }),
        },
        error: fault.error,
        hint: None,
    };
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = &text[..error.valid_up_to()];
        reject(Fault {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count() as u32,
            column: None,
            key: None,
            error: "this line is not UTF-8: save the file as UTF-8".to_owned(),
        })
    })?;
    let mut reader = Reader { rest: text, line: 1, line_start: text };
    let mut values: Vec<(String, String)> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    while let Some((key, value)) = reader.assignment().map_err(reject)? {
        match seen.get(&key) {
            Some(&index) => values[index].1 = value,
            None => {
                seen.insert(key.clone(), values.len());
                values.push((key, value));
            }
        }
    }
    Ok(values)
}

/// What is wrong with the `.env` at `file`, if it is there, readable by us, and wrong.
pub fn check(file: &Path) -> Option<Rejection> {
    let place = super::place::whole(file);
    match files::read(file, FILE_CAP, Trust::default()) {
        Ok(text) => parse(file, &text).err(),
        Err(ReadError::NotFound | ReadError::Unreadable(_)) => None,
        Err(why) => Some(Rejection { tenant: None, place, error: why.to_string(), hint: None }),
    }
}

/// Whether `key` can be the name of a setting: a letter or `_`, then letters, digits, `_`, `.` and `-`.
pub(super) fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// What is wrong, before it knows its file.
struct Fault {
    line: u32,
    column: Option<u32>,
    key: Option<String>,
    error: String,
}

/// A place in the text.
struct Reader<'a> {
    rest: &'a str,
    line: u32,
    /// The text from the current line's first character on.
    line_start: &'a str,
}

impl<'a> Reader<'a> {
    /// The next assignment, or `None` at the end.
    fn assignment(&mut self) -> Result<Option<(String, String)>, Fault> {
        loop {
            self.skip_blanks();
            match self.rest.as_bytes().first() {
                None => return Ok(None),
                Some(b'\n' | b'\r') => self.advance(1),
                Some(b'#') => self.advance(self.line_end()),
                Some(_) => break,
            }
        }
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
        let value = match self.rest.as_bytes().first() {
            Some(b'"') => self.quoted(key, '"')?,
            Some(b'\'') => self.quoted(key, '\'')?,
            _ => self.bare(),
        };
        if value.contains('\0') {
            return Err(
                self.fault(Some(key), &format!("the value of {key} has a NUL byte, which no environment can hold"))
            );
        }
        Ok(Some((key.to_owned(), value)))
    }

    /// A value without quotes: to the end of the line or to a comment.
    fn bare(&mut self) -> String {
        let line = &self.rest[..self.line_end()];
        // White space before the value is skipped already: `KEY= # nothing` is empty, `KEY=#123456` is a colour.
        let after_blank = self.line_start[..self.line_start.len() - self.rest.len()].ends_with([' ', '\t']);
        let comment = line
            .char_indices()
            .find(|&(at, c)| c == '#' && if at == 0 { after_blank } else { line[..at].ends_with([' ', '\t']) })
            .map_or(line.len(), |(at, _)| at);
        let value = line[..comment].trim_end().to_owned();
        self.advance(line.len());
        value
    }

    /// A value in quotes, which may span lines. Line ends become `\n`.
    fn quoted(&mut self, key: &str, quote: char) -> Result<String, Fault> {
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
        Ok(value)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(Path::new(".env"), text.as_bytes()).unwrap()
    }

    fn value(text: &str) -> String {
        let all = read(text);
        assert_eq!(all.len(), 1, "{text:?}: {all:?}");
        all.into_iter().next().unwrap().1
    }

    #[test]
    fn values() {
        let table = [
            ("A=b", "b"),
            ("A=", ""),
            ("A=\n", ""),
            ("  A = b  ", "b"),
            ("export A=b", "b"),
            ("export\tA=b", "b"),
            ("\u{feff}A=b\r\n", "b"),
            ("A=b c", "b c"),
            ("A=b # comment", "b"),
            ("A=b#no comment", "b#no comment"),
            ("A=#123456", "#123456"),
            ("A= # nothing", ""),
            ("A=it's", "it's"),
            ("A=$HOME and `id` and ${X}", "$HOME and `id` and ${X}"),
            (r"A=back\nslash", r"back\nslash"),
            (r"A='$x \n # \'", r"$x \n # \"),
            (r#"A="1\n2\t3\r4\\5\"6\$7""#, "1\n2\t3\r4\\5\"6$7"),
            (r#"A="C:\dir \q""#, r"C:\dir \q"),
            (r#"A="$HOME""#, "$HOME"),
            ("A=\"x # y\" # z", "x # y"),
            ("A=\"x\"#z", "x"),
            ("A=\"1\r\n2\n\"\r\n", "1\n2\n"),
            ("A='1\n\n2'", "1\n\n2"),
            ("# A=1\n\n\t# B=2\r\nA=3", "3"),
            ("A=1\nA=2", "2"),
            ("A=a=b==", "a=b=="),
            ("A=ü", "ü"),
            ("export=1", "1"),
            ("export = 1", "1"),
            ("exported=1", "1"),
            ("DATABASE_URL=postgres://x", "postgres://x"),
            ("app.name-x=1", "1"),
        ];
        for (text, expected) in table {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn order_is_of_first_mention_and_the_last_wins() {
        let all = read("B=1\nA=2\nB=3\n");
        assert_eq!(all, [("B".to_owned(), "3".to_owned()), ("A".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn errors_name_the_line_and_hide_the_value() {
        let table: [(&[u8], &str); 13] = [
            (
                b"hunter2",
                ".env:1:1: this line has no `=`: write KEY=value, or # before a comment\n    1 | …\n      | ^",
            ),
            (
                b"A=1\n\nexport hunter2",
                ".env:3: this line has no `=`: write KEY=value, or # before a comment\n    3 | …",
            ),
            (
                b"A=1\n1A=hunter2",
                ".env:2:1: the name before `=` is not one: use letters, digits and _ (and quote a value that spans lines)\n    2 | …\n      | ^",
            ),
            (
                b"=hunter2",
                ".env:1:1: the name before `=` is not one: use letters, digits and _ (and quote a value that spans lines)\n    1 | …\n      | ^",
            ),
            (
                b"A B=hunter2",
                ".env:1:1: the name before `=` is not one: use letters, digits and _ (and quote a value that spans lines)\n    1 | …\n      | ^",
            ),
            (b"\nA=\"hunter2\nB=1\n", ".env:2: the quote that opens the value of A is never closed\n    2 | A=…"),
            (b"A='hunter2", ".env:1: the quote that opens the value of A is never closed\n    1 | A=…"),
            (b"A=\"x\\\"", ".env:1: the quote that opens the value of A is never closed\n    1 | A=…"),
            (b"A='x' hunter2", ".env:1: there is text after the closing quote of A\n    1 | A=…"),
            (b"A='x\ny'hunter2", ".env:2: there is text after the closing quote of A\n    2 | …"),
            (b"X=1\r\nPORT=80", ".env:2: PORT is set by landlord itself: remove this line\n    2 | PORT=…"),
            (b"A=1\nB=hunter2\0", ".env:2: the value of B has a NUL byte, which no environment can hold\n    2 | B=…"),
            (b"A=1\nB=hunter2\xff\n", ".env:2: this line is not UTF-8: save the file as UTF-8\n    2 | …"),
        ];
        for (text, expected) in table {
            let error = parse(Path::new(".env"), text).unwrap_err().to_string();
            assert_eq!(error, expected, "{:?}", String::from_utf8_lossy(text));
            assert!(!error.contains("hunter2"), "{error}");
        }
        for name in RESERVED {
            assert!(parse(Path::new(".env"), format!("{name}=1").as_bytes()).is_err(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse(Path::new(".env"), &bytes);
        }

        #[test]
        fn no_text_of_the_grammars_letters_panics(text in "[A=\"'\\\\#$ \t\r\nexportü\0]{0,60}") {
            let _ = parse(Path::new(".env"), text.as_bytes());
        }

        #[test]
        fn what_is_quoted_is_read_back(value in "[^\0\r]*") {
            let quoted: String = value.chars().flat_map(|c| match c {
                '\\' => vec!['\\', '\\'],
                '"' => vec!['\\', '"'],
                c => vec![c],
            }).collect();
            let all = parse(Path::new(".env"), format!("A=\"{quoted}\" # x").as_bytes()).unwrap();
            proptest::prop_assert_eq!(&all[0].1, &value);
        }
    }
}
