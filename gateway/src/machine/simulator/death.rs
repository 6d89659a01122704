//! The death of a master, with or without the rest of the house, and the one that comes after it.

use super::{
    house::{Consequences, Fact, House},
    millis,
};
use crate::machine::{
    Now,
    backoff::SplitMix64,
    tenant::{Event, Memory, Tenant},
    worker::{self, Phase},
};

impl Fact {
    /// Whether it goes on without the master that has brought it about: what processes, proxies and people do does; what a
    /// master was about to do or to hear does not.
    pub(super) fn outlives_masters(&self) -> bool {
        match self {
            Fact::Spawn { .. } | Fact::Killed { .. } => false,
            Fact::Told(event) => matches!(event, Event::Want(_) | Event::Deploy),
            Fact::Healthy { .. } | Fact::Unhealthy { .. } | Fact::Exit { .. } => true,
            Fact::Applied { .. } | Fact::Idle { .. } | Fact::Recalled => true,
        }
    }
}

impl House {
    /// From here on nobody listens, until another master comes.
    pub(super) fn die(&mut self, random: &mut SplitMix64, later: &mut Consequences) {
        later.retain(|(_, fact)| fact.outlives_masters());
        self.dead = true;
        self.life += 1;
        later.push((millis(random.below(3000)), Fact::Recalled));
    }

    /// Something happens that no master sees.
    pub(super) fn unseen(&mut self, fact: Fact, now: Now, random: &mut SplitMix64, later: &mut Consequences) {
        self.trace(now, &format_args!("   unseen: {fact:?}"));
        match fact {
            Fact::Exit { generation, attempt } => {
                if let Some(process) = self.process(generation, attempt) {
                    process.alive = false;
                }
            }
            Fact::Healthy { .. } => later.push((millis(20), fact)),
            Fact::Unhealthy { .. } => later.push((millis(2000), fact)),
            Fact::Applied { revision } => drop(self.apply(revision, now, random, later)),
            Fact::Idle { generation } => drop(self.ledger.idle(generation)),
            Fact::Told(_) | Fact::Spawn { .. } | Fact::Killed { .. } | Fact::Recalled => {}
        }
    }

    /// Another master goes on from what was written down; what it tells the machine first.
    pub(super) fn recall(&mut self, now: Now, random: &mut SplitMix64, later: &mut Consequences) -> Vec<Event> {
        (self.dead, self.unwished) = (false, true);
        self.task = None;
        self.spawning.clear();
        self.ledger.died();
        let mut facts = Vec::new();
        if random.below(8) == 0 {
            self.black_out(now);
        } else {
            let paper = serde_json::to_string(&self.memory).unwrap();
            let memory: Memory = serde_json::from_str(&paper).unwrap();
            assert_eq!(memory, self.memory, "{paper}");
            self.trace(now, &format_args!("   recalled: {paper}"));
            facts = self.reconcile(&memory, random, later);
            self.tenant = Tenant::recall(self.tenant.name().clone(), self.seed, memory, now);
        }
        // In any order.
        for nth in (1..facts.len()).rev() {
            facts.swap(nth, random.below(nth as u64 + 1) as usize);
        }
        facts.extend(self.files.clone().map(Event::Want));
        facts
    }

    /// Nothing is left but the disk.
    fn black_out(&mut self, now: Now) {
        self.trace(now, &"   everything else is gone");
        self.processes.clear();
        self.ports.clear();
        self.ledger.blacked_out();
        let name = self.tenant.name().clone();
        self.tenant = match self.memory.torn() {
            Some(torn) => Tenant::interrupted(name, self.seed, torn),
            None => Tenant::new(name, self.seed),
        };
        self.memory = self.tenant.memory();
    }

    /// What the new master finds, compared with what it remembers.
    fn reconcile(&mut self, memory: &Memory, random: &mut SplitMix64, later: &mut Consequences) -> Vec<Event> {
        let mut facts = Vec::new();
        // What nobody remembers had been closed, or was about to be.
        let known = |id| memory.generations().any(|(known, _)| known == id);
        for id in self.ports.iter().copied().filter(|id| !known(*id)).collect::<Vec<_>>() {
            assert!(!self.lives(id), "generation {id} lives and is forgotten");
            self.ports.remove(&id);
            self.processes.remove(&id);
        }
        for (generation, remembered) in memory.generations() {
            let of = |event| Event::Worker { generation, event };
            if remembered.opening() {
                facts.push(if self.ports.contains(&generation) {
                    Event::Opened { generation }
                } else {
                    Event::OpenFailed { generation, reason: "it was never opened".into() }
                });
                continue;
            }
            assert!(self.ports.contains(&generation), "the port of generation {generation} is lost");
            // A gate that was about to be closed has the time that its plan gave it then.
            self.ledger.closing(generation, remembered.plan());
            let worker = remembered.worker();
            let attempt = worker.attempt();
            let lives = self.process(generation, attempt).map(|process| process.ready);
            if worker.spawning() {
                if lives.is_some() && random.below(2) == 0 {
                    facts.push(of(worker::Event::Spawned { pid: attempt }));
                } else {
                    if let Some(process) = self.processes.get_mut(&generation) {
                        (process.alive, process.children) = (false, false);
                    }
                    facts.push(of(worker::Event::SpawnFailed { reason: "there is no such process".into() }));
                }
            } else if worker.pid().is_some() && lives.is_none() {
                facts.push(of(worker::Event::Exited { attempt, reason: "it is gone".into() }));
            }
            if let Some(process) = self.process(generation, attempt) {
                process.stopping = worker.phase() == Phase::Stopping;
            }
            if lives == Some(true) && worker.phase() == Phase::Starting {
                // Its health was told to the one who died, and has to be found again.
                if let Some(process) = self.process(generation, attempt) {
                    process.ready = false;
                }
                later.push((millis(20), Fact::Healthy { generation, attempt }));
            }
        }
        facts
    }
}
