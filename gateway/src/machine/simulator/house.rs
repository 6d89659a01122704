//! One tenant and all that its machine acts upon: processes, ports, tasks and proxies, each with its own whims.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Planned, millis, rules::Ledger};
use crate::{
    machine::{
        Now,
        backoff::SplitMix64,
        tenant::{Action, Event, Memory, Task, Tenant, Wish},
        worker,
    },
    model::GenerationId,
};

/// Something that happens in a house.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    /// The machine is told this, as it is.
    Told(Event),
    /// The spawn that was asked for is made.
    Spawn { generation: GenerationId, attempt: u32 },
    /// The process would answer a probe well from now on.
    Healthy { generation: GenerationId, attempt: u32 },
    /// The process answers no probe well from now on; told again and again.
    Unhealthy { generation: GenerationId, attempt: u32 },
    /// The process ends.
    Exit { generation: GenerationId, attempt: u32 },
    /// The kill has reached every process.
    Killed { generation: GenerationId, attempt: u32 },
    /// Every proxy routes by this revision.
    Applied { revision: u64 },
    /// What was in flight behind a closed gate has ended.
    Idle { generation: GenerationId },
    /// Another master takes over from one that died.
    Recalled,
}

/// A process of ours, and those that it left behind.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) attempt: u32,
    /// The process itself lives.
    pub(super) alive: bool,
    /// Descendants that outlive it.
    pub(super) children: bool,
    /// It was said to be healthy.
    pub(super) ready: bool,
    /// A master had it stopped before it died: what was right then may be said again.
    pub(super) stopping: bool,
    deaf: bool,
}

/// One tenant's world.
pub(super) struct House {
    pub(super) tenant: Tenant,
    pub(super) processes: BTreeMap<GenerationId, Process>,
    /// Spawns that were asked for and are not made yet.
    pub(super) spawning: BTreeMap<GenerationId, u32>,
    pub(super) ports: BTreeSet<GenerationId>,
    pub(super) task: Option<(GenerationId, Task)>,
    pub(super) ledger: Ledger,
    /// What the files say.
    pub(super) files: Option<Wish>,
    /// What was written down last.
    pub(super) memory: Memory,
    pub(super) seed: u64,
    /// Counts masters.
    pub(super) life: u64,
    pub(super) dead: bool,
    /// The master may die.
    pub(super) mortal: bool,
    /// The new master has not told what is wanted yet.
    pub(super) unwished: bool,
    traced: bool,
}

pub(super) type Consequences = Vec<(Duration, Fact)>;

impl House {
    pub(super) fn new(nth: u64, seed: u64, traced: bool) -> Self {
        let tenant = Tenant::new(format!("t{nth}").parse().unwrap(), seed);
        Self {
            memory: tenant.memory(),
            tenant,
            processes: BTreeMap::new(),
            spawning: BTreeMap::new(),
            ports: BTreeSet::new(),
            task: None,
            ledger: Ledger::default(),
            files: None,
            seed,
            life: 0,
            dead: false,
            mortal: false,
            unwished: false,
            traced,
        }
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        if self.dead { None } else { self.tenant.deadline() }
    }

    /// Lets something happen: what the world makes of it, what the machine says to it, and what follows later.
    pub(super) fn happen(
        &mut self,
        (fact, life): Planned,
        now: Now,
        random: &mut SplitMix64,
        fresh: &mut dyn FnMut() -> GenerationId,
    ) -> Consequences {
        let mut later = Vec::new();
        if life.is_some_and(|life| life != self.life) && !fact.outlives_masters() {
            return later;
        }
        if let Fact::Told(Event::Want(wish)) = &fact {
            self.files = Some(wish.clone());
        }
        if let Fact::Recalled = fact {
            for event in self.recall(now, random, &mut later) {
                self.tell(event, now, random, fresh, &mut later);
                if self.dead {
                    break;
                }
            }
        } else if self.dead {
            self.unseen(fact, now, random, &mut later);
        } else if let Some(event) = self.event(fact, now, random, &mut later) {
            self.tell(event, now, random, fresh, &mut later);
        }
        later
    }

