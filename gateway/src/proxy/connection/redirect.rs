//! Port 80: answers an authority's challenges, sends everybody else to https, and serves nothing.

use std::{convert::Infallible, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, request};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Core, admission, challenges, events,
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
            None => answer(&core, request.into_parts().0),
        };
        let mut response = answered.unwrap_or_else(|refusal| {
            core.shared.census.count_reject();
            events::reject(client, refusal);
            page(refusal.status)
        });
        h1::close_after(&mut response);
        async { Ok::<_, Infallible>(response) }
    });
    let _ended = builder.serve_connection(TokioIo::new(guard), service).await;
}

/// The answer by the head alone; a body is not read.
fn answer<F: Forward>(core: &Core<F>, head: request::Parts) -> Result<Response<ResponseBody>, Refusal> {
    let host = admission::authority(&head)?.host;
    if let Some(token) = challenges::token(head.uri.path()) {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let known = reads.then(|| core.shared.challenges.load().http(&host, token)).flatten();
        // Before anything is asked of tenants: a host may have its challenge before it has a route or a certificate, and
        // an authority that was sent to https would find neither.
        return Ok(known.map_or_else(|| page(StatusCode::NOT_FOUND), proof));
    }
    let Some(base) = core.forward.redirect(&host) else { return Ok(page(StatusCode::NOT_FOUND)) };
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    let path = if path == "*" { "/" } else { path };
    let to = HeaderValue::try_from(format!("{base}{path}"));
    Ok(to.map_or_else(|_| page(StatusCode::NOT_FOUND), redirect))
}

/// RFC 8555 section 8.3: the key authorization and nothing else.
fn proof(key_authorization: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Full(Some(key_authorization)));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
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
