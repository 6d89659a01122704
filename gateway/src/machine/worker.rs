//! One supervised process: a generation of a tenant, or a role. Wanted and actual are apart; ready is more than running.
//!
//! After every end of the process the rest of its tree is ended too, before anything is spawned again: two live
//! processes of one machine never meet.

use std::time::Duration;

use super::{
    Now,
    backoff::{Backoff, Verdict},
    spoken,
};

mod memory;
mod message;
#[cfg(test)]
mod tests;

pub use memory::Memory;
pub use message::{Action, Event, Phase, Settings, View};

/// A worker that hangs is given at most this long to follow the stop signal.
const HUNG_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A kill without an answer is repeated after this.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// The machine.
#[derive(Clone, Debug)]
pub struct Worker {
    settings: Settings,
    phase: Phase,
    wanted: bool,
    /// `Spawn` was said and not answered.
    spawning: bool,
    /// What was said to be done may have been lost with the one it was said to.
    unsure: bool,
    attempt: u32,
    pid: Option<u32>,
    restarts: u32,
    bad_ends: u32,
    /// Unhealthy words in a row.
    unhealthy: u32,
    reason: String,
    since: Now,
    ready_since: Option<Now>,
    deadline: Option<Now>,
    backoff: Backoff,
    /// What follows the bad end whose tree is being ended. `None`: a wanted one.
    verdict: Option<Verdict>,
}

impl Worker {
    /// A process that was never started.
    pub fn new(settings: Settings) -> Self {
        let backoff = Backoff::new(settings.pace, settings.seed);
        Self {
            settings,
            phase: Phase::Stopped,
            wanted: false,
            spawning: false,
            unsure: false,
            attempt: 0,
            pid: None,
            restarts: 0,
            bad_ends: 0,
            unhealthy: 0,
            reason: String::new(),
            since: Now::default(),
            ready_since: None,
            deadline: None,
            backoff,
            verdict: None,
        }
    }

    /// What can be told about it.
    pub fn view(&self) -> View {
        View {
            phase: self.phase,
            pid: self.pid,
            attempt: self.attempt,
            restarts: self.restarts,
            reason: self.reason.clone(),
            since: self.since,
            ready_since: self.ready_since,
        }
    }

    /// Where in its life it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it is to be running.
    pub fn wanted(&self) -> bool {
        self.wanted
    }

    /// Whether attempts are rare, also while one of them is under way.
    pub fn given_up(&self) -> bool {
        self.backoff.given_up()
    }

    /// Unwanted ends since it was last started on demand.
    pub fn bad_ends(&self) -> u32 {
        self.bad_ends
    }

    /// Takes over changed times, from the next occasion on.
    pub fn retime(&mut self, start_timeout: Duration, stop_timeout: Duration, failures: u32) {
        self.settings.start_timeout = start_timeout;
        self.settings.stop_timeout = stop_timeout;
        self.settings.failures = failures;
    }

    /// What was started for one try is kept up from now on, and has so long to follow its stop signal.
    pub fn keep_up(&mut self, stop_timeout: Duration) {
        self.settings.exits_are_final = false;
        self.settings.stop_timeout = stop_timeout;
    }

    /// When it wants to hear `Timer`.
    pub fn deadline(&self) -> Option<Now> {
        self.deadline
    }

