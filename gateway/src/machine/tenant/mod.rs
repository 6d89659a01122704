//! One tenant: what is wanted of it, its generations, and the way from one to the next.
//!
//! The machine is a set of facts and a fixed point. An event changes a fact; then every generation and the work under way
//! take what steps they can until nothing moves; then the route is drawn anew, and published if it differs.

use std::collections::BTreeMap;

use super::{Now, worker};
use crate::model::{GenerationId, Serving, TenantName};

mod generation;
mod memory;
mod message;
mod picture;
mod retreat;
mod rollout;
#[cfg(test)]
mod tests;
mod work;

use generation::{Generation, Stage};
use memory::Recalled;
pub use memory::{GenerationMemory, Memory};
pub use message::{Action, Event, RolloutPlan, StopReason, Task, Wish};
pub use picture::{Backend, Probing, Route, State, View};
use work::Work;

/// The machine of one tenant.
#[derive(Debug)]
pub struct Tenant {
    name: TenantName,
    seed: u64,
    wish: Option<Wish>,
    /// Grows with every request; the work for request n ends by `done = n`.
    request: u64,
    done: u64,
    /// A `Settled` is owed.
    owed: bool,
    /// The newest request is a `Deploy`.
    forced: bool,
    /// The request that `work` is for.
    working_for: u64,
    work: Work,
    /// The generation that serves when it is healthy.
    current: Option<GenerationId>,
    generations: BTreeMap<GenerationId, Generation>,
    /// The task that runs, and what came of it.
    task: Option<(GenerationId, Task)>,
    task_result: Option<Result<(), String>>,
    /// A migration was begun after the snapshot that is kept under this generation, and nobody will put it back unless it
    /// is done before anything is started on the data.
    torn: Option<GenerationId>,
    /// Its past is known and its wish is still to be told: no work is done before.
    recalled: Option<Recalled>,
    applied: u64,
    revision: u64,
    route: Option<Route>,
    /// What came of the last rollout, if it was not what was asked for.
    note: String,
    /// Restarts of generations that are gone.
    past_restarts: u32,
    state: State,
    since: Now,
}

impl Tenant {
    /// A tenant of which nothing is wanted yet. The seed decides the jitter of its restarts.
    pub fn new(name: TenantName, seed: u64) -> Self {
        Self {
            name,
            seed,
            wish: None,
            request: 0,
            done: 0,
            owed: false,
            forced: false,
            working_for: 0,
            work: Work::Rest,
            current: None,
            generations: BTreeMap::new(),
            task: None,
            task_result: None,
            torn: None,
            recalled: None,
            applied: 0,
            revision: 0,
            route: None,
            note: String::new(),
            past_restarts: 0,
            state: State::Stopped,
            since: Now::default(),
        }
    }

    /// Who.
    pub fn name(&self) -> &TenantName {
        &self.name
    }

    /// Whether a request is under way whose `Settled` is still to come.
    pub fn busy(&self) -> bool {
        self.owed
    }

    /// What is wanted of it.
    pub fn wish(&self) -> Option<&Wish> {
        self.wish.as_ref()
    }

    /// When it wants to hear `Timer`.
    pub fn deadline(&self) -> Option<Now> {
        // Work does not go on before its wish is known.
        let work = if self.recalled.is_some() { None } else { self.work.deadline() };
        self.generations.values().filter_map(Generation::deadline).chain(work).min()
    }

    /// Takes an event; `fresh` gives the number of a new generation, each only once.
    pub fn on(&mut self, event: Event, now: Now, fresh: &mut dyn FnMut() -> GenerationId) -> Vec<Action> {
        let mut out = Vec::new();
        self.take(event, now, &mut out);
        loop {
            let moved = self.step_generations(now, &mut out);
            if self.step_work(now, fresh, &mut out) || moved {
                continue;
            }
            self.publish(&mut out);
            let stamped = self.stamp(self.revision);
            if !self.work.stamp(self.revision) && !stamped {
                break;
            }
        }
        self.note_state(now);
        out
    }

