//! What a certificate is at, for a person.

use jiff::Timestamp;

use super::{Issuance, subject::Place};
use crate::model::{CertificateState, Finding, Subject};

/// What is told of one subject; see [`super::Issuance::view`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// In one word.
    pub state: CertificateState,
    /// A sentence that a person can act on; empty when there is nothing to say.
    pub reason: String,
    /// When it is to be renewed.
    pub next_renewal: Option<Timestamp>,
    /// When the authority, or DNS, is asked next.
    pub next_try: Option<Timestamp>,
    /// What went wrong at the last try, until one succeeds.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// Failed tries in a row.
    pub failures: u32,
    /// It ends within 14 days, or a sixth of its life if that is less (or has ended), and cannot be renewed so far.
    pub alarm: bool,
}

impl Issuance {
    /// What is told of a subject; `None`: it is unknown.
    pub fn view(&self, subject: &Subject, now: Timestamp) -> Option<View> {
        let id = *self.ids.get(subject)?;
        let entry = &self.entries[id];
        let valid = entry.facts.as_ref().filter(|facts| facts.left(now).is_positive());
        let hold = self.hold(id, now);
        let house = self.house_hold(now);
        let due = entry.due() <= now;
        let wait =
            if due { hold.as_ref().map(|hold| hold.until).max(house.as_ref().map(|(until, _)| *until)) } else { None };
        let missing = match &entry.dns.found {
            Some((_, Finding::Missing(what))) if due && entry.order.is_none() => Some(what.clone()),
            _ => None,
        };
        let alarm = self.alarm(id, now);
        let failed = entry.memory.failures > 0;
        let state = match valid {
            Some(_) if alarm => CertificateState::Expiring,
            Some(_) => CertificateState::Valid,
            None if entry.order.is_some() => CertificateState::Ordering,
            None if missing.is_some() => CertificateState::Dns,
            None if failed => CertificateState::Failed,
            None => CertificateState::Waiting,
        };
        let error = entry.memory.last_error.as_ref();
        Some(View {
            state,
            reason: self.reason(id, missing, now),
            next_renewal: entry.facts.as_ref().map(|facts| entry.renewal(facts)),
            next_try: wait.or(if due && entry.wanted { entry.dns.next } else { None }).filter(|at| *at > now),
            last_error: error.map(|error| error.detail.clone()),
            last_error_at: error.map(|error| error.at),
            failures: entry.memory.failures,
            alarm,
        })
    }

    fn reason(&self, id: usize, missing: Option<String>, now: Timestamp) -> String {
        let entry = &self.entries[id];
        let error = entry.memory.last_error.as_ref().map(|error| error.detail.clone());
        if self.wrong {
            return "the clock is wrong: set it, nothing is ordered before".to_owned();
        }
        if !entry.wanted {
            return "nobody wants it any more: it is kept, and not renewed".to_owned();
        }
        if entry.order.is_some() || entry.due() > now {
            return String::new();
        }
        let until = |why: &str, until: Timestamp| match &error {
            Some(error) => format!("{error} ({why}; next try after {until:.0})"),
            None if entry.facts.is_some() => format!("a new one is not ordered before {until:.0}: {why}"),
            None => format!("{why}: not before {until:.0}"),
        };
        let hold = self.hold(id, now).map(|hold| (hold.until, hold.reason));
        if let Some((at, why)) = hold.max(self.house_hold(now)) {
            return until(&why, at);
        }
        if let Some(missing) = missing {
            return missing;
        }
        match (&entry.dns.found, entry.place) {
            (Some((_, Finding::Unknown(why))), Place::Agenda(_)) => format!("its DNS cannot be looked up: {why}"),
            (_, _) if !self.ready => "the acme role is not there yet".to_owned(),
            (_, Place::Queue(_)) if self.ledger.unreachable.is_some() => {
                "another order tries whether the authority is back".to_owned()
            }
            (_, Place::Queue(rank)) => {
                let before = self.queue.range(..(rank, id)).count();
                format!("in the queue: {before} are before it")
            }
            _ => "its DNS is being looked at".to_owned(),
        }
    }

    /// It ends soon, and the last try failed, or nothing can be tried.
    pub(super) fn alarm(&self, id: usize, now: Timestamp) -> bool {
        let entry = &self.entries[id];
        let Some(facts) = entry.facts.as_ref().filter(|_| entry.wanted) else { return false };
        let held = || self.hold(id, now).is_some() || self.house_hold(now).is_some();
        let blind = || !self.ready || matches!(entry.dns.found, Some((_, Finding::Missing(_))));
        let stuck = entry.memory.failures > 0 || self.wrong || (entry.order.is_none() && (held() || blind()));
        now >= facts.alarm_at() && stuck
    }
}
