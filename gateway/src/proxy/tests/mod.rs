//! The whole proxy between a master, a worker and a visitor, all in this process.
#![allow(clippy::unwrap_used, reason = "tests")]

mod challenges;
mod frames;
mod resume;
mod retire;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{control, routes::tests as make};
use crate::{
    model::{
        BackendAddress, Certificate, CertificateSet, GenerationId, HttpLimits, Probe, ProbeOutcome, RouteTable,
        Serving, TenantRoute,
    },
    sys::{listen, memfd, packet},
    wire::{FromProxy, Link, ListenerKind, PROTOCOL, ToProxy},
};

const HOST: &str = "acme.localhost";

/// The master's end, and what it knows.
struct Master {
    link: Link<ToProxy, FromProxy>,
    proxy: JoinHandle<ExitCode>,
    address: SocketAddr,
    certificate: Certificate,
    sockets: Vec<OwnedFd>,
    limits: HttpLimits,
    trust: Arc<ClientConfig>,
    log: BufReader<std::fs::File>,
    epoch: u64,
}

impl Master {
    /// Starts a proxy of two cores that has everything but a table.
    async fn new() -> Self {
        Self::with(2, HttpLimits::default()).await
    }

    /// Starts a proxy that has everything but a table.
    async fn with(cores: u32, limits: HttpLimits) -> Self {
        let sockets = listen::public("127.0.0.1:0".parse().unwrap(), cores).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new([HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(leaf.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let trust = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let certificate =
            Certificate { names: vec![HOST.to_owned()], chain_pem: leaf.pem(), key_pem: key.serialize_pem() };
        Self::start(sockets, certificate, limits, trust).await
    }

    /// Another proxy on duplicates of the same sockets.
    async fn another(&self) -> Self {
        let sockets = self.sockets.iter().map(|socket| socket.try_clone().unwrap()).collect();
        Self::start(sockets, self.certificate.clone(), self.limits.clone(), Arc::clone(&self.trust)).await
    }

    async fn start(
        sockets: Vec<OwnedFd>,
        certificate: Certificate,
        limits: HttpLimits,
        trust: Arc<ClientConfig>,
    ) -> Self {
        let (ours, theirs) = packet::pair().unwrap();
        let proxy = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, control::run(theirs)).unwrap()
        });
        let link = Link::new(ours).unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        let address = std::net::TcpListener::from(sockets[0].try_clone().unwrap()).local_addr().unwrap();
        let log = BufReader::new(read.into());
        let master = Self { link, proxy, address, certificate, sockets, limits, trust, log, epoch: 0 };
        master.tell(ToProxy::Hello { protocol: PROTOCOL }, None).await;
        let configure = ToProxy::Configure {
            cores: master.sockets.len() as u32,
            http: master.limits.clone(),
            https_port: address.port(),
        };
        let folder = std::fs::File::open("/").unwrap().into();
        master.tell(configure, [write, folder]).await;
        for (core, socket) in (0..).zip(&master.sockets) {
            let socket = socket.try_clone().unwrap();
            master.tell(ToProxy::Listener { kind: ListenerKind::Https, core }, Some(socket)).await;
        }
        master.tell(ToProxy::Start, None).await;
        let set = serde_json::to_vec(&CertificateSet { certificates: vec![master.certificate.clone()] }).unwrap();
        master.tell(ToProxy::Certificates, Some(memfd::seal("certificates", &set).unwrap())).await;
        assert_eq!(master.hear().await, FromProxy::Hello { protocol: PROTOCOL, epoch: 0 });
        master
    }

    async fn tell(&self, message: ToProxy, fds: impl IntoIterator<Item = OwnedFd>) {
        let fds: Vec<OwnedFd> = fds.into_iter().collect();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.link.send(&message, &borrowed).await.unwrap();
    }

    /// The next fact, beside the counters that come with time.
    async fn hear(&self) -> FromProxy {
        loop {
            match self.link.recv().await.unwrap().unwrap().0 {
                FromProxy::Counters { .. } => {}
                fact => return fact,
            }
        }
    }

    /// The next counters: open connections.
    async fn hear_connections(&self) -> u64 {
        loop {
            if let FromProxy::Counters { connections, .. } = self.link.recv().await.unwrap().unwrap().0 {
                return connections;
            }
        }
    }

