//! The operator socket, `<run>/control.sock`: SOCK_SEQPACKET, one request, then one or more replies; 0600 and SO_PEERCRED.

use serde::{Deserialize, Serialize};

use crate::model::{CertificateState, Rejection, Storage, TenantName};

/// CLI → master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum ControlRequest {
    /// One [`ControlReply::Status`].
    Status {
        /// One tenant, or all.
        tenant: Option<TenantName>,
    },
    /// A [`ControlReply::Status`] now and after every change, until the client closes.
    Watch {
        /// One tenant, or all.
        tenant: Option<TenantName>,
    },
    /// Wanted: running. Answered when it serves, or will not.
    Start {
        /// Which.
        tenant: TenantName,
    },
    /// Wanted: stopped; remembered across restarts of landlord. Answered when nothing of it is left running.
    Stop {
        /// Which.
        tenant: TenantName,
    },
    /// `systemctl start landlord@NAME`: as [`ControlRequest::Start`], unless it follows what landlord itself told the unit.
    UnitStart {
        /// Which.
        tenant: TenantName,
    },
    /// `systemctl stop landlord@NAME`: as [`ControlRequest::Stop`], unless it follows what landlord itself told the unit.
    UnitStop {
        /// Which.
        tenant: TenantName,
    },
    /// A deploy of the same settings. Answered when the new generation serves, or will not.
    Restart {
        /// Which.
        tenant: TenantName,
    },
    /// Read landlord.toml and tenants.d again.
    Reload {
        /// Do what the guard against mass removal held back.
        accept_removals: bool,
    },
    /// Become a newer program and replace the proxy, without losing a request. fds: optionally the program to become (an open
    /// file); without one, the file that the running program was started from, as it is now. The same program again
    /// replaces the proxy only. Answered when the newest proxy serves, or when all is as before.
    Upgrade,
    /// Look at or edit a tenant's `.env`, as the tenant. fds: a sealed memfd with a [`super::DotenvEdit`], and an empty one, which
    /// is sealed with a [`super::DotenvAnswer`] before the request is answered. A change is a deploy, and the request then
    /// answered when that has settled; without one the message is empty.
    Env {
        /// Whose.
        tenant: TenantName,
    },
    /// One [`ControlReply::Certificates`].
    Certificates,
    /// Order this certificate anew, now. Answered when the new one is served, or when it was not to be had.
    Renew {
        /// One of its names: a host, `*.zone`, or the zone.
        name: String,
    },
    /// Order certificates, and throw them away: whether it would work. Answered when all have ended.
    TryCertificates {
        /// One name each; empty: the zone's, and every custom domain's.
        names: Vec<String>,
        /// The directory to ask; `None`: Let's Encrypt's staging one where the settings name Let's Encrypt, else the settings'.
        directory: Option<String>,
    },
}

/// Master → CLI. The status travels as a sealed memfd when it is large: fds then has it and `entries` is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum ControlReply {
    /// fds: a sealed memfd with a [`Status`].
    Status,
    /// fds: a sealed memfd with a list of [`CertificateEntry`], in the order of names.
    Certificates,
    /// Still at it: a line for a person about the step that was just reached.
    Progress {
        /// The line.
        line: String,
    },
    /// The end of a request that is no status.
    Done(Outcome),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it was done.
    pub ok: bool,
    /// A sentence for a person.
    pub message: String,
}

/// The whole picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// One entry a tenant, in the order of names.
    pub tenants: Vec<StatusEntry>,
    /// Files that are wrong.
    pub rejected: Vec<Rejection>,
    /// Sentences about the house itself: removals held back, the tenants folder gone, a role in backoff.
    pub notices: Vec<String>,
    /// About the gateway itself.
    pub gateway: Started,
}

/// About the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The master.
    pub pid: u32,
    /// The newest proxy.
    pub proxy_pid: Option<u32>,
    /// Older proxies that end their last connections, oldest first.
    #[serde(default)]
    pub draining: Vec<Draining>,
    /// The version of the running program.
    pub version: String,
    /// The zone.
    pub zone: String,
    /// RFC 3339, UTC.
    pub since: String,
    /// What keeps tenants apart, and what of it does not hold on this machine.
    #[serde(default)]
    pub walls: Vec<Wall>,
}

