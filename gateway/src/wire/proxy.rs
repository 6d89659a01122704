//! The link between the master and a proxy. The master tells what is to be; the proxy reports facts and never orders.

use serde::{Deserialize, Serialize};

use crate::model::{GenerationId, HttpLimits, ProbeOutcome, TenantName};

/// What a public listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// TLS, then HTTP/1.1 or HTTP/2 by ALPN.
    Https,
    /// Clear text: redirects.
    Http,
}

/// Master → proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ToProxy {
    /// First of all. Said again by a master that has come back and knows nothing: the proxy answers with its own Hello and
    /// then with every fact as if it were news. Of what follows here, only Certificates, Routes, Retire and Drain are told
    /// to it again.
    Hello {
        /// [`crate::wire::PROTOCOL`]
        protocol: u32,
    },
    /// Once, second. fds: the write end of the access log's pipe; the folder of workers' unix sockets, which relative
    /// [`crate::model::BackendAddress::Unix`] paths are below: the proxy may have no way to it by name. Listeners follow in
    /// messages of their own.
    Configure {
        /// Threads, one runtime each.
        cores: u32,
        /// Bounds on what a client controls.
        http: HttpLimits,
        /// The port that redirects and `X-Forwarded-Port` name: the first https listener's.
        https_port: u16,
    },
    /// fds: one listening socket. One message per socket; `core` says which thread accepts on it.
    Listener {
        /// What it speaks.
        kind: ListenerKind,
        /// Which core's thread accepts on it.
        core: u32,
    },
    /// All listeners have been told: accept as soon as the first table and certificates are applied, then say `Ready`.
    Start,
    /// fds: a sealed memfd with a [`crate::model::CertificateSet`].
    Certificates,
    /// fds: a sealed memfd with [`crate::wire::Answers`]: all that is to be answered to an authority, whole. Answered by
    /// `Answering`. Not told to a proxy that was retired.
    Answers {
        /// Which telling.
        serial: u64,
    },
    /// fds: a sealed memfd with a [`crate::model::RouteTable`].
    Routes {
        /// The table's epoch.
        epoch: u64,
    },
    /// Ask this generation's worker whether it may sleep: GET this path, once. Answered by `MaySleep`.
    AskSleep {
        /// Whom.
        generation: GenerationId,
        /// The app's sleep path.
        path: String,
    },
    /// Another proxy accepts from the same sockets now: accept no more, and exit 0 once the last connection has ended in its
    /// own good time. The next answer on a kept connection says `Connection: close` (HTTP/2: GOAWAY in two steps, RFC 9113
    /// section 6.8); idle ones are left to their timeout; bodies and upgraded connections to `drain_timeout` and
    /// `upgrade_timeout` of their tenant, counted from here, or from the request's beginning where that is later. Tables go
    /// on coming, and are answered as ever; nothing is probed any more.
    Retire,
    /// Stop accepting, finish what is in flight, exit 0.
    Drain {
        /// After this many milliseconds, cut what is left.
        deadline_ms: u64,
    },
}

/// Proxy → master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum FromProxy {
    /// First of all.
    Hello {
        /// [`crate::wire::PROTOCOL`]
        protocol: u32,
        /// The newest epoch applied; 0: none.
        epoch: u64,
    },
    /// Accepting on every listener.
    Ready,
    /// Every core routes by this epoch now.
    Applied {
        /// Which.
        epoch: u64,
    },
    /// Every core answers challenges by this telling now.
    Answering {
        /// Which.
        serial: u64,
    },
    /// The closed gate of this generation has no request, body or upgraded connection in flight on any core.
    Idle {
        /// Which.
        generation: GenerationId,
    },
    /// Of a tenant that may sleep: no request, body or upgraded connection was in flight on this generation for a second.
    Quiet {
        /// Which.
        generation: GenerationId,
        /// For how long by now, milliseconds.
        for_ms: u64,
    },
    /// It was told to be quiet, and is used again.
    Busy {
        /// Which.
        generation: GenerationId,
    },
    /// Answer to `AskSleep`.
    MaySleep {
        /// Which.
        generation: GenerationId,
        /// It answered 423 (Locked, RFC 4918 section 11.3): it has something to do. Whatever else it answers is no veto.
        veto: bool,
    },
    /// Requests are being held for this tenant: told when the first of them is, and each second for as long as any is.
    Waiting {
        /// Which.
        tenant: TenantName,
    },
    /// What a probe found. Every probe of a starting worker that succeeds, and every change; failures of a healthy one each.
    Probe {
        /// Whom.
        generation: GenerationId,
        /// Which attempt of it.
        attempt: u32,
        /// What was found.
        outcome: ProbeOutcome,
    },
    /// Every 10 s, for `status` and the log; at once and then every second from `Retire` on.
    Counters {
        /// Open client connections.
        connections: u64,
        /// Requests answered since the start.
        requests: u64,
        /// Requests refused by the guard since the start.
        rejects: u64,
    },
}
