//! A master, its disk, its acme role and its clock, without any of them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use jiff::{SignedDuration, Timestamp};

use super::authority::Authority;
use crate::{
    machine::{
        backoff::SplitMix64,
        issuance::{
            Action, Event, Facts, Issuance, Ledger, Memory,
            span::{MINUTE, SECOND, later},
        },
    },
    model::{Finding, Subject},
};

/// What comes of an action, later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    Looked(Subject),
    Placing(Subject, Option<String>),
    Ending(Subject),
    Renewal(Subject, String),
}

pub(super) struct World {
    pub(super) machine: Issuance,
    pub(super) authority: Authority,
    random: SplitMix64,
    /// True time.
    pub(super) now: Timestamp,
    /// How wrong the clock is.
    pub(super) offset: SignedDuration,
    agenda: BinaryHeap<Reverse<(Timestamp, u64, u64, Fact)>>,
    facts: u64,
    /// Of the role.
    life: u64,
    wanted: BTreeSet<Subject>,
    /// Whose DNS is not right.
    pub(super) missing: BTreeSet<Subject>,
    /// No DNS at all.
    pub(super) blind: bool,
    disk: BTreeMap<Subject, Memory>,
    ledger: Ledger,
    pub(super) certificates: BTreeMap<Subject, Facts>,
    /// At the authority: what it replaces, and whether it is exempt.
    placed: BTreeMap<Subject, (Option<String>, bool)>,
    under_way: BTreeSet<Subject>,
    looks: Vec<Timestamp>,
    renewals: Vec<Timestamp>,
    pub(super) asked: usize,
    pub(super) log: Vec<(Timestamp, Option<Subject>, &'static str, String)>,
    /// Certificates must not end.
    pub(super) strict: bool,
    pub(super) events: usize,
}

impl World {
    pub(super) fn new(seed: u64, authority: Authority, wanted: impl IntoIterator<Item = Subject>) -> Self {
        let mut world = Self {
            machine: Issuance::new(seed),
            authority,
            random: SplitMix64::new(seed ^ 0xACE),
            now: super::at(0),
            offset: SignedDuration::ZERO,
            agenda: BinaryHeap::new(),
            facts: 0,
            life: 0,
            wanted: wanted.into_iter().collect(),
            missing: BTreeSet::new(),
            blind: false,
            disk: BTreeMap::new(),
            ledger: Ledger::default(),
            certificates: BTreeMap::new(),
            placed: BTreeMap::new(),
            under_way: BTreeSet::new(),
            looks: Vec::new(),
            renewals: Vec::new(),
            asked: 0,
            log: Vec::new(),
            strict: true,
            events: 0,
        };
        world.boot();
        world
    }

    pub(super) fn clock(&self) -> Timestamp {
        later(self.now, self.offset)
    }

    /// The master dies, and comes back with what is on disk.
    pub(super) fn boot(&mut self) {
        self.machine = Issuance::new(self.random.draw());
        self.life += 1;
        self.under_way.clear();
        // A look costs the authority nothing: what a master has looked at is not on disk.
        self.looks.clear();
        for (subject, memory) in &self.disk {
            let kept = serde_json::to_string(memory).unwrap();
            self.machine.recall(subject.clone(), serde_json::from_str(&kept).unwrap());
        }
        let kept = serde_json::to_string(&self.ledger).unwrap();
        self.machine.recall_ledger(serde_json::from_str(&kept).unwrap());
        for subject in self.wanted.clone() {
            let facts = self.certificates.get(&subject).cloned();
            self.tell(Event::Have(subject, facts));
        }
        self.tell(Event::Wanted(self.wanted.clone()));
        self.tell(Event::RoleReady);
    }

    /// The role dies, and comes back.
    pub(super) fn role(&mut self) {
        self.life += 1;
        self.under_way.clear();
        self.tell(Event::RoleGone);
        self.tell(Event::RoleReady);
    }

    pub(super) fn set_clock(&mut self, offset: SignedDuration) {
        self.offset = offset;
        self.tell(Event::Timer);
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events += 1;
        let clock = self.clock();
        let actions = self.machine.on(event, clock);
        let mut kept = BTreeSet::new();
        let mut ledger = false;
        for action in actions {
            match &action {
                Action::Keep(subject) => {
                    self.disk.insert(subject.clone(), self.machine.memory(subject).unwrap());
                    kept.insert(subject.clone());
                }
                Action::KeepLedger => {
                    self.ledger = self.machine.ledger();
                    ledger = true;
                }
                Action::Order { subject, .. } => {
                    assert!(kept.contains(subject) && ledger, "ordered before it was kept")
                }
                _ => (),
            }
            self.act(action);
        }
        let deadline = self.machine.deadline().expect("always");
        assert!(deadline > clock, "a deadline that has passed");
    }

