//! When the authority would have a certificate renewed (RFC 9773 section 4). Asked without an account.

use std::time::Duration;

use http::StatusCode;
use instant_acme::{Error, Problem};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    client::{Exchange, Http},
    problem::{self, Asked},
    words,
};
use crate::model::{Failure, FailureKind, RenewalAnswer};

/// RFC 9773 section 4.3.3: where the authority does not say.
const AGAIN: Duration = Duration::from_secs(6 * 3600);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    renewal_info: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalInfo {
    suggested_window: Window,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct Window {
    start: Timestamp,
    end: Timestamp,
}

/// Asks about the certificate with this identifier.
///
/// # Errors
/// The authority is not there, has no renewal information, or does not know the certificate.
pub(super) async fn ask(http: &Http, directory: &str, certificate: &str) -> Result<RenewalAnswer, Failure> {
    let exchange = http.exchange();
    let Some(url) = get::<Directory>(&exchange, directory).await?.renewal_info else {
        let detail = "the authority has no renewal information".to_owned();
        return Err(problem::said(FailureKind::Request, detail, false));
    };
    // It becomes part of a URL: base64url and one dot.
    if !certificate.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        let detail = "that is no identifier of a certificate".to_owned();
        return Err(problem::said(FailureKind::Request, detail, false));
    }
    let info: RenewalInfo = get(&exchange, &format!("{}/{certificate}", url.trim_end_matches('/'))).await?;
    let window = info.suggested_window;
    if window.end <= window.start {
        // RFC 9773 section 4.2: to be treated as if there were no answer.
        let detail = "the authority's window for a renewal ends before it begins".to_owned();
        return Err(problem::said(FailureKind::Request, detail, false));
    }
    Ok(RenewalAnswer {
        start: window.start.as_second(),
        end: window.end.as_second(),
        explanation_url: info.explanation_url.map(|url| words::safe(&url)),
        retry_after: exchange.last().retry_after.unwrap_or(AGAIN),
    })
}

async fn get<T: DeserializeOwned>(exchange: &Exchange, url: &str) -> Result<T, Failure> {
    let failure = |error: Error| problem::failure(&error, exchange.last(), Asked::Order);
    let (status, body) = exchange.get(url).await.map_err(|error| failure(Error::Other(Box::new(error))))?;
    if status != StatusCode::OK {
        let error = serde_json::from_slice::<Problem>(&body).map_or_else(Error::Json, Error::Api);
        return Err(Failure { order_ended: false, ..failure(error) });
    }
    serde_json::from_slice(&body).map_err(|error| failure(Error::Json(error)))
}
