//! A gateway of one core with a stand-in behind it, and clients over real TLS.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    net::SocketAddr,
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::CryptoProvider};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::super::{Listening, Shared, serve, tls::Certificates};
use crate::{
    model::{Certificate, CertificateSet, Host, HttpLimits},
    proxy::exchange::{Admitted, BodyError, Connection, Forward, Refusal, ResponseBody},
    wire::ListenerKind,
};

/// Nothing here takes this long.
const LONG: Duration = Duration::from_secs(120);

/// Answers by path.
#[derive(Default)]
pub(super) struct StandIn {
    /// Requests that were admitted.
    pub(super) admitted: Cell<u32>,
    /// Requests whose body came to its end.
    pub(super) complete: Cell<u32>,
    /// Bytes that `/big` was asked for.
    pub(super) produced: Rc<Cell<usize>>,
    /// The reasons of refusals.
    pub(super) refused: RefCell<Vec<(u16, &'static str)>>,
    /// `/wait` is answered when this is told.
    pub(super) go: tokio::sync::Notify,
    /// Connections of one address to each host; 0: no such limit.
    pub(super) most: Cell<u32>,
}

pub(super) fn full(status: StatusCode, text: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Full(Some(text.into())));
    *response.status_mut() = status;
    response
}

/// A body of so many chunks of 16 KiB, then trailers or an error.
struct Big {
    chunks: usize,
    produced: Rc<Cell<usize>>,
    end: Option<Result<(), BodyError>>,
    flushed: bool,
}

impl Body for Big {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.chunks > 0 {
            self.chunks -= 1;
            self.produced.set(self.produced.get() + 16_384);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 16_384])))));
        }
        // What was said so far leaves before the end is told.
        if !std::mem::replace(&mut self.flushed, true) {
            tokio::task::spawn_local({
                let waker = cx.waker().clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    waker.wake();
                }
            });
            return Poll::Pending;
        }
        Poll::Ready(self.end.take().map(|end| {
            end.map(|()| {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", "1".parse().unwrap());
                Frame::trailers(trailers)
            })
        }))
    }
}

impl Forward for StandIn {
    async fn forward(&self, mut admitted: Admitted) -> Response<ResponseBody> {
        self.admitted.set(self.admitted.get() + 1);
        let big = |chunks, end| {
            Response::new(ResponseBody::Worker(Box::pin(Big {
                chunks,
                produced: Rc::clone(&self.produced),
                end,
                flushed: false,
            })))
        };
        let path = admitted.request.uri().path().to_owned();
        match path.as_str() {
            "/echo" => {
                let mut all = Vec::new();
                while let Some(frame) = admitted.request.body_mut().frame().await {
                    match frame {
                        Ok(frame) => match frame.into_data() {
                            Ok(data) => all.extend_from_slice(&data),
                            Err(frame) => {
                                all.extend_from_slice(format!("{:?}", frame.trailers_ref().unwrap()).as_bytes())
                            }
                        },
                        Err(BodyError::Framing) => return full(StatusCode::BAD_REQUEST, "framing"),
                        Err(BodyError::Slow) => return full(StatusCode::REQUEST_TIMEOUT, "slow"),
                        Err(_) => return full(StatusCode::BAD_GATEWAY, "gone"),
                    }
                }
                self.complete.set(self.complete.get() + 1);
                full(StatusCode::OK, all)
            }
            "/wait" => {
                self.go.notified().await;
                full(StatusCode::OK, "at last")
            }
            "/never" => std::future::pending().await,
            "/unread" => full(StatusCode::OK, "not read"),
            "/panic" => panic!("asked to"),
            "/empty" => full(StatusCode::NO_CONTENT, ""),
            "/trailers" => big(2, Some(Ok(()))),
            "/truncated" => big(2, Some(Err(BodyError::Upstream))),
            "/big" => big(4096, None),
            "/upgrade" => {
                let upgrade = hyper::upgrade::on(&mut admitted.request);
                tokio::task::spawn_local(async move {
                    let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = io.read(&mut buffer).await {
                        io.write_all(&buffer[..count]).await.unwrap();
                    }
                });
                let mut response = full(StatusCode::SWITCHING_PROTOCOLS, "");
                response.headers_mut().insert("connection", "upgrade".parse().unwrap());
                response.headers_mut().insert("upgrade", "echo".parse().unwrap());
                response
            }
            _ => {
                self.complete.set(self.complete.get() + 1);
                full(StatusCode::OK, format!("{} {}", admitted.host, path))
            }
        }
    }

