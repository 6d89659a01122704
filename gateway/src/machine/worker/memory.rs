//! What outlives the one who owns a worker's machine, and how another one goes on from there.

use serde::{Deserialize, Serialize};

use super::{Phase, Settings, Worker};
use crate::machine::{
    Now,
    backoff::{Backoff, Pace, Trouble, Verdict},
};

/// All of a worker's machine that is not a setting. To be written down after every event, before what was said is done:
/// what it tells then has been done, or not, and [`Worker::recall`] allows for both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    phase: Phase,
    wanted: bool,
    /// `Spawn` was said and not answered.
    spawning: bool,
    attempt: u32,
    pid: Option<u32>,
    restarts: u32,
    bad_ends: u32,
    reason: String,
    since: Now,
    ready_since: Option<Now>,
    deadline: Option<Now>,
    trouble: Trouble,
    verdict: Option<Verdict>,
}

impl Memory {
    /// Of the process that lived when this was written down.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The newest attempt; 0: none yet.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// A process of this attempt may live, and nobody knows its pid: the machine waits for `Spawned` or `SpawnFailed`.
    pub fn spawning(&self) -> bool {
        self.spawning
    }

    /// Where in its life it was.
    pub fn phase(&self) -> Phase {
        self.phase
    }
}

impl Worker {
    /// What is to be remembered of it.
    pub fn memory(&self) -> Memory {
        Memory {
            phase: self.phase,
            wanted: self.wanted,
            spawning: self.spawning,
            attempt: self.attempt,
            pid: self.pid,
            restarts: self.restarts,
            bad_ends: self.bad_ends,
            reason: self.reason.clone(),
            since: self.since,
            ready_since: self.ready_since,
            deadline: self.deadline,
            trouble: self.backoff.trouble().clone(),
            verdict: self.verdict,
        }
    }

    /// Goes on from a memory, as if nothing had happened since. What did happen is to be told: an end as `Exited`, and the
    /// answer to a spawn that was under way; a `SpawnFailed` then only means that there is no such process, and it is
    /// spawned anew. A stop or a kill that was under way is said again at the next `Timer`, which is due at once.
    pub fn recall(settings: Settings, memory: Memory, now: Now) -> Self {
        let deadline = match memory.phase {
            Phase::Stopped | Phase::Running => None,
            Phase::Starting if memory.spawning => None,
            // Nobody asked for its health meanwhile.
            Phase::Starting => Some(now + settings.start_timeout),
            Phase::Stopping | Phase::Killing => Some(now),
            // No wait is longer than that, whatever is remembered.
            Phase::Backoff | Phase::Failed => memory.deadline.map(|at| at.min(now + Pace::RARE + Pace::RARE / 5)),
        };
        Self {
            backoff: Backoff::recall(settings.pace, settings.seed ^ u64::from(memory.attempt), memory.trouble),
            settings,
            phase: memory.phase,
            wanted: memory.wanted,
            spawning: memory.spawning,
            unsure: memory.spawning || memory.phase == Phase::Stopping,
            attempt: memory.attempt,
            pid: memory.pid,
            restarts: memory.restarts,
            bad_ends: memory.bad_ends,
            unhealthy: 0,
            reason: memory.reason,
            since: memory.since.min(now),
            ready_since: memory.ready_since.map(|since| since.min(now)),
            deadline,
            verdict: memory.verdict,
        }
    }
}
