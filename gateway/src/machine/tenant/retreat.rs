//! The way back: a new generation is taken back as if it had never been, and the old one serves again.

use std::time::Duration;

use super::{
    Action, GenerationId, Stage, Task, Tenant, Wish,
    generation::{Generation, Then},
    work::Work,
};
use crate::machine::{Now, backoff::Pace, spoken, worker::Phase};

/// Unwanted ends of a new generation's process before it is given up while another one could serve.
const ENDS: u32 = 3;

/// A new generation that is taken back.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) next: GenerationId,
    /// The request for which it was begun. 0: none, something is still to be done after it.
    request: u64,
    /// A snapshot is to be put back.
    pub(super) restore: bool,
    /// It is being put back.
    restoring: bool,
    /// Why; `None`: it is not wanted any more.
    cause: Option<String>,
    /// The snapshot could not be put back; the next try.
    pub(super) retry: Option<Now>,
}

impl Work {
    /// `next` goes, and its migration with it if `restore`; what is asked for is still to be done after that.
    pub(super) fn taken_back(next: GenerationId, restore: bool) -> Self {
        Work::Undo(Undo { next, request: 0, restore, restoring: false, cause: None, retry: None })
    }
}

impl Tenant {
    pub(super) fn undo(&mut self, next: GenerationId, restore: bool, cause: Option<String>) {
        let request = self.working_for;
        self.work = Work::Undo(Undo { next, request, restore, restoring: false, cause, retry: None });
    }

    /// Puts back the snapshot of a migration that was cut short, before what was asked for is begun.
    pub(super) fn mend(&mut self, torn: GenerationId) {
        self.work = Work::taken_back(torn, true);
    }

    pub(super) fn step_undo(&mut self, mut undo: Undo, now: Now, out: &mut Vec<Action>) -> bool {
        // A task cannot be called off: half a migration is worse than a whole one.
        if self.task.is_some() || undo.retry.is_some_and(|retry| retry > now) {
            self.work = Work::Undo(undo);
            return false;
        }
        let stop = matches!(self.wish, Some(Wish::Stop { .. }));
        let result = self.task_result.take();
        if undo.restoring {
            undo.restoring = false;
            match result {
                Some(Err(reason)) if !stop => self.not_restored(&mut undo, &reason, now, out),
                Some(Err(_)) | None => {
                    // Whoever starts it again has to put it back first.
                    undo.restore = false;
                    self.torn = Some(undo.next);
                }
                Some(Ok(())) => undo.restore = false,
            }
            self.work = Work::Undo(undo);
            return true;
        }
        let next = undo.next;
        let stage = self.generations.get(&next).map(|generation| generation.stage.clone());
        let moved = match stage {
            Some(Stage::Up) if undo.restore => {
                self.halt(next, Then::Park, now, out);
                true
            }
            Some(Stage::Open | Stage::Parked) | None if undo.restore => {
                self.run(next, Task::Restore, out);
                undo.retry = None;
                undo.restoring = true;
                true
            }
            Some(_) if undo.restore => false,
            Some(Stage::Opening { doomed: true } | Stage::Stopping(Then::Close)) if !stop => false,
            Some(Stage::Opening { doomed: false } | Stage::Open | Stage::Up | Stage::Parked) => {
                self.retire(next, Duration::ZERO, now, out);
                true
            }
            _ => {
                self.undone(undo, now, out);
                return true;
            }
        };
        self.work = Work::Undo(undo);
        moved
    }

    /// The data is between two versions: nothing may be started on it until the snapshot is back.
    fn not_restored(&mut self, undo: &mut Undo, reason: &str, now: Now, out: &mut Vec<Action>) {
        let cause = undo.cause.as_ref().map(|cause| format!("{cause}; ")).unwrap_or_default();
        let message = format!("{cause}the snapshot could not be put back: {reason}; it is tried again");
        out.push(Action::Log {
            generation: Some(undo.next),
            event: "failed",
            reason: message.clone(),
            next: Some(Pace::RARE),
        });
        undo.retry = Some(now + Pace::RARE);
        self.finish(false, message, out);
    }

    /// The new generation is gone, as if it had never been.
    fn undone(&mut self, undo: Undo, now: Now, out: &mut Vec<Action>) {
        if undo.request != self.request {
            // What was asked for meanwhile is still to be done, and begins from here.
            return;
        }
        let (Some(current), Some(incumbent)) = (self.current, self.incumbent()) else { return };
        if incumbent.serves() {
            let cause = undo.cause.map(|cause| format!("{cause}; ")).unwrap_or_default();
            self.finish(false, format!("{cause}generation {current} still serves"), out);
            return;
        }
        if incumbent.stage != Stage::Up {
            self.raise(current, now, out);
        }
        self.work = Work::Resume { cause: undo.cause, until: None };
    }

    pub(super) fn step_resume(
        &mut self,
        cause: Option<String>,
        until: Option<Now>,
        now: Now,
        out: &mut Vec<Action>,
    ) -> bool {
        let (Some(current), Some(incumbent)) = (self.current, self.incumbent()) else { return true };
        let (ok, cause_told) = (cause.is_none(), cause.as_ref().map(|cause| format!("{cause}; ")).unwrap_or_default());
        if incumbent.worker.phase() == Phase::Running {
            self.finish(ok, format!("{cause_told}generation {current} serves again"), out);
            return true;
        }
        if let Some(why) = no_good(incumbent, until, now) {
            self.finish(false, format!("{cause_told}generation {current} {why}; it is tried again"), out);
            self.note = cause.unwrap_or_default();
            return true;
        }
        self.work = Work::Resume { cause, until };
        false
    }
}

/// Why a start is to be given up, if it is.
pub(super) fn no_good(generation: &Generation, until: Option<Now>, now: Now) -> Option<String> {
    let view = generation.worker.view();
    if generation.worker.bad_ends() >= ENDS || generation.worker.given_up() {
        let ends = generation.worker.bad_ends();
        return Some(format!("ended {ends} times before it was healthy: {}", view.reason));
    }
    if until.is_some_and(|until| until <= now) {
        let within = format!("not healthy within {}", spoken(generation.plan.start_timeout));
        let detail = view.reason.strip_prefix(&within).unwrap_or(&view.reason).trim_start_matches(": ");
        return Some(if detail.is_empty() { format!("was {within}") } else { format!("was {within}: {detail}") });
    }
    None
}
