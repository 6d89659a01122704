//! What follows an order that brought nothing.

use jiff::{SignedDuration, Timestamp};

use super::{
    Action, Issuance,
    memory::{LastError, Wait},
    renewal::span,
    span::{HOUR, LONGEST_WAIT, MINUTE, SECOND, later},
    subject::jittered,
};
use crate::model::{Failure, FailureKind as Kind, Subject};

/// The authority is not there: until it is asked again.
const UNREACHABLE: SignedDuration = SignedDuration::from_mins(10);
/// Whatever will not change by itself.
const RARE: SignedDuration = SignedDuration::from_hours(12);

impl Issuance {
    pub(super) fn failed(&mut self, subject: &Subject, failure: Failure, now: Timestamp, out: &mut Vec<Action>) {
        let Some(&id) = self.ids.get(subject) else { return };
        let cancelled = self.entries[id].order == Some(true);
        if !self.ended(id) {
            return;
        }
        let told = failure.retry_after.map(|after| span(after).min(LONGEST_WAIT));
        // What was refused as a whole may have been refused for the certificate that it named: of another authority, or of an
        // account that is none any more. Once, it is tried without.
        let named = self.entries[id].replaces().filter(|_| failure.kind == Kind::Request);
        let named = named.filter(|_| !self.entries[id].memory.placed);
        self.account_for(id, &failure, now);
        // Whatever else it was, the authority answered before it.
        if !matches!(failure.kind, Kind::Unreachable | Kind::Cancelled) {
            self.hear(now, out);
        }
        let wait = match &named {
            _ if cancelled => SignedDuration::ZERO,
            Some(_) => SignedDuration::ZERO,
            None => self.judge(id, &failure, told, now),
        };
        let entry = &mut self.entries[id];
        if named.is_some() {
            entry.memory.replaced = named;
        }
        // An operator is above the waits that were there before they asked, not above the one that came of it.
        if !wait.is_zero() && !cancelled {
            entry.memory.renew = false;
        }
        // What the authority says is never cut short; what we say is no longer than the certificate's life lets it be.
        let longest = entry.facts.as_ref().map_or(LONGEST_WAIT, |facts| facts.longest_wait(now));
        entry.memory.wait = match told {
            Some(told) if told >= wait.min(longest) => Some(Wait::of(told + SECOND, failure.kind, true, now)),
            _ if wait.is_zero() => None,
            _ => Some(Wait::of(wait.min(longest), failure.kind, false, now)),
        };
        entry.since = now;
        let quiet = cancelled || matches!(failure.kind, Kind::AlreadyReplaced);
        if !quiet {
            entry.memory.failures = entry.memory.failures.saturating_add(1);
            entry.memory.last_error = Some(LastError { at: now, kind: failure.kind, detail: failure.detail.clone() });
        }
        let house = [self.ledger.unreachable, self.ledger.limited, self.ledger.stopped].into_iter().flatten();
        let next = house.filter_map(|wait| wait.end(now)).chain(entry.memory.wait.map(|wait| wait.until)).max();
        if entry.wanted && !quiet {
            out.push(Action::Log { subject: Some(subject.clone()), event: "failed", reason: failure.detail, next });
        }
        out.push(Action::Keep(subject.clone()));
        out.push(Action::KeepLedger);
        self.settle(id, now);
    }

    /// What of the limits the order has used up, and what it gives back.
    fn account_for(&mut self, id: usize, failure: &Failure, now: Timestamp) {
        let entry = &mut self.entries[id];
        if entry.memory.placed && !failure.order_ended {
            return;
        }
        entry.memory.placed = false;
        entry.memory.resumed = 0;
        if failure.kind == Kind::Validation {
            // It may have taken its time: the authority counts from its end.
            if let Some(last) = entry.memory.tries.last_mut() {
                *last = now;
            }
        } else {
            entry.memory.tries.pop();
        }
        // Where what we sent was wrong, a certificate may have come of it: a bug must not use up the week.
        if failure.kind == Kind::Request {
            entry.memory.reserved = false;
        }
        self.release(id);
    }

