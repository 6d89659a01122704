//! What a tenant's machine is told, and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    machine::worker,
    model::{Digest, GenerationId, Strategy},
};

/// What is wanted of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// It serves, under this plan.
    Run {
        /// How the next generation takes over.
        plan: RolloutPlan,
    },
    /// It does not.
    Stop {
        /// Why.
        reason: StopReason,
    },
}

/// Why a tenant does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// `landlord stop`.
    Operator,
    /// `suspended = true`.
    Suspended,
    /// Its file is gone.
    Removed,
    /// Nobody asked for it for a while. Visitors are held, and the first of them has it wanted again.
    Sleep,
}

/// How a generation takes over and is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPlan {
    /// Another digest is another generation.
    pub digest: Digest,
    /// New before old, or old before new.
    pub strategy: Strategy,
    /// The app has a migration: run it before a first start, and by [`Strategy::Hold`] after a snapshot.
    pub migrate: bool,
    /// How long requests in flight on the old generation may go on.
    pub drain_timeout: Duration,
    /// How long upgraded connections on the old generation may go on.
    pub upgrade_timeout: Duration,
    /// How long a visitor may be held; kept by the proxy.
    pub hold_timeout: Duration,
    /// From the first spawn to the first healthy probe.
    pub start_timeout: Duration,
    /// From the stop signal to the kill.
    pub stop_timeout: Duration,
    /// Unhealthy probes in a row until a worker is restarted.
    pub failures: u32,
}

/// A command that runs for a generation before it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Keep a copy of the tenant's data, under the generation that is to come.
    Snapshot,
    /// Run the app's migration.
    Migrate,
    /// Put back the copy that was kept under this generation.
    Restore,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This is wanted from now on. The same again is no new request; only the plan's times are taken over.
    Want(Wish),
    /// An operator asks for a new generation of what is wanted.
    Deploy,
    /// Something about a generation's worker. `Start`, `Stop` and `Timer` are this machine's own to say, and ignored.
    Worker {
        /// Whose.
        generation: GenerationId,
        /// What.
        event: worker::Event,
    },
    /// Answer to [`Action::Open`].
    Opened {
        /// Which.
        generation: GenerationId,
    },
    /// The other answer to [`Action::Open`].
    OpenFailed {
        /// Which.
        generation: GenerationId,
        /// Why, for a person.
        reason: String,
    },
    /// Every live proxy routes by this revision, or a newer one.
    Applied {
        /// Which.
        revision: u64,
    },
    /// Nothing is in flight behind the closed gate of this generation, in any proxy.
    Idle {
        /// Which.
        generation: GenerationId,
    },
    /// Answer to [`Action::Run`].
    TaskDone {
        /// For which.
        generation: GenerationId,
        /// Which task.
        task: Task,
        /// Why not, for a person.
        result: Result<(), String>,
    },
    /// Time has passed; see [`super::Tenant::deadline`].
    Timer,
}

/// What is to be done. Actions are to be executed in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Allocate a port and bind its listening socket; answer with `Opened` or `OpenFailed`.
    Open {
        /// For which.
        generation: GenerationId,
    },
    /// [`worker::Action::Spawn`], [`worker::Action::Stop`] or [`worker::Action::Kill`]; no other is passed on.
    Worker {
        /// Whose.
        generation: GenerationId,
        /// What.
        action: worker::Action,
    },
    /// Run a command to its end; answer with `TaskDone`, always.
    Run {
        /// For which.
        generation: GenerationId,
        /// Which.
        task: Task,
    },
    /// Give its port and socket back. Exactly one for each `Opened`.
    Close {
        /// Which.
        generation: GenerationId,
    },
    /// The route has changed: see [`super::Tenant::route`] and [`super::Tenant::revision`]; answer with `Applied` once it is.
    Publish,
    /// A line for the log.
    Log {
        /// About which generation.
        generation: Option<GenerationId>,
        /// A word: `ready`, `exit`, `unhealthy`, `failed`, `deploy`, `deployed`, `rolled_back`, `stopped`,
        /// `asleep`.
        event: &'static str,
        /// For a person.
        reason: String,
        /// Until the next attempt.
        next: Option<Duration>,
    },
    /// The newest request (a `Want` that differed, or a `Deploy`) has come to its end. Exactly one a request.
    Settled {
        /// Whether what was asked for is now so.
        ok: bool,
        /// A sentence for a person.
        message: String,
    },
    /// The tenant was removed and nothing of it is left.
    Gone,
}