    fn act(&mut self, action: Action) {
        let quick = SignedDuration::from_millis(i64::try_from(50 + self.random.below(2000)).unwrap());
        match action {
            Action::Keep(_) | Action::KeepLedger => (),
            Action::Look(subject) => {
                pace(&mut self.looks, SECOND, 20, self.now, "looks in a second");
                self.plan(quick, Fact::Looked(subject));
            }
            Action::Order { subject, replaces, .. } => {
                assert!(self.under_way.insert(subject.clone()), "{subject} is ordered twice");
                assert!(self.under_way.len() <= 8, "more than 8 orders at once");
                assert!(self.wanted.contains(&subject), "{subject} is not wanted");
                if self.placed.contains_key(&subject) {
                    self.plan(quick, Fact::Ending(subject));
                } else {
                    if self.certificates.contains_key(&subject) {
                        pace(&mut self.renewals, MINUTE, 10, self.now, "renewals in a minute");
                    }
                    self.plan(quick, Fact::Placing(subject, replaces));
                }
            }
            Action::Cancel(_) => (),
            Action::AskRenewal { subject, certificate } => {
                self.asked += 1;
                self.plan(quick, Fact::Renewal(subject, certificate));
            }
            Action::Log { subject, event, reason, .. } => self.log.push((self.now, subject, event, reason)),
        }
    }

    fn plan(&mut self, after: SignedDuration, fact: Fact) {
        self.facts += 1;
        self.agenda.push(Reverse((later(self.now, after), self.facts, self.life, fact)));
    }

    fn happen(&mut self, fact: Fact) {
        match fact {
            Fact::Looked(subject) => {
                let finding = match () {
                    () if self.blind => Finding::Unknown("SERVFAIL".to_owned()),
                    () if self.missing.contains(&subject) => Finding::Missing("A is missing".to_owned()),
                    () => Finding::Ready(None),
                };
                self.tell(Event::Looked(subject, finding));
            }
            Fact::Placing(subject, replaces) => match self.authority.order(&subject, replaces.as_deref(), self.now) {
                Ok(exempt) => {
                    self.placed.insert(subject.clone(), (replaces, exempt));
                    self.plan(SECOND * 3, Fact::Ending(subject.clone()));
                    self.tell(Event::Placed(subject));
                }
                Err(failure) => {
                    self.under_way.remove(&subject);
                    self.tell(Event::Failed(subject, failure));
                }
            },
            Fact::Ending(subject) => {
                let (replaces, exempt) = self.placed.get(&subject).cloned().unwrap();
                self.under_way.remove(&subject);
                match self.authority.end(&subject, replaces.as_deref(), exempt, self.now) {
                    Ok(facts) => {
                        self.placed.remove(&subject);
                        let old = self.certificates.insert(subject.clone(), facts.clone());
                        let ended = old.is_some_and(|old| old.not_after <= self.now);
                        assert!(!(self.strict && ended), "{subject} had expired at {}", self.now);
                        self.tell(Event::Issued(subject, facts));
                    }
                    Err(failure) => {
                        if failure.order_ended {
                            self.placed.remove(&subject);
                        }
                        self.tell(Event::Failed(subject, failure));
                    }
                }
            }
            Fact::Renewal(subject, certificate) => {
                let facts =
                    self.certificates.get(&subject).filter(|facts| facts.renewal_id.as_ref() == Some(&certificate));
                if let Some(facts) = facts {
                    let answer = self.authority.renewal(facts);
                    self.tell(Event::Renewal(subject, answer));
                }
            }
        }
    }

    /// Lets this much time go by.
    pub(super) fn run(&mut self, span: SignedDuration) {
        let end = later(self.now, span);
        loop {
            let timer = later(self.machine.deadline().unwrap(), -self.offset);
            let fact = self.agenda.peek().map(|Reverse((at, ..))| *at);
            let next = fact.map_or(timer, |at| at.min(timer));
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            if fact == Some(next) {
                let Some(Reverse((_, _, life, fact))) = self.agenda.pop() else { return };
                if life == self.life {
                    self.happen(fact);
                }
            } else {
                self.tell(Event::Timer);
            }
        }
    }

    /// Everything that is wanted has a certificate that is valid.
    pub(super) fn assert_whole(&self) {
        for subject in &self.wanted {
            let facts = self.certificates.get(subject);
            let view = self.machine.view(subject, self.clock());
            assert!(
                facts.is_some_and(|facts| facts.not_after > self.now),
                "{subject} has none at {}: {view:?}",
                self.now
            );
        }
    }

    pub(super) fn said(&self, event: &str) -> usize {
        self.log.iter().filter(|(_, _, said, _)| *said == event).count()
    }
}

fn pace(moments: &mut Vec<Timestamp>, window: SignedDuration, limit: usize, now: Timestamp, what: &str) {
    moments.retain(|at| now.duration_since(*at) < window);
    moments.push(now);
    assert!(moments.len() <= limit, "{} {what}", moments.len());
}
