//! What happened, taken note of.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Action, Event, Facts, Issuance,
    memory::{LastError, Memory, Wait},
    span::{DAY, HOUR},
};
use crate::model::{Failure, FailureKind, Finding, RenewalAnswer, Subject};

impl Issuance {
    pub(super) fn take(&mut self, event: Event, now: Timestamp, out: &mut Vec<Action>) {
        match event {
            Event::Wanted(subjects) => self.wanted(&subjects, now, out),
            Event::Have(subject, facts) => {
                let id = self.entry(&subject, now);
                self.entries[id].facts = facts;
                self.settle(id, now);
            }
            Event::RoleReady => {
                self.role_gone(now);
                self.ready = true;
            }
            Event::RoleGone => self.role_gone(now),
            Event::Looked(subject, finding) => self.looked(&subject, finding, now, out),
            Event::Placed(subject) => self.placed(&subject, now, out),
            Event::Issued(subject, facts) => self.issued(&subject, facts, now, out),
            Event::Failed(subject, failure) => self.failed(&subject, failure, now, out),
            Event::Renewal(subject, answer) => self.renewal(&subject, answer, now, out),
            Event::Renew(subject) => self.renew(&subject, now, out),
            Event::Changed => self.changed(now, out),
            Event::Timer => (),
        }
    }

    fn wanted(&mut self, subjects: &BTreeSet<Subject>, now: Timestamp, out: &mut Vec<Action>) {
        for subject in subjects {
            let id = self.entry(subject, now);
            let entry = &mut self.entries[id];
            if !entry.wanted {
                entry.wanted = true;
                entry.since = now;
                entry.dns = super::subject::Dns::default();
                // What was under way in another life of this process is not under way any more.
                if entry.order.is_none() {
                    self.release(id);
                }
                self.settle(id, now);
            }
        }
        for id in 0..self.entries.len() {
            let entry = &mut self.entries[id];
            if !entry.wanted || subjects.contains(&entry.subject) {
                continue;
            }
            entry.wanted = false;
            if entry.order == Some(false) {
                entry.order = Some(true);
                out.push(Action::Cancel(entry.subject.clone()));
            }
            self.settle(id, now);
        }
    }

    /// Whatever it was at is to be done again.
    fn role_gone(&mut self, now: Timestamp) {
        self.ready = false;
        self.under_way = 0;
        self.probe = None;
        for id in 0..self.entries.len() {
            let entry = &mut self.entries[id];
            let busy = entry.order.take().is_some() || entry.dns.looking.take().is_some() || entry.asked.is_some();
            // A question that was not answered is asked again, but not of every life of a role that dies of it.
            entry.asked = None;
            if busy {
                self.release(id);
                self.settle(id, now);
            }
        }
    }

    fn looked(&mut self, subject: &Subject, finding: Finding, now: Timestamp, out: &mut Vec<Action>) {
        let Some(&id) = self.ids.get(subject) else { return };
        let entry = &mut self.entries[id];
        let missing = match &finding {
            Finding::Missing(what) => Some(what.clone()),
            Finding::Ready(_) => None,
            Finding::Unknown(_) => entry.said.missing.clone(),
        };
        entry.dns.saw(finding, &mut self.random, now);
        if entry.wanted && missing.is_some() && entry.said.missing != missing {
            out.push(Action::Log {
                subject: Some(subject.clone()),
                event: "waiting",
                reason: missing.clone().unwrap_or_default(),
                next: entry.dns.next,
            });
        }
        entry.said.missing = missing;
        self.settle(id, now);
    }

    fn placed(&mut self, subject: &Subject, now: Timestamp, out: &mut Vec<Action>) {
        let Some(&id) = self.ids.get(subject) else { return };
        self.entries[id].memory.placed = true;
        out.push(Action::Keep(subject.clone()));
        self.hear(now, out);
    }

    fn issued(&mut self, subject: &Subject, facts: Facts, now: Timestamp, out: &mut Vec<Action>) {
        let id = self.entry(subject, now);
        self.ended(id);
        let entry = &mut self.entries[id];
        // The certificate is what was counted when its order was; one that nobody remembers counts too.
        let set = self.ledger.sets.entry(subject.stem()).or_default();
        match set.last_mut().filter(|_| entry.memory.reserved) {
            Some(last) => *last = now,
            None => set.push(now),
        }
        let strange = facts.not_after <= now || facts.not_before.duration_since(now) > DAY;
        entry.memory = Memory { rotation: entry.memory.rotation, ..Memory::default() };
        entry.unreachable_at = None;
        entry.said = super::subject::Said::default();
        if strange {
            let reason = format!(
                "a new certificate is valid from {:.0} to {:.0}, and the clock says {now:.0}: one of them is wrong",
                facts.not_before, facts.not_after
            );
            // Another one would be no better.
            let wait = Wait::of(HOUR * 12, FailureKind::Request, false, now);
            entry.memory.wait = Some(wait);
            entry.memory.failures = 1;
            entry.memory.last_error = Some(LastError { at: now, kind: FailureKind::Request, detail: reason.clone() });
            let subject = Some(subject.clone());
            out.push(Action::Log { subject, event: "clock", reason, next: Some(wait.until) });
        }
        entry.facts = Some(facts);
        out.push(Action::Keep(subject.clone()));
        out.push(Action::KeepLedger);
        self.hear(now, out);
        self.settle(id, now);
    }

