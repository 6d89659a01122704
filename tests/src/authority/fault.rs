//! What can go wrong between the gateway and the ACME server.

use serde_json::{Value, json};

/// What goes wrong with a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// No answer ever comes, and the ACME server never hears of it.
    Hang,
    /// It waits, before the ACME server hears of it, until the fault is taken away.
    Wait,
    /// The connection ends without an answer; the ACME server never hears of it.
    Cut,
    /// The ACME server does it, and the connection ends before the answer.
    CutAfter,
    /// An answer that is not the ACME server's.
    Answer {
        /// Its status.
        status: u16,
        /// Retry-After, seconds.
        retry_after: Option<u32>,
        /// Its media type.
        media: &'static str,
        /// Its body.
        body: String,
    },
    /// The ACME server's answer, with these members of its JSON added or replaced.
    Amend(Value),
}

impl Fault {
    /// A problem document (RFC 7807) of an ACME error type: `problem(429, "rateLimited", "too many", Some(60))`.
    pub fn problem(status: u16, kind: &str, detail: &str, retry_after: Option<u32>) -> Self {
        let body = json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status });
        Self::Answer { status, retry_after, media: "application/problem+json", body: body.to_string() }
    }

    /// An answer that makes no sense.
    pub fn garbage() -> Self {
        Self::Answer { status: 200, retry_after: None, media: "text/html", body: "<h1>It works!</h1>".into() }
    }

    /// 500, and no problem document.
    pub fn internal() -> Self {
        Self::Answer { status: 500, retry_after: None, media: "text/plain", body: "oops".into() }
    }

    /// Anything in JSON.
    pub fn json(body: &Value) -> Self {
        Self::Answer { status: 200, retry_after: Some(21600), media: "application/json", body: body.to_string() }
    }
}
