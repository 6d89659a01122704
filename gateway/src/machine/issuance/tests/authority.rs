//! A model authority with Let's Encrypt's published limits, which a breach of ends the test.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::failure;
use crate::{
    machine::issuance::{
        Facts,
        span::{HOUR, WEEK, later},
    },
    model::{Failure, FailureKind, RenewalAnswer, Subject},
};

/// The authority. Its clock is right.
pub(super) struct Authority {
    pub(super) down: bool,
    /// Not there for this one.
    pub(super) poisoned: Option<Subject>,
    /// Whether it has renewal information.
    pub(super) informs: bool,
    pub(super) life: SignedDuration,
    /// Whose validations fail.
    pub(super) unseen: BTreeSet<Subject>,
    /// New orders, exempt ones left out.
    pub(super) orders: Vec<Timestamp>,
    pub(super) failures: BTreeMap<Subject, Vec<Timestamp>>,
    pub(super) issued: BTreeMap<Subject, Vec<Timestamp>>,
    first: BTreeMap<String, Vec<Timestamp>>,
    replaced: BTreeSet<String>,
    certificates: u64,
    full: Option<Timestamp>,
}

impl Authority {
    pub(super) fn new(life: SignedDuration, informs: bool) -> Self {
        Self {
            down: false,
            poisoned: None,
            informs,
            life,
            unseen: BTreeSet::new(),
            orders: Vec::new(),
            failures: BTreeMap::new(),
            issued: BTreeMap::new(),
            first: BTreeMap::new(),
            replaced: BTreeSet::new(),
            certificates: 0,
            full: None,
        }
    }

    /// newOrder. Whether it is exempt.
    pub(super) fn order(&mut self, subject: &Subject, replaces: Option<&str>, now: Timestamp) -> Result<bool, Failure> {
        if self.down || self.poisoned.as_ref() == Some(subject) {
            return Err(failure(FailureKind::Unreachable));
        }
        if let Some(id) = replaces {
            assert!(self.informs, "`replaces` for an authority without renewal information");
            if self.replaced.contains(id) {
                return Err(failure(FailureKind::AlreadyReplaced));
            }
            return Ok(true);
        }
        self.orders.push(now);
        // 300 at once, one back every 36 s.
        let full = later(self.full.map_or(now, |full| full.max(now)), SignedDuration::from_secs(36));
        self.full = Some(full);
        let used = full.duration_since(now).as_secs() / 36;
        assert!(used <= 300, "{used} new orders without a pause, the last for {subject} at {now}");
        let failed = within(self.failures.get(subject), HOUR, now);
        assert!(failed < 5, "an order for {subject} at {now} after {failed} failed validations in an hour");
        Ok(false)
    }

    /// The order's validation and its certificate.
    pub(super) fn end(
        &mut self,
        subject: &Subject,
        replaces: Option<&str>,
        exempt: bool,
        now: Timestamp,
    ) -> Result<Facts, Failure> {
        if self.down {
            return Err(Failure { order_ended: false, ..failure(FailureKind::Unreachable) });
        }
        if self.unseen.contains(subject) {
            let failures = self.failures.entry(subject.clone()).or_default();
            failures.extend(subject.names().iter().map(|_| now));
            assert!(
                within(Some(failures), HOUR, now) <= 5,
                "more than 5 failed validations of {subject} in an hour at {now}"
            );
            return Err(failure(FailureKind::Validation));
        }
        let known = self.issued.contains_key(subject);
        let issued = self.issued.entry(subject.clone()).or_default();
        issued.push(now);
        let weekly = self.life >= SignedDuration::from_hours(24);
        if weekly && !exempt {
            assert!(within(Some(issued), WEEK, now) <= 5, "more than 5 certificates of {subject} in a week at {now}");
        }
        if !known {
            let registered = psl::domain_str(subject.host().as_str()).unwrap_or("?").to_owned();
            let first = self.first.entry(registered).or_default();
            first.push(now);
            assert!(
                within(Some(first), WEEK, now) <= 50,
                "more than 50 certificates around {subject} in a week at {now}"
            );
        }
        self.replaced.extend(replaces.map(str::to_owned));
        self.certificates += 1;
        // As Let's Encrypt does, an hour in the past; as much of it as a short life has.
        let not_before = later(now, -HOUR.min(self.life / 100));
        let renewal_id = self.informs.then(|| format!("id.{}", self.certificates));
        Ok(Facts { not_before, not_after: later(not_before, self.life), renewal_id })
    }

    pub(super) fn renewal(&self, facts: &Facts) -> Result<RenewalAnswer, Failure> {
        if self.down {
            return Err(failure(FailureKind::Unreachable));
        }
        let start = facts.with_left(3);
        let end = later(start, facts.life() / 30);
        let retry_after = std::time::Duration::from_secs(6 * 3600);
        Ok(RenewalAnswer { start: start.as_second(), end: end.as_second() + 1, explanation_url: None, retry_after })
    }
}

/// How many are within the window.
fn within(moments: Option<&Vec<Timestamp>>, window: SignedDuration, now: Timestamp) -> usize {
    let recent = |moments: &Vec<Timestamp>| moments.iter().filter(|at| now.duration_since(**at) < window).count();
    moments.map_or(0, recent)
}
