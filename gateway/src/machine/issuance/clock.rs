//! The wall clock may be set by years at any time. What was used up of a limit keeps its age then: a clock that was set
//! is no reason to ask more often, nor to wait longer.

use jiff::{SignedDuration, Timestamp};

use super::{
    Action, Issuance, WRITTEN,
    span::{HOUR, MINUTE, later, spoken},
};

/// Later than this after the deadline, time did not pass: the clock was set, or the machine slept.
const LATE: SignedDuration = MINUTE;

impl Issuance {
    /// Looks at the time before anything else does. The time to go by: while the clock is wrong, it stands still.
    pub(super) fn clock(&mut self, now: Timestamp, out: &mut Vec<Action>) -> Timestamp {
        let wrong = now < WRITTEN;
        if wrong {
            if !self.wrong {
                self.wrong = true;
                let reason = format!("the clock says {now:.0}, which is past: nothing is ordered before it is set");
                out.push(Action::Log { subject: None, event: "clock", reason, next: None });
            }
            return self.ledger.seen.unwrap_or(now);
        }
        let set = match (self.last.filter(|last| *last >= WRITTEN), self.ledger.seen) {
            // Of what went by while the clock was wrong nothing is known: it did not.
            _ if self.wrong && self.ledger.seen.is_some() => self.ledger.seen.map_or(now, |seen| seen),
            (Some(last), _) if now < last => last,
            (Some(last), _) => match self.promised.map(|promised| later(promised.max(last), LATE)) {
                Some(latest) if now > latest => last,
                _ => now,
            },
            // In another life of this process. It may have been down for as long as it says, but not for less than nothing.
            (None, Some(seen)) => seen.max(now),
            (None, None) => now,
        };
        let by = now.duration_since(set);
        if !by.is_zero() {
            self.shift(by, now);
            out.push(Action::KeepLedger);
            if by.abs() >= HOUR {
                let way = if by.is_negative() { "back" } else { "forward" };
                let reason =
                    format!("the clock went {way} by {}: what was used up of limits keeps its age", spoken(by.abs()));
                out.push(Action::Log { subject: None, event: "clock", reason, next: None });
            }
        }
        self.ledger.seen = Some(now);
        if self.wrong || !self.believed || by.is_negative() {
            (self.wrong, self.believed) = (false, true);
            self.ledger.clamp(now);
            self.entries.iter_mut().for_each(|entry| entry.memory.clamp(now));
            self.settle_all(now);
        }
        now
    }

    /// Moves every moment that is relative to now.
    fn shift(&mut self, by: SignedDuration, now: Timestamp) {
        self.ledger.shift(by);
        self.recent.clear();
        self.heard = self.heard.map(|heard| later(heard, by));
        for entry in &mut self.entries {
            entry.shift(by);
        }
        self.settle_all(now);
    }
}
