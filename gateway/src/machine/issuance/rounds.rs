//! Whose turn it is. Every subject is listed in one place at most: the agenda (later), the chores (DNS or a question, now)
//! or the queue (an order, now); each change of a subject lists it anew.

use jiff::{SignedDuration, Timestamp};

use super::{
    Action, Issuance,
    budget::{self, AT_ONCE, failures_full},
    failure::resume_wait,
    span::{HOUR, MINUTE, SECOND, later},
    subject::{Class, Place, Rank, Sight},
};
use crate::model::Finding;

/// Looks and questions in a second.
const CHORES: usize = 20;

impl Issuance {
    /// Does whatever may be done now.
    pub(super) fn round(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        if self.wrong {
            return;
        }
        while let Some(&(at, id)) = self.agenda.first()
            && at <= now
        {
            if self.entries[id].is_look_lost(now) {
                let lost = Finding::Unknown("the look at DNS was not answered".to_owned());
                self.entries[id].dns.saw(lost, &mut self.random, now);
            }
            self.settle(id, now);
            self.say(id, now, out);
        }
        self.do_chores(now, out);
        self.order(now, out);
    }

    /// Lists every subject anew.
    pub(super) fn settle_all(&mut self, now: Timestamp) {
        for id in 0..self.entries.len() {
            self.settle(id, now);
        }
    }

    /// Lists a subject where it belongs.
    pub(super) fn settle(&mut self, id: usize, now: Timestamp) {
        match self.entries[id].place {
            Place::Nowhere => false,
            Place::Agenda(at) => self.agenda.remove(&(at, id)),
            Place::Chore(at) => self.chores.remove(&(at, id)),
            Place::Queue(rank) => self.queue.remove(&(rank, id)),
        };
        let place = self.place(id, now);
        self.entries[id].place = place;
        match place {
            Place::Nowhere => false,
            Place::Agenda(at) => self.agenda.insert((at, id)),
            Place::Chore(at) => self.chores.insert((at, id)),
            Place::Queue(rank) => self.queue.insert((rank, id)),
        };
    }

    fn place(&self, id: usize, now: Timestamp) -> Place {
        let entry = &self.entries[id];
        if !entry.wanted || self.wrong {
            return Place::Nowhere;
        }
        let ask = entry
            .ask_at(now)
            .map(|at| self.ledger.limited.and_then(|wait| wait.end(now)).map_or(at, |end| at.max(end)));
        if let Some(at) = ask.filter(|at| *at <= now) {
            return Place::Chore(at);
        }
        let start = entry.due().max(self.hold(id, now).map_or(Timestamp::MIN, |hold| hold.until));
        let wake = match entry.sight(now) {
            _ if entry.order.is_some() => None,
            _ if start > now => Some(start),
            Sight::Go => return Place::Queue(entry.rank()),
            Sight::Look => return Place::Chore(now),
            Sight::Wait(until) => Some(until),
        };
        let ages = entry.ages().filter(|at| *at > now);
        let next = wake.into_iter().chain(ask).chain(ages).min();
        next.map_or(Place::Nowhere, |at| Place::Agenda(at.max(later(now, SignedDuration::from_millis(1)))))
    }

    /// What is in the way of this subject alone.
    pub(super) fn hold(&self, id: usize, now: Timestamp) -> Option<Hold> {
        let entry = &self.entries[id];
        let (memory, stem) = (&entry.memory, entry.subject.stem());
        let wait = memory.wait.filter(|wait| wait.told || !memory.renew).and_then(|wait| {
            let end = wait.end(now)?;
            let longest =
                entry.facts.as_ref().filter(|_| !wait.told).map(|facts| later(wait.since, facts.longest_wait(now)));
            let until = longest.map_or(end, |longest| end.min(longest));
            let reason = if wait.told { "the authority asked to wait" } else { "the last try failed" };
            (until > now).then(|| Hold { until, reason: reason.to_owned(), limit: wait.told })
        });
        let limit = |until: Option<Timestamp>, reason: String| until.map(|until| Hold { until, reason, limit: true });
        if memory.placed {
            return wait;
        }
        let names = entry.subject.names().len();
        let tries = failures_full(&memory.tries, names, now);
        let tries =
            limit(tries, "authorities allow few failed tries of one name an hour, and they are used up".to_owned());
        let facts = entry.facts.as_ref();
        // One that was lost is as urgent as one that is about to end: the reserve is for both.
        let urgent = facts.is_none_or(|facts| facts.is_emergency(now));
        let set = self.ledger.set_full(&stem, facts.map(super::Facts::life), urgent, now);
        let set = limit(
            set,
            "it had as many certificates as landlord orders in a week, to stay within the authority's limits"
                .to_owned(),
        );
        let domain = entry.registered.as_ref();
        let said = domain.and_then(|domain| self.ledger.domain_waits.get(domain)?.end(now));
        let said = limit(said, "the authority asked to wait with this registered domain".to_owned());
        let first = domain.filter(|_| facts.is_none()).and_then(|domain| self.ledger.domain_full(domain, now));
        let first = limit(
            first,
            "its registered domain had as many new certificates as landlord orders in a week, to stay within the \
             authority's limits"
                .to_owned(),
        );
        [wait, tries, set, said, first].into_iter().flatten().max_by_key(|hold| hold.until)
    }

