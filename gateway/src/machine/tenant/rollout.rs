//! The way from one generation to the next, and back when the next one is no good.

use std::time::Duration;

use super::{
    Action, Generation, GenerationId, RolloutPlan, Stage, StopReason, Task, Tenant, Wish,
    generation::{Draining, Then},
    retreat::no_good,
    work::{Rollout, Step, Work},
};
use crate::{
    machine::{Now, backoff::Pace, spoken, worker::Phase},
    model::Strategy,
};

/// A removed tenant's visitors are given no longer than this.
const REMOVED_DRAIN: Duration = Duration::from_secs(10);

/// Until the next try to get a port for a tenant of which nothing runs.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

impl Tenant {
    /// Takes the work under way one step further, if it can. Whether it moved.
    pub(super) fn step_work(
        &mut self,
        now: Now,
        fresh: &mut dyn FnMut() -> GenerationId,
        out: &mut Vec<Action>,
    ) -> bool {
        if self.recalled.is_some() {
            return false;
        }
        let obsolete = self.working_for != self.request;
        match std::mem::replace(&mut self.work, Work::Rest) {
            Work::Rest if self.done == self.request => false,
            Work::Rest => {
                self.begin(now, fresh, out);
                true
            }
            Work::Stopping | Work::Resume { .. } if obsolete => true,
            Work::Stopping => self.step_stopping(out),
            Work::Resume { cause, until } => self.step_resume(cause, until, now, out),
            Work::Retry { .. } if obsolete => true,
            Work::Retry { at, .. } if at <= now => {
                self.begin(now, fresh, out);
                true
            }
            Work::Rollout(rollout) if obsolete => {
                self.cancel(rollout);
                true
            }
            Work::Rollout(rollout) => self.step_rollout(rollout, now, out),
            Work::Undo(undo) => self.step_undo(undo, now, out),
            work @ Work::Retry { .. } => {
                self.work = work;
                false
            }
        }
    }

    /// Sets out towards the newest wish.
    fn begin(&mut self, now: Now, fresh: &mut dyn FnMut() -> GenerationId, out: &mut Vec<Action>) {
        self.working_for = self.request;
        self.note.clear();
        match self.wish.clone() {
            None => self.finish(true, String::new(), out),
            Some(Wish::Stop { reason }) => {
                let ids: Vec<GenerationId> = self.generations.keys().copied().collect();
                for id in ids {
                    let Some(generation) = self.generations.get(&id) else { continue };
                    let timeout =
                        generation.drain_timeout().min(generation.plan.drain_timeout + Duration::from_secs(2));
                    let timeout = if reason == StopReason::Removed { timeout.min(REMOVED_DRAIN) } else { timeout };
                    self.retire(id, timeout, now, out);
                }
                self.work = Work::Stopping;
            }
            Some(Wish::Run { plan }) => self.begin_run(plan, now, fresh, out),
        }
    }

    fn begin_run(
        &mut self,
        plan: RolloutPlan,
        now: Now,
        fresh: &mut dyn FnMut() -> GenerationId,
        out: &mut Vec<Action>,
    ) {
        if let Some(torn) = self.torn.take() {
            return self.mend(torn);
        }
        // A stop that is called off: what drains can serve again, or be followed; what is being stopped is as good as gone.
        let incumbent = self.current.and_then(|id| self.generations.get_mut(&id));
        match incumbent.map(|incumbent| &mut incumbent.stage) {
            Some(Stage::Draining(draining)) => draining.then = Then::Park,
            Some(Stage::Stopping(Then::Close)) => self.current = None,
            _ => {}
        }
        let alone = plan.strategy == Strategy::Hold || (plan.migrate && self.current.is_none());
        if let (Some(current), Some(incumbent)) = (self.current, self.incumbent()) {
            let (same, up) = (incumbent.plan.digest == plan.digest && !self.forced, incumbent.stage == Stage::Up);
            if !up && (same || !alone) {
                self.raise(current, now, out);
            }
            if same && up {
                return self.finish(true, format!("generation {current} has these settings already"), out);
            }
            if same {
                self.work = Work::Resume { cause: None, until: None };
                return;
            }
        }
        let next = fresh();
        self.generations.insert(next, Generation::new(next, plan, self.seed));
        out.push(Action::Open { generation: next });
        out.push(Action::Log { generation: Some(next), event: "deploy", reason: String::new(), next: None });
        self.work = Work::Rollout(Rollout { next, step: Step::Opening, alone, touched: false });
    }

