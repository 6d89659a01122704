//! The link between the master and the acme role. The role speaks to the authority, to DNS and to nobody else; it keeps
//! nothing: what must outlive it is told to the master and acknowledged before the role goes on.
//!
//! Whatever is secret or large travels as a sealed memfd (JSON) beside its message.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{Certificate, Challenge, Failure, Finding, Host, RenewalAnswer};

/// Which piece of work a message is about; never used twice in the life of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// Master → acme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ToAcme {
    /// First of all.
    Hello {
        /// [`crate::wire::PROTOCOL`]
        protocol: u32,
    },
    /// Once, second. fds: [`AcmeSettings`]. Answered by `Ready`. Other settings are another process.
    Configure,
    /// Get a certificate. fds: [`OrderPlan`]. Ends with `Issued` or `Failed`.
    Order {
        /// Which.
        job: JobId,
    },
    /// Give an order up, its challenge records cleaned. Answered by `Failed` (or `Issued`, if it came first).
    Cancel {
        /// Which.
        job: JobId,
    },
    /// What `Keep` brought is on disk.
    Kept {
        /// Which.
        job: JobId,
    },
    /// Every proxy that accepts visitors answers the challenges of this job's last `Answers`.
    Answering {
        /// Which.
        job: JobId,
    },
    /// Look whether DNS would let a custom domain be validated here. Answered by `Looked`.
    Look {
        /// Which.
        job: JobId,
        /// The custom domain.
        host: Host,
    },
    /// Ask when to renew (RFC 9773). Answered by `Renewal`.
    AskRenewal {
        /// Which.
        job: JobId,
        /// The certificate's identifier (RFC 9773 section 4.1).
        certificate: String,
    },
    /// Remove a challenge record that an earlier life of the role has left. fds: [`Record`]. Answered by `Cleaned`.
    Clean {
        /// Which.
        job: JobId,
    },
}

/// Acme → master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum FromAcme {
    /// First of all.
    Hello {
        /// [`crate::wire::PROTOCOL`]
        protocol: u32,
    },
    /// Configured: work may come.
    Ready,
    /// Must be on disk before the role goes on. fds: [`Keepsake`]. Answered by `Kept`.
    Keep {
        /// Which.
        job: JobId,
    },
    /// What proxies are to answer for this job from now on; replaces what it said before. fds: [`Answers`].
    /// Answered by `Answering` unless it is empty.
    Answers {
        /// Which.
        job: JobId,
    },
    /// What an order is at, for a person.
    Step {
        /// Which.
        job: JobId,
        /// A few words: "waiting for the record at ns1.example.com".
        line: String,
    },
    /// The end of an order. fds: [`Issued`].
    Issued {
        /// Which.
        job: JobId,
    },
    /// The end of an order that brought nothing.
    Failed {
        /// Which.
        job: JobId,
        /// What, and what it means.
        failure: Failure,
    },
    /// What DNS says of a custom domain.
    Looked {
        /// Which.
        job: JobId,
        /// What was found.
        finding: Finding,
    },
    /// When the authority would have a certificate renewed.
    Renewal {
        /// Which.
        job: JobId,
        /// The answer; a reason where there is none.
        answer: Result<RenewalAnswer, Failure>,
    },
    /// A record is gone, or could not be removed, with the reason.
    Cleaned {
        /// Which.
        job: JobId,
        /// Why not.
        error: Option<String>,
    },
}

/// What the role works with. Secret: the EAB key and DNS credentials are in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeSettings {
    /// The zone that tenants are below.
    pub zone: Host,
    /// The directory's URL: whose CAA records count. An order's own is in its plan.
    pub directory: String,
    /// The contact's URLs, for a new account.
    pub contact: Vec<String>,
    /// Roots for the ACME server's own certificate, PEM; `None`: the system's.
    pub root_pem: Option<String>,
    /// (kid, base64url MAC key) for a new account.
    pub eab: Option<(String, String)>,
    /// Who writes challenge records: a provider's name and its settings with their secrets.
    pub dns: Option<(String, BTreeMap<String, String>)>,
    /// Where look-ups and propagation checks go; empty: the system's, then each authoritative server.
    pub resolvers: Vec<SocketAddr>,
    /// What a custom domain must resolve to; empty: what the zone's apex resolves to.
    pub addresses: Vec<IpAddr>,
    /// How long a challenge's record may take to be seen everywhere.
    pub propagation_timeout: Duration,
}

/// One order. Secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlan {
    /// The names: `*.zone` and the apex, or one host.
    pub names: Vec<String>,
    /// The first that the authority offers is tried; the next one in a further order.
    pub challenges: Vec<Challenge>,
    /// The directory's URL.
    pub directory: String,
    /// Our account there, as `Keepsake::Account` brought it; `None`: make one.
    pub account: Option<String>,
    /// PKCS#8 PEM, as `Keepsake::Key` brought it; `None`: make one.
    pub key_pem: Option<String>,
    /// Of an order that was placed and has not ended: go on with it.
    pub order_url: Option<String>,
    /// The certificate that this one replaces (RFC 9773 section 5), where the directory has renewal information.
    pub replaces: Option<String>,
    /// A profile of the directory's.
    pub profile: Option<String>,
}

/// What must be on disk before a role goes on. Secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keepsake {
    /// A new account, or `None`: the one in the plan is none any more, forget it.
    Account(Option<String>),
    /// The certificate's key, before the order is placed.
    Key(String),
    /// The order's URL, before anything is done for it.
    Order(String),
    /// A challenge record, before it is written.
    Record(Record),
    /// That record is gone again.
    Removed(Record),
}

/// A TXT record of a challenge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The name that is written, after any CNAME, with its trailing dot.
    pub name: String,
    /// The zone in which it is, with its trailing dot.
    pub zone: String,
    /// The text.
    pub value: String,
}

/// What proxies answer to the authority. Served from memory only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// HTTP-01 (RFC 8555 section 8.3).
    pub http: Vec<HttpAnswer>,
    /// TLS-ALPN-01 (RFC 8737): certificates for `acme-tls/1`, one exact name each.
    pub tls: Vec<Certificate>,
}

/// One HTTP-01 answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAnswer {
    /// For requests to this host only.
    pub host: Host,
    /// After `/.well-known/acme-challenge/`.
    pub token: String,
    /// The body.
    pub key_authorization: String,
}

/// A certificate. Secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// PKCS#8, PEM.
    pub key_pem: String,
}
