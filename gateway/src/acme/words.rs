//! The authority's words, made fit for a terminal and a log line.

use std::time::Duration;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// A sentence is at most this long.
const LONGEST: usize = 600;

/// What came from outside as one line: trimmed, without what a terminal obeys or a reader is misled by, cut.
pub(super) fn safe(text: &str) -> String {
    let mut line = String::new();
    for c in text.trim().chars() {
        if line.len() >= LONGEST {
            line.push('…');
            break;
        }
        match c {
            '\n' | '\t' => line.push(' '),
            // Directions, joiners and marks of order that are not seen.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                line.extend(c.escape_unicode());
            }
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// "retry after 2026-01-02 03:04:05 UTC", as Let's Encrypt says it in its sentences.
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let (_, after) = text.split_once("retry after ")?;
    let when = after.get(..19)?;
    let at = DateTime::strptime("%Y-%m-%d %H:%M:%S", when).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn hostile_words_become_one_harmless_line() {
        for (said, shown) in [
            ("  plain words\n", "plain words"),
            ("two\nlines", "two lines"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("a\u{202e}b\0", "a\\u{202e}b\\u{0}"),
            ("größer", "größer"),
        ] {
            assert_eq!(safe(said), shown);
        }
        assert!(safe(&"é".repeat(10_000)).len() <= LONGEST + 4);
    }

    #[test]
    fn the_time_in_a_sentence_is_read() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let read = |text: &str| retry_after(text, now);
        let said =
            "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-01-01 00:05:00 UTC: see";
        assert_eq!(read(said), Some(Duration::from_secs(300)));
        assert_eq!(read("retry after 2025-01-01 00:05:00 UTC"), Some(Duration::ZERO), "long ago is now");
        for none in ["", "retry after", "retry after soon, please do", "retry after 2026-99-01 00:05:00 UTC"] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }
}
