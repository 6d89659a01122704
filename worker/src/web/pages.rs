//! The pages that people see.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Form, Query, State, rejection::FormRejection, rejection::QueryRejection},
    http::{StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use serde::Deserialize;

use super::{error::Failure, site::Site};
use crate::notice::{AUTHOR_MAX, BODY_MAX, Draft, DraftErrors, Notice};

/// Notices on one page.
const PAGE: u16 = 50;

/// Which part of the board to show.
#[derive(Deserialize)]
pub(super) struct Window {
    before: Option<i64>,
}

/// The form as a browser sends it.
#[derive(Default, Deserialize)]
pub(super) struct Written {
    #[serde(default)]
    author: String,
    #[serde(default)]
    body: String,
}

#[derive(Template)]
#[template(path = "board.html")]
struct Board<'a> {
    site: &'a Site,
    root: &'static str,
    notices: &'a [Notice],
    /// The number before which the next page begins.
    older: Option<i64>,
    /// Not the first page.
    back: bool,
    written: &'a Written,
    errors: &'a DraftErrors,
}

/// `GET /`
pub(super) async fn board(
    State(site): State<Arc<Site>>,
    uri: Uri,
    window: Result<Query<Window>, QueryRejection>,
) -> Response {
    // A mistyped query is no reason to withhold the page.
    let before = window.ok().and_then(|Query(window)| window.before);
    let page = show(&site, before, &Written::default(), &DraftErrors::default()).await;
    page.map_or_else(|failure| failure.answer(&site, &uri), |page| Html(page).into_response())
}

/// `POST /notices`: back to the board, so that reloading the page does not send the notice twice.
pub(super) async fn post_notice(
    State(site): State<Arc<Site>>,
    uri: Uri,
    form: Result<Form<Written>, FormRejection>,
) -> Response {
    let done = async {
        let Form(written) = form.map_err(|error| Failure::Malformed(error.status(), error.body_text()))?;
        match Draft::new(&written.author, &written.body) {
            Ok(draft) => {
                let notice = site.store.add(draft).await?;
                Ok((StatusCode::SEE_OTHER, [(header::LOCATION, format!("./#notice-{}", notice.id))]).into_response())
            }
            Err(errors) => {
                let page = show(&site, None, &written, &errors).await?;
                Ok((StatusCode::UNPROCESSABLE_ENTITY, Html(page)).into_response())
            }
        }
    };
    done.await.unwrap_or_else(|failure: Failure| failure.answer(&site, &uri))
}

async fn show(site: &Site, before: Option<i64>, written: &Written, errors: &DraftErrors) -> Result<String, Failure> {
    // One more than is shown tells whether there are older ones.
    let mut notices = site.store.list(before, PAGE + 1).await?;
    let more = notices.len() > usize::from(PAGE);
    notices.truncate(usize::from(PAGE));
    let older = notices.last().filter(|_| more).map(|notice| notice.id);
    Board { site, root: "./", notices: &notices, older, back: before.is_some(), written, errors }
        .render()
        .map_err(Failure::Render)
}

impl Board<'_> {
    fn when(notice: &Notice) -> String {
        notice.created_at.strftime("%-d %b %Y, %H:%M UTC").to_string()
    }
}
