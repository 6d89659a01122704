//! Durations as people write them: `250ms`, `30s`, `5m`, `1h30m`, `7d`, `1y`.

use std::{fmt, time::Duration};

/// The longest duration that a setting can have, where it does not say otherwise.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Milliseconds of each unit, largest first. A year is one of 365 days.
const UNITS: [(&str, u64); 7] =
    [("y", 365 * DAY), ("w", 7 * DAY), ("d", DAY), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const DAY: u64 = 86_400_000;
/// The units that durations are shown in: "30d" says more than "4w2d".
const SHOWN: &[(&str, u64)] = UNITS.split_at(2).1;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not numbers with units, largest unit first.
    #[error("{0:?} is not a duration: write a whole number and ms, s, m, h, d, w or y, such as \"30s\" or \"1h30m\"")]
    Grammar(String),
    /// More than it may be.
    #[error("{0:?} is too long: the longest duration is {most}", most = Display(*.1))]
    TooLong(String, Duration),
}

/// Reads a duration of at most [`LONGEST`]: whole numbers with units, the largest unit first.
///
/// # Errors
/// See [`DurationError`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    parse_within(text, LONGEST)
}

/// [`parse`] with another bound.
///
/// # Errors
/// See [`DurationError`].
pub fn parse_within(text: &str, most: Duration) -> Result<Duration, DurationError> {
    let grammar = || DurationError::Grammar(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned(), most);
    let mut rest = text.trim();
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(grammar());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        if number.is_empty() {
            return Err(grammar());
        }
        let millis = units.find(|(name, _)| *name == unit).map(|(_, millis)| *millis).ok_or_else(grammar)?;
        let number: u64 = number.parse().map_err(|_| too_long())?;
        total = number.checked_mul(millis).and_then(|part| total.checked_add(part)).ok_or_else(too_long)?;
        rest = &rest[digits + letters..];
    }
    let total = Duration::from_millis(total);
    if total > most { Err(too_long()) } else { Ok(total) }
}

/// Shows a duration as [`parse`] reads it; what is below a millisecond is not shown.
#[derive(Clone, Copy, Debug)]
pub struct Display(pub Duration);

impl fmt::Display for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, millis) in SHOWN {
            let count = rest / u128::from(*millis);
            if count > 0 {
                write!(f, "{count}{name}")?;
            }
            rest %= u128::from(*millis);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1d1ms", Some(86_400_001)),
            ("0s", Some(0)),
            (" 3s ", Some(3000)),
            ("366d", Some(366 * 86_400_000)),
            ("1y", Some(365 * 86_400_000)),
            ("1y1d", Some(366 * 86_400_000)),
            ("2w3d", Some(17 * 86_400_000)),
            ("1d1w", None),
            ("367d", None),
            ("2y", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("", None),
            ("5", None),
            ("s", None),
            ("1.5h", None),
            ("-5s", None),
            ("30m1h", None),
            ("1s1s", None),
            ("5 s", None),
            ("5S", None),
            ("5ß", None),
            ("never", None),
        ];
        for (text, millis) in table {
            assert_eq!(parse(text).ok(), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn another_bound_is_told() {
        let ten = Duration::from_secs(3650 * 86_400);
        assert_eq!(parse_within("2y", ten), Ok(Duration::from_secs(730 * 86_400)));
        assert_eq!(parse_within("11y", ten).map_err(|why| why.to_string()), {
            Err("\"11y\" is too long: the longest duration is 3650d".to_owned())
        });
    }

    proptest::proptest! {
        #[test]
        fn shown_as_it_is_read(millis in 0u64..366 * 86_400_000) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse(&Display(duration).to_string()), Ok(duration));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
