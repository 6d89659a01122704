//! What certificates are for, where they come from, and what is asked of the authority that issues them.

use std::{collections::BTreeMap, fmt, net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::Host;

/// What one certificate of an ACME server is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// `*.zone` and the zone's apex, in one certificate, by DNS-01.
    Zone(Host),
    /// One custom domain.
    Domain(Host),
}

impl Subject {
    /// What this host's certificate is for: the zone's wildcard is for the zone and all that is one label below it.
    pub fn of(host: &Host, zone: &Host) -> Self {
        let above = host.as_str().split_once('.').map(|(_, above)| above);
        if host == zone || above == Some(zone.as_str()) { Self::Zone(zone.clone()) } else { Self::Domain(host.clone()) }
    }

    /// The names of the certificate, the most telling first.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Zone(zone) => vec![format!("*.{zone}"), zone.to_string()],
            Self::Domain(host) => vec![host.to_string()],
        }
    }

    /// The host without its wildcard.
    pub fn host(&self) -> &Host {
        match self {
            Self::Zone(host) | Self::Domain(host) => host,
        }
    }

    /// A name for its files: a host has no underscore, so that none can be another's.
    pub fn stem(&self) -> String {
        match self {
            Self::Zone(zone) => format!("_.{zone}"),
            Self::Domain(host) => host.to_string(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(zone) => write!(f, "*.{zone}"),
            Self::Domain(host) => host.fmt(f),
        }
    }
}

/// How control of a name is shown (RFC 8555 section 8, RFC 8737).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Challenge {
    /// A TXT record below `_acme-challenge`.
    #[serde(rename = "dns-01")]
    Dns01,
    /// A file over clear text on port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate of its own in a handshake on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// `[acme]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acme {
    /// The directory's URL.
    pub directory: String,
    /// `mailto:` URLs.
    pub contact: Vec<String>,
    /// Roots that the ACME server's own certificate is trusted by, PEM; `None`: the system's.
    pub root: Option<PathBuf>,
    /// For custom domains, the first one first. Never empty, never DNS-01.
    pub challenges: Vec<Challenge>,
    /// What a custom domain must resolve to; empty: what the zone's apex resolves to.
    pub addresses: Vec<IpAddr>,
    /// External account binding (RFC 8555 section 7.3.4).
    pub eab: Option<ExternalAccount>,
    /// A certificate profile of the directory's.
    pub profile: Option<String>,
    /// How long every authoritative server of a zone may take to show a challenge's record.
    pub propagation_timeout: Duration,
}

impl Acme {
    /// Let's Encrypt.
    pub const PRODUCTION: &str = "https://acme-v02.api.letsencrypt.org/directory";
    /// Let's Encrypt's staging environment: what it issues nobody trusts.
    pub const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: Self::PRODUCTION.to_owned(),
            contact: Vec::new(),
            root: None,
            challenges: vec![Challenge::TlsAlpn01, Challenge::Http01],
            addresses: Vec::new(),
            eab: None,
            profile: None,
            propagation_timeout: Duration::from_secs(300),
        }
    }
}

/// `eab_kid` and `eab_key_file`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAccount {
    /// The key's identifier.
    pub kid: String,
    /// Where its base64url MAC key is.
    pub key_file: SecretFile,
}

/// `[dns]`: who writes the zone's challenge records, and where is looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// A provider of [`super::DNS_PROVIDERS`].
    pub provider: String,
    /// Its settings, by the names that the provider's fields have. A secret has the name of its field, without `_file`.
    pub settings: BTreeMap<String, DnsSetting>,
    /// Where look-ups and propagation checks go; empty: the system's, then each authoritative server.
    pub resolvers: Vec<SocketAddr>,
}

/// One setting of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsSetting {
    /// Said in landlord.toml.
    Plain(String),
    /// Alone in a file.
    Secret(SecretFile),
}

/// Where a secret is: never in landlord.toml itself. Its file is tried as a systemd credential of that name first, where the
/// setting is a bare name and there is such a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    /// As it was written.
    pub named: String,
    /// Absolute.
    pub path: PathBuf,
}
