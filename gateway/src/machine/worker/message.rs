//! What a worker's machine is told, what it answers, and how it looks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::{Now, backoff::Pace};

/// How a process is judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From spawn to the first healthy word.
    pub start_timeout: Duration,
    /// From the stop signal to the kill.
    pub stop_timeout: Duration,
    /// Unhealthy words in a row until it is restarted; 0 counts as 1.
    pub failures: u32,
    /// Decides the jitter.
    pub seed: u64,
    /// An end is the end: it is not started again. For commands that run once.
    pub exits_are_final: bool,
    /// How fast attempts follow each other; [`Pace::ROLE`] never reaches [`Phase::Failed`].
    pub pace: Pace,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is wanted. While waiting for a next attempt: try now. While stopping: start again after that.
    Start,
    /// Answer to [`Action::Spawn`].
    Spawned {
        /// Of the process.
        pid: u32,
    },
    /// The other answer to [`Action::Spawn`].
    SpawnFailed {
        /// Why, for a person.
        reason: String,
    },
    /// A probe found it healthy, or it said that it is ready.
    Healthy {
        /// Of which attempt.
        attempt: u32,
    },
    /// A probe found it unhealthy.
    Unhealthy {
        /// Of which attempt.
        attempt: u32,
        /// What was found, for a person.
        reason: String,
    },
    /// The process has ended and is reaped.
    Exited {
        /// Which attempt.
        attempt: u32,
        /// How, for a person: "exit status 3".
        reason: String,
    },
    /// The kernel has ended the process for want of memory, and it is reaped.
    OutOfMemory {
        /// Which attempt.
        attempt: u32,
        /// For a person: "out of memory: limit 64 MiB".
        reason: String,
    },
    /// Answer to [`Action::Kill`]: nothing of the process and its descendants is left.
    TreeGone {
        /// Which attempt.
        attempt: u32,
    },
    /// It is not wanted any more.
    Stop,
    /// Time has passed; see [`super::Worker::deadline`].
    Timer,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the process; answer with `Spawned` or `SpawnFailed`.
    Spawn {
        /// The number that facts about it must carry.
        attempt: u32,
    },
    /// Send the stop signal to the process.
    Stop,
    /// End the whole tree; answer with `TreeGone`. May be said again when the answer takes long.
    Kill,
    /// It is healthy, for the first time in this attempt.
    Ready,
    /// It was ready and is not any more.
    NotReady {
        /// Why, for a person.
        reason: String,
    },
    /// It is a crash loop; attempts are rare now.
    Failed {
        /// Why, for a person.
        reason: String,
    },
    /// Nothing of it is left and nothing will be started.
    Stopped,
    /// A line for the log.
    Log {
        /// `ready`, `exit`, `oom`, `unhealthy`, `failed`
        event: &'static str,
        /// For a person.
        reason: String,
        /// Until the next attempt.
        next: Option<Duration>,
    },
}

/// Where in its life it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is alive and nothing is wanted.
    Stopped,
    /// A process is being started, or lives and was not healthy yet.
    Starting,
    /// Healthy.
    Running,
    /// The stop signal was sent.
    Stopping,
    /// The tree is being ended.
    Killing,
    /// Waiting for the next attempt.
    Backoff,
    /// Waiting long for the next attempt.
    Failed,
}

/// What can be told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Where in its life it is.
    pub phase: Phase,
    /// Of the live process.
    pub pid: Option<u32>,
    /// The newest attempt; 0: none yet.
    pub attempt: u32,
    /// Attempts that followed a bad end.
    pub restarts: u32,
    /// What went wrong last, for a person; empty while healthy.
    pub reason: String,
    /// Since when in `phase`.
    pub since: Now,
    /// Since when healthy.
    pub ready_since: Option<Now>,
}