/// One of the things that keep tenants apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wall {
    /// `users`, `files`, `syscalls`, `groups`, `loopback`, `storage`.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// What it does here, or why it does not hold and what to do.
    pub note: String,
}

/// A proxy that was followed by a newer one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Its process.
    pub pid: u32,
    /// Its open client connections when it last counted; it counts every second.
    pub connections: Option<u64>,
}

/// What a tenant is doing, as `landlord status` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// Its first healthy probe is awaited.
    Starting,
    /// Serving.
    Running,
    /// Requests wait: a deploy by `hold`, or a restart.
    Holding,
    /// Idle, stopped; the next request starts it.
    Sleeping,
    /// Waiting to be restarted.
    Backoff,
    /// Too many failed starts.
    Failed,
    /// `suspended = true`.
    Suspended,
    /// `landlord stop`.
    Stopped,
    /// Its file is wrong and it has no last good settings.
    Rejected,
    /// Its file is gone and its worker is being drained.
    Removed,
}

/// One tenant in `landlord status --json`. Scripts rely on these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusEntry {
    /// Its name; for a wrong file whose name is no tenant's, the file's stem.
    pub name: String,
    /// What it is doing.
    pub state: TenantState,
    /// A sentence for a person; empty when there is nothing to say.
    pub reason: String,
    /// Every host.
    pub hosts: Vec<String>,
    /// The canonical one, with port where it is not 443.
    pub url: String,
    /// Its app.
    pub app: String,
    /// Its environment.
    pub environment: String,
    /// The port of its serving (or else newest) generation; `null` for a unix socket.
    pub port: Option<u16>,
    /// The pid of its worker.
    pub pid: Option<u32>,
    /// Its generation.
    pub generation: Option<u64>,
    /// Restarts after crashes since it was let in.
    pub restarts: u32,
    /// Seconds since its worker became healthy.
    pub uptime_s: u64,
    /// When it entered `state`: RFC 3339, UTC.
    pub since: String,
    /// Its custom domains and the certificate of each; none where every host has one by itself.
    #[serde(default)]
    pub domains: Vec<DomainEntry>,
    /// What its folder takes up on the disk, as it was counted last; `null`: not counted yet.
    #[serde(default)]
    pub storage: Option<Storage>,
}

/// A custom domain in `landlord status --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainEntry {
    /// The host.
    pub host: String,
    /// Its certificate's state.
    pub state: CertificateState,
    /// What is missing, or went wrong; empty when there is nothing to say.
    pub reason: String,
    /// The served certificate's end: RFC 3339, UTC.
    pub not_after: Option<String>,
}

/// Where a certificate is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// An ACME server.
    Acme,
    /// The folder of certificates from elsewhere.
    Files,
    /// Our own CA.
    Local,
}

/// One certificate in `landlord certs --json`. Scripts rely on these names; times are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateEntry {
    /// Its most telling name: `*.zone`, or a host.
    pub name: String,
    /// Every name.
    pub names: Vec<String>,
    /// The tenant whose custom domain it is.
    pub tenant: Option<String>,
    /// Where it is from.
    pub source: CertificateSource,
    /// What it is at.
    pub state: CertificateState,
    /// A sentence for a person; empty when there is nothing to say.
    pub reason: String,
    /// Who issued the served one: its issuer's common name, else organization.
    pub issuer: Option<String>,
    /// Of the served one, in hex.
    pub serial: Option<String>,
    /// Of the served one.
    pub not_before: Option<String>,
    /// Of the served one.
    pub not_after: Option<String>,
    /// When it is to be renewed.
    pub next_renewal: Option<String>,
    /// When the authority is asked next, where the last try failed.
    pub next_try: Option<String>,
    /// What went wrong at the last try, until one succeeds.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<String>,
    /// Failed tries in a row.
    pub failures: u32,
    /// Seconds until it expires; negative: since it did.
    pub expires_in_s: Option<i64>,
    /// It expires within 14 days, or a sixth of its life if that is less, and its renewal fails: somebody should look.
    pub alarm: bool,
}
