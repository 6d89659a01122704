//! The forwarding side against workers that are a few lines of bytes each, in one process on one core.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod deploys;
mod door;
mod holding;
mod pages;
mod retries;
mod streams;
mod tunnels;

use std::{
    cell::Cell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::LocalSet,
};

use super::forwarder::{Forwarder, Report, Settings};
use crate::{
    model::{BackendAddress, BackendRoute, Host, RouteTable, Serving, TenantRoute},
    proxy::{
        access::{self, Access, Record},
        exchange::{Admitted, BodyError, Connection, Forward, Protocol, RequestBody, ResponseBody},
        routes::{Routes, tests as make},
    },
};

pub(super) const HOST: &str = "acme.localhost";

/// One core with one tenant, `acme`.
pub(super) struct House {
    pub(super) routes: Routes,
    pub(super) forwarder: Forwarder,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    records: mpsc::Receiver<Vec<Record>>,
    gathered: VecDeque<Record>,
    epoch: u64,
}

impl House {
    pub(super) fn new() -> Self {
        Self::patient(Duration::from_secs(5))
    }

    pub(super) fn patient(response_timeout: Duration) -> Self {
        let routes = Routes::new(1);
        let (report, reports) = mpsc::unbounded_channel();
        let (out, records) = access::channel();
        let settings = Settings { https_port: 8443, response_timeout };
        let forwarder = Forwarder::new(0, settings, &routes, Access::new(out), report, Arc::default());
        let sweeper = forwarder.clone();
        tokio::task::spawn_local(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            loop {
                tick.tick().await;
                sweeper.sweep(Instant::now());
            }
        });
        Self { routes, forwarder, reports, records, gathered: VecDeque::new(), epoch: 0 }
    }

    pub(super) fn apply(&mut self, tenant: TenantRoute) {
        self.epoch += 1;
        self.routes.apply(RouteTable { epoch: self.epoch, tenants: vec![tenant] });
    }

    /// Serves generation 1 at this port.
    pub(super) fn serve(&mut self, port: u16) {
        self.apply(acme(Serving::Serve { generation: crate::model::GenerationId(1) }, vec![at(1, port, true)]));
    }

    pub(super) async fn send(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        self.forwarder.forward(admitted(request, Protocol::H1)).await
    }

    pub(super) async fn get(&self, path: &str) -> Response<ResponseBody> {
        self.send(request(Method::GET, path, RequestBody::Empty)).await
    }

    /// The next line of the access log.
    pub(super) async fn record(&mut self) -> Record {
        while self.gathered.is_empty() {
            self.gathered.extend(self.records.recv().await.unwrap());
        }
        self.gathered.pop_front().unwrap()
    }
}

pub(super) fn acme(serving: Serving, backends: Vec<BackendRoute>) -> TenantRoute {
    TenantRoute { backends, ..make::tenant("acme", &[HOST, "portal.acme.com"], serving) }
}

pub(super) fn at(generation: u64, port: u16, open: bool) -> BackendRoute {
    make::backend(generation, BackendAddress::Tcp(([127, 0, 0, 1], port).into()), open)
}

pub(super) fn admitted(request: Request<RequestBody>, protocol: Protocol) -> Admitted {
    let host: Host = request.headers()["host"].to_str().unwrap().split(':').next().unwrap().parse().unwrap();
    let client = "192.0.2.7:5000".parse().unwrap();
    let connection =
        Rc::new(Connection { client, sni: host.clone(), protocol, draining: Cell::new(false), socket: None });
    Admitted { connection, host, request, at: Instant::now() }
}

pub(super) fn request(method: Method, path: &str, body: RequestBody) -> Request<RequestBody> {
    Request::builder().method(method).uri(path).header("host", "acme.localhost:8443").body(body).unwrap()
}

/// A body whose pieces the test sends; the end of the channel is its end.
pub(super) fn piped() -> (mpsc::UnboundedSender<Result<Bytes, BodyError>>, RequestBody) {
    let (send, receive) = mpsc::unbounded_channel();
    (send, RequestBody::H1(Box::pin(Piped(receive))))
}

struct Piped(mpsc::UnboundedReceiver<Result<Bytes, BodyError>>);

impl Body for Piped {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

pub(super) async fn text(response: Response<ResponseBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Runs a test on a core like the proxy's, for 20 s at most.
pub(super) fn core(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(120), test).await.expect("in time");
    });
}

/// A listening socket of a worker.
pub(super) async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// One connection at a worker.
pub(super) struct Line {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Line {
    pub(super) async fn accept(listener: &TcpListener) -> Self {
        Self { stream: listener.accept().await.unwrap().0, read: Vec::new() }
    }

    /// The next head, as text.
    pub(super) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            assert!(self.more().await, "a head was awaited");
        }
    }

    /// Reads until this text has come.
    pub(super) async fn until(&mut self, text: &str) {
        while !self.read.windows(text.len()).any(|w| w == text.as_bytes()) {
            assert!(self.more().await, "{text:?} was awaited");
        }
    }

    /// Reads something; `false` at the end.
    pub(super) async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(n) if n > 0)
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Writes this often; how many were taken before the other side closed.
    pub(super) async fn say_again(&mut self, bytes: &[u8], times: usize, said: &Cell<usize>) {
        for _ in 0..times {
            if self.stream.write_all(bytes).await.is_err() {
                return;
            }
            said.set(said.get() + bytes.len());
        }
    }

    /// Answers one request with 200 and this body.
    pub(super) async fn answer(&mut self, body: &str) -> String {
        let head = self.head().await;
        self.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        head
    }

    /// Ends it with a reset, as the kernel does for a killed process with unread bytes.
    pub(super) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