    fn refuse(&self, _: &Connection, refusal: Refusal, _: Option<&Host>) -> Response<ResponseBody> {
        self.refused.borrow_mut().push((refusal.status.as_u16(), refusal.reason));
        full(refusal.status, refusal.reason)
    }

    fn redirect(&self, host: &Host) -> Option<String> {
        host.as_str().ends_with(".test").then(|| format!("https://{host}:8443"))
    }

    fn connections(&self, host: &Host) -> Option<(Arc<str>, u32)> {
        (self.most.get() > 0).then(|| (host.as_str().into(), self.most.get()))
    }

    fn owner(&self, host: &Host) -> Option<Arc<str>> {
        ["a.test", "b.test"].contains(&host.as_str()).then(|| host.as_str().into())
    }
}

/// One core at work.
pub(super) struct House {
    pub(super) stand_in: Rc<StandIn>,
    pub(super) shared: Arc<Shared>,
    pub(super) listening: Option<Listening>,
    pub(super) https: SocketAddr,
    pub(super) http: SocketAddr,
    roots: RootCertStore,
}

pub(super) fn certificate(names: &[&str]) -> Certificate {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
    Certificate { names, chain_pem: made.cert.pem(), key_pem: made.signing_key.serialize_pem() }
}

impl House {
    /// Runs a test in a house with these limits, within a time that it never takes.
    pub(super) fn with<Fut: Future<Output = ()>>(limits: HttpLimits, test: impl FnOnce(House) -> Fut) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let test = test(House::new(limits));
            tokio::time::timeout(LONG, test).await.expect("the test takes too long");
        });
    }

    fn new(limits: HttpLimits) -> Self {
        let shared = Shared::new(limits).unwrap();
        let set =
            CertificateSet { certificates: vec![certificate(&["a.test", "b.test"]), certificate(&["*.zone.test"])] };
        let (certificates, errors) = Certificates::build(&set, &Certificates::default());
        assert!(errors.is_empty(), "{errors:?}");
        shared.certificates.store(Arc::new(certificates));
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (https, http) = (bind(), bind());
        let addresses = (https.local_addr().unwrap(), http.local_addr().unwrap());
        let listeners = vec![(ListenerKind::Https, OwnedFd::from(https)), (ListenerKind::Http, OwnedFd::from(http))];
        let stand_in = Rc::new(StandIn::default());
        let listening = Some(serve(listeners, Rc::clone(&stand_in), Arc::clone(&shared)).unwrap());
        let roots = RootCertStore::empty();
        let mut house = Self { stand_in, shared, listening, https: addresses.0, http: addresses.1, roots };
        house.trust(&set);
        house
    }

    /// Its clients trust these, too.
    pub(super) fn trust(&mut self, set: &CertificateSet) {
        for made in &set.certificates {
            self.roots.add(CertificateDer::from_pem_slice(made.chain_pem.as_bytes()).unwrap()).unwrap();
        }
    }

    /// A client that trusts this house.
    pub(super) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_by(Arc::new(rustls::crypto::aws_lc_rs::default_provider()), versions)
    }

    /// The same, with these suites and groups.
    pub(super) fn client_by(
        &self,
        provider: Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth()
    }

    /// A connection opened for this name.
    pub(super) async fn tls(&self, name: &str, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = self.client(rustls::ALL_VERSIONS);
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let socket = TcpStream::connect(self.https).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), socket).await
    }

    pub(super) async fn h1(&self) -> TlsStream<TcpStream> {
        self.tls("a.test", "http/1.1").await.unwrap()
    }

    pub(super) async fn h2(&self) -> TlsStream<TcpStream> {
        self.tls("a.test", "h2").await.unwrap()
    }

    pub(super) fn open(&self) -> usize {
        self.listening.as_ref().unwrap().connections()
    }

    /// Until this many connections are open.
    pub(super) async fn until_open(&self, count: usize) {
        while self.open() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// All until the end, however it ends.
pub(super) async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// All up to and with `end`.
pub(super) async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut all = String::new();
    let mut buffer = [0; 1];
    while !all.ends_with(end) {
        match stream.read(&mut buffer).await {
            Ok(1) => all.push(buffer[0] as char),
            other => panic!("{other:?} after {all:?}, before {end:?}"),
        }
    }
    all
}
