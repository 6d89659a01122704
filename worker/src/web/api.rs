//! The same for programs, as JSON.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::JsonRejection, rejection::QueryRejection},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use tracing::warn;

use super::{error::Failure, site::Site};
use crate::notice::Draft;

/// Notices in one answer, at most and without being asked.
const LIMIT: u16 = 100;
/// A probe that has to wait longer has its answer: below the two seconds that a gateway waits.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(1500);

/// Which part of the board.
#[derive(Deserialize)]
pub(super) struct Window {
    before: Option<i64>,
    limit: Option<u16>,
}

/// A notice as a program sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    author: String,
    body: String,
}

/// `GET /api/notices`: newest first; `next` is the `before` of the next page.
pub(super) async fn list_notices(
    State(site): State<Arc<Site>>,
    uri: Uri,
    window: Result<Query<Window>, QueryRejection>,
) -> Response {
    let listed = async {
        let Query(window) = window.map_err(|error| Failure::Malformed(error.status(), error.body_text()))?;
        let limit = window.limit.unwrap_or(LIMIT).clamp(1, LIMIT);
        let mut notices = site.store.list(window.before, limit + 1).await?;
        let more = notices.len() > usize::from(limit);
        notices.truncate(usize::from(limit));
        let next = notices.last().filter(|_| more).map(|notice| notice.id);
        Ok(Json(json!({ "notices": notices, "next": next })).into_response())
    };
    listed.await.unwrap_or_else(|failure: Failure| failure.answer(&site, &uri))
}

/// `POST /api/notices`: 201 and the notice, or 422 and what is wrong with each field.
pub(super) async fn post_notice(
    State(site): State<Arc<Site>>,
    uri: Uri,
    body: Result<Json<Written>, JsonRejection>,
) -> Response {
    let posted = async {
        let Json(written) = body.map_err(|error| Failure::Malformed(error.status(), error.body_text()))?;
        match Draft::new(&written.author, &written.body) {
            Ok(draft) => Ok((StatusCode::CREATED, Json(site.store.add(draft).await?)).into_response()),
            Err(fields) => {
                let told = json!({ "error": "the notice is not valid", "fields": fields });
                Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(told)).into_response())
            }
        }
    };
    posted.await.unwrap_or_else(|failure: Failure| failure.answer(&site, &uri))
}

/// `GET /api/branding`: how the company looks, and what is switched on.
pub(super) async fn branding(State(site): State<Arc<Site>>) -> Response {
    let settings = &site.settings;
    let looks = &settings.branding;
    Json(json!({
        "tenant": settings.tenant,
        "company_name": settings.company(),
        "primary_color": looks.primary.to_string(),
        "text_color": looks.primary.ink().to_string(),
        "logo": site.logo("/"),
        "gst_number": looks.gst_number,
        "contact": looks.contact,
        "environment": settings.environment.as_str(),
        "badge": settings.environment.badge(),
        "features": settings.features,
        "max_users": settings.max_users,
        "url": settings.url,
    }))
    .into_response()
}

/// `GET /healthz`: 200 when the database answers a read, 503 and the reason when it does not.
pub(super) async fn healthz(State(site): State<Arc<Site>>) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    let reason = match tokio::time::timeout(HEALTH_TIMEOUT, site.store.check()).await {
        Ok(Ok(schema)) => {
            return Json(json!({ "status": "ok", "schema": schema, "version": version })).into_response();
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the database did not answer within {} ms", HEALTH_TIMEOUT.as_millis()),
    };
    warn!("not healthy: {reason}");
    let told = json!({ "status": "failing", "reason": reason, "version": version });
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], Json(told)).into_response()
}
