//! The gateway's own log: for a person on a terminal, one JSON object a line elsewhere on stderr, and entries with fields
//! where stderr is systemd's journal.

mod journal;

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt::time::FormatTime, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts it, in the journal or on stderr. `LANDLORD_LOG` filters, as `tracing`'s directives do (`debug`,
/// `landlord::master=debug`); default `info`.
pub(super) fn open(journal: bool) {
    let filter = || EnvFilter::try_from_env("LANDLORD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let base = || tracing_subscriber::fmt().with_env_filter(filter()).with_writer(io::stderr).with_target(false);
    if journal {
        tracing_subscriber::registry().with(filter()).with(journal::Journal::default()).init();
    } else if io::stderr().is_terminal() {
        base().compact().with_timer(Clock).init();
    } else {
        base().json().flatten_event(true).with_current_span(false).with_span_list(false).with_timer(Utc).init();
    }
}

/// RFC 3339 with milliseconds.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(w, "{:.3}", jiff::Timestamp::now())
    }
}

/// The time of day, for whoever sits in front of it.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(w, "{}", jiff::Zoned::now().strftime("%H:%M:%S"))
    }
}
