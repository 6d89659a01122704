//! Sizes as people write them: `64K`, `512M`, `2GiB`, plain bytes; a K is 1024 bytes.

use std::fmt;

/// Bytes of each unit, largest first.
const UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a whole number with a unit.
    #[error("{0:?} is not a size: write a whole number of bytes or one with K, M, G or T, such as \"512M\"")]
    Grammar(String),
    /// More than 2⁶³ bytes.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Reads a size in bytes: a whole number, then `K`, `M`, `G` or `T`, with or without `B` or `iB`.
///
/// # Errors
/// See [`SizeError`].
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let grammar = || SizeError::Grammar(text.to_owned());
    let too_large = || SizeError::TooLarge(text.to_owned());
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    if number.is_empty() {
        return Err(grammar());
    }
    let letter = unit.strip_suffix("iB").filter(|letter| !letter.is_empty()).or(unit.strip_suffix('B')).unwrap_or(unit);
    let scale = match letter {
        "" => 1,
        letter => UNITS.iter().find(|(name, _)| *name == letter).map(|(_, scale)| *scale).ok_or_else(grammar)?,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).ok_or_else(too_large)?;
    if bytes > i64::MAX as u64 { Err(too_large()) } else { Ok(bytes) }
}

/// Shows a size as [`parse`] reads it: in the largest unit that gives a whole number.
#[derive(Clone, Copy, Debug)]
pub struct Display(pub u64);

impl fmt::Display for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, scale)| self.0 > 0 && self.0.is_multiple_of(*scale)) {
            Some((name, scale)) => write!(f, "{}{name}", self.0 / scale),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Bytes for people: one decimal, in the unit that fits.
#[derive(Clone, Copy, Debug)]
pub struct Rounded(pub u64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut whole, mut rest, mut unit) = (self.0, 0, "B");
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            if whole < 1024 {
                break;
            }
            (rest, whole, unit) = (whole % 1024 * 10 / 1024, whole / 1024, next);
        }
        if unit == "B" { write!(f, "{whole} B") } else { write!(f, "{whole}.{rest} {unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let table = [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("12B", Some(12)),
            ("64K", Some(64 << 10)),
            ("512M", Some(512 << 20)),
            ("512MB", Some(512 << 20)),
            ("2GiB", Some(2 << 30)),
            ("1T", Some(1 << 40)),
            ("", None),
            ("M", None),
            ("iB", None),
            ("5iB", None),
            ("1.5G", None),
            ("-1", None),
            ("5 M", None),
            ("5m", None),
            ("5MM", None),
            ("5é", None),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("99999999999999999999", None),
            ("99999999T", None),
        ];
        for (text, bytes) in table {
            assert_eq!(parse(text).ok(), bytes, "{text:?}");
        }
        assert_eq!(Display(2 << 30).to_string(), "2G");
        assert_eq!(Display(1025).to_string(), "1025");
    }

    #[test]
    fn rounded_for_people() {
        assert_eq!(
            [0, 1023, 1536, 5 << 30].map(|bytes| Rounded(bytes).to_string()),
            ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
        );
    }

    proptest::proptest! {
        #[test]
        fn shown_as_it_is_read(bytes in 0..i64::MAX as u64, shift in 0u32..63) {
            let bytes = bytes >> shift << (shift / 2);
            proptest::prop_assert_eq!(parse(&Display(bytes).to_string()), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
