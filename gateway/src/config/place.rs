//! Byte offsets to places that a person finds: line, column and the line's text, made harmless.

use std::path::Path;

use crate::model::Place;

/// Bytes of a line that an error shows.
const SHOWN: usize = 200;

/// The place of byte `offset` of `text`.
pub(super) fn at(file: &Path, text: &str, offset: usize) -> Place {
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let before = &text[..offset];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    Place {
        file: file.to_owned(),
        line: Some(count(before.matches('\n').count()) + 1),
        column: Some(count(text[start..offset].chars().count()) + 1),
        text: Some(harmless(line)),
    }
}

/// The place of the first byte that is not UTF-8, or `None` if all are.
pub(super) fn of_bad_byte(file: &Path, bytes: &[u8]) -> Option<Place> {
    let good = std::str::from_utf8(bytes).err()?.valid_up_to();
    let start = bytes[..good].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = bytes[start..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let shown = &line[..line.len().min(2 * SHOWN)];
    Some(Place {
        file: file.to_owned(),
        line: Some(count(bytes[..good].iter().filter(|byte| **byte == b'\n').count()) + 1),
        column: Some(count(String::from_utf8_lossy(&bytes[start..good]).chars().count()) + 1),
        text: Some(harmless(&String::from_utf8_lossy(shown))),
    })
}

/// The file as a whole.
pub(super) fn whole(file: &Path) -> Place {
    Place { file: file.to_owned(), line: None, column: None, text: None }
}

/// `text` without anything that could move a terminal's cursor or break a log line, cut at [`SHOWN`] bytes. A tab becomes
/// a space, so that columns still agree.
fn harmless(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        let before = shown.len();
        match c {
            '\t' => shown.push(' '),
            c if c.is_control() || is_invisible(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
        if shown.len() > SHOWN {
            shown.truncate(before);
            break;
        }
    }
    shown
}

/// Marks that reorder or hide text around them (Unicode bidi controls, separators, byte-order mark).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let place = at(Path::new("f"), "a\nbü = 1\r\nc", 6);
        assert_eq!((place.line, place.column), (Some(2), Some(4)));
        assert_eq!(place.text.as_deref(), Some("bü = 1"));
        assert_eq!(at(Path::new("f"), "", 9).line, Some(1));
        assert_eq!(at(Path::new("f"), "a\n", 2).line, Some(2));
    }

    #[test]
    fn what_is_shown_is_harmless_and_short() {
        let text = format!("\x1b[2J\t\u{202e}{}", "é".repeat(500));
        let shown = at(Path::new("f"), &text, 0).text.unwrap();
        assert!(shown.starts_with("\\u{1b}[2J \\u{202e}é"), "{shown}");
        assert!(shown.len() <= 200 && !shown.chars().any(char::is_control));
    }

    #[test]
    fn bad_bytes_have_a_line() {
        let place = of_bad_byte(Path::new("f"), b"a\nb\xff\xfe\nc").unwrap();
        assert_eq!((place.line, place.column), (Some(2), Some(2)));
        assert_eq!(of_bad_byte(Path::new("f"), b"abc"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_offset_panics(text: String, offset in 0usize..100) {
            let shown = at(Path::new("f"), &text, offset).text.unwrap();
            proptest::prop_assert!(shown.len() <= 200);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = of_bad_byte(Path::new("f"), &bytes);
        }
    }
}
