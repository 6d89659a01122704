//! What comes of asking an authority: facts that the acme role reports, and that decisions are made from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why an order brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it means for what is done next.
    pub kind: FailureKind,
    /// A sentence for a person: the authority's words, or ours.
    pub detail: String,
    /// How long the authority asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The order that the plan named, or that was placed, is of no use any more: the next one is a new one.
    pub order_ended: bool,
}

/// What a failure means (RFC 8555 section 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No answer, 5xx, serverInternal, garbage: the authority is not there.
    Unreachable,
    /// rateLimited for this name or its registered domain.
    NameLimited,
    /// rateLimited for the account, the address, or the whole service.
    AccountLimited,
    /// It looked and did not find what it should: connection, dns, tls, caa, incorrectResponse, unauthorized of a challenge.
    Validation,
    /// It will not issue for this name: rejectedIdentifier, unsupportedIdentifier.
    Refused,
    /// The account: externalAccountRequired, userActionRequired, invalidContact, a revoked one. Nothing works before an operator acts.
    Account,
    /// What we sent was wrong: malformed, badCSR, invalidProfile, … The settings, or a bug.
    Request,
    /// Our own DNS: the provider refused, or the record was not seen everywhere in time.
    Dns,
    /// `replaces` names a certificate that was replaced already: order without it.
    AlreadyReplaced,
    /// It was given up because the master said so.
    Cancelled,
}

/// What DNS says of a custom domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The authority can be asked. A remark for a person, where something is odd.
    Ready(Option<String>),
    /// Not before this record is as it must be: a sentence that says which it is, what it says now and what it must say.
    Missing(String),
    /// It could not be looked up: why.
    Unknown(String),
}

/// Renewal information (RFC 9773 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalAnswer {
    /// Unix seconds.
    pub start: i64,
    /// Unix seconds.
    pub end: i64,
    /// A page about why.
    pub explanation_url: Option<String>,
    /// Ask again after this long.
    pub retry_after: Duration,
}

/// What a certificate is at, as `landlord certs` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// A DNS record is not as it must be; the authority is not asked before.
    Dns,
    /// It is to be ordered, and waits: for its turn, for the authority, or for the next try.
    Waiting,
    /// Being ordered for the first time.
    Ordering,
    /// Served. (It may be renewed meanwhile.)
    Valid,
    /// Served, and it ends soon and could not be renewed.
    Expiring,
    /// Not there, and the last try brought nothing.
    Failed,
}