    /// What is in the way of the whole house, and until when.
    pub(super) fn house_hold(&self, now: Timestamp) -> Option<(Timestamp, String)> {
        let ledger = &self.ledger;
        let waits = [
            (ledger.stopped, "the authority does not take the account: see [acme]"),
            (ledger.limited, "the authority asked to wait"),
            (ledger.unreachable, "the authority does not answer"),
        ];
        let ends = waits.into_iter().filter_map(|(wait, reason)| Some((wait?.end(now)?, reason.to_owned())));
        ends.max_by_key(|(until, _)| *until)
    }

    fn do_chores(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        while self.ready
            && self.chores_full(now).is_none()
            && let Some((_, id)) = self.chores.pop_first()
        {
            self.entries[id].place = Place::Nowhere;
            let entry = &mut self.entries[id];
            self.recent.push_back(now);
            if entry.ask_at(now).is_some_and(|at| at <= now)
                && let Some(facts) = &entry.facts
                && let Some(certificate) = facts.renewal_id.clone()
            {
                // As if it were not answered: a crash does not ask anew.
                entry.memory.unanswered(&facts.clone(), None, now);
                entry.asked = Some(certificate.clone());
                let subject = entry.subject.clone();
                out.push(Action::Keep(subject.clone()));
                out.push(Action::AskRenewal { subject, certificate });
            } else {
                entry.dns.looking = Some(now);
                out.push(Action::Look(entry.subject.clone()));
            }
            self.settle(id, now);
        }
    }

    /// When the next look or question may go; `None`: now.
    pub(super) fn chores_full(&mut self, now: Timestamp) -> Option<Timestamp> {
        while self.recent.len() > CHORES
            || self.recent.front().is_some_and(|at| now < *at || now.duration_since(*at) >= SECOND)
        {
            self.recent.pop_front();
        }
        (self.recent.len() >= CHORES).then(|| self.recent.front().map(|at| later(*at, SECOND))).flatten()
    }

    fn order(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        self.ledger.prune_house(now);
        let mut orders = Vec::new();
        while self.ready && self.under_way < AT_ONCE && self.house_hold(now).is_none() {
            // One goes first to see whether the authority is back.
            if self.ledger.unreachable.is_some() && self.probe.is_some() {
                break;
            }
            let Some((rank, id)) = self.next(now) else { break };
            self.queue.remove(&(rank, id));
            self.entries[id].place = Place::Nowhere;
            self.settle(id, now);
            if self.entries[id].place != Place::Queue(rank) {
                self.say(id, now, out);
                continue;
            }
            self.queue.remove(&(rank, id));
            self.entries[id].place = Place::Nowhere;
            self.start(id, now, &mut orders, out);
            self.settle(id, now);
        }
        if !orders.is_empty() {
            // It has grown.
            self.ledger.prune(now);
            out.push(Action::KeepLedger);
            out.append(&mut orders);
        }
        self.say_full(now, out);
    }

    /// The next one of the queue that the house's limits let go.
    fn next(&self, now: Timestamp) -> Option<(Rank, usize)> {
        let renewals = self.ledger.renewals_full(now).is_none();
        let orders = self.ledger.orders_full(now).is_none();
        let first = |class: Class, open: bool| {
            let from = ((class, Timestamp::MIN), 0);
            let until = ((class, Timestamp::MAX), usize::MAX);
            open.then(|| self.queue.range(from..=until).next().copied()).flatten()
        };
        let renewal = [first(Class::Exempt, renewals), first(Class::Renewal, renewals && orders)];
        let renewal = renewal.into_iter().flatten().min_by_key(|((_, urgency), _)| *urgency);
        first(Class::Going, true).or(renewal).or(first(Class::Zone, orders)).or(first(Class::First, orders))
    }

