//! What the connection side and the forwarding side say to each other about one request.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    os::fd::RawFd,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::model::Host;

/// The HTTP version that a client connection speaks, decided by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (or 1.0)
    H1,
    /// HTTP/2
    H2,
}

/// What is known of a client connection; one per connection, shared by its requests.
#[derive(Debug)]
pub struct Connection {
    /// The client, with v4-mapped addresses unmapped.
    pub client: SocketAddr,
    /// The name that TLS was opened for. A connection serves this host only.
    pub sni: Host,
    /// Decided by ALPN.
    pub protocol: Protocol,
    /// The proxy drains: answer with `Connection: close` (h1).
    pub draining: Cell<bool>,
    /// The client's socket, open for as long as a request of this connection is being answered (h1). Of HTTP/2 a stream's end
    /// says more.
    pub socket: Option<RawFd>,
}

impl Connection {
    /// The client's address without its port.
    pub fn client_ip(&self) -> IpAddr {
        self.client.ip()
    }
}

/// A request that passed admission: syntax, framing, method, and exactly one authority, which equals the SNI.
pub struct Admitted {
    /// On which connection.
    pub connection: Rc<Connection>,
    /// The one authority's host.
    pub host: Host,
    /// h1: carries hyper's `OnUpgrade` in its extensions.
    pub request: Request<RequestBody>,
    /// When its head was complete.
    pub at: std::time::Instant,
}

/// A request that is refused without reaching any worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The answer.
    pub status: StatusCode,
    /// For the log: framing | host | method | oversize | sni_mismatch | websocket | h2 | slow
    pub reason: &'static str,
}

/// Answers admitted requests; one per core. Implemented by the forwarding side.
pub trait Forward: 'static {
    /// The answer to one request. Dropping the future aborts the request.
    fn forward(&self, admitted: Admitted) -> impl Future<Output = Response<ResponseBody>>;

    /// The answer to a refused request (and its access log line). `host` where one is known.
    fn refuse(&self, connection: &Connection, refusal: Refusal, host: Option<&Host>) -> Response<ResponseBody>;

    /// Where clear-text requests for this host go (`https://<canonical or same host>[:port]`); `None`: unknown host, 404.
    fn redirect(&self, host: &Host) -> Option<String>;

    /// Whose host this is and how many connections one address may have to it, where the tenant has a limit of its own.
    fn connections(&self, host: &Host) -> Option<(Arc<str>, u32)>;

    /// The tenant whose host this is.
    fn owner(&self, host: &Host) -> Option<Arc<str>>;
}

/// A body's failure, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client broke the framing: 400.
    #[error("bad framing")]
    Framing,
    /// The client was too slow: 408.
    #[error("too slow")]
    Slow,
    /// The client's body is larger than it may be: 413.
    #[error("too large")]
    TooLarge,
    /// The client has gone or reset the stream.
    #[error("client gone")]
    Gone,
    /// The worker's answer broke off or was malformed: abort the connection (h1) or reset the stream (h2).
    #[error("worker broke off")]
    Upstream,
}

/// The body of a client's request, whichever protocol it came by.
pub enum RequestBody {
    /// None at all.
    Empty,
    /// HTTP/1.1, parsed by hyper behind the guard.
    H1(Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>),
    /// HTTP/2.
    H2(Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::H1(body) | Self::H2(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::H1(body) | Self::H2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::H1(body) | Self::H2(body) => body.size_hint(),
        }
    }
}

/// The body of an answer. The in-flight guard and the access log line live in it, so that both end when the body ends.
pub enum ResponseBody {
    /// A page of ours, or nothing.
    Full(Option<Bytes>),
    /// Streamed from a worker.
    Worker(Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b)))),
            Self::Worker(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Worker(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Worker(body) => body.size_hint(),
        }
    }
}
