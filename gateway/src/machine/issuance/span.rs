//! Spans of time, and how often what is done. Waits for a certificate of a short life are fractions of it.

use jiff::{SignedDuration, Timestamp};

/// The moment at which this was written (2026-11-21). A clock before it is wrong, whatever else is true: a virtual machine
/// without a battery begins at 1970, and would see every certificate as not yet valid.
pub const WRITTEN: Timestamp = Timestamp::constant(1_795_219_200, 0);

pub(super) const SECOND: SignedDuration = SignedDuration::from_secs(1);
pub(super) const MINUTE: SignedDuration = SignedDuration::from_secs(60);
pub(super) const HOUR: SignedDuration = SignedDuration::from_hours(1);
pub(super) const DAY: SignedDuration = SignedDuration::from_hours(24);
pub(super) const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// No wait is believed to be longer: the longest window of a limit is a week.
pub(super) const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(8 * 24);

/// `moment + by`, within what a timestamp can say.
pub(super) fn later(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.checked_add(by).unwrap_or(if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
}

/// A span for a sentence: `45 s`, `10 min`, `7 h`, `3 days`.
pub(super) fn spoken(span: SignedDuration) -> String {
    match span.as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
