//! Port 80: sends everybody to https, and serves nothing.

use std::{convert::Infallible, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Core, admission, events,
    guard::{Guard, Ledger},
    h1,
    watch::{Phase, Watch},
};
use crate::proxy::exchange::{Forward, Refusal, ResponseBody};

/// Answers one request, and closes.
pub(super) async fn serve<F, S>(core: Rc<Core<F>>, io: S, client: std::net::IpAddr, watch: Arc<Watch>)
where
    F: Forward,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    watch.set_phase(Phase::Fresh);
    let ledger = Arc::new(Ledger::default());
    let guard = Guard::new(io, Arc::clone(&core.limits), Arc::clone(&ledger), watch);
    let mut builder = h1::builder(&core.limits);
    builder.keep_alive(false);
    let service = service_fn(move |request| {
        let answered = match ledger.refusal(1) {
            Some(refusal) => Err(refusal),
            None => target(&*core.forward, request),
        };
        let mut response = match answered {
            Ok(Some(to)) => redirect(to),
            Ok(None) => page(StatusCode::NOT_FOUND),
            Err(refusal) => {
                core.shared.census.count_reject();
                events::reject(client, refusal);
                page(refusal.status)
            }
        };
        h1::close_after(&mut response);
        async { Ok::<_, Infallible>(response) }
    });
    let _ended = builder.serve_connection(TokioIo::new(guard), service).await;
}

/// Where this request goes; `None`: nowhere, its host is nobody's.
fn target<F: Forward>(forward: &F, request: Request<Incoming>) -> Result<Option<HeaderValue>, Refusal> {
    let (head, _unread) = request.into_parts();
    let host = admission::authority(&head)?.host;
    let Some(base) = forward.redirect(&host) else { return Ok(None) };
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    let path = if path == "*" { "/" } else { path };
    Ok(HeaderValue::try_from(format!("{base}{path}")).ok())
}

fn redirect(to: HeaderValue) -> Response<ResponseBody> {
    let mut response = page(StatusCode::PERMANENT_REDIRECT);
    response.headers_mut().insert(header::LOCATION, to);
    response
}

fn page(status: StatusCode) -> Response<ResponseBody> {
    let text = format!("{} {}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut response = Response::new(ResponseBody::Full(Some(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
