//! What a tenant is about, and how far it is.

use std::{collections::BTreeMap, time::Duration};

use super::{Generation, GenerationId, Task, retreat::Undo};
use crate::machine::Now;

/// What is under way.
#[derive(Debug)]
pub(super) enum Work {
    /// Nothing.
    Rest,
    /// A new generation is on its way.
    Rollout(Rollout),
    /// It is taken back.
    Undo(Undo),
    /// The old generation, which was stopped for the new one, starts again.
    Resume {
        /// Why; `None`: it was wished back.
        cause: Option<String>,
        /// Healthy by then, or the request ends as failed.
        until: Option<Now>,
    },
    /// Nothing could be started at all; the next try.
    Retry { at: Now, pause: Duration },
    /// Everything goes.
    Stopping,
}

/// A new generation on its way.
#[derive(Debug)]
pub(super) struct Rollout {
    pub(super) next: GenerationId,
    pub(super) step: Step,
    /// Never beside another live generation.
    pub(super) alone: bool,
    /// The migration has begun, with a snapshot to go back to.
    pub(super) touched: bool,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Step {
    /// Its port is awaited.
    Opening,
    /// The old ones drain and stop.
    Clearing,
    /// The data is made ready.
    Task(Task),
    /// Its first healthy probe is awaited, until then.
    Starting { until: Option<Now> },
    /// It serves; the proxies are being told.
    Handover { revision: Option<u64> },
}

impl Work {
    pub(super) fn deadline(&self) -> Option<Now> {
        match self {
            Work::Rollout(Rollout { step: Step::Starting { until }, .. }) | Work::Resume { until, .. } => *until,
            Work::Undo(undo) => undo.retry,
            Work::Retry { at, .. } => Some(*at),
            Work::Rest | Work::Rollout(_) | Work::Stopping => None,
        }
    }

    /// Notes the revision by which the proxies know of the handover. Whether there is one that waits for it.
    pub(super) fn stamp(&mut self, newest: u64) -> bool {
        match self {
            Work::Rollout(Rollout { step: Step::Handover { revision: revision @ None }, .. }) => {
                *revision = Some(newest);
                true
            }
            _ => false,
        }
    }

    /// The clock of a start begins with the first process, not with the wait for a turn to be spawned.
    pub(super) fn spawned(
        &mut self,
        id: GenerationId,
        current: Option<GenerationId>,
        now: Now,
        generations: &BTreeMap<GenerationId, Generation>,
    ) {
        let Some(generation) = generations.get(&id) else { return };
        let end = now + generation.plan.start_timeout;
        match self {
            Work::Rollout(Rollout { next, step: Step::Starting { until: until @ None }, .. }) if *next == id => {
                *until = Some(end);
            }
            Work::Resume { until: until @ None, .. } if current == Some(id) => *until = Some(end),
            _ => {}
        }
    }

    /// A new request makes a waiting try due.
    pub(super) fn hurry(&mut self, now: Now) {
        if let Work::Undo(Undo { retry: Some(retry), .. }) = self {
            *retry = now;
        }
    }
}

impl Rollout {
    /// For a person who looks while it is under way.
    pub(super) fn told(&self, current: GenerationId) -> String {
        let next = self.next;
        match &self.step {
            Step::Opening => format!("generation {next} is being prepared"),
            Step::Clearing => format!("generation {current} ends its requests; generation {next} follows"),
            Step::Task(Task::Snapshot) => format!("taking a snapshot before generation {next}"),
            Step::Task(_) => format!("migrating for generation {next}"),
            Step::Starting { .. } if self.alone => format!("generation {next} is starting"),
            Step::Starting { .. } => format!("generation {next} is starting; generation {current} serves"),
            Step::Handover { .. } => String::new(),
        }
    }
}
