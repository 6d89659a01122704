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
    /// Uid and gid to become.
    pub identity: Option<(u32, u32)>,
    /// On failure one line for a person is written to this descriptor; it is closed on exec.
    pub report: i32,
    /// SIGKILL to the worker when the master ends.
    pub die_with_parent: bool,
    /// `PATH`, for finding the program.
    pub path: String,
}