    /// No certificate came of an order that has ended, or was lost before it was placed: the week's limits do not count it.
    pub(super) fn release(&mut self, id: usize) {
        let entry = &mut self.entries[id];
        if entry.memory.placed || !entry.memory.reserved {
            return;
        }
        entry.memory.reserved = false;
        if let Some(set) = self.ledger.sets.get_mut(&entry.subject.stem()) {
            set.pop();
        }
        if entry.facts.is_none()
            && let Some(domain) = entry.registered.as_ref().and_then(|domain| self.ledger.domains.get_mut(domain))
        {
            domain.pop();
        }
    }

    /// How long this subject is left alone for a reason of ours; and what it means for the house.
    fn judge(&mut self, id: usize, failure: &Failure, told: Option<SignedDuration>, now: Timestamp) -> SignedDuration {
        let entry = &mut self.entries[id];
        let ours = entry.facts.as_ref().map_or(LONGEST_WAIT, |facts| facts.longest_wait(now));
        match failure.kind {
            Kind::Unreachable => {
                // It was there for others since it was not for this one: the trouble is this order's alone.
                let alone = entry.unreachable_at.is_some_and(|at| self.heard.is_some_and(|heard| heard > at));
                entry.unreachable_at = Some(now);
                if alone {
                    return self.back_off(id);
                }
                let pause = told.unwrap_or(jittered(UNREACHABLE, &mut self.random).min(ours));
                self.ledger.unreachable = Some(Wait::of(pause, failure.kind, told.is_some(), now));
                SignedDuration::ZERO
            }
            Kind::NameLimited => {
                let pause = told.unwrap_or(HOUR);
                if let Some(domain) = entry.registered.clone().filter(|domain| is_of_domain(&failure.detail, domain)) {
                    self.ledger.domain_waits.insert(domain, Wait::of(pause, failure.kind, true, now));
                }
                pause
            }
            Kind::AccountLimited => {
                let pause = told.unwrap_or(HOUR);
                self.ledger.limited = Some(Wait::of(pause, failure.kind, true, now));
                SignedDuration::ZERO
            }
            Kind::Account => {
                let pause = told.map_or(RARE, |told| told.max(RARE));
                self.ledger.stopped = Some(Wait::of(pause, failure.kind, false, now));
                SignedDuration::ZERO
            }
            Kind::Validation => {
                entry.memory.rotation = entry.memory.rotation.wrapping_add(1);
                entry.memory.renew = false;
                self.back_off(id)
            }
            Kind::Dns => {
                entry.memory.renew = false;
                self.back_off(id)
            }
            Kind::Refused | Kind::Request => {
                entry.memory.renew = false;
                jittered(RARE, &mut self.random)
            }
            Kind::AlreadyReplaced => {
                let id = entry.facts.as_ref().and_then(|facts| facts.renewal_id.clone());
                let again = id.is_none() || entry.memory.replaced == id;
                entry.memory.replaced = id;
                // It was not named, and the answer is the same.
                if again { jittered(RARE, &mut self.random) } else { SignedDuration::ZERO }
            }
            // Somebody gave it up. If it was not us, not at once again.
            Kind::Cancelled => MINUTE,
        }
    }

    /// 1, 10, 100 minutes, then 12 hours.
    fn back_off(&mut self, id: usize) -> SignedDuration {
        let memory = &mut self.entries[id].memory;
        memory.streak = memory.streak.saturating_add(1);
        let plain = match memory.streak {
            0 | 1 => MINUTE,
            2 => MINUTE * 10,
            3 => MINUTE * 100,
            _ => RARE,
        };
        jittered(plain, &mut self.random)
    }
}

/// Whether a refusal for a name is about its whole registered domain: the authority's words name it.
fn is_of_domain(detail: &str, domain: &str) -> bool {
    let detail = detail.to_lowercase();
    let named = detail.contains(&format!("\"{domain}\"")) && detail.contains("already issued for");
    detail.contains("registered domain") || (named && !detail.contains("exact set"))
}

/// After a placed order was gone on with for the `nth` time: until it is once more. The first time costs nothing.
pub(super) fn resume_pause(nth: u32) -> SignedDuration {
    (SECOND * 10 * (1 << nth.saturating_sub(1).min(10))).min(MINUTE * 10)
}

/// The end of such a pause.
pub(super) fn resume_wait(nth: u32, now: Timestamp) -> Wait {
    Wait { since: now, until: later(now, resume_pause(nth)), why: Kind::Cancelled, told: false }
}
