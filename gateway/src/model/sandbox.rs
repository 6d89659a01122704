//! `[sandbox]`: what a tenant's processes may touch besides what every worker needs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[sandbox]` of landlord.toml's `[defaults]`, an app and a tenant: paths add up, the rest is the nearest one's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// `filesystem = "closed"`: Landlock; `"open"` leaves it to users and file modes.
    pub filesystem: bool,
    /// `syscalls = "filtered"`: seccomp; `"open"` does without.
    pub syscalls: bool,
    /// More paths to read and execute; absolute.
    pub read: Vec<PathBuf>,
    /// More paths to write; absolute.
    pub write: Vec<PathBuf>,
    /// TCP ports it may connect to; `None`: all.
    pub egress: Option<Vec<u16>>,
    /// `namespaces = true`: it may make user namespaces, as the sandboxes of headless browsers do.
    pub namespaces: bool,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { filesystem: true, syscalls: true, read: Vec::new(), write: Vec::new(), egress: None, namespaces: false }
    }
}
