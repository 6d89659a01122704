//! One generation of a tenant: its port, its gate and its worker, from `Open` to `Close`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, RolloutPlan, Tenant};
use crate::{
    machine::{
        Now,
        backoff::Pace,
        worker::{self, Phase, Settings, Worker},
    },
    model::GenerationId,
};

/// What the proxy is given beyond the timeouts that it keeps itself, before its silence is taken for the end of a drain.
const GRACE: Duration = Duration::from_secs(2);

/// One generation.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) plan: RolloutPlan,
    pub(super) worker: Worker,
    pub(super) stage: Stage,
    /// It was in a published route's `Serve`: requests may be in flight on it.
    pub(super) served: bool,
    /// The revision in which its closed gate was opened again. An `Idle` that was under way by then is about another time.
    pub(super) reopened: u64,
}

/// How far a generation is between its opening and its closing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// `Open` was said and not answered.
    Opening {
        /// To be closed as soon as it is answered.
        doomed: bool,
    },
    /// It has its port; its worker was never started.
    Open,
    /// Its worker is wanted.
    Up,
    /// Another one serves. The gate stays open until every proxy knows.
    Leaving {
        /// The revision that every proxy has to have applied.
        revision: Option<u64>,
    },
    /// The gate is closed; what is in flight ends.
    Draining(Draining),
    /// The worker is being stopped.
    Stopping(Then),
    /// The worker is stopped; the port is kept for a way back.
    Parked,
}

/// A closed gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Draining {
    /// The revision in which the gate is closed.
    pub(super) revision: Option<u64>,
    /// The proxies said that nothing is in flight.
    pub(super) idle: bool,
    /// How long what is in flight may go on, once every proxy has closed the gate.
    pub(super) timeout: Duration,
    /// When that is over.
    pub(super) until: Option<Now>,
    pub(super) then: Then,
}

/// What becomes of a generation whose worker has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Then {
    Close,
    Park,
}

impl Generation {
    pub(super) fn new(id: GenerationId, plan: RolloutPlan, seed: u64) -> Self {
        let worker = Worker::new(settings(id, &plan, seed));
        Self { plan, worker, stage: Stage::Opening { doomed: false }, served: false, reopened: 0 }
    }

    /// Wanted, healthy and not on its way out.
    pub(super) fn serves(&self) -> bool {
        self.stage == Stage::Up && self.worker.phase() == Phase::Running
    }

    /// The times of a plan that is otherwise the same.
    pub(super) fn retime(&mut self, plan: &RolloutPlan) {
        let (strategy, migrate) = (self.plan.strategy, self.plan.migrate);
        self.plan = RolloutPlan { strategy, migrate, ..plan.clone() };
        self.worker.retime(plan.start_timeout, plan.stop_timeout, plan.failures);
    }

    /// The proxies say that nothing is in flight.
    pub(super) fn idle(&mut self, applied: u64) {
        if let Stage::Draining(draining) = &mut self.stage
            && self.reopened <= applied
        {
            draining.idle = true;
        }
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        let drained = match &self.stage {
            Stage::Draining(draining) => draining.until,
            _ => None,
        };
        [drained, self.worker.deadline()].into_iter().flatten().min()
    }

    /// Longest time that requests or upgraded connections may go on behind the closed gate.
    pub(super) fn drain_timeout(&self) -> Duration {
        self.plan.drain_timeout.max(self.plan.upgrade_timeout) + GRACE
    }
}

/// How a generation's worker is judged.
pub(super) fn settings(id: GenerationId, plan: &RolloutPlan, seed: u64) -> Settings {
    Settings {
        start_timeout: plan.start_timeout,
        stop_timeout: plan.stop_timeout,
        failures: plan.failures,
        seed: seed ^ id.0.rotate_left(32),
        exits_are_final: false,
        pace: Pace::TENANT,
    }
}

impl Draining {
    pub(super) fn new(timeout: Duration, then: Then) -> Self {
        Self { revision: None, idle: false, timeout, until: None, then }
    }
}

