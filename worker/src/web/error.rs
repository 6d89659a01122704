//! The one place where something that went wrong becomes a status, and a page or JSON about it.

use std::sync::Arc;

use askama::Template;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::json;
use tracing::error;

use super::site::Site;
use crate::store::StoreError;

/// Why a request cannot be answered as it wants to be.
#[derive(Debug)]
pub(super) enum Failure {
    NotFound,
    MethodNotAllowed,
    ForeignOrigin,
    TooSlow,
    /// The body or the query is not what it should be; axum's words and status.
    Malformed(StatusCode, String),
    Store(StoreError),
    Render(askama::Error),
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    site: &'a Site,
    root: &'a str,
    title: &'a str,
    text: &'a str,
}

impl Failure {
    /// Answers with a page, or with JSON below `/api/`.
    pub(super) fn answer(&self, site: &Arc<Site>, uri: &Uri) -> Response {
        let (status, title, text) = self.words();
        match self {
            Self::Store(error) => error!("{error}"),
            Self::Render(error) => error!("cannot render a page: {error}"),
            _ => {}
        }
        let mut response = if uri.path().starts_with("/api/") {
            (status, Json(json!({ "error": text }))).into_response()
        } else {
            let page = FailurePage { site, root: &root(uri.path()), title, text };
            let page = page.render().unwrap_or_else(|_| format!("<!doctype html><title>{status}</title>"));
            (status, Html(page)).into_response()
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn words(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "Page not found", "There is nothing at this address."),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "Not possible", "This address does not take this kind of request.")
            }
            Self::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "Refused",
                "This request came from another site. Open our own page and try again.",
            ),
            Self::TooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "Too slow", "The request took too long to arrive. Please try again.")
            }
            Self::Malformed(status, text) => (*status, "Not understood", text),
            Self::Store(error) if error.is_passing() => {
                (StatusCode::SERVICE_UNAVAILABLE, "Very busy", "Too much is going on right now. Please try again.")
            }
            Self::Store(_) | Self::Render(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong", "Please try again in a moment.")
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The site's root as seen from `path`: relative, because a site may live below a prefix that we are not told.
fn root(path: &str) -> String {
    match path.matches('/').count() {
        0 | 1 => "./".to_owned(),
        depth => "../".repeat(depth - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::root;

    #[test]
    fn roots_are_relative() {
        assert_eq!((root("/").as_str(), root("/a").as_str()), ("./", "./"));
        assert_eq!((root("/a/").as_str(), root("/a/b/c").as_str()), ("../", "../../"));
    }
}