    /// Until the proxy has ended of itself.
    async fn ended(self) -> ExitCode {
        while self.link.recv().await.unwrap().is_some() {}
        tokio::task::spawn_blocking(move || self.proxy.join().unwrap()).await.unwrap()
    }

    async fn tell_routes(&mut self, tenant: TenantRoute) {
        self.epoch += 1;
        let table = RouteTable { epoch: self.epoch, tenants: vec![tenant] };
        let fd = memfd::seal("routes", &serde_json::to_vec(&table).unwrap()).unwrap();
        self.tell(ToProxy::Routes { epoch: self.epoch }, Some(fd)).await;
    }

    async fn route(&mut self, tenant: TenantRoute) {
        self.tell_routes(tenant).await;
        assert_eq!(self.hear().await, FromProxy::Applied { epoch: self.epoch });
    }

    /// A visitor's connection.
    async fn visit(&self) -> TlsStream<TcpStream> {
        self.open(TcpStream::connect(self.address).await.unwrap(), "http/1.1").await
    }

    /// TLS over this connection.
    async fn open(&self, stream: TcpStream, protocol: &str) -> TlsStream<TcpStream> {
        let mut config = ClientConfig::clone(&self.trust);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from(HOST).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    fn log_line(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

/// Asks on an open connection; the answer's text, which must end so.
async fn ask(visitor: &mut TlsStream<TcpStream>, path: &str, ends: &str) -> String {
    visitor.write_all(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(ends.as_bytes()) {
        assert!(visitor.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

/// Sends the head of a request, without waiting.
async fn send(visitor: &mut TlsStream<TcpStream>, path: &str) {
    visitor.write_all(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    visitor.flush().await.unwrap();
}

/// All until the connection's end, however it ends.
async fn rest(visitor: &mut TlsStream<TcpStream>) -> String {
    let mut read = Vec::new();
    while matches!(visitor.read_buf(&mut read).await, Ok(1..)) {}
    String::from_utf8_lossy(&read).into_owned()
}

/// Opens a tunnel, and has it echo a word.
async fn open_tunnel(visitor: &mut TlsStream<TcpStream>) {
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    visitor.write_all(handshake.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        assert!(visitor.read_buf(&mut read).await.unwrap() > 0);
    }
    assert!(read.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&read));
    echo(visitor).await;
}

async fn echo(tunnel: &mut TlsStream<TcpStream>) {
    for frame in [b"ping", b"pong"] {
        tunnel.write_all(frame).await.unwrap();
        let mut echo = [0; 4];
        tunnel.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, frame);
    }
}

/// A worker that answers every request with its word; `/slow` only when it is told, `/long` with half an answer.
async fn worker(word: &'static str) -> (BackendAddress, tokio::sync::mpsc::UnboundedSender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = BackendAddress::Tcp(listener.local_addr().unwrap());
    let (go, wait) = tokio::sync::mpsc::unbounded_channel();
    let wait = std::rc::Rc::new(tokio::sync::Mutex::new(wait));
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let wait = std::rc::Rc::clone(&wait);
            tokio::task::spawn_local(async move {
                let mut read = Vec::new();
                while matches!(stream.read_buf(&mut read).await, Ok(n) if n > 0) {
                    if !read.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    if read.starts_with(b"GET /ws") {
                        let switched =
                            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
                        stream.write_all(switched).await.unwrap();
                        let (mut from, mut to) = stream.split();
                        // An echo ends however its tunnel ends.
                        let _ = tokio::io::copy(&mut from, &mut to).await;
                        return;
                    }
                    if read.starts_with(b"GET /long") {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
                        // The rest never comes; the other side's end does.
                        let _ = stream.read(&mut [0]).await;
                        return;
                    }
                    if read.starts_with(b"GET /slow") {
                        wait.lock().await.recv().await.unwrap();
                    }
                    read.clear();
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{word}", word.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, go)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(120), test).await.expect("in time");
    });
}

fn serve(generation: u64) -> Serving {
    Serving::Serve { generation: GenerationId(generation) }
}

#[test]
fn a_deploy_by_table_applied_idle_and_drain() {
    run(async {
        let mut master = Master::new().await;
        let ((old, go), (new, _)) = (worker("old").await, worker("new").await);
        let mut acme = make::tenant("acme", &[HOST], serve(1));
        acme.backends = vec![make::backend(1, old.clone(), true)];
        master.route(acme.clone()).await;
        assert_eq!(master.hear().await, FromProxy::Ready);

        let mut visitor = master.visit().await;
        let answer = ask(&mut visitor, "/first?secret=1", "old").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-request-id: "), "{answer}");
        let line = master.log_line();
        assert_eq!((&line["tenant"], &line["path"], &line["status"]), (&"acme".into(), &"/first".into(), &200.into()));
        assert_eq!((&line["host"], &line["generation"]), (&HOST.into(), &1.into()));

        // One request is on its way to the old one while the table changes.
        visitor.write_all(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
        visitor.flush().await.unwrap();
        let mut other = master.visit().await;
        ask(&mut other, "/", "old").await;
        acme.serving = serve(2);
        acme.backends = vec![make::backend(1, old, false), make::backend(2, new, true)];
        master.route(acme.clone()).await;
        ask(&mut other, "/", "new").await;
        go.send(()).unwrap();
        let mut rest = Vec::new();
        while !rest.ends_with(b"old") {
            assert!(visitor.read_buf(&mut rest).await.unwrap() > 0);
        }
        assert_eq!(master.hear().await, FromProxy::Idle { generation: GenerationId(1) });
        ask(&mut visitor, "/", "new").await;

        // A closed and idle gate is told again with every table, and a gate that is born closed at once.
        master.route(acme.clone()).await;
        assert_eq!(master.hear().await, FromProxy::Idle { generation: GenerationId(1) });

        master.tell(ToProxy::Drain { deadline_ms: 5000 }, None).await;
        let answer = ask(&mut other, "/", "new").await.to_ascii_lowercase();
        if answer.contains("connection: close") {
            assert_eq!(other.read(&mut [0]).await.unwrap_or(0), 0);
        }
        drop((visitor, other));
        while master.link.recv().await.unwrap().is_some() {}
        assert_eq!(master.proxy.join().unwrap(), ExitCode::SUCCESS);
    });
}

#[test]
fn a_tunnel_through_the_whole_house_ends_at_its_deadline() {
    run(async {
        let mut master = Master::new().await;
        let ((old, _), (new, _)) = (worker("old").await, worker("new").await);
        let mut acme = make::tenant("acme", &[HOST], serve(1));
        acme.backends = vec![make::backend(1, old.clone(), true)];
        master.route(acme.clone()).await;
        assert_eq!(master.hear().await, FromProxy::Ready);
        let mut visitor = master.visit().await;
        open_tunnel(&mut visitor).await;
        acme.serving = serve(2);
        let mut closing = make::backend(1, old, false);
        closing.upgrade_timeout = Duration::from_millis(50);
        acme.backends = vec![closing, make::backend(2, new, true)];
        master.route(acme).await;
        assert_eq!(master.hear().await, FromProxy::Idle { generation: GenerationId(1) });
        assert_eq!(visitor.read(&mut [0]).await.unwrap_or(0), 0, "the visitor's side has ended, too");
        let line = master.log_line();
        assert_eq!((&line["status"], &line["aborted"]), (&101.into(), &true.into()));
    });
}

#[test]
fn waiting_and_probes_are_told_and_a_master_that_goes_ends_it() {
    run(async {
        let mut master = Master::new().await;
        let (address, _) = worker("up").await;
        let probe = Probe {
            path: Some("/healthz".into()),
            host: HOST.parse().unwrap(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(2),
            starting: true,
            attempt: 4,
        };
        let mut acme = make::tenant("acme", &[HOST], Serving::Hold);
        acme.backends = vec![make::backend(1, address, true)];
        master.route(acme.clone()).await;
        assert_eq!(master.hear().await, FromProxy::Ready);
        let mut visitor = master.visit().await;
        let asked = tokio::task::spawn_local(async move { ask(&mut visitor, "/", "up").await });
        assert_eq!(master.hear().await, FromProxy::Waiting { tenant: "acme".parse().unwrap() });

        acme.backends[0].probe = Some(probe);
        master.route(acme.clone()).await;
        let healthy = FromProxy::Probe { generation: GenerationId(1), attempt: 4, outcome: ProbeOutcome::Healthy };
        assert_eq!(master.hear().await, healthy);
        acme.serving = serve(1);
        master.route(acme).await;
        asked.await.unwrap();

        let Master { link, proxy, .. } = master;
        drop(link);
        let ended = tokio::task::spawn_blocking(move || proxy.join().unwrap()).await.unwrap();
        assert_eq!(ended, ExitCode::SUCCESS);
    });
}
