//! The gateway's own settings: `landlord.toml` with every default applied and every path absolute.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Acme, App, AppName, Deploy, Dns, Health, Host, Limits, Sandbox, Sleep};

/// `landlord.toml`, defaults applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// The file it was read from; `None`: the laptop's embedded defaults.
    pub file: Option<PathBuf>,
    /// The base domain of every tenant.
    pub zone: Host,
    /// The folder of tenant files.
    pub tenants: PathBuf,
    /// The folder of all that is kept.
    pub state: PathBuf,
    /// The folder of the control socket; gone after a reboot.
    pub run: PathBuf,
    /// The app of a tenant that names none.
    pub app: AppName,
    /// Public sockets.
    pub listen: Listeners,
    /// Ports of workers.
    pub ports: PortRange,
    /// Uids of tenants; acted on only as root. `None`, `users = "none"`: everybody is the invoking user.
    pub users: Option<UserRange>,
    /// The file has `[users]`: who cannot have one of them is refused, where else all would share a user.
    #[serde(default)]
    pub users_written: bool,
    /// Where certificates come from.
    pub tls: TlsProvider,
    /// `[tls] folder`: certificates from elsewhere, where `tls` is [`TlsProvider::Files`].
    #[serde(default)]
    pub certificates: Option<PathBuf>,
    /// `[acme]`; acted on where `tls` is [`TlsProvider::Acme`].
    #[serde(default)]
    pub acme: Acme,
    /// `[dns]`
    #[serde(default)]
    pub dns: Option<Dns>,
    /// Bounds on what a visitor controls.
    pub http: HttpLimits,
    /// `[defaults.limits]`
    pub limits: Limits,
    /// `[defaults.health]`
    pub health: Health,
    /// `[defaults.deploy]`
    pub deploy: Deploy,
    /// `[defaults.sleep]`
    pub sleep: Sleep,
    /// `[defaults.sandbox]`
    #[serde(default)]
    pub sandbox: Sandbox,
    /// `max_running`: workers awake at once; the longest idle of those that may sleep makes room. `None`: all.
    #[serde(default)]
    pub max_running: Option<u32>,
    /// `[defaults.tls] hsts`
    #[serde(default)]
    pub hsts: Option<Duration>,
    /// `[apps.*]`; the bundled `workspace` is always there.
    pub apps: BTreeMap<AppName, App>,
    /// `[disk] ballast`: bytes kept back for when the disk is full; `None`: none are.
    #[serde(default = "Gateway::usual_ballast")]
    pub ballast: Option<u64>,
    /// Bytes at which a log file is rotated, and how many rotated ones are kept.
    pub log_file_bytes: u64,
    /// Rotated log files kept beside the live one.
    pub log_files: u32,
}

impl Gateway {
    /// `[disk] ballast` where nobody sets it.
    pub const fn usual_ballast() -> Option<u64> {
        Some(64 << 20)
    }
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listeners {
    /// TLS.
    pub https: Vec<SocketAddr>,
    /// Clear text: redirects to https.
    pub http: Vec<SocketAddr>,
}

/// `[ports]`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

/// `[users]`, both ends included, and the uids of the roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRange {
    /// First uid of tenants.
    pub first: u32,
    /// Last uid of tenants.
    pub last: u32,
}

/// `[tls] provider`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsProvider {
    /// Our own CA in `<state>/certs/local-ca.pem`.
    Local,
    /// An ACME server (RFC 8555).
    Acme,
    /// Files that somebody else puts into a folder.
    Files,
}

/// `[http]`: timeouts and size limits on everything a client controls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpLimits {
    /// Accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// First byte of a head to its end (h1), and of a header block (h2).
    pub header_timeout: Duration,
    /// Without progress on a request body.
    pub body_timeout: Duration,
    /// Lowest mean rate of a request body over `body_timeout`, bytes a second.
    pub body_rate: u32,
    /// Without progress on a write to the client.
    pub write_timeout: Duration,
    /// Idle keep-alive connection.
    pub idle_timeout: Duration,
    /// Request sent to the first byte of the worker's answer: 504.
    pub response_timeout: Duration,
    /// Bytes of a request head.
    pub header_bytes: u32,
    /// Fields of a request head.
    pub header_count: u32,
    /// Bytes of the request target.
    pub uri_bytes: u32,
    /// Connections of one address (IPv6: one /64).
    pub connections_per_address: u32,
    /// Connections of all clients, all cores together; the oldest idle one is closed first.
    pub connections: u32,
    /// Concurrent streams of one HTTP/2 connection.
    pub streams: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            body_rate: 100,
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(30),
            header_bytes: 32 * 1024,
            header_count: 100,
            uri_bytes: 8 * 1024,
            connections_per_address: 1024,
            connections: 16_384,
            streams: 128,
        }
    }
}
