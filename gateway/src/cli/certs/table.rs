//! The table of `landlord certs`, for people.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::super::{
    out::harmless,
    paint::{Paint, paint},
};
use crate::{model::CertificateState, wire::CertificateEntry};

const HEADINGS: [&str; 5] = ["NAME", "STATE", "ISSUER", "EXPIRES", "NEXT RENEWAL"];
const STATE: usize = 1;
const DAY: i64 = 86_400;

/// Every certificate as text, lines ended: those that somebody should look at first, then in the order in which they came.
/// What there is to say about one is below it.
pub(super) fn draw(mut entries: Vec<CertificateEntry>, now: Timestamp, colour: bool) -> String {
    if entries.is_empty() {
        return "no certificates: there is none before the first host\n".to_owned();
    }
    entries.sort_by_key(|entry| Reverse(entry.alarm));
    let cells: Vec<[String; 5]> = entries.iter().map(|entry| row(entry, now)).collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&HEADINGS.map(str::to_owned), &widths, |_, heading| paint(heading, Paint::Bold, colour));
    for (row, entry) in cells.iter().zip(&entries) {
        text += &line(row, &widths, |column, cell| match column {
            STATE => paint(cell, paint_of(entry), colour),
            _ => cell.to_owned(),
        });
        for remark in remarks(entry, now) {
            let shade = if entry.alarm { Paint::Red } else { Paint::Dim };
            text += &format!("  {}\n", paint(&harmless(&remark), shade, colour));
        }
    }
    text
}

fn line(cells: &[String; 5], widths: &[usize; 5], painted: impl Fn(usize, &str) -> String) -> String {
    let mut line = String::new();
    for (column, cell) in cells.iter().enumerate() {
        line += &painted(column, cell);
        line += &" ".repeat(widths[column] - cell.chars().count() + 2);
    }
    format!("{}\n", line.trim_end())
}

fn row(entry: &CertificateEntry, now: Timestamp) -> [String; 5] {
    let none = || "-".to_owned();
    let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    [
        harmless(&entry.name),
        word(entry.state).to_owned(),
        entry.issuer.as_deref().map_or_else(none, harmless),
        time(&entry.not_after).map_or_else(none, |end| format!("{}, {}", day(end), distance(end, now))),
        time(&entry.next_renewal).map_or_else(none, |next| match seconds(next, now) {
            ..=0 => "now".to_owned(),
            left if left < 2 * DAY => distance(next, now),
            _ => day(next),
        }),
    ]
}

/// What is missing, what went wrong, and when it is tried again.
fn remarks(entry: &CertificateEntry, now: Timestamp) -> Vec<String> {
    let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let mut remarks = Vec::new();
    if entry.alarm {
        remarks.push("alarm: it ends soon, and renewing it fails".to_owned());
    }
    if !entry.reason.is_empty() {
        remarks.push(entry.reason.clone());
    }
    // A reason is often that very error.
    if let Some(error) = entry.last_error.as_ref().filter(|error| !entry.reason.contains(error.as_str())) {
        let when = time(&entry.last_error_at).map_or_else(String::new, |at| format!(", {}", distance(at, now)));
        let times =
            if entry.failures > 1 { format!(", the {} in a row", ordinal(entry.failures)) } else { String::new() };
        remarks.push(format!("last failure{when}{times}: {error}"));
    }
    if let Some(next) = time(&entry.next_try) {
        let when = if seconds(next, now) > 0 { distance(next, now) } else { "now".to_owned() };
        remarks.push(format!("next try: {when}"));
    }
    remarks
}

