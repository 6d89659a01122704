//! What the machine says is to be done, as work for the role: each piece under a number of its own.

use std::collections::{BTreeMap, VecDeque};

use super::role::seal;
use crate::{
    machine::issuance::{Action, Event},
    master::house::House,
    model::{Challenge, Failure, FailureKind, Finding, RenewalAnswer, Subject},
    wire::{JobId, OrderPlan, Record, ToAcme},
};

/// What a job is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Look(Subject),
    Order(Subject),
    AskRenewal(Subject),
    /// Whose record; `None`: of a certificate that was thrown away.
    Clean(Option<Subject>, Record),
    Trial,
}

/// An order that waits until what an earlier one has left is gone: its own records may be the very same.
struct Waiting {
    subject: Subject,
    replaces: Option<String>,
    rotation: u32,
}

/// The jobs under way.
#[derive(Default)]
pub(super) struct Jobs {
    last: u64,
    under_way: BTreeMap<JobId, Work>,
    /// What an order is at, in the role's words.
    steps: BTreeMap<JobId, String>,
    waiting: Vec<Waiting>,
}

impl Jobs {
    /// A number for this work, never used twice.
    pub(super) fn begin(&mut self, work: Work) -> JobId {
        self.last += 1;
        self.under_way.insert(JobId(self.last), work);
        JobId(self.last)
    }

    pub(super) fn work(&self, job: JobId) -> Option<&Work> {
        self.under_way.get(&job)
    }

    /// It has come to this.
    pub(super) fn step(&mut self, job: JobId, line: &str) {
        if self.under_way.contains_key(&job) {
            self.steps.insert(job, line.to_owned());
        }
    }

    /// What the order for this subject is at.
    pub(super) fn last_step(&self, subject: &Subject) -> Option<&str> {
        let job = self.of(&Work::Order(subject.clone()))?;
        self.steps.get(&job).map(String::as_str)
    }

    /// It has ended.
    pub(super) fn end(&mut self, job: JobId) -> Option<Work> {
        self.steps.remove(&job);
        self.under_way.remove(&job)
    }

    /// All of them are unknown to the role: it has gone. Numbers go on.
    pub(super) fn forget(&mut self) {
        self.under_way.clear();
        self.steps.clear();
        self.waiting.clear();
    }

    fn of(&self, work: &Work) -> Option<JobId> {
        self.under_way.iter().find(|(_, one)| *one == work).map(|(job, _)| *job)
    }

    fn cleaning(&self, subject: Option<&Subject>) -> bool {
        self.under_way.values().any(|work| matches!(work, Work::Clean(whose, _) if whose.as_ref() == subject))
    }

    /// Whether an order for it is under way, or waits for a clean place.
    pub(super) fn is_ordering(&self, subject: &Subject) -> bool {
        self.of(&Work::Order(subject.clone())).is_some() || self.waiting.iter().any(|one| one.subject == *subject)
    }
}

