//! What the rest of the house sees of a tenant: its route for the proxies, its state for people.

use serde::{Deserialize, Serialize};

use super::{
    Generation, RolloutPlan, Stage, StopReason, Tenant, Wish,
    work::{Rollout, Step, Work},
};
use crate::{
    machine::{
        Now,
        backoff::Pace,
        worker::{self, Phase},
    },
    model::{GenerationId, Serving},
};

/// What the proxies are to do with a tenant's requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// With new requests.
    pub serving: Serving,
    /// With each generation that has a port.
    pub backends: Vec<Backend>,
}

/// One generation in a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Which.
    pub generation: GenerationId,
    /// The open gate lets requests in.
    pub open: bool,
    /// `None`: not to be probed now.
    pub probe: Option<Probing>,
}

/// Whom a probe is to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// It was not healthy yet in this attempt: probe eagerly.
    pub starting: bool,
    /// Told back with each result.
    pub attempt: u32,
}

/// What a tenant is doing; the words of `landlord status`, without `rejected`, which no machine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its first healthy probe is awaited.
    Starting,
    /// Serving.
    Running,
    /// Requests wait: a deploy by `hold`, or a restart.
    Holding,
    /// Idle, stopped; the next request starts it.
    Sleeping,
    /// Waiting to be restarted.
    Backoff,
    /// Too many failed starts, or no way to start.
    Failed,
    /// `suspended = true`.
    Suspended,
    /// `landlord stop`.
    Stopped,
    /// Its file is gone and its worker is being drained.
    Removed,
}

/// What can be told about a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What it is doing.
    pub state: State,
    /// A sentence for a person; empty when there is nothing to say.
    pub reason: String,
    /// Of the serving worker, or else of the newest.
    pub pid: Option<u32>,
    /// The serving generation, or else the newest.
    pub generation: Option<GenerationId>,
    /// Restarts after crashes since it was let in.
    pub restarts: u32,
    /// Since when the worker is healthy.
    pub ready_since: Option<Now>,
    /// Since when it is in `state`.
    pub since: Now,
}

impl Tenant {
    /// The newest route. Before the first wish: nothing is served.
    pub fn route(&self) -> Route {
        self.route.clone().unwrap_or_else(|| self.draw())
    }

    /// Grows with every route; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// What can be told about it now.
    pub fn view(&self) -> View {
        let subject = self.subject();
        let worker = subject.and_then(|id| self.worker(id));
        let living = self.generations.values().map(|generation| generation.worker.view().restarts).sum::<u32>();
        View {
            state: self.state,
            reason: self.reason(),
            pid: worker.as_ref().and_then(|worker| worker.pid),
            generation: subject,
            restarts: self.past_restarts + living,
            ready_since: worker.and_then(|worker| worker.ready_since),
            since: self.since,
        }
    }

    /// One generation's worker.
    pub fn worker(&self, id: GenerationId) -> Option<worker::View> {
        self.generations.get(&id).map(|generation| generation.worker.view())
    }

    /// Whether a generation's worker is to be running.
    pub fn wants_up(&self, id: GenerationId) -> bool {
        self.generations.get(&id).is_some_and(|generation| generation.worker.wanted())
    }

    /// The plan under which a generation was begun.
    pub fn plan(&self, id: GenerationId) -> Option<&RolloutPlan> {
        self.generations.get(&id).map(|generation| &generation.plan)
    }

    /// The generation that serves when it is healthy. None while a first one is on its way.
    pub fn current(&self) -> Option<GenerationId> {
        self.current
    }

    /// The snapshot that has to be put back before anything else may be started on the data, while that is so.
    pub fn torn(&self) -> Option<GenerationId> {
        let under_way = match &self.work {
            Work::Rollout(Rollout { step: Step::Handover { .. }, .. }) => None,
            Work::Rollout(rollout) => rollout.touched.then_some(rollout.next),
            Work::Undo(undo) => undo.restore.then_some(undo.next),
            Work::Rest | Work::Resume { .. } | Work::Retry { .. } | Work::Stopping => None,
        };
        self.torn.or(under_way)
    }

    /// The generation that a person means by "it".
    fn subject(&self) -> Option<GenerationId> {
        let newest = || self.generations.last_key_value().map(|(id, _)| *id);
        self.predecessor().or(self.current).or_else(newest)
    }

    /// While the proxies are being told of a handover, a visitor may still meet the generation before: whoever reads of the
    /// new one can rely on meeting it.
    fn predecessor(&self) -> Option<GenerationId> {
        if !matches!(self.work, Work::Rollout(Rollout { step: Step::Handover { .. }, .. })) {
            return None;
        }
        let leaving = |generation: &Generation| matches!(generation.stage, Stage::Leaving { .. });
        self.generations.iter().rfind(|(_, generation)| leaving(generation)).map(|(id, _)| *id)
    }