    fn step_stopping(&mut self, out: &mut Vec<Action>) -> bool {
        if !self.generations.is_empty() {
            self.work = Work::Stopping;
            return false;
        }
        self.current = None;
        let sleeps = self.wish == Some(Wish::Stop { reason: StopReason::Sleep });
        let event = if sleeps { "asleep" } else { "stopped" };
        out.push(Action::Log { generation: None, event, reason: String::new(), next: None });
        let message = format!("{} is {event}", self.name);
        self.finish(true, message, out);
        if self.wish == (Some(Wish::Stop { reason: StopReason::Removed })) {
            out.push(Action::Gone);
        }
        true
    }

    fn step_rollout(&mut self, mut rollout: Rollout, now: Now, out: &mut Vec<Action>) -> bool {
        let next = rollout.next;
        match rollout.step {
            Step::Opening => {
                if self.generations.get(&next).is_none_or(|generation| generation.stage != Stage::Open) {
                    self.work = Work::Rollout(rollout);
                    return false;
                }
                if rollout.alone {
                    self.clear(now, out);
                    rollout.step = Step::Clearing;
                } else {
                    self.raise(next, now, out);
                    rollout.step = Step::Starting { until: None };
                }
            }
            Step::Clearing => {
                let cleared = self.generations.iter().all(|(id, generation)| {
                    *id == next || (self.current == Some(*id) && generation.stage == Stage::Parked)
                });
                if !cleared {
                    self.work = Work::Rollout(rollout);
                    return false;
                }
                let migrate = self.generations.get(&next).is_some_and(|generation| generation.plan.migrate);
                rollout.step = match (migrate, self.current) {
                    (true, Some(_)) => self.run(next, Task::Snapshot, out),
                    (true, None) => self.run(next, Task::Migrate, out),
                    (false, _) => self.first_spawn(next, now, out),
                };
            }
            Step::Task(task) => {
                let Some(result) = self.task_result.take() else {
                    self.work = Work::Rollout(rollout);
                    return false;
                };
                match (task, result) {
                    (Task::Snapshot, Ok(())) => {
                        rollout.touched = true;
                        rollout.step = self.run(next, Task::Migrate, out);
                    }
                    (_, Ok(())) => rollout.step = self.first_spawn(next, now, out),
                    (Task::Snapshot, Err(reason)) => {
                        self.fail(rollout, format!("no snapshot could be taken: {reason}"), Pace::RARE, now, out);
                        return true;
                    }
                    (_, Err(reason)) => {
                        self.fail(rollout, format!("the migration failed: {reason}"), Pace::RARE, now, out);
                        return true;
                    }
                }
            }
            Step::Starting { until } => return self.step_starting(rollout, until, now, out),
            Step::Handover { revision } => {
                if revision.is_none_or(|revision| revision > self.applied) {
                    self.work = Work::Rollout(rollout);
                    return false;
                }
                out.push(Action::Log { generation: Some(next), event: "deployed", reason: String::new(), next: None });
                self.finish(true, format!("generation {next} serves"), out);
                return true;
            }
        }
        self.work = Work::Rollout(rollout);
        true
    }