    fn start(&mut self, id: usize, now: Timestamp, orders: &mut Vec<Action>, out: &mut Vec<Action>) {
        let entry = &mut self.entries[id];
        let (subject, replaces) = (entry.subject.clone(), entry.replaces());
        let renewal = entry.facts.is_some();
        if entry.memory.placed {
            entry.memory.resumed = entry.memory.resumed.saturating_add(1);
            entry.memory.wait = Some(resume_wait(entry.memory.resumed, now));
        } else {
            entry.memory.resumed = 0;
            entry.memory.reserved = true;
            entry.memory.wait = None;
            budget::keep(&mut entry.memory.tries, HOUR, now);
            entry.memory.tries.push(now);
            self.ledger.sets.entry(subject.stem()).or_default().push(now);
            if renewal {
                self.ledger.renewals.push(now);
            } else if let Some(domain) = &entry.registered {
                self.ledger.domains.entry(domain.clone()).or_default().push(now);
            }
            if replaces.is_none() {
                self.ledger.order(now);
            }
        }
        // The next order has a look of its own.
        let missing = entry.dns.found.take();
        entry.dns.next = None;
        entry.order = Some(false);
        self.under_way += 1;
        if self.ledger.unreachable.is_some() {
            self.probe = Some(id);
        }
        let rotation = entry.memory.rotation;
        out.push(Action::Keep(subject.clone()));
        if renewal {
            let reason = match missing {
                Some((_, Finding::Missing(what))) => format!("little is left of it, and still: {what}"),
                _ => "it is time".to_owned(),
            };
            orders.push(Action::Log { subject: Some(subject.clone()), event: "renewing", reason, next: None });
        }
        orders.push(Action::Order { subject, replaces, rotation });
    }

    /// For the log: what a person should know of it now, once.
    fn say(&mut self, id: usize, now: Timestamp, out: &mut Vec<Action>) {
        let hold = self.hold(id, now).filter(|hold| hold.limit && self.entries[id].due() <= now);
        let alarm = self.alarm(id, now);
        let entry = &mut self.entries[id];
        let subject = Some(entry.subject.clone());
        if let Some(Hold { until, reason, .. }) = hold.filter(|hold| entry.said.limited != Some(hold.until)) {
            entry.said.limited = Some(until);
            out.push(Action::Log { subject: subject.clone(), event: "limited", reason, next: Some(until) });
        }
        if alarm && !entry.said.expiring {
            entry.said.expiring = true;
            let end = entry.facts.as_ref().map_or(now, |facts| facts.not_after);
            let error = entry.memory.last_error.as_ref().map(|error| error.detail.clone());
            let reason = format!("it ends at {end:.0} and is not renewed: {}", error.unwrap_or("it waits".to_owned()));
            out.push(Action::Log { subject, event: "expiring", reason, next: None });
        }
    }

    /// For the log: that the budget of new orders is used up, once.
    fn say_full(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        let counted = ((Class::Renewal, Timestamp::MIN), 0)..;
        let waits = self.queue.range(counted.clone()).next().is_some();
        match self.ledger.orders_full(now).filter(|_| waits) {
            Some(next) if !self.said_full => {
                self.said_full = true;
                let waiting = self.queue.range(counted).count();
                let reason =
                    format!("an authority allows 300 new orders in three hours: {waiting} wait for their turn");
                out.push(Action::Log { subject: None, event: "limited", reason, next: Some(next) });
            }
            None if !waits => self.said_full = false,
            _ => (),
        }
    }

    /// When a `Timer` is due: at the latest in an hour, so that a clock that was set is noticed.
    pub fn deadline(&self) -> Option<Timestamp> {
        let last = self.last?;
        if self.wrong {
            return Some(later(last, MINUTE));
        }
        let orders = self.ledger.orders_full(last);
        let renewals = self.ledger.renewals_full(last);
        let open =
            self.ready && self.under_way < AT_ONCE && !(self.ledger.unreachable.is_some() && self.probe.is_some());
        let gate = match self.queue.first() {
            Some(_) if open => {
                let gates = [orders, renewals].into_iter().flatten().min();
                self.house_hold(last).map(|(until, _)| until).or(gates)
            }
            _ => None,
        };
        let chores = self.recent.front().filter(|_| self.ready && !self.chores.is_empty()).map(|at| later(*at, SECOND));
        let agenda = self.agenda.first().map(|(at, _)| *at);
        let next = [gate, chores, agenda].into_iter().flatten().min().unwrap_or(Timestamp::MAX);
        Some(next.min(later(last, HOUR)).max(later(last, SignedDuration::from_millis(1))))
    }
}

/// What is in the way of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) until: Timestamp,
    /// The begin of a sentence.
    pub(super) reason: String,
    /// A limit of the authority, or its word: nobody is above it.
    pub(super) limit: bool,
}
