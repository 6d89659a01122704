//! A tenant: one company's instance, with every default already applied.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{App, Host, Limits, Sandbox, TenantName};

/// What a tenant's file says, all defaults applied (tenant over app over `[defaults]` over built in).
/// It carries its app whole, so that a changed app is a changed tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// The stem of its file.
    pub name: TenantName,
    /// The company's name for people; defaults to the tenant's name.
    pub company: String,
    /// `<name>.<zone>` first, then the custom domains.
    pub hosts: Vec<Host>,
    /// Requests to the other hosts are redirected here (308).
    pub canonical: Option<Host>,
    /// The app it runs.
    pub app: App,
    /// Shown as a badge.
    pub environment: Environment,
    /// Feature flags, given to the worker as `FEATURES=a,b`.
    pub features: Vec<String>,
    /// `MAX_USERS`; none is without limit.
    pub max_users: Option<u32>,
    /// Keeps the data, stops the worker, serves a 503 page of its own.
    pub suspended: bool,
    /// Looks, given to the worker as JSON in `BRANDING`.
    pub branding: Branding,
    /// The account its processes run as; `None`: one of `[users]`. Acted on only as root.
    #[serde(default)]
    pub user: Option<String>,
    /// Bounds on what it may use.
    pub limits: Limits,
    /// What its processes may touch, app's and tenant's merged.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// How its worker's health is judged.
    pub health: Health,
    /// How a new generation takes over.
    pub deploy: Deploy,
    /// When an idle worker is put to sleep.
    pub sleep: Sleep,
    /// `Strict-Transport-Security` with this max-age (RFC 6797); `None`: not sent.
    #[serde(default)]
    pub hsts: Option<Duration>,
    /// Plain settings, app's and tenant's merged; the tenant's `.env` wins over them.
    pub env: BTreeMap<String, String>,
}

impl Tenant {
    /// `https://<canonical or first host>`, with the port where it is not 443.
    pub fn url(&self, https_port: u16) -> String {
        let host = self.canonical.as_ref().unwrap_or(&self.hosts[0]);
        if https_port == 443 { format!("https://{host}") } else { format!("https://{host}:{https_port}") }
    }
}

/// A digest of all that makes a new generation necessary (settings that the worker sees, app, `.env`), in hex.
/// Hosts and what only the proxy acts on are not in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub String);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The environment's name: `prod`, `dev`, `testing` or any DNS-label-like word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment(pub String);

/// `[branding]`: free text for the worker; keys are the design's, all optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Branding {
    /// Shown in the page's title; defaults to `company`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_name: Option<String>,
    /// A CSS hex colour, `#rgb` or `#rrggbb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_color: Option<String>,
    /// Path below `files/logo/`, or an https URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo: Option<String>,
    /// A tax number to print.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gst_number: Option<String>,
    /// Whom to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

/// `[health]`: how a worker's health is judged, from the proxy's own view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The path that is asked with GET; 2xx is healthy. `None`: any status below 500 on `/`.
    pub path: Option<String>,
    /// Between two probes of a healthy worker.
    pub interval: Duration,
    /// One probe's deadline.
    pub timeout: Duration,
    /// Failed probes in a row until the worker is restarted.
    pub failures: u32,
    /// From spawn to the first healthy probe.
    pub start_timeout: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
            failures: 3,
            start_timeout: Duration::from_secs(30),
        }
    }
}

/// How a new generation takes over from the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// New before old, both live for a moment.
    Overlap,
    /// Hold requests, drain, stop, migrate, start, release: never two live at once.
    Hold,
}

/// `[deploy]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// `None`: `hold` when an app with `migrate` changed its command or version, else `overlap`.
    pub strategy: Option<Strategy>,
    /// How long requests in flight on the old generation may go on.
    pub drain_timeout: Duration,
    /// How long WebSockets and other upgraded connections may go on, on the old generation.
    pub upgrade_timeout: Duration,
    /// How long a visitor's request may wait while the tenant is in transition.
    pub hold_timeout: Duration,
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            strategy: None,
            drain_timeout: Duration::from_secs(30),
            upgrade_timeout: Duration::from_secs(10),
            hold_timeout: Duration::from_secs(30),
        }
    }
}

/// `[sleep]`; `None` is "never".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleep {
    /// Idle time after which the worker is stopped.
    pub after: Option<Duration>,
}
