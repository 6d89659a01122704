//! The HTTP client beneath ACME: what is asked has a time limit, what is answered a size, and what an error answer's head
//! says is not lost.

use std::{
    error::Error as _,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::{Timestamp, fmt::rfc2822};

const CONNECT: Duration = Duration::from_secs(10);
const CALL: Duration = Duration::from_secs(30);
/// No answer of ACME is near this long.
const BODY: usize = 1024 * 1024;
/// Nobody means to be left alone for longer; and no clock overflows with it.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// Connections that all jobs share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Http(reqwest::Client);

/// One job's view: it remembers the last answer's head.
#[derive(Clone)]
pub(super) struct Exchange {
    http: Http,
    last: Arc<Mutex<Last>>,
}

/// What the last answer's head said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Last {
    /// `None`: there was no answer.
    pub(super) status: Option<StatusCode>,
    /// How long to leave it alone.
    pub(super) retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// It could not be asked, or did not answer.
    #[error("{0}")]
    Silent(String),
    /// It went on answering.
    #[error("the authority's answer is longer than {BODY} bytes")]
    TooLong,
}

impl Http {
    /// Trusts the roots in `root_pem` and no other; without it the system's.
    ///
    /// # Errors
    /// There is no root: a sentence.
    pub(super) fn new(root_pem: Option<&str>) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .redirect(reqwest::redirect::Policy::none())
            // What an environment happens to name would be told whom we ask, and could keep us from asking.
            .no_proxy()
            .user_agent(concat!("landlord/", env!("CARGO_PKG_VERSION")))
            .https_only(true);
        if let Some(pem) = root_pem {
            let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
                .map_err(|error| format!("[acme] root holds no certificates: {}", chain(&error)))?;
            if roots.is_empty() {
                return Err("[acme] root holds no certificate".to_owned());
            }
            builder = builder.tls_certs_only(roots);
        }
        Ok(Self(builder.build().map_err(|error| format!("no HTTPS client: {}", chain(&error)))?))
    }

    /// For one job.
    pub(super) fn exchange(&self) -> Exchange {
        Exchange { http: self.clone(), last: Arc::default() }
    }
}

impl Exchange {
    /// What the last answer's head said.
    pub(super) fn last(&self) -> Last {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A plain GET: status and body.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn get(&self, url: &str) -> Result<(StatusCode, Bytes), HttpError> {
        let answer = self.call(self.http.0.get(url)).await?;
        let (parts, body) = answer.into_parts();
        Ok((parts.status, body))
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<Response<Bytes>, HttpError> {
        self.note(Last::default());
        let silent = |error: reqwest::Error| HttpError::Silent(chain(&error));
        let mut answer = request.send().await.map_err(silent)?;
        self.note(Last { status: Some(answer.status()), retry_after: retry_after(answer.headers(), Timestamp::now()) });
        let mut body = BytesMut::new();
        while let Some(more) = answer.chunk().await.map_err(silent)? {
            if body.len() + more.len() > BODY {
                return Err(HttpError::TooLong);
            }
            body.extend_from_slice(&more);
        }
        let mut whole = Response::new(body.freeze());
        *whole.status_mut() = answer.status();
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(whole)
    }

    fn note(&self, last: Last) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}

impl HttpClient for Exchange {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let exchange = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            // Ours is said instead.
            parts.headers.remove(header::USER_AGENT);
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let request =
                exchange.http.0.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
            let answer = exchange.call(request).await.map_err(|error| Error::Other(Box::new(error)))?;
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has room for mean forever.
        return Some(text.parse().map_or(LONGEST_WAIT, Duration::from_secs).min(LONGEST_WAIT));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LONGEST_WAIT))
}

/// An error and what caused it: reqwest's own says little.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read(" 0 "), Some(Duration::ZERO));
        assert_eq!(read("Thu, 01 Jan 2026 00:02:00 GMT"), Some(Duration::from_secs(120)));
        assert_eq!(read("Wed, 31 Dec 2025 00:02:00 GMT"), Some(Duration::ZERO), "long ago is now");
        for forever in ["18446744073709551615", "99999999999999999999999", "Tue, 30 Dec 9000 00:00:00 GMT"] {
            assert_eq!(read(forever), Some(LONGEST_WAIT), "{forever:?}");
        }
        for none in ["", "-1", "+1", "soon", "1.5"] {
            assert_eq!(read(none), None, "{none:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn roots_that_are_none_are_refused() {
        for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Http::new(Some(bad)).is_err(), "{bad:?}");
        }
    }
}
