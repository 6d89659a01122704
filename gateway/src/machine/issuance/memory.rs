//! What of issuance outlives the process: one [`Memory`] a subject, one [`Ledger`] for the house.
//!
//! A field that is not in an older file has its default. Every moment is the wall clock's.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    budget::keep,
    span::{DAY, HOUR, LONGEST_WAIT, later},
};
use crate::model::FailureKind;

/// What is remembered of one subject; see [`super::Issuance::memory`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// An order was placed, its URL is on disk, and it has not ended: the next one goes on with it and is no new one.
    pub placed: bool,
    /// An order is under way that the ledger counts as a certificate. Lost before it was placed, it was none.
    pub reserved: bool,
    /// How often a placed order was gone on with since it was placed.
    pub resumed: u32,
    /// How many challenges are to be skipped, in turns.
    pub rotation: u32,
    /// Orders of the last hour that may have ended in a failed validation: the ones that did, and the ones that are under way.
    pub tries: Vec<Timestamp>,
    /// Failed tries in a row, of any kind.
    pub failures: u32,
    /// Failed tries in a row that count for the back-off: validations and our DNS.
    pub streak: u32,
    /// Nothing is tried before this is over.
    pub wait: Option<Wait>,
    /// What went wrong at the last try, until one succeeds.
    pub last_error: Option<LastError>,
    /// The moment that was drawn from the authority's window for the certificate.
    pub window: Option<Window>,
    /// When the authority is asked again when to renew.
    pub ask_at: Option<Timestamp>,
    /// The certificate that the authority says was replaced already: it is not named again.
    pub replaced: Option<String>,
    /// An operator wants it anew.
    pub renew: bool,
}

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Its begin: a clock that was set back makes it no longer than it was.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// Why.
    pub why: FailureKind,
    /// The authority said how long: no operator is above it.
    pub told: bool,
}

impl Wait {
    /// A wait of this length, at most the longest that there is.
    pub(super) fn of(length: SignedDuration, why: FailureKind, told: bool, now: Timestamp) -> Self {
        Self { since: now, until: later(now, length.min(LONGEST_WAIT)), why, told }
    }

    /// Its end as it is believed at `now`; `None`: it is over.
    pub(super) fn end(&self, now: Timestamp) -> Option<Timestamp> {
        let length = self.until.duration_since(self.since).clamp(SignedDuration::ZERO, LONGEST_WAIT);
        let until = self.until.min(later(now, length));
        (until > now).then_some(until)
    }

    /// One that has not begun yet is of a clock that was set: it begins now.
    fn clamp(&mut self, now: Timestamp) {
        if self.since > now {
            self.shift(now.duration_since(self.since));
        }
    }

    pub(super) fn shift(&mut self, by: SignedDuration) {
        self.since = later(self.since, by);
        self.until = later(self.until, by);
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// What it means.
    pub kind: FailureKind,
    /// A sentence.
    pub detail: String,
}

/// The authority's window for a certificate, and the moment in it that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The certificate's renewal identifier.
    pub certificate: String,
    /// Unix seconds.
    pub start: i64,
    /// Unix seconds.
    pub end: i64,
    /// The moment.
    pub at: Timestamp,
}

/// How much of the authority's limits is used up, and what it said to the whole house; see [`super::Issuance::ledger`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// When it was last looked at: a clock that shows less was set back.
    pub seen: Option<Timestamp>,
    /// When the bucket of new orders is full again.
    pub orders: Option<Timestamp>,
    /// The renewals of the last minute.
    pub renewals: Vec<Timestamp>,
    /// By a subject's stem: its certificates of the last week, and the orders that may become one.
    pub sets: BTreeMap<String, Vec<Timestamp>>,
    /// By registered domain: first certificates of the last week.
    pub domains: BTreeMap<String, Vec<Timestamp>>,
    /// By registered domain: what the authority said to it.
    pub domain_waits: BTreeMap<String, Wait>,
    /// The authority is not there.
    pub unreachable: Option<Wait>,
    /// It said that the account, the address or the service has had enough.
    pub limited: Option<Wait>,
    /// It does not take the account.
    pub stopped: Option<Wait>,
}

impl Ledger {
    /// Moves every moment, so that each keeps its age when the clock was set.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        let moments = self.orders.iter_mut().chain(&mut self.renewals);
        let moments = moments.chain(self.sets.values_mut().flatten()).chain(self.domains.values_mut().flatten());
        for moment in moments {
            *moment = later(*moment, by);
        }
        self.waits().for_each(|wait| wait.shift(by));
    }

    /// Believes no moment that is further in the future than can be.
    pub(super) fn clamp(&mut self, now: Timestamp) {
        self.waits().for_each(|wait| wait.clamp(now));
        self.prune(now);
    }

    fn waits(&mut self) -> impl Iterator<Item = &mut Wait> {
        let waits = [&mut self.unreachable, &mut self.limited, &mut self.stopped].into_iter().flatten();
        waits.chain(self.domain_waits.values_mut())
    }
}

impl Memory {
    /// As [`Ledger::clamp`].
    pub(super) fn clamp(&mut self, now: Timestamp) {
        keep(&mut self.tries, HOUR, now);
        self.ask_at = self.ask_at.filter(|at| *at <= later(now, DAY));
        if let Some(wait) = &mut self.wait {
            wait.clamp(now);
        }
    }

    /// As [`Ledger::shift`]. The moment of a renewal is the calendar's, and stays.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        for moment in self.tries.iter_mut().chain(&mut self.ask_at) {
            *moment = later(*moment, by);
        }
        if let Some(wait) = &mut self.wait {
            wait.shift(by);
        }
    }
}
