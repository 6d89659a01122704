//! Pure state machines: events in, actions out. No I/O, no clock, no randomness that is not seeded, so that tests need
//! neither processes nor time. Whoever owns a machine executes its actions and tells it the time.
//!
//! No machine starts a timer. Each has a `deadline()`; its owner feeds a `Timer` event once that has passed. A timer that
//! comes early, late or twice is harmless.

use std::{ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

pub mod accord;
pub mod backoff;
pub mod issuance;
pub mod quota;
pub mod reconcile;
pub mod room;
#[cfg(test)]
mod simulator;
pub mod sleep;
pub mod succession;
pub mod tenant;
pub mod worker;

/// A moment on the monotonic clock, as the time since an origin that is the same for every process of one boot, so that
/// what one master remembers is understood by the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Now(pub Duration);

impl Now {
    /// How long ago `earlier` was; zero if it is yet to come.
    pub fn since(self, earlier: Now) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Now {
    type Output = Now;

    fn add(self, duration: Duration) -> Now {
        Now(self.0.saturating_add(duration))
    }
}

/// A duration for a sentence: `30 s`, `1.5 s`, `250 ms`.
fn spoken(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} s", duration.as_millis() as f64 / 1000.0)
    }
}