    /// Tells the machine, writes down what is to be remembered, and does what it says: unless the master dies over it.
    fn tell(
        &mut self,
        event: Event,
        now: Now,
        random: &mut SplitMix64,
        fresh: &mut dyn FnMut() -> GenerationId,
        later: &mut Consequences,
    ) {
        self.trace(now, &format_args!("<- {event:?}"));
        let first = matches!(event, Event::Want(_)) && std::mem::take(&mut self.unwished);
        if !first {
            self.ledger.before(&event, &self.tenant);
        }
        let mut actions = self.tenant.on(event.clone(), now, fresh);
        if first {
            self.ledger.first(&actions, &self.tenant);
        }
        let dies = self.mortal && random.below(40) == 0;
        if dies && random.below(3) == 0 {
            self.trace(now, &"   the master dies before it writes anything down");
            return self.die(random, later);
        }
        self.memory = self.tenant.memory();
        self.ledger.written(&event);
        if dies {
            actions.truncate(random.below(actions.len() as u64 + 1) as usize);
        }
        for action in actions {
            self.trace(now, &format_args!("   -> {action:?}"));
            self.holds_for(&action, now);
            self.execute(action, random, later);
        }
        if dies {
            self.trace(now, &"   the master dies");
            return self.die(random, later);
        }
        self.holds_always(&event);
    }

    /// What the machine is told of a fact, if anything.
    fn event(&mut self, fact: Fact, now: Now, random: &mut SplitMix64, later: &mut Consequences) -> Option<Event> {
        let of = |generation, event| Some(Event::Worker { generation, event });
        match fact {
            Fact::Recalled => None,
            Fact::Told(event) => {
                if let Event::TaskDone { generation, task, result } = &event {
                    self.task = None;
                    self.ledger.done(*generation, *task, result.is_ok());
                }
                if let Event::Opened { generation } = event {
                    self.ports.insert(generation);
                }
                Some(event)
            }
            Fact::Spawn { generation, attempt } => {
                self.spawning.remove(&generation);
                if random.below(12) == 0 {
                    return of(generation, worker::Event::SpawnFailed { reason: "no such file".into() });
                }
                self.live(generation, attempt, random, later);
                of(generation, worker::Event::Spawned { pid: attempt })
            }
            Fact::Healthy { generation, attempt } => {
                self.process(generation, attempt)?;
                if !self.probed(generation, attempt) {
                    // A proxy probes only once it was told to; nobody probes what is on its way out.
                    if self.tenant.worker(generation)?.phase == worker::Phase::Starting {
                        later.push((millis(20), Fact::Healthy { generation, attempt }));
                    }
                    return None;
                }
                self.process(generation, attempt)?.ready = true;
                of(generation, worker::Event::Healthy { attempt })
            }
            Fact::Unhealthy { generation, attempt } => {
                self.process(generation, attempt)?;
                later.push((millis(2000), Fact::Unhealthy { generation, attempt }));
                let reason = "GET /healthz: no answer within 2 s".to_owned();
                if !self.probed(generation, attempt) {
                    return None;
                }
                of(generation, worker::Event::Unhealthy { attempt, reason })
            }
            Fact::Exit { generation, attempt } => {
                self.process(generation, attempt)?.alive = false;
                of(generation, worker::Event::Exited { attempt, reason: "exit status 1".into() })
            }
            Fact::Killed { generation, attempt } => {
                let process = self.processes.get_mut(&generation).filter(|process| process.attempt == attempt)?;
                let was_alive = std::mem::replace(&mut process.alive, false);
                process.children = false;
                if was_alive && random.below(2) == 0 {
                    // The news of the process's end may come after that of the whole tree's.
                    let late = Event::Worker {
                        generation,
                        event: worker::Event::Exited { attempt, reason: "killed by SIGKILL".into() },
                    };
                    later.push((millis(random.below(500)), Fact::Told(late)));
                }
                of(generation, worker::Event::TreeGone { attempt })
            }
            Fact::Applied { revision } => {
                self.apply(revision, now, random, later).then_some(Event::Applied { revision })
            }
            Fact::Idle { generation } => self.ledger.idle(generation).then_some(Event::Idle { generation }),
        }
    }

    /// Every proxy routes by a revision. Whether that is news.
    pub(super) fn apply(&mut self, revision: u64, now: Now, random: &mut SplitMix64, later: &mut Consequences) -> bool {
        let Some(closed) = self.ledger.applied(revision, now) else { return false };
        for generation in closed {
            // Most requests are short; some outlast every deadline.
            let most = if random.below(5) == 0 { 100_000 } else { 3000 };
            later.push((millis(random.below(most)), Fact::Idle { generation }));
        }
        true
    }

