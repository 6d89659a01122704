#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;
use FailureKind::{Account, AccountLimited, AlreadyReplaced, NameLimited, Refused, Request, Unreachable, Validation};

fn problem(kind: &str, detail: &str) -> Problem {
    serde_json::from_value(json!({ "type": format!("{URN}{kind}"), "detail": detail })).unwrap()
}

fn answered(status: u16) -> Last {
    Last { status: Some(StatusCode::from_u16(status).unwrap()), retry_after: None }
}

#[test]
fn every_type_means_something() {
    use Asked::{Account as A, Certificate as C, Order as O, Validation as V};
    // Each of RFC 8555 section 6.7, in its order, then RFC 9773's and the profiles'.
    for (kind, status, asked, meant, ended) in [
        ("accountDoesNotExist", 400, O, Account, false),
        ("alreadyRevoked", 400, C, Request, true),
        ("badCSR", 400, C, Request, true),
        ("badNonce", 400, O, Unreachable, false),
        ("badPublicKey", 400, A, Account, false),
        ("badPublicKey", 400, C, Request, true),
        ("badRevocationReason", 400, C, Request, true),
        ("badSignatureAlgorithm", 400, A, Account, false),
        ("caa", 403, V, Validation, true),
        ("connection", 400, V, Validation, true),
        ("dns", 400, V, Validation, true),
        ("externalAccountRequired", 403, A, Account, false),
        ("incorrectResponse", 403, V, Validation, true),
        ("invalidContact", 400, A, Account, false),
        ("malformed", 400, O, Request, true),
        ("orderNotReady", 403, C, Request, true),
        ("rateLimited", 429, O, AccountLimited, false),
        ("rejectedIdentifier", 400, O, Refused, true),
        ("serverInternal", 500, O, Unreachable, false),
        ("tls", 400, V, Validation, true),
        ("unauthorized", 403, A, Account, false),
        ("unauthorized", 403, O, Request, true),
        ("unauthorized", 403, V, Validation, true),
        ("unauthorized", 403, C, Validation, true),
        ("unsupportedContact", 400, A, Account, false),
        ("unsupportedIdentifier", 400, O, Refused, true),
        ("userActionRequired", 403, A, Account, false),
        ("alreadyReplaced", 409, O, AlreadyReplaced, true),
        ("invalidProfile", 400, O, Request, true),
        ("ofTomorrow", 400, O, Request, true),
        ("ofTomorrow", 429, O, AccountLimited, false),
        ("ofTomorrow", 503, O, Unreachable, false),
        ("malformed", 500, O, Unreachable, false),
    ] {
        let failure = failure(&problem(kind, "words").into(), answered(status), asked);
        assert_eq!((failure.kind, failure.order_ended), (meant, ended), "{kind} {status} {asked:?}");
        assert_eq!((failure.detail.as_str(), failure.retry_after), ("words", None));
    }
}

#[test]
fn limits_are_told_apart_by_lets_encrypts_words() {
    for (kind, words) in [
        (
            AccountLimited,
            "too many new orders (300) from this account in the last 3h0m0s, retry after 1999-01-01 00:00:00 UTC",
        ),
        (AccountLimited, "too many new registrations (10) from this IP address in the last 3h0m0s, retry after …"),
        (AccountLimited, "too many new registrations (500) from this /48 subnet of IPv6 addresses in the last 3h0m0s"),
        (AccountLimited, "Service busy; retry later."),
        (
            NameLimited,
            "too many certificates (50) already issued for \"example.com\" in the last 168h0m0s, retry after …",
        ),
        (
            NameLimited,
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
        ),
        (NameLimited, "too many failed authorizations (5) for \"www.example.com\" in the last 1h0m0s, retry after …"),
        (
            NameLimited,
            "too many failed authorizations recently: see https://letsencrypt.org/docs/failed-validation-limit/",
        ),
        (
            NameLimited,
            "Your account is temporarily prevented from requesting certificates for example.com and possibly others.",
        ),
    ] {
        let status = if words.starts_with("Service") { 503 } else { 429 };
        let failure = failure(&problem("rateLimited", words).into(), answered(status), Asked::Order);
        assert_eq!((failure.kind, failure.order_ended), (kind, false), "{words}");
        assert_eq!(failure.detail, words);
    }
}

#[test]
fn the_head_says_how_long_and_else_the_sentence() {
    let far = "too many new orders (300) from this account in the last 3h0m0s, retry after 2999-01-01 00:00:00 UTC";
    let head = Last { retry_after: Some(Duration::from_secs(7)), ..answered(429) };
    assert_eq!(
        failure(&problem("rateLimited", far).into(), head, Asked::Order).retry_after,
        Some(Duration::from_secs(7))
    );
    let none = failure(&problem("rateLimited", far).into(), answered(429), Asked::Order).retry_after;
    assert!(none.unwrap() > Duration::from_secs(86_400));
    // It is a good answer's pause between polls, not what the challenge's problem is about.
    let good = Last { retry_after: Some(Duration::from_secs(7)), ..answered(200) };
    assert_eq!(failure(&problem("connection", "x").into(), good, Asked::Validation).retry_after, None);
}

#[test]
fn what_is_no_answer_of_acme_is_no_authority() {
    let garbage = || Error::Json(serde_json::from_str::<u8>("<html>").unwrap_err());
    let busy = Last { retry_after: Some(Duration::from_secs(9)), ..answered(503) };
    let seen = failure(&garbage(), busy, Asked::Account);
    assert_eq!((seen.kind, seen.retry_after, seen.order_ended), (Unreachable, Some(Duration::from_secs(9)), false));
    assert_eq!(failure(&garbage(), answered(200), Asked::Account).kind, Unreachable);
    assert_eq!(failure(&garbage(), answered(429), Asked::Account).kind, AccountLimited);
    assert_eq!(failure(&Error::Other("refused".into()), Last::default(), Asked::Order).kind, Unreachable);
    assert_eq!(failure(&Error::Timeout(None), Last::default(), Asked::Order).kind, Unreachable);
    let mismatch = Error::Other("replaces field mismatch: expected a, found b".into());
    assert_eq!(failure(&mismatch, answered(201), Asked::Order).kind, AlreadyReplaced);
}

#[test]
fn several_problems_say_all_and_mean_the_gravest() {
    let several: Problem = serde_json::from_value(json!({
        "type": format!("{URN}compound"), "detail": "Some names failed",
        "subproblems": [
            { "type": format!("{URN}caa"), "detail": "CAA \u{1b}forbids", "identifier": { "type": "dns", "value": "a.example" } },
            { "type": format!("{URN}rejectedIdentifier"), "detail": "no", "identifier": { "type": "dns", "value": "b.example" } },
        ],
    }))
    .unwrap();
    let failure = of_object(&several, Asked::Validation);
    assert_eq!((failure.kind, failure.order_ended), (Refused, true));
    assert_eq!(failure.detail, "Some names failed; a.example: CAA \\u{1b}forbids; b.example: no");
    let silent: Problem = serde_json::from_value(json!({ "type": format!("{URN}tls") })).unwrap();
    assert_eq!(of_object(&silent, Asked::Validation).detail, "the authority says tls");
}
