//! What the master tells the exec shim, once, in a sealed memfd.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// How the shim becomes a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The worker's argv, already expanded; a program without a slash is looked for in `path`.
    pub argv: Vec<String>,
    /// The worker's working directory: the tenant's folder.
    pub dir: PathBuf,
    /// Folders below `dir` that a tenant is to find; those that are missing are made by the shim, as the tenant.
    pub rooms: Vec<PathBuf>,
    /// The worker contract's environment, whole.
    pub env: BTreeMap<String, String>,
    /// `[env]`: may not set a name of the contract; `.env` wins over it.
    pub extra: BTreeMap<String, String>,
    /// Read by the shim, as the tenant.
    pub dotenv: Option<PathBuf>,
    /// fd 3 is a listening socket: set `LISTEN_FDS=1` and `LISTEN_PID`.
    pub listen_fds: bool,
    /// What is done once it has become the tenant.
    pub job: Job,
    /// Uid and gid to become; where landlord is root, there is always one. `None`: whoever started landlord.
    pub identity: Option<(u32, u32)>,
    /// What is done as root before that.
    #[serde(default)]
    pub estate: Estate,
    /// `cgroup.procs` of its control group, open for writing, under this number: entered first of all.
    pub group: Option<i32>,
    /// Resource limits.
    pub limits: ProcessLimits,
    /// The walls; `None`: none are asked for.
    pub sandbox: Option<Walls>,
    /// On failure one line for a person is written to this descriptor; it is closed on exec.
    pub report: i32,
    /// SIGKILL to the worker when the master ends.
    pub die_with_parent: bool,
    /// `PATH`, for finding the program.
    pub path: String,
}

/// What is put into the tenant's hands before the shim becomes the tenant. Acted on as root only, but for `closed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estate {
    /// Folders that are to belong to `identity` with all that is in them; those that are not there are passed over.
    pub folders: Vec<PathBuf>,
    /// `dir` lies where only root can pass: it is entered before the change of user.
    pub closed: bool,
}

/// What the shim does as the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "job")]
pub enum Job {
    /// Reads `.env` and executes `argv`.
    Exec,
    /// Looks at or edits `.env`, and ends: 0 when it was done.
    Dotenv {
        /// A sealed memfd with a [`super::DotenvEdit`].
        edit: i32,
        /// An empty memfd, to be sealed with a [`super::DotenvAnswer`].
        answer: i32,
    },
}

/// setrlimit(2), nice(2), and what the kernel ends first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessLimits {
    /// RLIMIT_DATA, bytes; set where no control group bounds memory.
    pub memory: Option<u64>,
    /// RLIMIT_NPROC: processes of the uid; set where no control group bounds them and the uid is the tenant's alone.
    pub processes: Option<u32>,
    /// Added to the nice value.
    pub nice: u32,
    /// `oom_score_adj`, 0 to 1000.
    pub oom_score_adj: u32,
}

/// Landlock and seccomp, as the shim builds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Walls {
    /// Restrict the file system (and, where the kernel can, signals, abstract sockets and TCP).
    pub filesystem: bool,
    /// Filter system calls.
    pub syscalls: bool,
    /// The app's code, to read and execute, where it is there and but for what is `closed`.
    pub code: Vec<PathBuf>,
    /// The house's own, never granted for lying in a folder of code.
    pub closed: Vec<PathBuf>,
    /// Paths to read and execute that were asked for by name: one that cannot be opened is a failure.
    pub read: Vec<PathBuf>,
    /// Paths to write besides the tenant's folder, asked for by name.
    pub write: Vec<PathBuf>,
    /// The one TCP port that it may bind; `None`: none.
    pub bind: Option<u16>,
    /// A folder of landlord's own in which the tenant is told something; to read, where it is there.
    pub told: Option<PathBuf>,
    /// TCP ports that it may connect to; `None`: all.
    pub egress: Option<Vec<u16>>,
    /// It may make user namespaces.
    pub namespaces: bool,
}