    fn step_starting(&mut self, mut rollout: Rollout, until: Option<Now>, now: Now, out: &mut Vec<Action>) -> bool {
        let next = rollout.next;
        let Some(generation) = self.generations.get(&next) else { return true };
        if generation.worker.phase() == Phase::Running {
            self.hand_over(next, now, out);
            rollout.step = Step::Handover { revision: None };
            self.work = Work::Rollout(rollout);
            return true;
        }
        if let Some(why) = no_good(generation, until, now) {
            self.fail(rollout, format!("generation {next} {why}"), Pace::RARE, now, out);
            return true;
        }
        self.work = Work::Rollout(rollout);
        false
    }

    /// Closes the old one's gate, and keeps it for a way back.
    fn clear(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some((id, generation)) = self.current.and_then(|id| Some((id, self.generations.get_mut(&id)?))) else {
            return;
        };
        match generation.stage {
            Stage::Up if generation.served => {
                generation.stage = Stage::Draining(Draining::new(generation.drain_timeout(), Then::Park));
            }
            Stage::Up => self.halt(id, Then::Park, now, out),
            _ => {}
        }
    }

    pub(super) fn run(&mut self, id: GenerationId, task: Task, out: &mut Vec<Action>) -> Step {
        self.task = Some((id, task));
        self.task_result = None;
        out.push(Action::Run { generation: id, task });
        Step::Task(task)
    }

    fn first_spawn(&mut self, id: GenerationId, now: Now, out: &mut Vec<Action>) -> Step {
        self.raise(id, now, out);
        Step::Starting { until: None }
    }

    /// The new one is healthy: it is the current one from here on.
    fn hand_over(&mut self, next: GenerationId, now: Now, out: &mut Vec<Action>) {
        let old = self.current.replace(next);
        let Some((id, generation)) = old.and_then(|id| Some((id, self.generations.get_mut(&id)?))) else { return };
        if generation.stage == Stage::Up && generation.served {
            generation.stage = Stage::Leaving { revision: None };
        } else {
            let timeout = generation.drain_timeout();
            self.retire(id, timeout, now, out);
        }
    }

    /// The port of a new generation could not be had.
    pub(super) fn not_opened(&mut self, id: GenerationId, reason: &str, now: Now, out: &mut Vec<Action>) {
        let obsolete = self.working_for != self.request;
        match std::mem::replace(&mut self.work, Work::Rest) {
            Work::Rollout(rollout) if rollout.next == id && !obsolete => {
                self.fail(rollout, format!("generation {id} got no port: {reason}"), OPEN_AGAIN, now, out);
            }
            work => self.work = work,
        }
    }

    /// The rollout has failed. With an old generation there is a way back; without one there is only another try.
    fn fail(&mut self, rollout: Rollout, cause: String, pause: Duration, now: Now, out: &mut Vec<Action>) {
        let Rollout { next, step, touched, .. } = rollout;
        out.push(Action::Log { generation: Some(next), event: "rolled_back", reason: cause.clone(), next: None });
        if self.current.is_some() {
            self.undo(next, touched, Some(cause));
        } else if matches!(step, Step::Starting { .. }) {
            self.current = Some(next);
            self.finish(false, format!("{cause}; it is tried again"), out);
            // From here on the worker's own reason says it.
            self.note.clear();
        } else {
            self.retire(next, Duration::ZERO, now, out);
            self.finish(false, format!("{cause}; it is tried again in {}", spoken(pause)), out);
            self.work = Work::Retry { at: now + pause, pause };
        }
    }

    /// A newer request came.
    fn cancel(&mut self, rollout: Rollout) {
        let Rollout { next, step, touched, .. } = rollout;
        if !matches!(step, Step::Handover { .. }) {
            self.undo(next, touched, None);
        }
    }

    /// The end of the newest request, said once.
    pub(super) fn finish(&mut self, ok: bool, message: String, out: &mut Vec<Action>) {
        self.done = self.working_for;
        if ok {
            self.note.clear();
        } else {
            self.note.clone_from(&message);
        }
        self.settle(ok, message, out);
    }
}
