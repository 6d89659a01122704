//! HTTP/1.1: hyper behind the guard.

use std::{
    cell::Cell,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Core, admission,
    guard::{Guard, Ledger},
    watch::{Phase, Watch},
};
use crate::{
    model::{Host, HttpLimits},
    proxy::exchange::{Admitted, BodyError, Connection, Forward, Refusal, RequestBody, ResponseBody},
};

/// hyper's part. Every deadline is the sweep's; what the guard passes is below every limit of hyper's own.
pub(super) fn builder(limits: &HttpLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .half_close(true)
        .header_read_timeout(None)
        .pipeline_flush(false)
        .max_headers(limits.header_count as usize)
        .max_buf_size((2 * limits.header_bytes as usize).max(64 * 1024));
    builder
}

/// Serves one client's requests, one after the other, until the connection ends or is upgraded.
pub(super) async fn serve<F, S>(core: Rc<Core<F>>, io: S, connection: Rc<Connection>, watch: Arc<Watch>)
where
    F: Forward,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    watch.set_phase(Phase::Fresh);
    let ledger = Arc::new(Ledger::default());
    let guard = Guard::new(io, Arc::clone(&core.limits), Arc::clone(&ledger), watch);
    let builder = builder(&core.limits);
    let requests = Rc::new(Requests { core, connection, ledger, seen: Cell::new(0) });
    let service = service_fn(move |request| {
        let requests = Rc::clone(&requests);
        async move { Ok::<_, Infallible>(requests.answer(request).await) }
    });
    // Every way to end is an end: what went wrong has been answered, or cannot be any more.
    let _ended = builder.serve_connection(TokioIo::new(guard), service).with_upgrades().await;
}

/// The requests of one connection.
struct Requests<F> {
    core: Rc<Core<F>>,
    connection: Rc<Connection>,
    ledger: Arc<Ledger>,
    seen: Cell<u64>,
}

impl<F: Forward> Requests<F> {
    async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        self.seen.set(self.seen.get() + 1);
        self.connection.draining.set(self.core.draining.get());
        if let Some(refusal) = self.ledger.refusal(self.seen.get()) {
            return self.refuse(refusal, None);
        }
        let (head, body) = request.into_parts();
        let response = match admission::admit(&head, &self.connection.sni) {
            Ok(host) => {
                let body = if body.is_end_stream() {
                    RequestBody::Empty
                } else {
                    RequestBody::H1(Box::pin(CheckedBody { body, ledger: Arc::clone(&self.ledger) }))
                };
                let admitted = Admitted {
                    connection: Rc::clone(&self.connection),
                    host,
                    request: Request::from_parts(head, body),
                    at: Instant::now(),
                };
                let mut response = self.core.forward.forward(admitted).await;
                // Asked again: the drain may have begun meanwhile.
                if self.core.draining.get() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    self.connection.draining.set(true);
                    close_after(&mut response);
                }
                response
            }
            Err((refusal, host)) => self.refuse(refusal, host.as_ref()),
        };
        self.ledger.answer_upgrade(response.status() == StatusCode::SWITCHING_PROTOCOLS);
        response
    }

    fn refuse(&self, refusal: Refusal, host: Option<&Host>) -> Response<ResponseBody> {
        let mut response = self.core.refuse(&self.connection, refusal, host);
        // A name that is not this connection's is no fault: its next request may be right.
        if refusal.status != StatusCode::MISDIRECTED_REQUEST || self.core.draining.get() {
            close_after(&mut response);
        }
        response
    }
}

pub(super) fn close_after(response: &mut Response<ResponseBody>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// A body that the guard has checked; its error is what the guard found.
struct CheckedBody {
    body: Incoming,
    ledger: Arc<Ledger>,
}

impl Body for CheckedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|result| result.map_err(|_| self.ledger.body_error())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
