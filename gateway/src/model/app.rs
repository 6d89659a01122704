//! An app: the code that tenants run.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{AppName, Deploy, Health, Sandbox};

/// How a worker comes by its listening socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listen {
    /// fd 3 is a listening TCP socket on `127.0.0.1:$PORT` (the systemd protocol, `LISTEN_FDS`).
    Inherit,
    /// The worker binds `$PORT` itself.
    #[default]
    Port,
    /// fd 3 is a listening unix socket.
    Unix,
}

/// A command that tenants share, as an `[apps.NAME]` table declares it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Its name in `[apps.NAME]`.
    pub name: AppName,
    /// argv, without a shell. `${PORT} ${HOST} ${TENANT} ${TENANT_DIR} ${APP_DIR}` are expanded at spawn.
    pub command: Vec<String>,
    /// argv of the migration; its presence makes `hold` the default strategy when the command or version changes.
    pub migrate: Option<Vec<String>>,
    /// The app's read-only code, given to the worker as `APP_DIR`; absolute.
    pub root: Option<PathBuf>,
    /// A word that stands for the code's version: changing it is a deploy of every tenant of the app.
    pub version: Option<String>,
    /// Health path; without one, any status below 500 on `/` will do.
    pub health: Option<String>,
    /// How the worker comes by its socket.
    pub listen: Listen,
    /// Plain settings given to each worker of the app; a tenant's `[env]` wins over them.
    pub env: std::collections::BTreeMap<String, String>,
    /// The signal that asks a worker to stop, by name (`SIGTERM`).
    pub stop_signal: String,
    /// From the stop signal to SIGKILL of what is left.
    pub stop_timeout: Duration,
    /// What the app sets of `[health]`, over the gateway's defaults.
    pub health_defaults: Option<Health>,
    /// What the app sets of `[deploy]`, over the gateway's defaults.
    pub deploy_defaults: Option<Deploy>,
    /// What the app sets of `[sandbox]`, over the gateway's defaults.
    #[serde(default)]
    pub sandbox_defaults: Option<Sandbox>,
    /// Asked with GET before an idle worker is put to sleep; 423 (Locked) is a veto. `None`: it is never asked.
    #[serde(default)]
    pub sleep: Option<String>,
}