impl House {
    /// Tells the machine, and does what it says, in that order.
    pub(in crate::master) fn tell_issuance(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(issuing) = &mut self.issuing else { return };
            let actions = issuing.machine.on(event, jiff::Timestamp::now());
            self.untold |= !actions.is_empty();
            // Of what is not on disk nothing may be done that a crash would have to know of.
            let mut unkept: Option<std::io::Error> = None;
            for action in actions {
                if let (Action::Order { subject, .. }, Some(error)) = (&action, &unkept) {
                    let failure = not_written(error);
                    self.log_failure(Some(subject), &failure);
                    events.push_back(Event::Failed(subject.clone(), failure));
                    continue;
                }
                match self.act_for_issuance(action) {
                    Ok(None) => {}
                    Ok(Some(event)) => events.push_back(event),
                    Err(error) => {
                        self.say_unwritten(&error);
                        unkept = Some(error);
                    }
                }
            }
        }
    }

    /// What the machine is to be told of it at once.
    ///
    /// # Errors
    /// What had to be on disk is not.
    fn act_for_issuance(&mut self, action: Action) -> std::io::Result<Option<Event>> {
        let Some(issuing) = &mut self.issuing else { return Ok(None) };
        match action {
            Action::Keep(subject) => issuing.papers.keep_memory(&subject, issuing.machine.memory(&subject))?,
            Action::KeepLedger => issuing.papers.keep_ledger(&issuing.machine.ledger())?,
            Action::Look(subject) => {
                let host = subject.host().clone();
                let job = issuing.jobs.begin(Work::Look(subject));
                issuing.role.send(ToAcme::Look { job, host }, Vec::new());
            }
            Action::Order { subject, replaces, rotation } => {
                self.clean_for(&subject);
                let Some(issuing) = &mut self.issuing else { return Ok(None) };
                let order = Waiting { subject, replaces, rotation };
                if issuing.jobs.cleaning(Some(&order.subject)) {
                    issuing.jobs.waiting.push(order);
                } else {
                    return Ok(self.order(order));
                }
            }
            Action::Cancel(subject) => {
                issuing.jobs.waiting.retain(|one| one.subject != subject);
                match issuing.jobs.of(&Work::Order(subject.clone())) {
                    Some(job) => issuing.role.send(ToAcme::Cancel { job }, Vec::new()),
                    None => return Ok(Some(Event::Failed(subject, cancelled()))),
                }
            }
            Action::AskRenewal { subject, certificate } => {
                let job = issuing.jobs.begin(Work::AskRenewal(subject));
                issuing.role.send(ToAcme::AskRenewal { job, certificate }, Vec::new());
            }
            Action::Log { subject, event, reason, next } => self.log_certificate(subject, event, &reason, next),
        }
        Ok(None)
    }

    /// Sends an order. What the machine is to be told, if that cannot be done.
    fn order(&mut self, order: Waiting) -> Option<Event> {
        let Waiting { subject, replaces, rotation } = order;
        let acme = &self.gateway.acme;
        let issuing = self.issuing.as_mut()?;
        let placed = issuing.papers.order(&subject, &acme.directory);
        // Going on with an order costs nothing of any limit, a new one does: which of the two it is must be known.
        let known = placed.is_some_and(|placed| placed.url.is_some());
        if !known && issuing.machine.memory(&subject).is_some_and(|memory| memory.placed) {
            return Some(Event::Failed(subject, elsewhere()));
        }
        let plan = OrderPlan {
            names: subject.names(),
            challenges: challenges(&subject, &acme.challenges, rotation),
            directory: acme.directory.clone(),
            account: issuing.papers.account(&acme.directory).cloned(),
            key_pem: placed.map(|placed| placed.key_pem.clone()),
            order_url: placed.and_then(|placed| placed.url.clone()),
            replaces,
            profile: acme.profile.clone(),
        };
        match seal("order", &plan) {
            Ok(sealed) => {
                let job = issuing.jobs.begin(Work::Order(subject));
                issuing.role.send(ToAcme::Order { job }, vec![sealed]);
                None
            }
            Err(error) => Some(Event::Failed(subject, not_written(&error))),
        }
    }

    /// Has all removed that was noted and never was: at the start of a role it is nobody's.
    pub(super) fn clean(&mut self) {
        let now = self.now();
        if let Some(issuing) = &mut self.issuing {
            issuing.cleaned = now;
        }
        self.clean_those(|_| true);
    }

    pub(super) fn clean_for(&mut self, wanted: &Subject) {
        self.clean_those(|subject| subject == Some(wanted));
    }

    fn clean_those(&mut self, wanted: impl Fn(Option<&Subject>) -> bool) {
        let Some(issuing) = self.issuing.as_mut().filter(|issuing| issuing.ready) else { return };
        for (subject, record) in issuing.papers.leftovers() {
            let busy = subject.as_ref().is_some_and(|it| issuing.jobs.of(&Work::Order(it.clone())).is_some())
                || subject.is_none() && issuing.trial.is_some();
            // The authority may be about to look at it: the order that is gone on with removes it, or leaves it to its end.
            let needed = subject.as_ref().is_some_and(|it| issuing.wanted.contains(it) && issuing.papers.is_placed(it));
            let work = Work::Clean(subject, record.clone());
            let Work::Clean(subject, _) = &work else { continue };
            if !wanted(subject.as_ref()) || busy || needed || issuing.jobs.of(&work).is_some() {
                continue;
            }
            match seal("record", &record) {
                Ok(sealed) => {
                    let job = issuing.jobs.begin(work);
                    issuing.role.send(ToAcme::Clean { job }, vec![sealed]);
                }
                Err(error) => tracing::error!(%error, "a challenge record stays"),
            }
        }
    }

    /// A record is gone, or is not: what waited for that goes on either way, for the authority takes several.
    pub(super) fn on_cleaned(&mut self, job: JobId, error: Option<String>) {
        let Some(issuing) = &mut self.issuing else { return };
        let Some(Work::Clean(subject, record)) = issuing.jobs.end(job) else { return };
        match error {
            None => {
                if let Err(error) = issuing.papers.note(subject.as_ref(), &record, false) {
                    self.say_unwritten(&error);
                }
            }
            Some(error) => {
                let (name, value) = (&record.name, &record.value);
                tracing::warn!(name, value, error, "a challenge record stays, and is removed later");
            }
        }
        let Some(issuing) = &mut self.issuing else { return };
        if issuing.jobs.cleaning(subject.as_ref()) {
            return;
        }
        let at = issuing.jobs.waiting.iter().position(|one| Some(&one.subject) == subject.as_ref());
        if let Some(order) = at.map(|at| issuing.jobs.waiting.swap_remove(at))
            && let Some(event) = self.order(order)
        {
            self.tell_issuance(event);
        }
    }

    pub(super) fn on_looked(&mut self, job: JobId, finding: Finding) {
        let tried = self.is_tried(job);
        let work = self.issuing.as_mut().and_then(|issuing| issuing.jobs.end(job));
        match work {
            Some(Work::Look(subject)) => {
                let missing = match &finding {
                    Finding::Missing(sentence) => Some(sentence.clone()),
                    Finding::Ready(_) | Finding::Unknown(_) => None,
                };
                self.tell_issuance(Event::Looked(subject.clone(), finding));
                if let Some(sentence) = missing {
                    self.refuse_renewal(&subject, &sentence);
                }
            }
            Some(Work::Trial) if tried => self.on_trial_looked(finding),
            _ => {}
        }
    }

    pub(super) fn on_renewal(&mut self, job: JobId, answer: Result<RenewalAnswer, Failure>) {
        let work = self.issuing.as_mut().and_then(|issuing| issuing.jobs.end(job));
        if let Some(Work::AskRenewal(subject)) = work {
            self.tell_issuance(Event::Renewal(subject, answer));
        }
    }
}

