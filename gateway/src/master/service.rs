//! What the service manager is told of the house: that it serves, how many it serves, and that its loop goes round.

use std::time::Duration;

use super::house::House;
use crate::{
    machine::{Now, tenant},
    sys::notify::{Manager, Word},
};

/// Between two sentences about how it goes.
const PAUSE: Duration = Duration::from_secs(1);
/// What a stop may take beyond the steps that have bounds of their own.
const SLACK: Duration = Duration::from_secs(15);

/// What it was told so far.
#[derive(Debug, Default)]
pub(super) struct Service {
    manager: Option<Manager>,
    /// It knows that we serve.
    ready: bool,
    /// It waits for the end of a reload.
    reloading: bool,
    sentence: String,
    /// When it may be told another one.
    next_sentence: Now,
    /// When it wants to hear that we live.
    next_sign: Option<Now>,
    /// It could not be told something; that is logged once.
    deaf: bool,
}

impl Service {
    /// The manager that started us, who knows nothing of us yet.
    pub(super) fn new() -> Self {
        let manager = Manager::find();
        let next_sign = manager.and_then(|manager| manager.watchdog).map(|_| Now::default());
        Self { manager, next_sign, ..Self::default() }
    }

    /// Whether there is one.
    pub(super) fn is_managed(&self) -> bool {
        self.manager.is_some()
    }

    /// When the loop must come round although nothing happens.
    pub(super) fn deadline(&self) -> Option<Now> {
        self.next_sign
    }

    fn tell(&mut self, words: &[Word<'_>]) {
        let Some(manager) = self.manager else { return };
        match manager.tell(words) {
            Ok(()) => self.deaf = false,
            Err(error) => {
                if !std::mem::replace(&mut self.deaf, true) {
                    tracing::error!(%error, "the service manager cannot be told anything");
                }
            }
        }
    }

    /// Another turn of the loop is done: only that is a sign of life. A timer beside it would go on when the loop hangs.
    fn sign(&mut self, now: Now) {
        if let Some(pace) = self.manager.and_then(|manager| manager.watchdog)
            && self.next_sign.is_some_and(|at| at <= now)
        {
            self.next_sign = Some(now + pace / 2);
            self.tell(&[Word::Alive]);
        }
    }
}

impl House {
    /// Tells what has changed, at the end of a turn of the loop.
    pub(super) fn report(&mut self) {
        if !self.service.is_managed() {
            return;
        }
        let now = self.now();
        self.service.sign(now);
        if self.farewell.has_begun() {
            return;
        }
        // A program that has just followed another is done when its own proxy serves.
        let ready = self.proxies.newest.facts.ready && !self.service.reloading;
        if ready && !self.service.ready {
            self.service.ready = true;
            let sentence = self.sentence();
            self.service.tell(&[Word::Ready, Word::Status(&sentence)]);
            self.service.sentence = sentence;
            self.service.next_sentence = now + PAUSE;
        } else if self.service.next_sentence <= now {
            let sentence = self.sentence();
            if sentence != self.service.sentence {
                self.service.tell(&[Word::Status(&sentence)]);
                self.service.sentence = sentence;
                self.service.next_sentence = now + PAUSE;
            }
        }
    }

    /// A reload was asked for by signal: whoever waits for it is told when it is over.
    pub(super) fn begin_reload(&mut self) {
        if !std::mem::replace(&mut self.service.reloading, true) {
            self.service.tell(&[Word::Reloading]);
        }
    }

    /// The reload that was asked for by signal is over. Without one, nothing.
    pub(super) fn end_reload(&mut self) {
        if std::mem::take(&mut self.service.reloading) {
            self.service.ready = true;
            self.service.tell(&[Word::Ready]);
        }
    }

    /// The end has begun, and may take as long as its slowest part: migrations are waited for, and whoever has the longest
    /// stop timeout.
    pub(super) fn report_farewell(&mut self) {
        let slowest = self.seats.values().map(|seat| seat.spec.app.stop_timeout).max().unwrap_or_default();
        let most = self.farewell.longest(slowest) + SLACK;
        self.service.tell(&[
            Word::Stopping,
            Word::Extend(most),
            Word::Status("stopping: visitors are answered, then workers are stopped"),
        ]);
    }

    /// How it goes, for a person who looks at the unit.
    fn sentence(&self) -> String {
        let (mut serving, mut wanted) = (0_usize, 0_usize);
        for seat in self.seats.values() {
            match seat.machine.view().state {
                tenant::State::Running | tenant::State::Sleeping => (serving, wanted) = (serving + 1, wanted + 1),
                tenant::State::Stopped | tenant::State::Suspended | tenant::State::Removed => {}
                _ => wanted += 1,
            }
        }
        let idle = self.seats.len() - wanted;
        let mut sentence = format!("serving {serving} of {wanted} {}", if wanted == 1 { "tenant" } else { "tenants" });
        if idle > 0 {
            sentence.push_str(&format!(", {idle} stopped"));
        }
        if !self.rejected.is_empty() {
            sentence.push_str(&format!(", {} wrong files", self.rejected.len()));
        }
        if let Some(notice) = self.notices.values().next() {
            sentence.push_str("; ");
            sentence.push_str(notice.lines().next().unwrap_or_default());
        }
        sentence
    }
}
