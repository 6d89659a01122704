//! What a role has to say, as entries of systemd's journal: with a priority, and every field to be searched for.
//!
//! An entry about a tenant names the tenant's unit as its object, so that `systemctl status landlord@NAME` shows it; journald
//! and systemctl believe that of root alone, which the master is.

use std::{
    fmt::{self, Write},
    sync::{Mutex, PoisonError},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use crate::sys::journal::{Entry, Writer};

/// Writes each event as one entry. One that journald does not take at once is counted, and told with the next: the master
/// must never wait for its log.
#[derive(Debug, Default)]
pub(super) struct Journal {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    writer: Writer,
    lost: u64,
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let entry = said.entry(priority(*event.metadata().level()));
        self.state.lock().unwrap_or_else(PoisonError::into_inner).send(&entry);
    }
}

impl State {
    fn send(&mut self, entry: &Entry) {
        if self.lost > 0 {
            let lost = Said { message: format!("{} lines did not reach the journal", self.lost), ..Said::default() };
            if self.writer.send(lost.entry(4).bytes()).is_ok() {
                self.lost = 0;
            }
        }
        if self.writer.send(entry.bytes()).is_err() {
            self.lost += 1;
        }
    }
}

/// syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// An event's message and its fields, in their order.
#[derive(Debug, Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    /// What a person reads in `journalctl` is MESSAGE alone, so the fields are in it too.
    fn entry(&self, priority: u8) -> Entry {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}{name}={value}");
        }
        let mut entry = Entry::new()
            .with("MESSAGE", text.as_bytes())
            .with("PRIORITY", &[b'0' + priority])
            .with("SYSLOG_IDENTIFIER", b"landlord");
        for (name, value) in &self.fields {
            entry.field(name, value.as_bytes());
            if *name == "tenant" {
                entry.field("OBJECT_SYSTEMD_UNIT", format!("landlord@{value}.service").as_bytes());
            }
        }
        entry
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            // It would be a second MESSAGE or PRIORITY for journald.
            "priority" | "syslog_identifier" => {}
            name => self.fields.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &value.to_string());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::sys::journal::tests::{Fields, Journald, value};

    fn text(fields: &Fields, name: &str) -> String {
        String::from_utf8(value(fields, name).to_vec()).unwrap()
    }

    #[test]
    fn an_event_is_an_entry_that_can_be_searched_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = Journald::at(&path);
        let journal = Journal { state: Mutex::new(State { writer: Writer::to(path), lost: 0 }) };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            let (tenant, next_ms) = ("acme", None::<u64>);
            tracing::error!(%tenant, generation = 7_u64, event = "failed", reason = "it\nended", next_ms, "worker");
            tracing::warn!("two\nlines");
            tracing::info!(role = "proxy", event = "start");
        });
        let failed = journald.entry();
        assert_eq!(text(&failed, "MESSAGE"), "worker tenant=acme generation=7 event=failed reason=it\nended");
        assert_eq!(text(&failed, "PRIORITY"), "3");
        assert_eq!(text(&failed, "SYSLOG_IDENTIFIER"), "landlord");
        assert_eq!(text(&failed, "TENANT"), "acme");
        assert_eq!(text(&failed, "GENERATION"), "7");
        assert_eq!(text(&failed, "REASON"), "it\nended");
        assert_eq!(text(&failed, "OBJECT_SYSTEMD_UNIT"), "landlord@acme.service");
        let warned = journald.entry();
        assert_eq!((text(&warned, "MESSAGE"), text(&warned, "PRIORITY")), ("two\nlines".into(), "4".into()));
        assert!(warned.iter().all(|(name, _)| name != "OBJECT_SYSTEMD_UNIT"));
        let started = journald.entry();
        assert_eq!(text(&started, "MESSAGE"), "role=proxy event=start");
        assert_eq!(text(&started, "PRIORITY"), "6");
    }

    #[test]
    fn nobody_waits_for_a_journal_and_what_is_lost_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = Journal { state: Mutex::new(State { writer: Writer::to(path.clone()), lost: 0 }) };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            tracing::info!("one");
            tracing::info!("two");
            let journald = Journald::at(&path);
            tracing::info!("three");
            assert_eq!(text(&journald.entry(), "MESSAGE"), "2 lines did not reach the journal");
            assert_eq!(text(&journald.entry(), "MESSAGE"), "three");
        });
    }
}