/// The zone by DNS; a custom domain by what the settings allow, another one first where the ones before have failed.
fn challenges(subject: &Subject, allowed: &[Challenge], rotation: u32) -> Vec<Challenge> {
    match subject {
        Subject::Zone(_) => vec![Challenge::Dns01],
        Subject::Domain(_) => {
            let mut challenges = allowed.to_vec();
            let skipped = usize::try_from(rotation).unwrap_or_default() % challenges.len().max(1);
            challenges.rotate_left(skipped);
            challenges
        }
    }
}

/// Nothing is ordered that would not be known after a crash; as long as the disk is full, nothing at all.
fn not_written(error: &std::io::Error) -> Failure {
    Failure {
        kind: FailureKind::Unreachable,
        detail: format!("nothing is ordered, because it could not be written down before: {error}"),
        retry_after: None,
        order_ended: false,
    }
}

/// After a change of the directory.
fn elsewhere() -> Failure {
    Failure {
        kind: FailureKind::Cancelled,
        detail: "the order that was placed is another authority's: a new one is made".into(),
        retry_after: None,
        order_ended: true,
    }
}

fn cancelled() -> Failure {
    Failure {
        kind: FailureKind::Cancelled,
        detail: "it is not wanted any more".into(),
        retry_after: None,
        order_ended: false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn challenges_take_turns() {
        let (domain, both) = (Subject::Domain("a.example".parse().unwrap()), [Challenge::TlsAlpn01, Challenge::Http01]);
        assert_eq!(challenges(&domain, &both, 0), both);
        assert_eq!(challenges(&domain, &both, 1), [Challenge::Http01, Challenge::TlsAlpn01]);
        assert_eq!(challenges(&domain, &both, 2), both);
        assert_eq!(challenges(&domain, &both[1..], 3), both[1..]);
        let zone = Subject::Zone("apps.example".parse().unwrap());
        assert_eq!(challenges(&zone, &both, 1), [Challenge::Dns01]);
    }

    #[test]
    fn numbers_go_on_when_the_role_has_gone() {
        let mut jobs = Jobs::default();
        let subject = Subject::Domain("a.example".parse().unwrap());
        let first = jobs.begin(Work::Order(subject.clone()));
        assert!(jobs.is_ordering(&subject));
        jobs.forget();
        assert!(!jobs.is_ordering(&subject) && jobs.work(first).is_none());
        assert!(jobs.begin(Work::Look(subject)) > first);
    }
}
