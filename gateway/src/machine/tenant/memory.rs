//! What outlives the one who owns a tenant's machine, and how another one goes on from there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Generation, RolloutPlan, Stage, State, StopReason, Tenant, Wish,
    generation::{Draining, settings},
    work::{Rollout, Step, Work},
};
use crate::{
    machine::{
        Now,
        worker::{self, Worker},
    },
    model::{GenerationId, TenantName},
};

/// All of a tenant's machine that another one needs to go on. To be written down after every event, before what was said
/// is done: what it tells then has been done, or not, and [`Tenant::recall`] allows for both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    wish: Option<Wish>,
    /// The newest wish has not come to rest.
    under_way: bool,
    forced: bool,
    current: Option<GenerationId>,
    generations: BTreeMap<GenerationId, GenerationMemory>,
    next: Option<NextMemory>,
    /// The snapshot that has to be put back although no rollout is under way.
    torn: Option<GenerationId>,
    revision: u64,
    note: String,
    past_restarts: u32,
    state: State,
    since: Now,
}

/// What is remembered of one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationMemory {
    plan: RolloutPlan,
    stage: Stage,
    served: bool,
    worker: worker::Memory,
}

/// What is remembered of a generation that was on its way to serve, or on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NextMemory {
    next: GenerationId,
    /// Never beside another live generation.
    alone: bool,
    /// There is a snapshot to be put back if it comes to nothing.
    touched: bool,
    /// All is ready for it; its first healthy probe was awaited.
    starting: bool,
}

/// A machine that has a past and does not know yet what is wanted of it now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recalled {
    /// The remembered wish had not come to rest.
    pub(super) under_way: bool,
    /// It was an operator's deploy.
    pub(super) forced: bool,
}

impl Memory {
    /// Every generation that had not been closed.
    pub fn generations(&self) -> impl Iterator<Item = (GenerationId, &GenerationMemory)> {
        self.generations.iter().map(|(id, generation)| (*id, generation))
    }

    /// The generation that serves when it is healthy.
    pub fn current(&self) -> Option<GenerationId> {
        self.current
    }

    /// What was wanted.
    pub fn wish(&self) -> Option<&Wish> {
        self.wish.as_ref()
    }

    /// The newest revision that may have been published.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The snapshot that has to be put back before anything may be started on the data.
    pub fn torn(&self) -> Option<GenerationId> {
        self.torn.or(self.next.filter(|next| next.touched).map(|next| next.next))
    }
}

impl GenerationMemory {
    /// Whether the machine waits for `Opened` or `OpenFailed`. Else it has its port.
    pub fn opening(&self) -> bool {
        matches!(self.stage, Stage::Opening { .. })
    }

    /// The plan under which it was begun.
    pub fn plan(&self) -> &RolloutPlan {
        &self.plan
    }

    /// Of its worker.
    pub fn worker(&self) -> &worker::Memory {
        &self.worker
    }
}

impl Tenant {
    /// What is to be remembered of it.
    pub fn memory(&self) -> Memory {
        let generations = self.generations.iter().map(|(id, generation)| {
            let Generation { plan, worker, stage, served, .. } = generation;
            let (plan, stage, worker) = (plan.clone(), stage.clone(), worker.memory());
            (*id, GenerationMemory { plan, stage, served: *served, worker })
        });
        let under_way = match self.recalled {
            Some(recalled) => recalled.under_way,
            None => self.done != self.request || !matches!(self.work, Work::Rest),
        };
        Memory {
            wish: self.wish.clone(),
            under_way,
            forced: self.recalled.map_or(self.forced, |recalled| recalled.forced),
            current: self.current,
            generations: generations.collect(),
            next: self.work.memory(),
            torn: self.torn,
            revision: self.revision,
            note: self.note.clone(),
            past_restarts: self.past_restarts,
            state: self.state,
            since: self.since,
        }
    }