    fn renewal(
        &mut self,
        subject: &Subject,
        answer: Result<RenewalAnswer, Failure>,
        now: Timestamp,
        out: &mut Vec<Action>,
    ) {
        let Some(&id) = self.ids.get(subject) else { return };
        let entry = &mut self.entries[id];
        let asked = entry.asked.take();
        // An answer about a certificate that has been replaced meanwhile is about nothing.
        let Some(facts) = entry.facts.clone().filter(|facts| asked.is_some() && facts.renewal_id == asked) else {
            return;
        };
        let had = entry.memory.window.is_some();
        match answer {
            Ok(answer) => {
                let moved = entry.memory.answered(&facts, &answer, &mut self.random, now);
                if moved && (had || answer.explanation_url.is_some()) {
                    let page = answer.explanation_url.map(|page| format!(": {page}")).unwrap_or_default();
                    out.push(Action::Log {
                        subject: Some(subject.clone()),
                        event: "renewing",
                        reason: format!("the authority says when to renew{page}"),
                        next: Some(entry.renewal(&facts).max(now)),
                    });
                }
            }
            Err(failure) => entry.memory.unanswered(&facts, failure.retry_after, now),
        }
        out.push(Action::Keep(subject.clone()));
        self.settle(id, now);
    }

    fn renew(&mut self, subject: &Subject, now: Timestamp, out: &mut Vec<Action>) {
        let Some(&id) = self.ids.get(subject) else { return };
        let entry = &mut self.entries[id];
        if !entry.wanted || entry.order.is_some() {
            return;
        }
        entry.memory.renew = true;
        entry.dns.found = None;
        entry.dns.next = None;
        // A limit that is in the way is said again.
        entry.said.limited = None;
        out.push(Action::Keep(subject.clone()));
        // An operator is above what we decided by ourselves: the authority may be back, and the account in order.
        let ours = [&mut self.ledger.unreachable, &mut self.ledger.stopped].map(|wait| wait.take_if(|wait| !wait.told));
        if ours.iter().any(Option::is_some) {
            self.probe = None;
            out.push(Action::KeepLedger);
        }
        let limit = || self.hold(id, now).filter(|hold| hold.limit).map(|hold| (hold.until, hold.reason));
        if let Some((next, reason)) = self.house_hold(now).or_else(limit) {
            out.push(Action::Log { subject: Some(subject.clone()), event: "limited", reason, next: Some(next) });
        }
        self.settle(id, now);
    }

    /// What waited for an operator is tried again. What the authority said stays said.
    fn changed(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        if self.ledger.stopped.is_some_and(|wait| !wait.told) {
            self.ledger.stopped = None;
            out.push(Action::KeepLedger);
        }
        for id in 0..self.entries.len() {
            let entry = &mut self.entries[id];
            let ours = |wait: &Wait| {
                !wait.told
                    && matches!(
                        wait.why,
                        FailureKind::Request | FailureKind::Account | FailureKind::Dns | FailureKind::Refused
                    )
            };
            if entry.memory.wait.as_ref().is_some_and(ours) {
                entry.memory.wait = None;
                entry.memory.streak = 0;
                out.push(Action::Keep(entry.subject.clone()));
            }
            if entry.wanted && entry.order.is_none() {
                entry.dns.next = None;
                self.settle(id, now);
            }
        }
    }

    /// The authority answered something: it is there.
    pub(super) fn hear(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        self.heard = Some(now);
        self.probe = None;
        // Unless it said how long it is to be left alone.
        if self.ledger.unreachable.take_if(|wait| !wait.told || wait.end(now).is_none()).is_some() {
            out.push(Action::KeepLedger);
        }
    }

    /// The order under way is none any more.
    pub(super) fn ended(&mut self, id: usize) -> bool {
        if self.probe == Some(id) {
            self.probe = None;
        }
        let was = self.entries[id].order.take().is_some();
        self.under_way -= usize::from(was && self.under_way > 0);
        was
    }
}