    /// Writes down the fact that an event tells.
    fn take(&mut self, event: Event, now: Now, out: &mut Vec<Action>) {
        match event {
            Event::Want(wish) => self.want(wish, now, out),
            Event::Deploy => self.deploy(now, out),
            Event::Worker { event: worker::Event::Start | worker::Event::Stop | worker::Event::Timer, .. } => {}
            Event::Worker { generation, event } => {
                let spawned = matches!(event, worker::Event::Spawned { .. });
                self.feed(generation, event, now, out);
                if spawned {
                    self.work.spawned(generation, self.current, now, &self.generations);
                }
            }
            Event::Opened { generation } => self.opened(generation, out),
            Event::OpenFailed { generation, reason } => self.open_failed(generation, reason, now, out),
            Event::Applied { revision } => self.applied = self.applied.max(revision.min(self.revision)),
            Event::Idle { generation } => {
                if let Some(generation) = self.generations.get_mut(&generation) {
                    generation.idle(self.applied);
                }
            }
            Event::TaskDone { generation, task, result } => {
                if self.task == Some((generation, task)) {
                    self.task = None;
                    self.task_result = Some(result);
                }
            }
            Event::Timer => {
                let ids: Vec<GenerationId> = self.generations.keys().copied().collect();
                for id in ids {
                    self.feed(id, worker::Event::Timer, now, out);
                }
            }
        }
    }

    fn want(&mut self, wish: Wish, now: Now, out: &mut Vec<Action>) {
        let same = match (&self.wish, &wish) {
            (Some(Wish::Run { plan: old }), Wish::Run { plan: new }) => old.digest == new.digest,
            (old, new) => old.as_ref() == Some(new),
        };
        if let Wish::Run { plan } = &wish {
            for generation in self.generations.values_mut().filter(|one| one.plan.digest == plan.digest) {
                generation.retime(plan);
            }
        }
        self.wish = Some(wish);
        match self.recalled.take() {
            Some(Recalled { under_way: true, forced }) => {
                self.ask(same && forced, now, out);
                self.go_on();
            }
            _ if !same => self.ask(false, now, out),
            _ => {}
        }
    }

    fn deploy(&mut self, now: Now, out: &mut Vec<Action>) {
        if matches!(self.wish, Some(Wish::Run { .. })) {
            self.ask(true, now, out);
        } else {
            let message = format!("{} is not running: start it instead", self.name);
            out.push(Action::Settled { ok: false, message });
        }
    }

    /// A new request: the one before it, if still under way, is superseded.
    fn ask(&mut self, forced: bool, now: Now, out: &mut Vec<Action>) {
        self.settle(false, "superseded by a newer request".to_owned(), out);
        self.request += 1;
        self.owed = true;
        self.forced = forced;
        self.work.hurry(now);
    }

    /// Says what came of the newest request, if that was not said already.
    fn settle(&mut self, ok: bool, message: String, out: &mut Vec<Action>) {
        if self.owed {
            self.owed = false;
            out.push(Action::Settled { ok, message });
        }
    }

    fn opened(&mut self, id: GenerationId, out: &mut Vec<Action>) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        match generation.stage {
            Stage::Opening { doomed: false } => generation.stage = Stage::Open,
            Stage::Opening { doomed: true } => self.close(id, out),
            _ => {}
        }
    }

    fn open_failed(&mut self, id: GenerationId, reason: String, now: Now, out: &mut Vec<Action>) {
        if self.generations.get(&id).is_some_and(|generation| matches!(generation.stage, Stage::Opening { .. })) {
            self.generations.remove(&id);
            self.not_opened(id, &reason, now, out);
        }
    }

    /// Draws the route anew; tells of it if it differs.
    fn publish(&mut self, out: &mut Vec<Action>) {
        let route = self.draw();
        if self.route.as_ref() != Some(&route) {
            if let Serving::Serve { generation } = route.serving
                && let Some(generation) = self.generations.get_mut(&generation)
            {
                generation.served = true;
            }
            self.route = Some(route);
            self.revision += 1;
            out.push(Action::Publish);
        }
    }
}
