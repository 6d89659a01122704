//! The route table: the full, immutable host → tenant → backend picture with an epoch, as the master tells it to a proxy.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Environment, Host, TenantName};

/// One rollout of a tenant. Never used twice in the life of a state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenerationId(pub u64);

impl std::fmt::Display for GenerationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Everything a proxy needs to route, hold, refuse and probe. Sent whole, never as a difference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Grows with every table.
    pub epoch: u64,
    /// Every tenant.
    pub tenants: Vec<TenantRoute>,
}

/// One tenant in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantRoute {
    /// Who.
    pub name: TenantName,
    /// For the pages a visitor may see.
    pub company: String,
    /// For the pages a visitor may see.
    pub environment: Environment,
    /// Hosts that are this tenant's; no two tenants share one.
    pub hosts: Vec<Host>,
    /// Requests to the other hosts are redirected here (308).
    pub canonical: Option<Host>,
    /// What to do with its requests.
    pub serving: Serving,
    /// Every generation that is to be served, probed or drained. A generation that is not listed any more is gone.
    pub backends: Vec<BackendRoute>,
    /// How long a request may be held.
    pub hold_timeout: Duration,
    /// How many requests may be held at once, over all cores.
    pub held_requests: u32,
    /// Bytes of one request body; more is 413.
    pub body: Option<u64>,
    /// `Strict-Transport-Security` with this max-age; `None`: not sent.
    #[serde(default)]
    pub hsts: Option<Duration>,
    /// Requests a second; more is 429.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Requests in flight at once, over all cores; upgraded connections are not counted.
    #[serde(default)]
    pub concurrent: Option<u32>,
    /// How many may wait for one of `concurrent`; more is 429.
    #[serde(default)]
    pub queued: u32,
    /// Connections of one address to this tenant; `None`: as for the whole house.
    #[serde(default)]
    pub connections_per_address: Option<u32>,
    /// Its storage is used up: requests with a body are 507.
    #[serde(default)]
    pub full: bool,
    /// It may be put to sleep: the proxy tells when nobody uses it (`Quiet`), and when somebody does (`Busy`).
    #[serde(default)]
    pub sleeps: bool,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Tokens that come back a second; at least 1.
    pub per_second: u32,
    /// Tokens that it holds; at least 1.
    pub burst: u32,
}

/// What a proxy does with the requests of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Serving {
    /// Forward to this generation, which is one of `backends`.
    Serve {
        /// Which one.
        generation: GenerationId,
    },
    /// Keep requests waiting, within bounds, for the next table; then 503 with Retry-After.
    Hold,
    /// 503 at once, with Retry-After in seconds.
    Failed {
        /// Until the next attempt, seconds.
        retry_after: u32,
    },
    /// 503 with the page of a suspended company.
    Suspended,
    /// 503 with the page of a company whose worker an operator stopped.
    Stopped,
}

/// One generation in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendRoute {
    /// Which generation.
    pub generation: GenerationId,
    /// Where it listens.
    pub address: BackendAddress,
    /// The open gate lets requests in. A closed gate refuses new ones; the proxy says `Idle` when the last has ended.
    pub open: bool,
    /// From the gate's closing until requests in flight are cut.
    pub drain_timeout: Duration,
    /// From the gate's closing until WebSockets are cut.
    pub upgrade_timeout: Duration,
    /// How to probe it; `None`: not now.
    pub probe: Option<Probe>,
}

/// Where a worker listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendAddress {
    /// Loopback TCP.
    Tcp(SocketAddr),
    /// Unix socket; a relative path is below the workers' folder.
    Unix(PathBuf),
}

/// How to probe a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// GET this; 2xx is healthy. `None`: GET / and any status below 500.
    pub path: Option<String>,
    /// The `Host` header.
    pub host: Host,
    /// Between the end of one probe and the next one, once healthy.
    pub interval: Duration,
    /// One probe's deadline.
    pub timeout: Duration,
    /// The worker has not yet been healthy in this attempt: probe eagerly (again within milliseconds of a refusal).
    pub starting: bool,
    /// The attempt inside the generation; a result is told with it, so that a late one of an earlier attempt is known.
    pub attempt: u32,
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// The answer that health asks for.
    Healthy,
    /// Not that answer, with a reason for a person ("GET /healthz: 500", "connection refused", "no answer within 2 s").
    Unhealthy(String),
}

/// All certificates, sent whole.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSet {
    /// Each with its names.
    pub certificates: Vec<Certificate>,
}

/// One certificate with its key. Not `Debug`: keys never reach a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Exact names, or `*.zone`.
    pub names: Vec<String>,
    /// The chain, leaf first, PEM.
    pub chain_pem: String,
    /// PKCS#8, PEM.
    pub key_pem: String,
}