impl Tenant {
    /// Gives an event to a generation's worker, and passes on what it wants done.
    pub(super) fn feed(&mut self, id: GenerationId, event: worker::Event, now: Now, out: &mut Vec<Action>) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        for action in generation.worker.on(event, now) {
            match action {
                worker::Action::Spawn { .. } | worker::Action::Stop | worker::Action::Kill => {
                    out.push(Action::Worker { generation: id, action });
                }
                worker::Action::Log { event, reason, next } => {
                    out.push(Action::Log { generation: Some(id), event, reason, next });
                }
                // What these say is read from the worker's phase.
                worker::Action::Ready
                | worker::Action::NotReady { .. }
                | worker::Action::Failed { .. }
                | worker::Action::Stopped => {}
            }
        }
    }

    /// Moves every generation that is on its way out one step further, if it can. Whether one moved.
    pub(super) fn step_generations(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let ids: Vec<GenerationId> = self.generations.keys().copied().collect();
        let mut moved = false;
        for id in ids {
            moved |= self.step_generation(id, now, out);
        }
        moved
    }

    fn step_generation(&mut self, id: GenerationId, now: Now, out: &mut Vec<Action>) -> bool {
        let applied = self.applied;
        let Some(generation) = self.generations.get_mut(&id) else { return false };
        let timeout = generation.drain_timeout();
        let (phase, wanted) = (generation.worker.phase(), generation.worker.wanted());
        match &mut generation.stage {
            // What crashes on its way out is not started again.
            Stage::Leaving { .. } | Stage::Draining(_) if wanted && phase != Phase::Running => {
                self.feed(id, worker::Event::Stop, now, out);
                true
            }
            Stage::Leaving { revision: Some(revision) } if *revision <= applied => {
                generation.stage = Stage::Draining(Draining::new(timeout, Then::Close));
                true
            }
            Stage::Draining(draining) if draining.revision.is_some_and(|revision| revision <= applied) => {
                let until = *draining.until.get_or_insert(now + draining.timeout);
                if !draining.idle && now < until && phase != Phase::Stopped {
                    return false;
                }
                generation.stage = Stage::Stopping(draining.then);
                self.feed(id, worker::Event::Stop, now, out);
                true
            }
            Stage::Stopping(Then::Park) if phase == Phase::Stopped => {
                generation.stage = Stage::Parked;
                true
            }
            Stage::Stopping(Then::Close) if phase == Phase::Stopped => {
                self.close(id, out);
                true
            }
            _ => false,
        }
    }

    /// Sends a generation on its way out, whatever it is doing. `timeout` bounds what is in flight on it.
    pub(super) fn retire(&mut self, id: GenerationId, timeout: Duration, now: Now, out: &mut Vec<Action>) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        match &mut generation.stage {
            Stage::Opening { doomed } => *doomed = true,
            Stage::Open | Stage::Parked => self.close(id, out),
            Stage::Up if !generation.served => self.halt(id, Then::Close, now, out),
            Stage::Up | Stage::Leaving { .. } => {
                generation.stage = Stage::Draining(Draining::new(timeout, Then::Close));
            }
            Stage::Draining(draining) => {
                draining.then = Then::Close;
                draining.timeout = draining.timeout.min(timeout);
                draining.until = draining.until.map(|until| until.min(now + timeout));
            }
            Stage::Stopping(then) => *then = Then::Close,
        }
    }

    /// Stops the worker of a generation on which nothing is in flight.
    pub(super) fn halt(&mut self, id: GenerationId, then: Then, now: Now, out: &mut Vec<Action>) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        generation.stage = Stage::Stopping(then);
        self.feed(id, worker::Event::Stop, now, out);
    }

    /// Wants a generation's worker up, be it new, parked or half on its way out.
    pub(super) fn raise(&mut self, id: GenerationId, now: Now, out: &mut Vec<Action>) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        if matches!(generation.stage, Stage::Draining(_)) {
            generation.reopened = self.revision + 1;
        }
        generation.stage = Stage::Up;
        self.feed(id, worker::Event::Start, now, out);
    }

    /// Nothing of it is alive: gives its port back.
    pub(super) fn close(&mut self, id: GenerationId, out: &mut Vec<Action>) {
        if let Some(generation) = self.generations.remove(&id) {
            self.past_restarts += generation.worker.view().restarts;
            out.push(Action::Close { generation: id });
        }
        if self.current == Some(id) {
            self.current = None;
        }
    }

    /// Notes the revision that says so for everything that waits to be known by the proxies. Whether there was any.
    pub(super) fn stamp(&mut self, revision: u64) -> bool {
        let mut stamped = false;
        for generation in self.generations.values_mut() {
            if let Stage::Leaving { revision: awaited } | Stage::Draining(Draining { revision: awaited, .. }) =
                &mut generation.stage
                && awaited.is_none()
            {
                *awaited = Some(revision);
                stamped = true;
            }
        }
        stamped
    }
}
