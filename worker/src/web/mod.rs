//! The site over HTTP: the routes, and what every answer has.

mod api;
mod error;
mod look;
mod origin;
mod pages;
mod site;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{
        HeaderValue,
        header::{
            CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use error::Failure;
pub(crate) use site::Site;

/// Bytes of a request body: the longest notice, each character percent-encoded, with room to spare.
const BODY_BYTES: usize = 64 * 1024;
/// For a request and its body to come and be answered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// All routes.
pub(crate) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(pages::board))
        .route("/notices", post(pages::post_notice))
        .route("/api/notices", get(api::list_notices).post(api::post_notice))
        .route("/api/branding", get(api::branding))
        .route("/healthz", get(api::healthz))
        .route("/style.css", get(look::style))
        .route("/favicon.svg", get(look::favicon))
        .route("/logo", get(look::logo))
        .fallback(async |State(site): State<Arc<Site>>, request: Request| {
            Failure::NotFound.answer(&site, request.uri())
        })
        .method_not_allowed_fallback(async |State(site): State<Arc<Site>>, request: Request| {
            Failure::MethodNotAllowed.answer(&site, request.uri())
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(&site), guard))
        .layer(from_fn_with_state(Arc::clone(&site), finish))
        .with_state(site)
}

/// Refuses what another site makes a visitor's browser send, and what never ends.
async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    if !request.method().is_safe() && !origin::is_ours(request.headers(), site.host()) {
        return Failure::ForeignOrigin.answer(&site, &uri);
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::TooSlow.answer(&site, &uri),
    }
}

/// Puts on every answer what every answer has.
async fn finish(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await.into_response();
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // With no-referrer a browser would send `Origin: null` with our own forms.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(OPENER, HeaderValue::from_static("same-origin"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert_with(|| site.content_policy());
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if !site.is_public() {
        headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex"));
    }
    if site.is_draining() {
        // The client then opens its next connection elsewhere, instead of losing a request on this one.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