    /// The one that serves when it is healthy.
    pub(super) fn incumbent(&self) -> Option<&Generation> {
        self.current.and_then(|id| self.generations.get(&id))
    }

    pub(super) fn draw(&self) -> Route {
        let backends = self.generations.iter().filter_map(|(id, generation)| backend(*id, generation)).collect();
        Route { serving: self.serving(), backends }
    }

    fn serving(&self) -> Serving {
        match &self.wish {
            None => return Serving::Stopped,
            Some(Wish::Stop { reason }) => {
                return match reason {
                    StopReason::Operator | StopReason::Removed => Serving::Stopped,
                    StopReason::Suspended => Serving::Suspended,
                    StopReason::Sleep => Serving::Hold,
                };
            }
            Some(Wish::Run { .. }) => {}
        }
        if let (Some(generation), Some(incumbent)) = (self.current, self.incumbent())
            && incumbent.serves()
        {
            return Serving::Serve { generation };
        }
        match self.rare() {
            Some(retry_after) => Serving::Failed { retry_after },
            None => Serving::Hold,
        }
    }

    /// Nothing serves and nothing will soon: seconds between attempts.
    fn rare(&self) -> Option<u32> {
        let seconds = match &self.work {
            Work::Retry { pause, .. } => pause.as_secs(),
            Work::Undo(undo) => undo.retry.map(|_| Pace::RARE.as_secs())?,
            Work::Rest | Work::Resume { .. } | Work::Rollout(Rollout { step: Step::Handover { .. }, .. }) => {
                self.incumbent().is_some_and(|incumbent| incumbent.worker.given_up()).then_some(Pace::RARE.as_secs())?
            }
            Work::Rollout(_) | Work::Stopping => return None,
        };
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Keeps `state`, and since when it is so.
    pub(super) fn note_state(&mut self, now: Now) {
        let state = self.judge();
        if state != self.state {
            self.state = state;
            self.since = now;
        }
    }

    fn judge(&self) -> State {
        if let Some(Wish::Stop { reason }) = &self.wish {
            return match reason {
                StopReason::Operator => State::Stopped,
                StopReason::Suspended => State::Suspended,
                StopReason::Removed => State::Removed,
                StopReason::Sleep => State::Sleeping,
            };
        }
        match self.serving() {
            Serving::Serve { .. } => return State::Running,
            Serving::Failed { .. } => return State::Failed,
            Serving::Hold | Serving::Suspended | Serving::Stopped => {}
        }
        if self.wish.is_none() {
            return State::Stopped;
        }
        let subject = self.subject().and_then(|id| self.generations.get(&id));
        match subject {
            Some(one) if one.stage == Stage::Up && one.worker.phase() == Phase::Backoff => State::Backoff,
            Some(one) if one.served => State::Holding,
            _ => State::Starting,
        }
    }

    fn reason(&self) -> String {
        match &self.wish {
            None => return String::new(),
            Some(Wish::Stop { reason }) => {
                let why = match reason {
                    StopReason::Operator => "stopped by an operator",
                    StopReason::Suspended => "suspended in its file",
                    StopReason::Removed => "its file is gone; its data is kept",
                    StopReason::Sleep => "idle; the next request starts it",
                };
                let drains = !self.generations.is_empty();
                return if drains { format!("{why}; what is in flight ends first") } else { why.to_owned() };
            }
            Some(Wish::Run { .. }) => {}
        }
        let worker = self.subject().and_then(|id| self.worker(id)).map(|worker| worker.reason).unwrap_or_default();
        match (&self.work, self.current) {
            (Work::Rollout(rollout), Some(current)) => rollout.told(current),
            _ if self.state == State::Running && self.note.is_empty() => worker,
            _ if worker.is_empty() || self.note.contains(&worker) => self.note.clone(),
            _ if self.note.is_empty() => worker,
            _ => format!("{worker}; {}", self.note),
        }
    }
}

fn backend(id: GenerationId, generation: &Generation) -> Option<Backend> {
    let (open, probed) = match generation.stage {
        Stage::Opening { .. } => return None,
        Stage::Up => (true, true),
        Stage::Open | Stage::Leaving { .. } => (true, false),
        Stage::Draining(_) | Stage::Stopping(_) | Stage::Parked => (false, false),
    };
    let worker = &generation.worker;
    let probe = match worker.phase() {
        Phase::Starting if probed => worker.view().pid.map(|_| true),
        Phase::Running if probed => Some(false),
        _ => None,
    };
    let attempt = worker.view().attempt;
    Some(Backend { generation: id, open, probe: probe.map(|starting| Probing { starting, attempt }) })
}
