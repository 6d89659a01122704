//! When a certificate is renewed: in the authority's window (RFC 9773), else in the middle third of its life, and in any case
//! while enough is left of it for failures.

use jiff::{SignedDuration, Timestamp};

use super::{
    Facts, Memory, Window,
    span::{DAY, HOUR, MINUTE, SECOND, later},
};
use crate::{
    machine::backoff::SplitMix64,
    model::{RenewalAnswer, Subject},
};

/// RFC 9773 section 4.3.3: after a failure that is not expected to pass, six hours.
const ASK_AGAIN: SignedDuration = SignedDuration::from_hours(6);

impl Facts {
    /// From its begin to its end.
    pub(super) fn life(&self) -> SignedDuration {
        self.not_after.duration_since(self.not_before).max(SECOND)
    }

    /// Until its end; negative once it has expired.
    pub(super) fn left(&self, now: Timestamp) -> SignedDuration {
        self.not_after.duration_since(now)
    }

    /// The moment at which this share (one `parts`th) of its life is left.
    pub(super) fn with_left(&self, parts: i32) -> Timestamp {
        later(self.not_after, -(self.life() / parts))
    }

    /// Little of it is left, or it has expired lately: what is kept in reserve is for now.
    pub(super) fn is_emergency(&self, now: Timestamp) -> bool {
        self.left(now) < self.life() / 12 && !self.is_given_up(now)
    }

    /// It expired so long ago that nobody can be said to rely on it: it counts as none.
    pub(super) fn is_given_up(&self, now: Timestamp) -> bool {
        self.left(now) < -(self.life() / 12).max(HOUR)
    }

    /// From here on somebody should know if it cannot be renewed.
    pub(super) fn alarm_at(&self) -> Timestamp {
        later(self.not_after, -(self.life() / 6).min(DAY * 14))
    }

    /// The longest wait of ours while there is this certificate: short lives have short waits.
    pub(super) fn longest_wait(&self, now: Timestamp) -> SignedDuration {
        let twentieth = (self.life() / 20).max(SECOND * 5);
        if self.is_emergency(now) { twentieth.min((self.left(now) / 4).max(HOUR.min(twentieth))) } else { twentieth }
    }

    /// When it is to be renewed.
    pub(super) fn renewal(&self, subject: &Subject, window: Option<&Window>) -> Timestamp {
        match window.filter(|window| Some(&window.certificate) == self.renewal_id.as_ref()) {
            Some(window) => window.at.min(self.with_left(6)),
            None => {
                let third = u64::try_from((self.life() / 3).as_secs()).unwrap_or(0);
                let drawn = SplitMix64::new(seed(subject, self)).below(third.max(1));
                later(self.not_before, self.life() / 3 + seconds(drawn))
            }
        }
    }
}

/// Equal in every life of the process: who starts often does not draw until it is early.
fn seed(subject: &Subject, facts: &Facts) -> u64 {
    // FNV-1a.
    let bytes = subject.stem().into_bytes().into_iter().chain(facts.not_before.as_second().to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

impl Memory {
    /// The authority named its window. Whether it is another one than before.
    pub(super) fn answered(
        &mut self,
        facts: &Facts,
        answer: &RenewalAnswer,
        random: &mut SplitMix64,
        now: Timestamp,
    ) -> bool {
        // RFC 9773 section 4.2: such a window is none.
        let Some(certificate) = facts.renewal_id.clone().filter(|_| answer.end > answer.start) else {
            self.unanswered(facts, None, now);
            return false;
        };
        // Section 4.3.2: what the authority asks for, within reason; and often enough for a short life.
        let reason = (facts.life() / 10).clamp(MINUTE, DAY);
        self.ask_at = Some(later(now, span(answer.retry_after).clamp(MINUTE, reason)));
        let same = |window: &Window| {
            window.certificate == certificate && (window.start, window.end) == (answer.start, answer.end)
        };
        if self.window.as_ref().is_some_and(same) {
            return false;
        }
        let width = u64::try_from(answer.end.saturating_sub(answer.start)).unwrap_or(1);
        let drawn = i64::try_from(random.below(width)).unwrap_or(0);
        let at = Timestamp::from_second(answer.start.saturating_add(drawn)).unwrap_or(facts.with_left(6));
        self.window = Some(Window { certificate, start: answer.start, end: answer.end, at });
        true
    }

    /// There was no answer.
    pub(super) fn unanswered(&mut self, facts: &Facts, retry_after: Option<std::time::Duration>, now: Timestamp) {
        let pause = ASK_AGAIN.min((facts.life() / 10).max(MINUTE));
        let told = retry_after.map_or(SignedDuration::ZERO, |after| span(after).min(DAY));
        self.ask_at = Some(later(now, pause.max(told)));
    }
}

/// A wire duration; one that does not fit is as long as can be.
pub(super) fn span(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
