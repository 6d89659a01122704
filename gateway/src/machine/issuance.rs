//! Which certificate is asked for when: what is wanted, what DNS says, what the authority answered, how much of its limits is
//! used up, and when each is to be renewed.
//!
//! Certificates live by the calendar, and what is remembered here outlives a boot: time is the wall clock's. A clock that was
//! set is no reason to ask more often than before, nor to wait longer than the longest wait there is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    machine::backoff::SplitMix64,
    model::{Failure, Finding, RenewalAnswer, Subject},
};

mod budget;
mod clock;
mod failure;
mod memory;
mod news;
mod renewal;
mod rounds;
mod span;
mod subject;
#[cfg(test)]
mod tests;
mod view;

use subject::{Entry, Rank};

pub use memory::{LastError, Ledger, Memory, Wait, Window};
pub use span::WRITTEN;
pub use view::View;

/// What is known of a certificate that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its begin.
    pub not_before: Timestamp,
    /// Its end.
    pub not_after: Timestamp,
    /// Its identifier for renewal information (RFC 9773 section 4.1), where it has one.
    pub renewal_id: Option<String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All that is wanted, whole. What is not in it any more is left alone, and its certificate kept.
    Wanted(BTreeSet<Subject>),
    /// What lies on disk for this subject, told once before anything else is; `None`: nothing that could be used.
    Have(Subject, Option<Facts>),
    /// The role takes work. What it was at before is unknown to it.
    RoleReady,
    /// The role has gone, and with it all that it was at; orders that were placed are gone on with.
    RoleGone,
    /// DNS was looked at.
    Looked(Subject, Finding),
    /// The URL of the order under way is on disk: from now on it is gone on with, and is no new one.
    Placed(Subject),
    /// An order ended well, and its certificate is on disk.
    Issued(Subject, Facts),
    /// An order brought nothing.
    Failed(Subject, Failure),
    /// When the authority would have it renewed.
    Renewal(Subject, Result<RenewalAnswer, Failure>),
    /// An operator wants it anew, now: no wait of ours is in the way, but the authority's limits are.
    Renew(Subject),
    /// The settings were changed by an operator: what waits for that may be tried again.
    Changed,
    /// The deadline has passed, or the clock was set.
    Timer,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// [`Issuance::memory`] of this subject must be on disk before what follows is done.
    Keep(Subject),
    /// [`Issuance::ledger`] must be on disk before what follows is done.
    KeepLedger,
    /// Look at a custom domain's DNS.
    Look(Subject),
    /// Order; go on with the order that was placed, if there is one.
    Order {
        /// What for.
        subject: Subject,
        /// The certificate that it replaces, by its renewal identifier.
        replaces: Option<String>,
        /// How many of the challenges to skip, in turns: the ones before have failed.
        rotation: u32,
    },
    /// Give the order under way up: it is not wanted any more.
    Cancel(Subject),
    /// Ask when to renew.
    AskRenewal {
        /// Which.
        subject: Subject,
        /// Its renewal identifier.
        certificate: String,
    },
    /// For the log: `event` is `failed`, `waiting` (for DNS), `limited`, `renewing`, `expiring` or `clock`.
    Log {
        /// About which.
        subject: Option<Subject>,
        /// What.
        event: &'static str,
        /// A sentence.
        reason: String,
        /// The next try.
        next: Option<Timestamp>,
    },
}

/// Decides for all subjects of a house. Time is told; what is to outlive it is asked for by [`Action::Keep`] and
/// [`Action::KeepLedger`], and given back by [`Issuance::recall`] and [`Issuance::recall_ledger`].
#[derive(Clone, Debug)]
pub struct Issuance {
    random: SplitMix64,
    entries: Vec<Entry>,
    ids: BTreeMap<Subject, usize>,
    /// Who is to be looked at when.
    agenda: BTreeSet<(Timestamp, usize)>,
    /// Who waits for a look or a question, the longest first.
    chores: BTreeSet<(Timestamp, usize)>,
    /// Who waits for an order.
    queue: BTreeSet<(Rank, usize)>,
    ledger: Ledger,
    /// The role takes work.
    ready: bool,
    /// Orders under way.
    under_way: usize,
    /// The one order that tries whether the authority is back.
    probe: Option<usize>,
    /// The authority was heard of.
    heard: Option<Timestamp>,
    /// The last looks and questions.
    recent: VecDeque<Timestamp>,
    /// When this was last told the time, and when it had asked to be.
    last: Option<Timestamp>,
    promised: Option<Timestamp>,
    /// The clock is before this was written.
    wrong: bool,
    /// What was recalled was held against the clock.
    believed: bool,
    /// The log knows that the budget is used up.
    said_full: bool,
}

impl Issuance {
    /// Nothing is known yet. The seed decides jitter and drawn moments.
    pub fn new(seed: u64) -> Self {
        Self {
            random: SplitMix64::new(seed),
            entries: Vec::new(),
            ids: BTreeMap::new(),
            agenda: BTreeSet::new(),
            chores: BTreeSet::new(),
            queue: BTreeSet::new(),
            ledger: Ledger::default(),
            ready: false,
            under_way: 0,
            probe: None,
            heard: None,
            recent: VecDeque::new(),
            last: None,
            promised: None,
            wrong: false,
            believed: false,
            said_full: false,
        }
    }

    /// What was kept of a subject. Before the first event.
    pub fn recall(&mut self, subject: Subject, memory: Memory) {
        let id = self.entry(&subject, Timestamp::MIN);
        self.entries[id].memory = memory;
    }

    /// What was kept of the house. Before the first event.
    pub fn recall_ledger(&mut self, ledger: Ledger) {
        self.ledger = ledger;
    }

    /// What is to be kept of a subject; `None`: it is unknown.
    pub fn memory(&self, subject: &Subject) -> Option<Memory> {
        self.ids.get(subject).map(|id| self.entries[*id].memory.clone())
    }

    /// What is to be kept of the house. It does not grow: what is older than the limits' windows is dropped.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Takes note of what happened, and says what is to be done.
    pub fn on(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut out = Vec::new();
        let believed = self.clock(now, &mut out);
        self.take(event, believed, &mut out);
        self.round(now, &mut out);
        self.last = Some(now);
        self.promised = self.deadline();
        out
    }

    /// The place of a subject; it is made if there is none.
    fn entry(&mut self, subject: &Subject, now: Timestamp) -> usize {
        if let Some(id) = self.ids.get(subject) {
            return *id;
        }
        self.entries.push(Entry::new(subject.clone(), now));
        self.ids.insert(subject.clone(), self.entries.len() - 1);
        self.entries.len() - 1
    }
}