    /// The state table. An event that has no meaning in the present phase, or is about an earlier attempt, does nothing.
    pub fn on(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Start => self.start(now, &mut out),
            Event::Stop => self.stop(now, &mut out),
            Event::Spawned { pid } if self.spawning => {
                (self.spawning, self.unsure) = (false, false);
                self.pid = Some(pid);
                if self.wanted {
                    self.deadline = Some(now + self.settings.start_timeout);
                } else {
                    self.signal(self.settings.stop_timeout, now, &mut out);
                }
            }
            Event::SpawnFailed { reason } if self.spawning => {
                self.spawning = false;
                // An order that was lost is given again: it says nothing against the process.
                if self.wanted && !self.unsure {
                    self.fall("exit", reason, now, &mut out);
                }
                self.settle(now, &mut out);
            }
            Event::Healthy { attempt } if self.lives(attempt) => self.healthy(now, &mut out),
            Event::Unhealthy { attempt, reason } if self.lives(attempt) => self.unhealthy(reason, now, &mut out),
            Event::Exited { attempt, reason } if attempt == self.attempt && self.pid.is_some() => {
                self.exited("exit", reason, now, &mut out);
            }
            Event::OutOfMemory { attempt, reason } if attempt == self.attempt && self.pid.is_some() => {
                self.exited("oom", reason, now, &mut out);
            }
            Event::TreeGone { attempt } if attempt == self.attempt && self.phase == Phase::Killing => {
                self.pid = None;
                self.settle(now, &mut out);
            }
            Event::Timer if self.deadline.is_some_and(|deadline| deadline <= now) => self.timer(now, &mut out),
            _ => {}
        }
        out
    }

    fn start(&mut self, now: Now, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopped => {
                self.wanted = true;
                self.bad_ends = 0;
                self.backoff.reset();
                self.spawn(now, out);
            }
            Phase::Backoff | Phase::Failed => self.spawn(now, out),
            Phase::Stopping | Phase::Killing if !self.wanted => {
                self.wanted = true;
                self.bad_ends = 0;
                self.backoff.reset();
                self.verdict = None;
            }
            // A spawn that was to be undone once answered is welcome again.
            Phase::Starting => self.wanted = true,
            Phase::Running | Phase::Stopping | Phase::Killing => {}
        }
    }

    fn stop(&mut self, now: Now, out: &mut Vec<Action>) {
        self.wanted = false;
        match self.phase {
            Phase::Starting if self.spawning => {}
            Phase::Starting | Phase::Running => self.signal(self.settings.stop_timeout, now, out),
            Phase::Backoff | Phase::Failed => self.settle(now, out),
            Phase::Stopped | Phase::Stopping | Phase::Killing => {}
        }
    }

    fn healthy(&mut self, now: Now, out: &mut Vec<Action>) {
        self.unhealthy = 0;
        self.reason.clear();
        if self.phase == Phase::Starting {
            self.enter(Phase::Running, None, now);
            self.ready_since = Some(now);
            out.push(Action::Ready);
            out.push(Action::Log { event: "ready", reason: String::new(), next: None });
        }
    }

    fn unhealthy(&mut self, reason: String, now: Now, out: &mut Vec<Action>) {
        if self.phase == Phase::Starting {
            self.reason = reason;
            return;
        }
        self.unhealthy += 1;
        if self.unhealthy >= self.settings.failures.max(1) {
            let reason = match self.unhealthy {
                1 => format!("unhealthy once: {reason}"),
                times => format!("unhealthy {times} times in a row: {reason}"),
            };
            self.fall("unhealthy", reason, now, out);
            self.signal(self.settings.stop_timeout.min(HUNG_STOP_TIMEOUT), now, out);
        } else {
            self.reason = reason;
        }
    }

    fn exited(&mut self, event: &'static str, reason: String, now: Now, out: &mut Vec<Action>) {
        self.pid = None;
        match self.phase {
            Phase::Starting | Phase::Running => self.fall(event, reason, now, out),
            Phase::Stopping => {}
            // The tree is being ended already.
            Phase::Killing | Phase::Stopped | Phase::Backoff | Phase::Failed => return,
        }
        self.kill(now, out);
    }

    fn timer(&mut self, now: Now, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Starting => {
                let mut reason = format!("not healthy within {}", spoken(self.settings.start_timeout));
                if !self.reason.is_empty() {
                    reason = format!("{reason}: {}", self.reason);
                }
                self.fall("unhealthy", reason, now, out);
                self.signal(self.settings.stop_timeout.min(HUNG_STOP_TIMEOUT), now, out);
            }
            Phase::Stopping if self.unsure => {
                // What hangs is given less time, as it was the first time.
                let hangs = self.verdict.is_some();
                let timeout = self.settings.stop_timeout;
                self.signal(if hangs { timeout.min(HUNG_STOP_TIMEOUT) } else { timeout }, now, out);
            }
            Phase::Stopping | Phase::Killing => self.kill(now, out),
            Phase::Backoff | Phase::Failed => self.spawn(now, out),
            Phase::Stopped | Phase::Running => self.deadline = None,
        }
    }

    /// Whether a word about the health of `attempt` counts.
    fn lives(&self, attempt: u32) -> bool {
        attempt == self.attempt && self.pid.is_some() && matches!(self.phase, Phase::Starting | Phase::Running)
    }

    fn spawn(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.verdict.take().is_some() {
            self.restarts += 1;
        }
        self.attempt += 1;
        self.unhealthy = 0;
        self.spawning = true;
        self.enter(Phase::Starting, None, now);
        out.push(Action::Spawn { attempt: self.attempt });
    }

    /// The attempt has come to an unwanted end, or is about to be given one.
    fn fall(&mut self, event: &'static str, reason: String, now: Now, out: &mut Vec<Action>) {
        let healthy = self.ready_since.take().map(|since| now.since(since));
        if healthy.is_some() {
            out.push(Action::NotReady { reason: reason.clone() });
        }
        let verdict = self.backoff.failed(healthy, now);
        let event = if verdict.given_up { "failed" } else { event };
        let next = (!self.settings.exits_are_final).then_some(verdict.delay);
        out.push(Action::Log { event, reason: reason.clone(), next });
        self.reason = reason;
        self.bad_ends += 1;
        self.verdict = Some(verdict);
    }

    fn signal(&mut self, timeout: Duration, now: Now, out: &mut Vec<Action>) {
        self.ready_since = None;
        self.enter(Phase::Stopping, Some(now + timeout), now);
        out.push(Action::Stop);
    }

    fn kill(&mut self, now: Now, out: &mut Vec<Action>) {
        self.ready_since = None;
        self.enter(Phase::Killing, Some(now + KILL_AGAIN), now);
        out.push(Action::Kill);
    }

    /// Nothing is alive: stop here, wait for the next attempt, or make it.
    fn settle(&mut self, now: Now, out: &mut Vec<Action>) {
        if !self.wanted || (self.settings.exits_are_final && self.verdict.is_some()) {
            self.wanted = false;
            self.verdict = None;
            self.enter(Phase::Stopped, None, now);
            out.push(Action::Stopped);
            return;
        }
        match self.verdict {
            Some(Verdict { delay, given_up: true }) => {
                self.enter(Phase::Failed, Some(now + delay), now);
                out.push(Action::Failed { reason: self.reason.clone() });
            }
            Some(Verdict { delay, given_up: false }) if !delay.is_zero() => {
                self.enter(Phase::Backoff, Some(now + delay), now);
            }
            _ => self.spawn(now, out),
        }
    }

    fn enter(&mut self, phase: Phase, deadline: Option<Now>, now: Now) {
        if self.phase != phase {
            self.since = now;
        }
        self.phase = phase;
        self.deadline = deadline;
        self.unsure = false;
    }
}