/// `in 62 days`, `3 hours ago`.
fn distance(time: Timestamp, now: Timestamp) -> String {
    let seconds = seconds(time, now);
    let (count, unit) = match seconds.unsigned_abs() {
        0..120 => (seconds.unsigned_abs(), "second"),
        left @ 120..7200 => (left / 60, "minute"),
        left @ 7200..172_800 => (left / 3600, "hour"),
        left => (left / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    if seconds < 0 { format!("{count} {unit}{plural} ago") } else { format!("in {count} {unit}{plural}") }
}

fn seconds(time: Timestamp, now: Timestamp) -> i64 {
    time.as_second() - now.as_second()
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// What a certificate is at, as `--json` says it, too.
pub(in crate::cli) fn word(state: CertificateState) -> &'static str {
    match state {
        CertificateState::Dns => "dns",
        CertificateState::Waiting => "waiting",
        CertificateState::Ordering => "ordering",
        CertificateState::Valid => "valid",
        CertificateState::Expiring => "expiring",
        CertificateState::Failed => "failed",
    }
}

fn paint_of(entry: &CertificateEntry) -> Paint {
    match entry.state {
        _ if entry.alarm => Paint::Red,
        CertificateState::Valid => Paint::Green,
        CertificateState::Dns | CertificateState::Waiting | CertificateState::Ordering => Paint::Yellow,
        CertificateState::Expiring | CertificateState::Failed => Paint::Red,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::wire::CertificateSource;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn entry(name: &str, state: CertificateState) -> CertificateEntry {
        CertificateEntry {
            name: name.to_owned(),
            names: vec![name.to_owned()],
            tenant: None,
            source: CertificateSource::Acme,
            state,
            reason: String::new(),
            issuer: None,
            serial: None,
            not_before: None,
            not_after: None,
            next_renewal: None,
            next_try: None,
            last_error: None,
            last_error_at: None,
            failures: 0,
            expires_in_s: None,
            alarm: false,
        }
    }

    fn served(name: &str, until: &str, renewal: &str) -> CertificateEntry {
        CertificateEntry {
            issuer: Some("R11".to_owned()),
            not_after: Some(until.to_owned()),
            next_renewal: Some(renewal.to_owned()),
            ..entry(name, CertificateState::Valid)
        }
    }

    fn all() -> Vec<CertificateEntry> {
        vec![
            served("*.apps.example.com", "2026-05-02T13:00:00Z", "2026-04-02T00:00:00Z"),
            CertificateEntry {
                reason: "portal.acme.com has no A or AAAA record: it must be 203.0.113.7".to_owned(),
                next_try: Some("2026-03-01T12:05:00Z".to_owned()),
                ..entry("portal.acme.com", CertificateState::Dns)
            },
            CertificateEntry {
                state: CertificateState::Expiring,
                last_error: Some("rate\x1b[2Jlimited".to_owned()),
                last_error_at: Some("2026-03-01T09:00:00Z".to_owned()),
                failures: 3,
                alarm: true,
                ..served("shop.example.org", "2026-03-03T00:00:00Z", "2026-03-01T11:00:00Z")
            },
        ]
    }

    #[test]
    fn what_needs_somebody_is_on_top_and_remarks_are_below() {
        let expected = "\
NAME                STATE     ISSUER  EXPIRES                  NEXT RENEWAL
shop.example.org    expiring  R11     2026-03-03, in 36 hours  now
  alarm: it ends soon, and renewing it fails
  last failure, 3 hours ago, the 3rd in a row: rate\\u{1b}[2Jlimited
*.apps.example.com  valid     R11     2026-05-02, in 62 days   2026-04-02
portal.acme.com     dns       -       -                        -
  portal.acme.com has no A or AAAA record: it must be 203.0.113.7
  next try: in 5 minutes
";
        assert_eq!(draw(all(), now(), false), expected);
        assert_eq!(draw(Vec::new(), now(), false), "no certificates: there is none before the first host\n");
    }

    #[test]
    fn colours_only_where_wanted() {
        let drawn = draw(all(), now(), true);
        for painted in ["\x1b[31mexpiring\x1b[0m", "\x1b[32mvalid\x1b[0m", "\x1b[33mdns\x1b[0m", "\x1b[31malarm"] {
            assert!(drawn.contains(painted), "{painted:?}: {drawn:?}");
        }
        assert!(!draw(all(), now(), false).contains('\x1b'));
    }

    #[test]
    fn distances_are_in_the_unit_that_says_most() {
        let far = |seconds: i64| distance(Timestamp::from_second(now().as_second() + seconds).unwrap(), now());
        assert_eq!(far(1), "in 1 second");
        assert_eq!(far(119), "in 119 seconds");
        assert_eq!(far(-120), "2 minutes ago");
        assert_eq!(far(7199), "in 119 minutes");
        assert_eq!(far(-172_800), "2 days ago");
        assert_eq!(
            [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal).join(" "),
            "1st 2nd 3rd 4th 11th 12th 13th 21st 112th"
        );
    }

    #[test]
    fn an_error_is_told_once() {
        let told = CertificateEntry {
            reason: "the authority said: no".to_owned(),
            last_error: Some("no".to_owned()),
            ..entry("a.example", CertificateState::Failed)
        };
        assert_eq!(remarks(&told, now()), ["the authority said: no"]);
    }
}