    /// Goes on from a memory, as if nothing had happened since. What did happen is to be told, in any order: what each
    /// worker waits for (see [`Worker::recall`]), and `Opened` or `OpenFailed` of a generation that was being opened. A task
    /// that was under way must have been ended before; it is never answered. Then its wish is to be told anew, always, and
    /// only then is anything begun:
    ///
    /// - The same wish, come to rest before: it goes on, and there is no request.
    /// - Else it is a request. A new generation that was starting goes on if it is the one that is wished; any other that
    ///   never served is taken back, its migration with it, and what is wished begins anew.
    ///
    /// Until then visitors are served, held or refused as before. The first event publishes.
    pub fn recall(name: TenantName, seed: u64, memory: Memory, now: Now) -> Self {
        let mut tenant = Self::new(name, seed);
        // Whether it was told that a removed one is gone, nobody can know.
        let gone = memory.wish == Some(Wish::Stop { reason: StopReason::Removed });
        tenant.recalled = Some(Recalled { under_way: memory.under_way || gone, forced: memory.forced });
        tenant.work = memory.next.map_or(Work::Rest, |next| next.recall(&memory.generations, now));
        let revision = memory.revision;
        let generations = memory.generations.into_iter();
        tenant.generations = generations.map(|(id, one)| (id, one.recall(id, seed, revision, now))).collect();
        tenant.wish = memory.wish;
        tenant.current = memory.current;
        tenant.torn = memory.torn;
        tenant.revision = memory.revision;
        tenant.note = memory.note;
        tenant.past_restarts = memory.past_restarts;
        tenant.state = memory.state;
        tenant.since = memory.since.min(now);
        tenant
    }

    /// A tenant of which nothing lives, whose migration for `generation` was cut short: the snapshot that is kept under
    /// that number is put back before anything is started on its data.
    pub fn interrupted(name: TenantName, seed: u64, generation: GenerationId) -> Self {
        let mut tenant = Self::new(name, seed);
        tenant.torn = Some(generation);
        tenant
    }

    /// What is wished now is what was under way: the new generation that is starting for it goes on.
    pub(super) fn go_on(&mut self) {
        let Some(Wish::Run { plan }) = &self.wish else { return };
        let Work::Rollout(rollout) = &self.work else { return };
        if self.generations.get(&rollout.next).is_some_and(|next| next.plan.digest == plan.digest) {
            self.working_for = self.request;
        }
    }
}

impl Work {
    fn memory(&self) -> Option<NextMemory> {
        match self {
            Work::Rollout(Rollout { step: Step::Handover { .. }, .. }) => None,
            Work::Rollout(Rollout { next, step, alone, touched }) => {
                let starting = matches!(step, Step::Starting { .. });
                Some(NextMemory { next: *next, alone: *alone, touched: *touched, starting })
            }
            Work::Undo(undo) => {
                Some(NextMemory { next: undo.next, alone: true, touched: undo.restore, starting: false })
            }
            Work::Rest | Work::Resume { .. } | Work::Retry { .. } | Work::Stopping => None,
        }
    }
}

impl NextMemory {
    fn recall(self, generations: &BTreeMap<GenerationId, GenerationMemory>, now: Now) -> Work {
        let Self { next, alone, touched, starting } = self;
        if !starting {
            return Work::taken_back(next, touched);
        }
        // The clock of a start begins with the process: with an answered spawn, or anew.
        let lives = generations.get(&next).filter(|generation| generation.worker.pid().is_some());
        let until = lives.map(|generation| now + generation.plan.start_timeout);
        Work::Rollout(Rollout { next, step: Step::Starting { until }, alone, touched })
    }
}

impl GenerationMemory {
    fn recall(self, id: GenerationId, seed: u64, revision: u64, now: Now) -> Generation {
        let worker = Worker::recall(settings(id, &self.plan, seed), self.worker, now);
        // Whatever awaits the proxies' word awaits it for the table that is sent next.
        let stage = match self.stage {
            Stage::Leaving { .. } => Stage::Leaving { revision: None },
            Stage::Draining(draining) => {
                // What was left of its time then is what is left now.
                let timeout = draining.until.map_or(draining.timeout, |until| until.since(now));
                Stage::Draining(Draining { revision: None, timeout, until: None, ..draining })
            }
            stage => stage,
        };
        Generation { plan: self.plan, worker, stage, served: self.served, reopened: revision + 1 }
    }
}
