//! Which certificate is asked for when: what is wanted, what DNS says, what the authority answered, how much of its limits is
//! used up, and when each is to be renewed.
//!
//! Certificates live by the calendar, and what is remembered here outlives a boot: time is the wall clock's. A clock that was
//! set is no reason to ask more often than before, nor to wait longer than the longest wait there is.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Failure, Finding, RenewalAnswer, Subject};

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
