//! What the authority's errors mean for what is done next (RFC 8555 section 6.7).

use std::time::Duration;

use http::StatusCode;
use instant_acme::{Error, Problem};
use jiff::Timestamp;

use super::{client::Last, words};
use crate::model::{Failure, FailureKind};

const URN: &str = "urn:ietf:params:acme:error:";

/// What was asked, which some errors' meaning depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// For an account.
    Account,
    /// For an order, or how it is.
    Order,
    /// For a name's validation, or what came of it.
    Validation,
    /// For the certificate of an order that is ready.
    Certificate,
}

/// What an error of the library beneath means; `last` is the head of the answer that it came from.
pub(super) fn failure(error: &Error, last: Last, asked: Asked) -> Failure {
    match error {
        Error::Api(problem) => {
            // A problem in a good answer is an object's own: of a challenge, or of an order that ended.
            let status = last.status.filter(|status| !status.is_success());
            of_problem(problem, status, last, asked)
        }
        Error::Other(why) if why.to_string().starts_with("replaces field mismatch") => {
            said(FailureKind::AlreadyReplaced, "the authority does not take an order as a replacement".to_owned(), true)
        }
        Error::Json(_) | Error::Str(_) | Error::Other(_) | Error::Http(_) | Error::InvalidUri(_) => {
            of_silence(error, last)
        }
        Error::Timeout(_) => said(FailureKind::Unreachable, "the authority took too long".to_owned(), false),
        Error::Unsupported(what) => {
            said(FailureKind::Request, format!("the authority does not support {}", words::safe(what)), false)
        }
        other => said(FailureKind::Request, words::safe(&other.to_string()), false),
    }
}

/// What an authorization's or an order's own problem means.
pub(super) fn of_object(problem: &Problem, asked: Asked) -> Failure {
    of_problem(problem, None, Last::default(), asked)
}

/// Words of ours.
pub(super) fn said(kind: FailureKind, detail: String, order_ended: bool) -> Failure {
    Failure { kind, detail, retry_after: None, order_ended }
}

/// Whether an error's type is `name`.
pub(super) fn is(problem: &Problem, name: &str) -> bool {
    kind_of(problem) == name
}

fn kind_of(problem: &Problem) -> &str {
    let name = problem.r#type.as_deref().unwrap_or_default();
    name.strip_prefix(URN).unwrap_or(name)
}

/// No problem document: a proxy's page, half an answer, or none at all.
fn of_silence(error: &Error, last: Last) -> Failure {
    let refused = last.status.filter(|status| !status.is_success());
    let detail = match refused {
        Some(status) => format!("the authority answered {status} without saying why"),
        None if matches!(error, Error::Json(_)) => format!("the authority's answer is none of ACME: {error}"),
        None => error.to_string(),
    };
    let limited = refused == Some(StatusCode::TOO_MANY_REQUESTS);
    let kind = if limited { FailureKind::AccountLimited } else { FailureKind::Unreachable };
    let retry_after = refused.and(last.retry_after);
    Failure { retry_after, ..said(kind, words::safe(&detail), false) }
}

fn of_problem(problem: &Problem, status: Option<StatusCode>, last: Last, asked: Asked) -> Failure {
    let detail = problem.detail.as_deref().unwrap_or_default();
    let (kind, order_ended) = meaning(problem, status, asked);
    let limited = matches!(kind, FailureKind::NameLimited | FailureKind::AccountLimited);
    let retry_after: Option<Duration> = status
        .and(last.retry_after)
        .or_else(|| limited.then(|| words::retry_after(detail, Timestamp::now())).flatten());
    Failure { kind, detail: sentence(problem), retry_after, order_ended }
}

/// The kind, and whether the order is of no use any more.
fn meaning(problem: &Problem, status: Option<StatusCode>, asked: Asked) -> (FailureKind, bool) {
    use FailureKind::{
        Account, AccountLimited, AlreadyReplaced, NameLimited, Refused, Request, Unreachable, Validation,
    };
    let detail = problem.detail.as_deref().unwrap_or_default();
    match kind_of(problem) {
        "rateLimited" if is_about_a_name(detail) => (NameLimited, false),
        "rateLimited" => (AccountLimited, false),
        _ if status.is_some_and(|status| status.is_server_error()) => (Unreachable, false),
        "serverInternal" | "badNonce" => (Unreachable, false),
        "caa" | "connection" | "dns" | "incorrectResponse" | "tls" => (Validation, true),
        "rejectedIdentifier" | "unsupportedIdentifier" => (Refused, true),
        "accountDoesNotExist"
        | "externalAccountRequired"
        | "invalidContact"
        | "unsupportedContact"
        | "userActionRequired" => (Account, false),
        "alreadyReplaced" => (AlreadyReplaced, true),
        "unauthorized" => match asked {
            Asked::Account => (Account, false),
            // The account is good, which was asked before: the order is not ours.
            Asked::Order => (Request, true),
            Asked::Validation | Asked::Certificate => (Validation, true),
        },
        "badPublicKey" | "badSignatureAlgorithm" if asked == Asked::Account => (Account, false),
        "compound" => problem
            .subproblems
            .iter()
            .map(|sub| meaning(&alone(sub), None, asked))
            .min_by_key(|(kind, _)| gravity(*kind))
            .unwrap_or((Request, true)),
        _ if status == Some(StatusCode::TOO_MANY_REQUESTS) => (AccountLimited, false),
        // badCSR, badPublicKey, malformed, orderNotReady, invalidProfile, alreadyRevoked, badRevocationReason, and what no
        // document of ours knows: the same order would bring the same again.
        _ => (Request, true),
    }
}

fn alone(sub: &instant_acme::Subproblem) -> Problem {
    Problem { r#type: sub.r#type.clone(), detail: sub.detail.clone(), status: None, subproblems: Vec::new() }
}

/// Of several, the one that must be dealt with first.
fn gravity(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Account => 0,
        FailureKind::Refused => 1,
        FailureKind::AccountLimited => 2,
        FailureKind::NameLimited => 3,
        FailureKind::Validation => 4,
        FailureKind::AlreadyReplaced => 5,
        FailureKind::Request | FailureKind::Dns | FailureKind::Cancelled => 6,
        FailureKind::Unreachable => 7,
    }
}

/// Let's Encrypt's words for limits of one name, one set of names or one registered domain.
fn is_about_a_name(detail: &str) -> bool {
    let detail = detail.to_ascii_lowercase();
    ["already issued for", "exact set", "failed authorizations", "failed validations", "requesting certificates for"]
        .iter()
        .any(|words| detail.contains(words))
}

/// The authority's words, with those about each name.
fn sentence(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_default();
    for sub in &problem.subproblems {
        let about = sub.identifier.as_ref().map(|name| format!("{}: ", name.authorized(false))).unwrap_or_default();
        let said = sub.detail.as_deref().or(sub.r#type.as_deref()).unwrap_or_default();
        text = format!("{text}; {about}{said}");
    }
    if text.trim().is_empty() {
        text = match kind_of(problem) {
            "" => "the authority refused without saying why".to_owned(),
            kind => format!("the authority says {kind}"),
        };
    }
    words::safe(text.trim_start_matches("; "))
}

#[cfg(test)]
mod tests;