    fn execute(&mut self, action: Action, random: &mut SplitMix64, later: &mut Consequences) {
        match action {
            Action::Open { generation } => {
                let answer = if random.below(12) == 0 {
                    Event::OpenFailed { generation, reason: "all ports are taken".into() }
                } else {
                    Event::Opened { generation }
                };
                later.push((millis(random.below(20)), Fact::Told(answer)));
            }
            Action::Worker { generation, action: worker::Action::Spawn { attempt } } => {
                self.spawning.insert(generation, attempt);
                // Now and then there is a queue.
                let most = if random.below(10) == 0 { 5000 } else { 10 };
                later.push((millis(random.below(most)), Fact::Spawn { generation, attempt }));
            }
            Action::Worker { generation, action: worker::Action::Stop } => {
                let process = &self.processes[&generation];
                if !process.deaf {
                    let attempt = process.attempt;
                    later.push((millis(random.below(3000)), Fact::Exit { generation, attempt }));
                }
            }
            Action::Worker { generation, action: worker::Action::Kill } => {
                let attempt = self.processes[&generation].attempt;
                // Now and then longer than the machine has patience for.
                let most = if random.below(30) == 0 { 12_000 } else { 100 };
                later.push((millis(random.below(most)), Fact::Killed { generation, attempt }));
            }
            Action::Run { generation, task } => {
                self.task = Some((generation, task));
                let result = if random.below(4) == 0 { Err("disk full".to_owned()) } else { Ok(()) };
                let done = Event::TaskDone { generation, task, result };
                later.push((millis(random.below(4000)), Fact::Told(done)));
            }
            Action::Close { generation } => {
                self.ports.remove(&generation);
                self.processes.remove(&generation);
            }
            Action::Publish => {
                let revision = self.tenant.revision();
                self.ledger.published(revision, self.tenant.route(), &self.tenant);
                let most = if random.below(20) == 0 { 20_000 } else { 50 };
                later.push((millis(random.below(most)), Fact::Applied { revision }));
            }
            Action::Worker { .. } | Action::Log { .. } | Action::Settled { .. } | Action::Gone => {}
        }
    }

    /// A process comes to life, with a fate.
    fn live(&mut self, generation: GenerationId, attempt: u32, random: &mut SplitMix64, later: &mut Consequences) {
        let (children, deaf) = (random.below(4) == 0, random.below(6) == 0);
        let process = Process { attempt, alive: true, children, ready: false, stopping: false, deaf };
        self.processes.insert(generation, process);
        let slowest = if random.below(4) == 0 { 6000 } else { 500 };
        let start = random.below(slowest);
        match random.below(10) {
            0 => later.push((millis(random.below(200)), Fact::Exit { generation, attempt })),
            1 => later.push((millis(50), Fact::Unhealthy { generation, attempt })),
            2 => {
                later.push((millis(start), Fact::Healthy { generation, attempt }));
                later.push((millis(start + random.below(90_000)), Fact::Exit { generation, attempt }));
            }
            3 => {
                later.push((millis(start), Fact::Healthy { generation, attempt }));
                later.push((millis(start + random.below(90_000)), Fact::Unhealthy { generation, attempt }));
            }
            _ => later.push((millis(start), Fact::Healthy { generation, attempt })),
        }
    }

    /// The live process of an attempt.
    pub(super) fn process(&mut self, generation: GenerationId, attempt: u32) -> Option<&mut Process> {
        self.processes.get_mut(&generation).filter(|process| process.attempt == attempt && process.alive)
    }

    fn probed(&self, generation: GenerationId, attempt: u32) -> bool {
        let route = self.tenant.route();
        let backend = route.backends.iter().find(|backend| backend.generation == generation);
        backend.and_then(|backend| backend.probe).is_some_and(|probe| probe.attempt == attempt)
    }

    #[allow(clippy::print_stderr, reason = "the history of a seed that broke a rule")]
    pub(super) fn trace(&self, now: Now, line: &dyn std::fmt::Display) {
        if self.traced {
            eprintln!("{:>9.3} {} {line}", now.0.as_secs_f64(), self.tenant.name());
        }
    }
}
