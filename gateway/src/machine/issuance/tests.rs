//! Tables for what a rule says, and weeks of a virtual world around a model authority for what all of them make of a house.
//! A seed that fails is printed; `LANDLORD_SEED=n cargo test -p landlord --lib machine::issuance` runs it alone, and
//! `LANDLORD_SEEDS=n` more of them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod authority;
mod failures;
mod rules;
mod weeks;
mod world;

use jiff::{SignedDuration, Timestamp};

use super::{
    Facts, WRITTEN,
    span::{DAY, later},
};
use crate::model::{Failure, FailureKind, Subject};

/// A moment of a right clock.
fn at(seconds: i64) -> Timestamp {
    later(WRITTEN, DAY * 100 + SignedDuration::from_secs(seconds))
}

fn domain(host: &str) -> Subject {
    Subject::Domain(host.parse().unwrap())
}

fn zone() -> Subject {
    Subject::Zone("apps.example.com".parse().unwrap())
}

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, detail: format!("{kind:?}"), retry_after: None, order_ended: true }
}

/// A certificate without renewal information.
fn facts(from: Timestamp, life: SignedDuration) -> Facts {
    Facts { not_before: from, not_after: later(from, life), renewal_id: None }
}
